//! PostgreSQL: the connection, with the settings that `psql` would use.
//!
//! ```text
//! URL ─► service file ─► PG* environment ─► libpq's defaults ─► Settings ─► connect ─► Connection
//! ```
//!
//! [`Settings::resolve`] reads the URL, the environment that it is given, and the files that these name; it does not
//! use the network. [`connect`] tries the hosts in order, and negotiates TLS as the settings demand. The difference to
//! `psql`: without `sslmode`, a server on another machine must prove its name by its certificate (`verify-full`).

mod certificate;
mod connect;
mod copy;
mod environment;
mod error;
mod layout;
mod ledger;
mod load;
mod new_table;
mod numeric;
mod parameters;
mod password_file;
mod server;
mod service_file;
mod session;
mod settings;
mod socket;
mod sql;
mod stage;
mod system;
mod table;
mod tls;
mod types;
mod uri;
mod value;

pub use connect::{Canceller, Connection, connect};
pub use environment::Environment;
pub use error::{ConnectError, ConnectErrorKind};
pub use settings::{Settings, SettingsError};
pub use system::{Postgres, new_table};
