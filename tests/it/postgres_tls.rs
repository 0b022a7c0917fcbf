//! TLS to PostgreSQL: every mode against right and wrong certificates ends as with psql.

use std::path::Path;
use std::process::Command;

use drawoff::warehouse::postgres::{ConnectErrorKind, connect};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SigningKey as _};
use tempfile::TempDir;
use x509_cert::certificate::Version;
use x509_cert::der::{Decode as _, Encode as _};

use crate::postgres_connection::{Variables, ask, home, resolve, write_private};
use crate::support::plans::{SeededRng, all, seed};
use crate::support::postgres::{PASSWORD, Postgres, ServerCertificate, installed};
use crate::support::{block_on, skip};

/// A certificate authority.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(name: &str) -> Ca {
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Ca { pem, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, params: &CertificateParams) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// The parameters of a certificate with a common name and alternative names.
fn named(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Makes a certificate one of version 1, as `openssl x509 -req` writes it, signed by `signer`.
fn version1(certificate: &rcgen::Certificate, signer: &KeyPair) -> String {
    let mut certificate = x509_cert::Certificate::from_der(certificate.der()).unwrap();
    certificate.tbs_certificate.version = Version::V1;
    certificate.tbs_certificate.extensions = None;
    let signature = signer.sign(&certificate.tbs_certificate.to_der().unwrap()).unwrap();
    certificate.signature = x509_cert::der::asn1::BitString::from_bytes(&signature).unwrap();
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, certificate.to_der().unwrap());
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

const ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// `t` or `f` of an encrypted or a plain session; `-` without one.
fn asked_by_psql(psql: &Path, url: &str, variables: &Variables) -> String {
    let mut command = Command::new(psql);
    command.args(["-XAtqw", "-c", ENCRYPTED, "-d", url]).env_clear().envs(variables);
    let output = command.output().unwrap();
    match output.status.success() {
        true => String::from_utf8(output.stdout).unwrap().trim_end().to_owned(),
        false => "-".to_owned(),
    }
}

fn asked_by_us(url: &str, variables: &Variables) -> String {
    match resolve(url, variables) {
        Ok(_) => ask(url, variables, ENCRYPTED).unwrap_or_else(|_| "-".to_owned()),
        Err(_) => "-".to_owned(),
    }
}

#[test]
fn every_mode_and_certificate_ends_as_with_psql() {
    let Some(bin) = installed() else { return skip("no PostgreSQL server is installed") };
    let psql = bin.join("psql");
    let (ca, other) = (Ca::new("drawoff test CA"), Ca::new("another CA"));
    // The same name with another key: only the signature tells them apart.
    let impostor = Ca::new("drawoff test CA");
    let server = |(certificate, key): (rcgen::Certificate, KeyPair)| ServerCertificate {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        client_ca: ca.pem.clone(),
    };
    let self_signed = {
        let mut params = named("localhost", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        server((params.self_signed(&key).unwrap(), key))
    };
    let self_signed_names = {
        let mut params = named("x", &["localhost"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        server((params.self_signed(&key).unwrap(), key))
    };
    let old = |common_name: &str, ca: &Ca| {
        let (certificate, key) = ca.sign(&named(common_name, &[]));
        let certificate = version1(&certificate, ca.issuer.key());
        ServerCertificate { certificate, ..server((ca.sign(&named("x", &[])).0, key)) }
    };
    let expired = {
        let mut params = named("localhost", &["localhost"]);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        server(ca.sign(&params))
    };
    let certificates = [
        ("names", server(ca.sign(&named("x", &["localhost", "127.0.0.1"])))),
        ("another name", server(ca.sign(&named("localhost", &["db.example"])))),
        ("common name", server(ca.sign(&named("localhost", &[])))),
        ("another common name", server(ca.sign(&named("db.example", &[])))),
        ("version 1", old("localhost", &ca)),
        ("version 1, another name", old("db.example", &ca)),
        ("version 1 of an impostor", old("localhost", &impostor)),
        ("an impostor's", server(impostor.sign(&named("localhost", &["localhost"])))),
        ("self-signed", self_signed),
        ("self-signed with names", self_signed_names),
        ("expired", expired),
    ];
    // The ones of the default mode and of full proof always, of all others a tenth.
    let mut draw = SeededRng::new(seed());
    for newest in ["TLSv1.3", "TLSv1.2"] {
        let configuration = format!("ssl_max_protocol_version = '{newest}'");
        let running = Postgres::start(&bin, Some(&certificates[0].1), &configuration);
        for (what, certificate) in &certificates {
            running.set_certificate(certificate);
            let dir = TempDir::new().unwrap();
            let variables = home(&dir);
            for (root, pem) in [("right", &ca.pem), ("other", &other.pem), ("itself", &certificate.certificate)] {
                std::fs::write(dir.path().join(root), pem).unwrap();
            }
            for mode in ["", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
                for root in ["", "right", "other", "itself"] {
                    for host in ["localhost", "127.0.0.1"] {
                        let proves = mode == "verify-full" && host == "localhost" && root == "right";
                        let is_default = mode.is_empty() && root.is_empty();
                        if !all() && !proves && !is_default && draw.fraction() > 0.1 {
                            continue;
                        }
                        let mut variables = variables.clone();
                        let mut url = format!("postgres://tls_only@{host}:{}/postgres?", running.port);
                        if !mode.is_empty() {
                            url.push_str(&format!("sslmode={mode}&"));
                        }
                        if !root.is_empty() {
                            let file = dir.path().join(root).display().to_string();
                            variables.insert("PGSSLROOTCERT".to_owned(), file);
                        }
                        // Half of them with a user that needs no TLS, so that a plain session shows.
                        if root == "right" || mode == "prefer" {
                            url = url.replace("tls_only", "reader");
                        }
                        let expected = asked_by_psql(&psql, &url, &variables);
                        let found = asked_by_us(&url, &variables);
                        assert_eq!(found, expected, "{newest}, {what}, root {root}: {url}");
                        let right = ["names", "common name", "version 1"].contains(what);
                        assert!(!proves || (found == "t") == right, "{what}: {url}: {found}");
                    }
                }
            }
        }
    }
}

/// A server with TLS whose certificate is for `localhost`, and its CA in the file `ca`.
fn with_tls(dir: &TempDir) -> Option<(Postgres, Ca)> {
    let Some(bin) = installed() else {
        skip("no PostgreSQL server is installed");
        return None;
    };
    let ca = Ca::new("drawoff test CA");
    let (certificate, key) = ca.sign(&named("x", &["localhost"]));
    let certificate =
        ServerCertificate { certificate: certificate.pem(), key: key.serialize_pem(), client_ca: ca.pem.clone() };
    std::fs::write(dir.path().join("ca"), &ca.pem).unwrap();
    Some((Postgres::start(&bin, Some(&certificate), ""), ca))
}

#[test]
fn other_machines_must_prove_their_name() {
    let dir = TempDir::new().unwrap();
    let Some((server, _)) = with_tls(&dir) else { return };
    let variables = home(&dir);
    // A spelling of 127.0.0.1 that only the resolver of the system knows: to drawoff it is a name like any other.
    let port = server.port;
    let ask = |query: &str, variables: &Variables| {
        ask(&format!("postgres://reader@127.1:{port}/postgres{query}"), variables, ENCRYPTED)
    };
    let error = ask("", &variables).unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Certificate, "{error}");
    assert!(error.to_string().contains("verify-full, the default for other machines"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("sslrootcert=FILE") && hint.contains("sslmode=require"), "{hint}");
    assert!(!error.is_transient());

    // The right CA, and another name than the certificate has.
    let root = dir.path().join("ca").display().to_string();
    let error = ask(&format!("?sslrootcert={root}"), &variables).unwrap_err();
    assert!(error.to_string().contains("not valid for this host name"), "{error}");
    assert!(error.hint().unwrap().contains("sslmode=verify-ca"), "{error:?}");

    // A mode that is set is obeyed, wherever it is set.
    assert_eq!(ask("?sslmode=require", &variables).unwrap(), "t");
    assert_eq!(ask("?sslmode=disable", &variables).unwrap(), "f");
    assert_eq!(ask(&format!("?sslmode=verify-ca&sslrootcert={root}"), &variables).unwrap(), "t");
    let mut prefer = variables.clone();
    prefer.insert("PGSSLMODE".to_owned(), "prefer".to_owned());
    assert_eq!(ask("", &prefer).unwrap(), "t");
    // `system` demands the name too, on every host.
    let local = format!("postgres://reader@localhost:{port}/postgres?sslrootcert=system");
    let error = crate::postgres_connection::ask(&local, &variables, ENCRYPTED).unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Certificate, "{error}");
    let weak = resolve(&format!("{local}&sslmode=require"), &variables).unwrap_err();
    assert!(weak.to_string().contains("use `verify-full`"), "{weak}");

    // The CA of the home directory is found.
    std::fs::create_dir(dir.path().join(".postgresql")).unwrap();
    std::fs::copy(dir.path().join("ca"), dir.path().join(".postgresql/root.crt")).unwrap();
    assert_eq!(ask("?sslmode=verify-ca", &variables).unwrap(), "t");
    let missing = ask("?sslrootcert=/nonexistent.crt", &variables).unwrap_err();
    assert_eq!(missing.kind(), ConnectErrorKind::File);
    assert!(missing.to_string().contains("/nonexistent.crt"), "{missing}");

    // A server without TLS.
    let Some(plain) = Postgres::shared() else { return };
    let url = format!("postgres://reader@127.1:{}/postgres", plain.port);
    let error = crate::postgres_connection::ask(&url, &variables, ENCRYPTED).unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::NoTls, "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("sslmode=disable") && hint.contains("sslrootcert=FILE"), "{hint}");
}

#[test]
fn passwords_are_bound_to_the_channel() {
    let dir = TempDir::new().unwrap();
    let Some((server, _)) = with_tls(&dir) else { return };
    let mut variables = home(&dir);
    variables.insert("PGPASSWORD".to_owned(), PASSWORD.to_owned());
    let psql = server.bin.join("psql");
    for (user, mode, binding, expected) in [
        ("locked", "require", "require", "t"),
        ("locked", "require", "disable", "t"),
        ("locked", "disable", "prefer", "f"),
        ("locked", "disable", "require", "-"),
        // Clear text and trust are no SCRAM.
        ("clear", "require", "require", "-"),
        ("reader", "require", "require", "-"),
        // The way that the server lets them in on is found, as libpq finds it.
        ("tls_only", "allow", "prefer", "t"),
        ("plain_only", "prefer", "prefer", "f"),
        ("plain_only", "require", "prefer", "-"),
    ] {
        let port = server.port;
        let url = format!("postgres://{user}@localhost:{port}/postgres?sslmode={mode}&channel_binding={binding}");
        assert_eq!(asked_by_psql(&psql, &url, &variables), expected, "{url}");
        assert_eq!(asked_by_us(&url, &variables), expected, "{url}");
    }
}

#[test]
fn client_certificates_and_revocations() {
    let dir = TempDir::new().unwrap();
    let Some((server, ca)) = with_tls(&dir) else { return };
    let variables = home(&dir);
    let psql = server.bin.join("psql");
    let (certificate, key) = ca.sign(&named("certified", &[]));
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("client.crt"), certificate.pem()).unwrap();
    write_private(&path("client.key"), &key.serialize_pem());
    let url = format!("postgres://certified@localhost:{}/postgres?sslmode=require", server.port);
    let error = ask(&url, &variables, ENCRYPTED).unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::NotAllowed, "{error}");

    let mut given = variables.clone();
    given.insert("PGSSLCERT".to_owned(), path("client.crt").display().to_string());
    given.insert("PGSSLKEY".to_owned(), path("client.key").display().to_string());
    assert_eq!(asked_by_psql(&psql, &url, &given), "t");
    assert_eq!(ask(&url, &given, ENCRYPTED).unwrap(), "t");
    assert_eq!(asked_by_us(&format!("{url}&sslcertmode=disable"), &given), "-");
    std::fs::set_permissions(path("client.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = ask(&url, &given, ENCRYPTED).unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::File, "{error}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
    assert_eq!(asked_by_psql(&psql, &url, &given), "-");

    // Files of the home directory.
    std::fs::create_dir(path(".postgresql")).unwrap();
    std::fs::copy(path("client.crt"), path(".postgresql/postgresql.crt")).unwrap();
    write_private(&path(".postgresql/postgresql.key"), &key.serialize_pem());
    assert_eq!(asked_by_psql(&psql, &url, &variables), "t");
    assert_eq!(asked_by_us(&url, &variables), "t");

    // Revocation lists.
    let (revoked, key) = ca.sign(&named("x", &["localhost"]));
    let serial = x509_cert::Certificate::from_der(revoked.der()).unwrap().tbs_certificate.serial_number;
    let list = |serials: Vec<Vec<u8>>| {
        let revoked_certs = serials.into_iter().map(|serial| rcgen::RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&ca.issuer).unwrap().pem().unwrap()
    };
    std::fs::write(path("none.crl"), list(vec![])).unwrap();
    std::fs::write(path("one.crl"), list(vec![serial.as_bytes().to_vec()])).unwrap();
    let certificate =
        ServerCertificate { certificate: revoked.pem(), key: key.serialize_pem(), client_ca: ca.pem.clone() };
    server.set_certificate(&certificate);
    let url = format!("postgres://reader@localhost:{}/postgres?sslmode=verify-full", server.port);
    let url = format!("{url}&sslrootcert={}", path("ca").display());
    for (crl, expected) in [("none.crl", "t"), ("one.crl", "-")] {
        let url = format!("{url}&sslcrl={}", path(crl).display());
        assert_eq!(asked_by_psql(&psql, &url, &variables), expected, "{crl}");
        assert_eq!(asked_by_us(&url, &variables), expected, "{crl}");
    }
}

#[test]
fn a_statement_is_cancelled_over_tls() {
    let dir = TempDir::new().unwrap();
    let Some((server, _)) = with_tls(&dir) else { return };
    let url = format!("postgres://tls_only@localhost:{}/postgres?sslmode=require", server.port);
    let settings = resolve(&url, &home(&dir)).unwrap();
    block_on(async {
        let connection = connect(&settings).await.unwrap();
        assert!(connection.is_encrypted());
        let canceller = connection.canceller();
        // Cancelled again and again: the first may come before the statement has begun.
        let sleep = connection.client().simple_query("SELECT pg_sleep(3600)");
        let cancel = async {
            loop {
                canceller.cancel().await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let slept = tokio::select! {
            slept = sleep => slept,
            () = cancel => unreachable!(),
        };
        assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
    });
}
