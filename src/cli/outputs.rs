//! The engine's outputs from flags and names: infers formats and targets and checks combinations of flags, before a run
//! is started or a byte is read. The plan of the engine is built here, too.

use std::collections::HashSet;
use std::path::{Component, Path};
use std::sync::Arc;

use super::args::PipelineArgs;
use super::choices::{FromFormat, SchemaFromArg, SchemaPolicyArg, ToFormat};
use super::dialect::InputDialect;
use super::error::{Correction, Error, Failure, STDOUT};
use super::object_options::object_options;
use super::output_checks::{is_same_target, rejects, share_a_file};
use super::place_names::{check_file, check_place};
use super::settings::Settings;
use super::sinks::TypedOutput;
use super::table_url::table_url;
use super::tables::output_table;
use crate::column::Schema;
use crate::format::{
    ArrowForm, Compression, FileEnd, Format, NamedFormat, OutputFormat, ParquetCodec, ParquetOptions, RowForm,
    SourceCodec, schema_file,
};
use crate::pipeline::{
    Directory, ExecutionPlan, Output, SchemaChange, SchemaFrom, SchemaPolicy, SchemaSource, Target, check_steps,
};
use crate::sink::ObjectLocation;
use crate::source::{Input, Source};

impl From<FromFormat> for Format {
    fn from(format: FromFormat) -> Self {
        match format {
            FromFormat::Ndjson => Format::Ndjson,
            FromFormat::Csv => Format::Csv,
            FromFormat::Tsv => Format::Csv,
            FromFormat::Json => Format::JsonArray,
        }
    }
}

impl From<SchemaFromArg> for SchemaFrom {
    fn from(from: SchemaFromArg) -> Self {
        match from {
            SchemaFromArg::Auto => SchemaFrom::Auto,
            SchemaFromArg::Sample => SchemaFrom::Sample,
            SchemaFromArg::Full => SchemaFrom::Full,
        }
    }
}

impl From<SchemaPolicyArg> for SchemaPolicy {
    fn from(policy: SchemaPolicyArg) -> Self {
        match policy {
            SchemaPolicyArg::Evolve => SchemaPolicy::Evolve,
            SchemaPolicyArg::Freeze => SchemaPolicy::Freeze,
            SchemaPolicyArg::Fail => SchemaPolicy::Fail,
        }
    }
}

/// Bytes of a file that a warehouse copies: large enough for few of them, small enough for all machines of a warehouse to have
/// one at a time. What Snowflake and Databricks recommend.
const COPIED_FILE_BYTES: u64 = 256 << 20;

/// Infers the format and the compression from a file's name. The format is `None` for an unknown extension.
pub(super) fn format_of_name(path: &Path) -> (Option<ToFormat>, SourceCodec) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (format, codec) = NamedFormat::of_name(&name);
    (format.map(ToFormat::from), codec)
}

impl From<NamedFormat> for ToFormat {
    fn from(format: NamedFormat) -> Self {
        match format {
            NamedFormat::Parquet => ToFormat::Parquet,
            NamedFormat::Csv => ToFormat::Csv,
            NamedFormat::Tsv => ToFormat::Tsv,
            NamedFormat::Ndjson => ToFormat::Ndjson,
            NamedFormat::Json => ToFormat::Json,
            NamedFormat::Arrow => ToFormat::Arrow,
            NamedFormat::ArrowStream => ToFormat::ArrowStream,
        }
    }
}

/// Adds the options of flags and settings to a format.
fn output_format(format: ToFormat, args: &PipelineArgs, codec: ParquetCodec) -> Result<OutputFormat, Failure> {
    Ok(match format {
        ToFormat::Parquet => OutputFormat::Parquet(ParquetOptions { codec }),
        ToFormat::Csv => OutputFormat::Csv(args.dialect.options(b',')?),
        ToFormat::Tsv => OutputFormat::Csv(args.dialect.options(b'\t')?),
        ToFormat::Ndjson => OutputFormat::Ndjson,
        ToFormat::Json => OutputFormat::JsonArray,
        ToFormat::Arrow => OutputFormat::Arrow(ArrowForm::File),
        ToFormat::ArrowStream => OutputFormat::Arrow(ArrowForm::Stream),
    })
}

/// Builds the outputs of `-o` and `--to`, at least one, and checks the flags that apply to some kinds of output only.
/// Creates nothing. `set` is the prefix of the file names in a directory.
pub(super) fn outputs(args: &PipelineArgs, settings: &Settings, set: &str) -> Result<Vec<Output>, Failure> {
    let typed = &args.outputs.typed;
    if typed.is_empty() {
        return Err(Failure::new(
            Error::Usage("no output is specified".into()),
            "specify `-o FILE`, or `-o -` for standard output (NDJSON, or the format of `--to`)",
        )
        .with_correction(Correction::Output));
    }
    let outputs = typed.iter().map(|typed| output(typed, args, settings, set)).collect::<Result<Vec<_>, _>>()?;
    // Two outputs of one target would replace each other. Few outputs, so quadratic is fine.
    for (i, output) in outputs.iter().enumerate() {
        if outputs[..i].iter().any(|other| is_same_target(&other.target, &output.target)) {
            let error = Error::Usage(format!("{} is specified twice", target_name(output)));
            return Err(Failure::new(error, "use a different target for each `-o`"));
        }
        if outputs[..i].iter().any(|other| share_a_file(&other.target, &output.target)) {
            let error = Error::Usage(format!("{} takes one load at a time", target_name(output)));
            return Err(Failure::new(error, "load into the tables of one file by one command after the other"));
        }
    }
    // A flag without an output that it applies to is a mistake rather than a no-op.
    let is_csv = |output: &Output| matches!(output.format, OutputFormat::Csv(_));
    if let Some(flag) = args.dialect.first_given().filter(|_| !outputs.iter().any(is_csv)) {
        let error = Error::Usage(format!("`{flag}` applies only to CSV outputs"));
        return Err(Failure::new(error, "leave it out, or write CSV: `--to csv`"));
    }
    let is_parquet = |output: &Output| matches!(output.format, OutputFormat::Parquet(_));
    if !args.sink.sort_hint.is_empty() && !outputs.iter().any(is_parquet) {
        let error = Error::Usage("`--sort-hint` applies only to Parquet outputs".to_owned());
        return Err(Failure::new(
            error,
            "leave it out; to sort the rows, use `--sql \"SELECT * FROM results ORDER BY ...\"`",
        ));
    }
    let is_directory = |output: &Output| match &output.target {
        Target::Directory(_) => true,
        Target::Table(table) => table.files.is_some(),
        _ => false,
    };
    if let Some(flag) = args.sink.directory_flag().filter(|_| !outputs.iter().any(is_directory)) {
        let error = Error::Usage(format!("`{flag}` applies only to directories"));
        return Err(Failure::new(error, "end the name of a directory with a slash: `-o people/`"));
    }
    let is_table = |output: &Output| matches!(output.target, Target::Table(_));
    // Whether it is a directory that a warehouse can read is for `copy_into` to say.
    let is_copied = args.load.copy_into.is_some() && cfg!(feature = "object-store");
    if let Some(flag) = args.load.first_given().filter(|_| !is_copied && !outputs.iter().any(is_table)) {
        let error = Error::Usage(format!("`{flag}` applies only to tables"));
        return Err(Failure::new(error, "name the system of the table: `-o postgres://HOST/DATABASE --into TABLE`"));
    }
    Ok(outputs)
}

/// Builds one output. Its kind follows from the name: `-`, a URL of a store, a directory, else a file.
fn output(typed: &TypedOutput, args: &PipelineArgs, settings: &Settings, set: &str) -> Result<Output, Failure> {
    let path = &typed.path;
    check_place(path)?;
    if typed.is_stdout() {
        let format = output_format(typed.to.unwrap_or(ToFormat::Ndjson), args, settings.codec.value)?;
        return Ok(Output { format, compression: Compression::None, target: Target::Stdout });
    }
    if let Some(url) = table_url(path) {
        return output_table(url, typed, args, settings);
    }
    // A store is not asked here: only the name and the flags decide.
    if let Some(url) = object_url(path) {
        let is_directory =
            url.ends_with('/') || args.sink.directory_flag().is_some() && format_of_name(path).0.is_none();
        return match is_directory {
            true => output_directory(path, Some(object_location(url, args)), typed, args, settings, set),
            false => output_object(url, typed, args, settings),
        };
    }
    check_file(path)?;
    let ends_with_slash = path.as_os_str().to_string_lossy().ends_with('/');
    // With a flag that applies only to directories, a name without a known extension is a directory.
    let is_file_name = format_of_name(path).0.is_some() || path.is_file();
    if ends_with_slash || path.is_dir() || args.sink.directory_flag().is_some() && !is_file_name {
        if !path.components().any(|component| matches!(component, Component::Normal(_) | Component::RootDir)) {
            let error = Error::Usage(format!("`-o {}` would scatter files over this directory", path.display()));
            return Err(Failure::new(error, "name a directory of their own, as in `-o results/`"));
        }
        return output_directory(path, None, typed, args, settings, set);
    }
    output_file(path, typed.to, args, settings)
}

fn output_file(path: &Path, to: Option<ToFormat>, args: &PipelineArgs, settings: &Settings) -> Result<Output, Failure> {
    let (format, compression) = named_format(path, to)?;
    let format = output_format(format, args, settings.codec.value)?;
    if args.sink.append {
        check_append(&format, compression, path)?;
    }
    let (no_clobber, append) = (args.sink.no_clobber, args.sink.append);
    let target = Target::File { path: path.to_owned(), no_clobber, append };
    Ok(Output { format, compression, target })
}

/// Returns the correction of a name without a known format. Spreadsheets are meant for people, who open CSV by them.
fn readable_name(path: &Path) -> Correction {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let is_sheet = matches!(&*extension, "xlsx" | "xls" | "ods" | "txt");
    let with = path.with_extension(if is_sheet { "csv" } else { "parquet" });
    Correction::Replace { typed: path.display().to_string(), with: with.display().to_string() }
}

/// Returns the format and compression of a file: the format of `--to`, else that of its name. Fails if there is
/// neither, or if the name asks for the compression of a format that is not compressed as a whole.
fn named_format(path: &Path, to: Option<ToFormat>) -> Result<(ToFormat, Compression), Failure> {
    let (named, codec) = format_of_name(path);
    let Some(compression) = codec.as_output() else {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let error = Error::Usage(format!("{}: .{extension} is read, but not written", path.display()));
        return Err(Failure::new(error, "write .gz or .zst, or compress the output with another tool"));
    };
    let Some(format) = to.or(named) else {
        return Err(Failure::new(
            Error::Usage(format!("cannot infer an output format from `{}`", path.display())),
            "specify `--to parquet`, csv, tsv, ndjson, json, arrow or arrow-stream; end the name of a directory with a slash",
        )
        .with_correction(readable_name(path)));
    };
    // A name such as `x.parquet.gz` asks for a second compression, which no reader expects.
    let inside = match format {
        ToFormat::Parquet => {
            Some(("Parquet is compressed inside", "leave .gz or .zst out; `--codec` chooses the compression"))
        }
        ToFormat::Arrow | ToFormat::ArrowStream => Some((
            "Arrow files are memory-mapped by readers, and not compressed",
            "leave .gz or .zst out, or write Parquet",
        )),
        _ => None,
    };
    match inside {
        Some((why, hint)) if compression != Compression::None => {
            Err(Failure::new(Error::Usage(format!("{}: {why}", path.display())), hint))
        }
        _ => Ok((format, compression)),
    }
}

/// Fails if rows cannot be appended to a file of this format.
fn check_append(format: &OutputFormat, compression: Compression, path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let (why, hint) = match format.properties().end {
        _ if compression != Compression::None => (
            format!("cannot append to {shown}: it is compressed"),
            "append to an uncompressed file, or write another file",
        ),
        FileEnd::Open => return Ok(()),
        FileEnd::Footer => (
            format!("cannot append to {shown}: its footer describes the whole file"),
            "add a file to a directory, which readers take as one table: `-o people/`",
        ),
        FileEnd::Bracket => (
            format!("cannot append to {shown}: its JSON array is closed"),
            "write NDJSON, which has no end: `--to ndjson`",
        ),
    };
    Err(Failure::new(Error::Usage(why), hint))
}

fn output_directory(
    path: &Path,
    store: Option<ObjectLocation>,
    typed: &TypedOutput,
    args: &PipelineArgs,
    settings: &Settings,
    set: &str,
) -> Result<Output, Failure> {
    if args.sink.append {
        let error = Error::Usage(format!("cannot append to {}: it is a directory", path.display()));
        return Err(Failure::new(error, "leave `--append` out: files of other runs stay in a directory"));
    }
    // Both divide the rows into files, by the length of a sheet and by values.
    if args.dialect.excel.is_some() && !args.sink.partition_by.is_empty() {
        let error = Error::Usage("`--excel` and `--partition-by` cannot be combined".to_owned());
        return Err(Failure::new(error, "leave one of them out; spreadsheets open single files"));
    }
    let format = output_format(typed.to.unwrap_or(ToFormat::Parquet), args, settings.codec.value)?;
    let target = Target::Directory(Directory {
        // Without the slash at the end, so that an existing file of this name is noticed.
        path: match &store {
            Some(location) => location.url.trim_end_matches('/').into(),
            None => path.components().collect(),
        },
        store,
        set: set.to_owned(),
        // Set by the command whose files share a set with those of other sources.
        sources: Arc::default(),
        no_clobber: args.sink.no_clobber,
        max_file_rows: args.sink.max_file_rows,
        max_file_bytes: args.sink.max_file_bytes.or(args.load.copy_into.as_ref().map(|_| COPIED_FILE_BYTES)),
        partition_by: args.sink.partition_by.iter().map(|name| name.as_str().into()).collect(),
        leaves_out_empty: args.load.copy_into.is_some(),
    });
    Ok(Output { format, compression: Compression::None, target })
}

/// Returns the path as text if it is the URL of an object; `None` for other paths.
pub(super) fn object_url(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    ["s3://", "gs://", "az://", "s3a://", "abfs://", "abfss://", "azure://"]
        .iter()
        .any(|s| text.starts_with(s))
        .then_some(text)
}

fn output_object(url: &str, typed: &TypedOutput, args: &PipelineArgs, settings: &Settings) -> Result<Output, Failure> {
    if args.sink.append {
        let error = Error::Usage(format!("cannot append to {url}: objects are replaced as a whole"));
        return Err(Failure::new(error, "leave `--append` out, and write another object"));
    }
    let (format, compression) = named_format(Path::new(url), typed.to)?;
    let format = output_format(format, args, settings.codec.value)?;
    Ok(Output { format, compression, target: Target::Object(object_location(url, args)) })
}

fn object_location(url: &str, args: &PipelineArgs) -> ObjectLocation {
    ObjectLocation::new(url, object_options(std::env::vars_os()), args.sink.no_clobber)
}

/// Builds the outputs of `--all-blocks`: one file in the directory `-o` per result file, which is given by its name and
/// the number of its block. The names come from the API, so they are sanitized and never determine a path.
pub(super) fn block_outputs(
    args: &PipelineArgs,
    settings: &Settings,
    files: &[(&str, Option<i64>)],
) -> Result<Vec<Output>, Failure> {
    let typed = match &args.outputs.typed[..] {
        [typed] if !typed.is_stdout() && object_url(&typed.path).is_none() && table_url(&typed.path).is_none() => typed,
        _ => {
            return Err(Failure::new(
                Error::Usage("`--all-blocks` writes several files".into()),
                "specify one directory with `-o`",
            ));
        }
    };
    if let Some(flag) = args.sink.directory_flag() {
        let error =
            Error::Usage(format!("`--all-blocks` and `{flag}` cannot be combined: it writes one file per block"));
        return Err(Failure::new(error, "choose one block with `--block N`"));
    }
    let format = output_format(typed.to.unwrap_or(ToFormat::Parquet), args, settings.codec.value)?;
    // `output_file`, not `output`: the name must not be interpreted as a URL or a directory.
    let output = |name| {
        let name = format!("{name}.{}", format.extension());
        output_file(&typed.path.join(name), typed.to.or(Some(ToFormat::Parquet)), args, settings)
    };
    plain_names(files).into_iter().map(output).collect()
}

/// Sets the sources of all directories among `outputs`. Results of other sources in the same directory are then kept.
pub(super) fn set_sources(outputs: &mut [Output], sources: &[String]) {
    for output in outputs {
        if let Target::Directory(directory) = &mut output.target {
            directory.sources = sources.into();
        }
    }
}

/// Returns the prefix of a run's file names in a directory. It is the same for the same results, so that they replace
/// each other.
pub(super) fn set_of_run(run: &str, block: Option<i64>) -> String {
    let run: String =
        run.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(80).collect();
    match block {
        Some(block) => format!("{run}-{block:02}"),
        None => run,
    }
}

/// Returns one unique, sanitized name per file, in order. Names consist of lower-case letters, digits, `-` and `_`, so
/// they are unique on case-insensitive file systems as well.
fn plain_names(files: &[(&str, Option<i64>)]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut names = Vec::new();
    for (index, (filename, number)) in files.iter().enumerate() {
        let plain = plain_name(filename, *number, index);
        let numbered = (2..).map(|n| format!("{plain}-{n}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name));
        let name = free.expect("an endless range has a free number");
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

fn plain_name(filename: &str, number: Option<i64>, index: usize) -> String {
    // Only the last component up to its first dot, so that neither a path nor an extension remains.
    let stem = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = stem.split('.').next().unwrap_or_default();
    let plain: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c.to_ascii_lowercase() } else { '_' })
        .take(80)
        .collect();
    let plain = if plain.is_empty() { "block" } else { &plain };
    // The number in front also makes names harmless that some systems reserve, such as `con` and `nul`.
    match number {
        Some(number) => format!("{number:02}-{plain}"),
        None => format!("x{index:02}-{plain}"),
    }
}

/// Builds the engine's plan from `sources` to `outputs` under the flags; `dialect` is that of the tables. Reads the schema
/// file and the steps files.
pub(super) fn plan(
    sources: Vec<Source>,
    outputs: Vec<Output>,
    args: &PipelineArgs,
    dialect: &InputDialect,
    settings: &Settings,
) -> Result<ExecutionPlan, Failure> {
    let inputs: Vec<&Path> = sources
        .iter()
        .filter_map(|source| match &source.input {
            Input::File(path) => Some(path.as_path()),
            Input::Member(member) => Some(member.archive()),
            _ => None,
        })
        .collect();
    let rejects = rejects(args, &outputs, &inputs)?;
    Ok(ExecutionPlan {
        sources,
        steps: args.steps.steps()?,
        tables: args.steps.tables(dialect),
        on_bad_cast: args.steps.on_bad_cast()?,
        schema: SchemaSource {
            // Set by the commands that know the workflow.
            declared: None,
            enforced: read_schema_file(args.schema.as_deref(), settings)?,
            extra_column: extra_column(args, &outputs)?,
            from: args.schema_from.into(),
            policy: args.schema_policy.into(),
            ..SchemaSource::default()
        },
        outputs,
        on_bad_record: args.on_bad_record,
        whole_streams: args.sink.whole,
        rejects,
        lossy_utf8: args.lossy_utf8,
        sort_hint: args.sink.sort_hint.clone().into(),
        metadata: vec![("drawoff.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        limits: settings.limits(),
    })
}

/// Fails if the schema file, the steps under it, or `--extra-column` could not be used later.
pub(super) fn check_schema(args: &PipelineArgs, outputs: &[Output], settings: &Settings) -> Result<(), Failure> {
    let enforced = read_schema_file(args.schema.as_deref(), settings)?;
    let choice = SchemaSource { enforced, policy: args.schema_policy.into(), ..SchemaSource::default() };
    // Against the schema file alone: other columns are known only from the data.
    check_steps(&args.steps.steps()?, &choice).map_err(Error::Pipeline)?;
    extra_column(args, outputs).map(drop)
}

/// Reads the columns of a schema file; `None` without one.
pub(super) fn read_schema_file(path: Option<&Path>, settings: &Settings) -> Result<Option<Schema>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
    schema_file::read_with_limit(&text, settings.max_columns.value).map(Some).map_err(|error| {
        let error = Error::Usage(format!("cannot use the schema file {}: {error}", path.display()));
        Failure::new(error, "create a schema file with `drawoff schema SRC --format json`")
    })
}

/// Returns the name of the extra column; `None` without `--extra-column`. Fails if an output is JSON, which needs none.
fn extra_column(args: &PipelineArgs, outputs: &[Output]) -> Result<Option<Arc<str>>, Failure> {
    let Some(name) = &args.extra_column else { return Ok(None) };
    if name.is_empty() {
        return Err(Error::Usage("`--extra-column` requires a name".into()).into());
    }
    match outputs.iter().any(|o| o.format.properties().rows == RowForm::Json) {
        false => Ok(Some(name.as_str().into())),
        true => Err(Failure::new(
            Error::Usage("`--extra-column` applies only to CSV, Parquet and Arrow outputs".into()),
            "leave it out: JSON keeps every key where it is",
        )),
    }
}

/// Returns the hint for `change`, a change of the schema that an output could not follow. `files` is true if all sources
/// are files, which can be read twice.
pub(super) fn schema_hint(args: &PipelineArgs, outputs: &[Output], files: bool, change: &SchemaChange) -> &'static str {
    if change.loses_spelling() && !files && matches!(args.schema_policy, SchemaPolicyArg::Evolve) {
        return "give the column the type `text` in a schema file, `--schema FILE`, or save the source to a file first: it is then read twice where that is needed";
    }
    let to_stdout = outputs.iter().any(|output| output.target == Target::Stdout);
    match (args.schema_policy, to_stdout, files) {
        (SchemaPolicyArg::Fail, ..) => {
            "widen the output with `--schema-policy evolve`, or reject such records with `--schema-policy freeze`"
        }
        (_, true, true) => {
            "infer the schema from all records with `--schema-from full`, collect keys without a column with `--extra-column NAME`, or write a file, which can follow such a change: `-o FILE`"
        }
        (_, true, false) => {
            "collect keys without a column with `--extra-column NAME`, or write a file, which can follow such a change: `-o FILE.parquet`; `--schema-from full` helps once the input is a file"
        }
        (_, false, true) => {
            "infer the schema from all records with `--schema-from full`, or write a Parquet file, which can follow such a change: `-o FILE.parquet`"
        }
        (_, false, false) => "write a Parquet file, which can follow such a change: `-o FILE.parquet`",
    }
}

/// Returns the name of a target in messages.
pub(super) fn target_name(output: &Output) -> String {
    match &output.target {
        Target::File { path, .. } => path.display().to_string(),
        Target::Directory(directory) => directory.path.display().to_string(),
        Target::Object(location) => location.url.clone(),
        Target::Stdout => STDOUT.to_owned(),
        Target::Channel(_) => "the batches".to_owned(),
        Target::Table(target) => target.name(),
    }
}

/// Returns the names of all targets, joined by commas.
pub(super) fn target_names(outputs: &[Output]) -> String {
    outputs.iter().map(target_name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::super::args::{Args, Command, TopCommand};
    use super::super::settings::{TypedSettings, UserDirs};
    use super::*;

    pub(in super::super) fn plan_args(flags: &str) -> PipelineArgs {
        let line = format!("drawoff convert in.ndjson {flags}");
        match Args::try_parse_from(line.split_whitespace()).unwrap().command {
            TopCommand::WithSettings(Command::Convert(args)) => args.plan,
            _ => unreachable!("the command is convert"),
        }
    }

    pub(in super::super) fn settings() -> Settings {
        Settings::resolve_from(&TypedSettings::default(), &|_| None, UserDirs::default()).unwrap()
    }

    #[test]
    fn formats_are_inferred_from_names() {
        let cases = [
            ("a.parquet", Some(ToFormat::Parquet), SourceCodec::None),
            ("a.CSV.GZ", Some(ToFormat::Csv), SourceCodec::Gzip),
            ("a.b.jsonl.zst", Some(ToFormat::Ndjson), SourceCodec::Zstd),
            ("a.tsv", Some(ToFormat::Tsv), SourceCodec::None),
            ("a.json", Some(ToFormat::Json), SourceCodec::None),
            ("a.arrow", Some(ToFormat::Arrow), SourceCodec::None),
            ("a.arrows", Some(ToFormat::ArrowStream), SourceCodec::None),
            ("a.gz", None, SourceCodec::Gzip),
            ("a", None, SourceCodec::None),
        ];
        for (name, format, compression) in cases {
            assert_eq!(format_of_name(Path::new(name)), (format, compression), "{name}");
        }
    }

    #[test]
    fn the_format_is_that_of_the_flag_or_of_the_name() {
        let made = |flags: &str| outputs(&plan_args(flags), &settings(), "part").map(|mut made| made.remove(0));
        assert_eq!(made("-o -").unwrap().format, OutputFormat::Ndjson);
        assert_eq!(made("-o x.bin --to json").unwrap().format, OutputFormat::JsonArray);
        for (flags, words) in [
            ("", "no output"),
            ("-o x.bin", "cannot infer an output format from `x.bin`"),
            ("-o https://u:p@h/x.bin?sig=s", "cannot write to https://h/x.bin?[redacted]"),
            ("-o x.parquet.gz", "inside"),
        ] {
            let failure = made(flags).unwrap_err();
            assert!(failure.lines()[0].contains(words) && failure.hint().is_some(), "{failure:?}");
        }
    }

    #[test]
    fn directories_and_objects_are_recognized_by_their_names() {
        let made = |flags: &str| outputs(&plan_args(flags), &settings(), "part").map(|mut made| made.remove(0));
        let Target::Directory(folder) = made("-o people/ --partition-by a,b --max-file-rows 9").unwrap().target else {
            panic!("it ends with a slash")
        };
        assert_eq!((folder.set.as_str(), folder.max_file_rows, folder.partition_by.len()), ("part", Some(9), 2));
        assert!(matches!(made("-o people --max-file-bytes 1MiB").unwrap().target, Target::Directory(_)));
        assert!(matches!(made("-o s3://bucket/a.csv.gz").unwrap().target, Target::Object(_)));
        for flags in ["-o s3://bucket/people/", "-o s3://bucket/people --partition-by a"] {
            let Target::Directory(folder) = made(flags).unwrap().target else { panic!("{flags}: a directory") };
            assert_eq!(folder.path, Path::new("s3://bucket/people"));
            assert!(folder.store.is_some());
        }
        for (flags, words) in [
            ("-o people.csv --partition-by a", "`--partition-by` applies only to directories"),
            ("-o people.csv --sort-hint a", "`--sort-hint` applies only to Parquet outputs"),
            ("-o people.parquet --append", "cannot append to people.parquet: its footer"),
            ("-o people.csv.gz --append", "cannot append to people.csv.gz: it is compressed"),
            ("-o people/ --append", "it is a directory"),
            ("-o - -o -", "specified twice"),
            ("-o a.csv -o ./a.csv", "specified twice"),
            ("-o a.arrow.gz", "not compressed"),
        ] {
            let failure = made(flags).unwrap_err();
            assert!(failure.lines()[0].contains(words) && failure.hint().is_some(), "{flags}: {failure:?}");
        }
    }

    #[test]
    fn files_of_a_run_begin_with_its_id() {
        assert_eq!(set_of_run("5f0c-11", Some(3)), "5f0c-11-03");
        assert_eq!(set_of_run("../x y", None), "___x_y");
    }

    #[test]
    fn names_from_the_api_are_sanitized() {
        let long = "x".repeat(300);
        for name in
            ["../../etc/passwd", "/abs/olute.csv", "..", "", "CON", "a\u{1b}[31m\n.csv", "a\\b", "nul.csv", "ä", &long]
        {
            let [plain] = &plain_names(&[(name, Some(2))])[..] else { unreachable!("one for each") };
            assert!(plain.len() <= 90 && plain.starts_with("02-"), "{plain}");
            assert!(plain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "{plain}");
        }
    }

    #[test]
    fn equal_names_are_made_unique() {
        let files = [("a.csv", Some(1)), ("A.csv", Some(1)), ("x/a.ndjson", Some(1)), ("a-2", Some(1)), ("a", Some(2))];
        assert_eq!(plain_names(&files), ["01-a", "01-a-2", "01-a-3", "01-a-2-2", "02-a"]);
        assert_eq!(plain_names(&[("", None), ("", None)]), ["x00-block", "x01-block"]);
    }
}
