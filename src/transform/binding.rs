//! Tracks the known columns while the steps of a plan are bound to them: resolves dotted names to a column or to a path
//! into one, and rejects references and comparisons that no record can satisfy. Works on schemas only, never on rows.

use std::sync::Arc;

use super::expr::{self, Hint, Literal, Operand, Path, PathSegment, Quotes, Test, type_at, type_of};
use crate::column::{Field, Schema, Type, TypeMerge};
use crate::text::nearest;

/// Columns known before the first record is written.
#[derive(Clone, Debug)]
pub struct KnownColumns {
    /// Names and, for JSON inputs, types: inferred from a sample, read from a header, or declared.
    pub schema: Schema,
    /// True if no further column can appear.
    pub complete: bool,
    /// `Text` for CSV, whose cells have no type until they are compared with something.
    pub type_merge: TypeMerge,
    /// Names that a step dropped or renamed; these columns cannot appear any more.
    pub removed: Vec<Arc<str>>,
    /// True if other executions read further records under the same steps: a name that these columns lack, or a comparison
    /// that none of their types satisfies, is then no mistake.
    pub is_part: bool,
}

/// A column that steps refer to and that the first records do not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownColumn {
    /// Its name.
    pub name: String,
    /// The error if no record has it; `None` for a name in backticks, which is accepted unchecked.
    pub error: Option<expr::Error>,
}

/// Columns between two steps of a plan, and the unknown names that the steps so far refer to.
#[derive(Debug)]
pub(super) struct Binding {
    known: KnownColumns,
    unseen: Vec<UnknownColumn>,
    /// A step has made columns of values, so that an unknown name may be of one that the input does not have.
    derives_columns: bool,
}

impl Binding {
    /// Starts with the columns before the first step.
    pub(super) fn new(known: KnownColumns) -> Self {
        Binding { known, unseen: Vec::new(), derives_columns: false }
    }

    /// Returns the columns after the steps that are bound so far.
    pub(super) fn schema(&self) -> &Schema {
        &self.known.schema
    }

    /// Returns `Text` if values are CSV cells.
    pub(super) fn type_merge(&self) -> TypeMerge {
        self.known.type_merge
    }

    /// Returns the unknown columns, each name once and in the order of the names. They may appear in later records and are
    /// null until then.
    pub(super) fn into_unseen(self) -> Vec<UnknownColumn> {
        let mut unseen = self.unseen;
        // An error comes before a name in backticks.
        unseen.sort_by(|a, b| (&a.name, a.error.is_none()).cmp(&(&b.name, b.error.is_none())));
        unseen.dedup_by(|later, first| later.name == first.name);
        unseen
    }

    /// Replaces the columns by those after the current step.
    pub(super) fn update_schema(&mut self, update_schema: impl FnOnce(&mut Schema)) {
        update_schema(&mut self.known.schema);
    }

    /// Accepts unknown names from now on: the step has made columns whose names depend on the records.
    pub(super) fn mark_derived(&mut self) {
        self.derives_columns = true;
    }

    /// Marks the columns as complete: no further column can appear.
    pub(super) fn mark_complete(&mut self) {
        self.known.complete = true;
    }

    /// Marks `names` as removed: columns of these names cannot appear any more.
    pub(super) fn mark_removed(&mut self, names: impl Iterator<Item = Arc<str>>) {
        self.known.removed.extend(names);
    }

    /// Resolves every path that `paths` visits, like [`Binding::resolve`]. Returns the first error.
    pub(super) fn resolve_each(
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

    /// Resolves `path` to the column that it starts with, and checks its segments against the type of that column.
    pub(super) fn resolve(&mut self, path: &mut Path, text: &str) -> Result<(), expr::Error> {
        // The longest dotted name wins: `hq.city` is the column of that name if there is one. A quoted name is literal.
        let mut name = path.column.to_string();
        let mut found = self.known.schema.position(&name).map(|_| (path.column.clone(), 0));
        if path.quotes == Quotes::None {
            for (i, segment) in path.segments.iter().enumerate() {
                let PathSegment::Key(key) = segment else { break };
                name = format!("{name}.{key}");
                if self.known.schema.position(&name).is_some() {
                    found = Some((name.as_str().into(), i + 1));
                }
            }
        }
        let Some((column, taken)) = found else { return self.unknown_column(path, &name, text) };
        // The segments that were joined into the column name no longer lead into it.
        path.column = column;
        path.segments.drain(..taken);
        self.check_path(path, text)
    }

    /// Resolves `path` to a whole column. `verb` names what the step does with it, for the error about a path into one.
    pub(super) fn resolve_whole(&mut self, path: &mut Path, text: &str, verb: &str) -> Result<(), expr::Error> {
        self.resolve(path, text)?;
        if path.segments.is_empty() {
            return Ok(());
        }
        let message = format!("cannot {verb} `{path}`: it is a value inside the column `{}`", path.column);
        let hint = Hint::from("turn it into a column first with ").step("select", "");
        Err(expr::Error::new(text, path.at, message).with_hint(hint))
    }

    /// Records an unknown column that may still appear; returns an error for one that cannot, or that looks like a
    /// typo.
    fn unknown_column(&mut self, path: &Path, dotted: &str, text: &str) -> Result<(), expr::Error> {
        let names = || self.known.schema.fields.iter().map(|field| &*field.name);
        // The typo can be in the first part or anywhere in a dotted column name.
        let near = nearest(&path.column, names()).or_else(|| nearest(dotted, names()));
        let may_appear = !self.known.complete && !self.known.removed.contains(&path.column);
        let error = match path.quotes {
            Quotes::Backtick if may_appear => None,
            _ => Some(self.no_such_column(path, near, text)),
        };
        match error {
            Some(error) if !may_appear => Err(error),
            Some(error) if !self.known.is_part && (near.is_some() || path.quotes == Quotes::Double) => Err(error),
            _ if self.derives_columns => Ok(()),
            error => {
                self.unseen.push(UnknownColumn { name: path.column.to_string(), error });
                Ok(())
            }
        }
    }

    /// Returns the error for a column that is not known; `near` is a known one of a similar name.
    fn no_such_column(&self, path: &Path, near: Option<&str>, text: &str) -> expr::Error {
        let names = || self.known.schema.fields.iter().map(|field| &*field.name);
        let error = expr::Error::new(text, path.at, format!("there is no column `{}`", path.column));
        // Unquoted, `first-name` parses as a difference, so the path is only `first`.
        let dashed = names().find(|name| name.contains('-') && text[path.at..].starts_with(name));
        let hint = match (near, path.quotes) {
            _ if dashed.is_some() => {
                format!("put a name with a dash in double quotes: \"{}\"", dashed.unwrap_or_default())
            }
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Quotes::Double) => "put text in single quotes, column names in double quotes".to_owned(),
            (None, _) => match self.known.schema.fields.len() {
                0 => "the input has no columns".to_owned(),
                // Twelve names fit in a few lines; a table can have thousands.
                n => {
                    let more = if n > 12 { ", …" } else { "" };
                    let names = names().take(12).collect::<Vec<_>>().join(", ");
                    // `city = Oslo` without quotes around the text.
                    let compared = text[..path.at].trim_end().ends_with(['=', '<', '>', '~']);
                    let quotes = if compared { "put text in single quotes; " } else { "" };
                    format!("{quotes}the columns are {names}{more}")
                }
            },
        };
        match self.known.complete {
            true => error.with_hint(hint),
            false => {
                let later = format!("column that appears only in later records needs backticks: `{}`", path.column);
                error.with_hint(match hint.ends_with('?') {
                    true => format!("{hint} A {later}"),
                    false => format!("{hint}; a {later}"),
                })
            }
        }
    }

    /// Checks each segment of `path` against the type of the value that it is applied to.
    fn check_path(&self, path: &Path, text: &str) -> Result<(), expr::Error> {
        if self.known.is_part {
            return Ok(());
        }
        let mut prefix = Path { segments: Vec::new(), ..path.clone() };
        for segment in &path.segments {
            let ty = type_at(&self.known.schema, &prefix);
            let fail = |message: String| Err(expr::Error::new(text, path.at, message));
            match (&ty, segment) {
                // Mixed values may contain objects and lists in any record.
                (Type::Json | Type::Raw, _) => return Ok(()),
                // No value was seen yet, so the column may still turn out to contain objects.
                (Type::Null, _) if self.known.type_merge == TypeMerge::Json => return Ok(()),
                (Type::Map(_), PathSegment::Key(_)) | (Type::List(_), PathSegment::Index(_)) => {}
                (Type::Struct(fields), PathSegment::Key(key)) => {
                    // Later records can have further keys, so only a likely typo is an error.
                    if !fields.iter().any(|field| field.name == *key)
                        && let Some(near) = nearest(key, fields.iter().map(|field| &*field.name))
                    {
                        return fail(format!("`{prefix}` has no field `{key}`"))
                            .map_err(|error| error.with_hint(format!("did you mean `{prefix}.{near}`?")));
                    }
                }
                (Type::List(_), PathSegment::Key(key)) => {
                    return fail(format!("cannot read field `{key}` of `{prefix}`: expected objects, found lists"))
                        .map_err(|error| error.with_hint(format!("index an element first: `{prefix}[0].{key}`")));
                }
                (_, PathSegment::Key(key)) => {
                    let found = self.describe_type(&ty);
                    return fail(format!("cannot read field `{key}` of `{prefix}`: expected objects, found {found}"));
                }
                (_, PathSegment::Index(_)) => {
                    let found = self.describe_type(&ty);
                    return fail(format!("cannot index `{prefix}`: expected lists, found {found}"));
                }
            }
            prefix.segments.push(segment.clone());
        }
        Ok(())
    }

    fn describe_type(&self, ty: &Type) -> &'static str {
        if self.known.type_merge == TypeMerge::Text { "CSV cells" } else { expr::describe_type(ty) }
    }

    /// Sets the type of the column `name`, which is appended if it is new.
    pub(super) fn set_type(&mut self, name: &Arc<str>, ty: Type) {
        match self.known.schema.position(name) {
            Some(index) => self.known.schema.fields[index].ty = ty,
            None => self.known.schema.fields.push(Field::new(name.clone(), ty)),
        }
        // A column that was dropped before exists again.
        self.known.removed.retain(|removed| removed != name);
    }

    /// Checks every test that `tests` visits. Returns the first error.
    pub(super) fn check_tests<'a>(
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

    /// Rejects a comparison that no value of the known types can satisfy. CSV cells take the type that they are
    /// compared with, so nothing is rejected there.
    fn check(&self, test: &Test, text: &str, at: usize) -> Result<(), expr::Error> {
        if self.known.type_merge == TypeMerge::Text || self.known.is_part {
            return Ok(());
        }
        let kind = |operand: &Operand| match operand {
            Operand::Literal(literal) => ValueKind::of_literal(literal),
            operand => ValueKind::of(&type_of(operand, &self.known.schema, self.known.type_merge)),
        };
        // The operand to check, the kind that the test expects, and the other side of a comparison for the message.
        let (operand, expected, with) = match test {
            Test::IsNull(_) => return Ok(()),
            Test::Truth(operand) => (operand, Some(ValueKind::Bool), String::new()),
            Test::Matches(operand, _) => (operand, Some(ValueKind::Text), String::new()),
            Test::Compare(left, _, Operand::Literal(right)) => {
                (left, ValueKind::of_literal(right), right.kind().into())
            }
            Test::Compare(Operand::Literal(left), _, right) => (right, ValueKind::of_literal(left), left.kind().into()),
            Test::Compare(left, _, right) => (left, kind(right), self.describe_operand(right, text)),
            Test::In(operand, list) => {
                let mut kinds = list.iter().map(ValueKind::of_literal);
                let first = kinds.next().flatten();
                // A list of several kinds can match a value of any of them.
                if kinds.any(|kind| kind != first) {
                    return Ok(());
                }
                (operand, first, list[0].kind().into())
            }
        };
        // An unknown kind (null, mixed values) may turn out to be any kind.
        let (Some(found), Some(expected)) = (kind(operand), expected) else { return Ok(()) };
        if found == expected && found != ValueKind::Nested {
            return Ok(());
        }
        let subject = self.describe_operand(operand, text);
        let message = match test {
            Test::Truth(_) => format!("cannot use {subject} as a condition"),
            Test::Matches(..) => format!("cannot match {subject} against a pattern"),
            _ => format!("cannot compare {subject} with {with}"),
        };
        let error = expr::Error::new(text, at, message);
        Err(match (found, expected, test) {
            (ValueKind::Text, ValueKind::Number, Test::Compare(_, _, Operand::Literal(Literal::Number(number)))) => {
                error.with_hint(format!("compare with text, '{}'; text is ordered by code points", number.text()))
            }
            (ValueKind::Number, ValueKind::Text, _) => error.with_hint("write numbers without quotes"),
            _ => error,
        })
    }

    /// Describes an operand of the expression `text` for messages, such as `` `hq.city` (text) ``.
    fn describe_operand(&self, operand: &Operand, text: &str) -> String {
        match operand {
            Operand::Literal(literal) => literal.kind().to_owned(),
            Operand::Column(path) => {
                format!("`{path}` ({})", self.describe_type(&type_at(&self.known.schema, path)))
            }
            Operand::Computed(computed) => {
                let ty = type_of(operand, &self.known.schema, self.known.type_merge);
                format!("`{}` ({})", &text[computed.span.clone()], self.describe_type(&ty))
            }
        }
    }
}

/// Comparison class of a value; only values of the same class compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueKind {
    Bool,
    Number,
    Text,
    /// Objects and lists, which compare with nothing.
    Nested,
}

impl ValueKind {
    /// Returns the class of a column's values; `None` if the column can have values of several classes.
    fn of(ty: &Type) -> Option<ValueKind> {
        match ty {
            Type::Null | Type::Json | Type::Raw => None,
            Type::Bool => Some(ValueKind::Bool),
            Type::Int { .. } | Type::Decimal | Type::Float | Type::Number(_) => Some(ValueKind::Number),
            Type::Text => Some(ValueKind::Text),
            Type::Fixed(fixed) => Some(if fixed.is_number() { ValueKind::Number } else { ValueKind::Text }),
            Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Opaque(_) => Some(ValueKind::Nested),
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
