//! `cast`: casts columns to types. A value that does not fit is rejected or becomes null; nothing is rounded or
//! truncated.

use std::fmt;
use std::sync::Arc;

use crate::column::{Batch, Schema, Type};
use crate::transform::binding::Binding;
use crate::transform::derived_column::{DerivedColumn, ValuesSeen};
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr::{self, CastType, ComputedKind, Operand, Path, parse_casts, type_at};
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `cast`: columns and their new types.
#[derive(Clone)]
pub struct Cast {
    casts: Vec<(Path, CastType)>,
    /// The text as written, for messages.
    text: Arc<str>,
    /// State of one execution for each cast, both of its passes.
    seen: Vec<ValuesSeen>,
}

/// The parameters alone.
impl fmt::Debug for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cast { casts, text, seen: _ } = self;
        f.debug_struct("Cast").field("casts", casts).field("text", text).finish()
    }
}

impl Cast {
    /// Parses `column:type`, several separated by commas.
    pub fn parse(text: &str) -> Result<Self, expr::Error> {
        let casts = parse_casts(text)?;
        Ok(Cast { seen: vec![ValuesSeen::default(); casts.len()], casts, text: text.into() })
    }
}

impl WrittenStep for Cast {
    const WORD: &'static str = "cast";
    const FORM: ArgumentForm = ArgumentForm::Names;

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        Cast::parse(text).map(|step| vec![step])
    }
}

impl StepKind for Cast {
    type Running = Running;

    fn describe(&self) -> StepText {
        StepText::new(Self::WORD, &*self.text)
    }

    fn properties(&self) -> Properties {
        Properties { needs_record_spans: true, ..Properties::default() }
    }

    fn begin(&mut self) {
        self.seen = self.casts.iter().map(|_| ValuesSeen::default()).collect();
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        for (path, ty) in &mut self.casts {
            columns.resolve_whole(path, &self.text, "cast")?;
            let nested = match type_at(columns.schema(), path) {
                Type::Struct(_) | Type::Map(_) => Some("objects"),
                Type::List(_) => Some("lists"),
                _ => None,
            };
            if let (Some(contents), false) = (nested, matches!(ty, CastType::Text | CastType::Json)) {
                let message = format!("cannot cast `{path}` to {ty}: it contains {contents}");
                return Err(expr::Error::new(&self.text, path.at, message));
            }
            if columns.schema().position(&path.column).is_some() {
                columns.set_type(&path.column, ty.ty());
            }
        }
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        // A value that does not fit is reported even if a later step drops the column.
        needed.add(self.casts.iter().map(|(path, _)| &*path.column));
    }

    fn add_looked_at(&self, looked_at: &mut Needed) {
        self.add_needed(looked_at);
    }

    fn add_written(&self, written: &mut Needed) {
        self.add_needed(written);
    }

    fn start(&self, options: &StepOptions) -> Running {
        let columns = self.casts.iter().zip(&self.seen).map(|((path, ty), seen)| {
            let kind = ComputedKind::Cast(Operand::Column(path.clone()), ty.clone());
            let label = format!("{} {}:{ty}", Self::WORD, path.column);
            let (name, seen) = (path.column.clone(), seen.clone());
            DerivedColumn::replacing(name, kind, &self.text, label, seen, options.type_merge)
        });
        Running(columns.collect())
    }
}

/// Running casts, one computed column each.
#[derive(Debug)]
pub(crate) struct Running(Vec<DerivedColumn>);

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, options: &StepOptions) -> Result<Schema, Error> {
        Ok(self.0.iter().fold(schema, |schema, columns| columns.output_schema(schema, options)))
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, options: &StepOptions) -> Result<Batch, Error> {
        self.0.iter_mut().try_fold(batch, |batch, columns| columns.apply(batch, rows, options))
    }

    fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.0.iter_mut().flat_map(DerivedColumn::take_mismatches).collect()
    }
}
