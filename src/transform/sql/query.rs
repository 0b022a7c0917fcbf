//! Queries as read: their text, their tables, the names of their columns, and their plan over tables that are known.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast;

use super::columns::{arrow_schema, schema_of};
use super::context::{RESULTS, block_on, context, register};
use super::error::SqlError;
use super::table::TableFile;
use crate::column::Schema;
use crate::transform::expr;

/// A query that was read, and is not yet held against columns.
#[derive(Clone, Debug)]
pub struct Query {
    text: Arc<str>,
    statement: Statement,
    tables: Vec<String>,
}

impl Query {
    /// Reads `text`, which must be one query.
    pub fn parse(text: &str) -> Result<Query, expr::Error> {
        let parsed = DFParserBuilder::new(text).build().and_then(|mut parser| parser.parse_statements());
        let mut statements = parsed.map_err(|error| parse_error(text, &error))?;
        let other = |what| Err(expr::Error::new(text, 0, what).with_hint("such as: SELECT a, b FROM results"));
        let (Some(statement), true) = (statements.pop_front(), statements.is_empty()) else {
            return other("expected one query");
        };
        match &statement {
            Statement::Statement(inner) if matches!(**inner, ast::Statement::Query(_)) => {}
            _ => return other("only a query (SELECT) can be made of the results"),
        }
        let names = context(1).state().resolve_table_references(&statement);
        let names = names.map_err(|error| expr::Error::new(text, 0, SqlError::from(error).message))?;
        let tables = names.iter().map(|name| name.table().to_owned()).collect();
        Ok(Query { text: text.trim().into(), statement, tables })
    }

    /// What was written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The names of the tables that it reads, [`RESULTS`] among them as a rule.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// The columns of its answer over results with these columns, and other tables by their names.
    pub fn columns(&self, results: &Schema, tables: &[(String, TableFile)]) -> Result<Schema, SqlError> {
        let context = context(1);
        register(&context, RESULTS, Arc::new(EmptyTable::new(Arc::new(arrow_schema(results)))))?;
        for (name, table) in tables {
            register(&context, name, Arc::new(table.clone()))?;
        }
        let plan = self.plan(&context)?;
        schema_of(plan.schema().as_arrow(), &self.names(&plan))
    }

    /// How the columns of its answer are called: as was said, or else as they were written, such as `max(score)`.
    pub(super) fn names(&self, plan: &LogicalPlan) -> Vec<String> {
        let mut names: Vec<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
        let items = select_list(&self.statement);
        let is_one = |item: &&ast::SelectItem| {
            matches!(item, ast::SelectItem::UnnamedExpr(_) | ast::SelectItem::ExprWithAlias { .. })
        };
        // How many columns a `*` is, the others tell.
        let before = items.iter().take_while(is_one).count();
        let after = if before == items.len() { 0 } else { items.iter().rev().take_while(is_one).count() };
        let places = (0..before).map(|i| (i, i)).chain((1..=after).map(|i| (items.len() - i, names.len() - i)));
        let places: Vec<(usize, usize)> = places.collect();
        for (item, column) in places {
            if let Some(name) = names.get_mut(column)
                && let Some(written) = written_name(&items[item], name)
            {
                *name = written;
            }
        }
        names
    }

    /// The plan for it with the tables of `context`.
    pub(super) fn plan(&self, context: &SessionContext) -> Result<LogicalPlan, SqlError> {
        let planning = async { context.state().statement_to_plan(self.statement.clone()).await };
        Ok(block_on(planning)??)
    }
}

/// The select list that names the columns of an answer.
fn select_list(statement: &Statement) -> &[ast::SelectItem] {
    let Statement::Statement(statement) = statement else { return &[] };
    let ast::Statement::Query(query) = &**statement else { return &[] };
    let mut body = &*query.body;
    loop {
        body = match body {
            ast::SetExpr::Select(select) => return &select.projection,
            ast::SetExpr::Query(query) => &query.body,
            ast::SetExpr::SetOperation { left, .. } => left,
            _ => return &[],
        };
    }
}

/// How a column is called that has no name of its own: as its expression was written. `None` for what is a column.
fn written_name(item: &ast::SelectItem, planned: &str) -> Option<String> {
    let ast::SelectItem::UnnamedExpr(expr) = item else { return None };
    match expr {
        ast::Expr::Identifier(_) => None,
        ast::Expr::CompoundIdentifier(parts) => {
            let parts: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
            let path = parts.strip_prefix(&[RESULTS]).unwrap_or(&parts);
            // A column of a table; else it is inside a column.
            if parts.last() == Some(&planned) { None } else { Some(path.join(".")) }
        }
        other => Some(other.to_string()),
    }
}

/// The parser's error, at its place in `text`.
fn parse_error(text: &str, error: &DataFusionError) -> expr::Error {
    let said = match error.find_root() {
        DataFusionError::SQL(error, _) => error.to_string(),
        other => other.strip_backtrace(),
    };
    let said = said.trim_start_matches("sql parser error: ");
    let (what, place) = said.split_once(" at Line: ").map_or((said, None), |(what, place)| (what, Some(place)));
    let place = place.and_then(|place| {
        let (line, column) = place.split_once(", Column: ")?;
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
        Some((digits(line)?, digits(column)?))
    });
    let at = place.map_or(text.len(), |(line, column): (usize, usize)| {
        let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let in_line =
            text[start..].char_indices().nth(column.saturating_sub(1)).map_or(text.len() - start, |(at, _)| at);
        start + in_line
    });
    let what = what.trim_end_matches(['.', ':']);
    let mut lowered = what.chars();
    let message = lowered.next().map(|first| first.to_lowercase().chain(lowered).collect::<String>());
    expr::Error::new(text, at, message.unwrap_or_default())
}
