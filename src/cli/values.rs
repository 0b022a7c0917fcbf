//! Values as people type them: sizes, times, codecs, policies.

use std::path::PathBuf;

use url::Url;

use crate::format::ParquetCodec;
use crate::pipeline::OnBadRecord;
pub use crate::text::{parse_duration, parse_size};

/// A Parquet codec: `zstd`, `zstd:3`, `snappy`, `lz4`, `none`.
pub fn parse_codec(text: &str) -> Result<ParquetCodec, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "none" | "uncompressed" => Ok(ParquetCodec::Uncompressed),
        "snappy" => Ok(ParquetCodec::Snappy),
        "lz4" => Ok(ParquetCodec::Lz4),
        "zstd" => Ok(ParquetCodec::ZSTD_DEFAULT),
        other => other
            .strip_prefix("zstd:")
            .and_then(|level| level.parse().ok())
            .filter(|level| (1..=22).contains(level))
            .map(|level| ParquetCodec::Zstd { level })
            .ok_or_else(|| "a codec is zstd, zstd:1 to zstd:22, snappy, lz4 or none".to_owned()),
    }
}

/// The text that [`parse_codec`] reads.
pub fn codec_text(codec: ParquetCodec) -> String {
    match codec {
        ParquetCodec::Uncompressed => "none".to_owned(),
        ParquetCodec::Snappy => "snappy".to_owned(),
        ParquetCodec::Lz4 => "lz4".to_owned(),
        ParquetCodec::Zstd { level } => format!("zstd:{level}"),
    }
}

/// What a bad record does: `fail`, `skip`, `limit=N`.
pub fn parse_on_bad_record(text: &str) -> Result<OnBadRecord, String> {
    match text {
        "fail" => Ok(OnBadRecord::Fail),
        "skip" => Ok(OnBadRecord::Skip),
        _ => text
            .strip_prefix("limit=")
            .and_then(|n| n.parse().ok())
            .map(OnBadRecord::Limit)
            .ok_or_else(|| "it is fail, skip or limit=N".to_owned()),
    }
}

/// What stands in for the provider of a block: `BLOCK=FILE:KEY`, `BLOCK=https://...`, `search=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrich {
    /// The block's name.
    pub block: String,
    /// Where its values come from.
    pub from: EnrichFrom,
}

/// Where the values of a block come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrichFrom {
    /// A reference table.
    Table {
        /// The table.
        path: PathBuf,
        /// The column that rows are joined on; empty for `search`, which takes all rows.
        key: String,
    },
    /// An endpoint that is sent the rows.
    Endpoint(Url),
}

/// Reads `BLOCK=FILE:KEY` or `BLOCK=URL`. The key is behind the last colon, so that the path may hold others.
pub fn parse_enrich(text: &str) -> Result<Enrich, String> {
    let wrong = || {
        "it is BLOCK=FILE:KEY, such as company_enrichment=companies.csv:domain, or BLOCK=https://HOST/PATH".to_owned()
    };
    let (block, rest) = text.split_once('=').filter(|(block, _)| !block.is_empty()).ok_or_else(wrong)?;
    let from = if rest.starts_with("https://") || rest.starts_with("http://") {
        EnrichFrom::Endpoint(Url::parse(rest).map_err(|error| format!("the URL is not valid: {error}"))?)
    } else if block == "search" && !rest.is_empty() {
        EnrichFrom::Table { path: rest.into(), key: String::new() }
    } else {
        match rest.rsplit_once(':') {
            Some((path, key)) if !path.is_empty() && !key.is_empty() => {
                EnrichFrom::Table { path: path.into(), key: key.to_owned() }
            }
            _ => return Err(wrong()),
        }
    };
    Ok(Enrich { block: block.to_owned(), from })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_and_policies() {
        for text in ["none", "snappy", "lz4", "zstd:3"] {
            assert_eq!(codec_text(parse_codec(text).unwrap()), text);
        }
        assert!(parse_codec("zstd:23").is_err() && parse_codec("gzip").is_err());
        assert_eq!(parse_on_bad_record("limit=5"), Ok(OnBadRecord::Limit(5)));
        assert!(parse_on_bad_record("limit=").is_err());
    }

    #[test]
    fn reference_tables() {
        let table = parse_enrich("company_enrichment=C:/data/ref.csv:domain").unwrap();
        assert_eq!(table.from, EnrichFrom::Table { path: "C:/data/ref.csv".into(), key: "domain".to_owned() });
        let endpoint = parse_enrich("find_email=http://127.0.0.1:9000/emails").unwrap();
        assert!(matches!(endpoint.from, EnrichFrom::Endpoint(url) if url.port() == Some(9000)));
        assert!(matches!(parse_enrich("search=people.csv").unwrap().from, EnrichFrom::Table { .. }));
        assert!(parse_enrich("a=b").is_err() && parse_enrich("a:b").is_err());
    }
}
