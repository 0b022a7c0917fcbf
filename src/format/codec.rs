//! Compression around whole sources: its detection, and readers of the decompressed bytes.
//!
//! The readers accept several members, frames or streams in a row, as parallel writers and `cat` make them, with zero
//! bytes after the last. A stream that stops inside one is an error with its place, never a clean end.
//!
//! gzip, zlib, zstd and lz4 are decoded by their own crates. bzip2, xz and brotli go through async-compression, whose
//! decoders are futures over bytes that are always ready here: a read waits in the source below, on the thread that reads
//! the source, and never on a worker of the runtime.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_compression::futures::bufread::{BrotliDecoder, BzDecoder, XzDecoder};
use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use futures::executor::block_on;
use futures::io::{AllowStdIo, AsyncRead, AsyncReadExt};
use lz4_flex::frame::FrameDecoder;

use super::compress::SourceCodec;
use super::extension::NamedFormat;

/// Compressed bytes read at a time. By eye: large enough that system calls do not show in a profile.
const READ_BYTES: usize = 256 << 10;

/// Base-2 logarithm of the largest window of a zstd frame: 128 MiB, which `zstd --long` uses and
/// `zstd -d` accepts by default. A larger one would exceed the memory of an execution.
const ZSTD_MAX_WINDOW_LOG: u32 = 27;

/// Memory of an xz decoder: that of a window of 128 MiB, twice the largest of its presets.
const XZ_MAX_BYTES: u64 = 130 << 20;

/// Number of bytes that tell zlib from text that begins with an `x`.
const ZLIB_TRIAL_BYTES: usize = 512;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";
const LZ4_MAGIC: &[u8] = b"\x04\x22\x4d\x18";

impl SourceCodec {
    /// Bytes at the start of any source that [`SourceCodec::bytes_needed`] looks at.
    pub const MIN_BYTES: usize = 4;

    /// Returns the number of bytes that [`SourceCodec::detect`] needs of a source that begins with `first`. More than
    /// [`SourceCodec::MIN_BYTES`] only if these may begin a codec.
    pub fn bytes_needed(first: &[u8]) -> usize {
        match first {
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => 10,
            [0xfd, b'7', ..] => XZ_MAGIC.len(),
            _ if is_zlib_header(first) => ZLIB_TRIAL_BYTES,
            _ => Self::MIN_BYTES,
        }
    }

    /// Detects the codec of a source that begins with `first`, by its magic bytes. With fewer than
    /// [`SourceCodec::bytes_needed`], the result may be [`SourceCodec::None`]. Brotli and bare deflate have none.
    pub fn detect(first: &[u8]) -> SourceCodec {
        match first {
            // A zstd stream may also begin with a skippable frame.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => SourceCodec::Zstd,
            // The digits of pi begin a block, those of its root an empty stream. `BZh9` alone may begin a header of CSV.
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, b'r', b'E', b'8', b'P', 0x90, ..] => SourceCodec::Bzip2,
            _ if first.starts_with(GZIP_MAGIC) => SourceCodec::Gzip,
            _ if first.starts_with(XZ_MAGIC) => SourceCodec::Xz,
            _ if first.starts_with(LZ4_MAGIC) => SourceCodec::Lz4,
            // `x^` may begin a header of CSV, and `xÚ` one in Latin-1; what follows does not inflate then.
            _ if is_zlib_header(first) && inflates(first) => SourceCodec::Zlib,
            _ => SourceCodec::None,
        }
    }

    /// Returns the codec of a source by its first bytes, or else by its name, which may be that of a URL with its query.
    /// The name decides for codecs without magic bytes only.
    pub fn of_source(name: &str, first: &[u8]) -> SourceCodec {
        let name = name.split(['?', '#']).next().unwrap_or_default();
        match (SourceCodec::detect(first), NamedFormat::of_name(name).1) {
            (SourceCodec::None, SourceCodec::Brotli) if !first.is_empty() => SourceCodec::Brotli,
            (SourceCodec::None, SourceCodec::Zlib) if is_zlib_header(first) => SourceCodec::Zlib,
            (SourceCodec::None, SourceCodec::Zlib) if !first.is_empty() => SourceCodec::Deflate,
            (detected, _) => detected,
        }
    }

    /// Returns the codec of a Content-Encoding, in lower case; `None` if it is unknown.
    pub fn of_content_encoding(encoding: &str) -> Option<SourceCodec> {
        Some(match encoding {
            "" | "identity" => SourceCodec::None,
            "gzip" | "x-gzip" => SourceCodec::Gzip,
            "zstd" => SourceCodec::Zstd,
            "br" => SourceCodec::Brotli,
            "deflate" => SourceCodec::Zlib,
            _ => return None,
        })
    }
}

/// Returns true if two bytes are a header of zlib with a window of 32 KiB, as all writers of files make it.
fn is_zlib_header(first: &[u8]) -> bool {
    matches!(first, [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..])
}

/// Returns true if the zlib stream that begins with `first` yields at least a byte and no error.
fn inflates(first: &[u8]) -> bool {
    let mut out = [0; 64];
    let mut inflater = flate2::Decompress::new(true);
    let done = inflater.decompress(first, &mut out, flate2::FlushDecompress::None);
    done.is_ok_and(|status| status == flate2::Status::StreamEnd || inflater.total_out() > 0)
}

/// Returns a reader of the decompressed bytes of `inner`.
///
/// Its errors: [`io::ErrorKind::UnexpectedEof`] if the stream stops inside a member or frame, or is
/// empty though compressed; [`io::ErrorKind::InvalidData`] if a member is followed by anything
/// but another member or zero bytes to the end; those of the codec for corrupt members, for windows above
/// 128 MiB, and for bytes that follow a stream without magic bytes. Errors of `inner` pass unchanged.
pub fn decompressing(codec: impl Into<SourceCodec>, inner: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    match codec.into() {
        SourceCodec::None => Box::new(inner),
        SourceCodec::Gzip => Members::<_, GzDecoder<Input<_>>>::boxed(inner),
        SourceCodec::Zstd => Box::new(ZstdFrames::Unopened(Some(buffered(inner, &Arc::default())))),
        SourceCodec::Bzip2 => Members::<_, Blocking<BzDecoder<_>>>::boxed(inner),
        SourceCodec::Xz => Members::<_, Blocking<XzDecoder<_>>>::boxed(inner),
        SourceCodec::Brotli => Members::<_, Blocking<BrotliDecoder<_>>>::boxed(inner),
        SourceCodec::Lz4 => Members::<_, FrameDecoder<Input<_>>>::boxed(inner),
        SourceCodec::Zlib => Members::<_, ZlibDecoder<Input<_>>>::boxed(inner),
        SourceCodec::Deflate => Members::<_, DeflateDecoder<Input<_>>>::boxed(inner),
    }
}

/// The compressed bytes.
type Input<R> = BufReader<Watched<R>>;

/// Facts about the compressed bytes that were read.
#[derive(Default)]
struct Watch {
    bytes: AtomicU64,
    failed: AtomicBool,
    /// True once there were no more bytes.
    ended: AtomicBool,
}

/// A reader that counts bytes and notes a failure, so that an early end differs from an error of the source.
struct Watched<R> {
    inner: R,
    watch: Arc<Watch>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(out) {
            Ok(n) => {
                self.watch.bytes.fetch_add(n as u64, Ordering::Relaxed);
                self.watch.ended.fetch_or(n == 0 && !out.is_empty(), Ordering::Relaxed);
                Ok(n)
            }
            Err(error) => {
                let is_failure = error.kind() != io::ErrorKind::Interrupted;
                self.watch.failed.fetch_or(is_failure, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

fn buffered<R: Read>(inner: R, watch: &Arc<Watch>) -> Input<R> {
    BufReader::with_capacity(READ_BYTES, Watched { inner, watch: Arc::clone(watch) })
}

/// The decoder of one member, frame or stream.
trait Member<R>: Read + Sized {
    /// Name of the codec in messages.
    const NAME: &'static str;

    /// The byte with which every member begins; `None` if any byte may begin one.
    const FIRST: Option<u8>;

    /// True for a decoder that takes an end between blocks for that of the member, but stops at the true end of one without
    /// asking for another byte. One that has seen the end of the source was then cut short.
    const IGNORES_EARLY_END: bool = false;

    fn open(inner: Input<R>) -> Self;

    /// Returns the bytes behind the member.
    fn into_inner(self) -> Input<R>;
}

impl<R: Read> Member<R> for GzDecoder<Input<R>> {
    const NAME: &'static str = "gzip";
    const FIRST: Option<u8> = Some(GZIP_MAGIC[0]);

    fn open(inner: Input<R>) -> Self {
        GzDecoder::new(inner)
    }

    fn into_inner(self) -> Input<R> {
        self.into_inner()
    }
}

impl<R: Read> Member<R> for ZlibDecoder<Input<R>> {
    const NAME: &'static str = "zlib";
    const FIRST: Option<u8> = Some(0x78);

    fn open(inner: Input<R>) -> Self {
        ZlibDecoder::new(inner)
    }

    fn into_inner(self) -> Input<R> {
        self.into_inner()
    }
}

impl<R: Read> Member<R> for DeflateDecoder<Input<R>> {
    const NAME: &'static str = "deflate";
    const FIRST: Option<u8> = None;

    fn open(inner: Input<R>) -> Self {
        DeflateDecoder::new(inner)
    }

    fn into_inner(self) -> Input<R> {
        self.into_inner()
    }
}

impl<R: Read> Member<R> for FrameDecoder<Input<R>> {
    const NAME: &'static str = "lz4";
    const FIRST: Option<u8> = Some(LZ4_MAGIC[0]);

    // The size of the next block is read as a whole, and four zeros in its place end the frame.
    const IGNORES_EARLY_END: bool = true;

    fn open(inner: Input<R>) -> Self {
        FrameDecoder::new(inner)
    }

    fn into_inner(self) -> Input<R> {
        self.into_inner()
    }
}

/// A decoder of async-compression, read by a thread that may wait.
struct Blocking<D>(D);

impl<D: AsyncRead + Unpin> Read for Blocking<D> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        block_on(self.0.read(out))
    }
}

impl<R: Read> Member<R> for Blocking<BzDecoder<AllowStdIo<Input<R>>>> {
    const NAME: &'static str = "bzip2";
    const FIRST: Option<u8> = Some(b'B');

    fn open(inner: Input<R>) -> Self {
        Blocking(BzDecoder::new(AllowStdIo::new(inner)))
    }

    fn into_inner(self) -> Input<R> {
        self.0.into_inner().into_inner()
    }
}

impl<R: Read> Member<R> for Blocking<XzDecoder<AllowStdIo<Input<R>>>> {
    const NAME: &'static str = "xz";
    const FIRST: Option<u8> = Some(XZ_MAGIC[0]);

    fn open(inner: Input<R>) -> Self {
        Blocking(XzDecoder::with_mem_limit(AllowStdIo::new(inner), XZ_MAX_BYTES))
    }

    fn into_inner(self) -> Input<R> {
        self.0.into_inner().into_inner()
    }
}

impl<R: Read> Member<R> for Blocking<BrotliDecoder<AllowStdIo<Input<R>>>> {
    const NAME: &'static str = "brotli";
    const FIRST: Option<u8> = None;

    fn open(inner: Input<R>) -> Self {
        Blocking(BrotliDecoder::new(AllowStdIo::new(inner)))
    }

    fn into_inner(self) -> Input<R> {
        self.0.into_inner().into_inner()
    }
}

/// Reader of concatenated members. Replaces the multi-member readers of the crates, which mistake the zero
/// padding that some archivers append for a corrupt member.
struct Members<R: Read, D> {
    state: State<R, D>,
    /// True once a member has begun: an empty stream is no compressed file.
    any: bool,
    watch: Arc<Watch>,
}

/// The position of [`Members`] among members.
enum State<R: Read, D> {
    /// Before a member or the end.
    Between(Input<R>),
    /// Inside a member.
    Inside(Box<D>),
    /// At the end; also the placeholder while the reader moves between the other two.
    End,
}

impl<R: Read + Send + 'static, D: Member<R> + Send + 'static> Members<R, D> {
    fn boxed(inner: R) -> Box<dyn Read + Send> {
        let watch = Arc::default();
        let state = State::<R, D>::Between(buffered(inner, &watch));
        Box::new(Members { state, any: false, watch })
    }
}

impl<R: Read, D: Member<R>> Members<R, D> {
    fn truncated(&self) -> io::Error {
        let (name, bytes) = (D::NAME, self.watch.bytes.load(Ordering::Relaxed));
        let what = format!("the {name} stream is truncated: it ends at byte {bytes}, inside a member");
        io::Error::new(io::ErrorKind::UnexpectedEof, what)
    }

    fn trailing_bytes() -> io::Error {
        let what = format!("unexpected bytes after the end of the {} stream", D::NAME);
        io::Error::new(io::ErrorKind::InvalidData, what)
    }

    /// Skips padding: zeros to the end of the stream, and nothing else.
    fn skip_zeros(inner: &mut Input<R>) -> io::Result<()> {
        loop {
            let next = fill(inner)?;
            if next.is_empty() {
                return Ok(());
            }
            if next.iter().any(|&b| b != 0) {
                return Err(Self::trailing_bytes());
            }
            let n = next.len();
            inner.consume(n);
        }
    }
}

impl<R: Read, D: Member<R>> Read for Members<R, D> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.state {
                State::End => return Ok(0),
                State::Inside(decoder) => {
                    let n = match decoder.read(out) {
                        Ok(n) => n,
                        Err(error) => {
                            let (failed, ended) = (&self.watch.failed, &self.watch.ended);
                            // At an early end liblzma asks for more room, which reads as `out of memory`.
                            let is_early_end = match error.kind() {
                                io::ErrorKind::UnexpectedEof => true,
                                io::ErrorKind::Other | io::ErrorKind::OutOfMemory => ended.load(Ordering::Relaxed),
                                _ => false,
                            };
                            let is_early_end = is_early_end && !failed.load(Ordering::Relaxed);
                            return Err(if is_early_end { self.truncated() } else { error });
                        }
                    };
                    if n > 0 {
                        return Ok(n);
                    }
                    if D::IGNORES_EARLY_END && self.watch.ended.load(Ordering::Relaxed) {
                        return Err(self.truncated());
                    }
                    if let State::Inside(decoder) = std::mem::replace(&mut self.state, State::End) {
                        self.state = State::Between(decoder.into_inner());
                    }
                }
                State::Between(inner) => {
                    let first = fill(inner)?.first().copied();
                    match first {
                        None if !self.any => return Err(self.truncated()),
                        None => self.state = State::End,
                        Some(0) if self.any => {
                            Self::skip_zeros(inner)?;
                            self.state = State::End;
                        }
                        Some(first) if self.any && D::FIRST != Some(first) => return Err(Self::trailing_bytes()),
                        Some(_) => {
                            self.any = true;
                            if let State::Between(inner) = std::mem::replace(&mut self.state, State::End) {
                                self.state = State::Inside(Box::new(D::open(inner)));
                            }
                        }
                    }
                }
            }
        }
    }
}

fn fill<R: Read>(inner: &mut Input<R>) -> io::Result<&[u8]> {
    loop {
        match inner.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
            Ok(_) => break,
        }
    }
    Ok(inner.buffer())
}

/// Reader of concatenated zstd frames. The decoder is created at the first read, which can return its
/// error.
enum ZstdFrames<R: Read> {
    Unopened(Option<Input<R>>),
    Open(zstd::stream::read::Decoder<'static, Input<R>>),
}

impl<R: Read> Read for ZstdFrames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let truncated = || io::Error::new(io::ErrorKind::UnexpectedEof, "the zstd stream is truncated: it is empty");
        if let ZstdFrames::Unopened(inner) = self {
            if inner.as_mut().map(fill).transpose()?.is_none_or(|next| next.is_empty()) {
                return Err(truncated());
            }
            if let Some(inner) = inner.take() {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(inner)?;
                decoder.window_log_max(ZSTD_MAX_WINDOW_LOG)?;
                *self = ZstdFrames::Open(decoder);
            }
        }
        match self {
            ZstdFrames::Open(decoder) => decoder.read(out),
            ZstdFrames::Unopened(_) => Err(truncated()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use async_compression::futures::bufread::{BrotliEncoder, BzEncoder, XzEncoder};

    use super::*;
    use crate::format::compress::PieceCompressor;

    const ALL: [SourceCodec; 8] = [
        SourceCodec::Gzip,
        SourceCodec::Zstd,
        SourceCodec::Bzip2,
        SourceCodec::Xz,
        SourceCodec::Brotli,
        SourceCodec::Lz4,
        SourceCodec::Zlib,
        SourceCodec::Deflate,
    ];

    /// Codecs whose members can be concatenated.
    const WITH_MEMBERS: [SourceCodec; 6] = [
        SourceCodec::Gzip,
        SourceCodec::Zstd,
        SourceCodec::Bzip2,
        SourceCodec::Xz,
        SourceCodec::Lz4,
        SourceCodec::Zlib,
    ];

    fn encoded(encoder: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut out = Vec::new();
        Blocking(encoder).read_to_end(&mut out).expect("memory");
        out
    }

    fn member(codec: SourceCodec, text: &[u8]) -> Vec<u8> {
        let cursor = || futures::io::Cursor::new(text.to_vec());
        let level = flate2::Compression::fast();
        let mut out = Vec::new();
        match codec {
            SourceCodec::None => out.extend_from_slice(text),
            SourceCodec::Gzip | SourceCodec::Zstd => {
                let compression = codec.as_output().expect("is written");
                PieceCompressor::new(compression).and_then(|mut c| c.compress(text, &mut out)).expect("memory");
            }
            SourceCodec::Bzip2 => out = encoded(BzEncoder::new(cursor())),
            SourceCodec::Xz => out = encoded(XzEncoder::new(cursor())),
            SourceCodec::Brotli => out = encoded(BrotliEncoder::new(cursor())),
            SourceCodec::Lz4 => {
                // As the lz4 command writes them.
                let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, &mut out);
                io::Write::write_all(&mut encoder, text).expect("memory");
                encoder.finish().expect("memory");
            }
            SourceCodec::Zlib => {
                flate2::read::ZlibEncoder::new(text, level).read_to_end(&mut out).map(|_| ()).expect("memory");
            }
            SourceCodec::Deflate => {
                flate2::read::DeflateEncoder::new(text, level).read_to_end(&mut out).map(|_| ()).expect("memory");
            }
        }
        out
    }

    fn compressed(codec: SourceCodec, pieces: &[&[u8]]) -> Vec<u8> {
        pieces.iter().flat_map(|piece| member(codec, piece)).collect()
    }

    fn read(compression: SourceCodec, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
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
        let parts: &[&[u8]] = &[b"one\n", b"", &[b'x'; 300_000], b"end"];
        for codec in ALL {
            let parts = if WITH_MEMBERS.contains(&codec) { parts } else { &parts[2..3] };
            let bytes = compressed(codec, parts);
            let want = parts.concat();
            assert_eq!(read(codec, bytes.clone()).expect("whole"), want, "{codec:?}");
            let mut slow = Vec::new();
            decompressing(codec, Slow(Cursor::new(bytes))).read_to_end(&mut slow).expect("whole");
            assert_eq!(slow, want, "{codec:?}");
        }
    }

    #[test]
    fn codecs_are_detected_by_bytes_and_by_names() {
        let text = b"a,b\n1,2\n".repeat(100);
        let by_bytes = [SourceCodec::Brotli, SourceCodec::Deflate];
        for codec in ALL.into_iter().filter(|codec| !by_bytes.contains(codec)) {
            let bytes = member(codec, &text);
            let needed = SourceCodec::bytes_needed(&bytes[..SourceCodec::MIN_BYTES]).min(bytes.len());
            assert_eq!(SourceCodec::detect(&bytes[..needed]), codec);
            assert_eq!(SourceCodec::of_source("a.csv", &bytes[..needed]), codec);
            assert_eq!(SourceCodec::of_source("a.csv.br", &bytes[..needed]), codec, "the bytes are certain");
            assert_eq!(SourceCodec::detect(&member(codec, b"")), codec, "{codec:?} of nothing");
        }
        for name in ["a.csv.br", "https://x/a.BR?signed=1#f", "a.brotli"] {
            assert_eq!(SourceCodec::of_source(name, &member(SourceCodec::Brotli, &text)), SourceCodec::Brotli);
        }
        assert_eq!(SourceCodec::of_source("a.deflate", &member(SourceCodec::Deflate, &text)), SourceCodec::Deflate);
        assert_eq!(SourceCodec::of_source("a.br", b""), SourceCodec::None, "an empty file");
        for text in ["BZh9,name\n1,2\n", "x^2,y\n1,2\n", "x\u{1}", "", "x", "BZh91AY", "{}"] {
            assert_eq!(SourceCodec::of_source("a.csv", text.as_bytes()), SourceCodec::None, "{text:?}");
        }
        assert_eq!(SourceCodec::detect(b"x\xdalia,sted\nOslo,1\n"), SourceCodec::None, "Latin-1");
    }

    #[test]
    fn a_truncated_stream_is_an_error() {
        for codec in ALL {
            let first = compressed(codec, &[b"{\"a\": 1}\n{\"a\": 2}\n"]);
            let is_chain = WITH_MEMBERS.contains(&codec);
            let both = if is_chain { [&*first, &member(codec, b"{\"a\": 3}\n")].concat() } else { first.clone() };
            for cut in 0..both.len() {
                if cut == first.len() {
                    // Between members the end of the file is a valid end.
                    continue;
                }
                let error = read(codec, both[..cut].to_vec()).expect_err("truncated");
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{codec:?} cut at {cut}: {error}");
                let place = format!("it ends at byte {cut}, inside a member");
                assert!(codec == SourceCodec::Zstd || error.to_string().ends_with(&place), "{error}");
            }
        }
    }

    /// Frames of which any eight bytes may look like an end: blocks of zeros as they are, with and without checksums.
    #[test]
    fn an_end_between_blocks_of_lz4_is_none() {
        for has_checksum in [false, true] {
            let mut info = lz4_flex::frame::FrameInfo::new().content_checksum(has_checksum);
            info.block_size = lz4_flex::frame::BlockSize::Max64KB;
            let mut whole = Vec::new();
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, &mut whole);
            // Bytes that do not compress end in eight zeros at the end of the first block.
            let mut state = 1u32;
            let noise = |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            };
            let mut text: Vec<u8> = (0..100_000).map(noise).collect();
            text[65_528..65_536].fill(0);
            io::Write::write_all(&mut encoder, &text).expect("memory");
            encoder.finish().expect("memory");
            assert_eq!(read(SourceCodec::Lz4, whole.clone()).expect("whole"), text);
            // The header, the size of the block and the block.
            let between = 7 + 4 + 65_536;
            assert_eq!(whole[between - 8..between], [0; 8], "a block as it is");
            for cut in (between - 8..between + 8).chain(whole.len() - 9..whole.len()) {
                let error = read(SourceCodec::Lz4, whole[..cut].to_vec()).expect_err("truncated");
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}: {error}");
            }
        }
    }

    #[test]
    fn only_zeros_may_follow() {
        for codec in ALL.into_iter().filter(|codec| *codec != SourceCodec::Zstd) {
            let mut bytes = member(codec, b"text");
            bytes.resize(bytes.len() + 600_000, 0);
            assert_eq!(read(codec, bytes.clone()).expect("padding is no member"), b"text", "{codec:?}");
            bytes.push(1);
            let error = read(codec, bytes).expect_err("garbage");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let message = error.to_string();
            assert!(message.starts_with("unexpected bytes after the end of the "), "{message}");
        }
        for codec in ALL {
            let bytes = [&*member(codec, b"text"), b"garbage"].concat();
            read(codec, bytes).expect_err("garbage");
        }
        // zstd frames of drawoff have no checksum.
        let unchecked = [SourceCodec::Brotli, SourceCodec::Deflate, SourceCodec::Zstd];
        for codec in ALL.into_iter().filter(|codec| !unchecked.contains(codec)) {
            let bytes = member(codec, b"some text that is not short, and more of it");
            for at in SourceCodec::MIN_BYTES..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x55;
                // Fields of a header that say nothing of the text may be anything.
                if let Ok(text) = read(codec, damaged) {
                    assert_eq!(text, b"some text that is not short, and more of it", "{codec:?} at {at}");
                }
            }
        }
    }

    #[test]
    fn errors_of_the_source_pass_unchanged() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download broke"))
            }
        }
        for compression in ALL {
            let bytes = compressed(compression, &[b"some text"]);
            for cut in [0, 3, bytes.len() - 2, bytes.len()] {
                let source = Cursor::new(bytes[..cut].to_vec()).chain(Broken);
                let error = decompressing(compression, source).read_to_end(&mut Vec::new()).expect_err("broken");
                assert_eq!(error.to_string(), "the download broke");
            }
        }
    }
}
