//! The errors of requests to stores: one sentence each, and what the caller decides by.

use std::error::Error as StdError;
use std::io;

use super::client::{NoCredentials, Stalled, Traffic};
use super::refusal::{Refusal, shown};
use crate::net::bad_certificate;
use crate::sink::store_error::{StoreError, StoreProblem};

/// The text for an object that must not be replaced.
const ALREADY_EXISTS: &str = "already exists";

/// A request to a store, for its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Find,
    Read,
    List,
    Put,
    Begin,
    Part,
    Complete,
    Abort,
    Remove,
}

impl Operation {
    fn words(self) -> &'static str {
        match self {
            Operation::Find => "look up the object",
            Operation::Read => "read the object",
            Operation::List => "list the objects",
            Operation::Put => "write the object",
            Operation::Begin => "begin an upload",
            Operation::Part => "upload a part",
            Operation::Complete => "complete the upload",
            Operation::Abort => "abort the upload",
            Operation::Remove => "remove the object",
        }
    }
}

/// The stores, which name their permissions each in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreKind {
    S3,
    Google,
    Azure,
}

impl StoreKind {
    /// Returns the store's name of the permission for `operation`.
    fn permission(self, operation: Operation) -> Option<&'static str> {
        use Operation as O;
        match (self, operation) {
            (StoreKind::S3, O::Find | O::Read) => Some("s3:GetObject"),
            (StoreKind::S3, O::Put | O::Begin | O::Part | O::Complete) => Some("s3:PutObject"),
            (StoreKind::S3, O::Abort) => Some("s3:AbortMultipartUpload"),
            (StoreKind::S3, O::Remove) => Some("s3:DeleteObject"),
            (StoreKind::S3, O::List) => Some("s3:ListBucket"),
            (StoreKind::Google, O::List) => Some("storage.objects.list"),
            (StoreKind::Google, O::Find | O::Read) => Some("storage.objects.get"),
            (StoreKind::Google, O::Put) => Some("storage.objects.create"),
            (StoreKind::Google, O::Begin | O::Part | O::Complete) => Some("storage.multipartUploads.create"),
            (StoreKind::Google, O::Abort) => Some("storage.multipartUploads.abort"),
            (StoreKind::Google, O::Remove) => Some("storage.objects.delete"),
            (StoreKind::Azure, _) => None,
        }
    }
}

/// A failed request.
#[derive(Debug)]
pub(super) struct CallError {
    /// The response that refused it; `None` if there was none.
    pub(super) refusal: Option<Refusal>,
    /// True if the library says that the object, or the upload, does not exist.
    pub(super) is_not_found: bool,
    /// True if the store has no such operation.
    pub(super) is_not_implemented: bool,
    error: io::Error,
}

impl CallError {
    /// Reads an error of the library.
    pub(super) fn new(kind: StoreKind, operation: Operation, traffic: &Traffic, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        let text = error.to_string();
        let refusal = source_of::<Refusal>(error).cloned().or_else(|| traffic.refusal_in(&text));
        let is_not_found =
            matches!(error, E::NotFound { .. }) || refusal.as_ref().is_some_and(|refusal| refusal.status == 404);
        let is_not_implemented = matches!(error, E::NotImplemented { .. } | E::NotSupported { .. })
            || refusal.as_ref().is_some_and(|refusal| refusal.status == 501);
        let words = operation.words();
        let (problem, text) = if let Some(refusal) = &refusal {
            let problem = refusal.problem(kind.permission(operation));
            let text = match problem {
                _ if let Some(host) = &refusal.provider => format!("cannot get credentials from {host}: {refusal}"),
                StoreProblem::Exists => ALREADY_EXISTS.to_owned(),
                StoreProblem::Unreachable => format!("the store failed to {words}: {refusal}"),
                _ => format!("the store refused to {words}: {refusal}"),
            };
            (problem, text)
        } else if let Some(problem) = bad_certificate(error) {
            // Kept as a type of its own, which the caller recognizes and explains.
            let error = io::Error::other(problem);
            return CallError { refusal, is_not_found, is_not_implemented, error };
        } else if let Some(missing) = source_of::<NoCredentials>(error) {
            (StoreProblem::Credentials, format!("{missing}: {}", innermost(error)))
        } else if let Some(stalled) = source_of::<Stalled>(error) {
            (StoreProblem::Unreachable, stalled.to_string())
        } else if source_of::<object_store::client::HttpError>(error).is_some() {
            (StoreProblem::Unreachable, format!("cannot reach the store: {}", innermost(error)))
        } else if matches!(error, E::AlreadyExists { .. } | E::Precondition { .. }) {
            (StoreProblem::Exists, ALREADY_EXISTS.to_owned())
        } else {
            (StoreProblem::Other, format!("cannot {words}: {}", innermost(error)))
        };
        CallError { refusal, is_not_found, is_not_implemented, error: store_error(problem, text) }
    }

    /// Creates the error of a call that a cancel ended.
    pub(super) fn cancelled() -> Self {
        let error = store_error(StoreProblem::Cancelled, "cancelled".to_owned());
        CallError { refusal: None, is_not_found: false, is_not_implemented: false, error }
    }

    /// Returns the kind of the error; `None` for a rejected certificate.
    pub(super) fn problem(&self) -> Option<&StoreProblem> {
        self.error.get_ref()?.downcast_ref::<StoreError>().map(|error| &error.problem)
    }

    /// Returns true if the store decided: no retry, and no look at the store, leads to another result.
    pub(super) fn is_conclusive(&self) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| matches!(refusal.status, 400..=403 | 405 | 409 | 412))
            || self.problem().is_none()
    }

    /// Returns true if the request was cut off by a broken or stalled connection.
    pub(super) fn is_transport(&self) -> bool {
        self.refusal.is_none() && self.problem() == Some(&StoreProblem::Unreachable)
    }
}

impl From<CallError> for io::Error {
    fn from(error: CallError) -> Self {
        error.error
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

/// Creates the error that the user of a target receives.
pub(super) fn store_error(problem: StoreProblem, text: String) -> io::Error {
    let kind = match problem {
        StoreProblem::Exists => io::ErrorKind::AlreadyExists,
        StoreProblem::Forbidden(_) | StoreProblem::Credentials => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, StoreError { problem, text })
}

/// Creates the error for an object that must not be replaced.
pub(super) fn already_exists() -> io::Error {
    store_error(StoreProblem::Exists, ALREADY_EXISTS.to_owned())
}

/// Creates the error for a name that cannot be written.
pub(super) fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.to_owned())
}

/// Returns an error and its causes, the innermost last.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// Finds an error of type `T` among the causes of `error`.
fn source_of<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Returns the text of the innermost cause: those around it only say that a request failed.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    shown(&without_queries(&chain(error).last().map(ToString::to_string).unwrap_or_default()))
}

fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut buffer = text;
    while let Some(at) = buffer.find("://") {
        let end = buffer[at..]
            .find(|c: char| c.is_whitespace() || matches!(c, ')' | '"' | '\''))
            .map_or(buffer.len(), |n| at + n);
        let url = &buffer[..end];
        out.push_str(&url[..url.find('?').unwrap_or(end)]);
        buffer = &buffer[end..];
    }
    out + buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_queries_are_not_shown() {
        assert_eq!(
            without_queries("for url (https://a.example/b?sig=secret) twice http://c/d?x"),
            "for url (https://a.example/b) twice http://c/d"
        );
    }
}
