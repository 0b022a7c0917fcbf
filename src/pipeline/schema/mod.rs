//! The schema of an execution: the rules by which it widens, the registry that all threads share, and inference from
//! records. Nothing here knows an output or writes a file.

mod check;
mod decode;
mod describe;
mod infer;
mod names;
mod registry;
mod rules;

pub(super) use check::{UnseenColumns, known_columns};
pub use check::{check_steps, check_steps_of_run, columns_after};
pub(super) use describe::HeaderNotes;
pub use describe::{DescribedSchema, SetBy, TypeFrom, describe_schema};
pub(super) use infer::{full_schema, schema_of_sample};
pub(super) use names::notes_on_names;
pub(super) use registry::SchemaRegistry;
pub(super) use rules::{AsReadDemand, Demands, SchemaRules};
