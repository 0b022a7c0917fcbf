//! Objects in stores such as S3: uploaded in parts while they are written, visible when the upload is completed.
//!
//! - [`location`] turns a URL into a store and a key, and checks beforehand that it can be written.
//! - [`upload`] writes one object, [`prefix`] the objects of a directory.
//! - [`read`] finds and reads objects that are inputs.
//! - [`session`] makes their calls blocking, so that a cancel ends each of them.
//! - [`client`] sends the requests: a slow one may take as long as its bytes move, and [`refusal`] reads what a store says
//!   against one, of which [`error`] makes a sentence.

mod client;
mod error;
mod location;
mod prefix;
mod read;
mod refusal;
mod session;
mod upload;

pub use prefix::ObjectPrefix;
pub use read::{ObjectReader, StoredObject};
pub use upload::ObjectUpload;
