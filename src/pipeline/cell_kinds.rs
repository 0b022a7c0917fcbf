//! Sums of the kinds of cells in CSV columns, and the columns that a few cells made text. Values are not kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::column::{Schema, Type};
use crate::format::cell_kinds::{CellKinds, TextCell, TextForm};
use crate::position::{FieldPath, Position};
use crate::text::human_count;

/// A column of CSV that few of its cells made text: the others are numbers or booleans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextColumn {
    /// The name of the column in its sources.
    pub name: String,
    /// The number of the cells of text.
    pub texts: u64,
    /// The number of all cells that are not null.
    pub cells: u64,
    /// The first cell of text. `record` is that of its morsel.
    pub first: Position,
    /// The form of that cell.
    pub form: TextForm,
}

impl fmt::Display for TextColumn {
    /// Formats the column with its counts and the place of the first text, never a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TextColumn { name, texts, cells, first, .. } = self;
        let (name, which) = (FieldPath::root().field(name), if *texts == 1 { "one" } else { "the first" });
        let (texts, cells) = (human_count(*texts), human_count(*cells));
        write!(f, "column `{name}` is text because of {texts} of its {cells} cells, {which} at {first}")
    }
}

/// The share of text cells that are few, as a divisor: one in a hundred.
const FEW: u64 = 100;

/// Text cells that are few in a short column, too, if the others are more.
const FEW_IN_SHORT: u64 = 3;

/// The kinds of the cells of all columns so far.
#[derive(Debug, Default)]
pub(crate) struct ColumnKinds(HashMap<Arc<str>, (CellKinds, Option<Position>)>);

impl ColumnKinds {
    /// Adds the kinds of a morsel, the next one in the order of records; `position` is that of a cell in it.
    pub(crate) fn add(&mut self, kinds: Vec<(Arc<str>, CellKinds)>, position: impl Fn(&TextCell) -> Position) {
        for (name, more) in kinds {
            let (sum, first) = self.0.entry(name).or_default();
            sum.numbers += more.numbers;
            sum.booleans += more.booleans;
            sum.texts += more.texts;
            sum.is_text |= more.is_text;
            if let (None, Some(cell)) = (&sum.first_text, more.first_text) {
                *first = Some(position(&cell));
                sum.first_text = Some(cell);
            }
        }
    }

    /// Returns those of the final `columns` that few cells made text, in their order.
    pub(crate) fn text_columns(&self, columns: &Schema) -> Vec<TextColumn> {
        let text = columns.fields.iter().filter(|field| field.ty == Type::Text);
        let made_text = text.filter_map(|field| {
            let (kinds, first) = self.0.get(&field.name)?;
            let cells = kinds.numbers + kinds.booleans + kinds.texts;
            let is_few = kinds.texts * FEW <= cells || kinds.texts <= FEW_IN_SHORT && kinds.texts * 2 < cells;
            // A column of both numbers and booleans is text without these cells, too.
            let is_mixed = kinds.numbers > 0 && kinds.booleans > 0;
            if kinds.is_text || is_mixed || !is_few {
                return None;
            }
            let form = kinds.first_text?.form;
            Some(TextColumn { name: field.name.to_string(), texts: kinds.texts, cells, first: first.clone()?, form })
        });
        made_text.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Field;

    fn kinds(numbers: u64, booleans: u64, texts: u64, byte: usize) -> (Arc<str>, CellKinds) {
        let first_text = (texts > 0).then_some(TextCell { byte, line: byte as u64, form: TextForm::Word });
        ("a".into(), CellKinds { numbers, booleans, texts, first_text, is_text: false })
    }

    fn found(parts: &[(Arc<str>, CellKinds)]) -> Option<(u64, u64, u64)> {
        let mut sums = ColumnKinds::default();
        for part in parts {
            let at =
                |cell: &TextCell| Position { source: "s".into(), byte: cell.byte as u64, line: cell.line, record: 0 };
            sums.add(vec![part.clone()], at);
        }
        let columns = Schema::new(vec![Field::new("a", Type::Text), Field::new("b", Type::Text)]);
        sums.text_columns(&columns).pop().map(|column| (column.texts, column.cells, column.first.byte))
    }

    #[test]
    fn few_texts_among_numbers_are_found_with_the_first() {
        assert_eq!(found(&[kinds(500, 0, 0, 0), kinds(499, 0, 1, 7), kinds(0, 0, 9, 8)]), Some((10, 1009, 7)));
        assert_eq!(found(&[kinds(500, 0, 11, 7)]), None);
        assert_eq!((found(&[kinds(2, 0, 1, 7)]), found(&[kinds(1, 0, 1, 7)])), (Some((1, 3, 7)), None));
        assert_eq!(found(&[kinds(0, 30, 1, 7)]), Some((1, 31, 7)));
        assert_eq!(found(&[kinds(30, 30, 1, 7)]), None);
        assert_eq!(found(&[kinds(900, 0, 0, 0)]), None);
        let (name, many) = kinds(9000, 0, 70, 7);
        assert_eq!(found(&[kinds(90, 0, 0, 0), (name, CellKinds { is_text: true, ..many })]), None);
    }
}
