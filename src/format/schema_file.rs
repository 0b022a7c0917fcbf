//! The schema file: a schema as JSON, for people to read and edit and for later runs to enforce. Writes and parses its
//! text; files are opened by the command line.
//!
//! ```json
//! {
//!   "drawoff_schema": 1,
//!   "fields": [
//!     {"name": "id", "type": "int"},
//!     {"name": "hq", "type": "struct", "fields": [{"name": "city", "type": "text"}]},
//!     {"name": "tags", "type": "list", "item": "text"},
//!     {"name": "scores", "type": "map", "value": {"type": "list", "item": "float"}}
//!   ]
//! }
//! ```
//!
//! A column can also be `decimal(P,S)`: numbers of P digits, S of them after the point.
//!
//! Besides these, a field may have remarks: the origin of its type (`from`, `set_by`) and its meaning
//! (`description`). They are not part of the schema. Any other member is an error, so that a misspelled
//! one is noticed.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::column::{
    Field, Fixed, MAX_COLUMNS, MAX_LEAVES, MAX_PRECISION, MAX_STRUCT_FIELDS, MAX_TYPE_DEPTH, Schema, Type,
    is_open_ended,
};
use crate::position::FieldPath;

/// The only version of the format so far.
const VERSION: u64 = 1;

/// The member that distinguishes a schema file from other JSON; its value is the version.
const MARK: &str = "drawoff_schema";

/// Members of a field that are ignored on reading.
const REMARKS: [&str; 3] = ["from", "set_by", "description"];

/// Scalar types by name. The file does not distinguish integers by size: they are read as fitting a double.
const SCALARS: [(&str, Type); 7] = [
    ("null", Type::Null),
    ("bool", Type::Bool),
    ("int", Type::Int { fits_double: true }),
    ("decimal", Type::Decimal),
    ("float", Type::Float),
    ("text", Type::Text),
    ("json", Type::Json),
];

/// An error in a schema file, with its position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {}{what}", if path.is_root() { String::new() } else { format!("field `{path}`: ") })]
pub struct Error {
    /// Line of the value, or of the object that lacks a member, from 1.
    pub line: usize,
    /// Path of the field; the root for the file itself.
    pub path: FieldPath,
    /// Message without line and path.
    pub what: String,
}

/// Writes `schema` as JSON. `remark` is called with the path and the members of each field, and may add remarks.
pub fn write(schema: &Schema, remark: &mut dyn FnMut(&FieldPath, &mut Map<String, Value>)) -> String {
    let fields = fields_json(&schema.fields, &FieldPath::root(), remark);
    let mut text = format!("{{\n  \"{MARK}\": {VERSION},\n  \"fields\": [");
    // One line per column keeps long files readable and makes their diffs small.
    for (i, field) in fields.iter().enumerate() {
        text.push_str(if i > 0 { ",\n    " } else { "\n    " });
        text.push_str(&field.to_string());
    }
    text.push_str(if fields.is_empty() { "]\n}\n" } else { "\n  ]\n}\n" });
    text
}

fn fields_json(
    fields: &[Field],
    path: &FieldPath,
    remark: &mut dyn FnMut(&FieldPath, &mut Map<String, Value>),
) -> Vec<Value> {
    fields
        .iter()
        .map(|field| {
            let is_column = path.is_root();
            let path = path.field(&field.name);
            let mut members = Map::new();
            members.insert("name".into(), json!(&*field.name));
            match &field.ty {
                Type::Fixed(decimal @ Fixed::Decimal { .. }) if is_column => {
                    members.insert("type".into(), json!(decimal.to_string()));
                }
                ty => add_type(ty, &path, &mut members, remark),
            }
            remark(&path, &mut members);
            Value::Object(members)
        })
        .collect()
}

fn add_type(
    ty: &Type,
    path: &FieldPath,
    members: &mut Map<String, Value>,
    remark: &mut dyn FnMut(&FieldPath, &mut Map<String, Value>),
) {
    let mut inner = |ty: &Type, path: FieldPath| {
        let mut members = Map::new();
        add_type(ty, &path, &mut members, remark);
        // Without members of its own, a type is written as its name alone.
        if members.len() == 1 { members.remove("type").unwrap_or_default() } else { Value::Object(members) }
    };
    match ty {
        Type::Struct(fields) => {
            members.insert("type".into(), json!("struct"));
            members.insert("fields".into(), Value::Array(fields_json(fields, path, remark)));
        }
        Type::List(item) => {
            members.insert("type".into(), json!("list"));
            members.insert("item".into(), inner(item, path.elements()));
        }
        Type::Map(value) => {
            members.insert("type".into(), json!("map"));
            members.insert("value".into(), inner(value, path.values()));
        }
        scalar => {
            let is = |known: &Type| known == scalar || matches!((known, scalar), (Type::Int { .. }, Type::Int { .. }));
            // Raw text and cast types are not in the table; such columns are shown as JSON.
            // A decimal inside of a column, which only Parquet and Arrow sources have, is inferred again.
            let word = if matches!(scalar, Type::Fixed(Fixed::Decimal { .. })) { "null" } else { "json" };
            let word = SCALARS.iter().find(|(_, known)| is(known)).map_or(word, |(word, _)| word);
            members.insert("type".into(), json!(word));
        }
    }
}

/// Parses a schema file of at most [`MAX_COLUMNS`] columns. The error is the first one in it.
///
/// # Examples
///
/// ```
/// use drawoff::format::schema_file;
///
/// let schema = schema_file::read(r#"{
///     "drawoff_schema": 1,
///     "fields": [{"name": "id", "type": "int"}, {"name": "tags", "type": "list", "item": "text"}]
/// }"#)?;
/// assert_eq!(schema.fields[1].ty.to_string(), "list<text>");
///
/// let error = schema_file::read("{\n\"drawoff_schema\": 1}").unwrap_err();
/// assert_eq!(error.to_string(), "line 1: missing `fields`");
/// # Ok::<(), schema_file::Error>(())
/// ```
pub fn read(text: &str) -> Result<Schema, Error> {
    read_with_limit(text, MAX_COLUMNS)
}

/// As [`read`], with another limit of columns.
pub fn read_with_limit(text: &str, max_columns: usize) -> Result<Schema, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Err(error) = serde_json::from_str::<Value>(text) {
        let words = error.to_string();
        let what = words.rsplit_once(" at line ").map_or(words.as_str(), |(what, _)| what);
        return Err(Error { line: error.line().max(1), path: FieldPath::root(), what: format!("not JSON: {what}") });
    }
    // serde_json has no positions of values, so the text, now known to be JSON, is parsed once more with lines.
    let root = Parser { text, at: 0, line: 1 }.value();
    let at = FieldPath::root();
    let members = root.object(&at, "a schema file must be an object")?;
    let Some(version) = member(members, MARK) else {
        return Err(root.error(&at, format!("missing `{MARK}`: this is not a drawoff schema file")));
    };
    if !matches!(version.kind, Kind::Number("1")) {
        return Err(version.error(&at, format!("unsupported schema file version: `{MARK}` is not {VERSION}")));
    }
    known_members(members, &[MARK, "fields", "description"], &at)?;
    let Some(fields) = member(members, "fields") else {
        return Err(root.error(&at, "missing `fields`".into()));
    };
    let schema = Schema::new(read_fields(fields, &at, 1)?);
    let max = max_columns.max(MAX_LEAVES);
    if schema.fields.len() > max_columns || schema.n_leaves() > max {
        let what = match schema.fields.len() > max_columns {
            true => format!("too many columns: more than {max_columns}"),
            false => format!("too many fields: more than {max} in total, nested ones included"),
        };
        return Err(fields.error(&at, what));
    }
    Ok(schema)
}

/// The remarks of a schema file on the meaning of its columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptions {
    /// Meaning of the file, its member `description`.
    pub file: Option<String>,
    /// Meaning of each column that has one, by its name.
    pub columns: HashMap<String, String>,
}

/// Returns the descriptions in a schema file that [`read`] has accepted; none for other text. Those of nested fields are
/// left out, and values that are no text are not descriptions.
pub fn descriptions(text: &str) -> Descriptions {
    let root: Value = serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).unwrap_or_default();
    let fields = root["fields"].as_array().map_or(&[][..], Vec::as_slice);
    let described =
        |field: &Value| Some((field["name"].as_str()?.to_owned(), field["description"].as_str()?.to_owned()));
    Descriptions {
        file: root["description"].as_str().map(str::to_owned),
        columns: fields.iter().filter_map(described).collect(),
    }
}

fn read_fields(node: &Node<'_>, path: &FieldPath, depth: usize) -> Result<Vec<Field>, Error> {
    let Kind::Array(items) = &node.kind else {
        return Err(node.error(path, "`fields` must be a list".into()));
    };
    let mut names = HashSet::new();
    let mut fields = Vec::with_capacity(items.len());
    for item in items {
        let members = item.object(path, "a field must be an object with `name` and `type`")?;
        let name = match member(members, "name") {
            Some(Node { kind: Kind::Text(name), .. }) => name,
            Some(other) => return Err(other.error(path, "the `name` of a field must be a string".into())),
            None => return Err(item.error(path, "a field has no `name`".into())),
        };
        let path = path.field(name);
        if !names.insert(name.as_str()) {
            return Err(item.error(&path, "duplicate field name".into()));
        }
        fields.push(Field::new(name.as_str(), read_type(item, members, &path, true, depth)?));
    }
    Ok(fields)
}

/// Reads the type of `node`, a field or the object of a nested type.
fn read_type(
    node: &Node<'_>,
    members: &[(String, Node<'_>)],
    path: &FieldPath,
    is_field: bool,
    depth: usize,
) -> Result<Type, Error> {
    let (word_node, word) = match member(members, "type") {
        Some(node @ Node { kind: Kind::Text(word), .. }) => (node, word.as_str()),
        Some(other) => return Err(other.error(path, "`type` must be a string".into())),
        None => return Err(node.error(path, "missing `type`".into())),
    };
    let inside = match word {
        "struct" => Some("fields"),
        "list" => Some("item"),
        "map" => Some("value"),
        _ => None,
    };
    // Members depend on the type and on the place: a nested type has no name.
    let mut known = vec!["type"];
    known.extend(inside);
    known.extend(is_field.then_some("name"));
    known.extend(REMARKS);
    known_members(members, &known, path)?;
    let Some(inside) = inside else { return scalar(word_node, word, path, is_field && depth == 1) };
    let Some(inner) = member(members, inside) else {
        return Err(node.error(path, format!("missing `{inside}` of a {word}")));
    };
    if depth > MAX_TYPE_DEPTH {
        return Err(node.error(path, format!("nested deeper than {MAX_TYPE_DEPTH} levels; use type `json`")));
    }
    match word {
        "struct" => {
            let fields = read_fields(inner, path, depth + 1)?;
            // Inference makes a map of such an object, and a join with the next record would widen this struct to one.
            if is_open_ended(fields.iter().map(|f| &*f.name)) {
                let what = format!("the keys are ids or addresses, or more than {MAX_STRUCT_FIELDS}; use type `map`");
                return Err(node.error(path, what));
            }
            Ok(Type::Struct(fields))
        }
        "list" => Ok(Type::List(Box::new(read_inner(inner, &path.elements(), depth + 1)?))),
        _ => Ok(Type::map(read_inner(inner, &path.values(), depth + 1)?)),
    }
}

/// Reads a nested type, which is a name or an object.
fn read_inner(node: &Node<'_>, path: &FieldPath, depth: usize) -> Result<Type, Error> {
    match &node.kind {
        Kind::Text(word) => match word.as_str() {
            "struct" | "list" | "map" => {
                Err(node.error(path, format!("a {word} must be an object with `type` and its contents")))
            }
            word => scalar(node, word, path, false),
        },
        _ => {
            let members = node.object(path, "a type must be a name, or an object with `type`")?;
            read_type(node, members, path, false, depth)
        }
    }
}

fn scalar(node: &Node<'_>, word: &str, path: &FieldPath, is_column: bool) -> Result<Type, Error> {
    if let Some((_, ty)) = SCALARS.iter().find(|(known, _)| *known == word) {
        return Ok(ty.clone());
    }
    if let Some(digits) = word.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
        return match decimal(digits) {
            Some(decimal) if is_column => Ok(Type::Fixed(decimal)),
            Some(_) => Err(node.error(path, format!("only a column can be {word}; use type `json`"))),
            None => Err(node.error(path, "a decimal has 1 to 38 digits, as in decimal(19,2)".into())),
        };
    }
    let words: Vec<&str> = SCALARS.iter().map(|(word, _)| *word).collect();
    let word = crate::text::escape_for_terminal(word);
    let what = format!("unknown type `{word}`; use one of {}, decimal(P,S), struct, list, map", words.join(", "));
    Err(node.error(path, what))
}

/// Parses the precision and the scale of a decimal, `19,2`; `None` for anything else.
fn decimal(digits: &str) -> Option<Fixed> {
    // The library's parser takes a sign as well.
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    let (precision, scale) = digits.split_once(',')?;
    let (precision, scale) = (number(precision.trim())?, number(scale.trim())?);
    ((1..=MAX_PRECISION).contains(&precision) && scale <= precision).then_some(Fixed::Decimal { precision, scale })
}

fn member<'a, 't>(members: &'a [(String, Node<'t>)], name: &str) -> Option<&'a Node<'t>> {
    members.iter().find(|(key, _)| key == name).map(|(_, node)| node)
}

fn known_members(members: &[(String, Node<'_>)], known: &[&str], path: &FieldPath) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for (key, node) in members {
        let shown = crate::text::escape_for_terminal(key);
        if !known.contains(&key.as_str()) {
            return Err(node.error(path, format!("unknown member `{shown}`")));
        }
        if !seen.insert(key) {
            return Err(node.error(path, format!("duplicate member `{shown}`")));
        }
    }
    Ok(())
}

/// A JSON value and the line on which it begins.
struct Node<'t> {
    line: usize,
    kind: Kind<'t>,
}

enum Kind<'t> {
    Object(Vec<(String, Node<'t>)>),
    Array(Vec<Node<'t>>),
    Text(String),
    Number(&'t str),
    /// `true`, `false` or `null`.
    Other,
}

impl<'t> Node<'t> {
    fn error(&self, path: &FieldPath, what: String) -> Error {
        Error { line: self.line, path: path.clone(), what }
    }

    fn object(&self, path: &FieldPath, message: &str) -> Result<&[(String, Node<'t>)], Error> {
        match &self.kind {
            Kind::Object(members) => Ok(members),
            _ => Err(self.error(path, message.to_owned())),
        }
    }
}

/// Parser of text that serde_json has accepted, so that it needs no errors and its recursion is bounded by serde_json's
/// limit of 128 levels.
struct Parser<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Parser<'t> {
    fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(blank) = bytes.get(self.at).filter(|b| b.is_ascii_whitespace()) {
            self.line += usize::from(*blank == b'\n');
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or(0)
    }

    fn value(&mut self) -> Node<'t> {
        let first = self.peek();
        let line = self.line;
        let kind = match first {
            b'{' => {
                let mut members = Vec::new();
                self.each(b'}', |parser| {
                    let key = parser.string();
                    // Skips the colon.
                    parser.peek();
                    parser.at += 1;
                    let value = parser.value();
                    members.push((key, value));
                });
                Kind::Object(members)
            }
            b'[' => {
                let mut items = Vec::new();
                self.each(b']', |parser| items.push(parser.value()));
                Kind::Array(items)
            }
            b'"' => Kind::Text(self.string()),
            _ => {
                let rest = &self.text[self.at..];
                let len = rest.find([',', '}', ']', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
                self.at += len;
                if first == b'-' || first.is_ascii_digit() { Kind::Number(&rest[..len]) } else { Kind::Other }
            }
        };
        Node { line, kind }
    }

    /// Calls `part` at each member of an object or element of a list that ends with `close`.
    fn each(&mut self, close: u8, mut part: impl FnMut(&mut Self)) {
        self.at += 1;
        while self.peek() != close {
            part(self);
            if self.peek() == b',' {
                self.at += 1;
                self.peek();
            }
        }
        self.at += 1;
    }

    fn string(&mut self) -> String {
        self.peek();
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut end = start + 1;
        while bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        self.at = end + 1;
        serde_json::from_str(&self.text[start..=end]).expect("the text is known to be JSON")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(schema: &Schema) -> String {
        write(schema, &mut |_, _| {})
    }

    fn wrong(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let text = r#"{
  "drawoff_schema": 1,
  "fields": [
    {"name":"id","type":"int"},
    {"name":"hq","type":"struct","fields":[{"name":"a \"b\"","type":"text"},{"name":"none","type":"struct","fields":[]}]},
    {"name":"tags","type":"list","item":"text"},
    {"name":"scores","type":"map","value":{"type":"list","item":"float"}},
    {"name":"people","type":"list","item":{"type":"struct","fields":[{"name":"n","type":"decimal"}]}}
  ]
}
"#;
        let schema = read(text).unwrap();
        let words: Vec<String> = schema.fields.iter().map(|f| f.ty.to_string()).collect();
        let struct_words = "struct<a \"b\": text, none: struct<>>";
        let people = "list<struct<n: decimal(38,0)>>";
        assert_eq!(words, ["int", struct_words, "list<text>", "map<list<float>>", people]);
        assert_eq!(written(&schema), text);
        assert_eq!(written(&Schema::default()), "{\n  \"drawoff_schema\": 1,\n  \"fields\": []\n}\n");
        assert_eq!(read(&written(&Schema::default())), Ok(Schema::default()));
    }

    #[test]
    fn a_column_may_be_a_decimal_with_a_scale() {
        let decimal = |precision, scale| Type::Fixed(Fixed::Decimal { precision, scale });
        let schema = Schema::new(vec![
            Field::new("a", decimal(19, 2)),
            Field::new("b.c", decimal(38, 38)),
            Field::new("l", Type::List(Box::new(decimal(19, 2)))),
        ]);
        let text = written(&schema);
        assert!(text.contains(r#"{"name":"a","type":"decimal(19,2)"}"#), "{text}");
        let read_back = read(&text).unwrap();
        assert_eq!(read_back.fields[..2], schema.fields[..2]);
        assert_eq!(read_back.fields[2].ty, Type::List(Box::new(Type::Null)));
        let column = |ty: &str| format!("{{\"drawoff_schema\":1,\"fields\":[{{\"name\":\"a\",\"type\":{ty}}}]}}");
        for ty in [
            "decimal()",
            "decimal(39,2)",
            "decimal(0,0)",
            "decimal(2,3)",
            "decimal(19)",
            "decimal(19,-1)",
            "decimal(+5,2)",
            "decimal(5,+2)",
            "decimal(5,)",
        ] {
            assert!(wrong(&column(&format!("{ty:?}"))).contains("a decimal has 1 to 38 digits"), "{ty}");
        }
        let inner = column("\"list\",\"item\":\"decimal(19,2)\"");
        assert!(wrong(&inner).contains("only a column can be decimal(19,2)"), "{}", wrong(&inner));
    }

    #[test]
    fn remarks_are_ignored() {
        let schema = read(&written(&Schema::new(vec![Field::new("a", Type::List(Box::new(Type::Bool)))]))).unwrap();
        let text = write(&schema, &mut |path, members| {
            members.insert("from".into(), json!("sample"));
            members.insert("set_by".into(), json!({"line": 1, "path": path.as_str()}));
        });
        assert!(text.contains(r#""set_by":{"line":1,"path":"a"}"#), "{text}");
        assert_eq!(read(&text), Ok(schema));
    }

    #[test]
    fn errors_name_line_and_field() {
        let file = |fields: &str| format!("{{\"drawoff_schema\": 1,\n \"fields\": [\n{fields}\n]}}");
        let nested = |inner: &str| file(&format!("{{\"name\": \"c\", \"type\": \"list\",\n\"item\":\n{inner}}}"));
        for (text, words) in [
            ("{\n\"drawoff_schema\" 1}".to_owned(), "line 2: not JSON: expected `:`"),
            ("[]".to_owned(), "line 1: a schema file must be an object"),
            ("{\"fields\": []}".to_owned(), "line 1: missing `drawoff_schema`: this is not a drawoff schema file"),
            (
                "\n{\"drawoff_schema\": 2,\n\"fields\": []}".to_owned(),
                "line 2: unsupported schema file version: `drawoff_schema` is not 1",
            ),
            (
                file("{\"name\": \"a\",\n \"type\": \"strng\"}"),
                "line 4: field `a`: unknown type `strng`; use one of null, bool",
            ),
            (file("{\"name\": \"a\"}"), "line 3: field `a`: missing `type`"),
            (file("{\"type\": \"int\"}"), "line 3: a field has no `name`"),
            (
                file("{\"name\": \"a\", \"type\": \"int\"},\n{\"name\": \"a\", \"type\": \"int\"}"),
                "line 4: field `a`: duplicate field name",
            ),
            (
                file("{\"name\": \"a\", \"type\": \"int\",\n\"nullable\": true}"),
                "line 4: field `a`: unknown member `nullable`",
            ),
            (file("{\"name\": \"a\", \"type\": \"list\"}"), "line 3: field `a`: missing `item` of a list"),
            (nested("\"txt\""), "line 5: field `c[]`: unknown type `txt`"),
            (
                nested("{\"type\": \"struct\", \"fields\": [\n{\"name\": \"e-mail\", \"type\": 7}]}"),
                "line 6: field `c[].e-mail`: `type` must be a string",
            ),
            (nested("\"struct\""), "line 5: field `c[]`: a struct must be an object"),
            (nested("{\"type\": \"map\", \"value\": \"raw\"}"), "line 5: field `c[].*`: unknown type `raw`"),
        ] {
            assert!(wrong(&text).starts_with(words), "{}\nis not\n{words}", wrong(&text));
        }
        let ids: Vec<String> = (0..20).map(|i| format!(r#"{{"name":"{}","type":"int"}}"#, 123_450 + i)).collect();
        let many = file(&format!(r#"{{"name":"x","type":"struct","fields":[{}]}}"#, ids.join(",")));
        assert!(wrong(&many).contains("use type `map`"));
        let deep = file(&format!(
            r#"{{"name":"d","type":"list","item":{}"int"{}}}"#,
            r#"{"type":"list","item":"#.repeat(40),
            "}".repeat(40)
        ));
        assert!(wrong(&deep).contains("use type `json`"));
    }

    fn any_type() -> impl Strategy<Value = Type> {
        let leaf = prop::sample::select(SCALARS.iter().map(|(_, ty)| ty.clone()).collect::<Vec<_>>());
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|t| Type::List(Box::new(t))),
                inner.clone().prop_map(Type::map),
                prop::collection::btree_map("[a-c\"\\\\. é\n]{0,3}", inner, 0..4)
                    .prop_map(|m| Type::Struct(m.into_iter().map(|(n, t)| Field::new(n, t)).collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_schema_is_read_as_it_was_written(types in prop::collection::btree_map("[a-z]{1,4}", any_type(), 0..5)) {
            let schema = Schema::new(types.into_iter().map(|(n, t)| Field::new(n, t)).collect());
            prop_assert_eq!(read(&written(&schema)), Ok(schema));
        }
    }
}
