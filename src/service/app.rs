//! The state that all handlers share: the routes, the page and the layer of faults. Made once, when the service starts.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::config::Config;
use super::directories::Directories;
use super::engine::Engine;
use super::faults::Faults;
use super::rate::RateLimit;
use super::sign::Signer;
use super::store::Store;

/// The state that handlers share.
pub(super) struct App {
    pub config: Config,
    pub store: Arc<Store>,
    pub engine: Arc<Engine>,
    pub folders: Directories,
    pub signer: Signer,
    /// The faults on purpose.
    pub faults: Arc<Faults>,
    /// The address that the service listens on.
    pub address: SocketAddr,
    /// Of all requests with a key.
    pub rate_limit: RateLimit,
    /// Of starts of bulk jobs.
    pub bulk_limit: RateLimit,
    /// Of keys given to the page, right or wrong, by anybody.
    pub login_limit: RateLimit,
    /// One permit per request that may be under way.
    pub requests: Semaphore,
}
