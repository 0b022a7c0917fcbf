//! `serve`: the local Workflows service until Ctrl-C.

use crate::cli::args::ServeArgs;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;

/// Carries it out. Ctrl-C is the normal end, and a success.
#[cfg(feature = "serve")]
pub async fn serve(context: &Context, args: ServeArgs) -> Result<Exit, Failure> {
    use crate::cli::local::{Local, LocalOptions};
    use crate::cli::table;
    use crate::secret::ApiKey;

    if args.print_openapi {
        let document = format!("{:#}\n", crate::service::openapi_document());
        table::write_data(&document)?;
        return Ok(Exit::Success);
    }
    let temporary = args.data.is_none();
    let options = LocalOptions {
        host: args.host,
        port: args.port,
        rate_limit: args.rate_limit,
        bulk_limit: args.bulk_limit,
        max_upload_bytes: args.max_upload,
        max_upload_rows: args.max_upload_rows,
        data: args.data,
        api_key: args.api_key.as_deref().map(ApiKey::new),
        enrich: args.enrich,
        link_life: args.link_life,
        limits: context.settings.limits(),
    };
    let local = Local::start(options).await?;
    let base_url = local.base_url();
    // The address is the one thing that a script wants.
    table::write_data(&format!("{base_url}\n"))?;
    context.screen.note(&format!("the Workflows service listens on {base_url}; Ctrl-C ends it"));
    if temporary {
        context.screen.note("its store is temporary; `--data DIR` keeps it");
    }
    context.interrupt.requested().await;
    context.screen.note("stopping");
    local.stop().await;
    Ok(Exit::Success)
}

/// Says that it is not there.
#[cfg(not(feature = "serve"))]
pub async fn serve(_: &Context, _: ServeArgs) -> Result<Exit, Failure> {
    Err(crate::cli::error::Error::Usage("this build has no local service".into()).into())
}
