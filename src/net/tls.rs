//! TLS: which certificate authorities a server's certificate is checked against, for every HTTP client of the process.
//!
//! CA certificates are loaded when the first server shows its certificate, once for the process. A command that speaks
//! http only, on loopback for example, needs none, and slim container images have none.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::sync::{Arc, OnceLock};

use reqwest::ClientBuilder;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Environment names by which the system's CA certificates are named, as OpenSSL has them.
const CA_NAMES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A builder for a client that checks certificates as described in this module, and offers HTTP/2 and HTTP/1.1.
pub fn client_builder() -> ClientBuilder {
    builder_for(&[b"h2", b"http/1.1"])
}

/// The same for a client of HTTP/1.1 alone.
pub fn http1_client_builder() -> ClientBuilder {
    builder_for(&[b"http/1.1"]).http1_only()
}

fn builder_for(protocols: &[&[u8]]) -> ClientBuilder {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(LazyVerifier { provider }));
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    ClientBuilder::new().tls_backend_preconfigured(config)
}

/// CA certificates to use in place of the system's: `None` if it has its own, all of the built-in list if it has none,
/// and none at all if those that the environment names cannot be loaded.
#[cfg(feature = "object-store")]
pub fn replaced_certificates() -> Option<&'static [CertificateDer<'static>]> {
    match verifier(&Arc::new(aws_lc_rs::default_provider())) {
        Ok(Verifier { built_in: false, .. }) => None,
        Ok(Verifier { built_in: true, .. }) => Some(webpki_root_certs::TLS_SERVER_ROOT_CERTS),
        Err(_) => Some(&[]),
    }
}

/// A server's certificate that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot verify the server: {text}")]
pub struct BadCertificate {
    /// The way to have it accepted.
    pub remedy: CertificateHint,
    /// The problem in words.
    pub text: String,
}

/// The way to have a server's certificate accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateHint {
    /// The CA that signed it must be made known.
    AddCa,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` must name certificates that can be loaded.
    CorrectNames,
    /// Something on the server's side, or the address.
    None,
}

/// The problem with a server's certificate that is among the causes of `error`, if there is one.
pub fn bad_certificate(error: &(dyn StdError + 'static)) -> Option<BadCertificate> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(problem)) = error.downcast_ref() {
            return Some(described(problem));
        }
        // An I/O error's source is that of the error it wraps, and not the wrapped error itself.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}

fn described(problem: &CertificateError) -> BadCertificate {
    use CertificateError as E;
    let bad = |remedy, text: &str| BadCertificate { remedy, text: text.to_owned() };
    match problem {
        // The client of a store, which trusts no CA if none of those that are named could be loaded.
        E::UnknownIssuer if let Some(Err(rustls::Error::InvalidCertificate(problem @ E::Other(_)))) = LOADED.get() => {
            described(problem)
        }
        // The second: a CA of that name is known, and another key signed.
        E::UnknownIssuer | E::BadSignature => {
            bad(CertificateHint::AddCa, "its certificate is signed by no CA that this system knows")
        }
        E::Expired | E::ExpiredContext { .. } => bad(CertificateHint::None, "its certificate has expired"),
        E::NotValidYet | E::NotValidYetContext { .. } => bad(CertificateHint::None, "its certificate is not valid yet"),
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            bad(CertificateHint::None, "its certificate is for another host name")
        }
        E::Other(other) => match other.0.downcast_ref() {
            Some(none @ NoCertificates::Named(_)) => bad(CertificateHint::CorrectNames, &none.to_string()),
            Some(none @ NoCertificates::NotBuiltIn) => bad(CertificateHint::AddCa, &none.to_string()),
            None => bad(CertificateHint::None, &format!("its certificate cannot be used ({})", other.0)),
        },
        other => bad(CertificateHint::None, &format!("its certificate cannot be used ({other})")),
    }
}

/// The lack of CA certificates that keeps a server's certificate from being accepted.
#[derive(Clone, Debug, thiserror::Error)]
enum NoCertificates {
    #[error("no CA certificates could be loaded from {0}")]
    Named(String),
    #[error("its certificate is signed by none of the built-in CAs, and this system has no CA certificates")]
    NotBuiltIn,
}

impl From<NoCertificates> for rustls::Error {
    fn from(cause: NoCertificates) -> Self {
        rustls::Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(cause))))
    }
}

/// A check against CA certificates that were loaded.
#[derive(Clone, Debug)]
struct Verifier {
    check: Arc<dyn ServerCertVerifier>,
    /// The certificates are those of Mozilla's list that the binary holds.
    built_in: bool,
}

/// The outcome of the only load, by [`verifier`].
static LOADED: OnceLock<Result<Verifier, rustls::Error>> = OnceLock::new();

/// The check against CA certificates, which are loaded at the first call.
fn verifier(provider: &Arc<CryptoProvider>) -> Result<Verifier, rustls::Error> {
    let load = || {
        let named = CA_NAMES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let named = named.filter(|(_, value)| !value.is_empty());
        // Fails on Linux exactly if not a single certificate is found.
        let system = rustls_platform_verifier::Verifier::new(provider.clone());
        choose(provider, system.map(|check| Arc::new(check) as _), &named.collect::<Vec<_>>())
    };
    LOADED.get_or_init(load).clone()
}

/// The system's certificates; where it has none and the environment names none, those that the binary holds. If those
/// that the environment names cannot be loaded, that is an error: no other CAs may be trusted in their place.
fn choose(
    provider: &Arc<CryptoProvider>,
    system: Result<Arc<dyn ServerCertVerifier>, rustls::Error>,
    named: &[(&str, OsString)],
) -> Result<Verifier, rustls::Error> {
    if let Ok(check) = system {
        return Ok(Verifier { check, built_in: false });
    }
    if !named.is_empty() {
        let named: Vec<String> = named.iter().map(|(name, path)| format!("{name} ({})", path.display())).collect();
        return Err(NoCertificates::Named(named.join(" and ")).into());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    let check = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let check = check.map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(Verifier { check, built_in: true })
}

/// Loads CA certificates when it is first asked about one.
#[derive(Debug)]
struct LazyVerifier {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for LazyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = verifier(&self.provider)?;
        let verified = verifier.check.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) if verifier.built_in => {
                NoCertificates::NotBuiltIn.into()
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verifier(&self.provider)?.check.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verifier(&self.provider)?.check.verify_tls13_signature(message, cert, dss)
    }

    /// Asked before any certificate is shown, and the same whatever the CAs are.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_cas_are_not_trusted_in_place_of_those_that_are_named() {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let none = || Err(rustls::Error::General("no CA certificates".into()));
        let built_in = choose(&provider, none(), &[]).unwrap();
        assert!(built_in.built_in);
        let error = choose(&provider, none(), &[("SSL_CERT_FILE", "/etc/none.pem".into())]).unwrap_err();
        let problem = bad_certificate(&std::io::Error::other(error)).unwrap();
        assert_eq!(problem.text, "no CA certificates could be loaded from SSL_CERT_FILE (/etc/none.pem)");
        assert_eq!(problem.remedy, CertificateHint::CorrectNames);
        let system = choose(&provider, Ok(built_in.check), &[("SSL_CERT_FILE", "/etc/some.pem".into())]).unwrap();
        assert!(!system.built_in);
    }

    #[test]
    fn each_problem_has_its_words() {
        let problem = |problem| bad_certificate(&rustls::Error::InvalidCertificate(problem)).unwrap();
        assert_eq!(problem(CertificateError::UnknownIssuer).remedy, CertificateHint::AddCa);
        assert_eq!(problem(CertificateError::BadSignature).remedy, CertificateHint::AddCa);
        assert_eq!(
            problem(CertificateError::Expired).to_string(),
            "cannot verify the server: its certificate has expired"
        );
        assert_eq!(problem(CertificateError::Revoked).remedy, CertificateHint::None);
        assert_eq!(bad_certificate(&std::io::Error::other("refused")), None);
    }
}
