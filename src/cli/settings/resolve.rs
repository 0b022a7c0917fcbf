//! Resolution of the settings: for each row of the table the first of flag, environment, configuration file and default
//! applies, and its origin is kept for `config show` and errors. The API key itself is loaded only when it is needed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use super::file::ConfigFile;
use super::key::{self, KeyCommand};
use super::setting::{Error, Origin, Setting};
use super::spec::{Spec, UserDirs};
use super::table;
use super::typed::TypedSettings;
use crate::format::ParquetCodec;
use crate::format::csv::CsvQuote;
use crate::net::{self, Connections, RetryPolicy, TrustedHost};
use crate::pipeline::Limits;
use crate::secret::ApiKey;

/// The source of the API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The key itself, from the environment.
    Value(ApiKey),
    /// A file, read when the key is needed.
    File(PathBuf),
    /// A shell command that prints the key on its first line, run when the key is needed.
    Command(KeyCommand),
}

/// The resolved settings. The fields are the rows of [`super::TABLE`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base URL of the API.
    pub endpoint: Setting<Url>,
    /// Source of the API key; `None` if none is set.
    pub api_key: Option<Setting<KeySource>>,
    /// The key that `serve` accepts, from the environment; `None` if none is set.
    pub serve_api_key: Option<Setting<ApiKey>>,
    /// Directory of the ledgers of runs and downloads; `None` if the system has no state directory.
    pub state_dir: Option<Setting<PathBuf>>,
    /// Hosts besides the API's own that downloads may send the key to.
    pub send_key_to: Setting<Vec<TrustedHost>>,
    /// True if the key may be sent over an unencrypted connection to another machine.
    pub insecure_http: Setting<bool>,
    /// Codec of Parquet pages.
    pub codec: Setting<ParquetCodec>,
    /// Bytes of records in flight, all stages together.
    pub max_memory: Setting<u64>,
    /// Bytes of one record; longer ones are rejected.
    pub max_record_bytes: Setting<u64>,
    /// Columns of one table; more are an error.
    pub max_columns: Setting<usize>,
    /// Ratio of decompressed to compressed bytes beyond which an input is refused; 0 is no limit.
    pub max_expansion: Setting<u64>,
    /// Downloads that one command runs at a time.
    pub jobs: Setting<usize>,
    /// Connections over which one large file is downloaded.
    pub connections: Setting<Connections>,
    /// Bytes per second; a download that stays below for 30 s is reconnected.
    pub min_speed: Setting<u64>,
    /// Compute threads; 0 is one per core.
    pub workers: Setting<usize>,
    /// Bytes of one morsel. A row group takes 32 times as much of the input.
    pub morsel_size: Setting<u64>,
    /// Requests to the API within any minute, of all processes of the user under one key.
    pub requests_per_minute: Setting<usize>,
    /// Bytes of the first records, which decide on columns and types before the first row is written.
    pub sample_size: Setting<u64>,
    /// Wait after a 429 without a time of its own.
    pub rate_limit_wait: Setting<Duration>,
    /// Delimiter of CSV inputs; `None` infers it.
    pub in_delimiter: Setting<Option<u8>>,
    /// Quote of CSV inputs; `None` is `"`.
    pub in_quote: Setting<Option<CsvQuote>>,
    /// Words for null in CSV inputs.
    pub in_null: Setting<Vec<Box<str>>>,
    /// Decimal mark of CSV inputs; `None` is a point.
    pub in_decimal: Setting<Option<u8>>,
    /// Mark of thousands of CSV inputs; `None` is none.
    pub in_thousands: Setting<Option<char>>,
    /// Path of the configuration file, and true if it exists; `None` if the system has no configuration directory.
    pub config_file: Option<(PathBuf, bool)>,
    shown: Vec<ShownSetting>,
    /// The key once it is loaded, so that a key command runs only once.
    loaded_key: Arc<OnceLock<Option<ApiKey>>>,
}

/// The table `serve` of a configuration file.
#[derive(Clone, Debug, Default)]
pub struct ServeTable {
    /// Path of the file, for messages and relative paths.
    pub path: PathBuf,
    /// Values by the names of flags, with underscores. Not checked.
    pub flags: Map<String, Value>,
}

/// A resolved setting as `config show` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownSetting {
    /// Name of the setting in the table.
    pub name: &'static str,
    /// Value as text; `not set` if there is none.
    pub value: String,
    /// Origin of the value; `-` if it is not set.
    pub origin: String,
}

impl ShownSetting {
    fn new(name: &'static str, value: Option<String>, origin: impl ToString) -> Self {
        match value {
            Some(value) => ShownSetting { name, value, origin: origin.to_string() },
            None => ShownSetting { name, value: "not set".to_owned(), origin: "-".to_owned() },
        }
    }
}

/// The sources of settings, and the settings resolved so far.
struct Resolver<'a> {
    flags: &'a TypedSettings,
    env: &'a dyn Fn(&str) -> Option<String>,
    file: ConfigFile,
    dirs: UserDirs,
    shown: Vec<ShownSetting>,
}

impl Resolver<'_> {
    /// Resolves a setting and lists it in `config show`.
    fn shown<T>(&mut self, spec: &Spec<T>) -> Result<Setting<T>, Error> {
        let setting = self.silent(spec)?;
        self.shown.push(ShownSetting::new(spec.names.name, (spec.show)(&setting.value), &setting.origin));
        Ok(setting)
    }

    /// Resolves a setting without listing it: one that is a part of another.
    fn silent<T>(&self, spec: &Spec<T>) -> Result<Setting<T>, Error> {
        let names = &spec.names;
        let flag = || {
            let origin = Origin::Flag(names.flag?.flag);
            Some((self.flags.get(names.name)?.to_vec(), origin, Path::new("")))
        };
        let environment = || {
            let name = names.environment?;
            let text = (self.env)(name).filter(|text| !text.trim().is_empty())?;
            Some((vec![OsString::from(text)], Origin::Environment(name), Path::new("")))
        };
        let file = || {
            let texts = self.file.get(names.name)?.to_vec();
            Some((texts, Origin::File(self.file.path.clone()?), self.file.directory()))
        };
        // Highest precedence first. Only paths in the file are relative to its directory.
        match flag().or_else(environment).or_else(file) {
            None => Ok(Setting { value: (spec.default)(&self.dirs), origin: Origin::Default }),
            Some((texts, origin, directory)) => match spec.read(&texts, directory) {
                Ok(value) => Ok(Setting { value, origin }),
                Err(text) => Err(match origin {
                    Origin::Flag(flag) => {
                        let given = texts.iter().map(|text| text.to_string_lossy()).collect::<Vec<_>>().join(" ");
                        Error::FlagValue { flag, given, text }
                    }
                    origin => Error::Value { name: names.name, origin, text },
                }),
            },
        }
    }

    /// Returns the source of the key with the highest precedence; `None` if there is none. A file and a command in the
    /// same configuration file are an error.
    fn key_source(&mut self) -> Result<Option<Setting<KeySource>>, Error> {
        let value = self.shown(&table::API_KEY)?.present().map(|key| key.map(KeySource::Value));
        let path = self.silent(&table::API_KEY_FILE)?.present().map(|path| path.map(KeySource::File));
        let command = self.silent(&table::API_KEY_COMMAND)?.present().map(|command| command.map(KeySource::Command));
        if let (Some(_), Some(Setting { origin: origin @ Origin::File(_), .. })) =
            (self.file.get(table::API_KEY_FILE.names.name), &command)
        {
            let text = format!("{} is set too; set only one of them", table::API_KEY_FILE.names.name);
            return Err(Error::Value { name: table::API_KEY_COMMAND.names.name, origin: origin.clone(), text });
        }
        // `max_by` takes the last of equals. Two flags cannot meet here: clap refuses them together.
        Ok([command, value, path].into_iter().flatten().max_by(|a, b| a.origin.cmp(&b.origin)))
    }
}

impl Settings {
    /// Resolves the settings from `flags`, this process's environment and the user's configuration file.
    pub fn resolve(flags: &TypedSettings) -> Result<Self, Error> {
        Settings::resolve_from(flags, &|name| std::env::var(name).ok(), UserDirs::of_user())
    }

    /// Resolves the settings from the given flags, environment and directories. Fails at the first value that is not
    /// valid, naming its origin.
    pub fn resolve_from(
        flags: &TypedSettings,
        env: &dyn Fn(&str) -> Option<String>,
        dirs: UserDirs,
    ) -> Result<Self, Error> {
        let mut all = Resolver { flags, env, file: ConfigFile::default(), dirs, shown: Vec::new() };
        // The path of the file comes first, because all other settings may be in it. A default file may be absent.
        let config = all.silent(&table::CONFIG)?;
        all.file = ConfigFile::read(config.value, config.origin != Origin::Default)?;
        Ok(Settings {
            endpoint: all.shown(&table::ENDPOINT)?,
            api_key: all.key_source()?,
            serve_api_key: all.shown(&table::SERVE_API_KEY)?.present(),
            state_dir: all.shown(&table::STATE_DIR)?.present(),
            send_key_to: all.shown(&table::SEND_KEY_TO)?,
            insecure_http: all.shown(&table::INSECURE_HTTP)?,
            codec: all.shown(&table::CODEC)?,
            max_memory: all.shown(&table::MAX_MEMORY)?,
            max_record_bytes: all.shown(&table::MAX_RECORD_BYTES)?,
            max_columns: all.shown(&table::MAX_COLUMNS)?,
            max_expansion: all.shown(&table::MAX_EXPANSION)?,
            jobs: all.shown(&table::JOBS)?,
            connections: all.shown(&table::CONNECTIONS)?,
            min_speed: all.shown(&table::MIN_SPEED)?,
            workers: all.shown(&table::WORKERS)?,
            morsel_size: all.shown(&table::MORSEL_SIZE)?,
            sample_size: all.shown(&table::SAMPLE_SIZE)?,
            requests_per_minute: all.shown(&table::REQUESTS_PER_MINUTE)?,
            rate_limit_wait: all.shown(&table::RATE_LIMIT_WAIT)?,
            in_delimiter: all.shown(&table::IN_DELIMITER)?,
            in_quote: all.shown(&table::IN_QUOTE)?,
            in_null: all.shown(&table::IN_NULL)?,
            in_decimal: all.shown(&table::IN_DECIMAL)?,
            in_thousands: all.shown(&table::IN_THOUSANDS)?,
            config_file: all.file.path.clone().map(|path| (path, all.file.found)),
            shown: all.shown,
            loaded_key: Arc::default(),
        })
    }

    /// Returns the table `serve` of the configuration file; empty without one.
    pub fn serve_table(flags: &TypedSettings) -> Result<ServeTable, Error> {
        let env = |name: &str| std::env::var(name).ok();
        let all =
            Resolver { flags, env: &env, file: ConfigFile::default(), dirs: UserDirs::of_user(), shown: Vec::new() };
        let config = all.silent(&table::CONFIG)?;
        let file = ConfigFile::read(config.value, config.origin != Origin::Default)?;
        Ok(ServeTable { path: file.path.unwrap_or_default(), flags: file.serve })
    }

    /// Loads the API key: reads its file or runs its command, once. Returns `None` if there is none or if it is empty.
    /// May block for as long as the command prompts its user.
    pub fn load_key(&self) -> Result<Option<ApiKey>, Error> {
        if let Some(key) = self.loaded_key.get() {
            return Ok(key.clone());
        }
        let Some(setting) = &self.api_key else { return Ok(None) };
        let key = match &setting.value {
            KeySource::Value(key) => key.clone(),
            KeySource::File(path) => key::from_file(path, &setting.origin)?,
            KeySource::Command(command) => key::from_command(command, &setting.origin)?,
        };
        if let Some(problem) = net::key_problem(&key) {
            return Err(Error::Value {
                name: table::API_KEY.names.name,
                origin: setting.origin.clone(),
                text: problem.to_owned(),
            });
        }
        // A concurrent call may have loaded the key as well; the first one is kept.
        Ok(self.loaded_key.get_or_init(|| Some(key).filter(|key| !key.is_empty())).clone())
    }

    /// Loads the key that `serve` accepts: that of the file or command of a flag, else that of its environment variable.
    /// The client's own sources do not count. `None` if there is none; an empty file is an error, because a service
    /// without a key accepts any.
    pub fn load_service_key(&self) -> Result<Option<ApiKey>, Error> {
        if let Some(Setting { origin: origin @ Origin::Flag(_), .. }) = &self.api_key {
            let empty = || Error::Value {
                name: table::API_KEY.names.name,
                origin: origin.clone(),
                text: "it is empty".to_owned(),
            };
            return self.load_key()?.ok_or_else(empty).map(Some);
        }
        let Some(Setting { value: key, origin }) = &self.serve_api_key else { return Ok(None) };
        match net::key_problem(key) {
            None => Ok(Some(key.clone())),
            Some(problem) => Err(Error::Value {
                name: table::SERVE_API_KEY.names.name,
                origin: origin.clone(),
                text: problem.to_owned(),
            }),
        }
    }

    /// Returns the retry policy of requests and downloads.
    pub fn policy(&self) -> RetryPolicy {
        RetryPolicy {
            rate_limit_delay: self.rate_limit_wait.value,
            min_bytes_per_second: self.min_speed.value,
            ..RetryPolicy::default()
        }
    }

    /// Returns the engine's limits for memory, threads and sizes.
    pub fn limits(&self) -> Limits {
        let morsel_bytes = self.morsel_size.value as usize;
        Limits {
            max_memory_bytes: self.max_memory.value,
            max_record_bytes: self.max_record_bytes.value as usize,
            max_columns: self.max_columns.value,
            max_expansion: self.max_expansion.value,
            workers: self.workers.value,
            morsel_bytes,
            // Row groups keep their ratio to the morsel at every size.
            row_group_bytes: 32 * morsel_bytes,
            sample_bytes: self.sample_size.value as usize,
            ..Limits::default()
        }
    }

    /// Returns every setting as `config show` prints it; the key is redacted.
    pub fn rows(&self) -> Vec<ShownSetting> {
        let row = |row: &ShownSetting| match row.name == table::API_KEY.names.name {
            true => self.key_row(),
            false => row.clone(),
        };
        self.shown.iter().map(row).collect()
    }

    fn key_row(&self) -> ShownSetting {
        let Some(setting) = &self.api_key else { return ShownSetting::new(table::API_KEY.names.name, None, "") };
        // Loaded even for display, because `config show` must reveal a key that cannot be read.
        let value = match self.load_key() {
            Ok(Some(key)) => key.to_string(),
            Ok(None) => "empty".to_owned(),
            Err(Error::KeyFileOpen { .. }) => "refused: others can read it".to_owned(),
            Err(_) => "cannot be read".to_owned(),
        };
        let origin = match &setting.value {
            KeySource::Value(_) => setting.origin.to_string(),
            KeySource::File(path) => format!("{}, named by {}", path.display(), setting.origin),
            KeySource::Command(_) => format!("a command, given by {}", setting.origin),
        };
        ShownSetting::new(table::API_KEY.names.name, Some(value), origin)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Args, Command, TopCommand};

    /// Returns the settings that clap parses from `flags`.
    fn typed(flags: &[&str]) -> TypedSettings {
        let line = ["drawoff", "convert", "-"].iter().chain(flags);
        let args = Args::try_parse_from(line).unwrap();
        match args.command {
            TopCommand::WithSettings(Command::Convert(convert)) => {
                args.global.settings.0.with(&convert.plan.settings.0)
            }
            _ => unreachable!("the command is convert"),
        }
    }

    fn resolve(flags: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Result<Settings, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let dirs = UserDirs { config_file: Some(path), state_dir: Some("/state/drawoff".into()) };
        Settings::resolve_from(&typed(flags), &env, dirs)
    }

    #[test]
    fn flags_beat_environment_beats_file_beats_default() {
        let file = Some("endpoint = 'http://file.test'\nmax_memory = '1MiB'\ncodec = 'snappy'\n");
        let env = [("SIXTYFOUR_API_ENDPOINT", "http://env.test"), ("DRAWOFF_MAX_MEMORY", "2MiB")];
        let flags = ["--endpoint", "http://flag.test", "--max-memory=3MiB", "--codec", "lz4"];
        let all = resolve(&flags, &env, file).unwrap();
        assert_eq!(all.endpoint.value.host_str(), Some("flag.test"));
        assert_eq!(all.endpoint.origin, Origin::Flag("--endpoint"));
        assert_eq!((all.max_memory.value, all.codec.value), (3 << 20, ParquetCodec::Lz4));
        let no_flags = resolve(&[], &env, file).unwrap();
        assert_eq!(no_flags.endpoint.origin, Origin::Environment("SIXTYFOUR_API_ENDPOINT"));
        assert_eq!((no_flags.max_memory.value, no_flags.codec.value), (2 << 20, ParquetCodec::Snappy));
        let file_only = resolve(&[], &[], file).unwrap();
        assert_eq!(file_only.endpoint.value.host_str(), Some("file.test"));
        assert!(matches!(file_only.max_memory.origin, Origin::File(_)));
        let nothing = resolve(&[], &[], None).unwrap();
        assert_eq!(nothing.endpoint.value.as_str(), "https://api.sixtyfour.ai/");
        assert_eq!(nothing.endpoint.origin, Origin::Default);
        assert!(nothing.api_key.is_none());
        let state = |flags: &[&str], env: &[(&str, &str)], file: Option<&str>| {
            resolve(flags, env, file).unwrap().state_dir.unwrap()
        };
        let flags = ["--state-dir", "/flag"];
        let (env, file) = ([("DRAWOFF_STATE_DIR", "/env")], Some("state_dir = '/file'"));
        assert_eq!(state(&flags, &env, file).value, Path::new("/flag"));
        assert_eq!(state(&[], &env, file).value, Path::new("/env"));
        assert_eq!(state(&[], &[], file).value, Path::new("/file"));
        let default = state(&[], &[], None);
        assert_eq!((default.value.as_path(), default.origin), (Path::new("/state/drawoff"), Origin::Default));
    }

    #[test]
    fn the_key_is_loaded_from_flag_file_environment_or_config_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "marked-file\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o640);
        let flags = ["--api-key-file", path.to_str().unwrap()];
        let open = resolve(&flags, &[], None).unwrap();
        assert!(open.load_key().unwrap_err().to_string().ends_with("can be read by others: its mode is 640"));
        mode(0o600);
        let flags = ["--api-key-file", path.to_str().unwrap()];
        let env = [("SIXTYFOUR_API_KEY", "marked-env")];
        let by_flag = resolve(&flags, &env, None).unwrap();
        assert_eq!(by_flag.load_key().unwrap(), Some(ApiKey::new("marked-file")));
        let by_env = resolve(&[], &env, None).unwrap();
        assert_eq!(by_env.load_key().unwrap(), Some(ApiKey::new("marked-env")));
        let config = format!("api_key_file = {path:?}");
        let by_config = resolve(&[], &[], Some(&config)).unwrap();
        assert_eq!(by_config.load_key().unwrap(), Some(ApiKey::new("marked-file")));
        let broken = resolve(&[], &[("SIXTYFOUR_API_KEY", "marked-a\nmarked-b")], None).unwrap();
        let error = broken.load_key().unwrap_err().to_string();
        assert!(error.ends_with("the API key contains a line break") && !error.contains("marked-"), "{error}");
        let empty = resolve(&[], &[("SIXTYFOUR_API_KEY", " ")], None).unwrap();
        assert_eq!(empty.load_key().unwrap(), None);
        let command = |command: &str| resolve(&["--api-key-command", command], &env, None).unwrap();
        let by_command = command("echo marked-command; echo marked-second-line");
        assert_eq!(by_command.load_key().unwrap(), Some(ApiKey::new("marked-command")));
        for (line, words) in [
            ("echo marked-x; exit 3", "ended with exit status: 3"),
            ("true", "printed nothing"),
            ("kill -9 $$", "signal: 9"),
            (r"printf 'marked-\377'", "is not UTF-8"),
        ] {
            let error = command(line).load_key().unwrap_err().to_string();
            assert!(error.starts_with("the API key command (flag --api-key-command) "), "{error}");
            assert!(error.contains(words) && !error.contains("marked-"), "{error}");
        }
        let both = Some("api_key_file = 'a'\napi_key_command = 'marked-b'");
        let error = resolve(&[], &[], both).unwrap_err().to_string();
        assert!(error.contains("api_key_file is set too") && !error.contains("marked-"), "{error}");
        for settings in [by_flag, by_env, by_config, by_command] {
            assert!(!format!("{settings:?} {:?}", settings.rows()).contains("marked-"));
        }
    }

    #[test]
    fn invalid_values_are_reported_with_their_origin() {
        let text = |flags: &[&str], env: &[(&str, &str)], file: Option<&str>| {
            resolve(flags, env, file).unwrap_err().to_string()
        };
        let flags = ["--endpoint", "ftp://x"];
        assert_eq!(text(&flags, &[], None), "`--endpoint ftp://x`: it must start with http:// or https://");
        assert!(text(&["--codec", "zstd:99"], &[], None).starts_with("`--codec zstd:99`: it must be zstd, "));
        let env = [("DRAWOFF_MAX_MEMORY", "much")];
        assert!(text(&[], &env, None).starts_with("max_memory (environment DRAWOFF_MAX_MEMORY): "));
        for size in ["0", "65MiB", "some"] {
            let found = text(&[], &[("DRAWOFF_MORSEL_SIZE", size)], None);
            assert!(found.starts_with("morsel_size (environment DRAWOFF_MORSEL_SIZE): "), "{found}");
            let found = text(&[], &[("DRAWOFF_SAMPLE_SIZE", size)], None);
            assert!(found.starts_with("sample_size (environment DRAWOFF_SAMPLE_SIZE): "), "{found}");
        }
        assert!(text(&[], &[], Some("api_key = 'marked-1'")).contains("unknown field `api_key`"));
        assert!(!text(&[], &[], Some("api_key = 'marked-1'")).contains("marked-1"));
        let range = "it must be from 1 to 1024, or 0 for one per core";
        assert_eq!(text(&["--workers", "99999"], &[], None), format!("`--workers 99999`: {range}"));
        let found = text(&[], &[], Some("workers = 99999"));
        assert!(found.starts_with("workers (") && found.ends_with(&format!("config.toml): {range}")), "{found}");
        let flags = ["--config", "/nowhere/at/all.toml"];
        assert!(text(&flags, &[], None).contains("/nowhere/at/all.toml"));
    }

    #[test]
    fn every_row_of_the_table_is_resolved_and_shown() {
        let rows = resolve(&[], &[], None).unwrap().rows();
        let shown: Vec<&str> = rows.iter().map(|row| row.name).collect();
        // Sources of the key, and the file that other settings are read from.
        let parts = ["api_key_file", "api_key_command", "config"];
        let table = table::TABLE.iter().map(|row| row.names().name);
        assert_eq!(shown, table.filter(|name| !parts.contains(name)).collect::<Vec<_>>());
    }

    /// Defaults are copied from help and `config show` onto command lines.
    #[test]
    fn a_default_can_be_typed_as_it_is_shown() {
        let rows = resolve(&[], &[], None).unwrap().rows();
        for (flag, name) in
            [("--codec", "codec"), ("--max-memory", "max_memory"), ("--jobs", "jobs"), ("--min-speed", "min_speed")]
        {
            let shown = rows.iter().find(|row| row.name == name).unwrap().value.clone();
            let again = resolve(&[flag, &shown], &[], None).unwrap().rows();
            assert_eq!(again.iter().find(|row| row.name == name).unwrap().value, shown);
        }
    }

    #[test]
    fn values_of_the_wrong_kind_in_the_file_are_refused() {
        for (line, words) in [
            ("jobs = 'marked-1'", "`jobs` must be a whole number"),
            ("jobs = -1", "`jobs` must be a whole number"),
            ("max_memory = 1024", "`max_memory` must be a string"),
            ("send_key_to = 'marked-1'", "`send_key_to` must be an array of strings"),
            ("send_key_to = [1]", "`send_key_to` must be an array of strings"),
            ("config = 'marked-1'", "unknown field `config`"),
            ("jobs = 65", "jobs ("),
        ] {
            let error = resolve(&[], &[], Some(line)).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("marked-1"), "{line}: {error}");
        }
        let file = "jobs = 64\nworkers = 3\nsend_key_to = ['a.test', 'b.test:1']\napi_key_file = 'key'";
        let settings = resolve(&[], &[], Some(file)).unwrap();
        assert_eq!((settings.jobs.value, settings.workers.value, settings.send_key_to.value.len()), (64, 3, 2));
        let (config, _) = settings.config_file.unwrap();
        assert_eq!(settings.api_key.unwrap().value, KeySource::File(config.with_file_name("key")));
    }

    #[test]
    fn typed_texts_are_not_shown_for_debugging() {
        let typed = typed(&["--api-key-command", "echo marked-1"]);
        assert_eq!(format!("{typed:?}"), "{\"api_key_command\"}");
    }
}
