//! Settings: flags, then environment, then the configuration file, then defaults; resolved once, each with where it
//! came from. The engine and the client see only the result.

pub mod env_names;
mod key;
mod resolve;
mod setting;

pub use key::KeyCommand;
#[cfg(test)]
pub use resolve::Places;
pub use resolve::{Flags, KeyPlace, Settings};
pub use setting::{Error, Origin, Setting};
