//! The Workflows API as it is on the wire: types and routes, shared by client and service.
//!
//! Facts come from the vendor's public material; where it is silent, the doc line says
//! "our reading". Absent and `null` mean the same to a reader; unknown fields are ignored.

mod bulk;
pub mod routes;
mod types;
mod webhooks;

pub use bulk::*;
pub use types::*;
pub use webhooks::*;
