//! `--where`, `--select`, `--drop`, `--rename` and `--limit`: steps in the order in which they were typed.
//!
//! clap's derived arguments forget that order across flags, so these read clap's matches themselves.

use clap::builder::NonEmptyStringValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::error::{Error, Failure};
use crate::transform::expr::{parse, parse_names, parse_renames};
use crate::transform::{Rename, Selected, Step};

/// The flags as typed, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepArgs {
    typed: Vec<Typed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Typed {
    Text { flag: &'static str, text: String },
    Limit(u64),
}

const HEADING: &str = "Steps (in the order given)";

/// Flags with a text: name, placeholder, help.
const TEXTS: [(&str, &str, &str); 4] = [
    ("where", "EXPR", "Keep the rows of which this is true, such as \"score > 0.8 and hq.country = 'NO'\""),
    ("select", "COLS", "Keep these columns, in this order: a,b,hq.city,emails[0]"),
    ("drop", "COLS", "Drop these columns"),
    ("rename", "A=B,...", "Give columns new names"),
];

impl Args for StepArgs {
    fn augment_args(command: Command) -> Command {
        let texts = TEXTS.iter().map(|(name, value, help)| {
            // Checked with the place shown, which clap's own message would not.
            let parser = NonEmptyStringValueParser::new();
            Arg::new(*name).long(*name).value_name(*value).help(*help).value_parser(parser)
        });
        let limit = Arg::new("limit")
            .long("limit")
            .value_name("N")
            .help("Keep the first N rows, and read no further")
            .value_parser(value_parser!(u64));
        texts.chain([limit]).fold(command, |command, arg| {
            command.arg(arg.action(ArgAction::Append).allow_hyphen_values(true).help_heading(HEADING))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for StepArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut placed: Vec<(usize, Typed)> = Vec::new();
        let typed = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        for (flag, ..) in TEXTS.iter().filter(|(name, ..)| typed(name)) {
            let values = matches.get_many::<String>(flag).into_iter().flatten();
            let values = values.map(|text| Typed::Text { flag, text: text.clone() });
            placed.extend(matches.indices_of(flag).into_iter().flatten().zip(values));
        }
        if typed("limit") {
            let values = matches.get_many::<u64>("limit").into_iter().flatten().map(|n| Typed::Limit(*n));
            placed.extend(matches.indices_of("limit").into_iter().flatten().zip(values));
        }
        placed.sort_by_key(|(index, _)| *index);
        Ok(StepArgs { typed: placed.into_iter().map(|(_, typed)| typed).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl StepArgs {
    /// The steps that they mean. Columns are not looked for yet.
    pub fn steps(&self) -> Result<Vec<Step>, Failure> {
        self.typed
            .iter()
            .map(|typed| match typed {
                Typed::Limit(rows) => Ok(Step::Limit(*rows)),
                Typed::Text { flag, text } => step(flag, text),
            })
            .collect()
    }
}

fn step(flag: &'static str, text: &str) -> Result<Step, Failure> {
    let step = match flag {
        "where" => parse(text).map(Step::Where),
        "select" => parse_names(text).map(|paths| {
            let selected = paths.into_iter().map(|path| Selected { name: path.to_string().into(), path });
            Step::Select(selected.collect(), text.into())
        }),
        "drop" => parse_names(text).map(|paths| Step::Drop(paths, text.into())),
        _ => parse_renames(text).map(|renames| {
            let renames = renames.into_iter().map(|(from, to)| Rename { from, to: to.into() });
            Step::Rename(renames.collect(), text.into())
        }),
    };
    let flag = match flag {
        "where" => "--where",
        "select" => "--select",
        "drop" => "--drop",
        _ => "--rename",
    };
    step.map_err(|cause| Error::Expression { flag, cause }.into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Args, Command};
    use super::*;

    fn typed(flags: &[&str]) -> StepArgs {
        let line = ["drawoff", "convert", "in.ndjson", "-o", "x.csv"].iter().chain(flags);
        match Args::try_parse_from(line).unwrap().command {
            Command::Convert(args) => args.plan.steps,
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
