//! Maps a schema to its Parquet and Arrow forms, once per schema; the workers share the result.

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

/// The `created_by` of the footer.
pub(super) const CREATED_BY: &str = concat!("drawoff ", env!("CARGO_PKG_VERSION"));

/// A schema with its Parquet and Arrow forms and the settings of its columns.
///
/// Making one costs a traversal of the schema; a worker keeps it from row group to row group as long as
/// the schema does not change.
#[derive(Debug)]
pub struct Layout {
    pub(super) schema: Arc<Schema>,
    type_merge: TypeMerge,
    pub(super) arrow: SchemaRef,
    pub(super) descriptor: SchemaDescPtr,
    codec: ParquetCodec,
    /// One per leaf; true to encode it without a dictionary.
    plain: Vec<bool>,
    /// The declared order of the rows; empty for none.
    pub(super) sort_keys: Arc<[SortKey]>,
}

impl Layout {
    /// Makes the layout of `schema`. Fails if a column holds [`Type::Raw`] or the codec's level is unknown.
    ///
    /// `type_merge` is the merge of the file's batches; it decides which narrower batches fit.
    pub fn try_new(schema: Arc<Schema>, options: &ParquetOptions, type_merge: TypeMerge) -> Result<Self, Error> {
        Self::with_plain_columns(schema, options, type_merge, &[])
    }

    /// As [`Layout::try_new`], but encodes the leaves at `plain` without a dictionary. See
    /// [`super::EncodedRowGroup::outgrown_dictionaries`]; unknown paths are ignored.
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

    /// Sets the declared order of the rows; row groups state it only where it holds.
    pub fn with_sort_keys(mut self, keys: &Arc<[SortKey]>) -> Self {
        self.sort_keys = keys.clone();
        self
    }

    /// Returns the first column of `schema` that this layout lacks or has with a narrower type.
    pub(super) fn first_misfit<'a>(&self, schema: &'a Schema) -> Option<&'a Field> {
        schema.fields.iter().enumerate().find_map(|(i, field)| {
            let wide = self.column_index(i, &field.name).map(|index| &self.schema.fields[index].ty);
            let fits = wide.is_some_and(|wide| *wide == field.ty || wide.join(&field.ty, self.type_merge) == *wide);
            (!fits).then_some(field)
        })
    }

    /// Returns the index of column `name`, looked for at `hint` first.
    pub(super) fn column_index(&self, hint: usize, name: &str) -> Option<usize> {
        match self.schema.fields.get(hint) {
            Some(field) if &*field.name == name => Some(hint),
            _ => self.schema.position(name),
        }
    }

    /// Makes one encoder per leaf column. `hints` are those of the same leaves, or empty.
    pub(super) fn leaf_encoders(&self, hints: &[ColumnHint]) -> impl Iterator<Item = LeafEncoder> {
        let leaves = self.descriptor.columns().iter().zip(&self.plain);
        let hint = |i| hints.get(i).copied().unwrap_or_default();
        leaves.enumerate().map(move |(i, (leaf, &plain))| LeafEncoder::new(leaf.clone(), plain, hint(i)))
    }

    /// Makes the encoder of one leaf column.
    pub(super) fn leaf_encoder(&self, leaf: usize) -> LeafEncoder {
        LeafEncoder::new(self.descriptor.column(leaf), self.plain[leaf], ColumnHint::default())
    }

    /// Makes the scratch that the encoders of this layout's leaves share.
    pub(super) fn new_scratch(&self) -> Result<EncoderScratch, Error> {
        Ok(EncoderScratch::new(PageCodec::try_new(self.codec)?))
    }
}

/// Returns the message type of a file with the columns of `schema`, as text.
pub fn message_type(schema: &Schema) -> Result<String, Error> {
    let layout = Layout::try_new(Arc::new(schema.clone()), &ParquetOptions::default(), TypeMerge::Json)?;
    let mut text = Vec::new();
    parquet::schema::printer::print_schema(&mut text, layout.descriptor.root_schema());
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn holds_raw(ty: &Type) -> bool {
    match ty {
        Type::Raw | Type::Opaque(_) => true,
        Type::Struct(fields) => fields.iter().any(|f| holds_raw(&f.ty)),
        Type::List(inner) | Type::Map(inner) => holds_raw(inner),
        _ => false,
    }
}

/// The name of a list's element in the Parquet standard. Readers accept any name, but some compare it.
const STANDARD_ELEMENT: &str = "element";

/// The name of a list's element in Arrow, which is required where arrays are read into given types.
const ARROW_ELEMENT: &str = "item";

/// Makes the descriptor of `schema` for reading its chunks into arrays of its Arrow schema. It equals the
/// layout's but for the names of list elements, which are not in the chunks.
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

/// Makes the Parquet type of `ty`, with lists and maps in the three levels of the standard.
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
        // Sixteen bytes hold 38 digits; arrays carry decimals in as many.
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
        Type::Number(_) => unreachable!("inference resolves the numbers of cells"),
        Type::Null | Type::Text | Type::Json | Type::Raw | Type::Opaque(_) => {
            unreachable!("text-like types are matched above")
        }
    }
}
