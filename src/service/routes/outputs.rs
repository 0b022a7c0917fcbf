//! Outputs of blocks as uploads, so that a handle of one can be downloaded and read as any other, and the wait for the end
//! of a run.

use std::io;
use std::time::Duration;

use crate::api::{HandleId, RunId};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::directories::PARTIAL_PREFIX;
use crate::service::private_files;
use crate::service::rows::{BlockRow, ResultFormat, RunRow, UploadRow};
use crate::service::stored_names::{Extension, UploadFile, id_from_name};

/// Interval of the look at a run that a request waits for.
const TICK: Duration = Duration::from_millis(10);

/// Waits until a run has ended, or has been left to the next start of the service.
pub(super) async fn ended(app: &App, run: &RunId) {
    while app.engine.active(run).is_some() {
        tokio::time::sleep(TICK).await;
    }
}

/// Returns the handle of a completed block's rows in one format, which is the same at each call. The first call copies the
/// file. 404 if the block has no file in this format. Blocks.
pub(super) fn handle_of(app: &App, run: &RunRow, block: &BlockRow, format: ResultFormat) -> Result<HandleId, ApiError> {
    let name = format!("{} {} {}", run.id, block.block_id, format.as_str());
    let handle = HandleId(id_from_name("output", &name));
    // A copy during a reset waits for its end, and finds the run gone.
    let _no_reset = app.resetting.blocking_read();
    if app.store.upload(&handle)?.is_some() {
        return Ok(handle);
    }
    let file = block.files.iter().find(|file| file.format == format);
    let file = file.ok_or_else(|| ApiError::not_found("the block has no rows in this format"))?;
    let extension = Extension::parse(format.as_str()).ok_or_else(|| ApiError::not_found("File not found"))?;
    let directory = app.directories.run(&run.id);
    private_files::check_directory(&directory)?;
    let mut from = private_files::open(&directory.join(file.filename.as_str()))?;
    let mut to = tempfile::Builder::new().prefix(PARTIAL_PREFIX).tempfile_in(app.directories.uploads())?;
    let size_bytes = io::copy(&mut from, &mut to)?;
    to.as_file().sync_all()?;
    let name = UploadFile::of(&handle, extension).map_err(io::Error::other)?;
    to.persist(app.directories.upload(&name)).map_err(|error| error.error)?;
    // The directory entry must be durable before the row that names the file.
    std::fs::File::open(app.directories.uploads())?.sync_all()?;
    let filename = file.filename.as_str().to_owned();
    let row = UploadRow { filename, extension, size_bytes, created_at: app.config.clock.now() };
    app.store.add_upload(&handle, &row)?;
    Ok(handle)
}
