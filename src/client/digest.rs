//! SHA-256 digests that identify inputs, plans and files of state.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::text::hex;

/// Returns a file name stem for a text from outside: up to 60 characters of it, with all but letters, digits and `-`
/// replaced, and 64 bits of the digest of `parts`. No `text` leads outside a directory, and the digest keeps names
/// distinct.
pub(super) fn file_stem(text: &str, parts: &[&str]) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '_' })
        .take(60)
        .collect();
    format!("{plain}-{}", &digest_of(parts)[..16])
}

/// Returns the digest of `parts` in hexadecimal. Boundaries count: `["ab"]` and `["a", "b"]` differ.
pub fn digest_of(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        // The length first, so that the boundary between two parts counts.
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())
}

/// Returns the digest of the rest of `from` in hexadecimal.
pub(super) fn digest_of_reader(from: &mut dyn io::Read) -> io::Result<String> {
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

/// Returns the digest of a file in hexadecimal. Reads the whole file.
pub fn digest_of_file(path: &Path) -> io::Result<String> {
    digest_of_reader(&mut std::fs::File::open(path)?)
}
