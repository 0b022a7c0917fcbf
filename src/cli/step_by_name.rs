//! Steps by their names and texts, which flags and plan files share.

use std::sync::Arc;

use crate::transform::expr::{Error, parse, parse_assignments, parse_casts, parse_names, parse_renames};
use crate::transform::{OnBadCast, Query, Rename, Selected, Step};

/// What a bad value does.
pub fn parse_on_bad_cast(text: &str) -> Result<OnBadCast, String> {
    match text {
        "reject" => Ok(OnBadCast::Reject),
        "null" => Ok(OnBadCast::Null),
        _ => Err("it is `reject` or `null`".to_owned()),
    }
}

/// The steps of one flag, or of one entry of a plan file.
pub fn step(flag: &str, text: &str) -> Result<Vec<Step>, Error> {
    let one = |step| vec![step];
    match flag {
        "where" => parse(text).map(Step::Where).map(one),
        "with" => Ok(parse_assignments(text)?
            .into_iter()
            .map(|with| Step::With { name: with.name.into(), at: with.at, value: with.value, text: text.into() })
            .collect()),
        "select" => parse_names(text).map(|paths| {
            let selected = paths.into_iter().map(|path| Selected { name: path.to_string().into(), path });
            one(Step::Select(selected.collect(), text.into()))
        }),
        "drop" => parse_names(text).map(|paths| one(Step::Drop(paths, text.into()))),
        "cast" => parse_casts(text).map(|casts| one(Step::Cast(casts, text.into()))),
        "flatten" => Ok(one(Step::Flatten { separator: text.into() })),
        "explode" => {
            let paths = parse_names(text)?;
            Ok(paths.into_iter().map(|path| Step::Explode(path, text.into())).collect())
        }
        "dedupe" if text.trim() == "*" => Ok(one(Step::Dedupe(Vec::new(), text.into()))),
        "dedupe" => parse_names(text).map(|paths| one(Step::Dedupe(paths, text.into()))),
        "sql" => Query::parse(text).map(|query| one(Step::Sql(Arc::new(query)))),
        "json" => parse_names(text).map(|paths| one(Step::JsonText(paths, text.into()))),
        _ => parse_renames(text).map(|renames| {
            let renames = renames.into_iter().map(|(from, to)| Rename { from, to: to.into() });
            one(Step::Rename(renames.collect(), text.into()))
        }),
    }
}
