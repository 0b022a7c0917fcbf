//! Memory and buffers of the framer. Record ends are compared with a simple framer in `tests/parsers`.

use super::*;

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
fn buffers_of_full_morsels_are_reused() {
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
