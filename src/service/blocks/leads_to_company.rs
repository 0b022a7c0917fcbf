//! `leads_to_company`: the people of one company become one row. What the block does behind the vendor's API is not
//! public; here it puts together what the rows themselves hold, and `company_to_leads` undoes it.

use serde::Deserialize;
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan, Rewrite};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::lines::{Row, RowReader, RowWriter};
use super::row_type::RowType;
use super::spec_types::{COMPANY_PREFIX, Columns, filled};
use crate::transform::{Aggregate, Cell, Groups, SpillBudget};

/// Columns that are looked at for what company a person is with.
const COMPANY: [&str; 7] =
    ["company_id", "company_domain", "company_website", "company_linkedin", "company_url", "company_name", "company"];

pub(super) const fn block() -> BlockType {
    let mut block = BlockType::new::<LeadsToCompanySpecs>("leads_to_company");
    block.takes = Some(RowType::Lead);
    block.gives = Some(RowType::Company);
    block
}

#[derive(Deserialize, ToSchema)]
struct LeadsToCompanySpecs {
    /// Local reading: the columns that tell companies apart; else the first of company_id, company_domain, company_website,
    /// company_linkedin, company_url, company_name, company that is there.
    columns: Option<Columns>,
    /// One such column, in place of `columns`.
    column: Option<String>,
}

impl Specs for LeadsToCompanySpecs {
    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let columns = match filled(self.column) {
            Some(column) => vec![column],
            None => Columns::names(self.columns),
        };
        Some(Box::new(LeadsToCompany { columns }))
    }
}

#[derive(Clone, Debug)]
struct LeadsToCompany {
    /// Columns that tell companies apart; looked for by their names when empty.
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
        room: SpillBudget,
        output: &mut RowWriter<'_>,
    ) -> Result<Option<String>, Failure> {
        match CompaniesPass::new(&self, columns, room)? {
            Some(mut pass) => {
                input.each(|line| pass.row(&Row::read(line)?))?;
                pass.finish(output)
            }
            None => Ok(None),
        }
    }
}

/// Our reading: people with the same value in the column that says which company they are with become one row: the
/// company's columns (those whose names begin with `company_`, without that) with the first value that is not null,
/// the number of its people, and a list of them.
struct CompaniesPass {
    /// Columns that tell companies apart.
    keys: Vec<String>,
    /// The company's other columns.
    company: Vec<String>,
    /// Those of the people.
    own: Vec<String>,
    groups: Groups,
    leads: u64,
    without: u64,
}

impl CompaniesPass {
    /// `None` if there are no columns at all, because there are no rows.
    fn new(specs: &LeadsToCompany, columns: &[String], room: SpillBudget) -> Result<Option<Self>, Failure> {
        if columns.is_empty() {
            return Ok(None);
        }
        let has = |column: &str| columns.iter().any(|c| c == column);
        let keys = if specs.columns.is_empty() {
            let found = COMPANY.iter().find(|column| has(column)).ok_or_else(|| {
                let text = "no column says which company a lead is with (looked for ";
                Failure::Failed(format!("{text}{}); name it in `columns`", COMPANY.join(", ")))
            })?;
            vec![(*found).to_owned()]
        } else {
            if let Some(column) = specs.columns.iter().find(|column| !has(column)) {
                return Err(Failure::Failed(format!("column '{column}' is not in the input")));
            }
            specs.columns.clone()
        };
        let rest = columns.iter().filter(|column| !keys.contains(column)).cloned();
        let (company, own): (Vec<String>, Vec<String>) =
            rest.partition(|column| column.starts_with(COMPANY_PREFIX) || column == "company");
        let figures = company.iter().map(|_| Aggregate::First).chain([Aggregate::Count, Aggregate::List]).collect();
        Ok(Some(CompaniesPass { keys, company, own, groups: Groups::new(figures, room), leads: 0, without: 0 }))
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), Failure> {
        self.leads += 1;
        let keys: Vec<&str> = self.keys.iter().map(|column| row.get(column)).collect();
        if keys.iter().all(|json| Cell::from_json(json).is_empty()) {
            self.without += 1;
            return Ok(());
        }
        let own = self.own.iter().map(|column| (column, row.get(column))).filter(|(_, json)| *json != "null");
        let own: Vec<String> =
            own.map(|(column, json)| format!("{}:{json}", serde_json::Value::from(column.as_str()))).collect();
        let person = format!("{{{}}}", own.join(","));
        let mut values: Vec<&str> = self.company.iter().map(|column| row.get(column)).collect();
        values.extend(["null", person.as_str()]);
        Ok(self.groups.add(&keys, &values)?)
    }

    /// Writes the companies; what people should know.
    fn finish(self, rows: &mut RowWriter<'_>) -> Result<Option<String>, Failure> {
        let mut names: Vec<String> = Vec::new();
        for column in self.keys.iter().chain(&self.company) {
            let name = if column == "company" { "name" } else { column.strip_prefix(COMPANY_PREFIX).unwrap_or(column) };
            // Two columns that would have one name keep theirs.
            let taken = names.iter().any(|taken| taken == name);
            names.push(if taken || name.is_empty() { column.clone() } else { name.to_owned() });
        }
        names.extend(["lead_count".to_owned(), "leads".to_owned()]);
        self.groups.finish(|texts| {
            rows.row(names.iter().map(String::as_str).zip(texts.iter().map(String::as_str))).map_err(Failure::from)
        })?;
        let columns = self.keys.join(", ");
        Ok((self.without > 0).then(|| {
            format!("{} of {} leads have no company ({columns} is empty) and were left out", self.without, self.leads)
        }))
    }
}
