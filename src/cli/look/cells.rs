//! The first rows of a plan as cells of a table. Reads no more than it needs.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;

use super::grid::{Cell, Grid, GridColumn};
use crate::column::json_text::{JsonValues, NullMembers};
use crate::column::{Batch, Fixed, Schema, Type};
use crate::pipeline::{Control, Error, ExecutionPlan, Report, TypedReader};
use crate::transform::{Limit, Step};

/// Rows that were read, with the columns and types of all of them.
pub(in crate::cli) struct FirstRows {
    pub grid: Grid,
    /// True if reading stopped here: there may be more rows.
    pub may_have_more: bool,
    /// Counts and notes.
    pub report: Report,
}

/// Reads the first `most` rows after the steps of `plan`, and stops. A query sees all rows before.
pub(in crate::cli) fn read_first_rows(
    mut plan: ExecutionPlan,
    most: u64,
    control: &Control,
) -> Result<FirstRows, Error> {
    plan.steps.push(Step::from(Limit(most)));
    let mut reader = TypedReader::begin(plan, control)?;
    // The columns may widen from batch to batch.
    let mut parts: Vec<(Arc<Schema>, Vec<Vec<Cell>>)> = Vec::new();
    let mut left = usize::try_from(most).unwrap_or(usize::MAX);
    while left > 0
        && let Some(batch) = reader.next_batch()
    {
        let rows = batch.rows.min(left);
        left -= rows;
        parts.push((batch.schema.clone(), columns_of(&batch, rows)));
    }
    let report = reader.finish()?;
    let schema = match (report.schema.fields.is_empty(), parts.last()) {
        (true, Some((last, _))) => (**last).clone(),
        _ => report.schema.clone(),
    };
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for (of_part, columns) in parts {
        let n_rows = columns.first().map_or(0, Vec::len);
        let places: Vec<Option<usize>> = schema.fields.iter().map(|field| of_part.position(&field.name)).collect();
        let cell = |row: usize, place: &Option<usize>| place.map_or(Cell::Null, |column| columns[column][row].clone());
        rows.extend((0..n_rows).map(|row| places.iter().map(|place| cell(row, place)).collect()));
    }
    let columns = schema.fields.iter().map(|field| GridColumn {
        name: field.name.to_string(),
        // Without a row there is no type: all would be that of nulls.
        ty: if rows.is_empty() { String::new() } else { field.ty.resolved().outline() },
        right: is_number(&field.ty),
    });
    let may_have_more = report.reached_limit || report.stopped_early;
    Ok(FirstRows { grid: Grid { columns: columns.collect(), rows }, may_have_more, report })
}

fn is_number(ty: &Type) -> bool {
    match ty {
        Type::Int { .. } | Type::Float | Type::Decimal | Type::Number(_) => true,
        Type::Fixed(fixed) => matches!(fixed, Fixed::Decimal { .. }),
        _ => false,
    }
}

/// Returns the first `rows` cells of each column: text as it is, dates and times without quotes, the rest as JSON.
fn columns_of(batch: &Batch, rows: usize) -> Vec<Vec<Cell>> {
    let column = |(array, field): (&arrow_array::ArrayRef, &crate::column::Field)| {
        let ty = field.ty.resolved();
        let json = JsonValues::try_new(&**array, &ty, NullMembers::LeaveOut);
        let cell = |row: usize| {
            let Some(values) = json.as_ref().filter(|values| !values.is_null(row)) else { return Cell::Null };
            let mut text = Vec::new();
            match &ty {
                // JSON has no spelling of them.
                Type::Float if !array.as_primitive::<Float64Type>().value(row).is_finite() => {
                    return Cell::Text(array.as_primitive::<Float64Type>().value(row).to_string());
                }
                Type::Text => return Cell::Text(array.as_string_view().value(row).to_owned()),
                Type::Fixed(fixed) => fixed.write(fixed.value(&**array, row), &mut text),
                _ => values.write(row, &mut text),
            }
            Cell::Formatted(String::from_utf8_lossy(&text).into_owned())
        };
        (0..rows).map(cell).collect()
    };
    batch.columns.iter().zip(&batch.schema.fields).map(column).collect()
}
