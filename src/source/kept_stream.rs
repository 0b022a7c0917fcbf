//! A stream whose bytes are kept in a temporary file as they arrive, so that it can be read again from its start. Bounded: a
//! longer stream, or one for which there is no space, is not kept.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::byte_source::ByteSource;
use super::stdin::StdinSource;

/// Bytes of one stream that are kept at most, as they arrive: temporary directories may be in memory.
const MAX_KEPT_BYTES: u64 = 1 << 30;

/// Standard input or an open stream that is kept. Clones are of the same stream.
#[derive(Clone)]
pub struct KeptStream {
    shared: Arc<Mutex<Shared>>,
    is_stdin: bool,
}

/// The state of a stream that all of its readers share.
struct Shared {
    origin: Origin,
    /// The bytes from the start on; `None` once they are not kept any more.
    kept: Option<File>,
    /// Bytes in it.
    len: u64,
    /// The most bytes that are kept.
    most: u64,
    has_ended: bool,
}

enum Origin {
    /// Standard input that was not opened yet.
    Stdin,
    Open(Box<dyn ByteSource>),
}

impl KeptStream {
    /// Keeps the bytes of standard input in `file`, which is empty.
    pub fn of_stdin(file: File) -> Self {
        KeptStream::new(Origin::Stdin, file)
    }

    /// Keeps the bytes of `stream` in `file`, which is empty.
    pub fn of_stream(stream: Box<dyn ByteSource>, file: File) -> Self {
        KeptStream::new(Origin::Open(stream), file)
    }

    fn new(origin: Origin, file: File) -> Self {
        let is_stdin = matches!(origin, Origin::Stdin);
        let shared = Shared { origin, kept: Some(file), len: 0, most: MAX_KEPT_BYTES, has_ended: false };
        KeptStream { shared: Arc::new(Mutex::new(shared)), is_stdin }
    }

    /// Returns true for standard input.
    pub fn is_stdin(&self) -> bool {
        self.is_stdin
    }

    /// Returns true if all bytes so far can be read again.
    pub fn is_kept(&self) -> bool {
        self.lock().kept.is_some()
    }

    /// Keeps no further bytes, and drops those that were.
    pub fn forget(&self) {
        self.lock().kept = None;
    }

    /// Opens the stream, from its first byte as long as it is kept.
    pub fn open(&self) -> io::Result<Box<dyn ByteSource>> {
        let mut shared = self.lock();
        if let Origin::Stdin = shared.origin {
            shared.origin = Origin::Open(Box::new(StdinSource::open()?));
        }
        Ok(Box::new(KeptReader { shared: self.shared.clone(), position: 0 }))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn origin(&mut self) -> io::Result<&mut dyn ByteSource> {
        match &mut self.origin {
            Origin::Open(source) => Ok(&mut **source),
            Origin::Stdin => Err(io::Error::other("standard input was not opened")),
        }
    }

    /// Reads further bytes of the stream, and keeps them.
    fn read_on(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.has_ended {
            return Ok(0);
        }
        let n = self.origin()?.read(buf)?;
        self.has_ended = n == 0 && !buf.is_empty();
        if let Some(file) = &self.kept {
            // Without space the stream goes on, and only cannot be read again.
            let is_kept = self.len + n as u64 <= self.most && file.write_all_at(&buf[..n], self.len).is_ok();
            match is_kept {
                true => self.len += n as u64,
                false => self.kept = None,
            }
        }
        Ok(n)
    }
}

/// One reader of a stream. An earlier one may still wait for the stream when the next one begins.
struct KeptReader {
    shared: Arc<Mutex<Shared>>,
    position: u64,
}

impl Read for KeptReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut shared = lock(&self.shared);
        let n = match &shared.kept {
            Some(file) if self.position < shared.len => {
                let most = usize::try_from(shared.len - self.position).unwrap_or(usize::MAX).min(buf.len());
                file.read_at(&mut buf[..most], self.position)?
            }
            _ if self.position < shared.len => {
                return Err(io::Error::other("the bytes that were read before are no longer kept"));
            }
            _ => shared.read_on(buf)?,
        };
        self.position += n as u64;
        Ok(n)
    }
}

impl ByteSource for KeptReader {
    fn would_wait(&mut self) -> bool {
        let mut shared = match self.shared.try_lock() {
            Ok(shared) => shared,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // An earlier reader waits for the stream.
            Err(TryLockError::WouldBlock) => return true,
        };
        let is_behind = self.position < shared.len || shared.has_ended;
        !is_behind && shared.origin().is_ok_and(ByteSource::would_wait)
    }

    fn size_bytes(&self) -> Option<u64> {
        lock(&self.shared).origin().ok()?.size_bytes()
    }

    fn is_end_proven(&mut self) -> bool {
        lock(&self.shared).origin().is_ok_and(ByteSource::is_end_proven)
    }

    fn media_type(&mut self) -> io::Result<Option<String>> {
        lock(&self.shared).origin()?.media_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.first_mut() else { return Ok(0) };
            let n = piece.len().min(buf.len());
            buf[..n].copy_from_slice(&piece[..n]);
            *piece = &piece[n..];
            self.0.retain(|piece| !piece.is_empty());
            Ok(n)
        }
    }

    impl ByteSource for Pieces {}

    fn stream() -> KeptStream {
        let pieces = Pieces(vec![b"first ", b"second ", b"third"]);
        KeptStream::of_stream(Box::new(pieces), tempfile::tempfile().unwrap())
    }

    fn all(mut reader: Box<dyn ByteSource>) -> String {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_kept_stream_is_read_from_its_start_again() {
        for before in [0, 3, 8, 100] {
            let kept = stream();
            let mut first = kept.open().unwrap();
            let mut some = vec![0; before];
            let _ = first.read(&mut some).unwrap();
            let _ = first.read(&mut some).unwrap();
            assert_eq!(all(kept.open().unwrap()), "first second third", "{before}");
            assert_eq!(all(kept.open().unwrap()), "first second third", "{before}");
            assert!(kept.is_kept());
        }
    }

    #[test]
    fn a_stream_that_is_too_long_or_forgotten_goes_on() {
        let kept = stream();
        kept.lock().most = 8;
        assert_eq!(all(kept.open().unwrap()), "first second third");
        assert!(!kept.is_kept());
        let kept = stream();
        let mut reader = kept.open().unwrap();
        let mut some = [0; 6];
        assert_eq!(reader.read(&mut some).unwrap(), 6);
        kept.forget();
        assert_eq!(all(reader), "second third");
        assert!(kept.open().unwrap().read(&mut some).is_err(), "its start is gone");
    }
}
