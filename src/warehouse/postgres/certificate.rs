//! Verification of server certificates, as far as a mode demands it.
//!
//! rustls's own verifier does all that is possible. Three things that PostgreSQL's documentation tells people to make, and
//! libpq accepts, it does not know; they are verified here, only for CAs that the user named in a file:
//!
//! - a certificate of version 1, which `openssl x509 -req` makes by default, signed by one of the CAs;
//! - a self-signed certificate that is itself in the file;
//! - a certificate without alternative names, whose common name is the host.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_cert::certificate::Version;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};

use crate::net;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SUBJECT_ALTERNATIVE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// The extent of the verification.
#[derive(Clone, Debug)]
pub(super) enum CertificateCheck {
    /// Any certificate will do: the connection is encrypted, to any server.
    Nothing,
    /// By the system's CAs, with the name.
    System,
    /// By these CAs.
    Issued {
        standard: Arc<dyn ServerCertVerifier>,
        roots: Vec<CertificateDer<'static>>,
        has_crls: bool,
        checks_name: bool,
    },
}

impl CertificateCheck {
    /// Returns the check that one of `roots` has issued the certificate, and has not revoked it.
    pub(super) fn issued_by(
        roots: Vec<CertificateDer<'static>>,
        crls: Vec<CertificateRevocationListDer<'static>>,
        checks_name: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for root in &roots {
            store.add(root.clone()).map_err(|error| error.to_string())?;
        }
        let has_crls = !crls.is_empty();
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).with_crls(crls);
        let standard = builder.build().map_err(|error| error.to_string())?;
        Ok(CertificateCheck::Issued { standard, roots, has_crls, checks_name })
    }
}

/// A verifier with one of the checks.
#[derive(Debug)]
pub(super) struct CertificateVerifier {
    check: CertificateCheck,
    provider: Arc<CryptoProvider>,
    system: Arc<dyn ServerCertVerifier>,
}

impl CertificateVerifier {
    pub(super) fn new(check: CertificateCheck, provider: Arc<CryptoProvider>) -> Self {
        CertificateVerifier { check, system: net::system_verifier(provider.clone()), provider }
    }

    /// Verifies a certificate that the standard verifier cannot read or does not accept as a server's: one that is itself
    /// trusted, or one of version 1 that a CA has signed. Returns false if it is neither.
    fn is_trusted_directly(&self, der: &CertificateDer<'_>, roots: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Ok(certificate) = x509_cert::Certificate::from_der(der) else { return false };
        if !is_valid_at(&certificate, now) {
            return false;
        }
        // OpenSSL trusts no other certificate that is in the file than one that ends a chain.
        if roots.contains(der) && certificate.tbs_certificate.issuer == certificate.tbs_certificate.subject {
            return true;
        }
        let is_version1 = certificate.tbs_certificate.version == Version::V1;
        is_version1 && roots.iter().any(|root| self.has_signed(root, &certificate, now))
    }

    /// Returns true if `root` is valid, has the name of the issuer of `certificate`, and has signed it.
    fn has_signed(&self, root: &CertificateDer<'_>, certificate: &x509_cert::Certificate, now: UnixTime) -> bool {
        let Ok(root) = x509_cert::Certificate::from_der(root) else { return false };
        let key = &root.tbs_certificate.subject_public_key_info;
        let encoded = || {
            let message = certificate.tbs_certificate.to_der().ok()?;
            let signature_id = certificate.signature_algorithm.to_der().ok()?;
            let key_id = key.algorithm.to_der().ok()?;
            Some((message, signature_id, key_id))
        };
        let Some((message, signature_id, key_id)) = encoded() else { return false };
        let (Some(key_bytes), Some(signature)) = (key.subject_public_key.as_bytes(), certificate.signature.as_bytes())
        else {
            return false;
        };
        let is_issuer = root.tbs_certificate.subject == certificate.tbs_certificate.issuer
            // The algorithm within the signed part is the one that was used.
            && certificate.tbs_certificate.signature == certificate.signature_algorithm
            && is_valid_at(&root, now);
        is_issuer
            && self.provider.signature_verification_algorithms.all.iter().any(|algorithm| {
                // The identifiers of the algorithms lack the head of the sequence, two bytes.
                signature_id.get(2..) == Some(algorithm.signature_alg_id().as_ref())
                    && key_id.get(2..) == Some(algorithm.public_key_alg_id().as_ref())
                    && algorithm.verify_signature(key_bytes, &message, signature).is_ok()
            })
    }
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let (standard, roots, has_crls, checks_name) = match &self.check {
            CertificateCheck::Nothing => return Ok(ServerCertVerified::assertion()),
            CertificateCheck::System => {
                return self.system.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
            }
            CertificateCheck::Issued { standard, roots, has_crls, checks_name } => {
                (standard, roots, *has_crls, *checks_name)
            }
        };
        use CertificateError as E;
        // The name is verified last, so that an error about it means that all else is right.
        let wrong_name = match standard.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(verified) => return Ok(verified),
            Err(rustls::Error::InvalidCertificate(error @ (E::NotValidForName | E::NotValidForNameContext { .. }))) => {
                error
            }
            // Revocation lists are not read here.
            Err(_) if !has_crls && self.is_trusted_directly(end_entity, roots, now) => E::NotValidForName,
            Err(error) => return Err(error),
        };
        if !checks_name || has_name(end_entity, server_name) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(wrong_name))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let error = match verify_tls12_signature(message, certificate, dss, algorithms) {
            Ok(valid) => return Ok(valid),
            Err(error) => error,
        };
        let Some(key) = version1_key(certificate) else { return Err(error) };
        let possible = algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
        let possible = possible.map_or(&[][..], |(_, algorithms)| *algorithms);
        let bits = key.subject_public_key.as_bytes().unwrap_or_default();
        match possible.iter().any(|algorithm| algorithm.verify_signature(bits, message, dss.signature()).is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let error = match verify_tls13_signature(message, certificate, dss, algorithms) {
            Ok(valid) => return Ok(valid),
            Err(error) => error,
        };
        let Some(Ok(key)) = version1_key(certificate).map(|key| key.to_der()) else { return Err(error) };
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key), dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Returns the key of a certificate of version 1, which rustls does not read; `None` for others.
fn version1_key(der: &CertificateDer<'_>) -> Option<x509_cert::spki::SubjectPublicKeyInfoOwned> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    (certificate.tbs_certificate.version == Version::V1).then_some(certificate.tbs_certificate.subject_public_key_info)
}

fn is_valid_at(certificate: &x509_cert::Certificate, now: UnixTime) -> bool {
    let validity = &certificate.tbs_certificate.validity;
    let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs();
    (seconds(&validity.not_before)..=seconds(&validity.not_after)).contains(&now.as_secs())
}

/// Returns true if the certificate has no alternative names, and its common name is the host's: as libpq does it. An
/// asterisk stands for the first label.
fn has_name(der: &CertificateDer<'_>, server_name: &ServerName<'_>) -> bool {
    let Ok(certificate) = x509_cert::Certificate::from_der(der) else { return false };
    let certificate = certificate.tbs_certificate;
    let extensions = certificate.extensions.unwrap_or_default();
    if extensions.iter().any(|extension| extension.extn_id == SUBJECT_ALTERNATIVE_NAME) {
        // A certificate that is trusted by itself was not compared yet.
        return rustls::client::verify_server_name(
            &match rustls::server::ParsedCertificate::try_from(der) {
                Ok(parsed) => parsed,
                Err(_) => return false,
            },
            server_name,
        )
        .is_ok();
    }
    let names = certificate.subject.0.iter().flat_map(|part| part.0.iter());
    let common_name = names.rev().find(|attribute| attribute.oid == COMMON_NAME);
    let Some(common_name) = common_name.and_then(|attribute| std::str::from_utf8(attribute.value.value()).ok()) else {
        return false;
    };
    is_name(common_name, &server_name.to_str())
}

fn is_name(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(suffix), Some((first, rest))) = (pattern.strip_prefix("*."), host.split_once('.')) else { return false };
    // Of an address no part is a label.
    !first.is_empty() && suffix.eq_ignore_ascii_case(rest) && host.parse::<std::net::IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asterisk_is_one_label() {
        assert!(is_name("DB.example.com", "db.example.com"));
        assert!(is_name("*.example.com", "db.example.com"));
        assert!(!is_name("*.example.com", "example.com"));
        assert!(!is_name("*.example.com", "a.b.example.com"));
        assert!(!is_name("*.0.0.1", "127.0.0.1"));
        assert!(!is_name("d*.example.com", "db.example.com"));
    }
}
