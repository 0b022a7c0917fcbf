//! Assembles one Parquet file of encoded row groups, in order, each with the schema that was known when
//! it was encoded. Joins parts into row groups while it writes, also parts with further columns (see
//! [`super::align`]), and brings all groups to the final schema when it finishes (see [`super::evolve`]).

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use super::align::{align, aligned_schema};
use super::chunk::join;
use super::evolve::{Rewriter, keep_midpoint_inside};
use super::facts::FileFacts;
use super::footer::{self, Frame};
use super::ids::FieldIds;
use super::leaf::EncoderScratch;
use super::order::{Run, SortKey, sorting_columns};
use super::stored::{ClosedGroup, Entries, NewEntryFile, Output, StoredGroup, append_chunk};
use super::{EncodedRowGroup, Error, Layout};
use crate::column::{Field, Schema, Type, TypeMerge};
use crate::format::ParquetOptions;

/// Writer of one file. Row groups may differ in schema; the file has their join.
pub struct ParquetFileWriter<W: Write + Send> {
    out: Output<W>,
    options: ParquetOptions,
    type_merge: TypeMerge,
    key_values: Vec<KeyValue>,
    /// The join of the declared schema and those of all groups so far.
    schema: Schema,
    groups: Vec<ClosedGroup>,
    /// The entries of `groups`.
    entries: Entries,
    /// Parts of the next row group. The schema of each can be aligned to `open_schema`.
    open: Vec<EncodedRowGroup>,
    /// The join of the schemas of `open`; meaningless if there are no parts.
    open_schema: Arc<Schema>,
    /// True if the schemas of `open` differ.
    open_differs: bool,
    /// Bytes of `open` at which the row group is closed; 0 closes it at every append.
    row_group_bytes: usize,
    sort_keys: Arc<[SortKey]>,
    /// True if the facts of the file are wanted.
    has_facts: bool,
    field_ids: FieldIds,
    scratch: Option<EncoderScratch>,
    rows: u64,
}

/// Returns true if the columns of each of `schemas` have the same types in `joined`.
pub(super) fn keeps_types<'a>(mut schemas: impl Iterator<Item = &'a Schema>, joined: &Schema) -> bool {
    let is_kept = |field: &Field| joined.position(&field.name).is_some_and(|i| joined.fields[i].ty.is_like(&field.ty));
    schemas.all(|schema| schema.fields.iter().all(is_kept))
}

/// The most rows of a row group. Readers take a row group as their unit of work, and more rows make it no better.
const MAX_ROW_GROUP_ROWS: usize = 1 << 20;

/// Memory of an open row group of parts with different columns that is always allowed. By eye: an eighth of the least
/// useful memory bound, 64 MiB, as for other row groups.
const MAX_LATE_BYTES: usize = 8 << 20;

/// Facts about a finished file.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Final schema.
    pub schema: Arc<Schema>,
    /// Number of rows.
    pub rows: u64,
    /// Length of the file, unreferenced chunks included.
    pub bytes: u64,
    /// Length of the file without its footer.
    pub bytes_before_footer: u64,
    /// Number of row groups.
    pub row_groups: usize,
    /// Number of row groups whose footer entry declares them sorted.
    pub sorted_row_groups: usize,
    /// Column chunks encoded at the end, because their column was added or widened late.
    pub rewritten_chunks: u64,
    /// Nulls and bounds of its columns.
    pub facts: Option<FileFacts>,
}

impl<W: Write + Send> ParquetFileWriter<W> {
    /// Begins a file on `out`, which must be empty, by writing the magic bytes. `key_values` go into the footer.
    pub fn try_new(
        out: W,
        options: ParquetOptions,
        type_merge: TypeMerge,
        key_values: Vec<(String, String)>,
    ) -> Result<Self, Error> {
        let mut out = Output::new(out, 0);
        out.write_all(b"PAR1")?;
        Ok(Self::on(out, options, type_merge, key_values))
    }

    /// Opens a finished file again to change its columns, with the options that it was written with. `out` goes on
    /// behind the first `file.bytes_before_footer` bytes, where the caller has cut the file; `footer` are the bytes
    /// that it had from there on.
    pub fn reopen(
        out: W,
        options: ParquetOptions,
        type_merge: TypeMerge,
        key_values: Vec<(String, String)>,
        file: &Summary,
        footer: &[u8],
    ) -> Result<Self, Error> {
        let mut writer = Self::on(Output::new(out, file.bytes_before_footer), options, type_merge, key_values);
        let layout = Layout::try_new(file.schema.clone(), &options, type_merge)?;
        let frame = Frame::of(&layout.descriptor, &[])?;
        for range in footer::entries(footer)? {
            let entry = &footer[range];
            let group = frame.row_group(&layout, 0, entry)?;
            writer.groups.push(ClosedGroup {
                schema: file.schema.clone(),
                rows: usize::try_from(group.num_rows()).map_err(|_| Error::Changed)?,
                is_sorted: group.sorting_columns().is_some(),
                entry_bytes: entry.len(),
            });
            writer.entries.push(entry)?;
        }
        writer.schema = (*file.schema).clone();
        writer.rows = file.rows;
        Ok(writer)
    }

    fn on(out: Output<W>, options: ParquetOptions, type_merge: TypeMerge, key_values: Vec<(String, String)>) -> Self {
        let key_values = key_values.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
        ParquetFileWriter {
            out,
            options,
            type_merge,
            key_values,
            schema: Schema::default(),
            groups: Vec::new(),
            entries: Entries::in_memory(),
            open: Vec::new(),
            open_schema: Arc::default(),
            open_differs: false,
            row_group_bytes: 0,
            sort_keys: Arc::default(),
            has_facts: false,
            field_ids: FieldIds::default(),
            scratch: None,
            rows: 0,
        }
    }

    /// Sets where the footer entries of finished row groups wait: `max_bytes` of them in memory, the rest in a file of
    /// `new_file`. Without it all are in memory. Set before the first row group.
    pub fn with_entry_file(mut self, max_bytes: usize, new_file: NewEntryFile) -> Self {
        self.entries = Entries::with_file(max_bytes, new_file);
        self
    }

    /// Sets the size at which a row group is closed: parts are joined until they have this many encoded bytes.
    /// Without it every append is a row group.
    pub fn with_row_group_bytes(mut self, bytes: usize) -> Self {
        self.row_group_bytes = bytes;
        self
    }

    /// Sets the order that row groups declare, where they are in it. Their encoders must have layouts with the same keys.
    pub fn with_sort_keys(mut self, keys: &Arc<[SortKey]>) -> Self {
        self.sort_keys = keys.clone();
        self
    }

    /// Sets whether the nulls and bounds of its columns are collected at the end. Default: they are not.
    pub fn with_facts(mut self, has_facts: bool) -> Self {
        self.has_facts = has_facts;
        self
    }

    /// Sets the ids that the footer gives to fields.
    pub fn set_field_ids(&mut self, ids: &FieldIds) {
        self.field_ids = ids.clone();
    }

    /// Adds the columns of `schema` even if no row group has them. Declared before the first row group, they
    /// come first.
    pub fn declare(&mut self, schema: &Schema) {
        self.schema = self.schema.join(schema, self.type_merge);
    }

    /// Moves the columns of `schema` to the front, in its order, and so the members of objects; others keep theirs behind
    /// them.
    pub fn set_order(&mut self, schema: &Schema) {
        set_order(&mut self.schema, schema);
    }

    /// Appends encoded rows. A part without rows only adds its columns to the schema.
    pub fn append(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        let new = &group.layout.schema;
        let same = |other: &Arc<Schema>| Arc::ptr_eq(other, new) || other == new;
        let last = self.open.last().map(|g| &g.layout.schema).or(self.groups.last().map(|g| &g.schema));
        let is_new = !last.is_some_and(same);
        if is_new {
            self.declare(&group.layout.schema);
        }
        if group.rows == 0 {
            return Ok(());
        }
        if self.open.is_empty() {
            self.open_schema = group.layout.schema.clone();
        } else if is_new {
            self.widen_open(&group.layout.schema)?;
        }
        self.rows += group.rows as u64;
        self.open.push(group);
        let rows = self.open.iter().map(|g| g.rows).sum::<usize>();
        // Each late column makes a part, of few rows and many columns: their memory is the bound then.
        let is_full = match self.open_differs {
            true => self.open_bytes() >= self.row_group_bytes.max(MAX_LATE_BYTES),
            false => self.open.iter().map(|g| g.bytes).sum::<usize>() >= self.row_group_bytes,
        };
        if is_full || rows >= MAX_ROW_GROUP_ROWS {
            self.close_row_group()?;
        }
        Ok(())
    }

    /// Widens the open row group to the columns of `schema`. Closes it instead if a column with values has another
    /// type now, or if the values of a sort key would be compared in another way.
    fn widen_open(&mut self, schema: &Arc<Schema>) -> Result<(), Error> {
        let key_type =
            |schema: &Schema, key: &SortKey| schema.position(&key.column).map(|i| schema.fields[i].ty.clone());
        let same_keys = self.sort_keys.iter().all(|key| key_type(&self.open_schema, key) == key_type(schema, key));
        match aligned_schema(&self.open_schema, schema, self.type_merge).filter(|_| same_keys) {
            Some(joined) => {
                self.open_schema = Arc::new(joined);
                self.open_differs = true;
            }
            None => {
                self.close_row_group()?;
                self.open_schema = schema.clone();
            }
        }
        Ok(())
    }

    /// Joins the open parts and writes them as one row group.
    fn close_row_group(&mut self) -> Result<(), Error> {
        let Some(first) = self.open.first() else { return Ok(()) };
        let differs = std::mem::take(&mut self.open_differs);
        let layout = match differs {
            true => Arc::new(Layout::try_new(self.open_schema.clone(), &self.options, self.type_merge)?),
            false => first.layout.clone(),
        };
        let scratch = match &mut self.scratch {
            Some(scratch) => scratch,
            none => none.insert(layout.new_scratch()?),
        };
        let rows = self.open.iter().map(|g| g.rows).sum();
        let runs: Option<Vec<Run>> = self.open.iter_mut().map(|g| g.order.take()).collect();
        let is_sorted = runs.is_some_and(|runs| Run::join(runs).is_in_order());
        let sorted_as = is_sorted.then(|| layout.schema.clone());
        let open = std::mem::take(&mut self.open);
        let columns = if differs {
            let leaves = align(open, &layout, &self.options, self.type_merge)?.into_iter();
            leaves.map(|parts| append_chunk(join(parts, scratch)?, &mut self.out)).collect::<Result<_, _>>()?
        } else {
            let mut parts: Vec<_> = open.into_iter().map(|g| g.parts.into_iter()).collect();
            let leaf = |_| parts.iter_mut().filter_map(Iterator::next).collect();
            let leaves = (0..layout.descriptor.num_columns()).map(leaf);
            leaves.map(|parts| append_chunk(join(parts, scratch)?, &mut self.out)).collect::<Result<_, _>>()?
        };
        self.close_group(StoredGroup { layout, rows, columns, sorted_as }, self.groups.len())
    }

    /// Appends the row group's entry in the footer, as that of the group with this index.
    fn close_group(&mut self, group: StoredGroup, index: usize) -> Result<(), Error> {
        let (layout, rows) = (group.layout.clone(), group.rows);
        let metadata = row_group_metadata(index, group, &self.sort_keys)?;
        let is_sorted = metadata.sorting_columns().is_some();
        let entry = footer::entry(&layout, metadata)?;
        self.entries.push(&entry)?;
        self.groups.push(ClosedGroup { schema: layout.schema.clone(), rows, is_sorted, entry_bytes: entry.len() });
        Ok(())
    }

    /// Writes the open parts as a row group. Returns true if no value of the row groups would be encoded again under the
    /// columns so far: `1` becomes `1.0` in a column of numbers with fractions, and would stay so if that became text later.
    pub fn keeps_types(&mut self) -> Result<bool, Error> {
        self.close_row_group()?;
        Ok(keeps_types(self.groups.iter().map(|group| &*group.schema), &self.schema))
    }

    /// Returns the memory of the open parts, which are not written yet, in bytes.
    pub fn open_bytes(&self) -> usize {
        self.open.iter().map(EncodedRowGroup::memory_size).sum()
    }

    /// Writes the open parts as a row group, however small it is.
    pub fn close_open(&mut self) -> Result<(), Error> {
        self.close_row_group()
    }

    /// Flushes buffered bytes to the output.
    pub fn flush(&mut self) -> Result<(), Error> {
        Ok(self.out.flush()?)
    }

    /// Returns the output. Bytes written to it directly would make the offsets in the footer wrong.
    pub fn get_mut(&mut self) -> &mut W {
        self.out.inner_mut()
    }

    /// Returns the schema that the file would have if it were finished now.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Returns the bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.out.position()
    }

    /// Widens older row groups to the final schema, writes the footer, and returns the output, flushed but
    /// not synced.
    ///
    /// `reread` opens the bytes written so far for reading; it is called only if row groups differ in
    /// schema. It must not be a duplicate of the writer's own file handle: the two would share one
    /// position.
    pub fn finish<R: ChunkReader + 'static>(
        mut self,
        reread: impl FnOnce() -> Result<R, std::io::Error>,
    ) -> Result<(W, Summary), Error> {
        self.close_row_group()?;
        if self.schema.fields.is_empty() && self.rows > 0 {
            return Err(Error::NoColumns { rows: self.rows });
        }
        // The schema of the last row group, if it is that: files of many share it then.
        let shared = self.groups.last().map(|group| &group.schema).filter(|schema| ***schema == self.schema);
        let schema = shared.cloned().unwrap_or_else(|| Arc::new(std::mem::take(&mut self.schema)));
        let last = Arc::new(Layout::try_new(schema, &self.options, self.type_merge)?);
        let mut rewritten_chunks = 0;
        if self.groups.iter().any(|group| !same_columns(&group.schema, &last.schema)) {
            self.out.flush()?;
            let rewriter = Rewriter::new(last.clone(), self.options, self.type_merge, Arc::new(reread()?));
            rewritten_chunks = self.widen_groups(rewriter)?;
        }
        let facts = if self.has_facts { Some(self.collect_facts(&last)?) } else { None };
        let bytes_before_footer = self.out.position();
        // Through buffers of its own, because the library's footer writer ignores errors of its last flush. The offsets
        // in the entries are absolute already.
        let descriptor = self.field_ids.applied_to(&last.descriptor)?;
        let frame = Frame::of(&descriptor, &self.key_values)?;
        let (before, behind) = frame.around(self.rows, self.groups.len(), self.entries.total())?;
        self.out.write_all(&before)?;
        self.entries.write_to(&mut self.out)?;
        self.out.write_all(&behind)?;
        self.out.flush()?;
        let summary = Summary {
            schema: last.schema.clone(),
            rows: self.rows,
            bytes: self.out.position(),
            bytes_before_footer,
            row_groups: self.groups.len(),
            sorted_row_groups: self.groups.iter().filter(|group| group.is_sorted).count(),
            rewritten_chunks,
            facts,
        };
        Ok((self.out.into_inner()?, summary))
    }

    /// Collects the facts of all row groups, which have the layout `last`, from their entries.
    fn collect_facts(&mut self, last: &Layout) -> Result<FileFacts, Error> {
        let mut facts = FileFacts::new(last);
        let frame = Frame::of(&last.descriptor, &[])?;
        let mut entries = self.entries.take()?;
        for group in &self.groups {
            let entry = entries.next(group.entry_bytes)?;
            facts.add(frame.row_group(last, group.rows, &entry)?.columns());
            self.entries.push(&entry)?;
        }
        Ok(facts)
    }

    /// Gives all row groups the columns of the rewriter, one after the other. Returns the number of chunks encoded.
    fn widen_groups<R: ChunkReader + 'static>(&mut self, mut rewriter: Rewriter<R>) -> Result<u64, Error> {
        let mut rewritten = 0;
        let mut known = None;
        self.each_group(&mut known, |group, out| {
            rewritten += rewriter.widen_group(group, out)?;
            Ok(())
        })?;
        // After all chunks are appended: the file only grows, so that a midpoint inside it stays inside.
        self.each_group(&mut known, |group, out| keep_midpoint_inside(group, &*rewriter.input, out))?;
        Ok(rewritten)
    }

    /// Takes the entry of each row group apart, calls `change`, and keeps the entry of what that leaves. `known` are the
    /// layout of the last group and the footer around its entry: mostly those of the next.
    fn each_group(
        &mut self,
        known: &mut Option<(Arc<Layout>, Frame)>,
        mut change: impl FnMut(&mut StoredGroup, &mut Output<W>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut entries = self.entries.take()?;
        for (index, group) in std::mem::take(&mut self.groups).into_iter().enumerate() {
            let (layout, frame) = match known {
                Some(known) if *known.0.schema == *group.schema => known,
                _ => {
                    let layout = Layout::try_new(group.schema.clone(), &self.options, self.type_merge)?;
                    let frame = Frame::of(&layout.descriptor, &[])?;
                    known.insert((Arc::new(layout), frame))
                }
            };
            let row_group = frame.row_group(layout, group.rows, &entries.next(group.entry_bytes)?)?;
            let mut stored = StoredGroup {
                layout: layout.clone(),
                rows: group.rows,
                columns: row_group.columns().to_vec(),
                // Declared only if its keys have the types with which they were compared.
                sorted_as: group.is_sorted.then_some(group.schema),
            };
            change(&mut stored, &mut self.out)?;
            self.close_group(stored, index)?;
        }
        Ok(())
    }
}

impl Summary {
    /// Returns true if the file has the columns that it would get by [`ParquetFileWriter::declare`] and
    /// [`ParquetFileWriter::set_order`].
    pub fn has_columns(&self, columns: &Schema, type_merge: TypeMerge) -> bool {
        if same_columns(&self.schema, columns) {
            return true;
        }
        let mut joined = self.schema.join(columns, type_merge);
        set_order(&mut joined, columns);
        same_columns(&self.schema, &joined)
    }
}

/// Moves the columns of `schema` to the front, in the order of `first`, and so the members of objects; others keep theirs
/// behind them.
fn set_order(schema: &mut Schema, first: &Schema) {
    order_fields(&mut schema.fields, &first.fields);
}

fn order_fields(fields: &mut [Field], first: &[Field]) {
    let is_ordered =
        first.len() <= fields.len() && first.iter().zip(&*fields).all(|(first, field)| first.name == field.name);
    if !is_ordered {
        let places: HashMap<&str, usize> = first.iter().enumerate().map(|(i, field)| (&*field.name, i)).collect();
        fields.sort_by_cached_key(|field| places.get(&*field.name).copied().unwrap_or(usize::MAX));
    }
    // Those of `first` are in front by now; where `fields` lacks some, the others follow in the same order.
    let mut first = first.iter();
    for field in fields {
        match first.find(|first| first.name == field.name) {
            Some(first) => order_members(&mut field.ty, &first.ty),
            None => return,
        }
    }
}

fn order_members(ty: &mut Type, first: &Type) {
    match (ty, first) {
        (Type::Struct(fields), Type::Struct(first)) => order_fields(fields, first),
        (Type::List(item), Type::List(first)) | (Type::Map(item), Type::Map(first)) => order_members(item, first),
        _ => {}
    }
}

/// Returns true if a file with the columns `a` is one with the columns `b` as it is.
fn same_columns(a: &Schema, b: &Schema) -> bool {
    let same = |(a, b): (&Field, &Field)| a.name == b.name && a.ty.is_like(&b.ty);
    a.fields.len() == b.fields.len() && a.fields.iter().zip(&b.fields).all(same)
}

fn row_group_metadata(index: usize, group: StoredGroup, sort_keys: &[SortKey]) -> Result<RowGroupMetaData, Error> {
    let sorted_as = group.sorted_as.as_ref().filter(|_| !sort_keys.is_empty());
    let sorting = sorted_as.and_then(|then| sorting_columns(sort_keys, then, &group.layout.schema));
    // The start of the first column: readers that divide a file into byte ranges look there.
    let file_offset = group.columns.first().map_or(4, |c| c.byte_range().0 as i64);
    let uncompressed = group.columns.iter().map(ColumnChunkMetaData::uncompressed_size).sum();
    let metadata = RowGroupMetaData::builder(group.layout.descriptor.clone())
        .set_column_metadata(group.columns)
        .set_total_byte_size(uncompressed)
        .set_num_rows(group.rows as i64)
        .set_sorting_columns(sorting)
        .set_file_offset(file_offset);
    // The format has sixteen bits for the optional ordinal: later row groups have none.
    let metadata = match i16::try_from(index) {
        Ok(ordinal) => metadata.set_ordinal(ordinal),
        Err(_) => metadata,
    };
    Ok(metadata.build()?)
}
