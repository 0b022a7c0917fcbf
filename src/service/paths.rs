//! Paths of the service that are not part of the vendor's API; the paths of that API are in `api::routes`.

/// Path template of the result files behind signed links. Opaque to clients, which follow the whole link.
pub(super) const FILES: &str = "/storage/files/{run_id}/{filename}";

/// Path of the health check.
pub(super) const HEALTH: &str = "/healthz";

/// Path of the Prometheus metrics.
pub(super) const METRICS: &str = "/metrics";

/// Path of the OpenAPI description.
pub(super) const OPENAPI: &str = "/openapi.json";

/// Prefix of [`FILES`], without its parameters.
pub(super) const FILES_PREFIX: &str = "/storage/files/";
