//! From the records of a morsel to typed columns.
//!
//! The way of most morsels is straight: split a few hundred records, append each column's cells
//! to its builder, go on. A cell that does not fit stops that, and what then happens (finding the
//! wider schema, or the records to reject) goes through the morsel again, record by record.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, new_null_array};
use memchr::memchr_iter;

use super::infer::{Kinds, type_of};
use super::split::{RecordBounds, Span, Splitter};
use crate::column::{Batch, Field, Mixing, Morsel, Schema, Type};
use crate::format::Reject;
use crate::format::decode::{Decoded, OnMisfit, Outcome, RejectedRecord, Surprise};
use crate::position::FieldPath;

pub use builder::DecodeCells;
use builder::{Builder, Misfit, NestedCells};

mod builder;

/// Fields split before their columns are appended to: these spans and the bytes they point to
/// stay in the first-level cache. By eye.
const FIELDS_AT_A_TIME: usize = 2048;

/// Decodes the morsels of one CSV source, which share a header.
#[derive(Clone)]
pub struct CsvDecoder {
    names: Arc<[Arc<str>]>,
    delimiter: u8,
    decode_cells: DecodeCells,
}

/// Which of the header's columns each column of a schema is.
struct Mapping {
    /// Per column of the schema; `None` where this source does not have it.
    places: Vec<Option<usize>>,
    /// Columns of the header that the schema does not have.
    unknown: Vec<usize>,
}

impl CsvDecoder {
    /// A decoder for records with the columns `names`, which are distinct. `delimiter` is an
    /// ASCII byte other than NUL, quote, CR and LF. `decode_cells` reads the cells of columns
    /// that are declared nested.
    pub fn new(names: Arc<[Arc<str>]>, delimiter: u8, decode_cells: DecodeCells) -> Self {
        CsvDecoder { names, delimiter, decode_cells }
    }

    /// The columns of the header with the narrowest types that hold the values of this morsel.
    /// Values are not looked at for JSON except in columns that `declared` has as nested. To be
    /// joined with [`Mixing::Text`].
    pub fn infer(&self, morsel: &Morsel, declared: &Schema) -> Schema {
        let bytes = morsel.records();
        let mut kinds = vec![Kinds::default(); self.names.len()];
        let mut nested: Vec<Option<(Type, NestedCells)>> = self
            .names
            .iter()
            .map(|name| declared.fields.iter().find(|field| field.name == *name).map(|field| &field.ty))
            .map(|ty| ty.filter(|ty| NestedCells::are_for(ty)).map(|ty| (ty.clone(), NestedCells::default())))
            .collect();
        self.each_record(morsel, |_, fields, _| {
            for (column, span) in fields.drain(..).enumerate() {
                if span.is_null() {
                    continue;
                }
                match &mut nested[column] {
                    Some((_, cells)) => cells.push(span),
                    None => kinds[column].note(span.of(bytes)),
                }
            }
            None
        });
        let types = kinds.into_iter().zip(nested).map(|(kinds, nested)| match nested {
            None => kinds.to_type(),
            Some((_, cells)) if cells.is_empty() => Type::Null,
            Some((ty, cells)) => match cells.decode(bytes, &ty, self.decode_cells) {
                Ok((_, observed)) => observed,
                Err(Misfit) => Type::Text,
            },
        });
        Schema::new(self.names.iter().cloned().zip(types).map(|(name, ty)| Field { name, ty }).collect())
    }

    /// Decodes a morsel without the header. Columns of `schema` that the source does not have
    /// are null. A column of the source that `schema` does not have is a surprise, or, with
    /// [`OnMisfit::Reject`], a reject of each record with a value in it.
    ///
    /// Ragged, malformed and not UTF-8 records are rejects. A blank line is a record with a null
    /// if there is one column, else none.
    pub fn decode(&self, morsel: &Morsel, schema: &Arc<Schema>, on_misfit: OnMisfit) -> Outcome {
        let mapping = self.mapping(schema);
        let surprised = on_misfit == OnMisfit::Surprise;
        if !surprised || mapping.unknown.is_empty() {
            if let Ok(decoded) = self.try_decode(morsel, schema, &mapping, false) {
                return Outcome::Decoded(decoded);
            }
            if !surprised && let Ok(decoded) = self.try_decode(morsel, schema, &mapping, true) {
                return Outcome::Decoded(decoded);
            }
        }
        Outcome::Surprise(self.surprise(morsel, schema, &mapping))
    }

    fn mapping(&self, schema: &Schema) -> Mapping {
        let same = self.names.len() == schema.fields.len()
            && self.names.iter().zip(&schema.fields).all(|(name, field)| *name == field.name);
        if same {
            return Mapping { places: (0..self.names.len()).map(Some).collect(), unknown: Vec::new() };
        }
        let by_name: HashMap<&str, usize> = self.names.iter().enumerate().map(|(i, name)| (&**name, i)).collect();
        let places: Vec<_> = schema.fields.iter().map(|field| by_name.get(&*field.name).copied()).collect();
        let mut known = vec![false; self.names.len()];
        places.iter().flatten().for_each(|&place| known[place] = true);
        let unknown = (0..known.len()).filter(|&place| !known[place]).collect();
        Mapping { places, unknown }
    }

    /// With `check` every record is looked at before its cells are appended, and rejected if one
    /// of them does not fit; without, such a cell is an error.
    fn try_decode(
        &self,
        morsel: &Morsel,
        schema: &Arc<Schema>,
        mapping: &Mapping,
        check: bool,
    ) -> Result<Decoded, Misfit> {
        let bytes = morsel.records();
        let lines = memchr_iter(b'\n', bytes).count();
        // There are as many records as lines at most, and each has a byte per field at least.
        let capacity = lines.min(bytes.len() / self.names.len().max(1)) + 1;
        let mut builders: Vec<Option<Builder>> = schema
            .fields
            .iter()
            .zip(&mapping.places)
            .map(|(field, place)| place.map(|_| Builder::new(&field.ty, morsel, capacity)))
            .collect();
        let width = self.names.len();
        let block = (FIELDS_AT_A_TIME / width.max(1)).max(1) * width;
        let mut failed = false;
        let mut rows = 0;
        let mut append = |pending: &mut Vec<Span>| -> Result<(), Misfit> {
            for (builder, place) in builders.iter_mut().zip(&mapping.places) {
                if let (Some(builder), &Some(place)) = (builder, place)
                    && !pending.is_empty()
                {
                    builder.append(bytes, pending[place..].iter().step_by(width).copied())?;
                }
            }
            pending.clear();
            Ok(())
        };
        // Accepted records gather in `pending` until there is a block of them.
        let (records, rejects, mut rest) = self.each_record(morsel, |record, pending, first| {
            if failed {
                pending.clear();
                return None;
            }
            let misfit = match check || !mapping.unknown.is_empty() {
                true => self.misfit(bytes, &pending[first..], schema, mapping),
                false => None,
            };
            if let Some((path, what)) = misfit {
                if !check {
                    failed = true;
                    return None;
                }
                let offset = what.1.saturating_sub(record.start);
                return Some(Reject { offset, path, reason: what.0 });
            }
            rows += 1;
            if pending.len() >= block {
                failed = append(pending).is_err();
            }
            None
        });
        if failed {
            return Err(Misfit);
        }
        append(&mut rest)?;

        let mut columns: Vec<ArrayRef> = Vec::with_capacity(builders.len());
        let mut observed = Vec::with_capacity(builders.len());
        for (builder, field) in builders.into_iter().zip(&schema.fields) {
            let (column, ty) = match builder {
                Some(builder) => builder.finish(morsel, self.decode_cells)?,
                None => (new_null_array(&field.ty.to_arrow(), rows), Type::Null),
            };
            columns.push(column);
            observed.push(Field { name: field.name.clone(), ty });
        }
        Ok(Decoded {
            batch: Batch { schema: schema.clone(), columns, rows, records: None },
            rejects,
            consumed: morsel.len,
            records,
            lines: lines as u64,
            duplicate_keys: 0,
            observed: Schema::new(observed),
        })
    }

    /// Calls `accept` with every record that is well-formed, the list of fields to which its own
    /// have been added, and the place of the first of them. What it returns, and every other
    /// record, is a reject, whose fields go from the list again; the others stay until `accept`
    /// takes them. Returns the number of records, the rejects, and what is left of the list.
    fn each_record(
        &self,
        morsel: &Morsel,
        mut accept: impl FnMut(&RecordBounds, &mut Vec<Span>, usize) -> Option<Reject>,
    ) -> (u64, Vec<RejectedRecord>, Vec<Span>) {
        let bytes = morsel.records();
        // One look at the whole morsel is almost always enough.
        let all_utf8 = simdutf8::basic::from_utf8(bytes).is_ok();
        let width = self.names.len();
        let mut splitter = Splitter::new(morsel, self.delimiter);
        let mut fields = Vec::with_capacity(FIELDS_AT_A_TIME + 2 * width);
        let mut records = 0;
        let mut rejects = Vec::new();
        let (mut line, mut line_known_to) = (0, 0);
        loop {
            let first = fields.len();
            let Some(record) = splitter.next_record(&mut fields) else {
                return (records, rejects, fields);
            };
            if record.is_blank() && width > 1 {
                fields.truncate(first);
                continue;
            }
            let mut reject = malformed(&record);
            if reject.is_none() && !all_utf8 {
                reject = not_utf8(&bytes[record.start..record.end]);
            }
            let found = fields.len() - first;
            if reject.is_none() && found != width {
                reject = Some(ragged(width, found));
            }
            if reject.is_none() {
                reject = accept(&record, &mut fields, first);
            }
            if let Some(reject) = reject {
                fields.truncate(first);
                line += memchr_iter(b'\n', &bytes[line_known_to..record.start]).count() as u64;
                line_known_to = record.start;
                let len = record.end - record.start;
                rejects.push(RejectedRecord { reject, byte: record.start, len, line, record: records });
            }
            records += 1;
        }
    }

    /// The first field of a record that does not fit `schema`: its path, what is wrong with it,
    /// and where it stands in the morsel.
    fn misfit(
        &self,
        bytes: &[u8],
        fields: &[Span],
        schema: &Schema,
        mapping: &Mapping,
    ) -> Option<(FieldPath, (String, usize))> {
        let path = |place: usize| FieldPath::root().field(&self.names[place]);
        if let Some(&place) = mapping.unknown.iter().find(|&&place| !fields[place].is_null()) {
            return Some((path(place), ("the schema has no such column".into(), fields[place].start())));
        }
        schema.fields.iter().zip(&mapping.places).find_map(|(field, place)| {
            let place = (*place)?;
            let span = fields[place];
            if builder::fits(bytes, span, &field.ty, self.decode_cells) {
                return None;
            }
            let found = match type_of(span.of(bytes)) {
                _ if NestedCells::are_for(&field.ty) => "other text".to_string(),
                found => found.to_string(),
            };
            Some((path(place), (format!("expected {}, found {found}", field.ty), span.start())))
        })
    }

    /// The wider schema that the morsel needs, and the first record that needs it.
    fn surprise(&self, morsel: &Morsel, schema: &Arc<Schema>, mapping: &Mapping) -> Surprise {
        let bytes = morsel.records();
        let mut record_idx = 0;
        let mut first = None;
        // Counts the records before the one found; rejects are among them, in the count below.
        let (records, rejects, _) = self.each_record(morsel, |record, fields, _| {
            if first.is_none() {
                match self.misfit(bytes, fields, schema, mapping) {
                    Some((path, (what, _))) => {
                        first = Some((record.start, record_idx, format!("field `{path}`: {what}")));
                    }
                    None => record_idx += 1,
                }
            }
            fields.clear();
            None
        });
        let (byte, accepted, what) = first.unwrap_or_else(|| {
            let what = match mapping.unknown.first() {
                Some(&place) => format!("field `{}`: the schema has no such column", self.names[place]),
                None => "the values of a column do not fit together".to_string(),
            };
            (0, 0, what)
        });
        let rejected = rejects.iter().filter(|reject| reject.byte < byte).count() as u64;
        debug_assert!(accepted + rejected <= records);
        Surprise {
            schema: self.widen(schema, &self.infer(morsel, schema)),
            byte,
            line: memchr_iter(b'\n', &bytes[..byte]).count() as u64,
            record: accepted + rejected,
            what,
        }
    }

    /// As [`Schema::join`], but nested columns, whose cells are JSON, mix as JSON does.
    fn widen(&self, schema: &Schema, inferred: &Schema) -> Schema {
        let mut joined = schema.join(inferred, Mixing::Text);
        for (joined, old) in joined.fields.iter_mut().zip(&schema.fields) {
            if NestedCells::are_for(&old.ty)
                && joined.ty != Type::Text
                && let Some(place) = inferred.position(&old.name)
            {
                joined.ty = old.ty.join(&inferred.fields[place].ty, Mixing::Json);
            }
        }
        joined
    }
}

/// The reject of a record that is not CSV.
pub(super) fn malformed(record: &RecordBounds) -> Option<Reject> {
    record.malformed.map(|(at, reason)| Reject {
        offset: at - record.start,
        path: FieldPath::root(),
        reason: reason.to_string(),
    })
}

#[cold]
fn not_utf8(record: &[u8]) -> Option<Reject> {
    let error = simdutf8::compat::from_utf8(record).err()?;
    Some(Reject { offset: error.valid_up_to(), path: FieldPath::root(), reason: "not valid UTF-8".into() })
}

#[cold]
fn ragged(expected: usize, found: usize) -> Reject {
    let s = if expected == 1 { "" } else { "s" };
    Reject { offset: 0, path: FieldPath::root(), reason: format!("expected {expected} field{s}, found {found}") }
}

#[cfg(test)]
mod tests;
