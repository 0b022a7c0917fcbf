//! The binary: parses the command line, carries one command out on a small tokio runtime, and ends the process with its
//! exit code. Everything else is in the library.

use std::process::ExitCode;

use drawoff::cli;
use drawoff::cli::args;
use drawoff::cli::exit::Exit;

fn main() -> ExitCode {
    cli::install_panic_hook();
    cli::color::init(std::env::args_os().skip(1));
    let args = args::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    // Two threads: one may be busy with a socket's bytes while the other drives timers. Records are processed on the
    // engine's own threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(cli::run(args))));
            // Not a plain drop, which would wait for a thread that is blocked in a read of a pipe.
            runtime.shutdown_background();
            // The panic hook has printed the message already.
            exit.unwrap_or(Exit::Bug)
        }
        Err(_) => Exit::Bug,
    };
    ExitCode::from(exit.code())
}
