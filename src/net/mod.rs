//! HTTP: requests with retries that have manners, and downloads that continue where they broke.
//!
//! Part of the path: from a socket to chunks. It knows nothing of workflows, formats or the terminal. The API key
//! goes to the API's own origin only; every URL in an error is redacted.

mod download;
mod error;
mod http;
pub mod retry;
#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;

pub use download::{Download, FreshLink, Open, Stopper};
pub use error::{Error, Kind};
pub use http::{Answer, Body, Call, Http, OnWait, Repeat, is_loopback, key_problem};
pub use retry::{Budget, Policy};
