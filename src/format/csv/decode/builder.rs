//! Column builders for CSV cells: one per column of a morsel, filled with blocks of cells and finished
//! as Arrow arrays. Unlike those of [`crate::column`], they stop at the first misfit and are then dropped.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder};
use arrow_array::{ArrayRef, new_null_array};
use arrow_buffer::{Buffer, NullBufferBuilder};

use crate::column::views::{Views, make_view_of_padded};
use crate::column::{AsRead, Fixed, Morsel, Type, TypeMerge};
use crate::format::Reject;
use crate::format::csv::infer::{digits_of_number, parse_bool};
use crate::format::csv::split::Span;
use crate::format::decode::SURPLUS;
use crate::format::number;
use crate::format::simd::halve_quotes;

/// Function that parses cells of JSON text into an array of the given type, a null cell as null. Returns
/// the array and the type observed. If the join of both types is wider than the given one, the array is
/// meaningless. An error has the index of the first cell that is not JSON.
pub type DecodeCells = fn(cells: &[Option<&str>], ty: &Type) -> Result<(ArrayRef, Type), (usize, Reject)>;

/// Error: a cell does not fit its column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misfit;

/// A growing column of a batch, one variant per [`Type`] that cells are parsed into.
pub(super) enum Builder {
    Null(usize),
    Bool(BooleanBuilder),
    Int {
        values: Int64Builder,
        all_fit_double: bool,
    },
    Decimal {
        values: Decimal128Builder,
        observed: Observed,
    },
    Float {
        values: Float64Builder,
        observed: Observed,
    },
    /// Decimals with a fraction: values, significant digits, digits after the point, and true if the type is given.
    Scaled {
        values: Decimal128Builder,
        precision: u8,
        scale: u8,
        is_given: bool,
    },
    Text(TextBuilder),
    Nested(Type, NestedCells),
}

/// The kinds of numbers seen in a column of a wider type.
#[derive(Default)]
pub(super) struct Observed {
    int: bool,
    long_int: bool,
    wide: bool,
}

impl Observed {
    fn to_type(&self, wide: Type) -> Type {
        match self {
            Observed { wide: true, .. } => wide,
            Observed { long_int: true, .. } => Type::Int { fits_double: false },
            Observed { int: true, .. } => Type::Int { fits_double: true },
            _ => Type::Null,
        }
    }
}

impl Builder {
    /// Makes an empty column of `ty` with capacity for `capacity` rows. With `is_given`, the type does not follow from the
    /// cells; see [`parse_scaled`].
    pub(super) fn new(ty: &Type, is_given: bool, morsel: &Morsel, capacity: usize) -> Self {
        match ty {
            Type::Null => Builder::Null(0),
            Type::Bool => Builder::Bool(BooleanBuilder::with_capacity(capacity)),
            Type::Int { .. } => Builder::Int { values: Int64Builder::with_capacity(capacity), all_fit_double: true },
            Type::Decimal => {
                let values = Decimal128Builder::with_capacity(capacity).with_data_type(ty.to_arrow());
                Builder::Decimal { values, observed: Observed::default() }
            }
            Type::Float => {
                Builder::Float { values: Float64Builder::with_capacity(capacity), observed: Observed::default() }
            }
            Type::Fixed(Fixed::Decimal { precision, scale }) => {
                let values = Decimal128Builder::with_capacity(capacity).with_data_type(ty.to_arrow());
                Builder::Scaled { values, precision: *precision, scale: *scale, is_given }
            }
            Type::Text => Builder::Text(TextBuilder::new(morsel, capacity)),
            nested => Builder::Nested(nested.clone(), NestedCells::default()),
        }
    }

    /// Appends cells. After a misfit the builder must not be used again.
    pub(super) fn append(&mut self, bytes: &[u8], cells: impl Iterator<Item = Span>) -> Result<(), Misfit> {
        match self {
            Builder::Null(rows) => {
                for cell in cells {
                    if !cell.is_null() {
                        return Err(Misfit);
                    }
                    *rows += 1;
                }
            }
            Builder::Bool(values) => {
                for cell in cells {
                    match cell.is_null() {
                        true => values.append_null(),
                        false => values.append_value(parse_bool(cell.of(bytes)).ok_or(Misfit)?),
                    }
                }
            }
            Builder::Int { values, all_fit_double } => {
                for cell in cells {
                    if cell.is_null() {
                        values.append_null();
                        continue;
                    }
                    let value = number::parse_int(cell.of(bytes)).ok_or(Misfit)?;
                    *all_fit_double &= number::fits_double(value);
                    values.append_value(value);
                }
            }
            Builder::Decimal { values, observed } => {
                for cell in cells {
                    if cell.is_null() {
                        values.append_null();
                        continue;
                    }
                    let value = number::parse_decimal(cell.of(bytes)).ok_or(Misfit)?;
                    // The narrowest type of these values, for a file of which this morsel is a part.
                    match i64::try_from(value) {
                        Ok(value) if number::fits_double(value) => observed.int = true,
                        Ok(_) => observed.long_int = true,
                        Err(_) => observed.wide = true,
                    }
                    values.append_value(value);
                }
            }
            Builder::Float { values, observed } => {
                for cell in cells {
                    if cell.is_null() {
                        values.append_null();
                        continue;
                    }
                    let value = match number::parse_float(cell.of(bytes)) {
                        Some(value) => {
                            observed.wide = true;
                            value
                        }
                        // An integer in a float column, exact in a double or a misfit.
                        None => {
                            observed.int = true;
                            exact_int(cell.of(bytes)).ok_or(Misfit)?
                        }
                    };
                    values.append_value(value);
                }
            }
            Builder::Scaled { values, precision, scale, is_given } => {
                for cell in cells {
                    match cell.is_null() {
                        true => values.append_null(),
                        false => {
                            let value = parse_scaled(cell.of(bytes), *precision, *scale, *is_given);
                            values.append_value(value.ok_or(Misfit)?);
                        }
                    }
                }
            }
            Builder::Text(text) => text.append_all(cells),
            Builder::Nested(_, nested) => cells.for_each(|cell| nested.push(cell)),
        }
        Ok(())
    }

    /// Finishes the column: returns the array, and the type of its values alone.
    pub(super) fn finish(self, morsel: &Morsel, decode_cells: DecodeCells) -> Result<(ArrayRef, Type), Misfit> {
        let null = |has_values: bool, ty| if has_values { ty } else { Type::Null };
        Ok(match self {
            Builder::Null(rows) => (new_null_array(&Type::Null.to_arrow(), rows), Type::Null),
            Builder::Bool(mut values) => {
                let array = values.finish();
                let ty = null(has_values(&array), Type::Bool);
                (Arc::new(array), ty)
            }
            Builder::Int { mut values, all_fit_double } => {
                let array = values.finish();
                let ty = null(has_values(&array), Type::Int { fits_double: all_fit_double });
                (Arc::new(array), ty)
            }
            Builder::Decimal { mut values, observed } => (Arc::new(values.finish()), observed.to_type(Type::Decimal)),
            Builder::Float { mut values, observed } => (Arc::new(values.finish()), observed.to_type(Type::Float)),
            Builder::Scaled { mut values, precision, scale, .. } => {
                let array = values.finish();
                let ty = null(has_values(&array), Type::Fixed(Fixed::Decimal { precision, scale }));
                (Arc::new(array), ty)
            }
            Builder::Text(text) => {
                let array = text.finish(morsel);
                let ty = null(has_values(&*array), Type::Text);
                (array, ty)
            }
            // Nested cells are parsed only here, all of a column at once, and may still turn out not to fit.
            Builder::Nested(ty, cells) => {
                cells.decode(&morsel.bytes, &ty, decode_cells).and_then(|(array, observed)| {
                    match ty.join(&observed, TypeMerge::Json) == ty {
                        true => Ok((array, observed)),
                        false => Err(Misfit),
                    }
                })?
            }
        })
    }
}

fn has_values(array: &dyn arrow_array::Array) -> bool {
    array.null_count() < array.len()
}

/// Parses an integer as a double; `None` if a double may not hold it exactly.
fn exact_int(cell: &[u8]) -> Option<f64> {
    number::parse_int(cell).filter(|&value| number::fits_double(value)).map(|value| value as f64)
}

/// Parses a number of a column of decimals with `scale` digits after the point; `None` for one that does not fit.
///
/// With `is_given`, a schema file or the policy fixes the type, and every number that it holds fits. Otherwise the type
/// follows from the cells, and a cell fits only if the type of all of them stays the same with it. `0.10` in
/// `decimal(18,1)` then does not: if it were in the sample, the type would be `decimal(19,2)`, and where the sample ends is
/// no property of the data.
fn parse_scaled(value: &[u8], precision: u8, scale: u8, is_given: bool) -> Option<i128> {
    let fits =
        is_given || digits_of_number(value).is_some_and(|(integer, s)| integer <= precision - scale && s <= scale);
    if fits { number::parse_scaled(value, precision, scale) } else { None }
}

/// Returns true if one cell fits into a column of `ty`, by the rules of [`Builder::append`] and [`Builder::finish`].
/// `is_given` as in [`Builder::new`].
pub(super) fn fits(bytes: &[u8], cell: Span, ty: &Type, is_given: bool, decode_cells: DecodeCells) -> bool {
    if cell.is_null() {
        return true;
    }
    let value = cell.of(bytes);
    match ty {
        Type::Null => false,
        Type::Bool => parse_bool(value).is_some(),
        Type::Int { .. } => number::parse_int(value).is_some(),
        Type::Decimal => number::parse_decimal(value).is_some(),
        Type::Float => number::parse_float(value).is_some() || exact_int(value).is_some(),
        Type::Fixed(Fixed::Decimal { precision, scale }) => parse_scaled(value, *precision, *scale, is_given).is_some(),
        Type::Text => true,
        nested => {
            let mut cells = NestedCells::default();
            cells.push(cell);
            let decoded = cells.decode(bytes, nested, decode_cells);
            decoded.is_ok_and(|(_, observed)| nested.join(&observed, TypeMerge::Json) == *nested)
        }
    }
}

/// The cells of a column whose values are JSON text.
#[derive(Default)]
pub(super) struct NestedCells(Vec<Span>);

impl NestedCells {
    /// Returns true for types whose values are JSON text in cells.
    pub(super) fn are_for(ty: &Type) -> bool {
        matches!(ty, Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Json | Type::Raw)
    }

    pub(super) fn push(&mut self, cell: Span) {
        self.0.push(cell);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Span> + '_ {
        self.0.iter().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses the cells. One that is not JSON is a misfit and no reject: in CSV every value is text to
    /// begin with, and the column can still become text.
    pub(super) fn decode(
        &self,
        bytes: &[u8],
        ty: &Type,
        decode_cells: DecodeCells,
    ) -> Result<(ArrayRef, Type), Misfit> {
        // Records that are not UTF-8 were rejected before, so that the error is only formal.
        let texts: Vec<Option<Cow<'_, str>>> = self
            .0
            .iter()
            .map(|cell| match (cell.is_null(), cell.value(bytes)) {
                (true, _) => Ok(None),
                (false, Cow::Borrowed(value)) => std::str::from_utf8(value).map(|text| Some(Cow::Borrowed(text))),
                (false, Cow::Owned(value)) => {
                    String::from_utf8(value).map(|text| Some(Cow::Owned(text))).map_err(|e| e.utf8_error())
                }
            })
            .collect::<Result<_, _>>()
            .map_err(|_| Misfit)?;
        let cells: Vec<Option<&str>> = texts.iter().map(Option::as_deref).collect();
        decode_cells(&cells, ty).map_err(|_| Misfit)
    }
}

/// The cells of a typed column as they were read.
pub(super) struct AsReadBuilder {
    cells: TextBuilder,
    /// [`Type::Raw`] for cells that are parsed as JSON, [`Type::Text`] for others.
    ty: Type,
}

impl AsReadBuilder {
    /// Makes an empty column of the cells of a column of type `ty`, with capacity for `capacity` rows.
    pub(super) fn new(ty: &Type, morsel: &Morsel, capacity: usize) -> Self {
        let ty = if NestedCells::are_for(ty) && *ty != Type::Json { Type::Raw } else { Type::Text };
        AsReadBuilder { cells: TextBuilder::new(morsel, capacity), ty }
    }

    /// Appends cells of records that are valid UTF-8.
    pub(super) fn append(&mut self, cells: impl Iterator<Item = Span>) {
        self.cells.append_all(cells);
    }

    /// Finishes the column.
    pub(super) fn finish(self, morsel: &Morsel) -> AsRead {
        AsRead { array: self.cells.finish(morsel), ty: self.ty }
    }
}

/// Text column of views into the morsel; cells with doubled quotes are unescaped into a second buffer.
pub(super) struct TextBuilder {
    /// The morsel's bytes. With its padding, sixteen bytes follow the start of each cell.
    bytes: Buffer,
    views: Views,
    nulls: NullBufferBuilder,
    /// Cells with their quotes halved. Valid UTF-8 as the morsel is: a quote is never part of another character.
    unescaped: Vec<u8>,
}

/// Buffer index of views into the morsel.
const MORSEL_BUFFER: u32 = 0;

/// Buffer index of views into the unescaped cells.
const UNESCAPED_BUFFER: u32 = 1;

impl TextBuilder {
    fn new(morsel: &Morsel, capacity: usize) -> Self {
        TextBuilder {
            bytes: morsel.bytes.clone(),
            views: Views::with_capacity(capacity),
            nulls: NullBufferBuilder::new(capacity),
            unescaped: Vec::new(),
        }
    }

    /// Appends cells of records that are valid UTF-8.
    #[inline]
    pub(super) fn append_all(&mut self, cells: impl Iterator<Item = Span>) {
        cells.for_each(|cell| self.append(cell));
    }

    #[inline]
    fn append(&mut self, cell: Span) {
        if cell.is_null() {
            self.views.push(0);
            self.nulls.append_null();
            return;
        }
        self.nulls.append_non_null();
        let view = if cell.has_doubled_quotes() {
            self.append_unescaped(cell)
        } else {
            make_view_of_padded(&self.bytes, cell.start(), cell.len(), MORSEL_BUFFER)
        };
        self.views.push(view);
    }

    fn append_unescaped(&mut self, cell: Span) -> u128 {
        let start = self.unescaped.len();
        if self.unescaped.capacity() - start <= cell.len() {
            self.reserve_unescaped(cell);
        }
        halve_quotes(cell.of(&self.bytes), &mut self.unescaped);
        let len = self.unescaped.len() - start;
        // At least sixteen bytes from `start` on, which the view's one load reads and the next cell overwrites.
        self.unescaped.resize(start + len.max(12) + 4, 0);
        let view = make_view_of_padded(&self.unescaped, start, len, UNESCAPED_BUFFER);
        self.unescaped.truncate(start + len);
        view
    }

    /// Reserves space for `cell` and, extrapolated from the morsel so far, for the cells after it.
    #[cold]
    fn reserve_unescaped(&mut self, cell: Span) {
        let rest = self.bytes.len() - cell.start();
        let extrapolated = self.unescaped.len() as f64 / cell.start().max(1) as f64 * rest as f64 * SURPLUS;
        self.unescaped.reserve(cell.len() + (extrapolated as usize).min(rest));
    }

    fn finish(self, morsel: &Morsel) -> ArrayRef {
        let mut buffers = vec![morsel.bytes.clone()];
        if !self.unescaped.is_empty() {
            buffers.push(Buffer::from_vec(self.unescaped));
        }
        // Every cell lies between two ASCII bytes of a record that passed the UTF-8 check.
        self.views.finish(buffers, self.nulls.build())
    }
}
