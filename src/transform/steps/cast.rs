//! `cast`: brings columns to types.

use std::sync::Arc;

use crate::column::{Batch, Schema, Type};
use crate::transform::binding::Binding;
use crate::transform::derived_column::DerivedColumn;
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr::{self, CastType, ComputedKind, Operand, Path, parse_casts, type_at};
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// The columns, and the type of each.
#[derive(Clone, Debug)]
pub struct Cast {
    casts: Vec<(Path, CastType)>,
    /// The text as written, for messages.
    text: Arc<str>,
}

impl Cast {
    /// Reads `column:type`, several after commas.
    pub fn parse(text: &str) -> Result<Self, expr::Error> {
        Ok(Cast { casts: parse_casts(text)?, text: text.into() })
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
        Properties { needs_places: true, ..Properties::default() }
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        for (path, ty) in &mut self.casts {
            columns.resolve_whole(path, &self.text, "cast")?;
            let nested = match type_at(columns.schema(), path) {
                Type::Struct(_) | Type::Map(_) => Some("objects"),
                Type::List(_) => Some("lists"),
                _ => None,
            };
            if let (Some(holds), false) = (nested, matches!(ty, CastType::Text | CastType::Json)) {
                let message = format!("`{path}` holds {holds}, which cannot be {ty}");
                return Err(expr::Error::new(&self.text, path.at, message));
            }
            if columns.schema().position(&path.column).is_some() && nested.is_none() {
                columns.set(&path.column, ty.ty());
            }
        }
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        // What does not fit is noticed in a column that is left out later, too.
        needed.add(self.casts.iter().map(|(path, _)| &*path.column));
    }

    fn start(&self, options: &StepOptions) -> Running {
        let made = self.casts.iter().map(|(path, ty)| {
            let how = ComputedKind::Cast(Operand::Column(path.clone()), *ty);
            let label = format!("{} {}:{ty}", Self::WORD, path.column);
            DerivedColumn::changed(path.column.clone(), how, &self.text, label, options.type_merge)
        });
        Running(made.collect())
    }
}

/// Casts at work.
#[derive(Debug)]
pub struct Running(Vec<DerivedColumn>);

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, options: &StepOptions) -> Result<Schema, Error> {
        Ok(self.0.iter().fold(schema, |schema, made| made.output_schema(schema, options)))
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, options: &StepOptions) -> Result<Batch, Error> {
        self.0.iter_mut().try_fold(batch, |batch, made| made.apply(batch, rows, options))
    }

    fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.0.iter_mut().flat_map(DerivedColumn::take_mismatches).collect()
    }
}
