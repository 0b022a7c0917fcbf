//! Endpoints of the signing secret of outgoing webhooks: show, create, roll and delete. Our reading, because only the
//! paths are public: the secret's text is only in the response that creates it, and a second creation is a 409.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};

use crate::api::{NewSigningSecret, SigningSecretInfo};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::body;
use crate::service::clock::timestamp;
use crate::service::request::{blocking, body_bytes};
use crate::service::signing_secrets::SigningSecrets;

/// Characters of a secret that `show` returns: the common prefix `sk_whsec_` and four more, to tell secrets apart.
const PREFIX_LEN: usize = 13;

pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Json<SigningSecretInfo>, ApiError> {
    blocking(move || {
        let secrets = app.store.signing_secrets()?;
        let now = app.config.clock.now();
        let previous = secrets.as_ref().and_then(|secrets| secrets.previous_until(now));
        Ok(Json(SigningSecretInfo {
            has_secret: secrets.is_some(),
            secret_prefix: secrets.as_ref().map(|secrets| secrets.secret[..PREFIX_LEN].to_owned()),
            created_at: secrets.map(|secrets| timestamp(secrets.created_at)),
            previous_expires_at: previous.map(timestamp),
        }))
    })
    .await
}

pub(super) async fn create(State(app): State<Arc<App>>) -> Result<(StatusCode, Json<NewSigningSecret>), ApiError> {
    blocking(move || {
        let now = app.config.clock.now();
        // Checked within the transaction: of two concurrent creations one is a conflict.
        let created = app.store.change_signing_secrets(|before| {
            if before.is_some() {
                let text = "a signing secret already exists; roll or delete it".to_owned();
                return Err(ApiError::Text(StatusCode::CONFLICT, text));
            }
            let secrets = SigningSecrets::new(now, None, TimeDelta::zero());
            Ok((Some(secrets.clone()), secrets))
        });
        Ok((StatusCode::CREATED, Json(with_text(&created?, now))))
    })
    .await
}

pub(super) async fn roll(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<NewSigningSecret>, ApiError> {
    let body = body_bytes(body)?;
    blocking(move || {
        let hours = body::roll(&body::json(&body)?)?;
        let now = app.config.clock.now();
        let rolled = app.store.change_signing_secrets(|before| {
            let before = before.ok_or_else(no_secret)?;
            let secrets = SigningSecrets::new(now, Some(before), TimeDelta::hours(hours));
            Ok::<_, ApiError>((Some(secrets.clone()), secrets))
        });
        Ok(Json(with_text(&rolled?, now)))
    })
    .await
}

pub(super) async fn delete(State(app): State<Arc<App>>) -> Result<StatusCode, ApiError> {
    blocking(move || {
        app.store.change_signing_secrets(|before| {
            before.ok_or_else(no_secret)?;
            Ok((None, StatusCode::NO_CONTENT))
        })
    })
    .await
}

fn no_secret() -> ApiError {
    ApiError::not_found("No signing secret")
}

/// Builds the response that contains the secret's text.
fn with_text(secrets: &SigningSecrets, now: DateTime<Utc>) -> NewSigningSecret {
    NewSigningSecret {
        secret: secrets.secret.clone(),
        created_at: timestamp(secrets.created_at),
        previous_expires_at: secrets.previous_until(now).map(timestamp),
    }
}
