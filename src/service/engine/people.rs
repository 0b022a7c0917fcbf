//! `company_to_leads` and `leads_to_company`. What these do behind the vendor's API is not public; here they take apart
//! and put together what the rows themselves hold, and each undoes the other.

use super::failure::Failure;
use super::lines::{Row, Rows};
use crate::service::raw;
use crate::service::specs::PeopleSpecs;
use crate::transform::{Cell, Figure, Groups, Room};

/// Columns that are looked at for a company's people, in this order, unless the block names one.
const PEOPLE: [&str; 6] = ["leads", "people", "contacts", "key_people", "team", "employees"];

/// Columns that are looked at for what company a person is with.
const COMPANY: [&str; 7] =
    ["company_id", "company_domain", "company_website", "company_linkedin", "company_url", "company_name", "company"];

/// Before the name of a company's column in the row of one of its people.
const PREFIX: &str = "company_";

/// Our reading: each object in the company's list of people becomes a row of its own, with the company's other columns
/// under names that begin with `company_`.
pub(super) struct CompanyToLeads<'a> {
    specs: &'a PeopleSpecs,
    companies: u64,
    /// Companies that have no people.
    without: u64,
    /// Entries that are neither objects nor names.
    odd: u64,
}

impl<'a> CompanyToLeads<'a> {
    pub(super) fn new(specs: &'a PeopleSpecs) -> Self {
        CompanyToLeads { specs, companies: 0, without: 0, odd: 0 }
    }

    pub(super) fn row(&mut self, row: &Row<'_>, rows: &mut Rows<'_>) -> std::io::Result<()> {
        self.companies += 1;
        let named: Vec<&str> = self.specs.columns.iter().map(String::as_str).collect();
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
                (if name.starts_with("company") { name.clone() } else { format!("{PREFIX}{name}") }, *json)
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

    pub(super) fn note(&self) -> Option<String> {
        let mut notes = Vec::new();
        if self.without > 0 {
            let columns = if self.specs.columns.is_empty() { PEOPLE.join(", ") } else { self.specs.columns.join(", ") };
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

/// Our reading: people with the same value in the column that says which company they are with become one row: the
/// company's columns (those whose names begin with `company_`, without that) with the first value that is not null,
/// the number of its people, and a list of them.
pub(super) struct LeadsToCompany {
    /// What tells companies apart.
    keys: Vec<String>,
    /// The company's other columns.
    company: Vec<String>,
    /// Those of the people.
    own: Vec<String>,
    groups: Groups,
    leads: u64,
    without: u64,
}

impl LeadsToCompany {
    /// `None` if there are no columns at all, because there are no rows.
    pub(super) fn new(specs: &PeopleSpecs, columns: &[String], room: Room) -> Result<Option<Self>, Failure> {
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
            rest.partition(|column| column.starts_with(PREFIX) || column == "company");
        let figures = company.iter().map(|_| Figure::First).chain([Figure::Count, Figure::List]).collect();
        Ok(Some(LeadsToCompany { keys, company, own, groups: Groups::new(figures, room), leads: 0, without: 0 }))
    }

    pub(super) fn row(&mut self, row: &Row<'_>) -> Result<(), Failure> {
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
    pub(super) fn finish(self, rows: &mut Rows<'_>) -> Result<Option<String>, Failure> {
        let mut names: Vec<String> = Vec::new();
        for column in self.keys.iter().chain(&self.company) {
            let name = if column == "company" { "name" } else { column.strip_prefix(PREFIX).unwrap_or(column) };
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
