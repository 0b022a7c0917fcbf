//! The request for a download, and the messages from its task to its reader.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::format::SourceCodec;
use crate::net::retry::RetryBudget;
use crate::net::{Error, FreshLink, Link};
use crate::secret::SecretUrl;

/// A file to download: its link, and the means to replace the link.
pub struct DownloadRequest {
    /// The link of the first connection.
    pub link: Link,
    /// Source of fresh links. `None` makes an expired link final.
    pub fresh: Option<Arc<dyn FreshLink>>,
    /// Attempts and time without progress. Until the first response [`RetryBudget::ASK`] applies instead.
    pub budget: RetryBudget,
}

impl DownloadRequest {
    /// Creates a request for a link that cannot be replaced, with [`RetryBudget::DOWNLOAD`].
    pub fn link(link: SecretUrl) -> Self {
        DownloadRequest { link: Link::lasting(link), fresh: None, budget: RetryBudget::DOWNLOAD }
    }
}

/// Facts of the first response.
#[derive(Clone, Debug)]
pub(super) struct DownloadHead {
    pub(super) content_type: Option<String>,
    pub(super) size_bytes: Option<u64>,
}

/// A message from the task to the reader, in the order of the bytes.
pub(super) enum BodyMessage {
    /// A body starts: the first one, or the one of another connection.
    Body(BodyStart),
    /// Bytes of the current body, and their share of the window.
    Chunk(Bytes, OwnedSemaphorePermit),
    /// The file is complete. `proven` is false if the only evidence is that two connections ended at the same byte.
    End {
        proven: bool,
    },
    Failed(Error),
}

/// Offset and encoding of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyStart {
    /// Offset of the body in the file: 0, or the byte at which the previous body was interrupted.
    pub(super) from: u64,
    pub(super) encoding: SourceCodec,
    /// Size of the file in bytes; `None` if the response does not say, or if it is encoded.
    pub(super) total: Option<u64>,
}
