//! Settings: flags, then environment, then the configuration file, then defaults; resolved once, each with where it
//! came from. The engine and the client see only the result.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;
use serde::Deserialize;
use url::Url;

use super::env_names;
use super::values::{codec_text, parse_codec, parse_duration, parse_size};
use crate::format::ParquetCodec;
use crate::net::{self, Policy};
use crate::pipeline::Limits;
use crate::secret::ApiKey;
use crate::text::human_bytes;

/// The hosted service.
pub const DEFAULT_ENDPOINT: &str = "https://api.sixtyfour.ai";

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// A name in the environment.
    Environment(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where from.
    pub origin: Origin,
}

/// Flags that override settings. Empty for commands that lack them.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--endpoint`.
    pub endpoint: Option<String>,
    /// `--api-key-file`.
    pub api_key_file: Option<PathBuf>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--max-memory`.
    pub max_memory: Option<u64>,
    /// `--workers`.
    pub workers: Option<usize>,
    /// `--codec`.
    pub codec: Option<ParquetCodec>,
}

/// The configuration file. Names that it does not know are errors, so that a slip is seen.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    endpoint: Option<String>,
    api_key_file: Option<PathBuf>,
    max_memory: Option<String>,
    workers: Option<usize>,
    codec: Option<String>,
    rate_limit_wait: Option<String>,
}

/// Where the key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// Here.
    Value(ApiKey),
    /// In a file, read when it is needed.
    File(PathBuf),
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
    /// Codec of Parquet pages.
    pub codec: Setting<ParquetCodec>,
    /// After a 429 that names no time.
    pub rate_limit_wait: Setting<Duration>,
    /// The configuration file, and whether it is there.
    pub config_file: Option<(PathBuf, bool)>,
}

/// A setting that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file was named and cannot be read.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The configuration file is not what it should be.
    #[error("the configuration file {path} is not valid: {text}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, on one line.
        text: String,
    },
    /// A value.
    #[error("{name} ({origin}): {text}")]
    Value {
        /// The setting.
        name: &'static str,
        /// Where it came from.
        origin: Origin,
        /// What is wrong.
        text: String,
    },
    /// The key file cannot be read.
    #[error("cannot read the API key file {path} ({origin})")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Where its name came from.
        origin: Origin,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl Settings {
    /// Resolves against this process's environment and the user's configuration file.
    pub fn resolve(flags: &Flags) -> Result<Self, Error> {
        let default = etcetera::choose_base_strategy().ok().map(|dirs| dirs.config_dir().join("drawoff/config.toml"));
        Settings::resolve_from(flags, &|name| std::env::var(name).ok(), default)
    }

    /// Resolves against what is given.
    pub fn resolve_from(
        flags: &Flags,
        env: &dyn Fn(&str) -> Option<String>,
        default_file: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let env = |name: &'static str| {
            env(name).filter(|v| !v.trim().is_empty()).map(|value| (value, Origin::Environment(name)))
        };
        let named = flags.config.clone().or_else(|| env(env_names::CONFIG).map(|(path, _)| path.into()));
        let required = named.is_some();
        let config_path = named.or(default_file);
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
        let api_key = match (&flags.api_key_file, env(env_names::API_KEY), &file.api_key_file) {
            (Some(path), ..) => {
                Some(Setting { value: KeyPlace::File(path.clone()), origin: Origin::Flag("--api-key-file") })
            }
            (None, Some((key, origin)), _) => Some(Setting { value: KeyPlace::Value(ApiKey::new(&key)), origin }),
            // A relative name is meant from where the file stands.
            (None, None, Some(path)) => {
                let folder = config_path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
                Some(Setting { value: KeyPlace::File(folder.join(path)), origin: file_origin() })
            }
            (None, None, None) => None,
        };
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
        let rate_limit_wait = parsed(
            "rate_limit_wait",
            pick(None, env(env_names::RATE_LIMIT_WAIT), file.rate_limit_wait.map(|v| (v, file_origin()))),
            parse_duration,
            Policy::default().rate_limit_delay,
        )?;
        Ok(Settings {
            endpoint: parse_endpoint(endpoint)?,
            api_key,
            max_memory,
            workers,
            codec,
            rate_limit_wait,
            config_file: config_path.map(|path| (path, found)),
        })
    }

    /// The key itself. A file is read now; a key without text counts as none.
    pub fn load_key(&self) -> Result<Option<ApiKey>, Error> {
        let Some(setting) = &self.api_key else { return Ok(None) };
        let key = match &setting.value {
            KeyPlace::Value(key) => key.clone(),
            KeyPlace::File(path) => {
                let fail = |cause| Error::KeyFile { path: path.clone(), origin: setting.origin.clone(), cause };
                ApiKey::new(&std::fs::read_to_string(path).map_err(fail)?)
            }
        };
        if let Some(problem) = net::key_problem(&key) {
            return Err(Error::Value { name: "api_key", origin: setting.origin.clone(), text: problem.to_owned() });
        }
        Ok(Some(key).filter(|key| !key.is_empty()))
    }

    /// The policy of requests.
    pub fn policy(&self) -> Policy {
        Policy { rate_limit_delay: self.rate_limit_wait.value, ..Policy::default() }
    }

    /// The sizes of executions.
    pub fn limits(&self) -> Limits {
        Limits { max_memory_bytes: self.max_memory.value, workers: self.workers.value, ..Limits::default() }
    }

    /// Name, value and origin of each setting; the key redacted.
    pub fn rows(&self) -> Vec<(&'static str, String, String)> {
        let key = match (&self.api_key, self.load_key()) {
            (None, _) => ("not set".to_owned(), "-".to_owned()),
            (Some(setting), Ok(Some(key))) => (key.to_string(), self.key_origin(setting)),
            (Some(setting), Ok(None)) => ("empty".to_owned(), self.key_origin(setting)),
            (Some(setting), Err(_)) => ("cannot be read".to_owned(), self.key_origin(setting)),
        };
        let workers = match self.workers.value {
            0 => "one per core".to_owned(),
            n => n.to_string(),
        };
        vec![
            ("endpoint", self.endpoint.value.to_string(), self.endpoint.origin.to_string()),
            ("api_key", key.0, key.1),
            ("max_memory", human_bytes(self.max_memory.value), self.max_memory.origin.to_string()),
            ("workers", workers, self.workers.origin.to_string()),
            ("codec", codec_text(self.codec.value), self.codec.origin.to_string()),
            (
                "rate_limit_wait",
                format!("{}s", self.rate_limit_wait.value.as_secs_f64()),
                self.rate_limit_wait.origin.to_string(),
            ),
        ]
    }

    fn key_origin(&self, setting: &Setting<KeyPlace>) -> String {
        match &setting.value {
            KeyPlace::Value(_) => setting.origin.to_string(),
            KeyPlace::File(path) => format!("{}, named by {}", path.display(), setting.origin),
        }
    }
}

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
    use super::*;

    fn resolve(flags: &Flags, env: &[(&str, &str)], file: Option<&str>) -> Result<Settings, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
        }
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::resolve_from(flags, &env, Some(path))
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
    }

    #[test]
    fn the_key_comes_from_flag_file_environment_or_config_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "marked-file\n").unwrap();
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
        for settings in [by_flag, by_env, by_config] {
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
        assert!(text(&Flags::default(), &[], Some("api_key = 'marked-1'")).contains("unknown field `api_key`"));
        assert!(!text(&Flags::default(), &[], Some("api_key = 'marked-1'")).contains("marked-1"));
        let flags = Flags { config: Some("/nowhere/at/all.toml".into()), ..Flags::default() };
        assert!(text(&flags, &[], None).contains("/nowhere/at/all.toml"));
    }
}
