//! Stages whose loader has ended without dropping them.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::Path;

use serde_json::Value;

use super::commit::Commit;
use super::http::Session;
use super::ledger::Ledger;
use super::sql::literal;
use super::table::Table;
use crate::warehouse::LoadError;

/// Hours without a new part after which a stage counts as abandoned. Its loader, if it still runs, fails then, and nothing
/// of it is in the table.
const ABANDONED_HOURS: u32 = 24;

/// Returns 16 random hexadecimal digits.
pub(super) fn token() -> String {
    // The keys of the standard hasher come from the system's random numbers, and differ from one to the next.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// Returns the comment of a stage: the process that fills it, with these members.
pub(super) fn comment(mut members: Value) -> String {
    members["system"] = system().into();
    members["pid"] = std::process::id().into();
    members.to_string()
}

/// Returns what tells processes of this number apart: the start of the system and the namespace of processes. `None` where
/// the system does not say.
fn system() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// Returns true if the stage with this comment is of a process that has ended.
fn has_ended(comment: &str) -> bool {
    let Ok(comment) = serde_json::from_str::<Value>(comment) else { return false };
    match (comment["system"].as_str(), comment["pid"].as_u64(), system()) {
        (Some(of), Some(pid), Some(here)) => of == here && !Path::new(&format!("/proc/{pid}")).exists(),
        _ => false,
    }
}

/// Drops the stages beside a table that no loader fills any more: those of processes of this machine that have ended, and
/// those that got no rows for a day. Complete stages are not among them: they have another name.
pub(super) fn drop_abandoned(session: &Session, table: &Table) -> Result<(), LoadError> {
    let (database, prefix) = (literal(&table.database), literal(&format!("{}l_", table.beside())));
    let rows = session.rows(&format!(
        "SELECT name, comment, metadata_modification_time < now() - INTERVAL {ABANDONED_HOURS} HOUR AND name NOT IN (\
         SELECT table FROM system.parts WHERE database = {database} AND startsWith(table, {prefix}) \
         AND modification_time > now() - INTERVAL {ABANDONED_HOURS} HOUR) \
         FROM system.tables WHERE database = {database} AND startsWith(name, {prefix})"
    ))?;
    let ledger = Ledger::of_database(&table.database);
    let commit = Commit { session, table, ledger: &ledger };
    for row in rows.iter().filter(|row| row.number(2) == Some(1) || has_ended(&row.text(1))) {
        commit.drop(&row.text(0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_processes_that_have_ended_abandon_their_stages() {
        assert!(!has_ended(&comment(json!({}))), "this process runs");
        assert!(!has_ended("") && !has_ended(r#"{"pid":1}"#));
        if let Some(system) = system() {
            // Numbers of processes end below this one.
            let of = |system: &str| has_ended(&json!({"system": system, "pid": 4_194_305}).to_string());
            assert!(of(&system) && !of("another machine"));
        }
        assert_ne!(token(), token());
    }
}
