//! Streams whose bytes are kept in a temporary file as they arrive, so that they can be read again from their start. Bounded:
//! longer ones, or ones for which there is no space, are not kept.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::byte_source::ByteSource;
use super::stdin::StdinSource;

/// Bytes that are kept at most, of all streams of a command: temporary directories may be in memory.
const MAX_KEPT_BYTES: u64 = 1 << 30;

/// The file that keeps the bytes of several streams: hundreds of downloads must not need a file each.
#[derive(Clone, Debug)]
pub struct KeptBytes(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    /// `None` once nothing is kept any more.
    file: Option<File>,
    /// Bytes in it.
    len: u64,
    /// The most that are kept.
    most: u64,
}

impl KeptBytes {
    /// Keeps bytes in `file`, which is empty.
    pub fn new(file: File) -> Self {
        KeptBytes(Arc::new(Mutex::new(Kept { file: Some(file), len: 0, most: MAX_KEPT_BYTES })))
    }

    /// Keeps no further bytes, and drops those that were.
    fn forget(&self) {
        lock(&self.0).file = None;
    }

    fn is_kept(&self) -> bool {
        lock(&self.0).file.is_some()
    }

    /// Keeps `bytes`. Returns their place, or `None` if nothing is kept any more: without space streams go on, and only cannot
    /// be read again.
    fn append(&self, bytes: &[u8]) -> Option<u64> {
        let mut kept = lock(&self.0);
        let (place, end) = (kept.len, kept.len + bytes.len() as u64);
        let is_written = end <= kept.most && kept.file.as_ref()?.write_all_at(bytes, place).is_ok();
        if !is_written {
            kept.file = None;
            return None;
        }
        kept.len = end;
        Some(place)
    }

    fn read_at(&self, buf: &mut [u8], place: u64) -> io::Result<usize> {
        match &lock(&self.0).file {
            Some(file) => file.read_at(buf, place),
            None => Err(io::Error::other("the bytes that were read before are no longer kept")),
        }
    }
}

/// Standard input or an open stream that is kept. Clones are of the same stream.
#[derive(Clone)]
pub struct KeptStream {
    shared: Arc<Mutex<Shared>>,
    bytes: KeptBytes,
    is_stdin: bool,
}

/// The state of a stream that all of its readers share.
struct Shared {
    origin: Origin,
    /// The parts of the stream that are kept, in order, without gaps between them.
    parts: Vec<Part>,
}

/// A part of a stream in the file.
#[derive(Clone, Copy)]
struct Part {
    /// Its position in the stream, and in the file.
    start: u64,
    place: u64,
    len: u64,
}

enum Origin {
    /// Standard input that was not opened yet.
    Stdin,
    Open(Box<dyn ByteSource>),
    /// It was read to its end and closed: a download that stays open keeps those behind it from beginning.
    Ended {
        size_bytes: Option<u64>,
        is_end_proven: bool,
        media_type: Option<String>,
    },
}

impl KeptStream {
    /// Keeps standard input in `bytes`.
    pub fn of_stdin(bytes: KeptBytes) -> Self {
        KeptStream::new(Origin::Stdin, bytes)
    }

    /// Keeps `stream` in `bytes`.
    pub fn of_stream(stream: Box<dyn ByteSource>, bytes: KeptBytes) -> Self {
        KeptStream::new(Origin::Open(stream), bytes)
    }

    fn new(origin: Origin, bytes: KeptBytes) -> Self {
        let is_stdin = matches!(origin, Origin::Stdin);
        let shared = Shared { origin, parts: Vec::new() };
        KeptStream { shared: Arc::new(Mutex::new(shared)), bytes, is_stdin }
    }

    /// Returns true for standard input.
    pub fn is_stdin(&self) -> bool {
        self.is_stdin
    }

    /// Returns true if all bytes so far can be read again.
    pub fn is_kept(&self) -> bool {
        self.bytes.is_kept()
    }

    /// Keeps no further bytes of this stream and of those beside it, and drops those that were.
    pub fn forget(&self) {
        self.bytes.forget();
    }

    /// Opens the stream, from its first byte as long as it is kept.
    pub fn open(&self) -> io::Result<Box<dyn ByteSource>> {
        let mut shared = lock(&self.shared);
        if let Origin::Stdin = shared.origin {
            shared.origin = Origin::Open(Box::new(StdinSource::open()?));
        }
        Ok(Box::new(KeptReader { shared: self.shared.clone(), bytes: self.bytes.clone(), position: 0 }))
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn has_ended(&self) -> bool {
        matches!(self.origin, Origin::Ended { .. })
    }

    /// Returns the bytes that are known to be kept, from the start on.
    fn kept_len(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.start + part.len)
    }

    /// Reads further bytes of the stream, and keeps them in `bytes`.
    fn read_on(&mut self, buf: &mut [u8], bytes: &KeptBytes) -> io::Result<usize> {
        let source = match &mut self.origin {
            Origin::Open(source) => source,
            Origin::Ended { .. } => return Ok(0),
            Origin::Stdin => return Err(io::Error::other("standard input was not opened")),
        };
        let n = source.read(buf)?;
        if n == 0 && !buf.is_empty() {
            let (size_bytes, is_end_proven) = (source.size_bytes(), source.is_end_proven());
            let media_type = source.media_type()?;
            self.origin = Origin::Ended { size_bytes, is_end_proven, media_type };
            return Ok(0);
        }
        if let Some(place) = bytes.append(&buf[..n]) {
            let (start, len) = (self.kept_len(), n as u64);
            match self.parts.last_mut().filter(|last| last.place + last.len == place) {
                Some(last) => last.len += len,
                None => self.parts.push(Part { start, place, len }),
            }
        }
        Ok(n)
    }
}

/// One reader of a stream. An earlier one may still wait for the stream when the next one begins.
struct KeptReader {
    shared: Arc<Mutex<Shared>>,
    bytes: KeptBytes,
    position: u64,
}

impl Read for KeptReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut shared = lock(&self.shared);
        let n = if self.position < shared.kept_len() {
            let index = shared.parts.partition_point(|part| part.start + part.len <= self.position);
            let Part { start, place, len } = shared.parts[index];
            let skipped = self.position - start;
            let most = usize::try_from(len - skipped).unwrap_or(usize::MAX).min(buf.len());
            self.bytes.read_at(&mut buf[..most], place + skipped)?
        } else {
            shared.read_on(buf, &self.bytes)?
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
        let is_behind = self.position < shared.kept_len() || shared.has_ended();
        match &mut shared.origin {
            Origin::Open(source) => !is_behind && source.would_wait(),
            _ => false,
        }
    }

    fn size_bytes(&self) -> Option<u64> {
        match &lock(&self.shared).origin {
            Origin::Open(source) => source.size_bytes(),
            Origin::Ended { size_bytes, .. } => *size_bytes,
            Origin::Stdin => None,
        }
    }

    fn is_end_proven(&mut self) -> bool {
        match &mut lock(&self.shared).origin {
            Origin::Open(source) => source.is_end_proven(),
            Origin::Ended { is_end_proven, .. } => *is_end_proven,
            Origin::Stdin => false,
        }
    }

    fn media_type(&mut self) -> io::Result<Option<String>> {
        match &mut lock(&self.shared).origin {
            Origin::Open(source) => source.media_type(),
            Origin::Ended { media_type, .. } => Ok(media_type.clone()),
            Origin::Stdin => Ok(None),
        }
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

    fn kept(most: u64) -> KeptBytes {
        let bytes = KeptBytes::new(tempfile::tempfile().unwrap());
        lock(&bytes.0).most = most;
        bytes
    }

    fn stream(bytes: &KeptBytes) -> KeptStream {
        let pieces = Pieces(vec![b"first ", b"second ", b"third"]);
        KeptStream::of_stream(Box::new(pieces), bytes.clone())
    }

    fn all(mut reader: Box<dyn ByteSource>) -> String {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_kept_stream_is_read_from_its_start_again() {
        for before in [0, 3, 8, 100] {
            let bytes = kept(100);
            let streams = [stream(&bytes), stream(&bytes)];
            // One after the other, and then in turn.
            let mut readers = streams.clone().map(|stream| stream.open().unwrap());
            let mut some = vec![0; before];
            for reader in readers.iter_mut().chain(&mut streams.clone().map(|stream| stream.open().unwrap())) {
                let _ = reader.read(&mut some).unwrap();
                let _ = reader.read(&mut some).unwrap();
            }
            for stream in streams.iter().chain(&streams) {
                assert_eq!(all(stream.open().unwrap()), "first second third", "{before}");
            }
            assert!(streams[0].is_kept());
            for reader in readers {
                assert!("first second third".ends_with(&all(reader)));
            }
        }
    }

    /// Counts the streams that are open.
    struct Counted {
        pieces: Pieces,
        _open: Arc<()>,
    }

    impl Read for Counted {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.pieces.read(buf)
        }
    }

    impl ByteSource for Counted {
        fn is_end_proven(&mut self) -> bool {
            true
        }
    }

    #[test]
    fn a_stream_is_closed_at_its_end() {
        let open = Arc::new(());
        let source = Counted { pieces: Pieces(vec![b"first ", b"second"]), _open: open.clone() };
        let stream = KeptStream::of_stream(Box::new(source), kept(100));
        let mut reader = stream.open().unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((Arc::strong_count(&open), reader.is_end_proven()), (1, true));
        assert_eq!(all(stream.open().unwrap()), text);
    }

    #[test]
    fn streams_that_are_too_long_or_forgotten_go_on() {
        let bytes = kept(20);
        let [one, other] = [stream(&bytes), stream(&bytes)];
        assert_eq!(all(one.open().unwrap()), "first second third");
        assert!(one.is_kept());
        assert_eq!(all(other.open().unwrap()), "first second third");
        assert!(!one.is_kept() && !other.is_kept());
        let one = stream(&kept(100));
        let mut reader = one.open().unwrap();
        let mut some = [0; 6];
        assert_eq!(reader.read(&mut some).unwrap(), 6);
        one.forget();
        assert_eq!(all(reader), "second third");
        assert!(one.open().unwrap().read(&mut some).is_err(), "its start is gone");
    }
}
