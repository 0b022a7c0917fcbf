//! Paths that are not part of the vendor's API, which has its own in `api::routes`.

/// Path of the files that signed links point to. A client takes the whole link as it is.
pub(super) const FILES: &str = "/storage/files/{run_id}/{filename}";

/// Path that says that the service answers.
pub(super) const HEALTH: &str = "/healthz";

/// Path of the counters.
pub(super) const METRICS: &str = "/metrics";

/// Path of the description of this API.
pub(super) const OPENAPI: &str = "/openapi.json";

/// The beginning of the paths of files.
pub(super) const FILES_PREFIX: &str = "/storage/files/";
