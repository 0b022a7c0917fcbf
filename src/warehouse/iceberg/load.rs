//! One load: the table is looked at, the engine writes data files, and a snapshot names them.
//!
//! ```text
//! begin ─► metadata, keys ─► files ─► commit: look for the key ─► manifest, list, snapshot ─┬► committed: done
//!                                       ▲                                                   ├► conflict: look again
//!                                       └───────────────────────────────────────────────────┘
//! ```
//!
//! The metadata that a try has written is removed if the catalog did not take it, and kept if that is not known.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};

use super::catalog::{Catalog, CatalogTable, Commit, CommitOutcome, NewTable};
use super::files::{FileAccess, TableFiles};
use super::ledger::{self, KEY_TABLE, Recorded};
use super::manifest::{ManifestList, NewManifest, PartitionField};
use super::metadata::{BRANCH, TableMetadata};
use super::types::{FORMS, IcebergRules, PlannedSchema, unfit_names};
use super::writable::{FORMAT_VERSION, PartitionColumn, check_partition_names, writable};
use crate::column::{Schema, Type, TypeMerge};
use crate::format::parquet::FieldIds;
use crate::sink::UploadControl;
use crate::text::plural;
use crate::warehouse::earlier::{Replaceable, earlier_load};
use crate::warehouse::load_facts::LoadFacts;
use crate::warehouse::storage::{load_error, new_attempt};
use crate::warehouse::table_rows::{FormatRules as _, TableColumn, TableRows};
use crate::warehouse::{
    Begun, CommitKey, Committed, DataFile, FilesAttempt, FilesLoad, LedgerRow, LoadClaim, LoadEnd, LoadError,
    LoadRequest, LoadSummary, Misfit, RowEncoder as _, TableTarget, Widening,
};

/// Time after which the files of a load are looked for before its commit: those that are left over may be removed when they
/// are a day old.
const FILES_ARE_SAFE: Duration = Duration::from_secs(12 * 3600);

/// The id of the first field of partitions.
const FIRST_PARTITION_ID: i64 = 1000;

/// The start of the UUIDs in the names of metadata that loads write; the id of the attempt follows.
pub(super) const UUID_START: &str = "d4a0ff1e";

/// Wait before another try, times the number of tries so far. By eye: a commit takes a catalog about this long.
const CONFLICT_WAIT: Duration = Duration::from_millis(20);

/// Tries that a catalog may refuse although the table is what they were made from. Their waits double, to five seconds together:
/// a catalog may answer from a copy that lags behind.
const REFUSALS: u32 = 8;

/// A load that has begun.
pub(super) struct IcebergLoad {
    catalog: Box<dyn Catalog>,
    files: TableFiles,
    /// URLs of the directories of data and of metadata.
    data_directory: String,
    metadata_directory: String,
    target: TableTarget,
    /// The table, as it was seen last.
    table: Option<CatalogTable>,
    /// The place of the table, if it does not exist.
    new: Option<NewTable>,
    /// The schema and spec of the table that its rows are checked against.
    checked: Option<(Value, Value)>,
    attempt: FilesAttempt,
    rows: Arc<TableRows<IcebergRules>>,
    /// Types of the columns of the table.
    columns: Vec<TableColumn>,
    field_ids: FieldIds,
    snapshot_id: i64,
    widening: Widening,
    type_merge: TypeMerge,
    cancel: UploadControl,
    began: Instant,
}

/// The parts of a table that a commit requires to be as they were.
#[derive(PartialEq, Eq)]
struct TableState {
    uuid: String,
    snapshot: Option<i64>,
    schema: i64,
    spec: i64,
    last_column: i64,
}

impl TableState {
    fn of(metadata: &TableMetadata) -> Self {
        TableState {
            uuid: metadata.uuid().to_owned(),
            snapshot: metadata.branch_snapshot(),
            schema: metadata.schema_id(),
            spec: metadata.spec_id(),
            last_column: metadata.last_column_id(),
        }
    }
}

impl IcebergLoad {
    /// Reads the table and begins a load, or returns the earlier one of the same key.
    pub(super) fn begin(
        catalog: Box<dyn Catalog>,
        access: &FileAccess,
        request: &LoadRequest<'_>,
    ) -> Result<Begun, LoadError> {
        let target = request.target.clone();
        let name = target.name();
        let mut table = catalog.load()?;
        let mut new = None;
        if table.is_none() {
            check_partition_names(&target)?;
            new = Some(catalog.new_table()?);
            // The place of a table that another command has just made is taken.
            table = catalog.load()?;
            new = new.filter(|_| table.is_none());
        }
        let key = target.identity.key_before(KEY_TABLE);
        if let (Some(table), Some(key)) = (&table, &key)
            && let Some(row) = earlier(&table.metadata, &target, key)?
        {
            return Ok(Begun::Loaded(with_rows_there(&table.metadata, row)));
        }
        let may_widen = request.widening == Widening::Evolve;
        let (columns, partition_by, checked) = match &table {
            None => (None, target.files.clone().unwrap_or_default().partition_by, None),
            Some(table) => {
                let found = writable(&table.metadata, &target, may_widen)?;
                let partition_by = found.partition_by();
                (Some(found.columns), partition_by, schema_and_spec(&table.metadata))
            }
        };
        let (data_directory, metadata_directory, options) = match (&table, &new) {
            (Some(table), _) => {
                let (data, metadata) = directories(&table.metadata);
                (data, metadata, &table.options)
            }
            (None, Some(new)) => (format!("{}/data", new.location), format!("{}/metadata", new.location), &new.options),
            (None, None) => return Err(LoadError::Bug("a new table has no place".to_owned())),
        };
        let access = access.with(options);
        let place = access.place(&data_directory).map_err(|error| load_error(&name, error))?;
        let attempt = new_attempt();
        let prefix = match &key {
            Some(key) => format!("drawoff-{}-{attempt}", key.short()),
            None => format!("drawoff-{attempt}"),
        };
        let snapshot_id = i64::from_str_radix(&attempt[..15], 16).unwrap_or(1).max(1);
        let rows = Arc::new(TableRows::new(columns.clone(), partition_by.clone(), request.type_merge, may_widen));
        Ok(Begun::Files(Box::new(IcebergLoad {
            catalog,
            files: TableFiles::new(access),
            data_directory,
            metadata_directory,
            target,
            table,
            new,
            checked,
            attempt: FilesAttempt { place, id: attempt, prefix, partition_by, row_check: rows.clone() },
            rows,
            columns: columns.unwrap_or_default(),
            field_ids: FieldIds::default(),
            snapshot_id,
            widening: request.widening,
            type_merge: request.type_merge,
            cancel: request.cancel.clone(),
            began: Instant::now(),
        })))
    }

    fn name(&self) -> String {
        self.target.name()
    }

    fn refused(&self, cause: impl Into<String>, is_transient: bool) -> LoadError {
        LoadError::Refused { table: self.name(), cause: cause.into(), hint: None, is_transient }
    }

    /// Plans the schema of the table as it was seen last, so that it holds `columns`.
    fn planned(&self, columns: &Schema) -> Result<PlannedSchema, LoadError> {
        let planned = match &self.table {
            None => PlannedSchema::new(columns),
            Some(table) => {
                let metadata = &table.metadata;
                let schema = metadata.schema().cloned().unwrap_or_default();
                PlannedSchema::evolved(&schema, metadata.last_column_id(), metadata.forms(), columns)
            }
        };
        planned.map_err(|reason| self.refused(format!("a column {reason}"), false))
    }

    /// Plans the schema so that it holds `columns`, and fails if readers could not open the table then.
    fn planned_for(&self, columns: &Schema) -> Result<PlannedSchema, LoadError> {
        // pyiceberg reads the doubles of manifests as floats, its own as well, and its filters miss their rows then.
        let is_double = |name: &&Arc<str>| columns.position(name).is_some_and(|i| columns.fields[i].ty == Type::Float);
        if let Some(name) = self.attempt.partition_by.iter().find(|name| self.table.is_none() && is_double(name)) {
            let what =
                "has doubles, which some readers know inexactly where they divide a table; make it a decimal or text";
            let misfits = vec![Misfit { column: name.to_string(), what: what.to_owned() }];
            return Err(LoadError::Misfits { table: self.name(), misfits });
        }
        let planned = self.planned(columns)?;
        let (last_id, partitions) = match &self.table {
            None => (0, Vec::new()),
            Some(table) => (table.metadata.last_column_id(), table.metadata.partition_names()),
        };
        match planned.name_clash(last_id, &partitions) {
            None => Ok(planned),
            Some(cause) => Err(self.target.refused(cause, "rename the column, or leave it out")),
        }
    }

    /// Fails if the files, whose columns are `columns`, do not fit the table as others have left it meanwhile.
    fn check_again(&mut self, columns: &Schema) -> Result<(), LoadError> {
        let changed = |what: &str| {
            Err(LoadError::Refused {
                table: self.name(),
                cause: format!("another command has {what} meanwhile"),
                hint: Some("run the same command again: it begins from the table as it is then".to_owned()),
                is_transient: true,
            })
        };
        let Some(table) = &self.table else {
            return match self.new {
                Some(_) => Ok(()),
                None => changed("dropped it"),
            };
        };
        let now = schema_and_spec(&table.metadata);
        if now == self.checked {
            return Ok(());
        }
        let may_widen = self.widening == Widening::Evolve;
        let found = writable(&table.metadata, &self.target, may_widen)?;
        if directories(&table.metadata).0 != self.data_directory {
            return match self.new {
                Some(_) => changed("created it in another place"),
                None => changed("changed the place of its files"),
            };
        }
        // Nulls were not looked for in a column that takes none only now.
        let is_required = |name: &str| self.columns.iter().any(|column| *column.name == *name && !column.nullable);
        if let Some(column) = found.columns.iter().find(|column| !column.nullable && !is_required(&column.name)) {
            return changed(&format!("made its column `{}` one without nulls", column.name));
        }
        let partition_by = found.partition_by();
        let rows: TableRows<IcebergRules> =
            TableRows::new(Some(found.columns.clone()), partition_by.clone(), self.type_merge, may_widen);
        let known = rows.file_columns(columns);
        let is_same = columns.fields.iter().all(|field| match known.position(&field.name) {
            Some(i) => known.fields[i].ty.is_like(&field.ty),
            // A column with only nulls, which is text in the files.
            None => {
                let of_table = found.columns.iter().find(|column| column.name == field.name);
                field.ty == Type::Null && of_table.and_then(|of| of.ty.as_ref()).is_some_and(Type::is_text_like)
            }
        });
        if partition_by != self.attempt.partition_by
            || !is_same
            || self.planned_for(columns)?.field_ids(columns) != self.field_ids
        {
            return changed("changed its columns");
        }
        self.checked = now;
        Ok(())
    }

    /// Fails if a file was removed while the load took long.
    fn check_files(&self, files: &[DataFile]) -> Result<(), LoadError> {
        if self.began.elapsed() < FILES_ARE_SAFE {
            return Ok(());
        }
        for file in files {
            let exists = self.files.exists_in(&self.data_directory, &file.name);
            if !exists.map_err(|error| load_error(&self.name(), error))? {
                return Err(self.refused(format!("its file {} was removed before the commit", file.name), true));
            }
        }
        Ok(())
    }

    /// Returns the fields of partitions of the table as it was seen last, with the types of `columns`, and its spec in JSON.
    fn partition(&self, columns: &Schema, planned: &PlannedSchema) -> Result<(Vec<PartitionField>, Value), LoadError> {
        let ty = |name: &str| {
            let of_table =
                || self.columns.iter().find(|column| *column.name == *name).and_then(|column| column.ty.clone());
            let found = columns.position(name).map(|i| columns.fields[i].ty.clone()).or_else(of_table);
            found.ok_or_else(|| LoadError::Bug(format!("the partition column `{name}` has no type")))
        };
        if let Some(table) = &self.table {
            let found = writable(&table.metadata, &self.target, self.widening == Widening::Evolve)?;
            let field = |of: PartitionColumn| Ok(PartitionField { id: of.id, name: of.name, ty: ty(&of.column)? });
            let fields = found.partition.into_iter().map(field).collect::<Result<_, LoadError>>()?;
            return Ok((fields, table.metadata.spec().cloned().unwrap_or_default()));
        }
        let (mut fields, mut spec) = (Vec::new(), Vec::new());
        for (name, id) in self.attempt.partition_by.iter().zip(FIRST_PARTITION_ID..) {
            fields.push(PartitionField { id, name: name.to_string(), ty: ty(name)? });
            let source = planned.field_ids(columns).get(&[name.to_string()]);
            spec.push(json!({"name": &**name, "transform": "identity", "source-id": source, "field-id": id}));
        }
        Ok((fields, json!({"spec-id": 0, "fields": spec})))
    }

    /// Makes one try. `made` gets the URLs of the metadata that it writes.
    fn try_commit(
        &self,
        (files, columns): (&[DataFile], &Schema),
        (claims, facts): (&[LoadClaim], &Recorded),
        (number, made): (u32, &mut Vec<String>),
    ) -> Result<(CommitOutcome, Vec<String>), LoadError> {
        let name = self.name();
        let failed = |error| load_error(&name, error);
        let planned = self.planned(columns)?;
        let (partition, spec) = self.partition(columns, &planned)?;
        let none = TableMetadata::default();
        let metadata = self.table.as_ref().map_or(&none, |table| &table.metadata);
        let is_changed = self.table.is_none() || planned.is_changed();
        let mut schema = planned.schema.clone();
        schema["schema-id"] = match (&self.table, is_changed) {
            (None, _) => 0.into(),
            (Some(_), true) => metadata.next_schema_id().into(),
            (Some(_), false) => metadata.schema_id().into(),
        };
        let (parent, sequence) = (metadata.branch_snapshot(), metadata.last_sequence_number() + 1);
        let uuid = file_uuid(&self.attempt.id, number);
        // The list of the manifests, with one more for the files.
        let mut list = match metadata.current_snapshot().map(|snapshot| snapshot.get("manifest-list")) {
            None => ManifestList::default(),
            Some(Some(Value::String(url))) => {
                let bytes = self.files.read(url).map_err(failed)?;
                ManifestList::read(&bytes)
                    .map_err(|cause| self.refused(format!("{url} cannot be read: {cause}"), false))?
            }
            Some(_) => return Err(self.refused("its last snapshot has no manifest list", false)),
        };
        if !files.is_empty() {
            let manifest = NewManifest {
                files,
                directory: &self.data_directory,
                columns,
                field_ids: &self.field_ids,
                partition: &partition,
                schema: &schema,
                spec: &spec,
                snapshot_id: self.snapshot_id,
            };
            let manifest = manifest.write().map_err(LoadError::Bug)?;
            let url = format!("{}/{uuid}-m0.avro", self.metadata_directory);
            made.push(url.clone());
            self.files.put(&url, &manifest.bytes).map_err(failed)?;
            list.add(&manifest, &url, spec["spec-id"].as_i64().unwrap_or(0), sequence, self.snapshot_id);
        }
        let list_url = format!("{}/snap-{}-{number}-{uuid}.avro", self.metadata_directory, self.snapshot_id);
        let bytes = list.write(self.snapshot_id, parent, sequence).map_err(LoadError::Bug)?;
        made.push(list_url.clone());
        self.files.put(&list_url, &bytes).map_err(failed)?;
        // What becomes of the table.
        let mut snapshot = json!({
            "snapshot-id": self.snapshot_id,
            "sequence-number": sequence,
            "timestamp-ms": facts.at.max(metadata.0.get("last-updated-ms").and_then(Value::as_i64).unwrap_or(0)),
            "manifest-list": list_url,
            "summary": summary(metadata, files, ledger::summary(claims, facts)),
            "schema-id": schema["schema-id"],
        });
        if let Some(parent) = parent {
            snapshot["parent-snapshot-id"] = parent.into();
        }
        let mut properties: Map<String, Value> =
            ledger::properties(claims, facts).into_iter().map(|(name, value)| (name, value.into())).collect();
        if planned.forms != metadata.forms() {
            properties.insert(FORMS.to_owned(), planned.forms.text().into());
        }
        let mut updates = Vec::new();
        let mut notes = Vec::new();
        if self.table.is_none() {
            let uuid =
                self.new.as_ref().and_then(|new| new.uuid.clone()).unwrap_or_else(|| table_uuid(&self.attempt.id));
            updates.push(json!({"action": "assign-uuid", "uuid": uuid}));
            updates.push(json!({"action": "upgrade-format-version", "format-version": FORMAT_VERSION}));
            notes.push("created the table".to_owned());
        }
        if is_changed {
            updates.push(json!({"action": "add-schema", "schema": schema, "last-column-id": planned.last_id}));
            updates.push(json!({"action": "set-current-schema", "schema-id": -1}));
        }
        if self.table.is_none() {
            let location = self.new.as_ref().map(|new| new.location.clone());
            updates.push(json!({"action": "add-spec", "spec": spec}));
            updates.push(json!({"action": "set-default-spec", "spec-id": -1}));
            updates.push(json!({"action": "add-sort-order", "sort-order": {"order-id": 0, "fields": []}}));
            updates.push(json!({"action": "set-default-sort-order", "sort-order-id": -1}));
            updates.push(json!({"action": "set-location", "location": location}));
        }
        updates.push(json!({"action": "set-properties", "updates": properties}));
        updates.push(json!({"action": "add-snapshot", "snapshot": snapshot}));
        updates.push(json!({"action": "set-snapshot-ref", "ref-name": BRANCH, "type": "branch",
            "snapshot-id": self.snapshot_id}));
        if !planned.added.is_empty() && self.table.is_some() {
            let named: Vec<String> = planned.added.iter().map(|name| format!("`{name}`")).collect();
            notes.push(format!("added the column{} {}", plural(named.len() as u64), named.join(", ")));
        }
        if !planned.widened.is_empty() {
            notes.push(format!("widened {}", planned.widened.join(", ")));
        }
        let commit = Commit {
            base: self.table.as_ref(),
            requirements: &requirements(self.table.as_ref(), planned.is_changed()),
            updates: &updates,
            files: &self.files,
            metadata_directory: &self.metadata_directory,
            file_uuid: &uuid,
            now: facts.at,
        };
        if self.cancel.is_cancelled() {
            return Err(LoadError::Cancelled);
        }
        Ok((self.catalog.commit(&commit)?, notes))
    }

    /// Tries until the table has the load. `made` are the URLs of metadata that no commit has taken.
    fn commit_files(
        &mut self,
        (files, columns): (&[DataFile], &Schema),
        (key, end): (&CommitKey, &LoadEnd),
        made: &mut Vec<String>,
    ) -> Result<Committed, LoadError> {
        let claims = self.target.identity.claims(KEY_TABLE, key);
        let source = claims.iter().map(|claim| claim.member.source.as_str()).collect::<Vec<_>>().join(", ");
        let facts = LoadFacts { source, ..LoadFacts::new(&self.target, end) };
        let mut last_notes = Vec::new();
        // The conflict of the last try with the state that it was made from, and tries since that changed.
        let mut last: Option<(Option<TableState>, String)> = None;
        let mut refusals = 0;
        for number in 1.. {
            self.table = self.catalog.load()?;
            let state = self.table.as_ref().map(|table| TableState::of(&table.metadata));
            if let Some(table) = &self.table {
                // A commit whose response was lost.
                if table.metadata.has_snapshot(self.snapshot_id) {
                    made.clear();
                    return Ok(self.loaded(key, end, last_notes));
                }
                if let Some(row) = earlier(&table.metadata, &self.target, key)? {
                    return Ok(Committed::Already(with_rows_there(&table.metadata, row)));
                }
            }
            if let Some((before, cause)) = last.take() {
                refusals = if before == state { refusals + 1 } else { 0 };
                if refusals >= REFUSALS {
                    let cause = format!("the catalog refuses each commit, although the table does not change: {cause}");
                    return Err(self.refused(cause, true));
                }
            }
            self.check_again(columns)?;
            let kept = made.len();
            let recorded = Recorded { facts: facts.clone(), at: now() };
            let (outcome, notes) = self.try_commit((files, columns), (&claims, &recorded), (number, made))?;
            match outcome {
                CommitOutcome::Done => {
                    made.truncate(kept);
                    return Ok(self.loaded(key, end, notes));
                }
                CommitOutcome::Conflict(cause) => {
                    last_notes = notes;
                    last = Some((state, cause));
                }
            }
            let waits = if refusals == 0 { number.min(50) } else { 1 << refusals };
            std::thread::sleep(CONFLICT_WAIT * waits);
        }
        Err(LoadError::Bug("there are no more tries".to_owned()))
    }

    fn loaded(&self, key: &CommitKey, end: &LoadEnd, notes: Vec<String>) -> Committed {
        let table = self.name();
        let notes = notes.into_iter().map(|note| format!("{table}: {note}")).collect();
        Committed::Loaded(LoadSummary { table, key: key.clone(), rows: end.rows, notes })
    }
}

impl FilesLoad for IcebergLoad {
    fn files(&self) -> &FilesAttempt {
        &self.attempt
    }

    fn check(&mut self, columns: &Schema) -> Result<Vec<String>, LoadError> {
        let misfits = self.rows.misfits(columns);
        match misfits.is_empty() {
            true => self.planned_for(&self.rows.file_columns(columns)).map(|_| Vec::new()),
            false => Err(LoadError::Misfits { table: self.name(), misfits }),
        }
    }

    fn file_columns(&mut self, columns: &Schema) -> Result<Schema, LoadError> {
        let columns = self.rows.file_columns(columns);
        let refuse = |column: &str, what: &str| {
            let misfit = Misfit { column: column.to_owned(), what: what.to_owned() };
            Err(LoadError::Misfits { table: self.name(), misfits: vec![misfit] })
        };
        if let Some(reason) = unfit_names(&columns.fields) {
            return Err(self.refused(reason, false));
        }
        for name in self.attempt.partition_by.iter() {
            let of_rows = columns.position(name).map(|i| &columns.fields[i].ty);
            let of_table =
                self.columns.iter().find(|column| column.name == *name).and_then(|column| column.ty.as_ref());
            match of_rows.or(of_table) {
                Some(ty) if IcebergRules::can_partition(ty) => {}
                Some(_) => return refuse(name, "has values that cannot name a partition"),
                None => return refuse(name, "divides the table, and no row has it"),
            }
        }
        if columns.fields.is_empty() && self.table.is_none() {
            return Err(self.target.unsupported(
                "no column is known, so that the table cannot be created",
                "load rows, or declare the columns in an explicit schema",
            ));
        }
        self.field_ids = self.planned_for(&columns)?.field_ids(&columns);
        Ok(columns)
    }

    fn keeps_partition_columns(&self) -> bool {
        // Filters of pyiceberg that exclude a value keep the nulls of a column that a file lacks. Other writers keep these
        // columns, too.
        true
    }

    fn field_ids(&self) -> FieldIds {
        self.field_ids.clone()
    }

    fn commit(
        mut self: Box<Self>,
        files: Vec<DataFile>,
        columns: &Schema,
        end: &LoadEnd,
    ) -> Result<Committed, LoadError> {
        let key = self.target.identity.key_after(KEY_TABLE, end.digests.as_deref())?;
        self.check_files(&files)?;
        let mut made = Vec::new();
        let committed = self.commit_files((&files, columns), (&key, end), &mut made);
        if !matches!(committed, Err(LoadError::Unknown { .. })) {
            for url in made {
                // One that stays is an orphan.
                let _ = self.files.remove(&url);
            }
        }
        committed
    }
}

/// Returns the earlier load of the rows of `target`, whose key is `key`; `None` if there is none.
pub(super) fn earlier(
    metadata: &TableMetadata,
    target: &TableTarget,
    key: &CommitKey,
) -> Result<Option<LedgerRow>, LoadError> {
    let claims = target.identity.claims(KEY_TABLE, key);
    earlier_load(&target.name(), &claims, ledger::found(metadata, &claims), Replaceable::Never)
}

/// Returns an earlier load with the rows that the table has of it, if it has none any more: the table is empty.
pub(super) fn with_rows_there(metadata: &TableMetadata, row: LedgerRow) -> LedgerRow {
    let is_empty = match metadata.current_snapshot() {
        None => true,
        Some(snapshot) => snapshot["summary"]["total-records"].as_str() == Some("0"),
    };
    LedgerRow { rows_there: (row.rows > 0 && is_empty).then_some(0), ..row }
}

/// Returns the error of a table that the catalog does not have.
pub(super) fn no_table(name: &str) -> LoadError {
    LoadError::NoTable {
        table: name.to_owned(),
        cause: "the catalog has no such table".to_owned(),
        hint: "specify its namespace and its name, as in crm.companies".to_owned(),
    }
}

/// Returns the URLs of the directories of data and of metadata.
pub(super) fn directories(metadata: &TableMetadata) -> (String, String) {
    let of = |property: &str, name: &str| match metadata.property(property) {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("{}/{name}", metadata.location()),
    };
    (of("write.data.path", "data"), of("write.metadata.path", "metadata"))
}

fn schema_and_spec(metadata: &TableMetadata) -> Option<(Value, Value)> {
    Some((metadata.schema()?.clone(), metadata.spec()?.clone()))
}

/// Returns what has to be true of the table for the updates.
fn requirements(table: Option<&CatalogTable>, changes_schema: bool) -> Vec<Value> {
    let Some(table) = table else { return vec![json!({"type": "assert-create"})] };
    let metadata = &table.metadata;
    let mut requirements = vec![
        json!({"type": "assert-table-uuid", "uuid": metadata.uuid()}),
        json!({"type": "assert-ref-snapshot-id", "ref": BRANCH, "snapshot-id": metadata.branch_snapshot()}),
        json!({"type": "assert-current-schema-id", "current-schema-id": metadata.schema_id()}),
        json!({"type": "assert-default-spec-id", "default-spec-id": metadata.spec_id()}),
    ];
    if changes_schema {
        let last = metadata.last_column_id();
        requirements.push(json!({"type": "assert-last-assigned-field-id", "last-assigned-field-id": last}));
    }
    requirements
}

/// Returns the summary of the snapshot after `metadata`.
fn summary(metadata: &TableMetadata, files: &[DataFile], load: Vec<(String, String)>) -> Value {
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let partitions: std::collections::BTreeSet<&Vec<Option<String>>> =
        files.iter().map(|file| &file.partition).collect();
    let mut summary: Map<String, Value> = Map::new();
    let mut set = |name: &str, value: String| summary.insert(name.to_owned(), value.into());
    set("operation", "append".to_owned());
    for (name, value) in load {
        set(&name, value);
    }
    set("engine-name", "drawoff".to_owned());
    set("engine-version", env!("CARGO_PKG_VERSION").to_owned());
    set("added-data-files", files.len().to_string());
    set("added-records", rows.to_string());
    set("added-files-size", bytes.to_string());
    set("changed-partition-count", partitions.len().to_string());
    let added = [
        ("total-data-files", files.len() as u64),
        ("total-records", rows),
        ("total-files-size", bytes),
        ("total-delete-files", 0),
        ("total-position-deletes", 0),
        ("total-equality-deletes", 0),
    ];
    for (name, added) in added {
        let before = match metadata.current_snapshot() {
            None => Some(0),
            // Totals that are not known stay so.
            Some(parent) => parent.get("summary").and_then(|of| of.get(name)?.as_str()?.parse::<u64>().ok()),
        };
        if let Some(before) = before {
            set(name, (before + added).to_string());
        }
    }
    Value::Object(summary)
}

/// Returns the milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}

/// Returns the UUID in the names of the metadata of one try, which tells the attempt.
fn file_uuid(attempt: &str, number: u32) -> String {
    let part = |from: usize, to: usize| attempt.get(from..to).unwrap_or("0000");
    format!("{UUID_START}-{}-8{}-8{}-{}{:06x}", part(0, 4), part(4, 7), part(7, 10), part(10, 16), number & 0xff_ffff)
}

/// Returns the id of the attempt that wrote a metadata file, by its name; `None` for files of others.
pub(super) fn attempt_in(name: &str) -> Option<String> {
    let uuid = name.get(name.find(UUID_START)?..)?.get(..36)?;
    let digits: String = uuid.chars().filter(|c| *c != '-').collect();
    let is_uuid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_uuid.then(|| format!("{}{}{}{}", &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..26]))
}

/// Returns a UUID for a table that an attempt creates.
fn table_uuid(attempt: &str) -> String {
    let digest = CommitKey::of(&["uuid", attempt]);
    let hex = digest.as_str();
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_tells_its_attempt_by_its_name() {
        let uuid = file_uuid("0123456789abcdef", 7);
        assert_eq!(uuid, "d4a0ff1e-0123-8456-8789-abcdef000007");
        for name in [format!("{uuid}-m0.avro"), format!("00001-{uuid}.metadata.json"), format!("snap-1-2-{uuid}.avro")]
        {
            assert_eq!(attempt_in(&name).as_deref(), Some("0123456789abcdef"), "{name}");
        }
        for name in ["d4a0ff1e", "00000-d4a0ff1f-0123-8456-8789-abcdef000007.metadata.json", "d4a0ff1e-0123-é"] {
            assert_eq!(attempt_in(name), None, "{name}");
        }
    }

    #[test]
    fn totals_go_on_from_the_last_snapshot() {
        let metadata = TableMetadata(json!({"refs": {"main": {"snapshot-id": 1}}, "snapshots": [
            {"snapshot-id": 1, "summary": {"operation": "append", "total-records": "5"}}]}));
        let file = DataFile { name: "f".into(), rows: 2, bytes: 10, partition: vec![], facts: Default::default() };
        let of = summary(&metadata, &[file], vec![("drawoff.commit-key".into(), "k".into())]);
        assert_eq!(
            (&of["total-records"], &of["added-files-size"], &of["drawoff.commit-key"]),
            (&json!("7"), &json!("10"), &json!("k"))
        );
        assert_eq!(of.get("total-data-files"), None);
        assert_eq!(summary(&TableMetadata::default(), &[], vec![])["total-records"], "0");
    }
}
