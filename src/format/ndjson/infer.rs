//! Infers the types of a morsel's values: for the schema before the first batch, and for the wider one
//! after a schema mismatch. Looks at all records of the morsel; makes no columns.

use std::collections::HashMap;
use std::sync::Arc;

use super::enforced::check_enforced;
use super::scan::{Cursor, Scan};
use super::walk::{elements, entries, place_of, scalar_type};
use crate::column::{
    Field, MAX_COLUMN_LIMIT, MAX_STRUCT_FIELDS, MAX_TYPE_DEPTH, Morsel, Schema, Type, TypeMerge, is_open_ended,
};
use crate::format::decode::{EnforcedColumns, InferredColumns, RejectedRecord, Widening};

/// The types that are inferred for values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueTypes {
    /// The types of the values.
    Typed,
    /// Raw JSON text for every value; only the keys of the record are inferred.
    Raw,
    /// Structs for objects at any depth, raw text for everything else.
    RawInObjects,
    /// Structs for objects and lists for lists at any depth, raw text for scalars.
    RawInObjectsAndLists,
}

/// Options of inference.
#[derive(Clone, Copy, Debug)]
pub struct InferOptions<'a> {
    /// Types inferred for values.
    pub keys: ValueTypes,
    /// Longest record in bytes; longer ones are skipped.
    pub max_record_bytes: usize,
    /// Enforced schema; records that do not fit it are skipped and counted. `None` skips none.
    pub enforced: Option<EnforcedColumns<'a>>,
    /// List the records that widened the schema of those before them.
    pub trace: bool,
}

/// Infers the schema that holds every valid record of `morsel`, keys in order of first occurrence.
/// Invalid records are skipped: decoding rejects them.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use drawoff::column::Morsel;
/// use drawoff::format::decode::Outcome;
/// use drawoff::format::ndjson::{DecodeOptions, UnknownKey, ValueTypes, decode, infer};
///
/// let morsel = Morsel::from_vec(b"{\"a\":1}\n{\"a\":2,\"b\":[true]}\nbroken\n".to_vec(), 0, 0);
/// let schema = Arc::new(infer(&morsel, ValueTypes::Typed, 1 << 20));
/// let options = DecodeOptions {
///     unknown_key: UnknownKey::SchemaMismatch,
///     new_columns: ValueTypes::Typed,
///     freeze: false,
///     max_record_bytes: 1 << 20,
///     max_cells: usize::MAX,
///     record_spans: false, canonical_json: false,
/// };
/// let Outcome::Decoded(decoded) = decode(&morsel, &schema, &options) else {
///     panic!("the schema was inferred from these records");
/// };
/// assert_eq!(decoded.batch.rows, 2);
/// // A broken line costs one record, and says where it is.
/// assert_eq!((decoded.rejects.len(), decoded.rejects[0].line), (1, 2));
/// ```
pub fn infer(morsel: &Morsel, keys: ValueTypes, max_record_bytes: usize) -> Schema {
    infer_columns(morsel, &InferOptions { keys, max_record_bytes, enforced: None, trace: false }).schema
}

/// Infers the columns of the records of `morsel`.
pub fn infer_columns(morsel: &Morsel, options: &InferOptions<'_>) -> InferredColumns {
    let mut collector = TypeCollector { changed: false, keys: options.keys };
    let mut index = KeyIndex::default();
    let mut found = InferredColumns::default();
    let mut fields = Vec::new();
    let records = morsel.records();
    // One check of the whole morsel is almost always enough; otherwise each line is checked.
    let all_valid = simdutf8::basic::from_utf8(records).is_ok();
    let mut start = 0;
    while start < morsel.len {
        let end = memchr::memchr(b'\n', &records[start..]).map_or(morsel.len, |i| start + i);
        let line = &records[start..end];
        let blank = line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'));
        if !blank && line.len() <= options.max_record_bytes && (all_valid || simdutf8::basic::from_utf8(line).is_ok()) {
            let mut cursor = Cursor::new(morsel);
            cursor.pos = start;
            // Validated first, collected second: the first half of a broken record must not leave a type.
            let at = |cursor: &mut Cursor<'_>| {
                cursor.pos = start;
                cursor.skip_blank();
                cursor.pos
            };
            if cursor.skip_blank() == b'{' && cursor.skip_value(0).is_ok() && ends_at(&mut cursor, end) {
                let byte = at(&mut cursor);
                match options.enforced.map(|enforced| check_enforced(&mut cursor, &enforced)) {
                    Some(Err(error)) => {
                        found.misfits += 1;
                        found.first_misfit.get_or_insert_with(|| RejectedRecord {
                            reject: error.to_reject(byte, end),
                            byte,
                            len: line.trim_ascii_end().len() - (byte - start),
                            line: found.lines,
                            record: found.records,
                            is_misfit: false,
                        });
                    }
                    None | Some(Ok(())) => {
                        at(&mut cursor);
                        collector.changed = false;
                        collector.record(&mut cursor, &mut fields, &mut index).expect("the record was checked");
                        if options.trace && collector.changed {
                            // Once more, for the record's types alone.
                            at(&mut cursor);
                            let mut own = Vec::new();
                            let mut own_index = KeyIndex::default();
                            collector.record(&mut cursor, &mut own, &mut own_index).expect("the record was checked");
                            let (line, record) = (found.lines, found.records);
                            found.widenings.push(Widening { byte, line, record, schema: in_order(own) });
                        }
                    }
                }
            }
        }
        found.records += u64::from(!blank);
        found.lines += u64::from(end < morsel.len);
        start = end + 1;
    }
    found.schema = in_order(fields);
    found
}

fn in_order(mut fields: Vec<Field>) -> Schema {
    fields.iter_mut().for_each(|field| field.ty.sort_in_maps());
    Schema::new(fields)
}

/// Returns true if there are only blanks between the cursor and `end`.
fn ends_at(cursor: &mut Cursor<'_>, end: usize) -> bool {
    cursor.skip_blank();
    cursor.pos >= end
}

/// The fields of records by key, filled once there are more than are worth a search: records may have thousands of keys in
/// any order.
#[derive(Debug, Default)]
struct KeyIndex(HashMap<Arc<str>, usize>);

/// Fields that are searched one by one. By eye: more than a struct may have.
const SEARCH_LIMIT: usize = MAX_STRUCT_FIELDS + 1;

impl KeyIndex {
    /// Returns the index of `key` in `fields`, which only grow between the calls. `next` is the expected index.
    fn place_of(&mut self, key: &[u8], fields: &[Field], next: usize) -> Option<usize> {
        if fields.len() <= SEARCH_LIMIT {
            return place_of(key, fields, next);
        }
        if fields.get(next).is_some_and(|field| field.name.as_bytes() == key) {
            return Some(next);
        }
        for (index, field) in fields.iter().enumerate().skip(self.0.len()) {
            self.0.insert(field.name.clone(), index);
        }
        self.0.get(std::str::from_utf8(key).ok()?).copied()
    }
}

/// The fields of an object whose types are collected.
struct GrowingFields<'a> {
    fields: &'a mut Vec<Field>,
    index: &'a mut KeyIndex,
    /// Most fields; the values of further keys are collected together.
    max: usize,
}

/// Collector of types, which joins those of values into given ones in place.
#[derive(Debug)]
struct TypeCollector {
    /// True once a type has widened; reset by the caller.
    changed: bool,
    keys: ValueTypes,
}

impl TypeCollector {
    /// Joins the types of the record at the cursor into `fields`. Keys beyond [`MAX_COLUMN_LIMIT`] + 1
    /// are ignored: with so many the schema is refused.
    fn record(&mut self, cursor: &mut Cursor<'_>, fields: &mut Vec<Field>, index: &mut KeyIndex) -> Scan<()> {
        let new = if self.keys == ValueTypes::Raw { Type::Raw } else { Type::Null };
        let mut beyond = Type::Null;
        let growing = GrowingFields { fields, index, max: MAX_COLUMN_LIMIT + 1 };
        self.fields(cursor, growing, &new, &mut beyond, 1)
    }

    /// Joins the types of the object at the cursor into `growing`; the values of keys beyond its maximum join `beyond`. New
    /// fields start as `new`.
    fn fields(
        &mut self,
        cursor: &mut Cursor<'_>,
        growing: GrowingFields<'_>,
        new: &Type,
        beyond: &mut Type,
        depth: usize,
    ) -> Scan<()> {
        let GrowingFields { fields, index: key_index, max } = growing;
        let mut next = 0;
        entries(cursor, |cursor, key, _| {
            let index = match key_index.place_of(key, fields, next) {
                Some(index) => index,
                None if fields.len() >= max => return self.value(cursor, beyond, depth),
                None => {
                    let name = std::str::from_utf8(key).expect("the line is valid UTF-8");
                    fields.push(Field::new(name, new.clone()));
                    self.changed = true;
                    fields.len() - 1
                }
            };
            next = index + 1;
            self.value(cursor, &mut fields[index].ty, depth)
        })
    }

    /// Joins the type of the value at the cursor, which is `depth` levels below its record, into `ty`.
    fn value(&mut self, cursor: &mut Cursor<'_>, ty: &mut Type, depth: usize) -> Scan<()> {
        let first = cursor.skip_blank();
        match (first, &mut *ty) {
            (_, Type::Raw | Type::Json) => {
                cursor.skip_value(0)?;
            }
            (b'{' | b'[', _) if depth > MAX_TYPE_DEPTH => {
                cursor.skip_value(0)?;
                self.set(ty, Type::Json);
            }
            (b'{', Type::Struct(fields)) => {
                let mut beyond = Type::Null;
                let before = fields.len();
                // One field more than a struct may have is enough to know that it is a map.
                // So few that searching them is enough.
                let index = &mut KeyIndex::default();
                let growing = GrowingFields { fields, index, max: MAX_STRUCT_FIELDS + 1 };
                self.fields(cursor, growing, &Type::Null, &mut beyond, depth + 1)?;
                if fields.len() > before && is_open_ended(fields.iter().map(|f| &*f.name)) {
                    let value = fields.iter().fold(beyond, |t, f| t.join(&f.ty, TypeMerge::Json));
                    self.set(ty, Type::map(value));
                }
            }
            (b'{', Type::Map(value)) => entries(cursor, |cursor, _, _| self.value(cursor, value, depth + 1))?,
            // The first object of a column: the empty struct, then its fields join as in any other.
            (b'{', Type::Null) => {
                self.set(ty, Type::Struct(Vec::new()));
                self.value(cursor, ty, depth)?;
            }
            (b'[', Type::List(item)) => elements(cursor, |cursor, _| self.value(cursor, item, depth + 1))?,
            (b'[', Type::Null) if self.keys != ValueTypes::RawInObjects => {
                self.set(ty, Type::List(Box::new(Type::Null)));
                self.value(cursor, ty, depth)?;
            }
            _ => {
                let start = cursor.pos;
                let (_, end) = cursor.skip_value(0)?;
                let seen = match self.keys {
                    ValueTypes::RawInObjects | ValueTypes::RawInObjectsAndLists if first != b'n' => Type::Raw,
                    _ => scalar_type(&cursor.bytes()[start..end]),
                };
                if *ty != seen {
                    let joined = ty.join(&seen, TypeMerge::Json);
                    self.set(ty, joined);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, ty: &mut Type, wider: Type) {
        if *ty != wider {
            *ty = wider;
            self.changed = true;
        }
    }
}
