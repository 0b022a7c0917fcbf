//! `leads_to_company`: groups the people of each company into one row. The vendor's implementation is not public; this
//! one uses only the data in the rows, and `company_to_leads` is its inverse.

use serde::Deserialize;
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan, Rewrite};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::lines::{Row, RowReader, RowWriter};
use super::row_type::RowType;
use super::spec_types::{COMPANY_PREFIX, Columns, non_empty};
use crate::transform::{Aggregate, Cell, Groups, SpillBudget};

/// Columns that may identify a person's company, in order of preference, unless the specs name columns.
const COMPANY: [&str; 7] =
    ["company_id", "company_domain", "company_website", "company_linkedin", "company_url", "company_name", "company"];

pub(super) const fn block() -> BlockType {
    let mut block = BlockType::new::<LeadsToCompanySpecs>("leads_to_company");
    block.accepts = Some(RowType::Lead);
    block.produces = Some(RowType::Company);
    block
}

#[derive(Deserialize, ToSchema)]
struct LeadsToCompanySpecs {
    /// Local interpretation: the columns that identify a company; when absent, the first of company_id, company_domain,
    /// company_website, company_linkedin, company_url, company_name, company that exists.
    columns: Option<Columns>,
    /// One such column, in place of `columns`.
    column: Option<String>,
}

impl Specs for LeadsToCompanySpecs {
    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let columns = match non_empty(self.column) {
            Some(column) => vec![column],
            None => Columns::names(self.columns),
        };
        Some(Box::new(LeadsToCompany { columns }))
    }
}

#[derive(Clone, Debug)]
struct LeadsToCompany {
    /// Columns that identify a company; one of [`COMPANY`] when empty.
    columns: Vec<String>,
}

impl Block for LeadsToCompany {
    fn plan(&self, _: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        Ok(BlockPlan::rewrite(self.clone()))
    }
}

impl Rewrite for LeadsToCompany {
    fn rewrite(
        self: Box<Self>,
        input: RowReader<'_>,
        columns: &[String],
        spill_budget: SpillBudget,
        output: &mut RowWriter<'_>,
    ) -> Result<Option<String>, Failure> {
        match CompaniesPass::try_new(&self, columns, spill_budget)? {
            Some(mut pass) => {
                input.each(|line| pass.row(&Row::parse(line)?))?;
                pass.finish(output)
            }
            None => Ok(None),
        }
    }
}

/// Pass over the people, with their groups. Our reading: people with the same value in the column that identifies their
/// company become one row: the company's columns (those whose names begin with `company_`, without that prefix) with
/// the first value that is not null, the number of its people, and a list of them.
struct CompaniesPass {
    /// Columns that identify a company.
    keys: Vec<String>,
    /// Other columns of the company.
    company: Vec<String>,
    /// Columns of the people.
    own: Vec<String>,
    groups: Groups,
    n_leads: u64,
    /// People whose key columns are all empty, which reach no group.
    n_without_company: u64,
}

impl CompaniesPass {
    /// Chooses the key columns. `None` for an input without columns, which has no rows either; an error if no column
    /// identifies a company.
    fn try_new(specs: &LeadsToCompany, columns: &[String], spill_budget: SpillBudget) -> Result<Option<Self>, Failure> {
        if columns.is_empty() {
            return Ok(None);
        }
        let has = |column: &str| columns.iter().any(|c| c == column);
        let keys = if specs.columns.is_empty() {
            let found = COMPANY.iter().find(|column| has(column)).ok_or_else(|| {
                let searched = COMPANY.join(", ");
                Failure::Failed(format!(
                    "no column identifies a lead's company (searched columns: {searched}); specify one in `columns`"
                ))
            })?;
            vec![(*found).to_owned()]
        } else {
            if let Some(column) = specs.columns.iter().find(|column| !has(column)) {
                return Err(Failure::Failed(format!("column '{column}' is not in the input")));
            }
            specs.columns.clone()
        };
        // Every other column describes either the company, once per group, or the person.
        let rest = columns.iter().filter(|column| !keys.contains(column)).cloned();
        let (company, own): (Vec<String>, Vec<String>) =
            rest.partition(|column| column.starts_with(COMPANY_PREFIX) || column == "company");
        let aggregates = company.iter().map(|_| Aggregate::First).chain([Aggregate::Count, Aggregate::List]).collect();
        let groups = Groups::new(aggregates, spill_budget);
        Ok(Some(CompaniesPass { keys, company, own, groups, n_leads: 0, n_without_company: 0 }))
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), Failure> {
        self.n_leads += 1;
        let keys: Vec<&str> = self.keys.iter().map(|column| row.get(column)).collect();
        if keys.iter().all(|json| Cell::from_json(json).is_empty()) {
            self.n_without_company += 1;
            return Ok(());
        }
        // Columns without a value are omitted: the people of one list need not have the same columns.
        let own = self.own.iter().map(|column| (column, row.get(column))).filter(|(_, json)| *json != "null");
        let own: Vec<String> =
            own.map(|(column, json)| format!("{}:{json}", serde_json::Value::from(column.as_str()))).collect();
        let person = format!("{{{}}}", own.join(","));
        // One value per aggregate, in their order; `Count` ignores its value.
        let mut values: Vec<&str> = self.company.iter().map(|column| row.get(column)).collect();
        values.extend(["null", person.as_str()]);
        Ok(self.groups.add(&keys, &values)?)
    }

    /// Writes one row per company. Returns a note if people without a company were dropped.
    fn finish(self, rows: &mut RowWriter<'_>) -> Result<Option<String>, Failure> {
        let mut names: Vec<String> = Vec::new();
        for column in self.keys.iter().chain(&self.company) {
            let name = if column == "company" { "name" } else { column.strip_prefix(COMPANY_PREFIX).unwrap_or(column) };
            // A name that is taken already keeps its prefix, so that no two columns share one.
            let taken = names.iter().any(|taken| taken == name);
            names.push(if taken || name.is_empty() { column.clone() } else { name.to_owned() });
        }
        names.extend(["lead_count".to_owned(), "leads".to_owned()]);
        self.groups.finish(|texts| {
            rows.row(names.iter().map(String::as_str).zip(texts.iter().map(String::as_str))).map_err(Failure::from)
        })?;
        let columns = self.keys.join(", ");
        Ok((self.n_without_company > 0).then(|| {
            let (n, total) = (self.n_without_company, self.n_leads);
            format!("{n} of {total} leads have no company (empty column: {columns}) and were dropped")
        }))
    }
}
