//! TLS: the certificate authorities (CAs) that server certificates are verified against, for every HTTP client of the
//! process, and the classification of certificate errors.
//!
//! The system's CA certificates are used; a system without any uses the built-in list of Mozilla. They are loaded once
//! per process, when the first server presents its certificate: a command that uses only http needs none, and slim
//! container images have none.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::sync::{Arc, OnceLock};

use reqwest::ClientBuilder;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Environment variables that name the system's CA certificates, as in OpenSSL.
const CA_NAMES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Returns a builder for a client that verifies certificates as this module describes, and offers HTTP/2 and HTTP/1.1.
pub(crate) fn client_builder() -> ClientBuilder {
    builder_for(&[b"h2", b"http/1.1"])
}

/// Returns a builder as [`client_builder`] does, for HTTP/1.1 only.
pub(crate) fn http1_client_builder() -> ClientBuilder {
    builder_for(&[b"http/1.1"]).http1_only()
}

fn builder_for(protocols: &[&[u8]]) -> ClientBuilder {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        // "Dangerous" is rustls's word for any verifier of one's own; this one delegates to its standard verifiers.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(LazyVerifier { provider }));
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // Responses are handed on as they arrive. A client that is to decode them says so.
    ClientBuilder::new().tls_backend_preconfigured(config).no_gzip().no_zstd().no_brotli().no_deflate()
}

/// Returns a verifier with the CAs that this module describes, for connections that do not speak HTTP.
#[cfg(feature = "postgres")]
pub(crate) fn system_verifier(provider: Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(LazyVerifier { provider })
}

/// A rejected server certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot verify the server's certificate: {text}")]
pub struct BadCertificate {
    /// The remedy, for the hint.
    pub remedy: CertificateHint,
    /// The cause, a clause with the certificate as its subject, or the missing CA certificates.
    pub text: String,
}

/// The remedy for a rejected certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateHint {
    /// Add the CA that issued it to the trusted CAs.
    AddCa,
    /// Correct `SSL_CERT_FILE` and `SSL_CERT_DIR`: no certificate could be loaded from them.
    CorrectNames,
    /// None on this machine: the server or its address is wrong.
    None,
}

/// Finds a rejected certificate among the causes of `error`; `None` if there is none.
pub fn bad_certificate(error: &(dyn StdError + 'static)) -> Option<BadCertificate> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(problem)) = error.downcast_ref() {
            return Some(describe(problem));
        }
        // An I/O error's source is that of the error it wraps, and not the wrapped error itself.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}

fn describe(problem: &CertificateError) -> BadCertificate {
    use CertificateError as E;
    let rejected = |remedy, text: &str| BadCertificate { remedy, text: text.to_owned() };
    match problem {
        // BadSignature: a CA of that name is trusted, but another key signed the certificate.
        E::UnknownIssuer | E::BadSignature => rejected(CertificateHint::AddCa, "it is issued by an unknown CA"),
        E::Expired | E::ExpiredContext { .. } => rejected(CertificateHint::None, "it has expired"),
        E::NotValidYet | E::NotValidYetContext { .. } => rejected(CertificateHint::None, "it is not valid yet"),
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            rejected(CertificateHint::None, "it is not valid for this host name")
        }
        E::Other(other) => match other.0.downcast_ref() {
            Some(none @ NoCertificates::Named(_)) => rejected(CertificateHint::CorrectNames, &none.to_string()),
            Some(none @ NoCertificates::NotBuiltIn) => rejected(CertificateHint::AddCa, &none.to_string()),
            None => rejected(CertificateHint::None, &other.0.to_string()),
        },
        other => rejected(CertificateHint::None, &other.to_string()),
    }
}

/// The lack of CA certificates to verify a server with.
#[derive(Clone, Debug, thiserror::Error)]
enum NoCertificates {
    #[error("no CA certificates could be loaded from {0}")]
    Named(String),
    #[error("it is issued by none of the built-in CAs, and this system has no CA certificates")]
    NotBuiltIn,
}

impl From<NoCertificates> for rustls::Error {
    fn from(cause: NoCertificates) -> Self {
        rustls::Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(cause))))
    }
}

/// A certificate verifier with its loaded CA certificates.
#[derive(Clone, Debug)]
struct Verifier {
    check: Arc<dyn ServerCertVerifier>,
    /// True if the CAs are the built-in list of Mozilla.
    built_in: bool,
}

/// Outcome of the only load, set by [`verifier`].
static LOADED: OnceLock<Result<Verifier, rustls::Error>> = OnceLock::new();

/// Returns the verifier of the process. The first call loads the CA certificates.
fn verifier(provider: &Arc<CryptoProvider>) -> Result<Verifier, rustls::Error> {
    let load = || {
        let named = CA_NAMES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let named = named.filter(|(_, value)| !value.is_empty());
        // Fails on Linux exactly if not a single certificate is found.
        let system = rustls_platform_verifier::Verifier::new(provider.clone());
        choose_verifier(provider, system.map(|check| Arc::new(check) as _), &named.collect::<Vec<_>>())
    };
    LOADED.get_or_init(load).clone()
}

/// Chooses the CAs: the system's; the built-in ones if the system has none and the environment names none. CAs that the
/// environment names but that cannot be loaded are an error: no others may be trusted in their place.
fn choose_verifier(
    provider: &Arc<CryptoProvider>,
    system: Result<Arc<dyn ServerCertVerifier>, rustls::Error>,
    named: &[(&str, OsString)],
) -> Result<Verifier, rustls::Error> {
    if let Ok(check) = system {
        return Ok(Verifier { check, built_in: false });
    }
    // The user named CAs on purpose, perhaps to exclude all others.
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

/// A verifier that loads the CA certificates when the first server certificate arrives.
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
            // An unknown issuer on a system without CA certificates: the lack is the cause worth showing.
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

    /// Answers from the provider: it is called before any certificate arrives, and does not depend on the CAs.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_cas_that_cannot_be_loaded_are_not_replaced() {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let none = || Err(rustls::Error::General("no CA certificates".into()));
        let built_in = choose_verifier(&provider, none(), &[]).unwrap();
        assert!(built_in.built_in);
        let error = choose_verifier(&provider, none(), &[("SSL_CERT_FILE", "/etc/none.pem".into())]).unwrap_err();
        let problem = bad_certificate(&std::io::Error::other(error)).unwrap();
        assert_eq!(problem.text, "no CA certificates could be loaded from SSL_CERT_FILE (/etc/none.pem)");
        assert_eq!(problem.remedy, CertificateHint::CorrectNames);
        let system =
            choose_verifier(&provider, Ok(built_in.check), &[("SSL_CERT_FILE", "/etc/some.pem".into())]).unwrap();
        assert!(!system.built_in);
    }

    #[test]
    fn certificate_errors_are_classified() {
        let problem = |problem| bad_certificate(&rustls::Error::InvalidCertificate(problem)).unwrap();
        assert_eq!(problem(CertificateError::UnknownIssuer).remedy, CertificateHint::AddCa);
        assert_eq!(problem(CertificateError::BadSignature).remedy, CertificateHint::AddCa);
        assert_eq!(
            problem(CertificateError::Expired).to_string(),
            "cannot verify the server's certificate: it has expired"
        );
        assert_eq!(problem(CertificateError::Revoked).remedy, CertificateHint::None);
        assert_eq!(bad_certificate(&std::io::Error::other("refused")), None);
    }
}
