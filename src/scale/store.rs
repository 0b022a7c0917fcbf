//! The files of a plan, in a directory or in a store. Every method blocks and must not be called on a thread of an async
//! runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::error::ScaleError;
use super::plan::{Plan, WorkItem};
use super::receipt::{CommitRecord, CommitTarget, FailedAttempt, Part, Receipt};
use crate::sink::{DirectoryStorage, ObjectLocation, PutNew, StoredFile, unnamed_file};
use crate::text::hex;

const PLAN: &str = "plan.ndjson";
const COMMIT: &str = "commit.json";
const TARGET: &str = "target.json";
const PARTS: &str = "parts";
const RECEIPTS: &str = "receipts";
const FAILURES: &str = "failures";

/// Tries of a write whose response was lost, the first included, and the wait before the second, which doubles.
const PUT_TRIES: u32 = 6;
const PUT_WAIT: Duration = Duration::from_millis(250);

/// Receipts that are read at a time. By eye: a store answers in some 20 ms.
const READS_AT_ONCE: usize = 16;

/// Bytes that are read at a time for a digest.
const DIGEST_BYTES: usize = 1 << 20;

/// The files of a plan.
#[derive(Debug)]
pub struct PlanStore {
    storage: DirectoryStorage,
    name: String,
}

/// The outcome of writing a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The plan is new.
    Now,
    /// The same plan was there.
    Before,
}

/// The attempts that have a receipt or a failure, by item.
#[derive(Clone, Debug, Default)]
pub struct Receipts(BTreeMap<String, BTreeSet<String>>);

impl Receipts {
    /// Returns the attempt whose receipt counts: the one with the smallest name. `None` for an item without a receipt.
    pub fn chosen(&self, item: &str) -> Option<&str> {
        self.0.get(item)?.first().map(String::as_str)
    }

    /// Returns the last attempt by name; `None` for an item without one.
    pub fn last(&self, item: &str) -> Option<&str> {
        self.0.get(item)?.last().map(String::as_str)
    }

    /// Returns the number of attempts of an item.
    pub fn count(&self, item: &str) -> usize {
        self.0.get(item).map_or(0, BTreeSet::len)
    }
}

impl PlanStore {
    /// Opens the place of a plan, which need not exist. `name` is that in messages. Sends no request.
    pub fn open(name: impl Into<String>, path: &Path, store: Option<&ObjectLocation>) -> io::Result<Self> {
        Ok(PlanStore { storage: DirectoryStorage::open(path, store)?, name: name.into() })
    }

    /// Returns the name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns false if the store replaces files that it was told not to replace: only one command at a time may then write
    /// the plan, and only one its commit. Receipts need no such condition.
    pub fn is_exclusive(&self) -> io::Result<bool> {
        match self.storage.require_put_new("checks", &super::new_attempt()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the plan. Fails if the place has another one, or what is left of one.
    pub fn create(&self, plan: &Plan) -> Result<Created, ScaleError> {
        let has_plan = |store: &Self| Ok::<_, ScaleError>(store.read(PLAN)?.is_some());
        // Receipts are looked for between two looks at the plan: a plan that is made meanwhile may have them.
        if !has_plan(self)?
            && (self.read(COMMIT)?.is_some() || !self.list(RECEIPTS, true)?.is_empty())
            && !has_plan(self)?
        {
            return Err(ScaleError::OtherPlan { plan: self.name.clone() });
        }
        if self.put_new(PLAN, plan.text().as_bytes())? {
            return Ok(Created::Now);
        }
        match self.load()?.digest == plan.digest {
            true => Ok(Created::Before),
            false => Err(ScaleError::OtherPlan { plan: self.name.clone() }),
        }
    }

    /// Reads the plan.
    pub fn load(&self) -> Result<Plan, ScaleError> {
        let text = self.read(PLAN)?.ok_or_else(|| ScaleError::NoPlan { plan: self.name.clone() })?;
        let text = String::from_utf8(text).map_err(|_| self.unusable(PLAN, "it is not UTF-8"))?;
        Plan::parse(&text).map_err(|what| self.unusable(PLAN, what))
    }

    /// Lists the attempts that have a receipt.
    pub fn receipts(&self) -> Result<Receipts, ScaleError> {
        self.attempts(RECEIPTS)
    }

    /// Lists the attempts that have failed.
    pub fn failures(&self) -> Result<Receipts, ScaleError> {
        self.attempts(FAILURES)
    }

    /// Returns true if the item has a receipt now.
    pub fn has_receipt(&self, item: &str) -> Result<bool, ScaleError> {
        let directory = format!("{RECEIPTS}/{item}");
        Ok(self.list(&directory, false)?.iter().any(|file| attempt_of(RECEIPTS, &file.name).is_some()))
    }

    /// Reads the receipt of an attempt, and checks it against the item.
    pub fn receipt(&self, item: &WorkItem, attempt: &str) -> Result<Receipt, ScaleError> {
        let name = record_name(RECEIPTS, &item.item, attempt);
        let receipt: Receipt = self.read_json(&name)?;
        if receipt.plan_digest != item.plan_digest {
            return Err(self.unusable(&name, "it is of another plan"));
        }
        if receipt.item != item.item || receipt.attempt != attempt {
            return Err(self.unusable(&name, "it is of another item or attempt"));
        }
        // A receipt names the parts of its own attempt, and never leads out of the plan.
        let directory = part_directory(&item.item, attempt);
        let is_own =
            |name: &String| name.strip_prefix(&directory).is_some_and(|rest| is_plain(rest.trim_start_matches('/')));
        if !receipt.files().all(is_own) {
            return Err(self.unusable(&name, "it names files that are not those of its attempt"));
        }
        match receipt.mismatch(item.source.row_count) {
            None => Ok(receipt),
            Some(what) => Err(ScaleError::Counts { plan: self.name.clone(), item: item.item.clone(), what }),
        }
    }

    /// Reads the receipt that counts of every item, in the order of the items. Fails if an item has none.
    pub fn all_receipts(&self, plan: &Plan) -> Result<Vec<Receipt>, ScaleError> {
        let receipts = self.receipts()?;
        let chosen: Vec<(&WorkItem, Option<&str>)> =
            plan.items.iter().map(|item| (item, receipts.chosen(&item.item))).collect();
        let mut open = chosen.iter().filter(|(_, attempt)| attempt.is_none());
        if let Some((first, _)) = open.next() {
            let (open, items) = (1 + open.count(), plan.items.len());
            return Err(ScaleError::Open { plan: self.name.clone(), open, items, first: first.item.clone() });
        }
        let read = |chunk: &[(&WorkItem, Option<&str>)]| -> Result<Vec<Receipt>, ScaleError> {
            chunk.iter().filter_map(|(item, attempt)| Some(self.receipt(item, (*attempt)?))).collect()
        };
        // A request takes the time of many in a store.
        let chunk = chosen.len().div_ceil(READS_AT_ONCE).max(1);
        let read: Result<Vec<Vec<Receipt>>, ScaleError> = std::thread::scope(|scope| {
            let threads: Vec<_> = chosen.chunks(chunk).map(|chunk| scope.spawn(move || read(chunk))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        Ok(read?.into_iter().flatten().collect())
    }

    /// Reads the failure of an attempt.
    pub fn failure(&self, item: &str, attempt: &str) -> Result<FailedAttempt, ScaleError> {
        self.read_json(&record_name(FAILURES, item, attempt))
    }

    /// Writes the receipt of an attempt, after its parts.
    pub fn put_receipt(&self, receipt: &Receipt) -> Result<(), ScaleError> {
        // No other attempt has the name: one that is there was written by a request whose response was lost.
        self.put_json(&record_name(RECEIPTS, &receipt.item, &receipt.attempt), receipt).map(drop)
    }

    /// Records that an attempt failed.
    pub fn put_failure(&self, failure: &FailedAttempt) -> Result<(), ScaleError> {
        self.put_json(&record_name(FAILURES, &failure.item, &failure.attempt), failure).map(drop)
    }

    /// Reads the record of the commit of `plan`; `None` if there is none. Fails for the record of another plan.
    pub fn commit(&self, plan: &Plan) -> Result<Option<CommitRecord>, ScaleError> {
        let Some(bytes) = self.read(COMMIT)? else { return Ok(None) };
        let record: CommitRecord = serde_json::from_slice(&bytes).map_err(|error| self.unusable(COMMIT, error))?;
        match record.plan_digest == plan.digest {
            true => Ok(Some(record)),
            false => Err(self.unusable(COMMIT, "it is of another plan")),
        }
    }

    /// Records the target of a commit that begins. Returns true if this call has recorded it, false if it was recorded before.
    /// Fails if another target is.
    pub fn begin_commit(&self, target: &CommitTarget) -> Result<bool, ScaleError> {
        if self.put_json(TARGET, target)? {
            return Ok(true);
        }
        let known: CommitTarget = self.read_json(TARGET)?;
        match (&known.plan_digest, &known.identity) == (&target.plan_digest, &target.identity) {
            true => Ok(false),
            false => Err(ScaleError::Begun { plan: self.name.clone(), target: known.target, began_at: known.began_at }),
        }
    }

    /// Removes the record of a commit that has begun and ended without a row in its target.
    pub fn end_commit(&self) -> Result<(), ScaleError> {
        self.storage.remove(TARGET).map_err(|cause| self.write_error(TARGET, cause))
    }

    /// Records the commit. Returns false if another command has recorded one.
    pub fn put_commit(&self, record: &CommitRecord) -> Result<bool, ScaleError> {
        self.put_json(COMMIT, record)
    }

    /// Returns the name of a file of an attempt.
    pub fn part_name(item: &str, attempt: &str, file: &str) -> String {
        format!("{}/{file}", part_directory(item, attempt))
    }

    /// Returns the path of a file of the plan; `None` in a store.
    pub fn local_path(&self, name: &str) -> Option<PathBuf> {
        match &self.storage {
            DirectoryStorage::Local(path) => Some(path.join(name)),
            DirectoryStorage::Store(_) => None,
        }
    }

    /// Makes a file, which is complete and durable, the part `name`: uploads it to a store; in a directory it must be
    /// there already, by [`PlanStore::local_path`].
    pub fn add_part(&self, file: &Path, name: &str, rows: u64) -> Result<Part, ScaleError> {
        let failed = |cause| self.write_error(name, cause);
        let mut opened = File::open(file).map_err(failed)?;
        let (sha256, bytes) = digest_of(&mut opened, &mut io::sink()).map_err(failed)?;
        self.add_file(file, name)?;
        Ok(Part { name: name.to_owned(), rows, bytes, sha256 })
    }

    /// Uploads a file to a store under `name`; in a directory it is there already.
    pub fn add_file(&self, file: &Path, name: &str) -> Result<(), ScaleError> {
        match &self.storage {
            DirectoryStorage::Local(_) => Ok(()),
            DirectoryStorage::Store(store) => store.upload(file, name).map_err(|cause| self.write_error(name, cause)),
        }
    }

    /// Opens a part, from a store by way of a temporary file. Fails with [`io::ErrorKind::InvalidData`] if its bytes are not
    /// those of the receipt.
    pub fn open_part(&self, part: &Part) -> io::Result<File> {
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what} than its receipt says"));
        let (mut file, found) = match &self.storage {
            DirectoryStorage::Local(path) => {
                let mut file = File::open(path.join(&part.name))?;
                if file.metadata()?.len() != part.bytes {
                    return Err(damaged("it has another size"));
                }
                let found = digest_of(&mut file, &mut io::sink())?;
                (file, found)
            }
            DirectoryStorage::Store(store) => {
                let reader = store.reader(&part.name)?;
                let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no such object");
                let mut file = unnamed_file(None)?;
                let found = digest_of(&mut reader.ok_or_else(missing)?, &mut file)?;
                file.flush()?;
                (file, found)
            }
        };
        if found != (part.sha256.clone(), part.bytes) {
            return Err(damaged("it has other bytes"));
        }
        file.rewind()?;
        Ok(file)
    }

    /// Lists the files of attempts that `receipts`, the chosen ones, do not name: those of killed, failed and second attempts,
    /// and of attempts that still run.
    pub fn orphans(&self, receipts: &[Receipt]) -> Result<Vec<StoredFile>, ScaleError> {
        let named: BTreeSet<&str> = receipts.iter().flat_map(Receipt::files).map(String::as_str).collect();
        let items: BTreeSet<&str> = receipts.iter().map(|receipt| receipt.item.as_str()).collect();
        let is_of_attempt = |name: &str| match name.split('/').collect::<Vec<_>>()[..] {
            [_, item, _, _] => items.contains(item),
            _ => false,
        };
        let mut files = self.list(PARTS, true)?;
        files.retain(|file| is_of_attempt(&file.name) && !named.contains(&*file.name));
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// Removes files of the plan, and in a directory the directories that are then empty.
    pub fn remove(&self, files: &[StoredFile]) -> Result<(), ScaleError> {
        for file in files {
            self.storage.remove(&file.name).map_err(|cause| self.write_error(&file.name, cause))?;
            if let DirectoryStorage::Local(path) = &self.storage {
                let parents =
                    Path::new(&file.name).ancestors().skip(1).take_while(|parent| *parent != Path::new(PARTS));
                // Fails if one is not empty, as it should.
                parents.take_while(|parent| std::fs::remove_dir(path.join(parent)).is_ok()).for_each(drop);
            }
        }
        Ok(())
    }

    fn attempts(&self, directory: &str) -> Result<Receipts, ScaleError> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in self.list(directory, true)? {
            if let Some((item, attempt)) = attempt_of(directory, &file.name) {
                found.entry(item.to_owned()).or_default().insert(attempt.to_owned());
            }
        }
        Ok(Receipts(found))
    }

    fn list(&self, directory: &str, deep: bool) -> Result<Vec<StoredFile>, ScaleError> {
        self.storage.list(directory, None, deep).map_err(|cause| self.read_error(directory, cause))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ScaleError> {
        self.storage.read(name).map_err(|cause| self.read_error(name, cause))
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, ScaleError> {
        let bytes = self.read(name)?.ok_or_else(|| self.read_error(name, io::ErrorKind::NotFound.into()))?;
        serde_json::from_slice(&bytes).map_err(|error| self.unusable(name, error))
    }

    fn put_json<T: Serialize>(&self, name: &str, value: &T) -> Result<bool, ScaleError> {
        let mut text = serde_json::to_vec(value).expect("strings and numbers");
        text.push(b'\n');
        self.put_new(name, &text)
    }

    /// Writes a file that must not exist. Returns false if it exists, which may be by an earlier try of this call.
    fn put_new(&self, name: &str, contents: &[u8]) -> Result<bool, ScaleError> {
        let mut was_unclear = false;
        for tries in 1.. {
            match self.storage.put_new(name, contents).map_err(|cause| self.write_error(name, cause))? {
                PutNew::Written => break,
                // Written by a request of which it was unclear, or by another command.
                PutNew::Exists if was_unclear && self.read(name)?.as_deref() == Some(contents) => break,
                PutNew::Exists => return Ok(false),
                PutNew::Unclear(cause) if tries == PUT_TRIES => return Err(self.write_error(name, cause)),
                PutNew::Unclear(_) => {
                    was_unclear = true;
                    std::thread::sleep(PUT_WAIT.saturating_mul(1 << tries));
                }
            }
        }
        Ok(true)
    }

    fn unusable(&self, file: &str, what: impl ToString) -> ScaleError {
        ScaleError::Unusable { plan: self.name.clone(), file: file.to_owned(), what: what.to_string() }
    }

    fn read_error(&self, file: &str, cause: io::Error) -> ScaleError {
        ScaleError::Read { plan: self.name.clone(), file: file.to_owned(), cause }
    }

    fn write_error(&self, file: &str, cause: io::Error) -> ScaleError {
        ScaleError::Write { plan: self.name.clone(), file: file.to_owned(), cause }
    }
}

fn part_directory(item: &str, attempt: &str) -> String {
    format!("{PARTS}/{item}/{attempt}")
}

fn record_name(directory: &str, item: &str, attempt: &str) -> String {
    format!("{directory}/{item}/{attempt}.json")
}

/// Returns the item and the attempt of a record by its name; `None` for other files, such as temporary ones.
fn attempt_of<'a>(directory: &str, name: &'a str) -> Option<(&'a str, &'a str)> {
    let rest = name.strip_prefix(directory)?.strip_prefix('/')?.strip_suffix(".json")?;
    let (item, attempt) = rest.split_once('/')?;
    (is_plain(item) && is_plain(attempt)).then_some((item, attempt))
}

/// Returns true for a name that is no path and not hidden.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

/// Copies `from` into `to`. Returns the SHA-256 and the number of bytes.
fn digest_of(from: &mut dyn io::Read, to: &mut dyn io::Write) -> io::Result<(String, u64)> {
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; DIGEST_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((hex(&digest.finalize()), bytes)),
            Ok(n) => {
                digest.update(&buffer[..n]);
                to.write_all(&buffer[..n])?;
                bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::plan::tests::{settings, sources};
    use super::super::receipt::tests::receipt;
    use super::*;

    fn place() -> (tempfile::TempDir, PlanStore, Plan) {
        let directory = tempfile::tempdir().unwrap();
        let store = PlanStore::open("the plan", &directory.path().join("p"), None).unwrap();
        (directory, store, Plan::new(settings(), sources(3)))
    }

    #[test]
    fn a_plan_is_created_once_and_never_replaced_by_another() {
        let (_directory, store, plan) = place();
        assert!(matches!(store.load(), Err(ScaleError::NoPlan { .. })));
        assert!(store.is_exclusive().unwrap());
        assert_eq!(store.create(&plan).unwrap(), Created::Now);
        assert_eq!(store.create(&plan).unwrap(), Created::Before);
        let other = Plan::new(settings(), sources(2));
        assert!(matches!(store.create(&other), Err(ScaleError::OtherPlan { .. })));
        assert_eq!(store.load().unwrap(), plan);
    }

    #[test]
    fn the_receipt_with_the_smallest_name_counts() {
        let (directory, store, plan) = place();
        let item = &plan.items[1];
        for attempt in ["b", "a", "c"] {
            let mut receipt = receipt(&item.item, attempt, &plan.digest, 1);
            receipt.parts[0].name = PlanStore::part_name(&item.item, attempt, "0001.parquet");
            store.put_receipt(&receipt).unwrap();
            store.put_receipt(&receipt).unwrap();
        }
        // As a kill leaves it.
        std::fs::write(directory.path().join(format!("p/receipts/{}/.drawoff-x.tmp", item.item)), "{").unwrap();
        let receipts = store.receipts().unwrap();
        assert_eq!((receipts.chosen(&item.item), receipts.count(&item.item)), (Some("a"), 3));
        assert_eq!(receipts.chosen(&plan.items[0].item), None);
        assert!(store.has_receipt(&item.item).unwrap() && !store.has_receipt(&plan.items[0].item).unwrap());
        assert_eq!(store.receipt(item, "a").unwrap().attempt, "a");
    }

    #[test]
    fn a_receipt_of_something_else_is_refused() {
        let (_directory, store, plan) = place();
        let item = &plan.items[1];
        let put = |attempt: &str, digest: &str, part: &str, rows| {
            let mut receipt = receipt(&item.item, attempt, digest, rows);
            receipt.parts[0].name = part.replace("OWN", &part_directory(&item.item, attempt));
            store.put_receipt(&receipt).unwrap();
            store.receipt(item, attempt).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(put("a", &plan.digest, "OWN/0001.parquet", 1), Ok(()));
        assert!(put("b", "other", "OWN/0001.parquet", 1).unwrap_err().contains("another plan"));
        for (i, part) in ["OWN/../x", "/etc/passwd", "OWN/", "OWN/.x", "parts/x"].into_iter().enumerate() {
            assert!(
                put(&format!("c{i}"), &plan.digest, part, 1).unwrap_err().contains("not those of its attempt"),
                "{part}"
            );
        }
        assert!(put("d", &plan.digest, "OWN/0001.parquet", 2).unwrap_err().contains("row_count is 1"));
    }

    #[test]
    fn parts_are_checked_and_orphans_are_those_that_no_receipt_names() {
        let (directory, store, plan) = place();
        let name = PlanStore::part_name(&plan.items[0].item, "a", "0001.parquet");
        let path = store.local_path(&name).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "rows").unwrap();
        let part = store.add_part(&path, &name, 1).unwrap();
        let mut text = String::new();
        store.open_part(&part).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), part.bytes), ("rows", 4));
        let mut receipt = receipt(&plan.items[0].item, "a", &plan.digest, 1);
        receipt.parts = vec![part.clone()];
        let orphan = directory.path().join("p/parts/x/y/0001.parquet");
        std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
        std::fs::write(&orphan, "half").unwrap();
        let orphans = store.orphans(&[receipt]).unwrap();
        assert_eq!(orphans.iter().map(|file| &*file.name).collect::<Vec<_>>(), ["parts/x/y/0001.parquet"]);
        store.remove(&orphans).unwrap();
        assert!(path.exists() && !directory.path().join("p/parts/x").exists());
        for damage in ["rowz", "row"] {
            std::fs::write(&path, damage).unwrap();
            assert_eq!(store.open_part(&part).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
