//! Checks rows against the columns of a table of data files, and gives them its types. Pure. Knows no table format but by its
//! [`FormatRules`].
//!
//! A column of the table keeps its type whatever comes: wider values are bad rows. Their batch may carry good rows in the
//! wider form too, which are brought back value by value; see [`super::narrow`].

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};

use super::cells::{Cells, Reason};
use super::described::described;
use super::error::{LoadError, Misfit};
use super::narrow::{Narrowed, holds, is_cell, may_hold, narrowed, narrowed_cells};
use super::row_encoder::{NO_COLUMN, RowEncoder, UnfitRow, first_of_each_row};
use crate::column::{Batch, Field, Schema, Type, TypeMerge};
use crate::position::FieldPath;

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

    /// Returns true if the columns of the table stay as they are.
    fn is_fixed(&self) -> bool {
        self.exists && !self.may_widen
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
        match self.is_fixed() {
            true => Place::None(NO_COLUMN.to_owned()),
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

    /// Returns all misfits of columns that are known before the rows.
    pub(super) fn misfits(&self, columns: &Schema) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        let mut misfit = |column: &str, what: String| misfits.push(Misfit { column: column.to_owned(), what });
        for field in &columns.fields {
            let has = || format!("has {}", described(&field.ty));
            match self.place(field) {
                _ if field.ty == Type::Null => {}
                Place::Known(column, ty) if !may_hold(&ty, &field.ty, self.type_merge) => {
                    let what = match misfit_inside(&ty, &field.ty) {
                        Some((path, wanted, found)) => format!(
                            "has {} in `{}{path}`, and the table has {} there",
                            described(found),
                            field.name,
                            described(wanted)
                        ),
                        None => format!("{}, and the table has {}", has(), column.shown),
                    };
                    misfit(&field.name, what);
                }
                Place::Known(..) | Place::New(_) => {}
                // No row that fits has a value there.
                Place::None(_) if self.refusal(&field.name).is_some() => {}
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
            Place::Known(_, ty) if holds(&ty, &field.ty, self.type_merge) => Vec::new(),
            Place::Known(column, ty) => match self.brought(batch, i, &ty) {
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
        let mut unfit = Vec::new();
        let path = |name: &str| FieldPath::root().field(name);
        for (i, field) in batch.schema.fields.iter().enumerate() {
            let rows = self.unfit_in(batch, i).into_iter();
            unfit.extend(rows.map(|(row, reason)| UnfitRow { row, path: path(&field.name), reason }));
        }
        for column in self.columns.iter().filter(|column| !column.nullable) {
            let array = batch.schema.position(&column.name).map(|i| &batch.columns[i]);
            let nulls = (0..batch.rows).filter(|&row| array.is_none_or(|array| array.is_null(row)));
            let reason = || "the table takes no null there".to_owned();
            unfit.extend(nulls.map(|row| UnfitRow { row: row as u32, path: path(&column.name), reason: reason() }));
        }
        first_of_each_row(&mut unfit);
        unfit
    }

    fn has_fixed_columns(&self) -> bool {
        self.is_fixed()
    }

    fn refusal(&self, name: &str) -> Option<Reason> {
        let is_there = || self.columns.iter().any(|column| column.name.to_lowercase() == name.to_lowercase());
        (self.is_fixed() && !is_there()).then_some(Reason::from(NO_COLUMN))
    }

    fn columns_with_maps(&self) -> Schema {
        let column = |column: &TableColumn| Some(Field::new(column.name.clone(), column.ty.clone().filter(has_map)?));
        Schema::new(self.columns.iter().filter_map(column).collect())
    }

    fn file_columns(&self, columns: &Schema) -> Schema {
        let field = |field: &Field| match self.place(field) {
            // A column that divides the table stays: readers that do not find it in a file take its rows for others.
            Place::Known(..)
                if F::LEAVES_OUT_NULLS && field.ty == Type::Null && !self.partition_by.contains(&field.name) =>
            {
                None
            }
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
            arrays.push(match field.ty == batch.schema.fields[i].ty {
                true => batch.columns[i].clone(),
                false => self.cast(batch, i, &field.ty)?,
            });
        }
        Ok(Batch::new(Arc::new(columns), arrays, batch.rows))
    }
}

impl<F: FormatRules> TableRows<F> {
    /// Brings column `i` to the type `to`.
    fn brought(&self, batch: &Batch, i: usize, to: &Type) -> Result<Narrowed, String> {
        let found = &batch.schema.fields[i].ty;
        let are_cells = self.type_merge == TypeMerge::Text && is_cell(to) && is_cell(found);
        match are_cells && !holds(to, found, self.type_merge) {
            true => Ok(narrowed_cells(&Cells::new(batch, i), batch.rows, to)),
            false => narrowed(&batch.columns[i], found, to, self.type_merge),
        }
    }

    fn cast(&self, batch: &Batch, i: usize, to: &Type) -> Result<ArrayRef, LoadError> {
        let bug = |what: &str| LoadError::Bug(format!("cannot bring rows to the columns of the table: {what}"));
        match self.brought(batch, i, to) {
            Ok(Narrowed { array, unfit }) if unfit.is_empty() => Ok(array),
            Ok(_) => Err(bug("a row was not rejected")),
            Err(error) => Err(bug(&error)),
        }
    }
}

/// Returns the first place inside objects and lists at which values of `found` do not fit `table`, with both types there; `None`
/// if the columns themselves are unlike.
fn misfit_inside<'a>(table: &'a Type, found: &'a Type) -> Option<(String, &'a Type, &'a Type)> {
    let inside = |path: String, table: &'a Type, found: &'a Type| {
        if may_hold(table, found, TypeMerge::Json) {
            return None;
        }
        Some(match misfit_inside(table, found) {
            Some((rest, table, found)) => (format!("{path}{rest}"), table, found),
            None => (path, table, found),
        })
    };
    match (table, found) {
        (Type::Struct(known), Type::Struct(found)) => found.iter().find_map(|field| {
            let known = known.iter().find(|known| known.name == field.name)?;
            inside(format!(".{}", field.name), &known.ty, &field.ty)
        }),
        (Type::Map(value), Type::Struct(fields)) => {
            fields.iter().find_map(|field| inside(format!(".{}", field.name), value, &field.ty))
        }
        (Type::List(table), Type::List(found)) => inside("[]".to_owned(), table, found),
        (Type::Map(table), Type::Map(found)) => inside(".*".to_owned(), table, found),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Morsel;
    use crate::format::decode::Outcome;
    use crate::format::ndjson::{self, DecodeOptions, UnknownKey, ValueTypes};

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

    /// One judgement of a value, alone and beside every other one: the type of a batch is as wide as its widest value.
    #[test]
    fn values_are_judged_alike_beside_any_other() {
        use crate::column::{Fixed, Unit};
        let values = [
            "1",
            "-7",
            "2.0",
            "2.5",
            "-0",
            "1e2",
            "9007199254740993",
            "123456789012345678901234567890",
            "true",
            "\"2\"",
            "\"x\"",
            "[]",
            "[1]",
            "[2.0,null]",
            "[1,2.5]",
            "[\"x\"]",
            "[9007199254740993]",
            "[[1]]",
            "[{\"x\":2.0}]",
            "[{\"x\":1},{\"x\":2.5}]",
            "{}",
            "{\"x\":1}",
            "{\"x\":2.0}",
            "{\"x\":2.5}",
            "{\"x\":\"s\"}",
            "{\"x\":1,\"y\":2}",
            "{\"x\":[1,2.0]}",
            "{\"x\":{\"z\":1}}",
            "{\"x\":9007199254740993}",
        ];
        let object = |ty: &Type| Type::Struct(vec![Field::new("x", ty.clone())]);
        let price = Type::Fixed(Fixed::Decimal { precision: 10, scale: 2 });
        let mut types = vec![INT, Type::Float, Type::Decimal, Type::Bool, Type::Text, price];
        types.extend([Fixed::Date, Fixed::Timestamp { unit: Unit::Micros, local: false }].map(Type::Fixed));
        let inner: Vec<Type> = types.iter().cloned().chain([object(&INT), Type::List(Box::new(INT))]).collect();
        for ty in inner {
            types.extend([object(&ty), Type::List(Box::new(ty.clone())), Type::map(ty)]);
        }
        let mut n_fit = 0;
        for ty in types {
            let check = TableRows::<PlainRules>::new(table(&[("v", ty.clone())]), [].into(), TypeMerge::Json, false);
            // The text of each value as the files have it; `None` if it does not fit.
            let judged = |values: &[&str]| -> Vec<Option<String>> {
                let batch = rows(&values.iter().map(|value| format!("{{\"v\":{value}}}\n")).collect::<String>());
                let unfit: Vec<u32> = check.unfit(&batch).iter().map(|row| row.row).collect();
                let kept: Vec<u32> = (0..batch.rows as u32).filter(|row| !unfit.contains(row)).collect();
                let text = text(&check.file_rows(&batch.take(&kept).unwrap()).unwrap());
                let mut lines = text.lines().map(str::to_owned);
                (0..batch.rows as u32).map(|row| if unfit.contains(&row) { None } else { lines.next() }).collect()
            };
            let alone: Vec<Option<String>> = values.iter().flat_map(|value| judged(&[value])).collect();
            n_fit += alone.iter().flatten().count();
            assert_eq!(judged(&values), alone, "{ty}");
            for (a, of_a) in values.iter().zip(&alone) {
                for (b, of_b) in values.iter().zip(&alone) {
                    assert_eq!(judged(&[a, b, "null"])[..2], [of_a.clone(), of_b.clone()], "{ty}: {a} and {b}");
                }
            }
        }
        assert!(n_fit > 80, "{n_fit} fit");
    }

    /// A load is refused before its first row only if no value of a column can fit.
    #[test]
    fn numbers_inside_objects_and_lists_are_no_misfit_of_the_column() {
        let (map, list) = (Type::map(INT), Type::List(Box::new(INT)));
        let columns = [("m", map), ("l", list), ("o", Type::Struct(vec![Field::new("x", INT)]))];
        let check = TableRows::<PlainRules>::new(table(&columns), [].into(), TypeMerge::Json, false);
        let misfits = |record: &str| check.misfits(&rows(record).schema).len();
        assert_eq!(misfits("{\"m\":{\"a\":2.0},\"l\":[2.5],\"o\":{\"x\":2.0}}\n"), 0);
        assert_eq!(misfits("{\"m\":{\"a\":\"2\"},\"l\":[\"x\"],\"o\":{\"x\":true}}\n"), 3);
        // The place inside is named, not the object or the list around it.
        let found = check.misfits(&rows("{\"l\":[\"x\"],\"o\":{\"x\":true}}\n").schema);
        let shown: Vec<String> = found.iter().map(Misfit::to_string).collect();
        assert_eq!(
            shown,
            [
                "column `l` has text in `l[]`, and the table has integers there",
                "column `o` has booleans in `o.x`, and the table has integers there",
            ]
        );
        assert_eq!(misfits("{\"o\":{\"x\":1,\"more\":2}}\n"), 1);
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
                "column `p` has lists, which cannot name a partition",
                "column `n` takes no null in the table, and the rows do not have it",
            ]
        );
        // Rows with a value there do not fit, whatever the columns of the first are.
        let refusal = |name: &str| check.refusal(name).is_some();
        assert_eq!(["more", "p", "t", "case", "n"].map(refusal), [true, true, false, false, false]);
    }

    #[test]
    fn empty_text_names_no_partition() {
        let check = TableRows::<PlainRules>::new(None, ["p".into()].into(), TypeMerge::Json, true);
        let unfit = check.unfit(&rows("{\"p\":\"\"}\n{\"p\":null}\n{\"p\":\"x\"}\n"));
        assert_eq!(unfit.len(), 1);
        assert_eq!((unfit[0].row, unfit[0].path.to_string()), (0, "p".to_owned()));
    }
}
