//! The password file: `host:port:database:user:password` lines, in the format of libpq.

use std::path::Path;

use crate::secret::Password;

/// The password that a file has for a connection, with its line from 1.
pub(super) struct Found {
    pub(super) password: Password,
    pub(super) line: usize,
}

/// Reads a password file. `Ok(None)` if it does not exist; `Err` has the reason for which it is ignored.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    // A terminal or a pipe would block, and libpq ignores these too.
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(None) };
    if !metadata.is_file() {
        return Err(format!("the password file {} is ignored: it is not a regular file", path.display()));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.display();
            return Err(format!(
                "the password file {path} is ignored: others have access to it (mode {mode:04o}); run `chmod 600 {path}`"
            ));
        }
    }
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) => Err(format!("the password file {} is ignored: {cause}", path.display())),
    }
}

/// Finds the first line whose four fields match. `None` also if its password is empty.
pub(super) fn find(text: &[u8], host: &str, port: u16, database: &str, user: &str) -> Option<Found> {
    let port = port.to_string();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b"#") {
            continue;
        }
        let fields = [host, &port, database, user];
        let password = fields.into_iter().try_fold(line, |rest, field| match_field(rest, field.as_bytes()));
        if let Some(password) = password {
            let password = unescape(password);
            return (!password.is_empty()).then(|| Found { password: Password::new(password), line: at + 1 });
        }
    }
    None
}

/// Returns the rest after a field and its colon if the field is `*` or equals `value`. A backslash protects the byte
/// after it.
fn match_field<'a>(line: &'a [u8], value: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let mut value = value.iter();
    let mut at = 0;
    loop {
        match *line.get(at)? {
            b':' => return value.next().is_none().then(|| &line[at + 1..]),
            b'\\' => at += 1,
            _ => {}
        }
        if value.next() != Some(line.get(at)?) {
            return None;
        }
        at += 1;
    }
}

/// Removes the backslashes that protect other bytes.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => found.push(*bytes.next().unwrap_or(&b'\\')),
            byte => found.push(byte),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_matches_applies() {
        let text = b"# db:5432:crm:ann:comment\nother:*:*:*:no\ndb:5432:crm:ann:on\\:e\\\\\r\n*:*:*:*:any\n";
        let found = |host, port, database, user| {
            let found = find(text, host, port, database, user)?;
            Some((String::from_utf8(found.password.reveal().to_vec()).unwrap(), found.line))
        };
        assert_eq!(found("db", 5432, "crm", "ann"), Some(("on:e\\".to_owned(), 3)));
        assert_eq!(found("db", 5433, "crm", "ann"), Some(("any".to_owned(), 4)));
        assert_eq!(found("dbx", 5432, "crm", "ann"), Some(("any".to_owned(), 4)));
        assert_eq!(found("d", 5432, "crm", "ann"), Some(("any".to_owned(), 4)));
        assert_eq!(find(b"a:1:b\n:x", "a", 1, "b", "c").map(|found| found.line), None);
        let escaped = find(b"\\:\\:1:1:a\\:b:c\\\\d:two:three\n", "::1", 1, "a:b", "c\\d").unwrap();
        assert_eq!(escaped.password.reveal(), b"two:three");
        assert!(find(b"*:*:*:*:\n*:*:*:*:second\n", "h", 1, "d", "u").is_none());
    }
}
