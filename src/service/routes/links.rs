//! Signed links to a run's result files. Lists and signs them; `files` serves them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use chrono::TimeDelta;

use super::runs::find;
use crate::api::DownloadLink;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::clock::timestamp;
use crate::service::request::{blocking, path_text, query};
use crate::service::rows::{ResultFormat, RunRow};

pub(super) async fn list(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Vec<DownloadLink>>, ApiError> {
    let id = path_text(path)?;
    let word = query(&uri).get("format").unwrap_or("csv").to_owned();
    // Our reading: the format is a plain string in the API's schema, so an unknown one is a 400, not a 422.
    let format = ResultFormat::parse(&word).ok_or_else(|| {
        ApiError::bad_request(format!("unknown format '{word}': the formats are csv, json and ndjson"))
    })?;
    let origin = origin(&app, &headers);
    blocking(move || {
        let run = find(&app, &id)?;
        Ok(Json(links(&app, run, format, &origin)))
    })
    .await
}

/// Returns the links to a run's files in one format, one per block in the order of their numbers. Our reading:
/// completed blocks have links in every state of the run; a format that the run does not write has none.
pub(super) fn links(app: &App, run: RunRow, format: ResultFormat, origin: &str) -> Vec<DownloadLink> {
    let life = app.config.link_life;
    let expires = (app.config.clock.now() + TimeDelta::from_std(life).unwrap_or(TimeDelta::MAX)).timestamp();
    // All links of one response expire together.
    let links = run.blocks.into_iter().filter_map(|block| {
        let file = block.files.into_iter().find(|file| file.format == format)?;
        let link = app.signer.link(&run.id, file.filename.as_str(), expires);
        Some(DownloadLink {
            download_url: Some(format!("{origin}{link}")),
            filename: file.filename.as_str().to_owned(),
            storage_bucket: "workflow-results".to_owned(),
            file_size: Some(file.size_bytes),
            row_count: Some(file.rows),
            block_number: Some(block.sequence_number),
            created_at: Some(timestamp(file.created_at)),
            message: block.note,
            content_type: Some(format.content_type().to_owned()),
            download_expires_in_seconds: life.as_secs(),
            results: block.results,
        })
    });
    links.collect()
}

/// Returns the origin of links: the host by which this client reached the service, so that links work through a
/// forwarded port and have the origin to which the client sends its key.
pub(super) fn origin(app: &App, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // A host with user information could lead a browser elsewhere.
    let host = host.filter(|host| host.parse::<axum::http::uri::Authority>().is_ok_and(|a| !a.as_str().contains('@')));
    match host {
        Some(host) => format!("http://{host}"),
        None => format!("http://{}", app.address),
    }
}
