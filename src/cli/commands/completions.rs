//! Completion scripts and manual pages, written from the flags themselves.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::args::Args;
use crate::cli::error::{Error, Failure};
use crate::cli::table::write_data;

/// Prints the completion script of `shell`.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "drawoff", &mut script);
    write_data(&String::from_utf8_lossy(&script))
}

/// Writes the manual page of each command into the directory `dir`, which is made if it is not there; prints that of
/// drawoff itself where no directory is given.
pub fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let command = Args::command();
    match dir {
        Some(dir) => {
            let cause = |cause: io::Error| Error::Write { path: dir.to_owned(), cause };
            std::fs::create_dir_all(dir).map_err(cause)?;
            Ok(clap_mangen::generate_to(command, dir).map_err(cause)?)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).expect("a page in memory can be written");
            write_data(&String::from_utf8_lossy(&page))
        }
    }
}
