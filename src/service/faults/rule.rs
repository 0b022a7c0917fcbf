//! Grammar of fault scenarios: rules as text, `KIND=VALUE,KEY=VALUE,...`, and the same rules as tables of a TOML file.
//! Text is turned into a table first, so that both forms have one parser.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use super::kind::{BodyPosition, ErrorShape, Kind, Progress, Refusal, Target};
use crate::format::Compression;
use crate::service::blocks;
use crate::text::{parse_duration, parse_size};

/// Faults of a service: a seed and rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scenario {
    /// Seed of the random numbers. Default 0.
    pub seed: u64,
    /// Rules in order; several may strike one request. Empty by default, which injects no fault.
    pub rules: Vec<Rule>,
}

/// Fault with the condition under which it is injected. Counts are per resource, which is one path.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Name of the kind, as written.
    pub word: String,
    /// The whole rule in the form of [`Rule::from_str`], with its parameters in alphabetical order.
    pub text: String,
    /// The fault, with its parameters.
    pub kind: Kind,
    /// Requests that the rule applies to.
    pub on: Target,
    /// Number of requests that pass before the first strike. Default 0.
    pub after: u64,
    /// Interval of strikes: each n-th request from then on. Default 1.
    pub every: u64,
    /// Maximum number of strikes; `None` is unlimited. The default depends on the kind.
    pub times: Option<u64>,
    /// Probability of a strike, 0 to 1; `None` is 1.
    pub chance: Option<f64>,
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

/// Error in a scenario file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not TOML, or has other keys than a scenario.
    #[error("cannot parse the fault scenario: {0}")]
    Toml(#[from] toml::de::Error),
    /// A rule is invalid.
    #[error("`fault[{index}]` ({kind}): {why}")]
    Rule {
        /// Index of the rule among the `[[fault]]` tables, from 0.
        index: usize,
        /// Name of the kind, as written; `no kind` if it is missing.
        kind: String,
        /// Cause, which names the parameter.
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

    /// Parses the text of a TOML file.
    fn from_str(text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text)?;
        let rules = file.fault.into_iter().enumerate().map(|(index, table)| {
            let kind = table.get("kind").and_then(Value::as_str).unwrap_or("no kind").to_owned();
            Rule::from_table(table).map_err(|why| Error::Rule { index, kind, why })
        });
        Ok(Scenario { seed: file.seed, rules: rules.collect::<Result<_, _>>()? })
    }
}

impl FromStr for Rule {
    type Err = String;

    /// Parses `KIND` or `KIND=VALUE`, followed by parameters after commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut table = Table::new();
        for (i, part) in text.split(',').enumerate() {
            let (key, value) = part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value.trim())));
            let mut put = |key: &str, value: &str| match table.insert(key.to_owned(), Value::from(value)) {
                Some(_) => Err(format!("duplicate parameter `{key}`")),
                None => Ok(()),
            };
            match (i, value) {
                (0, value) => {
                    put("kind", key.trim())?;
                    value.map_or(Ok(()), |value| put("value", value))?;
                }
                (_, Some(value)) => put(key.trim(), value)?,
                // A parameter without a value is a flag, such as `truncated`.
                (_, None) => put(key.trim(), "true")?,
            }
        }
        Rule::from_table(table)
    }
}

impl Rule {
    /// Returns true if the rule applies to requests of `target`.
    pub(super) fn applies_to(&self, target: Target) -> bool {
        match self.on {
            Target::All => target != Target::Runs,
            Target::Api => !matches!(target, Target::Files | Target::Runs),
            on => on == target,
        }
    }

    /// Parses the fault of one request. Conditions on other requests mean nothing there, and are refused.
    pub(super) fn for_one_request(text: &str) -> Result<Rule, String> {
        let parameters = text.split(',').skip(1).map(|part| part.split_once('=').map_or(part, |(key, _)| key).trim());
        match parameters.into_iter().find(|key| ["after", "every", "times", "chance"].contains(key)) {
            Some(key) => Err(format!("`{key}` has no effect on the fault of one request; remove it")),
            None => text.parse(),
        }
    }

    /// Parses a rule from the members of a JSON object, which has the keys of a table of a scenario file. An error names
    /// the parameter.
    pub(in crate::service) fn from_json(members: &serde_json::Map<String, serde_json::Value>) -> Result<Rule, String> {
        let value = |(key, value): (&String, &serde_json::Value)| {
            let value = match value {
                serde_json::Value::String(text) => Value::from(text.as_str()),
                serde_json::Value::Bool(flag) => Value::from(*flag),
                serde_json::Value::Number(number) => Value::from(number.to_string()),
                _ => return Err(format!("`{key}` must be a string or a number")),
            };
            Ok((key.clone(), value))
        };
        Rule::from_table(members.iter().map(value).collect::<Result<_, _>>()?)
    }

    /// Parses a rule from a table of its parameters. An error names the parameter.
    fn from_table(table: Table) -> Result<Rule, String> {
        let mut parameters = Parameters(table);
        let text = parameters.text();
        let word = parameters.take_text("kind")?.ok_or("`kind` is missing")?;
        let (kind, on, times) = parse_kind(&word, &mut parameters)?;
        let on = match parameters.take_text("on")? {
            None => on,
            Some(name) => match TARGETS.iter().find(|(known, _)| *known == name) {
                // These kinds change one kind of response, and would do nothing elsewhere without a word.
                Some((_, target))
                    if kind
                        .only()
                        .is_some_and(|only| *target != only && (only, *target) != (Target::Files, Target::All)) =>
                {
                    return Err(format!("`on` cannot be changed for `{word}`; remove it"));
                }
                Some((_, Target::Runs)) if kind.only().is_none() => {
                    return Err(format!("`on=runs` is not for `{word}`, which affects requests"));
                }
                Some((_, target)) => *target,
                None => {
                    let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
                    return Err(format!("`on` must be one of {}", known.join(", ")));
                }
            },
        };
        let rule = Rule {
            word: word.clone(),
            text,
            kind,
            on,
            after: parameters.take_count("after")?.unwrap_or(0),
            every: parameters.take_positive("every")?.unwrap_or(1),
            times: match parameters.take_text("times")?.as_deref() {
                None => times,
                Some("always") => None,
                Some("0") => return Err(NEVER.replace("{}", "times=0")),
                Some(text) => Some(count(text).ok_or("`times` must be a whole number or `always`")?),
            },
            chance: match parameters.take_text("chance")? {
                None => None,
                Some(text) => match fraction(&text).ok_or("`chance` must be between 0 and 1")? {
                    0.0 => return Err(NEVER.replace("{}", &format!("chance={text}"))),
                    chance => Some(chance),
                },
            },
        };
        // Parameters are removed as they are parsed, so one that is left is unknown.
        match parameters.0.keys().next() {
            Some(key) => Err(format!("`{word}` has no parameter `{key}`")),
            None => Ok(rule),
        }
    }
}

/// Parameters of a rule that are not parsed yet. Each method removes one; `None` if it is absent.
struct Parameters(Table);

impl Parameters {
    /// Returns all parameters in the form of [`Rule::from_str`].
    fn text(&self) -> String {
        let text_of = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(flag) => flag.to_string(),
            // Refused when the parameter is parsed.
            _ => String::new(),
        };
        let get = |key: &str| self.0.get(key).map(text_of);
        let mut text = get("kind").unwrap_or_default();
        if let Some(value) = get("value") {
            text.push('=');
            text.push_str(&value);
        }
        for (key, value) in self.0.iter().filter(|(key, _)| !matches!(key.as_str(), "kind" | "value")) {
            text.push_str(&format!(",{key}={}", text_of(value)));
        }
        text
    }

    /// Removes the parameters of a refusal with this status.
    fn take_refusal(&mut self, status: u16) -> Result<Kind, String> {
        let shape = match self.take_text("shape")?.as_deref() {
            None | Some("detail") => ErrorShape::Detail,
            Some("legacy") => ErrorShape::Legacy,
            Some("nested") => ErrorShape::Nested,
            Some("html") => ErrorShape::Html,
            Some(_) => return Err("`shape` must be one of detail, legacy, nested, html".to_owned()),
        };
        Ok(Kind::Refusal(Refusal {
            status,
            shape,
            text: self.take_text("text")?.unwrap_or_else(|| DEFAULT_TEXT.to_owned()),
            retry_after: self.take_duration("retry-after")?,
            reset: self.take_duration("reset")?,
        }))
    }

    fn take_text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Integer(number)) => Ok(Some(number.to_string())),
            Some(Value::Float(number)) => Ok(Some(number.to_string())),
            Some(Value::Boolean(flag)) => Ok(Some(flag.to_string())),
            Some(_) => Err(format!("`{key}` must be a string or a number")),
        }
    }

    fn take_count(&mut self, key: &str) -> Result<Option<u64>, String> {
        let text = self.take_text(key)?;
        text.map(|text| count(&text).ok_or(format!("`{key}` must be a whole number"))).transpose()
    }

    fn take_positive(&mut self, key: &str) -> Result<Option<u64>, String> {
        match self.take_count(key)? {
            Some(0) => Err(format!("`{key}` must be at least 1")),
            count => Ok(count),
        }
    }

    fn take_duration(&mut self, key: &str) -> Result<Option<Duration>, String> {
        let text = self.take_text(key)?;
        text.map(|text| parse_duration(&text).map_err(|why| format!("`{key}`: {why}"))).transpose()
    }

    fn take_flag(&mut self, key: &str) -> Result<bool, String> {
        match self.take_text(key)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(format!("`{key}` must be true or false")),
        }
    }

    /// Removes a position in a body: a size such as `64KiB`, or a percentage such as `50%`. It is below 100: behind the
    /// last byte there is nothing to change.
    fn take_position(&mut self, key: &str) -> Result<Option<BodyPosition>, String> {
        let Some(text) = self.take_text(key)? else { return Ok(None) };
        if let Some(percent) = text.strip_suffix('%') {
            let error = |_| format!("`{key}` must be a size or a percentage, such as 64KiB or 50%");
            let percent: f64 = percent.trim().parse().map_err(error)?;
            return match (0.0..100.0).contains(&percent) {
                true => Ok(Some(BodyPosition::Fraction(percent / 100.0))),
                false => Err(format!("`{key}` must be at least 0% and below 100%: a body has no bytes elsewhere")),
            };
        }
        parse_size(&text).map(|bytes| Some(BodyPosition::Bytes(bytes))).map_err(|why| format!("`{key}`: {why}"))
    }
}

impl Rule {
    /// Returns the reason why the rule can never strike in a service that stands before the hosted one; `None` if it can.
    pub fn never_strikes_before_hosted(&self) -> Option<String> {
        let is_of_runs = self.kind.only() == Some(Target::Runs) || self.on == Target::Runs;
        is_of_runs.then(|| {
            format!(
                "the fault `{}` never strikes here: it is one of runs, which the hosted service executes",
                self.text
            )
        })
    }
}

/// Returns true for the name of a block of the catalogue, new or old, and for a sequence number.
fn can_name_block(text: &str) -> bool {
    text.parse::<i64>().is_ok() || blocks::find(text).is_some()
}

fn count(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn fraction(text: &str) -> Option<f64> {
    text.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction))
}

/// Reason why a condition that no request meets is refused.
const NEVER: &str = "with `{}` the fault never strikes";

/// Message of a fault without a text of its own.
const DEFAULT_TEXT: &str = "injected fault";

/// Parses the kind called `word` with its own parameters. Returns it with its default target and default `times`.
fn parse_kind(word: &str, parameters: &mut Parameters) -> Result<(Kind, Target, Option<u64>), String> {
    let once = Some(1);
    let half = BodyPosition::Fraction(0.5);
    Ok(match word {
        "latency" => {
            let time = parameters.take_duration("value")?.ok_or("specify a duration, such as latency=200ms")?;
            let jitter = parameters.take_duration("jitter")?.unwrap_or_default();
            if time.is_zero() && jitter.is_zero() {
                return Err("`value` must be longer than 0, or have a `jitter`".to_owned());
            }
            (Kind::Latency { time, jitter }, Target::All, None)
        }
        "cut" => (Kind::Cut(parameters.take_position("value")?.unwrap_or(half)), Target::Files, once),
        "stall" => {
            let at = parameters.take_position("value")?.unwrap_or(half);
            // An hour is longer than the timeout of any client.
            let time = parameters.take_duration("for")?.unwrap_or(Duration::from_secs(3600));
            (Kind::Stall { at, time }, Target::Files, once)
        }
        "drip" => {
            let at = parameters.take_position("value")?.unwrap_or(half);
            let bytes = parameters.take_positive("bytes")?.unwrap_or(1);
            let every = parameters.take_duration("interval")?.unwrap_or(Duration::from_millis(100));
            if every.is_zero() {
                return Err("`interval` must be longer than 0".to_owned());
            }
            (Kind::Drip { at, bytes: usize::try_from(bytes).unwrap_or(usize::MAX), every }, Target::Files, once)
        }
        "expire" => {
            let life = parameters.take_duration("value")?.ok_or("specify a duration, such as expire=5s")?;
            let status = parameters.take_count("status")?.unwrap_or(403);
            let status = u16::try_from(status).ok().filter(|status| [400, 401, 403].contains(status));
            (Kind::Expire { life, status: status.ok_or("`status` must be 400, 401 or 403")? }, Target::Files, None)
        }
        "wrong-range" => (Kind::WrongRange(parameters.take_positive("value")?.unwrap_or(7)), Target::Files, once),
        "ignore-range" => (Kind::IgnoreRange, Target::Files, once),
        "new-etag" => (Kind::NewEtag, Target::Files, once),
        "gzip" | "zstd" => {
            let compression = if word == "gzip" { Compression::Gzip } else { Compression::Zstd };
            let truncated = parameters.take_flag("truncated")?;
            let members = parameters.take_positive("members")?.unwrap_or(1);
            // A compressed file is valid and may stay so; a truncated one must end, or no retry could succeed.
            let times = if truncated { once } else { None };
            (Kind::Encode { compression, members, truncated }, Target::Files, times)
        }
        "broken-lines" => (Kind::BrokenLines(parameters.take_positive("value")?.unwrap_or(100)), Target::Files, None),
        "duplicate-rows" => {
            (Kind::DuplicateRows(parameters.take_positive("value")?.unwrap_or(100)), Target::Files, None)
        }
        "late-type" => {
            let column = parameters.take_text("column")?;
            let kind = Kind::LateType { column, row: parameters.take_count("row")?.unwrap_or(1000) };
            (kind, Target::Files, None)
        }
        "unsigned" => (Kind::Unsigned, Target::Links, once),
        "flap" => (Kind::State(Progress::Flap), Target::Status, Some(4)),
        "stick" => (Kind::State(Progress::Stick), Target::Status, Some(3)),
        "jump" => (Kind::State(Progress::Jump), Target::Status, Some(3)),
        "unknown-state" => {
            let word = parameters.take_text("value")?.unwrap_or_else(|| "reticulating".to_owned());
            (Kind::State(Progress::Unknown(word)), Target::Status, Some(2))
        }
        "timeout" => (Kind::RunTimeout, Target::Runs, None),
        "fail-block" => {
            let block = parameters.take_text("value")?;
            if let Some(name) = block.as_deref().filter(|name| !can_name_block(name)) {
                return Err(format!(
                    "`value` must be the name or the sequence number of a block; no block is called `{name}`"
                ));
            }
            let text = parameters.take_text("text")?.unwrap_or_else(|| DEFAULT_TEXT.to_owned());
            (Kind::FailBlock { block, text }, Target::Runs, None)
        }
        "rows-per-second" => {
            let text = parameters.take_text("value")?.ok_or("specify a number, such as rows-per-second=100")?;
            let rate = text.parse().ok().filter(|rate| (0.001..=1e9).contains(rate));
            (Kind::RowsPerSecond(rate.ok_or("`value` must be a number from 0.001 to 1000000000")?), Target::Runs, None)
        }
        _ => match word.parse::<u16>() {
            // A status below says something about the API's own state; the others are those of any server between.
            Ok(status @ (400..=407 | 409..=417 | 421..=429 | 431 | 451)) => {
                (parameters.take_refusal(status)?, Target::Api, once)
            }
            Ok(status @ (408 | 500..=599)) => (parameters.take_refusal(status)?, Target::All, once),
            _ => {
                let known = "latency, 400 to 599, cut, stall, drip, expire, wrong-range, ignore-range, new-etag, gzip, zstd, \
                    broken-lines, late-type, duplicate-rows, unsigned, flap, stick, jump, unknown-state, timeout, \
                    fail-block, rows-per-second";
                return Err(format!("unknown fault kind `{word}`; the kinds are {known}"));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_tables_parse_to_the_same_rules() {
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
        assert_eq!(file.rules[1].kind, Kind::Cut(BodyPosition::Bytes(64 << 10)));
        assert_eq!("cut".parse::<Rule>().unwrap().kind, Kind::Cut(BodyPosition::Fraction(0.5)));
        assert_eq!("503,times=always".parse::<Rule>().unwrap().times, None);
    }

    #[test]
    fn json_parses_to_the_same_rules_and_text_parses_back() {
        let json =
            serde_json::json!({"kind": "402", "on": "start", "times": 1, "shape": "legacy", "text": "no credits"});
        let rule = Rule::from_json(json.as_object().unwrap()).unwrap();
        assert_eq!(rule.text, "402,on=start,shape=legacy,text=no credits,times=1");
        assert_eq!(rule.text.parse::<Rule>().unwrap(), rule);
        let json = serde_json::json!({"kind": 503});
        assert_eq!(Rule::from_json(json.as_object().unwrap()).unwrap(), "503".parse().unwrap());
        let nested = serde_json::json!({"kind": {}});
        assert_eq!(Rule::from_json(nested.as_object().unwrap()).unwrap_err(), "`kind` must be a string or a number");
    }

    #[test]
    fn errors_name_the_kind_or_the_parameter() {
        for (text, expected) in [
            ("teapot", "unknown fault kind `teapot`; the kinds are latency, 400 to 599"),
            ("418", "unknown fault kind `418`"),
            ("399", "unknown fault kind `399`"),
            ("402,shape=round", "`shape` must be one of detail, legacy, nested, html"),
            ("expire=1s,on=start", "`on` cannot be changed for `expire`"),
            ("fail-block,on=start", "`on` cannot be changed for `fail-block`"),
            ("402,on=runs", "`on=runs` is not for `402`"),
            ("rows-per-second", "specify a number"),
            ("rows-per-second=0", "`value` must be a number from"),
            ("latency", "specify a duration, such as latency=200ms"),
            ("latency=soon", "`value`: "),
            ("cut=x%", "`value` must be a size or a percentage"),
            ("cut,at=5", "`cut` has no parameter `at`"),
            ("cut,on=moon", "`on` must be one of all, api"),
            ("flap,on=files", "`on` cannot be changed for `flap`"),
            ("503,times=often", "`times` must be a whole number or `always`"),
            ("503,chance=2", "`chance` must be between 0 and 1"),
            ("expire=1s,status=404", "`status` must be 400, 401 or 403"),
            ("503,times=1,times=2", "duplicate parameter `times`"),
            ("503,times=0", "with `times=0` the fault never strikes"),
            ("503,chance=0.0", "with `chance=0.0` the fault never strikes"),
            ("503,chance=nan", "`chance` must be between 0 and 1"),
            ("503,every=0", "`every` must be at least 1"),
            ("cut=150%", "`value` must be at least 0% and below 100%"),
            ("cut=100%", "`value` must be at least 0% and below 100%"),
            ("stall=-1%", "`value` must be at least 0% and below 100%"),
            ("drip=NaN%", "`value` must be at least 0% and below 100%"),
            ("drip,bytes=0", "`bytes` must be at least 1"),
            ("drip,interval=0s", "`interval` must be longer than 0"),
            ("latency=0s", "`value` must be longer than 0"),
            ("wrong-range=0", "`value` must be at least 1"),
            ("gzip,members=0", "`members` must be at least 1"),
            ("broken-lines=0", "`value` must be at least 1"),
            ("duplicate-rows=0", "`value` must be at least 1"),
            ("fail-block=nonesuch", "no block is called `nonesuch`"),
            ("fail-block=", "no block is called ``"),
        ] {
            let error = text.parse::<Rule>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for text in ["latency=0s,jitter=1ms", "cut=0%", "cut=99.9%", "fail-block=2", "fail-block=enrich_lead"] {
            assert!(text.parse::<Rule>().is_ok(), "{text}");
        }
        for text in ["503,times=1", "503,after=0,text=x", "cut,every=2", "503, chance=1"] {
            assert!(Rule::for_one_request(text).unwrap_err().contains("has no effect on the fault of one request"));
        }
        let error = |text: &str| text.parse::<Scenario>().unwrap_err().to_string();
        assert_eq!(error("[[fault]]\nkind = \"cut\"\nat = 5\n"), "`fault[0]` (cut): `cut` has no parameter `at`");
        let unknown = error("[[faults]]\nkind = \"cut\"");
        assert!(unknown.starts_with("cannot parse the fault scenario: ") && unknown.contains("`faults`"), "{unknown}");
    }
}
