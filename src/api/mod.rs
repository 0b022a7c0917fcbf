//! The wire format of the Workflows API: types and paths, shared by the client and the local service. Contains no I/O
//! and no policy.
//!
//! The facts are from the vendor's public material; "our reading" in a doc line marks a choice where it is silent.
//! Readers treat an absent field like `null`, ignore unknown fields, and take any value that they can do without for
//! absent if it is of an unexpected type. The doc lines of types with a schema are also
//! the descriptions in the service's OpenAPI document.

mod bulk;
mod intelligence;
mod lenient;
pub mod routes;
mod types;
mod webhooks;

pub use bulk::*;
pub use intelligence::*;
pub use types::*;
pub use webhooks::*;
