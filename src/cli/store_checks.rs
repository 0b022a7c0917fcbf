//! The check of outputs in stores, before a run is started or a byte is read. A store may hang, so an interruption ends
//! the check; it changes nothing in the store.

use std::path::PathBuf;

use super::context::Context;
use super::error::{Error, Failure};
use crate::pipeline::{Directory, Output, SUCCESS, Target};
use crate::sink::ObjectLocation;

/// Fails if an output in a store cannot be written, by asking the store.
pub(super) async fn check_stores(context: &Context, outputs: &[Output]) -> Result<(), Failure> {
    for output in outputs {
        let location = match &output.target {
            Target::Object(location) => location.clone(),
            // A store has no directories: an object that can be written below the prefix stands for all of them.
            Target::Directory(Directory { store: Some(location), .. }) => {
                let url = format!("{}/{SUCCESS}", location.url.trim_end_matches('/'));
                ObjectLocation { url, no_clobber: false, ..location.clone() }
            }
            _ => continue,
        };
        let path = PathBuf::from(&location.url);
        // On a blocking thread, which is left behind by an interruption.
        let checked = tokio::task::spawn_blocking(move || location.check());
        let checked = async {
            let checked = checked.await.map_err(|error| Error::Bug(error.to_string()))?;
            checked.map_err(|cause| Failure::from(Error::Write { path, cause }))
        };
        context.unless_interrupted(checked).await?;
    }
    Ok(())
}
