//! Detection of objects with open-ended keys: keys that are data, such as ids and addresses, and not
//! field names. Such an object becomes a map; as a struct, each of its keys would be a column.
//!
//! The rule looks at the set of all keys seen at one path, and its result turns only from no to yes
//! while that set grows. So it depends neither on the order of the records nor on how they were cut
//! into morsels.

use std::borrow::Borrow;

/// Keys beyond which an object is open-ended, whatever they are. Chosen by eye: result objects in the API's examples
/// have fewer than 30 keys, and every struct field is a column.
pub const MAX_STRUCT_FIELDS: usize = 256;

/// Keys that are ids or addresses beyond which an object is open-ended. By eye: a few such names
/// occur among fields (a tracking pixel's URL, a hash for a name), but not many.
pub(super) const MAX_OPEN_KEYS: usize = 8;

/// Digits from which a key is an id. Shorter ones are years, counts and codes.
const MIN_ID_DIGITS: usize = 5;

/// Hexadecimal digits from which a key is an id. Shorter ones are words too often.
const MIN_HEX_DIGITS: usize = 8;

/// Returns true if an object with these keys is open-ended: more than [`MAX_STRUCT_FIELDS`] of them,
/// or more than `MAX_OPEN_KEYS` that are ids or addresses.
pub fn is_open_ended<K: Borrow<str>>(keys: impl ExactSizeIterator<Item = K>) -> bool {
    keys.len() > MAX_STRUCT_FIELDS
        || keys.len() > MAX_OPEN_KEYS
            && keys.filter(|key| is_open_key((*key).borrow())).take(MAX_OPEN_KEYS + 1).count() > MAX_OPEN_KEYS
}

/// Returns true if `key` is an id or an address: a UUID, many digits, a hexadecimal id, an e-mail
/// address, a URL.
fn is_open_key(key: &str) -> bool {
    is_number_or_hex(key) || is_uuid(key) || is_email(key) || is_url(key)
}

fn is_number_or_hex(key: &str) -> bool {
    let hex = key.strip_prefix("0x").unwrap_or(key);
    if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return false;
    }
    let digits = hex.bytes().filter(u8::is_ascii_digit).count();
    // Two digits exclude words of the letters a to f, such as `facade`.
    (digits == hex.len() && digits >= MIN_ID_DIGITS) || (hex.len() >= MIN_HEX_DIGITS && digits >= 2)
}

fn is_uuid(key: &str) -> bool {
    let key = key.strip_prefix("urn:uuid:").unwrap_or(key);
    let key = key.strip_prefix('{').and_then(|key| key.strip_suffix('}')).unwrap_or(key);
    key.len() == 36
        && key
            .bytes()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

fn is_email(key: &str) -> bool {
    let Some((name, host)) = key.split_once('@') else { return false };
    let host_is_plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-' || b >= 0x80);
    !name.is_empty()
        && !key.bytes().any(|b| b.is_ascii_whitespace())
        && host_is_plain
        && host.trim_matches('.').contains('.')
}

fn is_url(key: &str) -> bool {
    let scheme = key.split_once("://").map(|(scheme, _)| scheme);
    let is_scheme =
        |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    scheme.is_some_and(is_scheme) || key.starts_with("//") || key.starts_with("www.") || key.starts_with("mailto:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_addresses_are_recognised() {
        for key in [
            "5f0c2d1e-1f7e-4c55-8a39-9e2d6f1c0a77",
            "{5F0C2D1E-1F7E-4C55-8A39-9E2D6F1C0A77}",
            "10001",
            "981274615512",
            "9e2d6f1c0a77",
            "0xdeadbeef01",
            "d41d8cd98f00b204e9800998ecf8427e",
            "ada@example.com",
            "a.b+c@mail.example.co.uk",
            "https://example.com/a?b=c",
            "www.example.com",
            "//cdn.example.com/x.js",
        ] {
            assert!(is_open_key(key), "{key}");
        }
        for key in [
            "",
            "name",
            "2024",
            "0",
            "company_name",
            "facade",
            "deadbeef",
            "decade10s",
            "address.city",
            "a-b",
            "@type",
            "me@home",
            "http",
            "5f0c2d1e-1f7e-4c55-8a39",
            "Q1 2024",
        ] {
            assert!(!is_open_key(key), "{key}");
        }
    }

    #[test]
    fn an_object_with_few_ids_stays_a_struct() {
        let ids = |n: usize| (0..n).map(|i| format!("{}", 100_000 + i)).collect::<Vec<_>>();
        let open = |keys: &[String]| is_open_ended(keys.iter().map(String::as_str));
        assert!(!open(&ids(MAX_OPEN_KEYS)));
        assert!(open(&ids(MAX_OPEN_KEYS + 1)));
        let names: Vec<String> = (0..=MAX_STRUCT_FIELDS).map(|i| format!("name_{i}")).collect();
        assert!(!open(&names[1..]));
        assert!(open(&names));
    }
}
