//! The change of a command line that an error implies. The command line itself is put together where it is known.

/// A change of the command line that was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Correction {
    /// Continue without bad records.
    SkipBadRecords,
    /// Name an output.
    Output,
    /// Name this word as the output.
    IsOutput(String),
    /// Another word in place of one that was typed.
    Replace { typed: String, with: String },
}
