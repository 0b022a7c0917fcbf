//! Style sheet and script of the page, inlined into its HTML. The content security policy allows these two, by their
//! digests, and no others.

/// Style sheet of every page.
pub(super) const STYLE: &str = include_str!("style.css");

/// Script of the pages that refresh themselves and act.
pub(super) const SCRIPT: &str = include_str!("page.js");
