//! The resolution of settings from flags, environment, configuration file and defaults.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use etcetera::BaseStrategy;
use serde::Deserialize;
use url::Url;

use super::env_names;
use super::key::{self, KeyCommand};
use super::setting::{Error, Origin, Setting};
use crate::cli::values::{codec_text, parse_codec, parse_duration, parse_size};
use crate::format::ParquetCodec;
use crate::net::{self, Policy, TrustedHost};
use crate::pipeline::Limits;
use crate::secret::ApiKey;
use crate::text::human_bytes;

/// The hosted service.
pub const DEFAULT_ENDPOINT: &str = "https://api.sixtyfour.ai";

/// Flags that override settings. Empty for commands that lack them.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--endpoint`.
    pub endpoint: Option<String>,
    /// `--api-key-file`.
    pub api_key_file: Option<PathBuf>,
    /// `--api-key-command`.
    pub api_key_command: Option<KeyCommand>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--max-memory`.
    pub max_memory: Option<u64>,
    /// `--workers`.
    pub workers: Option<usize>,
    /// `--codec`.
    pub codec: Option<ParquetCodec>,
    /// `--jobs`.
    pub jobs: Option<usize>,
    /// `--min-speed`.
    pub min_speed: Option<u64>,
    /// `--send-key-to`.
    pub send_key_to: Vec<TrustedHost>,
}

/// Downloads at a time: by eye, enough to hide the way to a store and few enough to be polite.
const DEFAULT_JOBS: usize = 4;

/// More connections at a time help nobody.
const MAX_JOBS: usize = 64;

/// The configuration file. Names that it does not know are errors, so that a slip is seen.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    endpoint: Option<String>,
    api_key_file: Option<PathBuf>,
    api_key_command: Option<KeyCommand>,
    state_dir: Option<PathBuf>,
    max_memory: Option<String>,
    workers: Option<usize>,
    codec: Option<String>,
    rate_limit_wait: Option<String>,
    jobs: Option<usize>,
    min_speed: Option<String>,
    send_key_to: Option<Vec<String>>,
}

/// Where the key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// Here.
    Value(ApiKey),
    /// In a file, read when it is needed.
    File(PathBuf),
    /// The first line that a shell command prints, run when it is needed.
    Command(KeyCommand),
}

/// What is in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base address of the API.
    pub endpoint: Setting<Url>,
    /// Where the key is, if anywhere.
    pub api_key: Option<Setting<KeyPlace>>,
    /// Bytes of records in flight.
    pub max_memory: Setting<u64>,
    /// Compute threads; 0 is one per core.
    pub workers: Setting<usize>,
    /// Bytes of one morsel. A row group takes 32 times as much of the input, the sample for the schema 4 times.
    pub morsel_size: Setting<u64>,
    /// Codec of Parquet pages.
    pub codec: Setting<ParquetCodec>,
    /// After a 429 that names no time.
    pub rate_limit_wait: Setting<Duration>,
    /// Where runs and their downloads are remembered; `None` if the system tells no place.
    pub state_dir: Option<Setting<PathBuf>>,
    /// Downloads of one command at a time.
    pub jobs: Setting<usize>,
    /// Bytes per second below which a download gets another connection.
    pub min_speed: Setting<u64>,
    /// Hosts that may have the key beside the API's own.
    pub send_key_to: Setting<Vec<TrustedHost>>,
    /// The configuration file, and whether it is there.
    pub config_file: Option<(PathBuf, bool)>,
    /// The key once it was loaded: a command is run once.
    loaded_key: Arc<OnceLock<Option<ApiKey>>>,
}

/// Where this system keeps a user's things.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The configuration file.
    pub config_file: Option<PathBuf>,
    /// The state directory.
    pub state_dir: Option<PathBuf>,
}

impl Places {
    /// Of this user.
    fn of_user() -> Self {
        let Ok(dirs) = etcetera::choose_base_strategy() else { return Places::default() };
        let state = dirs.state_dir().unwrap_or_else(|| dirs.data_dir());
        Places {
            config_file: Some(dirs.config_dir().join("drawoff/config.toml")),
            state_dir: Some(state.join("drawoff")),
        }
    }
}

impl Settings {
    /// Resolves against this process's environment and the user's configuration file.
    pub fn resolve(flags: &Flags) -> Result<Self, Error> {
        Settings::resolve_from(flags, &|name| std::env::var(name).ok(), Places::of_user())
    }

    /// Resolves against what is given.
    pub fn resolve_from(flags: &Flags, env: &dyn Fn(&str) -> Option<String>, places: Places) -> Result<Self, Error> {
        let env = |name: &'static str| {
            env(name).filter(|v| !v.trim().is_empty()).map(|value| (value, Origin::Environment(name)))
        };
        let named = flags.config.clone().or_else(|| env(env_names::CONFIG).map(|(path, _)| path.into()));
        let required = named.is_some();
        let config_path = named.or(places.config_file);
        let (file, found) = match &config_path {
            Some(path) => read_config(path, required)?,
            None => (ConfigFile::default(), false),
        };
        let file_origin = || Origin::File(config_path.clone().unwrap_or_default());

        let endpoint = pick(
            flags.endpoint.clone().map(|v| (v, Origin::Flag("--endpoint"))),
            env(env_names::API_ENDPOINT),
            file.endpoint.map(|v| (v, file_origin())),
        )
        .unwrap_or_else(|| (DEFAULT_ENDPOINT.to_owned(), Origin::Default));
        // A relative name is meant from where the file stands.
        let beside_config =
            |path: &Path| config_path.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).join(path);
        let by_flag = match (&flags.api_key_file, &flags.api_key_command) {
            (Some(path), _) => Some((KeyPlace::File(path.clone()), Origin::Flag("--api-key-file"))),
            (None, Some(command)) => Some((KeyPlace::Command(command.clone()), Origin::Flag("--api-key-command"))),
            (None, None) => None,
        };
        let by_env = env(env_names::API_KEY).map(|(key, origin)| (KeyPlace::Value(ApiKey::new(&key)), origin));
        let by_config = match (&file.api_key_file, &file.api_key_command) {
            (Some(_), Some(_)) => {
                let text = "api_key_file is given too; one of them is enough".to_owned();
                return Err(Error::Value { name: "api_key_command", origin: file_origin(), text });
            }
            (Some(path), None) => Some((KeyPlace::File(beside_config(path)), file_origin())),
            (None, Some(command)) => Some((KeyPlace::Command(command.clone()), file_origin())),
            (None, None) => None,
        };
        let api_key = by_flag.or(by_env).or(by_config).map(|(value, origin)| Setting { value, origin });
        let state_dir = (flags.state_dir.clone().map(|path| (path, Origin::Flag("--state-dir"))))
            .or_else(|| env(env_names::STATE_DIR).map(|(path, origin)| (path.into(), origin)))
            .or_else(|| file.state_dir.as_deref().map(|path| (beside_config(path), file_origin())))
            .or_else(|| places.state_dir.clone().map(|path| (path, Origin::Default)))
            .map(|(value, origin)| Setting { value, origin });
        let limits = Limits::default();
        let max_memory = match flags.max_memory {
            Some(value) => Setting { value, origin: Origin::Flag("--max-memory") },
            None => parsed(
                "max_memory",
                pick(None, env(env_names::MAX_MEMORY), file.max_memory.map(|v| (v, file_origin()))),
                parse_size,
                limits.max_memory_bytes,
            )?,
        };
        let workers = match (flags.workers, file.workers) {
            (Some(value), _) => Setting { value, origin: Origin::Flag("--workers") },
            (None, Some(value)) => Setting { value, origin: file_origin() },
            (None, None) => Setting { value: limits.workers, origin: Origin::Default },
        };
        let codec = match flags.codec {
            Some(value) => Setting { value, origin: Origin::Flag("--codec") },
            None => parsed(
                "codec",
                file.codec.map(|v| (v, file_origin())),
                parse_codec,
                crate::format::ParquetOptions::default().codec,
            )?,
        };
        let morsel_size = parsed(
            "morsel_size",
            env(env_names::MORSEL_SIZE),
            |text| match parse_size(text)? {
                size @ 1..=MAX_MORSEL_SIZE => Ok(size),
                _ => Err(format!("it must be from 1 byte to {}", human_bytes(MAX_MORSEL_SIZE))),
            },
            limits.morsel_bytes as u64,
        )?;
        let rate_limit_wait = parsed(
            "rate_limit_wait",
            pick(None, env(env_names::RATE_LIMIT_WAIT), file.rate_limit_wait.map(|v| (v, file_origin()))),
            parse_duration,
            Policy::default().rate_limit_delay,
        )?;
        let jobs = match (flags.jobs, file.jobs) {
            (Some(value), _) => Setting { value, origin: Origin::Flag("--jobs") },
            (None, Some(value)) => Setting { value, origin: file_origin() },
            (None, None) => Setting { value: DEFAULT_JOBS, origin: Origin::Default },
        };
        if !(1..=MAX_JOBS).contains(&jobs.value) {
            let text = format!("it is a number from 1 to {MAX_JOBS}");
            return Err(Error::Value { name: "jobs", origin: jobs.origin, text });
        }
        let min_speed = match flags.min_speed {
            Some(value) => Setting { value, origin: Origin::Flag("--min-speed") },
            None => parsed(
                "min_speed",
                file.min_speed.map(|v| (v, file_origin())),
                parse_size,
                Policy::default().min_bytes_per_second,
            )?,
        };
        let send_key_to = match file.send_key_to {
            _ if !flags.send_key_to.is_empty() => {
                Setting { value: flags.send_key_to.clone(), origin: Origin::Flag("--send-key-to") }
            }
            None => Setting { value: Vec::new(), origin: Origin::Default },
            Some(hosts) => {
                let hosts: Result<_, String> = hosts.iter().map(|host| host.parse::<TrustedHost>()).collect();
                let fail = |text| Error::Value { name: "send_key_to", origin: file_origin(), text };
                Setting { value: hosts.map_err(fail)?, origin: file_origin() }
            }
        };
        Ok(Settings {
            endpoint: parse_endpoint(endpoint)?,
            api_key,
            max_memory,
            workers,
            morsel_size,
            codec,
            rate_limit_wait,
            state_dir,
            jobs,
            min_speed,
            send_key_to,
            config_file: config_path.map(|path| (path, found)),
            loaded_key: Arc::default(),
        })
    }

    /// The key itself. A file is read now and a command run, once; a key without text counts as none. May block for as
    /// long as the command asks its user.
    pub fn load_key(&self) -> Result<Option<ApiKey>, Error> {
        if let Some(key) = self.loaded_key.get() {
            return Ok(key.clone());
        }
        let Some(setting) = &self.api_key else { return Ok(None) };
        let key = match &setting.value {
            KeyPlace::Value(key) => key.clone(),
            KeyPlace::File(path) => key::from_file(path, &setting.origin)?,
            KeyPlace::Command(command) => key::from_command(command, &setting.origin)?,
        };
        if let Some(problem) = net::key_problem(&key) {
            return Err(Error::Value { name: "api_key", origin: setting.origin.clone(), text: problem.to_owned() });
        }
        Ok(self.loaded_key.get_or_init(|| Some(key).filter(|key| !key.is_empty())).clone())
    }

    /// The policy of requests.
    pub fn policy(&self) -> Policy {
        Policy {
            rate_limit_delay: self.rate_limit_wait.value,
            min_bytes_per_second: self.min_speed.value,
            ..Policy::default()
        }
    }

    /// The sizes of executions.
    pub fn limits(&self) -> Limits {
        let morsel_bytes = self.morsel_size.value as usize;
        Limits {
            max_memory_bytes: self.max_memory.value,
            workers: self.workers.value,
            morsel_bytes,
            row_group_bytes: 32 * morsel_bytes,
            sample_bytes: 4 * morsel_bytes,
            ..Limits::default()
        }
    }

    /// Name, value and origin of each setting; the key redacted.
    pub fn rows(&self) -> Vec<(&'static str, String, String)> {
        let key = match (&self.api_key, self.load_key()) {
            (None, _) => ("not set".to_owned(), "-".to_owned()),
            (Some(setting), Ok(Some(key))) => (key.to_string(), self.key_origin(setting)),
            (Some(setting), Ok(None)) => ("empty".to_owned(), self.key_origin(setting)),
            (Some(setting), Err(Error::KeyFileOpen { .. })) => {
                ("refused: others can read it".to_owned(), self.key_origin(setting))
            }
            (Some(setting), Err(_)) => ("cannot be read".to_owned(), self.key_origin(setting)),
        };
        let workers = match self.workers.value {
            0 => "one per core".to_owned(),
            n => n.to_string(),
        };
        vec![
            ("endpoint", self.endpoint.value.to_string(), self.endpoint.origin.to_string()),
            ("api_key", key.0, key.1),
            match &self.state_dir {
                Some(setting) => ("state_dir", setting.value.display().to_string(), setting.origin.to_string()),
                None => ("state_dir", "not set".to_owned(), "-".to_owned()),
            },
            ("max_memory", human_bytes(self.max_memory.value), self.max_memory.origin.to_string()),
            ("workers", workers, self.workers.origin.to_string()),
            ("morsel_size", human_bytes(self.morsel_size.value), self.morsel_size.origin.to_string()),
            ("codec", codec_text(self.codec.value), self.codec.origin.to_string()),
            (
                "rate_limit_wait",
                format!("{}s", self.rate_limit_wait.value.as_secs_f64()),
                self.rate_limit_wait.origin.to_string(),
            ),
            ("jobs", self.jobs.value.to_string(), self.jobs.origin.to_string()),
            ("min_speed", format!("{}/s", human_bytes(self.min_speed.value)), self.min_speed.origin.to_string()),
            ("send_key_to", self.trusted_hosts(), self.send_key_to.origin.to_string()),
        ]
    }

    fn trusted_hosts(&self) -> String {
        match self.send_key_to.value.as_slice() {
            [] => "the API alone".to_owned(),
            hosts => hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }
    }

    fn key_origin(&self, setting: &Setting<KeyPlace>) -> String {
        match &setting.value {
            KeyPlace::Value(_) => setting.origin.to_string(),
            KeyPlace::File(path) => format!("{}, named by {}", path.display(), setting.origin),
            KeyPlace::Command(_) => format!("a command, given by {}", setting.origin),
        }
    }
}

/// Larger morsels have no use, and offsets in them are 32 bits wide.
const MAX_MORSEL_SIZE: u64 = 64 << 20;

type Found = Option<(String, Origin)>;

fn pick(flag: Found, env: Found, file: Found) -> Found {
    flag.or(env).or(file)
}

fn parsed<T>(
    name: &'static str,
    found: Found,
    parse: impl Fn(&str) -> Result<T, String>,
    default: T,
) -> Result<Setting<T>, Error> {
    match found {
        None => Ok(Setting { value: default, origin: Origin::Default }),
        Some((text, origin)) => match parse(&text) {
            Ok(value) => Ok(Setting { value, origin }),
            Err(text) => Err(Error::Value { name, origin, text }),
        },
    }
}

fn parse_endpoint((text, origin): (String, Origin)) -> Result<Setting<Url>, Error> {
    let fail = |text: &str, origin| Error::Value { name: "endpoint", origin, text: text.to_owned() };
    match Url::parse(text.trim()) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            Err(fail("it must start with http:// or https://", origin))
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err(fail("it must not hold a user name or a password", origin))
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            Err(fail("it must not hold a query or a fragment", origin))
        }
        Ok(value) => Ok(Setting { value, origin }),
        Err(_) => Err(fail("it is not a URL", origin)),
    }
}

fn read_config(path: &Path, required: bool) -> Result<(ConfigFile, bool), Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && !required => {
            return Ok((ConfigFile::default(), false));
        }
        Err(cause) => return Err(Error::Unreadable { path: path.to_owned(), cause }),
    };
    let file = toml::from_str(&text).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        // The message alone: the full text quotes the line, which might hold a key.
        text: error.message().lines().collect::<Vec<_>>().join(" "),
    })?;
    Ok((file, true))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn resolve(flags: &Flags, env: &[(&str, &str)], file: Option<&str>) -> Result<Settings, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let places = Places { config_file: Some(path), state_dir: Some("/state/drawoff".into()) };
        Settings::resolve_from(flags, &env, places)
    }

    #[test]
    fn flags_beat_environment_beats_file_beats_default() {
        let file = Some("endpoint = 'http://file.test'\nmax_memory = '1MiB'\ncodec = 'snappy'\n");
        let env = [(env_names::API_ENDPOINT, "http://env.test"), (env_names::MAX_MEMORY, "2MiB")];
        let flags = Flags {
            endpoint: Some("http://flag.test".into()),
            max_memory: Some(3 << 20),
            codec: Some(ParquetCodec::Lz4),
            ..Flags::default()
        };
        let all = resolve(&flags, &env, file).unwrap();
        assert_eq!(all.endpoint.value.host_str(), Some("flag.test"));
        assert_eq!(all.endpoint.origin, Origin::Flag("--endpoint"));
        assert_eq!((all.max_memory.value, all.codec.value), (3 << 20, ParquetCodec::Lz4));
        let no_flags = resolve(&Flags::default(), &env, file).unwrap();
        assert_eq!(no_flags.endpoint.origin, Origin::Environment(env_names::API_ENDPOINT));
        assert_eq!((no_flags.max_memory.value, no_flags.codec.value), (2 << 20, ParquetCodec::Snappy));
        let file_only = resolve(&Flags::default(), &[], file).unwrap();
        assert_eq!(file_only.endpoint.value.host_str(), Some("file.test"));
        assert!(matches!(file_only.max_memory.origin, Origin::File(_)));
        let nothing = resolve(&Flags::default(), &[], None).unwrap();
        assert_eq!(nothing.endpoint.value.as_str(), "https://api.sixtyfour.ai/");
        assert_eq!(nothing.endpoint.origin, Origin::Default);
        assert!(nothing.api_key.is_none());
        let state = |flags: &Flags, env: &[(&str, &str)], file: Option<&str>| {
            resolve(flags, env, file).unwrap().state_dir.unwrap()
        };
        let flags = Flags { state_dir: Some("/flag".into()), ..Flags::default() };
        let (env, file) = ([(env_names::STATE_DIR, "/env")], Some("state_dir = '/file'"));
        assert_eq!(state(&flags, &env, file).value, Path::new("/flag"));
        assert_eq!(state(&Flags::default(), &env, file).value, Path::new("/env"));
        assert_eq!(state(&Flags::default(), &[], file).value, Path::new("/file"));
        let default = state(&Flags::default(), &[], None);
        assert_eq!((default.value.as_path(), default.origin), (Path::new("/state/drawoff"), Origin::Default));
    }

    #[test]
    fn the_key_comes_from_flag_file_environment_or_config_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "marked-file\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o640);
        let flags = Flags { api_key_file: Some(path.clone()), ..Flags::default() };
        let open = resolve(&flags, &[], None).unwrap();
        assert!(open.load_key().unwrap_err().to_string().ends_with("can be read by others: its mode is 640"));
        mode(0o600);
        let flags = Flags { api_key_file: Some(path.clone()), ..Flags::default() };
        let env = [(env_names::API_KEY, "marked-env")];
        let by_flag = resolve(&flags, &env, None).unwrap();
        assert_eq!(by_flag.load_key().unwrap(), Some(ApiKey::new("marked-file")));
        let by_env = resolve(&Flags::default(), &env, None).unwrap();
        assert_eq!(by_env.load_key().unwrap(), Some(ApiKey::new("marked-env")));
        let config = format!("api_key_file = {path:?}");
        let by_config = resolve(&Flags::default(), &[], Some(&config)).unwrap();
        assert_eq!(by_config.load_key().unwrap(), Some(ApiKey::new("marked-file")));
        let broken = resolve(&Flags::default(), &[(env_names::API_KEY, "marked-a\nmarked-b")], None).unwrap();
        let error = broken.load_key().unwrap_err().to_string();
        assert!(error.ends_with("the key holds a line break") && !error.contains("marked-"), "{error}");
        let empty = resolve(&Flags::default(), &[(env_names::API_KEY, " ")], None).unwrap();
        assert_eq!(empty.load_key().unwrap(), None);
        let command = |command: &str| {
            let flags = Flags { api_key_command: Some(command.to_owned().into()), ..Flags::default() };
            resolve(&flags, &env, None).unwrap()
        };
        let by_command = command("echo marked-command; echo marked-second-line");
        assert_eq!(by_command.load_key().unwrap(), Some(ApiKey::new("marked-command")));
        for (line, words) in [
            ("echo marked-x; exit 3", "ended with exit status: 3"),
            ("true", "printed nothing"),
            ("kill -9 $$", "signal: 9"),
            (r"printf 'marked-\377'", "is not text"),
        ] {
            let error = command(line).load_key().unwrap_err().to_string();
            assert!(error.starts_with("the API key command (flag --api-key-command) "), "{error}");
            assert!(error.contains(words) && !error.contains("marked-"), "{error}");
        }
        let both = Some("api_key_file = 'a'\napi_key_command = 'marked-b'");
        let error = resolve(&Flags::default(), &[], both).unwrap_err().to_string();
        assert!(error.contains("api_key_file is given too") && !error.contains("marked-"), "{error}");
        for settings in [by_flag, by_env, by_config, by_command] {
            assert!(!format!("{settings:?} {:?}", settings.rows()).contains("marked-"));
        }
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let text = |flags: &Flags, env: &[(&str, &str)], file: Option<&str>| {
            resolve(flags, env, file).unwrap_err().to_string()
        };
        let flags = Flags { endpoint: Some("ftp://x".into()), ..Flags::default() };
        assert_eq!(text(&flags, &[], None), "endpoint (flag --endpoint): it must start with http:// or https://");
        let env = [(env_names::MAX_MEMORY, "much")];
        assert!(text(&Flags::default(), &env, None).starts_with("max_memory (environment DRAWOFF_MAX_MEMORY): "));
        for size in ["0", "65MiB", "some"] {
            let found = text(&Flags::default(), &[(env_names::MORSEL_SIZE, size)], None);
            assert!(found.starts_with("morsel_size (environment DRAWOFF_MORSEL_SIZE): "), "{found}");
        }
        assert!(text(&Flags::default(), &[], Some("api_key = 'marked-1'")).contains("unknown field `api_key`"));
        assert!(!text(&Flags::default(), &[], Some("api_key = 'marked-1'")).contains("marked-1"));
        let flags = Flags { config: Some("/nowhere/at/all.toml".into()), ..Flags::default() };
        assert!(text(&flags, &[], None).contains("/nowhere/at/all.toml"));
    }
}
