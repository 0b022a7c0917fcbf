//! `lookup`: adds or replaces columns by the entry of a reference table for the row's key. Used by blocks of the
//! service only; it has no text form.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringViewArray};

use crate::column::{Batch, Field, Schema, Type};
use crate::format::json_text::write_json_value;
use crate::format::ndjson::JsonText;
use crate::transform::binding::Binding;
use crate::transform::cell::Cell;
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr;
use crate::transform::kind::{Properties, RunningStep, StepKind};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `lookup`: a left join with an in-memory reference table. Where the table has no value for a row, or no entry,
/// the row keeps its own, with null in columns that it did not have.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Columns to add, in order; they replace columns of the same name.
    pub fields: Vec<String>,
    /// Column whose value, as text, is the key.
    pub key: String,
    /// Values of `fields` by key, in that order; `None` for null. The texts are copied into records, which is why their
    /// type checks them. Without a table no row has a match.
    pub table: Option<Arc<HashMap<String, Vec<Option<JsonText>>>>>,
}

impl StepKind for Lookup {
    type Running = Lookup;

    fn describe(&self) -> StepText {
        StepText::new("lookup", self.fields.join(","))
    }

    fn properties(&self) -> Properties {
        Properties { makes_raw_columns: true, ..Properties::default() }
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        columns.update_schema(|schema| {
            for name in &self.fields {
                if schema.position(name).is_none() {
                    schema.fields.push(Field::new(name.as_str(), Type::Raw));
                }
            }
        });
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        *needed = Needed::All;
    }

    fn start(&self, _: &StepOptions) -> Lookup {
        self.clone()
    }
}

impl RunningStep for Lookup {
    fn output_schema(&self, mut schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        for name in &self.fields {
            let field = Field::new(name.as_str(), Type::Raw);
            match schema.position(name) {
                Some(i) => schema.fields[i] = field,
                None => schema.fields.push(field),
            }
        }
        Ok(schema)
    }

    fn apply(&mut self, batch: Batch, _: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        Ok(look_up(batch, self))
    }
}

fn look_up(mut batch: Batch, lookup: &Lookup) -> Batch {
    let key_column = batch.schema.position(&lookup.key);
    let found: Vec<Option<&Vec<Option<JsonText>>>> = (0..batch.rows)
        .map(|row| {
            let (table, column) = (lookup.table.as_ref()?, key_column?);
            let (values, ty) = batch.seen(column);
            let cell = Cell::at(values, ty, row);
            if matches!(cell, Cell::Null) { None } else { table.get(&*cell.text()) }
        })
        .collect();
    for (i, name) in lookup.fields.iter().enumerate() {
        let index = batch.schema.position(name);
        // A row for which the table has no value keeps its own, or null if the column is new.
        let values =
            found.iter().enumerate().map(|(row, entry)| match (entry.and_then(|entry| entry[i].as_ref()), index) {
                (Some(value), _) => Some(value.as_str().into()),
                (None, Some(index)) => json_at(&batch, index, row).map(Cow::Owned),
                (None, None) => None,
            });
        let array: ArrayRef =
            Arc::new(StringViewArray::from_iter_values(values.map(|value| value.unwrap_or_else(|| "null".into()))));
        batch.put(&name.as_str().into(), Type::Raw, array, None);
    }
    // The source records lack the new columns, so they cannot be copied to the output.
    batch.records = None;
    batch
}

fn json_at(batch: &Batch, column: usize, row: usize) -> Option<String> {
    let array = &batch.columns[column];
    if array.is_null(row) {
        return None;
    }
    if let Type::Raw = batch.schema.fields[column].ty {
        return Some(array.as_string_view().value(row).to_owned());
    }
    let mut out = Vec::new();
    write_json_value(array, row, &batch.schema.fields[column].ty, &mut out);
    Some(String::from_utf8(out).expect("JSON text is UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_what_the_table_has_no_value_for() {
        let text = |values: [&str; 2]| -> ArrayRef { Arc::new(StringViewArray::from_iter_values(values)) };
        let fields = ["email", "phone"].map(|name| Field::new(name, Type::Text)).to_vec();
        let batch = Batch::new(Arc::new(Schema::new(fields)), vec![text(["a", "b"]), text(["1", "2"])], 2);
        let title = JsonText::new("\"CTO\"".to_owned());
        let table = HashMap::from([("a".to_owned(), vec![None, None, title])]);
        let fields = ["email", "phone", "title"].map(str::to_owned).to_vec();
        let lookup = Lookup { fields, key: "email".to_owned(), table: Some(Arc::new(table)) };
        let after = look_up(batch, &lookup);
        let column =
            |i: usize| after.columns[i].as_string_view().iter().map(|value| value.unwrap()).collect::<Vec<_>>();
        assert_eq!(column(0), ["\"a\"", "\"b\""]);
        assert_eq!(column(1), ["\"1\"", "\"2\""]);
        assert_eq!(column(2), ["\"CTO\"", "null"]);
    }
}
