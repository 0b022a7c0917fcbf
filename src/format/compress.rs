//! gzip and Zstandard around text files that are written: one member or frame per part, so that parts are compressed in
//! parallel and concatenated. Reading, also of other codecs, is in [`super::codec`].

use std::io::{self, Write};

use flate2::write::GzEncoder;

/// Compression level of gzip outputs. By eye: 6 takes twice the time for a few percent.
const GZIP_LEVEL: u32 = 4;

/// Compression level of zstd outputs: the default of the library.
const ZSTD_LEVEL: i32 = 3;

/// The compression around a text file that is written.
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

/// The compression around a whole source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceCodec {
    /// Uncompressed; the default.
    #[default]
    None,
    /// gzip, in one or more members.
    Gzip,
    /// Zstandard, in one or more frames.
    Zstd,
    /// bzip2, in one or more streams.
    Bzip2,
    /// xz, in one or more streams.
    Xz,
    /// Brotli, which has no magic bytes.
    Brotli,
    /// lz4 frames.
    Lz4,
    /// zlib (RFC 1950), which HTTP calls `deflate`.
    Zlib,
    /// Deflate without a header (RFC 1951).
    Deflate,
}

impl From<Compression> for SourceCodec {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => SourceCodec::None,
            Compression::Gzip => SourceCodec::Gzip,
            Compression::Zstd => SourceCodec::Zstd,
        }
    }
}

impl SourceCodec {
    /// Returns the compression of outputs that this is; `None` for a codec that is only read.
    pub fn as_output(self) -> Option<Compression> {
        match self {
            SourceCodec::None => Some(Compression::None),
            SourceCodec::Gzip => Some(Compression::Gzip),
            SourceCodec::Zstd => Some(Compression::Zstd),
            _ => None,
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
