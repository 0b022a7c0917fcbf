//! From names and flags to sources and outputs, checked before anything costs time.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{FromFormat, PlanArgs, SchemaFromArg, SchemaPolicyArg, ToFormat};
use super::error::{Error, Failure, STDOUT};
use super::settings::Settings;
use crate::column::Schema;
use crate::format::{Compression, Format, OutputFormat, ParquetCodec, ParquetOptions, schema_file};
use crate::pipeline::{
    OnBadRecord, Output, Plan, SchemaChoice, SchemaFrom, SchemaPolicy, Target, check_steps, is_rejects_file,
};
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
    let extension = |path: &Path| path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let compression = match extension(path).as_deref() {
        Some("gz") => Compression::Gzip,
        Some("zst" | "zstd") => Compression::Zstd,
        _ => Compression::None,
    };
    let stem = path.file_stem().map(PathBuf::from).unwrap_or_default();
    let inner = if compression == Compression::None { extension(path) } else { extension(&stem) };
    let format = match inner.as_deref() {
        Some("parquet" | "pq") => Some(ToFormat::Parquet),
        Some("csv") => Some(ToFormat::Csv),
        Some("tsv" | "tab") => Some(ToFormat::Tsv),
        Some("ndjson" | "jsonl" | "jsonlines") => Some(ToFormat::Ndjson),
        Some("json") => Some(ToFormat::Json),
        _ => None,
    };
    (format, compression)
}

fn output_format(format: ToFormat, args: &PlanArgs, codec: ParquetCodec) -> Result<OutputFormat, Failure> {
    let is_csv = matches!(format, ToFormat::Csv | ToFormat::Tsv);
    if let Some(flag) = args.dialect.first_given().filter(|_| !is_csv) {
        let error = Error::Usage(format!("`{flag}` is for CSV, and the output is none"));
        return Err(Failure::new(error, "leave it out, or write CSV: `--to csv`"));
    }
    Ok(match format {
        ToFormat::Parquet => OutputFormat::Parquet(ParquetOptions { codec }),
        ToFormat::Csv => OutputFormat::Csv(args.dialect.options(b',')?),
        ToFormat::Tsv => OutputFormat::Csv(args.dialect.options(b'\t')?),
        ToFormat::Ndjson => OutputFormat::Ndjson,
        ToFormat::Json => OutputFormat::JsonArray,
    })
}

/// The extension that files of a format get.
fn extension_of(format: ToFormat) -> &'static str {
    match format {
        ToFormat::Parquet => "parquet",
        ToFormat::Csv => "csv",
        ToFormat::Tsv => "tsv",
        ToFormat::Ndjson => "ndjson",
        ToFormat::Json => "json",
    }
}

/// The output meant by `-o` and `--to`. Nothing is touched.
pub fn output(args: &PlanArgs, settings: &Settings) -> Result<Output, Failure> {
    let Some(path) = &args.output else {
        return Err(Failure::new(
            Error::Usage("no output was given".into()),
            "give `-o FILE`, or `-o -` for standard output (NDJSON, or what `--to` says)",
        ));
    };
    let codec = settings.codec.value;
    if path == Path::new("-") {
        let format = output_format(args.to.unwrap_or(ToFormat::Ndjson), args, codec)?;
        return Ok(Output { format, compression: Compression::None, target: Target::Stdout });
    }
    output_file(path, args, codec)
}

fn output_file(path: &Path, args: &PlanArgs, codec: ParquetCodec) -> Result<Output, Failure> {
    let (told, compression) = told_by_name(path);
    let Some(format) = args.to.or(told) else {
        return Err(Failure::new(
            Error::Usage(format!("the name {} tells no format", path.display())),
            "give `--to parquet`, csv, tsv, ndjson or json",
        ));
    };
    if format == ToFormat::Parquet && compression != Compression::None {
        return Err(Failure::new(
            Error::Usage(format!("{}: Parquet is compressed inside", path.display())),
            "leave .gz or .zst out; `--codec` chooses the compression",
        ));
    }
    let target = Target::File { path: path.to_owned(), no_clobber: args.no_clobber };
    Ok(Output { format: output_format(format, args, codec)?, compression, target })
}

/// The outputs under `--all-blocks`: files in the folder `-o`, each named after its result file (its name and the
/// number of its block). Those names come from outside, so they never decide a path.
pub fn block_outputs(
    args: &PlanArgs,
    settings: &Settings,
    files: &[(&str, Option<i64>)],
) -> Result<Vec<Output>, Failure> {
    let Some(folder) = args.output.as_deref().filter(|path| *path != Path::new("-")) else {
        return Err(Failure::new(
            Error::Usage("`--all-blocks` writes several files".into()),
            "give a folder with `-o`",
        ));
    };
    let format = args.to.unwrap_or(ToFormat::Parquet);
    let output = |name| {
        let name = format!("{name}.{}", extension_of(format));
        output_file(&folder.join(name), args, settings.codec.value)
    };
    plain_names(files).into_iter().map(output).collect()
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

/// Makes sure that the outputs can be written, before a run is started or a byte moves: the folder exists and takes
/// files, the name is free for a file, and no input stands there.
pub fn check_writable(output: &Output, inputs: &[&Path]) -> Result<(), Failure> {
    let Target::File { path, no_clobber } = &output.target else { return Ok(()) };
    let fail = |cause: io::Error| Failure::from(Error::Write { path: path.clone(), cause });
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(fail(io::Error::new(io::ErrorKind::IsADirectory, "is a folder")));
        }
        Ok(_) if *no_clobber => {
            return Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, "the file is there already")));
        }
        _ => {}
    }
    if let Some(input) = inputs.iter().find(|input| same_place(input, path)) {
        return Err(Error::Usage(format!("{} is an input; it cannot be the output too", input.display())).into());
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A file that is made and dropped is the one check that asks the system itself. It has no name, so that a kill
    // leaves nothing.
    tempfile::tempfile_in(folder).map_err(|error| {
        // The library adds the folder, which the message names already.
        if error.kind() == io::ErrorKind::NotFound {
            return fail(io::Error::new(io::ErrorKind::NotFound, "no such folder"));
        }
        fail(error.raw_os_error().map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error))
    })?;
    Ok(())
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

/// Where rejects go: as told, or beside a file output when bad records are passed over. What stands there must not be
/// an input or the output, and what drawoff would put there by itself replaces only rejects.
fn rejects(args: &PlanArgs, output: &Output, inputs: &[&Path]) -> Result<Option<PathBuf>, Failure> {
    let beside = match (&output.target, args.on_bad_record) {
        (_, OnBadRecord::Fail) | (Target::Stdout, _) => None,
        // A device has no place beside it.
        (Target::File { path, .. }, _) if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) => None,
        (Target::File { path, .. }, _) => Some(rejects_beside(path)),
    };
    let Some(path) = args.rejects.clone().or(beside) else { return Ok(None) };
    let refuse = |what: String, hint: &str| Err(Failure::new(Error::Usage(what), hint));
    let shown = path.display();
    if inputs.iter().any(|input| same_place(input, &path)) {
        return refuse(format!("{shown} is an input; rejects cannot go there"), "give another file with `--rejects`");
    }
    if let Target::File { path: output, no_clobber } = &output.target {
        if same_place(output, &path) {
            return refuse(
                format!("{shown} is the output; rejects cannot go there"),
                "give another file with `--rejects`",
            );
        }
        let foreign = path.exists() && (*no_clobber || args.rejects.is_none() && !is_rejects_file(&path));
        if foreign {
            return refuse(
                format!("{shown} is where rejects would go, and a file stands there"),
                "move it away, or give another file with `--rejects`",
            );
        }
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
pub fn plan(sources: Vec<Source>, output: Output, args: &PlanArgs, settings: &Settings) -> Result<Plan, Failure> {
    let inputs: Vec<&Path> = sources
        .iter()
        .filter_map(|source| match &source.input {
            Input::File(path) => Some(path.as_path()),
            _ => None,
        })
        .collect();
    let rejects = rejects(args, &output, &inputs)?;
    Ok(Plan {
        sources,
        steps: args.steps.steps()?,
        on_bad_cast: args.steps.on_bad_cast()?,
        schema: SchemaChoice {
            declared: None,
            law: args.schema.as_deref().map(read_schema_file).transpose()?,
            extra_column: extra_column(args, &output)?,
            from: args.schema_from.into(),
            policy: args.schema_policy.into(),
        },
        outputs: vec![output],
        on_bad_record: args.on_bad_record,
        rejects,
        lossy_utf8: args.lossy_utf8,
        limits: settings.limits(),
    })
}

/// Fails now if what the flags say of the schema, and the steps under it, could not be used later.
pub fn check_schema(args: &PlanArgs, output: &Output) -> Result<(), Failure> {
    let law = args.schema.as_deref().map(read_schema_file).transpose()?;
    let choice = SchemaChoice { law, policy: args.schema_policy.into(), ..SchemaChoice::default() };
    check_steps(&args.steps.steps()?, &choice).map_err(Error::Pipeline)?;
    extra_column(args, output).map(drop)
}

/// The columns of a schema file.
pub fn read_schema_file(path: &Path) -> Result<Schema, Failure> {
    let text = std::fs::read_to_string(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
    schema_file::read(&text).map_err(|error| {
        let error = Error::Usage(format!("the schema file {}, {error}", path.display()));
        Failure::new(error, "`drawoff schema SRC --format json` writes a schema file to start from")
    })
}

fn extra_column(args: &PlanArgs, output: &Output) -> Result<Option<Arc<str>>, Failure> {
    let Some(name) = &args.extra_column else { return Ok(None) };
    match output.format {
        _ if name.is_empty() => Err(Error::Usage("`--extra-column` needs a name".into()).into()),
        OutputFormat::Csv(_) | OutputFormat::Parquet(_) => Ok(Some(name.as_str().into())),
        OutputFormat::Ndjson | OutputFormat::JsonArray => Err(Failure::new(
            Error::Usage("`--extra-column` is for CSV and Parquet".into()),
            "leave it out: JSON keeps every key where it is",
        )),
    }
}

/// What can be done when the schema changed where `output` could not follow. `files` says that all sources are files.
pub fn schema_hint(args: &PlanArgs, output: &Output, files: bool) -> &'static str {
    match (args.schema_policy, &output.target, files) {
        (SchemaPolicyArg::Fail, ..) => {
            "`--schema-policy evolve` widens what is written, `--schema-policy freeze` rejects such records"
        }
        (_, Target::Stdout, true) => {
            "`--schema-from full` reads everything before it writes, and `--extra-column NAME` takes keys without a column; `-o FILE` can follow such a change"
        }
        (_, Target::Stdout, false) => {
            "`--extra-column NAME` takes keys without a column; `-o FILE.parquet` can follow such a change, and so can `--schema-from full` once the input is a file"
        }
        (_, Target::File { .. }, true) => {
            "`--schema-from full` reads everything before it writes; a Parquet file can follow such a change: `-o FILE.parquet`"
        }
        (_, Target::File { .. }, false) => "a Parquet file can follow such a change: `-o FILE.parquet`",
    }
}

/// How a target is called in messages.
pub fn target_name(output: &Output) -> String {
    match &output.target {
        Target::File { path, .. } => path.display().to_string(),
        Target::Stdout => STDOUT.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Args, Command};
    use super::super::settings::{Flags, Places};
    use super::*;

    fn plan_args(flags: &str) -> PlanArgs {
        let line = format!("drawoff convert in.ndjson {flags}");
        match Args::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Convert(args) => args.plan,
            _ => unreachable!("the line says convert"),
        }
    }

    fn settings() -> Settings {
        Settings::resolve_from(&Flags::default(), &|_| None, Places::default()).unwrap()
    }

    #[test]
    fn names_tell_format_and_compression() {
        let cases = [
            ("a.parquet", Some(ToFormat::Parquet), Compression::None),
            ("a.CSV.GZ", Some(ToFormat::Csv), Compression::Gzip),
            ("a.b.jsonl.zst", Some(ToFormat::Ndjson), Compression::Zstd),
            ("a.tsv", Some(ToFormat::Tsv), Compression::None),
            ("a.json", Some(ToFormat::Json), Compression::None),
            ("a.gz", None, Compression::Gzip),
            ("a", None, Compression::None),
        ];
        for (name, format, compression) in cases {
            assert_eq!(told_by_name(Path::new(name)), (format, compression), "{name}");
        }
    }

    #[test]
    fn outputs_are_told_by_flag_or_name() {
        let made = |flags: &str| output(&plan_args(flags), &settings());
        assert_eq!(made("-o -").unwrap().format, OutputFormat::Ndjson);
        assert_eq!(made("-o x.bin --to json").unwrap().format, OutputFormat::JsonArray);
        for (flags, words) in [("", "no output"), ("-o x.bin", "tells no format"), ("-o x.parquet.gz", "inside")] {
            let failure = made(flags).unwrap_err();
            assert!(failure.lines()[0].contains(words) && failure.hint().is_some(), "{failure:?}");
        }
    }

    #[test]
    fn rejects_stand_beside_the_output() {
        let path = |flags: &str| {
            let args = plan_args(flags);
            rejects(&args, &output(&args, &settings()).unwrap(), &[]).unwrap()
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
            rejects(&args, &output(&args, &settings()).unwrap(), inputs)
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
            check_writable(&output(&args, &settings()).unwrap(), inputs)
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
        assert!(check(folder.path(), "--to csv", &[]).unwrap_err().lines()[0].contains("is a folder"));
    }
}
