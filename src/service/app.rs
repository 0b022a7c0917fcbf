//! The state shared by all handlers: the routes, the page and the fault-injection layer. [`super::Service::start`]
//! builds it once; it holds no per-request state.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{RwLock, Semaphore};

use super::config::Config;
use super::directories::Directories;
use super::engine::Engine;
use super::faults::Faults;
use super::hosted::Hosted;
use super::hosts::Hosts;
use super::journal::Journal;
use super::rate::RateLimit;
use super::sessions::Sessions;
use super::sign::Signer;
use super::store::{Baseline, Store};

/// State shared by all handlers, behind one `Arc`.
pub(super) struct App {
    pub config: Config,
    pub store: Arc<Store>,
    pub engine: Arc<Engine>,
    pub directories: Directories,
    pub signer: Signer,
    /// The host names under which requests are accepted.
    pub hosts: Hosts,
    /// The faults to inject; without rules none.
    pub faults: Arc<Faults>,
    /// The newest requests.
    pub journal: Journal,
    /// The part that stands for the hosted service; `None` if this service answers itself.
    pub hosted: Option<Hosted>,
    /// State that a reset restores; `None` without administration.
    pub baseline: Option<Baseline>,
    /// Held for writing during a reset, and for reading while a run or an upload is added.
    pub resetting: RwLock<()>,
    /// Sessions of interactive workflows.
    pub sessions: Sessions,
    /// One permit per payload of many rows that is received.
    pub payload_permits: Semaphore,
    /// The address that the service listens on, with the port that was picked for port 0.
    pub address: SocketAddr,
    /// Limit on requests per API key.
    pub rate_limit: RateLimit,
    /// Limit on starts of bulk jobs per API key.
    pub bulk_limit: RateLimit,
    /// Limit on login attempts at the page, correct or not, over all clients.
    pub login_limit: RateLimit,
    /// One permit per concurrent request, [`Config::max_requests`] in total.
    pub request_permits: Semaphore,
}
