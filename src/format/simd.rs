//! The innermost loops of scanning, many bytes at a time.
//!
//! Each is one plain question about bytes, answered in `portable` as its words say. On x86-64 the
//! same answer comes from SSE2, which every such processor has: nothing has to be detected, and the
//! loops are inlined where they are used, which code for newer instructions could not be. Only the
//! one that gains most from them, `halve_quotes`, looks whether the processor has AVX-512. The twins
//! pass the same tests.
//!
//! One of the few files with `unsafe`: vectors are loaded from slices, each load behind a check of
//! its bounds.

#![allow(unsafe_code, reason = "loads and stores of vectors; see the SAFETY comments")]

use crate::column::build::Literal;

/// The place of the first byte from `pos` on that ends plain text in a JSON string: a quote, a
/// backslash, or a byte below 0x20. The length of `bytes` if there is none.
#[inline(always)]
pub fn string_stop(bytes: &[u8], pos: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::string_stop(bytes, pos);
    }
    portable::string_stop(bytes, pos)
}

/// How many digits stand in `bytes` from `pos` on.
#[inline(always)]
pub fn digits(bytes: &[u8], pos: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::digits(bytes, pos);
    }
    portable::digits(bytes, pos)
}

/// Whether `literal` stands in `bytes` at `pos`. The empty literal stands nowhere.
#[inline(always)]
pub fn stands_at(literal: &Literal, bytes: &[u8], pos: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::stands_at(literal, bytes, pos);
    }
    portable::stands_at(literal, bytes, pos)
}

/// Whether one of two bytes stands in `text`.
#[inline(always)]
pub fn has_either(text: &[u8], a: u8, b: u8) -> bool {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::has_either(text, a, b);
    }
    portable::has_either(text, a, b)
}

/// A bit for each byte of `block` that is `a` or `b`, the first byte's the lowest.
#[inline(always)]
pub fn either_mask(block: &[u8; 64], a: u8, b: u8) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::either_mask(block, a, b);
    }
    portable::either_mask(block, a, b)
}

/// Appends `text` to `out`, of each pair of quotes one. Every quote in it must be one of a pair.
#[inline]
pub fn halve_quotes(text: &[u8], out: &mut Vec<u8>) {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        if avx512::is_there() {
            // SAFETY: the processor has what it wants.
            return unsafe { avx512::halve_quotes(text, out) };
        }
        return sse2::halve_quotes(text, out);
    }
    portable::halve_quotes(text, out);
}

/// Appends `text` to `out`, each quote twice.
#[inline]
pub fn double_quotes(text: &[u8], out: &mut Vec<u8>) {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::double_quotes(text, out);
    }
    portable::double_quotes(text, out);
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// True where a test wants the portable twin.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn portable_is_forced() -> bool {
    #[cfg(test)]
    return FORCED.get();
    #[cfg(not(test))]
    false
}

/// Calls `test` twice on this thread, the second time with the portable twins.
#[cfg(test)]
pub fn both_ways(mut test: impl FnMut()) {
    test();
    FORCED.set(true);
    test();
    FORCED.set(false);
}

mod portable {
    #![cfg_attr(all(target_arch = "x86_64", not(test)), allow(dead_code, reason = "the twin of `sse2`"))]

    use super::Literal;

    #[inline(always)]
    pub fn string_stop(bytes: &[u8], pos: usize) -> usize {
        let mut at = pos;
        while let Some(eight) = bytes.get(at..at + 8) {
            let found = stops(u64::from_le_bytes(eight.try_into().expect("eight bytes")));
            if found != 0 {
                return at + (found.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        at + rest.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(rest.len())
    }

    /// Marks (in their top bit) the bytes of `word` that are a quote, a backslash or below 0x20.
    /// Bytes above the lowest mark may be marked wrongly; only the lowest is used.
    #[inline(always)]
    fn stops(word: u64) -> u64 {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const TOPS: u64 = 0x8080_8080_8080_8080;
        let zero_bytes = |w: u64| w.wrapping_sub(ONES) & !w & TOPS;
        let quote = zero_bytes(word ^ (ONES * b'"' as u64));
        let backslash = zero_bytes(word ^ (ONES * b'\\' as u64));
        let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        quote | backslash | control
    }

    #[inline(always)]
    pub fn digits(bytes: &[u8], pos: usize) -> usize {
        let rest = bytes.get(pos..).unwrap_or_default();
        rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len())
    }

    #[inline(always)]
    pub fn stands_at(literal: &Literal, bytes: &[u8], pos: usize) -> bool {
        !literal.text.is_empty() && bytes.get(pos..).is_some_and(|rest| rest.starts_with(&literal.text))
    }

    #[inline(always)]
    pub fn has_either(text: &[u8], a: u8, b: u8) -> bool {
        text.iter().any(|&byte| byte == a || byte == b)
    }

    /// Written so that the compiler makes vector instructions of it: all bytes are compared at once,
    /// the results are gathered as an 8 by 8 matrix of bits with its rows and columns the wrong way
    /// round, and that is transposed.
    #[inline(always)]
    pub fn either_mask(block: &[u8; 64], a: u8, b: u8) -> u64 {
        let mut found = [0u8; 64];
        for (found, &byte) in found.iter_mut().zip(block) {
            *found = if (byte == a) | (byte == b) { 0xff } else { 0 };
        }
        let mut bits = 0;
        for (i, part) in found.as_chunks::<8>().0.iter().enumerate() {
            // Byte `8 * i + k` goes to bit `8 * k + i`.
            bits |= u64::from_le_bytes(*part) & (0x0101_0101_0101_0101 << i);
        }
        transpose(bits)
    }

    /// Swaps bits `8 * i + k` and `8 * k + i`: first in blocks of 2 by 2, then of those, then of those.
    #[inline(always)]
    fn transpose(mut bits: u64) -> u64 {
        for (distance, lower) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
        {
            let swapped = (bits ^ (bits >> distance)) & lower;
            bits ^= swapped ^ (swapped << distance);
        }
        bits
    }

    pub fn halve_quotes(text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(i) = memchr::memchr(b'"', rest) {
            out.extend_from_slice(&rest[..=i]);
            rest = rest.get(i + 2..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
    }

    pub fn double_quotes(text: &[u8], out: &mut Vec<u8>) {
        for part in text.split_inclusive(|&b| b == b'"') {
            out.extend_from_slice(part);
            if part.ends_with(b"\"") {
                out.push(b'"');
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_storeu_si128, _mm_sub_epi8,
    };

    use super::{Literal, portable};

    /// The vector at `pos`.
    ///
    /// # Safety
    ///
    /// `pos + 16 <= bytes.len()`.
    #[inline(always)]
    unsafe fn load(bytes: &[u8], pos: usize) -> __m128i {
        debug_assert!(pos + 16 <= bytes.len());
        // SAFETY: by the caller, sixteen bytes can be read there; the load needs no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().add(pos).cast()) }
    }

    /// One bit for each byte that is all ones.
    #[inline(always)]
    fn bits(vector: __m128i) -> u32 {
        // SAFETY: every x86-64 processor has SSE2.
        unsafe { _mm_movemask_epi8(vector) as u32 }
    }

    /// Marks the bytes that end plain text.
    #[inline(always)]
    fn stops(vector: __m128i) -> __m128i {
        // SAFETY: every x86-64 processor has SSE2.
        unsafe {
            let quote = _mm_cmpeq_epi8(vector, _mm_set1_epi8(b'"' as i8));
            let backslash = _mm_cmpeq_epi8(vector, _mm_set1_epi8(b'\\' as i8));
            // What is no less when held to 0x1f at most is at most 0x1f.
            let control = _mm_cmpeq_epi8(_mm_min_epu8(vector, _mm_set1_epi8(0x1f)), vector);
            _mm_or_si128(_mm_or_si128(quote, backslash), control)
        }
    }

    #[inline(always)]
    pub fn string_stop(bytes: &[u8], pos: usize) -> usize {
        let mut at = pos;
        while at + 32 <= bytes.len() {
            // SAFETY: thirty-two bytes are left from `at` on.
            let (low, high) = unsafe { (load(bytes, at), load(bytes, at + 16)) };
            let found = bits(stops(low)) | bits(stops(high)) << 16;
            if found != 0 {
                return at + found.trailing_zeros() as usize;
            }
            at += 32;
        }
        portable::string_stop(bytes, at)
    }

    #[inline(always)]
    pub fn digits(bytes: &[u8], pos: usize) -> usize {
        if pos + 16 > bytes.len() {
            return portable::digits(bytes, pos);
        }
        // SAFETY: sixteen bytes are left from `pos` on; every x86-64 processor has SSE2.
        let found = unsafe {
            let values = _mm_sub_epi8(load(bytes, pos), _mm_set1_epi8(b'0' as i8));
            bits(_mm_cmpeq_epi8(_mm_min_epu8(values, _mm_set1_epi8(9)), values))
        };
        if found == 0xffff { 16 + portable::digits(bytes, pos + 16) } else { (!found).trailing_zeros() as usize }
    }

    #[inline(always)]
    pub fn stands_at(literal: &Literal, bytes: &[u8], pos: usize) -> bool {
        if pos + 32 > bytes.len() {
            return portable::stands_at(literal, bytes, pos);
        }
        // SAFETY: thirty-two bytes are left from `pos` on, and `head` has as many; every x86-64
        // processor has SSE2.
        let same = unsafe {
            let low = _mm_cmpeq_epi8(load(bytes, pos), load(&literal.head, 0));
            let high = _mm_cmpeq_epi8(load(bytes, pos + 16), load(&literal.head, 16));
            bits(low) | bits(high) << 16
        };
        // The mask of the empty literal is 0.
        same & literal.mask == literal.mask
            && literal.mask != 0
            && (literal.text.len() <= 32 || bytes[pos..].starts_with(&literal.text))
    }

    #[inline(always)]
    pub fn has_either(text: &[u8], a: u8, b: u8) -> bool {
        // The last vector reaches back over what was looked at before.
        let Some(last) = text.len().checked_sub(16) else { return portable::has_either(text, a, b) };
        let found = |at: usize| {
            // SAFETY: `at` is `last` at most, so sixteen bytes are left; every x86-64 processor has SSE2.
            unsafe {
                let vector = load(text, at);
                let (a, b) = (_mm_set1_epi8(a as i8), _mm_set1_epi8(b as i8));
                bits(_mm_or_si128(_mm_cmpeq_epi8(vector, a), _mm_cmpeq_epi8(vector, b))) != 0
            }
        };
        (0..last).step_by(16).any(found) || found(last)
    }

    #[inline(always)]
    pub fn either_mask(block: &[u8; 64], a: u8, b: u8) -> u64 {
        let sixteen = |at: usize| {
            // SAFETY: `at` is 48 at most, so sixteen bytes are left; every x86-64 processor has SSE2.
            let found = unsafe {
                let vector = load(block, at);
                let (a, b) = (_mm_set1_epi8(a as i8), _mm_set1_epi8(b as i8));
                bits(_mm_or_si128(_mm_cmpeq_epi8(vector, a), _mm_cmpeq_epi8(vector, b)))
            };
            u64::from(found) << at
        };
        sixteen(0) | sixteen(16) | sixteen(32) | sixteen(48)
    }

    pub fn halve_quotes(text: &[u8], out: &mut Vec<u8>) {
        // As in `double_quotes`, of which this is the way back.
        let (blocks, rest) = text.split_at(text.len().saturating_sub(BLOCK) / BLOCK * BLOCK);
        // The text at most, and each copy may reach a block beyond what it brings.
        out.reserve(text.len() + BLOCK);
        let mut owed = false;
        for at in (0..blocks.len()).step_by(BLOCK) {
            // SAFETY: behind `blocks` there is at least another block of `text`, so two can be read
            // from `at` on; of what was reserved, at least a block and a block are left.
            owed = unsafe { halve_in_block(&text[at..at + 2 * BLOCK], BLOCK, owed, out) };
        }
        let mut padded = [0; 3 * BLOCK];
        padded[..rest.len()].copy_from_slice(rest);
        for at in (0..rest.len()).step_by(BLOCK) {
            let len = BLOCK.min(rest.len() - at);
            // SAFETY: `at` is 0 or a block, so two can be read from there on; what was reserved is
            // still enough for `len` and a block.
            owed = unsafe { halve_in_block(&padded[at..at + 2 * BLOCK], len, owed, out) };
        }
    }

    /// Appends the first `len` of `two`, of each pair of quotes one; `owed` if the first byte is the
    /// second of a pair. Returns whether the next is.
    ///
    /// # Safety
    ///
    /// `two` has two blocks, `len` is from 1 to a block, and `out` has room for `len` bytes and a block.
    #[inline(always)]
    unsafe fn halve_in_block(two: &[u8], len: usize, owed: bool, out: &mut Vec<u8>) -> bool {
        debug_assert!(two.len() == 2 * BLOCK && len <= BLOCK && out.capacity() - out.len() >= len + BLOCK);
        // SAFETY: places read are `from + 16` at most, where `from` is `len` at most, and sixteen bytes
        // on: within two blocks. Written is `len` at most, and a block beyond. Every byte up to the new
        // length was written. Every x86-64 processor has SSE2.
        unsafe {
            let quote = _mm_set1_epi8(b'"' as i8);
            let low = bits(_mm_cmpeq_epi8(load(two, 0), quote));
            let high = bits(_mm_cmpeq_epi8(load(two, 16), quote));
            let mut from = usize::from(owed);
            let mut quotes = (u64::from(low | high << 16)) & ((1u64 << len) - 1) & (u64::MAX << from);
            let start = out.as_mut_ptr().add(out.len());
            let mut end = start;
            let copy = |from: usize, end: *mut u8| {
                _mm_storeu_si128(end.cast(), load(two, from));
                _mm_storeu_si128(end.add(16).cast(), load(two, from + 16));
            };
            let mut owes = false;
            while quotes != 0 {
                let to = quotes.trailing_zeros() as usize + 1;
                copy(from, end);
                end = end.add(to - from);
                owes = to == len;
                from = if owes { to } else { to + 1 };
                // Shifted in two steps: by 64 would be too far.
                quotes &= u64::MAX << to << 1;
            }
            copy(from, end);
            end = end.add(len - from);
            out.set_len(out.len() + end.offset_from_unsigned(start));
            owes
        }
    }

    /// Bytes whose quotes are looked for at once.
    const BLOCK: usize = 32;

    pub fn double_quotes(text: &[u8], out: &mut Vec<u8>) {
        // What stands between two quotes of a block is copied as a whole block, so reading goes a
        // block further than what is looked at; the end of the text is brought to where that may be.
        let (blocks, rest) = text.split_at(text.len().saturating_sub(BLOCK) / BLOCK * BLOCK);
        // Twice the text at most, and each copy may reach a block beyond what it brings.
        out.reserve(2 * text.len() + BLOCK);
        for at in (0..blocks.len()).step_by(BLOCK) {
            // SAFETY: behind `blocks` there is at least another block of `text`, so two can be read
            // from `at` on; of what was reserved, at least twice a block and a block are left.
            unsafe { double_in_block(&text[at..at + 2 * BLOCK], BLOCK, out) };
        }
        let mut padded = [0; 3 * BLOCK];
        // Less than two blocks: what was split off begins less than that from the end.
        padded[..rest.len()].copy_from_slice(rest);
        for at in (0..rest.len()).step_by(BLOCK) {
            let len = BLOCK.min(rest.len() - at);
            // SAFETY: `at` is 0 or a block, so two can be read from there on; what was reserved is
            // still enough for twice `len` and a block.
            unsafe { double_in_block(&padded[at..at + 2 * BLOCK], len, out) };
        }
    }

    /// Appends the first `len` of `two`, each quote twice.
    ///
    /// # Safety
    ///
    /// `two` has two blocks, `len` is a block at most, and `out` has room for `2 * len` bytes and a
    /// block.
    #[inline(always)]
    unsafe fn double_in_block(two: &[u8], len: usize, out: &mut Vec<u8>) {
        debug_assert!(two.len() == 2 * BLOCK && len <= BLOCK && out.capacity() - out.len() >= 2 * len + BLOCK);
        // SAFETY: places read are `from + 16` at most, where `from` is `len` at most, and sixteen bytes
        // on: within two blocks. Places written: for each byte passed two at most, and a block beyond.
        // Every byte up to the new length was written. Every x86-64 processor has SSE2.
        unsafe {
            let quote = _mm_set1_epi8(b'"' as i8);
            let low = bits(_mm_cmpeq_epi8(load(two, 0), quote));
            let high = bits(_mm_cmpeq_epi8(load(two, 16), quote));
            let mut quotes = (u64::from(low | high << 16)) & ((1u64 << len) - 1);
            let start = out.as_mut_ptr().add(out.len());
            let mut end = start;
            let mut from = 0;
            let copy = |from: usize, end: *mut u8| {
                _mm_storeu_si128(end.cast(), load(two, from));
                _mm_storeu_si128(end.add(16).cast(), load(two, from + 16));
            };
            while quotes != 0 {
                let to = quotes.trailing_zeros() as usize + 1;
                quotes &= quotes - 1;
                copy(from, end);
                end = end.add(to - from);
                *end = b'"';
                end = end.add(1);
                from = to;
            }
            copy(from, end);
            end = end.add(len - from);
            out.set_len(out.len() + end.offset_from_unsigned(start));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        _mm512_cmpeq_epi8_mask, _mm512_maskz_compress_epi8, _mm512_maskz_loadu_epi8, _mm512_set1_epi8,
        _mm512_storeu_si512,
    };

    /// Bytes of a vector, and bits of a mask.
    const BLOCK: usize = 64;

    /// Whether the processor has what the functions below want.
    #[inline(always)]
    pub fn is_there() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("popcnt")
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
    pub fn halve_quotes(text: &[u8], out: &mut Vec<u8>) {
        // The text at most, and the last store may reach a block beyond what it brings.
        out.reserve(text.len() + BLOCK);
        let mut end = out.len();
        // One if the first byte of the block is the second of a pair.
        let mut owed = 0;
        for block in text.chunks(BLOCK) {
            let there = u64::MAX >> (BLOCK - block.len());
            // SAFETY: only the bytes that are there are read.
            let bytes = unsafe { _mm512_maskz_loadu_epi8(there, block.as_ptr().cast()) };
            let quotes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'"' as i8));
            let seconds = seconds_of_pairs(quotes & !owed) | owed;
            let kept = there & !seconds;
            // SAFETY: `end` has come no further than the blocks before, so that a block is left of what was reserved.
            unsafe {
                _mm512_storeu_si512(out.as_mut_ptr().add(end).cast(), _mm512_maskz_compress_epi8(kept, bytes));
            }
            end += kept.count_ones() as usize;
            owed = (quotes & !seconds) >> (BLOCK - 1);
        }
        // SAFETY: every byte up to `end` was written.
        unsafe { out.set_len(end) };
    }

    /// Of each run of ones, the second, fourth, and so on.
    #[inline(always)]
    fn seconds_of_pairs(ones: u64) -> u64 {
        /// The first, third, and so on.
        const EVEN_PLACES: u64 = 0x5555_5555_5555_5555;
        let starts = ones & !(ones << 1);
        // A one added to the start of a run clears all of it.
        let from_even = ones & !ones.wrapping_add(starts & EVEN_PLACES);
        from_even & !EVEN_PLACES | (ones & !from_even) & EVEN_PLACES
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_second_of_a_run_is_told() {
            assert_eq!(seconds_of_pairs(0b0111_0110_0001_1101), 0b0010_0100_0000_1000);
            for start in 0..64 {
                for len in 1..=64 - start {
                    let twin = (start + 1..start + len).step_by(2).fold(0, |bits, at| bits | 1u64 << at);
                    assert_eq!(seconds_of_pairs((u64::MAX >> (64 - len)) << start), twin, "{start} {len}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_has_its_bit(
            bytes in prop::collection::vec(prop_oneof![Just(b','), Just(b'\n'), Just(b'\r'), any::<u8>()], 64),
            a in any::<u8>(),
        ) {
            let block: [u8; 64] = bytes.try_into().expect("a block");
            let twin = block.iter().rev().fold(0u64, |mask, &b| mask << 1 | u64::from(b == a || b == b'\n'));
            both_ways(|| assert_eq!(either_mask(&block, a, b'\n'), twin));
        }

        #[test]
        fn vectors_answer_as_plain_loops_do(
            text in prop::collection::vec(prop::sample::select(b"aaaaaaaaaaaaaaaaaaaaaaaa0123456789\"\\\x00\x1f\x20\x7f\x80\xa2\xdc\xff".to_vec()), 0..100),
            quoted in "[a\"]{0,100}",
            pos in 0usize..110,
            len in 0usize..50,
        ) {
            let stop = (pos..text.len()).find(|&i| matches!(text[i], b'"' | b'\\' | 0..0x20));
            let digit_run = text.iter().skip(pos).take_while(|b| b.is_ascii_digit()).count();
            let there = text.get(pos..pos + len).filter(|part| !part.is_empty());
            let mut results = Vec::new();
            both_ways(|| {
                if pos <= text.len() {
                    assert_eq!(string_stop(&text, pos), stop.unwrap_or(text.len()));
                    assert_eq!(digits(&text, pos), digit_run);
                }
                if let Some(part) = there {
                    assert!(stands_at(&Literal::new(part), &text, pos));
                    let mut other = part.to_vec();
                    other[part.len() - 1] ^= 1;
                    assert!(!stands_at(&Literal::new(&other), &text, pos));
                }
                assert!(!stands_at(&Literal::new(b""), &text, pos));
                if let Some(part) = there {
                    assert_eq!(has_either(part, b'"', 0x80), part.iter().any(|&b| b == b'"' || b == 0x80));
                }
                let mut out = b"x".to_vec();
                double_quotes(quoted.as_bytes(), &mut out);
                results.push(String::from_utf8(out).unwrap());
            });
            prop_assert_eq!(&results[0], &format!("x{}", quoted.replace('"', "\"\"")));
            let doubled = &results[0][1..];
            let halved = |halve: fn(&[u8], &mut Vec<u8>)| {
                let mut out = b"x".to_vec();
                halve(doubled.as_bytes(), &mut out);
                assert_eq!(out[1..], *quoted.as_bytes());
            };
            both_ways(|| halved(halve_quotes));
            // Where the processor has AVX-512, the other way has not been asked.
            #[cfg(target_arch = "x86_64")]
            halved(sse2::halve_quotes);
            prop_assert_eq!(&results[0], &results[1]);
        }
    }
}
