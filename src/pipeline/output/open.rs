//! The outputs of an execution on their targets: opened under temporary names, filled with pieces in order, and made to
//! appear whole.

use std::path::PathBuf;
use std::sync::Arc;

use super::channel::ChannelWriter;
use super::directory::{FinishedPartitions, PartitionedWriter};
use super::file::{FinishedFile, OutputFile};
use super::rows::EncodedRows;
use super::writer::WriterOptions;
use crate::column::Schema;
use crate::format::parquet::EncodedRowGroup;
use crate::pipeline::error::Error;
use crate::pipeline::plan::{Output, Target};
use crate::sink::{ObjectUpload, Sink};

/// One open output.
pub struct OutputWriter {
    /// Its path or address, or a stream's name.
    name: PathBuf,
    kind: Kind,
    /// The name is a file's, not a stream's.
    is_file: bool,
    /// Its reader went away, so that nothing more is written to it.
    abandoned: bool,
}

enum Kind {
    File(Box<OutputFile>),
    Parts(Box<PartitionedWriter>),
    Channel(ChannelWriter),
}

impl OutputWriter {
    /// Opens an output under its temporary name. `max_waiting` bounds the bytes that an output of several files collects.
    pub fn open(output: &Output, options: WriterOptions, max_waiting: usize) -> Result<Self, Error> {
        let (name, sink) = match &output.target {
            Target::Directory(directory) => {
                let writer = PartitionedWriter::in_directory(directory, options, max_waiting)?;
                let name = directory.path.clone();
                return Ok(OutputWriter {
                    name,
                    kind: Kind::Parts(Box::new(writer)),
                    is_file: false,
                    abandoned: false,
                });
            }
            Target::File { path, no_clobber, .. } if output.is_sheets() => {
                let writer = PartitionedWriter::of_sheets(path, *no_clobber, options, max_waiting);
                let (name, kind) = (path.clone(), Kind::Parts(Box::new(writer)));
                return Ok(OutputWriter { name, kind, is_file: true, abandoned: false });
            }
            Target::File { path, append: true, .. } => (path.clone(), Sink::appending(path)),
            Target::File { path, no_clobber, .. } => (path.clone(), Sink::file(path, *no_clobber)),
            Target::Object(place) => {
                let sink = ObjectUpload::begin(place).map(|upload| Sink::Object(Box::new(upload)));
                (PathBuf::from(&place.url), sink)
            }
            Target::Stdout => (PathBuf::from("standard output"), Sink::stdout()),
            Target::Channel(sender) => {
                let (name, kind) = (PathBuf::from("the batches"), Kind::Channel(ChannelWriter::new(sender.clone())));
                return Ok(OutputWriter { name, kind, is_file: false, abandoned: false });
            }
        };
        let sink = sink.map_err(|cause| Error::write(&name, cause))?;
        let is_file = sink.is_file();
        let file = OutputFile::new(name.clone(), sink, &options)?;
        Ok(OutputWriter { name, kind: Kind::File(Box::new(file)), is_file, abandoned: false })
    }

    /// True after [`OutputWriter::abandon`].
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Leaves the output as it is: its reader went away. Returns a note of that for the report.
    pub fn abandon(&mut self) -> String {
        self.abandoned = true;
        self.abandoned_note()
    }

    /// A note for the report that the reader of this output went away.
    pub fn abandoned_note(&self) -> String {
        format!("{}: its reader went away before the end", self.name.display())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        match &self.kind {
            Kind::File(file) => file.bytes(),
            Kind::Parts(parts) => parts.bytes(),
            Kind::Channel(channel) => channel.bytes(),
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        match &self.kind {
            Kind::File(file) => file.rows(),
            Kind::Parts(parts) => parts.rows(),
            Kind::Channel(channel) => channel.rows(),
        }
    }

    /// The columns of the row groups so far, if it is one file of such.
    pub fn row_group_columns(&self) -> Option<&Schema> {
        match &self.kind {
            Kind::File(file) => file.row_group_columns(),
            Kind::Parts(_) | Kind::Channel(_) => None,
        }
    }

    /// Appends row groups.
    pub fn append_row_groups(&mut self, groups: Vec<EncodedRowGroup>) -> Result<(), Error> {
        groups.into_iter().try_for_each(|group| match &mut self.kind {
            Kind::File(file) => file.append_row_group(group),
            Kind::Parts(parts) => parts.append_row_group(group),
            Kind::Channel(_) => Err(Error::Bug("a row group came for a channel of batches".into())),
        })
    }

    /// Appends `n_rows` rows with these columns; returns text whose buffer can be used again.
    pub fn append_rows(
        &mut self,
        n_rows: u64,
        rows: EncodedRows,
        columns: &Arc<Schema>,
    ) -> Result<Option<Vec<u8>>, Error> {
        match (&mut self.kind, rows) {
            (_, EncodedRows::InRowGroups) => {}
            (Kind::File(file), EncodedRows::Text(text)) => {
                file.append_text(n_rows, &text, columns)?;
                return Ok(Some(text));
            }
            (Kind::File(file), EncodedRows::Arrow(rows)) => file.append_arrow(&rows, columns)?,
            (Kind::Parts(parts), EncodedRows::Partitions(rows)) => {
                rows.into_iter().try_for_each(|rows| parts.append_rows(rows))?;
            }
            // A device was to hold sheets.
            (Kind::File(file), EncodedRows::Partitions(rows)) => {
                rows.iter().try_for_each(|rows| file.append(rows.batch.rows as u64, &rows.body, columns))?;
            }
            (Kind::Channel(channel), EncodedRows::Arrow(rows)) => {
                channel.append(rows).map_err(|cause| Error::write(&self.name, cause))?;
            }
            (Kind::Channel(_), _) => return Err(Error::Bug("rows came as text to a channel of batches".into())),
            (Kind::Parts(_), _) => return Err(Error::Bug("rows came whole to an output of several files".into())),
        }
        Ok(None)
    }

    /// Writes what belongs at the end, and brings what was written up to the final columns.
    pub fn finish(self, columns: &Schema) -> Result<FinishedOutput, Error> {
        let kind = match self.kind {
            Kind::File(file) => Finished::File(file.finish(columns)?),
            Kind::Parts(parts) => Finished::Parts(parts.finish(columns)?),
            Kind::Channel(mut channel) => {
                channel.finish(columns).map_err(|cause| Error::write(&self.name, cause))?;
                Finished::Sent(channel.bytes())
            }
        };
        Ok(FinishedOutput { kind, is_file: self.is_file })
    }
}

/// A whole output that only lacks its name, or a stream at its end.
pub struct FinishedOutput {
    kind: Finished,
    is_file: bool,
}

enum Finished {
    File(FinishedFile),
    Parts(FinishedPartitions),
    /// All rows went to a reader; the bytes that they had in memory.
    Sent(u64),
}

impl FinishedOutput {
    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        match &self.kind {
            Finished::File(file) => file.bytes,
            Finished::Parts(parts) => parts.bytes(),
            Finished::Sent(bytes) => *bytes,
        }
    }

    /// Makes the output durable, so that only its name is missing.
    pub fn sync(&mut self) -> Result<(), Error> {
        match &mut self.kind {
            Finished::File(file) => file.sync(),
            Finished::Parts(parts) => parts.sync(),
            Finished::Sent(_) => Ok(()),
        }
    }

    /// A note for the report, if it has several files.
    pub fn note(&self) -> Option<String> {
        match &self.kind {
            Finished::File(_) | Finished::Sent(_) => None,
            Finished::Parts(parts) => parts.note(),
        }
    }

    /// Makes the output appear. Returns the files that it is, with their bytes.
    pub fn commit(self) -> Result<Vec<(PathBuf, u64)>, Error> {
        match self.kind {
            Finished::File(file) => {
                let named = self.is_file.then(|| (file.path.clone(), file.bytes));
                file.commit()?;
                Ok(named.into_iter().collect())
            }
            Finished::Parts(parts) => parts.commit(),
            Finished::Sent(_) => Ok(Vec::new()),
        }
    }
}
