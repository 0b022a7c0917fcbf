//! The innermost loops of scanning and of CSV quoting, many bytes at a time.
//!
//! Each function has its simple algorithm in `portable`. On x86-64 it is replaced by one for SSE2,
//! which every such processor has: nothing has to be detected, and the loops are inlined where they
//! are used, which code for newer instructions could not be. Only `halve_quotes`, which gains most
//! from them, detects AVX-512 at run time. All versions of a function pass the same tests.
//!
//! One of the few files with `unsafe`: vectors are loaded from slices, each load after a check of its
//! bounds.
//!
//! # Quotes doubled and halved
//!
//! A quoted CSV field doubles each quote of its value. The simple algorithm for both directions is
//! `portable::double_quotes` and `portable::halve_quotes`: find the next quote, copy up to it, write or
//! skip one more. In prose that is fast. JSON text in a cell has a quote every few bytes, so that most
//! time goes into the calls that search and copy a few bytes each. Three departures from it follow.
//!
//! **Find quotes by block.** The SSE2 versions compare a block of 32 bytes with the quote at once and
//! walk the bits of the resulting mask. A quote then costs a few instructions and no call.
//!
//! **Copy more than needed.** The bytes between two quotes are copied as a whole block, by two loads and
//! two stores of fixed width, and `end` advances by their real number; the next copy overwrites the
//! excess. This is right because every byte before the final `end` has been written by the last copy
//! that covers it. It costs two bounds:
//!
//! - *Reading*: a copy starts at `from <= len <= 32` and takes 32 bytes, so 64 readable bytes are needed
//!   from the start of a block. The loop therefore runs over `blocks`, behind which at least another block
//!   of the text follows, and the rest of fewer than 64 bytes is first moved into a zeroed buffer of 96.
//! - *Writing*: a store reaches at most 32 bytes beyond `end`. Doubling writes at most two bytes per byte
//!   read, halving at most one; both reserve that and a block in advance, so that what is left is enough
//!   for each block and its overhang.
//!
//! Halving has one state between blocks: if the last byte of a block is the first quote of a pair, then
//! the first byte of the next block is the second and is skipped. `carry` holds that, and the caller
//! promises that every quote has its partner.
//!
//! **Halve without a branch per quote, by AVX-512 with VBMI2.** `vpcompressb` stores those bytes of a
//! vector of 64 that a mask selects, side by side. Halving is then to select all bytes but the second of
//! each pair. Measured: a JSON cell of 125 bytes takes 11 ns instead of 44, and CSV to Parquet 6 % less
//! time. As quotes come in pairs, the bytes to drop are the second, fourth, sixth and so on of each run of
//! adjacent quotes; `avx512::seconds_of_pairs` finds them in all runs at once, by one addition:
//!
//! ```text
//! ones              0111 0110   runs at bits 1..=2 and 4..=6, bit 0 on the right
//! starts            0001 0010   ones & !(ones << 1)
//! even starts       0001 0000
//! ones + even       1000 0110   ones + even starts: the carry clears such a run and sets the bit behind it
//! from_even         0111 0000   ones & !(ones + even starts): the runs that start at an even bit
//! ```
//!
//! In a run from an even bit the seconds are its odd bits, in the other runs the even ones, so that two
//! masks finish it. A carry cannot reach another run: between two runs there is at least one zero bit,
//! which takes it. A run up to bit 63 carries out of the word and is cleared all the same. The state
//! between blocks is one bit: if the last quote of the block at bit 63 is the first of a pair, bit 0 of
//! the next block is dropped, and it must not count as a start, hence `quotes & !carry`.
//!
//! The load is masked, so that only bytes of the text are read, even in the last, short block. The store
//! is a whole vector, which is why a block more than the text is reserved: before each store `end` is at most
//! the number of bytes read before, and at least 64 bytes are left from there.

#![allow(unsafe_code, reason = "loads and stores of vectors; see the SAFETY comments")]

use crate::column::build::Literal;

/// Returns the offset of the first byte from `pos` on that ends plain text in a JSON string: a quote, a
/// backslash, or a byte below 0x20. The length of `bytes` if there is none.
#[inline(always)]
pub(crate) fn string_stop(bytes: &[u8], pos: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::string_stop(bytes, pos);
    }
    portable::string_stop(bytes, pos)
}

/// Counts the ASCII digits in `bytes` from `pos` on, up to the first other byte.
#[inline(always)]
pub(crate) fn digits(bytes: &[u8], pos: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::digits(bytes, pos);
    }
    portable::digits(bytes, pos)
}

/// Returns true if `bytes` continues with `literal` at `pos`. The empty literal matches nowhere.
#[inline(always)]
pub(crate) fn matches_at(literal: &Literal, bytes: &[u8], pos: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::matches_at(literal, bytes, pos);
    }
    portable::matches_at(literal, bytes, pos)
}

/// Returns true if `text` contains `a` or `b`.
#[inline(always)]
pub(crate) fn has_either(text: &[u8], a: u8, b: u8) -> bool {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::has_either(text, a, b);
    }
    portable::has_either(text, a, b)
}

/// Returns a mask with a bit set for each byte of `block` that is `a` or `b`; bit 0 is the first byte.
#[inline(always)]
pub(crate) fn either_mask(block: &[u8; 64], a: u8, b: u8) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        return sse2::either_mask(block, a, b);
    }
    portable::either_mask(block, a, b)
}

/// Appends `text` to `out` with each pair of quotes made one. Every quote must belong to a pair; the result for a
/// single one is unspecified.
#[inline]
pub(crate) fn halve_quotes(text: &[u8], out: &mut Vec<u8>) {
    #[cfg(target_arch = "x86_64")]
    if !portable_is_forced() {
        if avx512::is_available() {
            // SAFETY: `is_available` has checked all features that `avx512::halve_quotes` enables.
            return unsafe { avx512::halve_quotes(text, out) };
        }
        return sse2::halve_quotes(text, out);
    }
    portable::halve_quotes(text, out);
}

/// Appends `text` to `out` with each quote doubled.
#[inline]
pub(crate) fn double_quotes(text: &[u8], out: &mut Vec<u8>) {
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

/// Returns true if a test has forced the portable versions on this thread.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn portable_is_forced() -> bool {
    #[cfg(test)]
    return FORCED.get();
    #[cfg(not(test))]
    false
}

/// Calls `test` twice on this thread, the second time with the portable versions forced.
#[cfg(test)]
pub(crate) fn both_ways(mut test: impl FnMut()) {
    test();
    FORCED.set(true);
    test();
    FORCED.set(false);
}

mod portable {
    #![cfg_attr(all(target_arch = "x86_64", not(test)), allow(dead_code, reason = "the reference for `sse2`"))]

    use super::Literal;

    #[inline(always)]
    pub(super) fn string_stop(bytes: &[u8], pos: usize) -> usize {
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

    /// Sets the top bit of each byte of `word` that is a quote, a backslash or below 0x20.
    ///
    /// A subtraction borrows from the next higher byte, so that bytes above the lowest marked one may be
    /// marked wrongly. The caller uses the lowest mark only.
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
    pub(super) fn digits(bytes: &[u8], pos: usize) -> usize {
        let rest = bytes.get(pos..).unwrap_or_default();
        rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len())
    }

    #[inline(always)]
    pub(super) fn matches_at(literal: &Literal, bytes: &[u8], pos: usize) -> bool {
        !literal.text.is_empty() && bytes.get(pos..).is_some_and(|rest| rest.starts_with(&literal.text))
    }

    #[inline(always)]
    pub(super) fn has_either(text: &[u8], a: u8, b: u8) -> bool {
        text.iter().any(|&byte| byte == a || byte == b)
    }

    /// Written so that the compiler vectorises it: all bytes are compared at once, the results are
    /// gathered as an 8 by 8 matrix of bits with rows and columns swapped, and that is transposed.
    #[inline(always)]
    pub(super) fn either_mask(block: &[u8; 64], a: u8, b: u8) -> u64 {
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

    /// Swaps bits `8 * i + k` and `8 * k + i`: first inside blocks of 2 by 2, then these blocks inside blocks of 4 by 4,
    /// then those inside the whole.
    #[inline(always)]
    fn transpose(mut bits: u64) -> u64 {
        for (distance, lower) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
        {
            let swapped = (bits ^ (bits >> distance)) & lower;
            bits ^= swapped ^ (swapped << distance);
        }
        bits
    }

    pub(super) fn halve_quotes(text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(i) = memchr::memchr(b'"', rest) {
            out.extend_from_slice(&rest[..=i]);
            rest = rest.get(i + 2..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
    }

    pub(super) fn double_quotes(text: &[u8], out: &mut Vec<u8>) {
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

    /// Loads the sixteen bytes at `pos`.
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

    /// Returns the top bit of each byte, as a mask; comparisons set all bits of a byte or none.
    #[inline(always)]
    fn bits(vector: __m128i) -> u32 {
        // SAFETY: every x86-64 processor has SSE2.
        unsafe { _mm_movemask_epi8(vector) as u32 }
    }

    /// Compares each byte with those that end plain text: quote, backslash, below 0x20.
    #[inline(always)]
    fn stops(vector: __m128i) -> __m128i {
        // SAFETY: every x86-64 processor has SSE2.
        unsafe {
            let quote = _mm_cmpeq_epi8(vector, _mm_set1_epi8(b'"' as i8));
            let backslash = _mm_cmpeq_epi8(vector, _mm_set1_epi8(b'\\' as i8));
            // There is no unsigned comparison: a byte is at most 0x1f if the minimum of both is the byte.
            let control = _mm_cmpeq_epi8(_mm_min_epu8(vector, _mm_set1_epi8(0x1f)), vector);
            _mm_or_si128(_mm_or_si128(quote, backslash), control)
        }
    }

    #[inline(always)]
    pub(super) fn string_stop(bytes: &[u8], pos: usize) -> usize {
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
    pub(super) fn digits(bytes: &[u8], pos: usize) -> usize {
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
    pub(super) fn matches_at(literal: &Literal, bytes: &[u8], pos: usize) -> bool {
        if pos + 32 > bytes.len() {
            return portable::matches_at(literal, bytes, pos);
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
    pub(super) fn has_either(text: &[u8], a: u8, b: u8) -> bool {
        // The last vector overlaps the one before it instead of reaching beyond the text.
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
    pub(super) fn either_mask(block: &[u8; 64], a: u8, b: u8) -> u64 {
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

    pub(super) fn halve_quotes(text: &[u8], out: &mut Vec<u8>) {
        // The blocks behind which another block of text follows, as in `double_quotes`.
        let (blocks, rest) = text.split_at(text.len().saturating_sub(BLOCK) / BLOCK * BLOCK);
        // At most the text, and each copy may write a block more than it keeps.
        out.reserve(text.len() + BLOCK);
        let mut carry = false;
        for at in (0..blocks.len()).step_by(BLOCK) {
            // SAFETY: behind `blocks` there is at least another block of `text`, so two can be read
            // from `at` on; of the reserved bytes, at least two blocks are left.
            carry = unsafe { halve_in_block(&text[at..at + 2 * BLOCK], BLOCK, carry, out) };
        }
        let mut padded = [0; 3 * BLOCK];
        padded[..rest.len()].copy_from_slice(rest);
        for at in (0..rest.len()).step_by(BLOCK) {
            let len = BLOCK.min(rest.len() - at);
            // SAFETY: `at` is 0 or a block, so two can be read from there on; of the reserved bytes,
            // at least `len` and a block are left.
            carry = unsafe { halve_in_block(&padded[at..at + 2 * BLOCK], len, carry, out) };
        }
    }

    /// Appends the first `len` bytes of `two` with each pair of quotes made one. With `carry` the first
    /// byte is the second quote of a pair and skipped. Returns the carry for the next block.
    ///
    /// # Safety
    ///
    /// `two` has two blocks, `len` is from 1 to a block, and `out` has room for `len` bytes and a block.
    #[inline(always)]
    unsafe fn halve_in_block(two: &[u8], len: usize, carry: bool, out: &mut Vec<u8>) -> bool {
        debug_assert!(two.len() == 2 * BLOCK && len <= BLOCK && out.capacity() - out.len() >= len + BLOCK);
        // SAFETY: loads begin at `from + 16` at most, where `from` is `len` at most, and take sixteen
        // bytes: they stay within two blocks. At most `len` bytes are kept, and a store reaches at most a
        // block beyond them. Every byte up to the new length was written. Every x86-64 processor has SSE2.
        unsafe {
            let quote = _mm_set1_epi8(b'"' as i8);
            let low = bits(_mm_cmpeq_epi8(load(two, 0), quote));
            let high = bits(_mm_cmpeq_epi8(load(two, 16), quote));
            let mut from = usize::from(carry);
            let mut quotes = (u64::from(low | high << 16)) & ((1u64 << len) - 1) & (u64::MAX << from);
            let start = out.as_mut_ptr().add(out.len());
            let mut end = start;
            let copy = |from: usize, end: *mut u8| {
                _mm_storeu_si128(end.cast(), load(two, from));
                _mm_storeu_si128(end.add(16).cast(), load(two, from + 16));
            };
            let mut carries = false;
            while quotes != 0 {
                let to = quotes.trailing_zeros() as usize + 1;
                // Copies up to and including the first quote of a pair, and skips the second.
                copy(from, end);
                end = end.add(to - from);
                carries = to == len;
                from = if carries { to } else { to + 1 };
                // Clears the bits of both quotes.
                quotes &= u64::MAX << to << 1;
            }
            copy(from, end);
            end = end.add(len - from);
            out.set_len(out.len() + end.offset_from_unsigned(start));
            carries
        }
    }

    /// Bytes whose quotes are found at once: two vectors, and their masks in one word.
    const BLOCK: usize = 32;

    pub(super) fn double_quotes(text: &[u8], out: &mut Vec<u8>) {
        // The bytes between two quotes are copied as a whole block, which reads up to a block beyond the
        // one at hand; the end of the text is moved to a buffer where that is allowed.
        let (blocks, rest) = text.split_at(text.len().saturating_sub(BLOCK) / BLOCK * BLOCK);
        // At most twice the text, and each copy may write a block more than it keeps.
        out.reserve(2 * text.len() + BLOCK);
        for at in (0..blocks.len()).step_by(BLOCK) {
            // SAFETY: behind `blocks` there is at least another block of `text`, so two can be read
            // from `at` on; of the reserved bytes, at least three blocks are left.
            unsafe { double_in_block(&text[at..at + 2 * BLOCK], BLOCK, out) };
        }
        let mut padded = [0; 3 * BLOCK];
        // `rest` is shorter than two blocks: all others are in `blocks`.
        padded[..rest.len()].copy_from_slice(rest);
        for at in (0..rest.len()).step_by(BLOCK) {
            let len = BLOCK.min(rest.len() - at);
            // SAFETY: `at` is 0 or a block, so two can be read from there on; of the reserved bytes,
            // at least twice `len` and a block are left.
            unsafe { double_in_block(&padded[at..at + 2 * BLOCK], len, out) };
        }
    }

    /// Appends the first `len` bytes of `two` with each quote doubled.
    ///
    /// # Safety
    ///
    /// `two` has two blocks, `len` is a block at most, and `out` has room for `2 * len` bytes and a
    /// block.
    #[inline(always)]
    unsafe fn double_in_block(two: &[u8], len: usize, out: &mut Vec<u8>) {
        debug_assert!(two.len() == 2 * BLOCK && len <= BLOCK && out.capacity() - out.len() >= 2 * len + BLOCK);
        // SAFETY: loads begin at `from + 16` at most, where `from` is `len` at most, and take sixteen
        // bytes: they stay within two blocks. At most two bytes are kept per byte read, and a store reaches
        // at most a block beyond them. Every byte up to the new length was written. Every x86-64 processor
        // has SSE2.
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

    /// Returns true if the processor has the features that [`halve_quotes`] enables. The standard library caches the
    /// answer, so that this is a load and a test.
    #[inline(always)]
    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("popcnt")
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
    pub(super) fn halve_quotes(text: &[u8], out: &mut Vec<u8>) {
        // At most the text, and the last store may write a block more than it keeps.
        out.reserve(text.len() + BLOCK);
        let mut end = out.len();
        // Bit 0 is set if the first byte of the block is the second quote of a pair.
        let mut carry = 0;
        for block in text.chunks(BLOCK) {
            let in_text = u64::MAX >> (BLOCK - block.len());
            // SAFETY: the mask selects only bytes of `block`, and no others are read.
            let bytes = unsafe { _mm512_maskz_loadu_epi8(in_text, block.as_ptr().cast()) };
            let quotes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'"' as i8));
            let seconds = seconds_of_pairs(quotes & !carry) | carry;
            let kept = in_text & !seconds;
            // SAFETY: `end` has advanced by at most the length of the blocks before, so that of the reserved
            // bytes at least a block is left behind it.
            unsafe {
                _mm512_storeu_si512(out.as_mut_ptr().add(end).cast(), _mm512_maskz_compress_epi8(kept, bytes));
            }
            end += kept.count_ones() as usize;
            // A first quote at the last bit has its second in the next block.
            carry = (quotes & !seconds) >> (BLOCK - 1);
        }
        // SAFETY: every byte up to `end` was written.
        unsafe { out.set_len(end) };
    }

    /// Returns the second, fourth, sixth and so on bit of each run of ones; see the head of the file.
    #[inline(always)]
    fn seconds_of_pairs(ones: u64) -> u64 {
        /// Bits 0, 2, 4 and so on.
        const EVEN_BITS: u64 = 0x5555_5555_5555_5555;
        let starts = ones & !(ones << 1);
        // Adding one at the start of a run clears all of it.
        let from_even = ones & !ones.wrapping_add(starts & EVEN_BITS);
        from_even & !EVEN_BITS | (ones & !from_even) & EVEN_BITS
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn seconds_of_pairs_are_found_in_runs_of_every_start_and_length() {
            assert_eq!(seconds_of_pairs(0b0111_0110_0001_1101), 0b0010_0100_0000_1000);
            for start in 0..64 {
                for len in 1..=64 - start {
                    let expected = (start + 1..start + len).step_by(2).fold(0, |bits, at| bits | 1u64 << at);
                    assert_eq!(seconds_of_pairs((u64::MAX >> (64 - len)) << start), expected, "{start} {len}");
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
        fn masks_have_a_bit_per_matching_byte(
            bytes in prop::collection::vec(prop_oneof![Just(b','), Just(b'\n'), Just(b'\r'), any::<u8>()], 64),
            a in any::<u8>(),
        ) {
            let block: [u8; 64] = bytes.try_into().expect("a block");
            let expected = block.iter().rev().fold(0u64, |mask, &b| mask << 1 | u64::from(b == a || b == b'\n'));
            both_ways(|| assert_eq!(either_mask(&block, a, b'\n'), expected));
        }

        #[test]
        fn vector_versions_agree_with_the_portable_ones(
            text in prop::collection::vec(prop::sample::select(b"aaaaaaaaaaaaaaaaaaaaaaaa0123456789\"\\\x00\x1f\x20\x7f\x80\xa2\xdc\xff".to_vec()), 0..100),
            quoted in "[a\"]{0,100}",
            pos in 0usize..110,
            len in 0usize..50,
        ) {
            let stop = (pos..text.len()).find(|&i| matches!(text[i], b'"' | b'\\' | 0..0x20));
            let digit_run = text.iter().skip(pos).take_while(|b| b.is_ascii_digit()).count();
            let part = text.get(pos..pos + len).filter(|part| !part.is_empty());
            let mut results = Vec::new();
            both_ways(|| {
                if pos <= text.len() {
                    assert_eq!(string_stop(&text, pos), stop.unwrap_or(text.len()));
                    assert_eq!(digits(&text, pos), digit_run);
                }
                if let Some(part) = part {
                    assert!(matches_at(&Literal::new(part), &text, pos));
                    let mut other = part.to_vec();
                    other[part.len() - 1] ^= 1;
                    assert!(!matches_at(&Literal::new(&other), &text, pos));
                }
                assert!(!matches_at(&Literal::new(b""), &text, pos));
                if let Some(part) = part {
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
            // On a processor with AVX-512 the SSE2 version has not run yet.
            #[cfg(target_arch = "x86_64")]
            halved(sse2::halve_quotes);
            prop_assert_eq!(&results[0], &results[1]);
        }
    }
}
