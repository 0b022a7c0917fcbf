//! From names and flags to sources and outputs, checked before anything costs time.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::PipelineArgs;
use super::choices::{FromFormat, SchemaFromArg, SchemaPolicyArg, ToFormat};
use super::error::{Error, Failure, STDOUT};
use super::settings::Settings;
use super::sinks::TypedOutput;
use crate::column::Schema;
use crate::format::{
    ArrowForm, Compression, FileEnd, Format, NamedFormat, OutputFormat, ParquetCodec, ParquetOptions, RowForm,
    schema_file,
};
use crate::net;
use crate::pipeline::{
    Directory, ExecutionPlan, OnBadRecord, Output, SUCCESS, SchemaFrom, SchemaPolicy, SchemaSource, Target,
    check_steps, is_rejects_file,
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

/// The format that a file's name tells, and its compression. Names of neither kind tell nothing.
pub fn told_by_name(path: &Path) -> (Option<ToFormat>, Compression) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (format, compression) = NamedFormat::of_name(&name);
    (format.map(ToFormat::from), compression)
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

/// The outputs meant by `-o` and `--to`; there is at least one. Nothing is touched. `set` is what the names of a folder's
/// files begin with.
pub fn outputs(args: &PipelineArgs, settings: &Settings, set: &str) -> Result<Vec<Output>, Failure> {
    let typed = &args.outputs.typed;
    if typed.is_empty() {
        return Err(Failure::new(
            Error::Usage("no output was given".into()),
            "give `-o FILE`, or `-o -` for standard output (NDJSON, or what `--to` says)",
        ));
    }
    let outputs = typed.iter().map(|typed| output(typed, args, settings, set)).collect::<Result<Vec<_>, _>>()?;
    for (i, output) in outputs.iter().enumerate() {
        if outputs[..i].iter().any(|other| same_target(&other.target, &output.target)) {
            let error = Error::Usage(format!("{} is given twice", target_name(output)));
            return Err(Failure::new(error, "give each `-o` a place of its own"));
        }
    }
    let is_csv = |output: &Output| matches!(output.format, OutputFormat::Csv(_));
    if let Some(flag) = args.dialect.first_given().filter(|_| !outputs.iter().any(is_csv)) {
        let error = Error::Usage(format!("`{flag}` is for CSV, and no output is"));
        return Err(Failure::new(error, "leave it out, or write CSV: `--to csv`"));
    }
    let is_parquet = |output: &Output| matches!(output.format, OutputFormat::Parquet(_));
    if !args.sink.sort_hint.is_empty() && !outputs.iter().any(is_parquet) {
        let error = Error::Usage("`--sort-hint` is for Parquet, and no output is".to_owned());
        return Err(Failure::new(
            error,
            "leave it out; it does not sort, `--sql \"SELECT * FROM results ORDER BY ...\"` does",
        ));
    }
    let is_folder = |output: &Output| matches!(output.target, Target::Directory(_));
    if let Some(flag) = args.sink.folder_flag().filter(|_| !outputs.iter().any(is_folder)) {
        let error = Error::Usage(format!("`{flag}` is for folders, and no output is one"));
        return Err(Failure::new(error, "end the name of a folder with a slash: `-o people/`"));
    }
    Ok(outputs)
}

fn same_target(a: &Target, b: &Target) -> bool {
    match (a, b) {
        (Target::File { path: a, .. }, Target::File { path: b, .. }) => same_place(a, b),
        (Target::Directory(a), Target::Directory(b)) => a.path == b.path || same_place(&a.path, &b.path),
        (Target::Object(a), Target::Object(b)) => a.url == b.url,
        (Target::Stdout, Target::Stdout) => true,
        _ => false,
    }
}

fn output(typed: &TypedOutput, args: &PipelineArgs, settings: &Settings, set: &str) -> Result<Output, Failure> {
    let path = &typed.path;
    if typed.is_stdout() {
        let format = output_format(typed.to.unwrap_or(ToFormat::Ndjson), args, settings.codec.value)?;
        return Ok(Output { format, compression: Compression::None, target: Target::Stdout });
    }
    if let Some(url) = object_url(path) {
        let folder = url.ends_with('/') || args.sink.folder_flag().is_some() && told_by_name(path).0.is_none();
        return match folder {
            true => output_folder(path, Some(object_place(url, args)), typed, args, settings, set),
            false => output_object(url, typed, args, settings),
        };
    }
    let ends_with_slash = path.as_os_str().to_string_lossy().ends_with('/');
    // A flag that only a folder takes says that a name without an extension is one.
    let told = told_by_name(path).0.is_some() || path.is_file();
    if ends_with_slash || path.is_dir() || args.sink.folder_flag().is_some() && !told {
        return output_folder(path, None, typed, args, settings, set);
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

/// The format and compression of a file, by flag or name.
fn named_format(path: &Path, to: Option<ToFormat>) -> Result<(ToFormat, Compression), Failure> {
    let (told, compression) = told_by_name(path);
    let Some(format) = to.or(told) else {
        return Err(Failure::new(
            Error::Usage(format!("the name {} tells no format", path.display())),
            "give `--to parquet`, csv, tsv, ndjson, json, arrow or arrow-stream; the name of a folder ends with a slash",
        ));
    };
    let inside = match format {
        ToFormat::Parquet => {
            Some(("Parquet is compressed inside", "leave .gz or .zst out; `--codec` chooses the compression"))
        }
        ToFormat::Arrow | ToFormat::ArrowStream => {
            Some(("Arrow is read where it lies, and not compressed", "leave .gz or .zst out, or write Parquet"))
        }
        _ => None,
    };
    match inside {
        Some((why, hint)) if compression != Compression::None => {
            Err(Failure::new(Error::Usage(format!("{}: {why}", path.display())), hint))
        }
        _ => Ok((format, compression)),
    }
}

fn check_append(format: &OutputFormat, compression: Compression, path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let (why, hint) = match format.properties().end {
        _ if compression != Compression::None => {
            (format!("`--append`: {shown} is compressed"), "append to a plain file, or write another one")
        }
        FileEnd::Open => return Ok(()),
        FileEnd::Footer => (
            format!(
                "`--append`: nothing can be added to {shown}; what is at the end of such a file says what is in it"
            ),
            "add a file to a folder, which readers take as one table: `-o people/`",
        ),
        FileEnd::Bracket => {
            (format!("`--append`: the array in {shown} has its end"), "write NDJSON, which has none: `--to ndjson`")
        }
    };
    Err(Failure::new(Error::Usage(why), hint))
}

fn output_folder(
    path: &Path,
    store: Option<ObjectLocation>,
    typed: &TypedOutput,
    args: &PipelineArgs,
    settings: &Settings,
    set: &str,
) -> Result<Output, Failure> {
    if args.sink.append {
        let error = Error::Usage(format!("`--append`: {} is a folder", path.display()));
        return Err(Failure::new(error, "leave it out: files of other runs stay in a folder"));
    }
    if args.dialect.excel && !args.sink.partition_by.is_empty() {
        let error = Error::Usage("`--excel` and `--partition-by` do not go together".to_owned());
        return Err(Failure::new(error, "spreadsheets open single files"));
    }
    let format = output_format(typed.to.unwrap_or(ToFormat::Parquet), args, settings.codec.value)?;
    let target = Target::Directory(Directory {
        // Without the slash, which would hide a file of this name.
        path: match &store {
            Some(place) => place.url.trim_end_matches('/').into(),
            None => path.components().collect(),
        },
        store,
        set: set.to_owned(),
        no_clobber: args.sink.no_clobber,
        max_file_rows: args.sink.max_file_rows,
        max_file_bytes: args.sink.max_file_bytes,
        partition_by: args.sink.partition_by.iter().map(|name| name.as_str().into()).collect(),
    });
    Ok(Output { format, compression: Compression::None, target })
}

/// The text of a path that is the URL of an object.
fn object_url(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    ["s3://", "gs://", "az://", "s3a://", "abfs://", "abfss://", "azure://"]
        .iter()
        .any(|s| text.starts_with(s))
        .then_some(text)
}

fn output_object(url: &str, typed: &TypedOutput, args: &PipelineArgs, settings: &Settings) -> Result<Output, Failure> {
    if args.sink.append {
        let error = Error::Usage(format!("`--append`: nothing can be added to {url}; objects are put whole"));
        return Err(Failure::new(error, "write another object"));
    }
    let (format, compression) = named_format(Path::new(url), typed.to)?;
    let format = output_format(format, args, settings.codec.value)?;
    Ok(Output { format, compression, target: Target::Object(object_place(url, args)) })
}

fn object_place(url: &str, args: &PipelineArgs) -> ObjectLocation {
    let options = object_options(std::env::vars_os());
    ObjectLocation { url: url.to_owned(), options, no_clobber: args.sink.no_clobber }
}

/// What the environment says of object stores, by the usual names.
fn object_options(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<(String, String)> {
    let mut options: Vec<(String, String)> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?.to_ascii_lowercase(), value.into_string().ok()?)))
        .filter(|(name, value)| {
            let ours = ["aws_", "google_", "azure_"].iter().any(|prefix| name.starts_with(prefix));
            ours && !value.is_empty()
        })
        .collect();
    options.sort();
    if let Some(endpoint) =
        options.iter().find(|(name, _)| name == "aws_endpoint_url_s3").map(|(_, value)| value.clone())
    {
        options.retain(|(name, _)| name != "aws_endpoint_url" && name != "aws_endpoint_url_s3");
        options.push(("aws_endpoint_url".to_owned(), endpoint));
    }
    // Who names an address without TLS wants it.
    let plain = options.iter().any(|(name, value)| name.contains("endpoint") && value.starts_with("http://"));
    if plain && !options.iter().any(|(name, _)| name == "aws_allow_http") {
        options.push(("aws_allow_http".to_owned(), "true".to_owned()));
    }
    options
}

/// The outputs under `--all-blocks`: files in the folder `-o`, each named after its result file (its name and the
/// number of its block). Those names come from outside, so they never decide a path.
pub fn block_outputs(
    args: &PipelineArgs,
    settings: &Settings,
    files: &[(&str, Option<i64>)],
) -> Result<Vec<Output>, Failure> {
    let typed = match &args.outputs.typed[..] {
        [typed] if !typed.is_stdout() && object_url(&typed.path).is_none() => typed,
        _ => {
            return Err(Failure::new(
                Error::Usage("`--all-blocks` writes several files".into()),
                "give one folder with `-o`",
            ));
        }
    };
    if let Some(flag) = args.sink.folder_flag() {
        let error = Error::Usage(format!("`--all-blocks` writes one file for each block, and `{flag}` divides them"));
        return Err(Failure::new(error, "choose a block with `--block N`"));
    }
    let format = output_format(typed.to.unwrap_or(ToFormat::Parquet), args, settings.codec.value)?;
    let output = |name| {
        let name = format!("{name}.{}", format.extension());
        output_file(&typed.path.join(name), typed.to.or(Some(ToFormat::Parquet)), args, settings)
    };
    plain_names(files).into_iter().map(output).collect()
}

/// What the names of a run's files in a folder begin with: the same for the same results, so that these replace each
/// other.
pub fn set_of_run(run: &str, block: Option<i64>) -> String {
    let run: String =
        run.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(80).collect();
    match block {
        Some(block) => format!("{run}-{block:02}"),
        None => run,
    }
}

/// One plain name per file, in order, no two the same: lower-case letters, digits, `-` and `_`, so that they are as
/// different on file systems that do not tell cases apart.
fn plain_names(files: &[(&str, Option<i64>)]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut names = Vec::new();
    for (index, (filename, number)) in files.iter().enumerate() {
        let plain = plain_name(filename, *number, index);
        let numbered = (2..).map(|n| format!("{plain}-{n}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name));
        let name = free.expect("there is no end of numbers");
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

fn plain_name(filename: &str, number: Option<i64>, index: usize) -> String {
    let stem = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = stem.split('.').next().unwrap_or_default();
    let plain: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c.to_ascii_lowercase() } else { '_' })
        .take(80)
        .collect();
    let plain = if plain.is_empty() { "block" } else { &plain };
    // A number of its own in front also disarms names that some systems reserve.
    match number {
        Some(number) => format!("{number:02}-{plain}"),
        None => format!("x{index:02}-{plain}"),
    }
}

/// Makes sure that an output can be written, before a run is started or a byte moves: the folder exists and takes
/// files, the name is free for a file, and no input stands there.
pub fn check_writable(output: &Output, inputs: &[&Path]) -> Result<(), Failure> {
    let (path, no_clobber) = match &output.target {
        Target::Stdout | Target::Channel(_) => return Ok(()),
        Target::File { path, no_clobber, .. } => (path, *no_clobber),
        // What can be begun below it can be put there.
        Target::Directory(Directory { store: Some(place), .. }) => {
            let url = format!("{}/{SUCCESS}", place.url.trim_end_matches('/'));
            return check_object(&ObjectLocation { url, no_clobber: false, ..place.clone() });
        }
        Target::Directory(directory) => return check_folder(directory),
        Target::Object(place) => return check_object(place),
    };
    let fail = |cause: io::Error| Failure::from(Error::Write { path: path.clone(), cause });
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(fail(io::Error::new(io::ErrorKind::IsADirectory, "is a folder")));
        }
        Ok(_) if no_clobber => {
            return Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, "the file is there already")));
        }
        _ => {}
    }
    if let Some(input) = inputs.iter().find(|input| same_place(input, path)) {
        return Err(Error::Usage(format!("{} is an input; it cannot be the output too", input.display())).into());
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    check_takes_files(folder).map_err(fail)
}

fn check_takes_files(folder: &Path) -> io::Result<()> {
    // A file that is made and dropped is the one check that asks the system itself. It has no name, so that a kill
    // leaves nothing.
    tempfile::tempfile_in(folder).map(drop).map_err(|error| {
        // The library adds the folder, which the message names already.
        if error.kind() == io::ErrorKind::NotFound {
            return io::Error::new(io::ErrorKind::NotFound, "no such folder");
        }
        error.raw_os_error().map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error)
    })
}

fn check_folder(directory: &Directory) -> Result<(), Failure> {
    let path = &directory.path;
    let fail = |cause: io::Error| Failure::from(Error::Write { path: path.clone(), cause });
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            Err(fail(io::Error::new(io::ErrorKind::NotADirectory, "is a file, and a folder was asked for")))
        }
        Ok(_) if directory.no_clobber && path.join("_manifest.json").exists() => {
            Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, "the folder holds results already")))
        }
        Ok(_) => check_takes_files(path).map_err(fail),
        Err(_) => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            check_takes_files(parent).map_err(fail)
        }
    }
}

fn check_object(place: &ObjectLocation) -> Result<(), Failure> {
    // On a thread of its own, because it blocks.
    let checked = std::thread::scope(|scope| scope.spawn(|| place.check()).join());
    let checked = checked.map_err(|_| Error::Bug("the check of an object's place broke down".into()))?;
    checked.map_err(|cause| {
        let is_there = cause.kind() == io::ErrorKind::AlreadyExists;
        let is_about_tls = cause.get_ref().is_some_and(|cause| cause.is::<net::BadCertificate>());
        let failure = Failure::from(Error::Write { path: PathBuf::from(&place.url), cause });
        if is_there || is_about_tls {
            return failure;
        }
        failure.with_hint(
            "credentials and address come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, \
             AWS_ENDPOINT_URL; GOOGLE_SERVICE_ACCOUNT; AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
        )
    })
}

/// Fails if an input stands where an output would.
pub fn check_inputs(outputs: &[Output], inputs: &[&Path]) -> Result<(), Failure> {
    let files = outputs.iter().filter(|output| matches!(output.target, Target::File { .. }));
    files.into_iter().try_for_each(|output| check_writable(output, inputs))
}

/// [`check_writable`] for all outputs.
pub fn check_all_writable(outputs: &[Output], inputs: &[&Path]) -> Result<(), Failure> {
    outputs.iter().try_for_each(|output| check_writable(output, inputs))
}

/// True if both paths name one file, which need not be there yet.
fn same_place(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        path.canonicalize().ok().or_else(|| {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(folder.canonicalize().ok()?.join(path.file_name()?))
        })
    };
    matches!((place(a), place(b)), (Some(a), Some(b)) if a == b)
}

/// Where rejects go: as told, or beside the first output that is a file or a folder when bad records are passed over.
/// What stands there must not be an input or an output, and what drawoff would put there by itself replaces only rejects.
fn rejects(args: &PipelineArgs, outputs: &[Output], inputs: &[&Path]) -> Result<Option<PathBuf>, Failure> {
    let beside = |output: &Output| match &output.target {
        Target::Stdout
        | Target::Channel(_)
        | Target::Object(_)
        | Target::Directory(Directory { store: Some(_), .. }) => None,
        // A device has no place beside it.
        Target::File { path, .. } if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) => None,
        Target::File { path, .. } => Some(rejects_beside(path)),
        Target::Directory(directory) => Some(rejects_beside(&directory.path)),
    };
    let beside = match args.on_bad_record {
        OnBadRecord::Fail => None,
        _ => outputs.iter().find_map(beside),
    };
    let Some(path) = args.rejects.clone().or(beside) else { return Ok(None) };
    let refuse = |what: String, hint: &str| Err(Failure::new(Error::Usage(what), hint));
    let shown = path.display();
    if inputs.iter().any(|input| same_place(input, &path)) {
        return refuse(format!("{shown} is an input; rejects cannot go there"), "give another file with `--rejects`");
    }
    let is_output =
        |output: &Output| matches!(&output.target, Target::File { path: output, .. } if same_place(output, &path));
    if outputs.iter().any(is_output) {
        return refuse(format!("{shown} is the output; rejects cannot go there"), "give another file with `--rejects`");
    }
    let may_be_replaced = is_rejects_file(&path) || args.rejects.is_some() && !args.sink.no_clobber;
    let is_beside = !matches!(outputs, [Output { target: Target::Stdout, .. }]);
    if is_beside && path.exists() && (args.sink.no_clobber || !may_be_replaced) {
        return refuse(
            format!("{shown} is where rejects would go, and a file stands there"),
            "move it away, or give another file with `--rejects`",
        );
    }
    Ok(Some(path))
}

/// `people.parquet` and `people.csv.gz` give `people.rejects.ndjson`.
fn rejects_beside(path: &Path) -> PathBuf {
    let (_, compression) = told_by_name(path);
    let stem = path.with_extension("");
    let stem = if compression == Compression::None { stem } else { stem.with_extension("") };
    let mut name = stem.file_name().unwrap_or_default().to_os_string();
    name.push(".rejects.ndjson");
    path.with_file_name(name)
}

/// The plan from `sources` to `output` under the flags.
pub fn plan(
    sources: Vec<Source>,
    outputs: Vec<Output>,
    args: &PipelineArgs,
    settings: &Settings,
) -> Result<ExecutionPlan, Failure> {
    let inputs: Vec<&Path> = sources
        .iter()
        .filter_map(|source| match &source.input {
            Input::File(path) => Some(path.as_path()),
            _ => None,
        })
        .collect();
    let rejects = rejects(args, &outputs, &inputs)?;
    Ok(ExecutionPlan {
        sources,
        steps: args.steps.steps()?,
        tables: args.steps.tables(),
        on_bad_cast: args.steps.on_bad_cast()?,
        schema: SchemaSource {
            declared: None,
            enforced: args.schema.as_deref().map(read_schema_file).transpose()?,
            extra_column: extra_column(args, &outputs)?,
            from: args.schema_from.into(),
            policy: args.schema_policy.into(),
        },
        outputs,
        on_bad_record: args.on_bad_record,
        rejects,
        lossy_utf8: args.lossy_utf8,
        sort_hint: args.sink.sort_hint.clone().into(),
        metadata: vec![("drawoff.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        limits: settings.limits(),
    })
}

/// Fails now if what the flags say of the schema, and the steps under it, could not be used later.
pub fn check_schema(args: &PipelineArgs, outputs: &[Output]) -> Result<(), Failure> {
    let enforced = args.schema.as_deref().map(read_schema_file).transpose()?;
    let choice = SchemaSource { enforced: enforced, policy: args.schema_policy.into(), ..SchemaSource::default() };
    check_steps(&args.steps.steps()?, &choice).map_err(Error::Pipeline)?;
    extra_column(args, outputs).map(drop)
}

/// The columns of a schema file.
pub fn read_schema_file(path: &Path) -> Result<Schema, Failure> {
    let text = std::fs::read_to_string(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
    schema_file::read(&text).map_err(|error| {
        let error = Error::Usage(format!("the schema file {}, {error}", path.display()));
        Failure::new(error, "`drawoff schema SRC --format json` writes a schema file to start from")
    })
}

fn extra_column(args: &PipelineArgs, outputs: &[Output]) -> Result<Option<Arc<str>>, Failure> {
    let Some(name) = &args.extra_column else { return Ok(None) };
    if name.is_empty() {
        return Err(Error::Usage("`--extra-column` needs a name".into()).into());
    }
    match outputs.iter().any(|o| o.format.properties().rows == RowForm::Json) {
        false => Ok(Some(name.as_str().into())),
        true => Err(Failure::new(
            Error::Usage("`--extra-column` is for CSV, Parquet and Arrow".into()),
            "leave it out: JSON keeps every key where it is",
        )),
    }
}

/// What can be done when the schema changed where an output could not follow. `files` says that all sources are files.
pub fn schema_hint(args: &PipelineArgs, outputs: &[Output], files: bool) -> &'static str {
    let to_stdout = outputs.iter().any(|output| output.target == Target::Stdout);
    match (args.schema_policy, to_stdout, files) {
        (SchemaPolicyArg::Fail, ..) => {
            "`--schema-policy evolve` widens what is written, `--schema-policy freeze` rejects such records"
        }
        (_, true, true) => {
            "`--schema-from full` reads everything before it writes, and `--extra-column NAME` takes keys without a column; `-o FILE` can follow such a change"
        }
        (_, true, false) => {
            "`--extra-column NAME` takes keys without a column; `-o FILE.parquet` can follow such a change, and so can `--schema-from full` once the input is a file"
        }
        (_, false, true) => {
            "`--schema-from full` reads everything before it writes; a Parquet file can follow such a change: `-o FILE.parquet`"
        }
        (_, false, false) => "a Parquet file can follow such a change: `-o FILE.parquet`",
    }
}

/// How a target is called in messages.
pub fn target_name(output: &Output) -> String {
    match &output.target {
        Target::File { path, .. } => path.display().to_string(),
        Target::Directory(directory) => directory.path.display().to_string(),
        Target::Object(place) => place.url.clone(),
        Target::Stdout => STDOUT.to_owned(),
        Target::Channel(_) => "the batches".to_owned(),
    }
}

/// How several are called.
pub fn target_names(outputs: &[Output]) -> String {
    outputs.iter().map(target_name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Args, Command, TopCommand};
    use super::super::settings::{TypedSettings, UserDirs};
    use super::*;

    fn plan_args(flags: &str) -> PipelineArgs {
        let line = format!("drawoff convert in.ndjson {flags}");
        match Args::try_parse_from(line.split_whitespace()).unwrap().command {
            TopCommand::WithSettings(Command::Convert(args)) => args.plan,
            _ => unreachable!("the line says convert"),
        }
    }

    fn settings() -> Settings {
        Settings::resolve_from(&TypedSettings::default(), &|_| None, UserDirs::default()).unwrap()
    }

    #[test]
    fn names_tell_format_and_compression() {
        let cases = [
            ("a.parquet", Some(ToFormat::Parquet), Compression::None),
            ("a.CSV.GZ", Some(ToFormat::Csv), Compression::Gzip),
            ("a.b.jsonl.zst", Some(ToFormat::Ndjson), Compression::Zstd),
            ("a.tsv", Some(ToFormat::Tsv), Compression::None),
            ("a.json", Some(ToFormat::Json), Compression::None),
            ("a.arrow", Some(ToFormat::Arrow), Compression::None),
            ("a.arrows", Some(ToFormat::ArrowStream), Compression::None),
            ("a.gz", None, Compression::Gzip),
            ("a", None, Compression::None),
        ];
        for (name, format, compression) in cases {
            assert_eq!(told_by_name(Path::new(name)), (format, compression), "{name}");
        }
    }

    #[test]
    fn outputs_are_told_by_flag_or_name() {
        let made = |flags: &str| outputs(&plan_args(flags), &settings(), "part").map(|mut made| made.remove(0));
        assert_eq!(made("-o -").unwrap().format, OutputFormat::Ndjson);
        assert_eq!(made("-o x.bin --to json").unwrap().format, OutputFormat::JsonArray);
        for (flags, words) in [("", "no output"), ("-o x.bin", "tells no format"), ("-o x.parquet.gz", "inside")] {
            let failure = made(flags).unwrap_err();
            assert!(failure.lines()[0].contains(words) && failure.hint().is_some(), "{failure:?}");
        }
    }

    #[test]
    fn folders_and_objects_are_told_by_their_names() {
        let made = |flags: &str| outputs(&plan_args(flags), &settings(), "part").map(|mut made| made.remove(0));
        let Target::Directory(folder) = made("-o people/ --partition-by a,b --max-file-rows 9").unwrap().target else {
            panic!("it ends with a slash")
        };
        assert_eq!((folder.set.as_str(), folder.max_file_rows, folder.partition_by.len()), ("part", Some(9), 2));
        assert!(matches!(made("-o people --max-file-bytes 1MiB").unwrap().target, Target::Directory(_)));
        assert!(matches!(made("-o s3://bucket/a.csv.gz").unwrap().target, Target::Object(_)));
        for flags in ["-o s3://bucket/people/", "-o s3://bucket/people --partition-by a"] {
            let Target::Directory(folder) = made(flags).unwrap().target else { panic!("{flags}: a folder") };
            assert_eq!(folder.path, Path::new("s3://bucket/people"));
            assert!(folder.store.is_some());
        }
        for (flags, words) in [
            ("-o people.csv --partition-by a", "for folders"),
            ("-o people.csv --sort-hint a", "for Parquet"),
            ("-o people.parquet --append", "nothing can be added"),
            ("-o people.csv.gz --append", "compressed"),
            ("-o people/ --append", "is a folder"),
            ("-o - -o -", "given twice"),
            ("-o a.csv -o ./a.csv", "given twice"),
            ("-o a.arrow.gz", "not compressed"),
        ] {
            let failure = made(flags).unwrap_err();
            assert!(failure.lines()[0].contains(words) && failure.hint().is_some(), "{flags}: {failure:?}");
        }
    }

    #[test]
    fn the_environment_says_where_objects_are() {
        let said = |variables: &[(&str, &str)]| {
            object_options(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(said(&[("AWS_REGION", "eu-1"), ("HOME", "/"), ("AWS_PROFILE", "")]), [pair("aws_region", "eu-1")]);
        assert_eq!(
            said(&[("AWS_ENDPOINT_URL", "https://a"), ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")]),
            [pair("aws_endpoint_url", "http://127.0.0.1:9"), pair("aws_allow_http", "true")]
        );
    }

    #[test]
    fn files_of_a_run_have_its_name() {
        assert_eq!(set_of_run("5f0c-11", Some(3)), "5f0c-11-03");
        assert_eq!(set_of_run("../x y", None), "___x_y");
    }

    #[test]
    fn rejects_stand_beside_the_output() {
        let path = |flags: &str| {
            let args = plan_args(flags);
            rejects(&args, &outputs(&args, &settings(), "part").unwrap(), &[]).unwrap()
        };
        assert_eq!(path("-o d/people.parquet"), None);
        assert_eq!(path("-o d/people.parquet --on-bad-record skip"), Some("d/people.rejects.ndjson".into()));
        assert_eq!(path("-o d/a.csv.gz --on-bad-record limit=3"), Some("d/a.rejects.ndjson".into()));
        assert_eq!(path("-o - --on-bad-record skip"), None);
        assert_eq!(path("-o - --on-bad-record skip --rejects r.ndjson"), Some("r.ndjson".into()));
    }

    #[test]
    fn rejects_never_replace_what_is_not_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("in.csv"), "a\n1\n").unwrap();
        std::fs::write(at("people.rejects.ndjson"), "precious").unwrap();
        std::fs::write(at("old.rejects.ndjson"), r#"{"source":"x","byte":0,"line":1,"record":0,"path":""}"#).unwrap();
        let made = |flags: &str, inputs: &[&Path]| {
            let args = plan_args(&flags.replace("DIR", &folder.path().display().to_string()));
            rejects(&args, &outputs(&args, &settings(), "part").unwrap(), inputs)
        };
        let skip = "--on-bad-record skip";
        assert!(made(&format!("-o DIR/people.csv {skip}"), &[]).is_err(), "a file of the user's own");
        assert!(made(&format!("-o DIR/old.csv {skip}"), &[]).is_ok(), "rejects of an earlier time");
        assert!(made(&format!("-o DIR/old.csv {skip}"), &[&at("old.rejects.ndjson")]).is_err(), "the input");
        assert!(made(&format!("-o DIR/out.csv {skip} --rejects DIR/in.csv"), &[&at("in.csv")]).is_err(), "the input");
        assert!(made(&format!("-o DIR/out.csv {skip} --rejects DIR/out.csv"), &[]).is_err(), "the output");
        assert!(made(&format!("-o DIR/out.csv {skip} --no-clobber --rejects DIR/in.csv"), &[]).is_err());
        assert_eq!(
            made(&format!("-o /dev/null --to csv {skip}"), &[]).unwrap(),
            None,
            "a device has no place beside it"
        );
    }

    #[test]
    fn a_name_from_outside_decides_no_path() {
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
    fn names_that_would_clash_are_kept_apart() {
        let files = [("a.csv", Some(1)), ("A.csv", Some(1)), ("x/a.ndjson", Some(1)), ("a-2", Some(1)), ("a", Some(2))];
        assert_eq!(plain_names(&files), ["01-a", "01-a-2", "01-a-3", "01-a-2-2", "02-a"]);
        assert_eq!(plain_names(&[("", None), ("", None)]), ["x00-block", "x01-block"]);
    }

    #[test]
    fn what_cannot_be_written_is_known_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let check = |path: &Path, more: &str, inputs: &[&Path]| {
            let args = plan_args(&format!("-o {} {more}", path.display()));
            check_all_writable(&outputs(&args, &settings(), "part").unwrap(), inputs)
        };
        check(&path, "", &[]).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(&path, "a\n1\n").unwrap();
        check(&path, "", &[]).unwrap();
        assert!(check(&path, "--no-clobber", &[]).unwrap_err().lines()[1].contains("--no-clobber"));
        assert!(check(&path, "", &[&path]).unwrap_err().lines()[0].contains("is an input"));
        assert!(check(&folder.path().join("no/out.csv"), "", &[]).unwrap_err().lines()[1].contains("must exist"));
        assert!(
            check(&folder.path().join("no/out.csv"), "", &[]).unwrap_err().lines()[0].ends_with(": no such folder")
        );
        check(folder.path(), "--to csv", &[]).unwrap();
        assert!(check(&path.join(""), "", &[]).unwrap_err().lines()[0].contains("is a file"));
    }
}
