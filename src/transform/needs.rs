//! What the steps of a plan need of their input, so that no more of it is parsed.

use std::collections::BTreeSet;

use super::needed::Needed;
use super::step::Step;

/// The columns of the source that the outcome depends on; `None` for all of them. Where rows are
/// only chosen among, and their records copied, the outcome has no columns of its own.
pub fn columns_needed(steps: &[Step], copies_records: bool) -> Option<Vec<String>> {
    let none_by_itself = copies_records && keeps_records(steps);
    let mut needed = if none_by_itself { Needed::Only(BTreeSet::new()) } else { Needed::All };
    // From the end, where it is known what is wanted, to the start.
    steps.iter().rev().for_each(|step| step.add_needed(&mut needed));
    match needed {
        Needed::All => None,
        Needed::Only(only) => Some(only.into_iter().collect()),
    }
}

/// True if all steps choose among rows and leave them as they are.
pub fn keeps_records(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.properties().keeps_records)
}

/// True if rows must be traced back to their records: some may turn out bad, or are chosen by place.
pub fn needs_record_spans(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.properties().needs_places)
}

/// How the insides of nested values are needed, where values are raw text otherwise: structs as such, and
/// with `true` lists too.
pub fn needs_structs(steps: &[Step]) -> Option<bool> {
    let last = steps.iter().rposition(|step| step.properties().opens_objects)?;
    Some(steps[..last].iter().any(|step| step.properties().opens_lists))
}
