//! Decodes text of other encodings than UTF-8 while it is read, before it is framed. Looks at bytes alone: neither records
//! nor formats are known here.

use std::fmt;
use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding};

/// Bytes that are read and decoded at a time. By eye: they stay in the second-level cache.
const CHUNK_BYTES: usize = 64 << 10;

/// An encoding of text by the names of the WHATWG Encoding Standard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TextEncoding(&'static Encoding);

impl TextEncoding {
    /// Returns the encoding named `name`, in any case: `latin1`, `windows-1250`, `shift_jis`, `utf-16le`. `None` if it is
    /// unknown.
    pub fn from_name(name: &str) -> Option<Self> {
        let encoding = Encoding::for_label(name.as_bytes())?;
        // The standard's stand-in for encodings that must not be decoded.
        (encoding != encoding_rs::REPLACEMENT).then_some(TextEncoding(encoding))
    }

    /// Recognizes UTF-16 by its byte order mark. `None` for all else, UTF-32 included.
    pub fn of_mark(first: &[u8]) -> Option<Self> {
        match first {
            [0xff, 0xfe, 0, 0, ..] => None,
            [0xff, 0xfe, ..] => Some(TextEncoding(encoding_rs::UTF_16LE)),
            [0xfe, 0xff, ..] => Some(TextEncoding(encoding_rs::UTF_16BE)),
            _ => None,
        }
    }

    /// Returns true if text in this encoding needs no decoding.
    pub fn is_utf8(self) -> bool {
        self.0 == encoding_rs::UTF_8
    }

    /// Returns a stream of the text of `stream` in UTF-8, without a byte order mark. A mark that names another encoding
    /// precedes this one. Bytes that are not valid are an error with [`NotInEncoding`] as its cause, after the text before
    /// them was returned.
    pub fn decoding<R: Read>(self, stream: R) -> impl Read + use<R> {
        DecodedText {
            stream,
            decoder: self.0.new_decoder(),
            input: Vec::new(),
            input_start: 0,
            ended: false,
            text: Vec::new(),
            text_start: 0,
            decoded: 0,
            malformed: None,
        }
    }
}

impl fmt::Debug for TextEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// The cause of an error at bytes that are not text in the encoding of their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInEncoding {
    /// Name of the encoding.
    pub encoding: &'static str,
    /// Offset of the first of these bytes in the source after decompression.
    pub byte: u64,
}

impl fmt::Display for NotInEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid {} at byte {}", self.encoding, self.byte)
    }
}

impl std::error::Error for NotInEncoding {}

struct DecodedText<R> {
    stream: R,
    decoder: Decoder,
    /// Bytes of the source; those from `input_start` on are not decoded yet.
    input: Vec<u8>,
    input_start: usize,
    /// The source ended after `input`.
    ended: bool,
    /// Decoded text; that from `text_start` on was not returned yet.
    text: Vec<u8>,
    text_start: usize,
    /// Bytes of the source that were decoded.
    decoded: u64,
    /// The first bytes that are not valid, found after `text`.
    malformed: Option<NotInEncoding>,
}

impl<R: Read> DecodedText<R> {
    /// Decodes the next chunk of the source into `text`, which is empty. It stays empty only at the end, before invalid
    /// bytes, or where the chunk has no whole character.
    fn decode_chunk(&mut self) -> io::Result<()> {
        if self.input_start == self.input.len() {
            self.input.resize(CHUNK_BYTES, 0);
            let read = self.stream.read(&mut self.input);
            self.input.truncate(*read.as_ref().unwrap_or(&0));
            self.input_start = 0;
            self.ended = read? == 0;
        }
        self.text.resize(CHUNK_BYTES, 0);
        let input = &self.input[self.input_start..];
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(input, &mut self.text, self.ended);
        self.text.truncate(written);
        self.text_start = 0;
        self.input_start += read;
        self.decoded += read as u64;
        if let DecoderResult::Malformed(len, after) = result {
            let byte = self.decoded - u64::from(len) - u64::from(after);
            self.malformed = Some(NotInEncoding { encoding: self.decoder.encoding().name(), byte });
        }
        Ok(())
    }
}

impl<R: Read> Read for DecodedText<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.text_start == self.text.len() {
            if let Some(malformed) = self.malformed {
                return Err(io::Error::new(io::ErrorKind::InvalidData, malformed));
            }
            if self.ended {
                return Ok(0);
            }
            self.decode_chunk()?;
        }
        let text = &self.text[self.text_start..];
        let n = text.len().min(buf.len());
        buf[..n].copy_from_slice(&text[..n]);
        self.text_start += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes one by one.
    struct ByOne<'a>(&'a [u8]);

    impl Read for ByOne<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(1);
            self.0.read(&mut buf[..n])
        }
    }

    fn decoded(name: &str, bytes: &[u8]) -> (String, Option<NotInEncoding>) {
        let encoding = TextEncoding::from_name(name).expect("a known name");
        let read = |mut stream: Box<dyn Read + '_>| {
            let mut text = Vec::new();
            let error = stream.read_to_end(&mut text).err();
            let cause = error.map(|error| *error.get_ref().unwrap().downcast_ref::<NotInEncoding>().unwrap());
            (String::from_utf8(text).expect("UTF-8"), cause)
        };
        let whole = read(Box::new(encoding.decoding(bytes)));
        assert_eq!(read(Box::new(encoding.decoding(ByOne(bytes)))), whole);
        whole
    }

    #[test]
    fn text_is_decoded_at_every_split() {
        let text = "größe;€;東\u{1f600}\n";
        let units = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let (le, be) = (units(u16::to_le_bytes), units(u16::to_be_bytes));
        assert_eq!(decoded("utf-16le", &[&[0xff, 0xfe][..], &le].concat()), (text.to_owned(), None));
        assert_eq!(decoded("UTF-16BE", &be), (text.to_owned(), None));
        // The mark precedes the name.
        assert_eq!(decoded("latin1", &[&[0xfe, 0xff][..], &be].concat()), (text.to_owned(), None));
        assert_eq!(decoded("latin1", b"gr\xf6\xdfe \x80"), ("größe €".to_owned(), None));
        assert_eq!(decoded("iso-8859-2", b"\xb3\xf3d\xbc"), ("łódź".to_owned(), None));
        assert_eq!(decoded("shift_jis", b"\x93\x8c,\xb1"), ("東,ｱ".to_owned(), None));
        assert_eq!(decoded("utf-8", "\u{feff}ä".as_bytes()), ("ä".to_owned(), None));
        let long = b"\xe9".repeat(3 * CHUNK_BYTES + 1);
        assert_eq!(decoded("latin1", &long).0, "é".repeat(long.len()));
        assert_eq!(decoded("latin1", b""), (String::new(), None));
    }

    #[test]
    fn invalid_bytes_are_an_error_with_their_place() {
        let fault = |encoding, byte| Some(NotInEncoding { encoding, byte });
        assert_eq!(decoded("shift_jis", b"a\x93\x8cb\xff\xffc"), ("a東b".to_owned(), fault("Shift_JIS", 4)));
        assert_eq!(decoded("utf-16le", b"a\0\0\xdcb\0"), ("a".to_owned(), fault("UTF-16LE", 2)));
        // Half a character at the end.
        assert_eq!(decoded("utf-16le", b"a\0b"), ("a".to_owned(), fault("UTF-16LE", 2)));
        assert_eq!(decoded("shift_jis", b"a\x93"), ("a".to_owned(), fault("Shift_JIS", 1)));
    }

    #[test]
    fn encodings_have_names_and_marks() {
        for unknown in ["", "utf-7", "latin99", "iso-2022-kr"] {
            assert_eq!(TextEncoding::from_name(unknown), None, "{unknown}");
        }
        assert!(TextEncoding::from_name("UTF8").is_some_and(TextEncoding::is_utf8));
        assert_eq!(TextEncoding::of_mark(b"\xff\xfea\0"), TextEncoding::from_name("utf-16"));
        assert_eq!(TextEncoding::of_mark(b"\xfe\xff\0a"), TextEncoding::from_name("utf-16be"));
        for text in [&b"\xff\xfe\0\0a\0\0\0"[..], b"\xef\xbb\xbfa", b"a", b"\xff", b""] {
            assert_eq!(TextEncoding::of_mark(text), None, "{text:?}");
        }
    }
}
