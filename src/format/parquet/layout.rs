//! What a schema looks like in Parquet, worked out once and shared by the workers.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::schema::types::{ColumnPath, SchemaDescPtr, SchemaDescriptor, Type as ParquetType};

use super::Error;
use super::codec::{PageCodec, compression};
use super::leaf::{ColumnHint, EncoderScratch, LeafEncoder};
use super::order::SortKey;
use crate::column::{Field, Fixed, Schema, Type, TypeMerge, Unit};
use crate::format::{ParquetCodec, ParquetOptions};

/// How files name their writer.
pub(super) const CREATED_BY: &str = concat!("drawoff ", env!("CARGO_PKG_VERSION"));

/// A schema with its Parquet and Arrow forms and the settings of its columns.
///
/// Making one costs a walk over the schema; a worker keeps it from row group to row group for as
/// long as the schema stays.
#[derive(Debug)]
pub struct Layout {
    pub(super) schema: Arc<Schema>,
    type_merge: TypeMerge,
    pub(super) arrow: SchemaRef,
    pub(super) descriptor: SchemaDescPtr,
    codec: ParquetCodec,
    /// Per leaf whether it does without a dictionary.
    plain: Vec<bool>,
    /// The order that is claimed for the rows.
    pub(super) sort_keys: Arc<[SortKey]>,
}

impl Layout {
    /// The layout of `schema`. Fails if a column is [`Type::Raw`] or the codec's level is unknown.
    ///
    /// `type_merge` is the way in which batches of this file mix unlike scalars; it decides what
    /// [`Layout::accepts`].
    pub fn try_new(schema: Arc<Schema>, options: &ParquetOptions, type_merge: TypeMerge) -> Result<Self, Error> {
        Self::with_plain_columns(schema, options, type_merge, &[])
    }

    /// As [`Layout::try_new`], but the leaves at `plain` are written without a dictionary. See
    /// [`super::EncodedRowGroup::outgrown_dictionaries`]; paths that are not there do no harm.
    pub fn with_plain_columns(
        schema: Arc<Schema>,
        options: &ParquetOptions,
        type_merge: TypeMerge,
        plain: &[ColumnPath],
    ) -> Result<Self, Error> {
        for field in &schema.fields {
            if holds_raw(&field.ty) {
                return Err(Error::Raw { column: field.name.clone() });
            }
        }
        let descriptor = descriptor(&schema, STANDARD_ELEMENT)?;
        compression(options.codec)?;
        let plain = descriptor.columns().iter().map(|leaf| plain.contains(leaf.path())).collect();
        let arrow = Arc::new(schema.to_arrow());
        Ok(Layout { schema, type_merge, arrow, descriptor, codec: options.codec, plain, sort_keys: Arc::default() })
    }

    /// With an order that is claimed for the rows; row groups say so where it is true.
    pub fn with_sort_keys(mut self, keys: &Arc<[SortKey]>) -> Self {
        self.sort_keys = keys.clone();
        self
    }

    /// The schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// True when batches of `schema` fit: every column is there, and as wide.
    pub fn accepts(&self, schema: &Arc<Schema>) -> bool {
        Arc::ptr_eq(schema, &self.schema) || self.first_misfit(schema).is_none()
    }

    /// The first column of `schema` that is not here, or wider.
    pub(super) fn first_misfit<'a>(&self, schema: &'a Schema) -> Option<&'a Field> {
        schema.fields.iter().enumerate().find_map(|(i, field)| {
            let wide = self.place(i, &field.name).map(|place| &self.schema.fields[place].ty);
            let fits = wide.is_some_and(|wide| *wide == field.ty || wide.join(&field.ty, self.type_merge) == *wide);
            (!fits).then_some(field)
        })
    }

    /// The place here of the column `name` that is at `hint` elsewhere.
    pub(super) fn place(&self, hint: usize, name: &str) -> Option<usize> {
        match self.schema.fields.get(hint) {
            Some(field) if &*field.name == name => Some(hint),
            _ => self.schema.position(name),
        }
    }

    /// One fresh encoder per leaf column. `hints` are those of the same leaves, or none.
    pub(super) fn leaf_encoders(&self, hints: &[ColumnHint]) -> impl Iterator<Item = LeafEncoder> {
        let leaves = self.descriptor.columns().iter().zip(&self.plain);
        let hint = |i| hints.get(i).copied().unwrap_or_default();
        leaves.enumerate().map(move |(i, (leaf, &plain))| LeafEncoder::new(leaf.clone(), plain, hint(i)))
    }

    /// What encoders of this layout's leaves share.
    pub(super) fn new_scratch(&self) -> Result<EncoderScratch, Error> {
        Ok(EncoderScratch::new(PageCodec::try_new(self.codec)?))
    }
}

/// The message type of a file with the columns of `schema`, as text.
pub fn message_type(schema: &Schema) -> Result<String, Error> {
    let layout = Layout::try_new(Arc::new(schema.clone()), &ParquetOptions::default(), TypeMerge::Json)?;
    let mut text = Vec::new();
    parquet::schema::printer::print_schema(&mut text, layout.descriptor.root_schema());
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn holds_raw(ty: &Type) -> bool {
    match ty {
        Type::Raw => true,
        Type::Struct(fields) => fields.iter().any(|f| holds_raw(&f.ty)),
        Type::List(inner) | Type::Map(inner) => holds_raw(inner),
        _ => false,
    }
}

/// What the standard calls a list's element. Readers take any name, but some compare it.
const STANDARD_ELEMENT: &str = "element";

/// What Arrow calls it, and insists on where arrays are read into given types.
const ARROW_ELEMENT: &str = "item";

/// The descriptor of `schema` for reading its chunks into the arrays of its Arrow schema. Apart
/// from the names of list elements, which are not in the chunks, it is the layout's.
pub(super) fn reading_descriptor(schema: &Schema) -> Result<SchemaDescPtr, ParquetError> {
    descriptor(schema, ARROW_ELEMENT)
}

fn descriptor(schema: &Schema, element: &str) -> Result<SchemaDescPtr, ParquetError> {
    let fields = parquet_fields(&schema.fields, element)?.into_iter().map(Arc::new).collect();
    let root = ParquetType::group_type_builder("schema").with_fields(fields).build()?;
    Ok(Arc::new(SchemaDescriptor::new(Arc::new(root))))
}

fn parquet_fields(fields: &[Field], element: &str) -> Result<Vec<ParquetType>, ParquetError> {
    fields.iter().map(|f| parquet_type(&f.name, &f.ty, Repetition::OPTIONAL, element)).collect()
}

/// The Parquet type of `ty`, lists and maps in the three levels that the standard asks for.
fn parquet_type(name: &str, ty: &Type, repetition: Repetition, element: &str) -> Result<ParquetType, ParquetError> {
    let leaf = |physical| ParquetType::primitive_type_builder(name, physical).with_repetition(repetition);
    let group = |fields: Vec<ParquetType>| {
        ParquetType::group_type_builder(name)
            .with_repetition(repetition)
            .with_fields(fields.into_iter().map(Arc::new).collect())
    };
    let repeated = |name: &str, fields: Vec<ParquetType>| {
        ParquetType::group_type_builder(name)
            .with_repetition(Repetition::REPEATED)
            .with_fields(fields.into_iter().map(Arc::new).collect())
            .build()
    };
    match ty {
        // Not annotated as JSON: pyarrow then has an extension type that it can neither filter nor
        // write as CSV, and polars has bytes. Text is text everywhere.
        t if t.is_text_like() => leaf(PhysicalType::BYTE_ARRAY).with_logical_type(Some(LogicalType::String)).build(),
        Type::Bool => leaf(PhysicalType::BOOLEAN).build(),
        Type::Int { .. } => leaf(PhysicalType::INT64).build(),
        Type::Float => leaf(PhysicalType::DOUBLE).build(),
        Type::Decimal => leaf(PhysicalType::FIXED_LEN_BYTE_ARRAY)
            .with_length(16)
            .with_logical_type(Some(LogicalType::decimal(0, 38)))
            .with_precision(38)
            .with_scale(0)
            .build(),
        Type::Fixed(Fixed::Date) => leaf(PhysicalType::INT32).with_logical_type(Some(LogicalType::Date)).build(),
        Type::Fixed(Fixed::Timestamp { unit, local }) => {
            let unit = match unit {
                Unit::Millis => TimeUnit::MILLIS,
                Unit::Micros => TimeUnit::MICROS,
                Unit::Nanos => TimeUnit::NANOS,
            };
            leaf(PhysicalType::INT64).with_logical_type(Some(LogicalType::timestamp(!local, unit))).build()
        }
        Type::Fixed(Fixed::Decimal { precision, scale }) => leaf(PhysicalType::FIXED_LEN_BYTE_ARRAY)
            .with_length(16)
            .with_logical_type(Some(LogicalType::decimal(i32::from(*scale), i32::from(*precision))))
            .with_precision((*precision).into())
            .with_scale((*scale).into())
            .build(),
        Type::Struct(fields) => group(parquet_fields(fields, element)?).build(),
        Type::List(item) => {
            let item = parquet_type(element, item, Repetition::OPTIONAL, element)?;
            group(vec![repeated("list", vec![item])?]).with_logical_type(Some(LogicalType::List)).build()
        }
        Type::Map(value) => {
            let key = parquet_type("key", &Type::Text, Repetition::REQUIRED, element)?;
            let value = parquet_type("value", value, Repetition::OPTIONAL, element)?;
            group(vec![repeated("key_value", vec![key, value])?]).with_logical_type(Some(LogicalType::Map)).build()
        }
        Type::Null | Type::Text | Type::Json | Type::Raw => unreachable!("text-like types are matched above"),
    }
}
