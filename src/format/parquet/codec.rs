//! Compression of pages, with contexts that are kept from page to page.

use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use parquet::basic::{Compression, ZstdLevel};
use zstd::zstd_safe::{CParameter, ParamSwitch, Strategy};

use super::Error;
use crate::format::ParquetCodec;

/// What a page holds, as far as it decides how it is best compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Numbers, indices.
    Numbers,
    /// Text, nothing more being known.
    Text,
    /// Text that is alike in long pieces and hardly in short ones: links, numbers of telephones.
    Pieces,
    /// Text of one length whose every value is much like the one before: times.
    Series,
    /// Words in any order.
    Words,
}

/// The level of zstd at which the parameters below are used instead of the library's own for that level, which change
/// with the size of a page: below 256 KiB it looks for matches in a slower way, and finds little more in columns.
/// Measured on a million wide rows: about 6 % less CPU for the whole conversion, and a file 0.9 % smaller.
const TUNED_LEVEL: i32 = 2;

/// How zstd looks for matches.
struct ZstdSearch {
    /// Bytes of the shortest match.
    min_match: u32,
    /// Bits of the number of places that are remembered.
    hash_log: u32,
    /// Bits of the distance that a match may have. Below 19 the library compares without branches, which is quicker where
    /// many places are too far away, and slower where few are.
    window_log: u32,
    /// Matches begin at pairs of neighbouring places, this and one apart, where 0 stands for 1: no place is passed over.
    /// They still grow to the left.
    target_length: u32,
}

impl Content {
    /// Found by trying, on the pages of a million wide rows and ten million narrow ones, what is quick and what is small for
    /// each column. Beside `Text`, `Pieces` takes up to 30 % less time, `Series` 40 % less and makes times a quarter smaller; `Words`
    /// takes as much and makes words 2.5 % smaller. In the wrong place each makes columns 5 to 20 % larger.
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

/// What a sample of text must not exceed to be of a kind, as a ratio to its size as [`Content::Text`]; the first that does
/// not is taken. Two percent by eye: the time saved is worth that much. Words are 1 % smaller in a sample, and more so in a
/// page, which is longer and fills the larger table and window; other text is 2 % larger or more.
const KINDS_OF_TEXT: [(Content, f64); 3] = [(Content::Pieces, 1.02), (Content::Series, 1.02), (Content::Words, 1.01)];

/// Compresses pages. One per row group at work; the context of zstd takes one or two MiB.
pub(super) struct PageCodec {
    compression: Compression,
    context: Context,
    out: BytesMut,
    /// `out`, while a page that was made in it may still be in use.
    lent: Option<Bytes>,
}

enum Context {
    None,
    Snappy(Box<snap::raw::Encoder>),
    Lz4,
    /// With what it is set up for, where it is tuned.
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
                    // Else what is between matches would not be compressed where places are passed over.
                    context.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
                    set_up(&mut context, content)?;
                }
                Context::Zstd(context, tuned)
            }
        };
        Ok(PageCodec { compression: compression(codec)?, context, out: BytesMut::new(), lent: None })
    }

    /// The codec's name in the footer.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// The compressed form of `page`. Is not copied, and its memory is used again once it is dropped.
    pub(super) fn compressed(&mut self, page: &[u8], content: Content) -> Result<Bytes, Error> {
        let Some(written) = self.fill_out(page, content)? else { return Ok(Bytes::copy_from_slice(page)) };
        let whole = std::mem::take(&mut self.out).freeze();
        let compressed = whole.slice(..written);
        self.lent = Some(whole);
        Ok(compressed)
    }

    /// Bytes of the compressed form of `sample`.
    pub(super) fn compressed_size(&mut self, sample: &[u8], content: Content) -> Result<usize, Error> {
        Ok(self.fill_out(sample, content)?.unwrap_or(sample.len()))
    }

    /// Compresses `page` into `out`, and returns how many bytes that are; `None` if there is no compression.
    fn fill_out(&mut self, page: &[u8], content: Content) -> Result<Option<usize>, Error> {
        if let Some(Ok(out)) = self.lent.take().map(Bytes::try_into_mut) {
            self.out = out;
        }
        let out = &mut self.out;
        Ok(Some(match &mut self.context {
            Context::None => return Ok(None),
            Context::Snappy(encoder) => {
                let out = room(out, snap::raw::max_compress_len(page.len()));
                encoder.compress(page, out).map_err(io::Error::other)?
            }
            Context::Lz4 => {
                let out = room(out, lz4_flex::block::get_maximum_output_size(page.len()));
                lz4_flex::block::compress_into(page, out).map_err(io::Error::other)?
            }
            Context::Zstd(context, tuned) => {
                if tuned.is_some_and(|set_up_for| set_up_for != content) {
                    set_up(context, content)?;
                    *tuned = Some(content);
                }
                context.compress_to_buffer(page, room(out, zstd::zstd_safe::compress_bound(page.len())))?
            }
        }))
    }

    /// The kind of text that a sample is of.
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

fn set_up(context: &mut zstd::bulk::Compressor<'static>, content: Content) -> io::Result<()> {
    let search = content.search();
    context.set_parameter(CParameter::MinMatch(search.min_match))?;
    context.set_parameter(CParameter::HashLog(search.hash_log))?;
    context.set_parameter(CParameter::WindowLog(search.window_log))?;
    context.set_parameter(CParameter::TargetLength(search.target_length))
}

/// At least `bytes` of `out`, without touching what is there already.
fn room(out: &mut BytesMut, bytes: usize) -> &mut [u8] {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Links that differ in their ends only: no short matches to miss.
    fn links() -> Vec<u8> {
        let number = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (0..8000).flat_map(|i| format!("https://files.example.com/items/{:08x}", number(i)).into_bytes()).collect()
    }

    #[test]
    fn every_way_gives_the_page_back() {
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
    fn a_sample_tells_what_kind_of_text_it_is() {
        let mut codec = PageCodec::try_new(ParquetCodec::Zstd { level: TUNED_LEVEL }).unwrap();
        assert_eq!(codec.kind_of_text(&links()).unwrap(), Content::Pieces);
        // With the length before each, as a page has them.
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
        // Six letters each, in any order: all that there is to find is short.
        let words: Vec<u8> = random(40_000).flat_map(|n| word(n % 900).into_bytes()).collect();
        assert_eq!(codec.kind_of_text(&words).unwrap(), Content::Text);
        let length = |n: u64| 2 + (n / 1000 % 5) as usize;
        let prose: String = random(40_000).map(|n| format!("{} ", &word(n % 1000)[..length(n)])).collect();
        assert_eq!(codec.kind_of_text(&prose.as_bytes()[..128 << 10]).unwrap(), Content::Words);
        let mut as_told = PageCodec::try_new(ParquetCodec::Zstd { level: 1 }).unwrap();
        assert_eq!(as_told.kind_of_text(&links()).unwrap(), Content::Text, "another level is the library's own");
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
