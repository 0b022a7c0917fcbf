//! The first records of the sources, which are looked at before the execution is planned in full, and sources that can be
//! read a second time.

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::item::Item;
use super::reader::SourceReader;
use crate::pipeline::error::Error;
use crate::pipeline::progress::{CANCEL_POLL, Control};
use crate::source::{Input, Source};

/// True if all of them are files, which can be read again.
pub fn are_rereadable(sources: &[Source]) -> bool {
    sources.iter().all(|source| matches!(&source.input, Input::File(path) if path.is_file()))
}

/// The same file again.
pub fn read_again(source: &Source) -> Source {
    let Input::File(path) = &source.input else { unreachable!("only files are read twice") };
    Source {
        name: source.name.clone(),
        input: Input::File(path.clone()),
        format: source.format,
        delimiter: source.delimiter,
        compression: source.compression,
        expected_rows: source.expected_rows,
    }
}

/// The first items, up to so many bytes of records. Where an output is live, the first
/// records are all that is waited for.
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
            // All that there is to know is in the first.
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

/// [`take_sample`] on a thread of its own: a cancel must end the wait for a source that has
/// nothing to say. The thread then stays behind in its read, and holds nothing that is missed.
pub fn sample_aside(
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
            // After a cancel it is not taken.
            let _ = done.send((reader, sample));
        })
        .map_err(|e| Error::Bug(format!("cannot start a thread: {e}")))?;
    loop {
        match sampled.recv_timeout(CANCEL_POLL) {
            Ok((reader, sample)) => return Ok((reader, sample?)),
            Err(RecvTimeoutError::Timeout) if control.is_cancelled() => return Err(Error::Cancelled),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Bug("the reader broke down".into())),
        }
    }
}
