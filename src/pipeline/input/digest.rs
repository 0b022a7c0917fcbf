//! Digests of the bytes of sources, as they were sent, before decompression. They identify the rows of sources that have no
//! name of their own, such as files and pipes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// Bytes of a file that are read at a time.
const READ_BYTES: usize = 1 << 18;

/// The digests of the sources of an execution, by their index. Cheap to clone; all clones are one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceDigests(Arc<Mutex<Vec<Option<String>>>>);

impl SourceDigests {
    /// Creates a list for `n` sources.
    pub(crate) fn new(n: usize) -> Self {
        SourceDigests(Arc::new(Mutex::new(vec![None; n])))
    }

    fn set(&self, index: usize, digest: String) {
        let mut digests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = digests.get_mut(index) {
            *place = Some(digest);
        }
    }

    /// Digests the whole file of a source.
    pub(super) fn set_of_file(&self, index: usize, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut running = RunningDigest::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => running.update(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        running.end(self, index);
        Ok(())
    }

    /// Returns the digests of all sources; `None` if one was not read to its end.
    pub(crate) fn all(&self) -> Option<Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The digest of a source that is being read.
#[derive(Clone, Default)]
pub(super) struct RunningDigest(Sha256);

impl RunningDigest {
    /// Adds the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Enters the digest of the source with this index, which is at its end.
    pub(super) fn end(&mut self, digests: &SourceDigests, index: usize) {
        let digest = std::mem::take(&mut self.0).finalize();
        digests.set(index, digest.iter().map(|byte| format!("{byte:02x}")).collect());
    }
}
