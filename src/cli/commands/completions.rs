//! Completion scripts and manual pages, written from the flags themselves.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

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
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|cause| cannot_write(dir, cause))?;
            write_pages(&command, dir)
        }
        None => write_data(&String::from_utf8_lossy(&page(&command))),
    }
}

fn write_pages(command: &clap::Command, dir: &Path) -> Result<(), Failure> {
    let path = dir.join(Man::new(command.clone()).get_filename());
    std::fs::write(&path, page(command)).map_err(|cause| cannot_write(&path, cause))?;
    command.get_subcommands().try_for_each(|command| write_pages(command, dir))
}

fn cannot_write(path: &Path, cause: io::Error) -> Failure {
    Failure::new(Error::Write { path: path.to_owned(), cause }, "give a directory in which you may write")
}

/// The page of one command. As the library writes it, but for what stands after the flags in `--help`: its lines are
/// examples and tables, which are not to be filled and hyphenated.
fn page(command: &clap::Command) -> Vec<u8> {
    let man = Man::new(command.clone()).source(concat!("drawoff ", env!("CARGO_PKG_VERSION"))).manual("drawoff");
    let mut page = Vec::new();
    let rendered = man
        .render_title(&mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| man.render_options_section(&mut page));
    rendered.expect("a page in memory can be written");
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page).expect("a page in memory can be written");
    }
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    if let Some(after) = after {
        let mut roff = Roff::default();
        roff.control("SH", ["NOTES"]).control("nf", []);
        after.to_string().lines().for_each(|line| {
            roff.text([roman(line)]);
        });
        roff.control("fi", []);
        roff.to_writer(&mut page).expect("a page in memory can be written");
    }
    page
}
