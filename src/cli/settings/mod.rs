//! Settings: resolved once per command, from flags, then the environment, then the configuration file, then defaults,
//! each with its origin. The engine and the client see only the result.
//!
//! [`TABLE`] has one row per setting. Flags, help, the configuration file and `config show` are derived from it.

mod file;
mod key;
mod resolve;
mod setting;
mod spec;
mod table;
mod typed;

pub use resolve::{KeySource, ServeTable, Settings};
pub use setting::{Error, Origin, Setting};
#[cfg(test)]
pub use spec::UserDirs;
pub use spec::{Names, Row};
pub use table::{API_KEY_VARIABLE, CONFIG, SERVE_API_KEY_VARIABLE, TABLE};
pub use typed::{SettingArgs, TypedSettings};
