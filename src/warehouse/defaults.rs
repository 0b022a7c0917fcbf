//! Columns of an existing table that rows without a value get a default in. A load has such a column if its first columns
//! name it, or if a row that is stored has a value there. A bad record decides nothing: what it names is not stored. Pure.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use super::Misfit;
use super::cells::Cells;
use crate::column::{Batch, Schema, Type};

/// The columns of the table that the first columns of a load name. The writer sets them before the first row, and workers
/// read them.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstColumns(OnceLock<BTreeSet<Arc<str>>>);

impl FirstColumns {
    /// Sets the columns, by their names in the table. Only the first call has an effect.
    pub(super) fn set(&self, names: Vec<Arc<str>>) {
        self.0.get_or_init(|| names.into_iter().collect());
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.get().is_some_and(|names| names.contains(name))
    }
}

/// The columns with a default that the first columns of a load do not name, by the rows that are stored so far.
#[derive(Debug, Default)]
pub(super) struct DefaultUse {
    /// Columns in which a row has a value.
    pub(super) given: BTreeSet<Arc<str>>,
    /// Columns that take no null, or that a load cannot correct, in which rows have the default.
    lacking: BTreeSet<Arc<str>>,
    /// Columns that rows have had with nulls alone.
    nulls: BTreeSet<Arc<str>>,
}

impl DefaultUse {
    /// Records rows of which `columns` have values; a column of nulls has none. `names` are those of the table. `open` are
    /// the columns with a default, with true for those that all rows of the load must have or none. Returns the columns that
    /// rows have now and had not before; fails with those that only some rows have.
    pub(super) fn record<'a>(
        &mut self,
        columns: &Schema,
        names: &[Arc<str>],
        open: impl Iterator<Item = (&'a Arc<str>, bool)>,
    ) -> Result<Vec<Arc<str>>, Vec<Misfit>> {
        let (mut new, mut misfits) = (Vec::new(), Vec::new());
        for (name, is_strict) in open {
            let field = columns.fields.iter().zip(names).find(|(_, own)| *own == name).map(|(field, _)| field);
            if field.is_some_and(|field| field.ty == Type::Null) && !self.nulls.contains(name) {
                self.nulls.insert(name.clone());
            }
            match field.is_some_and(|field| field.ty != Type::Null) {
                true if self.given.insert(name.clone()) => new.push(name.clone()),
                false if is_strict && !self.lacking.contains(name) => {
                    self.lacking.insert(name.clone());
                }
                _ => continue,
            }
            if self.given.contains(name) && self.lacking.contains(name) {
                misfits.push(Misfit::late(name));
            }
        }
        if misfits.is_empty() { Ok(new) } else { Err(misfits) }
    }

    /// Returns true if rows have had the column `name`, and none a value in it.
    #[cfg(any(test, feature = "postgres"))]
    pub(super) fn has_only_nulls(&self, name: &str) -> bool {
        self.nulls.contains(name) && !self.given.contains(name)
    }
}

/// Gives the columns of rows that all fit the type of nulls where no row has a value. Only those are looked at for which
/// `open` returns a value; it is true for those that all rows of a load must have or none, of which the call fails with one
/// that only some rows have. `columns` are those of the batch, if they are others.
pub(super) fn mark_columns_without_values(
    batch: &Batch,
    names: &[Arc<str>],
    columns: &mut Option<Schema>,
    open: impl Fn(&str) -> Option<bool>,
) -> Result<(), Misfit> {
    for (index, name) in names.iter().enumerate() {
        if batch.schema.fields[index].ty == Type::Null {
            continue;
        }
        let Some(is_strict) = open(name) else { continue };
        let cells = Cells::new(batch, index);
        let has_value = (0..batch.rows).any(|row| !cells.is_null(row));
        if !has_value {
            columns.get_or_insert_with(|| (*batch.schema).clone()).fields[index].ty = Type::Null;
        } else if is_strict && (0..batch.rows).any(|row| cells.is_null(row)) {
            return Err(Misfit::late(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Field;

    #[test]
    fn only_stored_values_make_a_column_known() {
        let names: Vec<Arc<str>> = vec!["a".into(), "d".into()];
        let schema = |ty: Type| Schema::new(vec![Field::new("a", Type::Text), Field::new("d", ty)]);
        let open = |is_strict: bool| [(&names[1], is_strict)].into_iter();
        let (without, with) = (schema(Type::Null), schema(Type::Bool));
        let mut lenient = DefaultUse::default();
        assert_eq!(lenient.record(&without, &names, open(false)).unwrap(), []);
        assert!(lenient.has_only_nulls("d") && !lenient.has_only_nulls("a"));
        assert_eq!(lenient.record(&with, &names, open(false)).unwrap(), [names[1].clone()]);
        assert_eq!(lenient.record(&with, &names, open(false)).unwrap(), []);
        assert_eq!(lenient.record(&without, &names, open(false)).unwrap(), []);
        assert!(!lenient.has_only_nulls("d"));
        // In either order.
        for (first, second) in [(&without, &with), (&with, &without)] {
            let mut strict = DefaultUse::default();
            assert!(strict.record(first, &names, open(true)).is_ok());
            assert!(strict.record(first, &names, open(true)).is_ok());
            let misfits = strict.record(second, &names, open(true)).unwrap_err();
            assert!(misfits[0].to_string().contains("in an explicit schema"), "{misfits:?}");
        }
    }
}
