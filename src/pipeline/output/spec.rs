//! The outputs as workers know them: formats and partitioning, hints from earlier row groups, and buffers for text. No
//! path, no sink and no file, so that rows can be encoded where the outputs are not.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};

use super::buffers::TextBuffers;
use crate::column::{Batch, Schema, TypeMerge};
use crate::format::parquet::{self, ColumnPath, EncodedRowGroup, Layout, SortKey};
use crate::format::{Compression, OutputFormat, ParquetOptions};
use crate::pipeline::error::{ColumnPurpose, Error, PlanError};
use crate::pipeline::plan::{ExecutionPlan, Limits, Output, Target};
use crate::warehouse::{RowEncoder, TableTarget};

/// The rows of a table as workers make them.
#[derive(Clone, Debug)]
pub(crate) struct TableRows {
    /// Checks rows, and encodes them unless they are data files.
    pub encoder: Arc<dyn RowEncoder>,
    /// Columns by whose values the rows of a table of data files are divided; empty for none.
    pub partition_by: Arc<[Arc<str>]>,
    /// True if the files contain these columns.
    pub keeps_partition_columns: bool,
}

/// One output as workers know it: no path and no sink.
#[derive(Clone, Debug)]
pub(crate) struct OutputSpec {
    pub format: OutputFormat,
    pub compression: Compression,
    /// True if the output has several files. The writer splits rows between them and compresses the text.
    pub is_multi_file: bool,
    /// Columns whose values choose a row's directory. Empty without partitioning.
    pub partition_by: Arc<[Arc<str>]>,
    /// True if the files contain these columns, besides the names of their directories.
    pub keeps_partition_columns: bool,
    /// Those of these columns that the plan names, so that the rows must have them. A table that exists is divided by columns
    /// of its own, which are null where rows lack them.
    named_partitions: Arc<[Arc<str>]>,
    /// Maximum rows of a worker's row group: an eighth of a file's maximum, or `usize::MAX` without one.
    pub max_group_rows: usize,
    /// Maximum encoded bytes of a worker's row group, by the same rule.
    pub max_group_bytes: usize,
    /// True for a reader in this process that takes rows with their types.
    pub is_typed_channel: bool,
    /// The encoder of a table's rows; `None` for other outputs.
    pub table: Option<Arc<dyn RowEncoder>>,
    /// True if its files have no columns without values.
    leaves_out_empty: bool,
}

impl OutputSpec {
    /// Returns the properties of an output that workers need. `table` encodes the rows of a table.
    fn of(output: &Output, type_merge: TypeMerge, table: Option<TableRows>) -> Self {
        // The writer does not split row groups: small ones fill a file closely to its maximum.
        let eighth =
            |most: Option<u64>| most.map_or(usize::MAX, |most| usize::try_from(most / 8).unwrap_or(usize::MAX).max(1));
        let (partition_by, rows, bytes) = match &output.target {
            Target::Directory(directory) => {
                (directory.partition_by.clone(), directory.max_file_rows, directory.max_file_bytes)
            }
            Target::Table(TableTarget { files: Some(layout), .. }) => {
                // A table that exists has partition columns of its own.
                let own = table.as_ref().map(|table| table.partition_by.clone());
                (own.unwrap_or_else(|| layout.partition_by.clone()), layout.max_file_rows, layout.max_file_bytes)
            }
            _ => (Arc::default(), None, None),
        };
        let named_partitions = match &output.target {
            Target::Table(table) => table.files.as_ref().map_or_else(Arc::default, |files| files.partition_by.clone()),
            _ => partition_by.clone(),
        };
        let keeps_partition_columns = table.as_ref().is_some_and(|table| table.keeps_partition_columns);
        let has_files = matches!(&output.target, Target::Table(table) if table.files.is_some());
        OutputSpec {
            format: output.format.for_values(type_merge),
            compression: output.compression,
            is_multi_file: matches!(output.target, Target::Directory(_)) || has_files || output.is_sheets(),
            partition_by,
            keeps_partition_columns,
            named_partitions,
            max_group_rows: eighth(rows),
            max_group_bytes: eighth(bytes),
            is_typed_channel: matches!(&output.target, Target::Channel(sender) if sender.is_typed()),
            table: table.map(|table| table.encoder),
            leaves_out_empty: matches!(&output.target, Target::Directory(directory) if directory.leaves_out_empty),
        }
    }

    /// Returns true if workers encode row groups for it.
    pub(crate) fn takes_row_groups(&self) -> bool {
        matches!(self.format, OutputFormat::Parquet(_)) && self.partition_by.is_empty()
    }

    /// Returns the columns of its files for the columns after the steps: those of data files have the types of their table.
    pub(crate) fn file_columns<'a>(&self, columns: &'a Schema) -> Cow<'a, Schema> {
        match &self.table {
            Some(table) if self.format != OutputFormat::Table => Cow::Owned(table.file_columns(columns)),
            None if self.leaves_out_empty => Cow::Owned(columns.without_empty().0),
            _ => Cow::Borrowed(columns),
        }
    }

    /// Returns rows with the types of [`OutputSpec::file_columns`].
    pub(crate) fn file_rows<'a>(&self, batch: &'a Batch) -> Result<Cow<'a, Batch>, Error> {
        match &self.table {
            Some(table) if self.format != OutputFormat::Table => Ok(Cow::Owned(table.file_rows(batch)?)),
            None if self.leaves_out_empty => Ok(Cow::Owned(batch.without_empty())),
            _ => Ok(Cow::Borrowed(batch)),
        }
    }

    /// Returns true if its rows are spilled until all are read; see [`super::spill`].
    pub(crate) fn is_spilled(&self) -> bool {
        self.format.is_typed() && !self.partition_by.is_empty()
    }
}

/// All outputs of a plan, and the state that workers share while they encode for them.
#[derive(Debug)]
pub(crate) struct OutputSpecs {
    /// The outputs in the order of the plan.
    pub specs: Vec<OutputSpec>,
    /// The pool of buffers for encoded text.
    pub text_buffers: TextBuffers,
    /// The merge of unlike scalars in a column, by which a worker knows JSON from CSV sources.
    pub type_merge: TypeMerge,
    /// True if a step flattens objects into columns.
    pub flattened: bool,
    /// The order that is claimed for the rows; empty for none.
    sort_hint: Arc<[SortKey]>,
    /// Parquet columns that a dictionary did not help in some row group; later row groups encode them plain.
    plain_columns: RwLock<BTreeSet<Vec<String>>>,
    /// The last layout of each kind of options.
    layouts: Mutex<Vec<KnownLayout>>,
}

/// A layout that all row groups with the same columns share: each takes a kilobyte per column.
#[derive(Debug)]
struct KnownLayout {
    options: ParquetOptions,
    columns: Arc<Schema>,
    /// Number of columns without a dictionary, which never shrinks.
    n_plain: usize,
    layout: Arc<Layout>,
}

impl OutputSpecs {
    /// Creates the specs of `plan`, whose sources merge types by `type_merge`. `tables` has one element per output.
    pub(crate) fn of(plan: &ExecutionPlan, type_merge: TypeMerge, tables: Vec<Option<TableRows>>) -> Self {
        let Limits { morsel_bytes, .. } = plan.limits;
        OutputSpecs {
            specs: plan
                .outputs
                .iter()
                .zip(tables)
                .map(|(output, table)| OutputSpec::of(output, type_merge, table))
                .collect(),
            text_buffers: TextBuffers::new(plan.limits.worker_count() * 4, morsel_bytes * 2),
            type_merge,
            flattened: plan.steps.iter().any(|step| step.properties().opens_objects),
            sort_hint: plan.sort_hint.clone(),
            plain_columns: RwLock::default(),
            layouts: Mutex::default(),
        }
    }

    /// Returns true if an output is Parquet, partitioned or not.
    pub(crate) fn has_parquet(&self) -> bool {
        self.specs.iter().any(|spec| matches!(spec.format, OutputFormat::Parquet(_)))
    }

    /// Returns true if an output takes row groups, for which a worker gets many morsels at a time.
    pub(crate) fn has_row_groups(&self) -> bool {
        self.specs.iter().any(OutputSpec::takes_row_groups)
    }

    /// Returns true if an output takes rows batch by batch.
    pub(crate) fn has_rows(&self) -> bool {
        self.specs.iter().any(|spec| !spec.takes_row_groups())
    }

    /// Fails if a partition column or a column of the sort hint is not among `columns`, those after the steps.
    pub(crate) fn require_named_columns(&self, columns: &Schema) -> Result<(), PlanError> {
        let partitioned = self.specs.iter().flat_map(|spec| spec.named_partitions.iter());
        let partitioned = partitioned.map(|name| (ColumnPurpose::PartitionBy, name));
        let sorted = self.sort_hint.iter().map(|key| (ColumnPurpose::SortHint, &key.column));
        for (purpose, name) in partitioned.chain(sorted) {
            if columns.position(name).is_none() {
                let known = columns.fields.iter().map(|field| field.name.to_string()).collect();
                return Err(PlanError::NoColumn { purpose, name: name.to_string(), known });
            }
        }
        Ok(())
    }

    /// Returns the layout of the next row group of an output, for the columns after the steps.
    pub(crate) fn file_layout(
        &self,
        output: usize,
        columns: &Arc<Schema>,
        options: &ParquetOptions,
    ) -> Result<Arc<Layout>, parquet::Error> {
        match self.specs[output].file_columns(columns) {
            Cow::Borrowed(_) => self.layout(columns, options),
            Cow::Owned(of_file) => self.layout(&Arc::new(of_file), options),
        }
    }

    /// Returns the layout of a worker's next row group, without dictionaries for the columns that they did not help.
    pub(crate) fn layout(
        &self,
        columns: &Arc<Schema>,
        options: &ParquetOptions,
    ) -> Result<Arc<Layout>, parquet::Error> {
        let plain = self.plain_columns.read().expect("no one panics while holding this");
        let mut known = self.layouts.lock().expect("no one panics while holding this");
        let last = known.iter().position(|known| known.options == *options);
        if let Some(last) = last.map(|i| &known[i])
            && last.n_plain == plain.len()
            && (Arc::ptr_eq(&last.columns, columns) || last.columns == *columns)
        {
            return Ok(last.layout.clone());
        }
        let paths: Vec<ColumnPath> = plain.iter().cloned().map(ColumnPath::new).collect();
        let layout = Layout::with_plain_columns(columns.clone(), options, self.type_merge, &paths)?;
        let layout = Arc::new(layout.with_sort_keys(&self.sort_hint));
        let new =
            KnownLayout { options: *options, columns: columns.clone(), n_plain: plain.len(), layout: layout.clone() };
        match last {
            Some(last) => known[last] = new,
            None => known.push(new),
        }
        Ok(layout)
    }

    /// Adds the columns of `group` that a dictionary did not help. The threads race for this, so that the
    /// encoding of a file may differ from run to run; its values do not.
    pub(crate) fn note_plain_columns(&self, group: &EncodedRowGroup) {
        let outgrown = group.outgrown_dictionaries();
        if !outgrown.is_empty() {
            let mut plain = self.plain_columns.write().expect("no one panics while holding this");
            plain.extend(outgrown.into_iter().map(|path| path.parts().to_vec()));
        }
    }
}
