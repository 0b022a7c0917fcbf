//! The first rows of an input or of a result with the kinds of their values, for people. Bounded in rows and bytes,
//! whatever the size of the file; changes nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::private_files;
use super::raw;
use crate::format::{Compression, OutputFormat};
use crate::pipeline::{self, Control, ExecutionPlan, Limits, OnBadRecord, Output, Target};
use crate::source::Source;
use crate::transform::Limit;

/// Most rows of a preview.
pub(super) const PREVIEW_ROWS: usize = 50;

/// Most bytes of rows that are read for a preview. By eye: 50 rows of ordinary size are some 50 KiB.
const MAX_BYTES: u64 = 2 << 20;

/// Most columns of a preview. By eye: more cannot be looked through on a page.
const MAX_COLUMNS: usize = 200;

/// Longest text of a value, in characters; a longer one is shortened.
const MAX_TEXT: usize = 300;

/// First rows of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Preview {
    pub columns: Vec<Column>,
    /// Rows with a value for each column; `None` for a column that the row lacks.
    pub rows: Vec<Vec<Option<Cell>>>,
    /// Columns beyond the limit, which are left out.
    pub columns_left_out: usize,
}

/// Column of a preview.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    /// Kind of the values in these rows: `text`, `integer`, `number`, `true or false`, `list`, `object`, `mixed`, or `null`
    /// for no value at all.
    pub kind: &'static str,
}

/// Value of a preview.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// Text as it is, other values as JSON; shortened if it is long.
    pub text: String,
    pub kind: &'static str,
}

impl Preview {
    /// Returns the first rows of NDJSON that this service has written.
    pub(super) fn of_lines(file: File) -> io::Result<Self> {
        let mut preview = Preview::default();
        let mut lines = BufReader::new(file.take(MAX_BYTES));
        let mut line = Vec::new();
        while preview.rows.len() < PREVIEW_ROWS {
            line.clear();
            // A line without an end is one that the limit of bytes has cut.
            if lines.read_until(b'\n', &mut line)? == 0 || line.last() != Some(&b'\n') {
                break;
            }
            let line = String::from_utf8_lossy(&line);
            let members = raw::members(&line).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            preview.add(members.into_iter().map(|(name, json)| (name, cell(json))));
        }
        Ok(preview.with_kinds())
    }

    /// Returns the first of rows that are in memory.
    pub(super) fn of_rows(rows: &[Map<String, Value>]) -> Self {
        let mut preview = Preview::default();
        for row in rows.iter().take(PREVIEW_ROWS) {
            preview.add(row.iter().map(|(name, value)| (name.clone(), cell(&value.to_string()))));
        }
        preview.with_kinds()
    }

    /// Returns the first rows of a file in any format that a run reads. The pipeline infers the types of CSV as it does for a
    /// run; bad records are left out.
    pub(super) fn of_file(path: &Path, scratch: &Path) -> Result<Self, PreviewError> {
        private_files::check_regular(path)?;
        let lines = tempfile::Builder::new().suffix(".ndjson").tempfile_in(scratch)?;
        let target = Target::File { path: lines.path().to_owned(), no_clobber: false, append: false };
        let output = Output { format: OutputFormat::Ndjson, compression: Compression::None, target };
        let mut plan = ExecutionPlan::new(Source::file(PathBuf::from(path)), output);
        plan.steps = vec![Limit(PREVIEW_ROWS as u64).into()];
        plan.on_bad_record = OnBadRecord::Skip;
        plan.limits = Limits { workers: 1, spill_dir: Some(scratch.to_owned()), ..Limits::default() };
        pipeline::execute(plan, &Control::new()).map_err(|error| PreviewError::Records(Box::new(error)))?;
        // The pipeline renamed its own file over the temporary one, so the open handle is stale.
        Ok(Preview::of_lines(File::open(lines.path())?)?)
    }

    fn add(&mut self, members: impl Iterator<Item = (String, Cell)>) {
        let mut row: Vec<Option<Cell>> = self.columns.iter().map(|_| None).collect();
        for (name, cell) in members {
            match self.columns.iter().position(|column| column.name == name) {
                Some(i) => row[i] = Some(cell),
                None if self.columns.len() < MAX_COLUMNS => {
                    self.columns.push(Column { name, kind: "null" });
                    self.rows.iter_mut().for_each(|row| row.push(None));
                    row.push(Some(cell));
                }
                None => self.columns_left_out += usize::from(self.rows.is_empty()),
            }
        }
        self.rows.push(row);
    }

    fn with_kinds(mut self) -> Self {
        for (i, column) in self.columns.iter_mut().enumerate() {
            let kinds = self.rows.iter().filter_map(|row| row[i].as_ref()).map(|cell| cell.kind);
            column.kind = kinds.filter(|kind| *kind != "null").fold("null", |all, kind| match (all, kind) {
                ("null", kind) => kind,
                (all, kind) if all == kind => all,
                ("integer", "number") | ("number", "integer") => "number",
                _ => "mixed",
            });
        }
        self
    }
}

/// Failure to read the first rows of a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum PreviewError {
    /// The file cannot be read.
    #[error("cannot read the file")]
    Io(#[from] io::Error),
    /// Its records cannot be parsed.
    #[error("cannot read the rows")]
    Records(#[source] Box<pipeline::Error>),
}

/// Returns a value from its JSON text, which a parser has accepted.
fn cell(json: &str) -> Cell {
    let is_integer = |json: &str| !json.contains(['.', 'e', 'E']);
    let kind = match json.as_bytes().first() {
        Some(b'"') => "text",
        Some(b'{') => "object",
        Some(b'[') => "list",
        Some(b't' | b'f') => "true or false",
        Some(b'n') | None => "null",
        Some(_) if is_integer(json) => "integer",
        Some(_) => "number",
    };
    let text = match kind {
        "text" => serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()),
        _ => json.to_owned(),
    };
    let text = match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    Cell { text, kind }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn of_lines(text: &str) -> Preview {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        Preview::of_lines(file).unwrap()
    }

    #[test]
    fn values_have_kinds_and_columns_the_kind_of_all_their_values() {
        let lines =
            "{\"a\":1,\"b\":\"x\\u003c\",\"c\":[1],\"d\":null}\n{\"a\":1.50,\"b\":null,\"c\":{\"x\":1},\"e\":true}\n";
        let preview = of_lines(lines);
        let kinds: Vec<_> = preview.columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
        assert_eq!(kinds, [("a", "number"), ("b", "text"), ("c", "mixed"), ("d", "null"), ("e", "true or false")]);
        let texts = |row: usize| -> Vec<_> {
            preview.rows[row].iter().map(|cell| cell.as_ref().map(|cell| cell.text.as_str())).collect()
        };
        assert_eq!(texts(0), [Some("1"), Some("x<"), Some("[1]"), Some("null"), None]);
        assert_eq!(texts(1), [Some("1.50"), Some("null"), Some("{\"x\":1}"), None, Some("true")]);
    }

    #[test]
    fn rows_columns_bytes_and_texts_are_bounded() {
        let many = of_lines(&"{\"a\":1}\n".repeat(PREVIEW_ROWS + 1));
        assert_eq!(many.rows.len(), PREVIEW_ROWS);
        let long = of_lines(&format!("{{\"a\":\"{}\"}}\n", "é".repeat(MAX_TEXT + 1)));
        assert_eq!(long.rows[0][0].as_ref().unwrap().text.chars().count(), MAX_TEXT + 1);
        let members: Vec<String> = (0..MAX_COLUMNS + 3).map(|i| format!("\"c{i}\":{i}")).collect();
        let wide = of_lines(&format!("{{{}}}\n", members.join(",")));
        assert_eq!((wide.columns.len(), wide.columns_left_out), (MAX_COLUMNS, 3));
        let huge = of_lines(&format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}\n", "x".repeat(MAX_BYTES as usize)));
        assert_eq!(huge.rows.len(), 1, "a row that is cut is left out");
        assert_eq!(of_lines(""), Preview::default());
    }

    #[test]
    fn csv_has_the_types_that_a_run_infers() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("people.csv");
        let rows: String = (0..200).map(|i| format!("{i},00{i},{i}.5\n")).collect();
        std::fs::write(&path, format!("id,zip,score\n{rows}")).unwrap();
        let preview = Preview::of_file(&path, scratch.path()).unwrap();
        let kinds: Vec<_> = preview.columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
        assert_eq!(kinds, [("id", "integer"), ("zip", "text"), ("score", "number")]);
        assert_eq!(preview.rows.len(), PREVIEW_ROWS);
        assert!(Preview::of_file(&scratch.path().join("absent.csv"), scratch.path()).is_err());
    }
}
