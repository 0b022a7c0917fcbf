//! The schema of an execution: the rules by which it widens, the registry that all threads share, and inference from
//! records. Nothing here knows an output or writes a file.

mod check;
mod decode;
mod describe;
mod infer;
mod registry;
mod rules;

pub use check::{UnseenColumns, check_steps, known_columns, warn_about_steps};
pub use describe::{DescribedSchema, SetBy, TypeFrom, describe_schema};
pub use infer::{full_schema, schema_of_sample};
pub use registry::SchemaRegistry;
pub use rules::{Demands, SchemaRules};
