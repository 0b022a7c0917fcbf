//! The environment of one command: settings, screen, interrupt, the clients that it creates, and the hint for an
//! interruption. It outlives everything that the command starts.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::error::{Error, Failure};
use super::interrupt::Interrupt;
use super::print::Screen;
use super::result_file::ResultFile;
use super::resume::pull_command;
use super::settings::{KeySource, Origin, Setting, Settings};
use crate::api::RunId;
use crate::client::Client;
use crate::net::{Downloads, Http, HttpOptions, Limiter, OnWait, Recovered, Recoveries, is_loopback, proxy_problem};
use crate::secret::ApiKey;
use crate::sink::complete_files;
use crate::text::{error_chain, escape_for_terminal, human_duration};

/// Shortest wait before a retry that is worth a note.
const NOTED_WAIT: Duration = Duration::from_secs(5);

/// The settings, terminal and signals of one command.
pub(super) struct Context {
    /// Resolved settings of the command.
    pub settings: Settings,
    /// Notes and progress on standard error.
    pub screen: Arc<Screen>,
    /// Ctrl-C, SIGTERM or SIGHUP.
    pub interrupt: Interrupt,
    /// Rate limiter of the process, shared by all clients.
    limiter: Limiter,
    /// Counters of retries and resumes of all clients.
    recoveries: Recoveries,
    /// Hint that an interruption prints from now on.
    resume: ResumeHint,
    /// Facts for the result file, if one was asked for.
    pub result_file: ResultFile,
    /// Number of outputs that were found complete, or loaded.
    pub complete: AtomicU64,
}

/// The hint that an interruption prints, which changes as the command proceeds. Cheap to clone; all clones share one hint.
#[derive(Clone, Debug, Default)]
pub(super) struct ResumeHint(Arc<Mutex<Option<Hint>>>);

#[derive(Clone, Debug)]
struct Hint {
    text: String,
    /// True if the text says that nothing was written.
    starts_again: bool,
}

impl ResumeHint {
    fn set(&self, text: String, starts_again: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Hint { text, starts_again });
    }

    /// Returns the current hint; `None` if nothing can be resumed yet. A command that starts again may have been ended
    /// between the first and the last of its outputs: the hint then names those that are complete.
    pub(super) fn get(&self) -> Option<String> {
        /// Names that are listed; a directory may have thousands.
        const LISTED: usize = 5;
        let Hint { text, starts_again } = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let complete = complete_files();
        if !starts_again || complete.is_empty() {
            return Some(text);
        }
        let names: Vec<String> = complete.iter().take(LISTED).map(|path| path.display().to_string()).collect();
        let more = if complete.len() > LISTED { ", …" } else { "" };
        let names = escape_for_terminal(&format!("{}{more}", names.join(", ")));
        Some(format!(
            "already complete: {names}; other outputs were not written; the same command writes all of them again, and with `--append` adds the rows again"
        ))
    }
}

/// Fails if the environment names a proxy for `url` that requests cannot go through: they would go around it.
pub(super) fn require_valid_proxy(url: &url::Url) -> Result<(), Failure> {
    match proxy_problem(url, |name| std::env::var(name).ok()) {
        Some(problem) => Err(Error::Usage(problem).into()),
        None => Ok(()),
    }
}

/// Returns the limiter of requests, which all processes with one state directory share. A service on this machine is its
/// user's own: its limit is shared only if one is set.
fn limiter_of(settings: &Settings) -> Limiter {
    let per_minute = &settings.requests_per_minute;
    let limiter = Limiter::new(per_minute.value);
    let is_shared = !is_loopback(&settings.endpoint.value) || per_minute.origin != Origin::Default;
    match settings.state_dir.as_ref().filter(|_| is_shared) {
        Some(state_dir) => limiter.shared_in(&state_dir.value.join("requests")),
        None => limiter,
    }
}

impl Context {
    /// Creates the context of one command. Its hints for an interruption are set in `resume`.
    pub(super) fn new(
        settings: Settings,
        screen: Screen,
        interrupt: Interrupt,
        resume: ResumeHint,
        result_file: ResultFile,
    ) -> Self {
        let recoveries = Recoveries::default();
        result_file.count(&recoveries);
        let limiter = limiter_of(&settings);
        Context {
            settings,
            screen: Arc::new(screen),
            interrupt,
            limiter,
            recoveries,
            resume,
            result_file,
            complete: AtomicU64::default(),
        }
    }

    /// Returns what the network did so far and the command survived.
    pub(super) fn recovered(&self) -> Recovered {
        self.recoveries.counts()
    }

    /// Returns the download pool of this command, bounded by `jobs` and by the memory.
    pub(super) fn downloads(&self) -> Downloads {
        let limits = self.settings.limits();
        let (jobs, connections) = (self.settings.jobs.value, self.settings.connections.value);
        Downloads::over(connections, jobs, limits.download_window_bytes()).with_max_expansion(limits.max_expansion)
    }

    /// Returns true if the endpoint would get the key over an unencrypted connection to another machine, without the
    /// user's consent.
    pub(super) fn sends_key_unencrypted(&self) -> bool {
        let endpoint = &self.settings.endpoint.value;
        endpoint.scheme() == "http" && !is_loopback(endpoint) && !self.settings.insecure_http.value
    }

    /// Creates a client for the API of the settings. Loads the API key, which may fail or prompt the user. Fails before
    /// that if the key would be sent over an unencrypted connection to another machine.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let Setting { value: endpoint, origin } = &self.settings.endpoint;
        if self.sends_key_unencrypted() {
            let text = format!("the API key would be sent unencrypted to {endpoint} ({origin})");
            return Err(Failure::new(
                Error::Usage(text),
                "use an https:// endpoint, or add `--insecure-http` (DRAWOFF_INSECURE_HTTP=1) in a network that you trust",
            ));
        }
        require_valid_proxy(endpoint)?;
        let key = self.settings.load_key()?;
        Ok(self.client_at(self.settings.endpoint.value.clone(), key))
    }

    /// Creates a client for `endpoint`. Long waits before retries are printed as notes.
    pub(super) fn client_at(&self, endpoint: url::Url, key: Option<ApiKey>) -> Client {
        Client::new(Http::new(HttpOptions {
            policy: self.settings.policy(),
            on_wait: Some(self.on_wait()),
            limiter: self.limiter.clone(),
            trusted: self.settings.send_key_to.value.clone(),
            recoveries: self.recoveries.clone(),
            ..HttpOptions::new(endpoint, key)
        }))
    }

    fn on_wait(&self) -> OnWait {
        let screen = Arc::clone(&self.screen);
        Arc::new(move |error, wait| {
            if wait >= NOTED_WAIT {
                let error = escape_for_terminal(&error_chain(error));
                screen.note(&format!("{error}; retrying in {}", human_duration(wait)));
            }
        })
    }

    /// Sets the hint for a command whose interruption loses nothing: `output` is complete or absent, and the same
    /// command starts over.
    pub(super) fn set_restart(&self, output: &str) {
        let text = format!("{output} was not written, and no partial file remains; the same command starts again");
        self.resume.set(text, true);
    }

    /// Sets the hint for a command whose files are in the store, and which a warehouse copies now, whatever becomes of it.
    #[cfg(feature = "object-store")]
    pub(super) fn set_copying(&self, table: &str) {
        let text = format!(
            "the files are staged, and their rows may be on their way into {table}; the same command finds out, and goes on"
        );
        self.resume.set(text, true);
    }

    /// Sets the hint for a command that `drawoff pull` resumes. A key command is not printed, because it may contain
    /// secrets, so its flag is only mentioned.
    pub(super) fn set_resume(&self, run: &RunId) {
        let command = pull_command(run);
        let with_command = match &self.settings.api_key {
            Some(Setting { value: KeySource::Command(_), origin: Origin::Flag(flag) }) => {
                format!(" (with the same {flag})")
            }
            _ => String::new(),
        };
        self.set_resume_hint(format!(
            "resume with `{command}`{with_command}; finished files were kept, no partial file remains"
        ));
    }

    /// Sets the hint that an interruption prints from now on.
    pub(super) fn set_resume_hint(&self, hint: String) {
        self.resume.set(hint, false);
    }

    /// Returns the current hint for an interruption; `None` if nothing can be resumed yet.
    pub(super) fn resume_hint(&self) -> Option<String> {
        self.resume.get()
    }

    /// Runs `work` until it ends or the user interrupts it; then it is dropped at its current await and the result is
    /// [`Error::Interrupted`].
    pub(super) async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.interrupt.requested() => Err(Error::Interrupted.into()),
            done = work => done,
        }
    }
}
