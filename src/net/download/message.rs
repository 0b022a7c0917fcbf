//! The words between a download's task and its reader: what is to be opened, and the pieces of it that come.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::format::Compression;
use crate::net::retry::RetryBudget;
use crate::net::{Error, FreshLink, Link};
use crate::secret::SecretUrl;

/// What is to be downloaded.
pub struct DownloadRequest {
    /// The first link.
    pub link: Link,
    /// Where further ones come from. Without it an expired link is final.
    pub fresh: Option<Arc<dyn FreshLink>>,
    /// What may be spent between two steps of progress; the first answer has [`RetryBudget::ASK`].
    pub budget: RetryBudget,
}

impl DownloadRequest {
    /// One link without a successor.
    pub fn link(link: SecretUrl) -> Self {
        DownloadRequest { link: Link::lasting(link), fresh: None, budget: RetryBudget::DOWNLOAD }
    }
}

/// What the first answer says.
#[derive(Clone, Debug)]
pub(super) struct DownloadHead {
    pub(super) content_type: Option<String>,
    pub(super) size_bytes: Option<u64>,
}

/// What the task hands to the reader.
pub(super) enum BodyMessage {
    /// A body begins.
    Body(BodyStart),
    Chunk(Bytes, OwnedSemaphorePermit),
    /// All was handed on; `proven` unless nothing but two connections that ended at the same byte says so.
    End {
        proven: bool,
    },
    Failed(Error),
}

/// Where a body begins, and how it is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyStart {
    /// The byte of the file; not 0 only where the last body broke off there.
    pub(super) from: u64,
    pub(super) encoding: Compression,
    /// Bytes of the file in all.
    pub(super) total: Option<u64>,
}
