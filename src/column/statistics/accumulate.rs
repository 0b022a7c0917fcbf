//! The state of each column while batches are read, and the adding of a batch to it.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use xxhash_rust::xxh3::xxh3_64;

use super::distinct::Distinct;
use super::quantiles::Quantiles;
use super::summary::{ColumnSummary, Histogram, LengthSummary, QUANTILES, Range, value_kind};
use crate::column::json_text::{JsonValues, NullMembers};
use crate::column::number::write_float;
use crate::column::{Batch, Field, Fixed, Schema, Type};
use crate::position::FieldPath;

/// Characters of a shown value. Results are wide, and a look at them is enough.
const SHOWN_CHARS: usize = 60;

/// Bytes of a text that bounds are compared by.
const COMPARED_BYTES: usize = 256;

/// Examples of a column.
const EXAMPLES: usize = 3;

/// The wishes of a user.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatisticsOptions {
    /// Keep some values of text to be shown.
    pub values: bool,
}

/// Statistics of columns, to which batches are added in the order of their rows.
#[derive(Debug)]
pub struct Statistics {
    options: StatisticsOptions,
    columns: Vec<ColumnStatistics>,
    rows: u64,
    /// The columns of the last batch.
    schema: Arc<Schema>,
}

/// The columns of a batch have a wider type than before, or another place: what was counted is that of other columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widened;

impl Statistics {
    /// Creates statistics of no rows and no columns.
    pub fn new(options: StatisticsOptions) -> Self {
        Statistics { options, columns: Vec::new(), rows: 0, schema: Arc::default() }
    }

    /// Begins a batch: new columns are added, with nulls in the rows before. Returns all columns, each of which must then be
    /// given the batch by [`ColumnStatistics::add`], in any order and on any thread.
    ///
    /// # Errors
    ///
    /// If the type of a column that had values has changed, or the memory that it may take: members of objects before it may
    /// appear late. The statistics are then of no use.
    pub fn begin(&mut self, batch: &Batch) -> Result<std::slice::IterMut<'_, ColumnStatistics>, Widened> {
        if !Arc::ptr_eq(&self.schema, &batch.schema) {
            self.follow(&batch.schema)?;
        }
        self.rows += batch.rows as u64;
        Ok(self.columns.iter_mut())
    }

    /// Brings the columns in line with `schema`.
    fn follow(&mut self, schema: &Arc<Schema>) -> Result<(), Widened> {
        let places = Place::of(schema);
        let mut columns = Vec::with_capacity(places.len());
        let mut before = std::mem::take(&mut self.columns);
        for place in places {
            let known = before.iter().position(|column| column.path == place.path);
            let column = match known.map(|i| before.swap_remove(i)) {
                Some(mut known) if known.is_still(&place) => {
                    known.indices = place.indices;
                    known.ty = place.ty;
                    known
                }
                Some(known) if known.values > 0 => return Err(Widened),
                // Only nulls so far, if there was anything.
                _ => ColumnStatistics::new(place, self.rows, self.options),
            };
            columns.push(column);
        }
        if before.iter().any(|column| column.values > 0) {
            return Err(Widened);
        }
        (self.columns, self.schema) = (columns, schema.clone());
        Ok(())
    }

    /// Sets the columns of no rows; does nothing if there was a row.
    pub fn set_columns(&mut self, schema: &Schema) {
        if self.rows == 0 {
            self.follow(&Arc::new(schema.clone())).expect("no column has a value that could be of another type");
        }
    }

    /// Returns the rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the statistics of every column and of every member of objects, in the order of the columns.
    pub fn finish(self) -> Vec<ColumnSummary> {
        self.columns.into_iter().map(ColumnStatistics::finish).collect()
    }
}

fn is_object(ty: &Type) -> bool {
    matches!(ty, Type::Struct(fields) if !fields.is_empty())
}

/// A column, or a member of its objects, by its position in a batch.
struct Place {
    path: String,
    ty: Type,
    indices: Vec<usize>,
    /// The columns before it that keep values, by which its memory is chosen.
    rank: usize,
}

impl Place {
    /// Returns the places of all columns and members, in order.
    fn of(schema: &Schema) -> Vec<Place> {
        let mut places = Vec::new();
        let fields = schema.fields.iter().enumerate();
        fields.for_each(|(i, field)| Place::collect(field, &FieldPath::root(), &[], i, &mut places));
        let mut rank = 0;
        for place in &mut places {
            place.rank = rank;
            rank += usize::from(!is_object(&place.ty));
        }
        places
    }

    fn collect(field: &Field, parent: &FieldPath, above: &[usize], index: usize, places: &mut Vec<Place>) {
        let path = parent.field(&field.name);
        let indices: Vec<usize> = above.iter().copied().chain([index]).collect();
        let ty = field.ty.resolved();
        places.push(Place { path: path.to_string(), ty: ty.clone(), indices: indices.clone(), rank: 0 });
        if let Type::Struct(fields) = &ty {
            fields.iter().enumerate().for_each(|(i, field)| Place::collect(field, &path, &indices, i, places));
        }
    }
}

/// The most that a column keeps. A wide table has hundreds of columns, and their memory is bounded, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    distinct: usize,
    buffer: usize,
}

impl Bounds {
    /// Returns the bounds of a column by its rank: those of the first 32 columns are up to 3 MB each.
    fn of(rank: usize) -> Self {
        match rank {
            0..32 => Bounds { distinct: 1 << 16, buffer: 1 << 14 },
            32..256 => Bounds { distinct: 1 << 13, buffer: 1 << 11 },
            _ => Bounds { distinct: 1 << 10, buffer: 1 << 9 },
        }
    }
}

/// The state of one column.
#[derive(Debug)]
pub struct ColumnStatistics {
    path: String,
    ty: Type,
    /// Its position in a batch: the column, and the members below it.
    indices: Vec<usize>,
    bounds: Bounds,
    values: u64,
    nulls: u64,
    distinct: Distinct,
    kept: Kept,
    examples: Option<Vec<String>>,
}

#[derive(Debug)]
enum Kept {
    Nothing,
    Trues(u64),
    /// Integers, dates and times.
    Longs(Ordered<i64>),
    /// Doubles, as integers of the same order.
    Doubles {
        ordered: Ordered<i64>,
        total: Total,
        not_finite: u64,
    },
    Decimals(Ordered<i128>),
    Lengths {
        ordered: Ordered<i64>,
        bounds: Option<Option<(Box<str>, Box<str>)>>,
    },
}

/// Bounds, sum and quantiles of values.
#[derive(Debug)]
struct Ordered<T> {
    bounds: Option<(T, T)>,
    /// The sum, as long as 128 bits hold it.
    sum: Option<i128>,
    /// The sum as a double, for the others.
    rough_sum: Sum,
    quantiles: Quantiles<T>,
}

/// A mean of doubles, from their sums. Those near the end of the range of doubles have a sum of their own, which is scaled:
/// it would be infinite.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    sum: Sum,
    /// Of the values from [`LARGE`] on, as parts of it.
    large: Sum,
}

/// 2^900, below which the sum of 2^64 values is finite.
const LARGE: f64 = f64::from_bits((1023 + 900) << 52);

impl Total {
    #[inline]
    fn add(&mut self, value: f64) {
        match value.abs() < LARGE {
            true => self.sum.add(value),
            false => self.large.add(value / LARGE),
        }
    }

    fn mean(self, count: u64) -> f64 {
        self.sum.value() / count as f64 + self.large.value() / count as f64 * LARGE
    }
}

/// A sum of doubles with the error of each addition (Neumaier).
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    #[inline]
    fn add(&mut self, value: f64) {
        let next = self.sum + value;
        let (larger, smaller) = if self.sum.abs() >= value.abs() { (self.sum, value) } else { (value, self.sum) };
        self.lost += (larger - next) + smaller;
        self.sum = next;
    }

    fn value(self) -> f64 {
        self.sum + self.lost
    }
}

impl<T: Copy + Ord + Into<i128>> Ordered<T> {
    fn new(bounds: Bounds) -> Self {
        // A decimal takes twice the bytes.
        let buffer = bounds.buffer * size_of::<i64>() / size_of::<T>();
        Ordered { bounds: None, sum: Some(0), rough_sum: Sum::default(), quantiles: Quantiles::new(buffer) }
    }

    /// Adds a value to all but the sum.
    #[inline]
    fn place(&mut self, value: T) {
        self.bounds = Some(match self.bounds {
            Some((min, max)) => (min.min(value), max.max(value)),
            None => (value, value),
        });
        self.quantiles.push(value);
    }

    #[inline]
    fn push(&mut self, value: T) {
        self.place(value);
        let value = value.into();
        self.sum = self.sum.and_then(|sum| sum.checked_add(value));
        if self.sum.is_none() || size_of::<T>() > 8 {
            self.rough_sum.add(value as f64);
        }
    }

    fn total(&self) -> f64 {
        self.sum.map_or_else(|| self.rough_sum.value(), |sum| sum as f64)
    }
}

/// Maps a double to an integer of the same order, and back.
fn order_key(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

impl ColumnStatistics {
    fn new(place: Place, nulls: u64, options: StatisticsOptions) -> Self {
        let bounds = Bounds::of(place.rank);
        let kept = match &place.ty {
            Type::Bool => Kept::Trues(0),
            Type::Int { .. } | Type::Fixed(Fixed::Date | Fixed::Timestamp { .. }) => Kept::Longs(Ordered::new(bounds)),
            Type::Float => Kept::Doubles { ordered: Ordered::new(bounds), total: Total::default(), not_finite: 0 },
            Type::Decimal | Type::Fixed(Fixed::Decimal { .. }) => Kept::Decimals(Ordered::new(bounds)),
            ty if ty.is_text_like() && *ty != Type::Null => {
                Kept::Lengths { ordered: Ordered::new(bounds), bounds: options.values.then_some(None) }
            }
            Type::List(_) | Type::Map(_) => Kept::Lengths { ordered: Ordered::new(bounds), bounds: None },
            _ => Kept::Nothing,
        };
        let shows = options.values && !is_object(&place.ty);
        ColumnStatistics {
            path: place.path,
            ty: place.ty,
            indices: place.indices,
            bounds,
            values: 0,
            nulls,
            distinct: Distinct::new(bounds.distinct),
            kept,
            examples: shows.then(Vec::new),
        }
    }

    fn is_object(&self) -> bool {
        is_object(&self.ty)
    }

    /// Returns true if what was counted so far is what would have been counted at `place`.
    fn is_still(&self, place: &Place) -> bool {
        match (self.is_object(), is_object(&place.ty)) {
            (true, true) => true,
            (false, false) => self.ty.is_like(&place.ty) && self.bounds == Bounds::of(place.rank),
            _ => false,
        }
    }

    /// Adds the values of its column in `batch`, which must have been begun.
    pub fn add(&mut self, batch: &Batch) {
        let (array, nulls) = column_at(batch, &self.indices);
        let n_nulls = match self.ty {
            Type::Null => batch.rows,
            _ => nulls.as_ref().map_or(0, NullBuffer::null_count),
        };
        self.nulls += n_nulls as u64;
        self.values += (batch.rows - n_nulls) as u64;
        if n_nulls == batch.rows || is_object(&self.ty) {
            return;
        }
        let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let rows = (0..batch.rows).filter(|row| valid(*row));
        let distinct = &mut self.distinct;
        match (&mut self.kept, &self.ty) {
            (Kept::Trues(trues), _) => {
                let array = array.as_boolean();
                *trues += rows.clone().filter(|row| array.value(*row)).count() as u64;
            }
            (Kept::Longs(ordered), Type::Fixed(fixed)) => {
                for row in rows.clone() {
                    // Dates have 32 bits and times 64.
                    let value = fixed.value(&*array, row) as i64;
                    ordered.push(value);
                    distinct.insert(xxh3_64(&value.to_le_bytes()));
                }
            }
            (Kept::Longs(ordered), _) => {
                let array = array.as_primitive::<Int64Type>();
                for row in rows.clone() {
                    let value = array.value(row);
                    ordered.push(value);
                    distinct.insert(xxh3_64(&value.to_le_bytes()));
                }
            }
            (Kept::Doubles { ordered, total, not_finite }, _) => {
                let array = array.as_primitive::<Float64Type>();
                for row in rows.clone() {
                    // One zero, and one NaN.
                    let value = array.value(row) + 0.0;
                    let value = if value.is_nan() { f64::NAN } else { value };
                    distinct.insert(xxh3_64(&value.to_bits().to_le_bytes()));
                    if value.is_finite() {
                        ordered.place(order_key(value.to_bits() as i64));
                        total.add(value);
                    } else {
                        *not_finite += 1;
                    }
                }
            }
            (Kept::Decimals(ordered), _) => {
                let array = array.as_primitive::<Decimal128Type>();
                for row in rows.clone() {
                    let value = array.value(row);
                    ordered.push(value);
                    distinct.insert(xxh3_64(&value.to_le_bytes()));
                }
            }
            (Kept::Lengths { ordered, bounds }, ty) if ty.is_text_like() => {
                let array = array.as_string_view();
                for row in rows.clone() {
                    let text = array.value(row);
                    ordered.push(text.chars().count() as i64);
                    distinct.insert(xxh3_64(text.as_bytes()));
                    if let Some(bounds) = bounds {
                        widen(bounds, text);
                    }
                }
            }
            (kept, ty) => {
                let values = JsonValues::try_new(&*array, ty, NullMembers::Write);
                let mut json = Vec::new();
                for row in rows.clone() {
                    if let Kept::Lengths { ordered, .. } = kept {
                        let len = match ty {
                            Type::List(_) => array.as_list::<i32>().value_length(row),
                            _ => array.as_map().value_length(row),
                        };
                        ordered.push(len.into());
                    }
                    if let Some(values) = &values {
                        json.clear();
                        values.write(row, &mut json);
                        distinct.insert(xxh3_64(&json));
                    }
                }
            }
        }
        if let Some(examples) = self.examples.as_mut().filter(|examples| examples.len() < EXAMPLES) {
            let Some(values) = JsonValues::try_new(&*array, &self.ty, NullMembers::LeaveOut) else { return };
            for row in rows {
                let shown = match self.ty {
                    Type::Text => shortened(array.as_string_view().value(row)),
                    // As in a table: JSON has no spelling of NaN and infinities.
                    Type::Float if !array.as_primitive::<Float64Type>().value(row).is_finite() => {
                        array.as_primitive::<Float64Type>().value(row).to_string()
                    }
                    _ => {
                        let mut json = Vec::new();
                        values.write(row, &mut json);
                        shortened(&String::from_utf8_lossy(&json))
                    }
                };
                if !examples.contains(&shown) {
                    examples.push(shown);
                    if examples.len() == EXAMPLES {
                        break;
                    }
                }
            }
        }
    }

    fn finish(mut self) -> ColumnSummary {
        let is_object = self.is_object();
        let (mut range, mut lengths, mut trues, mut not_finite, mut text_bounds) = (None, None, None, 0, None);
        let fixed = match self.ty {
            Type::Fixed(fixed) => Some(fixed),
            _ => None,
        };
        let kind = value_kind(&self.ty);
        match self.kept {
            Kept::Nothing => {}
            Kept::Trues(n) => {
                trues = Some(n);
                [(n > 0, 1), (n < self.values, 0)]
                    .iter()
                    .filter(|(is, _)| *is)
                    .for_each(|(_, hash)| self.distinct.insert(*hash));
            }
            Kept::Longs(ordered) => {
                let text = |value: i64| fixed_text(fixed, value.into());
                let mean = ordered.total() / self.values as f64;
                let mean_text = |mean: f64| if fixed.is_some() { text(mean.round() as i64) } else { float_text(mean) };
                let in_bins = |value: f64| text(value.floor() as i64);
                range = ordered.range(kind, mean_text(mean), true, |v| v as f64, text, in_bins);
            }
            Kept::Doubles { ordered, total, not_finite: n } => {
                not_finite = n;
                let number = |key: i64| f64::from_bits(order_key(key) as u64);
                let mean = float_text(total.mean(self.values - n));
                range = ordered.range(kind, mean, false, number, |key| float_text(number(key)), short_float_text);
            }
            Kept::Decimals(ordered) => {
                let scale = match fixed {
                    Some(Fixed::Decimal { scale, .. }) => scale,
                    _ => 0,
                };
                let unit = 10_f64.powi(scale.into());
                let mean = float_text(ordered.total() / unit / self.values as f64);
                let text = |value: i128| fixed_text(fixed, value);
                range = ordered.range(kind, mean, scale == 0, |v| v as f64 / unit, text, short_float_text);
            }
            Kept::Lengths { ordered, bounds } => {
                text_bounds = bounds.flatten().map(|(min, max)| (shortened(&min), shortened(&max)));
                lengths = ordered.lengths(self.values);
            }
        }
        ColumnSummary {
            path: self.path,
            ty: self.ty,
            values: self.values,
            nulls: self.nulls,
            distinct: (!is_object).then(|| self.distinct.count()),
            distinct_is_exact: self.distinct.is_exact(),
            range,
            lengths,
            trues,
            not_finite,
            text_bounds,
            examples: self.examples.unwrap_or_default(),
        }
    }
}

impl<T: Copy + Ord + Into<i128>> Ordered<T> {
    /// Returns the range; `None` without values.
    fn range(
        self,
        kind: Option<super::summary::ValueKind>,
        mean: String,
        is_whole: bool,
        number: impl Fn(T) -> f64,
        text: impl Fn(T) -> String,
        in_bins: impl Fn(f64) -> String,
    ) -> Option<Range> {
        let ((min, max), kind) = self.bounds.zip(kind)?;
        let histogram = Histogram::of(&self.quantiles, (number(min), number(max)), is_whole, &number, in_bins);
        Some(Range {
            kind,
            min: text(min),
            max: text(max),
            mean,
            quantiles: self.quantiles.at(&QUANTILES).into_iter().map(text).collect(),
            rank_error: self.quantiles.rank_error(),
            histogram,
        })
    }
}

impl Ordered<i64> {
    /// Returns the lengths of `count` values; `None` without values.
    fn lengths(self, count: u64) -> Option<LengthSummary> {
        let (min, max) = self.bounds?;
        let text = |value: f64| (value.floor() as i64).to_string();
        let histogram = Histogram::of(&self.quantiles, (min as f64, max as f64), true, |v| v as f64, text);
        Some(LengthSummary {
            min: min.unsigned_abs(),
            max: max.unsigned_abs(),
            mean: self.total() / count as f64,
            quantiles: self.quantiles.at(&QUANTILES).into_iter().map(i64::unsigned_abs).collect(),
            rank_error: self.quantiles.rank_error(),
            histogram,
        })
    }
}

/// Returns the column at `indices` with the nulls of the objects above it.
fn column_at(batch: &Batch, indices: &[usize]) -> (ArrayRef, Option<NullBuffer>) {
    let mut array = batch.columns[indices[0]].clone();
    let mut nulls = array.nulls().cloned();
    for index in &indices[1..] {
        let member = array.as_struct().column(*index).clone();
        nulls = NullBuffer::union(nulls.as_ref(), member.nulls());
        array = member;
    }
    (array, nulls)
}

/// Widens the least and the greatest text, which are compared by their first bytes.
fn widen(bounds: &mut Option<(Box<str>, Box<str>)>, text: &str) {
    let text = &text[..text.floor_char_boundary(COMPARED_BYTES)];
    match bounds {
        None => *bounds = Some((text.into(), text.into())),
        Some((min, max)) => {
            if text.cmp(min) == Ordering::Less {
                *min = text.into();
            } else if text.cmp(max) == Ordering::Greater {
                *max = text.into();
            }
        }
    }
}

/// Cuts `text` for people.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn fixed_text(fixed: Option<Fixed>, value: i128) -> String {
    let mut text = Vec::new();
    match fixed {
        Some(fixed) => fixed.write(value, &mut text),
        None => return value.to_string(),
    }
    String::from_utf8(text).unwrap_or_default()
}

/// Returns a double in its canonical form.
fn float_text(value: f64) -> String {
    let mut text = Vec::new();
    write_float(value, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Returns a double with four digits, for the bounds of parts.
fn short_float_text(value: f64) -> String {
    let text = format!("{value:.3e}");
    float_text(text.parse().unwrap_or(value))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
