//! The end of a load: one attempt is chosen for its key, and its rows move into the table. Every step may be taken by several
//! loaders, at any time, and again; see [`super`].

use std::time::Duration;

use super::http::{Failure, Session, code};
use super::ledger::{Entry, Known, Ledger, State, entry_of};
use super::sql::{literal, quoted};
use super::table::Table;
use crate::warehouse::{CommitKey, LEDGER_TABLE, LedgerRow, LoadError, LoadMode};

/// Rounds of a loop that another loader can only disturb by taking the same steps.
const ROUNDS: usize = 20;

/// Time for which the replacement of rows is left to the load that began it. A replacement must not be repeated after later
/// loads; others finish it only if its own loader seems to have ended.
const REPLACEMENT_WAIT: Duration = Duration::from_secs(15);
const REPLACEMENT_POLL: Duration = Duration::from_millis(500);

/// The steps of one table.
pub(super) struct Commit<'a> {
    pub(super) session: &'a Session,
    pub(super) table: &'a Table,
    pub(super) ledger: &'a Ledger,
}

/// The state of a key at the moment.
pub(super) enum Standing {
    /// The table has its rows.
    Loaded(Box<LedgerRow>),
    /// It can be loaded, as this generation.
    Free(u64),
}

impl Commit<'_> {
    fn error(&self, failure: Failure) -> LoadError {
        self.session.error(failure)
    }

    /// Completes what earlier loaders of the key have left, and returns whether the table has its rows. With `again`, rows
    /// that are there do not count.
    pub(super) fn standing(&self, key: &CommitKey, again: bool) -> Result<Standing, LoadError> {
        for _ in 0..ROUNDS {
            let known = self.ledger.latest(self.session, key)?;
            let generation = match known {
                Some(Known { state: State::Loaded, entry, .. }) => {
                    self.complete(&entry, false)?;
                    continue;
                }
                Some(known) if known.state == State::Moved && !again => {
                    self.drop_remains(key, known.entry.generation)?;
                    return Ok(Standing::Loaded(Box::new(known.row())));
                }
                other => other.map_or(0, |known| known.entry.generation + 1),
            };
            if let Some(claimant) = entry_of(self.session, self.table, &self.table.claim(key, generation))? {
                self.decide(&claimant)?;
                continue;
            }
            // A loader has ended between its last row and its claim.
            if !again && let Some(entry) = self.complete_stages(key)?.into_iter().find(|e| e.generation == generation) {
                self.elect(&entry)?;
                continue;
            }
            return Ok(Standing::Free(generation));
        }
        Err(self.disturbed())
    }

    /// Chooses one attempt for the key of `entry`: this one, unless another was chosen before. Returns the chosen one, which
    /// the ledger has then.
    pub(super) fn elect(&self, entry: &Entry) -> Result<Entry, LoadError> {
        let claim = self.table.claim(&entry.key, entry.generation);
        let create = format!(
            "CREATE TABLE {} (nothing UInt8) ENGINE = MergeTree ORDER BY tuple() COMMENT {}",
            self.table.sql_of(&claim),
            literal(&entry.comment().to_string())
        );
        for _ in 0..ROUNDS {
            match self.session.repeated(&create) {
                Ok(_) => return self.decide(entry),
                // Of another loader, or of this one if the response was lost.
                Err(failure) if failure.code() == Some(code::TABLE_ALREADY_EXISTS) => {
                    if let Some(claimant) = entry_of(self.session, self.table, &claim)? {
                        return self.decide(&claimant);
                    }
                    // Dropped meanwhile, after its decision.
                    if let Some(known) = self.ledger.find(self.session, &entry.key, entry.generation)? {
                        return Ok(known.entry);
                    }
                }
                Err(failure) => return Err(self.error(failure)),
            }
        }
        Err(self.disturbed())
    }

    /// Decides a claim that was seen. Its attempt is the chosen one unless the ledger has another: an attempt that was chosen before
    /// is in the ledger since before this claim was made. So the ledger must be read after the claim was seen.
    fn decide(&self, claimant: &Entry) -> Result<Entry, LoadError> {
        let chosen = match self.ledger.find(self.session, &claimant.key, claimant.generation)? {
            Some(known) => known.entry,
            None => {
                self.ledger.enter(self.session, claimant, State::Loaded)?;
                claimant.clone()
            }
        };
        // After the ledger has the choice, never before.
        self.drop(&self.table.claim(&claimant.key, claimant.generation))?;
        Ok(chosen)
    }

    /// Moves the rows of a chosen attempt into the table. `is_own` is true for the attempt of this process.
    pub(super) fn complete(&self, entry: &Entry, is_own: bool) -> Result<(), LoadError> {
        let is_replacement = entry.mode == LoadMode::Replace.as_str();
        if is_replacement && !is_own {
            let mut waited = Duration::ZERO;
            while waited < REPLACEMENT_WAIT && !self.has_moved(entry)? {
                self.session.pause(REPLACEMENT_POLL).map_err(|failure| self.error(failure))?;
                waited += REPLACEMENT_POLL;
            }
        }
        let (mut is_aligned, mut is_made) = (false, false);
        while !self.has_moved(entry)? {
            let moved = if is_replacement { self.replace(entry) } else { self.append(entry) };
            match moved {
                Ok(()) => self.ledger.enter(self.session, entry, State::Moved)?,
                // Another loader may have dropped the stage, after it had moved all.
                Err(Failure::Refused { code: code::UNKNOWN_TABLE, .. }) if self.has_moved(entry)? => {}
                // The table was dropped after the attempt was chosen: it is made anew, as for any load.
                Err(Failure::Refused { code: code::UNKNOWN_TABLE, .. })
                    if !is_made && !self.exists(&self.table.name)? && self.exists(&entry.stage)? =>
                {
                    is_made = true;
                    let (table, stage) = (self.table.sql(), self.table.sql_of(&entry.stage));
                    self.session.execute(&format!("CREATE TABLE IF NOT EXISTS {table} AS {stage}"))?;
                }
                // A later load has given the table a column.
                Err(Failure::Refused { code: code::INCOMPATIBLE_COLUMNS | code::NO_SUCH_COLUMN, .. })
                    if !is_aligned =>
                {
                    is_aligned = true;
                    if let Err(error) = self.align(entry)
                        && !self.has_moved(entry)?
                    {
                        return Err(unmoved(entry, error));
                    }
                }
                Err(failure) if failure.is_transient() => return Err(self.error(failure)),
                Err(failure) => return Err(unmoved(entry, self.error(failure))),
            }
        }
        self.drop(&entry.stage)
    }

    fn exists(&self, name: &str) -> Result<bool, LoadError> {
        let found = self.session.number(&format!(
            "SELECT count() FROM system.tables WHERE database = {} AND name = {}",
            literal(&self.table.database),
            literal(name)
        ))?;
        Ok(found > 0)
    }

    fn has_moved(&self, entry: &Entry) -> Result<bool, LoadError> {
        let known = self.ledger.find(self.session, &entry.key, entry.generation)?;
        Ok(known.is_some_and(|known| known.state >= State::Moved))
    }

    /// Moves the partitions of the stage. One that has moved is empty, and moves nothing.
    fn append(&self, entry: &Entry) -> Result<(), Failure> {
        let (stage, target) = (self.table.sql_of(&entry.stage), self.table.sql());
        for partition in self.partitions(&entry.stage)? {
            let partition = literal(&partition);
            self.session.repeated(&format!("ALTER TABLE {stage} MOVE PARTITION ID {partition} TO TABLE {target}"))?;
        }
        let left = self.session.try_rows(&format!("SELECT count() FROM {stage}"))?;
        match left.first().and_then(|row| row.number(0)) {
            Some(0) => Ok(()),
            _ => Err(Failure::Refused { code: 0, text: "the stage has rows after all of it has moved".into() }),
        }
    }

    /// Puts the partitions of the stage in the place of those of the table.
    fn replace(&self, entry: &Entry) -> Result<(), Failure> {
        let (stage, target) = (self.table.sql_of(&entry.stage), self.table.sql());
        // Loads that come after this are replaced too, and are not known to be: they are never loaded twice.
        let earlier = self
            .ledger
            .list(self.session, Some(&entry.table))
            .map_err(|error| Failure::Refused { code: 0, text: error.to_string() })?;
        let old = self.partitions(&self.table.name)?;
        let new = self.partitions(&entry.stage)?;
        for partition in &new {
            let partition = literal(partition);
            self.session.repeated(&format!("ALTER TABLE {target} REPLACE PARTITION ID {partition} FROM {stage}"))?;
        }
        for partition in old.iter().filter(|partition| !new.contains(partition)) {
            self.clear(&stage, &target, partition)?;
        }
        let is_other = |known: &&Known| known.entry.key != entry.key || known.entry.generation != entry.generation;
        for known in earlier.iter().filter(|known| known.state == State::Moved).filter(is_other) {
            let entered = self.ledger.enter(self.session, &known.entry, State::Replaced);
            entered.map_err(|error| Failure::Refused { code: 0, text: error.to_string() })?;
        }
        Ok(())
    }

    /// Removes a partition of the table that the stage does not have. Not by dropping it: this statement fails once another
    /// loader has completed the load, and with it dropped the stage, so that no loader that was stopped for long and goes
    /// on removes rows of later loads.
    fn clear(&self, stage: &str, target: &str, partition: &str) -> Result<(), Failure> {
        let sql = format!("ALTER TABLE {target} REPLACE PARTITION ID {} FROM {stage}", literal(partition));
        match self.session.repeated(&format!("{sql} SETTINGS allow_replace_partition_from_empty_source = 1")) {
            // Servers of before this setting need none.
            Err(Failure::Refused { code: code::UNKNOWN_SETTING, .. }) => self.session.repeated(&sql).map(drop),
            cleared => cleared.map(drop),
        }
    }

    fn partitions(&self, name: &str) -> Result<Vec<String>, Failure> {
        let rows = self.session.try_rows(&format!(
            "SELECT DISTINCT partition_id FROM system.parts WHERE database = {} AND table = {} AND active ORDER BY 1",
            literal(&self.table.database),
            literal(name)
        ))?;
        Ok(rows.iter().map(|row| row.text(0)).collect())
    }

    /// Gives the stage and the table the columns that the other has. Fails if a column has two types.
    pub(super) fn align(&self, entry: &Entry) -> Result<(), LoadError> {
        let columns = |name: &str| {
            self.session.rows(&format!(
                "SELECT name, type, default_kind, default_expression FROM system.columns \
                 WHERE database = {} AND table = {} AND default_kind NOT IN ('ALIAS', 'EPHEMERAL') ORDER BY position",
                literal(&self.table.database),
                literal(name)
            ))
        };
        let (from, to) = (self.table.definition_of(self.session, &entry.stage)?, self.table.definition(self.session)?);
        if let (Some(from), Some(to)) = (from, to)
            && from.order() != to.order()
        {
            return Err(LoadError::Refused {
                table: self.session.table().to_owned(),
                cause: format!(
                    "the table has become one with {}, while rows were loaded for one with {}",
                    to.order().join(" "),
                    from.order().join(" ")
                ),
                hint: Some("run the same command again".to_owned()),
                is_transient: true,
            });
        }
        let (staged, own) = (columns(&entry.stage)?, columns(&self.table.name)?);
        for (from, to, name) in [(&own, &staged, &entry.stage), (&staged, &own, &self.table.name)] {
            for column in from {
                match to.iter().find(|other| other.text(0) == column.text(0)) {
                    None => self.session.execute(&format!(
                        "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {} {} {}",
                        self.table.sql_of(name),
                        quoted(&column.text(0)),
                        column.text(1),
                        column.text(2),
                        column.text(3)
                    ))?,
                    Some(other) if other.text(1) != column.text(1) => {
                        return Err(LoadError::Refused {
                            table: self.session.table().to_owned(),
                            cause: format!(
                                "the column `{}` has become {} while rows with {} were loaded",
                                column.text(0),
                                if *name == entry.stage { column.text(1) } else { other.text(1) },
                                if *name == entry.stage { other.text(1) } else { column.text(1) },
                            ),
                            hint: Some("run the same command again".to_owned()),
                            is_transient: true,
                        });
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Returns the entries of complete stages of a key.
    fn complete_stages(&self, key: &CommitKey) -> Result<Vec<Entry>, LoadError> {
        let rows = self.session.rows(&format!(
            "SELECT comment, name FROM system.tables WHERE database = {} AND startsWith(name, {}) ORDER BY name",
            literal(&self.table.database),
            literal(&self.table.complete_stages(key))
        ))?;
        let entries = rows.iter().filter_map(|row| Entry::of_comment(&row.text(0)).map(|entry| (entry, row.text(1))));
        // The comment tells its own name, or it is a copy that someone made.
        Ok(entries.filter(|(entry, name)| entry.stage == *name).map(|(entry, _)| entry).collect())
    }

    /// Drops what loaders of a key have left that ended, or came too late.
    pub(super) fn drop_remains(&self, key: &CommitKey, generation: u64) -> Result<(), LoadError> {
        for entry in self.complete_stages(key)? {
            if entry.generation <= generation {
                self.drop(&entry.stage)?;
            }
        }
        let claim = self.table.claim(key, generation);
        match entry_of(self.session, self.table, &claim)? {
            Some(_) => self.drop(&claim),
            None => Ok(()),
        }
    }

    /// Drops a table of ours.
    pub(super) fn drop(&self, name: &str) -> Result<(), LoadError> {
        // The limit on the size of tables that may be dropped is for tables of users.
        self.session.execute(&format!(
            "DROP TABLE IF EXISTS {} SYNC SETTINGS max_table_size_to_drop = 0",
            self.table.sql_of(name)
        ))
    }

    fn disturbed(&self) -> LoadError {
        LoadError::Refused {
            table: self.session.table().to_owned(),
            cause: "other loaders of the same rows are at work".to_owned(),
            hint: Some("run the same command again".to_owned()),
            is_transient: true,
        }
    }
}

/// Makes the error of the rows of a chosen attempt that cannot move into the table.
fn unmoved(entry: &Entry, error: LoadError) -> LoadError {
    match error {
        LoadError::Refused { table, cause, .. } => LoadError::Refused {
            table,
            cause: format!("{cause}; the rows that have not moved into it are in the table `{}`", entry.stage),
            hint: Some(format!(
                "make a table that they fit into, and run the same command again; or give them up: drop `{}`, and delete the \
                 rows with the commit_key {} from {LEDGER_TABLE}",
                entry.stage,
                entry.key.as_str()
            )),
            is_transient: false,
        },
        other => other,
    }
}
