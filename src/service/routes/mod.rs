//! The endpoints, one file per family. A handler reads the request and then does its work on a blocking thread, which
//! runs to its end even if the client disconnects: a started change is never half done.

mod account;
mod actions;
mod admin;
mod bodies;
mod bulk;
mod compress;
mod files;
mod host;
mod hosted;
mod intelligence;
mod interactive;
mod key;
mod links;
mod outputs;
mod router;
mod runs;
mod schedules;
mod search;
mod uploads;
mod webhooks;
mod workflows;

pub(super) use router::router;
pub(super) use schedules::run_schedules;
