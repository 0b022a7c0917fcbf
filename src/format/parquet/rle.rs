//! Encodes levels and dictionary indices in Parquet's hybrid of run lengths and bit packing.
//!
//! Values are compared eight at a time, the unit of bit packing. Eight equal ones begin or extend a run;
//! a run that would take more bytes than its packed form is packed all the same.

/// Returns the number of bits that hold `max`; 0 for 0.
pub(super) fn bit_width(max: u32) -> u8 {
    (u32::BITS - max.leading_zeros()) as u8
}

/// Groups of eight per packed run. More would need a header of several bytes; 63 is what other writers
/// use, so that readers are tested with it.
const MAX_GROUPS: usize = 63;

/// Appends `values`, each below 2^`width`. Appends nothing if there are none.
pub(super) fn encode<T: Copy + Eq + Into<u32>>(values: &[T], width: u8, out: &mut Vec<u8>) {
    let mut runs = Runs { width, header: 0, groups: 0, out };
    let mut run: Option<(T, usize)> = None;
    let mut eights = values.chunks_exact(8);
    for eight in eights.by_ref() {
        let first = eight[0];
        let equal = eight.iter().all(|v| *v == first);
        match &mut run {
            Some((value, count)) if equal && *value == first => *count += 8,
            _ => {
                if let Some((value, count)) = run.take() {
                    runs.repeat(value, count);
                }
                if equal {
                    run = Some((first, 8));
                } else {
                    runs.pack(eight);
                }
            }
        }
    }
    let rest = eights.remainder();
    match &mut run {
        Some((value, count)) if rest.iter().all(|v| v == value) => {
            *count += rest.len();
            runs.repeat(*value, *count);
        }
        _ => {
            if let Some((value, count)) = run {
                runs.repeat(value, count);
            }
            if !rest.is_empty() {
                // Readers know the number of values and ignore the padding of the last group.
                let mut eight = [rest[0]; 8];
                eight[..rest.len()].copy_from_slice(rest);
                runs.pack(&eight);
            }
        }
    }
}

/// Appends a run of `count` times `value`: a varint of twice the count, and the value in whole bytes.
pub(super) fn encode_run(value: u32, count: usize, width: u8, out: &mut Vec<u8>) {
    let mut header = count << 1;
    while header >= 0x80 {
        out.push(header as u8 | 0x80);
        header >>= 7;
    }
    out.push(header as u8);
    out.extend_from_slice(&value.to_le_bytes()[..usize::from(width).div_ceil(8)]);
}

/// Writer of runs, which collects packed groups under one header.
struct Runs<'a> {
    width: u8,
    /// Offset of the header of the open packed run; meaningless while `groups` is 0.
    header: usize,
    /// Groups of eight in the open packed run; 0 if none is open.
    groups: usize,
    out: &'a mut Vec<u8>,
}

impl Runs<'_> {
    fn repeat<T: Copy + Into<u32>>(&mut self, value: T, count: usize) {
        // A run costs its header, its value, and another header for the packed run that follows.
        let run_bytes = 3 + usize::from(self.width).div_ceil(8);
        if self.groups > 0 && count.div_ceil(8) * usize::from(self.width) <= run_bytes {
            for _ in 0..count.div_ceil(8) {
                self.pack(&[value; 8]);
            }
        } else {
            self.groups = 0;
            encode_run(value.into(), count, self.width, self.out);
        }
    }

    fn pack<T: Copy + Into<u32>>(&mut self, eight: &[T]) {
        if self.groups == 0 || self.groups == MAX_GROUPS {
            self.header = self.out.len();
            self.groups = 0;
            self.out.push(0);
        }
        self.groups += 1;
        self.out[self.header] = (self.groups << 1 | 1) as u8;
        // Up to eight bits each, a group fits into one word.
        let width = u32::from(self.width);
        if width <= 8 {
            let word =
                eight.iter().enumerate().fold(0, |word, (i, &v)| word | u64::from(v.into()) << (i as u32 * width));
            self.out.extend_from_slice(&word.to_le_bytes()[..width as usize]);
            return;
        }
        let (mut word, mut bits) = (0u64, 0);
        for &value in eight {
            word |= u64::from(value.into()) << bits;
            bits += width;
            if bits >= 32 {
                self.out.extend_from_slice(&(word as u32).to_le_bytes());
                word >>= 32;
                bits -= 32;
            }
        }
        // Eight values of any width fill whole bytes.
        self.out.extend_from_slice(&word.to_le_bytes()[..bits as usize / 8]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads runs bit by bit.
    fn decode(mut bytes: &[u8], width: u8, n: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < n {
            let (mut header, mut shift) = (0usize, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            if header & 1 == 0 {
                let length = usize::from(width).div_ceil(8);
                let mut value = [0; 4];
                value[..length].copy_from_slice(&bytes[..length]);
                bytes = &bytes[length..];
                values.extend(std::iter::repeat_n(u32::from_le_bytes(value), header >> 1));
            } else {
                let length = (header >> 1) * usize::from(width);
                let (packed, rest) = bytes.split_at(length);
                bytes = rest;
                let bit = |i: usize| u32::from(packed[i / 8] >> (i % 8) & 1);
                for v in 0..(header >> 1) * 8 {
                    let at = v * usize::from(width);
                    values.push((0..usize::from(width)).fold(0, |value, b| value | bit(at + b) << b));
                }
            }
        }
        assert!(bytes.is_empty(), "bytes left over");
        // Only the last group may be padded.
        assert!(values.len() < n + 8);
        values.truncate(n);
        values
    }

    proptest! {
        #[test]
        fn values_are_read_as_they_were_written(
            width in 1u8..=20,
            runs in prop::collection::vec((any::<u32>(), prop_oneof![1usize..4, 7usize..40, 500usize..700]), 0..40),
        ) {
            let values: Vec<u32> =
                runs.iter().flat_map(|&(v, n)| std::iter::repeat_n(v & ((1 << width) - 1), n)).collect();
            let mut out = Vec::new();
            encode(&values, width, &mut out);
            prop_assert_eq!(decode(&out, width, values.len()), values);
        }
    }

    #[test]
    fn a_long_run_is_short() {
        let mut out = Vec::new();
        encode(&[1u8; 100_000], 1, &mut out);
        assert_eq!(out.len(), 4);
        assert_eq!(decode(&out, 1, 100_000), [1; 100_000]);
        out.clear();
        encode(&[0u8; 0], 1, &mut out);
        assert!(out.is_empty());
    }
}
