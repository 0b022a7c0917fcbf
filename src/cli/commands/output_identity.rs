//! The digest of everything that determines the contents of an output: the result files and the conversion. The ledger
//! keeps it, so that an output that would be written the same again is not.
//!
//! It is made of a written form, one JSON array, and not of debug text: a renamed type or field does not change it. A new
//! flag or format option fails to compile here until it is decided whether it counts.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::pulled_results::RunFiles;
use crate::api::DownloadLink;
use crate::cli::args::PipelineArgs;
use crate::cli::sinks::SinkArgs;
use crate::cli::values::codec_text;
use crate::client::{digest_of, digest_of_file};
use crate::column::Schema;
use crate::format::parquet::SortKey;
use crate::format::{ArrowForm, Compression, CsvBooleans, CsvOptions, OutputFormat, ParquetOptions};
use crate::pipeline::{Directory, OnBadRecord, Output, Target};

/// Version of the written form.
const VERSION: u32 = 1;

/// Returns the digest in hexadecimal. `runs` are the result files in order; `max_record_bytes` is the longest record that is
/// read; `declared` are the types that the workflows declare. Reads the files of schema, steps and tables: their contents
/// count, not their paths.
pub(super) fn output_identity(
    runs: &[RunFiles<'_>],
    outputs: &[Output],
    plan: &PipelineArgs,
    max_record_bytes: u64,
    declared: &Schema,
) -> String {
    let (format, files) = match runs {
        // The ledger that this digest is in is that of the run.
        [run] => (run.format.as_str(), files_form(run.links)),
        runs => {
            let form = |run: &RunFiles<'_>| json!([run.run, run.format.as_str(), files_form(run.links)]);
            ("runs", runs.iter().map(form).collect())
        }
    };
    let declared: Vec<Value> =
        declared.fields.iter().map(|field| json!([field.name.as_ref(), field.ty.to_string()])).collect();
    let form = json!([
        VERSION,
        // Another version may convert the same records to other bytes.
        env!("CARGO_PKG_VERSION"),
        format,
        files,
        outputs.iter().map(output_form).collect::<Vec<_>>(),
        plan_form(plan),
        max_record_bytes,
        declared,
    ]);
    digest_of(&[&form.to_string()])
}

/// Returns what identifies the contents of result files: not their signed URLs, which change.
fn files_form(links: &[DownloadLink]) -> Vec<Value> {
    links
        .iter()
        .map(|link| json!([link.filename, link.block_number, link.row_count, link.file_size, link.created_at]))
        .collect()
}

/// Returns everything but the records that determines the contents of one output. Its path does not.
fn output_form(Output { format, compression, target }: &Output) -> Value {
    let format = match *format {
        OutputFormat::Parquet(ParquetOptions { codec }) => json!(["parquet", codec_text(codec)]),
        OutputFormat::Csv(CsvOptions {
            delimiter,
            booleans,
            null: null_text,
            crlf,
            bom,
            excel,
            decimal_comma,
            // A fact about the source.
            numbers_in_text: _,
        }) => {
            let booleans = match booleans {
                CsvBooleans::Json => "json",
                CsvBooleans::Python => "python",
            };
            match decimal_comma {
                false => json!(["csv", delimiter, booleans, null_text.as_bytes(), crlf, bom, excel]),
                true => json!(["csv", delimiter, booleans, null_text.as_bytes(), crlf, bom, excel, "decimal comma"]),
            }
        }
        OutputFormat::Ndjson => json!(["ndjson"]),
        OutputFormat::JsonArray => json!(["json"]),
        OutputFormat::Arrow(ArrowForm::Stream) => json!(["arrow stream"]),
        OutputFormat::Arrow(ArrowForm::File) => json!(["arrow file"]),
        OutputFormat::Table => json!(["table"]),
    };
    let compression = match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    };
    let division = match target {
        Target::Directory(Directory { set, max_file_rows, max_file_bytes, partition_by, .. }) => {
            let columns: Vec<&str> = partition_by.iter().map(AsRef::as_ref).collect();
            json!([set, max_file_rows, max_file_bytes, columns])
        }
        Target::File { .. } | Target::Object(_) | Target::Stdout | Target::Channel(_) | Target::Table(_) => Value::Null,
    };
    json!([format, compression, division])
}

/// Returns the flags that have an effect on the contents. The others are named, so that a new one is not forgotten.
fn plan_form(plan: &PipelineArgs) -> Value {
    let PipelineArgs {
        // Part of each output, as are the codec and the dialect.
        outputs: _,
        dialect: _,
        // A table has its own record of loads.
        load: _,
        sink,
        steps,
        on_bad_record,
        rejects,
        lossy_utf8,
        schema,
        extra_column,
        schema_from,
        schema_policy,
        // The longest record counts; the other settings have no effect on the contents.
        settings: _,
        report: _,
        result_file: _,
    } = plan;
    let SinkArgs {
        sort_hint,
        no_clobber: _,
        append: _,
        whole: _,
        // Part of each directory.
        max_file_rows: _,
        max_file_bytes: _,
        partition_by: _,
    } = sink;
    let contents = |path: &std::path::Path| digest_of_file(path).unwrap_or_default();
    let on_bad_record = match on_bad_record {
        OnBadRecord::Fail => json!("fail"),
        OnBadRecord::Skip => json!("skip"),
        OnBadRecord::Limit(limit) => json!(limit),
    };
    let sort_hint: Vec<Value> = sort_hint
        .iter()
        .map(|SortKey { column, descending, nulls_first }| json!([column.as_ref(), descending, nulls_first]))
        .collect();
    json!([
        steps.written_form(),
        steps.files().map(contents).collect::<Vec<_>>(),
        on_bad_record,
        rejects.as_ref().map(|path| path.to_string_lossy()),
        lossy_utf8,
        schema.as_deref().map(contents),
        extra_column,
        word(schema_from),
        word(schema_policy),
        sort_hint,
    ])
}

/// Returns the word of a flag's value, as it is typed.
fn word<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::api::{RunId, WorkflowId};
    use crate::cli::args::{Args, Command, TopCommand};
    use crate::client::ResultFormat;
    use crate::column::{Field, Type};
    use crate::format::ParquetCodec;

    /// The plan of `drawoff pull r1 -o out.parquet` with further flags.
    fn plan(flags: &[&str]) -> PipelineArgs {
        let typed = ["drawoff", "pull", "r1", "-o", "out.parquet"].into_iter().chain(flags.iter().copied());
        match Args::try_parse_from(typed).unwrap().command {
            TopCommand::WithSettings(Command::Pull(pull)) => pull.plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_changes_the_contents_changes_the_identity() {
        let output = |codec| Output {
            format: OutputFormat::Parquet(ParquetOptions { codec }),
            compression: Compression::None,
            target: Target::File { path: "out.parquet".into(), no_clobber: false, append: false },
        };
        let link: DownloadLink =
            serde_json::from_str(r#"{"filename":"a.ndjson","row_count":3,"block_number":1,"download_url":"u"}"#)
                .unwrap();
        let (run, workflow) = (RunId("r1".into()), WorkflowId("w1".into()));
        let identity = |flags: &[&str], codec, links: &[DownloadLink], declared: &Schema| {
            let run = RunFiles { run: &run, workflow: &workflow, format: ResultFormat::Ndjson, links };
            output_identity(&[run], &[output(codec)], &plan(flags), 1, declared)
        };
        let (snappy, none) = (ParquetCodec::Snappy, Schema::default());
        let links = [link.clone()];
        let same = identity(&[], snappy, &links, &none);
        for flags in [&["--report", "json"][..], &["--no-clobber"], &["--whole"], &["--max-memory", "64MiB"]] {
            assert_eq!(identity(flags, snappy, &links, &none), same, "{flags:?}");
        }
        let signed_anew = DownloadLink { download_url: Some("v".into()), ..link.clone() };
        assert_eq!(identity(&[], snappy, &[signed_anew], &none), same);
        let flags = [
            &["--where", "a > 1"][..],
            &["--where", "a > 2"],
            &["--on-bad-record", "skip"],
            &["--on-bad-record", "limit=2"],
            &["--lossy-utf8"],
            &["--extra-column", "rest"],
            &["--schema-policy", "freeze"],
            &["--sort-hint", "a"],
            &["--sort-hint", "a:desc"],
            &["--on-bad-cast", "null"],
        ];
        let mut all: Vec<String> = flags.iter().map(|flags| identity(flags, snappy, &links, &none)).collect();
        all.push(same);
        all.push(identity(&[], ParquetCodec::Lz4, &links, &none));
        all.push(identity(&[], snappy, &[DownloadLink { row_count: Some(4), ..link.clone() }], &none));
        all.push(identity(&[], snappy, &[], &none));
        let declared = Schema { fields: vec![Field::new("a", Type::Bool)] };
        all.push(identity(&[], snappy, &links, &declared));
        // The order of several runs counts, and which of them has which files.
        let other = RunId("r2".into());
        let of = |run, links| RunFiles { run, workflow: &workflow, format: ResultFormat::Ndjson, links };
        let of_runs = |runs: &[RunFiles<'_>]| output_identity(runs, &[output(snappy)], &plan(&[]), 1, &none);
        all.push(of_runs(&[of(&run, &links), of(&other, &links)]));
        all.push(of_runs(&[of(&other, &links), of(&run, &links)]));
        all.push(of_runs(&[of(&run, &links), of(&other, &[])]));
        let n = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), n);
    }
}
