//! Steps held against the columns that are known before the first record is written: which dotted names are columns and
//! which are ways into one, and what cannot be meant.

use std::sync::Arc;

use super::expr::{self, Hint, Literal, Operand, Path, PathSegment, Quotes, Test, type_at, type_of};
use crate::column::{Field, Schema, Type, TypeMerge};
use crate::text::nearest;

/// Columns as far as they are known before the first record.
#[derive(Clone, Debug)]
pub struct KnownColumns {
    /// Names and, in JSON, types: of a sample, of a header, as declared.
    pub schema: Schema,
    /// No others can come.
    pub complete: bool,
    /// CSV knows no types before the cells are compared with something.
    pub type_merge: TypeMerge,
    /// Names that a step has taken away; none of them can come any more.
    pub removed: Vec<Arc<str>>,
}

/// The columns on their way through the steps of a plan.
#[derive(Debug)]
pub(super) struct Binding {
    known: KnownColumns,
    unseen: Vec<String>,
}

impl Binding {
    /// Begins before the first step.
    pub fn new(known: KnownColumns) -> Self {
        Binding { known, unseen: Vec::new() }
    }

    /// The columns after the steps that were bound so far.
    pub fn schema(&self) -> &Schema {
        &self.known.schema
    }

    /// Whether values come from cells of CSV.
    pub fn type_merge(&self) -> TypeMerge {
        self.known.type_merge
    }

    /// The names that no column has had so far, sorted: they may come, and are null until then.
    pub fn into_unseen(self) -> Vec<String> {
        let mut unseen = self.unseen;
        unseen.sort_unstable();
        unseen.dedup();
        unseen
    }

    /// The columns are others from now on.
    pub fn change(&mut self, change: impl FnOnce(&mut Schema)) {
        change(&mut self.known.schema);
    }

    /// No other columns can come from now on.
    pub fn complete(&mut self) {
        self.known.complete = true;
    }

    /// Columns of these names cannot come any more.
    pub fn forget(&mut self, names: impl Iterator<Item = Arc<str>>) {
        self.known.removed.extend(names);
    }

    /// As [`Binding::resolve`], for every path that `paths` goes through.
    pub fn resolve_each(
        &mut self,
        text: &str,
        paths: impl FnOnce(&mut dyn FnMut(&mut Path)),
    ) -> Result<(), expr::Error> {
        let mut result = Ok(());
        paths(&mut |path| {
            if result.is_ok() {
                result = self.resolve(path, text);
            }
        });
        result
    }

    /// Finds the column that `path` starts with, and checks the way from there.
    pub fn resolve(&mut self, path: &mut Path, text: &str) -> Result<(), expr::Error> {
        // The longest dotted name that is a column's; in quotes a name is what it is.
        let mut name = path.column.to_string();
        let mut found = self.known.schema.position(&name).map(|_| (path.column.clone(), 0));
        if path.quotes == Quotes::None {
            for (i, way) in path.way.iter().enumerate() {
                let PathSegment::Key(key) = way else { break };
                name = format!("{name}.{key}");
                if self.known.schema.position(&name).is_some() {
                    found = Some((name.as_str().into(), i + 1));
                }
            }
        }
        let Some((column, taken)) = found else { return self.unknown(path, &name, text) };
        path.column = column;
        path.way.drain(..taken);
        self.check_path(path, text)
    }

    /// Finds a column as a whole, which is `done`.
    pub fn resolve_whole(&mut self, path: &mut Path, text: &str, done: &str) -> Result<(), expr::Error> {
        self.resolve(path, text)?;
        if path.way.is_empty() {
            return Ok(());
        }
        let message = format!("`{path}` is inside the column `{}`; only whole columns are {done}", path.column);
        let hint = Hint::default().step("select", "").words(" makes a column of a value inside another");
        Err(expr::Error::new(text, path.at, message).with_hint(hint))
    }

    fn unknown(&mut self, path: &Path, dotted: &str, text: &str) -> Result<(), expr::Error> {
        let names = || self.known.schema.fields.iter().map(|field| &*field.name);
        let near = nearest(&path.column, names()).or_else(|| nearest(dotted, names()));
        let may_come = !self.known.complete
            && !self.known.removed.contains(&path.column)
            && match path.quotes {
                Quotes::Backtick => true,
                Quotes::Double => false,
                Quotes::None => near.is_none(),
            };
        if may_come {
            self.unseen.push(path.column.to_string());
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
            (None, _) => match self.known.schema.fields.len() {
                0 => "there are no columns at all".to_owned(),
                _ => format!("the columns are {}", names().take(12).collect::<Vec<_>>().join(", ")),
            },
        };
        Err(match self.known.complete {
            true => error.with_hint(hint),
            false => error.with_hint(format!("{hint} A column that comes later goes in backticks: `{}`", path.column)),
        })
    }

    /// Checks the way from a column that is known.
    fn check_path(&self, path: &Path, text: &str) -> Result<(), expr::Error> {
        let mut here = Path { way: Vec::new(), ..path.clone() };
        for way in &path.way {
            let ty = type_at(&self.known.schema, &here);
            let fail = |message: String| Err(expr::Error::new(text, path.at, message));
            match (&ty, way) {
                (Type::Json | Type::Raw, _) => return Ok(()),
                (Type::Null, _) if self.known.type_merge == TypeMerge::Json => return Ok(()),
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
        if self.known.type_merge == TypeMerge::Text { "cells of CSV" } else { expr::words(ty) }
    }

    /// The column `name` is of this type from now on; a new one is the last.
    pub fn set(&mut self, name: &Arc<str>, ty: Type) {
        match self.known.schema.position(name) {
            Some(place) => self.known.schema.fields[place].ty = ty,
            None => self.known.schema.fields.push(Field::new(name.clone(), ty)),
        }
        self.known.removed.retain(|gone| gone != name);
    }

    /// Checks every test that `tests` goes through.
    pub fn check_tests<'a>(
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
        if self.known.type_merge == TypeMerge::Text {
            return Ok(());
        }
        let kind = |operand: &Operand| match operand {
            Operand::Literal(literal) => ValueKind::of_literal(literal),
            operand => ValueKind::of(&type_of(operand, &self.known.schema, self.known.type_merge)),
        };
        let (operand, other, what) = match test {
            Test::IsNull(_) => return Ok(()),
            Test::Truth(operand) => (operand, Some(ValueKind::Bool), "true or false"),
            Test::Matches(operand, _) => (operand, Some(ValueKind::Text), "text"),
            Test::Compare(left, _, Operand::Literal(right)) => (left, ValueKind::of_literal(right), right.kind()),
            Test::Compare(Operand::Literal(left), _, right) => (right, ValueKind::of_literal(left), left.kind()),
            Test::Compare(left, _, right) => (left, kind(right), "another kind of value"),
            Test::In(operand, list) => {
                let mut kinds = list.iter().map(ValueKind::of_literal);
                let first = kinds.next().flatten();
                if kinds.any(|kind| kind != first) {
                    return Ok(());
                }
                (operand, first, list[0].kind())
            }
        };
        let (Some(own), Some(other)) = (kind(operand), other) else { return Ok(()) };
        if own == other && own != ValueKind::Nested {
            return Ok(());
        }
        let message = match operand {
            Operand::Column(path) => {
                let words = self.words(&type_at(&self.known.schema, path));
                format!("`{path}` holds {words} and is asked for {what}")
            }
            Operand::Literal(literal) => format!("{} and {what} do not compare", literal.kind()),
            Operand::Computed(computed) => {
                let words = self.words(&type_of(operand, &self.known.schema, self.known.type_merge));
                format!("`{}` gives {words} and is asked for {what}", &text[computed.span.clone()])
            }
        };
        let error = expr::Error::new(text, at, message);
        Err(match (own, other, test) {
            (ValueKind::Text, ValueKind::Number, Test::Compare(_, _, Operand::Literal(Literal::Number(number)))) => {
                error.with_hint(format!("as text it is '{}'; text is ordered by its characters", number.text()))
            }
            (ValueKind::Number, ValueKind::Text, _) => error.with_hint("numbers are written without quotes"),
            _ => error,
        })
    }
}

/// Kinds of values; only values of one kind compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueKind {
    Bool,
    Number,
    Text,
    /// Compares with nothing.
    Nested,
}

impl ValueKind {
    /// `None` where values may be of any kind.
    fn of(ty: &Type) -> Option<ValueKind> {
        match ty {
            Type::Null | Type::Json | Type::Raw => None,
            Type::Bool => Some(ValueKind::Bool),
            Type::Int { .. } | Type::Decimal | Type::Float => Some(ValueKind::Number),
            Type::Text => Some(ValueKind::Text),
            Type::Fixed(fixed) => Some(if fixed.is_number() { ValueKind::Number } else { ValueKind::Text }),
            Type::Struct(_) | Type::List(_) | Type::Map(_) => Some(ValueKind::Nested),
        }
    }

    fn of_literal(literal: &Literal) -> Option<ValueKind> {
        match literal {
            Literal::Null => None,
            Literal::Bool(_) => Some(ValueKind::Bool),
            Literal::Number(_) => Some(ValueKind::Number),
            Literal::Text(_) => Some(ValueKind::Text),
        }
    }
}
