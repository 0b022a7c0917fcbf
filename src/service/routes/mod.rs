//! The endpoints: one file per family. A handler reads the request, then does its work on a
//! thread that may block, which goes on to its end even if the client goes away.

mod admin;
mod bulk;
mod files;
mod key;
mod links;
mod router;
mod runs;
mod uploads;
mod webhooks;
mod workflows;

pub(super) use router::router;
