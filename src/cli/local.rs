//! The local service inside this process, over a directory of the user's or a temporary one.

use std::path::PathBuf;

use tempfile::TempDir;

use super::error::{Error, Failure};
use super::values::{Enrich, EnrichFrom};
use crate::service::{Config, EnrichEndpoint, EnrichTable, Service};

/// A running service. Its temporary store goes with it.
pub struct Local {
    service: Service,
    /// Dropped after the service.
    _folder: Option<TempDir>,
}

impl Local {
    /// Starts a service whose store is in `data`, or in a temporary directory; `configure` changes the defaults of its
    /// configuration.
    pub async fn start(data: Option<PathBuf>, configure: impl FnOnce(Config) -> Config) -> Result<Self, Failure> {
        let (data_dir, folder) = match data {
            Some(path) => (path, None),
            None => {
                let folder = tempfile::Builder::new()
                    .prefix("drawoff-service-")
                    .tempdir()
                    .map_err(|cause| Error::Write { path: std::env::temp_dir(), cause })?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        let service = Service::start(configure(Config::new(data_dir))).await.map_err(Error::Service)?;
        Ok(Local { service, _folder: folder })
    }

    /// Its address.
    pub fn base_url(&self) -> String {
        self.service.base_url()
    }

    /// Ends it: what is being answered is answered, the store is closed.
    pub async fn stop(self) {
        self.service.stop().await;
    }
}

/// The tables and the endpoints among what stands in for providers.
pub fn providers(given: Vec<Enrich>) -> (Vec<EnrichTable>, Vec<EnrichEndpoint>) {
    let (mut tables, mut endpoints) = (Vec::new(), Vec::new());
    for Enrich { block, from } in given {
        match from {
            EnrichFrom::Table { path, key } => tables.push(EnrichTable { block, path, key }),
            EnrichFrom::Endpoint(url) => endpoints.push(EnrichEndpoint { block, url }),
        }
    }
    (tables, endpoints)
}
