//! Checks steps against the columns that are known before the first record is written, and finds
//! out which dotted names are columns and which are ways into one.

use std::sync::Arc;

use super::columns::{rename_schema, select_schema};
use super::error::Error;
use super::expr::{self, CastType, Fault, Literal, Operand, Path, PathSegment, Quotes, Test, type_at, type_of};
use super::nested::{explode_schema, flatten_schema};
use super::step::{Rename, Selected, Step};
use crate::column::{Field, Mixing, Schema, Type};
use crate::text::nearest;

/// What is known of the columns.
#[derive(Clone, Debug)]
pub struct Known {
    /// Names and, in JSON, types: of a sample, of a header, as declared.
    pub schema: Schema,
    /// No others can come.
    pub complete: bool,
    /// CSV knows no types before the cells are compared with something.
    pub mixing: Mixing,
    /// Names that a step has taken away; none of them can come any more.
    pub gone: Vec<Arc<str>>,
}

/// Checks `steps` in their order and resolves their paths. Returns the names that no column has had
/// so far: they may come, and are null until then.
///
/// An error is of the text of one step: a column that is not there and looks like a slip for one
/// that is, a way into a column that has none, a comparison that no value can meet, two columns of
/// one name.
pub fn bind(steps: &mut [Step], mut known: Known) -> Result<Vec<String>, expr::Error> {
    let mut unseen = Vec::new();
    for step in steps {
        match step {
            Step::Where(expr) => {
                let text = expr.text.clone();
                let mut result = Ok(());
                expr.node.paths_mut(&mut |path| {
                    if result.is_ok() {
                        result = known.resolve(path, &text, &mut unseen);
                    }
                });
                result?;
                known.check_all(&text, |each| expr.node.tests(each))?;
                if known.mixing == Mixing::Json {
                    expr::check_node(&expr.node, &known.schema).map_err(|fault| fault_error(fault, &text))?;
                }
            }
            Step::With { name, value, text, .. } => {
                let mut result = Ok(());
                value.paths_mut(&mut |path| {
                    if result.is_ok() {
                        result = known.resolve(path, text, &mut unseen);
                    }
                });
                result?;
                known.check_all(text, |each| value.tests(each))?;
                if known.mixing == Mixing::Json {
                    expr::check_operand(value, &known.schema).map_err(|fault| fault_error(fault, text))?;
                }
                let ty = type_of(value, &known.schema, known.mixing);
                known.set(name, ty);
            }
            Step::Cast(casts, text) => {
                for (path, ty) in casts.iter_mut() {
                    known.resolve_whole(path, text, "cast", &mut unseen)?;
                    let nested = match type_at(&known.schema, path) {
                        Type::Struct(_) | Type::Map(_) => Some("objects"),
                        Type::List(_) => Some("lists"),
                        _ => None,
                    };
                    if let (Some(holds), false) = (nested, matches!(ty, CastType::Text | CastType::Json)) {
                        let message = format!("`{path}` holds {holds}, which cannot be {ty}");
                        return Err(expr::Error::new(text, path.at, message));
                    }
                    if known.schema.position(&path.column).is_some() && nested.is_none() {
                        known.set(&path.column, ty.ty());
                    }
                }
            }
            Step::Dedupe(paths, text) => {
                for path in paths.iter_mut() {
                    known.resolve_whole(path, text, "compared", &mut unseen)?;
                }
            }
            Step::JsonText(paths, text) => {
                for path in paths.iter_mut() {
                    known.resolve_whole(path, text, "made JSON text", &mut unseen)?;
                    if let Type::Struct(_) | Type::Map(_) | Type::List(_) = type_at(&known.schema, path) {
                        known.set(&path.column, Type::Text);
                    }
                }
            }
            Step::Flatten { separator } => {
                known.schema = flatten_schema(&known.schema, separator, true).map_err(|error| {
                    let hint = "give another separator, as `--flatten=_`, or rename one of them before";
                    expr::Error::new(&format!("--flatten={separator}"), 10, said(&error)).with_hint(hint)
                })?;
            }
            Step::Explode(path, text) => {
                known.resolve_whole(path, text, "exploded", &mut unseen)?;
                let ty = type_at(&known.schema, path);
                let fail =
                    |holds: &str| Err(expr::Error::new(text, path.at, format!("`{path}` holds {holds}, not lists")));
                match &ty {
                    Type::List(_) | Type::Json | Type::Raw => {}
                    Type::Null if known.mixing == Mixing::Json => {}
                    Type::Null | Type::Text if known.mixing == Mixing::Text => {
                        let hint = format!("where they are JSON, `--cast {path}:json` before makes lists of them");
                        return fail("cells of CSV").map_err(|error| error.with_hint(hint));
                    }
                    other => return fail(expr::words(other)),
                }
                known.schema = explode_schema(&known.schema, &path.column);
            }
            Step::Select(selected, text) => {
                for i in 0..selected.len() {
                    let Selected { path, name } = &mut selected[i];
                    known.resolve(path, text, &mut unseen)?;
                    *name = path.to_string().into();
                    let (before, rest) = selected.split_at(i);
                    if let Some(first) = before.iter().find(|s| s.name == rest[0].name) {
                        let (first, second) = (first.path.written(text), rest[0].path.written(text));
                        let message = format!("`{first}` and `{second}` would both be the column `{}`", rest[0].name);
                        return Err(expr::Error::new(text, rest[0].path.at, message));
                    }
                }
                known.schema = select_schema(&known.schema, selected);
                known.complete = true;
            }
            Step::Drop(paths, text) => {
                for path in paths.iter_mut() {
                    known.resolve_whole(path, text, "dropped", &mut unseen)?;
                }
                known.schema.fields.retain(|field| !paths.iter().any(|path| path.column == field.name));
                known.gone.extend(paths.iter().map(|path| path.column.clone()));
            }
            Step::Rename(renames, text) => {
                for i in 0..renames.len() {
                    known.resolve_whole(&mut renames[i].from, text, "renamed", &mut unseen)?;
                    let (before, rest) = renames.split_at(i);
                    let this = &rest[0];
                    if before.iter().any(|r| r.from.column == this.from.column) {
                        let message = format!("`{}` is renamed twice", this.from.column);
                        return Err(expr::Error::new(text, this.from.at, message));
                    }
                    if let Some(first) = before.iter().find(|r| r.to == this.to) {
                        let message =
                            format!("`{}` and `{}` would both be `{}`", first.from.column, this.from.column, this.to);
                        return Err(expr::Error::new(text, this.from.at, message));
                    }
                    if known.schema.position(&this.from.column).is_none() {
                        known.schema.fields.push(Field::new(this.from.column.clone(), Type::Null));
                    }
                }
                known.schema =
                    rename_schema(&known.schema, renames).map_err(|_| taken(&known.schema, renames, text))?;
                known.gone.extend(renames.iter().map(|rename| rename.from.column.clone()));
            }
            Step::RemoveColumns(names) => {
                known.schema.fields.retain(|field| !names.iter().any(|name| **name == *field.name));
            }
            Step::Lookup(lookup) => {
                for name in &lookup.fields {
                    if known.schema.position(name).is_none() {
                        known.schema.fields.push(Field::new(name.as_str(), Type::Raw));
                    }
                }
            }
            // The query is held against the columns by those who plan it.
            Step::Filter(_) | Step::Deduplicate(_) | Step::Limit(_) | Step::Sample { .. } | Step::Sql(_) => {}
        }
    }
    unseen.sort_unstable();
    unseen.dedup();
    Ok(unseen)
}

fn fault_error(fault: Fault, text: &str) -> expr::Error {
    let error = expr::Error::new(text, fault.at, fault.message);
    match fault.hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn said(error: &Error) -> String {
    error.to_string()
}

/// The first rename whose new name another column has.
fn taken(schema: &Schema, renames: &[Rename], text: &str) -> expr::Error {
    let stays = |name: &str| schema.position(name).is_some() && !renames.iter().any(|r| *r.from.column == *name);
    match renames.iter().find(|r| stays(&r.to)) {
        Some(Rename { from, to }) => {
            let message = format!("`{}` cannot be renamed to `{to}`: there is a column `{to}`", from.column);
            expr::Error::new(text, from.at, message).with_hint(format!("drop it before, by `--drop {to}`"))
        }
        None => expr::Error::new(text, 0, "two columns would have the same name"),
    }
}

impl Path {
    /// As it was written in `text`, for messages about names that look alike.
    fn written(&self, text: &str) -> String {
        let rest = text.get(self.at..).unwrap_or_default();
        let mut quote = None;
        let end = rest.char_indices().find(|&(_, c)| match quote {
            Some(open) => {
                if c == open {
                    quote = None;
                }
                false
            }
            None if c == '"' || c == '`' => {
                quote = Some(c);
                false
            }
            None => c == ',',
        });
        rest[..end.map_or(rest.len(), |(i, _)| i)].trim().to_owned()
    }
}

impl Known {
    /// Finds the column that `path` starts with, and checks the way from there.
    fn resolve(&self, path: &mut Path, text: &str, unseen: &mut Vec<String>) -> Result<(), expr::Error> {
        // The longest dotted name that is a column's; in quotes a name is what it is.
        let mut name = path.column.to_string();
        let mut found = self.schema.position(&name).map(|_| (path.column.clone(), 0));
        if path.quotes == Quotes::None {
            for (i, way) in path.way.iter().enumerate() {
                let PathSegment::Key(key) = way else { break };
                name = format!("{name}.{key}");
                if self.schema.position(&name).is_some() {
                    found = Some((name.as_str().into(), i + 1));
                }
            }
        }
        let Some((column, taken)) = found else { return self.unknown(path, &name, text, unseen) };
        path.column = column;
        path.way.drain(..taken);
        self.check_way(path, text)
    }

    /// A column as a whole.
    fn resolve_whole(
        &self,
        path: &mut Path,
        text: &str,
        done: &str,
        unseen: &mut Vec<String>,
    ) -> Result<(), expr::Error> {
        self.resolve(path, text, unseen)?;
        if path.way.is_empty() {
            return Ok(());
        }
        let message = format!("`{path}` is inside the column `{}`; only whole columns are {done}", path.column);
        Err(expr::Error::new(text, path.at, message).with_hint("`--select` makes a column of a value inside another"))
    }

    fn unknown(&self, path: &Path, dotted: &str, text: &str, unseen: &mut Vec<String>) -> Result<(), expr::Error> {
        let names = || self.schema.fields.iter().map(|field| &*field.name);
        let near = nearest(&path.column, names()).or_else(|| nearest(dotted, names()));
        let may_come = !self.complete
            && !self.gone.contains(&path.column)
            && match path.quotes {
                Quotes::Backtick => true,
                Quotes::Double => false,
                Quotes::None => near.is_none(),
            };
        if may_come {
            unseen.push(path.column.to_string());
            return Ok(());
        }
        let error = expr::Error::new(text, path.at, format!("there is no column `{}`", path.column));
        // `first-name` is a difference.
        let dashed = names().find(|name| name.contains('-') && text[path.at..].starts_with(name));
        let hint = match (near, path.quotes) {
            _ if dashed.is_some() => {
                format!("a name with a dash goes in double quotes: \"{}\"", dashed.unwrap_or_default())
            }
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Quotes::Double) => "text goes in single quotes, a column's name in double quotes".to_owned(),
            (None, _) => match self.schema.fields.len() {
                0 => "there are no columns at all".to_owned(),
                _ => format!("the columns are {}", names().take(12).collect::<Vec<_>>().join(", ")),
            },
        };
        Err(match self.complete {
            true => error.with_hint(hint),
            false => error.with_hint(format!("{hint} A column that comes later goes in backticks: `{}`", path.column)),
        })
    }

    /// Checks the way from a column that is known.
    fn check_way(&self, path: &Path, text: &str) -> Result<(), expr::Error> {
        let mut here = Path { way: Vec::new(), ..path.clone() };
        for way in &path.way {
            let ty = type_at(&self.schema, &here);
            let fail = |message: String| Err(expr::Error::new(text, path.at, message));
            match (&ty, way) {
                (Type::Json | Type::Raw, _) => return Ok(()),
                (Type::Null, _) if self.mixing == Mixing::Json => return Ok(()),
                (Type::Map(_), PathSegment::Key(_)) | (Type::List(_), PathSegment::Index(_)) => {}
                (Type::Struct(fields), PathSegment::Key(key)) => {
                    if !fields.iter().any(|field| field.name == *key)
                        && let Some(near) = nearest(key, fields.iter().map(|field| &*field.name))
                    {
                        return fail(format!("`{here}` has no field `{key}`"))
                            .map_err(|error| error.with_hint(format!("did you mean `{here}.{near}`?")));
                    }
                }
                (Type::List(_), PathSegment::Key(key)) => {
                    return fail(format!("`{here}` holds lists, which have no field `{key}`"))
                        .map_err(|error| error.with_hint(format!("an element's field is `{here}[0].{key}`")));
                }
                (_, PathSegment::Key(key)) => {
                    return fail(format!("`{here}` holds {}, which has no field `{key}`", self.words(&ty)));
                }
                (_, PathSegment::Index(_)) => return fail(format!("`{here}` holds {}, not lists", self.words(&ty))),
            }
            here.way.push(way.clone());
        }
        Ok(())
    }

    fn words(&self, ty: &Type) -> &'static str {
        if self.mixing == Mixing::Text { "cells of CSV" } else { expr::words(ty) }
    }

    /// The column `name` is of this type from now on; a new one is the last.
    fn set(&mut self, name: &Arc<str>, ty: Type) {
        match self.schema.position(name) {
            Some(place) => self.schema.fields[place].ty = ty,
            None => self.schema.fields.push(Field::new(name.clone(), ty)),
        }
        self.gone.retain(|gone| gone != name);
    }

    /// Checks every test that `tests` goes through.
    fn check_all<'a>(
        &self,
        text: &str,
        tests: impl FnOnce(&mut dyn FnMut(&'a Test, &std::ops::Range<usize>)),
    ) -> Result<(), expr::Error> {
        let mut result = Ok(());
        tests(&mut |test, span| {
            if result.is_ok() {
                result = self.check(test, text, span.start);
            }
        });
        result
    }

    /// Refuses a comparison that no value seen so far can meet. In CSV a cell is what it is compared
    /// with.
    fn check(&self, test: &Test, text: &str, at: usize) -> Result<(), expr::Error> {
        if self.mixing == Mixing::Text {
            return Ok(());
        }
        let kind = |operand: &Operand| match operand {
            Operand::Literal(literal) => Kind::of_literal(literal),
            operand => Kind::of(&type_of(operand, &self.schema, self.mixing)),
        };
        let (operand, other, what) = match test {
            Test::IsNull(_) => return Ok(()),
            Test::Truth(operand) => (operand, Some(Kind::Bool), "true or false"),
            Test::Matches(operand, _) => (operand, Some(Kind::Text), "text"),
            Test::Compare(left, _, Operand::Literal(right)) => (left, Kind::of_literal(right), right.kind()),
            Test::Compare(Operand::Literal(left), _, right) => (right, Kind::of_literal(left), left.kind()),
            Test::Compare(left, _, right) => (left, kind(right), "another kind of value"),
            Test::In(operand, list) => {
                let mut kinds = list.iter().map(Kind::of_literal);
                let first = kinds.next().flatten();
                if kinds.any(|kind| kind != first) {
                    return Ok(());
                }
                (operand, first, list[0].kind())
            }
        };
        let (Some(own), Some(other)) = (kind(operand), other) else { return Ok(()) };
        if own == other && own != Kind::Nested {
            return Ok(());
        }
        let message = match operand {
            Operand::Column(path) => {
                let words = self.words(&type_at(&self.schema, path));
                format!("`{path}` holds {words} and is asked for {what}")
            }
            Operand::Literal(literal) => format!("{} and {what} do not compare", literal.kind()),
            Operand::Computed(computed) => {
                let words = self.words(&type_of(operand, &self.schema, self.mixing));
                format!("`{}` gives {words} and is asked for {what}", &text[computed.span.clone()])
            }
        };
        let error = expr::Error::new(text, at, message);
        Err(match (own, other, test) {
            (Kind::Text, Kind::Number, Test::Compare(_, _, Operand::Literal(Literal::Number(number)))) => {
                error.with_hint(format!("as text it is '{}'; text is ordered by its characters", number.text()))
            }
            (Kind::Number, Kind::Text, _) => error.with_hint("numbers are written without quotes"),
            _ => error,
        })
    }
}

/// What compares with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Number,
    Text,
    /// Compares with nothing.
    Nested,
}

impl Kind {
    /// `None` where values may be of any kind.
    fn of(ty: &Type) -> Option<Kind> {
        match ty {
            Type::Null | Type::Json | Type::Raw => None,
            Type::Bool => Some(Kind::Bool),
            Type::Int { .. } | Type::Decimal | Type::Float => Some(Kind::Number),
            Type::Text => Some(Kind::Text),
            Type::Fixed(fixed) => Some(if fixed.is_number() { Kind::Number } else { Kind::Text }),
            Type::Struct(_) | Type::List(_) | Type::Map(_) => Some(Kind::Nested),
        }
    }

    fn of_literal(literal: &Literal) -> Option<Kind> {
        match literal {
            Literal::Null => None,
            Literal::Bool(_) => Some(Kind::Bool),
            Literal::Number(_) => Some(Kind::Number),
            Literal::Text(_) => Some(Kind::Text),
        }
    }
}
