//! HTTP for API calls and result files: requests with bounded retries, and downloads that resume after a break.
//!
//! It covers the data's path from a socket to chunks of bytes. It knows nothing of workflows, row formats or the
//! terminal. The API key goes only to the API's own origin and to trusted hosts, and every URL in an error is redacted.

mod body;
mod clients;
mod clock;
mod download;
mod error;
#[cfg(test)]
pub(crate) mod faults;
mod http;
mod limiter;
mod link;
mod proxy;
#[cfg(any(test, feature = "serve", feature = "postgres"))]
pub(crate) mod random;
mod recoveries;
pub(crate) mod request_log;
mod response;
mod retry;
#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod segment_tests;
pub mod spans;
#[cfg(test)]
mod tests;
mod tls;
mod trust;

pub use clock::Clock;
#[cfg(test)]
pub(crate) use clock::manual::Manual;
pub use download::{Connections, Download, DownloadRequest, Downloads, Stopper};
pub use error::{Error, Kind};
pub use http::{ApiRequest, ApiResponse, Body, Http, HttpOptions, OnWait, key_problem};
pub use limiter::{Limiter, REQUESTS_PER_MINUTE};
pub use link::{FreshLink, Link};
pub use proxy::{ProxyVariable, proxy_of, proxy_problem};
pub use recoveries::{Recovered, Recoveries};
pub use retry::{
    FOREIGN_REFUSAL_TRIES, RULES, Repeatability, RetryAdvice, RetryBudget, RetryCause, RetryPolicy, RetryRule,
    TransportFailure, retry_after,
};
#[cfg(any(feature = "serve", feature = "opentelemetry"))]
pub(crate) use tls::client_builder;
#[cfg(any(feature = "object-store", feature = "clickhouse", feature = "iceberg"))]
pub(crate) use tls::http1_client_builder;
#[cfg(feature = "postgres")]
pub(crate) use tls::system_verifier;
pub use tls::{BadCertificate, CertificateHint, bad_certificate};
pub use trust::{TrustedHost, is_downgrade, is_loopback};
