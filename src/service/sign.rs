//! Signed links and the page's session token: HMAC-SHA256 with the secret of one data directory. A link grants read
//! access to one file until it expires, without the API key; the secret itself never leaves the service.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::api::RunId;
use crate::text;

/// Signs and verifies links with the secret of one data directory.
pub(super) struct Signer {
    secret: [u8; 32],
}

/// The reason to reject a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The signature does not fit this path, time and secret.
    Signature,
    /// The signature is valid, but the link has expired.
    Expired,
}

impl Signer {
    /// Returns a signer with the data directory's secret.
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Signer { secret }
    }

    /// Generates a secret from the system's random source.
    pub(super) fn random_secret() -> [u8; 32] {
        // Two version 4 UUIDs carry 244 random bits from the system.
        let mut hash = Sha256::new();
        hash.update(uuid::Uuid::new_v4().as_bytes());
        hash.update(uuid::Uuid::new_v4().as_bytes());
        hash.finalize().into()
    }

    /// Returns the signature of `path` until `expires` (seconds since 1970), in hex.
    pub(super) fn sign(&self, path: &str, expires: i64) -> String {
        text::hex(&self.mac(path, expires).finalize().into_bytes())
    }

    /// Returns the link to a result file until `expires` (seconds since 1970), without the origin.
    pub(super) fn link(&self, run: &RunId, filename: &str, expires: i64) -> String {
        let path = format!("/storage/files/{run}/{filename}");
        let signature = self.sign(&path, expires);
        format!("{path}?expires={expires}&sig={signature}")
    }

    /// Verifies the parameters of a link: first the signature, in constant time, then the expiry.
    pub(super) fn check(&self, path: &str, expires: &str, signature: &str, now: DateTime<Utc>) -> Result<(), Refusal> {
        let expires: i64 = expires.parse().map_err(|_| Refusal::Signature)?;
        let signature = hex::decode(signature).map_err(|_| Refusal::Signature)?;
        self.mac(path, expires).verify_slice(&signature).map_err(|_| Refusal::Signature)?;
        if now.timestamp() >= expires { Err(Refusal::Expired) } else { Ok(()) }
    }

    /// Returns the page's session token for a browser that has sent `key`. The key cannot be derived from it.
    pub(super) fn page_token(&self, key: &str) -> String {
        text::hex(&self.keyed_mac().chain_update(format!("drawoff page 1\n{key}")).finalize().into_bytes())
    }

    /// Compares two texts in constant time.
    pub(super) fn same(&self, a: &str, b: &str) -> bool {
        // Digests of equal length are compared, so that the time does not depend on where the texts differ.
        let mac = |text: &str| self.keyed_mac().chain_update(text.as_bytes());
        mac(a).verify_slice(&mac(b).finalize().into_bytes()).is_ok()
    }

    fn mac(&self, path: &str, expires: i64) -> Hmac<Sha256> {
        // The prefix separates domains: a link's signature is never valid for anything else that this secret signs.
        self.keyed_mac().chain_update(format!("drawoff link 1\n{path}\n{expires}"))
    }

    fn keyed_mac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&self.secret).expect("HMAC takes keys of any length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_valid_for_one_path_and_time() {
        let signer = Signer::new([7; 32]);
        let now = DateTime::from_timestamp(1000, 0).unwrap();
        let sig = signer.sign("/storage/files/r/a.csv", 1900);
        assert_eq!(signer.check("/storage/files/r/a.csv", "1900", &sig, now), Ok(()));
        assert_eq!(signer.check("/storage/files/r/b.csv", "1900", &sig, now), Err(Refusal::Signature));
        assert_eq!(signer.check("/storage/files/r/a.csv", "1901", &sig, now), Err(Refusal::Signature));
        assert_eq!(signer.check("/storage/files/r/a.csv", "x", &sig, now), Err(Refusal::Signature));
        assert_eq!(signer.check("/storage/files/r/a.csv", "1900", "é0", now), Err(Refusal::Signature));
        assert_eq!(signer.check("/storage/files/r/a.csv", "1900", "", now), Err(Refusal::Signature));
        let late = DateTime::from_timestamp(1900, 0).unwrap();
        assert_eq!(signer.check("/storage/files/r/a.csv", "1900", &sig, late), Err(Refusal::Expired));
        assert_eq!(Signer::new([8; 32]).check("/storage/files/r/a.csv", "1900", &sig, now), Err(Refusal::Signature));
    }

    #[test]
    fn secrets_differ_and_texts_compare() {
        assert_ne!(Signer::random_secret(), Signer::random_secret());
        let signer = Signer::new([1; 32]);
        assert!(signer.same("k", "k"));
        assert!(!signer.same("k", "k "));
    }
}
