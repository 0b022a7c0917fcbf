//! `doctor`: checks what a command needs, from the key to the disk, and says what to do. Prints no secret, and changes
//! nothing.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::cli::choices::ListFormat;
use crate::cli::context::{Context, require_valid_proxy};
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::print::Screen;
use crate::cli::settings::Setting;
use crate::cli::table;
use crate::client::{self, Client, RunFilter};
use crate::net::{Kind, ProxyVariable, proxy_of};
use crate::sink::check_can_create_file;
use crate::text::{human_bytes, human_duration};

/// Time for the request to the API with its retries.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// Difference of the clocks that links and signatures do not survive.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(120);

/// Free bytes of a disk below which results may not fit.
const FEW_FREE_BYTES: u64 = 1 << 30;

/// Free bytes of a disk below which nothing fits.
const TOO_FEW_FREE_BYTES: u64 = 16 << 20;

/// Bytes of a pipe: the system makes smaller ones for users that have very many.
const USUAL_PIPE_BYTES: usize = 1 << 16;

/// Open files that a command with many outputs needs.
const USUAL_OPEN_FILES: u64 = 1024;

/// The state of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Not checked, because another check failed or there is nothing to check.
    Skipped,
    /// Works, and may become a problem.
    Doubtful,
    /// Commands that need it fail.
    Wrong,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    state: State,
    /// The finding, in words.
    found: String,
    /// A remedy; `None` if nothing is to be done.
    hint: Option<String>,
    /// The exit code of a command that needs it.
    #[serde(skip)]
    exit: Exit,
}

impl Check {
    fn new(check: &'static str, state: State, found: impl Into<String>) -> Self {
        Check { check, state, found: found.into(), hint: None, exit: Exit::Success }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Check { hint: Some(hint.into()), ..self }
    }

    fn wrong(check: &'static str, failure: &Failure) -> Self {
        let wrong = Check::new(check, State::Wrong, failure.message());
        Check { hint: failure.hint().map(Cow::into_owned), exit: failure.exit(), ..wrong }
    }
}

/// Runs all checks and prints them. The exit code is that of the first that is wrong.
pub(crate) async fn doctor(context: &Context, format: ListFormat) -> Result<Exit, Failure> {
    let mut checks = vec![configuration(context), key(context)];
    checks.extend(context.unless_interrupted(async { Ok(api(context).await) }).await?);
    checks.push(state_directory(context));
    let temporary = std::env::temp_dir();
    checks.push(directory("temporary files", &temporary, "set TMPDIR to a directory that can be written"));
    checks.push(directory("outputs", Path::new("."), "write to another directory with `-o DIR/FILE`"));
    checks.push(pipes());
    checks.push(open_files());
    let wrong = print_checks(&context.screen, &checks, format)?;
    Ok(wrong.map_or(Exit::Success, |check| check.exit))
}

/// Prints the checks of a command whose settings cannot be resolved: that of the configuration, and all others as skipped.
pub(crate) fn doctor_without_settings(screen: &Screen, failure: Failure, format: ListFormat) -> Result<Exit, Failure> {
    let hint = "correct it, or use another file with `--config FILE`";
    let wrong = Check::wrong("configuration", &failure.or_hint(|| Some(hint.to_owned())));
    let others = ["key", "endpoint", "certificates", "clock", "state directory", "temporary files", "outputs", "pipes"];
    let others = others.into_iter().chain(["open files"]);
    let mut checks = vec![wrong];
    checks.extend(others.map(|check| Check::new(check, State::Skipped, "not checked")));
    let wrong = print_checks(screen, &checks, format)?;
    Ok(wrong.map_or(Exit::Success, |check| check.exit))
}

/// Prints the checks with what to do, and returns the first that is wrong.
fn print_checks<'a>(screen: &Screen, checks: &'a [Check], format: ListFormat) -> Result<Option<&'a Check>, Failure> {
    table::write_list(format, checks, &["STATE", "CHECK", "FOUND"], |check| {
        let state = match check.state {
            State::Ok => "ok",
            State::Skipped => "-",
            State::Doubtful => "doubtful",
            State::Wrong => "wrong",
        };
        vec![state.to_owned(), check.check.to_owned(), check.found.clone()]
    })?;
    if format == ListFormat::Table {
        for check in checks.iter().filter(|check| matches!(check.state, State::Doubtful | State::Wrong)) {
            if let Some(hint) = &check.hint {
                screen.always(&format!("{}: {hint}", check.check));
            }
        }
    }
    let wrong = checks.iter().find(|check| check.state == State::Wrong);
    screen.note(match wrong {
        Some(_) => "something is wrong",
        None => "nothing is wrong",
    });
    Ok(wrong)
}

fn configuration(context: &Context) -> Check {
    let found = match &context.settings.config_file {
        Some((path, true)) => format!("{}", path.display()),
        Some((path, false)) => format!("defaults; {} does not exist", path.display()),
        None => "defaults; no directory for a file".to_owned(),
    };
    Check::new("configuration", State::Ok, found)
}

/// Loads the key without showing it.
fn key(context: &Context) -> Check {
    let origin = context.settings.api_key.as_ref().map(|setting| setting.origin.to_string());
    match context.settings.load_key() {
        Ok(Some(_)) => Check::new("key", State::Ok, format!("set by {}", origin.unwrap_or_default())),
        Ok(None) => {
            let wrong = Check::new("key", State::Wrong, "no API key is set");
            let wrong = wrong.hint("set SIXTYFOUR_API_KEY or use `--api-key-file FILE`; `run --local` needs no key");
            Check { exit: Exit::NoKey, ..wrong }
        }
        Err(error) => Check::wrong("key", &error.into()),
    }
}

/// Asks the API for one run: endpoint, certificates, key and clock.
async fn api(context: &Context) -> Vec<Check> {
    let Setting { value: endpoint, origin } = &context.settings.endpoint;
    let named = format!("{endpoint} ({origin})");
    let skipped = |checks: &[&'static str]| -> Vec<Check> {
        checks.iter().map(|check| Check::new(check, State::Skipped, "not checked")).collect()
    };
    let all = |first: Check| std::iter::once(first).chain(skipped(&["certificates", "clock"])).collect();
    if let Err(failure) = require_valid_proxy(endpoint) {
        return all(Check::wrong("endpoint", &failure));
    }
    let Ok(Some(key)) = context.settings.load_key() else {
        return all(reachable(endpoint, &named).await);
    };
    if context.sends_key_unencrypted() {
        let failure = context.client().err();
        return all(
            failure.map_or_else(|| Check::new("endpoint", State::Skipped, &*named), |f| Check::wrong("endpoint", &f))
        );
    }
    let client = context.client_at(endpoint.clone(), Some(key));
    let filter = RunFilter { limit: Some(1), ..RunFilter::default() };
    let certificates = |state| match endpoint.scheme() {
        "https" => Check::new("certificates", state, "that of the endpoint is trusted"),
        _ => Check::new("certificates", State::Skipped, "not needed for http"),
    };
    match tokio::time::timeout(MAX_WAIT, client.runs(&filter)).await {
        Err(_) => all(Check {
            exit: Exit::Unreachable,
            ..Check::new("endpoint", State::Wrong, format!("{named}: no answer within {}", human_duration(MAX_WAIT)))
                .hint(network_hint(proxy_in_environment(endpoint).as_ref()))
        }),
        Ok(Ok(_)) => {
            vec![
                Check::new("endpoint", State::Ok, format!("{named} accepts the key")),
                certificates(State::Ok),
                clock(&client),
            ]
        }
        Ok(Err(error)) => {
            let is_certificate = matches!(&error, client::Error::Net(error) if error.kind() == Kind::BadCertificate);
            let answered = matches!(&error, client::Error::Net(error) if matches!(
                error.kind(),
                Kind::KeyRefused | Kind::NotFound | Kind::Forbidden | Kind::Refused | Kind::RateLimited | Kind::ServerFault
            ));
            let is_unreachable = matches!(&error, client::Error::Net(error) if error.kind() == Kind::Unreachable);
            let failure = Failure::from(Error::Client(error));
            let failure = match is_unreachable {
                true => failure.with_hint(network_hint(proxy_in_environment(endpoint).as_ref())),
                false => failure,
            };
            match (is_certificate, answered) {
                (true, _) => vec![
                    Check::new("endpoint", State::Ok, format!("{named} can be reached")),
                    Check::wrong("certificates", &failure.or_hint(|| Some(CERTIFICATE_HINT.to_owned()))),
                    Check::new("clock", State::Skipped, "not checked; a wrong clock makes certificates invalid, too"),
                ],
                (_, true) => vec![Check::wrong("endpoint", &failure), certificates(State::Ok), clock(&client)],
                _ => all(Check::wrong("endpoint", &failure)),
            }
        }
    }
}

/// The hint for a certificate whose problem implies none.
const CERTIFICATE_HINT: &str = "check the name in the URL and the clock; for a server with a CA of its own set SSL_CERT_FILE \
                                to a file of CA certificates that includes it";

/// Returns the proxy that requests to the endpoint go through.
fn proxy_in_environment(endpoint: &url::Url) -> Option<ProxyVariable> {
    proxy_of(endpoint, |name| std::env::var(name).ok())
}

/// Returns the hint for an endpoint that cannot be reached.
fn network_hint(proxy: Option<&ProxyVariable>) -> String {
    let url = "check the network, and the URL: `drawoff config show` says where it is set";
    match proxy {
        Some(proxy) => format!("{url}; requests go through the proxy of {}: check that, too", proxy.name),
        None => format!("{url}; behind a proxy set HTTPS_PROXY"),
    }
}

/// Opens a connection to the endpoint, or to the proxy before it. Without a key nothing is asked.
async fn reachable(endpoint: &url::Url, named: &str) -> Check {
    let proxy = proxy_in_environment(endpoint);
    let (host, port) = match &proxy {
        Some(proxy) => (proxy.host.clone(), proxy.port),
        None => match (endpoint.host_str(), endpoint.port_or_known_default()) {
            (Some(host), Some(port)) => (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port),
            _ => return Check::new("endpoint", State::Skipped, format!("{named} has no host")),
        },
    };
    let connect = tokio::time::timeout(MAX_WAIT, tokio::net::TcpStream::connect((host, port))).await;
    let cause = match (connect, &proxy) {
        (Ok(Ok(_)), None) => {
            return Check::new(
                "endpoint",
                State::Ok,
                format!("{named} can be reached; it was asked nothing without a key"),
            );
        }
        (Ok(Ok(_)), Some(proxy)) => {
            let found = format!("the proxy of {} can be reached; {named} was asked nothing without a key", proxy.name);
            return Check::new("endpoint", State::Ok, found);
        }
        (Ok(Err(cause)), _) => cause.to_string(),
        (Err(_), _) => format!("no connection within {}", human_duration(MAX_WAIT)),
    };
    let what = match &proxy {
        Some(proxy) => format!("the proxy of {}, before {endpoint},", proxy.name),
        None => endpoint.to_string(),
    };
    let wrong = Check::new("endpoint", State::Wrong, format!("{what} cannot be reached: {cause}"));
    Check { exit: Exit::Unreachable, ..wrong.hint(network_hint(proxy.as_ref())) }
}

/// Compares the clock with that of the API, which its last response named.
fn clock(client: &Client) -> Check {
    let (api, here) = (client.http().server_time(), SystemTime::now());
    let difference = api.duration_since(here).or_else(|_| here.duration_since(api)).unwrap_or_default();
    // Responses name whole seconds.
    if difference <= Duration::from_secs(2) {
        return Check::new("clock", State::Ok, "as that of the API");
    }
    let which = if api > here { "behind" } else { "ahead of" };
    let found = format!("{} {which} that of the API", human_duration(difference));
    match difference > MAX_CLOCK_DIFFERENCE {
        true => Check::new("clock", State::Doubtful, found)
            .hint("set the clock, such as with `timedatectl set-ntp true`: links expire by it"),
        false => Check::new("clock", State::Ok, found),
    }
}

fn state_directory(context: &Context) -> Check {
    let hint = "specify a directory with `--state-dir` or DRAWOFF_STATE_DIR; without one an interrupted start may be paid twice";
    match &context.settings.state_dir {
        Some(setting) => directory("state directory", &setting.value, hint),
        None => {
            let wrong = Check::new("state directory", State::Wrong, "the system has none for the user");
            Check { exit: Exit::CannotWrite, ..wrong.hint(hint) }
        }
    }
}

/// Checks that a file can be created in a directory, or in the one that it will be created in, and the space of its disk.
fn directory(check: &'static str, path: &Path, hint: &str) -> Check {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned();
    let shown = absolute.display();
    if let Err(cause) = check_can_create_file(&existing) {
        let failure = Failure::new(Error::Write { path: PathBuf::from(&absolute), cause }, hint);
        return Check::wrong(check, &failure);
    }
    let Ok(disk) = rustix::fs::statvfs(&existing) else {
        return Check::new(check, State::Ok, format!("{shown} can be written"));
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let found = format!("{shown}: {} free", human_bytes(free));
    match free {
        0..TOO_FEW_FREE_BYTES => {
            let wrong = Check::new(check, State::Wrong, found).hint("free some space, or use another disk");
            Check { exit: Exit::DiskFull, ..wrong }
        }
        TOO_FEW_FREE_BYTES..FEW_FREE_BYTES => {
            Check::new(check, State::Doubtful, found).hint("free some space: large results may not fit")
        }
        _ => Check::new(check, State::Ok, found),
    }
}

/// Makes a pipe: the system may refuse one, or make it small.
fn pipes() -> Check {
    let bytes = rustix::pipe::pipe().and_then(|(reader, _writer)| rustix::pipe::fcntl_getpipe_size(&reader));
    match bytes {
        Ok(bytes) if bytes >= USUAL_PIPE_BYTES => {
            Check::new("pipes", State::Ok, format!("{} each", human_bytes(bytes as u64)))
        }
        Ok(bytes) => Check::new("pipes", State::Doubtful, format!("{} each", human_bytes(bytes as u64)))
            .hint("close programs with many pipes, or raise /proc/sys/fs/pipe-user-pages-soft: small pipes are slow"),
        Err(errno) => {
            let wrong = Check::new("pipes", State::Wrong, format!("cannot be made: {errno}"));
            Check { exit: Exit::CannotWrite, ..wrong.hint("close other programs of this user") }
        }
    }
}

fn open_files() -> Check {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match most {
        Some(most) if most < USUAL_OPEN_FILES => Check::new("open files", State::Doubtful, format!("at most {most}"))
            .hint("raise the limit with `ulimit -n 4096`: outputs with many files need more"),
        Some(most) => Check::new("open files", State::Ok, format!("at most {most}")),
        None => Check::new("open files", State::Ok, "no limit"),
    }
}
