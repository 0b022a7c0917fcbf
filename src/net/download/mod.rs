//! The file behind a link as a stream of bytes that is complete or ends with an error.
//!
//! A task on the runtime ([`transfer`]) receives the bytes and sends them through a window bounded in bytes
//! ([`window`]) to the reader thread ([`reader`]). After a break the task resumes at the exact byte and verifies that
//! the file is unchanged ([`identity`] explains how). Only an explicit message ends the stream: a task that dies is an
//! error. Nothing here parses rows, and nothing touches the disk.

mod connections;
mod identity;
mod message;
mod prefix;
mod reader;
mod stall;
mod transfer;
mod window;

pub use connections::Connections;
pub use message::DownloadRequest;
pub use reader::{Download, Downloads, Stopper};
