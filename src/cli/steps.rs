//! The flags of steps: `--where`, `--with`, `--select` and the others, in the order in which they were typed.
//!
//! clap's derived arguments forget that order across flags, so these read clap's matches themselves.

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::error::{Error, Failure};
use super::plan_file;
use super::step_by_name::{parse_on_bad_cast, step};
use crate::source::Source;
use crate::transform::{OnBadCast, RESULTS, Step};

/// The flags as typed, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepArgs {
    typed: Vec<Typed>,
    seed: Option<u64>,
    on_bad_cast: Option<OnBadCast>,
    tables: Vec<(String, PathBuf)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Typed {
    Text { flag: &'static str, text: String },
    Limit(u64),
    Sample(f64),
    Plan(PathBuf),
}

const HEADING: &str = "Steps (in the order given)";

/// Flags with a text: name, placeholder, help.
const TEXTS: [(&str, &str, &str); 11] = [
    ("where", "EXPR", "Keep the rows of which this is true, such as \"score > 0.8 and hq.country = 'NO'\""),
    ("with", "NAME=EXPR", "Add or replace a column: \"domain = lower(split_part(email, '@', 2))\""),
    ("select", "COLS", "Keep these columns, in this order: a,b,hq.city,emails[0]"),
    ("drop", "COLS", "Drop these columns"),
    ("rename", "A=B,...", "Give columns new names"),
    (
        "cast",
        "COL:TYPE,...",
        "Bring columns to types: int, float, bool, string, json, date, timestamp(ms, utc), decimal(12,2)",
    ),
    ("flatten", "SEP", "Make columns of objects, named hq.city, or with SEP between the parts"),
    ("explode", "COL", "One row for each element of the lists in a column, the other values repeated"),
    ("dedupe", "COLS", "Keep the first row of each distinct value of these columns; `*` for all of them"),
    ("json", "COLS", "Make JSON text of the objects and lists in these columns"),
    ("sql", "QUERY", "What a query makes of the rows, which are its table `results`; comes last"),
];

/// The flags that may be typed for one column or expression, by their names with dashes.
fn flag_of(name: &str) -> &'static str {
    match name {
        "where" => "--where",
        "with" => "--with",
        "select" => "--select",
        "drop" => "--drop",
        "rename" => "--rename",
        "cast" => "--cast",
        "flatten" => "--flatten",
        "explode" => "--explode",
        "dedupe" => "--dedupe",
        "sql" => "--sql",
        _ => "--json",
    }
}

impl Args for StepArgs {
    fn augment_args(command: Command) -> Command {
        let texts = TEXTS.iter().map(|(name, value, help)| {
            // Checked with the place shown, which clap's own message would not.
            let arg = Arg::new(*name).long(*name).value_name(*value).help(*help);
            match *name {
                "flatten" => arg.num_args(0..=1).require_equals(true).default_missing_value("."),
                _ => arg.value_parser(NonEmptyStringValueParser::new()).allow_hyphen_values(true),
            }
        });
        let limit = Arg::new("limit")
            .long("limit")
            .value_name("N")
            .help("Keep the first N rows, and read no further")
            .value_parser(value_parser!(u64))
            .allow_hyphen_values(true);
        let sample = Arg::new("sample")
            .long("sample")
            .value_name("RATE")
            .help("Keep about this part of the rows, from 0 to 1; the same ones every time")
            .value_parser(parse_rate);
        let plan = Arg::new("plan")
            .long("plan")
            .value_name("FILE")
            .help("Steps from a file, TOML or JSON: steps = [{ where = \"score > 0.8\" }, { limit = 10 }]")
            .value_parser(value_parser!(PathBuf));
        let command = texts
            .chain([limit, sample, plan])
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
            .value_parser(parse_on_bad_cast)
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
            placed: &mut Vec<(usize, Typed)>,
            typed: impl Fn(T) -> Typed,
        ) {
            if matches.value_source(name) == Some(ValueSource::CommandLine) {
                let values = matches.get_many::<T>(name).into_iter().flatten().map(|value| typed(value.clone()));
                placed.extend(matches.indices_of(name).into_iter().flatten().zip(values));
            }
        }
        let mut placed: Vec<(usize, Typed)> = Vec::new();
        for (flag, ..) in TEXTS.iter() {
            collect(matches, flag, &mut placed, |text: String| Typed::Text { flag, text });
        }
        collect(matches, "limit", &mut placed, Typed::Limit);
        collect(matches, "sample", &mut placed, Typed::Sample);
        collect(matches, "plan", &mut placed, Typed::Plan);
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
    /// The steps that they mean; plan files are read. Columns are not looked for yet.
    pub fn steps(&self) -> Result<Vec<Step>, Failure> {
        let mut steps = Vec::new();
        for typed in &self.typed {
            match typed {
                Typed::Limit(rows) => steps.push(Step::Limit(*rows)),
                Typed::Sample(rate) => steps.push(Step::Sample { rate: *rate, seed: self.seed.unwrap_or(0) }),
                Typed::Plan(path) => steps.extend(plan_file::read(path, self.seed)?.steps),
                Typed::Text { flag, text } => {
                    let made = step(flag, text).map_err(|cause| Error::Expression { flag: flag_of(flag), cause })?;
                    steps.extend(made);
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

    /// What a value does that cannot be made: as typed, or as the last plan file says.
    pub fn on_bad_cast(&self) -> Result<OnBadCast, Failure> {
        let mut said = OnBadCast::default();
        for typed in &self.typed {
            if let Typed::Plan(path) = typed {
                said = plan_file::read(path, self.seed)?.on_bad_cast.unwrap_or(said);
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

    #[test]
    fn steps_keep_their_order() {
        let flags =
            ["--limit", "5", "--where", "a > -1", "--rename=a=b", "--where", "b<9", "--drop", "c", "--select", "b,d.e"];
        let steps = typed(&flags).steps().unwrap();
        let words: Vec<&str> = steps
            .iter()
            .map(|step| match step {
                Step::Limit(5) => "limit",
                Step::Where(expr) => {
                    if &*expr.text == "a > -1" {
                        "where a"
                    } else {
                        "where b"
                    }
                }
                Step::Rename(renames, _) if &*renames[0].to == "b" => "rename",
                Step::Drop(..) => "drop",
                Step::Select(selected, _) if &*selected[1].name == "d.e" => "select",
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(words, ["limit", "where a", "rename", "where b", "drop", "select"]);
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
        let said = |step: &Step| {
            let text = step.describe();
            format!("{} {}", text.name, text.text)
        };
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
