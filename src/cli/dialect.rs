//! How CSV is written: the flags of its dialect, and what they mean together.

use clap::Args as ClapArgs;

use super::error::{Error, Failure};
use crate::format::{CsvOptions, NullText};

/// The dialect of CSV and TSV outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, ClapArgs)]
pub struct DialectArgs {
    /// Byte between the cells of CSV, such as `;` or `\t`
    #[arg(long, value_parser = parse_delimiter, value_name = "BYTE", help_heading = "CSV output")]
    pub delimiter: Option<u8>,
    /// How CSV spells null, such as NULL or \N; a value of that spelling is quoted [default: nothing]
    #[arg(long, value_parser = parse_null, allow_hyphen_values = true, value_name = "TEXT", help_heading = "CSV output")]
    pub null: Option<NullText>,
    /// End the records of CSV with CR LF
    #[arg(long, help_heading = "CSV output")]
    pub crlf: bool,
    /// Begin CSV with a byte order mark
    #[arg(long, help_heading = "CSV output")]
    pub bom: bool,
    /// CSV that spreadsheets open without harm: --bom, --crlf, no formulas, long numbers kept, files as long as a sheet
    #[arg(long, help_heading = "CSV output")]
    pub excel: bool,
}

impl DialectArgs {
    /// The options of a CSV output whose delimiter is `usual` where no flag says another.
    pub fn options(&self, usual: u8) -> Result<CsvOptions, Failure> {
        let delimiter = self.delimiter.unwrap_or(usual);
        let null = self.null.unwrap_or(NullText::EMPTY);
        if null.as_bytes().contains(&delimiter) {
            let error = Error::Usage("`--null` holds the delimiter".to_owned());
            return Err(Failure::new(error, "choose another word for null, or another `--delimiter`"));
        }
        Ok(CsvOptions {
            delimiter,
            null,
            crlf: self.crlf || self.excel,
            bom: self.bom || self.excel,
            excel: self.excel,
            ..CsvOptions::default()
        })
    }

    /// The first of these flags that was given.
    pub fn first_given(&self) -> Option<&'static str> {
        let given = [
            (self.delimiter.is_some(), "--delimiter"),
            (self.null.is_some(), "--null"),
            (self.crlf, "--crlf"),
            (self.bom, "--bom"),
            (self.excel, "--excel"),
        ];
        given.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }
}

/// One byte of ASCII: itself, `\t`, or `tab`.
fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        br"\t" | b"tab" => Ok(b'\t'),
        [b'"' | b'\'' | b'\r' | b'\n' | 0] => {
            Err("a quote, a line break and NUL cannot stand between cells".to_owned())
        }
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("it is one character of ASCII, such as `;`, or `\\t`".to_owned()),
    }
}

fn parse_null(text: &str) -> Result<NullText, String> {
    let why = || format!("it is a word of at most {} bytes without quotes and line breaks", NullText::MAX_BYTES);
    NullText::try_new(text).ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_and_nulls_that_no_reader_could_tell_are_refused() {
        assert_eq!(
            (parse_delimiter(";"), parse_delimiter(r"\t"), parse_delimiter("tab")),
            (Ok(b';'), Ok(b'\t'), Ok(b'\t'))
        );
        for wrong in ["", ";;", "\"", "\n", "é", "\0"] {
            assert!(parse_delimiter(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse_null("NULL").is_ok() && parse_null("").is_ok());
        assert!(
            parse_null("a\nb").is_err() && parse_null("say \"null\"").is_err() && parse_null(&"n".repeat(32)).is_err()
        );
        let args = DialectArgs { null: Some(NullText::try_new("n/a;").unwrap()), ..DialectArgs::default() };
        assert!(args.options(b',').is_ok());
        assert!(DialectArgs { delimiter: Some(b';'), ..args }.options(b',').is_err());
    }

    #[test]
    fn the_excel_dialect_is_several_flags() {
        let options = DialectArgs { excel: true, ..DialectArgs::default() }.options(b',').unwrap();
        assert!(options.excel && options.bom && options.crlf);
        assert_eq!(DialectArgs { bom: true, ..DialectArgs::default() }.first_given(), Some("--bom"));
        assert_eq!(DialectArgs::default().first_given(), None);
    }
}
