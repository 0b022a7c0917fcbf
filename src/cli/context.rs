//! What every command has at hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::error::{Error, Failure};
use super::interrupt::Interrupt;
use super::print::Screen;
use super::resume::pull_command;
use super::settings::{KeySource, Origin, Setting, Settings};
use crate::api::RunId;
use crate::client::Client;
use crate::net::{Downloads, Http, HttpOptions, Limiter, OnWait};
use crate::secret::ApiKey;
use crate::text::{error_chain, escape_for_terminal, human_duration};

/// Waits that are shorter are not worth a note.
const NOTED_WAIT: Duration = Duration::from_secs(5);

/// Settings, terminal and signals of one command.
pub struct Context {
    /// What is in force.
    pub settings: Settings,
    /// Standard error.
    pub screen: Arc<Screen>,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// One for the process: all clients count together.
    limiter: Limiter,
    /// What to do after an interruption.
    resume: Mutex<Option<String>>,
}

impl Context {
    /// A context for one command.
    pub fn new(settings: Settings, screen: Screen, interrupt: Interrupt) -> Self {
        Context { settings, screen: Arc::new(screen), interrupt, limiter: Limiter::default(), resume: Mutex::default() }
    }

    /// The window of this command's downloads.
    pub fn downloads(&self) -> Downloads {
        let window_bytes = self.settings.limits().download_window_bytes();
        Downloads::new(self.settings.jobs.value, window_bytes)
    }

    /// The client for the API in force.
    pub fn client(&self) -> Result<Client, Failure> {
        let key = self.settings.load_key()?;
        Ok(self.client_at(self.settings.endpoint.value.clone(), key))
    }

    /// A client for another address. Long waits between tries are noted on the screen.
    pub fn client_at(&self, endpoint: url::Url, key: Option<ApiKey>) -> Client {
        Client::new(Http::new(HttpOptions {
            policy: self.settings.policy(),
            on_wait: Some(self.on_wait()),
            limiter: self.limiter.clone(),
            trusted: self.settings.send_key_to.value.clone(),
            ..HttpOptions::new(endpoint, key)
        }))
    }

    fn on_wait(&self) -> OnWait {
        let screen = Arc::clone(&self.screen);
        Arc::new(move |error, wait| {
            if wait >= NOTED_WAIT {
                let error = escape_for_terminal(&error_chain(error));
                screen.note(&format!("{error}; trying again in {}", human_duration(wait)));
            }
        })
    }

    /// Remembers that from here on nothing is lost by an interruption: `output` is whole or not there, and the same
    /// command starts again.
    pub fn set_restart(&self, output: &str) {
        self.set_resume_hint(format!(
            "{output} was not written, and no partial file remains; the same command starts again"
        ));
    }

    /// Remembers that from here on `drawoff pull` goes on after an interruption or a break.
    pub fn set_resume(&self, run: &RunId) {
        let command = pull_command(run);
        let with_command = match &self.settings.api_key {
            Some(Setting { value: KeySource::Command(_), origin: Origin::Flag(flag) }) => {
                format!(" (with {flag} as now)")
            }
            _ => String::new(),
        };
        self.set_resume_hint(format!(
            "resume with `{command}`{with_command}; finished files were kept, no partial file remains"
        ));
    }

    /// Remembers what to say after an interruption from here on.
    pub fn set_resume_hint(&self, hint: String) {
        *self.resume.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(hint);
    }

    /// The hint on how to go on, if there is a way.
    pub fn resume_hint(&self) -> Option<String> {
        self.resume.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// `work`, unless the user interrupts it: then it is dropped where it waits.
    pub async fn unless_interrupted<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.interrupt.requested() => Err(Error::Interrupted.into()),
            done = work => done,
        }
    }
}
