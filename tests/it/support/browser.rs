//! Headless Chromium, driven over its debugging pipe: it opens pages, evaluates expressions in them, and keeps what the
//! browser complains about, such as violations of a content security policy.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};

use super::{PATIENCE, Place, tool, wait_for};

/// A browser with one page. It is killed on drop.
pub struct Browser {
    child: Child,
    /// Commands, each ended by a zero byte.
    commands: ChildStdin,
    messages: mpsc::Receiver<Value>,
    /// Number of the last command.
    last: u64,
    /// Session of the page; empty until it exists.
    session: String,
    /// Errors, warnings and exceptions of all pages so far.
    pub complaints: Vec<String>,
    /// URLs that pages requested so far.
    pub requested: Vec<String>,
    /// Profile and temporary files.
    _place: Place,
}

impl Browser {
    /// Starts the browser; `None` if the tests have none.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts the browser with further arguments; `None` if the tests have none.
    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        let chromium = tool("DRAWOFF_TEST_CHROMIUM")?;
        let place = Place::new();
        // The pipe is on the descriptors 3 and 4, which only a shell can give to a child without unsafe code.
        let mut command = place.program("sh");
        command.arg("-c").arg("exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null").arg(chromium);
        // Its own sandbox needs rights that CI does not have; the pages are ours.
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--remote-debugging-pipe", "--disable-background-networking", "--user-data-dir=browser"]);
        command.args(arguments);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (tell, messages) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for message in stdout.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let commands = child.stdin.take().unwrap();
        let mut browser = Browser {
            child,
            commands,
            messages,
            last: 0,
            session: String::new(),
            complaints: Vec::new(),
            requested: Vec::new(),
            _place: place,
        };
        let page = browser.send("Target.createTarget", json!({ "url": "about:blank" })).unwrap();
        let to_page = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.send("Target.attachToTarget", to_page).unwrap();
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.send(&format!("{domain}.enable"), json!({})).unwrap();
        }
        Some(browser)
    }

    /// Opens `url` and waits until its document is loaded.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        let opened = self.send("Page.navigate", json!({ "url": url })).unwrap();
        assert_eq!(opened["errorText"], Value::Null, "{url}");
        self.wait("document.readyState === 'complete'");
    }

    /// Evaluates an expression in the page, awaits it if it is a promise, and returns its value.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        self.try_eval(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until an expression is true in the page, which may be replaced meanwhile.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.try_eval(expression).is_ok_and(|value| value == true) {
            if std::time::Instant::now() > deadline {
                let text = self.try_eval("document.body.innerText").unwrap_or_default();
                panic!("never true: {expression}\n{}\n{:?}", text.as_str().unwrap_or_default(), self.complaints);
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Clicks on the element of a selector.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let found =
            self.eval(&format!("(e => {{ if (e) e.click(); return !!e; }})(document.querySelector({selector:?}))"));
        assert_eq!(found, true, "no element {selector}");
    }

    /// Returns the text of the element of a selector as it is shown; empty if there is none.
    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({selector:?})?.innerText ?? ''"));
        text.as_str().unwrap().to_owned()
    }

    fn try_eval(&mut self, expression: &str) -> Result<Value, String> {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let result = self.send("Runtime.evaluate", parameters)?;
        match result.get("exceptionDetails") {
            Some(details) => Err(details.to_string()),
            None => Ok(result["result"]["value"].clone()),
        }
    }

    /// Sends a command and returns its result.
    pub fn send(&mut self, method: &str, parameters: Value) -> Result<Value, String> {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let message = self.messages.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.last {
                return match message.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(message["result"].clone()),
                };
            }
            let event = &message["params"];
            match message["method"].as_str() {
                // A response with an error status is no complaint of the browser.
                Some("Log.entryAdded") if event["entry"]["source"] != "network" => {
                    self.complaints.push(event["entry"].to_string());
                }
                Some("Runtime.exceptionThrown") => self.complaints.push(event["exceptionDetails"].to_string()),
                Some("Network.requestWillBeSent") => {
                    self.requested.push(event["request"]["url"].as_str().unwrap_or_default().to_owned());
                }
                // A confirmation, which the tests always give.
                // A confirmation, which the tests always give. Its number is that of no command that is waited for.
                Some("Page.javascriptDialogOpening") => {
                    let accept = json!({ "id": 0, "method": "Page.handleJavaScriptDialog",
                        "params": { "accept": true }, "sessionId": self.session });
                    self.commands.write_all(format!("{accept}\0").as_bytes()).unwrap();
                }
                _ => {}
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its processes end with the pipe; the profile is removed after that.
        let _ = self.child.kill();
        wait_for("the browser to end", || self.child.try_wait().unwrap());
    }
}
