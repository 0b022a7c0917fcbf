//! A block's specs, read into what is to be done. Whatever is wrong with them is said when the
//! workflow is made, not when it runs.

use std::time::Duration;

use serde_json::{Map, Value};

use super::catalogue::{self, Entry, Role, RowType};
use super::location::Location;
use super::webhook::{MAX_TIMEOUT, TIMEOUT, WebhookTarget};
use crate::api::ValidationError;
use crate::column::{Field, Schema, Type};
use crate::service::fields::ReturnField;
use crate::transform::{Condition, Deduplicate, Figure, Filter, Grammar, Logic, ReadError, RemoveColumns, Step, Test};

/// What a block is to do.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Take the rows of the request.
    Webhook(WebhookSpecs),
    /// Read an upload.
    ReadCsv(ReadCsvSpecs),
    /// Read a notebook.
    ReadNotebook {
        /// Its id.
        notebook: String,
    },
    /// Take the rows that a provider finds.
    Search {
        /// The specs, which say what is looked for.
        specs: Map<String, Value>,
        /// No more rows than these.
        max_results: Option<u64>,
    },
    /// Change the rows.
    Change {
        /// How, one after the other.
        steps: Vec<Step>,
        /// Columns that must be in the input: without them the result would be wrong, not empty.
        needs: Vec<String>,
    },
    /// Look rows up in the reference table of this block.
    Enrich {
        /// The block's name in the catalogue.
        block: &'static str,
        /// Columns to add; `None` adds all of the table.
        fields: Option<Vec<ReturnField>>,
        /// All of the specs, for a provider.
        specs: Map<String, Value>,
    },
    /// Put rows together.
    Group(Figures),
    /// Make rows of the people of each company.
    CompanyToLeads(PeopleSpecs),
    /// Make rows of the companies of people.
    LeadsToCompany(PeopleSpecs),
    /// Leave out the rows that a notebook has.
    NotInNotebook {
        /// Its id.
        notebook: String,
        /// What tells rows apart; the whole row when empty.
        columns: Vec<String>,
    },
    /// Append the rows to a notebook and pass them on.
    Append {
        /// Its id; `None` makes one.
        notebook: Option<String>,
        /// Its name, for people, when it is made.
        name: Option<String>,
    },
    /// Pass the rows on, and send them to an address of the user's.
    OutgoingWebhook(WebhookTarget),
    /// Pass the rows on; nothing is delivered.
    Deliver,
}

/// Specs of `webhook`.
#[derive(Clone, Debug, Default)]
pub(super) struct WebhookSpecs {
    /// Columns that every row must have.
    pub required: Vec<String>,
    /// JSON text of the rows to use without a payload.
    pub fallback: Option<String>,
}

/// Specs of `read_csv`.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadCsvSpecs {
    /// The upload.
    pub handle: Option<String>,
    /// Declared types.
    pub declared: Option<Schema>,
    /// Columns to take, in this order; all when `None`.
    pub columns: Option<Vec<String>>,
}

/// Specs of `group_by`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figures {
    /// Rows that have the same values in these are one group.
    pub columns: Vec<String>,
    /// What is told of each group besides.
    pub figures: Vec<FigureSpec>,
}

/// One figure over each group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FigureSpec {
    /// The column that it becomes.
    pub name: String,
    /// What it is.
    pub figure: Figure,
    /// The column that it is over; a count needs none.
    pub column: Option<String>,
}

/// Specs of `company_to_leads` and `leads_to_company`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PeopleSpecs {
    /// The column of people, or the columns that tell companies apart; looked for by their names when empty.
    pub columns: Vec<String>,
}

/// The id by which a definition asks for a new notebook.
const NEW_NOTEBOOK: &str = "__create_new__";

/// Reads the specs of one block. Problems go to `errors`, with their place below `place` and a
/// text that begins with `name`, the block's name for people; then the answer is `None`.
pub(super) fn read(
    entry: &'static Entry,
    specs: &Map<String, Value>,
    name: &str,
    place: &Location,
    errors: &mut Vec<ValidationError>,
) -> Option<Work> {
    let mut reader = Reader { specs, name, place, errors };
    match entry.role {
        Role::Webhook => reader.webhook(),
        Role::ReadCsv => reader.read_csv(),
        Role::Filter => reader.filter(),
        Role::Deduplicate => {
            let columns = reader.columns(false)?;
            Some(Work::Change { steps: vec![Deduplicate::by_names(columns.clone()).into()], needs: columns })
        }
        Role::RemoveColumns => {
            let columns = reader.columns(true)?;
            Some(Work::Change { steps: vec![RemoveColumns::by_names(columns).into()], needs: Vec::new() })
        }
        Role::Enrich => reader.enrich(entry.name),
        Role::Deliver => reader.deliver(entry.name),
        Role::Search => reader.search(),
        Role::ReadNotebook => {
            reader.row_type()?;
            Some(Work::ReadNotebook { notebook: reader.notebook()? })
        }
        Role::NotInNotebook => {
            Some(Work::NotInNotebook { columns: reader.columns(false)?, notebook: reader.notebook()? })
        }
        Role::Append => {
            let name = reader.text("notebook_name")?;
            let notebook = reader.text("notebook_id")?.filter(|id| id != NEW_NOTEBOOK);
            Some(Work::Append { notebook, name })
        }
        Role::Group => reader.group(),
        Role::CompanyToLeads => Some(Work::CompanyToLeads(reader.people()?)),
        Role::LeadsToCompany => Some(Work::LeadsToCompany(reader.people()?)),
        // Without steps it is the vendor's own, which a provider stands in for.
        Role::Transform if specs.contains_key("steps") => reader.transform(),
        Role::Transform => reader.enrich(entry.name),
    }
}

/// The row type that a source declares; `Err` for another word.
pub(super) fn declared_rows(specs: &Map<String, Value>) -> Result<Option<RowType>, ()> {
    match specs.get("dataframe_type") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("LEAD") => Ok(Some(RowType::Lead)),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("COMPANY") => Ok(Some(RowType::Company)),
        Some(_) => Err(()),
    }
}

struct Reader<'a> {
    specs: &'a Map<String, Value>,
    name: &'a str,
    place: &'a Location,
    errors: &'a mut Vec<ValidationError>,
}

impl Reader<'_> {
    fn webhook(&mut self) -> Option<Work> {
        self.row_type()?;
        let mut specs = WebhookSpecs::default();
        for (column, schema) in self.object("input_schema")? {
            if !schema.is_string() && !schema.is_object() {
                let text = format!("column '{column}' of input_schema must be a type, or an object with one");
                return self.refuse("input_schema", "value_error", &text);
            }
            // Our reading: a declared column is required unless its schema says otherwise.
            if schema.get("required").and_then(Value::as_bool) != Some(false) {
                specs.required.push(column.clone());
            }
        }
        specs.fallback = match self.specs.get("webhook_input") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.trim().is_empty() => None,
            Some(Value::String(text)) => Some(text.clone()),
            // Our reading: rows given as such, not as text, mean the same.
            Some(rows @ (Value::Array(_) | Value::Object(_))) => Some(rows.to_string()),
            Some(_) => return self.refuse("webhook_input", "string_type", "webhook_input must be JSON text"),
        };
        Some(Work::Webhook(specs))
    }

    fn read_csv(&mut self) -> Option<Work> {
        self.row_type()?;
        let handle = match self.specs.get("resource_handle_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                return self.refuse("resource_handle_id", "string_type", "resource_handle_id must be a string");
            }
        };
        let mut fields = Vec::new();
        for (column, schema) in self.object("input_schema")? {
            let word = schema.as_str().or_else(|| schema.get("type").and_then(Value::as_str));
            let Some(word) = word else { continue };
            match Type::from_declared(word) {
                Some(ty) => fields.push(Field::new(column.as_str(), ty)),
                None => {
                    let text = format!("column '{column}' of input_schema has the unknown type '{word}'");
                    return self.refuse("input_schema", "value_error", &text);
                }
            }
        }
        let declared = (!fields.is_empty()).then(|| Schema::new(fields));
        // Our reading: the name is the one that bulk settings have "for the source block".
        let columns = self.columns(false)?;
        let columns = (!columns.is_empty()).then_some(columns);
        Some(Work::ReadCsv(ReadCsvSpecs { handle, declared, columns }))
    }

    fn filter(&mut self) -> Option<Work> {
        let filters = match self.specs.get("filters") {
            Some(Value::Array(filters)) => filters,
            None => return self.refuse("filters", "missing", "filters is required"),
            Some(_) => return self.refuse("filters", "list_type", "filters must be a list"),
        };
        let place = self.place.key("filters");
        let mut conditions = Vec::with_capacity(filters.len());
        let before = self.errors.len();
        for (i, filter) in filters.iter().enumerate() {
            match condition(filter) {
                Ok(condition) => conditions.push(condition),
                Err((key, text)) => {
                    let text = format!("{}: condition {}: {text}", self.name, i + 1);
                    self.errors.push(place.item(i).key(key).invalid("value_error", text));
                }
            }
        }
        if self.errors.len() > before {
            return None;
        }
        let mut needs: Vec<String> = Vec::new();
        for condition in &conditions {
            if !needs.contains(&condition.column) {
                needs.push(condition.column.clone());
            }
        }
        Some(Work::Change { steps: vec![Filter::Conditions(conditions).into()], needs })
    }

    fn enrich(&mut self, block: &'static str) -> Option<Work> {
        let fields = match self.specs.get("return_fields") {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) => Some(ReturnField::read_all(fields)),
            Some(_) => return self.refuse("return_fields", "dict_type", "return_fields must be an object"),
        };
        // An empty object asks for nothing in particular.
        let fields = fields.filter(|fields| !fields.is_empty());
        Some(Work::Enrich { block, fields, specs: self.specs.clone() })
    }

    fn search(&mut self) -> Option<Work> {
        self.row_type()?;
        let max_results = match self.specs.get("max_results") {
            None | Some(Value::Null) => None,
            Some(number) => match number.as_u64() {
                Some(number) => Some(number),
                None => return self.refuse("max_results", "int_type", "max_results must be a whole number"),
            },
        };
        Some(Work::Search { specs: self.specs.clone(), max_results })
    }

    /// Our reading: the columns stand in `columns` (one alone may stand there, or in `column`, as text), and the
    /// figures in `aggregations`: as a list of `{column, function, name}`, or as an object of columns with a function
    /// or several. Without any it is the number of rows.
    fn group(&mut self) -> Option<Work> {
        let columns = match self.specs.get("column") {
            Some(Value::String(column)) if !self.specs.contains_key("columns") => vec![column.clone()],
            _ => self.columns(true)?,
        };
        if columns.is_empty() {
            return self.refuse("columns", "value_error", "columns is empty: name what rows are put together by");
        }
        let mut figures: Vec<FigureSpec> = Vec::new();
        let mut wrong = None;
        let mut add = |column: Option<&str>, word: Option<&str>, name: Option<&str>| match word.map(Figure::parse) {
            Some(Some(figure)) if figure == Figure::Count || column.is_some() => {
                let word = figure.word();
                let default = column.map_or_else(|| word.to_owned(), |column| format!("{column}_{word}"));
                let name = name.map_or(default, str::to_owned);
                figures.push(FigureSpec { name, figure, column: column.map(str::to_owned) });
            }
            Some(Some(figure)) => wrong = Some(format!("'{}' needs a column", figure.word())),
            _ => {
                let known: Vec<&str> = Figure::WORDS.iter().map(|(word, _)| *word).collect();
                wrong = Some(format!("a function is one of {}", known.join(", ")));
            }
        };
        match self.specs.get("aggregations") {
            None | Some(Value::Null) => add(None, Some("count"), None),
            Some(Value::Array(list)) => {
                let text = |item: &'_ Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
                for item in list {
                    let (column, name) = (text(item, "column"), text(item, "name"));
                    add(column.as_deref(), text(item, "function").as_deref(), name.as_deref());
                }
            }
            Some(Value::Object(by_column)) => {
                for (column, words) in by_column {
                    match words {
                        Value::Array(words) => words.iter().for_each(|word| add(Some(column), word.as_str(), None)),
                        word => add(Some(column), word.as_str(), None),
                    }
                }
            }
            Some(_) => wrong = Some("aggregations must be a list or an object".to_owned()),
        }
        if let Some(text) = wrong {
            return self.refuse("aggregations", "value_error", &text);
        }
        let mut names = std::collections::HashSet::new();
        let all = columns.iter().chain(figures.iter().map(|figure| &figure.name));
        if let Some(twice) = all.into_iter().find(|name| !names.insert(name.as_str())) {
            return self.refuse("aggregations", "value_error", &format!("two columns would be called '{twice}'"));
        }
        Some(Work::Group(Figures { columns, figures }))
    }

    fn people(&mut self) -> Option<PeopleSpecs> {
        let column = self.text("column")?;
        let columns = if let Some(column) = column { vec![column] } else { self.columns(false)? };
        Some(PeopleSpecs { columns })
    }

    /// A local extension: each step is an object with one member, `where`, `select`, `drop`, `rename` or `limit`, whose
    /// value is what the command line's flag of that name takes.
    fn transform(&mut self) -> Option<Work> {
        let Some(Value::Array(list)) = self.specs.get("steps") else {
            return self.refuse("steps", "list_type", "steps must be a list");
        };
        let place = self.place.key("steps");
        let mut steps = Vec::with_capacity(list.len());
        let before = self.errors.len();
        for (i, item) in list.iter().enumerate() {
            match transform_step(item) {
                Ok(read) => steps.extend(read),
                Err(why) => {
                    let text = format!("{}: step {}: {why}", self.name, i + 1);
                    self.errors.push(place.item(i).invalid("value_error", text));
                }
            }
        }
        (self.errors.len() == before).then_some(Work::Change { steps, needs: Vec::new() })
    }

    fn notebook(&mut self) -> Option<String> {
        match self.text("notebook_id")? {
            Some(id) if id != NEW_NOTEBOOK => Some(id),
            _ => self.refuse("notebook_id", "missing", "notebook_id is required"),
        }
    }

    /// The text at `key`, if it is there and not empty.
    fn text(&mut self, key: &str) -> Option<Option<String>> {
        match self.specs.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(Value::String(text)) => Some(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => self.refuse(key, "string_type", &format!("{key} must be a string")),
        }
    }

    fn deliver(&mut self, block: &str) -> Option<Work> {
        if block != "outgoing_webhook" {
            return Some(Work::Deliver);
        }
        let Some(text) = self.specs.get("url") else {
            return self.refuse("url", "missing", "url is required");
        };
        let url = text.as_str().and_then(|text| url::Url::parse(text).ok());
        let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) else {
            return self.refuse("url", "url_parsing", "url must be an http or https URL");
        };
        let timeout = match self.specs.get("timeout_seconds") {
            None | Some(Value::Null) => TIMEOUT,
            Some(value) => {
                let seconds = value.as_f64().filter(|seconds| *seconds > 0.0 && *seconds <= MAX_TIMEOUT.as_secs_f64());
                let Some(seconds) = seconds else {
                    let text = format!("timeout_seconds must be a number from 0 to {}", MAX_TIMEOUT.as_secs());
                    return self.refuse("timeout_seconds", "value_error", &text);
                };
                Duration::from_secs_f64(seconds)
            }
        };
        Some(Work::OutgoingWebhook(WebhookTarget { url: url.into(), timeout }))
    }

    fn row_type(&mut self) -> Option<()> {
        match declared_rows(self.specs) {
            Ok(_) => Some(()),
            Err(()) => self.refuse("dataframe_type", "enum", "dataframe_type must be LEAD or COMPANY"),
        }
    }

    /// The members of the object `key`; none when it is absent.
    fn object(&mut self, key: &str) -> Option<Vec<(&String, &Value)>> {
        let specs = self.specs;
        match specs.get(key) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Object(members)) => Some(members.iter().collect()),
            Some(_) => self.refuse(key, "dict_type", &format!("{key} must be an object")),
        }
    }

    /// Our reading: columns stand in `columns`; one alone may stand there as text.
    fn columns(&mut self, required: bool) -> Option<Vec<String>> {
        match self.specs.get("columns") {
            None | Some(Value::Null) if !required => Some(Vec::new()),
            None => self.refuse("columns", "missing", "columns is required"),
            Some(Value::String(column)) => Some(vec![column.clone()]),
            Some(Value::Array(columns)) if columns.iter().all(Value::is_string) => {
                Some(columns.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            Some(_) => self.refuse("columns", "list_type", "columns must be a list of strings"),
        }
    }

    fn refuse<T>(&mut self, key: &str, kind: &str, text: &str) -> Option<T> {
        self.errors.push(self.place.key(key).invalid(kind, format!("{}: {text}", self.name)));
        None
    }
}

/// Steps that `transform_data` has.
const TRANSFORM_STEPS: [&str; 5] = ["where", "select", "drop", "rename", "limit"];

/// One step of `transform_data`.
fn transform_step(item: &Value) -> Result<Vec<Step>, String> {
    let members = item.as_object().filter(|members| members.len() == 1);
    let Some((word, value)) = members.and_then(|members| members.iter().next()) else {
        return Err("a step is an object with one member".to_owned());
    };
    let known = Grammar::of(word).filter(|_| TRANSFORM_STEPS.contains(&word.as_str()));
    let Some(grammar) = known else {
        return Err(format!("'{word}' is no step: where, select, drop, rename and limit are"));
    };
    grammar.read(value, 0).map_err(|error| match error {
        ReadError::Form { word, expected } => format!("{word} must be {expected}"),
        error => error.to_string(),
    })
}

/// One condition of a filter, or the key that is wrong and why.
fn condition(filter: &Value) -> Result<Condition, (&'static str, String)> {
    let Some(filter) = filter.as_object() else { return Err(("column", "must be an object".to_owned())) };
    let Some(column) = filter.get("column").and_then(Value::as_str) else {
        return Err(("column", "column must be the name of a column".to_owned()));
    };
    let Some(operator) = filter.get("operator").and_then(Value::as_str) else {
        return Err(("operator", "operator must be one of the operators' names".to_owned()));
    };
    // Our reading: conditions are joined left to right, by `and` where nothing is said.
    let logic = match filter.get("logic") {
        None | Some(Value::Null) => Logic::And,
        Some(Value::String(word)) if word.eq_ignore_ascii_case("and") => Logic::And,
        Some(Value::String(word)) if word.eq_ignore_ascii_case("or") => Logic::Or,
        Some(_) => return Err(("logic", "logic must be 'and' or 'or'".to_owned())),
    };
    let value = || match filter.get("value") {
        None => Err(("value", format!("operator '{operator}' needs a value"))),
        Some(value) => Ok(value.clone()),
    };
    let scalar = || match value()? {
        Value::Array(_) | Value::Object(_) => Err(("value", format!("operator '{operator}' needs a single value"))),
        value => Ok(value),
    };
    // Our reading: a value alone is a list of one.
    let list = || match value()? {
        Value::Array(values) => Ok(values),
        Value::Object(_) => Err(("value", format!("operator '{operator}' needs a list of values"))),
        value => Ok(vec![value]),
    };
    let test = match operator {
        "equals" => Test::Equals(value()?),
        "not_equals" => Test::NotEquals(value()?),
        "contains" => Test::Contains(scalar()?),
        "not_contains" => Test::NotContains(scalar()?),
        "greater" => Test::Greater(scalar()?),
        "less" => Test::Less(scalar()?),
        "in" => Test::In(list()?),
        "not_in" => Test::NotIn(list()?),
        "is_empty" => Test::IsEmpty,
        "is_not_empty" => Test::IsNotEmpty,
        "matches" => {
            let value = value()?;
            let Some(pattern) = value.as_str() else {
                return Err(("value", "operator 'matches' needs a pattern as text".to_owned()));
            };
            let regex = regex::Regex::new(pattern).map_err(|error| {
                // The library draws the pattern over several lines; the last one says why.
                let text = error.to_string();
                let why = text.lines().last().unwrap_or("not valid").trim_start_matches("error: ");
                ("value", format!("the pattern is not a regular expression: {why}"))
            })?;
            Test::Matches(regex)
        }
        other => {
            let known = catalogue::OPERATORS.join(", ");
            return Err(("operator", format!("operator '{other}' is not one of {known}")));
        }
    };
    Ok(Condition { column: column.to_owned(), test, logic })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_specs(block: &str, specs: Value) -> Result<Work, Vec<String>> {
        let mut errors = Vec::new();
        let entry = catalogue::find(block).unwrap();
        let specs = specs.as_object().unwrap();
        match read(entry, specs, "block 2", &Location::root("specs"), &mut errors) {
            Some(work) => {
                assert!(errors.is_empty());
                Ok(work)
            }
            None => Err(errors.into_iter().map(|error| error.msg).collect()),
        }
    }

    fn filters(filters: Value) -> Result<Work, Vec<String>> {
        read_specs("filter", json!({ "filters": filters }))
    }

    #[test]
    fn all_operators_are_read() {
        for operator in catalogue::OPERATORS {
            let work = filters(json!([
                { "column": "a", "operator": operator, "value": "x" },
                { "column": "b", "operator": operator, "value": "x", "logic": "OR" }
            ]))
            .unwrap_or_else(|errors| panic!("{operator}: {errors:?}"));
            let Work::Change { steps, needs } = work else { panic!("not a filter") };
            let [Step::Filter(Filter::Conditions(conditions))] = &*steps else { panic!("not a filter") };
            assert_eq!(needs, ["a", "b"]);
            assert_eq!(conditions[1].logic, Logic::Or);
        }
    }

    #[test]
    fn wrong_conditions_are_named() {
        let text = |filter: Value| filters(json!([filter])).unwrap_err().join("; ");
        assert!(text(json!({ "column": "a", "operator": "is", "value": 1 })).contains("operator 'is' is not one of"));
        assert!(text(json!({ "column": "a", "operator": "matches", "value": "(" })).contains("unclosed group"));
        assert!(text(json!({ "column": "a", "operator": "greater" })).contains("needs a value"));
        assert!(text(json!({ "operator": "equals", "value": 1 })).contains("column"));
        assert!(text(json!({ "column": "a", "operator": "is_empty", "logic": "xor" })).contains("logic"));
        assert_eq!(read_specs("filter", json!({})).unwrap_err(), ["block 2: filters is required"]);
    }

    #[test]
    fn sources_read_their_schema() {
        let specs = json!({
            "input_schema": { "email": "string", "age": { "type": "int", "required": false } },
            "dataframe_type": "LEAD"
        });
        let Work::Webhook(webhook) = read_specs("webhook", specs).unwrap() else { panic!("not a webhook") };
        assert_eq!(webhook.required, ["email"]);
        let specs = json!({ "input_schema": { "tags": "list[str]", "note": { "description": "free" } } });
        let Work::ReadCsv(csv) = read_specs("read_csv", specs).unwrap() else { panic!("not a read_csv") };
        assert_eq!(csv.declared.unwrap().fields.len(), 1);
        assert!(read_specs("read_csv", json!({ "input_schema": { "a": "date" } })).is_err());
        assert!(read_specs("webhook", json!({ "dataframe_type": "PEOPLE" })).is_err());
        assert!(read_specs("webhook", json!({ "input_schema": { "a": 1 } })).unwrap_err()[0].contains("column 'a'"));
    }

    #[test]
    fn groups_have_figures() {
        let figures = |specs: Value| match read_specs("group_by", specs) {
            Ok(Work::Group(figures)) => Ok(figures.figures.into_iter().map(|f| f.name).collect::<Vec<_>>()),
            Ok(_) => panic!("not a group"),
            Err(errors) => Err(errors.join("; ")),
        };
        assert_eq!(figures(json!({ "column": "a" })).unwrap(), ["count"]);
        let list = json!([{ "function": "count", "name": "n" }, { "column": "s", "function": "AVG" }]);
        assert_eq!(figures(json!({ "columns": ["a", "b"], "aggregations": list })).unwrap(), ["n", "s_mean"]);
        let by_column = json!({ "s": ["min", "max"], "t": "list" });
        assert_eq!(
            figures(json!({ "columns": "a", "aggregations": by_column })).unwrap(),
            ["s_min", "s_max", "t_list"]
        );
        for (specs, why) in [
            (json!({}), "columns is required"),
            (json!({ "columns": [] }), "columns is empty"),
            (json!({ "columns": "a", "aggregations": { "s": "median" } }), "a function is one of count, sum"),
            (json!({ "columns": "a", "aggregations": [{ "function": "sum" }] }), "'sum' needs a column"),
            (json!({ "columns": "a", "aggregations": [{ "function": "count", "name": "a" }] }), "called 'a'"),
        ] {
            let text = figures(specs).unwrap_err();
            assert!(text.contains(why), "{text}");
        }
    }

    #[test]
    fn transforms_take_the_steps_of_the_command_line() {
        let steps = json!({ "steps": [{ "where": "n > 1" }, { "select": ["n", "hq.city"] }, { "limit": 3 }] });
        assert!(matches!(read_specs("transform_data", steps), Ok(Work::Change { steps, .. }) if steps.len() == 3));
        let text = read_specs("transform_data", json!({ "steps": [{ "where": "n >" }] })).unwrap_err().join("; ");
        assert!(text.contains("block 2: step 1: where: "), "{text}");
        assert!(read_specs("transform_data", json!({ "steps": [{ "sort": "n" }] })).is_err());
        assert!(matches!(read_specs("transform_data", json!({})), Ok(Work::Enrich { .. })));
    }

    #[test]
    fn columns_are_a_list_or_one_name() {
        assert!(read_specs("deduplicate", json!({})).is_ok());
        assert!(read_specs("deduplicate", json!({ "columns": "email" })).is_ok());
        assert!(read_specs("deduplicate", json!({ "columns": [1] })).is_err());
        assert!(read_specs("remove_columns", json!({})).is_err());
        assert!(read_specs("outgoing_webhook", json!({ "url": "ftp://x" })).is_err());
        for seconds in [json!(0), json!("10"), json!(301)] {
            assert!(read_specs("outgoing_webhook", json!({ "url": "http://x", "timeout_seconds": seconds })).is_err());
        }
        let webhook = read_specs("outgoing_webhook", json!({ "url": "http://x/a", "timeout_seconds": 2.5 })).unwrap();
        let Work::OutgoingWebhook(target) = webhook else { panic!("not a webhook") };
        assert_eq!((target.url.as_str(), target.timeout), ("http://x/a", Duration::from_millis(2500)));
    }
}
