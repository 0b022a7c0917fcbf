//! Translation of the engine's hints and properties into flags. The engine proposes steps by their words; only here do they become
//! `--select` or `--flatten=_`.

use crate::format::csv::CsvProperty;
use crate::transform::expr::Hint;
use crate::transform::{ArgumentForm, Grammar};

/// Formats `hint` with the steps in it written as flags.
pub(super) fn in_flags(hint: &Hint) -> String {
    hint.with_steps(|word, text| match Grammar::of(word).map(|grammar| grammar.form) {
        _ if text.is_empty() => format!("--{word}"),
        // The value of such a flag is optional, so it must be joined.
        Some(ArgumentForm::TextOr(_)) => format!("--{word}={text}"),
        _ => format!("--{word} {text}"),
    })
}

/// Returns the flag for a property of CSV inputs.
pub(super) fn flag_of_csv(property: CsvProperty) -> &'static str {
    match property {
        CsvProperty::Delimiter => "--in-delimiter",
        CsvProperty::Quote => "--in-quote",
        CsvProperty::SkipLines => "--in-skip-lines",
        CsvProperty::Header => "--in-header",
        CsvProperty::NullWords => "--in-null",
        CsvProperty::Decimal => "--in-decimal",
        CsvProperty::Thousands => "--in-thousands",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_in_hints_are_written_as_flags() {
        let hint = Hint::from("take ").step("select", "").words(", ").step("flatten", "_").words(" or ");
        let hint = hint.step("cast", "a:json");
        assert_eq!(in_flags(&hint), "take `--select`, `--flatten=_` or `--cast a:json`");
        assert_eq!(hint.to_string(), "take `select`, `flatten _` or `cast a:json`");
    }
}
