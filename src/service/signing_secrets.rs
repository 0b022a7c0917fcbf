//! Secrets of outgoing webhooks, and the signature header of a delivery. The store keeps the secrets, the routes create
//! and roll them, and the deliverer signs with them; nothing here sends a request.

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::sign::Signer;
use crate::text::hex;

/// The current signing secret and the one that it replaced, as the store keeps them.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SigningSecrets {
    /// `sk_whsec_` and 64 hexadecimal digits.
    pub secret: String,
    pub created_at: DateTime<Utc>,
    /// The replaced secret and the time until which it signs too; `None` without one.
    pub previous: Option<(String, DateTime<Utc>)>,
}

impl SigningSecrets {
    /// Generates a secret; the one of `before` keeps signing until `overlap` has passed.
    pub(super) fn new(now: DateTime<Utc>, before: Option<SigningSecrets>, overlap: TimeDelta) -> Self {
        let random = Signer::random_secret();
        // Only one generation overlaps: a second roll drops the secret before `before`.
        let previous = before.map(|before| (before.secret, now + overlap)).filter(|(_, until)| *until > now);
        SigningSecrets { secret: format!("sk_whsec_{}", hex(&random)), created_at: now, previous }
    }

    /// Returns the time until which the replaced secret signs too; `None` once it has passed.
    pub(super) fn previous_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.previous.as_ref().map(|(_, until)| *until).filter(|until| *until > now)
    }

    /// Returns the signature header of a delivery: `t=SECONDS,v1=HEX`, with the new secret's signature first, then the
    /// replaced one's while it is valid. The signature covers `SECONDS.BODY`.
    pub(super) fn sign(&self, now: DateTime<Utc>, body: &[u8]) -> String {
        let time = now.timestamp();
        let mut header = format!("t={time}");
        let replaced = self.previous.iter().filter(|(_, until)| *until > now).map(|(secret, _)| secret);
        for secret in std::iter::once(&self.secret).chain(replaced) {
            let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
            let mac = mac.chain_update(format!("{time}.")).chain_update(body);
            header.push_str(&format!(",v1={}", hex(&mac.finalize().into_bytes())));
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_secrets_sign_while_they_overlap() {
        let at = |s| DateTime::from_timestamp(s, 0).unwrap();
        let mut first = SigningSecrets::new(at(0), None, TimeDelta::hours(24));
        assert_eq!(first.secret.len(), "sk_whsec_".len() + 64);
        assert!(first.previous.is_none());
        // Expected signature, computed with Python's hmac.
        first.secret = "sk_whsec_test".to_owned();
        let signed = first.sign(at(1_700_000_000), b"{\"a\":1}");
        assert_eq!(signed, format!("t=1700000000,v1={KNOWN}"));
        let second = SigningSecrets::new(at(100), Some(first.clone()), TimeDelta::hours(1));
        let header = second.sign(at(200), b"x");
        assert_eq!(header.matches(",v1=").count(), 2);
        assert!(header.ends_with(first.sign(at(200), b"x").strip_prefix("t=200").unwrap()));
        assert_eq!(second.sign(at(100 + 3600), b"x").matches(",v1=").count(), 1);
        assert!(SigningSecrets::new(at(100), Some(first), TimeDelta::zero()).previous.is_none());
    }

    const KNOWN: &str = "16a6c5c5822ebf5c0499446e5a556f1cb324b8e65cc20252607b8a30fd483106";
}
