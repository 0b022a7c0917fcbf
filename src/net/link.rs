//! Links to files, which expire.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::Error;
use crate::secret::SecretUrl;

/// A link is replaced so long before it expires, when a new connection must be made: the request has a way to go, and
/// clocks differ. By eye.
const MARGIN: Duration = Duration::from_secs(10);

/// A link to a file.
#[derive(Clone, Debug)]
pub struct Link {
    /// The URL.
    pub url: SecretUrl,
    /// Counts the askings that links of its source came from: a link is newer than another if this is greater.
    pub edition: u64,
    /// From then on a new connection needs a newer link.
    pub stale_from: Option<Instant>,
}

impl Link {
    /// A link that never expires, as far as is known.
    pub fn lasting(url: SecretUrl) -> Self {
        Link { url, edition: 0, stale_from: None }
    }

    /// A link that is valid for `life` from when it was `asked` for.
    pub fn expiring(url: SecretUrl, edition: u64, asked: Instant, life: Duration) -> Self {
        Link { url, edition, stale_from: Some(asked + life - MARGIN.min(life / 4)) }
    }

    /// True if a new connection needs a newer link.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.stale_from.is_some_and(|from| now >= from)
    }
}

/// Where a newer link to the same file comes from when the old one has expired.
pub trait FreshLink: Send + Sync {
    /// A link to the same file that is newer than the edition `after`.
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
        assert!(!Link::lasting(SecretUrl::new("https://f.test")).is_stale(asked + Duration::from_secs(1 << 30)));
    }
}
