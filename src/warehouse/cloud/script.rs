//! The statements of a load: the table of loads, the table, and the copy with its record under the commit key. The same
//! statements are executed and printed; each may be repeated, and a second load of the key changes nothing.
//!
//! In systems with transactions a guard stands behind each step: a query that fails, and ends the transaction, unless the
//! step did its work. Its text begins with [`GUARD`], so that the reason is found in the error of the server.

use super::ddl::{CloudColumn, create_table};
use super::ledger::{
    Claim, CopyEntry, LEDGER_COLUMNS, LOADED, create_ledger, end_claim, entry_values, ledger_of, merge_claim,
    merge_entry, other_records,
};
use super::names::CloudTable;
use super::stage::{MAX_FILES, Stage, StagedFiles, file_prefix};
use super::system::CloudSystem;
use crate::column::{Container, Fixed, Type, Unit};
use crate::warehouse::{LoadError, Misfit, Widening};

/// The beginning of the text of a guard that fails.
pub(super) const GUARD: &str = "drawoff: ";

/// The text of the guard for a key that the table of loads has already.
pub(super) const LOADED_ALREADY: &str = "the rows are loaded already";

/// Files that a job names at most; more by the beginning of their names.
const MAX_URIS: usize = 10_000;

/// One load of staged files.
#[derive(Clone, Copy, Debug)]
pub struct CopyLoad<'a> {
    /// The table, with the names of what it is in.
    pub table: &'a CloudTable,
    /// The columns of the files, in their order.
    pub columns: &'a [CloudColumn],
    /// The policy for columns that the table does not have.
    pub widening: Widening,
    /// The location of the files.
    pub stage: &'a Stage,
    /// Names of the files below it.
    pub files: &'a [String],
    /// The facts for the table of loads.
    pub entry: &'a CopyEntry,
}

impl CopyLoad<'_> {
    /// Returns true if there is nothing to copy: the load is recorded, and needs no table.
    pub(super) fn has_no_rows(&self) -> bool {
        self.entry.rows == 0 || self.files.is_empty() || self.columns.is_empty()
    }
}

/// The statements of a load, without semicolons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyScript {
    /// Statements outside of a transaction.
    pub before: Vec<String>,
    /// The statements that put the rows into the table, and record that. From `BEGIN` to `COMMIT` where the system has
    /// transactions over them.
    pub load: Vec<String>,
    /// Statements that remove what is not needed any more.
    pub after: Vec<String>,
    /// True if a statement that fails leaves the transaction open in this system: the text then has the statements of the
    /// load as one block, which ends it.
    ends_in_block: bool,
    /// A line above the text, for those who execute it; empty for none.
    remark: String,
}

impl CopyScript {
    /// Returns all statements, in order.
    pub fn statements(&self) -> impl Iterator<Item = &String> {
        self.before.iter().chain(&self.load).chain(&self.after)
    }

    /// Returns all statements as text, each with a semicolon.
    pub fn text(&self) -> String {
        let lines = |statements: &[String]| statements.iter().map(|sql| format!("{sql};\n")).collect::<String>();
        let load = match self.ends_in_block {
            true => block(&lines(&self.load)),
            false => lines(&self.load),
        };
        let remark = if self.remark.is_empty() { String::new() } else { format!("-- {}\n", self.remark) };
        [remark, lines(&self.before), load, lines(&self.after)].concat()
    }
}

/// Returns the statement of Snowflake that executes `statements`, and rolls back what they did if one of them fails.
fn block(statements: &str) -> String {
    let block = format!("BEGIN\n{statements}EXCEPTION\nWHEN OTHER THEN\nROLLBACK;\nRAISE;\nEND;");
    match block.contains("$$") {
        true => format!("EXECUTE IMMEDIATE {};\n", CloudSystem::Snowflake.literal(&block)),
        false => format!("EXECUTE IMMEDIATE $$\n{block}\n$$;\n"),
    }
}

/// Returns the statements of a load. Fails for columns that they cannot load.
pub fn copy_script(load: &CopyLoad<'_>) -> Result<CopyScript, LoadError> {
    if load.has_no_rows() {
        let (before, load) = (vec![create_ledger(load.table)], vec![merge_entry(load.table, load.entry)]);
        return Ok(CopyScript { before, load, ..CopyScript::default() });
    }
    let mut script = CopyScript { before: create_tables(load), ..CopyScript::default() };
    match load.table.system() {
        CloudSystem::Snowflake => snowflake(load, &mut script),
        CloudSystem::BigQuery => bigquery(load, &mut script)?,
        CloudSystem::Databricks => databricks(load, &mut script),
        CloudSystem::Redshift => redshift(load, &mut script),
    }
    Ok(script)
}

/// Returns a query over `from` that fails unless `condition` holds. The text is no constant, so that no planner evaluates
/// the failure before the condition.
fn guard(system: CloudSystem, condition: &str, why: &str, more: Option<&str>, from: &str) -> String {
    let why = system.literal(&format!("{GUARD}{why}"));
    let more = more.map(|more| format!(" || {more}")).unwrap_or_default();
    format!("SELECT CAST(CASE WHEN {condition} THEN '1' ELSE {why}{more} END AS INTEGER) FROM {from}")
}

fn snowflake(load: &CopyLoad<'_>, script: &mut CopyScript) {
    let system = CloudSystem::Snowflake;
    let (table, ledger) = (load.table.sql(), ledger_of(load.table).sql());
    if load.widening == Widening::Evolve {
        // A column that is added would be the second of its name for COPY.
        let names: Vec<String> = load.columns.iter().map(|column| system.literal(&column.name)).collect();
        let columns = snowflake_catalog(load.table);
        let (upper, names) = (upper_names(load), names.join(", "));
        let others = format!("{columns} AND UPPER(COLUMN_NAME) IN ({upper}) AND COLUMN_NAME NOT IN ({names})");
        let why = "the table has columns whose names differ from those of the rows in case only: ";
        let shown = Some("LISTAGG(COLUMN_NAME, ', ')");
        script.before.push(guard(system, "COUNT(*) = 0", why, shown, &others));
        script.before.extend(load.columns.iter().map(|column| add_columns(load.table, [column])));
    }
    script.ends_in_block = true;
    let inserted = "TABLE(RESULT_SCAN(LAST_QUERY_ID()))";
    script.load.push("BEGIN TRANSACTION".to_owned());
    // A second loader waits here for the first, and then inserts nothing.
    script.load.push(merge_entry(load.table, load.entry));
    script.load.push(guard(system, "MAX(\"number of rows inserted\") = 1", LOADED_ALREADY, None, inserted));
    // Of two that have not waited, the later sees both here.
    let both = format!("{ledger} WHERE commit_key = {}", system.literal(&load.entry.key));
    script.load.push(guard(system, "COUNT(*) = 1", LOADED_ALREADY, None, &both));
    script.load.extend(snowflake_columns(load));
    let several = load.files.len() > MAX_FILES;
    let mut counts = Vec::new();
    for files in load.files.chunks(MAX_FILES) {
        let files: Vec<String> = files.iter().map(|file| system.literal(file)).collect();
        script.load.push(format!(
            "COPY INTO {table} FROM {}\nFILES = ({})\nFILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE \
             USE_VECTORIZED_SCANNER = TRUE)\nMATCH_BY_COLUMN_NAME = CASE_INSENSITIVE ON_ERROR = ABORT_STATEMENT FORCE = TRUE",
            load.stage.sql(system),
            files.join(", ")
        ));
        if several {
            let count = format!("drawoff_rows_{}", counts.len() + 1);
            script.load.push(format!("SET {count} = (SELECT SUM(\"rows_loaded\") FROM {inserted})"));
            counts.push(format!("${count}"));
        }
    }
    let (sum, from) = match several {
        true => (counts.join(" + "), "(SELECT 1 AS one)"),
        false => ("SUM(\"rows_loaded\")".to_owned(), inserted),
    };
    let rows = load.entry.rows;
    script.load.push(guard(system, &format!("{sum} = {rows}"), &other_count(rows), None, from));
    script.load.push("COMMIT".to_owned());
}

/// Returns the statement of Snowflake that adds these columns, as far as they are missing.
pub(super) fn add_columns<'a>(table: &CloudTable, columns: impl IntoIterator<Item = &'a CloudColumn>) -> String {
    let system = CloudSystem::Snowflake;
    let column = |column: &CloudColumn| format!("IF NOT EXISTS {} {}", system.quoted(&column.name), column.sql_type);
    let columns: Vec<String> = columns.into_iter().map(column).collect();
    format!("ALTER TABLE {} ADD COLUMN {}", table.sql(), columns.join(", "))
}

/// Returns the query for the names of the columns that Snowflake's table has.
pub(super) fn select_columns(table: &CloudTable) -> String {
    format!("SELECT COLUMN_NAME FROM {}", snowflake_catalog(table))
}

fn snowflake_catalog(table: &CloudTable) -> String {
    let system = CloudSystem::Snowflake;
    let [database, schema, name] = table.parts() else { return String::new() };
    format!(
        "{}.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        system.quoted(database),
        system.literal(schema),
        system.literal(name)
    )
}

fn other_count(rows: u64) -> String {
    format!("the table got another number of rows than {rows}")
}

/// Returns the names of the columns as Snowflake compares them without case.
fn upper_names(load: &CopyLoad<'_>) -> String {
    let upper = |column: &CloudColumn| format!("UPPER({})", CloudSystem::Snowflake.literal(&column.name));
    load.columns.iter().map(upper).collect::<Vec<_>>().join(", ")
}

/// Returns the checks of the table: it has all columns, of types that keep every value. COPY rounds numbers and times without
/// a word.
fn snowflake_columns(load: &CopyLoad<'_>) -> Vec<String> {
    let system = CloudSystem::Snowflake;
    let columns = snowflake_catalog(load.table);
    // COPY finds them in any case; of two that differ in case only, it cannot.
    let all = format!("{columns} AND UPPER(COLUMN_NAME) IN ({})", upper_names(load));
    let here = "LISTAGG(COLUMN_NAME, ', ')";
    let count = format!("COUNT(*) = {}", load.columns.len());
    let unfit: Vec<String> = load
        .columns
        .iter()
        .filter_map(|column| {
            let fits = snowflake_accepts(&column.ty)?;
            Some(format!("(UPPER(COLUMN_NAME) = UPPER({}) AND NOT ({fits}))", system.literal(&column.name)))
        })
        .collect();
    let mut guards = vec![guard(system, &count, "of the columns of the rows, the table has only: ", Some(here), &all)];
    if !unfit.is_empty() {
        let unfit = format!("{columns} AND ({})", unfit.join(" OR "));
        let shown = "LISTAGG(COLUMN_NAME || ' ' || DATA_TYPE, ', ')";
        let why = "the table has columns of types that do not keep the values: ";
        guards.push(guard(system, "COUNT(*) = 0", why, Some(shown), &unfit));
    }
    guards
}

/// Returns the condition on a column of `INFORMATION_SCHEMA.COLUMNS` that keeps every value of `ty`; `None` if all do.
fn snowflake_accepts(ty: &Type) -> Option<String> {
    let digits = |unit: &Unit| match unit {
        Unit::Millis => 3,
        Unit::Micros => 6,
        Unit::Nanos => 9,
    };
    let number = |scale: u8| format!("DATA_TYPE = 'NUMBER' AND NUMERIC_SCALE >= {scale}");
    Some(match ty {
        Type::Null => return None,
        Type::Number(_) => return snowflake_accepts(&ty.resolved()),
        Type::Bool => "DATA_TYPE = 'BOOLEAN'".to_owned(),
        Type::Int { fits_double: true } => format!("DATA_TYPE = 'FLOAT' OR {}", number(0)),
        Type::Int { .. } | Type::Decimal => number(0),
        Type::Float => "DATA_TYPE = 'FLOAT'".to_owned(),
        Type::Fixed(Fixed::Date) => "DATA_TYPE = 'DATE'".to_owned(),
        Type::Fixed(Fixed::Timestamp { unit, local: true }) => {
            format!("DATA_TYPE = 'TIMESTAMP_NTZ' AND DATETIME_PRECISION >= {}", digits(unit))
        }
        Type::Fixed(Fixed::Timestamp { unit, local: false }) => {
            format!("DATA_TYPE IN ('TIMESTAMP_LTZ', 'TIMESTAMP_TZ') AND DATETIME_PRECISION >= {}", digits(unit))
        }
        Type::Fixed(Fixed::Decimal { scale, .. }) => number(*scale),
        ty if ty.is_text_like() => "DATA_TYPE = 'TEXT'".to_owned(),
        ty => match ty.container() {
            Some(Container::List) => "DATA_TYPE IN ('VARIANT', 'ARRAY')".to_owned(),
            _ => "DATA_TYPE IN ('VARIANT', 'OBJECT')".to_owned(),
        },
    })
}

/// Rows go through a table of their own: files are loaded outside of transactions only. INSERT converts integers alone.
fn bigquery(load: &CopyLoad<'_>, script: &mut CopyScript) -> Result<(), LoadError> {
    let system = CloudSystem::BigQuery;
    let table = load.table.sql();
    let has_inner_map = |column: &&CloudColumn| match &column.ty {
        Type::Map(value) => has_map(value),
        ty => has_map(ty),
    };
    if let Some(column) = load.columns.iter().find(has_inner_map) {
        let what = "has maps in objects or lists, which a job loads, and no statement".to_owned();
        let misfits = vec![Misfit { column: column.name.clone(), what }];
        return Err(LoadError::Misfits { table: load.table.shown(), misfits });
    }
    script.before.extend(bigquery_columns(load));
    let rows = load.entry.rows;
    let name = format!("{}__drawoff_{}", load.table.name(), load.entry.key.get(..8).unwrap_or_default());
    let staged = load.table.beside(&name).sql();
    let uris = job_uris(load.stage, &StagedFiles::of(load.files));
    let uris: Vec<String> = uris.iter().map(|uri| system.literal(uri)).collect();
    let assert = |why: &str, condition: &str| {
        format!("SELECT IF({condition}, 1, ERROR({}))", system.literal(&format!("{GUARD}{why}")))
    };
    let key = system.literal(&load.entry.key);
    let ledger = ledger_of(load.table).sql();
    // Before a copy of the rows is made and paid for.
    let is_new = format!("NOT EXISTS (SELECT 1 FROM {ledger} WHERE commit_key = {key})");
    script.before.push(assert(LOADED_ALREADY, &is_new));
    script.before.push(format!(
        "LOAD DATA OVERWRITE {staged} FROM FILES (format = 'PARQUET', enable_list_inference = TRUE, decimal_target_types = \
         ['NUMERIC', 'BIGNUMERIC'], uris = [{}])",
        uris.join(", ")
    ));
    let names: Vec<String> = load.columns.iter().map(|column| system.quoted(&column.name)).collect();
    let values: Vec<String> = load
        .columns
        .iter()
        .map(|column| match column.ty {
            Type::Map(_) => format!("{0}.key_value AS {0}", system.quoted(&column.name)),
            _ => system.quoted(&column.name),
        })
        .collect();
    // INSERT takes the members of objects by their order.
    let objects: Vec<String> = load
        .columns
        .iter()
        .filter(|column| column.sql_type.contains("STRUCT") && !matches!(column.ty, Type::Map(_)))
        .map(|column| system.literal(&column.name))
        .collect();
    if !objects.is_empty() {
        let schema = load.table.beside("INFORMATION_SCHEMA").sql();
        let of = |table: &str| {
            let (name, names) = (system.literal(table), objects.join(", "));
            format!(
                "SELECT column_name, data_type FROM {schema}.COLUMNS WHERE table_name = {name} AND column_name IN ({names})"
            )
        };
        let differing = format!(
            "NOT EXISTS (SELECT 1 FROM ({}) AS t JOIN ({}) AS s USING (column_name) WHERE t.data_type != s.data_type)",
            of(load.table.name()),
            of(&name)
        );
        script.before.push(assert("objects of the rows and of the table differ in members or their order", &differing));
    }
    script.load = vec![
        "BEGIN TRANSACTION".to_owned(),
        merge_entry(load.table, load.entry),
        assert(LOADED_ALREADY, "@@row_count = 1"),
        format!("INSERT INTO {table} ({}) SELECT {} FROM {staged}", names.join(", "), values.join(", ")),
        assert(&other_count(rows), &format!("@@row_count = {rows}")),
        "COMMIT TRANSACTION".to_owned(),
    ];
    script.after.push(format!("DROP TABLE IF EXISTS {staged}"));
    Ok(())
}

fn has_map(ty: &Type) -> bool {
    match ty {
        Type::Map(_) => true,
        Type::List(item) => has_map(item),
        Type::Struct(fields) => fields.iter().any(|field| has_map(&field.ty)),
        _ => false,
    }
}

/// Returns the statements that make the table of loads and the table, if they are missing.
pub(super) fn create_tables(load: &CopyLoad<'_>) -> Vec<String> {
    vec![create_ledger(load.table), create_table(load.table, load.columns, true)]
}

/// Returns the statement that adds the columns that the table does not have, if it may get any.
fn bigquery_columns(load: &CopyLoad<'_>) -> Option<String> {
    let system = CloudSystem::BigQuery;
    let add =
        |column: &CloudColumn| format!("ADD COLUMN IF NOT EXISTS {} {}", system.quoted(&column.name), column.sql_type);
    let added: Vec<String> = load.columns.iter().map(add).collect();
    (load.widening == Widening::Evolve).then(|| format!("ALTER TABLE {} {}", load.table.sql(), added.join(", ")))
}

/// Returns the URIs of the files: a pattern where there are more than a job takes.
pub(super) fn job_uris(stage: &Stage, files: &StagedFiles) -> Vec<String> {
    let Stage::Url(url, _) = stage else { return Vec::new() };
    match files {
        StagedFiles::Numbered { prefix, count } if *count > MAX_URIS => vec![format!("{url}{prefix}*")],
        files => files.names().iter().map(|file| format!("{url}{file}")).collect(),
    }
}

/// Returns the statements that copy files, which all may be executed again: COPY INTO remembers the files that it has copied,
/// and skips them.
pub(super) fn databricks_copies(
    table: &CloudTable,
    stage: &Stage,
    files: &StagedFiles,
    adds_columns: bool,
) -> Vec<String> {
    let system = CloudSystem::Databricks;
    let copy = |files: &[String]| {
        let files: Vec<String> = files.iter().map(|file| system.literal(file)).collect();
        format!(
            "COPY INTO {} FROM {}\nFILEFORMAT = PARQUET\nFILES = ({})\nCOPY_OPTIONS ('mergeSchema' = '{adds_columns}', 'force' = \
             'false')",
            table.sql(),
            stage.sql(system),
            files.join(", ")
        )
    };
    files.names().chunks(MAX_FILES).map(copy).collect()
}

/// There is no transaction over several statements: the load is recorded as begun, so that a command that comes behind a part
/// of them finishes it, with the same files.
fn databricks(load: &CopyLoad<'_>, script: &mut CopyScript) {
    let system = CloudSystem::Databricks;
    let claim = Claim {
        attempt: "printed".to_owned(),
        stage: load.stage.clone(),
        files: StagedFiles::of(load.files),
        adds_columns: load.widening == Widening::Evolve,
    };
    script.remark = "Execute these in order, and stop at the first that fails: they are no transaction.".to_owned();
    let check = |condition: &str, why: &str, from: &str| {
        let why = system.literal(&format!("{GUARD}{why}"));
        format!("SELECT IF({condition}, 1, raise_error({why})) FROM {from}")
    };
    let others = other_records(load.table, &load.entry.key, &claim);
    script.load.push(check("COUNT(*) = 0", LOADED_ALREADY, &others));
    script.load.push(merge_claim(load.table, load.entry, &claim));
    // The result of COPY is not at hand for a statement; a credential is not for this function.
    if let Stage::Url(url, rights) = load.stage
        && rights.is_empty()
    {
        let (rows, files) = (load.entry.rows, system.literal(&format!("{url}{}*", file_prefix(load.files))));
        let why = format!("the files have another number of rows than {rows}");
        script.load.push(check(
            &format!("COUNT(*) = {rows}"),
            &why,
            &format!("read_files({files}, format => 'parquet')"),
        ));
    }
    script.load.extend(databricks_copies(load.table, load.stage, &claim.files, claim.adds_columns));
    script.load.push(end_claim(load.table, load.entry, &claim, LOADED));
}

/// COPY takes the columns of Parquet in their order, and all files whose names begin alike.
fn redshift(load: &CopyLoad<'_>, script: &mut CopyScript) {
    let system = CloudSystem::Redshift;
    let (table, ledger) = (load.table.sql(), ledger_of(load.table).sql());
    let names: Vec<String> = load.columns.iter().map(|column| system.quoted(&column.name)).collect();
    let from = match load.stage {
        Stage::Url(url, rights) => format!("{} {rights}", system.literal(&format!("{url}{}", file_prefix(load.files)))),
        Stage::Named(name) => name.clone(),
    };
    let nested = if load.columns.iter().any(|column| column.sql_type == "SUPER") { " SERIALIZETOJSON" } else { "" };
    let rows = load.entry.rows;
    let here = format!("{ledger} WHERE commit_key = {}", system.literal(&load.entry.key));
    script.load = vec![
        "BEGIN".to_owned(),
        // A second loader waits here for the first.
        format!("LOCK {ledger}"),
        guard(system, "COUNT(*) = 0", LOADED_ALREADY, None, &here),
        format!(
            "INSERT INTO {ledger} ({}) VALUES ({})",
            LEDGER_COLUMNS.join(", "),
            entry_values(load.table, load.entry, LOADED, None)
        ),
        format!("COPY {table} ({}) FROM {from}\nFORMAT AS PARQUET{nested}", names.join(", ")),
        guard(system, &format!("MAX(n) = {rows}"), &other_count(rows), None, "(SELECT pg_last_copy_count() AS n) AS c"),
        "COMMIT".to_owned(),
    ];
}

#[cfg(test)]
mod tests {
    use super::super::ddl::cloud_columns;
    use super::*;
    use crate::column::{Field, Schema};

    fn script(system: CloudSystem, files: usize, widening: Widening) -> CopyScript {
        let schema = Schema::new(vec![
            Field::new("domain", Type::Text),
            Field::new("score", Type::Float),
            Field::new("tags", Type::map(Type::Text)),
        ]);
        let (table, stage) = match system {
            CloudSystem::Snowflake => ("db.crm.people", Stage::Named("@DB.CRM.STAGE/a/".to_owned())),
            CloudSystem::BigQuery => ("p.crm.people", Stage::Url("gs://b/a/".to_owned(), String::new())),
            CloudSystem::Databricks => ("main.crm.people", Stage::Url("s3://b/a/".to_owned(), String::new())),
            CloudSystem::Redshift => ("crm.people", Stage::Url("s3://b/a/".to_owned(), "IAM_ROLE DEFAULT".to_owned())),
        };
        let entry =
            CopyEntry { key: "0123456789abcdef".into(), source: "it's".into(), rows: 7, ..CopyEntry::default() };
        copy_script(&CopyLoad {
            table: &CloudTable::parse(system, table).unwrap(),
            columns: &cloud_columns(system, &schema).unwrap(),
            widening,
            stage: &stage,
            files: &(1..=files).map(|n| format!("drawoff_0123-{n:05}.parquet")).collect::<Vec<_>>(),
            entry: &entry,
        })
        .unwrap()
    }

    #[test]
    fn rows_and_their_record_are_one_transaction_where_there_are_any() {
        for system in [CloudSystem::Snowflake, CloudSystem::BigQuery, CloudSystem::Redshift] {
            let CopyScript { load, .. } = script(system, 2, Widening::Evolve);
            assert!(load[0].starts_with("BEGIN") && load.last().unwrap().starts_with("COMMIT"), "{load:?}");
            let at = |word: &str| {
                load.iter().position(|sql| sql.contains(word)).unwrap_or_else(|| panic!("{word}: {load:?}"))
            };
            let rows = if system == CloudSystem::BigQuery { "INSERT INTO `p`.`crm`.`people`" } else { "COPY" };
            assert!(at(LOADED_ALREADY) < at(rows) && at(rows) < at("another number of rows"), "{load:?}");
        }
        let load = script(CloudSystem::Databricks, 2, Widening::Evolve).load;
        assert!(load[0].contains(LOADED_ALREADY), "{load:?}");
        let begins = |n: usize, text: &str| assert!(load[n].starts_with(text), "{load:?}");
        begins(1, "MERGE INTO");
        assert!(load[1].contains("'loading'") && load[2].contains("read_files('s3://b/a/drawoff_0123-*'"), "{load:?}");
        begins(3, "COPY INTO");
        begins(4, "MERGE INTO");
        assert!(load[4].contains("UPDATE SET state = 'loaded'") && load.len() == 5, "{load:?}");
    }

    #[test]
    fn more_files_than_one_copy_takes_are_copied_by_several() {
        let copies = |system, files| {
            let load = script(system, files, Widening::Evolve).load;
            load.iter().filter(|sql| sql.starts_with("COPY")).count()
        };
        for (system, expected) in
            [(CloudSystem::Snowflake, 3), (CloudSystem::Databricks, 3), (CloudSystem::Redshift, 1)]
        {
            assert_eq!((copies(system, 1000), copies(system, 2001)), (1, expected), "{system}");
        }
        let text = script(CloudSystem::Snowflake, 2001, Widening::Evolve).text();
        assert!(text.contains("$drawoff_rows_1 + $drawoff_rows_2 + $drawoff_rows_3 = 7"), "{text}");
        let text = script(CloudSystem::BigQuery, 10_001, Widening::Evolve).text();
        assert!(text.contains("'gs://b/a/drawoff_0123-*'") && !text.contains("00001.parquet"), "{text}");
    }

    #[test]
    fn a_table_that_may_not_change_gets_no_columns() {
        for system in CloudSystem::ALL {
            let text = script(system, 1, Widening::Fixed).text();
            assert!(!text.contains("ADD COLUMN") && !text.contains("'mergeSchema' = 'true'"), "{text}");
        }
    }
}
