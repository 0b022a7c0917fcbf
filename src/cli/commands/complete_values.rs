//! Names of workflows and ids of runs for the completion scripts of shells: those of the state directory, and those of the API
//! if a key is set. A prompt waits for it, so that it ends within a second, prints no error, and asks the API at most once in
//! a minute.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::api::RunId;
use crate::cli::context::require_valid_proxy;
use crate::cli::help::{self, try_parse};
use crate::cli::print;
use crate::cli::settings::{KeySource, Settings};
use crate::cli::typed_words::{TypedWord, Wanted, typed_word};
use crate::client::{Client, RunFilter, StateDir, digest_of};
use crate::net::{Http, HttpOptions, is_loopback};
use crate::secret::ApiKey;
use crate::text::escape_for_terminal;

/// The word by which completion scripts call drawoff. No command of people: it is in no help.
pub(crate) const WORD: &str = "complete-values";

/// Time after which the process ends with what it has.
const MAX_TIME: Duration = Duration::from_millis(900);

/// Time for the API.
const MAX_WAIT: Duration = Duration::from_millis(600);

/// Age of what the API returned, up to which it is not asked again.
const FRESH: Duration = Duration::from_secs(60);

/// Runs that are asked for.
const MOST_RUNS: u32 = 50;

/// One value, and what a shell shows beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    text: String,
    about: String,
}

/// The answer of the API, in the state directory.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cache {
    /// Digest of the endpoint and the key: another account has other runs.
    account: String,
    runs: Option<Known>,
    workflows: Option<Known>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    /// Seconds since 1970 at which the API was asked last, with or without success.
    asked_at: u64,
    values: Vec<Value>,
}

/// Prints the values that complete the last of `words`: on the first line `values`, or `values files` if files do so, too;
/// then one on each line, with what it is behind a tab. Prints nothing if it is no workflow and no run.
pub(crate) fn complete_values(words: Vec<String>) {
    // Whatever blocks, such as a network file system: the prompt does not.
    std::thread::spawn(|| {
        std::thread::sleep(MAX_TIME);
        std::process::exit(0);
    });
    std::panic::set_hook(Box::new(|_| {}));
    let mut root = help::command();
    root.build();
    let words = words.strip_prefix(&["--".to_owned()][..]).unwrap_or(&words);
    let Some(word) = typed_word(&root, words) else { return };
    let mut text = if word.or_file { "values files\n" } else { "values\n" }.to_owned();
    let values = known_values(&word);
    for Value { text: value, about } in values.iter().filter(|value| value.text.starts_with(&word.start)) {
        text.push_str(&format!("{value}\t{about}\n"));
    }
    // Written at once, so that a shell sees all of it or nothing.
    let _ = print::write_stdout(&text);
}

/// Returns the values: the newest first, each once.
fn known_values(word: &TypedWord) -> Vec<Value> {
    let flags = ["drawoff".to_owned()].into_iter().chain(word.globals.iter().cloned());
    let flags: Vec<String> = flags.chain(["config".to_owned(), "path".to_owned()]).collect();
    let typed = try_parse(&flags).map(|args| args.global.settings.0).unwrap_or_default();
    let Ok(settings) = Settings::resolve(&typed) else { return Vec::new() };
    let root = settings.state_dir.as_ref().map(|setting| setting.value.clone()).filter(|root| root.is_dir());
    let mut values = of_api(&settings, root.as_deref(), word.wanted).unwrap_or_default();
    values.extend(root.map(|root| of_state(&root, &settings, word.wanted)).unwrap_or_default());
    if word.wanted == Wanted::Runs && !values.is_empty() {
        values.insert(0, Value { text: "last".to_owned(), about: "the newest run".to_owned() });
    }
    let mut seen = std::collections::HashSet::new();
    values.retain(|value| {
        let is_plain = !value.text.is_empty() && escape_for_terminal(&value.text) == value.text;
        is_plain && seen.insert(value.text.clone())
    });
    values
}

/// Returns the runs and workflows of the ledgers in the state directory.
fn of_state(root: &Path, settings: &Settings, wanted: Wanted) -> Vec<Value> {
    let Ok(ledgers) = StateDir::open(root).and_then(|state| state.ledgers()) else { return Vec::new() };
    let endpoint = settings.endpoint.value.as_str().trim_end_matches('/').to_owned();
    let here = ledgers.into_iter().flatten().filter(|ledger| ledger.endpoint.trim_end_matches('/') == endpoint);
    let value = |ledger: crate::client::Ledger| match wanted {
        // The ledger of several runs has no id of a run.
        Wanted::Runs if ledger.runs.is_some() => None,
        Wanted::Runs => {
            let about = about_run(ledger.status.as_deref(), ledger.workflow_name.as_deref());
            Some(Value { text: ledger.run.0, about })
        }
        Wanted::Workflows => Some(Value { text: ledger.workflow_name?, about: "workflow".to_owned() }),
    };
    here.filter_map(value).collect()
}

/// Returns what the API lists, from the cache if that is fresh, or if the API does not answer in time.
fn of_api(settings: &Settings, root: Option<&Path>, wanted: Wanted) -> Option<Vec<Value>> {
    let endpoint = &settings.endpoint.value;
    let may_send = endpoint.scheme() == "https" || is_loopback(endpoint) || settings.insecure_http.value;
    // A command for the key may ask its user something.
    let is_quiet = !matches!(settings.api_key.as_ref()?.value, KeySource::Command(_));
    if !may_send || !is_quiet || require_valid_proxy(endpoint).is_err() {
        return None;
    }
    let key = settings.load_key().ok()??;
    let path = root.map(|root| root.join("completions.json"));
    let account = account(endpoint.as_str(), &key);
    let read = path.as_deref().and_then(|path| serde_json::from_slice::<Cache>(&std::fs::read(path).ok()?).ok());
    let mut cache = read.filter(|cache| cache.account == account).unwrap_or_default();
    cache.account = account;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let known = match wanted {
        Wanted::Runs => cache.runs.get_or_insert_default(),
        Wanted::Workflows => cache.workflows.get_or_insert_default(),
    };
    if now.abs_diff(known.asked_at) < FRESH.as_secs() {
        return Some(std::mem::take(&mut known.values));
    }
    let asked = ask(
        Http::new(HttpOptions { policy: settings.policy(), ..HttpOptions::new(endpoint.clone(), Some(key)) }),
        wanted,
    );
    known.asked_at = now;
    if let Some(values) = asked {
        known.values = values;
    }
    let values = known.values.clone();
    if let Some(path) = path {
        // Without it the API is asked each time.
        let _ = store(&path, &cache);
    }
    Some(values)
}

/// Asks the API once; `None` if it fails, or does not answer in time.
fn ask(http: Http, wanted: Wanted) -> Option<Vec<Value>> {
    let client = Arc::new(Client::new(http));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let values = async {
        Some(match wanted {
            Wanted::Runs => {
                let filter = RunFilter { limit: Some(MOST_RUNS), ..RunFilter::default() };
                let runs = client.runs(&filter).await.ok()?;
                let value = |run: crate::api::Run| {
                    let RunId(id) = run.job_id;
                    Value { text: id, about: about_run(Some(&run.status), Some(&run.workflow_name)) }
                };
                runs.into_iter().map(value).collect()
            }
            Wanted::Workflows => {
                let workflows = client.workflows().await.ok()?;
                let value =
                    |workflow: crate::api::Workflow| Value { text: workflow.name, about: "workflow".to_owned() };
                workflows.into_iter().map(value).collect()
            }
        })
    };
    runtime.block_on(async { tokio::time::timeout(MAX_WAIT, values).await.ok().flatten() })
}

/// Describes a run on one line.
fn about_run(status: Option<&str>, workflow: Option<&str>) -> String {
    let parts: Vec<String> = [status, workflow].into_iter().flatten().map(escape_for_terminal).collect();
    parts.join(", ")
}

/// Returns a digest by which accounts differ, and from which no key can be found.
fn account(endpoint: &str, key: &ApiKey) -> String {
    digest_of(&[endpoint, &key.fingerprint()])[..16].to_owned()
}

/// Writes the cache so that only its user reads it, and another command sees all of it or the one before.
fn store(path: &Path, cache: &Cache) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(&serde_json::to_vec(cache)?)?;
    file.persist(path)?;
    Ok(())
}
