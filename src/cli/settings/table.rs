//! The table of settings: one row per setting, with its flag, environment variable and name in the configuration file,
//! its parser, its default and its help.
//!
//! Flags, the environment section of `--help`, the configuration file, `config show` and docs/settings.md are derived
//! from this table or tested against it. A new setting is a row here and a field of [`super::Settings`].

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::key::KeyCommand;
use super::spec::{Flag, Names, Parse, Row, Scope, Spec};
use crate::cli::values::{
    codec_text, parse_codec, parse_decimal_mark, parse_delimiter, parse_duration, parse_null_word, parse_quote,
    parse_record_bytes, parse_size, parse_thousands,
};
use crate::column::MAX_COLUMN_LIMIT;
use crate::format::csv::CsvQuote;
use crate::format::{ParquetCodec, ParquetOptions};
use crate::net::{self, Connections, RetryPolicy, TrustedHost};
use crate::pipeline::Limits;
use crate::secret::ApiKey;
use crate::text::human_bytes;

/// Base URL of the hosted service.
const DEFAULT_ENDPOINT: &str = "https://api.sixtyfour.ai";

/// Downloads at a time. By eye: enough to hide the latency of a store, and few enough to be polite.
const DEFAULT_JOBS: usize = 4;

/// Upper bound of downloads at a time; more connections do not help.
const MAX_JOBS: usize = 64;

/// Upper bound of compute threads: more than the cores of the largest machines, and fewer than a system starts for one
/// process by default. A typo is then an error of the setting, not of a thread that cannot be started.
const MAX_WORKERS: usize = 1024;

/// Upper bound of requests per minute: the file that processes share has eight bytes for each.
const MAX_REQUESTS_PER_MINUTE: usize = 10_000;

/// Upper bound of a morsel. Larger ones have no use, and offsets in a morsel are 32 bits wide.
const MAX_MORSEL_SIZE: u64 = 64 << 20;

/// All settings, in the order of help and `config show`.
pub static TABLE: [&dyn Row; 27] = [
    &ENDPOINT,
    &API_KEY,
    &API_KEY_FILE,
    &API_KEY_COMMAND,
    &SERVE_API_KEY,
    &STATE_DIR,
    &CONFIG,
    &SEND_KEY_TO,
    &INSECURE_HTTP,
    &CODEC,
    &MAX_MEMORY,
    &MAX_RECORD_BYTES,
    &MAX_COLUMNS,
    &MAX_EXPANSION,
    &JOBS,
    &CONNECTIONS,
    &MIN_SPEED,
    &WORKERS,
    &MORSEL_SIZE,
    &SAMPLE_SIZE,
    &REQUESTS_PER_MINUTE,
    &RATE_LIMIT_WAIT,
    &IN_DELIMITER,
    &IN_QUOTE,
    &IN_NULL,
    &IN_DECIMAL,
    &IN_THOUSANDS,
];

/// Names without any source, which the rows complete.
const NAMES: Names = Names { name: "", flag: None, environment: None, in_file: false, help: "", default_words: None };

/// Returns a flag that every command accepts.
const fn everywhere(flag: &'static str, value: &'static str) -> Flag {
    Flag { flag, value, help: "", scope: Scope::Everywhere, heading: Some("Everywhere"), excludes: None }
}

/// Returns a flag that the commands which write records accept.
const fn plan(flag: &'static str, value: &'static str, heading: &'static str) -> Flag {
    Flag { flag, value, help: "", scope: Scope::Plan, heading: Some(heading), excludes: None }
}

/// Base URL of the API.
pub(super) static ENDPOINT: Spec<Url> = Spec {
    names: Names {
        name: "endpoint",
        flag: Some(everywhere("--endpoint", "URL")),
        environment: Some("SIXTYFOUR_API_ENDPOINT"),
        in_file: true,
        help: "Base URL of the API",
        ..NAMES
    },
    parse: Parse::Text(parse_endpoint),
    default: |_| Url::parse(DEFAULT_ENDPOINT).expect("the hosted service's address is a URL"),
    show: |url| Some(url.to_string()),
};

/// The API key itself, under the vendor's own name. It has no flag, because other users can read a command line.
pub(super) static API_KEY: Spec<Option<ApiKey>> = Spec {
    names: Names { name: "api_key", environment: Some(API_KEY_VARIABLE), help: "The API key", ..NAMES },
    parse: Parse::Text(|key| Ok(Some(ApiKey::new(key)))),
    default: |_| None,
    show: |key| key.as_ref().map(ToString::to_string),
};

/// File that contains the API key.
pub(super) static API_KEY_FILE: Spec<Option<PathBuf>> = Spec {
    names: Names {
        name: "api_key_file",
        flag: Some(Flag { help: " (or set SIXTYFOUR_API_KEY)", ..everywhere("--api-key-file", "FILE") }),
        in_file: true,
        help: "File that contains the API key, readable by its owner only",
        ..NAMES
    },
    parse: Parse::Path(Some),
    default: |_| None,
    show: |path| path.as_ref().map(|path| path.display().to_string()),
};

/// Shell command that prints the API key.
pub(super) static API_KEY_COMMAND: Spec<Option<KeyCommand>> = Spec {
    names: Names {
        name: "api_key_command",
        flag: Some(Flag { excludes: Some("api_key_file"), ..everywhere("--api-key-command", "COMMAND") }),
        in_file: true,
        help: "Shell command that prints the API key on its first line",
        ..NAMES
    },
    parse: Parse::Text(|command| Ok(Some(KeyCommand::from(command.to_owned())))),
    default: |_| None,
    // The command may contain secrets itself.
    show: |command| command.as_ref().map(|_| "[redacted]".to_owned()),
};

/// The API key that `serve` accepts. Not the variable of the client's key, so that a key for the hosted API does not
/// become the key of a local service unnoticed.
pub(super) static SERVE_API_KEY: Spec<Option<ApiKey>> = Spec {
    names: Names {
        name: "serve_api_key",
        environment: Some(SERVE_API_KEY_VARIABLE),
        help: "The only API key that `serve` accepts",
        ..NAMES
    },
    parse: Parse::Text(|key| Ok(Some(ApiKey::new(key)))),
    default: |_| None,
    show: |key| key.as_ref().map(ToString::to_string),
};

/// Directory of the ledgers of runs and downloads; `None` if the system has no state directory.
pub(super) static STATE_DIR: Spec<Option<PathBuf>> = Spec {
    names: Names {
        name: "state_dir",
        flag: Some(everywhere("--state-dir", "DIR")),
        environment: Some("DRAWOFF_STATE_DIR"),
        in_file: true,
        help: "Directory of the ledgers of runs and downloads",
        default_words: Some("`drawoff` in the user's state directory"),
    },
    parse: Parse::Path(Some),
    default: |dirs| dirs.state_dir.clone(),
    show: |path| path.as_ref().map(|path| path.display().to_string()),
};

/// The configuration file. It must exist if a flag or the environment names it.
pub static CONFIG: Spec<Option<PathBuf>> = Spec {
    names: Names {
        name: "config",
        flag: Some(everywhere("--config", "FILE")),
        environment: Some("DRAWOFF_CONFIG"),
        help: "Configuration file",
        default_words: Some("`drawoff/config.toml` in the user's configuration directory"),
        ..NAMES
    },
    parse: Parse::Path(Some),
    default: |dirs| dirs.config_file.clone(),
    show: |path| path.as_ref().map(|path| path.display().to_string()),
};

/// Hosts besides the API's own that downloads may send the key to.
pub(super) static SEND_KEY_TO: Spec<Vec<TrustedHost>> = Spec {
    names: Names {
        name: "send_key_to",
        flag: Some(Flag { help: "; may be given several times", ..everywhere("--send-key-to", "HOST") }),
        in_file: true,
        help: "Further host, as HOST or HOST:PORT, that downloads may send the API key to",
        ..NAMES
    },
    parse: Parse::List(|hosts| hosts.iter().map(|host| host.parse()).collect()),
    default: |_| Vec::new(),
    show: |hosts| match hosts.as_slice() {
        [] => Some("the API alone".to_owned()),
        hosts => Some(hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    },
};

/// The key may be sent over an unencrypted connection.
pub(super) static INSECURE_HTTP: Spec<bool> = Spec {
    names: Names {
        name: "insecure_http",
        flag: Some(everywhere("--insecure-http", "")),
        environment: Some("DRAWOFF_INSECURE_HTTP"),
        in_file: true,
        help: "Send the API key to an http:// endpoint that is not on this machine: anybody on the way can read it",
        ..NAMES
    },
    parse: Parse::Switch(|on| on),
    default: |_| false,
    show: |on| Some(on.to_string()),
};

/// Compression codec of Parquet pages.
pub(super) static CODEC: Spec<ParquetCodec> = Spec {
    names: Names {
        name: "codec",
        flag: Some(plan("--codec", "CODEC", "Output")),
        in_file: true,
        help: "Parquet codec: zstd or zstd:LEVEL, snappy, lz4, none",
        ..NAMES
    },
    parse: Parse::Text(parse_codec),
    default: |_| ParquetOptions::default().codec,
    show: |codec| Some(codec_text(*codec)),
};

/// Bytes of records in flight, all stages together.
pub(super) static MAX_MEMORY: Spec<u64> = Spec {
    names: Names {
        name: "max_memory",
        flag: Some(plan("--max-memory", "SIZE", "Output")),
        environment: Some("DRAWOFF_MAX_MEMORY"),
        in_file: true,
        help: "Memory for records in flight, such as 256MiB",
        ..NAMES
    },
    parse: Parse::Text(parse_size),
    default: |_| Limits::default().max_memory_bytes,
    show: |bytes| Some(human_bytes(*bytes)),
};

/// Bytes of one record. One is held in memory whole, so the bound is one of memory, too.
pub(super) static MAX_RECORD_BYTES: Spec<u64> = Spec {
    names: Names {
        name: "max_record_bytes",
        flag: Some(plan("--max-record-bytes", "SIZE", "Input")),
        in_file: true,
        help: "Reject records that are longer, such as 64MiB; a record is held in memory whole",
        ..NAMES
    },
    parse: Parse::Text(parse_record_bytes),
    default: |_| Limits::default().max_record_bytes as u64,
    show: |bytes| Some(human_bytes(*bytes)),
};

/// Columns of one table.
pub(super) static MAX_COLUMNS: Spec<usize> = Spec {
    names: Names {
        name: "max_columns",
        flag: Some(plan("--max-columns", "N", "Input")),
        in_file: true,
        help: "Refuse records with more columns; each costs memory on every thread",
        ..NAMES
    },
    parse: Parse::Number(|columns| match columns {
        1..=MAX_COLUMN_LIMIT => Ok(columns),
        _ => Err(format!("it must be from 1 to {MAX_COLUMN_LIMIT}")),
    }),
    default: |_| Limits::default().max_columns,
    show: |columns| Some(columns.to_string()),
};

/// Ratio of decompressed to compressed bytes beyond which an input is refused; 0 is no limit.
pub(super) static MAX_EXPANSION: Spec<u64> = Spec {
    names: Names {
        name: "max_expansion",
        flag: Some(plan("--max-expansion", "N", "Input")),
        in_file: true,
        help: "Refuse an input that decompresses to more than N times its size and 256 MiB; 0 is no limit",
        ..NAMES
    },
    parse: Parse::Text(|text| {
        text.parse().map_err(|_| "it must be a whole number, such as 5000, or 0 for no limit".to_owned())
    }),
    default: |_| Limits::default().max_expansion,
    show: |ratio| match ratio {
        0 => Some("no limit".to_owned()),
        n => Some(n.to_string()),
    },
};

/// Downloads that one command runs at a time.
pub(super) static JOBS: Spec<usize> = Spec {
    names: Names {
        name: "jobs",
        flag: Some(plan("--jobs", "N", "Downloads")),
        in_file: true,
        help: "Downloads at a time, where there are several; they are written in order",
        ..NAMES
    },
    parse: Parse::Number(|jobs| match jobs {
        1..=MAX_JOBS => Ok(jobs),
        _ => Err(format!("it must be from 1 to {MAX_JOBS}")),
    }),
    default: |_| DEFAULT_JOBS,
    show: |jobs| Some(jobs.to_string()),
};

/// Connections over which one large file is downloaded.
pub(super) static CONNECTIONS: Spec<Connections> = Spec {
    names: Names {
        name: "connections",
        flag: Some(plan("--connections", "N", "Downloads")),
        in_file: true,
        help: "Connections for one large file, if its server offers ranges",
        default_words: Some("as many as bring more, up to 8"),
        ..NAMES
    },
    parse: Parse::Number(|count| match count {
        1..=Connections::MOST => Ok(Connections::Count(count)),
        _ => Err(format!("it must be from 1 to {}", Connections::MOST)),
    }),
    default: |_| Connections::Auto,
    show: |connections| match connections {
        Connections::Auto => None,
        Connections::Count(count) => Some(count.to_string()),
    },
};

/// Bytes per second; a download that stays below for 30 s is reconnected.
pub(super) static MIN_SPEED: Spec<u64> = Spec {
    names: Names {
        name: "min_speed",
        flag: Some(plan("--min-speed", "SIZE", "Downloads")),
        in_file: true,
        help: "Reconnect a download that stays below this rate, in bytes a second, for 30 s",
        ..NAMES
    },
    parse: Parse::Text(|text| parse_size(text.trim_end_matches("/s"))),
    default: |_| RetryPolicy::default().min_bytes_per_second,
    show: |bytes| Some(format!("{}/s", human_bytes(*bytes))),
};

/// Number of compute threads; 0 is one per core.
pub(super) static WORKERS: Spec<usize> = Spec {
    names: Names {
        name: "workers",
        flag: Some(Flag { heading: None, ..plan("--workers", "N", "") }),
        in_file: true,
        help: "Compute threads; 0 is one per core",
        ..NAMES
    },
    parse: Parse::Number(|workers| match workers {
        0..=MAX_WORKERS => Ok(workers),
        _ => Err(format!("it must be from 1 to {MAX_WORKERS}, or 0 for one per core")),
    }),
    default: |_| Limits::default().workers,
    show: |workers| match workers {
        0 => Some("one per core".to_owned()),
        n => Some(n.to_string()),
    },
};

/// Bytes of one morsel. A row group takes 32 times as much of the input.
pub(super) static MORSEL_SIZE: Spec<u64> = Spec {
    names: Names {
        name: "morsel_size",
        environment: Some("DRAWOFF_MORSEL_SIZE"),
        help: "Bytes that are parsed at a time, such as 1MiB",
        ..NAMES
    },
    parse: Parse::Text(|text| match parse_size(text)? {
        size @ 1..=MAX_MORSEL_SIZE => Ok(size),
        _ => Err(format!("it must be from 1 byte to {}", human_bytes(MAX_MORSEL_SIZE))),
    }),
    default: |_| Limits::default().morsel_bytes as u64,
    show: |bytes| Some(human_bytes(*bytes)),
};

/// Requests to the API within any minute.
pub(super) static REQUESTS_PER_MINUTE: Spec<usize> = Spec {
    names: Names {
        name: "requests_per_minute",
        environment: Some("DRAWOFF_REQUESTS_PER_MINUTE"),
        in_file: true,
        help: "Requests to the API within any minute, of all processes of the user under one key",
        ..NAMES
    },
    parse: Parse::Number(|requests| match requests {
        1..=MAX_REQUESTS_PER_MINUTE => Ok(requests),
        _ => Err(format!("it must be from 1 to {MAX_REQUESTS_PER_MINUTE}")),
    }),
    default: |_| net::REQUESTS_PER_MINUTE,
    show: |requests| Some(requests.to_string()),
};

/// Bytes of the first records, of which columns and types are inferred before the first row is written. No multiple of the
/// morsel: a result must not depend on the size at which the input is divided.
pub(super) static SAMPLE_SIZE: Spec<u64> = Spec {
    names: Names {
        name: "sample_size",
        environment: Some("DRAWOFF_SAMPLE_SIZE"),
        help: "Bytes of the first records that columns and types are inferred from, such as 4MiB",
        ..NAMES
    },
    parse: Parse::Text(|text| match parse_size(text)? {
        size @ 1..=MAX_MORSEL_SIZE => Ok(size),
        _ => Err(format!("it must be from 1 byte to {}", human_bytes(MAX_MORSEL_SIZE))),
    }),
    default: |_| Limits::default().sample_bytes as u64,
    show: |bytes| Some(human_bytes(*bytes)),
};

/// Wait after a 429 without a time of its own.
pub(super) static RATE_LIMIT_WAIT: Spec<Duration> = Spec {
    names: Names {
        name: "rate_limit_wait",
        environment: Some("DRAWOFF_RATE_LIMIT_WAIT"),
        in_file: true,
        help: "Wait after a 429 without a time of its own, such as 60s",
        ..NAMES
    },
    parse: Parse::Text(parse_duration),
    default: |_| RetryPolicy::default().rate_limit_delay,
    show: |wait| Some(format!("{}s", wait.as_secs_f64())),
};

/// Returns the names of a property of CSV inputs, whose flag is one of the commands that read files.
const fn of_csv(name: &'static str, help: &'static str, default_words: &'static str) -> Names {
    Names { name, in_file: true, help, default_words: Some(default_words), ..NAMES }
}

/// Delimiter of CSV inputs.
pub(super) static IN_DELIMITER: Spec<Option<u8>> = Spec {
    names: of_csv("in_delimiter", "Delimiter of CSV inputs, as `--in-delimiter`", "inferred"),
    parse: Parse::Text(|text| parse_delimiter(text).map(Some)),
    default: |_| None,
    show: |delimiter| delimiter.map(|byte| if byte == b'\t' { "\\t".to_owned() } else { char::from(byte).into() }),
};

/// Quote of CSV inputs.
pub(super) static IN_QUOTE: Spec<Option<CsvQuote>> = Spec {
    names: of_csv("in_quote", "Quote of CSV inputs, as `--in-quote`", "`\"`"),
    parse: Parse::Text(|text| parse_quote(text).map(Some)),
    default: |_| None,
    show: |quote| quote.map(|quote| quote.byte().map_or("none".to_owned(), |byte| char::from(byte).into())),
};

/// Words for null in CSV inputs.
pub(super) static IN_NULL: Spec<Vec<Box<str>>> = Spec {
    names: of_csv("in_null", "Words for null in CSV inputs, as `--in-null`", "an empty cell only"),
    parse: Parse::List(|words| words.iter().map(|word| parse_null_word(word)).collect()),
    default: |_| Vec::new(),
    show: |words| (!words.is_empty()).then(|| words.join(",")),
};

/// Decimal mark of CSV inputs.
pub(super) static IN_DECIMAL: Spec<Option<u8>> = Spec {
    names: of_csv("in_decimal", "Decimal mark of CSV inputs, as `--in-decimal`", "a point"),
    parse: Parse::Text(|text| parse_decimal_mark(text).map(Some)),
    default: |_| None,
    show: |mark| mark.map(|byte| char::from(byte).into()),
};

/// Mark of thousands of CSV inputs.
pub(super) static IN_THOUSANDS: Spec<Option<char>> = Spec {
    names: of_csv("in_thousands", "Mark of thousands of CSV inputs, as `--in-thousands`", "none"),
    parse: Parse::Text(|text| parse_thousands(text).map(Some)),
    default: |_| None,
    show: |mark| mark.map(String::from),
};

/// Name of the environment variable of the API key; hints name it.
pub const API_KEY_VARIABLE: &str = "SIXTYFOUR_API_KEY";

/// Name of the environment variable of the key that `serve` accepts; hints name it.
pub const SERVE_API_KEY_VARIABLE: &str = "DRAWOFF_SERVE_API_KEY";

fn parse_endpoint(text: &str) -> Result<Url, String> {
    match Url::parse(text.trim()) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            Err("it must start with http:// or https://".to_owned())
        }
        // Messages and ledgers contain the URL.
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("it must not contain a user name or a password".to_owned())
        }
        // The paths of calls are joined to the URL, which would drop them.
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            Err("it must not contain a query or a fragment".to_owned())
        }
        Ok(url) => Ok(url),
        Err(_) => Err("it is not a URL".to_owned()),
    }
}
