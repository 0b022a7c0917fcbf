//! Steps files (`--steps`): the steps of the command line, in TOML or JSON.
//!
//! ```toml
//! on_bad_cast = "null"
//! steps = [
//!   { where = "score > 0.8" },
//!   { with = "domain = lower(split_part(email, '@', 2))" },
//!   { cast = "founded:date" },
//!   { select = ["name", "domain", "hq.city"] },
//!   { sample = 0.1, seed = 7 },
//! ]
//! ```
//!
//! JSON of the same structure is accepted as well. The names are those of the step flags; the texts are parsed by the
//! same grammars.

use std::path::Path;

use serde_json::Value;

use super::error::{Error, Failure};
use super::flag_text::in_flags;
use crate::text::nearest;
use crate::transform::{Grammar, OnBadCast, ReadError, Step};

/// The contents of a steps file.
#[derive(Debug)]
pub(super) struct StepsFile {
    /// Steps in the order of the file.
    pub steps: Vec<Step>,
    /// Policy for values that cannot be computed; `None` if the file has none.
    pub on_bad_cast: Option<OnBadCast>,
}

/// Reads the steps file at `path`; `seed` is the seed of samples that have none of their own.
pub(super) fn read(path: &Path, seed: Option<u64>) -> Result<StepsFile, Failure> {
    let text = std::fs::read_to_string(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
    read_text(&text, &path.display().to_string(), seed)
}

/// Reads the text of a steps file; `name` is that of the file in messages.
pub(super) fn read_text(text: &str, name: &str, seed: Option<u64>) -> Result<StepsFile, Failure> {
    parse(text, seed).map_err(|StepsFileError { what, hint }| {
        let error = Error::Usage(format!("the steps file {name}: {what}"));
        match hint {
            Some(hint) => Failure::new(error, hint),
            None => error.into(),
        }
    })
}

#[derive(Debug)]
struct StepsFileError {
    what: String,
    hint: Option<String>,
}

impl From<String> for StepsFileError {
    fn from(what: String) -> Self {
        StepsFileError { what, hint: None }
    }
}

fn parse(text: &str, seed: Option<u64>) -> Result<StepsFile, StepsFileError> {
    // Some editors write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // No TOML document begins with a brace, so the first character tells the formats apart.
    let value: Value = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))?
    } else {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            format!("line {line}: {}", error.message().lines().collect::<Vec<_>>().join("; "))
        })?
    };
    let Value::Object(members) = value else { return Err("it must be a table with `steps`".to_owned().into()) };
    let mut file = StepsFile { steps: Vec::new(), on_bad_cast: None };
    for (name, value) in members {
        match (name.as_str(), value) {
            // `[[step]]` reads better than `[[steps]]` in TOML, so both are accepted.
            ("steps" | "step", Value::Array(entries)) => {
                for (i, entry) in entries.into_iter().enumerate() {
                    let steps = entry_steps(entry, seed)
                        .map_err(|error| StepsFileError { what: format!("step {}: {}", i + 1, error.what), ..error })?;
                    file.steps.extend(steps);
                }
            }
            ("steps" | "step", _) => return Err("`steps` must be a list".to_owned().into()),
            ("on_bad_cast", Value::String(text)) => {
                file.on_bad_cast = Some(text.parse().map_err(|why| format!("on_bad_cast: {why}"))?);
            }
            (other, _) => {
                let hint = Some("a steps file has `steps` and optionally `on_bad_cast`".to_owned());
                return Err(StepsFileError { what: format!("unknown member `{other}`"), hint });
            }
        }
    }
    Ok(file)
}

/// Parses one entry of `steps`, such as `{ sample = 0.1, seed = 7 }`. One entry can be several steps: `with` computes
/// several columns.
fn entry_steps(entry: Value, seed: Option<u64>) -> Result<Vec<Step>, StepsFileError> {
    let shape = "a step must be the name of a flag with its text, such as { where = \"score > 0.8\" }";
    let Value::Object(mut entry) = entry else { return Err(shape.to_owned().into()) };
    // `seed` is the only member that may stand beside the step itself.
    let own_seed = match (entry.contains_key("sample"), entry.remove("seed")) {
        (_, None) => seed.unwrap_or(0),
        (true, Some(own)) => own.as_u64().ok_or_else(|| "`seed` must be a whole number".to_owned())?,
        (false, Some(_)) => return Err("`seed` requires `sample`".to_owned().into()),
    };
    let mut members = entry.into_iter();
    let (Some((name, value)), None) = (members.next(), members.next()) else { return Err(shape.to_owned().into()) };
    let Some(grammar) = Grammar::of(&name) else {
        let names = || Grammar::all().iter().map(|grammar| grammar.word);
        let hint = match nearest(&name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the steps are {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Err(StepsFileError { what: format!("unknown step `{name}`"), hint: Some(hint) });
    };
    grammar.read(&value, own_seed).map_err(|error| match error {
        ReadError::Text { word, cause } => {
            let rest = crate::text::escape_for_terminal(cause.text.get(cause.at..).unwrap_or_default());
            let near = if rest.is_empty() { "at the end".to_owned() } else { format!("at `{rest}`") };
            StepsFileError { what: format!("{word}: {cause} ({near})"), hint: cause.hint.as_ref().map(in_flags) }
        }
        error => error.to_string().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> Result<Vec<String>, String> {
        let file = parse(text, None).map_err(|error| error.what)?;
        Ok(file.steps.iter().map(Step::describe).map(|step| format!("{} {}", step.name, step.text)).collect())
    }

    #[test]
    fn toml_and_json_make_the_same_steps() {
        let toml = "on_bad_cast = \"null\"\n[[steps]]\nwhere = \"a > 1\"\n[[steps]]\nselect = [\"a\", \"b.c\"]\n\
                    [[steps]]\nflatten = true\n[[steps]]\nsample = 0.5\nseed = 3\n[[steps]]\nlimit = 9\n";
        let json = r#"{"steps": [{"where": "a > 1"}, {"select": "a,b.c"}, {"flatten": "."},
            {"sample": 0.5, "seed": 3}, {"limit": 9}], "on_bad_cast": "null"}"#;
        let expected = ["where a > 1", "select a,b.c", "flatten .", "sample 0.5, seed 3", "limit 9"];
        for text in [toml, json] {
            assert_eq!(described(text).unwrap(), expected);
            assert_eq!(parse(text, None).unwrap().on_bad_cast, Some(OnBadCast::Null));
        }
    }

    #[test]
    fn errors_name_their_step() {
        for (text, words) in [
            ("steps = 1", "`steps` must be a list"),
            (
                "steps = [{ where = \"a >\" }]",
                "step 1: where: expected a column or a value, found end of input (at the end)",
            ),
            ("steps = [{ limit = 1 }, { limt = 1 }]", "step 2: unknown step `limt`"),
            ("steps = [{ limit = 1, where = \"a\" }]", "step 1: a step must be the name of a flag"),
            ("steps = [{ limit = 1, seed = 1 }]", "step 1: `seed` requires `sample`"),
            ("\nsteps = [", "line 2"),
            ("{", "not valid JSON"),
            ("other = 1", "unknown member `other`"),
        ] {
            assert!(described(text).unwrap_err().contains(words), "{text}: {:?}", described(text));
        }
    }
}
