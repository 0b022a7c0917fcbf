//! TLS of connections: the modes of libpq, and rustls configurations for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::{ClientConfig, SupportedProtocolVersion, version};

use super::certificate::{CertificateCheck, CertificateVerifier};
use super::server::Host;

/// The demand for encryption and proof, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    /// All modes, in their order.
    pub(super) const ALL: [SslMode; 6] =
        [SslMode::Disable, SslMode::Allow, SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull];

    /// Returns libpq's word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

/// The settings of TLS.
#[derive(Clone, Debug)]
pub(super) struct TlsSettings {
    /// The mode that was chosen; `None` leaves it to the host.
    pub(super) mode: Option<SslMode>,
    /// CAs in place of the system's; with them, `require` and weaker modes verify the CA, as in libpq.
    pub(super) root_file: Option<PathBuf>,
    pub(super) crl_file: Option<PathBuf>,
    /// The client's own certificate.
    pub(super) certificate: Option<PathBuf>,
    /// Its key; used only with a certificate.
    pub(super) key: Option<PathBuf>,
    /// Refuse TLS 1.2.
    pub(super) tls13_only: bool,
    /// Send the host name in the clear, so that a proxy can choose the certificate.
    pub(super) sends_name: bool,
    /// Begin with the handshake, as servers from version 17 on accept it.
    pub(super) negotiates_directly: bool,
}

impl TlsSettings {
    /// Returns the mode for a host: the chosen one, else `prefer` on this machine and `verify-full` elsewhere. Unix sockets have
    /// no TLS.
    pub(super) fn mode_for(&self, host: &Host) -> SslMode {
        match (host, self.mode) {
            (Host::Unix(_), _) => SslMode::Disable,
            (_, Some(mode)) => mode,
            (host, None) if host.is_local() => SslMode::Prefer,
            (_, None) => SslMode::VerifyFull,
        }
    }

    /// Loads the certificates and returns a configuration for `mode`. Errors name the file.
    pub(super) fn client_config(&self, mode: SslMode) -> Result<ClientConfig, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let check = match (&self.root_file, mode) {
            (Some(file), mode) => {
                let roots = read_certificates(file)?;
                let crls = self.crl_file.as_deref().map(read_crls).transpose()?;
                let checks_name = mode == SslMode::VerifyFull;
                CertificateCheck::issued_by(roots, crls.unwrap_or_default(), checks_name, &provider)
                    .map_err(|problem| format!("cannot use the CA certificates of {}: {problem}", file.display()))?
            }
            (None, SslMode::VerifyFull | SslMode::VerifyCa) => CertificateCheck::System,
            (None, _) => CertificateCheck::Nothing,
        };
        let verifier = Arc::new(CertificateVerifier::new(check, provider.clone()));
        let versions: &[&SupportedProtocolVersion] =
            if self.tls13_only { &[&version::TLS13] } else { &[&version::TLS13, &version::TLS12] };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider has cipher suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = read_certificates(certificate)?;
                builder
                    .with_client_auth_cert(chain, read_key(key)?)
                    .map_err(|cause| format!("cannot use {} with {}: {cause}", certificate.display(), key.display()))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.enable_sni = self.sends_name;
        if self.negotiates_directly {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(config)
    }
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |cause: &dyn std::fmt::Display| format!("cannot read certificates from {}: {cause}", file.display());
    let text = std::fs::read(file).map_err(|cause| fail(&cause))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|cause| fail(&cause))?;
    if found.is_empty() {
        return Err(fail(&"it contains none in PEM form"));
    }
    Ok(found)
}

fn read_crls(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let fail = |cause: &dyn std::fmt::Display| format!("cannot read revocations from {}: {cause}", file.display());
    let text = std::fs::read(file).map_err(|cause| fail(&cause))?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    found.map_err(|cause| fail(&cause))
}

/// Reads a private key, if others have no access to it.
fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let fail = |cause: &dyn std::fmt::Display| format!("cannot read the private key {}: {cause}", file.display());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(file).map_err(|cause| fail(&cause))?;
        // root's own keys may be readable by a group, as Debian's ssl-cert does it.
        let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
        if metadata.is_file() && metadata.mode() & forbidden != 0 {
            let mode = metadata.mode() & 0o777;
            return Err(fail(&format!(
                "others have access to it (mode {mode:04o}); run `chmod 600 {}`",
                file.display()
            )));
        }
    }
    let text = std::fs::read(file).map_err(|cause| fail(&cause))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|cause| match text.windows(9).any(|bytes| bytes == b"ENCRYPTED") {
        true => fail(&"it is encrypted; decrypt it with `openssl pkey`"),
        false => fail(&cause),
    })
}
