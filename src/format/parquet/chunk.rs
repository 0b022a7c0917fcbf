//! Joins the parts that workers encoded into one column chunk.
//!
//! Large row groups and small units of work are both desirable, so a row group is assembled from parts.
//! Plain pages are concatenated. Indices refer to the dictionary of their own part; here the
//! dictionaries are merged, the indices mapped to the merged one, and only then packed and compressed.
//! The work is little, because dictionaries are small.

use parquet::basic::{Encoding, PageType};
use parquet::column::page::Page;
use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};

use super::Error;
use super::codec::Content;
use super::leaf::{ChunkPart, DICTIONARY_BYTES, EncoderScratch, PagePart, SerializedPage, index_width};
use super::rle;

/// A whole chunk, with offsets from its own start in `metadata`.
#[derive(Debug)]
pub(super) struct EncodedChunk {
    pub(super) metadata: ColumnChunkMetaData,
    /// Pages with their headers, in the order of the file.
    pub(super) pages: Vec<Vec<u8>>,
}

/// Joins `parts`, in order, into a chunk. There must be at least one.
pub(super) fn join(parts: Vec<ChunkPart>, scratch: &mut EncoderScratch) -> Result<EncodedChunk, Error> {
    let (mut entries, mut nulls) = (0, 0);
    let mut list = Vec::new();
    let mut union = None;
    let mut descriptor = None;
    for part in parts {
        entries += part.pages.entries;
        nulls += part.pages.nulls;
        descriptor.get_or_insert(part.descriptor.clone());
        // The first part's dictionary is the one that the others are merged into.
        let Some(union) = &mut union else {
            list.extend(part.pages.list);
            union = Some(part.values);
            continue;
        };
        let has_indices = part.pages.list.iter().any(|p| matches!(p, PagePart::Indices { .. }));
        // Dictionaries are merged only while the result stays small; otherwise this part's indices become plain values.
        let taken =
            has_indices && union.dictionary().1.len() + part.values.dictionary().1.len() <= 2 * DICTIONARY_BYTES;
        let new_indices = union.absorb(&part.values, taken);
        for mut page in part.pages.list {
            if let PagePart::Indices { entries, levels, indices } = &mut page {
                if taken {
                    indices.iter_mut().for_each(|index| *index = new_indices[*index as usize]);
                } else {
                    // The page becomes plain: levels as they are, and the entry of each index.
                    scratch.page.clear();
                    scratch.page.extend_from_slice(levels);
                    indices.iter().for_each(|&index| scratch.page.extend_from_slice(part.values.entry(index)));
                    let codec = &mut scratch.codec;
                    let plain = (Encoding::PLAIN, part.values.content());
                    let plain = SerializedPage::data(*entries, &scratch.page, plain, codec, &part.descriptor)?;
                    page = PagePart::Ready(plain);
                }
            }
            list.push(page);
        }
    }
    let (Some(values), Some(descriptor)) = (union, descriptor) else { unreachable!("a chunk has at least one part") };

    // Indices are packed only now, when the number of entries and so their width is known.
    let width = index_width(values.dictionary().0);
    let mut pages = Vec::with_capacity(list.len() + 1);
    let (mut of_indices, mut of_values) = (0, 0);
    for page in list {
        pages.push(match page {
            PagePart::Ready(page) => {
                of_values += 1;
                page
            }
            PagePart::Indices { entries, levels, indices } => {
                of_indices += 1;
                scratch.page.clear();
                scratch.page.extend_from_slice(&levels);
                scratch.page.push(width);
                rle::encode(&indices, width, &mut scratch.page);
                let encoding = (Encoding::RLE_DICTIONARY, Content::Numbers);
                SerializedPage::data(entries, &scratch.page, encoding, &mut scratch.codec, &descriptor)?
            }
        });
    }
    if of_indices > 0 {
        let (entries, bytes) = values.dictionary();
        let page = Page::DictionaryPage {
            buf: scratch.codec.compressed(bytes, values.content())?,
            num_values: entries as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        // The format has the dictionary page first.
        pages.insert(0, SerializedPage::new(page, bytes.len())?);
    }

    let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
    let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
    let mut encoding_stats = Vec::new();
    if of_indices > 0 {
        encodings.push(Encoding::RLE_DICTIONARY);
        encoding_stats.push(stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        encoding_stats.push(stats(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, of_indices));
    }
    if of_values > 0 {
        encoding_stats.push(stats(PageType::DATA_PAGE, Encoding::PLAIN, of_values));
    }
    let dictionary_bytes = if of_indices > 0 { pages[0].bytes.len() as i64 } else { 0 };
    let metadata = ColumnChunkMetaData::builder(descriptor)
        .set_compression(scratch.codec.compression())
        .set_encodings(encodings)
        .set_page_encoding_stats(encoding_stats)
        .set_num_values(entries as i64)
        .set_total_compressed_size(pages.iter().map(|p| p.bytes.len()).sum::<usize>() as i64)
        .set_total_uncompressed_size(pages.iter().map(|p| p.uncompressed_bytes).sum::<usize>() as i64)
        .set_dictionary_page_offset((of_indices > 0).then_some(0))
        .set_data_page_offset(dictionary_bytes)
        .set_statistics(values.statistics(nulls))
        .build()?;
    Ok(EncodedChunk { metadata, pages: pages.into_iter().map(|p| p.bytes).collect() })
}
