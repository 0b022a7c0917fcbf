//! The rules by which the schema of an execution widens: the enforced schema (the contract), the declared types, the
//! schema policy, and the demands of steps and outputs. Read-only and shared by all threads; the schema itself is in
//! the registry. Knows no outputs and no steps: [`Demands`] has what they need.

use std::sync::Arc;

use crate::column::{Field, Schema, Type, TypeMerge, keeps_carrier};
use crate::format::Format;
use crate::format::decode::{EnforcedColumns, OutputColumns};
use crate::format::ndjson::ValueTypes;
use crate::pipeline::error::{BrokenContract, Error, FixedSchema, PlanError};
use crate::pipeline::input::SourceInfo;
use crate::pipeline::plan::{Limits, SchemaPolicy, SchemaSource};
use crate::position::FieldPath;

/// The columns whose values are kept as they were read.
#[derive(Clone, Debug)]
pub(crate) enum AsReadDemand {
    /// Those of these columns whose type forgets something: steps look at them.
    Only(Vec<String>),
    /// Those of all columns whose type forgets something: steps look at all.
    All,
    /// Every column: outputs of text are written from them, and tell an absent key from a null one.
    Every,
}

/// The demands of steps and outputs on decoded rows.
#[derive(Clone, Debug)]
pub(crate) struct Demands {
    /// An output has typed columns, so that rows are decoded to types; else values pass as their own text.
    pub typed: bool,
    /// The depth to which values of NDJSON sources are parsed. CSV columns are typed unless all outputs are CSV.
    pub keys: ValueTypes,
    /// All outputs are CSV: cells pass unparsed.
    pub cells_as_text: bool,
    /// The columns that steps and outputs need; the values of others are validated and dropped. `None` for all.
    pub only_columns: Option<Vec<String>>,
    /// Columns that a step writes and the sample did not have. They come before the first rows of outputs with fixed
    /// columns; other outputs have them with the first value.
    pub written_late: Vec<String>,
    /// An output cannot be rewritten, so that a new column is an error.
    pub columns_fixed: bool,
    /// A typed output cannot be rewritten, so that a wider type is an error.
    pub arrays_fixed: bool,
    /// A text output has typed values, so that a wider type of a CSV column is an error.
    pub types_fixed: bool,
    /// The columns whose values are kept as they were read.
    pub as_read: AsReadDemand,
    /// Texts of CSV columns whose type nothing but their cells decides are kept as read, too: a table takes each cell for what
    /// it is by itself.
    pub keeps_cells: bool,
    /// Nested values pass as their own text where neither a step, of the columns named here, nor a declaration needs their
    /// insides; `None` to parse all of them.
    pub opaque_except: Option<Vec<String>>,
    /// Bytes that are not UTF-8 become U+FFFD.
    pub lossy_utf8: bool,
    /// Steps trace rows back to their records.
    pub record_spans: bool,
    /// An output copies records of NDJSON sources byte by byte.
    pub copies_records: bool,
}

impl Demands {
    /// Returns the demands of schema inference alone: typed columns, and no rows.
    pub(crate) fn typed_columns() -> Self {
        Demands {
            typed: true,
            keys: ValueTypes::Typed,
            cells_as_text: false,
            only_columns: None,
            written_late: Vec::new(),
            columns_fixed: false,
            arrays_fixed: false,
            types_fixed: false,
            as_read: AsReadDemand::Only(Vec::new()),
            keeps_cells: false,
            opaque_except: None,
            lossy_utf8: false,
            record_spans: false,
            copies_records: false,
        }
    }
}

/// The rules by which the schema of one execution widens.
#[derive(Debug)]
pub(crate) struct SchemaRules {
    /// The needs of steps and outputs.
    pub demands: Demands,
    /// The policy for a late change.
    pub policy: SchemaPolicy,
    /// The merge of unlike scalars in a column; all sources are of one kind, CSV or JSON.
    pub type_merge: TypeMerge,
    /// Declared columns; CSV cells of nested ones are parsed as JSON. Disjoint from `contract`.
    pub declared: Schema,
    /// Columns of tables that have objects with open-ended keys. Objects of the records become such ones there at once:
    /// objects with members have null both for a member that is null and for one that is absent.
    pub maps: Schema,
    /// True if tables whose columns stay as they are judge every value by itself: columns and types of decoded rows follow the
    /// records, and decide on nothing.
    pub are_judged_by_tables: bool,
    /// The columns that records may have values in; `None` for all.
    pub output_columns: Option<Arc<dyn OutputColumns>>,
    /// The enforced schema; `None` without an explicit schema.
    pub contract: Option<Schema>,
    /// The column for keys without a column; `None` for no such column.
    pub extra_column: Option<Arc<str>>,
    /// Columns that sources have from the names of directories; text, behind those of the records.
    pub source_columns: Vec<Arc<str>>,
    /// Columns that are known to occur, in their order.
    pub occurring: Arc<[Arc<str>]>,
    /// Maximum bytes of a record; a longer one is a reject.
    pub max_record_bytes: usize,
    /// Maximum number of columns.
    pub max_columns: usize,
}

impl SchemaRules {
    /// Creates the rules of `choice` for sources whose unlike scalars merge by `type_merge`.
    pub(crate) fn new(choice: &SchemaSource, demands: Demands, type_merge: TypeMerge, limits: &Limits) -> Self {
        SchemaRules {
            demands,
            policy: choice.policy,
            type_merge,
            declared: declared_beside_contract(choice),
            maps: Schema::default(),
            are_judged_by_tables: false,
            output_columns: None,
            contract: choice.enforced.clone(),
            extra_column: choice.extra_column.clone(),
            source_columns: Vec::new(),
            occurring: choice.occurring.clone(),
            max_record_bytes: limits.max_record_bytes,
            max_columns: limits.max_columns,
        }
    }

    /// Creates the rules of schema inference alone: typed columns, and no extra column.
    pub(crate) fn for_schema(choice: &SchemaSource, type_merge: TypeMerge, limits: &Limits) -> Self {
        let rules = SchemaRules::new(choice, Demands::typed_columns(), type_merge, limits);
        SchemaRules { extra_column: None, ..rules }
    }

    /// Sets the columns that sources have from the names of directories.
    pub(crate) fn with_source_columns(self, source_columns: Vec<Arc<str>>) -> Self {
        SchemaRules { source_columns, ..self }
    }

    /// Joins the columns of directory names into `seen`, as text, except those of the contract, which have its type.
    fn join_source_columns(&self, mut seen: Schema) -> Result<Schema, Error> {
        for name in &self.source_columns {
            match &self.contract {
                Some(contract) if contract.position(name).is_some() => continue,
                Some(_) if self.policy != SchemaPolicy::Evolve => {
                    return Err(PlanError::DirectoryOutsideSchema(name.to_string()).into());
                }
                _ => {}
            }
            let is_raw = self.type_merge == TypeMerge::Json && self.demands.keys != ValueTypes::Typed;
            let ty = if is_raw { Type::Raw } else { Type::Text };
            seen = seen.join(&self.only_needed(Schema::new(vec![Field::new(name.clone(), ty)])), self.type_merge);
        }
        Ok(seen)
    }

    /// Sets the columns of tables that have objects with open-ended keys.
    pub(crate) fn with_maps(self, maps: Schema) -> Self {
        SchemaRules { maps, ..self }
    }

    /// Leaves the judgement of records to tables whose columns stay as they are. A policy by which the types of the first records
    /// decide would reject records that the table takes, by their place in the input.
    pub(crate) fn leave_to_tables(&mut self) {
        self.policy = SchemaPolicy::Evolve;
        self.are_judged_by_tables = true;
    }

    /// Removes the columns in which no record may have values.
    pub(crate) fn only_of_outputs(&self, mut schema: Schema) -> Schema {
        if let Some(columns) = &self.output_columns {
            schema.fields.retain(|field| columns.refusal(&field.name).is_none());
        }
        schema
    }

    /// Joins declared types, and the maps of tables, into the columns that occur. A declaration alone adds no column.
    pub(crate) fn with_declared_types(&self, mut schema: Schema) -> Schema {
        for known in &self.maps.fields {
            if let Some(i) = schema.position(&known.name) {
                open_keys(&mut schema.fields[i].ty, &known.ty, self.type_merge);
            }
        }
        for declared in &self.declared.fields {
            if let Some(i) = schema.position(&declared.name) {
                schema.fields[i].ty = schema.fields[i].ty.join(&declared.ty, self.type_merge);
            }
        }
        schema
    }

    /// Merges the inferred schema `seen`, with declared types joined in, into the contract: the columns of the contract
    /// come first, and are the only ones unless the policy is [`SchemaPolicy::Evolve`].
    pub(crate) fn under_contract(&self, seen: Schema) -> Schema {
        let Some(contract) = &self.contract else { return seen };
        let columns = match self.carrier() {
            // NDJSON records are copied, and only the columns that steps read are decoded.
            _ if self.demands.only_columns.is_some() && self.type_merge == TypeMerge::Json => return seen,
            Some(carrier) => EnforcedColumns::carried_as(&contract.fields, &carrier),
            None => contract.clone(),
        };
        if self.policy == SchemaPolicy::Evolve { columns.join(&seen, self.type_merge) } else { columns }
    }

    /// Returns the one type of all columns where columns are not typed; `None` where they are.
    fn carrier(&self) -> Option<Type> {
        match self.type_merge {
            TypeMerge::Text => self.demands.cells_as_text.then_some(Type::Text),
            TypeMerge::Json => (self.demands.keys == ValueTypes::Raw).then_some(Type::Raw),
        }
    }

    /// Fails if the contract has a decimal with a scale, which no number of JSON is read as.
    pub(crate) fn require_types_of_json(&self) -> Result<(), PlanError> {
        let fields = self.contract.iter().flat_map(|contract| &contract.fields);
        match fields.into_iter().find(|field| matches!(field.ty, Type::Fixed(_))) {
            None => Ok(()),
            Some(Field { name, ty }) => {
                Err(PlanError::DecimalOfJson { path: FieldPath::root().field(name), ty: ty.to_string() })
            }
        }
    }

    /// Returns the first column of `schema` that breaks the contract: its values fit one by
    /// one, but its objects have together more keys than a struct can hold.
    pub(crate) fn broken_contract(&self, schema: &Schema) -> Option<BrokenContract> {
        let contract = self.contract.as_ref().filter(|_| self.demands.typed)?;
        let broken = contract.fields.iter().find(|field| {
            let now = schema.position(&field.name).map(|i| &schema.fields[i].ty);
            now.is_none_or(|now| !satisfies_contract(&field.ty, now))
        })?;
        let path = FieldPath::root().field(&broken.name);
        // Records are rejected one by one, so that only rows which are columns already have another type.
        let other = schema.position(&broken.name).map(|i| schema.fields[i].ty.outline());
        let is_other = other.as_ref().is_some_and(|other| *other != broken.ty.outline());
        Some(BrokenContract { path, other: other.filter(|_| is_other && !holds_objects(&broken.ty)) })
    }

    /// Returns the schema that decoding starts with, from the inferred schema `seen`. Fails if there are too many
    /// columns, if the contract is broken, or if the name of the extra column is taken.
    pub(crate) fn initial_schema(&self, seen: Schema) -> Result<Schema, Error> {
        let seen = match self.demands.typed {
            true => {
                let occurring = self.occurring.iter().map(|name| Field::new(name.clone(), Type::Null));
                Schema::new(occurring.collect()).join(&seen, self.type_merge)
            }
            false => seen,
        };
        let mut schema = self.with_needed(self.under_contract(self.join_source_columns(seen)?)).resolved();
        if schema.fields.len() > self.max_columns {
            return Err(PlanError::TooManyColumns(self.max_columns).into());
        }
        if let Some(broken) = self.broken_contract(&schema) {
            return Err(PlanError::Contract(broken).into());
        }
        schema = self.with_opaque(self.as_written(schema));
        if let Some(name) = &self.extra_column {
            if schema.position(name).is_some() {
                return Err(PlanError::ExtraColumnTaken(name.to_string()).into());
            }
            schema.fields.push(Field::new(name.clone(), Type::Json));
        }
        Ok(schema)
    }

    /// Returns true if the header of a source may add columns.
    pub(crate) fn takes_header_columns(&self) -> bool {
        self.extra_column.is_none() && self.policy == SchemaPolicy::Evolve
    }

    /// Returns notes for the report on declared types that the values widened.
    pub(crate) fn notes_on_declared(&self, schema: &Schema) -> Vec<String> {
        if self.carrier().is_some() {
            return Vec::new();
        }
        let note = |declared: &Field| {
            let ty = &schema.fields[schema.position(&declared.name)?].ty;
            (declared.ty.join(ty, self.type_merge) != declared.ty && declared.ty.outline() != ty.outline()).then(|| {
                let name = FieldPath::root().field(&declared.name);
                let (declared, actual) = (declared.ty.outline(), ty.outline());
                format!("column `{name}` is declared as {declared}, but its values widened it to {actual}")
            })
        };
        self.declared.fields.iter().filter_map(note).collect()
    }

    /// Returns the columns of `schema` whose type neither a declaration nor the contract gives.
    pub(crate) fn columns_of_own_type(&self, schema: &Schema) -> Schema {
        let given = |field: &&Field| {
            let contract = self.contract.as_ref().and_then(|contract| contract.position(&field.name));
            contract.is_some() || self.declared.position(&field.name).is_some()
        };
        Schema::new(schema.fields.iter().filter(|field| !given(field)).cloned().collect())
    }

    /// Adds the needed columns that are missing, so that the decoder can skip every key that is not in the
    /// schema; and those that steps write, where the first rows fix the columns.
    pub(crate) fn with_needed(&self, mut schema: Schema) -> Schema {
        if self.type_merge == TypeMerge::Json {
            let written = self.demands.written_late.iter().filter(|_| self.takes_header_columns());
            for name in self.demands.only_columns.iter().flatten().chain(written) {
                if schema.position(name).is_none() {
                    let ty = if self.demands.keys == ValueTypes::Raw { Type::Raw } else { Type::Null };
                    schema.fields.push(Field::new(name.as_str(), ty));
                }
            }
        }
        schema
    }

    /// Removes the columns that neither a step nor an output needs. Those of CSV sources stay: they are the header's, and
    /// each record has all of them.
    pub(crate) fn only_needed(&self, mut schema: Schema) -> Schema {
        if self.type_merge == TypeMerge::Json
            && let Some(names) = &self.demands.only_columns
        {
            schema.fields.retain(|field| names.iter().any(|name| **name == *field.name));
        }
        schema
    }

    /// Returns the reason for which the columns may not widen from `old` to `new`; `None` if they may. `written` returns the
    /// columns behind the steps, which are those that an output has: a step may drop a column, or make text of it.
    pub(crate) fn forbidden_change(
        &self,
        info: &SourceInfo,
        old: &Schema,
        new: &Schema,
        written: impl Fn(&Schema) -> Option<Schema>,
    ) -> Option<FixedSchema> {
        if new.fields.len() > self.max_columns {
            return Some(FixedSchema::TooManyColumns(self.max_columns));
        }
        if self.policy == SchemaPolicy::Fail {
            return Some(FixedSchema::Policy);
        }
        if let Some(broken) = self.broken_contract(new) {
            return Some(FixedSchema::Contract(broken));
        }
        if self.demands.columns_fixed || self.demands.arrays_fixed {
            let (old, new) = written(old).zip(written(new)).unwrap_or_else(|| (old.clone(), new.clone()));
            let new_columns = new.fields.len() > old.fields.len();
            if self.demands.columns_fixed && new_columns || self.demands.arrays_fixed && !has_same_arrays(&old, &new) {
                return Some(FixedSchema::Output);
            }
        }
        // Widening needs the original text only of CSV cells: the JSON text of a value can be made from the value.
        if info.format != Format::Csv {
            return None;
        }
        if self.demands.types_fixed {
            return Some(FixedSchema::NarrowerType);
        }
        self.loses_spelling(old, new).then_some(FixedSchema::SpellingLost)
    }

    /// Returns the reason for which the columns may not widen from `old` to `new` for rows that are columns already; `None`
    /// if they may. No row of them can be rejected alone, so that a change under any policy but to evolve is refused.
    pub(crate) fn forbidden_change_by_rows(
        &self,
        info: &SourceInfo,
        old: &Schema,
        new: &Schema,
        written: impl Fn(&Schema) -> Option<Schema>,
    ) -> Option<FixedSchema> {
        match self.policy {
            _ if has_same_arrays(old, new) => None,
            SchemaPolicy::Freeze => Some(FixedSchema::Frozen),
            // The extra column is the last one and stays it.
            SchemaPolicy::Evolve if self.extra_column.is_some() && new.fields.len() > old.fields.len() => {
                Some(FixedSchema::Output)
            }
            SchemaPolicy::Evolve | SchemaPolicy::Fail => self.forbidden_change(info, old, new, written),
        }
    }

    /// Returns true if a CSV column becomes text and its old type does not keep the spelling of cells:
    /// `1` or `1.0`, `True` or `true`, blanks in a list. The values written so far could then not be
    /// turned back into the original text.
    pub(crate) fn loses_spelling(&self, old: &Schema, new: &Schema) -> bool {
        // Tables take cells by themselves.
        let keeps_spelling = self.are_judged_by_tables && self.demands.keeps_cells;
        if self.type_merge != TypeMerge::Text || self.demands.cells_as_text || keeps_spelling {
            return false;
        }
        let respelled = |t: &Type| {
            matches!(
                t,
                Type::Float | Type::Fixed(_) | Type::Bool | Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Json
            )
        };
        let lost = |o: &Field| new.position(&o.name).is_some_and(|i| new.fields[i].ty == Type::Text);
        old.fields.iter().any(|o| respelled(&o.ty) && lost(o))
    }

    /// Returns the first column of integers beyond 64 bits in `old` that is text in `new`, of CSV sources. A decimal may be
    /// wide enough for its numbers, for which the digits of all of them have to be known.
    pub(crate) fn outgrown_decimal(&self, old: &Schema, new: &Schema) -> Option<Arc<str>> {
        if self.type_merge != TypeMerge::Text || self.demands.cells_as_text || self.are_judged_by_tables {
            return None;
        }
        let outgrown =
            |o: &&Field| o.ty == Type::Decimal && new.position(&o.name).is_some_and(|i| new.fields[i].ty == Type::Text);
        old.fields.iter().find(outgrown).map(|field| field.name.clone())
    }

    /// Returns the schema that records are decoded with, in which nested values that nothing looks into are opaque. Declared
    /// columns keep their types, with which they are compared at the end.
    pub(crate) fn with_opaque(&self, mut schema: Schema) -> Schema {
        if let Some(except) = &self.demands.opaque_except {
            for field in &mut schema.fields {
                let is_named = except.iter().any(|name| **name == *field.name);
                if !is_named && self.declared.position(&field.name).is_none() {
                    field.ty = field.ty.opaque();
                }
            }
        }
        schema
    }

    /// Returns the schema that CSV rows are decoded with for the outputs. In a text output a
    /// number keeps the digits of its cell, so doubles and decimals are carried as JSON text.
    pub(crate) fn as_written(&self, mut schema: Schema) -> Schema {
        if self.type_merge == TypeMerge::Text && self.demands.types_fixed && !self.demands.typed {
            for field in &mut schema.fields {
                if matches!(field.ty, Type::Float | Type::Fixed(_)) {
                    field.ty = Type::Json;
                }
            }
        }
        schema
    }
}

/// Returns true if arrays with the columns `old` are valid with the columns `new`. A wider type may have the same Arrow type:
/// text and JSON are both string views.
fn has_same_arrays(old: &Schema, new: &Schema) -> bool {
    let mut columns = old.fields.iter().zip(&new.fields);
    old.fields.len() == new.fields.len()
        && columns.all(|(old, new)| old.name == new.name && keeps_carrier(&old.ty, &new.ty))
}

/// Returns true if type `now` still satisfies type `enforced` of the contract, which leaves null types and further
/// struct keys open.
fn satisfies_contract(enforced: &Type, now: &Type) -> bool {
    match (enforced, now) {
        (Type::Null, _) | (Type::Int { .. }, Type::Int { .. }) => true,
        (Type::Struct(enforced), Type::Struct(now)) => enforced
            .iter()
            .all(|e| now.iter().find(|n| n.name == e.name).is_some_and(|n| satisfies_contract(&e.ty, &n.ty))),
        (Type::List(enforced), Type::List(now)) | (Type::Map(enforced), Type::Map(now)) => {
            satisfies_contract(enforced, now)
        }
        _ => enforced == now,
    }
}

fn holds_objects(ty: &Type) -> bool {
    match ty {
        Type::Struct(_) => true,
        Type::List(item) | Type::Map(item) => holds_objects(item),
        _ => false,
    }
}

/// Makes objects of `ty` maps where `known` has maps.
fn open_keys(ty: &mut Type, known: &Type, type_merge: TypeMerge) {
    // The values keep their own type: the table judges each of them.
    if matches!((&*ty, known), (Type::Struct(fields), Type::Map(_)) if !fields.is_empty()) {
        *ty = ty.join(&Type::map(Type::Null), type_merge);
    }
    match (ty, known) {
        (Type::Struct(fields), Type::Struct(known)) => {
            for field in fields {
                if let Some(known) = known.iter().find(|known| known.name == field.name) {
                    open_keys(&mut field.ty, &known.ty, type_merge);
                }
            }
        }
        (Type::List(ty), Type::List(known)) | (Type::Map(ty), Type::Map(known)) => open_keys(ty, known, type_merge),
        _ => {}
    }
}

fn declared_beside_contract(choice: &SchemaSource) -> Schema {
    let mut declared = choice.declared.clone().unwrap_or_default();
    if let Some(contract) = &choice.enforced {
        declared.fields.retain(|field| contract.position(&field.name).is_none());
    }
    declared
}
