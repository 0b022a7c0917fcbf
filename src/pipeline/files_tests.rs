//! Loads into a table of data files, whose commit is a file of their names: what the engine promises to every such table.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{ExecutionPlan, Output, Target, execute};
use crate::column::{Batch, Field, Schema, Type};
use crate::format::{Compression, OutputFormat, ParquetCodec, ParquetOptions};
use crate::pipeline::progress::Control;
use crate::position::FieldPath;
use crate::sink::UploadControl;
use crate::source::Source;
use crate::warehouse::{
    Begun, CommitKey, Committed, DataFile, FileLayout, FilesAttempt, FilesLoad, FilesPlace, LedgerRow, LoadEnd,
    LoadError, LoadIdentity, LoadMode, LoadRequest, LoadSummary, NulPolicy, RowEncoder, TableTarget, UnfitRow,
    Warehouse,
};

/// The outcomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Loaded,
    Already,
    Refused,
    Unknown,
}

/// A table that a file lists.
#[derive(Debug)]
struct Listed {
    place: FilesPlace,
    outcome: Outcome,
    attempts: AtomicU64,
}

struct ListedLoad {
    outcome: Outcome,
    attempt: FilesAttempt,
}

/// A check that refuses the number 13, and has numbers as doubles in its files.
#[derive(Debug)]
struct No13;

impl RowEncoder for No13 {
    fn unfit(&self, batch: &Batch) -> Vec<UnfitRow> {
        let Some(i) = batch.schema.position("n") else { return Vec::new() };
        let values = crate::format::json_text::JsonValues::new(batch.columns[i].as_ref(), &batch.schema.fields[i].ty);
        let is_13 = |row: &usize| {
            let mut text = Vec::new();
            values.write(*row, &mut text);
            text == b"13" || text == b"13.0"
        };
        let unfit = |row| UnfitRow { row: row as u32, path: FieldPath::root().field("n"), reason: "no 13".to_owned() };
        (0..batch.rows).filter(is_13).map(unfit).collect()
    }

    fn file_columns(&self, columns: &Schema) -> Schema {
        let ty = |field: &Field| if &*field.name == "n" { Type::Float } else { field.ty.clone() };
        Schema::new(columns.fields.iter().map(|field| Field::new(field.name.clone(), ty(field))).collect())
    }

    fn file_rows(&self, batch: &Batch) -> Result<Batch, LoadError> {
        let schema = Arc::new(self.file_columns(&batch.schema));
        let arrays = batch.columns.iter().zip(&batch.schema.fields).zip(&schema.fields);
        let arrays = arrays.map(|((array, from), to)| crate::column::cast_array(array, &from.ty, &to.ty).unwrap());
        Ok(Batch::new(schema.clone(), arrays.collect(), batch.rows))
    }
}

impl Warehouse for Listed {
    fn name(&self) -> String {
        "listed".to_owned()
    }

    fn check_options(&self, _: &TableTarget) -> Result<(), LoadError> {
        Ok(())
    }

    fn begin(&self, request: LoadRequest<'_>) -> Result<Begun, LoadError> {
        let id = format!("attempt{}", self.attempts.fetch_add(1, Ordering::Relaxed));
        let attempt = FilesAttempt {
            place: self.place.clone(),
            prefix: format!("part-{id}"),
            id,
            partition_by: request.target.files.clone().unwrap_or_default().partition_by,
            row_check: Arc::new(No13),
        };
        Ok(Begun::Files(Box::new(ListedLoad { outcome: self.outcome, attempt })))
    }

    fn loads(&self, _: Option<&str>, _: &UploadControl) -> Result<Vec<LedgerRow>, LoadError> {
        Ok(Vec::new())
    }

    fn find_load(&self, _: &TableTarget, _: &UploadControl) -> Result<Option<LedgerRow>, LoadError> {
        Ok(None)
    }

    fn ddl(&self, _: &str, _: &Schema) -> Result<String, LoadError> {
        Err(LoadError::Bug("not asked for".to_owned()))
    }
}

impl FilesLoad for ListedLoad {
    fn files(&self) -> &FilesAttempt {
        &self.attempt
    }

    fn check(&mut self, _: &Schema) -> Result<Vec<String>, LoadError> {
        Ok(vec!["checked".to_owned()])
    }

    fn file_columns(&mut self, columns: &Schema) -> Result<Schema, LoadError> {
        Ok(No13.file_columns(columns))
    }

    fn commit(self: Box<Self>, files: Vec<DataFile>, columns: &Schema, end: &LoadEnd) -> Result<Committed, LoadError> {
        // What a reader of another process would see.
        for file in &files {
            let path = self.attempt.place.path.join(&file.name);
            assert_eq!(std::fs::metadata(path).unwrap().len(), file.bytes, "{}", file.name);
        }
        let text = format!("{files:#?}\n{columns:?}\n{end:?}");
        let list = self.attempt.place.path.join("list");
        match self.outcome {
            Outcome::Loaded => {
                std::fs::write(list, text).unwrap();
                let key = CommitKey::of(&["x"]);
                Ok(Committed::Loaded(LoadSummary { table: "t".into(), key, rows: end.rows, notes: Vec::new() }))
            }
            Outcome::Already => Ok(Committed::Already(LedgerRow::default())),
            Outcome::Refused => Err(LoadError::Unsupported { table: "t".into(), what: "no".into(), hint: None }),
            Outcome::Unknown => Err(LoadError::Unknown { table: "t".into(), cause: "lost".into() }),
        }
    }
}

/// Loads records, and returns the report's rows or the error, with the files that are left.
fn load(records: &str, partition_by: &[&str], outcome: Outcome) -> (Result<u64, String>, Vec<DataFile>, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("in.ndjson");
    std::fs::write(&input, records).unwrap();
    let place = FilesPlace { path: directory.path().join("above/table"), store: None };
    let table = TableTarget {
        files: Some(FileLayout {
            partition_by: partition_by.iter().map(|name| (*name).into()).collect(),
            ..FileLayout::default()
        }),
        commit_every: None,
        warehouse: Arc::new(Listed { place: place.clone(), outcome, attempts: AtomicU64::new(0) }),
        table: String::new(),
        mode: LoadMode::Append,
        load_column: None,
        again: false,
        nul: NulPolicy::Reject,
        identity: LoadIdentity::default(),
    };
    let format = OutputFormat::Parquet(ParquetOptions { codec: ParquetCodec::Snappy });
    let output = Output { format, compression: Compression::None, target: Target::Table(table) };
    let mut plan = ExecutionPlan::new(Source { name: "in".into(), ..Source::file(input) }, output);
    plan.on_bad_record = super::OnBadRecord::Skip;
    let done = execute(plan, &Control::new());
    let list = std::fs::read_to_string(place.path.join("list")).unwrap_or_default();
    let mut left = Vec::new();
    walk(&place.path, &mut left);
    left.retain(|path| !path.ends_with("list"));
    let files = left.iter().map(|path| parsed(&list, path, &place.path)).collect::<Vec<_>>();
    (done.map(|report| report.rows_written).map_err(|e| e.to_string()), files.into_iter().flatten().collect(), left)
}

/// Returns the entry of a file in the debug text of the list; only its name and rows are read.
fn parsed(list: &str, path: &Path, table: &Path) -> Option<DataFile> {
    let name = path.strip_prefix(table).unwrap().to_str().unwrap().to_owned();
    let rest = list.split_once(&format!("name: {name:?}"))?.1;
    let rows = rest.split_once("rows: ")?.1.split_once(',')?.0.parse().ok()?;
    let partition = rest.split_once("partition: [")?.1.split_once("facts")?.0;
    let partition = match partition.contains("None") {
        true => vec![None],
        false => partition.split('"').skip(1).step_by(2).map(|text| Some(text.to_owned())).collect(),
    };
    Some(DataFile { name, rows, bytes: 0, partition, facts: Default::default() })
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => walk(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
    found.sort();
}

const RECORDS: &str =
    "{\"n\":1,\"c\":\"NO\"}\n{\"n\":13,\"c\":\"NO\"}\n{\"n\":2.5,\"c\":null}\n{\"n\":3,\"c\":\"NO\"}\n";

#[test]
fn the_commit_gets_complete_files_with_their_partitions_and_only_then_they_count() {
    let (rows, files, left) = load(RECORDS, &["c"], Outcome::Loaded);
    assert_eq!(rows, Ok(3));
    let named: Vec<(u64, &[Option<String>])> = files.iter().map(|file| (file.rows, &*file.partition)).collect();
    assert_eq!(named, [(2, &[Some("NO".to_owned())][..]), (1, &[None][..])]);
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn files_that_the_table_did_not_take_are_removed_and_those_that_it_may_have_taken_are_kept() {
    for (outcome, kept) in [(Outcome::Already, 0), (Outcome::Refused, 0), (Outcome::Unknown, 1), (Outcome::Loaded, 1)] {
        let (done, _, left) = load(RECORDS, &[], outcome);
        assert_eq!(left.len(), kept, "{outcome:?}: {left:?}");
        assert_eq!(done.is_ok(), matches!(outcome, Outcome::Loaded | Outcome::Already), "{outcome:?}: {done:?}");
    }
}

#[test]
fn a_load_without_rows_has_no_file() {
    let (rows, files, left) = load("{\"n\":13}\n", &[], Outcome::Loaded);
    assert_eq!((rows, files.len(), left.len()), (Ok(0), 0, 0));
}
