//! The columns of a Delta table: their types in JSON, as the protocol has them, and in the lattice of drawoff.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::column::{Field, Fixed, MAX_PRECISION, Schema, Type, Unit};
use crate::warehouse::table_rows::{FormatRules, TableColumn};

/// The member of a field's metadata that says what its text is: `json` for values of several types, `null` where no value has
/// come yet, `object` for objects of which no member has, `list<json>` where the items of its lists are.
const FORM: &str = "drawoff.form";

/// The property of a table in which the statement that creates it says what the text of its fields is, as it cannot give
/// fields metadata: `s;y=json,n=null`, with paths of names, which have none of these characters.
pub(super) const FORMS: &str = "drawoff.forms";

/// Characters that names of columns cannot have without column mapping, which many readers do not know.
const FORBIDDEN: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// The rules of Delta for rows.
#[derive(Debug)]
pub(super) struct DeltaRules;

impl FormatRules for DeltaRules {
    const NAME: &'static str = "Delta";
    const EMPTY_TEXT_IS_NULL: bool = true;
    const LEAVES_OUT_NULLS: bool = false;

    fn unfit_name(field: &Field) -> Option<String> {
        unfit_name(field)
    }

    fn new_type(ty: &Type) -> Result<Type, &'static str> {
        delta_type(ty).map(|_| ty.clone())
    }

    fn widened(_: &Type, _: &Type) -> Option<Type> {
        None
    }
}

/// Returns the columns of a table from its schema in JSON; `None` if that is no schema.
pub(super) fn table_columns(schema: &Value) -> Option<Vec<TableColumn>> {
    let fields = schema.get("fields")?.as_array()?;
    let column = |field: &Value| {
        let ty = field.get("type")?;
        Some(TableColumn {
            name: field.get("name")?.as_str()?.into(),
            shown: shown(ty),
            ty: type_of(ty).map(|ty| formed(ty, form_in(field))),
            nullable: field.get("nullable").and_then(Value::as_bool).unwrap_or(true),
        })
    };
    fields.iter().map(column).collect()
}

/// Returns the form that the metadata of a field states; empty for none.
fn form_in(field: &Value) -> &str {
    field.get("metadata").and_then(|metadata| metadata.get(FORM)).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the form for the metadata of a field of this type; `None` if all text in it is text.
fn form_of(ty: &Type) -> Option<String> {
    match ty {
        Type::Json => Some("json".to_owned()),
        Type::Null => Some("null".to_owned()),
        Type::Struct(fields) if fields.is_empty() => Some("object".to_owned()),
        Type::List(item) => form_of(item).map(|form| format!("list<{form}>")),
        Type::Map(value) => form_of(value).map(|form| format!("map<{form}>")),
        _ => None,
    }
}

/// Returns the property [`FORMS`] of a table with these columns; empty if all its text is text.
pub(super) fn forms_of(columns: &[Field]) -> String {
    fn collect<'f>(fields: &'f [Field], path: &mut Vec<&'f str>, forms: &mut Vec<String>) {
        for field in fields {
            path.push(&field.name);
            forms.extend(form_of(&field.ty).map(|form| format!("{}={form}", path.join(";"))));
            collect(field.ty.inner_fields(), path, forms);
            path.pop();
        }
    }
    let mut forms = Vec::new();
    collect(columns, &mut Vec::new(), &mut forms);
    forms.join(",")
}

/// Gives the fields of a schema the forms of the property [`FORMS`], except those that have one.
pub(super) fn apply_forms(schema: &mut Value, forms: &str) {
    for (path, form) in forms.split(',').filter_map(|form| form.split_once('=')) {
        let Some(field) = field_at(schema, path) else { continue };
        if form_in(field).is_empty()
            && let Some(field) = field.as_object_mut()
            && let Some(metadata) = field.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
        {
            metadata.insert(FORM.to_owned(), form.into());
        }
    }
}

/// Returns the field with this path of names, through lists and maps.
fn field_at<'v>(schema: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    let (name, rest) = path.split_once(';').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let fields = schema.get_mut("fields")?.as_array_mut()?;
    let field = fields.iter_mut().find(|field| field.get("name").is_some_and(|other| *other == *name))?;
    let Some(rest) = rest else { return Some(field) };
    let mut ty = field.get_mut("type")?;
    loop {
        let inner = match ty.get("type")?.as_str()? {
            "array" => "elementType",
            "map" => "valueType",
            _ => return field_at(ty, rest),
        };
        ty = ty.get_mut(inner)?;
    }
}

/// Returns a type with what `form` says about its text.
fn formed(ty: Type, form: &str) -> Type {
    let inside = |prefix: &str| form.strip_prefix(prefix).and_then(|form| form.strip_suffix('>'));
    match ty {
        Type::Text if form == "json" => Type::Json,
        Type::Text if form == "null" => Type::Null,
        Type::Text if form == "object" => Type::Struct(Vec::new()),
        Type::List(item) => Type::List(Box::new(formed(*item, inside("list<").unwrap_or_default()))),
        Type::Map(value) => Type::Map(Box::new(formed(*value, inside("map<").unwrap_or_default()))),
        ty => ty,
    }
}

/// Returns the type that values of a Delta type have; `None` if none of ours is exactly that.
fn type_of(ty: &Value) -> Option<Type> {
    if let Some(name) = ty.as_str() {
        return Some(match name {
            "boolean" => Type::Bool,
            "long" => Type::Int { fits_double: false },
            "double" => Type::Float,
            "string" => Type::Text,
            "date" => Type::Fixed(Fixed::Date),
            "timestamp" => Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: false }),
            "timestamp_ntz" => Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: true }),
            name => {
                let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
                let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
                match (precision, scale) {
                    (MAX_PRECISION, 0) => Type::Decimal,
                    _ => Type::Fixed(Fixed::Decimal { precision, scale }),
                }
            }
        });
    }
    match ty.get("type")?.as_str()? {
        "struct" => {
            let field = |field: &Value| {
                let is_required = field.get("nullable").and_then(Value::as_bool) == Some(false);
                let name: Arc<str> = field.get("name")?.as_str()?.into();
                (!is_required).then_some(())?;
                Some(Field::new(name, formed(type_of(field.get("type")?)?, form_in(field))))
            };
            Some(Type::Struct(ty.get("fields")?.as_array()?.iter().map(field).collect::<Option<_>>()?))
        }
        // Items or values that take no null are not checked one by one.
        "array" if ty.get("containsNull").and_then(Value::as_bool) == Some(false) => None,
        "map" if ty.get("valueContainsNull").and_then(Value::as_bool) == Some(false) => None,
        "array" => Some(Type::List(Box::new(type_of(ty.get("elementType")?)?))),
        "map" if ty.get("keyType")?.as_str()? == "string" => Some(Type::Map(Box::new(type_of(ty.get("valueType")?)?))),
        _ => None,
    }
}

/// Returns a type of a schema in SQL of Spark.
pub(super) fn sql_type(ty: &Value) -> String {
    let part = |name: &str| ty.get(name).map(sql_type).unwrap_or_default();
    match ty.get("type").and_then(Value::as_str) {
        None => match ty.as_str().unwrap_or_default() {
            "long" => "BIGINT".to_owned(),
            "integer" => "INT".to_owned(),
            other => other.to_uppercase(),
        },
        Some("array") => format!("ARRAY<{}>", part("elementType")),
        Some("map") => format!("MAP<{}, {}>", part("keyType"), part("valueType")),
        Some(_) => {
            let fields = ty.get("fields").and_then(Value::as_array).into_iter().flatten();
            let field = |field: &Value| {
                let name = field.get("name").and_then(Value::as_str).unwrap_or_default().replace('`', "``");
                format!("`{name}`: {}", field.get("type").map(sql_type).unwrap_or_default())
            };
            format!("STRUCT<{}>", fields.map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Returns a type of a schema in words.
fn shown(ty: &Value) -> String {
    let part = |name: &str| ty.get(name).map(shown).unwrap_or_default();
    match ty.get("type").and_then(Value::as_str) {
        _ if ty.is_string() => ty.as_str().unwrap_or_default().to_owned(),
        Some("array") => format!("array<{}>", part("elementType")),
        Some("map") => format!("map<{}, {}>", part("keyType"), part("valueType")),
        Some(other) => other.to_owned(),
        None => ty.to_string(),
    }
}

/// Returns the Delta type of a column's values; an error in words for values that Delta has no type for.
pub(super) fn delta_type(ty: &Type) -> Result<Value, &'static str> {
    Ok(match ty {
        ty if ty.is_text_like() => json!("string"),
        Type::Bool => json!("boolean"),
        Type::Int { .. } => json!("long"),
        Type::Decimal => json!("decimal(38,0)"),
        Type::Float => json!("double"),
        Type::Fixed(Fixed::Date) => json!("date"),
        Type::Fixed(Fixed::Timestamp { unit: Unit::Nanos, .. }) => {
            return Err(
                "has timestamps in nanoseconds, and Delta has microseconds; cast it to a timestamp in microseconds",
            );
        }
        Type::Fixed(Fixed::Timestamp { local: false, .. }) => json!("timestamp"),
        Type::Fixed(Fixed::Timestamp { local: true, .. }) => json!("timestamp_ntz"),
        Type::Fixed(Fixed::Decimal { precision, scale }) => json!(format!("decimal({precision},{scale})")),
        Type::Struct(fields) => json!({"type": "struct", "fields": fields_json(fields)?}),
        Type::List(item) => json!({"type": "array", "elementType": delta_type(item)?, "containsNull": true}),
        Type::Map(value) => {
            json!({"type": "map", "keyType": "string", "valueType": delta_type(value)?, "valueContainsNull": true})
        }
        _ => return Err("has values of a type that Delta does not have"),
    })
}

fn fields_json(fields: &[Field]) -> Result<Vec<Value>, &'static str> {
    fields.iter().map(field_json).collect()
}

/// Returns a column for the schema in JSON.
pub(super) fn field_json(field: &Field) -> Result<Value, &'static str> {
    let mut metadata = Map::new();
    if let Some(form) = form_of(&field.ty) {
        metadata.insert(FORM.into(), form.into());
    }
    Ok(json!({"name": &*field.name, "type": delta_type(&field.ty)?, "nullable": true, "metadata": metadata}))
}

/// Returns the schema in JSON of a new table.
pub(super) fn new_schema(columns: &Schema) -> Result<Value, &'static str> {
    Ok(json!({"type": "struct", "fields": fields_json(&columns.fields)?}))
}

/// Adds to the schema of a table what `columns`, which fit it otherwise, have beyond it. Returns the names of the columns,
/// or of members of objects, that were added.
pub(super) fn add_fields(schema: &mut Value, columns: &[Field]) -> Result<Vec<String>, &'static str> {
    let mut added = Vec::new();
    add_below(schema, columns, "", &mut added)?;
    Ok(added)
}

fn add_below(ty: &mut Value, fields: &[Field], above: &str, added: &mut Vec<String>) -> Result<(), &'static str> {
    let Some(known) = ty.get_mut("fields").and_then(Value::as_array_mut) else { return Ok(()) };
    for field in fields {
        let name = if above.is_empty() { field.name.to_string() } else { format!("{above}.{}", field.name) };
        match known.iter_mut().find(|known| known.get("name").is_some_and(|other| *other == *field.name)) {
            Some(known) => {
                if let Some(ty) = known.get_mut("type") {
                    add_inside(ty, &field.ty, &name, added)?;
                }
                set_form(known, &field.ty);
            }
            None => {
                known.push(field_json(field)?);
                added.push(name);
            }
        }
    }
    Ok(())
}

/// Changes the form of a field that had no values and has some now.
fn set_form(known: &mut Value, ty: &Type) {
    let form = form_of(ty);
    let had_none = ["null", "object"].iter().any(|form| form_in(known).contains(form));
    let Some(metadata) = known.get_mut("metadata").and_then(Value::as_object_mut).filter(|_| had_none) else { return };
    match form {
        Some(form) => drop(metadata.insert(FORM.to_owned(), form.into())),
        None => drop(metadata.remove(FORM)),
    }
}

fn add_inside(known: &mut Value, ty: &Type, name: &str, added: &mut Vec<String>) -> Result<(), &'static str> {
    let inner = match ty {
        Type::Struct(fields) => return add_below(known, fields, name, added),
        Type::List(inner) => known.get_mut("elementType").map(|known| (known, inner)),
        Type::Map(inner) => known.get_mut("valueType").map(|known| (known, inner)),
        _ => None,
    };
    match inner {
        Some((known, inner)) => add_inside(known, inner, name, added),
        None => Ok(()),
    }
}

/// Returns the reason for which a column cannot have its name or a member of its objects theirs; `None` if it can.
pub(super) fn unfit_name(field: &Field) -> Option<String> {
    if field.name.is_empty() || field.name.contains(FORBIDDEN) {
        let shown: String = FORBIDDEN.iter().filter(|c| !c.is_whitespace()).collect();
        return Some(format!(
            "`{}` is no name in Delta, which has no space, tab, line break or {shown} in names; rename it",
            field.name.escape_debug()
        ));
    }
    unfit_names(field.ty.inner_fields())
}

/// Returns the reason for which columns, or members of one object, cannot have their names: one has a character that Delta
/// does not take, or two differ only in case.
pub(super) fn unfit_names(fields: &[Field]) -> Option<String> {
    let mut seen = std::collections::BTreeMap::new();
    for field in fields {
        if let Some(reason) = unfit_name(field) {
            return Some(reason);
        }
        if let Some(other) = seen.insert(field.name.to_lowercase(), &field.name) {
            return Some(format!(
                "`{other}` and `{}` differ only in case, which Delta ignores; rename one",
                field.name
            ));
        }
    }
    None
}

/// Returns true if a column or a member of its objects holds local times, for which a table needs a feature.
pub(super) fn has_local_times(ty: &Type) -> bool {
    match ty {
        Type::Fixed(Fixed::Timestamp { local, .. }) => *local,
        Type::Struct(fields) => fields.iter().any(|field| has_local_times(&field.ty)),
        Type::List(inner) | Type::Map(inner) => has_local_times(inner),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_come_back_as_they_were() {
        let field = |name: &str, ty| Field::new(name, ty);
        let int = Type::Int { fits_double: false };
        let fields = vec![
            field("a", Type::Bool),
            field("b", int.clone()),
            field("c", Type::Decimal),
            field("d", Type::Fixed(Fixed::Decimal { precision: 10, scale: 2 })),
            field("e", Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: false })),
            field("f", Type::Json),
            field("n", Type::Null),
            field("e", Type::Struct(Vec::new())),
            field("l", Type::List(Box::new(Type::Json))),
            field("g", Type::Struct(vec![field("x", Type::Text), field("y", Type::List(Box::new(Type::Float)))])),
            field("h", Type::map(int)),
        ];
        let schema = new_schema(&Schema::new(fields.clone())).unwrap();
        let columns = table_columns(&schema).unwrap();
        let back: Vec<Field> = columns.iter().map(|c| Field::new(c.name.clone(), c.ty.clone().unwrap())).collect();
        assert_eq!(back, fields);
        assert!(columns.iter().all(|column| column.nullable));
        for required in [
            r#"{"type":"array","elementType":"long","containsNull":false}"#,
            r#"{"type":"map","keyType":"string","valueType":"long","valueContainsNull":false}"#,
        ] {
            assert_eq!(type_of(&serde_json::from_str(required).unwrap()), None);
        }
        assert_eq!(columns[9].shown, "struct");
        assert_eq!(columns[10].shown, "map<string, long>");
    }

    #[test]
    fn only_what_is_new_is_added_and_the_rest_is_kept() {
        let text = r#"{"type":"struct","fields":[{"name":"a","type":"integer","nullable":false,"metadata":{"k":1}},
            {"name":"s","type":{"type":"struct","fields":[{"name":"x","type":"long","nullable":true,"metadata":{}}]},
            "nullable":true,"metadata":{}}]}"#;
        let mut schema: Value = serde_json::from_str(text).unwrap();
        let before = schema.clone();
        let int = Type::Int { fits_double: true };
        let inner = |more: bool| {
            let mut fields = vec![Field::new("x", int.clone())];
            fields.extend(more.then(|| Field::new("y", Type::Text)));
            Field::new("s", Type::Struct(fields))
        };
        assert!(add_fields(&mut schema, &[inner(false)]).unwrap().is_empty());
        assert_eq!(schema, before);
        let added = add_fields(&mut schema, &[inner(true), Field::new("n", Type::Null)]).unwrap();
        assert_eq!(added, ["s.y", "n"]);
        assert_eq!(schema["fields"][0], before["fields"][0]);
        assert_eq!(schema["fields"][1]["type"]["fields"][1]["type"], "string");
        assert_eq!(schema["fields"][2]["type"], "string");
        assert_eq!(schema["fields"][2]["metadata"], json!({"drawoff.form": "null"}));
        // Its first values decide what its text is.
        let mut of_text = schema.clone();
        assert!(add_fields(&mut of_text, &[Field::new("n", Type::Text)]).unwrap().is_empty());
        assert_eq!(of_text["fields"][2]["metadata"], json!({}));
        add_fields(&mut schema, &[Field::new("n", Type::Json)]).unwrap();
        assert_eq!(schema["fields"][2]["metadata"], json!({"drawoff.form": "json"}));
        assert!(table_columns(&schema).unwrap()[0].ty.is_none(), "32 bits are no type of ours");
    }

    #[test]
    fn names_that_delta_cannot_have_are_named() {
        let reason = |name: &str| unfit_name(&Field::new(name, Type::Text));
        assert_eq!(reason("Unternehmen_ö.x"), None);
        assert!(reason("a b").unwrap().starts_with("`a b` is no name in Delta"));
        assert!(reason("a=b").is_some() && reason("a\tb").is_some() && reason("").is_some());
        let nested = Type::List(Box::new(Type::Struct(vec![Field::new("a b", Type::Text)])));
        assert!(unfit_name(&Field::new("ok", nested)).is_some());
        let twice = [Field::new("Name", Type::Text), Field::new("name", Type::Text)];
        assert!(unfit_names(&twice).unwrap().contains("differ only in case"));
    }
}
