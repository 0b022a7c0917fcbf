//! `completions` and `man`: completion scripts and manual pages, generated from clap's definition of the commands.

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
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    write_data(&script(shell, visible(&Args::command())))
}

fn script(shell: Shell, mut command: clap::Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "drawoff", &mut script);
    with_values(shell, String::from_utf8_lossy(&script).into_owned())
}

/// Asks drawoff itself for names of workflows and ids of runs; all else is completed by the script of the library.
fn with_values(shell: Shell, script: String) -> String {
    match shell {
        Shell::Bash => script + BASH_VALUES,
        // The function that zsh calls has the name of the file.
        Shell::Zsh => {
            let flags = script.replacen("\n_drawoff() {\n", "\n_drawoff_flags() {\n", 1);
            let end = flags.rfind("\nif [ \"$funcstack[1]\"").unwrap_or(flags.len());
            format!("{}{ZSH_VALUES}{}", &flags[..end], &flags[end..])
        }
        Shell::Fish => script + FISH_VALUES,
        _ => script,
    }
}

/// Names are those that others give: each is quoted here. What bash takes for names of files it expands to look at them, and
/// leaves `$` and backticks unquoted.
const BASH_VALUES: &str = r#"
_drawoff_values() {
    local line kind="" value values=() typed=${COMP_WORDS[COMP_CWORD]}
    while IFS= read -r line; do
        if [[ -z $kind ]]; then kind=$line; else values+=("${line%%$'\t'*}"); fi
    done < <(command "${COMP_WORDS[0]}" complete-values -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ -z $kind ]]; then
        _drawoff "$@"
        return
    fi
    COMPREPLY=()
    for value in "${values[@]}"; do
        case $typed in
            # Behind an open quote it is inserted as it is.
            \"* | \'*) [[ $value == *[\$\`\\\"\'\!]* ]] || COMPREPLY+=("$value") ;;
            *) printf -v value %q "$value" && COMPREPLY+=("$value") ;;
        esac
    done
    # Without values, bash completes names of files by itself.
    if [[ $kind == *files && ${#COMPREPLY[@]} -gt 0 ]]; then
        while IFS= read -r value; do
            [[ -d $value ]] && value+=/
            case $typed in
                \"* | \'* | \~*) COMPREPLY+=("$value") ;;
                *) printf -v value %q "$value" && COMPREPLY+=("$value") ;;
            esac
        done < <(compgen -f -- "$typed")
    elif [[ $kind != *files && ${#COMPREPLY[@]} -eq 0 ]]; then
        compopt +o bashdefault +o default 2>/dev/null
    fi
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _drawoff_values -o nosort -o bashdefault -o default drawoff
else
    complete -F _drawoff_values -o bashdefault -o default drawoff
fi
"#;

const ZSH_VALUES: &str = r#"
_drawoff() {
    local line kind ret=1
    local -a lines values shown
    lines=("${(@f)$(command ${words[1]} complete-values -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    kind=${lines[1]}
    if [[ -z $kind ]]; then
        _drawoff_flags "$@"
        return
    fi
    [[ $PREFIX == --*=* ]] && compset -P '*='
    for line in "${(@)lines[2,-1]}"; do
        values+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/  }")
    done
    (( $#values )) && compadd -V values -l -d shown -a values && ret=0
    [[ $kind == *files ]] && _files && ret=0
    return ret
}
"#;

const FISH_VALUES: &str = r#"
function __drawoff_values
    set -l words (commandline -opc)
    command $words[1] complete-values -- $words[2..-1] (commandline -ct | string collect --allow-empty) 2>/dev/null | tail -n +2
end
complete -c drawoff -k -a '(__drawoff_values)'
"#;

/// Copies `command` without its hidden flags, which the scripts would offer otherwise. clap cannot remove an argument,
/// so everything that scripts show is copied. Names are leaked, because clap keeps them for the life of the process.
fn visible(command: &clap::Command) -> clap::Command {
    let leaked = |name: &str| -> &'static str { name.to_owned().leak() };
    let mut copy = clap::Command::new(leaked(command.get_name()))
        .visible_aliases(command.get_visible_aliases().map(leaked))
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().map(visible));
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    match command.get_version() {
        Some(version) => copy.version(leaked(version)),
        None => copy,
    }
}

/// Writes the manual page of every command into the directory `dir`, which is created if it does not exist. Without
/// `dir`, prints the page of drawoff itself.
pub(crate) fn man(dir: Option<&Path>) -> Result<(), Failure> {
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
    Failure::new(Error::Write { path: path.to_owned(), cause }, "specify a directory that you can write to")
}

/// Renders the page of one command. The text after the flags in `--help` is rendered here and not by the library,
/// because its lines are examples and tables, which must not be filled and hyphenated.
fn page(command: &clap::Command) -> Vec<u8> {
    let man = Man::new(command.clone()).source(concat!("drawoff ", env!("CARGO_PKG_VERSION"))).manual("drawoff");
    let mut page = Vec::new();
    let rendered = man
        .render_title(&mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| man.render_options_section(&mut page));
    rendered.expect("writing to memory does not fail");
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page).expect("writing to memory does not fail");
    }
    // roff fills paragraphs by default; `nf` keeps the lines as they are.
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    if let Some(after) = after {
        let mut roff = Roff::default();
        roff.control("SH", ["NOTES"]).control("nf", []);
        after.to_string().lines().for_each(|line| {
            roff.text([roman(line)]);
        });
        roff.control("fi", []);
        roff.to_writer(&mut page).expect("writing to memory does not fail");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELLS: [Shell; 5] = [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh];

    #[test]
    fn hidden_flags_are_not_offered_and_nothing_else_is_lost() {
        fn shown(command: clap::Command) -> clap::Command {
            let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
            let command = command.mut_args(|arg| arg.hide(false));
            names.into_iter().fold(command, |command, name| command.mut_subcommand(name, shown))
        }
        for shell in SHELLS {
            let offered = script(shell, visible(&Args::command()));
            assert!(offered.contains("max-memory") && !offered.contains("workers"), "{shell}");
            // An alias for a former name works and is not offered.
            assert!(offered.contains("steps"), "{shell}");
            assert!(!["--plan", "-l plan"].iter().any(|alias| offered.contains(alias)), "{shell}");
            // If nothing is hidden, the copy makes the same script as the original.
            let all = shown(Args::command());
            assert!(script(shell, all.clone()).contains("workers"), "{shell}");
            assert_eq!(script(shell, visible(&all)), script(shell, all), "{shell}");
        }
    }
}
