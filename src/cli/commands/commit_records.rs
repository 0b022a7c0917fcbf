//! The rows of a plan as text, for a commit whose target has values as text, or whose columns only the cells of all items
//! type: NDJSON, or CSV, in which every value is spelled as it was read. What text does not tell is in the receipts: the types
//! that casts have made.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::plan_settings;
use crate::cli::error::{Error, Failure};
use crate::cli::plan_place::PlanPlace;
use crate::client::ResultFormat;
use crate::column::{Fixed, Schema, Type, TypeMerge, Unit};
use crate::format::{Format, SourceCodec};
use crate::pipeline::ExecutionPlan;
use crate::scale::{Part, Plan, PlanStore, Receipt};
use crate::source::{ByteSource, Source};
use crate::transform::Step;

/// Returns the files of records as sources, in the order of their rows.
pub(super) fn sources(place: &PlanPlace, plan: &Plan, receipts: &[Receipt]) -> Result<Vec<Source>, Failure> {
    let is_csv = plan_settings::format(&plan.settings)? == ResultFormat::Csv;
    let files = receipts.iter().flat_map(|receipt| &receipt.records);
    let source = |part: &Part| {
        let name = format!("{}/{}", place.name().trim_end_matches('/'), part.name);
        let file = PartBytes { store: Arc::clone(&place.0), part: part.clone(), file: None };
        let mut source = Source::stream(name, Box::new(file));
        source.format = Some(if is_csv { Format::Csv } else { Format::Ndjson });
        source.csv.delimiter = is_csv.then_some(b',');
        source.compression = Some(SourceCodec::Zstd);
        source.expected_rows = Some(part.rows);
        source
    };
    Ok(files.map(source).collect())
}

/// Adds what the text does not tell to the execution: the types of the schema file, those that workflows declare, and the casts
/// of the steps. `columns` are those of all parts.
pub(super) fn complete(
    execution: &mut ExecutionPlan,
    plan: &Plan,
    receipts: &[Receipt],
    columns: &Schema,
) -> Result<(), Failure> {
    let merge = match plan_settings::format(&plan.settings)? {
        ResultFormat::Csv => TypeMerge::Text,
        _ => TypeMerge::Json,
    };
    let inputs = receipts.iter().filter_map(Receipt::input_columns);
    let input = inputs.fold(Schema::default(), |all, columns| all.join(&columns, merge));
    let of_input = |name: &str| input.position(name).map(|at| &input.fields[at].ty);
    let is_cast = |name: &str, ty: &Type| matches!(ty, Type::Fixed(_)) && of_input(name) != Some(ty);
    // What is text in every item is text in all of them: a cell alone does not tell it from a number.
    let each: Vec<Schema> = receipts.iter().filter_map(Receipt::columns).collect();
    let is_text_in = |columns: &Schema, name: &str| match columns.position(name) {
        Some(at) => matches!(columns.fields[at].ty, Type::Text | Type::Null),
        None => true,
    };
    let is_text = |name: &str| merge == TypeMerge::Text && each.iter().all(|columns| is_text_in(columns, name));
    for field in &columns.fields {
        let word = match &field.ty {
            Type::Fixed(fixed) if is_cast(&field.name, &field.ty) => cast_word(*fixed),
            Type::Text if is_text(&field.name) => "text".to_owned(),
            _ => continue,
        };
        let text = format!("\"{}\":{word}", field.name.replace('"', "\"\""));
        let step = Step::parse("cast", &text).map_err(|error| Error::Bug(error.to_string()))?;
        execution.steps.extend(step);
    }
    if plan.settings.schema.is_some() {
        // Every value fits: the workers have accepted them. A type that no JSON has is cast above.
        let mut enforced = columns.clone();
        enforced.fields.retain(|field| !is_cast(&field.name, &field.ty));
        execution.schema.enforced = Some(enforced);
    }
    execution.schema.occurring = columns.fields.iter().map(|field| field.name.clone()).collect();
    // A step may have made another column of the name.
    let mut declared = plan.settings.declared();
    declared.fields.retain(|field| columns.position(&field.name).is_some_and(|at| columns.fields[at].ty == field.ty));
    execution.schema.declared = Some(declared);
    execution.limits.max_record_bytes = usize::try_from(plan.settings.max_record_bytes).unwrap_or(usize::MAX);
    Ok(())
}

/// Returns the type of a cast that makes `fixed`.
fn cast_word(fixed: Fixed) -> String {
    match fixed {
        Fixed::Date => "date".to_owned(),
        Fixed::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        Fixed::Timestamp { unit, local } => {
            let unit = match unit {
                Unit::Millis => "ms",
                Unit::Micros => "us",
                Unit::Nanos => "ns",
            };
            format!("timestamp({unit}, {})", if local { "local" } else { "utc" })
        }
    }
}

/// The bytes of a file of the plan, which is opened, and compared with its receipt, at the first read.
struct PartBytes {
    store: Arc<PlanStore>,
    part: Part,
    file: Option<File>,
}

impl Read for PartBytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.file = Some(self.store.open_part(&self.part)?);
        }
        self.file.as_mut().map_or(Ok(0), |file| file.read(out))
    }
}

impl ByteSource for PartBytes {
    fn size_bytes(&self) -> Option<u64> {
        Some(self.part.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_a_cast_has_its_word() {
        let timestamp = |unit, local| Fixed::Timestamp { unit, local };
        for fixed in [
            Fixed::Date,
            Fixed::Decimal { precision: 12, scale: 2 },
            timestamp(Unit::Millis, false),
            timestamp(Unit::Micros, true),
            timestamp(Unit::Nanos, false),
        ] {
            let steps = Step::parse("cast", &format!("\"a \"\"b\":{}", cast_word(fixed))).unwrap();
            let input = Schema::new(vec![crate::column::Field::new("a \"b", Type::Text)]);
            let after = crate::pipeline::columns_after(&steps, &input, TypeMerge::Json).unwrap();
            assert_eq!(after.fields[0].ty, Type::Fixed(fixed));
        }
    }
}
