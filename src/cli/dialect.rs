//! The dialect flags of CSV: those of inputs, and those of outputs with their translation into the options of the
//! encoder.

use clap::{Args as ClapArgs, ValueEnum};

use super::choices::FromFormat;
use super::error::{Error, Failure};
use super::flag_text::flag_of_csv;
use super::settings::Settings;
use super::values::{parse_decimal_mark, parse_delimiter, parse_null_word, parse_quote, parse_thousands};
use crate::format::cell_kinds::{NumberMarks, TextForm};
use crate::format::csv::{CsvDialect, CsvQuote, HeaderRecord};
use crate::format::encoding::TextEncoding;
use crate::format::{CsvOptions, NullText};
use crate::pipeline::TextColumn;
use crate::source::Source;

/// The format of all inputs of a command, and their dialect if they are CSV.
#[derive(Clone, Debug, Default, PartialEq, Eq, ClapArgs)]
pub(super) struct InputArgs {
    /// Format of the inputs [default: detected by content type, name and first bytes]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub from: Option<FromFormat>,
    /// Encoding of the inputs, such as latin1, windows-1250, shift_jis or utf-16le [default: UTF-8, or UTF-16 by its mark]
    #[arg(long, value_parser = parse_encoding, value_name = "NAME")]
    pub in_encoding: Option<TextEncoding>,
    /// Delimiter between the cells of CSV inputs, such as `;` or `\t` [default: a comma, or a tab for TSV]
    #[arg(long, value_parser = parse_delimiter, value_name = "BYTE", help_heading = "CSV input")]
    pub in_delimiter: Option<u8>,
    /// Quote around the cells of CSV inputs, or `none`, so that every quote is text and every line a record [default: "]
    #[arg(long, value_parser = parse_quote, value_name = "CHAR|none", help_heading = "CSV input")]
    pub in_quote: Option<CsvQuote>,
    /// Lines at the start of CSV inputs to skip, such as a title. They are counted by line feeds and not parsed
    #[arg(long, value_name = "N", help_heading = "CSV input")]
    pub in_skip_lines: Option<u64>,
    /// Record with the column names of CSV inputs: the Nth that is not blank, after skipped lines; those before it are
    /// dropped. `no` names the columns column_1, column_2 and so on [default: 1]
    #[arg(long, value_parser = parse_header, value_name = "no|N", help_heading = "CSV input")]
    pub in_header: Option<HeaderRecord>,
    /// Words for null in CSV inputs, such as NA,NULL,\N; a cell in quotes is text [default: an empty cell only]. For Parquet
    /// and Arrow inputs: NaN, inf and -inf, if these numbers are null
    #[arg(
        long,
        value_parser = parse_null_word,
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_name = "WORDS",
        help_heading = "CSV input"
    )]
    pub in_null: Vec<Box<str>>,
    /// Decimal mark of the numbers in CSV inputs: `,` or `.` [default: .]
    #[arg(long, value_parser = parse_decimal_mark, value_name = "CHAR", help_heading = "CSV input")]
    pub in_decimal: Option<u8>,
    /// Mark between groups of three digits in the numbers of CSV inputs, such as `.` in 1.234,50 [default: none]
    #[arg(long, value_parser = parse_thousands, value_name = "CHAR", help_heading = "CSV input")]
    pub in_thousands: Option<char>,
}

impl InputArgs {
    /// Returns the dialect of the inputs of a command: what the flags do not specify is that of the configuration file. Fails
    /// if the format of the inputs excludes the flags, or if two marks are the same. Inputs whose format is not specified are
    /// checked by the engine.
    pub(super) fn resolve(&self, settings: &Settings) -> Result<InputDialect, Failure> {
        let flags = self.flags();
        if let (Some(FromFormat::Ndjson | FromFormat::Json), Some(property)) = (self.from, flags.first_specified()) {
            let flag = flag_of_csv(property);
            return Err(Error::Usage(format!("`{flag}` applies only to CSV inputs")).into());
        }
        let decimal = self.in_decimal.or(settings.in_decimal.value).unwrap_or(flags.numbers.decimal);
        let thousands = self.in_thousands.or(settings.in_thousands.value.filter(|mark| *mark != char::from(decimal)));
        let csv = CsvDialect {
            delimiter: flags.delimiter.or(settings.in_delimiter.value),
            quote: self.in_quote.or(settings.in_quote.value).unwrap_or_default(),
            null_words: match self.in_null.is_empty() {
                true => settings.in_null.value.clone().into(),
                false => flags.null_words.clone(),
            },
            numbers: NumberMarks { decimal, thousands },
            ..flags.clone()
        };
        let is_required = flags.first_specified().is_some();
        let dialect = InputDialect { from: self.from, csv, is_required, encoding: self.in_encoding };
        dialect.check()?;
        Ok(dialect)
    }

    /// Returns the dialect of CSV inputs that the flags specify.
    fn flags(&self) -> CsvDialect {
        let delimiter = self.in_delimiter.or((self.from == Some(FromFormat::Tsv)).then_some(b'\t'));
        CsvDialect {
            delimiter,
            quote: self.in_quote.unwrap_or_default(),
            skip_lines: self.in_skip_lines.unwrap_or_default(),
            header: self.in_header.unwrap_or_default(),
            null_words: self.in_null.clone().into(),
            numbers: NumberMarks {
                decimal: self.in_decimal.unwrap_or(NumberMarks::default().decimal),
                thousands: self.in_thousands,
            },
        }
    }
}

/// The format and the dialect of all inputs of a command, by flags and configuration file.
#[derive(Clone, Debug)]
pub(super) struct InputDialect {
    from: Option<FromFormat>,
    csv: CsvDialect,
    /// True if a flag specifies a property of CSV, so that an input of another format is an error.
    is_required: bool,
    encoding: Option<TextEncoding>,
}

impl InputDialect {
    /// Returns the dialect of the configuration file alone, for commands without flags of inputs.
    pub(super) fn of_settings(settings: &Settings) -> Result<Self, Failure> {
        InputArgs::default().resolve(settings)
    }

    /// Fails if two marks of the dialect are the same character.
    fn check(&self) -> Result<(), Failure> {
        let CsvDialect { delimiter, quote, numbers, .. } = &self.csv;
        let quote = quote.byte().map(char::from);
        let same = if numbers.thousands == Some(numbers.decimal.into()) {
            Some("the decimal mark and the mark of thousands of CSV inputs are the same")
        } else if quote.is_some_and(|quote| quote == delimiter.map_or(',', char::from)) {
            Some("the quote and the delimiter of CSV inputs are the same")
        } else {
            None
        };
        match same {
            Some(same) => Err(Failure::new(
                Error::Usage(same.to_owned()),
                "specify different ones with `--in-delimiter`, `--in-quote`, `--in-decimal` and `--in-thousands`",
            )),
            None => Ok(()),
        }
    }

    /// Sets the specified properties of an input.
    pub(super) fn specify(&self, source: &mut Source) {
        source.format = self.from.map(Into::into);
        source.csv = self.csv.clone();
        source.csv_is_optional = !self.is_required;
        source.encoding = self.encoding;
    }

    /// Sets the specified properties of a table, whose format is its own.
    pub(super) fn specify_table(&self, table: &mut Source) {
        table.csv = self.csv.clone();
        // The flags are for all sources of the command, of which others may be CSV.
        table.csv_is_optional = true;
        table.encoding = self.encoding;
    }
}

/// Returns the note on an input that was read as one column although its header contains `delimiter`.
pub(super) fn doubt_note(delimiter: u8) -> String {
    let typed = if delimiter == b'\t' { "\\t".to_owned() } else { char::from(delimiter).to_string() };
    format!("if that is the delimiter, specify it with `--in-delimiter '{typed}'`; `--in-delimiter ,` keeps one column")
}

/// Returns the note on a column that few of its cells made text, with the flag that reads them as something else.
pub(super) fn text_column_note(column: &TextColumn) -> String {
    let flags = match &column.form {
        TextForm::Word => "if it is a word for null, list it with `--in-null`".to_owned(),
        TextForm::Number(marks) => {
            let mut flags = Vec::new();
            if marks.decimal != NumberMarks::default().decimal {
                flags.push(format!("`--in-decimal {}`", char::from(marks.decimal)));
            }
            flags.extend(marks.thousands.map(|mark| format!("`--in-thousands '{}'`", mark.escape_debug())));
            match flags[..] {
                [] => "it is a number with a decimal point: leave `--in-decimal` out if all are".to_owned(),
                _ => format!("if it is a number, specify its marks, as with {}", flags.join(" ")),
            }
        }
        TextForm::Other => {
            "`--in-null` reads it as null, and `--cast COLUMN:TYPE` with `--on-bad-cast null` all that do not fit"
                .to_owned()
        }
    };
    format!("{column}; {flags}")
}

/// The dialect of CSV and TSV outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, ClapArgs)]
pub(super) struct DialectArgs {
    /// Delimiter between the cells of CSV, such as `;` or `\t` [default: a comma]
    #[arg(long, value_parser = parse_delimiter, value_name = "BYTE", help_heading = "CSV output")]
    pub delimiter: Option<u8>,
    /// Text for null in CSV, such as NULL or \N; a value with the same text is quoted [default: empty]
    #[arg(long, value_parser = parse_null, allow_hyphen_values = true, value_name = "TEXT", help_heading = "CSV output")]
    pub null: Option<NullText>,
    /// End every record of CSV with CR LF
    #[arg(long, help_heading = "CSV output")]
    pub crlf: bool,
    /// Begin every CSV file with a byte order mark
    #[arg(long, help_heading = "CSV output")]
    pub bom: bool,
    /// Write CSV that is safe in spreadsheets: --bom, --crlf, apostrophes before text that they would run or convert,
    /// files no longer than a sheet; `semicolon` for countries with a decimal comma: 1,5;2,5
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "comma", value_name = "FORM", help_heading = "CSV output")]
    pub excel: Option<ExcelForm>,
}

/// The delimiter of CSV for spreadsheets, with the decimal mark that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExcelForm {
    /// Commas between cells, a decimal point.
    Comma,
    /// Semicolons between cells, a decimal comma.
    Semicolon,
}

impl DialectArgs {
    /// Returns the options of a CSV output. `default_delimiter` applies where no flag sets one. Fails if the text for
    /// null contains the delimiter, because no reader could tell them apart.
    pub(super) fn options(&self, default_delimiter: u8) -> Result<CsvOptions, Failure> {
        let decimal_comma = self.excel == Some(ExcelForm::Semicolon);
        let delimiter = self.delimiter.unwrap_or(match default_delimiter {
            b',' if decimal_comma => b';',
            other => other,
        });
        let null = self.null.unwrap_or(NullText::EMPTY);
        if null.as_bytes().contains(&delimiter) {
            let error = Error::Usage("the text of `--null` contains the delimiter".to_owned());
            return Err(Failure::new(error, "choose another text for null, or another `--delimiter`"));
        }
        Ok(CsvOptions {
            delimiter,
            null,
            crlf: self.crlf || self.excel.is_some(),
            bom: self.bom || self.excel.is_some(),
            excel: self.excel.is_some(),
            decimal_comma,
            ..CsvOptions::default()
        })
    }

    /// Returns the first dialect flag that was given; `None` if there is none.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let given = [
            (self.delimiter.is_some(), "--delimiter"),
            (self.null.is_some(), "--null"),
            (self.crlf, "--crlf"),
            (self.bom, "--bom"),
            (self.excel.is_some(), "--excel"),
        ];
        given.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }
}

/// Parses the name of an encoding.
fn parse_encoding(name: &str) -> Result<TextEncoding, String> {
    let why = "it must be a name of the WHATWG Encoding Standard, such as latin1, windows-1252, shift_jis or utf-16le";
    TextEncoding::from_name(name).ok_or_else(|| why.to_owned())
}

/// Parses the record of the header.
fn parse_header(text: &str) -> Result<HeaderRecord, String> {
    match (text, text.parse()) {
        ("no", _) => Ok(HeaderRecord::Absent),
        (_, Ok(nth)) => Ok(HeaderRecord::Nth(nth)),
        _ => Err("it must be `no`, or a number of a record from 1".to_owned()),
    }
}

fn parse_null(text: &str) -> Result<NullText, String> {
    let why = || format!("it must be at most {} bytes without quotes and line breaks", NullText::MAX_BYTES);
    NullText::try_new(text).ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_and_nulls_that_are_ambiguous_are_refused() {
        assert_eq!(
            (parse_delimiter(";"), parse_delimiter(r"\t"), parse_delimiter("tab")),
            (Ok(b';'), Ok(b'\t'), Ok(b'\t'))
        );
        for wrong in ["", ";;", "\"", "\n", "é", "\0"] {
            let message = parse_delimiter(wrong).unwrap_err();
            let expected = ["cannot be delimiters", "must be one ASCII character"];
            assert!(expected.iter().any(|words| message.contains(words)), "{wrong:?}: {message}");
        }
        assert_eq!(parse_null_word(r"\N"), Ok(r"\N".into()));
        for wrong in ["", "\"NA\"", "N\nA"] {
            parse_null_word(wrong).unwrap_err();
        }
        assert!(parse_null("NULL").is_ok() && parse_null("").is_ok());
        for wrong in ["a\nb", "say \"null\"", &"n".repeat(32)] {
            let message = parse_null(wrong).unwrap_err();
            assert!(message.ends_with("bytes without quotes and line breaks"), "{wrong:?}: {message}");
        }
        let args = DialectArgs { null: Some(NullText::try_new("n/a;").unwrap()), ..DialectArgs::default() };
        assert!(args.options(b',').is_ok());
        let failure = DialectArgs { delimiter: Some(b';'), ..args }.options(b',').unwrap_err();
        assert_eq!(failure.lines()[0], "error: the text of `--null` contains the delimiter");
    }

    #[test]
    fn the_excel_dialect_is_several_flags() {
        let options = DialectArgs { excel: Some(ExcelForm::Comma), ..DialectArgs::default() }.options(b',').unwrap();
        assert!(options.excel && options.bom && options.crlf && !options.decimal_comma);
        let options =
            DialectArgs { excel: Some(ExcelForm::Semicolon), ..DialectArgs::default() }.options(b',').unwrap();
        assert!(options.excel && options.decimal_comma && options.delimiter == b';');
        assert_eq!(DialectArgs { bom: true, ..DialectArgs::default() }.first_given(), Some("--bom"));
        assert_eq!(DialectArgs::default().first_given(), None);
    }
}
