//! A column chunk from the parts that workers made of their rows.
//!
//! Row groups are better large and the work is better cut small, so a row group is put together
//! from parts. Plain pages only follow one another. Indices point into the dictionary of their own
//! part; here the dictionaries become one, the indices are moved to it, and only then packed and
//! compressed. That is little work: what is in a dictionary is small.

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

/// The chunk of `parts`, in order. There is at least one part.
pub(super) fn join(parts: Vec<ChunkPart>, shop: &mut EncoderScratch) -> Result<EncodedChunk, Error> {
    let (mut entries, mut nulls) = (0, 0);
    let mut list = Vec::new();
    let mut union = None;
    let mut descriptor = None;
    for part in parts {
        entries += part.pages.entries;
        nulls += part.pages.nulls;
        descriptor.get_or_insert(part.descriptor.clone());
        let Some(union) = &mut union else {
            list.extend(part.pages.list);
            union = Some(part.values);
            continue;
        };
        let has_indices = part.pages.list.iter().any(|p| matches!(p, PagePart::Indices { .. }));
        // A dictionary that is large already takes no more.
        let taken =
            has_indices && union.dictionary().1.len() + part.values.dictionary().1.len() <= 2 * DICTIONARY_BYTES;
        let places = union.absorb(&part.values, taken);
        for mut page in part.pages.list {
            if let PagePart::Indices { entries, levels, indices } = &mut page {
                if taken {
                    indices.iter_mut().for_each(|index| *index = places[*index as usize]);
                } else {
                    shop.page.clear();
                    shop.page.extend_from_slice(levels);
                    indices.iter().for_each(|&index| shop.page.extend_from_slice(part.values.entry(index)));
                    let codec = &mut shop.codec;
                    let plain = (Encoding::PLAIN, part.values.content());
                    let plain = SerializedPage::data(*entries, &shop.page, plain, codec, &part.descriptor)?;
                    page = PagePart::Ready(plain);
                }
            }
            list.push(page);
        }
    }
    let (Some(values), Some(descriptor)) = (union, descriptor) else { unreachable!("a chunk has at least one part") };

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
                shop.page.clear();
                shop.page.extend_from_slice(&levels);
                shop.page.push(width);
                rle::encode(&indices, width, &mut shop.page);
                let encoding = (Encoding::RLE_DICTIONARY, Content::Numbers);
                SerializedPage::data(entries, &shop.page, encoding, &mut shop.codec, &descriptor)?
            }
        });
    }
    if of_indices > 0 {
        let (entries, bytes) = values.dictionary();
        let page = Page::DictionaryPage {
            buf: shop.codec.compressed(bytes, values.content())?,
            num_values: entries as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
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
        .set_compression(shop.codec.compression())
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
