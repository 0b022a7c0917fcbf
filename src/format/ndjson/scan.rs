//! The tokenizer: a cursor over one morsel of JSON text, strictly by RFC 8259, one record per line.
//!
//! A line break is never white space here, and a raw one inside a string is an error, so that a broken
//! record cannot extend into the next line. Skipped values are held to the same rules as values that are
//! kept: same depth limit, same escapes, same numbers. Knows no columns.

use std::borrow::Cow;

use crate::column::Morsel;
use crate::column::build::Literal;
use crate::format::Reject;
use crate::format::simd;
use crate::position::FieldPath;

/// The deepest nesting that is accepted, so that recursion is bounded.
pub const MAX_DEPTH: usize = 128;

/// An error in a record. Boxed wherever it is returned, so that the success path carries one pointer.
#[derive(Debug)]
pub(super) struct JsonError {
    /// Offset in the morsel.
    pub at: usize,
    /// Kind: invalid text, or a value that the column does not hold.
    pub kind: JsonErrorKind,
    /// Path from the record to the value, innermost segment first.
    pub path: Vec<PathSegment>,
}

/// The kind of a [`JsonError`].
#[derive(Debug)]
pub(super) enum JsonErrorKind {
    /// Invalid JSON, with the message.
    Syntax(&'static str),
    /// Valid JSON that does not fit the column.
    Misfit {
        /// Type of the column.
        expected: String,
        /// Kind of the value, for the message.
        found: &'static str,
    },
    /// A key without a column.
    UnknownKey(String),
}

/// One step on the path from a record to a value in it.
#[derive(Debug)]
pub(super) enum PathSegment {
    /// Member of an object, by its key.
    Key(String),
    /// Element of a list, from 0.
    Index(usize),
}

/// The result of scanning.
pub(super) type Scan<T> = Result<T, Box<JsonError>>;

impl JsonError {
    /// Makes a syntax error at offset `at`.
    #[cold]
    pub(super) fn syntax(at: usize, what: &'static str) -> Box<JsonError> {
        Box::new(JsonError { at, kind: JsonErrorKind::Syntax(what), path: Vec::new() })
    }

    /// Makes the error for a value at offset `at` that does not fit its column.
    #[cold]
    pub(super) fn misfit(at: usize, expected: &crate::column::Type, found: &'static str) -> Box<JsonError> {
        Box::new(JsonError {
            at,
            kind: JsonErrorKind::Misfit { expected: expected.to_string(), found },
            path: Vec::new(),
        })
    }

    /// Adds the next outer segment to the path.
    #[cold]
    pub(super) fn within(mut self: Box<Self>, segment: PathSegment) -> Box<JsonError> {
        self.path.push(segment);
        self
    }

    /// Returns the path from the record to the value, or to an unknown key itself.
    pub(super) fn path(&self) -> FieldPath {
        let path = self.path.iter().rev().fold(FieldPath::root(), |path, segment| match segment {
            PathSegment::Key(key) => path.field(key),
            PathSegment::Index(i) => path.element(*i),
        });
        match &self.kind {
            JsonErrorKind::UnknownKey(key) => path.field(key),
            _ => path,
        }
    }

    /// Makes the reject of the record from `start` to `end`. Its offset is limited to the record: the error of an incomplete
    /// one is detected at its line end or later.
    pub(super) fn to_reject(&self, start: usize, end: usize) -> Reject {
        Reject { offset: self.at.clamp(start, end) - start, path: self.path(), reason: self.reason() }
    }

    /// Returns the message without the path.
    pub(super) fn reason(&self) -> Cow<'static, str> {
        match &self.kind {
            JsonErrorKind::Syntax(what) => Cow::Borrowed(what),
            JsonErrorKind::Misfit { expected, found } => format!("expected {expected}, found {found}").into(),
            JsonErrorKind::UnknownKey(_) => Cow::Borrowed("the schema has no such field"),
        }
    }
}

/// Names the kind of a value by its first byte, for messages.
pub(super) fn kind_of(first: u8) -> &'static str {
    match first {
        b'{' => "an object",
        b'[' => "a list",
        b'"' => "a string",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        b'-' | b'0'..=b'9' => "a number",
        0 | b'\n' => "the end of the line",
        _ => "something that is not JSON",
    }
}

/// The span of a string's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Str {
    /// Offset of the first byte after the opening quote.
    pub start: usize,
    /// Offset of the closing quote.
    pub end: usize,
    /// True if the text contains a backslash.
    pub escaped: bool,
}

/// The span of a number, and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
    /// True if there is a minus sign.
    pub negative: bool,
    /// True if there is neither fraction nor exponent.
    pub integer: bool,
    /// Number of digits after the point; 0 without a fraction.
    pub fraction: usize,
    /// True if there is an exponent.
    pub exponent: bool,
}

impl Number {
    /// Returns the offset of the first digit.
    #[inline(always)]
    pub(super) fn first_digit(self) -> usize {
        self.start + usize::from(self.negative)
    }

    /// Counts the digits before the point, of a number without an exponent.
    #[inline(always)]
    pub(super) fn whole(self) -> usize {
        debug_assert!(!self.exponent);
        self.end - self.first_digit() - self.fraction - usize::from(self.fraction > 0)
    }
}

/// A look at the keys of objects that are skipped.
pub(super) trait ObjectKeys {
    /// An object opens.
    fn open(&mut self);

    /// The innermost open object has this key next.
    fn key(&mut self, cursor: &Cursor<'_>, key: Str);

    /// The innermost open object ends.
    fn close(&mut self, cursor: &Cursor<'_>);
}

/// No look at them.
impl ObjectKeys for () {
    #[inline(always)]
    fn open(&mut self) {}

    #[inline(always)]
    fn key(&mut self, _: &Cursor<'_>, _: Str) {}

    #[inline(always)]
    fn close(&mut self, _: &Cursor<'_>) {}
}

/// The most digits that [`Cursor::few_digits`] parses.
pub(super) const MAX_FEW_DIGITS: usize = 16;

/// A cursor over a morsel. `buf` ends in zero padding, and a zero byte is part of no token, so that
/// every scan stops in bounds and a byte may always be peeked at.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    buf: &'a [u8],
    end: usize,
    /// Offset of the next byte.
    pub pos: usize,
}

impl<'a> Cursor<'a> {
    /// Makes a cursor at the start of `morsel`.
    pub(super) fn new(morsel: &'a Morsel) -> Self {
        let buf = &*morsel.bytes;
        debug_assert!(buf[morsel.len..morsel.len + Morsel::PADDING].iter().all(|&b| b == 0));
        Cursor { buf, end: morsel.len, pos: 0 }
    }

    /// Makes a cursor at the start of `padded`, whose text ends before [`Morsel::PADDING`] bytes of zero.
    pub(super) fn over(padded: &'a [u8]) -> Self {
        let end = padded.len() - Morsel::PADDING;
        debug_assert!(padded[end..].iter().all(|&b| b == 0));
        Cursor { buf: padded, end, pos: 0 }
    }

    /// Returns true behind the last record.
    pub(super) fn at_end(&self) -> bool {
        self.pos >= self.end
    }

    /// Returns all bytes of the morsel, the padding included.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.buf
    }

    /// Returns the byte at the cursor; zero at the end.
    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.buf[self.pos]
    }

    /// Skips spaces, tabs and carriage returns, and returns the byte after them.
    #[inline(always)]
    pub(super) fn skip_blank(&mut self) -> u8 {
        let byte = self.buf[self.pos];
        // Most often there is nothing to skip.
        if byte > b' ' { byte } else { self.skip_blanks() }
    }

    #[inline]
    fn skip_blanks(&mut self) -> u8 {
        let mut byte = self.buf[self.pos];
        while byte == b' ' || byte == b'\t' || byte == b'\r' {
            self.pos += 1;
            byte = self.buf[self.pos];
        }
        byte
    }

    /// Consumes `byte`, blanks before it allowed; fails with the message `what` at any other byte.
    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Scan<()> {
        if self.skip_blank() == byte {
            self.pos += 1;
            Ok(())
        } else {
            Err(JsonError::syntax(self.pos, what))
        }
    }

    /// Consumes `literal` if the text continues with it.
    #[inline(always)]
    pub(super) fn accept(&mut self, literal: &[u8]) -> bool {
        if self.buf[self.pos..].starts_with(literal) {
            self.pos += literal.len();
            true
        } else {
            false
        }
    }

    /// As [`Cursor::accept`], by one comparison of 32 bytes.
    #[inline(always)]
    pub(super) fn accept_literal(&mut self, literal: &Literal) -> bool {
        let found = simd::matches_at(literal, self.buf, self.pos);
        if found {
            self.pos += literal.text.len();
        }
        found
    }

    /// Consumes a string, the cursor at its opening quote. Escapes are checked, but not resolved.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Scan<Str> {
        debug_assert_eq!(self.peek(), b'"');
        let start = self.pos + 1;
        let pos = simd::string_stop(self.buf, start);
        match self.buf[pos] {
            b'"' => {
                self.pos = pos + 1;
                Ok(Str { start, end: pos, escaped: false })
            }
            b'\\' => self.escaped_string(start, pos),
            _ => Err(control_in_string(self.buf[pos], pos)),
        }
    }

    /// Consumes the rest of a string from its first backslash on.
    #[inline(never)]
    fn escaped_string(&mut self, start: usize, mut pos: usize) -> Scan<Str> {
        loop {
            match self.buf[pos] {
                b'"' => {
                    self.pos = pos + 1;
                    return Ok(Str { start, end: pos, escaped: true });
                }
                b'\\' => pos = self.escape(pos)?.1,
                byte if byte < 0x20 => return Err(control_in_string(byte, pos)),
                _ => pos = simd::string_stop(self.buf, pos),
            }
        }
    }

    /// Parses the escape at `pos`, a backslash: returns the character, and the offset after the escape.
    fn escape(&self, pos: usize) -> Scan<(char, usize)> {
        let c = match self.buf[pos + 1] {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                // A character beyond U+FFFF is a pair of escapes, high surrogate before low.
                let first = self.hex4(pos + 2)?;
                if (0xdc00..0xe000).contains(&first) {
                    return Err(JsonError::syntax(pos, "unpaired surrogate in a string"));
                }
                if !(0xd800..0xdc00).contains(&first) {
                    return Ok((char::from_u32(first).expect("not a surrogate"), pos + 6));
                }
                if self.buf[pos + 6] != b'\\' || self.buf[pos + 7] != b'u' {
                    return Err(JsonError::syntax(pos, "unpaired surrogate in a string"));
                }
                let second = self.hex4(pos + 8)?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(JsonError::syntax(pos, "unpaired surrogate in a string"));
                }
                let c = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok((char::from_u32(c).expect("a pair makes a character"), pos + 12));
            }
            _ => return Err(JsonError::syntax(pos, "invalid escape in a string")),
        };
        Ok((c, pos + 2))
    }

    fn hex4(&self, pos: usize) -> Scan<u32> {
        let mut value = 0;
        for i in pos..pos + 4 {
            // In bounds at the end of the morsel too: the padding has 64 bytes, and its first is no digit.
            let digit = (self.buf[i] as char).to_digit(16);
            value = value * 16 + digit.ok_or_else(|| JsonError::syntax(i, "expected four hex digits after \\u"))?;
        }
        Ok(value)
    }

    /// Appends the text of a string with its escapes resolved. The string must have been consumed by [`Self::string`].
    pub(super) fn unescape(&self, s: Str, out: &mut Vec<u8>) {
        // No escape is shorter than its character.
        out.reserve(s.end - s.start);
        let mut pos = s.start;
        while pos < s.end {
            let plain = memchr::memchr(b'\\', &self.buf[pos..s.end]).map_or(s.end, |i| pos + i);
            out.extend_from_slice(&self.buf[pos..plain]);
            pos = plain;
            if pos < s.end {
                let (c, next) = self.escape(pos).expect("escapes were checked when the string was passed");
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                pos = next;
            }
        }
    }

    /// Consumes a number, the cursor at its first byte.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Scan<Number> {
        let start = self.pos;
        let negative = self.buf[start] == b'-';
        let mut pos = start + usize::from(negative);
        match self.buf[pos] {
            b'0' => pos += 1,
            b'1'..=b'9' => pos += simd::digits(self.buf, pos),
            _ => return Err(JsonError::syntax(pos, "expected a digit")),
        }
        // Only after a leading zero: other digits were all consumed.
        if self.buf[pos].is_ascii_digit() {
            return Err(JsonError::syntax(start, "leading zero in a number"));
        }
        let mut fraction = 0;
        if self.buf[pos] == b'.' {
            let end = self.digits(pos + 1)?;
            fraction = end - pos - 1;
            pos = end;
        }
        // Either case: the bit distinguishes `E` from `e`.
        let exponent = self.buf[pos] | 0x20 == b'e';
        if exponent {
            pos += 1;
            if matches!(self.buf[pos], b'+' | b'-') {
                pos += 1;
            }
            pos = self.digits(pos)?;
        }
        self.pos = pos;
        Ok(Number { start, end: pos, negative, integer: fraction == 0 && !exponent, fraction, exponent })
    }

    /// Parses the `n` digits from `pos` on, at most [`MAX_FEW_DIGITS`].
    #[inline(always)]
    pub(super) fn few_digits(&self, pos: usize, n: usize) -> u64 {
        debug_assert!(n <= MAX_FEW_DIGITS);
        if n <= 8 { self.eight_digits(pos, n) } else { self.nine_or_more(pos, n) }
    }

    #[inline]
    fn nine_or_more(&self, pos: usize, n: usize) -> u64 {
        self.eight_digits(pos, n - 8) * 100_000_000 + self.eight_digits(pos + n - 8, 8)
    }

    /// Parses up to eight digits at once, without a loop.
    ///
    /// Eight bytes are loaded as one little-endian word, the first digit in its lowest byte. The shift pushes the bytes
    /// after the `n` digits out and fills up with zeros as leading digits; the mask turns ASCII into values. Three
    /// multiplications then combine neighbours: digits to pairs below 100, pairs to fours, fours to eights. In the first,
    /// each 16-bit lane of `digits * (10 << 8 | 1)` has `10 * low + high` in its upper byte, at most 99; in the others lanes
    /// double, and their values stay below 10^4 and 10^8, so that no lane overflows into the next.
    #[inline(always)]
    fn eight_digits(&self, pos: usize, n: usize) -> u64 {
        if n == 0 {
            return 0;
        }
        // In bounds at the end of the morsel too: the padding has 64 bytes.
        let bytes = self.buf[pos..].first_chunk::<8>().expect("the padding is longer");
        let unused = 8 * (8 - n);
        let digits = (u64::from_le_bytes(*bytes) << unused) & 0x0f0f_0f0f_0f0f_0f0f;
        let pairs = (digits.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
        fours.wrapping_mul(10_000 << 32 | 1) >> 32
    }

    #[inline(always)]
    fn digits(&self, pos: usize) -> Scan<usize> {
        match simd::digits(self.buf, pos) {
            0 => Err(JsonError::syntax(pos, "expected a digit")),
            digits => Ok(pos + digits),
        }
    }

    /// Consumes `true`, `false` or `null`, the cursor at its first byte.
    #[inline]
    pub(super) fn word(&mut self, word: &'static [u8]) -> Scan<()> {
        if self.accept(word) { Ok(()) } else { Err(JsonError::syntax(self.pos, "expected a value")) }
    }

    /// Consumes one value of any kind, blanks before it allowed, and returns its start and end.
    #[inline]
    pub(super) fn skip_value(&mut self, depth: usize) -> Scan<(usize, usize)> {
        let first = self.skip_blank();
        let start = self.pos;
        match first {
            b'{' | b'[' => self.skip_container(depth, &mut ())?,
            first => self.skip_scalar(first)?,
        }
        Ok((start, self.pos))
    }

    /// Consumes the list or object at the cursor, shows the keys in it to `keys`, and returns its start and end.
    pub(super) fn skip_nested(&mut self, depth: usize, keys: &mut impl ObjectKeys) -> Scan<(usize, usize)> {
        let start = self.pos;
        self.skip_container(depth, keys)?;
        Ok((start, self.pos))
    }

    /// Consumes a value that is neither list nor object and starts with `first`.
    #[inline(always)]
    fn skip_scalar(&mut self, first: u8) -> Scan<()> {
        match first {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number().map(|_| ()),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => Err(JsonError::syntax(self.pos, "expected a value")),
        }
    }

    /// Consumes the list or object at the cursor.
    ///
    /// The simple algorithm calls itself for each nested container. This one keeps the open containers in the bits of a
    /// `u128` instead, 1 for an object and 0 for a list, the innermost lowest: opening shifts a bit in, closing shifts it
    /// out. [`MAX_DEPTH`] bits are enough, which the assertion checks at compile time.
    #[inline]
    fn skip_container<K: ObjectKeys>(&mut self, depth: usize, keys: &mut K) -> Scan<()> {
        const { assert!(MAX_DEPTH <= u128::BITS as usize) };
        let mut objects = 0u128;
        let mut level = depth;
        loop {
            // At an opening bracket.
            let object = self.buf[self.pos] == b'{';
            self.open(level)?;
            level += 1;
            if object {
                keys.open();
            }
            objects = objects << 1 | u128::from(object);
            let closing = if object { b'}' } else { b']' };
            let mut closed = self.skip_blank() == closing;
            'values: loop {
                if closed {
                    self.pos += 1;
                    level -= 1;
                    if objects & 1 == 1 {
                        keys.close(self);
                    }
                    objects >>= 1;
                    if level == depth {
                        return Ok(());
                    }
                } else {
                    if objects & 1 == 1 {
                        if self.skip_blank() != b'"' {
                            return Err(JsonError::syntax(self.pos, "expected a key in quotes"));
                        }
                        let key = self.string()?;
                        keys.key(self, key);
                        self.expect(b':', "expected `:` after a key")?;
                    }
                    match self.skip_blank() {
                        b'{' | b'[' => break 'values,
                        first => self.skip_scalar(first)?,
                    }
                }
                // After a value.
                let object = objects & 1 == 1;
                closed = match self.skip_blank() {
                    b',' => {
                        self.pos += 1;
                        false
                    }
                    b'}' if object => true,
                    b']' if !object => true,
                    _ if object => return Err(JsonError::syntax(self.pos, "expected `,` or `}`")),
                    _ => return Err(JsonError::syntax(self.pos, "expected `,` or `]`")),
                };
            }
        }
    }

    /// Consumes the opening bracket at the cursor; fails if `depth` containers are too many already.
    #[inline]
    pub(super) fn open(&mut self, depth: usize) -> Scan<()> {
        if depth >= MAX_DEPTH {
            return Err(JsonError::syntax(self.pos, "nested deeper than 128 levels"));
        }
        self.pos += 1;
        Ok(())
    }
}

#[cold]
fn control_in_string(byte: u8, at: usize) -> Box<JsonError> {
    // A line break or the padding: the string does not end on its line.
    let open = byte == b'\n' || byte == 0;
    JsonError::syntax(at, if open { "the line ends inside a string" } else { "control character in a string" })
}
