//! Values as people type them: sizes, times, codecs, policies.

use std::path::PathBuf;
use std::time::Duration;

use crate::format::ParquetCodec;
use crate::pipeline::OnBadRecord;

/// Bytes: `1048576`, `512K`, `256MiB`, `1.5G`. Units are binary, with or without `iB`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| "a size is a number with a unit, such as 256MiB".to_owned())?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        other => return Err(format!("`{other}` is no unit of size; K, M, G and T are")),
    };
    Ok((number * (1u64 << shift) as f64) as u64)
}

/// A time: `90`, `90s`, `1.5m`, `2h`, `1d`, `500ms`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| "a time is a number with a unit, such as 90s or 30m".to_owned())?;
    let unit = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        other => return Err(format!("`{other}` is no unit of time; ms, s, m, h and d are")),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| "the time is too long".to_owned())
}

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

/// A reference table for an enrichment block: `BLOCK=FILE:KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrich {
    /// The block's name.
    pub block: String,
    /// The table.
    pub path: PathBuf,
    /// The column that rows are joined on.
    pub key: String,
}

/// Reads `BLOCK=FILE:KEY`. The key is behind the last colon, so that the path may hold others.
pub fn parse_enrich(text: &str) -> Result<Enrich, String> {
    let parts = text.split_once('=').and_then(|(block, rest)| Some((block, rest.rsplit_once(':')?)));
    match parts {
        Some((block, (path, key))) if !block.is_empty() && !path.is_empty() && !key.is_empty() => {
            Ok(Enrich { block: block.to_owned(), path: path.into(), key: key.to_owned() })
        }
        _ => Err("it is BLOCK=FILE:KEY, such as company_enrichment=companies.csv:domain".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        assert_eq!(parse_size("1024"), Ok(1024));
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("1.5 g"), Ok(3 << 29));
        assert!(parse_size("big").is_err() && parse_size("1 furlong").is_err() && parse_size("").is_err());
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("soon").is_err() && parse_duration("1e").is_err());
    }

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
        assert_eq!((table.path, table.key.as_str()), ("C:/data/ref.csv".into(), "domain"));
        assert!(parse_enrich("a=b").is_err() && parse_enrich("a:b").is_err());
    }
}
