//! The outputs as workers see them: formats and divisions, what row groups have shown of the columns so far, and buffers
//! for text. No path, no sink, no file: rows can be encoded where the outputs are not.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use super::buffers::TextBuffers;
use crate::column::{Schema, TypeMerge};
use crate::format::parquet::{self, ColumnPath, EncodedRowGroup, Layout, SortKey};
use crate::format::{Compression, OutputFormat, ParquetOptions};
use crate::pipeline::error::{ColumnPurpose, PlanError};
use crate::pipeline::plan::{ExecutionPlan, Limits, Output, Target};

/// One output, as workers see it: no path and no sink.
#[derive(Clone, Debug)]
pub struct OutputSpec {
    pub format: OutputFormat,
    pub compression: Compression,
    /// It is divided into files, by the writer, who then compresses them too.
    pub in_parts: bool,
    /// Columns whose values choose a row's directory. Files do not hold them.
    pub partition_by: Arc<[Arc<str>]>,
    /// The most rows of one part of a row group, so that files of few rows become full.
    pub unit_rows: usize,
    /// The same in bytes, as encoded.
    pub unit_bytes: usize,
}

impl OutputSpec {
    /// The part of an output that workers need.
    fn of(output: &Output) -> Self {
        // Files of few rows or bytes are put together from parts that are smaller still.
        let unit =
            |most: Option<u64>| most.map_or(usize::MAX, |most| usize::try_from(most / 8).unwrap_or(usize::MAX).max(1));
        let (partition_by, rows, bytes) = match &output.target {
            Target::Directory(directory) => {
                (directory.partition_by.clone(), directory.max_file_rows, directory.max_file_bytes)
            }
            _ => (Arc::default(), None, None),
        };
        OutputSpec {
            format: output.format,
            compression: output.compression,
            in_parts: matches!(output.target, Target::Directory(_)) || output.is_sheets(),
            partition_by,
            unit_rows: unit(rows),
            unit_bytes: unit(bytes),
        }
    }

    /// True if workers make row groups for it.
    pub fn takes_row_groups(&self) -> bool {
        matches!(self.format, OutputFormat::Parquet(_)) && self.partition_by.is_empty()
    }

    /// True if its rows are spilled until all are there; see [`super::spill`].
    pub fn is_spilled(&self) -> bool {
        self.format.is_typed() && !self.partition_by.is_empty()
    }
}

/// All outputs of a plan, and what the workers learn and use again while they encode for them.
#[derive(Debug)]
pub struct OutputSpecs {
    /// In the order of the plan.
    pub specs: Vec<OutputSpec>,
    /// Buffers of encoded text.
    pub text_buffers: TextBuffers,
    type_merge: TypeMerge,
    /// The order that is claimed for the rows.
    sort_hint: Arc<[SortKey]>,
    /// Columns of Parquet that a dictionary does not help, as far as row groups have shown.
    plain_columns: RwLock<BTreeSet<Vec<String>>>,
}

impl OutputSpecs {
    /// The outputs of `plan`, whose rows come of sources of this `type_merge`.
    pub fn of(plan: &ExecutionPlan, type_merge: TypeMerge) -> Self {
        let Limits { morsel_bytes, .. } = plan.limits;
        OutputSpecs {
            specs: plan.outputs.iter().map(OutputSpec::of).collect(),
            text_buffers: TextBuffers::new(plan.limits.worker_count() * 4, morsel_bytes * 2),
            type_merge,
            sort_hint: plan.sort_hint.clone(),
            plain_columns: RwLock::default(),
        }
    }

    /// True if an output is Parquet, divided or not.
    pub fn has_parquet(&self) -> bool {
        self.specs.iter().any(|spec| matches!(spec.format, OutputFormat::Parquet(_)))
    }

    /// True if an output takes row groups, for which many morsels go to one worker.
    pub fn has_row_groups(&self) -> bool {
        self.specs.iter().any(OutputSpec::takes_row_groups)
    }

    /// True if an output takes rows batch by batch.
    pub fn has_rows(&self) -> bool {
        self.specs.iter().any(|spec| !spec.takes_row_groups())
    }

    /// Fails if an output is to be divided or said to be sorted by a column that is not among `columns`, which come out of
    /// the steps.
    pub fn check_divisions(&self, columns: &Schema) -> Result<(), PlanError> {
        let divided = self.specs.iter().flat_map(|spec| spec.partition_by.iter());
        let divided = divided.map(|name| (ColumnPurpose::PartitionBy, name));
        let sorted = self.sort_hint.iter().map(|key| (ColumnPurpose::SortHint, &key.column));
        for (purpose, name) in divided.chain(sorted) {
            if columns.position(name).is_none() {
                let known = columns.fields.iter().map(|field| field.name.to_string()).collect();
                return Err(PlanError::NoColumn { purpose, name: name.to_string(), known });
            }
        }
        Ok(())
    }

    /// The layout of the next part of a row group, with what those before it have shown.
    pub fn layout(&self, columns: &Schema, options: &ParquetOptions) -> Result<Arc<Layout>, parquet::Error> {
        let plain = self.plain_columns.read().expect("no one panics while holding this");
        let plain: Vec<ColumnPath> = plain.iter().cloned().map(ColumnPath::new).collect();
        let layout = Layout::with_plain_columns(Arc::new(columns.clone()), options, self.type_merge, &plain)?;
        Ok(Arc::new(layout.with_sort_keys(&self.sort_hint)))
    }

    /// Remembers what a row group has shown. Which group knows of which depends on the threads,
    /// so the encoding of a file may differ from run to run; its values do not.
    pub fn learn_from(&self, group: &EncodedRowGroup) {
        let outgrown = group.outgrown_dictionaries();
        if !outgrown.is_empty() {
            let mut plain = self.plain_columns.write().expect("no one panics while holding this");
            plain.extend(outgrown.into_iter().map(|path| path.parts().to_vec()));
        }
    }
}
