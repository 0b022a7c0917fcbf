//! The hosted service behind this one: a proxy that hands requests on, keeps pairs of request and response in a directory,
//! and compares each response with the contract; and replays of such a directory without the hosted service.
//!
//! ```text
//! client ─► routes::hosted ─► upstream ─► comparison with the contract ─► journal, log, summary
//!                 │                  └──► pair (secrets removed) ─► NUMBER.json, NUMBER.body
//!                 └─► replay: the next recorded pair of the request
//! ```
//!
//! No secret enters a directory of pairs: keys are not recorded, secrets of webhooks and signatures in texts are replaced,
//! and a signed link is replaced by a link of this service to the recorded file, both on the wire and in the pair. Bodies are
//! kept as JSON, where secrets have names and places, or as the rows of a download; of all others the length is kept.

mod pair;
mod recorder;
mod redact;
mod replay;
mod sent_body;
mod upstream;

use std::io;
use std::path::{Path, PathBuf};

use url::Url;

pub(super) use pair::{LINK_PREFIX, Pair, RecordedBody, RecordedRequest, RecordedResponse};
pub(super) use recorder::Recorder;
pub(super) use redact::{path as redacted_path, query as redacted_query, text as redacted_text, with_links};
pub(super) use replay::{Missing, Replay, ReplayedRequest};
pub(super) use sent_body::{SentBody, is_json, media_type};
pub(super) use upstream::{REQUEST_HEADERS, RESPONSE_HEADERS, Upstream, is_allowed};

/// The source of the API's responses.
#[derive(Clone, Debug, Default)]
pub enum Backend {
    /// The service itself.
    #[default]
    Local,
    /// The hosted service at this address, to which requests are handed on.
    Proxy {
        /// Its address: https, or http on this machine.
        url: Url,
        /// Directory for the pairs of request and response, created if absent; `None` keeps none.
        record: Option<PathBuf>,
    },
    /// A directory of recorded pairs.
    Replay(PathBuf),
}

/// The part of a running service that stands for the hosted one.
pub(super) enum Hosted {
    Proxy { upstream: Upstream, recorder: Recorder },
    Replay(Replay),
}

impl Hosted {
    /// Prepares the backend; `None` for the service itself. Blocks on the disk.
    pub(super) fn open(backend: &Backend) -> Result<Option<Self>, (PathBuf, io::Error)> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |cause| (path, cause)
        };
        Ok(match backend {
            Backend::Local => None,
            Backend::Proxy { url, record } => {
                let directory = record.clone().unwrap_or_default();
                let recorder = Recorder::open(record.clone()).map_err(at(&directory))?;
                let upstream = Upstream::new(url.clone()).map_err(|error| at(&directory)(io::Error::other(error)))?;
                Some(Hosted::Proxy { upstream, recorder })
            }
            Backend::Replay(directory) => Some(Hosted::Replay(Replay::open(directory).map_err(at(directory))?)),
        })
    }

    /// Returns lines on what was handed on or replayed, and on the differences from the contract.
    pub(super) fn summary(&self) -> Vec<String> {
        match self {
            Hosted::Proxy { recorder, .. } => recorder.summary(),
            Hosted::Replay(replay) => replay.summary(),
        }
    }
}
