//! Access tokens: from the environment, a file or a command, or made from a private key. A token that is refused is made
//! anew, where its source can give another.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use reqwest::Client;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::SigningKey;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::settings::{CloudSettings, TOKEN_COMMAND, TokenSource};
use super::system::CloudSystem;

/// Lifetime of a signed token. Both services take an hour at most; their clocks and ours may differ.
const LIFETIME: Duration = Duration::from_secs(55 * 60);

/// Scope of tokens of Google.
const GOOGLE_SCOPE: &str =
    "https://www.googleapis.com/auth/bigquery https://www.googleapis.com/auth/devstorage.read_only";

/// The tokens of one warehouse.
pub(super) struct Tokens {
    settings: CloudSettings,
    current: Mutex<Option<String>>,
}

/// A token cannot be had, or was refused. The texts contain no secret.
#[derive(Clone, Debug)]
pub(super) struct NoToken {
    pub(super) cause: String,
    pub(super) hint: String,
}

impl Tokens {
    pub(super) fn new(settings: &CloudSettings) -> Self {
        Tokens { settings: settings.clone(), current: Mutex::new(None) }
    }

    /// Returns true for tokens that are signed by the user's own key, of which Snowflake wants to be told.
    pub(super) fn are_signed(&self) -> bool {
        matches!(self.settings.token, TokenSource::SnowflakeKey(_))
    }

    /// Returns the token of the last call, or a first one.
    pub(super) async fn get(&self, client: &Client) -> Result<String, NoToken> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match current {
            Some(token) => Ok(token),
            None => {
                let token = self.make(client).await?;
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
                Ok(token)
            }
        }
    }

    /// Forgets a token that was refused. Returns false if its source has no other.
    pub(super) fn renew(&self) -> bool {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        !matches!(self.settings.token, TokenSource::Text(..) | TokenSource::None)
    }

    /// Returns the help for a token that was refused.
    pub(super) fn hint(&self) -> String {
        match &self.settings.token {
            TokenSource::None => missing(self.settings.system).hint,
            TokenSource::Text(name, _) => {
                format!("set {name} to a new token, or {TOKEN_COMMAND} to a command that prints one each time")
            }
            TokenSource::File(path) => format!("put a new token into {path}: it is read again when one is refused"),
            TokenSource::Command(_) => format!("correct {TOKEN_COMMAND}: its command prints a token that is refused"),
            TokenSource::SnowflakeKey(path) => {
                format!("give the user the public key of {path}: ALTER USER … SET RSA_PUBLIC_KEY; and check the clock")
            }
            TokenSource::ServiceAccount(path) => {
                format!("give the service account of {path} the rights, and check the clock")
            }
        }
    }

    async fn make(&self, client: &Client) -> Result<String, NoToken> {
        let fail = |cause: String| NoToken { cause, hint: self.hint() };
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|cause| NoToken {
                cause: format!("cannot read {path}: {cause}"),
                hint: "correct the path in the environment".to_owned(),
            })
        };
        let token = match &self.settings.token {
            TokenSource::None => return Err(missing(self.settings.system)),
            TokenSource::Text(_, text) => text.clone(),
            TokenSource::File(path) => read(path)?,
            TokenSource::Command(command) => {
                let command = command.clone();
                let output = tokio::task::spawn_blocking(move || {
                    std::process::Command::new("sh").arg("-c").arg(command).stdin(std::process::Stdio::null()).output()
                });
                let output = output.await.map_err(|error| fail(error.to_string()))?;
                let output =
                    output.map_err(|cause| fail(format!("cannot start the command of {TOKEN_COMMAND}: {cause}")))?;
                // Its words may contain a secret.
                if !output.status.success() {
                    return Err(NoToken {
                        cause: format!("the command of {TOKEN_COMMAND} failed: {}", output.status),
                        hint: "execute that command by hand to see what it says, and correct it".to_owned(),
                    });
                }
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            TokenSource::SnowflakeKey(path) => {
                let user = self.settings.user.clone().unwrap_or_default();
                snowflake_token(&self.settings.host, &user, &read(path)?, now())
                    .map_err(|cause| fail(format!("{path}: {cause}")))?
            }
            TokenSource::ServiceAccount(path) => {
                google_token(client, &read(path)?).await.map_err(|cause| fail(format!("{path}: {cause}")))?
            }
        };
        let token = token.trim().to_owned();
        // It goes into a header.
        match token.is_empty() || token.bytes().any(|byte| !(0x21..0x7f).contains(&byte)) {
            true => Err(NoToken {
                cause: "the token is empty, or has characters that no token has, such as a space".to_owned(),
                hint: match &self.settings.token {
                    TokenSource::Text(name, _) => format!("set {name} to the token alone"),
                    TokenSource::Command(_) => format!("correct {TOKEN_COMMAND}: it is to print the token alone"),
                    _ => "correct the file, which is to hold the token alone".to_owned(),
                },
            }),
            false => Ok(token),
        }
    }
}

fn missing(system: CloudSystem) -> NoToken {
    let hint = match system {
        CloudSystem::Snowflake => {
            "set SNOWFLAKE_TOKEN, SNOWFLAKE_TOKEN_FILE_PATH, or SNOWFLAKE_USER and SNOWFLAKE_PRIVATE_KEY_PATH"
        }
        CloudSystem::BigQuery => "set GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_OAUTH_ACCESS_TOKEN",
        CloudSystem::Databricks | CloudSystem::Redshift => "set DATABRICKS_TOKEN",
    };
    NoToken {
        cause: "no token is set".to_owned(),
        hint: format!("{hint}, or {TOKEN_COMMAND} to a command that prints one"),
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Signs a token of RS256 with these claims.
fn signed(key: &dyn SigningKey, claims: &Value) -> Result<String, String> {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(claims));
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or("the private key is no key of RSA")?;
    let signature = signer.sign(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

fn private_key(pem: &str) -> Result<std::sync::Arc<dyn SigningKey>, String> {
    if pem.contains("ENCRYPTED PRIVATE KEY") {
        return Err(
            "the private key has a password; write it without one: `openssl pkcs8 -in key.p8 -out plain.p8`".to_owned()
        );
    }
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "there is no private key in it")?;
    rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).map_err(|_| "the private key cannot be used".to_owned())
}

/// Returns a token of a user of Snowflake, signed by the user's private key.
fn snowflake_token(account: &str, user: &str, pem: &str, now: Duration) -> Result<String, String> {
    let key = private_key(pem)?;
    let public = key.public_key().ok_or("the private key has no public key")?;
    let fingerprint = BASE64_STANDARD.encode(Sha256::digest(&public));
    // An account's locator has its region behind a point.
    let account = account.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let subject = format!("{account}.{}", user.to_ascii_uppercase());
    let claims = json!({
        "iss": format!("{subject}.SHA256:{fingerprint}"),
        "sub": subject,
        "iat": now.as_secs(),
        "exp": (now + LIFETIME).as_secs(),
    });
    signed(&*key, &claims)
}

/// Returns an access token of a service account, for a token that its key signs.
async fn google_token(client: &Client, file: &str) -> Result<String, String> {
    let account: Value = serde_json::from_str(file).map_err(|_| "it is no JSON")?;
    let text = |name: &str| account.get(name).and_then(Value::as_str);
    let (Some(email), Some(pem)) = (text("client_email"), text("private_key")) else {
        return Err("it is no key of a service account: `client_email` or `private_key` is missing".to_owned());
    };
    let url = text("token_uri").unwrap_or("https://oauth2.googleapis.com/token");
    let is_safe = url::Url::parse(url).is_ok_and(|url| url.scheme() == "https" || crate::net::is_loopback(&url));
    if !is_safe {
        return Err("its `token_uri` is no URL of https".to_owned());
    }
    let now = now();
    let claims = json!({
        "iss": email,
        "scope": GOOGLE_SCOPE,
        "aud": url,
        "iat": now.as_secs(),
        "exp": (now + LIFETIME).as_secs(),
    });
    let assertion = signed(&*private_key(pem)?, &claims)?;
    // Of characters that need no escape.
    let body = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
    let request = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
    let response = request.send().await.map_err(|error| format!("cannot ask for a token: {}", error.without_url()))?;
    let status = response.status();
    let body: Value = response.json().await.unwrap_or_default();
    match body.get("access_token").and_then(Value::as_str) {
        Some(token) if status.is_success() => Ok(token.to_owned()),
        _ => Err(format!("no token was given (status {status})")),
    }
}
