//! Compresses pages, with contexts and buffers that are kept from page to page, and picks zstd's match
//! search by the content of a column.

use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use parquet::basic::{Compression, ZstdLevel};
use zstd::zstd_safe::{CParameter, ParamSwitch, Strategy};

use super::Error;
use crate::format::ParquetCodec;

/// The content of a page, as far as it decides about the match search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Numbers or dictionary indices.
    Numbers,
    /// Text of no known kind.
    Text,
    /// Text with long common substrings and few short ones: URLs, telephone numbers.
    Pieces,
    /// Text of one length in which every value resembles the one before: timestamps.
    Series,
    /// Words in any order.
    Words,
}

/// The zstd level at which the parameters below replace the library's own for that level. Those change with the size of a
/// page: below 256 KiB the library searches in a slower way that finds little more in columns.
/// Measured on a million wide rows: about 6 % less CPU for the whole conversion, and a file 0.9 % smaller.
const TUNED_LEVEL: i32 = 2;

/// Parameters of zstd's match search.
struct ZstdSearch {
    /// Length of the shortest match, in bytes.
    min_match: u32,
    /// Base-2 logarithm of the number of positions remembered.
    hash_log: u32,
    /// Base-2 logarithm of the largest match distance. Below 19 the library compares without branches, which is faster
    /// where many positions are too far away, and slower where few are.
    window_log: u32,
    /// Step of the search: pairs of neighbouring positions, this plus one apart, are tried; 0 counts as 1, so that no
    /// position is skipped. Matches are still extended backwards.
    target_length: u32,
}

impl Content {
    /// Returns the search parameters for this content.
    ///
    /// Found by experiment on the pages of a million wide rows and ten million narrow ones, by time and size per column.
    /// Compared with `Text`, `Pieces` takes up to 30 % less time, `Series` 40 % less and makes timestamps a quarter
    /// smaller; `Words` takes the same time and makes words 2.5 % smaller. For the wrong content each makes columns 5 to
    /// 20 % larger.
    fn search(self) -> ZstdSearch {
        let (min_match, hash_log, window_log, target_length) = match self {
            Content::Numbers => (5, 16, 20, 0),
            Content::Text => (5, 15, 18, 0),
            Content::Pieces => (7, 14, 18, 0),
            Content::Series => (6, 14, 18, 6),
            Content::Words => (6, 16, 20, 2),
        };
        ZstdSearch { min_match, hash_log, window_log, target_length }
    }
}

/// The most that a sample of text may take when compressed as each kind, as a ratio to its size as [`Content::Text`]; the
/// first kind within its limit is used. Two percent by eye: the time saved is worth that much. Words are 1 % smaller in a
/// sample, and more so in a page, which is longer and fills the larger table and window; other text is 2 % larger or more.
const KINDS_OF_TEXT: [(Content, f64); 3] = [(Content::Pieces, 1.02), (Content::Series, 1.02), (Content::Words, 1.01)];

/// Compressor of pages. One per row group that is being encoded; the context of zstd takes one or two MiB.
pub(super) struct PageCodec {
    compression: Compression,
    context: Context,
    out: BytesMut,
    /// The buffer `out`, while a page made in it may still be in use.
    lent: Option<Bytes>,
}

/// The state of the codec.
enum Context {
    None,
    Snappy(Box<snap::raw::Encoder>),
    Lz4,
    /// With the content that it is configured for; `None` at levels that are not tuned.
    Zstd(zstd::bulk::Compressor<'static>, Option<Content>),
}

impl PageCodec {
    pub(super) fn try_new(codec: ParquetCodec) -> Result<Self, Error> {
        let context = match codec {
            ParquetCodec::Uncompressed => Context::None,
            ParquetCodec::Snappy => Context::Snappy(Box::new(snap::raw::Encoder::new())),
            ParquetCodec::Lz4 => Context::Lz4,
            ParquetCodec::Zstd { level } => {
                let mut context = zstd::bulk::Compressor::new(level)?;
                let tuned = (level == TUNED_LEVEL).then_some(Content::Text);
                if let Some(content) = tuned {
                    context.set_parameter(CParameter::Strategy(Strategy::ZSTD_fast))?;
                    // By default literals are stored uncompressed if the search skips positions.
                    context.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
                    configure(&mut context, content)?;
                }
                Context::Zstd(context, tuned)
            }
        };
        Ok(PageCodec { compression: compression(codec)?, context, out: BytesMut::new(), lent: None })
    }

    /// Returns the codec as named in the footer.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Compresses `page`. The result is not copied, and its memory is reused once it is dropped.
    pub(super) fn compressed(&mut self, page: &[u8], content: Content) -> Result<Bytes, Error> {
        let Some(written) = self.fill_out(page, content)? else { return Ok(Bytes::copy_from_slice(page)) };
        let whole = std::mem::take(&mut self.out).freeze();
        let compressed = whole.slice(..written);
        self.lent = Some(whole);
        Ok(compressed)
    }

    /// Returns the compressed size of `sample` in bytes.
    pub(super) fn compressed_size(&mut self, sample: &[u8], content: Content) -> Result<usize, Error> {
        Ok(self.fill_out(sample, content)?.unwrap_or(sample.len()))
    }

    /// Compresses `page` into `out`, and returns the length; `None` without compression.
    fn fill_out(&mut self, page: &[u8], content: Content) -> Result<Option<usize>, Error> {
        // Takes the buffer back if the last page made in it was dropped; otherwise `out` allocates anew.
        if let Some(Ok(out)) = self.lent.take().map(Bytes::try_into_mut) {
            self.out = out;
        }
        let out = &mut self.out;
        Ok(Some(match &mut self.context {
            Context::None => return Ok(None),
            Context::Snappy(encoder) => {
                let out = enlarged(out, snap::raw::max_compress_len(page.len()));
                encoder.compress(page, out).map_err(io::Error::other)?
            }
            Context::Lz4 => {
                let out = enlarged(out, lz4_flex::block::get_maximum_output_size(page.len()));
                lz4_flex::block::compress_into(page, out).map_err(io::Error::other)?
            }
            Context::Zstd(context, tuned) => {
                if tuned.is_some_and(|configured| configured != content) {
                    configure(context, content)?;
                    *tuned = Some(content);
                }
                context.compress_to_buffer(page, enlarged(out, zstd::zstd_safe::compress_bound(page.len())))?
            }
        }))
    }

    /// Determines the kind of text by compressing a sample as each kind. [`Content::Text`] unless the level is tuned.
    pub(super) fn kind_of_text(&mut self, sample: &[u8]) -> Result<Content, Error> {
        if matches!(self.context, Context::Zstd(_, Some(_))) {
            let plain = self.compressed_size(sample, Content::Text)? as f64;
            for (kind, largest) in KINDS_OF_TEXT {
                if self.compressed_size(sample, kind)? as f64 <= plain * largest {
                    return Ok(kind);
                }
            }
        }
        Ok(Content::Text)
    }
}

fn configure(context: &mut zstd::bulk::Compressor<'static>, content: Content) -> io::Result<()> {
    let search = content.search();
    context.set_parameter(CParameter::MinMatch(search.min_match))?;
    context.set_parameter(CParameter::HashLog(search.hash_log))?;
    context.set_parameter(CParameter::WindowLog(search.window_log))?;
    context.set_parameter(CParameter::TargetLength(search.target_length))
}

/// Returns `out` with at least `bytes` bytes; only bytes added are cleared.
fn enlarged(out: &mut BytesMut, bytes: usize) -> &mut [u8] {
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

/// Returns the codec as named in the footer. Fails if the zstd level is out of range.
pub(super) fn compression(codec: ParquetCodec) -> Result<Compression, Error> {
    Ok(match codec {
        ParquetCodec::Uncompressed => Compression::UNCOMPRESSED,
        ParquetCodec::Snappy => Compression::SNAPPY,
        ParquetCodec::Lz4 => Compression::LZ4_RAW,
        ParquetCodec::Zstd { level } => Compression::ZSTD(ZstdLevel::try_new(level)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// URLs that differ in their ends only: there are no short matches to miss.
    fn links() -> Vec<u8> {
        let number = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (0..8000).flat_map(|i| format!("https://files.example.com/items/{:08x}", number(i)).into_bytes()).collect()
    }

    #[test]
    fn pages_of_every_content_and_level_are_decompressed() {
        let texts = [Vec::new(), b"a".to_vec(), links(), (0..70_000u32).flat_map(u32::to_le_bytes).collect()];
        for level in [1, TUNED_LEVEL, 3] {
            let mut codec = PageCodec::try_new(ParquetCodec::Zstd { level }).unwrap();
            for text in &texts {
                for content in
                    [Content::Text, Content::Numbers, Content::Pieces, Content::Words, Content::Series, Content::Text]
                {
                    let page = codec.compressed(text, content).unwrap();
                    assert_eq!(zstd::bulk::decompress(&page, text.len()).unwrap(), *text, "{level} {content:?}");
                }
            }
        }
    }

    #[test]
    fn the_kind_of_text_is_determined_from_a_sample() {
        let mut codec = PageCodec::try_new(ParquetCodec::Zstd { level: TUNED_LEVEL }).unwrap();
        assert_eq!(codec.kind_of_text(&links()).unwrap(), Content::Pieces);
        // With their lengths, as in a page.
        let times: Vec<u8> = (0..5000u64)
            .flat_map(|i| {
                let ms = i * 997 + i * i % 600;
                let time = format!(
                    "2026-06-01T{:02}:{:02}:{:02}.{:03}Z",
                    ms / 3_600_000,
                    ms / 60_000 % 60,
                    ms / 1000 % 60,
                    ms % 1000
                );
                [&24u32.to_le_bytes()[..], time.as_bytes()].concat()
            })
            .collect();
        assert_eq!(codec.kind_of_text(&times).unwrap(), Content::Series);
        // Six letters each, in any order: all matches are short.
        let words: Vec<u8> = random(40_000).flat_map(|n| word(n % 900).into_bytes()).collect();
        assert_eq!(codec.kind_of_text(&words).unwrap(), Content::Text);
        let length = |n: u64| 2 + (n / 1000 % 5) as usize;
        let prose: String = random(40_000).map(|n| format!("{} ", &word(n % 1000)[..length(n)])).collect();
        assert_eq!(codec.kind_of_text(&prose.as_bytes()[..128 << 10]).unwrap(), Content::Words);
        let mut untuned = PageCodec::try_new(ParquetCodec::Zstd { level: 1 }).unwrap();
        assert_eq!(untuned.kind_of_text(&links()).unwrap(), Content::Text, "only one level is tuned");
    }

    fn random(n: usize) -> impl Iterator<Item = u64> {
        let next =
            |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        std::iter::successors(Some(1u64), next).skip(1).take(n).map(|state| state >> 33)
    }

    fn word(n: u64) -> String {
        format!("{:06x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40)
    }
}
