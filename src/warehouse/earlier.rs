//! The earlier load of the same rows: all of what a load claims is recorded, nothing of it, or a part, which is an error.

use super::error::LoadError;
use super::identity::LoadClaim;
use super::ledger::LedgerRow;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use super::load::TableTarget;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use super::modes::LoadMode;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
impl LoadClaim {
    /// Returns the key that a column for commit keys has in the rows of the load.
    pub(super) fn row_key(&self) -> &str {
        self.set.as_ref().map_or(self.key.as_str(), |set| &set.key)
    }
}

/// The way in which a load tells the rows of an earlier one of its key from others, to replace them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replaceable {
    /// It cannot.
    #[cfg(any(feature = "postgres", feature = "sqlite", feature = "iceberg"))]
    Never,
    /// By the key in a column: that of all runs that were loaded together.
    #[cfg(any(feature = "postgres", feature = "sqlite", feature = "delta"))]
    ByKey,
    /// It replaces them row by row, or all rows of the table.
    #[cfg(any(feature = "postgres", feature = "sqlite", feature = "delta"))]
    Always,
}

impl Replaceable {
    /// Returns the way of loads with these options.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn of(target: &TableTarget) -> Self {
        match (&target.mode, &target.load_column) {
            (LoadMode::Append, None) => Replaceable::Never,
            (LoadMode::Append, Some(_)) => Replaceable::ByKey,
            _ => Replaceable::Always,
        }
    }

    /// Returns true if the rows of all these loads can be replaced.
    pub(super) fn takes<'a>(self, rows: impl Iterator<Item = &'a LedgerRow> + Clone) -> bool {
        match self {
            #[cfg(any(feature = "postgres", feature = "sqlite", feature = "iceberg"))]
            Replaceable::Never => rows.clone().next().is_none(),
            #[cfg(any(feature = "postgres", feature = "sqlite", feature = "delta"))]
            Replaceable::ByKey => {
                let together =
                    |row: &LedgerRow| rows.clone().filter(|other| other.row_key() == row.row_key()).count() as u64;
                rows.clone().all(|row| row.set.as_ref().is_none_or(|set| set.members == together(row)))
            }
            #[cfg(any(feature = "postgres", feature = "sqlite", feature = "delta"))]
            Replaceable::Always => true,
        }
    }
}

/// Decides whether a load is necessary, from the rows that stand in the ledger for its claims, in their order. Returns one
/// row for the whole load if it is not. Fails if some of its members are loaded and others are not.
pub(super) fn earlier_load(
    table: &str,
    claims: &[LoadClaim],
    found: Vec<Option<LedgerRow>>,
    replaceable: Replaceable,
) -> Result<Option<LedgerRow>, LoadError> {
    let names = |is_loaded: bool| {
        let of = claims.iter().zip(&found).filter(|(_, row)| row.is_some() == is_loaded);
        of.map(|(claim, _)| claim.member.run_id.clone().unwrap_or_else(|| claim.member.source.clone())).collect()
    };
    let (loaded, missing): (Vec<String>, Vec<String>) = (names(true), names(false));
    if loaded.is_empty() {
        return Ok(None);
    }
    if !missing.is_empty() {
        let may_replace = replaceable.takes(found.iter().flatten());
        return Err(LoadError::PartlyLoaded { table: table.to_owned(), loaded, missing, may_replace });
    }
    let rows: Vec<LedgerRow> = found.into_iter().flatten().collect();
    let Some(set) = claims.first().and_then(|claim| claim.set.clone()) else { return Ok(rows.into_iter().next()) };
    // Members that were loaded together have the counts of all of them.
    let mut loads: Vec<&LedgerRow> = Vec::new();
    for row in &rows {
        if !loads.iter().any(|other| other.row_key() == row.row_key()) {
            loads.push(row);
        }
    }
    let Some(last) = loads.iter().max_by(|a, b| a.loaded_at.cmp(&b.loaded_at)) else { return Ok(None) };
    Ok(Some(LedgerRow {
        key: set.key.clone(),
        run_id: None,
        block: None,
        source: claims.iter().map(|claim| claim.member.source.as_str()).collect::<Vec<_>>().join(", "),
        set: Some(set),
        rows: loads.iter().map(|load| load.rows).sum(),
        rejected: loads.iter().map(|load| load.rejected).sum(),
        digest: if loads.len() == 1 { last.digest.clone() } else { String::new() },
        ..(*last).clone()
    }))
}
