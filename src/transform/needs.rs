//! What steps need of their input, so that no more of it is parsed.

use std::collections::BTreeMap;

use super::{Step, expr};

/// The columns of the source that the outcome depends on; `None` for all of them. Where rows are
/// only chosen among, and their records copied, the outcome has no columns of its own.
pub fn columns_needed(steps: &[Step], copies_records: bool) -> Option<Vec<String>> {
    let mut needed: Vec<String> = Vec::new();
    // New name to the one in the source.
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    for step in steps {
        let origin = |name: &str| renamed.get(name).cloned().unwrap_or_else(|| name.to_owned());
        match step {
            Step::Filter(conditions) => needed.extend(conditions.iter().map(|c| origin(&c.column))),
            Step::Deduplicate(columns) if columns.is_empty() => return None,
            Step::Deduplicate(columns) => needed.extend(columns.iter().map(|c| origin(c))),
            Step::Where(expr) => expr.node.tests(&mut |test: &expr::Test, _| {
                needed.extend(test.paths().map(|path| origin(&path.column)));
            }),
            Step::Select(selected, _) => {
                needed.extend(selected.iter().map(|s| origin(&s.path.column)));
                return Some(distinct(needed));
            }
            Step::Rename(renames, _) => {
                let moved: Vec<_> = renames.iter().map(|r| (r.to.to_string(), origin(&r.from.column))).collect();
                renames.iter().for_each(|rename| drop(renamed.remove(&*rename.from.column)));
                renamed.extend(moved);
            }
            Step::Limit(_) | Step::RemoveColumns(_) | Step::Drop(..) => {}
            Step::Lookup(_) => return None,
        }
    }
    (copies_records && keeps_records(steps)).then(|| distinct(needed))
}

/// True if all steps choose among rows and leave them as they are.
pub fn keeps_records(steps: &[Step]) -> bool {
    steps.iter().all(|step| matches!(step, Step::Filter(_) | Step::Deduplicate(_) | Step::Where(_) | Step::Limit(_)))
}

fn distinct(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}
