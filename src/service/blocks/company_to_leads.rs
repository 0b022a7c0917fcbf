//! `company_to_leads`: turns the list of people in each company's row into rows of their own. The vendor's
//! implementation is not public; this one uses only the data in the rows, and `leads_to_company` is its inverse.

use serde::Deserialize;
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan, Rewrite};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::lines::{Row, RowReader, RowWriter};
use super::row_type::RowType;
use super::spec_types::{COMPANY_PREFIX, Columns, non_empty};
use crate::service::raw;
use crate::transform::{Cell, SpillBudget};

/// Columns that are searched for a company's list of people, in this order, unless the specs name columns.
const PEOPLE: [&str; 6] = ["leads", "people", "contacts", "key_people", "team", "employees"];

pub(super) const fn block() -> BlockType {
    let mut block = BlockType::new::<CompanyToLeadsSpecs>("company_to_leads");
    block.accepts = Some(RowType::Company);
    block.produces = Some(RowType::Lead);
    block
}

#[derive(Deserialize, ToSchema)]
struct CompanyToLeadsSpecs {
    /// Local interpretation: the column with each company's list of people; when absent, the first of leads, people,
    /// contacts, key_people, team, employees that contains a list.
    column: Option<String>,
    /// Several such columns, of which the first that contains a list is used.
    columns: Option<Columns>,
}

impl Specs for CompanyToLeadsSpecs {
    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let columns = match non_empty(self.column) {
            Some(column) => vec![column],
            None => Columns::names(self.columns),
        };
        Some(Box::new(CompanyToLeads { columns }))
    }
}

#[derive(Clone, Debug)]
struct CompanyToLeads {
    /// Columns that may contain the list of people; [`PEOPLE`] when empty.
    columns: Vec<String>,
}

impl Block for CompanyToLeads {
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        context.require(&self.columns)?;
        Ok(BlockPlan::rewrite(self.clone()))
    }
}

impl Rewrite for CompanyToLeads {
    fn rewrite(
        self: Box<Self>,
        input: RowReader<'_>,
        _: &[String],
        _: SpillBudget,
        output: &mut RowWriter<'_>,
    ) -> Result<Option<String>, Failure> {
        let mut pass = LeadsPass::new(&self);
        input.each(|line| Ok(pass.row(&Row::parse(line)?, output)?))?;
        Ok(pass.note())
    }
}

/// Pass over the companies, with its counters. Our reading: each object in the company's list of people becomes a row,
/// with the company's other columns under names that begin with `company_`.
struct LeadsPass<'a> {
    block: &'a CompanyToLeads,
    n_companies: u64,
    /// Companies without people, which produce no rows.
    n_without_people: u64,
    /// Entries of lists of people that are neither objects nor names.
    n_invalid_entries: u64,
}

impl<'a> LeadsPass<'a> {
    fn new(block: &'a CompanyToLeads) -> Self {
        LeadsPass { block, n_companies: 0, n_without_people: 0, n_invalid_entries: 0 }
    }

    fn row(&mut self, row: &Row<'_>, rows: &mut RowWriter<'_>) -> std::io::Result<()> {
        self.n_companies += 1;
        let named: Vec<&str> = self.block.columns.iter().map(String::as_str).collect();
        let candidates = if named.is_empty() { &PEOPLE[..] } else { &named };
        let list = candidates.iter().find_map(|column| Some((*column, list_text(row.get(column))?)));
        let Some((column, list)) = list else {
            self.n_without_people += 1;
            return Ok(());
        };
        let people = raw::items(&list).unwrap_or_default();
        self.n_without_people += u64::from(people.is_empty());
        // Columns that begin with `company` keep their names; the list itself is left out.
        let company: Vec<(String, &str)> = row
            .0
            .iter()
            .filter(|(name, _)| name != column)
            .map(|(name, json)| {
                (if name.starts_with("company") { name.clone() } else { format!("{COMPANY_PREFIX}{name}") }, *json)
            })
            .collect();
        for person in people {
            let members = match Cell::from_json(person) {
                Cell::Nested(_) => raw::members(person),
                // A string is the name of a person.
                Cell::Text(_) => Some(vec![("name".to_owned(), person)]),
                _ => None,
            };
            let Some(members) = members else {
                self.n_invalid_entries += 1;
                continue;
            };
            // A column of the person takes precedence over a column of the company with the same name.
            let is_own = |name: &str| members.iter().any(|(member, _)| member == name);
            let company = company.iter().filter(|(name, _)| !is_own(name));
            rows.row(members.iter().chain(company).map(|(name, json)| (name.as_str(), *json)))?;
        }
        Ok(())
    }

    fn note(&self) -> Option<String> {
        let mut notes = Vec::new();
        if self.n_without_people > 0 {
            let columns = if self.block.columns.is_empty() { PEOPLE.join(", ") } else { self.block.columns.join(", ") };
            notes.push(format!(
                "{} of {} companies have no list of people (searched columns: {columns}) and produced no leads",
                self.n_without_people, self.n_companies
            ));
        }
        if self.n_invalid_entries > 0 {
            notes.push(format!(
                "{} entries in lists of people are neither an object nor a name and were dropped",
                self.n_invalid_entries
            ));
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

/// Returns the JSON text of the list in a value: a JSON list, or a string with one, as in a cell of CSV. `None` for any
/// other value.
fn list_text(json: &str) -> Option<String> {
    match Cell::from_json(json) {
        Cell::Nested(text) if text.starts_with('[') => Some(text.into_owned()),
        Cell::Text(text) if text.trim_start().starts_with('[') => {
            // `raw` expects valid JSON, which the text of a cell need not be.
            serde_json::from_str::<Vec<serde::de::IgnoredAny>>(&text).ok()?;
            Some(raw::on_one_line(&text))
        }
        _ => None,
    }
}
