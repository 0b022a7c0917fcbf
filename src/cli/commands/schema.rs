//! `schema`: infers the columns and types of its sources and prints them with their origins, as a table, a schema file,
//! an Arrow or Parquet schema, the statement of a table, or a source of dbt.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::cli::args::SchemaArgs;
use crate::cli::choices::{SchemaFormat, SchemaFromArg};
use crate::cli::context::Context;
use crate::cli::dialect::{doubt_note, text_column_note};
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::outputs::read_schema_file;
use crate::cli::run_source::open_sources_or_run;
use crate::cli::shell::shell_quoted;
use crate::cli::{engine, table, tables};
use crate::client::{Definition, declared_types};
use crate::column::Schema;
use crate::format::{arrow_json, parquet, schema_file};
use crate::pipeline::{Control, DescribedSchema, SchemaFrom, SchemaSource, SetBy, TypeFrom, describe_schema};
use crate::position::FieldPath;
use crate::text::{counted, error_chain, escape_for_terminal, human_count};
use crate::warehouse::{Described, dbt_source, standard_table};

/// Infers and prints the schema. By default files are read completely, so that the schema is that of every record;
/// other sources are sampled. Records that do not fit a schema file make the exit code `partial`.
pub(crate) async fn schema(context: &Context, args: SchemaArgs) -> Result<Exit, Failure> {
    let enforced = read_schema_file(args.schema.as_deref(), &context.settings)?;
    let mut declared = args.workflow.as_deref().map(declared_by).transpose()?;
    let dialect = args.input.resolve(&context.settings)?;
    let (opened, of_run) = open_sources_or_run(context, &args.sources, &dialect, None).await?;
    if let Some(of_run) = of_run {
        declared.get_or_insert(of_run);
    }
    // A named pipe is a path as well, but it can be read only once.
    let all_files = opened.files.len() == opened.sources.len() && opened.files.iter().all(|path| path.is_file());
    let from = match args.schema_from {
        SchemaFromArg::Full if !all_files => {
            return Err(Failure::new(
                Error::Usage("`--schema-from full` reads every source twice, so all must be files".into()),
                "save the source to a file first, or use `--schema-from sample`",
            ));
        }
        SchemaFromArg::Auto if all_files => SchemaFrom::Full,
        SchemaFromArg::Auto => SchemaFrom::Sample,
        from => from.into(),
    };
    let choice =
        SchemaSource { declared, enforced, from, policy: args.schema_policy.into(), ..SchemaSource::default() };
    let (limits, mut sources) = (context.settings.limits(), opened.sources);
    // Types do not depend on them.
    sources.iter_mut().for_each(|source| source.keeps_not_finite = true);
    let work = move |control: &Control| describe_schema(sources, &choice, &limits, control);
    let described =
        engine::run_blocking(context, "reading", opened.total_bytes, opened.stoppers, |_, _| {}, work).await;
    let described = described.map_err(|failure| match failure.unusable_column() {
        // `schema` reads every column.
        Some(column) => failure.with_hint(format!(
            "see the other columns with `drawoff explain {} --drop {column}`",
            shell_quoted(&args.sources.first().map(|source| source.to_string_lossy()).unwrap_or_default())
        )),
        None => failure,
    })?;
    match args.format {
        SchemaFormat::Table => table::write_data(&text_table(&described))?,
        SchemaFormat::Json => table::write_data(&schema_file::write(&described.schema, &mut |path, members| {
            add_origin(&described, path, members);
        }))?,
        SchemaFormat::Arrow => table::write_data(&(table::pretty(&arrow_json::schema(&described.schema)) + "\n"))?,
        SchemaFormat::Parquet => {
            let text = parquet::message_type(&described.schema);
            table::write_data(&text.map_err(|error| Error::Bug(error_chain(&error)))?)?;
        }
        of_table => table::write_data(&text_of_table(of_table, &args, &described.schema)?)?,
    }
    let text_columns = described.text_columns.iter().map(text_column_note);
    let notes = opened.notes.into_iter().chain(described.notes.iter().cloned()).chain(text_columns);
    for note in notes.chain(described.other_delimiter.map(doubt_note)) {
        context.screen.note(&escape_for_terminal(&note));
    }
    if from == SchemaFrom::Sample {
        context
            .screen
            .note(&format!("from the first {}; later ones may widen it", counted(described.records, "record")));
    }
    if let Some((position, reject)) = &described.first_misfit {
        context.screen.note(&escape_for_terminal(&format!(
            "{} of {} records do not fit the schema file; the first: {position}: {reject}",
            human_count(described.misfits),
            human_count(described.records),
        )));
        return Ok(Exit::Partial);
    }
    Ok(Exit::Success)
}

/// Returns the statement that creates the table of `--into`, or the table as a source of dbt.
fn text_of_table(format: SchemaFormat, args: &SchemaArgs, schema: &Schema) -> Result<String, Failure> {
    let name = args.into.as_deref().unwrap_or("results");
    if let Some(system) = format.ddl_system() {
        return Ok(tables::new_table(system, name, schema)?.statement);
    }
    let system = format.dbt_system();
    let new_table = match system {
        Some(system) => tables::new_table(system, name, schema)?,
        None => standard_table(name, schema).map_err(crate::pipeline::Error::from)?,
    };
    let descriptions = match &args.schema {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|cause| Error::Read { path: path.clone(), cause })?;
            schema_file::descriptions(&text)
        }
        None => schema_file::Descriptions::default(),
    };
    let columns: Vec<Option<&str>> =
        schema.fields.iter().map(|field| descriptions.columns.get(&*field.name).map(String::as_str)).collect();
    Ok(dbt_source(Described {
        table: &new_table,
        description: descriptions.file.as_deref(),
        columns: &columns,
        is_upper_case: system == Some("snowflake"),
    }))
}

/// Returns the types that a definition file declares in `input_schema` and `return_fields`.
pub(super) fn declared_by(path: &Path) -> Result<Schema, Failure> {
    let Definition(definition) = Definition::read(path).map_err(Error::from)?;
    Ok(declared_types(&definition.workflow_definition))
}

/// Returns the name of an origin for people and for programs.
fn origin_names(from: TypeFrom) -> (&'static str, &'static str) {
    match from {
        TypeFrom::SchemaFile => ("schema file", "schema_file"),
        TypeFrom::Workflow => ("workflow", "workflow"),
        TypeFrom::Header => ("header", "header"),
        TypeFrom::Sample => ("sample", "sample"),
        TypeFrom::Full => ("all records", "full"),
    }
}

/// Formats one line per field for people.
fn text_table(described: &DescribedSchema) -> String {
    let rows = described.fields().into_iter().map(|(path, ty)| {
        let origin = described.origin(&path);
        let set_by = origin.and_then(|(_, set_by)| set_by);
        vec![
            path.to_string(),
            ty.outline(),
            origin.map_or("", |(from, _)| origin_names(from).0).to_owned(),
            set_by.map_or(String::new(), |by| by.position.to_string()),
            set_by.and_then(|by| by.before.clone()).unwrap_or_default(),
        ]
    });
    table::table(&["FIELD", "TYPE", "FROM", "SET BY", "BEFORE"], rows)
}

/// Adds the origin of a field's type to its members in a schema file.
fn add_origin(described: &DescribedSchema, path: &FieldPath, members: &mut Map<String, Value>) {
    let Some((from, set_by)) = described.origin(path) else { return };
    members.insert("from".into(), json!(origin_names(from).1));
    if let Some(SetBy { position, before }) = set_by {
        let by = json!({
            "source": &*position.source,
            "line": position.line,
            "record": position.record,
            "byte": position.byte,
            "before": before,
        });
        members.insert("set_by".into(), by);
    }
}
