//! `schema`: the columns and types that a file would get.

use serde_json::json;

use crate::cli::args::{ListFormat, SchemaArgs};
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::{engine, sources, table};
use crate::pipeline::{SchemaFrom, infer_schema};

/// Carries it out. Files are read whole, so that the answer holds for every record; a stream is judged by its start.
pub async fn schema(context: &Context, args: SchemaArgs) -> Result<Exit, Failure> {
    let opened = sources::open(context, std::slice::from_ref(&args.source), args.from).await?;
    let from = if opened.files.is_empty() { SchemaFrom::Sample } else { SchemaFrom::Full };
    let limits = context.settings.limits();
    let sources = opened.sources;
    let schema = engine::on_a_thread(context, "reading", opened.total_bytes, opened.stoppers, move |control| {
        infer_schema(sources, from, &limits, control)
    })
    .await?;
    if from == SchemaFrom::Sample {
        context.screen.note("from the first records; later ones may widen it");
    }
    let fields: Vec<_> =
        schema.fields.iter().map(|field| json!({"name": &*field.name, "type": field.ty.to_string()})).collect();
    let cell = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    match args.output {
        ListFormat::Json => table::write_data(&(table::pretty(&json!({"fields": fields})) + "\n"))?,
        format => {
            table::write_list(format, &fields, &["COLUMN", "TYPE"], |f| vec![cell(&f["name"]), cell(&f["type"])])?;
        }
    }
    Ok(Exit::Success)
}
