//! Every environment name that drawoff reads.

/// The API key. The vendor's own name. An empty value counts as none.
pub const API_KEY: &str = "SIXTYFOUR_API_KEY";

/// The API's base address, `https://api.sixtyfour.ai` by default. The vendor's own name.
pub const API_ENDPOINT: &str = "SIXTYFOUR_API_ENDPOINT";

/// The configuration file, in place of `drawoff/config.toml` in the user's configuration folder.
pub const CONFIG: &str = "DRAWOFF_CONFIG";

/// Where runs and their downloads are remembered, in place of `drawoff` in the user's folder for state.
pub const STATE_DIR: &str = "DRAWOFF_STATE_DIR";

/// Memory for records in flight, such as `256MiB`.
pub const MAX_MEMORY: &str = "DRAWOFF_MAX_MEMORY";

/// Bytes that are parsed at a time, such as `1MiB`. Row groups and the sample for the schema go with it.
pub const MORSEL_SIZE: &str = "DRAWOFF_MORSEL_SIZE";

/// Wait after a 429 that names no time, such as `60s`.
pub const RATE_LIMIT_WAIT: &str = "DRAWOFF_RATE_LIMIT_WAIT";

/// All of them with what they are for, in the order of the help text.
pub const ALL: [(&str, &str); 7] = [
    (API_KEY, "the API key"),
    (API_ENDPOINT, "base address of the API"),
    (CONFIG, "path of the configuration file"),
    (STATE_DIR, "folder where runs and their downloads are remembered"),
    (MAX_MEMORY, "memory for records in flight, such as 256MiB"),
    (MORSEL_SIZE, "bytes that are parsed at a time, such as 1MiB"),
    (RATE_LIMIT_WAIT, "wait after a 429 that names no time, such as 60s"),
];
