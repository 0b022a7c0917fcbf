//! The outputs of an execution: each takes finished pieces in order and appears whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::encode::{Body, Encoded, PartRows};
use super::one::{Make, One, write_error};
use super::parts::Parts;
use super::plan::is_sheets;
use super::{Error, Output, Target};
use crate::column::Schema;
use crate::format::OutputFormat;
use crate::format::parquet::EncodedRowGroup;
use crate::sink::{ObjectUpload, Sink};

/// One open output.
pub(super) struct Out {
    /// Its path or address, or a stream's name.
    name: PathBuf,
    kind: Kind,
    /// The name is a file's, not a stream's.
    is_file: bool,
    /// Its reader went away, so that nothing more is written to it.
    gone: bool,
}

enum Kind {
    One(Box<One>),
    Parts(Box<Parts>),
}

impl Out {
    /// Opens an output under its temporary name. `max_waiting` bounds what an output of several files collects.
    pub fn open(output: &Output, make: Make, max_waiting: usize) -> Result<Self, Error> {
        let (name, sink) = match &output.target {
            Target::Directory(directory) => {
                let kind = Kind::Parts(Box::new(Parts::in_folder(directory, make, max_waiting)?));
                return Ok(Out { name: directory.path.clone(), kind, is_file: false, gone: false });
            }
            Target::File { path, no_clobber, .. } if is_sheets(output) => {
                let kind = Kind::Parts(Box::new(Parts::of_sheets(path, *no_clobber, make, max_waiting)));
                return Ok(Out { name: path.clone(), kind, is_file: true, gone: false });
            }
            Target::File { path, append: true, .. } => (path.clone(), Sink::appending(path)),
            Target::File { path, no_clobber, .. } => (path.clone(), Sink::file(path, *no_clobber)),
            Target::Object(place) => {
                let sink = ObjectUpload::begin(place).map(|upload| Sink::Object(Box::new(upload)));
                (PathBuf::from(&place.url), sink)
            }
            Target::Stdout => (PathBuf::from("standard output"), Sink::stdout()),
        };
        let sink = sink.map_err(|cause| write_error(&name, cause))?;
        let is_file = sink.is_file();
        let one = One::new(name.clone(), sink, &make)?;
        Ok(Out { name, kind: Kind::One(Box::new(one)), is_file, gone: false })
    }

    /// True when what is written to an output is out, and somebody may be looking: standard output,
    /// a pipe or a device.
    pub fn is_watched(output: &Output) -> bool {
        match &output.target {
            Target::Stdout => true,
            Target::File { path, .. } => std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()),
            Target::Directory(_) | Target::Object(_) => false,
        }
    }

    /// True when the columns of an output are fixed by its first rows.
    pub fn has_fixed_columns(output: &Output) -> bool {
        let cannot_go_back = match &output.target {
            Target::Object(_) | Target::File { append: true, .. } => true,
            _ => Out::is_watched(output),
        };
        match output.format {
            OutputFormat::Ndjson | OutputFormat::JsonArray => false,
            OutputFormat::Arrow(_) => true,
            OutputFormat::Csv(_) | OutputFormat::Parquet(_) => cannot_go_back,
        }
    }

    /// The path, if this is a file.
    pub fn path(&self) -> Option<&Path> {
        self.is_file.then_some(&self.name)
    }

    /// True once [`Out::give_up`] was called.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Leaves the output as it is: its reader went away. Returns a note of that.
    pub fn give_up(&mut self) -> String {
        self.gone = true;
        format!("{}: its reader went away before the end", self.name.display())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        match &self.kind {
            Kind::One(one) => one.bytes(),
            Kind::Parts(parts) => parts.bytes(),
        }
    }

    /// The columns of the row groups so far, if it is one file of such.
    pub fn columns(&self) -> Option<&Schema> {
        match &self.kind {
            Kind::One(one) => one.columns(),
            Kind::Parts(_) => None,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        match &self.kind {
            Kind::One(one) => one.rows(),
            Kind::Parts(parts) => parts.rows(),
        }
    }

    /// Appends row groups.
    pub fn row_groups(&mut self, groups: Vec<EncodedRowGroup>) -> Result<(), Error> {
        for group in groups {
            match &mut self.kind {
                Kind::One(one) => one.row_group(group)?,
                Kind::Parts(parts) => parts.row_group(group)?,
            }
        }
        Ok(())
    }

    /// Appends `n_rows` rows with these columns; returns text that is not needed any more.
    pub fn rows_of(&mut self, n_rows: u64, rows: Encoded, columns: &Arc<Schema>) -> Result<Option<Vec<u8>>, Error> {
        match (&mut self.kind, rows) {
            (_, Encoded::InRowGroups) => {}
            (Kind::One(one), Encoded::Text(text)) => {
                one.text(n_rows, &text, columns)?;
                return Ok(Some(text));
            }
            (Kind::One(one), Encoded::Arrow(rows)) => one.arrow(&rows, columns)?,
            (Kind::Parts(parts), Encoded::Parts(rows)) => rows.into_iter().try_for_each(|rows| parts.rows_of(rows))?,
            // A device was to hold sheets.
            (Kind::One(one), Encoded::Parts(rows)) => {
                for PartRows { batch, body, .. } in rows {
                    match body {
                        Body::Text(text) => one.text(batch.rows as u64, &text, columns)?,
                        Body::Arrow(rows) => one.arrow(&rows, columns)?,
                    }
                }
            }
            (Kind::Parts(_), _) => return Err(Error::Bug("rows came whole to an output of several files".into())),
        }
        Ok(None)
    }

    /// Writes what belongs at the end, and brings what was written up to the final columns.
    pub fn finish(&mut self, columns: &Schema) -> Result<(), Error> {
        match &mut self.kind {
            Kind::One(one) => one.finish(columns),
            Kind::Parts(parts) => parts.finish(columns),
        }
    }

    /// Makes the finished output durable, so that only its name is missing.
    pub fn sync(&mut self) -> Result<(), Error> {
        match &mut self.kind {
            Kind::One(one) => one.sync(),
            Kind::Parts(parts) => parts.sync(),
        }
    }

    /// What people are told of it.
    pub fn note(&self) -> Option<String> {
        match &self.kind {
            Kind::One(_) => None,
            Kind::Parts(parts) => parts.note(),
        }
    }

    /// Makes the output appear. Returns the files that it is, with their bytes.
    pub fn commit(self) -> Result<Vec<(PathBuf, u64)>, Error> {
        let file = self.path().map(|path| (path.to_owned(), self.bytes()));
        match self.kind {
            Kind::One(one) => {
                one.commit()?;
                Ok(file.into_iter().collect())
            }
            Kind::Parts(parts) => parts.commit(),
        }
    }
}
