//! Checks rows against the columns of a table of data files, and gives them its types. Pure. Knows no table format but by its
//! [`FormatRules`].
//!
//! A column of the table keeps its type whatever comes: wider values are bad rows. Their batch may carry good rows in the
//! wider form too, which are brought back value by value: through their JSON text, which the decoder of records reads under
//! the type of the table, so that both agree on what fits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, UInt32Array, new_null_array};
use arrow_select::concat::concat;
use arrow_select::take::take;

use super::described::described;
use super::error::{LoadError, Misfit};
use super::row_encoder::{RowEncoder, UnfitRow};
use crate::column::{Batch, Field, Morsel, Schema, Type, TypeMerge, cast_array};
use crate::format::decode::Outcome;
use crate::format::json_text::JsonValues;
use crate::format::ndjson::{self, DecodeOptions, UnknownKey, ValueTypes};
use crate::position::FieldPath;

/// The greatest integer up to which a double holds each one.
const EXACT_IN_DOUBLE: u64 = 1 << 53;

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TableColumn {
    pub(super) name: Arc<str>,
    /// The type in words of the format, such as `integer`.
    pub(super) shown: String,
    /// The type of the values that a load may write; `None` for types that it has no values for.
    pub(super) ty: Option<Type>,
    pub(super) nullable: bool,
}

/// The rules of a table format.
pub(super) trait FormatRules: std::fmt::Debug + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// True if an empty text cannot name a partition, because readers take it for null.
    const EMPTY_TEXT_IS_NULL: bool;
    /// True if a column of the table that has only nulls is left out of the files.
    const LEAVES_OUT_NULLS: bool;

    /// Returns the reason for which a column cannot have its name or a member of its objects theirs; `None` if it can.
    fn unfit_name(field: &Field) -> Option<String>;

    /// Returns the type that the files of a new column have; an error in words for values that the format has no type for.
    fn new_type(ty: &Type) -> Result<Type, &'static str>;

    /// Returns the wider type that a column of the table gets for values of type `found`; `None` if it keeps its own.
    fn widened(table: &Type, found: &Type) -> Option<Type>;

    /// Returns true for columns whose values name a partition.
    fn can_partition(ty: &Type) -> bool {
        !matches!(ty, Type::Json) && ty.container().is_none()
    }
}

/// The check of one load.
#[derive(Debug)]
pub(super) struct TableRows<F: FormatRules> {
    columns: Vec<TableColumn>,
    rules: PhantomData<F>,
    partition_by: Arc<[Arc<str>]>,
    type_merge: TypeMerge,
    /// True if the table may get columns.
    may_widen: bool,
    exists: bool,
}

/// The column of the table for a column of rows.
enum Place<'a> {
    /// It gets the type of the table, with members of objects that are added to it.
    Known(&'a TableColumn, Type),
    /// It is new, and its files have this type.
    New(Type),
    /// It cannot be in the table, for this reason.
    None(String),
}

impl<F: FormatRules> TableRows<F> {
    /// Creates the check of a table with these columns; `None` for a table that does not exist.
    pub(super) fn new(
        columns: Option<Vec<TableColumn>>,
        partition_by: Arc<[Arc<str>]>,
        type_merge: TypeMerge,
        may_widen: bool,
    ) -> Self {
        let exists = columns.is_some();
        TableRows {
            columns: columns.unwrap_or_default(),
            rules: PhantomData,
            partition_by,
            type_merge,
            may_widen,
            exists,
        }
    }

    fn place(&self, field: &Field) -> Place<'_> {
        if let Some(column) = self.columns.iter().find(|column| column.name == field.name) {
            return match &column.ty {
                Some(ty) => Place::Known(column, self.pinned(ty, &field.ty)),
                None => Place::None(format!("the table has {}, which drawoff does not write", column.shown)),
            };
        }
        let lower = field.name.to_lowercase();
        if let Some(column) = self.columns.iter().find(|column| column.name.to_lowercase() == lower) {
            return Place::None(format!("the table has `{}`, and {} ignores case; rename it", column.name, F::NAME));
        }
        if let Some(reason) = F::unfit_name(field) {
            return Place::None(reason);
        }
        match self.exists && !self.may_widen {
            true => Place::None("the table has no such column".to_owned()),
            false => match F::new_type(&field.ty) {
                Ok(ty) => Place::New(ty),
                Err(reason) => Place::None(format!("it {reason}")),
            },
        }
    }

    /// Returns the type of the table with the members of objects that rows of type `found` add to it.
    fn pinned(&self, table: &Type, found: &Type) -> Type {
        match (table, found) {
            (Type::Struct(known), Type::Struct(found)) if self.may_widen && !known.is_empty() => {
                let mut fields = known.clone();
                for field in found {
                    match fields.iter_mut().find(|known| known.name == field.name) {
                        Some(known) => known.ty = self.pinned(&known.ty, &field.ty),
                        None => fields.push(field.clone()),
                    }
                }
                Type::Struct(fields)
            }
            // A column of text that has had no value yet: its first values decide what its text is.
            (Type::Null, Type::Null | Type::Text) => found.clone(),
            (Type::Null, Type::Int { .. } | Type::Decimal) if self.type_merge == TypeMerge::Text => Type::Text,
            (Type::Null, _) => Type::Json,
            // Objects without members are text, too.
            (Type::Struct(known), found) if known.is_empty() => match found {
                Type::Null => table.clone(),
                Type::Struct(fields) if fields.is_empty() => table.clone(),
                _ => Type::Json,
            },
            (Type::List(table), Type::List(found)) => Type::List(Box::new(self.pinned(table, found))),
            (Type::Map(table), Type::Map(found)) => Type::Map(Box::new(self.pinned(table, found))),
            _ => F::widened(table, found).filter(|_| self.may_widen).unwrap_or_else(|| table.clone()),
        }
    }

    /// Returns true if every value of `found` is one of `ty`, whose carrier it widens to.
    fn holds(&self, ty: &Type, found: &Type) -> bool {
        if ty.join(found, TypeMerge::Json).is_like(ty) {
            // The integers are exact in doubles, or the types are the same.
            return true;
        }
        // The digits of a cell of CSV are its text.
        self.type_merge == TypeMerge::Text && *ty == Type::Text && matches!(found, Type::Int { .. } | Type::Decimal)
            || is_time_of_other_unit(ty, found)
    }

    /// Returns all misfits of columns that are known before the rows.
    pub(super) fn misfits(&self, columns: &Schema) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        let mut misfit = |column: &str, what: String| misfits.push(Misfit { column: column.to_owned(), what });
        for field in &columns.fields {
            let has = || format!("has {}", described(&field.ty));
            match self.place(field) {
                _ if field.ty == Type::Null => {}
                Place::Known(column, ty) if !self.holds(&ty, &field.ty) && !are_numbers(&ty, &field.ty) => {
                    misfit(&field.name, format!("{}, and the table has {}", has(), column.shown));
                }
                Place::Known(..) | Place::New(_) => {}
                Place::None(reason) => misfit(&field.name, format!("{}, and {reason}", has())),
            }
            if self.partition_by.contains(&field.name) && !F::can_partition(&field.ty) {
                misfit(&field.name, format!("{}, which cannot name a partition", has()));
            }
        }
        let lower: BTreeMap<String, &Field> =
            columns.fields.iter().map(|field| (field.name.to_lowercase(), field)).collect();
        for field in &columns.fields {
            let other = lower.get(&field.name.to_lowercase());
            if let Some(other) = other.filter(|other| other.name != field.name) {
                misfit(
                    &field.name,
                    format!("differs only in case from `{}`, and {} ignores case; rename it", other.name, F::NAME),
                );
            }
        }
        for column in self.columns.iter().filter(|column| !column.nullable) {
            if columns.position(&column.name).is_none() {
                misfit(&column.name, "takes no null in the table, and the rows do not have it".to_owned());
            }
        }
        misfits
    }

    /// Returns the rows of a column that do not fit, with the reason.
    fn unfit_in(&self, batch: &Batch, i: usize) -> Vec<(u32, String)> {
        let (field, array) = (&batch.schema.fields[i], &batch.columns[i]);
        let valid = |reason: &str| -> Vec<(u32, String)> {
            (0..batch.rows).filter(|&row| !array.is_null(row)).map(|row| (row as u32, reason.to_owned())).collect()
        };
        let is_partition = self.partition_by.contains(&field.name);
        let mut unfit = match self.place(field) {
            _ if field.ty == Type::Null => Vec::new(),
            Place::None(reason) => valid(&reason),
            Place::New(_) => Vec::new(),
            Place::Known(_, ty) if self.holds(&ty, &field.ty) => Vec::new(),
            Place::Known(column, ty) => match narrowed(array, &field.ty, &ty) {
                Ok(Narrowed { unfit, .. }) => {
                    unfit.into_iter().map(|row| (row, format!("the table has {}", column.shown))).collect()
                }
                Err(_) => valid(&format!("the table has {}", column.shown)),
            },
        };
        if is_partition && F::EMPTY_TEXT_IS_NULL && field.ty.is_text_like() {
            let texts = array.as_string_view();
            let is_empty = |row: &usize| !texts.is_null(*row) && texts.value(*row).is_empty();
            let reason = format!("{} reads an empty text that names a partition as null", F::NAME);
            unfit.extend((0..batch.rows).filter(is_empty).map(|row| (row as u32, reason.clone())));
        }
        if is_partition && !F::can_partition(&field.ty) {
            unfit.extend(valid("its values have several types, and cannot name a partition"));
        }
        unfit
    }
}

impl<F: FormatRules> RowEncoder for TableRows<F> {
    fn unfit(&self, batch: &Batch) -> Vec<UnfitRow> {
        // The first reason of a row counts.
        let mut unfit: BTreeMap<u32, (FieldPath, String)> = BTreeMap::new();
        let path = |name: &str| FieldPath::root().field(name);
        for (i, field) in batch.schema.fields.iter().enumerate() {
            for (row, reason) in self.unfit_in(batch, i) {
                unfit.entry(row).or_insert_with(|| (path(&field.name), reason));
            }
        }
        for column in self.columns.iter().filter(|column| !column.nullable) {
            let array = batch.schema.position(&column.name).map(|i| &batch.columns[i]);
            for row in (0..batch.rows).filter(|&row| array.is_none_or(|array| array.is_null(row))) {
                unfit
                    .entry(row as u32)
                    .or_insert_with(|| (path(&column.name), "the table takes no null there".to_owned()));
            }
        }
        unfit.into_iter().map(|(row, (path, reason))| UnfitRow { row, path, reason }).collect()
    }

    fn columns_with_maps(&self) -> Schema {
        let column = |column: &TableColumn| Some(Field::new(column.name.clone(), column.ty.clone().filter(has_map)?));
        Schema::new(self.columns.iter().filter_map(column).collect())
    }

    fn file_columns(&self, columns: &Schema) -> Schema {
        let field = |field: &Field| match self.place(field) {
            Place::Known(..) if F::LEAVES_OUT_NULLS && field.ty == Type::Null => None,
            Place::Known(_, ty) | Place::New(ty) => Some(Field::new(field.name.clone(), ty)),
            // It has no values: rows that had some did not fit.
            Place::None(_) => None,
        };
        Schema::new(columns.fields.iter().filter_map(field).collect())
    }

    fn file_rows(&self, batch: &Batch) -> Result<Batch, LoadError> {
        let columns = self.file_columns(&batch.schema);
        let mut arrays = Vec::with_capacity(columns.fields.len());
        for field in &columns.fields {
            let Some(i) = batch.schema.position(&field.name) else { continue };
            let (array, found) = (&batch.columns[i], &batch.schema.fields[i].ty);
            arrays.push(match field.ty == *found {
                true => array.clone(),
                false => self.cast(array, found, &field.ty)?.into_owned(),
            });
        }
        Ok(Batch::new(Arc::new(columns), arrays, batch.rows))
    }
}

impl<F: FormatRules> TableRows<F> {
    fn cast<'a>(&self, array: &'a ArrayRef, from: &Type, to: &Type) -> Result<Cow<'a, ArrayRef>, LoadError> {
        let bug = |what: String| LoadError::Bug(format!("cannot bring rows to the columns of the table: {what}"));
        if let (Type::Fixed(from), Type::Fixed(to)) = (from, to)
            && is_time_of_other_unit(&Type::Fixed(*to), &Type::Fixed(*from))
        {
            let values = (0..array.len()).map(|row| match array.is_null(row) {
                true => 0,
                false => from.value(array, row) * 1000,
            });
            return Ok(Cow::Owned(to.array(values.collect(), array.nulls().cloned())));
        }
        if self.holds(to, from) {
            return Ok(Cow::Owned(cast_array(array, from, to).map_err(|error| bug(error.to_string()))?));
        }
        match narrowed(array, from, to) {
            Ok(Narrowed { array, unfit }) if unfit.is_empty() => Ok(Cow::Owned(array)),
            Ok(_) => Err(bug("a row was not rejected".to_owned())),
            // Only nulls are left.
            Err(_) if array.null_count() == array.len() => Ok(Cow::Owned(new_null_array(&to.to_arrow(), array.len()))),
            Err(error) => Err(bug(error)),
        }
    }
}

/// Returns true for two types of numbers: each value is judged by itself then, as `2.0` is an integer.
fn are_numbers(table: &Type, found: &Type) -> bool {
    matches!((table, found), (Type::Int { .. }, Type::Float | Type::Decimal) | (Type::Float, Type::Int { .. }))
}

/// Returns true if a value of the type is an object with open-ended keys, or has one in it.
fn has_map(ty: &Type) -> bool {
    match ty {
        Type::Map(_) => true,
        Type::List(item) => has_map(item),
        Type::Struct(fields) => fields.iter().any(|field| has_map(&field.ty)),
        _ => false,
    }
}

/// Returns true for timestamps in milliseconds where the table has microseconds.
fn is_time_of_other_unit(table: &Type, found: &Type) -> bool {
    use crate::column::{Fixed, Unit};
    match (table, found) {
        (
            Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: a }),
            Type::Fixed(Fixed::Timestamp { unit: Unit::Millis, local: b }),
        ) => a == b,
        _ => false,
    }
}

/// Values in a type that is narrower than the one they came in.
struct Narrowed {
    /// The values, null for those that do not fit.
    array: ArrayRef,
    /// Rows whose values do not fit, ascending.
    unfit: Vec<u32>,
}

/// Brings values to a narrower type. Fails with a reason if no value of `from` can be one of `to`.
fn narrowed(array: &ArrayRef, from: &Type, to: &Type) -> Result<Narrowed, String> {
    match (from, to) {
        (Type::Float, Type::Int { .. }) => {
            let floats = array.as_primitive::<Float64Type>();
            // 2^53 itself may stand for the number after it.
            let fits = |value: f64| value.fract() == 0.0 && value.abs() < EXACT_IN_DOUBLE as f64;
            let ints: Int64Array = floats.iter().map(|value| value.filter(|v| fits(*v)).map(|v| v as i64)).collect();
            let unfit = unfit_rows(array, &ints);
            Ok(Narrowed { array: Arc::new(ints), unfit })
        }
        (Type::Int { .. }, Type::Float) => {
            let ints = array.as_primitive::<Int64Type>();
            let fits = |value: i64| value.unsigned_abs() <= EXACT_IN_DOUBLE;
            let floats: Float64Array = ints.iter().map(|value| value.filter(|v| fits(*v)).map(|v| v as f64)).collect();
            let unfit = unfit_rows(array, &floats);
            Ok(Narrowed { array: Arc::new(floats), unfit })
        }
        (Type::Json | Type::Struct(_) | Type::List(_) | Type::Map(_), _) | (Type::Decimal, Type::Int { .. }) => {
            by_decoding(array, from, to)
        }
        _ => Err(format!("{from} is not {to}")),
    }
}

fn unfit_rows(before: &dyn Array, after: &dyn Array) -> Vec<u32> {
    (0..before.len()).filter(|&row| after.is_null(row) && !before.is_null(row)).map(|row| row as u32).collect()
}

/// Decodes the JSON text of values again, under the type that they are to have.
fn by_decoding(array: &ArrayRef, from: &Type, to: &Type) -> Result<Narrowed, String> {
    let values = JsonValues::new(array.as_ref(), from);
    let (mut text, mut lines) = (Vec::new(), Vec::new());
    for row in 0..array.len() {
        text.extend_from_slice(b"{\"v\":");
        match array.is_null(row) {
            true => text.extend_from_slice(b"null"),
            false => values.write(row, &mut text),
        }
        text.extend_from_slice(b"}\n");
        lines.push(row as u32);
    }
    let options = DecodeOptions {
        unknown_key: UnknownKey::SchemaMismatch,
        new_columns: ValueTypes::Typed,
        freeze: true,
        max_record_bytes: 1 << 30,
        max_cells: 1 << 20,
        record_spans: false,
        canonical_json: true,
    };
    let schema = Arc::new(Schema::new(vec![Field::new("v", to.clone())]));
    let morsel = Morsel::from_vec(text, 0, 0);
    let (mut consumed, mut first, mut arrays, mut unfit) = (0, 0u64, Vec::new(), Vec::new());
    while consumed < morsel.len {
        match ndjson::decode(&morsel.rest(consumed), &schema, &options) {
            Outcome::Decoded(decoded) if decoded.consumed > 0 => {
                consumed += decoded.consumed;
                unfit.extend(decoded.rejects.iter().map(|rejected| (first + rejected.record) as u32));
                first += decoded.records;
                let column = decoded.batch.columns.first().ok_or("no column was decoded")?;
                // The type may have narrowed flags alone.
                let found = &decoded.batch.schema.fields[0].ty;
                arrays.push(cast_array(column, found, to).map_err(|error| error.to_string())?);
            }
            Outcome::Decoded(_) => return Err("nothing was decoded".to_owned()),
            Outcome::SchemaMismatch(mismatch) => return Err(mismatch.what),
        }
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| array.as_ref()).collect();
    let decoded = match arrays.is_empty() {
        true => new_null_array(&to.to_arrow(), 0),
        false => concat(&arrays).map_err(|error| error.to_string())?,
    };
    // The rows that fit, each in its place.
    let mut at = 0;
    let indices: UInt32Array = lines
        .iter()
        .map(|row| {
            let fits = unfit.binary_search(row).is_err();
            at += u32::from(fits);
            fits.then(|| at - 1)
        })
        .collect();
    let array = match decoded.is_empty() {
        true => new_null_array(&to.to_arrow(), array.len()),
        false => take(&decoded, &indices, None).map_err(|error| error.to_string())?,
    };
    Ok(Narrowed { array, unfit })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules of a format that takes every column.
    #[derive(Debug)]
    struct PlainRules;

    impl FormatRules for PlainRules {
        const NAME: &'static str = "Delta";
        const EMPTY_TEXT_IS_NULL: bool = true;
        const LEAVES_OUT_NULLS: bool = false;

        fn unfit_name(_: &Field) -> Option<String> {
            None
        }

        fn new_type(ty: &Type) -> Result<Type, &'static str> {
            Ok(ty.clone())
        }

        fn widened(_: &Type, _: &Type) -> Option<Type> {
            None
        }
    }

    fn table(fields: &[(&str, Type)]) -> Option<Vec<TableColumn>> {
        let column = |(name, ty): &(&str, Type)| TableColumn {
            name: (*name).into(),
            shown: ty.to_string(),
            ty: Some(ty.clone()),
            nullable: true,
        };
        Some(fields.iter().map(column).collect())
    }

    /// Decodes records, whose types are inferred from all of them.
    fn rows(records: &str) -> Batch {
        let options = DecodeOptions {
            unknown_key: UnknownKey::SchemaMismatch,
            new_columns: ValueTypes::Typed,
            freeze: false,
            max_record_bytes: 1 << 20,
            max_cells: 1 << 20,
            record_spans: false,
            canonical_json: true,
        };
        let morsel = Morsel::from_vec(records.as_bytes().to_vec(), 0, 0);
        let mut schema = Arc::new(Schema::default());
        loop {
            match ndjson::decode(&morsel, &schema, &options) {
                Outcome::Decoded(decoded) => return decoded.batch,
                Outcome::SchemaMismatch(mismatch) => schema = Arc::new(mismatch.schema),
            }
        }
    }

    fn text(batch: &Batch) -> String {
        let mut text = Vec::new();
        ndjson::encode(batch, b"\n", &mut text);
        String::from_utf8(text).unwrap()
    }

    const INT: Type = Type::Int { fits_double: false };

    /// Checks `records` against a table, and returns the bad rows and the text of the others as the files have them.
    fn checked(columns: &[(&str, Type)], records: &str) -> (Vec<u32>, String) {
        let check = TableRows::<PlainRules>::new(table(columns), [].into(), TypeMerge::Json, true);
        let batch = rows(records);
        let unfit: Vec<u32> = check.unfit(&batch).iter().map(|row| row.row).collect();
        let kept: Vec<u32> = (0..batch.rows as u32).filter(|row| !unfit.contains(row)).collect();
        let written = check.file_rows(&batch.take(&kept).unwrap()).unwrap();
        assert_eq!(*written.schema, check.file_columns(&batch.schema));
        (unfit, text(&written))
    }

    #[test]
    fn values_beyond_the_type_of_the_table_are_bad_and_the_others_keep_it() {
        let (unfit, text) = checked(&[("n", INT)], "{\"n\":1}\n{\"n\":2.5}\n{\"n\":null}\n{\"n\":3}\n");
        assert_eq!((unfit, &*text), (vec![1], "{\"n\":1}\n{\"n\":null}\n{\"n\":3}\n"));
        let (unfit, text) = checked(&[("n", INT)], "{\"n\":1}\n{\"n\":\"a\"}\n{\"n\":-7}\n{\"n\":true}\n");
        assert_eq!((unfit, &*text), (vec![1, 3], "{\"n\":1}\n{\"n\":-7}\n"));
        let (unfit, text) = checked(&[("n", Type::Float)], "{\"n\":9007199254740993}\n{\"n\":2}\n");
        assert_eq!((unfit, &*text), (vec![0], "{\"n\":2.0}\n"));
        let (unfit, _) = checked(&[("n", Type::Text)], "{\"n\":1}\n{\"n\":2}\n");
        assert_eq!(unfit, [0, 1]);
        let (unfit, text) = checked(&[("n", Type::Text)], "{\"n\":1}\n{\"n\":\"x\"}\n");
        assert_eq!((unfit, &*text), (vec![0], "{\"n\":\"x\"}\n"));
    }

    #[test]
    fn objects_get_members_and_keep_the_types_of_those_they_have() {
        let inner = Type::Struct(vec![Field::new("x", INT)]);
        let (unfit, text) = checked(
            &[("s", inner)],
            "{\"s\":{\"x\":1,\"y\":\"new\"}}\n{\"s\":{\"x\":\"bad\"}}\n{\"s\":null}\n{\"s\":{\"x\":2}}\n",
        );
        assert_eq!(unfit, [1]);
        assert_eq!(text, "{\"s\":{\"x\":1,\"y\":\"new\"}}\n{\"s\":null}\n{\"s\":{\"x\":2,\"y\":null}}\n");
    }

    #[test]
    fn the_first_values_of_a_column_decide_what_its_text_is() {
        let records = "{\"n\":{\"a\":1},\"e\":{\"a\":1},\"t\":\"x\",\"l\":[1]}\n{\"n\":null,\"t\":null,\"l\":null}\n";
        let objects = Type::Struct(Vec::new());
        let columns = [("n", Type::Null), ("e", objects), ("t", Type::Null), ("l", Type::List(Box::new(Type::Null)))];
        let (unfit, text) = checked(&columns, records);
        assert_eq!(
            (unfit, &*text),
            (
                vec![],
                "{\"n\":{\"a\":1},\"e\":{\"a\":1},\"t\":\"x\",\"l\":[1]}\n{\"n\":null,\"e\":null,\"t\":null,\"l\":null}\n"
            )
        );
        let check = TableRows::<PlainRules>::new(table(&columns), [].into(), TypeMerge::Json, false);
        let types: Vec<Type> =
            check.file_columns(&rows(records).schema).fields.iter().map(|field| field.ty.clone()).collect();
        assert_eq!(types, [Type::Json, Type::Json, Type::Text, Type::List(Box::new(Type::Json))]);
    }

    #[test]
    fn json_text_takes_every_value() {
        let (unfit, text) = checked(&[("v", Type::Json)], "{\"v\":\"a\"}\n{\"v\":\"b\"}\n");
        assert_eq!((unfit, &*text), (vec![], "{\"v\":\"a\"}\n{\"v\":\"b\"}\n"));
    }

    #[test]
    fn misfits_are_all_named_before_the_first_row() {
        let mut columns = table(&[("n", INT), ("t", Type::Text), ("Case", INT)]).unwrap();
        columns[0].nullable = false;
        columns[1].ty = None;
        columns[1].shown = "integer".into();
        let check = TableRows::<PlainRules>::new(Some(columns), ["p".into()].into(), TypeMerge::Json, false);
        let columns = Schema::new(vec![
            Field::new("t", INT),
            Field::new("case", INT),
            Field::new("more", Type::Bool),
            Field::new("p", Type::List(Box::new(INT))),
        ]);
        let shown: Vec<String> = check.misfits(&columns).iter().map(Misfit::to_string).collect();
        assert_eq!(
            shown,
            [
                "column `t` has integers, and the table has integer, which drawoff does not write",
                "column `case` has integers, and the table has `Case`, and Delta ignores case; rename it",
                "column `more` has booleans, and the table has no such column",
                "column `p` has lists, and the table has no such column",
                "column `p` has lists, which cannot name a partition",
                "column `n` takes no null in the table, and the rows do not have it",
            ]
        );
    }

    #[test]
    fn empty_text_names_no_partition() {
        let check = TableRows::<PlainRules>::new(None, ["p".into()].into(), TypeMerge::Json, true);
        let unfit = check.unfit(&rows("{\"p\":\"\"}\n{\"p\":null}\n{\"p\":\"x\"}\n"));
        assert_eq!(unfit.len(), 1);
        assert_eq!((unfit[0].row, unfit[0].path.to_string()), (0, "p".to_owned()));
    }
}
