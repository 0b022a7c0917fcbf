//! The edge of the process: parse, run, end with a code.

use std::process::ExitCode;

use drawoff::cli;
use drawoff::cli::args;
use drawoff::cli::exit::Exit;

fn main() -> ExitCode {
    cli::install_panic_hook();
    cli::color::init(std::env::args_os().skip(1));
    let args = args::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    // Two threads: one may be busy with a socket's bytes while the other keeps time. Records are on other threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(cli::run(args))));
            // A thread that sits in a read of a pipe must not hold up the end.
            runtime.shutdown_background();
            exit.unwrap_or(Exit::Bug)
        }
        Err(_) => Exit::Bug,
    };
    ExitCode::from(exit.code())
}
