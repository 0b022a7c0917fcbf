//! The sample: the first records of the sources, which formats and columns are inferred from before anything is
//! written. Also knows which sources can be read twice. Infers nothing itself.

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::item::Item;
use super::reader::SourceReader;
use crate::pipeline::error::Error;
use crate::pipeline::progress::{CANCEL_POLL, Control};
use crate::source::{Input, Source};

/// Returns true if all sources are regular files or members of archives, which can be read twice.
pub(crate) fn can_be_reread(sources: &[Source]) -> bool {
    sources.iter().all(|source| match &source.input {
        Input::File(path) => path.is_file(),
        Input::Member(_) => true,
        _ => false,
    })
}

/// Returns a second source for the same file. Panics for other inputs; see [`can_be_reread`].
pub(crate) fn reopen(source: &Source) -> Source {
    let input = match &source.input {
        Input::File(path) => Input::File(path.clone()),
        Input::Member(member) => Input::Member(member.clone()),
        _ => unreachable!("only files are read twice"),
    };
    Source {
        name: source.name.clone(),
        input,
        format: source.format,
        csv: source.csv.clone(),
        csv_is_optional: source.csv_is_optional,
        encoding: source.encoding,
        compression: source.compression,
        columns: source.columns.clone(),
        columns_read: source.columns_read.clone(),
        keeps_not_finite: source.keeps_not_finite,
        expected_rows: source.expected_rows,
        run: source.run.clone(),
    }
}

/// Reads the first items, up to `sample_bytes` of records. Where an output is live, one
/// morsel is enough: its records must not wait for more.
fn take_sample(reader: &mut SourceReader, sample_bytes: usize, is_live: bool) -> Result<Vec<Item>, Error> {
    let mut sample = Vec::new();
    let mut bytes = 0;
    while bytes < sample_bytes {
        let Some(item) = reader.next()? else { break };
        let is_morsel = match &item {
            Item::Morsel(morsel, _) => {
                bytes += morsel.len;
                true
            }
            // Rows of one source have the same columns and types in every batch.
            Item::Rows(..) => {
                sample.push(item);
                break;
            }
            _ => false,
        };
        sample.push(item);
        if is_live && is_morsel {
            break;
        }
    }
    Ok(sample)
}

/// Reads the sample on a separate thread, so that a cancel ends the wait for a silent source. Blocks until the sample
/// is there. After a cancel the thread stays in its read and holds no shared resource.
pub(crate) fn take_sample_on_thread(
    mut reader: SourceReader,
    sample_bytes: usize,
    is_live: bool,
    control: &Control,
) -> Result<(SourceReader, Vec<Item>), Error> {
    let (done, sampled) = bounded(1);
    std::thread::Builder::new()
        .name("sample".into())
        .spawn(move || {
            let sample = take_sample(&mut reader, sample_bytes, is_live);
            // Fails only after a cancel, when the receiver is dropped.
            let _ = done.send((reader, sample));
        })
        .map_err(|e| Error::Bug(format!("cannot start a thread: {e}")))?;
    loop {
        match sampled.recv_timeout(CANCEL_POLL) {
            Ok((reader, sample)) => return Ok((reader, sample?)),
            Err(RecvTimeoutError::Timeout) if control.is_cancelled() => return Err(Error::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Bug("the sample thread panicked".into())),
        }
    }
}
