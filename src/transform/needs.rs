//! Requirements of a plan's steps on their input, so that the decoder parses no more than they need.

use std::collections::BTreeSet;

use super::needed::Needed;
use super::step::Step;

/// Returns the source columns that the output depends on; `None` for all of them. With `copies_records`, steps that
/// only drop rows need just the columns that they test, because the output copies the records.
pub fn columns_needed(steps: &[Step], copies_records: bool) -> Option<Vec<String>> {
    let none_by_itself = copies_records && keeps_records(steps);
    let mut needed = if none_by_itself { Needed::Only(BTreeSet::new()) } else { Needed::All };
    // Backwards: the columns that the output needs are known, those that the source must supply are wanted.
    steps.iter().rev().for_each(|step| step.add_needed(&mut needed));
    match needed {
        Needed::All => None,
        Needed::Only(only) => Some(only.into_iter().collect()),
    }
}

/// Returns the source columns that steps drop before any step looks at them.
pub fn columns_dropped(steps: &[Step]) -> Vec<String> {
    let mut dropped = Vec::new();
    let mut looked_at = BTreeSet::new();
    for step in steps {
        match step {
            Step::RemoveColumns(step) => {
                dropped.extend(step.names().filter(|name| !looked_at.contains(*name)).map(str::to_owned))
            }
            // A step that drops rows only leaves each column under its name.
            step if step.properties().keeps_records => match columns_looked_at(std::slice::from_ref(step)) {
                Some(columns) => looked_at.extend(columns),
                None => break,
            },
            _ => break,
        }
    }
    dropped
}

/// Returns the source columns whose values steps look at, so that these must be kept as they were read; `None` for all of
/// them.
pub fn columns_looked_at(steps: &[Step]) -> Option<Vec<String>> {
    let mut looked_at = Needed::Only(BTreeSet::new());
    steps.iter().rev().for_each(|step| step.add_looked_at(&mut looked_at));
    match looked_at {
        Needed::All => None,
        Needed::Only(only) => Some(only.into_iter().collect()),
    }
}

/// Returns the columns whose values steps replace: if a record has one, the rows have it.
pub fn columns_written(steps: &[Step]) -> BTreeSet<String> {
    let mut written = Needed::Only(BTreeSet::new());
    steps.iter().for_each(|step| step.add_written(&mut written));
    match written {
        Needed::All => BTreeSet::new(),
        Needed::Only(only) => only,
    }
}

/// Returns the source columns whose nested values steps look into, so that these must be parsed where a plan takes others
/// by their text; `None` if any column may be one of them.
pub fn columns_opened(steps: &[Step]) -> Option<Vec<String>> {
    let opens = |step: &Step| {
        let properties = step.properties();
        properties.opens_objects || properties.opens_lists || properties.opens_paths
    };
    if steps.iter().any(opens) { None } else { columns_looked_at(steps) }
}

/// Returns true if `step` looks at values.
pub(super) fn looks(step: &Step) -> bool {
    columns_looked_at(std::slice::from_ref(step)).is_none_or(|columns| !columns.is_empty())
}

/// Returns true if all steps drop rows at most and change none.
pub fn keeps_records(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.properties().keeps_records)
}

/// Returns true if a step needs the source record of each row, to reject it or to choose rows by their position.
pub fn needs_record_spans(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.properties().needs_record_spans)
}

/// Returns whether nested values must be decoded where they would stay raw text: `None` if not, `Some(false)` for
/// objects as structs, `Some(true)` for lists as well.
pub fn needs_structs(steps: &[Step]) -> Option<bool> {
    let last = steps.iter().rposition(|step| step.properties().opens_objects)?;
    Some(steps[..last].iter().any(|step| step.properties().opens_lists))
}
