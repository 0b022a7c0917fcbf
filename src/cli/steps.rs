//! The flags of steps: `--where`, `--with`, `--select` and the others, in the order in which they were typed.
//!
//! clap's derived arguments forget that order across flags, so these read clap's matches themselves.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::NonEmptyStringValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::error::{Error, Failure};
use super::steps_file;
use crate::source::Source;
use crate::transform::{ArgumentForm, Grammar, OnBadCast, RESULTS, Step};

/// The flags as typed, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepArgs {
    typed: Vec<TypedStep>,
    seed: Option<u64>,
    on_bad_cast: Option<OnBadCast>,
    tables: Vec<(String, PathBuf)>,
}

#[derive(Clone, Debug, PartialEq)]
enum TypedStep {
    Step { flag: &'static str, text: String },
    File(PathBuf),
}

const HEADING: &str = "Steps (in the order given)";

/// The flag of each step: the step's word with dashes, placeholder, help. In the order of the help.
const FLAGS: &[(&str, &str, &str)] = &[
    ("--where", "EXPR", "Keep the rows of which this is true, such as \"score > 0.8 and hq.country = 'NO'\""),
    ("--with", "NAME=EXPR", "Add or replace a column: \"domain = lower(split_part(email, '@', 2))\""),
    ("--select", "COLS", "Keep these columns, in this order: a,b,hq.city,emails[0]"),
    ("--drop", "COLS", "Drop these columns"),
    ("--rename", "A=B,...", "Give columns new names"),
    (
        "--cast",
        "COL:TYPE,...",
        "Bring columns to types: int, float, bool, string, json, date, timestamp(ms, utc), decimal(12,2)",
    ),
    ("--flatten", "SEP", "Make columns of objects, named hq.city, or with SEP between the parts"),
    ("--explode", "COL", "One row for each element of the lists in a column, the other values repeated"),
    ("--dedupe", "COLS", "Keep the first row of each distinct value of these columns; `*` for all of them"),
    ("--json", "COLS", "Make JSON text of the objects and lists in these columns"),
    ("--sql", "QUERY", "What a query makes of the rows, which are its table `results`; comes last"),
    ("--limit", "N", "Keep the first N rows, and read no further"),
    ("--sample", "RATE", "Keep about this part of the rows, from 0 to 1; the same ones every time"),
];

/// The flags with the steps that they are.
fn flags() -> impl Iterator<Item = (&'static str, &'static Grammar, [&'static str; 2])> {
    let grammar = |flag: &str| Grammar::of(flag.trim_start_matches('-')).expect("each flag is a step's");
    FLAGS.iter().map(move |(flag, value, help)| (*flag, grammar(flag), [*value, *help]))
}

impl Args for StepArgs {
    fn augment_args(command: Command) -> Command {
        let steps = flags().map(|(_, grammar, [value, help])| {
            let arg = Arg::new(grammar.word).long(grammar.word).value_name(value).help(help);
            match grammar.form {
                // Checked with the place shown, which clap's own message would not.
                ArgumentForm::Text | ArgumentForm::Names => {
                    arg.value_parser(NonEmptyStringValueParser::new()).allow_hyphen_values(true)
                }
                ArgumentForm::TextOr(usual) => arg.num_args(0..=1).require_equals(true).default_missing_value(usual),
                ArgumentForm::Count => arg.value_parser(value_parser!(u64)).allow_hyphen_values(true),
                ArgumentForm::Part => arg.value_parser(parse_rate),
            }
        });
        let file = Arg::new("steps")
            .long("steps")
            // The former name; an alias is hidden from help, completions and manual pages.
            .alias("plan")
            .value_name("FILE")
            .help("Insert the steps of a TOML or JSON file: steps = [{ where = \"score > 0.8\" }, { limit = 10 }]")
            .value_parser(value_parser!(PathBuf));
        let command = steps
            .chain([file])
            .fold(command, |command, arg| command.arg(arg.action(ArgAction::Append).help_heading(HEADING)));
        let seed = Arg::new("seed")
            .long("seed")
            .value_name("N")
            .help("Another seed, another sample")
            .value_parser(value_parser!(u64))
            .help_heading(HEADING);
        let on_bad_cast = Arg::new("on_bad_cast")
            .long("on-bad-cast")
            .value_name("POLICY")
            .help(
                "What a value does that a cast or an expression cannot make: reject (its record is a bad one) or null",
            )
            .value_parser(OnBadCast::from_str)
            .help_heading(HEADING);
        let table = Arg::new("table")
            .long("table")
            .value_name("NAME=FILE")
            .help("Another table for --sql: Parquet, CSV or NDJSON")
            .value_parser(parse_table)
            .action(ArgAction::Append)
            .help_heading(HEADING);
        command.arg(seed).arg(on_bad_cast).arg(table)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// A part, from 0 to 1.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("it is a number from 0 to 1, such as 0.01".to_owned()),
    }
}

/// A table's name and its file.
fn parse_table(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((RESULTS, _)) => Err(format!("`{RESULTS}` is the table of what comes in; give this one another name")),
        Some((name, file)) if !name.trim().is_empty() && !file.is_empty() => Ok((name.trim().to_owned(), file.into())),
        _ => Err("it is a name and a file, such as accounts=accounts.csv".to_owned()),
    }
}

impl FromArgMatches for StepArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        fn collect<T: Clone + Send + Sync + 'static>(
            matches: &ArgMatches,
            name: &'static str,
            placed: &mut Vec<(usize, TypedStep)>,
            typed: impl Fn(T) -> TypedStep,
        ) {
            if matches.value_source(name) == Some(ValueSource::CommandLine) {
                let values = matches.get_many::<T>(name).into_iter().flatten().map(|value| typed(value.clone()));
                placed.extend(matches.indices_of(name).into_iter().flatten().zip(values));
            }
        }
        let mut placed: Vec<(usize, TypedStep)> = Vec::new();
        for (flag, grammar, _) in flags() {
            let (word, placed) = (grammar.word, &mut placed);
            match grammar.form {
                ArgumentForm::Text | ArgumentForm::Names | ArgumentForm::TextOr(_) => {
                    collect(matches, word, placed, |text: String| TypedStep::Step { flag, text });
                }
                ArgumentForm::Count => {
                    collect(matches, word, placed, |n: u64| TypedStep::Step { flag, text: n.to_string() })
                }
                ArgumentForm::Part => {
                    collect(matches, word, placed, |n: f64| TypedStep::Step { flag, text: n.to_string() })
                }
            }
        }
        collect(matches, "steps", &mut placed, TypedStep::File);
        placed.sort_by_key(|(index, _)| *index);
        Ok(StepArgs {
            typed: placed.into_iter().map(|(_, typed)| typed).collect(),
            seed: matches.get_one("seed").copied(),
            on_bad_cast: matches.get_one("on_bad_cast").copied(),
            tables: matches.get_many("table").into_iter().flatten().cloned().collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl StepArgs {
    /// The steps that they mean; steps files are read. Columns are not looked for yet.
    pub fn steps(&self) -> Result<Vec<Step>, Failure> {
        let mut steps = Vec::new();
        for typed in &self.typed {
            match typed {
                TypedStep::File(path) => steps.extend(steps_file::read(path, self.seed)?.steps),
                TypedStep::Step { flag, text } => {
                    let grammar = Grammar::of(flag.trim_start_matches('-')).expect("each flag is a step's");
                    let made = grammar.parse(text, self.seed.unwrap_or(0));
                    steps.extend(made.map_err(|cause| Error::Expression { flag, cause })?);
                }
            }
        }
        let queries = steps.iter().filter(|step| matches!(step, Step::Sql(_))).count();
        if queries > 1 {
            let error = Error::Usage("there can be one `--sql`".to_owned());
            return Err(Failure::new(
                error,
                "put one query inside the other: SELECT ... FROM (SELECT ... FROM results)",
            ));
        }
        if queries == 1 && !matches!(steps.last(), Some(Step::Sql(_))) {
            let error = Error::Usage("`--sql` comes last among the steps".to_owned());
            return Err(Failure::new(error, "say what is to be done after it in the query: WHERE, LIMIT, CAST"));
        }
        if queries == 0 && !self.tables.is_empty() {
            let error = Error::Usage("`--table` is for queries, and there is none".to_owned());
            return Err(Failure::new(error, "join it by `--sql \"SELECT ... FROM results JOIN ...\"`"));
        }
        Ok(steps)
    }

    /// The files of the tables of a query.
    pub fn table_files(&self) -> impl Iterator<Item = &Path> {
        self.tables.iter().map(|(_, path)| path.as_path())
    }

    /// The tables of a query, by their names.
    pub fn tables(&self) -> Vec<(String, Source)> {
        self.tables.iter().map(|(name, path)| (name.clone(), Source::file(path))).collect()
    }

    /// What a value does that cannot be made: as typed, or as the last steps file says.
    pub fn on_bad_cast(&self) -> Result<OnBadCast, Failure> {
        let mut said = OnBadCast::default();
        for typed in &self.typed {
            if let TypedStep::File(path) = typed {
                said = steps_file::read(path, self.seed)?.on_bad_cast.unwrap_or(said);
            }
        }
        Ok(self.on_bad_cast.unwrap_or(said))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Args, Command, TopCommand};
    use super::*;

    fn typed(flags: &[&str]) -> StepArgs {
        let line = ["drawoff", "convert", "in.ndjson", "-o", "x.csv"].iter().chain(flags);
        match Args::try_parse_from(line).unwrap().command {
            TopCommand::WithSettings(Command::Convert(args)) => args.plan.steps,
            _ => unreachable!("the line says convert"),
        }
    }

    fn said(step: &Step) -> String {
        let text = step.describe();
        format!("{} {}", text.name, text.text)
    }

    #[test]
    fn every_step_that_is_written_has_a_flag() {
        let flags: Vec<&str> = flags().map(|(_, grammar, _)| grammar.word).collect();
        let words: Vec<&str> = Grammar::all().iter().map(|grammar| grammar.word).collect();
        assert_eq!(flags, words);
    }

    #[test]
    fn steps_keep_their_order() {
        let flags =
            ["--limit", "5", "--where", "a > -1", "--rename=a=b", "--where", "b<9", "--drop", "c", "--select", "b,d.e"];
        let steps = typed(&flags).steps().unwrap();
        let words: Vec<String> = steps.iter().map(said).collect();
        let expected = ["limit 5", "where a > -1", "rename a=b", "where b<9", "drop c", "select b,d.e"];
        assert_eq!(words, expected);
        assert!(typed(&[]).steps().unwrap().is_empty());
    }

    #[test]
    fn every_flag_has_its_step() {
        let flags = [
            "--flatten",
            "--flatten=_",
            "--with",
            "x = a - 1, y = 2",
            "--cast",
            "a:int,b:decimal(5,2)",
            "--explode",
            "l",
            "--json",
            "o,p",
            "--sample",
            "0.5",
            "--seed",
            "7",
        ];
        let steps: Vec<String> = typed(&flags).steps().unwrap().iter().map(said).collect();
        let with = "with x = a - 1, y = 2";
        let others = ["cast a:int,b:decimal(5,2)", "explode l", "json o,p", "sample 0.5, seed 7"];
        assert_eq!(steps, [&["flatten .", "flatten _", with, with][..], &others].concat());
        assert_eq!(typed(&["--on-bad-cast", "null"]).on_bad_cast().unwrap(), OnBadCast::Null);
    }

    #[test]
    fn a_fault_is_shown_at_its_place() {
        let failure = typed(&["--where", "größe > and x"]).steps().unwrap_err();
        assert_eq!(
            failure.lines(),
            [
                "error: --where: expected a column or a value, found `and`",
                "  größe > and x",
                "          ^",
                "hint: a column of that name is written \"and\"",
            ]
        );
    }
}
