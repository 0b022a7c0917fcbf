//! Text in place of bytes: drawoff has no type for them, and most outputs have none either. UUIDs get their usual form, all
//! other bytes become base64.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringViewArray, make_array};
use arrow_schema::{ArrowError, DataType, Field, FieldRef};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::compute::cast;

use crate::format::parquet::UUID_EXTENSION;

/// Returns true for the types of bytes.
pub(super) fn is_bytes(ty: &DataType) -> bool {
    matches!(ty, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_))
}

/// Returns true if `ty` is a type of bytes, or has one within.
fn has_bytes(ty: &DataType) -> bool {
    match ty {
        DataType::Dictionary(_, values) => has_bytes(values),
        DataType::Struct(fields) => fields.iter().any(|field| has_bytes(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => has_bytes(item.data_type()),
        other => is_bytes(other),
    }
}

/// Returns `column`, whose field is `field`, with text in place of bytes, also within its values. Columns without bytes are
/// returned as they are.
pub(super) fn bytes_as_text(column: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let ty = column.data_type();
    if !has_bytes(ty) {
        return Ok(column.clone());
    }
    let is_uuid = field.metadata().get(UUID_EXTENSION.0).is_some_and(|name| name == UUID_EXTENSION.1);
    let text = |bytes: &[u8]| match <[u8; 16]>::try_from(bytes) {
        Ok(bytes) if is_uuid => uuid_text(bytes),
        _ => STANDARD.encode(bytes),
    };
    let within = |fields: &[&FieldRef]| -> Result<(Vec<FieldRef>, Vec<_>), ArrowError> {
        let data = column.to_data();
        let (mut changed, mut children) = (Vec::new(), Vec::new());
        for (child, field) in data.child_data().iter().zip(fields) {
            let child = bytes_as_text(&make_array(child.clone()), field)?;
            changed.push(Arc::new(Field::clone(field).with_data_type(child.data_type().clone())));
            children.push(child.to_data());
        }
        Ok((changed, children))
    };
    let (ty, children) = match ty {
        DataType::Binary => return Ok(texts(column.as_binary::<i32>().iter(), text)),
        DataType::LargeBinary => return Ok(texts(column.as_binary::<i64>().iter(), text)),
        DataType::BinaryView => return Ok(texts(column.as_binary_view().iter(), text)),
        DataType::FixedSizeBinary(_) => return Ok(texts(column.as_fixed_size_binary().iter(), text)),
        DataType::Dictionary(_, values) => return bytes_as_text(&cast(column, values)?, field),
        DataType::Struct(fields) => {
            let (fields, children) = within(&fields.iter().collect::<Vec<_>>())?;
            (DataType::Struct(fields.into()), children)
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => {
            let (mut fields, children) = within(&[item])?;
            let item = fields.pop().ok_or_else(|| ArrowError::SchemaError("a list without values".into()))?;
            let ty = match ty {
                DataType::LargeList(_) => DataType::LargeList(item),
                DataType::FixedSizeList(_, len) => DataType::FixedSizeList(item, *len),
                DataType::ListView(_) => DataType::ListView(item),
                DataType::LargeListView(_) => DataType::LargeListView(item),
                DataType::Map(_, sorted) => DataType::Map(item, *sorted),
                _ => DataType::List(item),
            };
            (ty, children)
        }
        _ => return Ok(column.clone()),
    };
    Ok(make_array(column.to_data().into_builder().data_type(ty).child_data(children).build()?))
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, text: impl Fn(&[u8]) -> String) -> ArrayRef {
    Arc::new(values.map(|bytes| bytes.map(&text)).collect::<StringViewArray>())
}

/// Formats the 16 bytes of a UUID: `0b7cf3a4-1f7e-4c55-8a39-9e2d6f1c0a77`.
fn uuid_text(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{BinaryBuilder, ListBuilder, StringDictionaryBuilder};
    use arrow_array::types::Int8Type;
    use arrow_array::{BinaryArray, FixedSizeBinaryArray, StringArray, StructArray};

    use super::*;

    fn text_of(column: &ArrayRef) -> Vec<Option<String>> {
        column.as_string_view().iter().map(|text| text.map(str::to_owned)).collect()
    }

    fn expected(texts: &[Option<&str>]) -> Vec<Option<String>> {
        texts.iter().map(|text| text.map(str::to_owned)).collect()
    }

    #[test]
    fn bytes_become_base64_and_uuids_their_own_form() {
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None, Some(b"")]));
        let field = Field::new("b", DataType::Binary, true);
        let text = bytes_as_text(&bytes, &field).unwrap();
        assert_eq!(text_of(&text), expected(&[Some("AP8="), None, Some("")]));
        let id: Vec<u8> = (0..16).collect();
        let ids: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter([id].into_iter()).unwrap());
        let plain = Field::new("i", DataType::FixedSizeBinary(16), true);
        assert_eq!(text_of(&bytes_as_text(&ids, &plain).unwrap()), expected(&[Some("AAECAwQFBgcICQoLDA0ODw==")]));
        let mark = [(UUID_EXTENSION.0.to_owned(), UUID_EXTENSION.1.to_owned())];
        let marked = plain.with_metadata(mark.into());
        let text = bytes_as_text(&ids, &marked).unwrap();
        assert_eq!(text_of(&text), expected(&[Some("00010203-0405-0607-0809-0a0b0c0d0e0f")]));
    }

    #[test]
    fn bytes_within_values_become_text_and_nothing_else_changes() {
        let mut lists = ListBuilder::new(BinaryBuilder::new());
        lists.append_value([Some(b"a"), None]);
        lists.append_null();
        lists.append_value([Some(b"bc")]);
        let lists: ArrayRef = Arc::new(lists.finish());
        // A slice begins within the values.
        let lists = lists.slice(1, 2);
        let field = Field::new("l", lists.data_type().clone(), true);
        let text = bytes_as_text(&lists, &field).unwrap();
        let text = text.as_list::<i32>();
        assert!(text.is_null(0));
        assert_eq!(text_of(&text.value(1)), expected(&[Some("YmM=")]));
        let other: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
        let objects = StructArray::try_from(vec![("l", lists), ("s", other)]).unwrap();
        let objects: ArrayRef = Arc::new(objects);
        let field = Field::new("o", objects.data_type().clone(), true);
        let text = bytes_as_text(&objects, &field).unwrap();
        assert_eq!(text_of(&text.as_struct().column(0).as_list::<i32>().value(1)), expected(&[Some("YmM=")]));
        assert_eq!(text.as_struct().column(1).data_type(), &DataType::Utf8);
        let mut words = StringDictionaryBuilder::<Int8Type>::new();
        words.append_value("a");
        let words: ArrayRef = Arc::new(words.finish());
        let field = Field::new("d", words.data_type().clone(), true);
        assert!(Arc::ptr_eq(&words, &bytes_as_text(&words, &field).unwrap()));
    }
}
