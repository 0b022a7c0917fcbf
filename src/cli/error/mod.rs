//! The errors of commands as people read them: the chain of causes on one line, a hint with what helps, and an exit
//! code.
//!
//! The layers below describe an error in their own terms. The flags and commands that help against it are named here.

mod command_error;
mod correction;
mod exits;
mod hints;

use std::borrow::Cow;
use std::io;

use super::exit::Exit;
use crate::pipeline;
use crate::secret::without_passwords;
use crate::text::{error_chain, escape_for_terminal};

pub(super) use command_error::{Error, STDOUT};
pub(super) use correction::Correction;
use exits::exit_of;
pub(super) use hints::RAISE_COLUMNS;
use hints::{correction, hint, unusable_column};

/// An error with its hint. Boxed, because most functions of commands return it, and seldom.
#[derive(Debug)]
pub(super) struct Failure(Box<FailureParts>);

#[derive(Debug)]
struct FailureParts {
    error: Error,
    hint: Option<String>,
    correction: Option<Correction>,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let (hint, correction) = (hint(&error), correction(&error));
        Failure(Box::new(FailureParts { error, hint, correction }))
    }
}

impl Failure {
    /// Creates a failure with a hint of its own instead of the one that the error implies.
    pub(super) fn new(error: impl Into<Error>, hint: impl Into<String>) -> Self {
        Failure(Box::new(FailureParts { error: error.into(), hint: Some(hint.into()), correction: None }))
    }

    /// Returns the error without its hint.
    pub(super) fn error(&self) -> &Error {
        &self.0.error
    }

    /// Returns the error and its causes on one line, as it is printed behind `error: `.
    pub(super) fn message(&self) -> String {
        without_passwords(&error_chain(&self.0.error)).into_owned()
    }

    /// Returns the hint; `None` if nothing helps.
    pub(super) fn hint(&self) -> Option<Cow<'_, str>> {
        self.0.hint.as_deref().map(without_passwords)
    }

    /// Returns the change of the command line that was probably meant.
    pub(super) fn correction(&self) -> Option<&Correction> {
        self.0.correction.as_ref()
    }

    /// Says which change of the command line was probably meant.
    pub(super) fn with_correction(mut self, correction: Correction) -> Self {
        self.0.correction = Some(correction);
        self
    }

    /// Adds `hint`, unless there is one.
    pub(super) fn or_hint(mut self, hint: impl FnOnce() -> Option<String>) -> Self {
        self.0.hint = self.0.hint.or_else(hint);
        self
    }

    /// Replaces the hint with `hint`.
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Returns the column of Parquet or Arrow with a type or values that drawoff has no counterpart of, quoted for a shell and
    /// an expression; `None` for other errors.
    pub(super) fn unusable_column(&self) -> Option<String> {
        match &self.0.error {
            Error::Pipeline(pipeline::Error::Read { cause, .. }) => unusable_column(cause).map(|(column, _)| column),
            _ => None,
        }
    }

    /// Returns the exit code of the error.
    pub(super) fn exit(&self) -> Exit {
        exit_of(&self.0.error)
    }

    /// Returns true if the reader of a pipe closed it, which is a quiet success.
    pub(super) fn is_closed_pipe(&self) -> bool {
        match &self.0.error {
            Error::Write { cause, .. } | Error::Pipeline(pipeline::Error::Write { cause, .. }) => {
                cause.kind() == io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }

    /// Formats the lines for standard error: the error with its causes, the marked expression if it is about one, and
    /// the hint. Text from outside is escaped.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("error: {}", escape_for_terminal(&self.message()))];
        if let Error::Expression { cause, .. } | Error::Pipeline(pipeline::Error::Expression(cause)) = &self.0.error {
            // The marker is placed by the escaped text before it, which may be longer than the text itself.
            let before = cause.text.get(..cause.at).unwrap_or(&cause.text);
            lines.push(format!("  {}", escape_for_terminal(&cause.text)));
            lines.push(format!("  {}^", " ".repeat(escape_for_terminal(before).chars().count())));
        }
        if let Some(hint) = self.hint() {
            lines.push(format!("hint: {}", escape_for_terminal(&hint)));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::api::RunId;
    use crate::client::{self, RunEnd};
    use crate::format::Reject;
    use crate::net::{self, Kind};
    use crate::pipeline::SchemaChange;
    use crate::position::{FieldPath, Position};

    fn net(kind: Kind) -> Error {
        client::Error::Net(net::Error::new(kind, "GET", "https://api.test/workflows?sig=marked-1")).into()
    }

    fn os(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn every_error_has_its_exit_code() {
        let position = Position { source: "a.ndjson".into(), byte: 4, line: 2, record: 1 };
        let reject = Reject { offset: 0, path: FieldPath::root(), reason: "not an object".into() };
        let ended = |end| Error::Client(client::Error::Ended { run: RunId("r".into()), end });
        let read = |cause| Error::Pipeline(pipeline::Error::Read { name: "a".into(), cause });
        let write = |cause| Error::Pipeline(pipeline::Error::Write { path: "/d/o".into(), cause });
        let net_error = |kind| net::Error::new(kind, "GET", "https://f.test/a?sig=marked-2");
        let download = |kind| io::Error::other(net_error(kind));
        let opened = |kind, status: Option<u16>, is_typed| {
            let cause = net_error(kind);
            let cause = match status {
                Some(status) => cause.with_status(status),
                None => cause,
            };
            let cause = if is_typed { cause.with_only_link() } else { cause };
            Error::Download { name: "a".into(), cause }
        };
        let cut = net_error(Kind::CutShort);
        let cases = [
            (Error::Usage("x".into()), Exit::Usage),
            (net(Kind::NoKey), Exit::NoKey),
            (net(Kind::KeyRefused), Exit::KeyRefused),
            (net(Kind::Forbidden), Exit::Refused),
            (net(Kind::NotFound), Exit::NotFound),
            (net(Kind::Refused), Exit::Refused),
            (net(Kind::RateLimited), Exit::Unreachable),
            (net(Kind::Unreachable), Exit::Unreachable),
            (net(Kind::ServerFault), Exit::Unreachable),
            (net(Kind::BadCertificate), Exit::Unreachable),
            (net(Kind::BadResponse), Exit::Unreachable),
            (client::Error::UnknownWorkflow("w".into()).into(), Exit::NotFound),
            (ended(RunEnd::Failed { block: None, message: None }), Exit::RunFailed),
            (ended(RunEnd::Cancelled), Exit::RunCancelled),
            (ended(RunEnd::TimedOut), Exit::RunTimedOut),
            (
                client::Error::Deadline {
                    run: RunId("r".into()),
                    status: "running".into(),
                    waited: Default::default(),
                }
                .into(),
                Exit::DeadlinePassed,
            ),
            (read(io::Error::other(cut)), Exit::DownloadBroken),
            (read(os(Errno::NOENT)), Exit::CannotRead),
            (read(io::Error::new(io::ErrorKind::InvalidData, "is a web page")), Exit::BadData),
            (read(download(Kind::Changed)), Exit::FileChanged),
            (read(download(Kind::Damaged)), Exit::Damaged),
            (read(download(Kind::NotFound)), Exit::NotFound),
            (read(download(Kind::Forbidden)), Exit::DownloadBroken),
            (opened(Kind::Changed, None, true), Exit::FileChanged),
            (opened(Kind::Refused, Some(400), true), Exit::Refused),
            (opened(Kind::Refused, Some(400), false), Exit::DownloadBroken),
            (opened(Kind::Refused, Some(451), false), Exit::Refused),
            (opened(Kind::Refused, Some(408), true), Exit::DownloadBroken),
            (opened(Kind::Refused, Some(425), true), Exit::DownloadBroken),
            (opened(Kind::RateLimited, Some(429), true), Exit::DownloadBroken),
            (opened(Kind::ServerFault, Some(503), true), Exit::DownloadBroken),
            (opened(Kind::Forbidden, Some(403), true), Exit::Refused),
            (opened(Kind::Forbidden, Some(403), false), Exit::DownloadBroken),
            (opened(Kind::KeyRefused, Some(401), true), Exit::KeyRefused),
            (read(download(Kind::Refused)), Exit::Refused),
            (pipeline::Error::Damaged { name: "a".into(), cause: io::Error::other("x") }.into(), Exit::Damaged),
            (
                pipeline::Error::LastLine { position: position.clone(), reject: reject.clone() }.into(),
                Exit::LastLineCut,
            ),
            (write(os(Errno::NOSPC)), Exit::DiskFull),
            (write(os(Errno::DQUOT)), Exit::DiskFull),
            (write(os(Errno::ACCESS)), Exit::CannotWrite),
            (pipeline::Error::BadRecord { position: position.clone(), reject }.into(), Exit::BadData),
            (pipeline::Error::Schema { position, change: SchemaChange::StepColumns }.into(), Exit::SchemaChanged),
            (pipeline::Error::RowCount { name: "a".into(), found: 1, expected: 2 }.into(), Exit::Mismatch),
            (pipeline::Error::Cancelled.into(), Exit::Interrupted),
            (Error::Interrupted, Exit::Interrupted),
            (pipeline::Error::Bug("x".into()).into(), Exit::Bug),
        ];
        for (error, exit) in cases {
            let failure = Failure::from(error);
            assert_eq!(failure.exit(), exit, "{failure:?}");
            assert!(!format!("{:?} {failure:?}", failure.lines()).contains("marked-"));
        }
    }

    #[test]
    fn messages_have_the_cause_and_a_hint() {
        let lines = |error: Error| Failure::from(error).lines();
        assert_eq!(
            lines(net(Kind::NoKey)),
            [
                "error: GET https://api.test/workflows?[redacted]: no API key is set",
                "hint: set SIXTYFOUR_API_KEY or use `--api-key-file FILE`; `run --local` needs no key",
            ]
        );
        assert_eq!(
            lines(Error::Write { path: "/data/out.parquet".into(), cause: os(Errno::ACCESS) }),
            [
                "error: cannot write /data/out.parquet: permission denied",
                "hint: write elsewhere with `-o`, or change the permissions of /data",
            ]
        );
        let end = RunEnd::Failed {
            block: Some(("filter".into(), 2)),
            message: Some("column 'employees' is not\u{1b}[31m in the input".into()),
        };
        assert_eq!(
            lines(client::Error::Ended { run: RunId("r-1".into()), end }.into()),
            [
                "error: run r-1 failed in block 2 (filter): column 'employees' is not\\u{1b}[31m in the input",
                "hint: see every block with `drawoff runs status r-1`",
            ]
        );
        assert_eq!(
            lines(client::Error::UnknownWorkflow("nope".into()).into()),
            ["error: there is no workflow `nope`", "hint: list workflows with `drawoff workflows ls`"]
        );
    }
}
