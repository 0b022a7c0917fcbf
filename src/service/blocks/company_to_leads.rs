//! `company_to_leads`: the people of each company become rows. What the block does behind the vendor's API is not public;
//! here it takes apart what the rows themselves hold, and `leads_to_company` undoes it.

use serde::Deserialize;
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan, Rewrite};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::lines::{Row, RowReader, RowWriter};
use super::row_type::RowType;
use super::spec_types::{COMPANY_PREFIX, Columns, filled};
use crate::service::raw;
use crate::transform::{Cell, SpillBudget};

/// Columns that are looked at for a company's people, in this order, unless the block names one.
const PEOPLE: [&str; 6] = ["leads", "people", "contacts", "key_people", "team", "employees"];

pub(super) const fn block() -> BlockType {
    let mut block = BlockType::new::<CompanyToLeadsSpecs>("company_to_leads");
    block.takes = Some(RowType::Company);
    block.gives = Some(RowType::Lead);
    block
}

#[derive(Deserialize, ToSchema)]
struct CompanyToLeadsSpecs {
    /// Local reading: the column with each company's list of people; else the first of leads, people, contacts,
    /// key_people, team, employees that holds one.
    column: Option<String>,
    /// Several such columns, of which the first that holds a list counts.
    columns: Option<Columns>,
}

impl Specs for CompanyToLeadsSpecs {
    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let columns = match filled(self.column) {
            Some(column) => vec![column],
            None => Columns::names(self.columns),
        };
        Some(Box::new(CompanyToLeads { columns }))
    }
}

#[derive(Clone, Debug)]
struct CompanyToLeads {
    /// Columns that may hold the list of people; looked for by their names when empty.
    columns: Vec<String>,
}

impl Block for CompanyToLeads {
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        context.need(&self.columns)?;
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
        input.each(|line| Ok(pass.row(&Row::read(line)?, output)?))?;
        Ok(pass.note())
    }
}

/// Our reading: each object in the company's list of people becomes a row of its own, with the company's other columns
/// under names that begin with `company_`.
struct LeadsPass<'a> {
    block: &'a CompanyToLeads,
    companies: u64,
    /// Companies that have no people.
    without: u64,
    /// Entries that are neither objects nor names.
    odd: u64,
}

impl<'a> LeadsPass<'a> {
    fn new(block: &'a CompanyToLeads) -> Self {
        LeadsPass { block, companies: 0, without: 0, odd: 0 }
    }

    fn row(&mut self, row: &Row<'_>, rows: &mut RowWriter<'_>) -> std::io::Result<()> {
        self.companies += 1;
        let named: Vec<&str> = self.block.columns.iter().map(String::as_str).collect();
        let candidates = if named.is_empty() { &PEOPLE[..] } else { &named };
        let list = candidates.iter().find_map(|column| Some((*column, list_text(row.get(column))?)));
        let Some((column, list)) = list else {
            self.without += 1;
            return Ok(());
        };
        let people = raw::items(&list).unwrap_or_default();
        self.without += u64::from(people.is_empty());
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
                // A name alone is a person, too.
                Cell::Text(_) => Some(vec![("name".to_owned(), person)]),
                _ => None,
            };
            let Some(members) = members else {
                self.odd += 1;
                continue;
            };
            // What a person says of itself comes before what its company says.
            let own = |name: &str| members.iter().any(|(member, _)| member == name);
            let company = company.iter().filter(|(name, _)| !own(name));
            rows.row(members.iter().chain(company).map(|(name, json)| (name.as_str(), *json)))?;
        }
        Ok(())
    }

    fn note(&self) -> Option<String> {
        let mut notes = Vec::new();
        if self.without > 0 {
            let columns = if self.block.columns.is_empty() { PEOPLE.join(", ") } else { self.block.columns.join(", ") };
            notes.push(format!(
                "{} of {} companies have no list of people (looked for in {columns}) and gave no leads",
                self.without, self.companies
            ));
        }
        if self.odd > 0 {
            notes.push(format!("{} entries in lists of people are no people and were left out", self.odd));
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

/// The list in a value: as such, or as text of CSV.
fn list_text(json: &str) -> Option<String> {
    match Cell::from_json(json) {
        Cell::Nested(text) if text.starts_with('[') => Some(text.into_owned()),
        Cell::Text(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str::<Vec<serde::de::IgnoredAny>>(&text).ok()?;
            Some(raw::on_one_line(&text))
        }
        _ => None,
    }
}
