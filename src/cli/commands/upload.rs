//! `upload`: uploads one input file and prints its handle on standard output.

use super::input::Input;
use crate::cli::args::UploadArgs;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::table;

/// Uploads the file, with progress on standard error.
pub(crate) async fn upload(context: &Context, args: UploadArgs) -> Result<Exit, Failure> {
    let client = context.client()?;
    let input = Input::open(context, &args.file, args.from).await?;
    let handle = input.upload(context, &client).await?;
    table::write_data(&format!("{handle}\n"))?;
    Ok(Exit::Success)
}
