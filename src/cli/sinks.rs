//! The output flags: any number of `-o`, each with its `--to`, and the flags of files and directories. `outputs` turns
//! them into the engine's outputs.
//!
//! A `--to` belongs to the `-o` before it, and clap's derived arguments lose the order across flags. So [`OutputArgs`]
//! reads the indices in clap's matches instead.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::choices::ToFormat;
use super::place_names::shown;
use super::values::parse_size;
use crate::format::parquet::SortKey;

/// One `-o` with the `--to` that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TypedOutput {
    /// Target as typed: a file, a directory, a URL, or `-` for standard output.
    pub path: PathBuf,
    /// Format to write; `None` infers it from the name.
    pub to: Option<ToFormat>,
}

impl TypedOutput {
    /// Returns true if the target is standard output.
    pub(super) fn is_stdout(&self) -> bool {
        self.path == Path::new("-")
    }

    /// Returns the target for messages, without secrets.
    pub(super) fn shown(&self) -> String {
        shown(&self.path.to_string_lossy())
    }
}

/// The outputs in the order in which they were typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OutputArgs {
    /// Every `-o` with its format.
    pub typed: Vec<TypedOutput>,
}

impl OutputArgs {
    /// Returns the names of all outputs, joined by commas; `None` if there is none.
    pub(super) fn names(&self) -> Option<String> {
        let names: Vec<String> = self.typed.iter().map(TypedOutput::shown).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

const HEADING: &str = "Output";

impl Args for OutputArgs {
    fn augment_args(command: Command) -> Command {
        let output = Arg::new("output")
            .short('o')
            .long("output")
            .value_name("OUT")
            .help("File, directory/ or URL to write, or `-` for standard output; repeat it for several outputs, each with every record")
            .value_parser(value_parser!(PathBuf));
        let to = Arg::new("to")
            .long("to")
            .value_name("FORMAT")
            .help("Format of the `-o` before it [default: that of its name; ndjson for standard output]")
            .value_parser(clap::builder::EnumValueParser::<ToFormat>::new());
        [output, to]
            .into_iter()
            .fold(command, |command, arg| command.arg(arg.action(ArgAction::Append).help_heading(HEADING)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OutputArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let mut formats: Vec<(usize, ToFormat)> = Vec::new();
        if typed("to") {
            let values = matches.get_many::<ToFormat>("to").into_iter().flatten().copied();
            formats.extend(matches.indices_of("to").into_iter().flatten().zip(values));
        }
        let mut outputs: Vec<(usize, TypedOutput)> = Vec::new();
        if typed("output") {
            let values = matches.get_many::<PathBuf>("output").into_iter().flatten();
            let values = values.map(|path| TypedOutput { path: path.clone(), to: None });
            outputs.extend(matches.indices_of("output").into_iter().flatten().zip(values));
        }
        outputs.sort_by_key(|(index, _)| *index);
        formats.sort_by_key(|(index, _)| *index);
        for (index, format) in formats {
            // A `--to` before every `-o` belongs to the first one.
            let owner = outputs.iter().rposition(|(output_index, _)| *output_index < index).unwrap_or(0);
            let Some((_, output)) = outputs.get_mut(owner) else { continue };
            if output.to.replace(format).is_some() {
                let message = format!(
                    "`-o {}` has more than one `--to`; type each `--to` after its `-o`\n",
                    output.path.display()
                );
                return Err(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, message));
            }
        }
        Ok(OutputArgs { typed: outputs.into_iter().map(|(_, output)| output).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Replacement of existing outputs, and division of directories into files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct SinkArgs {
    /// Refuse to replace an existing output
    #[arg(long, help_heading = HEADING)]
    pub no_clobber: bool,
    /// Append to an existing file: NDJSON, or CSV with the same header
    #[arg(long, conflicts_with = "no_clobber", help_heading = HEADING)]
    pub append: bool,
    /// Write nothing to standard output, a pipe or a device before all rows are right and counted; the rows are kept in
    /// TMPDIR until then
    #[arg(long, help_heading = HEADING)]
    pub whole: bool,
    /// Write a directory of files with at most N rows each
    #[arg(long, value_parser = value_parser!(u64).range(1..), value_name = "N", help_heading = HEADING)]
    pub max_file_rows: Option<u64>,
    /// Write a directory of files of at most SIZE each, such as 256MiB
    #[arg(long, value_parser = parse_file_size, value_name = "SIZE", help_heading = HEADING)]
    pub max_file_bytes: Option<u64>,
    /// Partition a directory by the values of these columns: country=NO/…
    #[arg(long, value_delimiter = ',', value_name = "COLS", help_heading = HEADING)]
    pub partition_by: Vec<String>,
    /// Declare the order of the rows, such as created_at or score:desc,id: row groups of Parquet that have it record
    /// it. Nulls are the greatest values unless :nulls-first or :nulls-last follows
    #[arg(long, value_delimiter = ',', value_parser = parse_sort_key, value_name = "COLS", help_heading = HEADING)]
    pub sort_hint: Vec<SortKey>,
}

impl SinkArgs {
    /// Returns the first given flag that applies to directories only; `None` if there is none.
    pub(super) fn directory_flag(&self) -> Option<&'static str> {
        let given = [
            (self.max_file_rows.is_some(), "--max-file-rows"),
            (self.max_file_bytes.is_some(), "--max-file-bytes"),
            (!self.partition_by.is_empty(), "--partition-by"),
        ];
        given.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }
}

/// Parses a column with the direction of its order, such as `score:desc:nulls-last`.
fn parse_sort_key(text: &str) -> Result<SortKey, String> {
    let (text, nulls_first) = match (text.strip_suffix(":nulls-first"), text.strip_suffix(":nulls-last")) {
        (Some(rest), _) => (rest, Some(true)),
        (_, Some(rest)) => (rest, Some(false)),
        _ => (text, None),
    };
    let (column, descending) = match text.strip_suffix(":desc") {
        Some(rest) => (rest, true),
        None => (text.strip_suffix(":asc").unwrap_or(text), false),
    };
    if column.is_empty() {
        return Err("it must be a column, such as created_at or score:desc".to_owned());
    }
    Ok(SortKey { column: column.into(), descending, nulls_first: nulls_first.unwrap_or(descending) })
}

fn parse_file_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("it must be at least 1 byte".to_owned()),
        size => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Args as AllArgs, Command, TopCommand};
    use super::*;

    fn typed(line: &str) -> Result<Vec<(String, Option<ToFormat>)>, clap::Error> {
        let line = format!("drawoff convert in.ndjson {line}");
        match AllArgs::try_parse_from(line.split_whitespace())?.command {
            TopCommand::WithSettings(Command::Convert(args)) => {
                let outputs = args.plan.outputs.typed.into_iter();
                Ok(outputs.map(|output| (output.path.display().to_string(), output.to)).collect())
            }
            _ => unreachable!("the command is convert"),
        }
    }

    #[test]
    fn sort_keys_are_columns_with_directions() {
        let key =
            |text: &str| parse_sort_key(text).map(|key| (key.column.to_string(), key.descending, key.nulls_first));
        assert_eq!(key("a"), Ok(("a".into(), false, false)));
        assert_eq!(key("a:desc"), Ok(("a".into(), true, true)));
        assert_eq!(key("a:b:asc:nulls-first"), Ok(("a:b".into(), false, true)));
        assert_eq!(key("a:desc:nulls-last"), Ok(("a".into(), true, false)));
        assert_eq!(key(":desc"), Err("it must be a column, such as created_at or score:desc".to_owned()));
    }

    #[test]
    fn a_format_belongs_to_the_output_before_it() {
        let (csv, tsv) = (Some(ToFormat::Csv), Some(ToFormat::Tsv));
        let all = |line: &str| typed(line).unwrap().into_iter().map(|(_, to)| to).collect::<Vec<_>>();
        assert_eq!(all("-o a.parquet -o - --to csv"), [None, csv]);
        assert_eq!(all("-o - --to csv -o a.parquet"), [csv, None]);
        assert_eq!(all("--to csv -o - -o a.parquet"), [csv, None]);
        assert_eq!(all("-o a --to csv -o b --to=tsv -o c.ndjson"), [csv, tsv, None]);
        assert_eq!(typed("-o b -o a").unwrap(), [("b".to_owned(), None), ("a".to_owned(), None)]);
        let twice = typed("-o a --to csv --to tsv -o b").unwrap_err().to_string();
        assert!(twice.contains("`-o a` has more than one `--to`"), "{twice}");
        assert_eq!(all(""), []);
    }
}
