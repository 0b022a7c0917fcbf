//! The columns of an Iceberg table: their types in JSON, with the ids of fields, and in the lattice of drawoff. A column of
//! the table may widen as Iceberg allows: `int` to `long`, `float` to `double`, decimals to more digits.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::column::{Field, Fixed, MAX_PRECISION, Schema, Type, Unit};
use crate::format::parquet::FieldIds;
use crate::warehouse::table_rows::{FormatRules, TableColumn};

/// The property of a table that says what the text of fields is, by their ids: `7:json,9:null`.
pub(super) const FORMS: &str = "drawoff.text-forms";

/// The meaning of the text of a field that is not plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextForm {
    /// JSON of values of several types.
    Json,
    /// No value has come yet: the first ones decide.
    Null,
    /// Objects of which no member has come yet.
    Object,
}

/// The meanings of the text of fields, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TextForms(BTreeMap<i64, TextForm>);

impl TextForm {
    const NAMES: [(TextForm, &str); 3] =
        [(TextForm::Json, "json"), (TextForm::Null, "null"), (TextForm::Object, "object")];

    /// Returns the form of text that carries a type; `None` for plain text, and for types that are no text.
    fn of(ty: &Type) -> Option<Self> {
        match ty {
            Type::Json => Some(TextForm::Json),
            Type::Null => Some(TextForm::Null),
            Type::Struct(fields) if fields.is_empty() => Some(TextForm::Object),
            _ => None,
        }
    }

    fn ty(self) -> Type {
        match self {
            TextForm::Json => Type::Json,
            TextForm::Null => Type::Null,
            TextForm::Object => Type::Struct(Vec::new()),
        }
    }
}

impl TextForms {
    /// Reads the property; what is not known is plain text.
    pub(super) fn read(text: &str) -> Self {
        let form = |pair: &str| {
            let (id, name) = pair.trim().split_once(':')?;
            let form = TextForm::NAMES.iter().find(|(_, other)| *other == name)?.0;
            Some((id.parse().ok()?, form))
        };
        TextForms(text.split(',').filter_map(form).collect())
    }

    /// Returns the text for the property.
    pub(super) fn text(&self) -> String {
        let name =
            |form: TextForm| TextForm::NAMES.iter().find(|(other, _)| *other == form).map_or("", |(_, name)| name);
        self.0.iter().map(|(id, form)| format!("{id}:{}", name(*form))).collect::<Vec<_>>().join(",")
    }

    /// Sets what the text of a field is that carries `ty` now. JSON stays what it is.
    fn set(&mut self, id: i64, ty: &Type) {
        if self.0.get(&id) == Some(&TextForm::Json) {
            return;
        }
        match TextForm::of(ty) {
            Some(form) => drop(self.0.insert(id, form)),
            None => drop(self.0.remove(&id)),
        }
    }
}

/// The rules of Iceberg for rows.
#[derive(Debug)]
pub(super) struct IcebergRules;

impl FormatRules for IcebergRules {
    const NAME: &'static str = "Iceberg";
    const EMPTY_TEXT_IS_NULL: bool = false;
    const LEAVES_OUT_NULLS: bool = true;

    fn unfit_name(field: &Field) -> Option<String> {
        unfit_name(field)
    }

    fn new_type(ty: &Type) -> Result<Type, &'static str> {
        let ty = match ty {
            // Iceberg has microseconds alone.
            Type::Fixed(Fixed::Timestamp { unit: Unit::Millis, local }) => {
                Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: *local })
            }
            ty => ty.clone(),
        };
        sql_type(&ty).map(|_| ty)
    }

    fn widened(table: &Type, found: &Type) -> Option<Type> {
        let digits = |ty: &Type| match ty {
            Type::Decimal => Some((MAX_PRECISION, 0)),
            Type::Fixed(Fixed::Decimal { precision, scale }) => Some((*precision, *scale)),
            _ => None,
        };
        let ((known, scale), (precision, other)) = (digits(table)?, digits(found)?);
        (scale == other && precision > known).then(|| found.clone())
    }
}

/// Returns the columns of a table from its schema in JSON; `None` if that is no schema. Types that have to widen before a
/// load can write them are only written if `may_widen`.
pub(super) fn table_columns(schema: &Value, forms: &TextForms, may_widen: bool) -> Option<Vec<TableColumn>> {
    let fields = schema.get("fields")?.as_array()?;
    let column = |field: &Value| {
        let ty = field.get("type")?;
        Some(TableColumn {
            name: field.get("name")?.as_str()?.into(),
            shown: shown(ty),
            ty: type_of(ty, field.get("id")?.as_i64()?, forms, may_widen),
            nullable: field.get("required").and_then(Value::as_bool) != Some(true),
        })
    };
    fields.iter().map(column).collect()
}

/// Returns the type that values of an Iceberg type have, whose field has the id `id`; `None` if none of ours is that.
fn type_of(ty: &Value, id: i64, forms: &TextForms, may_widen: bool) -> Option<Type> {
    if let Some(name) = ty.as_str() {
        return Some(match name {
            "boolean" => Type::Bool,
            "long" => Type::Int { fits_double: false },
            "int" if may_widen => Type::Int { fits_double: false },
            "double" => Type::Float,
            "float" if may_widen => Type::Float,
            "string" => forms.0.get(&id).map_or(Type::Text, |form| form.ty()),
            "date" => Type::Fixed(Fixed::Date),
            "timestamptz" => Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: false }),
            "timestamp" => Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: true }),
            name => match digits_of(name)? {
                (MAX_PRECISION, 0) => Type::Decimal,
                (precision, scale) => Type::Fixed(Fixed::Decimal { precision, scale }),
            },
        });
    }
    let id_of = |name: &str| ty.get(name).and_then(Value::as_i64);
    let is_required = |name: &str| ty.get(name).and_then(Value::as_bool) == Some(true);
    match ty.get("type")?.as_str()? {
        "struct" => {
            let field = |field: &Value| {
                let is_required = field.get("required").and_then(Value::as_bool) == Some(true);
                let (name, id) = (field.get("name")?.as_str()?, field.get("id")?.as_i64()?);
                (!is_required).then_some(())?;
                Some(Field::new(name, type_of(field.get("type")?, id, forms, may_widen)?))
            };
            Some(Type::Struct(ty.get("fields")?.as_array()?.iter().map(field).collect::<Option<_>>()?))
        }
        "list" if !is_required("element-required") => {
            let item = type_of(ty.get("element")?, id_of("element-id")?, forms, may_widen)?;
            Some(Type::List(Box::new(item)))
        }
        "map" if ty.get("key")?.as_str()? == "string" && !is_required("value-required") => {
            let value = type_of(ty.get("value")?, id_of("value-id")?, forms, may_widen)?;
            Some(Type::Map(Box::new(value)))
        }
        _ => None,
    }
}

/// Reads `decimal(p, s)`.
pub(super) fn digits_of(name: &str) -> Option<(u8, u8)> {
    let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}

/// Returns a type of a schema in words.
fn shown(ty: &Value) -> String {
    let part = |name: &str| {
        let is_required = ty.get(format!("{name}-required")).and_then(Value::as_bool) == Some(true);
        let required = if is_required { "required " } else { "" };
        format!("{required}{}", ty.get(name).map(shown).unwrap_or_default())
    };
    match ty.get("type").and_then(Value::as_str) {
        _ if ty.is_string() => ty.as_str().unwrap_or_default().to_owned(),
        Some("list") => format!("list<{}>", part("element")),
        Some("map") => format!("map<{}, {}>", part("key"), part("value")),
        Some(other) => other.to_owned(),
        None => ty.to_string(),
    }
}

/// The ids that are given to new fields, and what their text is.
#[derive(Debug)]
struct NewIds {
    last: i64,
    forms: TextForms,
}

impl NewIds {
    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    /// Returns fields with their ids: first those of all fields, then those within them, which is the order in which
    /// catalogs number a new schema themselves.
    fn fields(&mut self, fields: &[Field]) -> Result<Vec<Value>, &'static str> {
        let ids: Vec<i64> = fields.iter().map(|_| self.next()).collect();
        fields.iter().zip(ids).map(|(field, id)| self.field(field, id)).collect()
    }

    fn field(&mut self, field: &Field, id: i64) -> Result<Value, &'static str> {
        Ok(json!({"id": id, "name": &*field.name, "required": false, "type": self.ty(&field.ty, id)?}))
    }

    /// Returns the Iceberg type of the values of a field with the id `id`.
    fn ty(&mut self, ty: &Type, id: i64) -> Result<Value, &'static str> {
        Ok(match ty {
            ty if ty.is_text_like() => {
                self.forms.set(id, ty);
                json!("string")
            }
            Type::Struct(fields) => json!({"type": "struct", "fields": self.fields(fields)?}),
            Type::List(item) => {
                let id = self.next();
                let element = self.ty(item, id)?;
                json!({"type": "list", "element-id": id, "element": element, "element-required": false})
            }
            Type::Map(value) => {
                let (key, id) = (self.next(), self.next());
                let value = self.ty(value, id)?;
                json!({"type": "map", "key-id": key, "key": "string", "value-id": id, "value": value, "value-required": false})
            }
            ty => primitive(ty)?.into(),
        })
    }
}

/// Returns the Iceberg type of values that are no text and have none within them; an error in words for values that Iceberg
/// has no type for.
fn primitive(ty: &Type) -> Result<String, &'static str> {
    Ok(match ty {
        Type::Bool => "boolean".to_owned(),
        Type::Int { .. } => "long".to_owned(),
        Type::Decimal => format!("decimal({MAX_PRECISION}, 0)"),
        Type::Float => "double".to_owned(),
        Type::Fixed(Fixed::Date) => "date".to_owned(),
        Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: false }) => "timestamptz".to_owned(),
        Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: true }) => "timestamp".to_owned(),
        Type::Fixed(Fixed::Timestamp { .. }) => {
            return Err(
                "has more digits than microseconds, which are all that Iceberg has; leave it as text, or cut the digits in the source",
            );
        }
        Type::Fixed(Fixed::Decimal { precision, scale }) => format!("decimal({precision}, {scale})"),
        _ => return Err("has values of a type that Iceberg does not have"),
    })
}

/// A schema that holds the columns of a load.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlannedSchema {
    /// In JSON, without its id.
    pub(super) schema: Value,
    /// The greatest id of a field that the table has had.
    pub(super) last_id: i64,
    /// Names of the columns, or of members of objects, that it adds.
    pub(super) added: Vec<String>,
    /// Columns that it widens, with the types before and after.
    pub(super) widened: Vec<String>,
    /// The meanings of the text of its fields.
    pub(super) forms: TextForms,
}

impl PlannedSchema {
    /// Plans the schema of a new table.
    pub(super) fn new(columns: &Schema) -> Result<Self, &'static str> {
        let mut ids = NewIds { last: 0, forms: TextForms::default() };
        let schema = json!({"type": "struct", "fields": ids.fields(&columns.fields)?});
        let NewIds { last, forms } = ids;
        Ok(PlannedSchema { schema, last_id: last, added: Vec::new(), widened: Vec::new(), forms })
    }

    /// Plans the schema of a table that has `schema`, so that it holds `columns`, which fit it otherwise.
    pub(super) fn evolved(
        schema: &Value,
        last_id: i64,
        forms: TextForms,
        columns: &Schema,
    ) -> Result<Self, &'static str> {
        let mut evolving = Evolving { ids: NewIds { last: last_id, forms }, added: Vec::new(), widened: Vec::new() };
        let mut schema = schema.clone();
        evolving.fields(&mut schema, &columns.fields, "")?;
        let Evolving { ids: NewIds { last, forms }, added, widened } = evolving;
        Ok(PlannedSchema { schema, last_id: last, added, widened, forms })
    }

    /// Returns true if the table has to get this schema.
    pub(super) fn is_changed(&self) -> bool {
        !self.added.is_empty() || !self.widened.is_empty()
    }

    /// Returns the reason for which readers could not open the table: two fields have one dotted name, or a field has that of
    /// a partition of another column. `last_id` is the greatest id before; `partitions` are the names of the partition fields of
    /// all specs, with the ids of their columns. What the table had before is not judged.
    pub(super) fn name_clash(&self, last_id: i64, partitions: &[(String, Option<i64>)]) -> Option<String> {
        let mut fields = Vec::new();
        dotted_names(&self.schema, "", &mut fields);
        let mut seen: BTreeMap<String, (&str, i64)> = BTreeMap::new();
        for (name, id) in &fields {
            let lower = name.to_lowercase();
            if let Some((other, other_id)) = seen.insert(lower.clone(), (name, *id))
                && (*id).max(other_id) > last_id
            {
                return Some(match other == name {
                    true => format!(
                        "two fields are named `{name}` in Iceberg, which puts a dot between an object or list and what is in \
                         it; rename one"
                    ),
                    false => format!(
                        "`{other}` and `{name}` differ only in case in Iceberg, which engines ignore; rename one"
                    ),
                });
            }
            let is_other = |(partition, source): &&(String, Option<i64>)| {
                partition.to_lowercase() == lower && *source != Some(*id)
            };
            if *id > last_id && partitions.iter().any(|partition| is_other(&partition)) {
                return Some(format!("the column `{name}` has the name of a partition field of the table; rename it"));
            }
        }
        None
    }

    /// Returns the ids of the fields of files with these columns.
    pub(super) fn field_ids(&self, columns: &Schema) -> FieldIds {
        let mut ids = FieldIds::default();
        collect_ids(&self.schema, &columns.fields, &mut Vec::new(), &mut ids);
        ids
    }
}

struct Evolving {
    ids: NewIds,
    added: Vec<String>,
    widened: Vec<String>,
}

impl Evolving {
    fn fields(&mut self, ty: &mut Value, fields: &[Field], above: &str) -> Result<(), &'static str> {
        let Some(known) = ty.get_mut("fields").and_then(Value::as_array_mut) else { return Ok(()) };
        for field in fields {
            let name = if above.is_empty() { field.name.to_string() } else { format!("{above}.{}", field.name) };
            match known.iter_mut().find(|known| known.get("name").is_some_and(|other| *other == *field.name)) {
                Some(known) => {
                    let id = known.get("id").and_then(Value::as_i64).unwrap_or_default();
                    if let Some(ty) = known.get_mut("type") {
                        self.inside(ty, id, &field.ty, &name)?;
                    }
                }
                None => {
                    let id = self.ids.next();
                    known.push(self.ids.field(field, id)?);
                    self.added.push(name);
                }
            }
        }
        Ok(())
    }

    /// Evolves the type of the field `id`, whose values have the type `ty` now.
    fn inside(&mut self, known: &mut Value, id: i64, ty: &Type, name: &str) -> Result<(), &'static str> {
        let id_of = |known: &Value, name: &str| known.get(name).and_then(Value::as_i64).unwrap_or_default();
        let inner = match ty {
            Type::Struct(fields) if !fields.is_empty() => return self.fields(known, fields, name),
            Type::List(inner) => {
                let id = id_of(known, "element-id");
                known.get_mut("element").map(|known| (known, id, inner))
            }
            Type::Map(inner) => {
                let id = id_of(known, "value-id");
                known.get_mut("value").map(|known| (known, id, inner))
            }
            _ => None,
        };
        if let Some((known, id, inner)) = inner {
            return self.inside(known, id, inner, name);
        }
        let Some(before) = known.as_str() else { return Ok(()) };
        // The first values decide what the text of a column is.
        if before == "string" && self.ids.forms.0.contains_key(&id) && !matches!(ty, Type::Null) {
            self.ids.forms.set(id, ty);
        }
        if let Some(after) = wider(before, ty) {
            self.widened.push(format!("`{name}` from {before} to {after}"));
            *known = after.into();
        }
        Ok(())
    }
}

/// Returns the type that a field of type `before` gets to hold values of `ty`; `None` if it keeps its own.
fn wider(before: &str, ty: &Type) -> Option<String> {
    let after = primitive(ty).ok()?;
    match (before, ty) {
        ("int", Type::Int { .. }) | ("float", Type::Float) => Some(after),
        _ => {
            let ((known, scale), (precision, other)) = (digits_of(before)?, digits_of(&after)?);
            (scale == other && precision > known).then_some(after)
        }
    }
}

/// Collects the names under which readers know the fields of a schema, with their ids: those of fields inside others follow
/// them after a dot.
fn dotted_names(ty: &Value, above: &str, names: &mut Vec<(String, i64)>) {
    let below = |name: &str| if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
    let mut add = |name: &str, id: Option<&Value>, ty: Option<&Value>| {
        let name = below(name);
        names.push((name.clone(), id.and_then(Value::as_i64).unwrap_or_default()));
        if let Some(ty) = ty {
            dotted_names(ty, &name, names);
        }
    };
    match ty.get("type").and_then(Value::as_str) {
        Some("list") => add("element", ty.get("element-id"), ty.get("element")),
        Some("map") => {
            add("key", ty.get("key-id"), ty.get("key"));
            add("value", ty.get("value-id"), ty.get("value"));
        }
        _ => {
            for field in ty.get("fields").and_then(Value::as_array).into_iter().flatten() {
                let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
                add(name, field.get("id"), field.get("type"));
            }
        }
    }
}

fn collect_ids(ty: &Value, fields: &[Field], path: &mut Vec<String>, ids: &mut FieldIds) {
    let known = ty.get("fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for field in fields {
        let Some(found) = known.iter().find(|known| known.get("name").is_some_and(|name| *name == *field.name)) else {
            continue;
        };
        path.push(field.name.to_string());
        insert(found.get("id"), path, ids);
        if let Some(ty) = found.get("type") {
            collect_inside(ty, &field.ty, path, ids);
        }
        path.pop();
    }
}

fn collect_inside(ty: &Value, of: &Type, path: &mut Vec<String>, ids: &mut FieldIds) {
    let null = Value::Null;
    let mut inside = |names: [&str; 2], id: &str, inner: Option<(&str, &Type)>| {
        path.extend(names.map(str::to_owned));
        insert(ty.get(id), path, ids);
        if let Some((member, of)) = inner {
            collect_inside(ty.get(member).unwrap_or(&null), of, path, ids);
        }
        path.truncate(path.len() - 2);
    };
    match of {
        Type::Struct(fields) if !fields.is_empty() => collect_ids(ty, fields, path, ids),
        Type::List(item) => inside(["list", "element"], "element-id", Some(("element", item))),
        Type::Map(value) => {
            inside(["key_value", "key"], "key-id", None);
            inside(["key_value", "value"], "value-id", Some(("value", value)));
        }
        _ => {}
    }
}

fn insert(id: Option<&Value>, path: &[String], ids: &mut FieldIds) {
    if let Some(id) = id.and_then(Value::as_i64).and_then(|id| i32::try_from(id).ok()) {
        ids.insert(path.to_vec(), id);
    }
}

/// Returns a type in SQL of Spark; an error in words for values that Iceberg has no type for.
pub(super) fn sql_type(ty: &Type) -> Result<String, &'static str> {
    Ok(match ty {
        ty if ty.is_text_like() => "STRING".to_owned(),
        Type::Struct(fields) => {
            let member = |field: &Field| Ok(format!("{}: {}", quoted(&field.name), sql_type(&field.ty)?));
            let members: Vec<String> = fields.iter().map(member).collect::<Result<_, &'static str>>()?;
            format!("STRUCT<{}>", members.join(", "))
        }
        Type::List(item) => format!("ARRAY<{}>", sql_type(item)?),
        Type::Map(value) => format!("MAP<STRING, {}>", sql_type(value)?),
        ty => match &*primitive(ty)? {
            "long" => "BIGINT".to_owned(),
            "timestamptz" => "TIMESTAMP".to_owned(),
            "timestamp" => "TIMESTAMP_NTZ".to_owned(),
            other => other.to_uppercase(),
        },
    })
}

/// Returns a name in quotes of Spark.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Returns the reason for which a column cannot have its name or a member of its objects theirs; `None` if it can.
fn unfit_name(field: &Field) -> Option<String> {
    if field.name.is_empty() {
        return Some("an empty name is none in Iceberg; rename it".to_owned());
    }
    unfit_names(field.ty.inner_fields())
}

/// Returns the reason for which columns, or members of one object, cannot have their names: one is empty, or two differ only
/// in case, which most engines ignore.
pub(super) fn unfit_names(fields: &[Field]) -> Option<String> {
    let mut seen: std::collections::BTreeMap<String, &Arc<str>> = std::collections::BTreeMap::new();
    for field in fields {
        if let Some(reason) = unfit_name(field) {
            return Some(reason);
        }
        if let Some(other) = seen.insert(field.name.to_lowercase(), &field.name) {
            return Some(format!(
                "`{other}` and `{}` differ only in case, which engines ignore; rename one",
                field.name
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: Type = Type::Int { fits_double: false };

    fn fields() -> Vec<Field> {
        let field = |name: &str, ty| Field::new(name, ty);
        vec![
            field("a", Type::Bool),
            field("b", INT),
            field("c", Type::Decimal),
            field("d", Type::Fixed(Fixed::Decimal { precision: 10, scale: 2 })),
            field("e", Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: false })),
            field("f", Type::Json),
            field("l", Type::List(Box::new(Type::Json))),
            field("g", Type::Struct(vec![field("x", Type::Text), field("y", Type::List(Box::new(Type::Float)))])),
            field("h", Type::map(INT)),
        ]
    }

    #[test]
    fn types_come_back_as_they_were_and_ids_are_numbered_by_level() {
        let columns = Schema::new(fields());
        let planned = PlannedSchema::new(&columns).unwrap();
        let back = table_columns(&planned.schema, &planned.forms, true).unwrap();
        let back: Vec<Field> = back.iter().map(|c| Field::new(c.name.clone(), c.ty.clone().unwrap())).collect();
        assert_eq!(back, columns.fields);
        assert_eq!((planned.last_id, &*planned.forms.text()), (15, "6:json,10:json"));
        assert_eq!(TextForms::read(&planned.forms.text()), planned.forms);
        let ids = planned.field_ids(&columns);
        let id = |path: &str| ids.get(&path.split('/').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!([id("a"), id("h"), id("l/list/element"), id("g/x"), id("g/y")], [1, 9, 10, 11, 12].map(Some));
        assert_eq!([id("g/y/list/element"), id("h/key_value/key"), id("h/key_value/value")], [13, 14, 15].map(Some));
    }

    #[test]
    fn a_table_gets_what_it_lacks_and_widens_as_iceberg_allows() {
        let schema = json!({"type": "struct", "schema-id": 3, "fields": [
            {"id": 1, "name": "i", "required": false, "type": "int", "doc": "kept"},
            {"id": 2, "name": "p", "required": false, "type": "decimal(10, 2)"},
            {"id": 3, "name": "s", "required": false, "type": {"type": "struct", "fields": [
                {"id": 4, "name": "f", "required": false, "type": "float"}]}}]});
        let inner = vec![Field::new("f", Type::Float), Field::new("late", Type::Null)];
        let columns = Schema::new(vec![
            Field::new("i", INT),
            Field::new("p", Type::Fixed(Fixed::Decimal { precision: 12, scale: 2 })),
            Field::new("s", Type::Struct(inner)),
            Field::new("l", Type::List(Box::new(INT))),
        ]);
        let planned = PlannedSchema::evolved(&schema, 9, TextForms::default(), &columns).unwrap();
        assert_eq!(planned.added, ["s.late", "l"]);
        assert_eq!(
            planned.widened,
            ["`i` from int to long", "`p` from decimal(10, 2) to decimal(12, 2)", "`s.f` from float to double"]
        );
        assert_eq!(
            planned.schema["fields"][0],
            json!({"id": 1, "name": "i", "required": false, "type": "long", "doc": "kept"})
        );
        assert_eq!(planned.schema["fields"][2]["type"]["fields"][1]["id"], 10);
        assert_eq!(planned.schema["fields"][3]["type"]["element-id"], 12);
        assert_eq!((planned.last_id, &*planned.forms.text()), (12, "10:null"));
        let again = PlannedSchema::evolved(&planned.schema, 12, planned.forms.clone(), &columns).unwrap();
        assert!(!again.is_changed() && again.forms == planned.forms);
        // The first values of a column decide what its text is.
        for (late, expected) in [(Type::Json, "10:json"), (Type::Text, ""), (Type::Null, "10:null")] {
            let columns = Schema::new(vec![Field::new("s", Type::Struct(vec![Field::new("late", late)]))]);
            let later = PlannedSchema::evolved(&planned.schema, 12, planned.forms.clone(), &columns).unwrap();
            assert_eq!(later.forms.text(), expected);
        }
        assert_eq!(again.schema, planned.schema);
        let known = |may_widen| table_columns(&schema, &TextForms::default(), may_widen).unwrap()[0].ty.clone();
        assert_eq!((known(true), known(false)), (Some(INT), None));
    }

    #[test]
    fn fields_of_one_dotted_name_and_names_of_partitions_are_refused() {
        let list = |inner| Type::List(Box::new(inner));
        let object = |name: &str| Type::Struct(vec![Field::new(name, INT)]);
        let clash = |fields: &[(&str, Type)]| {
            let fields = fields.iter().map(|(name, ty)| Field::new(*name, ty.clone())).collect();
            PlannedSchema::new(&Schema::new(fields)).unwrap().name_clash(0, &[])
        };
        assert!(clash(&[("a", object("b")), ("a.b", INT)]).unwrap().contains("two fields are named `a.b`"));
        assert!(clash(&[("l", list(INT)), ("l.element", INT)]).is_some());
        assert!(clash(&[("m", Type::map(INT)), ("m.key", INT)]).is_some());
        assert!(clash(&[("m", Type::map(object("x"))), ("m.value.x", INT)]).is_some());
        assert!(clash(&[("a", object("B")), ("A.b", INT)]).unwrap().contains("only in case"));
        assert!(clash(&[("o", Type::Struct(vec![Field::new("a", object("b")), Field::new("a.b", INT)]))]).is_some());
        assert_eq!(clash(&[("a", object("b")), ("a.c", INT), ("b", INT)]), None);
        // A table of others is judged by what is added alone.
        let has = json!({"type": "struct", "fields": [
            {"id": 1, "name": "a", "type": {"type": "struct", "fields": [{"id": 2, "name": "b", "type": "long"}]}},
            {"id": 3, "name": "c", "type": "long"}, {"id": 4, "name": "C", "type": "long"}]});
        let added = |name: &str| {
            let columns = Schema::new(vec![Field::new(name, INT)]);
            let planned = PlannedSchema::evolved(&has, 4, TextForms::default(), &columns).unwrap();
            planned.name_clash(4, &[("where".into(), Some(3)), ("c".into(), Some(3))])
        };
        assert!(added("a.b").is_some() && added("where").unwrap().contains("partition field"));
        assert_eq!((added("new"), added("c")), (None, None));
    }

    #[test]
    fn decimals_get_digits_and_no_other_scale() {
        let decimal = |precision, scale| Type::Fixed(Fixed::Decimal { precision, scale });
        let widened = IcebergRules::widened;
        assert_eq!(widened(&decimal(10, 2), &decimal(12, 2)), Some(decimal(12, 2)));
        assert_eq!(widened(&decimal(10, 0), &Type::Decimal), Some(Type::Decimal));
        assert_eq!(widened(&decimal(12, 2), &decimal(10, 2)), None);
        assert_eq!(widened(&decimal(10, 2), &decimal(12, 3)), None);
        assert_eq!(widened(&INT, &Type::Decimal), None);
    }

    #[test]
    fn names_and_types_that_cannot_be_are_named() {
        let twice = [Field::new("Name", Type::Text), Field::new("name", Type::Text)];
        assert!(unfit_names(&twice).unwrap().contains("differ only in case"));
        assert!(unfit_names(&[Field::new("", Type::Text)]).is_some());
        assert_eq!(unfit_names(&[Field::new("a b.c;=", Type::Text)]), None);
        let nanos = Type::Fixed(Fixed::Timestamp { unit: Unit::Nanos, local: false });
        assert!(IcebergRules::new_type(&Type::List(Box::new(nanos))).unwrap_err().contains("microseconds"));
    }
}
