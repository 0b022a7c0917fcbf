//! The sample: the first records of the sources, which formats and columns are inferred from before anything is
//! written. Also knows which sources can be read twice. Infers nothing itself.

use std::borrow::Cow;
use std::path::Path;

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::item::Item;
use super::reader::SourceReader;
use crate::pipeline::error::Error;
use crate::pipeline::progress::{CANCEL_POLL, Control};
use crate::sink::unnamed_file;
use crate::source::{Input, KeptBytes, KeptStream, Source};

/// Returns true if all sources are regular files or members of archives, or are kept, so that they can be read twice.
pub(crate) fn can_be_reread(sources: &[Source]) -> bool {
    sources.iter().all(|source| match &source.input {
        Input::File(path) => path.is_file(),
        Input::Member(_) => true,
        Input::Kept(stream) => stream.is_kept(),
        _ => false,
    })
}

/// Keeps the bytes of all streams among the sources in a temporary file, as they arrive. Returns false, and keeps none, if a
/// source could not be read twice even so.
pub(crate) fn keep_streams(sources: &mut [Source], spill_dir: Option<&Path>) -> bool {
    let can_be_kept = |source: &Source| match &source.input {
        Input::File(path) => path.is_file(),
        Input::Member(_) | Input::Stdin | Input::Stream(_) => true,
        _ => false,
    };
    if !sources.iter().all(can_be_kept) {
        return false;
    }
    let Ok(file) = unnamed_file(spill_dir) else { return false };
    let bytes = KeptBytes::new(file);
    for source in sources.iter_mut() {
        source.input = match std::mem::replace(&mut source.input, Input::Stdin) {
            Input::Stdin => Input::Kept(KeptStream::of_stdin(bytes.clone())),
            Input::Stream(stream) => Input::Kept(KeptStream::of_stream(stream, bytes.clone())),
            other => other,
        };
    }
    true
}

/// Keeps no further bytes of the streams among the sources.
pub(crate) fn forget_streams(sources: &[Source]) {
    for source in sources {
        if let Input::Kept(stream) = &source.input {
            stream.forget();
        }
    }
}

/// Returns a second source for the same file or stream. Panics for other inputs; see [`can_be_reread`].
pub(crate) fn reopen(source: &Source) -> Source {
    let input = match &source.input {
        Input::File(path) => Input::File(path.clone()),
        Input::Member(member) => Input::Member(member.clone()),
        Input::Kept(stream) => Input::Kept(stream.clone()),
        _ => unreachable!("only files and kept streams are read twice"),
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

/// Returns the items of the first records: all records that begin in the first `bytes` of them, at least one. The last morsel
/// is copied if only some of its records are among them, so that they are the same however the input is divided into morsels.
pub(crate) fn first_records(items: &[Item], bytes: usize) -> Vec<Cow<'_, Item>> {
    let mut first = Vec::new();
    let mut left = bytes.max(1);
    for item in items {
        match item {
            _ if left == 0 => break,
            Item::Morsel(morsel, info) if morsel.len > left => {
                first.push(Cow::Owned(Item::Morsel(morsel.beginning(left), info.clone())));
                left = 0;
            }
            Item::Morsel(morsel, _) => {
                first.push(Cow::Borrowed(item));
                left -= morsel.len;
            }
            _ => first.push(Cow::Borrowed(item)),
        }
    }
    first
}

/// Reads the first items, up to `sample_bytes` of records. Where an output is live, its records do not wait for more of a
/// source that pauses.
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
        if is_live && is_morsel && reader.would_wait() {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::column::Morsel;
    use crate::pipeline::input::SourceInfo;

    /// The bytes of records that begin before a limit do not depend on where morsels end.
    #[test]
    fn the_first_records_are_the_same_for_every_division() {
        let lines: Vec<String> = (0..40).map(|i| format!("{{\"i\":\"{}\"}}\n", "x".repeat(i % 7))).collect();
        let text = lines.concat();
        let source = Source::reader("x", std::io::empty());
        let info = Arc::new(SourceInfo::of_source(0, &source, false));
        for bytes in [1, 8, 9, 10, 11, 100, text.len() - 1, text.len(), text.len() + 1, 10_000] {
            let mut start = 0;
            let expected: String = lines
                .iter()
                .filter(|line| {
                    start += line.len();
                    start - line.len() < bytes
                })
                .cloned()
                .collect();
            for at_once in [1, 2, 3, 7, 40] {
                let mut offset = 0;
                let items: Vec<Item> = lines
                    .chunks(at_once)
                    .map(|lines| {
                        let morsel = Morsel::from_vec(lines.concat().into_bytes(), offset, 0);
                        offset += morsel.len as u64;
                        Item::Morsel(morsel, info.clone())
                    })
                    .collect();
                let first = first_records(&items, bytes);
                let found: Vec<u8> = first.iter().flat_map(|item| records(item).to_vec()).collect();
                assert_eq!(String::from_utf8(found).unwrap(), expected, "{bytes} bytes, {at_once} at once");
            }
        }
    }

    fn records(item: &Item) -> &[u8] {
        match item {
            Item::Morsel(morsel, _) => morsel.records(),
            _ => &[],
        }
    }
}
