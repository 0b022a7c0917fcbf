//! The columns that steps would produce, by a sample of the sources. Applies no step to a row and writes no output.

use std::collections::BTreeMap;

use super::cell_kinds::{ColumnKinds, TextColumn};
use super::error::Error;
use super::input::{
    Item, SourceReader, can_be_reread, first_records, set_columns_read, source_columns, take_sample_on_thread,
};
use super::plan::{Limits, SchemaSource};
use super::progress::Control;
use super::schema::{HeaderNotes, SchemaRules, known_columns};
use super::tables::{Scratch, open_tables, take_query};
use crate::column::Schema;
use crate::format::frame::BufferPool;
use crate::position::Position;
use crate::source::Source;
use crate::transform::{Step, StepMemory, StepOptions, StepText, Steps, bind};

/// The steps of a plan in words, and the columns before and after them.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The steps in their order.
    pub steps: Vec<StepText>,
    /// The columns of the sample.
    pub input: Schema,
    /// The columns after the steps.
    pub output: Schema,
    /// Names that steps use and no column of the sample has.
    pub unseen: Vec<String>,
    /// Number of records in the sample.
    pub records: u64,
    /// Sentences for the user on the headers of CSV sources.
    pub notes: Vec<String>,
    /// See [`Report::other_delimiter`](super::Report::other_delimiter).
    pub other_delimiter: Option<u8>,
    /// See [`Report::text_columns`](super::Report::text_columns).
    pub text_columns: Vec<TextColumn>,
}

/// Checks `steps` against the first records of `sources` and returns the columns that they produce; `tables` are those
/// of a query among the steps. Blocks while it reads the sample.
pub fn explain_steps(
    mut sources: Vec<Source>,
    mut steps: Vec<Step>,
    tables: Vec<(String, Source)>,
    choice: &SchemaSource,
    limits: &Limits,
    control: &Control,
) -> Result<Explained, Error> {
    set_columns_read(&mut sources, &steps);
    let (rereadable, is_one_source) = (can_be_reread(&sources), sources.len() == 1);
    let source_columns = source_columns(&sources);
    let reader = SourceReader::new(sources, limits, false, BufferPool::new(limits.morsel_bytes, 1), control);
    let (reader, sample) = take_sample_on_thread(reader, limits.sample_bytes, false, control)?;
    let type_merge = reader.type_merge();
    let rules = SchemaRules::for_schema(choice, type_merge, limits).with_source_columns(source_columns.clone());
    let mut texts: Vec<StepText> = steps.iter().map(Step::describe).collect();
    let query = match steps.iter().any(|step| matches!(step, Step::Sql(_))) {
        true => Some(take_query(&mut steps)?),
        false => None,
    };
    let known = known_columns(limits, choice, type_merge, &sample, is_one_source, &source_columns);
    let unseen = bind(&mut steps, known)?;
    let unseen = unseen.into_iter().map(|column| column.name).collect();
    // The whole sample here, not only its start: the columns are shown to the user.
    let mut records = 0;
    let mut seen = Schema::default();
    let mut headers = HeaderNotes::default();
    let mut cell_kinds = ColumnKinds::default();
    // Lines of each source before its next morsel.
    let mut lines_before = BTreeMap::new();
    for item in first_records(&sample, limits.sample_bytes) {
        let item = &*item;
        if let Item::Morsel(morsel, info) = item {
            let inferred = rules.infer_columns(morsel, info, true);
            let header_lines = info.csv.as_ref().map_or(0, |csv| csv.header.lines);
            let lines = lines_before.entry(info.index).or_insert(header_lines);
            cell_kinds.add(inferred.cell_kinds, |cell| Position {
                source: info.name.clone(),
                byte: morsel.byte_offset + cell.byte as u64,
                line: *lines + cell.line + 1,
                record: 0,
            });
            *lines += inferred.lines;
            records += inferred.records;
        }
        if let Item::Rows(batch, _) = item {
            records += batch.rows as u64;
        }
        if let Item::Morsel(_, info) | Item::SourceEnd(info) = item {
            headers.take(info);
        }
        seen = seen.join(&rules.columns_of_item(item), type_merge);
    }
    let input = rules.initial_schema(seen)?;
    // Typed and fixed: a column without a value is shown as it would be written.
    let options = StepOptions { type_merge, typed: true, columns_fixed: true, ..StepOptions::default() };
    let mut output = Steps::new(&steps, options).output_schema(&input)?;
    if let Some(query) = query {
        match query.by_rows(&output)? {
            // The same condition as in `query::execute`, so that the plan is shown as it would run.
            Some(by_rows) if rereadable => {
                texts.last_mut().expect("the query is one of them").memory = StepMemory::Streams;
                output = (**by_rows.output()).clone();
            }
            // A query over all rows is planned with its tables, which may have to be converted to be opened.
            _ => {
                let scratch = Scratch::new(limits)?;
                let tables = open_tables(&query, tables, &scratch, limits, control, &mut headers.notes)?;
                output = query.columns(&output, &tables)?;
            }
        }
    }
    let HeaderNotes { notes, other_delimiter, .. } = headers;
    let text_columns = cell_kinds.text_columns(&rules.columns_of_own_type(&input));
    Ok(Explained { steps: texts, input, output, unseen, records, notes, other_delimiter, text_columns })
}
