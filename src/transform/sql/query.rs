//! Parsed queries: their text, the tables that they read, the names of their result columns, and their logical plan
//! over known tables. Executes nothing.

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

/// A parsed query, not yet checked against columns.
#[derive(Clone, Debug)]
pub struct Query {
    text: Arc<str>,
    statement: Statement,
    tables: Vec<String>,
}

impl Query {
    /// Parses `text`, which must be a single SELECT query.
    pub fn parse(text: &str) -> Result<Query, expr::Error> {
        let parsed = DFParserBuilder::new(text).build().and_then(|mut parser| parser.parse_statements());
        let mut statements = parsed.map_err(|error| parse_error(text, &error))?;
        let other =
            |message| Err(expr::Error::new(text, 0, message).with_hint("write, for example, SELECT a, b FROM results"));
        let (Some(statement), true) = (statements.pop_front(), statements.is_empty()) else {
            return other("expected a single query");
        };
        match &statement {
            Statement::Statement(inner) if matches!(**inner, ast::Statement::Query(_)) => {}
            _ => return other("only SELECT queries are supported"),
        }
        // Names of common table expressions are not among the references.
        let names = context(1).state().resolve_table_references(&statement);
        let names = names.map_err(|error| expr::Error::new(text, 0, SqlError::from(error).message))?;
        let tables = names.iter().map(|name| name.table().to_owned()).collect();
        Ok(Query { text: text.trim().into(), statement, tables })
    }

    /// Returns the text of the query.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Returns the names of the tables that the query reads, usually including [`RESULTS`].
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Infers the columns of the result, for a table of results with the columns `results` and other `tables` by name.
    pub fn columns(&self, results: &Schema, tables: &[(String, TableFile)]) -> Result<Schema, SqlError> {
        let context = context(1);
        register(&context, RESULTS, Arc::new(EmptyTable::new(Arc::new(arrow_schema(results)))))?;
        for (name, table) in tables {
            register(&context, name, Arc::new(table.clone()))?;
        }
        let plan = self.plan(&context)?;
        schema_of(plan.schema().as_arrow(), &self.names(&plan))
    }

    /// Returns the names of the result columns: the alias, or else the expression as written, such as `max(score)`.
    pub(super) fn names(&self, plan: &LogicalPlan) -> Vec<String> {
        let mut names: Vec<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
        let items = select_list(&self.statement);
        let is_one = |item: &&ast::SelectItem| {
            matches!(item, ast::SelectItem::UnnamedExpr(_) | ast::SelectItem::ExprWithAlias { .. })
        };
        // A `*` expands to an unknown number of columns: match the items before it from the front and those after it
        // from the back.
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

    /// Plans the query over the tables of `context`.
    pub(super) fn plan(&self, context: &SessionContext) -> Result<LogicalPlan, SqlError> {
        let planning = async { context.state().statement_to_plan(self.statement.clone()).await };
        Ok(block_on(planning)??)
    }
}

/// Returns the select list that names the result columns: that of the first SELECT of a set operation.
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

/// Returns the name of an item without an alias: its expression as written. `None` for a plain column.
fn written_name(item: &ast::SelectItem, planned: &str) -> Option<String> {
    let ast::SelectItem::UnnamedExpr(expr) = item else { return None };
    match expr {
        ast::Expr::Identifier(_) => None,
        ast::Expr::CompoundIdentifier(parts) => {
            let parts: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
            let path = parts.strip_prefix(&[RESULTS]).unwrap_or(&parts);
            // A column qualified by its table keeps its name; otherwise the path leads into a column.
            if parts.last() == Some(&planned) { None } else { Some(path.join(".")) }
        }
        other => Some(other.to_string()),
    }
}

/// Converts the parser's error, with its line and column as a byte of `text`.
fn parse_error(text: &str, error: &DataFusionError) -> expr::Error {
    let message = match error.find_root() {
        DataFusionError::SQL(error, _) => error.to_string(),
        other => other.strip_backtrace(),
    };
    let message = message.trim_start_matches("sql parser error: ");
    // The message ends in ` at Line: 1, Column: 8`.
    let (message, place) =
        message.split_once(" at Line: ").map_or((message, None), |(message, place)| (message, Some(place)));
    let place = place.and_then(|place| {
        let (line, column) = place.split_once(", Column: ")?;
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
        Some((digits(line)?, digits(column)?))
    });
    let at = place.map_or(text.len(), |(line, column): (usize, usize)| {
        let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        // DataFusion counts lines and characters from 1; errors of this crate refer to bytes.
        let in_line =
            text[start..].char_indices().nth(column.saturating_sub(1)).map_or(text.len() - start, |(at, _)| at);
        start + in_line
    });
    // Messages of this crate are lowercase fragments.
    let message = message.trim_end_matches(['.', ':']);
    let mut lowered = message.chars();
    let message = lowered.next().map(|first| first.to_lowercase().chain(lowered).collect::<String>());
    expr::Error::new(text, at, message.unwrap_or_default())
}
