//! Values that are given by their JSON text, in columns of text: strings without quotes, all others as they are spelled.

use std::borrow::Cow;

use memchr::memchr;

use crate::column::json_text::unescape;

/// Returns the text of a string of JSON, and any other value as its own spelling. Fails with a reason for a string that is
/// not Unicode, with half a surrogate pair.
pub(super) fn plain_text(json: &str) -> Result<Cow<'_, str>, &'static str> {
    let Some(inside) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return Ok(json.into()) };
    if memchr(b'\\', inside.as_bytes()).is_none() {
        return Ok(inside.into());
    }
    let mut text = Vec::new();
    unescape(inside.as_bytes(), &mut text);
    String::from_utf8(text).map(Cow::Owned).map_err(|_| "the text is not valid Unicode")
}
