//! Parsers for the values of flags and settings: sizes, times, codecs, policies and providers. A parser checks the form
//! only; files and URLs are opened by the commands.

use std::path::PathBuf;

use url::Url;

use crate::format::ParquetCodec;
use crate::format::csv::CsvQuote;
use crate::pipeline::OnBadRecord;
use crate::text::human_bytes;
pub(super) use crate::text::{parse_duration, parse_size};

/// Parses a Parquet codec: `zstd`, `zstd:1` to `zstd:22`, `snappy`, `lz4`, `none` or `uncompressed`, in any case.
pub(super) fn parse_codec(text: &str) -> Result<ParquetCodec, String> {
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
            .ok_or_else(|| "it must be zstd, zstd:1 to zstd:22, snappy, lz4 or none".to_owned()),
    }
}

/// Formats `codec` as [`parse_codec`] reads it.
pub(super) fn codec_text(codec: ParquetCodec) -> String {
    match codec {
        ParquetCodec::Uncompressed => "none".to_owned(),
        ParquetCodec::Snappy => "snappy".to_owned(),
        ParquetCodec::Lz4 => "lz4".to_owned(),
        ParquetCodec::Zstd { level } => format!("zstd:{level}"),
    }
}

/// Parses the address of a hosted service: https, or http on this machine, because a key is sent there.
pub(super) fn parse_hosted(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "it must be a URL such as https://api.sixtyfour.ai".to_owned())?;
    let is_bare = url.query().is_none() && url.fragment().is_none();
    let has_user = !url.username().is_empty() || url.password().is_some();
    match url.scheme() {
        "https" | "http" if !is_bare || has_user => Err("it must have no user, query or fragment".to_owned()),
        "https" => Ok(url),
        "http" if crate::net::is_loopback(&url) => Ok(url),
        _ => Err("it must be https, or http on this machine".to_owned()),
    }
}

/// Parses a size of at least one byte.
pub(super) fn parse_positive_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("it must be at least one byte".to_owned()),
        size => Ok(size),
    }
}

/// Upper bound of a record: spans of CSV cells hold 30 bits of length.
const MAX_RECORD_SIZE: u64 = 512 << 20;

/// Parses the size of the longest record.
pub(super) fn parse_record_bytes(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        size @ 1..=MAX_RECORD_SIZE => Ok(size),
        _ => Err(format!("it must be from 1 byte to {}", human_bytes(MAX_RECORD_SIZE))),
    }
}

/// Parses a delimiter: one ASCII character, `\t`, or `tab`.
pub(super) fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        br"\t" | b"tab" => Ok(b'\t'),
        [b'"' | b'\'' | b'\r' | b'\n' | 0] => Err("a quote, a line break and NUL cannot be delimiters".to_owned()),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("it must be one ASCII character, such as `;`, or `\\t`".to_owned()),
    }
}

/// Parses one word for null of inputs.
pub(super) fn parse_null_word(text: &str) -> Result<Box<str>, String> {
    match text {
        "" => Err("it must not be empty: an empty cell is always null".to_owned()),
        _ if text.starts_with('"') || text.contains(['\r', '\n']) => {
            Err("it must begin with no quote and contain no line break, as cells without quotes do".to_owned())
        }
        _ => Ok(text.into()),
    }
}

/// Parses the quote of inputs: one ASCII punctuation character, or `none`.
pub(super) fn parse_quote(text: &str) -> Result<CsvQuote, String> {
    match text.as_bytes() {
        b"none" => Ok(CsvQuote::None),
        [byte] if byte.is_ascii_punctuation() => Ok(CsvQuote::Byte(*byte)),
        _ => Err("it must be one ASCII punctuation character, such as `'`, or `none`".to_owned()),
    }
}

/// Parses the decimal mark of inputs.
pub(super) fn parse_decimal_mark(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [mark @ (b'.' | b',')] => Ok(*mark),
        _ => Err("it must be `,` or `.`".to_owned()),
    }
}

/// Parses the mark of thousands of inputs: one character, also beyond ASCII, that is no part of other numbers.
pub(super) fn parse_thousands(text: &str) -> Result<char, String> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(mark), None) if !mark.is_alphanumeric() && !mark.is_control() && !matches!(mark, '-' | '+') => Ok(mark),
        _ => Err("it must be one character, such as `.`, `'` or a blank, and no letter, digit or sign".to_owned()),
    }
}

/// Parses a policy for bad records: `fail`, `skip` or `limit=N`.
pub(super) fn parse_on_bad_record(text: &str) -> Result<OnBadRecord, String> {
    match text {
        "fail" => Ok(OnBadRecord::Fail),
        "skip" => Ok(OnBadRecord::Skip),
        _ => text
            .strip_prefix("limit=")
            .and_then(|n| n.parse().ok())
            .map(OnBadRecord::Limit)
            .ok_or_else(|| "it must be fail, skip or limit=N".to_owned()),
    }
}

/// The provider of a block of the local service: `BLOCK=FILE:KEY`, `BLOCK=https://...`, or `search=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Enrich {
    /// Name of the block, such as `company_enrichment`.
    pub block: String,
    /// Source of the block's values.
    pub from: EnrichFrom,
}

/// The source of a block's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EnrichFrom {
    /// A reference table in a file.
    Table {
        /// File of the table.
        path: PathBuf,
        /// Column to join rows on; empty for `search`, which takes all rows.
        key: String,
    },
    /// An HTTP endpoint that receives the rows.
    Endpoint(Url),
}

/// Parses `BLOCK=FILE:KEY` or `BLOCK=URL`. The last colon separates the key, so the path may contain others.
pub(super) fn parse_enrich(text: &str) -> Result<Enrich, String> {
    let wrong = || {
        "it must be BLOCK=FILE:KEY, such as company_enrichment=companies.csv:domain, or BLOCK=https://HOST/PATH"
            .to_owned()
    };
    let (block, rest) = text.split_once('=').filter(|(block, _)| !block.is_empty()).ok_or_else(wrong)?;
    let from = if rest.starts_with("https://") || rest.starts_with("http://") {
        EnrichFrom::Endpoint(Url::parse(rest).map_err(|error| format!("the URL is not valid: {error}"))?)
    // `search` returns all rows of its table, so it has no key.
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

/// Parses a host name without a port, and returns it in the form that clients send.
pub(super) fn parse_host_name(text: &str) -> Result<String, String> {
    match url::Host::parse(text.trim()) {
        Ok(url::Host::Domain(name)) => Ok(name),
        Ok(_) => Err("it is an IP address, under which the service is available without this flag".to_owned()),
        Err(_) => Err("it must be a host name without a port, such as drawoff or svc.example.com".to_owned()),
    }
}

/// Parses the origin of a web page, and returns it in the form that browsers send.
pub(super) fn parse_origin(text: &str) -> Result<String, String> {
    let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let is_origin = |url: &Url| url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let url = url.filter(is_origin).filter(|url| url.username().is_empty() && url.password().is_none());
    url.map(|url| url.origin().ascii_serialization())
        .ok_or_else(|| "it must be the origin of a web page, such as http://localhost:3000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_and_policies_are_parsed() {
        for text in ["none", "snappy", "lz4", "zstd:3"] {
            assert_eq!(codec_text(parse_codec(text).unwrap()), text);
        }
        for wrong in ["zstd:23", "gzip"] {
            assert_eq!(parse_codec(wrong), Err("it must be zstd, zstd:1 to zstd:22, snappy, lz4 or none".to_owned()));
        }
        assert_eq!(parse_on_bad_record("limit=5"), Ok(OnBadRecord::Limit(5)));
        assert_eq!(parse_on_bad_record("limit="), Err("it must be fail, skip or limit=N".to_owned()));
    }

    #[test]
    fn origins_are_in_the_form_of_browsers() {
        for (text, origin) in [
            ("http://localhost:3000", "http://localhost:3000"),
            ("HTTPS://App.Example.com:443/", "https://app.example.com"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(parse_origin(text).unwrap(), origin);
        }
        for wrong in ["*", "null", "localhost:3000", "http://a/b", "http://a?b", "file:///a", "http://u:p@a", ""] {
            assert!(parse_origin(wrong).unwrap_err().contains("such as http://localhost:3000"), "{wrong}");
        }
    }

    #[test]
    fn host_names_have_no_port() {
        assert_eq!(parse_host_name("Drawoff_1").unwrap(), "drawoff_1");
        assert_eq!(parse_host_name("bücher.test").unwrap(), "xn--bcher-kva.test");
        for (text, expected) in
            [("a:80", "without a port"), ("http://a", "without a port"), ("", "a host name"), ("127.1", "IP address")]
        {
            assert!(parse_host_name(text).unwrap_err().contains(expected), "{text}");
        }
    }

    #[test]
    fn a_hosted_service_is_reached_safely() {
        assert!(parse_hosted("https://api.sixtyfour.ai").is_ok() && parse_hosted("http://127.0.0.1:8064").is_ok());
        for (text, expected) in [
            ("http://api.sixtyfour.ai", "it must be https"),
            ("ftp://a", "it must be https"),
            ("api.sixtyfour.ai", "it must be a URL"),
            ("https://u:p@a", "no user"),
            ("https://a/?x=1", "no user, query"),
        ] {
            assert!(parse_hosted(text).unwrap_err().contains(expected), "{text}");
        }
    }

    #[test]
    fn providers_are_tables_or_endpoints() {
        let table = parse_enrich("company_enrichment=C:/data/ref.csv:domain").unwrap();
        assert_eq!(table.from, EnrichFrom::Table { path: "C:/data/ref.csv".into(), key: "domain".to_owned() });
        let endpoint = parse_enrich("find_email=http://127.0.0.1:9000/emails").unwrap();
        assert!(matches!(endpoint.from, EnrichFrom::Endpoint(url) if url.port() == Some(9000)));
        assert!(matches!(parse_enrich("search=people.csv").unwrap().from, EnrichFrom::Table { .. }));
        for wrong in ["a=b", "a:b"] {
            assert!(parse_enrich(wrong).unwrap_err().starts_with("it must be BLOCK=FILE:KEY"), "{wrong}");
        }
    }
}
