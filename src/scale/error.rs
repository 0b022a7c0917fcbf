//! Errors of plans and receipts.

use std::io;

/// Failure to use a plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScaleError {
    /// The place has no plan.
    #[error("{plan} has no plan")]
    NoPlan {
        /// Name of the place.
        plan: String,
    },
    /// The place has the plan of other runs or other settings.
    #[error("{plan} has another plan: of other runs, result files, steps or settings")]
    OtherPlan {
        /// Name of the place.
        plan: String,
    },
    /// A file of the plan that cannot be used: it is damaged, of a later version, or of another plan.
    #[error("cannot use {file} of {plan}: {what}")]
    Unusable {
        /// Name of the place.
        plan: String,
        /// Name of the file, relative to the place.
        file: String,
        /// The reason.
        what: String,
    },
    /// Items without a receipt.
    #[error("{open} of {items} items of {plan} are not done; the first is {first}")]
    Open {
        /// Name of the place.
        plan: String,
        /// Items without a receipt.
        open: usize,
        /// All items.
        items: usize,
        /// Id of the first item without a receipt.
        first: String,
    },
    /// A receipt whose counts do not agree with each other or with the plan.
    #[error("item {item} of {plan}: {what}")]
    Counts {
        /// Name of the place.
        plan: String,
        /// Id of the item.
        item: String,
        /// The counts that differ.
        what: String,
    },
    /// The plan was committed into another target.
    #[error("{plan} was committed into {target} on {committed_at}")]
    Committed {
        /// Name of the place.
        plan: String,
        /// Names of the targets.
        target: String,
        /// Time of the commit.
        committed_at: String,
    },
    /// A commit into another target has begun, and not ended.
    #[error("a commit of {plan} into {target} has begun on {began_at}")]
    Begun {
        /// Name of the place.
        plan: String,
        /// Names of the targets.
        target: String,
        /// Time at which it began.
        began_at: String,
    },
    /// There is no such item.
    #[error("{plan} has no item {item}")]
    NoItem {
        /// Name of the place.
        plan: String,
        /// Id, or its beginning, as it was typed.
        item: String,
    },
    /// A file of the plan cannot be read.
    #[error("cannot read {file} of {plan}")]
    Read {
        /// Name of the place.
        plan: String,
        /// Name of the file or directory.
        file: String,
        /// Error of the system or of the store.
        #[source]
        cause: io::Error,
    },
    /// A file of the plan cannot be written.
    #[error("cannot write {file} of {plan}")]
    Write {
        /// Name of the place.
        plan: String,
        /// Name of the file.
        file: String,
        /// Error of the system or of the store.
        #[source]
        cause: io::Error,
    },
}
