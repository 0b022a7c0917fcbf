//! Session of the page: a cookie that proves knowledge of the key. A service without a key has none.

use axum::http::{HeaderMap, header};

use crate::service::app::App;

/// Returns true if the request has the cookie of a service with a key, or if the service has no key.
pub(in crate::service) fn has_session(app: &App, headers: &HeaderMap) -> bool {
    let Some(key) = &app.config.api_key else { return true };
    let name = cookie_name(app);
    let received = cookies(headers).find_map(|(other, value)| (other == name).then_some(value)).unwrap_or("");
    app.signer.same(received, &app.signer.page_token(key.reveal()))
}

/// Returns the cookie for a browser that has sent the key. Its value is derived from the key, and is not the key itself.
pub(super) fn cookie(app: &App, key: &str) -> String {
    format!("{}={}; HttpOnly; SameSite=Strict; Path=/", cookie_name(app), app.signer.page_token(key))
}

/// Browsers send a cookie to all ports of a host, so the port is in its name: several services do not end the sessions of
/// each other.
fn cookie_name(app: &App) -> String {
    format!("drawoff_page_{}", app.address.port())
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|text| text.split(';')).filter_map(|cookie| cookie.trim().split_once('='))
}
