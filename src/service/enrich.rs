//! Loader of the enrichment sources, which replace the vendor's providers: reads reference tables and checks endpoints
//! when the service starts. It sends no request; the first run does.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blocks::{self, BlockType, ProviderKind};
use super::config::{Config, EnrichTable};
use super::enrichment_sources::{EnrichmentSource, EnrichmentSources, ReferenceTable};
use super::provider::{self, Provider};
use crate::format::{Compression, OutputFormat};
use crate::pipeline::{self, Control, ExecutionPlan, Limits, Output, SchemaFrom, Target};
use crate::source::Source;

/// Failure to load an enrichment source; the service then does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No block with this name has a provider.
    #[error("no enrichment block is called '{block}'")]
    NoSuchBlock {
        /// Name as specified in the configuration.
        block: String,
    },
    /// The endpoint would receive rows over an unencrypted network connection.
    #[error("cannot send rows to {url} without encryption: use https, or http on this machine")]
    InTheClear {
        /// Scheme and host of the endpoint; the rest may contain a secret.
        url: String,
    },
    /// The HTTP client cannot be created.
    #[error("cannot create the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The configuration has two sources for one block.
    #[error("duplicate enrichment source for the block '{block}'")]
    TwoTables {
        /// Name of the block in the catalogue.
        block: String,
    },
    /// The file cannot be read.
    #[error("cannot read the reference table {}", path.display())]
    Read {
        /// Path of the table.
        path: PathBuf,
        /// Error of the file system.
        #[source]
        cause: io::Error,
    },
    /// The file exceeds the size limit of tables, which are held in memory.
    #[error("cannot load the reference table {}: it has {size_bytes} bytes, more than the limit of {limit_bytes}", path.display())]
    TooLarge {
        /// Path of the table.
        path: PathBuf,
        /// Size of the file.
        size_bytes: u64,
        /// `Config::max_enrich_bytes` at the start.
        limit_bytes: u64,
    },
    /// The records of the file cannot be parsed.
    #[error("cannot load the reference table {}", path.display())]
    Records {
        /// Path of the table.
        path: PathBuf,
        /// Error with the position of the record.
        #[source]
        cause: Box<pipeline::Error>,
    },
    /// No record has the key column.
    #[error("cannot load the reference table {}: it has no key column '{key}'", path.display())]
    NoKey {
        /// Path of the table.
        path: PathBuf,
        /// Name of the missing column.
        key: String,
    },
}

/// Loads the enrichment sources of `config`. `scratch` is a directory for temporary files.
pub(super) fn load(config: &Config, scratch: &Path) -> Result<EnrichmentSources, Error> {
    let mut sources = HashMap::new();
    for table in &config.enrich {
        let block = find_block(&table.block)?;
        let source = if block.provider == Some(ProviderKind::Rows) {
            // Each run reads the file anew; opening it here only reports a wrong path at the start.
            let path = table.path.clone();
            File::open(&path).map_err(|cause| Error::Read { path: path.clone(), cause })?;
            EnrichmentSource::Rows(path)
        } else {
            EnrichmentSource::Table(load_table(table, config.max_enrich_bytes, &config.limits, scratch)?)
        };
        if sources.insert(block.name, source).is_some() {
            return Err(Error::TwoTables { block: block.name.to_owned() });
        }
    }
    for endpoint in &config.endpoints {
        let block = find_block(&endpoint.block)?;
        if !provider::is_allowed(&endpoint.url) {
            let url = format!("{}://{}", endpoint.url.scheme(), endpoint.url.host_str().unwrap_or_default());
            return Err(Error::InTheClear { url });
        }
        let provider = Provider::new(endpoint.url.clone()).map_err(Error::Client)?;
        if sources.insert(block.name, EnrichmentSource::Endpoint(Arc::new(provider))).is_some() {
            return Err(Error::TwoTables { block: block.name.to_owned() });
        }
    }
    Ok(EnrichmentSources(sources))
}

fn find_block(name: &str) -> Result<&'static BlockType, Error> {
    let block = blocks::find(name).filter(|block| block.provider.is_some());
    block.ok_or_else(|| Error::NoSuchBlock { block: name.to_owned() })
}

fn load_table(table: &EnrichTable, limit_bytes: u64, limits: &Limits, scratch: &Path) -> Result<ReferenceTable, Error> {
    let path = &table.path;
    let read = |cause: io::Error| Error::Read { path: path.clone(), cause };
    let size_bytes = path.metadata().map_err(read)?.len();
    if size_bytes > limit_bytes {
        return Err(Error::TooLarge { path: path.clone(), size_bytes, limit_bytes });
    }
    // The pipeline reads every format and infers types, so it converts the table to NDJSON first;
    // the parser below only has to handle NDJSON written by drawoff.
    let lines = tempfile::Builder::new().suffix(".ndjson").tempfile_in(scratch).map_err(read)?;
    let target = Target::File { path: lines.path().to_owned(), no_clobber: false, append: false };
    let output = Output { format: OutputFormat::Ndjson, compression: Compression::None, target };
    let mut plan = ExecutionPlan::new(Source::file(path), output);
    plan.schema.from = SchemaFrom::Full;
    plan.limits = limits.clone();
    pipeline::execute(plan, &Control::new())
        .map_err(|cause| Error::Records { path: path.clone(), cause: Box::new(cause) })?;
    // The pipeline renamed its own file over the temporary one, so the open handle is stale: reopen by name.
    let file = File::open(lines.path()).map_err(read)?;
    ReferenceTable::read(BufReader::new(file), &table.key)
        .map_err(read)?
        .ok_or_else(|| Error::NoKey { path: path.clone(), key: table.key.clone() })
}
