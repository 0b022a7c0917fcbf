//! Compression of pages, with contexts that are kept from page to page.

use std::fmt;
use std::io;

use parquet::basic::{Compression, ZstdLevel};

use super::Error;
use crate::format::ParquetCodec;

/// Compresses pages. One per row group at work; the context of zstd takes one or two MiB.
pub(super) struct PageCodec {
    compression: Compression,
    context: Context,
    out: Vec<u8>,
}

enum Context {
    None,
    Snappy(Box<snap::raw::Encoder>),
    Lz4,
    Zstd(zstd::bulk::Compressor<'static>),
}

impl PageCodec {
    pub(super) fn try_new(codec: ParquetCodec) -> Result<Self, Error> {
        let context = match codec {
            ParquetCodec::Uncompressed => Context::None,
            ParquetCodec::Snappy => Context::Snappy(Box::new(snap::raw::Encoder::new())),
            ParquetCodec::Lz4 => Context::Lz4,
            ParquetCodec::Zstd { level } => Context::Zstd(zstd::bulk::Compressor::new(level)?),
        };
        Ok(PageCodec { compression: compression(codec)?, context, out: Vec::new() })
    }

    /// The codec's name in the footer.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// The compressed form of `page`, valid until the next call.
    pub(super) fn compress<'a>(&'a mut self, page: &'a [u8]) -> Result<&'a [u8], Error> {
        let out = &mut self.out;
        let written = match &mut self.context {
            Context::None => return Ok(page),
            Context::Snappy(encoder) => {
                let out = room(out, snap::raw::max_compress_len(page.len()));
                encoder.compress(page, out).map_err(io::Error::other)?
            }
            Context::Lz4 => {
                let out = room(out, lz4_flex::block::get_maximum_output_size(page.len()));
                lz4_flex::block::compress_into(page, out).map_err(io::Error::other)?
            }
            Context::Zstd(context) => {
                context.compress_to_buffer(page, room(out, zstd::zstd_safe::compress_bound(page.len())))?
            }
        };
        Ok(&out[..written])
    }
}

/// At least `bytes` of `out`, without touching what is there already.
fn room(out: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if out.len() < bytes {
        out.resize(bytes, 0);
    }
    out
}

impl fmt::Debug for PageCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PageCodec").field(&self.compression).finish()
    }
}

/// The codec's name in the footer. Fails if the level is unknown.
pub(super) fn compression(codec: ParquetCodec) -> Result<Compression, Error> {
    Ok(match codec {
        ParquetCodec::Uncompressed => Compression::UNCOMPRESSED,
        ParquetCodec::Snappy => Compression::SNAPPY,
        ParquetCodec::Lz4 => Compression::LZ4_RAW,
        ParquetCodec::Zstd { level } => Compression::ZSTD(ZstdLevel::try_new(level)?),
    })
}
