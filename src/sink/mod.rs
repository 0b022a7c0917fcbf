//! Where bytes go: a file that appears whole, a file of a folder that does, an object in a store, or a stream.
//!
//! The last part of the data's path: encoded bytes come in, and a committed target stands under its name. A target is
//! one file behind one trait ([`Target`]); none of them knows a format.

mod file;
mod flush;
#[cfg(feature = "object-store")]
mod object;
#[cfg(not(feature = "object-store"))]
#[path = "no_object.rs"]
mod object;
mod open;
mod partial;
mod staging;
mod stream;
mod target;

pub use file::{PendingFile, check_writable};
pub use object::{ObjectLocation, ObjectPrefix, ObjectUpload};
pub use open::Sink;
pub use partial::remove_stale;
pub use staging::{PartFile, Staging};
pub use stream::Stream;
pub use target::{Reread, Target};
