//! Recorded pair of request and response: a JSON file named by its number, for people and replays, with a file beside it
//! for the rows of a download.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::service::private_files;

/// Start of a recorded link to a recorded file, before its number and name. The origin and the signature of the service
/// that replays it take this place.
pub(in crate::service) const LINK_PREFIX: &str = "drawoff-link:";

/// One request with its response, without secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::service) struct Pair {
    /// Number of the pair in its directory, in the order of requests.
    pub number: u64,
    /// Time of the request.
    pub at: String,
    pub request: RecordedRequest,
    pub response: RecordedResponse,
    /// Differences of the response from the contract.
    pub differences: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::service) struct RecordedRequest {
    pub method: String,
    /// Path; that of a link begins with `/storage/files/` and has its number.
    pub path: String,
    /// Query; that of a link is left out.
    pub query: String,
    pub headers: BTreeMap<String, String>,
    pub body: RecordedBody,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::service) struct RecordedResponse {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: RecordedBody,
    /// False if the client or the hosted service ended the transfer early.
    pub is_complete: bool,
}

/// A body, in the form that is easiest to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::service) enum RecordedBody {
    None,
    Json(Value),
    /// Length of a request's body that is not kept, and the SHA-256 by which a replay knows it again.
    Digest {
        bytes: u64,
        sha256: String,
    },
    /// Name of the file with the bytes, in the directory of the pair.
    File(String),
    /// Number of bytes of a response's body that is not kept.
    Omitted(u64),
}

impl Pair {
    /// Writes the pair into `directory`. The file appears whole, because a replay may read the directory at any time.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let partial = directory.join(format!(".{:06}.partial", self.number));
        io::Write::write_all(&mut private_files::create(&partial)?, &text)?;
        fs::rename(partial, directory.join(format!("{:06}.json", self.number)))
    }

    /// Reads all pairs of `directory`, in the order of their numbers.
    pub(super) fn read_all(directory: &Path) -> io::Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let is_pair = path.file_stem().is_some_and(|stem| stem.to_string_lossy().parse::<u64>().is_ok());
            if !is_pair || path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = io::read_to_string(private_files::open(&path)?)?;
            let pair: Pair = serde_json::from_str(&text)
                .map_err(|error| io::Error::other(format!("{} is no recorded pair: {error}", path.display())))?;
            if let RecordedBody::File(name) = &pair.response.body
                && *name != body_file(pair.number)
            {
                return Err(io::Error::other(format!("{} names a file that is not its own", path.display())));
            }
            pairs.push(pair);
        }
        pairs.sort_by_key(|pair| pair.number);
        Ok(pairs)
    }
}

/// Returns the name of the file with the body of a pair.
pub(super) fn body_file(number: u64) -> String {
    format!("{number:06}.body")
}
