//! The command that runs under `serve`, and the process that started `serve`: the service stops when either ends.

use std::ffi::OsString;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process};

use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::service::Seeded;

/// Interval of the look at the parent process.
const PARENT_INTERVAL: Duration = Duration::from_millis(200);

/// The process that started this one.
#[derive(Clone, Copy)]
pub(super) struct Parent(Option<Pid>);

impl Parent {
    pub(super) fn of_this_process() -> Self {
        Parent(getppid())
    }

    /// Waits until the parent has ended, which gives this process another one; for ever without a parent to watch.
    pub(super) async fn gone(parent: Option<Parent>) {
        let Some(Parent(pid)) = parent else { return std::future::pending().await };
        while getppid() == pid {
            tokio::time::sleep(PARENT_INTERVAL).await;
        }
    }
}

/// Environment of the command, besides that of this process.
pub(super) struct Environment(Vec<(&'static str, String)>);

impl Environment {
    pub(super) fn of(base_url: &str, key: &str, seeded: &[Seeded]) -> Self {
        let mut all = vec![("SIXTYFOUR_API_ENDPOINT", base_url.to_owned()), ("SIXTYFOUR_API_KEY", key.to_owned())];
        for (kind, name) in [("workflow", "WORKFLOW_ID"), ("upload", "RESOURCE_HANDLE_ID")] {
            all.extend(seeded.iter().find(|item| item.kind == kind).map(|item| (name, item.id.clone())));
        }
        Environment(all)
    }
}

/// Runs the command to its end and returns its exit code, as a shell does: 128 and the number of the signal that ended
/// it. A signal to this process, and the end of `parent`, are passed on to it as SIGTERM.
pub(super) async fn run_command(
    context: &Context,
    words: &[OsString],
    Environment(environment): Environment,
    parent: impl Future<Output = ()>,
) -> Result<i32, Failure> {
    let [program, arguments @ ..] = words else { return Err(Error::Usage("no command was given".into()).into()) };
    let mut command = Command::new(program);
    command.args(arguments).envs(environment);
    let mut child = command
        .spawn()
        .map_err(|cause| Error::Usage(format!("cannot run the command {}: {cause}", program.to_string_lossy())))?;
    let pid = Pid::from_child(&child);
    let (sender, mut ended) = tokio::sync::oneshot::channel();
    // A thread of its own: the wait may last for hours.
    let waiting = std::thread::Builder::new().name("wait".into()).spawn(move || {
        let _ = sender.send(code_of(&mut child));
    });
    waiting.map_err(|cause| Error::Bug(format!("cannot start a thread: {cause}")))?;
    tokio::select! {
        code = &mut ended => return Ok(code.unwrap_or(1)),
        () = context.interrupt.requested() => {}
        () = parent => {}
    }
    // The command decides how long its end takes; a second signal ends this process.
    context.interrupt.set_own_deadline();
    // It may have ended in this moment.
    let _ = kill_process(pid, Signal::TERM);
    Ok(ended.await.unwrap_or(1))
}

fn code_of(child: &mut Child) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;

    match child.wait() {
        Ok(status) => status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1),
        Err(_) => 1,
    }
}
