//! The extra column: keys without a column, and values that do not fit theirs, as one object of JSON text.

use std::collections::HashMap;

use super::{Decoder, UNESCAPED};
use crate::column::build::{Builder, StructBuilder};
use crate::column::views::make_view;
use crate::format::decode::ExtraColumn;
use crate::format::ndjson::enforced::check_enforced;
use crate::format::ndjson::scan::{JsonError, JsonErrorKind, PathSegment, Scan};
use crate::format::ndjson::walk::key_text;

/// The entries of one record's extra column, as spans of the morsel.
#[derive(Default)]
struct ExtraEntries {
    /// Start and end of a key with its quotes, start and end of its value; `None` if a duplicate of the key fits
    /// its column.
    entries: Vec<Option<(usize, usize, usize, usize)>>,
    /// Index in `entries` by key.
    by_key: HashMap<Vec<u8>, usize>,
}

impl Decoder<'_> {
    /// Parses the record at the cursor; keys, and depending on `kind` values, that fit no column go into `extra`.
    pub(super) fn object_with_extra(
        &mut self,
        root: &mut StructBuilder,
        extra: &mut Builder,
        kind: ExtraColumn,
    ) -> Scan<()> {
        let (start, rows, duplicates) = (self.cursor.pos, root.len(), self.duplicate_keys);
        // The fast path first, for records in which everything fits.
        match self.object(root, 0) {
            Ok(()) => {
                extra.push_null();
                return Ok(());
            }
            Err(error) if matches!(error.kind, JsonErrorKind::Syntax(_)) => return Err(error),
            Err(_) => {}
        }
        // Once more from its start, key by key.
        root.truncate(rows);
        self.duplicate_keys = duplicates;
        self.cursor.pos = start;
        if let Some(enforced) = self.rules.enforced {
            // A misfit of the enforced schema never goes into the extra column. A syntax error is found below.
            match check_enforced(&mut self.cursor, &enforced) {
                Err(error) if !matches!(error.kind, JsonErrorKind::Syntax(_)) => return Err(error),
                _ => self.cursor.pos = start,
            }
        }
        let mut extra_entries = ExtraEntries::default();
        self.known_columns(root, &mut extra_entries, kind)?;
        let Builder::Json(views, nulls) = extra else { unreachable!("the extra column is of JSON text") };
        let text_start = self.unescaped.len();
        let mut open = b'{';
        for &(key, key_end, value, value_end) in extra_entries.entries.iter().flatten() {
            self.unescaped.push(open);
            open = b',';
            self.unescaped.extend_from_slice(&self.cursor.bytes()[key..key_end]);
            self.unescaped.push(b':');
            self.unescaped.extend_from_slice(&self.cursor.bytes()[value..value_end]);
        }
        if open == b'{' {
            views.push(0);
            nulls.push(false);
        } else {
            self.unescaped.push(b'}');
            views.push(make_view(&self.unescaped[text_start..], UNESCAPED, text_start));
            nulls.push(true);
        }
        Ok(())
    }

    /// As [`Decoder::object`] for a record, but collects keys without a column, and depending on `kind` values that do
    /// not fit theirs, in `extra`.
    fn known_columns(&mut self, root: &mut StructBuilder, extra: &mut ExtraEntries, kind: ExtraColumn) -> Scan<()> {
        let rows = root.len();
        self.cursor.open(0)?;
        if self.cursor.skip_blank() == b'}' {
            self.cursor.pos += 1;
            root.end_value();
            return Ok(());
        }
        loop {
            if self.cursor.skip_blank() != b'"' {
                return Err(JsonError::syntax(self.cursor.pos, "expected a key in quotes"));
            }
            let key_start = self.cursor.pos;
            let s = self.cursor.string()?;
            let key_end = self.cursor.pos;
            self.cursor.expect(b':', "expected `:` after a key")?;
            self.cursor.skip_blank();
            let value_start = self.cursor.pos;
            let mut owned = Vec::new();
            let key = key_text(&self.cursor, s, &mut owned).to_vec();
            let fits = match root.position(&key) {
                None => false,
                Some(index) => {
                    let field = &mut root.fields[index];
                    // A duplicate key: its earlier value is dropped.
                    if field.builder.len() > rows {
                        field.builder.truncate(rows);
                        self.duplicate_keys += 1;
                    }
                    match self.value(&mut field.builder, 1) {
                        Ok(()) => true,
                        Err(error) if kind == ExtraColumn::Keys || matches!(error.kind, JsonErrorKind::Syntax(_)) => {
                            return Err(error.within(PathSegment::Key(field.name.to_string())));
                        }
                        // The column is null, and the value goes into the extra column by its text.
                        Err(_) => {
                            field.builder.truncate(rows);
                            field.builder.push_null();
                            false
                        }
                    }
                }
            };
            let entry = if fits {
                None
            } else {
                self.cursor.pos = value_start;
                let (value, value_end) = self.cursor.skip_value(1)?;
                Some((key_start, key_end, value, value_end))
            };
            // The last value of a duplicate key replaces the earlier one, here as in columns.
            match extra.by_key.get(&key) {
                Some(&index) => {
                    self.duplicate_keys += u64::from(root.position(&key).is_none());
                    extra.entries[index] = entry;
                }
                None if entry.is_some() => {
                    extra.by_key.insert(key, extra.entries.len());
                    extra.entries.push(entry);
                }
                None => {}
            }
            match self.cursor.skip_blank() {
                b',' => self.cursor.pos += 1,
                b'}' => {
                    self.cursor.pos += 1;
                    root.end_value();
                    return Ok(());
                }
                _ => return Err(JsonError::syntax(self.cursor.pos, "expected `,` or `}`")),
            }
        }
    }
}
