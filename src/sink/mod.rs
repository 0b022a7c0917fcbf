//! The targets of encoded bytes: a file, a file of a directory, an object in a store, or a stream.
//!
//! The last part of the data's path. [`TargetKind`] says what the name of a local output means, to outputs, rejects files
//! and checks alike. Files and objects appear under their final names only when they are committed, whole; one that is
//! dropped before leaves nothing behind. Each kind of target is one file with one implementation of [`Target`]; none of
//! them knows a format.

mod attributes;
mod descriptor;
mod file;
mod flush;
mod forced_end;
mod kind;
mod lock;
#[cfg(feature = "object-store")]
mod object;
#[cfg(not(feature = "object-store"))]
#[path = "no_object.rs"]
mod object;
mod object_location;
mod open;
mod partial;
mod put_new;
mod staging;
mod storage;
mod store_error;
mod stream;
mod sync_all;
mod target;
mod temporary;
mod uploads;
mod whole;

pub use file::{ChangedMeanwhile, PendingFile, remove_stale};
pub use forced_end::{complete_files, remove_partial_files, unfinished_uploads};
pub use kind::{FileTarget, TargetKind, check_can_create_file};
pub use lock::OnWait;
pub use object::{ObjectPrefix, ObjectReader, ObjectUpload, StoredObject};
pub use object_location::ObjectLocation;
pub use open::Sink;
pub use put_new::PutNew;
pub use staging::{PartFile, Staging, check_changeable, remove_ended, running_attempts};
pub use storage::{DirectoryStorage, StoredFile};
pub use store_error::{StoreError, StoreProblem};
pub use stream::Stream;
pub use sync_all::sync_all;
pub use target::{Reread, Target};
pub use temporary::{TemporaryDirectory, temporary_file, unnamed_file};
pub use uploads::UploadControl;
pub use whole::{TemporaryFile, WholeStream};
