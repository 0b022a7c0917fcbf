//! Web page of the service: workflows, runs and their progress, graphs, results and recent errors. The server renders
//! the complete HTML for every request; a small script fetches it again and replaces the content. The page is
//! read-only.
//!
//! Text from outside is always escaped: [`html::Html`] accepts only string literals as markup. The content security
//! policy forbids every script and style but the page's own two, and every other origin.

mod assets;
mod graph;
mod html;
mod router;
mod views;

pub(super) use router::{is_page, refused, router};
