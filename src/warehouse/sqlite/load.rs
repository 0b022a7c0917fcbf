//! One load: a transaction with the rows, the changes of the table, and the row of the ledger.
//!
//! ```text
//! BEGIN IMMEDIATE ─► INSERT into the table ──────────────────────────────────► ledger; COMMIT
//!                └─► INSERT into the stage ─► ALTER TABLE; INSERT … SELECT ─┘
//! ```
//!
//! Rows go straight into the table where their columns are in it, or may be added to it at once. From the first row on
//! that needs more, they go into a temporary table, the stage: a column of a table that the load made gets a wider type, a
//! column of another table is new and may still get one, rows are merged by a key, or the column for the commit key is
//! asked for before the key is known. The stage has no affinities, and takes values of every form.

use std::sync::Arc;

use super::catalog::Table;
use super::database::Database;
use super::encode::ValueEncoder;
use super::insert::Insert;
use super::kinds::Kind;
use super::layout::{LayoutColumn, Mapping, Place};
use super::ledger::{self, Entry};
use super::location::Location;
use super::merge::Merge;
use super::rowset::{Change, Rowset, STAGE};
use super::sql::{is_same_name, quoted};
use super::values::{Form, TYPE_WITHOUT_VALUES};
use crate::column::{Schema, Type, TypeMerge};
use crate::warehouse::claims::{EarlierRows, LedgerChunk};
use crate::warehouse::defaults::{DefaultUse, FirstColumns};
use crate::warehouse::earlier::Replaceable;
use crate::warehouse::{
    Begun, CommitKey, Committed, LedgerRow, LoadClaim, LoadEnd, LoadError, LoadMode, LoadProgress, LoadRequest,
    LoadRows, LoadSummary, Misfit, RowEncoder, TableLoad, TableTarget, Widening,
};

/// The columns of a table at its end, in order, with their forms; `None` for those that never had a value.
type FinalColumns = Vec<(Arc<str>, Option<Form>)>;

/// A load in an open transaction.
pub(super) struct SqliteLoad {
    db: Database,
    target: TableTarget,
    table: Table,
    /// The table in SQL.
    sql_name: String,
    encoder: Arc<ValueEncoder>,
    type_merge: TypeMerge,
    started_at: String,
    /// The key, if it is known.
    key: Option<CommitKey>,
    /// The earlier loads of the key whose rows give way.
    replaced: Vec<EarlierRows>,
    /// The chunks of the load that the table has.
    progress: LoadProgress,
    /// The columns that chunks of the load have made for JSON text.
    mixed: Vec<String>,
    /// True if rows that give way are deleted already.
    is_cleared: bool,
    /// True if the load has made its table.
    is_created: bool,
    /// The columns of the table that rows go straight into.
    straight: Rowset,
    stage: Option<Rowset>,
    /// The columns of the table with a default that the first columns lack.
    defaults: DefaultUse,
    last_layout: Option<(Arc<Schema>, Arc<Vec<LayoutColumn>>)>,
    rows_counted: u64,
    bytes: u64,
    notes: Vec<String>,
    /// Set by `finish`: an earlier load that had the key.
    already: Option<LedgerRow>,
}

impl SqliteLoad {
    /// Opens the file and begins the transaction.
    pub(super) fn begin(location: &Location, request: &LoadRequest<'_>) -> Result<Begun, LoadError> {
        let target = request.target;
        let db = Database::create(location, target.name(), &request.cancel)?;
        let in_chunks = target.commit_every.is_some();
        let find = |db: &Database| -> Result<_, LoadError> {
            let table = Table::find(db, &target.table)?;
            let key = target.identity.key_before(&table.recorded());
            let loaded = match &key {
                Some(key) if !target.again => {
                    let claims = target.identity.claims(&table.recorded(), key);
                    ledger::find(db, &table, &claims, target.mode.as_str(), in_chunks, Replaceable::of(target))?
                }
                _ => None,
            };
            Ok((table, key, loaded))
        };
        // Before the lock, which another load may hold for long.
        if let (table, _, Some(mut row)) = find(&db)? {
            table.look_for_rows(&db, target.load_column.as_deref(), &mut row)?;
            return Ok(Begun::Loaded(row));
        }
        db.begin()?;
        let (mut table, key, loaded) = find(&db)?;
        if let Some(mut row) = loaded {
            table.look_for_rows(&db, target.load_column.as_deref(), &mut row)?;
            return Ok(Begun::Loaded(row));
        }
        let (mut replaced, mut progress) = (Vec::new(), LoadProgress::default());
        let mut mixed = Vec::new();
        if let Some(key) = &key {
            let claims = target.identity.claims(&table.recorded(), key);
            let goes_on = target.again && in_chunks && ledger::is_begun_again(&db, &table, &claims)?;
            progress.again = target.again && in_chunks;
            if !target.again || goes_on {
                progress = ledger::progress(&db, &table, &claims, in_chunks, Replaceable::of(target))?;
            }
            if progress.chunks > 0 {
                mixed = ledger::mixed_columns(&db, &claims)?;
                let columns = table.columns.iter_mut().flatten();
                for column in columns.filter(|column| column.kind == Some(Kind::Text)) {
                    if mixed.iter().any(|name| is_same_name(name, &column.name)) {
                        column.kind = Some(Kind::Mixed);
                    }
                }
            } else {
                replaced = earlier_rows(&db, target, &table, key)?;
                let own = claims.first().filter(|_| target.commit_every.is_some()).map(LoadClaim::row_key);
                ledger::strike_chunks(&db, replaced.iter().map(|earlier| earlier.key.as_str()).chain(own))?;
            }
        }
        let merge_key = match &target.mode {
            LoadMode::Merge { key } => key.clone(),
            _ => Vec::new(),
        };
        let mapping = Mapping {
            table: table.columns.clone(),
            widening: request.widening,
            is_staged: !merge_key.is_empty() || target.load_column.is_some() && key.is_none(),
            key: merge_key,
            load_column: target.load_column.clone(),
            first: FirstColumns::default(),
        };
        let sql_name = table.sql();
        let started_at = ledger::now(&db)?;
        Ok(Begun::Load(Box::new(SqliteLoad {
            db,
            target: target.clone(),
            straight: Rowset::new(sql_name.clone(), table.or_abort()),
            sql_name,
            table,
            encoder: Arc::new(ValueEncoder { mapping, table: target.name() }),
            type_merge: request.type_merge,
            started_at,
            key,
            replaced,
            progress,
            mixed,
            is_cleared: false,
            is_created: false,
            stage: None,
            defaults: DefaultUse::default(),
            last_layout: None,
            rows_counted: 0,
            bytes: 0,
            notes: Vec::new(),
            already: None,
        })))
    }

    fn mapping(&self) -> &Mapping {
        &self.encoder.mapping
    }

    fn is_new(&self) -> bool {
        self.table.columns.is_none()
    }

    fn is_merge(&self) -> bool {
        matches!(self.target.mode, LoadMode::Merge { .. })
    }

    fn misfits(&self, misfits: Vec<Misfit>) -> LoadError {
        LoadError::Misfits { table: self.db.table().to_owned(), misfits }
    }

    fn layout(&mut self, columns: &Arc<Schema>) -> Result<Arc<Vec<LayoutColumn>>, LoadError> {
        if let Some((known, layout)) = &self.last_layout
            && (Arc::ptr_eq(known, columns) || known == columns)
        {
            return Ok(layout.clone());
        }
        let layout = Arc::new(self.mapping().layout(columns).map_err(|misfits| self.misfits(misfits))?);
        self.last_layout = Some((columns.clone(), layout.clone()));
        Ok(layout)
    }

    /// Returns true if all rows must go through the stage.
    fn is_staged(&self) -> bool {
        self.is_merge() || self.target.load_column.is_some() && self.key.is_none()
    }

    /// Checks that the column for the commit key can hold it.
    fn check_load_column(&self) -> Option<Misfit> {
        let name = self.target.load_column.as_ref()?;
        let columns = self.table.columns.as_ref()?;
        let misfit = |what: &str| Some(Misfit { column: name.to_string(), what: what.to_owned() });
        match columns.iter().find(|column| is_same_name(&column.name, name)) {
            Some(column) if column.is_generated || !matches!(column.kind, Some(Kind::Text | Kind::Any)) => {
                misfit("is for the commit key, which is text")
            }
            Some(_) => None,
            None if self.mapping().widening == Widening::Fixed => misfit("is not in the table"),
            None => None,
        }
    }

    /// Deletes the rows that give way, as soon as it is known which, and adds the column for the key to a table that lacks it.
    fn clear(&mut self) -> Result<(), LoadError> {
        if self.is_cleared || self.is_new() {
            return Ok(());
        }
        self.is_cleared = true;
        if let (Some(name), Some(columns)) = (self.target.load_column.clone(), &self.table.columns)
            && !columns.iter().any(|column| is_same_name(&column.name, &name))
        {
            self.db.execute(&format!("ALTER TABLE {} ADD COLUMN {} TEXT", self.sql_name, quoted(&name)))?;
            self.notes.push(format!("added the column `{name}` (TEXT) to {}", self.table.name));
        }
        match (&self.target.mode, &self.target.load_column) {
            (LoadMode::Replace, _) => {
                let deleted = self.db.changed(&format!("DELETE FROM {}", self.sql_name), [])?;
                self.notes.push(format!("replaced {}", crate::text::counted(deleted, "row")));
            }
            (LoadMode::Append, Some(name)) => {
                for earlier in std::mem::take(&mut self.replaced) {
                    let sql = format!("DELETE FROM {} WHERE {} = ?", self.sql_name, quoted(name));
                    let deleted = self.db.changed(&sql, [&earlier.key])?;
                    let any = format!("SELECT 1 FROM {} LIMIT 1", self.sql_name);
                    if deleted == 0 && earlier.rows > 0 && !self.db.rows(&any, [], |_| Ok(()))?.is_empty() {
                        return Err(earlier.rows_without_key(self.db.table(), name));
                    }
                    self.notes.push(format!("replaced {} of the earlier load", crate::text::counted(deleted, "row")));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the columns of `layout`, or those of `columns` without values if a table would have none at all.
    fn columns_or_nulls(&self, layout: &[LayoutColumn], columns: &Schema) -> Result<Vec<LayoutColumn>, LoadError> {
        if !layout.is_empty() {
            return Ok(layout.to_vec());
        }
        let names = self.mapping().names(columns).map_err(|misfit| self.misfits(vec![misfit]))?;
        let nulls = columns.fields.iter().zip(names).enumerate().map(|(index, (field, name))| LayoutColumn {
            index,
            source: field.name.clone(),
            name,
            ty: Type::Null,
            place: Place::New,
        });
        let nulls: Vec<LayoutColumn> = nulls.collect();
        match nulls.is_empty() {
            false => Ok(nulls),
            true => Err(LoadError::Unsupported {
                table: self.db.table().to_owned(),
                what: "the rows have no columns, and a table of SQLite has at least one".into(),
                hint: None,
            }),
        }
    }

    /// Makes the table with the columns that are known, for rows that go straight into it.
    fn create_table(&mut self, layout: &[LayoutColumn], columns: &Schema) -> Result<(), LoadError> {
        if !self.is_new() || self.is_created {
            return Ok(());
        }
        let known = self.columns_or_nulls(layout, columns)?;
        let mut list: Vec<String> = known.iter().map(|column| column_sql(&column.name, Form::of(&column.ty))).collect();
        list.extend(self.target.load_column.iter().map(|name| column_sql(name, Some(Form::Text))));
        self.db.execute(&format!("CREATE TABLE {} ({})", self.sql_name, list.join(", ")))?;
        known.iter().for_each(|column| self.straight.add(column));
        self.is_created = true;
        Ok(())
    }

    /// Prepares the table for rows of this layout to go straight into it. Returns false if they cannot.
    fn prepare_straight(&mut self, layout: &[LayoutColumn]) -> Result<bool, LoadError> {
        let changes: Vec<(&LayoutColumn, Change)> =
            layout.iter().filter_map(|column| Some((column, self.straight.change(column, self.type_merge)?))).collect();
        let needs_stage = changes.iter().any(|(column, change)| match change {
            // The type of a column that is added to another's table is known at the end.
            Change::Add => column.place == Place::New && !self.is_new(),
            Change::Widen(_) => true,
            Change::Same(_) => false,
        });
        if needs_stage {
            return Ok(false);
        }
        for (column, change) in changes {
            match change {
                Change::Add if column.place == Place::New => {
                    let column_sql = column_sql(&column.name, Form::of(&column.ty));
                    self.db.execute(&format!("ALTER TABLE {} ADD COLUMN {column_sql}", self.sql_name))?;
                    self.straight.add(column);
                }
                Change::Add => self.straight.add(column),
                Change::Same(ty) | Change::Widen(ty) => self.straight.widen(&column.name, ty),
            }
        }
        Ok(true)
    }

    /// Fails if some rows have a column and others have got its default, which they should have only if no row has it.
    fn check_defaults(&mut self, columns: &Schema) -> Result<(), LoadError> {
        let mapping = &self.encoder.mapping;
        if mapping.open_defaults().next().is_none() {
            return Ok(());
        }
        let names = mapping.names(columns).map_err(|misfit| self.misfits(vec![misfit]))?;
        let given = self.defaults.record(columns, &names, mapping.open_defaults());
        given.map(drop).map_err(|misfits| self.misfits(misfits))
    }

    /// Prepares the stage for rows of this layout.
    fn prepare_stage(&mut self, layout: &[LayoutColumn], columns: &Schema) -> Result<(), LoadError> {
        let mut stage = match self.stage.take() {
            Some(stage) => stage,
            None => {
                let mut known = self.columns_or_nulls(layout, columns)?;
                // Wider types than those before.
                for column in &mut known {
                    if let Some(held) = self.straight.find(&column.name).and_then(|held| held.ty.as_ref()) {
                        column.ty = held.join(&column.ty, self.type_merge);
                    }
                }
                let list: Vec<String> = known.iter().map(|column| self.staged_sql(column)).collect();
                self.db.execute(&format!("CREATE TEMPORARY TABLE \"_drawoff_stage\" ({})", list.join(", ")))?;
                let mut stage = Rowset::new(STAGE.to_owned(), "");
                known.iter().for_each(|column| stage.add(column));
                stage
            }
        };
        for column in layout {
            match stage.change(column, self.type_merge) {
                None => {}
                Some(Change::Add) => {
                    let mut column = column.clone();
                    if let Some(held) = self.straight.find(&column.name).and_then(|held| held.ty.as_ref()) {
                        column.ty = held.join(&column.ty, self.type_merge);
                    }
                    self.db.execute(&format!("ALTER TABLE {STAGE} ADD COLUMN {}", self.staged_sql(&column)))?;
                    stage.add(&column);
                }
                Some(Change::Same(ty) | Change::Widen(ty)) => stage.widen(&column.name, ty),
            }
        }
        self.stage = Some(stage);
        Ok(())
    }

    /// Returns a column of the stage in SQL. Those of an existing table have its declared type, which leaves final values as
    /// they are, and its collation, so that keys are the same in both.
    fn staged_sql(&self, column: &LayoutColumn) -> String {
        let existing = self.table.columns.iter().flatten().find(|own| own.name == column.name);
        let declared = existing.filter(|_| column.place != Place::New).map_or("", |own| match own.kind {
            Some(Kind::Integer { .. }) => "INTEGER",
            Some(Kind::Real) => "REAL",
            Some(Kind::Text | Kind::Mixed) => "TEXT",
            Some(Kind::Numeric(_)) => "NUMERIC",
            Some(Kind::Any) | None => "",
        });
        let collation = existing.and_then(|own| own.collation).map_or(String::new(), |name| format!(" COLLATE {name}"));
        format!("{} {declared}{collation}", quoted(&column.name))
    }

    /// Returns the columns of the table at the end, in order, with their forms; `None` for columns that never had a value.
    fn final_columns(&self, columns: &Schema) -> Result<FinalColumns, LoadError> {
        let names = self.mapping().names(columns).map_err(|misfit| self.misfits(vec![misfit]))?;
        let mut last: FinalColumns =
            names.into_iter().zip(&columns.fields).map(|(name, field)| (name, Form::of(&field.ty))).collect();
        // Rows may have had columns that the final ones lack.
        for column in self.straight.columns.iter().chain(self.stage.iter().flat_map(|stage| &stage.columns)) {
            if !last.iter().any(|(name, _)| is_same_name(name, &column.name)) {
                last.push((column.name.clone(), column.form()));
            }
        }
        Ok(last)
    }

    /// Gives the table its final columns and types, and moves the rows of the stage into it.
    fn complete_table(&mut self, columns: &Schema, key: &CommitKey) -> Result<(), LoadError> {
        let last = self.final_columns(columns)?;
        match self.is_new() {
            true => {
                let mixed = last.iter().filter(|(_, form)| *form == Some(Form::Json));
                self.mixed.extend(mixed.map(|(name, _)| name.to_string()));
                self.complete_new(&last)?;
            }
            false => self.complete_existing(columns)?,
        }
        let Some(stage) = self.stage.take() else { return Ok(()) };
        match self.target.mode.clone() {
            LoadMode::Merge { key: merge_key } => {
                stage.settle(&self.db, &last)?;
                let load_column = self.target.load_column.as_deref();
                let merge = Merge {
                    db: &self.db,
                    table: &self.sql_name,
                    or_abort: self.table.or_abort(),
                    stage: &stage,
                    key: &merge_key,
                    load_column,
                };
                self.notes.push(merge.execute(key)?);
                Ok(())
            }
            _ => self.move_stage(&stage, &last, key),
        }
    }

    /// Makes the table, or makes it anew where columns got wider types.
    fn complete_new(&mut self, last: &[(Arc<str>, Option<Form>)]) -> Result<(), LoadError> {
        if last.is_empty() {
            self.notes.push("no table was made: there are no columns".into());
            return Ok(());
        }
        let mut list: Vec<String> = last.iter().map(|(name, form)| column_sql(name, *form)).collect();
        list.extend(self.target.load_column.iter().map(|name| column_sql(name, Some(Form::Text))));
        if let LoadMode::Merge { key } = &self.target.mode {
            let key: Vec<String> = key.iter().map(|name| quoted(name)).collect();
            list.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }
        let create = |name: &str| format!("CREATE TABLE {name} ({})", list.join(", "));
        let is_wider = last.iter().any(|(name, form)| self.straight.differs(name, *form));
        if !self.is_created {
            self.db.execute(&create(&self.sql_name))?;
            self.is_created = true;
        } else if is_wider || self.stage.is_some() {
            // SQLite cannot change the type of a column.
            let temporary = format!("_drawoff_{}", self.key.as_ref().map_or("", CommitKey::short));
            let new_name = format!("main.{}", quoted(&temporary));
            self.db.execute(&create(&new_name))?;
            let mut names = self.straight.column_list();
            let mut values: Vec<String> = last
                .iter()
                .filter(|(name, _)| self.straight.find(name).is_some())
                .map(|(name, form)| self.straight.converted(name, *form))
                .collect();
            // In one order.
            names.sort_by_key(|name| last.iter().position(|(own, _)| quoted(own) == *name));
            if let Some(name) = &self.target.load_column {
                names.push(quoted(name));
                values.push(quoted(name));
            }
            let moved = self.db.changed(
                &format!(
                    "INSERT INTO {new_name} ({}) SELECT {} FROM {} ORDER BY {}",
                    names.join(", "),
                    values.join(", "),
                    self.sql_name,
                    self.straight.row_number().unwrap_or("1"),
                ),
                [],
            )?;
            self.db.check_count(self.straight.rows, moved)?;
            let name = quoted(&self.table.name);
            self.db.execute(&format!("DROP TABLE {}; ALTER TABLE {new_name} RENAME TO {name}", self.sql_name))?;
        } else {
            for (name, form) in last.iter().filter(|(name, _)| self.straight.find(name).is_none()) {
                self.db.execute(&format!("ALTER TABLE {} ADD COLUMN {}", self.sql_name, column_sql(name, *form)))?;
            }
        }
        self.notes.push(format!("created the table {}", self.table.name));
        Ok(())
    }

    /// Adds the columns that an existing table lacks.
    fn complete_existing(&mut self, columns: &Schema) -> Result<(), LoadError> {
        let layout = self.mapping().layout(columns).map_err(|misfits| self.misfits(misfits))?;
        for column in layout {
            match column.place {
                Place::New => {
                    let form = Form::of(&column.ty);
                    if form == Some(Form::Json) {
                        self.mixed.push(column.name.to_string());
                    }
                    let declared = form.map_or(TYPE_WITHOUT_VALUES, Form::declared);
                    let column_sql = column_sql(&column.name, form);
                    self.db.execute(&format!("ALTER TABLE {} ADD COLUMN {column_sql}", self.sql_name))?;
                    self.notes.push(format!("added the column `{}` ({declared}) to {}", column.name, self.table.name));
                }
                Place::Existing(Kind::Integer { only: false }) if column.ty == Type::Float => {
                    self.notes.push(format!(
                        "the column `{}` of {} is declared for integers, and got numbers with a fraction or an exponent",
                        column.name, self.table.name
                    ));
                }
                Place::Existing(_) => {}
            }
        }
        Ok(())
    }

    /// Appends the rows of the stage to the table, in their final forms.
    fn move_stage(
        &mut self,
        stage: &Rowset,
        last: &[(Arc<str>, Option<Form>)],
        key: &CommitKey,
    ) -> Result<(), LoadError> {
        let mut names = stage.column_list();
        let mut values = Vec::with_capacity(names.len());
        for column in &stage.columns {
            let form = last.iter().find(|(name, _)| is_same_name(name, &column.name)).and_then(|(_, form)| *form);
            let settled = stage.settled(&self.db, &column.name, form)?;
            values.push(settled.unwrap_or_else(|| quoted(&column.name)));
        }
        if let Some(name) = &self.target.load_column {
            names.push(quoted(name));
            values.push(format!("'{}'", key.as_str()));
        }
        let moved = self.db.changed(
            &format!(
                "INSERT {} INTO {} ({}) SELECT {} FROM {STAGE} ORDER BY {}",
                self.table.or_abort(),
                self.sql_name,
                names.join(", "),
                values.join(", "),
                stage.row_number().unwrap_or("1"),
            ),
            [],
        )?;
        self.db.check_count(stage.rows, moved)
    }
}

impl TableLoad for SqliteLoad {
    fn progress(&self) -> LoadProgress {
        self.progress
    }

    fn encoder(&self) -> Arc<dyn RowEncoder> {
        self.encoder.clone()
    }

    fn check(&mut self, columns: &Schema, first: &Schema) -> Result<Vec<String>, LoadError> {
        self.mapping().first.set(self.mapping().names(first).unwrap_or_default());
        // Rows of an earlier chunk have had values of all kinds, and were judged by them.
        let layout = match self.progress.chunks {
            0 => self.mapping().first_layout(columns),
            _ => self.mapping().layout(columns),
        };
        let mut misfits = self.mapping().missing(columns);
        misfits.extend(self.check_load_column());
        let layout = layout.unwrap_or_else(|others| {
            misfits.extend(others);
            Vec::new()
        });
        if !misfits.is_empty() {
            return Err(self.misfits(misfits));
        }
        if self.target.mode == LoadMode::Replace
            && let Some(other) = self.table.cascades_to(&self.db)?
        {
            return Err(LoadError::refused(
                self.db.table(),
                format!("deleting its rows would change rows of `{other}`, which refers to it"),
                "merge by a key instead, which deletes no rows",
            ));
        }
        if !self.is_staged() && !layout.is_empty() {
            self.clear()?;
            self.create_table(&layout, columns)?;
            // Columns that the table does not have begin the stage with their first row.
            let existing: Vec<LayoutColumn> =
                layout.into_iter().filter(|column| self.is_new() || column.place != Place::New).collect();
            self.prepare_straight(&existing)?;
        }
        Ok(Vec::new())
    }

    fn append(&mut self, rows: u64, encoded: LoadRows, columns: &Arc<Schema>) -> Result<Option<Vec<u8>>, LoadError> {
        let LoadRows::Bytes(mut bytes) = encoded else {
            return Err(LoadError::Bug("rows were not encoded as values".into()));
        };
        self.check_defaults(columns)?;
        let layout = self.layout(columns)?;
        let mut goes_straight = self.stage.is_none() && !self.is_staged();
        if goes_straight {
            self.clear()?;
            self.create_table(&layout, columns)?;
            goes_straight = self.prepare_straight(&layout)?;
        }
        let inserted = match goes_straight {
            true => {
                let load_key = self.target.load_column.as_deref().zip(self.key.as_ref().map(CommitKey::as_str));
                let inserted = Insert::new(&self.straight, &layout, load_key).execute(&self.db, rows, &bytes)?;
                self.straight.rows += rows;
                inserted
            }
            false => {
                self.prepare_stage(&layout, columns)?;
                let stage = self.stage.as_mut().ok_or_else(|| LoadError::Bug("there is no stage".into()))?;
                let inserted = Insert::new(stage, &layout, None).execute(&self.db, rows, &bytes)?;
                stage.rows += rows;
                inserted
            }
        };
        self.rows_counted += inserted;
        self.bytes += bytes.len() as u64;
        bytes.clear();
        Ok(Some(bytes))
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn finish(&mut self, columns: &Schema, end: &LoadEnd) -> Result<(), LoadError> {
        self.db.check_count(end.rows, self.rows_counted)?;
        let key = match self.key.clone() {
            Some(key) => key,
            None => {
                let key = self.target.identity.key_after(&self.table.recorded(), end.digests.as_deref())?;
                let claims = self.target.identity.claims(&self.table.recorded(), &key);
                let found = ledger::find(
                    &self.db,
                    &self.table,
                    &claims,
                    self.target.mode.as_str(),
                    false,
                    Replaceable::of(&self.target),
                )?;
                if let Some(row) = found.filter(|_| !self.target.again) {
                    self.already = Some(row);
                    return Ok(());
                }
                self.replaced = earlier_rows(&self.db, &self.target, &self.table, &key)?;
                self.key = Some(key.clone());
                key
            }
        };
        let layout = self.mapping().layout(columns).map_err(|misfits| self.misfits(misfits))?;
        self.clear()?;
        // The rows of a table that is gone are gone, too.
        if self.is_new() || self.target.mode == LoadMode::Replace {
            ledger::replace_all(&self.db, &self.table)?;
        }
        if !self.is_staged() && !layout.is_empty() {
            self.create_table(&layout, columns)?;
        }
        self.complete_table(columns, &key)?;
        let entry = Entry {
            claims: &self.target.identity.claims(&self.table.recorded(), &key),
            table: &self.table,
            mode: self.target.mode.as_str(),
            plan: &self.target.identity.plan_digest(),
            rows: self.progress.rows + end.rows,
            rejected: end.rejected,
            digest: &end.digest(),
            started_at: &self.started_at,
            mixed: &self.mixed,
            chunk: end.chunk.map(|chunk| {
                let after = self.progress.after(end.rows, &chunk);
                (LedgerChunk::between(&key, &self.progress, &after), after, end.rows, chunk.is_last)
            }),
        };
        ledger::enter(&self.db, &entry)
    }

    fn commit(self: Box<Self>) -> Result<Committed, LoadError> {
        if let Some(mut row) = self.already {
            self.db.execute("ROLLBACK")?;
            self.table.look_for_rows(&self.db, self.target.load_column.as_deref(), &mut row)?;
            return Ok(Committed::Already(row));
        }
        let key = self.key.clone().ok_or_else(|| LoadError::Bug("a load was committed before its end".into()))?;
        self.db.commit()?;
        Ok(Committed::Loaded(LoadSummary {
            table: self.db.table().to_owned(),
            key,
            rows: self.progress.rows + self.rows_counted,
            notes: self.notes,
        }))
    }
}

/// Returns the earlier loads of a key whose rows give way: none if the table is gone.
fn earlier_rows(
    db: &Database,
    target: &TableTarget,
    table: &Table,
    key: &CommitKey,
) -> Result<Vec<EarlierRows>, LoadError> {
    if table.columns.is_none() {
        return Ok(Vec::new());
    }
    ledger::earlier_rows(db, &target.identity.claims(&table.recorded(), key), Replaceable::of(target))
}

/// Returns a column of a new table in SQL.
pub(super) fn column_sql(name: &str, form: Option<Form>) -> String {
    format!("{} {}", quoted(name), declared_type(form))
}

/// Returns the type with which a column of a new table is declared.
pub(super) fn declared_type(form: Option<Form>) -> &'static str {
    form.map_or(TYPE_WITHOUT_VALUES, Form::declared)
}
