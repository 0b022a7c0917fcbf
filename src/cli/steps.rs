//! The step flags (`--where`, `--with`, `--select` and the others) and `--steps FILE`, parsed into the engine's steps
//! in the order in which they were typed. Columns are not resolved here.
//!
//! clap's derived arguments lose the order across flags, so [`StepArgs`] reads the indices in clap's matches instead.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::NonEmptyStringValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::dialect::InputDialect;
use super::error::{Error, Failure};
use super::steps_file;
use crate::scale::PlannedStep;
use crate::source::Source;
use crate::transform::{ArgumentForm, Grammar, OnBadCast, RESULTS, Step};

/// The step flags in the order in which they were typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StepArgs {
    typed: Vec<TypedStep>,
    seed: Option<u64>,
    on_bad_cast: Option<OnBadCast>,
    tables: Vec<(String, PathBuf)>,
}

#[derive(Clone, Debug, PartialEq)]
enum TypedStep {
    Step {
        flag: &'static str,
        text: String,
    },
    File(PathBuf),
    /// The contents of a file, which a plan keeps.
    Contents(String),
}

/// The name of a steps file whose contents are in a plan, for messages.
const FILE_OF_PLAN: &str = "of the plan";

const HEADING: &str = "Steps (in the order given)";

/// The flag of every step: its name, the placeholder of its value, and its help, in the order of the help. Their names
/// are those of the steps' grammars, and a test compares both lists.
const FLAGS: &[(&str, &str, &str)] = &[
    ("--where", "EXPR", "Keep the rows for which this is true, such as \"score > 0.8 and hq.country = 'NO'\""),
    ("--with", "NAME=EXPR", "Add or replace a column: \"domain = lower(split_part(email, '@', 2))\""),
    ("--select", "COLS", "Keep these columns, in this order: a,b,hq.city,emails[0]; `*` for all others"),
    ("--drop", "COLS", "Drop these columns"),
    ("--rename", "A=B,...", "Rename columns: from A to B"),
    (
        "--cast",
        "COL:TYPE,...",
        "Cast columns to types: int, float, bool, string, json, date, timestamp(ms, utc), decimal(12,2), date('%d/%m/%Y'), number(',', '.')",
    ),
    ("--flatten", "SEP", "Flatten objects into columns, named hq.city, or with SEP between the parts"),
    ("--explode", "COL", "Make one row of each element of the lists in a column; the other values repeat"),
    ("--dedupe", "COLS", "Keep the first row of each distinct value of these columns; `*` for all of them"),
    ("--json", "COLS", "Write the objects and lists in these columns as JSON text"),
    ("--sql", "QUERY", "Query the rows, which are the table `results`; must be the last step"),
    ("--limit", "N", "Keep the first N rows and read no further"),
    ("--sample", "RATE", "Keep about this fraction of the rows, from 0 to 1; the same rows every time"),
];

/// Iterates over the flags, each with the grammar of its step, its placeholder and its help.
fn flags() -> impl Iterator<Item = (&'static str, &'static Grammar, [&'static str; 2])> {
    let grammar = |flag: &str| Grammar::of(flag.trim_start_matches('-')).expect("every flag has a step of its name");
    FLAGS.iter().map(move |(flag, value, help)| (*flag, grammar(flag), [*value, *help]))
}

impl Args for StepArgs {
    fn augment_args(command: Command) -> Command {
        let steps = flags().map(|(_, grammar, [value, help])| {
            let arg = Arg::new(grammar.word).long(grammar.word).value_name(value).help(help);
            match grammar.form {
                // Parsed later, by `steps()`: its errors point at the byte, which clap's messages cannot.
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
            .help("Seed of --sample: another seed, another sample [default: 0]")
            .value_parser(value_parser!(u64))
            .help_heading(HEADING);
        let on_bad_cast = Arg::new("on_bad_cast")
            .long("on-bad-cast")
            .value_name("POLICY")
            .help("Policy for values that a cast or an expression cannot compute: reject (a bad record) or null")
            .value_parser(OnBadCast::from_str)
            .help_heading(HEADING);
        let table = Arg::new("table")
            .long("table")
            .value_name("NAME=FILE")
            .help("Further table for --sql from a Parquet, CSV or NDJSON file")
            .value_parser(parse_table)
            .action(ArgAction::Append)
            .help_heading(HEADING);
        command.arg(seed).arg(on_bad_cast).arg(table)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Parses the rate of `--sample`, from 0 to 1.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("it must be a number from 0 to 1, such as 0.01".to_owned()),
    }
}

/// Parses the name and the file of `--table`.
fn parse_table(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((RESULTS, _)) => Err(format!("`{RESULTS}` is the table of the input rows; choose another name")),
        Some((name, file)) if !name.trim().is_empty() && !file.is_empty() => Ok((name.trim().to_owned(), file.into())),
        _ => Err("it must be a name and a file, such as accounts=accounts.csv".to_owned()),
    }
}

impl FromArgMatches for StepArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        // Adds the values of one flag, each with its index on the command line.
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
        // clap groups values by flag; their indices restore the order of the command line.
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
    /// Parses the steps, including those of steps files. Columns are not resolved yet. Fails if a step is not valid, if
    /// `--sql` is not the last step or occurs twice, or if `--table` has no query.
    pub(super) fn steps(&self) -> Result<Vec<Step>, Failure> {
        let mut steps = Vec::new();
        for typed in &self.typed {
            match typed {
                TypedStep::File(path) => steps.extend(steps_file::read(path, self.seed)?.steps),
                TypedStep::Contents(text) => {
                    steps.extend(steps_file::read_text(text, FILE_OF_PLAN, self.seed)?.steps);
                }
                TypedStep::Step { flag, text } => {
                    let grammar = Grammar::of(flag.trim_start_matches('-')).expect("every flag has a step of its name");
                    let made = grammar.parse(text, self.seed.unwrap_or(0));
                    steps.extend(made.map_err(|cause| Error::Expression { flag, cause })?);
                }
            }
        }
        // The engine checks queries as well, but knows no flags; here the messages can name them.
        let queries = steps.iter().filter(|step| matches!(step, Step::Sql(_))).count();
        if queries > 1 {
            let error = Error::Usage("`--sql` can be specified only once".to_owned());
            return Err(Failure::new(error, "nest one query in the other: SELECT ... FROM (SELECT ... FROM results)"));
        }
        if queries == 1 && !matches!(steps.last(), Some(Step::Sql(_))) {
            let error = Error::Usage("`--sql` must be the last step".to_owned());
            return Err(Failure::new(error, "move the later steps into the query: WHERE, LIMIT, CAST"));
        }
        if queries == 0 && !self.tables.is_empty() {
            let error = Error::Usage("`--table` requires `--sql`".to_owned());
            return Err(Failure::new(error, "join the table with `--sql \"SELECT ... FROM results JOIN ...\"`"));
        }
        Ok(steps)
    }

    /// Adds a first step that sets the column `name` to the id of the run; does nothing for `None`.
    pub(super) fn add_run_column(&mut self, name: Option<&str>) {
        if let Some(name) = name {
            let text = format!("\"{}\" = run()", name.replace('"', "\"\""));
            self.typed.insert(0, TypedStep::Step { flag: "--with", text });
        }
    }

    /// Returns the paths of all files that the steps depend on: steps files in their order, then the `--table` files.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let steps = self.typed.iter().filter_map(|typed| match typed {
            TypedStep::File(path) => Some(path.as_path()),
            TypedStep::Step { .. } | TypedStep::Contents(_) => None,
        });
        steps.chain(self.tables.iter().map(|(_, path)| path.as_path()))
    }

    /// Returns the steps in a written form, for a digest: the flags as they were typed, a file of steps by its place. The
    /// contents of [`StepArgs::files`] are not in it.
    pub(super) fn written_form(&self) -> serde_json::Value {
        let StepArgs { typed, seed, on_bad_cast: _, tables } = self;
        let typed: Vec<serde_json::Value> = typed
            .iter()
            .map(|typed| match typed {
                TypedStep::Step { flag, text } => serde_json::json!([flag, text]),
                TypedStep::File(_) => serde_json::json!(["--steps"]),
                TypedStep::Contents(text) => serde_json::json!(["--steps", text]),
            })
            .collect();
        let on_bad_cast = self.on_bad_cast_word();
        let tables: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
        serde_json::json!([typed, seed, on_bad_cast, tables])
    }

    /// Returns the steps as a plan keeps them: with the contents of steps files. Fails if a file cannot be read.
    pub(super) fn planned(&self) -> Result<Vec<PlannedStep>, Failure> {
        let planned = |typed: &TypedStep| -> Result<PlannedStep, Failure> {
            Ok(match typed {
                TypedStep::Step { flag, text } => {
                    PlannedStep::Step(flag.trim_start_matches('-').to_owned(), text.clone())
                }
                TypedStep::Contents(text) => PlannedStep::File(text.clone()),
                TypedStep::File(path) => {
                    let text = std::fs::read_to_string(path);
                    PlannedStep::File(text.map_err(|cause| Error::Read { path: path.clone(), cause })?)
                }
            })
        };
        self.typed.iter().map(planned).collect()
    }

    /// Returns the word of `--on-bad-cast`; `None` without the flag.
    pub(super) fn on_bad_cast_word(&self) -> Option<&'static str> {
        self.on_bad_cast.map(|on_bad_cast| match on_bad_cast {
            OnBadCast::Reject => "reject",
            OnBadCast::Null => "null",
        })
    }

    /// Makes the steps that a plan keeps. The error is the step or policy that this version does not have.
    pub(super) fn of_plan(steps: &[PlannedStep], on_bad_cast: Option<&str>) -> Result<Self, String> {
        let typed = |step: &PlannedStep| match step {
            PlannedStep::File(text) => Ok(TypedStep::Contents(text.clone())),
            PlannedStep::Step(word, text) => match flags().find(|(_, grammar, _)| grammar.word == word) {
                Some((flag, ..)) => Ok(TypedStep::Step { flag, text: text.clone() }),
                None => Err(word.clone()),
            },
        };
        Ok(StepArgs {
            typed: steps.iter().map(typed).collect::<Result<_, _>>()?,
            on_bad_cast: on_bad_cast.map(|word| word.parse().map_err(|_| word.to_owned())).transpose()?,
            ..StepArgs::default()
        })
    }

    /// Returns the `--table` sources with their names, in the dialect of the command's inputs if they are CSV.
    pub(super) fn tables(&self, dialect: &InputDialect) -> Vec<(String, Source)> {
        let open = |(name, path): &(String, PathBuf)| {
            let mut table = Source::file(path);
            dialect.specify_table(&mut table);
            (name.clone(), table)
        };
        self.tables.iter().map(open).collect()
    }

    /// Returns the policy for values that cannot be computed: `--on-bad-cast`, else that of the last steps file that
    /// has one, else the default.
    pub(super) fn on_bad_cast(&self) -> Result<OnBadCast, Failure> {
        let mut in_files = OnBadCast::default();
        for typed in &self.typed {
            let file = match typed {
                TypedStep::File(path) => steps_file::read(path, self.seed)?,
                TypedStep::Contents(text) => steps_file::read_text(text, FILE_OF_PLAN, self.seed)?,
                TypedStep::Step { .. } => continue,
            };
            in_files = file.on_bad_cast.unwrap_or(in_files);
        }
        Ok(self.on_bad_cast.unwrap_or(in_files))
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
            _ => unreachable!("the command is convert"),
        }
    }

    fn described(step: &Step) -> String {
        let text = step.describe();
        format!("{} {}", text.name, text.text)
    }

    #[test]
    fn flags_are_in_the_order_of_the_grammars() {
        let flags: Vec<&str> = flags().map(|(_, grammar, _)| grammar.word).collect();
        let words: Vec<&str> = Grammar::all().iter().map(|grammar| grammar.word).collect();
        assert_eq!(flags, words);
    }

    #[test]
    fn steps_keep_their_order() {
        let flags =
            ["--limit", "5", "--where", "a > -1", "--rename=a=b", "--where", "b<9", "--drop", "c", "--select", "b,d.e"];
        let steps = typed(&flags).steps().unwrap();
        let words: Vec<String> = steps.iter().map(described).collect();
        let expected = ["limit 5", "where a > -1", "rename a=b", "where b<9", "drop c", "select b,d.e"];
        assert_eq!(words, expected);
        assert!(typed(&[]).steps().unwrap().is_empty());
    }

    #[test]
    fn every_flag_becomes_its_step() {
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
        let steps: Vec<String> = typed(&flags).steps().unwrap().iter().map(described).collect();
        let with = "with x = a - 1, y = 2";
        let others = ["cast a:int,b:decimal(5,2)", "explode l", "json o,p", "sample 0.5, seed 7"];
        assert_eq!(steps, [&["flatten .", "flatten _", with, with][..], &others].concat());
        assert_eq!(typed(&["--on-bad-cast", "null"]).on_bad_cast().unwrap(), OnBadCast::Null);
    }

    #[test]
    fn an_error_points_at_its_place() {
        let failure = typed(&["--where", "größe > and x"]).steps().unwrap_err();
        assert_eq!(
            failure.lines(),
            [
                "error: --where: expected a column or a value, found `and`",
                "  größe > and x",
                "          ^",
                "hint: put the name of a column in double quotes: \"and\"",
            ]
        );
    }
}
