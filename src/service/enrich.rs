//! Loads what stands in for the providers of enrichment blocks, when the service starts.

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

/// A reference table could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No block of that name looks anything up.
    #[error("no enrichment block is called '{block}'")]
    NoSuchBlock {
        /// The name.
        block: String,
    },
    /// Rows would go over the network in the clear.
    #[error("rows would go to {url} without encryption: only https, or http on this machine, is taken")]
    InTheClear {
        /// The endpoint, without what its query may hold.
        url: String,
    },
    /// There is no HTTP client.
    #[error("no requests can be made")]
    Client(#[source] reqwest::Error),
    /// One block has one table.
    #[error("the block '{block}' is given two providers")]
    TwoTables {
        /// The block.
        block: String,
    },
    /// The file cannot be read.
    #[error("cannot read the reference table {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The file is larger than tables may be.
    #[error("the reference table {} has {size_bytes} bytes, more than the limit of {limit_bytes}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The file's records cannot be read.
    #[error("cannot load the reference table {}", path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Box<pipeline::Error>,
    },
    /// No record has the key column.
    #[error("the reference table {} has no column '{key}'", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The column.
        key: String,
    },
}

/// Loads the tables of `config`. `scratch` is a folder for temporary files.
pub(super) fn load(config: &Config, scratch: &Path) -> Result<EnrichmentSources, Error> {
    let mut tables = HashMap::new();
    for given in &config.enrich {
        let block = block_called(&given.block)?;
        let standing = if block.provider == Some(ProviderKind::Rows) {
            let path = given.path.clone();
            File::open(&path).map_err(|cause| Error::Read { path: path.clone(), cause })?;
            EnrichmentSource::Rows(path)
        } else {
            EnrichmentSource::Table(load_table(given, config.max_enrich_bytes, &config.limits, scratch)?)
        };
        if tables.insert(block.name, standing).is_some() {
            return Err(Error::TwoTables { block: block.name.to_owned() });
        }
    }
    for given in &config.endpoints {
        let block = block_called(&given.block)?;
        if !provider::may_be_sent_to(&given.url) {
            let url = format!("{}://{}", given.url.scheme(), given.url.host_str().unwrap_or_default());
            return Err(Error::InTheClear { url });
        }
        let provider = Provider::new(given.url.clone()).map_err(Error::Client)?;
        if tables.insert(block.name, EnrichmentSource::Endpoint(Arc::new(provider))).is_some() {
            return Err(Error::TwoTables { block: block.name.to_owned() });
        }
    }
    Ok(EnrichmentSources(tables))
}

fn block_called(name: &str) -> Result<&'static BlockType, Error> {
    let block = blocks::find(name).filter(|block| block.provider.is_some());
    block.ok_or_else(|| Error::NoSuchBlock { block: name.to_owned() })
}

fn load_table(given: &EnrichTable, limit_bytes: u64, limits: &Limits, scratch: &Path) -> Result<ReferenceTable, Error> {
    let path = &given.path;
    let read = |cause: io::Error| Error::Read { path: path.clone(), cause };
    let size_bytes = path.metadata().map_err(read)?.len();
    if size_bytes > limit_bytes {
        return Err(Error::TooLarge { path: path.clone(), size_bytes, limit_bytes });
    }
    // The pipeline reads every format and recognises types, so the table goes through it
    // once; what is left to read here is NDJSON of our own writing.
    let lines = tempfile::Builder::new().suffix(".ndjson").tempfile_in(scratch).map_err(read)?;
    let target = Target::File { path: lines.path().to_owned(), no_clobber: false, append: false };
    let output = Output { format: OutputFormat::Ndjson, compression: Compression::None, target };
    let mut plan = ExecutionPlan::new(Source::file(path), output);
    plan.schema.from = SchemaFrom::Full;
    plan.limits = limits.clone();
    pipeline::execute(plan, &Control::new())
        .map_err(|cause| Error::Records { path: path.clone(), cause: Box::new(cause) })?;
    // The pipeline renamed its own file over the temporary one: open by name again.
    let file = File::open(lines.path()).map_err(read)?;
    ReferenceTable::read(BufReader::new(file), &given.key)
        .map_err(read)?
        .ok_or_else(|| Error::NoKey { path: path.clone(), key: given.key.clone() })
}
