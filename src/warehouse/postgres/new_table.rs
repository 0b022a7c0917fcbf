//! The table that a load makes, while rows go into it: it gets wider types at once rather than at the end, so that the
//! rows behind a late change go straight into it as well. No other session sees the table before the commit.

use std::sync::Arc;

use super::layout::{LayoutColumn, Mapping};
use super::session::Session;
use super::sql::quoted;
use super::stage::{Stage, add_column, converted, staged_value};
use super::types::new_type;
use crate::column::Schema;
use crate::warehouse::LoadError;

/// Bytes that are rewritten for wider types before they are compared with the bytes that were sent. By eye: a second or less.
const FREE_REWRITES: u64 = 64 << 20;

/// The types that the rows of a load have had, and the cost of following them.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// The columns of all rows so far, with their joined types.
    pub(super) seen: Schema,
    /// Bytes of rows that were rewritten for wider types.
    rewritten: u64,
}

impl Growth {
    /// Counts a rewrite of the rows of `sent` bytes if it is worth its cost: all rewrites together never cost more than the
    /// rows twice. The alternative is a stage, which costs the rows that follow twice.
    fn may_rewrite(&mut self, sent: u64) -> bool {
        let may = self.rewritten <= sent + FREE_REWRITES;
        if may {
            self.rewritten += sent;
        }
        may
    }

    /// Gives the table that a load has made the types of all rows so far, if that is worth its cost, and moves rows of
    /// narrower types from the stages into it. `made` has its columns, `sent` are the bytes of the rows so far. Called between
    /// two COPYs.
    pub(super) fn follow(
        &mut self,
        session: &Session,
        sql_name: &str,
        mapping: &Mapping,
        sent: u64,
        made: &mut Vec<(Arc<str>, String)>,
        stages: &mut Vec<Stage>,
    ) -> Result<(), LoadError> {
        let table = || session.table().to_owned();
        let names = mapping.names(&self.seen);
        let names = names.map_err(|misfit| LoadError::Misfits { table: table(), misfits: vec![misfit] })?;
        let mut changes = Vec::new();
        for (field, name) in self.seen.fields.iter().zip(names) {
            let Some((_, wanted)) = new_type(&field.ty) else { continue };
            if let Some(index) = made.iter().position(|(known, ty)| *known == name && *ty != wanted) {
                let value = converted(&quoted(&name), &made[index].1, &wanted);
                changes.push((format!("ALTER COLUMN {} TYPE {wanted} USING {value}", quoted(&name)), index, wanted));
            }
        }
        if !changes.is_empty() {
            if !self.may_rewrite(sent) {
                return Ok(());
            }
            let list: Vec<&str> = changes.iter().map(|(sql, ..)| &**sql).collect();
            session.execute(&format!("ALTER TABLE {} {}", sql_name, list.join(", ")))?;
            changes.into_iter().for_each(|(_, index, wanted)| made[index].1 = wanted);
        }
        for stage in std::mem::take(stages) {
            for LayoutColumn { name, wire_type, .. } in &stage.layout.columns {
                if !made.iter().any(|(known, _)| known == name) {
                    add_column(session, sql_name, name, wire_type)?;
                    made.push((name.clone(), wire_type.clone()));
                }
            }
            // With the column for the commit key, which the rows in the stage have.
            let columns: Vec<String> = made.iter().map(|(name, _)| quoted(name)).collect();
            let load_column = mapping.load_column.as_ref().map(|column| column.name.clone());
            let value = |(name, ty): &(Arc<str>, String)| match load_column.as_ref() == Some(name) {
                true => quoted(name),
                false => staged_value(&stage, name, Some(ty)),
            };
            let values: Vec<String> = made.iter().map(value).collect();
            let moved = session.changed(&format!(
                "INSERT INTO {} ({}) SELECT {} FROM {}",
                sql_name,
                columns.join(", "),
                values.join(", "),
                stage.sql_name
            ))?;
            if moved != stage.rows {
                return Err(LoadError::RowCount { table: table(), sent: stage.rows, found: moved });
            }
            session.execute(&format!("DROP TABLE {}", stage.sql_name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_cost_no_more_than_the_rows_twice() {
        let mut growth = Growth::default();
        let (mut sent, mut rewrites) = (0, 0);
        while sent < 64 << 30 {
            sent += 32 << 20;
            rewrites += u64::from(growth.may_rewrite(sent));
            assert!(growth.rewritten <= 2 * sent + FREE_REWRITES);
        }
        // Each costs about as much as all before it.
        assert!((10..20).contains(&rewrites), "{rewrites}");
    }
}
