//! The local Workflows service inside this process, for `serve` and `--local`, with its store in a given or a temporary
//! directory.

use std::path::{Path, PathBuf};

use super::error::{Error, Failure};
use super::values::{Enrich, EnrichFrom};
use crate::service::{ArchiveSummary, Config, EnrichEndpoint, EnrichTable, Seeded, Service};
use crate::sink::TemporaryDirectory;

/// Directory of a store. A temporary one is removed when this is dropped.
pub(super) struct DataDirectory {
    path: PathBuf,
    _temporary: Option<TemporaryDirectory>,
}

impl DataDirectory {
    /// Returns `data`, or creates a temporary directory.
    pub(super) fn open(data: Option<PathBuf>) -> Result<Self, Failure> {
        match data {
            Some(path) => Ok(DataDirectory { path, _temporary: None }),
            None => {
                let directory = TemporaryDirectory::create(&std::env::temp_dir())
                    .map_err(|cause| Error::Write { path: std::env::temp_dir(), cause })?;
                Ok(DataDirectory { path: directory.path().to_owned(), _temporary: Some(directory) })
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// A running service.
pub(super) struct Local {
    service: Service,
    /// Dropped after the service.
    _directory: DataDirectory,
}

impl Local {
    /// Starts a service whose store is in `directory`; `configure` changes the defaults of its configuration.
    pub(super) async fn start(
        directory: DataDirectory,
        configure: impl FnOnce(Config) -> Config,
    ) -> Result<Self, Failure> {
        let service = Service::start(configure(Config::new(directory.path()))).await.map_err(Error::Service)?;
        Ok(Local { service, _directory: directory })
    }

    /// Returns the workflows and uploads that the service was started with.
    pub(super) fn seeded(&self) -> &[Seeded] {
        self.service.seeded()
    }

    /// Returns a line each on the limits, faults and clock in force.
    pub(super) fn in_force(&self) -> Vec<String> {
        self.service.in_force()
    }

    /// Returns lines on what a proxy has handed on or a replay has answered.
    pub(super) fn hosted_summary(&self) -> Vec<String> {
        self.service.hosted_summary()
    }

    /// Stops the service and exports its state.
    pub(super) async fn stop_and_export(self, path: PathBuf) -> Result<ArchiveSummary, Failure> {
        Ok(self.service.stop_and_export(path).await.map_err(Error::Moved)?)
    }

    /// Returns the base URL that the service listens on.
    pub(super) fn base_url(&self) -> String {
        self.service.base_url()
    }

    /// Returns true if other users of this machine can list or change the data directory.
    pub(super) fn data_is_open_to_others(&self) -> bool {
        self.service.data_is_open_to_others()
    }

    /// Stops the service: answers the requests in progress and closes the store.
    pub(super) async fn stop(self) {
        self.service.stop().await;
    }
}

/// Divides the `--enrich` flags into reference tables and endpoints.
pub(super) fn providers(given: Vec<Enrich>) -> (Vec<EnrichTable>, Vec<EnrichEndpoint>) {
    let (mut tables, mut endpoints) = (Vec::new(), Vec::new());
    for Enrich { block, from } in given {
        match from {
            EnrichFrom::Table { path, key } => tables.push(EnrichTable { block, path, key }),
            EnrichFrom::Endpoint(url) => endpoints.push(EnrichEndpoint { block, url }),
        }
    }
    (tables, endpoints)
}
