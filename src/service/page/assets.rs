//! The page's own style and script. The policy of the page allows these two, by their digests, and no others.

/// Style sheet of every page.
pub(super) const STYLE: &str = include_str!("style.css");

/// Script of the pages that show how things go on.
pub(super) const SCRIPT: &str = include_str!("live.js");
