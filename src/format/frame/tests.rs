use proptest::prelude::*;

use super::*;

/// A record as the twin sees it: offset, length without line feed, line feeds, its bytes.
type Record = (u64, usize, u64, Vec<u8>);

/// The twin: byte by byte, over everything at once.
fn split_naively(bytes: &[u8], framing: Framing) -> Vec<Record> {
    let mut records = Vec::new();
    let mut start = 0;
    let mut in_quotes = false;
    let mut at_field_start = true;
    let mut i = 0;
    while i < bytes.len() {
        let b = bytes[i];
        if in_quotes {
            if b == b'"' {
                if bytes.get(i + 1) == Some(&b'"') {
                    i += 1;
                } else {
                    in_quotes = false;
                }
            }
        } else if b == b'\n' {
            records.push((start, i + 1));
            start = i + 1;
            at_field_start = true;
            i += 1;
            continue;
        } else if let Framing::Csv { delimiter } = framing {
            if b == delimiter {
                at_field_start = true;
                i += 1;
                continue;
            }
            in_quotes = b == b'"' && at_field_start;
        }
        at_field_start = false;
        i += 1;
    }
    if start < bytes.len() {
        records.push((start, bytes.len()));
    }
    records
        .into_iter()
        .map(|(start, end)| {
            let record = &bytes[start..end];
            let ended = end < bytes.len() || (record.ends_with(b"\n") && !in_quotes);
            let lines = record.iter().filter(|&&b| b == b'\n').count() as u64;
            (start as u64, record.len() - usize::from(ended), lines, record.to_vec())
        })
        .collect()
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    morsel_bytes: usize,
    max_record_bytes: usize,
}

/// What a framer makes of `chunks`: records, and `None` for the bytes of those that are too long.
fn frame(chunks: &[&[u8]], framing: Framing, limits: Limits, flush: bool) -> Vec<(u64, usize, u64, Option<Vec<u8>>)> {
    let pool = BufferPool::new(limits.morsel_bytes, 2);
    let mut framer = Framer::new(framing, limits.max_record_bytes, 7, pool.clone());
    let mut records = Vec::new();
    let mut take = |framer: &mut Framer| {
        while let Some(framed) = framer.pop() {
            match framed {
                Framed::Oversized(o) => records.push((o.byte_offset, o.len as usize, o.lines, None)),
                Framed::Morsel(morsel) => {
                    assert!(morsel.len > 0);
                    assert_eq!(morsel.source_index, 7);
                    assert!(morsel.bytes[morsel.len..].len() >= Morsel::PADDING);
                    assert!(morsel.bytes[morsel.len..][..Morsel::PADDING].iter().all(|&b| b == 0));
                    for (start, len, lines, record) in split_naively(morsel.records(), framing) {
                        records.push((morsel.byte_offset + start, len, lines, Some(record)));
                    }
                    pool.recycle(morsel.bytes);
                }
            }
        }
    };
    for chunk in chunks {
        let mut chunk = *chunk;
        while !chunk.is_empty() {
            let space = framer.space();
            assert!(!space.is_empty());
            let n = space.len().min(chunk.len());
            space[..n].copy_from_slice(&chunk[..n]);
            chunk = &chunk[n..];
            framer.filled(n);
            take(&mut framer);
        }
        if flush {
            framer.flush();
            take(&mut framer);
        }
    }
    framer.finish();
    take(&mut framer);
    records
}

fn expected(bytes: &[u8], framing: Framing, limits: Limits) -> Vec<(u64, usize, u64, Option<Vec<u8>>)> {
    let (bom, rest) = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => (3, rest),
        None => (0, bytes),
    };
    split_naively(rest, framing)
        .into_iter()
        .map(|(start, len, lines, record)| {
            (start + bom, len, lines, (len <= limits.max_record_bytes).then_some(record))
        })
        .collect()
}

fn any_framing() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::Lines), Just(Framing::Csv { delimiter: b',' }), Just(Framing::Csv { delimiter: b'\t' })]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b"\"".to_vec()),
        3 => Just(b",".to_vec()),
        3 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"\t".to_vec()),
        3 => Just(b"a".to_vec()),
        1 => Just(b"\xef\xbb\xbf".to_vec()),
        1 => prop::collection::vec(Just(b'x'), 1..40),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn records_do_not_depend_on_chunks_or_sizes(
        bytes in text(),
        framing in any_framing(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        morsel_bytes in 1usize..80,
        max_record_bytes in 1usize..40,
        flush in any::<bool>(),
    ) {
        let limits = Limits { morsel_bytes, max_record_bytes };
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        prop_assert_eq!(frame(&chunks, framing, limits, flush), expected(&bytes, framing, limits));
    }
}

#[test]
fn every_split_of_an_awkward_file_gives_the_same_records() {
    let bytes = b"\xef\xbb\xbfa,\"b\"\"\n,\",c\r\n\n\"x\"y\"\n,\"\",\"longer than the limit\n\"\nz\"\n,\"open\n";
    for framing in [Framing::Lines, Framing::Csv { delimiter: b',' }] {
        for max_record_bytes in [1, 9, 16, 100] {
            for morsel_bytes in [1, 7, 1000] {
                let limits = Limits { morsel_bytes, max_record_bytes };
                let expected = expected(bytes, framing, limits);
                for i in 0..=bytes.len() {
                    for flush in [false, true] {
                        assert_eq!(frame(&[&bytes[..i], &bytes[i..]], framing, limits, flush), expected);
                    }
                }
            }
        }
    }
}

#[test]
fn a_long_record_is_skipped_in_bounded_memory() {
    let pool = BufferPool::new(64, 2);
    let mut framer = Framer::new(Framing::Lines, 100, 0, pool);
    for _ in 0..10_000 {
        let space = framer.space();
        assert!(space.len() < 1000);
        space.fill(b'x');
        let n = space.len();
        framer.filled(n);
        assert!(framer.pop().is_none());
    }
    framer.finish();
    assert!(matches!(framer.pop(), Some(Framed::Oversized(o)) if o.byte_offset == 0 && o.len > 500_000));
    assert!(framer.pop().is_none());
}

#[test]
fn full_morsels_use_buffers_again() {
    let pool = BufferPool::new(1000, 4);
    let mut framer = Framer::new(Framing::Lines, 100, 0, pool.clone());
    let mut addresses = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let space = framer.space();
        space.fill(b'x');
        let mut last = 0;
        for i in (9..space.len()).step_by(10) {
            space[i] = b'\n';
            last = i + 1;
        }
        framer.filled(last);
        while let Some(Framed::Morsel(morsel)) = framer.pop() {
            addresses.insert(morsel.bytes.as_ptr() as usize);
            pool.recycle(morsel.bytes);
        }
    }
    assert!(addresses.len() <= 2, "{} buffers for one morsel in flight", addresses.len());
}
