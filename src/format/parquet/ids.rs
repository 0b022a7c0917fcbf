//! Ids of fields in the schema of a file, by which readers of a table know columns whatever their names are. They stand in
//! the footer alone, so that they are needed only when it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

/// Ids of the fields of files, by the names from the column down, with the groups of lists and maps: `tags`,
/// `tags.list.element`, `ages.key_value.value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldIds(BTreeMap<Vec<String>, i32>);

impl FieldIds {
    /// Sets the id of the field with this path.
    pub fn insert(&mut self, path: Vec<String>, id: i32) {
        self.0.insert(path, id);
    }

    /// Returns the id of the field with this path; `None` if it has none.
    pub fn get(&self, path: &[String]) -> Option<i32> {
        self.0.get(path).copied()
    }

    /// Returns true if no field has an id.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a descriptor with the ids.
    pub(super) fn applied_to(&self, descriptor: &SchemaDescPtr) -> Result<SchemaDescPtr, ParquetError> {
        if self.0.is_empty() {
            return Ok(descriptor.clone());
        }
        let root = descriptor.root_schema();
        let fields = self.fields(root.get_fields(), &mut Vec::new())?;
        let root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
        Ok(Arc::new(SchemaDescriptor::new(Arc::new(root))))
    }

    fn fields(&self, fields: &[TypePtr], above: &mut Vec<String>) -> Result<Vec<TypePtr>, ParquetError> {
        let mut with_ids = Vec::with_capacity(fields.len());
        for field in fields {
            above.push(field.name().to_owned());
            let (info, id) = (field.get_basic_info(), self.get(above));
            let field = match &**field {
                Type::GroupType { fields, .. } => Type::group_type_builder(field.name())
                    .with_repetition(info.repetition())
                    .with_converted_type(info.converted_type())
                    .with_logical_type(info.logical_type_ref().cloned())
                    .with_fields(self.fields(fields, above)?)
                    .with_id(id)
                    .build()?,
                Type::PrimitiveType { physical_type, type_length, scale, precision, .. } => {
                    Type::primitive_type_builder(field.name(), *physical_type)
                        .with_repetition(info.repetition())
                        .with_converted_type(info.converted_type())
                        .with_logical_type(info.logical_type_ref().cloned())
                        .with_length(*type_length)
                        .with_precision(*precision)
                        .with_scale(*scale)
                        .with_id(id)
                        .build()?
                }
            };
            with_ids.push(Arc::new(field));
            above.pop();
        }
        Ok(with_ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Field, Fixed, Schema, Type as ColumnType, TypeMerge, Unit};
    use crate::format::ParquetOptions;
    use crate::format::parquet::Layout;

    #[test]
    fn ids_are_all_that_is_added() {
        let time = ColumnType::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: false });
        let money = ColumnType::Fixed(Fixed::Decimal { precision: 10, scale: 2 });
        let inner = ColumnType::Struct(vec![Field::new("at", time), Field::new("price", money)]);
        let fields = vec![
            Field::new("a.b", ColumnType::Decimal),
            Field::new("l", ColumnType::List(Box::new(inner))),
            Field::new("m", ColumnType::map(ColumnType::Text)),
        ];
        let layout =
            Layout::try_new(Arc::new(Schema::new(fields)), &ParquetOptions::default(), TypeMerge::Json).unwrap();
        let mut ids = FieldIds::default();
        assert!(Arc::ptr_eq(&ids.applied_to(&layout.descriptor).unwrap(), &layout.descriptor));
        for (path, id) in [("a.b", 1), ("l/list/element/price", 7), ("m/key_value/key", 4), ("m", 3)] {
            ids.insert(path.split('/').map(str::to_owned).collect(), id);
        }
        let with_ids = ids.applied_to(&layout.descriptor).unwrap();
        let text = |descriptor: &SchemaDescPtr| {
            let mut text = Vec::new();
            parquet::schema::printer::print_schema(&mut text, descriptor.root_schema());
            String::from_utf8(text).unwrap()
        };
        let printed = text(&with_ids);
        assert!(printed.contains("a.b [1] (DECIMAL(38,0))") && printed.contains("price [7]"), "{printed}");
        let plain = [" [1]", " [7]", " [4]", " [3]"].iter().fold(printed, |text, id| text.replace(id, ""));
        assert_eq!(plain, text(&layout.descriptor));
    }
}
