//! Digests that tell one input, one plan or one name from another.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::text::hex;

/// A file's name for `text` from outside: its plain characters, so that people know it, and a digest of all that
/// distinguishes it.
pub(super) fn file_stem(text: &str, parts: &[&str]) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '_' })
        .take(60)
        .collect();
    format!("{plain}-{}", &digest_of(parts)[..16])
}

/// The digest of `parts` in hexadecimal; where one ends and the next begins counts.
pub fn digest_of(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())
}

/// The digest of all that `from` still has to give, in hexadecimal.
pub fn digest_of_reader(from: &mut dyn io::Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hex(&digest.finalize())),
            Ok(n) => digest.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The digest of a file in hexadecimal.
pub fn digest_of_file(path: &Path) -> io::Result<String> {
    digest_of_reader(&mut std::fs::File::open(path)?)
}
