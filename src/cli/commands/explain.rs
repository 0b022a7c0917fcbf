//! `explain`: prints the steps, how each one runs, and the columns that result, from a sample of the inputs. It writes
//! no rows.

use serde_json::{Value, json};

use super::schema::declared_by;
use crate::cli::args::ExplainArgs;
use crate::cli::choices::ExplainFormat;
use crate::cli::context::Context;
use crate::cli::dialect::{doubt_note, text_column_note};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::outputs::read_schema_file;
use crate::cli::{engine, sources, table};
use crate::column::Schema;
use crate::format::schema_file;
use crate::pipeline::{Control, Explained, SchemaFrom, SchemaPolicy, SchemaSource, explain_steps};
use crate::text::{counted, escape_for_terminal};

/// Reads a sample of the sources and prints the steps with their columns as a table or as JSON.
pub(crate) async fn explain(context: &Context, args: ExplainArgs) -> Result<Exit, Failure> {
    let steps = args.steps.steps()?;
    let dialect = args.input.resolve(&context.settings)?;
    let tables = args.steps.tables(&dialect);
    args.steps.on_bad_cast()?;
    let enforced = read_schema_file(args.schema.as_deref(), &context.settings)?;
    let declared = args.workflow.as_deref().map(declared_by).transpose()?;
    let opened = sources::open(context, &args.sources, &dialect).await?;
    let (from, policy) = (SchemaFrom::Sample, SchemaPolicy::Evolve);
    let choice = SchemaSource { declared, enforced, from, policy, ..SchemaSource::default() };
    let (limits, sources) = (context.settings.limits(), opened.sources);
    let work = move |control: &Control| explain_steps(sources, steps, tables, &choice, &limits, control);
    let explained =
        engine::run_blocking(context, "reading", opened.total_bytes, opened.stoppers, |_, _| {}, work).await?;
    match args.format {
        ExplainFormat::Table => table::write_data(&text_table(&explained))?,
        ExplainFormat::Json => table::write_data(&(table::pretty(&json_of(&explained)) + "\n"))?,
    }
    let text_columns = explained.text_columns.iter().map(text_column_note);
    let notes = opened.notes.into_iter().chain(explained.notes.iter().cloned()).chain(text_columns);
    for note in notes.chain(explained.other_delimiter.map(doubt_note)) {
        context.screen.note(&escape_for_terminal(&note));
    }
    for name in &explained.unseen {
        context.screen.note(&format!("no record of the sample has a column `{name}`"));
    }
    context.screen.note(&format!("from the first {}; later ones may widen it", counted(explained.records, "record")));
    Ok(Exit::Success)
}

/// Formats the steps and the columns for people.
fn text_table(explained: &Explained) -> String {
    let mut out = String::new();
    if explained.steps.is_empty() {
        out.push_str("no steps: every record passes as it is\n");
    } else {
        let rows = explained.steps.iter().enumerate().map(|(i, step)| {
            vec![(i + 1).to_string(), step.name.to_owned(), step.text.clone(), step.memory.as_str().to_owned()]
        });
        out.push_str(&table::table(&["", "STEP", "", "RUNS"], rows));
    }
    out.push('\n');
    let columns = explained.output.fields.iter().map(|field| vec![field.name.to_string(), field.ty.to_string()]);
    out.push_str(&table::table(&["COLUMN", "TYPE"], columns));
    out
}

fn json_of(explained: &Explained) -> Value {
    let steps: Vec<Value> = explained
        .steps
        .iter()
        .map(|step| json!({"step": step.name, "text": step.text, "runs": step.memory.as_str()}))
        .collect();
    json!({
        "steps": steps,
        "input": fields(&explained.input),
        "output": fields(&explained.output),
        "columns_not_seen": explained.unseen,
        "records_sampled": explained.records,
    })
}

/// Formats the fields as in a schema file. Types that a schema file cannot express, such as dates, are named as the
/// table names them.
fn fields(schema: &Schema) -> Value {
    let text = schema_file::write(schema, &mut |_, _| {});
    let mut file: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut fields = file["fields"].take();
    for (field, written) in schema.fields.iter().zip(fields.as_array_mut().into_iter().flatten()) {
        if let crate::column::Type::Fixed(fixed) = &field.ty {
            written["type"] = json!(fixed.to_string());
        }
    }
    fields
}
