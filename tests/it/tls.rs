//! TLS: CA certificates are needed only for https, and unknown ones are refused.

use crate::docs;
use crate::support::http::{Answer, Loopback};
use crate::support::tls::TlsProxy;
use crate::support::{MARKED_KEY, Place, Service, exit};

/// A place whose commands find no CA certificates, as on a system without the package.
fn without_certificates() -> Place {
    Place::new().env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nonexistent")
}

#[test]
fn http_needs_no_certificates() {
    let place = without_certificates();
    let line = docs::command_lines().remove(0);
    let args: Vec<&str> = line.strip_prefix("cargo run -- ").unwrap().split_whitespace().collect();
    place.run(&args).ok();
    assert_eq!(place.leftovers(), ["results.parquet"]);

    let service_place = without_certificates();
    let service = Service::start(&service_place, "data", &[]);
    let place = without_certificates().env("SIXTYFOUR_API_ENDPOINT", &service.url).env("SIXTYFOUR_API_KEY", MARKED_KEY);
    place.run_line("run testdata/workflows/qualify-companies.json --input testdata/companies.csv -o out.csv").ok();
}

#[test]
fn https_without_certificates_says_what_to_install() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let proxy = TlsProxy::start(&service.url);
    let place = without_certificates().env("SIXTYFOUR_API_ENDPOINT", &proxy.url).env("SIXTYFOUR_API_KEY", MARKED_KEY);
    let done = place.run_line("runs ls").code(exit::UNREACHABLE);
    let done = done.says("no CA certificates could be loaded from SSL_CERT_FILE (/dev/null)");
    done.hints("ca-certificates").hints("unset it");

    // A download from there, without the API.
    let done = place.run(&["convert", &format!("{}/rows.ndjson", proxy.url), "-o", "rows.csv"]).code(exit::UNREACHABLE);
    done.says("no CA certificates").hints("ca-certificates");
    assert!(place.leftovers().is_empty());
}

#[test]
fn a_certificate_of_an_unknown_ca_is_refused() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let proxy = TlsProxy::start(&service.url);
    // The CA certificates of another server.
    let place = Place::new();
    place.write("other.pem", TlsProxy::start(&service.url).certificate);
    let other = place.path("other.pem").display().to_string();
    let place = place.env("SSL_CERT_FILE", &other).env("SIXTYFOUR_API_ENDPOINT", &proxy.url);
    let place = place.env("SIXTYFOUR_API_KEY", MARKED_KEY);
    place.run_line("runs ls").code(exit::UNREACHABLE).says("issued by an unknown CA").hints("SSL_CERT_FILE");
}

#[test]
fn calls_and_downloads_over_https() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let proxy = TlsProxy::start(&service.url);
    let place = Place::new();
    place.write("ca.pem", &proxy.certificate);
    let ca = place.path("ca.pem").display().to_string();
    let place = place.env("SSL_CERT_FILE", &ca).env("SIXTYFOUR_API_ENDPOINT", &proxy.url);
    let place = place.env("SIXTYFOUR_API_KEY", MARKED_KEY);
    place.run_line("workflows create testdata/workflows/qualify-companies.json").ok();
    assert!(place.run_line("workflows ls").ok().text().contains("Qualify companies"));

    let rows = "{\"a\":1}\n{\"a\":2}\n";
    let files = Loopback::start(move |_| Answer::bytes("application/x-ndjson", rows));
    let proxy = TlsProxy::start(&files.url);
    place.write("ca.pem", &proxy.certificate);
    let done = place.run(&["convert", &format!("{}/rows.ndjson", proxy.url), "-o", "-", "--to", "ndjson"]).ok();
    assert_eq!(done.text(), rows);
}
