//! What steps need of their input, so that no more of it is parsed.

use std::collections::BTreeSet;

use super::expr;
use super::step::Step;

/// Columns of which something is needed.
enum Needed {
    All,
    Only(BTreeSet<String>),
}

impl Needed {
    fn add<S: Into<String>>(&mut self, names: impl IntoIterator<Item = S>) {
        if let Needed::Only(only) = self {
            only.extend(names.into_iter().map(Into::into));
        }
    }
}

/// The columns of the source that the outcome depends on; `None` for all of them. Where rows are
/// only chosen among, and their records copied, the outcome has no columns of its own.
pub fn columns_needed(steps: &[Step], copies_records: bool) -> Option<Vec<String>> {
    let none_by_itself = copies_records && keeps_records(steps);
    let mut needed = if none_by_itself { Needed::Only(BTreeSet::new()) } else { Needed::All };
    // From the end, where it is known what is wanted, to the start.
    for step in steps.iter().rev() {
        match step {
            Step::Filter(conditions) => needed.add(conditions.iter().map(|c| c.column.as_str())),
            Step::Deduplicate(columns) if columns.is_empty() => needed = Needed::All,
            Step::Deduplicate(columns) => needed.add(columns.iter().map(String::as_str)),
            Step::Dedupe(paths, _) if paths.is_empty() => needed = Needed::All,
            Step::Dedupe(paths, _) => needed.add(paths.iter().map(|path| &*path.column)),
            Step::Where(expr) => expr.node.paths(&mut |path| needed.add([&*path.column])),
            Step::Select(selected, _) => {
                needed = Needed::Only(selected.iter().map(|s| s.path.column.to_string()).collect());
            }
            Step::With { name, value, .. } => {
                if let Needed::Only(only) = &mut needed {
                    only.remove(&**name);
                }
                value.paths(&mut |path| needed.add([&*path.column]));
            }
            // What does not fit is noticed in a column that is left out later, too.
            Step::Cast(casts, _) => needed.add(casts.iter().map(|(path, _)| &*path.column)),
            Step::Explode(path, _) => needed.add([&*path.column]),
            Step::Rename(renames, _) => {
                if let Needed::Only(only) = &mut needed {
                    let taken: Vec<_> = renames.iter().filter(|rename| only.remove(&*rename.to)).collect();
                    only.extend(taken.iter().map(|rename| rename.from.column.to_string()));
                }
            }
            Step::Flatten { separator, .. } => {
                if let Needed::Only(only) = &mut needed {
                    // `hq.city` may be a column, and may be inside `hq`.
                    let parents: Vec<String> = only.iter().flat_map(|name| prefixes(name, separator)).collect();
                    only.extend(parents);
                }
            }
            Step::Limit(_) | Step::Sample { .. } | Step::RemoveColumns(_) | Step::Drop(..) | Step::JsonText(..) => {}
            Step::Lookup(_) | Step::Sql(_) => needed = Needed::All,
        }
    }
    match needed {
        Needed::All => None,
        Needed::Only(only) => Some(only.into_iter().collect()),
    }
}

fn prefixes<'a>(name: &'a str, separator: &'a str) -> impl Iterator<Item = String> + 'a {
    let places = if separator.is_empty() {
        name.char_indices().map(|(at, _)| at).filter(|at| *at > 0).collect::<Vec<_>>()
    } else {
        name.match_indices(separator).map(|(at, _)| at).collect()
    };
    places.into_iter().map(|at| name[..at].to_owned())
}

/// True if all steps choose among rows and leave them as they are.
pub fn keeps_records(steps: &[Step]) -> bool {
    let keeps = |step: &Step| {
        matches!(
            step,
            Step::Filter(_)
                | Step::Deduplicate(_)
                | Step::Dedupe(..)
                | Step::Where(_)
                | Step::Limit(_)
                | Step::Sample { .. }
        )
    };
    steps.iter().all(keeps)
}

/// True if rows must be traced back to their records: some may turn out bad, or are chosen by place.
pub fn needs_places(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::With { .. } | Step::Cast(..) | Step::Sample { .. } => true,
        Step::Where(expr) => computes(&expr.node),
        _ => false,
    })
}

fn computes(node: &expr::Node) -> bool {
    let mut found = false;
    node.tests(&mut |test, _| {
        found |= test.operands().into_iter().flatten().any(|o| matches!(o, expr::Operand::Computed(_)));
    });
    found
}

/// How the insides of nested values are needed, where values are raw text otherwise: structs as such, and
/// with `true` lists too.
pub fn needs_structs(steps: &[Step]) -> Option<bool> {
    let flatten = steps.iter().rposition(|step| matches!(step, Step::Flatten { .. }))?;
    Some(steps[..flatten].iter().any(|step| matches!(step, Step::Explode(..))))
}
