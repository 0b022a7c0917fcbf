//! Scenarios as people write them: `--fault KIND=VALUE,KEY=VALUE,...`, or the same as tables of TOML.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use super::kind::{Kind, Progress, Spot};
use crate::format::Compression;
use crate::text::{parse_duration, parse_size};

/// All that goes wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scenario {
    /// What chance goes by.
    pub seed: u64,
    /// In order; several may strike one request.
    pub rules: Vec<Rule>,
}

/// One thing that goes wrong, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The word of its kind.
    pub word: String,
    /// What.
    pub kind: Kind,
    /// Which requests.
    pub on: Target,
    /// So many requests of the same thing pass before.
    pub after: u64,
    /// Of those that follow, each so many-th.
    pub every: u64,
    /// No more often than so for the same thing.
    pub times: Option<u64>,
    /// With this chance, 0 to 1.
    pub chance: Option<f64>,
}

/// Which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All.
    All,
    /// The API, without files.
    Api,
    /// The start of a run.
    Start,
    /// A look at its state.
    Status,
    /// The list of its links.
    Links,
    /// Result files.
    Files,
    /// Uploads.
    Upload,
    /// Runs themselves.
    Runs,
}

const TARGETS: [(&str, Target); 8] = [
    ("all", Target::All),
    ("api", Target::Api),
    ("start", Target::Start),
    ("status", Target::Status),
    ("links", Target::Links),
    ("files", Target::Files),
    ("upload", Target::Upload),
    ("runs", Target::Runs),
];

/// A scenario that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not TOML, or not these tables.
    #[error("it is no scenario: {0}")]
    Toml(#[from] toml::de::Error),
    /// A rule is wrong.
    #[error("fault {number} ({kind}): {why}")]
    Rule {
        /// Counted from 1.
        number: usize,
        /// Its kind, as written.
        kind: String,
        /// What is wrong.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    fault: Vec<Table>,
}

impl FromStr for Scenario {
    type Err = Error;

    /// Reads a file of TOML.
    fn from_str(text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text)?;
        let rules = file.fault.into_iter().enumerate().map(|(i, table)| {
            let kind = table.get("kind").and_then(Value::as_str).unwrap_or("no kind").to_owned();
            Rule::read(table).map_err(|why| Error::Rule { number: i + 1, kind, why })
        });
        Ok(Scenario { seed: file.seed, rules: rules.collect::<Result<_, _>>()? })
    }
}

impl FromStr for Rule {
    type Err = String;

    /// Reads `KIND`, `KIND=VALUE` and what follows with commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut table = Table::new();
        for (i, part) in text.split(',').enumerate() {
            let (key, value) = part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value.trim())));
            let mut put = |key: &str, value: &str| match table.insert(key.to_owned(), Value::from(value)) {
                Some(_) => Err(format!("`{key}` stands there twice")),
                None => Ok(()),
            };
            match (i, value) {
                (0, value) => {
                    put("kind", key.trim())?;
                    value.map_or(Ok(()), |value| put("value", value))?;
                }
                (_, Some(value)) => put(key.trim(), value)?,
                (_, None) => put(key.trim(), "true")?,
            }
        }
        Rule::read(table)
    }
}

impl Rule {
    /// True if it may strike a request of `target`.
    pub(super) fn hits(&self, target: Target) -> bool {
        match self.on {
            Target::All => target != Target::Runs,
            Target::Api => !matches!(target, Target::Files | Target::Runs),
            on => on == target,
        }
    }

    fn read(table: Table) -> Result<Rule, String> {
        let mut given = Given(table);
        let word = given.text("kind")?.ok_or("it needs a `kind`")?;
        let (kind, on, times) = read_kind(&word, &mut given)?;
        let on = match given.text("on")? {
            None => on,
            Some(word) => match TARGETS.iter().find(|(name, _)| *name == word) {
                Some((_, target))
                    if matches!(kind, Kind::State(_) | Kind::RunTimeout | Kind::Unsigned) && *target != on =>
                {
                    return Err("it is on nothing but its own; leave `on` out".to_owned());
                }
                Some((_, target)) => *target,
                None => {
                    let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
                    return Err(format!("`on` is one of {}", known.join(", ")));
                }
            },
        };
        let rule = Rule {
            word: word.clone(),
            kind,
            on,
            after: given.count("after")?.unwrap_or(0),
            every: given.count("every")?.unwrap_or(1),
            times: match given.text("times")?.as_deref() {
                None => times,
                Some("always") => None,
                Some(text) => Some(count(text).ok_or("`times` is a number, or `always`")?),
            },
            chance: match given.text("chance")? {
                None => None,
                Some(text) => Some(part(&text).ok_or("`chance` is between 0 and 1")?),
            },
        };
        match given.0.keys().next() {
            Some(key) => Err(format!("`{word}` takes no `{key}`")),
            None => Ok(rule),
        }
    }
}

/// What is given beside the kind; what was read is gone.
struct Given(Table);

impl Given {
    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Integer(number)) => Ok(Some(number.to_string())),
            Some(Value::Float(number)) => Ok(Some(number.to_string())),
            Some(Value::Boolean(flag)) => Ok(Some(flag.to_string())),
            Some(_) => Err(format!("`{key}` must be text or a number")),
        }
    }

    fn count(&mut self, key: &str) -> Result<Option<u64>, String> {
        let text = self.text(key)?;
        text.map(|text| count(&text).ok_or(format!("`{key}` is a number"))).transpose()
    }

    fn time(&mut self, key: &str) -> Result<Option<Duration>, String> {
        let text = self.text(key)?;
        text.map(|text| parse_duration(&text).map_err(|why| format!("`{key}`: {why}"))).transpose()
    }

    fn flag(&mut self, key: &str) -> Result<bool, String> {
        match self.text(key)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(format!("`{key}` is true or false")),
        }
    }

    /// A place: bytes such as `64KiB`, or a part such as `50%`.
    fn spot(&mut self, key: &str) -> Result<Option<Spot>, String> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| format!("`{key}` is such as 64KiB or 50%"))?;
            return Ok(Some(Spot::Part((percent / 100.0).clamp(0.0, 1.0))));
        }
        parse_size(&text).map(|bytes| Some(Spot::Bytes(bytes))).map_err(|why| format!("`{key}`: {why}"))
    }
}

fn count(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn part(text: &str) -> Option<f64> {
    text.parse().ok().filter(|part| (0.0..=1.0).contains(part))
}

/// The kind called `word`, the requests that it strikes unless others are named, and how often.
fn read_kind(word: &str, given: &mut Given) -> Result<(Kind, Target, Option<u64>), String> {
    let once = Some(1);
    let half = Spot::Part(0.5);
    Ok(match word {
        "latency" => {
            let time = given.time("value")?.ok_or("how long? such as latency=200ms")?;
            (Kind::Latency { time, jitter: given.time("jitter")?.unwrap_or_default() }, Target::All, None)
        }
        "429" => {
            let kind = Kind::TooMany { retry_after: given.time("retry-after")?, reset: given.time("reset")? };
            (kind, Target::Api, once)
        }
        "cut" => (Kind::Cut(given.spot("value")?.unwrap_or(half)), Target::Files, once),
        "stall" => {
            let at = given.spot("value")?.unwrap_or(half);
            // Longer than any client waits.
            let time = given.time("for")?.unwrap_or(Duration::from_secs(3600));
            (Kind::Stall { at, time }, Target::Files, once)
        }
        "drip" => {
            let at = given.spot("value")?.unwrap_or(half);
            let bytes = given.count("bytes")?.unwrap_or(1).max(1);
            let every = given.time("interval")?.unwrap_or(Duration::from_millis(100));
            (Kind::Drip { at, bytes: usize::try_from(bytes).unwrap_or(usize::MAX), every }, Target::Files, once)
        }
        "expire" => {
            let life = given.time("value")?.ok_or("after how long? such as expire=5s")?;
            let status = given.count("status")?.unwrap_or(403);
            let status = u16::try_from(status).ok().filter(|status| [400, 401, 403].contains(status));
            (Kind::Expire { life, status: status.ok_or("`status` is 400, 401 or 403")? }, Target::Files, None)
        }
        "wrong-range" => (Kind::WrongRange(given.count("value")?.unwrap_or(7).max(1)), Target::Files, once),
        "ignore-range" => (Kind::IgnoreRange, Target::Files, once),
        "new-etag" => (Kind::NewEtag, Target::Files, once),
        "gzip" | "zstd" => {
            let compression = if word == "gzip" { Compression::Gzip } else { Compression::Zstd };
            let truncated = given.flag("truncated")?;
            let members = given.count("members")?.unwrap_or(1).max(1);
            let times = if truncated { once } else { None };
            (Kind::Encode { compression, members, truncated }, Target::Files, times)
        }
        "broken-lines" => (Kind::BrokenLines(given.count("value")?.unwrap_or(100).max(1)), Target::Files, None),
        "duplicate-rows" => (Kind::DuplicateRows(given.count("value")?.unwrap_or(100).max(1)), Target::Files, None),
        "late-type" => {
            let kind = Kind::LateType { column: given.text("column")?, row: given.count("row")?.unwrap_or(1000) };
            (kind, Target::Files, None)
        }
        "unsigned" => (Kind::Unsigned, Target::Links, once),
        "flap" => (Kind::State(Progress::Flap), Target::Status, Some(4)),
        "stick" => (Kind::State(Progress::Stick), Target::Status, Some(3)),
        "jump" => (Kind::State(Progress::Jump), Target::Status, Some(3)),
        "unknown-state" => {
            let word = given.text("value")?.unwrap_or_else(|| "reticulating".to_owned());
            (Kind::State(Progress::Unknown(word)), Target::Status, Some(2))
        }
        "timeout" => (Kind::RunTimeout, Target::Runs, None),
        _ => match word.parse::<u16>() {
            Ok(status @ 500..=599) | Ok(status @ 408) => (Kind::Status(status), Target::All, once),
            _ => {
                let known = "latency, 429, 500 to 599, cut, stall, drip, expire, wrong-range, ignore-range, new-etag, gzip, \
                    zstd, broken-lines, late-type, duplicate-rows, unsigned, flap, stick, jump, unknown-state, timeout";
                return Err(format!("`{word}` is no kind of fault; they are {known}"));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_files_say_the_same() {
        let file: Scenario = r#"
            seed = 7
            [[fault]]
            kind = "429"
            retry-after = "2s"
            times = 3
            on = "status"
            [[fault]]
            kind = "cut"
            value = "64KiB"
            chance = 0.5
            [[fault]]
            kind = "gzip"
            members = 3
            truncated = true
        "#
        .parse()
        .unwrap();
        let flags = ["429,retry-after=2s,times=3,on=status", "cut=64KiB,chance=0.5", "gzip,members=3,truncated"];
        let flags: Vec<Rule> = flags.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(file, Scenario { seed: 7, rules: flags });
        assert_eq!(file.rules[1].kind, Kind::Cut(Spot::Bytes(64 << 10)));
        assert_eq!("cut".parse::<Rule>().unwrap().kind, Kind::Cut(Spot::Part(0.5)));
        assert_eq!("503,times=always".parse::<Rule>().unwrap().times, None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("teapot", "`teapot` is no kind of fault"),
            ("404", "`404` is no kind of fault"),
            ("latency", "how long?"),
            ("latency=soon", "`value`: "),
            ("cut,at=5", "`cut` takes no `at`"),
            ("cut,on=moon", "`on` is one of all, api"),
            ("flap,on=files", "on nothing but its own"),
            ("503,times=often", "`times` is a number, or `always`"),
            ("503,chance=2", "`chance` is between 0 and 1"),
            ("expire=1s,status=404", "`status` is 400, 401 or 403"),
            ("503,times=1,times=2", "`times` stands there twice"),
        ] {
            let said = text.parse::<Rule>().unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        let said = "[[fault]]\nkind = \"cut\"\nat = 5\n".parse::<Scenario>().unwrap_err().to_string();
        assert_eq!(said, "fault 1 (cut): `cut` takes no `at`");
        assert!("[[faults]]\nkind = \"cut\"".parse::<Scenario>().is_err());
    }
}
