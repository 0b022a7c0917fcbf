//! Decodes morsels under the rules of the schema, for every input format. Neither steps nor outputs are known here.

use std::sync::Arc;

use super::rules::{AsReadDemand, SchemaRules};
use crate::column::{AsRead, Batch, Field, Morsel, Schema, Type};
use crate::format::Format;
use crate::format::decode::{
    AsReadColumns, EnforcedColumns, ExtraColumn, InferredColumns, OnMisfit, Outcome, RecordRules,
};
use crate::format::frame::Framing;
use crate::format::json_values;
use crate::format::ndjson::{self, DecodeOptions, InferOptions, UnknownKey, ValueTypes};
use crate::format::utf8::{self, Repaired};
use crate::pipeline::input::SourceInfo;
use crate::pipeline::plan::SchemaPolicy;

/// Maximum values of one batch, nulls included. By eye: 64 MiB of string views.
const MAX_BATCH_CELLS: usize = 4 << 20;

impl SchemaRules {
    /// Returns the decoder's rules for records, besides the schema.
    fn decoder_rules(&self) -> RecordRules<'_> {
        let enforced = self.contract.as_ref().map(|contract| EnforcedColumns {
            fields: &contract.fields,
            open: self.policy == SchemaPolicy::Evolve,
            on_misfit: if self.policy == SchemaPolicy::Fail { OnMisfit::SchemaMismatch } else { OnMisfit::Reject },
        });
        let fixed = if self.demands.typed { self.demands.arrays_fixed } else { self.demands.columns_fixed };
        let extra = if fixed { ExtraColumn::KeysAndMisfits } else { ExtraColumn::Keys };
        RecordRules {
            check_all: enforced.is_some() && !self.demands.typed,
            enforced,
            extra: self.extra_column.is_some().then_some(extra),
            spans: self.demands.record_spans,
            // Where all columns are text, none was made text.
            cell_kinds: !self.demands.cells_as_text,
            as_read: match &self.demands.as_read {
                AsReadDemand::Only(names) => AsReadColumns::Only(names),
                AsReadDemand::All => AsReadColumns::All,
                AsReadDemand::Every => AsReadColumns::Every,
            },
            output_columns: self.output_columns.as_deref(),
        }
    }

    /// Infers the columns of a morsel's records; where columns are not typed, only their names. With `trace`, also the
    /// record at which each type widened.
    pub(crate) fn infer_columns(&self, morsel: &Morsel, info: &SourceInfo, trace: bool) -> InferredColumns {
        let repaired = self.repaired(morsel, info);
        let text = repaired.as_ref().map_or(morsel, |repaired| &repaired.morsel);
        let mut inferred = self.infer_columns_of(text, info, trace);
        if info.format.is_rewritten() {
            count_lines(text, &mut inferred);
        }
        if let Some(repaired) = repaired {
            inferred.widenings.iter_mut().for_each(|widening| widening.byte = repaired.original(widening.byte));
            inferred.first_misfit.iter_mut().for_each(|misfit| misfit.byte = repaired.original(misfit.byte));
            let texts = inferred.cell_kinds.iter_mut().filter_map(|(_, kinds)| kinds.first_text.as_mut());
            texts.for_each(|cell| cell.byte = repaired.original(cell.byte));
        }
        inferred
    }

    /// Infers the columns of the lines of a morsel.
    fn infer_columns_of(&self, morsel: &Morsel, info: &SourceInfo, trace: bool) -> InferredColumns {
        let named = |schema| InferredColumns { schema, ..InferredColumns::default() };
        let enforced = self.decoder_rules().enforced;
        match &info.csv {
            // Cells are text whatever they contain.
            Some(csv) if self.demands.cells_as_text => {
                named(Schema::new(csv.header.names.iter().map(|n| Field::new(n.clone(), Type::Text)).collect()))
            }
            Some(csv) => {
                let mut known = self.declared.clone();
                known.fields.extend(self.contract.iter().flat_map(|contract| contract.fields.iter().cloned()));
                csv.decoder.infer_columns(morsel, &known, enforced, trace)
            }
            // The columns are known by name and have no types: no record need be parsed.
            None if self.demands.only_columns.is_some() && self.demands.keys == ValueTypes::Raw => {
                named(self.with_needed(Schema::default()))
            }
            None => {
                let max_record_bytes = self.max_record_bytes;
                let options = InferOptions { keys: self.demands.keys, max_record_bytes, enforced, trace };
                let inferred = ndjson::infer_columns(morsel, &options);
                InferredColumns { schema: self.only_of_outputs(self.only_needed(inferred.schema)), ..inferred }
            }
        }
    }

    /// Returns the morsel as it is decoded, if that is not as it was read: JSON values as lines, and U+FFFD for invalid
    /// UTF-8 if the plan asks for that; else `None`.
    pub(crate) fn repaired(&self, morsel: &Morsel, info: &SourceInfo) -> Option<Repaired> {
        let lines = (info.format == Format::JsonValues).then(|| json_values::as_lines(morsel));
        let text = lines.as_ref().map_or(morsel, |lines| &lines.morsel);
        match if self.demands.lossy_utf8 { utf8::repair(text) } else { None } {
            Some(repaired) => Some(match lines {
                Some(lines) => repaired.after(lines),
                None => repaired,
            }),
            None => lines,
        }
    }

    /// Decodes one morsel into columns of `schema`. Returns a mismatch with the wider schema if a record does not fit
    /// and the columns may widen.
    pub(crate) fn decode(&self, morsel: &Morsel, info: &SourceInfo, schema: &Arc<Schema>) -> Outcome {
        let freeze = self.policy == SchemaPolicy::Freeze;
        // The columns of a CSV record are those of its header: it has no unknown keys.
        if let Some(csv) = &info.csv {
            let on_misfit = if freeze { OnMisfit::Reject } else { OnMisfit::SchemaMismatch };
            let mut outcome = csv.decoder.decode_under(morsel, schema, on_misfit, &self.decoder_rules());
            if let Outcome::Decoded(decoded) = &mut outcome
                && self.demands.keeps_cells
            {
                self.keep_cells(&mut decoded.batch);
            }
            return outcome;
        }
        let options = DecodeOptions {
            // `schema` has all needed columns, so no step and no output reads another key.
            unknown_key: if self.demands.only_columns.is_some() {
                UnknownKey::Skip
            } else {
                UnknownKey::SchemaMismatch
            },
            new_columns: self.demands.keys,
            freeze,
            max_record_bytes: self.max_record_bytes,
            max_cells: MAX_BATCH_CELLS,
            record_spans: self.demands.copies_records || self.demands.record_spans,
            canonical_json: self.demands.keys == ValueTypes::Typed,
        };
        // Elements of an array are decoded as lines of NDJSON; only their line numbers differ.
        let mut outcome = ndjson::decode_under(morsel, schema, &options, &self.decoder_rules());
        if info.format.is_rewritten() {
            count_lines_of_source(morsel, &mut outcome);
        }
        outcome
    }

    /// Adds the texts of columns that are not declared as text to the values as read.
    fn keep_cells(&self, batch: &mut Batch) {
        let is_declared = |name: &str| {
            let declared =
                self.declared.fields.iter().chain(self.contract.iter().flat_map(|contract| &contract.fields));
            declared.into_iter().any(|field| *field.name == *name && field.ty == Type::Text)
        };
        let kept = |field: &Field| field.ty == Type::Text && !is_declared(&field.name);
        let kept: Vec<usize> = (0..batch.columns.len()).filter(|&i| kept(&batch.schema.fields[i])).collect();
        if !kept.is_empty() {
            batch.as_read.resize(batch.columns.len(), None);
        }
        for i in kept {
            let array = &batch.columns[i];
            batch.as_read[i].get_or_insert_with(|| AsRead { array: array.clone(), ty: Type::Text });
        }
    }
}

/// Replaces the line numbers of inference, which count array elements or values, by those of the source.
fn count_lines(morsel: &Morsel, inferred: &mut InferredColumns) {
    let lines_to =
        |byte: usize| memchr::memchr_iter(Framing::Elements.line_break(), &morsel.records()[..byte]).count() as u64;
    inferred.widenings.iter_mut().for_each(|widening| widening.line = lines_to(widening.byte));
    inferred.first_misfit.iter_mut().for_each(|misfit| misfit.line = lines_to(misfit.byte));
    inferred.lines = lines_to(morsel.len);
}

/// Replaces the decoder's line numbers, which count array elements or values, by those of the source.
fn count_lines_of_source(morsel: &Morsel, outcome: &mut Outcome) {
    // The line breaks inside a morsel are counted once: positions only move forward.
    let (mut lines, mut counted_to) = (0, 0);
    let mut lines_to = |byte: usize| {
        let line_break = Framing::Elements.line_break();
        lines += memchr::memchr_iter(line_break, &morsel.records()[counted_to..byte]).count() as u64;
        counted_to = byte;
        lines
    };
    match outcome {
        Outcome::SchemaMismatch(mismatch) => mismatch.line = lines_to(mismatch.byte),
        Outcome::Decoded(decoded) => {
            for rejected in &mut decoded.rejects {
                rejected.line = lines_to(rejected.byte);
            }
            decoded.lines = lines_to(decoded.consumed);
        }
    }
}
