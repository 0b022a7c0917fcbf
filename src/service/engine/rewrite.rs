//! Blocks that make other rows of the rows they get: a pass over the rows of the blocks before, one at a time, into a
//! file that the block's plan then reads. Memory is bounded whatever comes; what a block has to remember goes to disk
//! beyond its room.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use super::failure::{Failure, unusable};
use super::lines::{Reader, Row, Rows, STRIDE, each_line};
use super::people::{CompanyToLeads, LeadsToCompany};
use crate::pipeline::Control;
use crate::service::fields::ReturnField;
use crate::service::provider::{AT_ONCE, BATCH_ROWS, Provider};
use crate::service::specs::{Figures, PeopleSpecs};
use crate::transform::{Cell, Distinct, Figure, Groups, KeyWriter, Room};

/// What is to be made of the rows.
pub(super) enum Rewrite {
    /// Groups with figures over them.
    Group(Figures),
    /// The people of each company.
    CompanyToLeads(PeopleSpecs),
    /// The company of each group of people.
    LeadsToCompany(PeopleSpecs),
    /// Rows that are not among those of a notebook: by these columns, or whole.
    NotIn { notebook: Option<Lines>, columns: Vec<String> },
    /// What an endpoint of the user's adds.
    Ask(Ask),
}

/// An endpoint and what it is asked.
pub(super) struct Ask {
    pub provider: Arc<Provider>,
    pub block: &'static str,
    pub specs: Map<String, Value>,
    /// `None` takes all that it answers.
    pub fields: Option<Vec<ReturnField>>,
    /// True where rows come from it alone.
    pub is_source: bool,
    pub runtime: Handle,
}

/// The first bytes of a file of NDJSON of our own writing.
pub(super) struct Lines {
    pub path: PathBuf,
    pub bytes: u64,
}

/// A pass that is ready.
pub(super) struct Pass {
    pub rewrite: Rewrite,
    /// Read one after the other.
    pub feeds: Vec<PathBuf>,
    /// Columns of the rows, in order.
    pub columns: Vec<String>,
    /// Where the new rows go.
    pub out: PathBuf,
    pub room: Room,
}

/// What a pass has done.
pub(super) struct Rewritten {
    pub rows_in: u64,
    /// What people should know.
    pub note: Option<String>,
}

impl Pass {
    /// Makes the new rows. Blocks.
    pub(super) fn run(self, control: &Control) -> Result<Rewritten, Failure> {
        let mut rows = Rows::create(&self.out, control).map_err(unusable)?;
        let Pass { rewrite, feeds, columns, room, .. } = self;
        let reader = Reader { feeds, control };
        let note = match rewrite {
            Rewrite::Group(figures) => group(&figures, reader, room, &mut rows)?,
            Rewrite::CompanyToLeads(specs) => {
                let mut block = CompanyToLeads::new(&specs);
                reader.each(|line| Ok(block.row(&Row::read(line)?, &mut rows)?))?;
                block.note()
            }
            Rewrite::LeadsToCompany(specs) => {
                let mut block = LeadsToCompany::new(&specs, &columns, room)?;
                if let Some(block) = &mut block {
                    reader.each(|line| block.row(&Row::read(line)?))?;
                }
                match block {
                    Some(block) => block.finish(&mut rows)?,
                    None => None,
                }
            }
            Rewrite::NotIn { notebook, columns } => not_in(notebook, &columns, reader, room, &mut rows)?,
            Rewrite::Ask(ask) => ask.run(reader, &mut rows)?,
        };
        rows.flush().map_err(unusable)?;
        Ok(Rewritten { rows_in: control.rows_read(), note })
    }
}

fn group(figures: &Figures, reader: Reader<'_>, room: Room, rows: &mut Rows<'_>) -> Result<Option<String>, Failure> {
    let mut groups = Groups::new(figures.figures.iter().map(|figure| figure.figure).collect(), room);
    reader.each(|line| {
        let row = Row::read(line)?;
        let keys: Vec<&str> = figures.columns.iter().map(|column| row.get(column)).collect();
        let value = |column: &Option<String>| column.as_ref().map_or("null", |column| row.get(column));
        let values: Vec<&str> = figures.figures.iter().map(|figure| value(&figure.column)).collect();
        Ok(groups.add(&keys, &values)?)
    })?;
    let names: Vec<&str> = figures
        .columns
        .iter()
        .map(String::as_str)
        .chain(figures.figures.iter().map(|figure| figure.name.as_str()))
        .collect();
    groups.finish(|texts| {
        let members = names.iter().zip(&texts).map(|(name, json)| (*name, json.as_str()));
        rows.row(members).map_err(Failure::from)
    })?;
    let not_numbers = figures.figures.iter().any(|f| matches!(f.figure, Figure::Sum | Figure::Mean));
    Ok(not_numbers.then(|| "sums and means are over values that are numbers; others are left out".to_owned()))
}

fn not_in(
    notebook: Option<Lines>,
    columns: &[String],
    reader: Reader<'_>,
    room: Room,
    rows: &mut Rows<'_>,
) -> Result<Option<String>, Failure> {
    let mut known = Distinct::new(room);
    let mut writer = KeyWriter::default();
    let mut key_of = |line: &str| -> io::Result<_> {
        let mut row = Row::read(line)?;
        if columns.is_empty() {
            row.0.sort_by(|(a, _), (b, _)| a.cmp(b));
            row.0.iter().for_each(|(name, json)| writer.member(name, &Cell::from_json(json)));
        } else {
            columns.iter().for_each(|column| writer.value(&Cell::from_json(row.get(column))));
        }
        Ok(writer.finish())
    };
    let mut keys = Vec::with_capacity(STRIDE);
    if let Some(notebook) = &notebook {
        each_line(&notebook.path, notebook.bytes, reader.control, |line| {
            keys.push(key_of(line)?);
            if keys.len() == STRIDE {
                known.insert(&keys)?;
                keys.clear();
            }
            Ok(())
        })?;
        known.insert(&keys)?;
        keys.clear();
    }
    let mut held: Vec<String> = Vec::with_capacity(STRIDE);
    let mut left_out = 0u64;
    let mut look_up = |keys: &mut Vec<_>, held: &mut Vec<String>, rows: &mut Rows<'_>| -> Result<(), Failure> {
        for (line, is_known) in held.iter().zip(known.contains(keys)?) {
            if is_known {
                left_out += 1;
            } else {
                rows.line(line)?;
            }
        }
        keys.clear();
        held.clear();
        Ok(())
    };
    reader.each(|line| {
        keys.push(key_of(line)?);
        held.push(line.to_owned());
        if keys.len() == STRIDE { look_up(&mut keys, &mut held, rows) } else { Ok(()) }
    })?;
    look_up(&mut keys, &mut held, rows)?;
    Ok(match notebook {
        Some(_) => Some(format!("{left_out} rows are in the notebook already and were left out")),
        None => Some("the notebook does not exist yet: all rows pass".to_owned()),
    })
}

impl Ask {
    fn run(self, reader: Reader<'_>, rows: &mut Rows<'_>) -> Result<Option<String>, Failure> {
        if self.is_source {
            return self.source(reader.control, rows);
        }
        let control = reader.control;
        let mut failed = Unanswered::default();
        // Batches are read as they are asked for, so that no more than those under way are held.
        let batches = Batches::new(reader.feeds);
        let runtime = self.runtime.clone();
        let ask = |batch: io::Result<Vec<String>>| async {
            let batch = batch?;
            let answers = self.provider.ask(self.block, &self.specs, &batch).await;
            Ok::<_, io::Error>((batch, answers))
        };
        runtime.block_on(async {
            let mut answered = std::pin::pin!(futures::stream::iter(batches).map(ask).buffered(AT_ONCE));
            loop {
                let next = tokio::select! {
                    next = answered.next() => next,
                    () = until_cancelled(control) => return Err(Failure::Cancelled),
                };
                let Some(next) = next else { return Ok(()) };
                let (batch, answers) = next?;
                let answers = answers.unwrap_or_else(|why| {
                    failed.rows += batch.len() as u64;
                    failed.why.get_or_insert(why);
                    vec![None; batch.len()]
                });
                for (line, answer) in batch.iter().zip(answers) {
                    self.enriched(line, answer.as_ref(), rows)?;
                    control.add_rows_read(1);
                }
            }
        })?;
        Ok(failed.note(self.block))
    }

    fn source(&self, control: &Control, rows: &mut Rows<'_>) -> Result<Option<String>, Failure> {
        let answers = self.runtime.block_on(async {
            tokio::select! {
                answers = self.provider.ask(self.block, &self.specs, &[]) => Ok(answers),
                () = until_cancelled(control) => Err(Failure::Cancelled),
            }
        })?;
        // Rows come from here alone: without them there is nothing to go on with.
        let answers = answers.map_err(|why| Failure::Failed(format!("the endpoint of {}: {why}", self.block)))?;
        for row in answers.into_iter().flatten() {
            rows.line(&Value::Object(row).to_string())?;
            control.add_rows_read(1);
        }
        Ok(None)
    }

    /// The row with what was answered. A row without an answer says null where it had nothing.
    fn enriched(&self, line: &str, answer: Option<&Map<String, Value>>, rows: &mut Rows<'_>) -> io::Result<()> {
        let row = Row::read(line)?;
        let mut added: Vec<(String, String)> = Vec::new();
        match (&self.fields, answer) {
            (None, None) => {}
            (None, Some(answer)) => added.extend(answer.iter().map(|(name, value)| (name.clone(), value.to_string()))),
            (Some(fields), Some(answer)) => added.extend(fields.iter().map(|field| {
                let json = answer.get(&field.name).map_or_else(|| "null".to_owned(), Value::to_string);
                (field.name.clone(), field.typed(&json).into_owned())
            })),
            (Some(fields), None) => {
                let missing = fields.iter().filter(|field| !row.0.iter().any(|(name, _)| *name == field.name));
                added.extend(missing.map(|field| (field.name.clone(), "null".to_owned())));
            }
        }
        let had = row.0.iter().map(|(name, json)| {
            let replaced = added.iter().find(|(added, _)| added == name);
            (name.as_str(), replaced.map_or(*json, |(_, json)| json.as_str()))
        });
        let new = added.iter().filter(|(added, _)| !row.0.iter().any(|(name, _)| name == added));
        rows.row(had.chain(new.map(|(name, json)| (name.as_str(), json.as_str()))))
    }
}

/// Rows for which nothing came.
#[derive(Default)]
struct Unanswered {
    rows: u64,
    why: Option<String>,
}

impl Unanswered {
    fn note(self, block: &str) -> Option<String> {
        let why = self.why?;
        Some(format!("{} rows pass without what {block} would add, because of its endpoint: {why}", self.rows))
    }
}

async fn until_cancelled(control: &Control) {
    while !control.is_cancelled() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The lines of feeds, in batches.
struct Batches {
    feeds: std::vec::IntoIter<PathBuf>,
    reader: Option<BufReader<File>>,
}

impl Batches {
    fn new(feeds: Vec<PathBuf>) -> Self {
        Batches { feeds: feeds.into_iter(), reader: None }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => match self.feeds.next() {
                    Some(feed) => self.reader.insert(BufReader::with_capacity(256 << 10, File::open(feed)?)),
                    None => return Ok(None),
                },
            };
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                self.reader = None;
                continue;
            }
            line.truncate(line.trim_end_matches(['\n', '\r']).len());
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

impl Iterator for Batches {
    type Item = io::Result<Vec<String>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::new();
        while batch.len() < BATCH_ROWS {
            match self.line() {
                Ok(Some(line)) => batch.push(line),
                Ok(None) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}
