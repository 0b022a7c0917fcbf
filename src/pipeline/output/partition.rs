//! Partitions a batch by the values of columns, and names the directory of each partition as Hive does. Touches no file
//! system.

use std::collections::HashMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::rows::PartitionPath;
use crate::column::Batch;
use crate::format::json_text::{JsonValues, unescape};
use crate::pipeline::error::{Error, PartitionError};

/// Hive's directory value for null.
const NULL_DIRECTORY: &str = "__HIVE_DEFAULT_PARTITION__";

/// Maximum bytes of a directory name on common file systems.
const MAX_NAME_BYTES: usize = 255;

/// Splits `batch` into the rows of each directory, with the partition columns only if `keeps_columns`. Directories are in the
/// order of first sight, rows in their own order. Without partition columns there is one directory with the empty path; a
/// batch without rows has none.
pub(super) fn by_directory(
    batch: &Batch,
    partition_by: &[Arc<str>],
    keeps_columns: bool,
) -> Result<Vec<(PartitionPath, Batch)>, Error> {
    if batch.rows == 0 {
        return Ok(Vec::new());
    }
    if partition_by.is_empty() {
        return Ok(vec![("".into(), batch.clone())]);
    }
    let columns: Vec<_> = partition_by
        .iter()
        .map(|name| {
            let i = batch.schema.position(name);
            (&**name, i.map(|i| JsonValues::new(&batch.columns[i], &batch.schema.fields[i].ty)))
        })
        .collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    // A key is the JSON text of all partition values, each ended by NUL, which JSON text never contains. Most rows cost
    // one comparison with the key before, the others one lookup; a path is built once per key.
    let mut by_key: HashMap<Vec<u8>, usize> = HashMap::new();
    // Two keys may have one path: equal text may be escaped in one row and not in another.
    let mut by_name: HashMap<PartitionPath, usize> = HashMap::new();
    // The path and the row indices of each directory.
    let mut directories: Vec<(PartitionPath, Vec<u32>)> = Vec::new();
    let (mut key, mut value, mut last) = (Vec::new(), Vec::new(), None::<(Vec<u8>, usize)>);
    for row in 0..batch.rows {
        key.clear();
        for (_, column) in &columns {
            value.clear();
            match column {
                Some(values) => values.write(row, &mut value),
                None => value.extend_from_slice(b"null"),
            }
            key.extend_from_slice(&value);
            key.push(0);
        }
        let index = match &last {
            Some((last, index)) if *last == key => *index,
            _ => {
                let index = match by_key.get(&key) {
                    Some(index) => *index,
                    None => {
                        let directory = directory_of(&names, &key)?;
                        let index = *by_name.entry(directory.clone()).or_insert_with(|| {
                            directories.push((directory, Vec::new()));
                            directories.len() - 1
                        });
                        by_key.insert(key.clone(), index);
                        index
                    }
                };
                last = Some((key.clone(), index));
                index
            }
        };
        directories[index].1.push(row as u32);
    }
    let rest = if keeps_columns { batch.clone() } else { batch.without_columns(partition_by) };
    if let [(directory, _)] = &directories[..] {
        return Ok(vec![(directory.clone(), rest)]);
    }
    // Sort the rows by directory once; each directory is then a slice, without copies of its own.
    let order: Vec<u32> = directories.iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
    let sorted = rest.take(&order).map_err(|e| Error::Bug(format!("cannot sort rows by partition: {e}")))?;
    let mut at = 0;
    Ok(directories
        .into_iter()
        .map(|(directory, rows)| {
            let slice = sorted.slice(at, rows.len());
            at += rows.len();
            (directory, slice)
        })
        .collect())
}

/// Returns the path `name=value/…` for `key`, the partition values as JSON, each ended by NUL. Null becomes Hive's
/// value for it and empty text an empty value; characters that are special in paths or to readers are percent-encoded.
fn directory_of(names: &[&str], key: &[u8]) -> Result<PartitionPath, PartitionError> {
    let mut path = String::new();
    for (name, value) in names.iter().zip(key.split(|&b| b == 0)) {
        let mut directory = String::new();
        escape(name.as_bytes(), &mut directory);
        directory.push('=');
        match value {
            b"null" => directory.push_str(NULL_DIRECTORY),
            [b'"', text @ .., b'"'] => {
                let mut plain = Vec::new();
                unescape(text, &mut plain);
                if plain == NULL_DIRECTORY.as_bytes() {
                    // Text that equals Hive's value for null must not be read as null.
                    directory.push_str("%5F");
                    plain.remove(0);
                }
                escape(&plain, &mut directory);
            }
            json => escape(json, &mut directory),
        }
        if directory.len() > MAX_NAME_BYTES {
            return Err(PartitionError::LongName {
                column: (*name).to_owned(),
                bytes: directory.len(),
                most: MAX_NAME_BYTES,
            });
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&directory);
    }
    Ok(path.into())
}

/// Returns the text of each value in a path that [`by_directory`] has made of `n` partition columns; `None` for null.
pub(super) fn partition_values(path: &str, n: usize) -> Result<Vec<Option<String>>, Error> {
    let unreadable = || Error::Bug("the directory of a partition cannot be read".into());
    let value = |directory: &str| {
        let (_, value) = directory.split_once('=').ok_or_else(unreadable)?;
        match value {
            NULL_DIRECTORY => Ok(None),
            value => {
                percent_decode_str(value).decode_utf8().map(|value| Some(value.into_owned())).map_err(|_| unreadable())
            }
        }
    };
    let values = path.split('/').filter(|_| n > 0).map(value).collect::<Result<Vec<_>, Error>>()?;
    if values.len() == n { Ok(values) } else { Err(unreadable()) }
}

fn escape(text: &[u8], out: &mut String) {
    for &b in text {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'+' | b'@' | b',') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_named_so_that_paths_and_readers_take_them() {
        let directory =
            |names: &[&str], key: &str| directory_of(names, key.replace('|', "\0").as_bytes()).unwrap().to_string();
        assert_eq!(directory(&["country", "n"], r#""NO"|12|"#), "country=NO/n=12");
        assert_eq!(directory(&["a"], "null|"), "a=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(directory(&["a"], r#""null"|"#), "a=null");
        assert_eq!(directory(&["a"], r#""__HIVE_DEFAULT_PARTITION__"|"#), "a=%5F_HIVE_DEFAULT_PARTITION__");
        assert_eq!(directory(&["a"], r#"""|"#), "a=");
        assert_eq!(directory(&["a/b"], r#""../x=1 ü\u0000%"|"#), "a%2Fb=..%2Fx%3D1%20%C3%BC%00%25");
        let values = |path: &str, n| partition_values(path, n).unwrap();
        assert_eq!(values("a%2Fb=..%2Fx%3D1%20%C3%BC%00%25/n=12", 2), [Some("../x=1 ü\0%".into()), Some("12".into())]);
        assert_eq!(values("a=__HIVE_DEFAULT_PARTITION__/b=", 2), [None, Some(String::new())]);
        assert_eq!(values("a=%5F_HIVE_DEFAULT_PARTITION__", 1), [Some("__HIVE_DEFAULT_PARTITION__".into())]);
        assert_eq!(values("", 0), []);
        assert!(partition_values("a=1", 2).is_err());
        let long = format!("\"{}\"|", "x".repeat(300));
        let error = directory_of(&["a"], long.replace('|', "\0").as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a value of partition column `a` needs a directory name of 302 bytes; the maximum is 255"
        );
    }
}
