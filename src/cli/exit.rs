//! The exit codes of the process. Each has a number that never changes, a name, a meaning for `--help` and
//! docs/exit-codes.md, and a test; `error` maps every error to one.

macro_rules! exits {
    ($($variant:ident = $code:literal, $name:literal, $retry:ident, $meaning:literal;)*) => {
        /// An exit code. Scripts may rely on the numbers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub(super) enum Exit {$(
            #[doc = concat!("Means: ", $meaning, ".")]
            $variant = $code,
        )*}

        impl Exit {
            /// All exit codes, in the order of their numbers.
            pub(super) const ALL: &[Exit] = &[$(Exit::$variant),*];

            /// Returns the name in words, such as `bad data`.
            pub(super) fn name(self) -> &'static str {
                match self {$(Exit::$variant => $name,)*}
            }

            /// Returns the meaning as a phrase.
            pub(super) fn meaning(self) -> &'static str {
                match self {$(Exit::$variant => $meaning,)*}
            }

            /// Returns the prospect of the same command, given once more.
            pub(super) fn retry(self) -> Retry {
                match self {$(Exit::$variant => Retry::$retry,)*}
            }
        }
    };
}

exits! {
    Success = 0, "success", Needless, "everything was done, also when the reader closed the pipe";
    Bug = 1, "bug", No, "a bug in drawoff";
    Usage = 2, "usage", No, "the command line, a setting or a definition is not valid";
    Partial = 3, "partial", Needless, "done, but some records were rejected, or some runs left out";
    BadData = 4, "bad data", No, "a record or a file's contents cannot be used";
    Mismatch = 5, "mismatch", No, "the row count differs from the API's row_count";
    SchemaChanged = 6, "schema changed", No, "a column appeared or changed where the output could not follow";
    NoKey = 10, "no key", AfterRepair, "no API key is set";
    KeyRefused = 11, "key refused", AfterRepair, "the API refused the key";
    NotFound = 12, "not found", No, "there is no such workflow, run, block, result or plan";
    Refused = 13, "refused", No, "the API, or the server of a URL, refused the request";
    Unreachable = 14, "unreachable", Helps, "the API cannot be reached, or keeps failing";
    DownloadBroken = 15, "download broken", Helps, "a download broke and could not be resumed";
    FileChanged = 16, "file changed", Helps, "a file changed while it was downloaded";
    Damaged = 17, "damaged", No, "the compression of a file is truncated or damaged";
    LastLineCut = 18, "last line cut", No, "the last line of a download is truncated";
    RunFailed = 20, "run failed", StartsNewRun, "the run failed";
    RunCancelled = 21, "run cancelled", StartsNewRun, "the run was cancelled";
    RunTimedOut = 22, "run timed out", StartsNewRun, "the service stopped the run for taking too long";
    DeadlinePassed = 23, "deadline passed", Helps, "the run was still active when --deadline passed";
    WorkLeft = 24, "work left", Helps, "items of the plan are not done yet; `drawoff work` does them";
    CannotWrite = 30, "cannot write", AfterRepair, "an output cannot be written";
    DiskFull = 31, "disk full", AfterRepair, "the disk or the quota is full";
    CannotRead = 32, "cannot read", AfterRepair, "an input cannot be read";
    Busy = 33, "busy", Helps, "the run is locked by another drawoff process";
    LoadRefused = 34, "load refused", No, "a table cannot take the rows; none of them were kept";
    TargetUnreachable = 35, "target unreachable", Helps, "the system of a table cannot be reached, or was lost; retry later";
    LoadUnknown = 36, "load unknown", Helps, "it is unknown whether a load was committed; the same command finds out";
    Interrupted = 130, "interrupted", Helps, "interrupted by Ctrl-C, SIGTERM or SIGHUP";
}

/// The prospect of the same command, given once more after an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Nothing is left to do.
    Needless,
    /// It can succeed without a change.
    Helps,
    /// It can succeed once something around it is mended: a key, a disk, a file.
    AfterRepair,
    /// It starts a new run, since the run of this one has ended.
    StartsNewRun,
    /// It fails again: the command, the input or the result must change.
    No,
}

impl Retry {
    /// Returns the word of the result file and of docs/exit-codes.md.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Retry::Needless => "needless",
            Retry::Helps => "helps",
            Retry::AfterRepair => "after repair",
            Retry::StartsNewRun => "starts a new run",
            Retry::No => "no",
        }
    }
}

impl Exit {
    /// Returns the number that the process ends with.
    pub(super) fn code(self) -> u8 {
        self as u8
    }
}

/// Formats all exit codes as a table for the long help.
pub(super) fn table() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        text.push_str(&format!("  {:>3}  {:<19} {}\n", exit.code(), exit.name(), exit.meaning()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_fixed() {
        let numbers: Vec<(u8, &str)> = Exit::ALL.iter().map(|exit| (exit.code(), exit.name())).collect();
        assert_eq!(
            numbers,
            [
                (0, "success"),
                (1, "bug"),
                (2, "usage"),
                (3, "partial"),
                (4, "bad data"),
                (5, "mismatch"),
                (6, "schema changed"),
                (10, "no key"),
                (11, "key refused"),
                (12, "not found"),
                (13, "refused"),
                (14, "unreachable"),
                (15, "download broken"),
                (16, "file changed"),
                (17, "damaged"),
                (18, "last line cut"),
                (20, "run failed"),
                (21, "run cancelled"),
                (22, "run timed out"),
                (23, "deadline passed"),
                (24, "work left"),
                (30, "cannot write"),
                (31, "disk full"),
                (32, "cannot read"),
                (33, "busy"),
                (34, "load refused"),
                (35, "target unreachable"),
                (36, "load unknown"),
                (130, "interrupted"),
            ]
        );
        assert!(table().contains("\n  130  interrupted         interrupted by Ctrl-C, SIGTERM or SIGHUP\n"));
    }
}
