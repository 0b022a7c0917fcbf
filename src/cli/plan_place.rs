//! The place of a plan as it is typed: a directory, or a prefix of a store. Its files are read and written on blocking threads,
//! which an interruption leaves behind.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::context::Context;
use super::error::{Error, Failure};
use super::object_options::object_options;
use super::outputs::object_url;
use super::place_names::{check_file, check_place, shown};
use crate::scale::{PlanStore, ScaleError};
use crate::sink::ObjectLocation;

/// An open plan.
#[derive(Clone, Debug)]
pub(super) struct PlanPlace(pub Arc<PlanStore>);

impl PlanPlace {
    /// Opens the place, which need not exist. Sends no request.
    pub(super) fn open(typed: &Path) -> Result<Self, Failure> {
        check_place(typed)?;
        let text = typed.to_string_lossy();
        let name = shown(&text);
        let read = |cause| Error::Read { path: PathBuf::from(&name), cause };
        let opened = match object_url(typed) {
            Some(url) => {
                let location = ObjectLocation::new(url, object_options(std::env::vars_os()), false);
                PlanStore::open(&*name, typed, Some(&location))
            }
            None => {
                // As other tools write the URL of a directory.
                let path = text.strip_prefix("file://").map_or(typed, Path::new);
                check_file(path)?;
                if path.is_file() {
                    let error = Error::Usage(format!("{name} is a file; a plan is a directory or a prefix of a store"));
                    return Err(Failure::new(error, "name the directory that `drawoff plan` was given with `-o`"));
                }
                PlanStore::open(&*name, path, None)
            }
        };
        Ok(PlanPlace(Arc::new(opened.map_err(read)?)))
    }

    /// Calls `work` on a blocking thread, until the user interrupts it.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        context: &Context,
        work: impl FnOnce(&PlanStore) -> Result<T, ScaleError> + Send + 'static,
    ) -> Result<T, Failure> {
        context.unless_interrupted(self.with_uninterrupted(work)).await
    }

    /// Calls `work` on a blocking thread, and waits for its end.
    pub(super) async fn with_uninterrupted<T: Send + 'static>(
        &self,
        work: impl FnOnce(&PlanStore) -> Result<T, ScaleError> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&store));
        let done = done.await.map_err(|error| Error::Bug(error.to_string()))?;
        Ok(done?)
    }

    /// Returns the name in messages.
    pub(super) fn name(&self) -> &str {
        self.0.name()
    }
}
