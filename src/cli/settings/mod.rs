//! Settings: flags, then environment, then the configuration file, then defaults; resolved once, each with where it
//! came from. The engine and the client see only the result.
//!
//! [`TABLE`] has one row for each setting, and flags, help, the configuration file and `config show` go by it.

mod file;
mod key;
mod resolve;
mod setting;
mod spec;
mod table;
mod typed;

pub use resolve::{KeySource, Settings};
pub use setting::{Error, Origin, Setting};
#[cfg(test)]
pub use spec::UserDirs;
pub use spec::{Names, Row};
pub use table::{API_KEY_VARIABLE, CONFIG, TABLE};
pub use typed::{SettingArgs, TypedSettings};
