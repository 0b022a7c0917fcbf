//! `config`: prints the resolved settings with their origins, or the path of the configuration file. Sends no request.

use serde_json::json;

use crate::cli::args::ConfigCommand;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::settings::CONFIG;
use crate::cli::table;

/// Runs one of the subcommands.
pub(crate) fn dispatch(context: &Context, command: ConfigCommand) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Show(list) => {
            let rows: Vec<_> = context
                .settings
                .rows()
                .into_iter()
                .map(|row| json!({"setting": row.name, "value": row.value, "origin": row.origin}))
                .collect();
            table::write_list(list.output, &rows, &["SETTING", "VALUE", "FROM"], |row| {
                ["setting", "value", "origin"].map(|name| row[name].as_str().unwrap_or_default().to_owned()).into()
            })?;
        }
        ConfigCommand::Path => match &context.settings.config_file {
            Some((path, found)) => {
                table::write_data(&format!("{}\n", path.display()))?;
                // On standard error, so that standard output is the path alone.
                if !found {
                    context.screen.note("the file does not exist, which is not an error");
                }
            }
            None => {
                let variable = CONFIG.names.environment.unwrap_or_default();
                context.screen.note(&format!("cannot determine the configuration directory; set {variable}"));
            }
        },
    }
    Ok(Exit::Success)
}
