//! HTTP: requests with retries that have manners, and downloads that continue where they broke.
//!
//! Part of the path: from a socket to chunks. It knows nothing of workflows, formats or the terminal. The API key
//! goes to the API's own origin only; every URL in an error is redacted.

mod answer;
mod clock;
#[cfg(any(test, feature = "serve"))]
pub(crate) mod dice;
mod download;
mod error;
#[cfg(test)]
pub(crate) mod faults;
mod http;
mod limiter;
mod link;
mod retry;
#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;
mod tls;
mod trust;

pub use clock::Clock;
#[cfg(test)]
pub(crate) use clock::manual::Manual;
pub use download::{Download, Downloads, Open, Stopper};
pub use error::{Error, Kind};
pub use http::{Answer, Body, Call, Http, HttpOptions, OnWait, key_problem};
pub use limiter::{Limiter, REQUESTS_PER_MINUTE};
pub use link::{FreshLink, Link};
pub use retry::{Again, Budget, Failure, Policy, RULES, Repeat, Rule, Trouble, retry_after};
#[cfg(feature = "serve")]
pub(crate) use tls::client_builder;
#[cfg(feature = "object-store")]
pub(crate) use tls::replaced_certificates;
pub use tls::{BadCertificate, Remedy, bad_certificate};
pub use trust::{TrustedHost, is_downgrade, is_loopback};
