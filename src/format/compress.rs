//! gzip and Zstandard around whole text files.
//!
//! The reader accepts several members or frames in a row, as parallel writers and `cat` make them. A
//! stream that stops inside one is an error, never a clean end. The writer makes one member or frame
//! per part, so that parts are compressed in parallel and concatenated.

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

/// Compressed bytes read at a time. By eye: large enough that system calls do not show in a profile.
const READ_BYTES: usize = 256 << 10;

/// Base-2 logarithm of the largest window of a zstd frame: 128 MiB, which `zstd --long` uses and
/// `zstd -d` accepts by default. A larger one would exceed the memory of an execution.
const ZSTD_MAX_WINDOW_LOG: u32 = 27;

/// Compression level of gzip outputs. By eye: 6 takes twice the time for a few percent.
const GZIP_LEVEL: u32 = 4;

/// Compression level of zstd outputs: the default of the library.
const ZSTD_LEVEL: i32 = 3;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// The compression around a whole text file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Uncompressed text; the default.
    #[default]
    None,
    /// gzip, in one or more members.
    Gzip,
    /// Zstandard, in one or more frames.
    Zstd,
}

impl Compression {
    /// Detects the compression of a stream that begins with `first` by its magic bytes. Four bytes
    /// are enough; with fewer the result may be [`Compression::None`].
    pub fn detect(first: &[u8]) -> Compression {
        // A zstd stream may also begin with a skippable frame.
        let zstd = matches!(first, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        if first.starts_with(GZIP_MAGIC) {
            Compression::Gzip
        } else if zstd {
            Compression::Zstd
        } else {
            Compression::None
        }
    }
}

/// Returns a reader of the decompressed bytes of `inner`.
///
/// Its errors: [`io::ErrorKind::UnexpectedEof`] if the stream stops inside a member or frame, or is
/// empty though compressed; [`io::ErrorKind::InvalidData`] if a gzip member is followed by anything
/// but another member or zero bytes to the end; zstd's own for corrupt frames and windows above
/// 128 MiB. Errors of `inner` pass unchanged.
pub fn decompressing(compression: Compression, inner: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    match compression {
        Compression::None => Box::new(inner),
        Compression::Gzip => {
            Box::new(GzipMembers { state: Members::Between(buffered(inner)), any: false }) as Box<dyn Read + Send>
        }
        Compression::Zstd => Box::new(ZstdFrames::Unopened(Some(buffered(inner)))),
    }
}

fn buffered<R: Read>(inner: R) -> BufReader<R> {
    BufReader::with_capacity(READ_BYTES, inner)
}

fn truncated(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the {what} stream is truncated"))
}

/// Reader of concatenated gzip members. Replaces flate2's own multi-member reader, which mistakes the zero
/// padding that some archivers append for a corrupt member.
struct GzipMembers<R> {
    state: Members<R>,
    /// True once a member has begun: an empty stream is no gzip file.
    any: bool,
}

/// The position of [`GzipMembers`] among members.
enum Members<R> {
    /// Before a member or the end.
    Between(BufReader<R>),
    /// Inside a member.
    Inside(Box<GzDecoder<BufReader<R>>>),
    /// At the end; also the placeholder while the reader moves between the other two.
    End,
}

impl<R: Read> Read for GzipMembers<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.state {
                Members::End => return Ok(0),
                Members::Inside(decoder) => {
                    let n = decoder.read(out).map_err(|e| match e.kind() {
                        // flate2's own end of input has no inner error; one of the source is passed on.
                        io::ErrorKind::UnexpectedEof if e.get_ref().is_none() => truncated("gzip"),
                        _ => e,
                    })?;
                    if n > 0 {
                        return Ok(n);
                    }
                    if let Members::Inside(decoder) = std::mem::replace(&mut self.state, Members::End) {
                        self.state = Members::Between(decoder.into_inner());
                    }
                }
                Members::Between(inner) => {
                    let next = fill(inner)?;
                    match next.first() {
                        None if !self.any => return Err(truncated("gzip")),
                        None => self.state = Members::End,
                        // Padding: zeros to the end of the stream, and nothing else.
                        Some(0) if self.any => {
                            if next.iter().any(|&b| b != 0) {
                                return Err(trailing_bytes());
                            }
                            let n = next.len();
                            inner.consume(n);
                            skip_zeros(inner)?;
                            self.state = Members::End;
                        }
                        Some(&b) if self.any && b != GZIP_MAGIC[0] => return Err(trailing_bytes()),
                        Some(_) => {
                            self.any = true;
                            if let Members::Between(inner) = std::mem::replace(&mut self.state, Members::End) {
                                self.state = Members::Inside(Box::new(GzDecoder::new(inner)));
                            }
                        }
                    }
                }
            }
        }
    }
}

fn fill<R: Read>(inner: &mut BufReader<R>) -> io::Result<&[u8]> {
    loop {
        match inner.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
            Ok(_) => break,
        }
    }
    Ok(inner.buffer())
}

fn skip_zeros<R: Read>(inner: &mut BufReader<R>) -> io::Result<()> {
    loop {
        let next = fill(inner)?;
        if next.is_empty() {
            return Ok(());
        }
        if next.iter().any(|&b| b != 0) {
            return Err(trailing_bytes());
        }
        let n = next.len();
        inner.consume(n);
    }
}

fn trailing_bytes() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unexpected bytes after the end of the gzip stream")
}

/// Reader of concatenated zstd frames. The decoder is created at the first read, which can return its
/// error.
enum ZstdFrames<R: Read> {
    Unopened(Option<BufReader<R>>),
    Open(zstd::stream::read::Decoder<'static, BufReader<R>>),
}

impl<R: Read> Read for ZstdFrames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let ZstdFrames::Unopened(inner) = self {
            if inner.as_mut().map(fill).transpose()?.is_none_or(|next| next.is_empty()) {
                return Err(truncated("zstd"));
            }
            if let Some(inner) = inner.take() {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(inner)?;
                decoder.window_log_max(ZSTD_MAX_WINDOW_LOG)?;
                *self = ZstdFrames::Open(decoder);
            }
        }
        match self {
            ZstdFrames::Open(decoder) => decoder.read(out),
            ZstdFrames::Unopened(_) => Err(truncated("zstd")),
        }
    }
}

/// Compressor of parts of a file, each into a member or frame of its own. A worker keeps one.
pub struct PieceCompressor(Kind);

enum Kind {
    None,
    Gzip,
    Zstd(zstd::bulk::Compressor<'static>),
}

impl PieceCompressor {
    /// Makes a compressor. Fails only if zstd cannot allocate its context.
    pub fn new(compression: Compression) -> io::Result<Self> {
        Ok(PieceCompressor(match compression {
            Compression::None => Kind::None,
            Compression::Gzip => Kind::Gzip,
            Compression::Zstd => Kind::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        }))
    }

    /// Appends the compressed form of `piece` to `out`. An empty piece makes a member or frame too: a
    /// file without any would be invalid.
    pub fn compress(&mut self, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.0 {
            Kind::None => {
                out.extend_from_slice(piece);
                Ok(())
            }
            Kind::Gzip => {
                let mut encoder = GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
                encoder.write_all(piece)?;
                encoder.finish().map(|_| ())
            }
            Kind::Zstd(compressor) => {
                let start = out.len();
                out.resize(start + zstd::zstd_safe::compress_bound(piece.len()), 0);
                let n = compressor.compress_to_buffer(piece, &mut out[start..])?;
                out.truncate(start + n);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

    fn compressed(compression: Compression, pieces: &[&[u8]]) -> Vec<u8> {
        let mut compressor = PieceCompressor::new(compression).expect("memory");
        let mut out = Vec::new();
        for piece in pieces {
            compressor.compress(piece, &mut out).expect("memory");
        }
        out
    }

    fn read(compression: Compression, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompressing(compression, Cursor::new(bytes)).read_to_end(&mut out)?;
        Ok(out)
    }

    /// Reader that returns one byte at a time.
    struct Slow(Cursor<Vec<u8>>);

    impl Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = out.len().min(1);
            self.0.read(&mut out[..n])
        }
    }

    #[test]
    fn compressed_parts_are_read_as_one_stream() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let bytes = compressed(compression, &[b"one\n", b"", &[b'x'; 300_000], b"end"]);
            let mut want = b"one\n".to_vec();
            want.resize(4 + 300_000, b'x');
            want.extend_from_slice(b"end");
            assert_eq!(Compression::detect(&bytes), compression);
            assert_eq!(read(compression, bytes.clone()).expect("whole"), want);
            let mut slow = Vec::new();
            decompressing(compression, Slow(Cursor::new(bytes))).read_to_end(&mut slow).expect("whole");
            assert_eq!(slow, want);
        }
    }

    #[test]
    fn a_truncated_stream_is_an_error() {
        for compression in BOTH {
            let first = compressed(compression, &[b"{\"a\": 1}\n{\"a\": 2}\n"]);
            let both = compressed(compression, &[b"{\"a\": 1}\n{\"a\": 2}\n", b"{\"a\": 3}\n"]);
            for cut in 0..both.len() {
                if cut == first.len() {
                    // Between members the end of the file is a valid end.
                    continue;
                }
                let error = read(compression, both[..cut].to_vec()).expect_err("truncated");
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{compression:?} cut at {cut}: {error}");
            }
        }
    }

    #[test]
    fn only_zeros_may_follow_gzip() {
        let mut bytes = compressed(Compression::Gzip, &[b"text"]);
        bytes.resize(bytes.len() + 600_000, 0);
        assert_eq!(read(Compression::Gzip, bytes.clone()).expect("padding is no member"), b"text");
        bytes.push(1);
        let error = read(Compression::Gzip, bytes).expect_err("garbage");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "unexpected bytes after the end of the gzip stream");
        for (compression, message) in [
            (Compression::Gzip, "unexpected bytes after the end of the gzip stream"),
            (Compression::Zstd, "Unknown frame descriptor"),
        ] {
            let mut bytes = compressed(compression, &[b"text"]);
            bytes.extend_from_slice(b"garbage");
            assert_eq!(read(compression, bytes).expect_err("garbage").to_string(), message);
        }
        let mut bytes = compressed(Compression::Gzip, &[b"text"]);
        let n = bytes.len();
        bytes[n - 6] ^= 1;
        let error = read(Compression::Gzip, bytes).expect_err("a wrong checksum");
        assert_eq!(error.to_string(), "corrupt gzip stream does not have a matching checksum");
    }

    #[test]
    fn errors_of_the_source_pass_unchanged() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download broke"))
            }
        }
        for compression in BOTH {
            let bytes = compressed(compression, &[b"some text"]);
            for cut in [0, 3, bytes.len() - 2, bytes.len()] {
                let source = Cursor::new(bytes[..cut].to_vec()).chain(Broken);
                let error = decompressing(compression, source).read_to_end(&mut Vec::new()).expect_err("broken");
                assert_eq!(error.to_string(), "the download broke");
            }
        }
    }
}
