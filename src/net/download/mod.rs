//! A file behind a link as a stream of bytes that either is whole or fails.
//!
//! A task on the runtime ([`transfer`]) brings the bytes and hands them through a window bounded in bytes; the reader
//! thread ([`reader`]) pulls them. When a connection breaks, the task continues at the exact byte with `Range` and
//! `If-Range`, and checks that the file is still the same. Where the server sends the file from its start again, or
//! encodes it on the way, the reader skips what it has handed on, after comparing a digest of it. Only an explicit
//! mark ends the stream: a task that dies is an error.

mod identity;
mod message;
mod prefix;
mod reader;
mod stall;
mod transfer;
mod window;

pub use message::DownloadRequest;
pub use reader::{Download, Downloads, Stopper};
