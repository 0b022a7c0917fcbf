//! The rules by which the schema of an execution grows: the enforced schema (the contract), the declared types, the schema
//! policy, and what steps and outputs demand of decoded rows. Read-only, and the same for all threads; the schema itself is
//! in the registry. Knows no outputs and no steps: what they need is said in [`Demands`].

use std::sync::Arc;

use crate::column::{Field, MAX_COLUMNS, Schema, Type, TypeMerge, keeps_carrier};
use crate::format::Format;
use crate::format::decode::EnforcedColumns;
use crate::format::ndjson::ValueTypes;
use crate::pipeline::error::{BrokenContract, Error, FixedSchema, PlanError};
use crate::pipeline::input::SourceInfo;
use crate::pipeline::plan::{Limits, SchemaPolicy, SchemaSource};
use crate::position::FieldPath;

/// The demands of steps and outputs on decoded rows.
#[derive(Clone, Debug)]
pub struct Demands {
    /// An output has typed columns, so that all rows are decoded to these; else values pass as the text that they are.
    pub typed: bool,
    /// The contents of columns of NDJSON sources. CSV columns are typed unless all outputs are CSV.
    pub keys: ValueTypes,
    /// All outputs are CSV: cells pass as they are.
    pub cells_as_text: bool,
    /// The columns that steps and outputs need; the values of others are checked and left out. `None` for all.
    pub only_columns: Option<Vec<String>>,
    /// An output cannot go back, so that a new column is the end.
    pub columns_fixed: bool,
    /// A typed output cannot go back, so that a wider type is the end.
    pub arrays_fixed: bool,
    /// Values of a column are typed in a text output, so that a wider type of a CSV column is the end.
    pub types_fixed: bool,
    /// Bytes that are not UTF-8 become U+FFFD.
    pub lossy_utf8: bool,
    /// Steps trace rows back to their records.
    pub record_spans: bool,
    /// An output copies records of NDJSON sources as they are.
    pub copies_records: bool,
}

impl Demands {
    /// Columns of their own types, and nothing else: for looking at the schema alone.
    pub fn typed_columns() -> Self {
        Demands {
            typed: true,
            keys: ValueTypes::Typed,
            cells_as_text: false,
            only_columns: None,
            columns_fixed: false,
            arrays_fixed: false,
            types_fixed: false,
            lossy_utf8: false,
            record_spans: false,
            copies_records: false,
        }
    }
}

/// The rules by which the schema grows.
#[derive(Debug)]
pub struct SchemaRules {
    /// The needs of steps and outputs.
    pub demands: Demands,
    /// The policy for a late change.
    pub policy: SchemaPolicy,
    /// The rule for unlike scalars of a column; the sources are all of one kind.
    pub type_merge: TypeMerge,
    /// Columns that were declared; cells of CSV are read as JSON where they are nested.
    pub declared: Schema,
    /// Columns whose types are enforced; none of them is among the declared.
    pub contract: Option<Schema>,
    /// The column for the keys that have no column.
    pub extra_column: Option<Arc<str>>,
    /// A longer record is a reject.
    pub max_record_bytes: usize,
}

impl SchemaRules {
    /// The rules of `choice` for sources whose unlike scalars become what `type_merge` says.
    pub fn new(choice: &SchemaSource, demands: Demands, type_merge: TypeMerge, limits: &Limits) -> Self {
        SchemaRules {
            demands,
            policy: choice.policy,
            type_merge,
            declared: declared_beside_contract(choice),
            contract: choice.enforced.clone(),
            extra_column: choice.extra_column.clone(),
            max_record_bytes: limits.max_record_bytes,
        }
    }

    /// The rules for looking at the typed schema and nothing else: no extra column takes anything.
    pub fn for_schema(choice: &SchemaSource, type_merge: TypeMerge, limits: &Limits) -> Self {
        let rules = SchemaRules::new(choice, Demands::typed_columns(), type_merge, limits);
        SchemaRules { extra_column: None, ..rules }
    }

    /// Declared types speak of columns that occur; they do not make any.
    pub fn with_declared_types(&self, mut schema: Schema) -> Schema {
        for declared in &self.declared.fields {
            if let Some(i) = schema.position(&declared.name) {
                schema.fields[i].ty = schema.fields[i].ty.join(&declared.ty, self.type_merge);
            }
        }
        schema
    }

    /// The schema to start with after `seen` was seen, declared types joined in: the columns of the
    /// contract come first, and alone if nothing may come beside them.
    pub fn under_contract(&self, seen: Schema) -> Schema {
        let Some(contract) = &self.contract else { return seen };
        let columns = match self.carrier() {
            // The values of NDJSON are not looked at for the output's sake.
            _ if self.demands.only_columns.is_some() && self.type_merge == TypeMerge::Json => return seen,
            Some(carrier) => EnforcedColumns::carried_as(&contract.fields, &carrier),
            None => contract.clone(),
        };
        if self.policy == SchemaPolicy::Evolve { columns.join(&seen, self.type_merge) } else { columns }
    }

    /// The type that every column is carried as, where columns are not typed.
    fn carrier(&self) -> Option<Type> {
        match self.type_merge {
            TypeMerge::Text => self.demands.cells_as_text.then_some(Type::Text),
            TypeMerge::Json => (self.demands.keys == ValueTypes::Raw).then_some(Type::Raw),
        }
    }

    /// The first column of `schema` in which the contract does not hold any more: values fit it one by
    /// one, but its objects have had more keys together than a struct takes.
    pub fn broken_contract(&self, schema: &Schema) -> Option<BrokenContract> {
        let contract = self.contract.as_ref().filter(|_| self.demands.typed)?;
        let broken = contract.fields.iter().find(|field| {
            let now = schema.position(&field.name).map(|i| &schema.fields[i].ty);
            now.is_none_or(|now| !holds(&field.ty, now))
        })?;
        Some(BrokenContract { path: FieldPath::root().field(&broken.name) })
    }

    /// The schema with which decoding starts after `seen` was seen.
    pub fn initial_schema(&self, seen: Schema) -> Result<Schema, Error> {
        let mut schema = self.with_needed(self.under_contract(seen));
        if schema.fields.len() > MAX_COLUMNS {
            return Err(PlanError::TooManyColumns.into());
        }
        if let Some(broken) = self.broken_contract(&schema) {
            return Err(PlanError::Contract(broken).into());
        }
        schema = self.as_written(schema);
        if let Some(name) = &self.extra_column {
            if schema.position(name).is_some() {
                return Err(PlanError::ExtraColumnTaken(name.to_string()).into());
            }
            schema.fields.push(Field::new(name.clone(), Type::Json));
        }
        Ok(schema)
    }

    /// True if the header of a source may bring new columns.
    pub fn takes_header_columns(&self) -> bool {
        self.extra_column.is_none() && self.policy == SchemaPolicy::Evolve
    }

    /// Notes for the report on declared types that the values do not bear out.
    pub fn notes_on_declared(&self, schema: &Schema) -> Vec<String> {
        if self.carrier().is_some() {
            return Vec::new();
        }
        let note = |declared: &Field| {
            let ty = &schema.fields[schema.position(&declared.name)?].ty;
            (declared.ty.join(ty, self.type_merge) != declared.ty && declared.ty.outline() != ty.outline()).then(|| {
                let name = FieldPath::root().field(&declared.name);
                let (said, is) = (declared.ty.outline(), ty.outline());
                format!("column `{name}` is declared as {said}, but its values make it {is}")
            })
        };
        self.declared.fields.iter().filter_map(note).collect()
    }

    /// With all columns that are needed, also those that have not come yet: keys that are not of the
    /// schema are then passed over.
    pub fn with_needed(&self, mut schema: Schema) -> Schema {
        if self.type_merge == TypeMerge::Json {
            for name in self.demands.only_columns.iter().flatten() {
                if schema.position(name).is_none() {
                    let ty = if self.demands.keys == ValueTypes::Raw { Type::Raw } else { Type::Null };
                    schema.fields.push(Field::new(name.as_str(), ty));
                }
            }
        }
        schema
    }

    /// Without the columns that nothing needs.
    pub fn only_needed(&self, mut schema: Schema) -> Schema {
        if let Some(names) = &self.demands.only_columns {
            schema.fields.retain(|field| names.iter().any(|name| **name == *field.name));
        }
        schema
    }

    /// The reason for which a value without a place in the columns ends the execution; `None` if they widen from `old` to
    /// `new`.
    pub fn forbidden_change(&self, info: &SourceInfo, old: &Schema, new: &Schema) -> Option<FixedSchema> {
        if new.fields.len() > MAX_COLUMNS {
            return Some(FixedSchema::TooManyColumns);
        }
        let new_columns = new.fields.len() > old.fields.len();
        if self.policy == SchemaPolicy::Fail {
            return Some(FixedSchema::Policy);
        }
        if let Some(broken) = self.broken_contract(new) {
            return Some(FixedSchema::Contract(broken));
        }
        // Not by the Arrow types: text and JSON text have one.
        let same_arrays = || {
            let mut columns = old.fields.iter().zip(&new.fields);
            !new_columns && columns.all(|(old, new)| old.name == new.name && keeps_carrier(&old.ty, &new.ty))
        };
        if self.demands.columns_fixed && new_columns || self.demands.arrays_fixed && !same_arrays() {
            return Some(FixedSchema::Output);
        }
        if info.format != Format::Csv {
            return None;
        }
        if self.demands.types_fixed {
            return Some(FixedSchema::NarrowerType);
        }
        self.loses_spelling(old, new).then_some(FixedSchema::SpellingLost)
    }

    /// True when a column of CSV becomes text that was something whose values do not tell how their
    /// cells were spelled: `1` or `1.0`, `True` or `true`, blanks in a list. What was written so far
    /// cannot become the text that it was.
    pub fn loses_spelling(&self, old: &Schema, new: &Schema) -> bool {
        if self.type_merge != TypeMerge::Text || self.demands.cells_as_text {
            return false;
        }
        let respelled = |t: &Type| {
            matches!(t, Type::Float | Type::Bool | Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Json)
        };
        let lost = |o: &Field| new.position(&o.name).is_some_and(|i| new.fields[i].ty == Type::Text);
        old.fields.iter().any(|o| respelled(&o.ty) && lost(o))
    }

    /// The schema with which rows of CSV are decoded for this plan's outputs. In a text output a
    /// number keeps the digits of its cell, so doubles pass as the JSON text that they are.
    pub fn as_written(&self, mut schema: Schema) -> Schema {
        if self.type_merge == TypeMerge::Text && self.demands.types_fixed && !self.demands.typed {
            for field in &mut schema.fields {
                if field.ty == Type::Float {
                    field.ty = Type::Json;
                }
            }
        }
        schema
    }
}

/// True if `now` is what the contract makes of its type `enforced` after keys and values came that it leaves open.
fn holds(enforced: &Type, now: &Type) -> bool {
    match (enforced, now) {
        (Type::Null, _) | (Type::Int { .. }, Type::Int { .. }) => true,
        (Type::Struct(enforced), Type::Struct(now)) => {
            enforced.iter().all(|e| now.iter().find(|n| n.name == e.name).is_some_and(|n| holds(&e.ty, &n.ty)))
        }
        (Type::List(enforced), Type::List(now)) | (Type::Map(enforced), Type::Map(now)) => holds(enforced, now),
        _ => enforced == now,
    }
}

fn declared_beside_contract(choice: &SchemaSource) -> Schema {
    let mut declared = choice.declared.clone().unwrap_or_default();
    if let Some(contract) = &choice.enforced {
        declared.fields.retain(|field| contract.position(&field.name).is_none());
    }
    declared
}
