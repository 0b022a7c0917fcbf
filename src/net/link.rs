//! Signed links to result files: how long one is usable, and the trait that supplies a newer one.
//!
//! A download holds one [`Link`] at a time and replaces it before a new connection if it is stale, or after a refusal.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::Error;
use crate::secret::SecretUrl;

/// Time before expiry from which a link is not used for a new connection: the request takes time to arrive, and the
/// clocks of client and store differ. Chosen by eye.
const MARGIN: Duration = Duration::from_secs(10);

/// A link to a file, valid for a limited or an unknown time.
#[derive(Clone, Debug)]
pub struct Link {
    /// The URL, a secret if it is signed.
    pub url: SecretUrl,
    /// Number of the listing that the link is from: of two links, the one with the greater edition is newer.
    pub edition: u64,
    /// Instant from which a new connection needs a newer link; `None` if the link does not expire.
    pub stale_from: Option<Instant>,
}

impl Link {
    /// Creates a link without a known expiry.
    pub fn lasting(url: SecretUrl) -> Self {
        Link { url, edition: 0, stale_from: None }
    }

    /// Creates a link that is valid for `life` from `asked`, the instant of the request for it.
    pub fn expiring(url: SecretUrl, edition: u64, asked: Instant, life: Duration) -> Self {
        // A quarter of the life at most, so that links of a few seconds are used at all. An instant that the clock cannot
        // express never comes.
        Link { url, edition, stale_from: asked.checked_add(life - MARGIN.min(life / 4)) }
    }

    /// Returns true if a new connection needs a newer link.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.stale_from.is_some_and(|from| now >= from)
    }
}

/// A source of newer links to one file, for a download whose link has expired.
pub trait FreshLink: Send + Sync {
    /// Returns a link to the same file that is newer than edition `after`.
    fn fresh(&self, after: u64) -> BoxFuture<'_, Result<Link, Error>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_stale_a_little_before_it_expires() {
        let asked = Instant::now();
        let stale_after = |life: u64, millis| {
            let link = Link::expiring(SecretUrl::new("https://f.test"), 1, asked, Duration::from_secs(life));
            link.is_stale(asked + Duration::from_millis(millis))
        };
        assert!(!stale_after(900, 889_999) && stale_after(900, 890_000));
        assert!(!stale_after(2, 1_499) && stale_after(2, 1_500));
        let for_ever = Link::expiring(SecretUrl::new("https://f.test"), 1, asked, Duration::from_secs(u64::MAX));
        assert!(!for_ever.is_stale(asked + Duration::from_secs(1 << 30)));
        assert!(!Link::lasting(SecretUrl::new("https://f.test")).is_stale(asked + Duration::from_secs(1 << 30)));
    }
}
