//! Web page of the service: workflows, runs and their progress, graphs, rows, specs, results and errors. The server renders
//! the complete HTML for every request; a small script fetches it again and replaces the content, and sends the actions,
//! whose handlers are among the routes. The page itself changes nothing.
//!
//! Text from outside is always escaped: [`html::Html`] accepts only string literals as markup. The content security
//! policy forbids every script and style but the page's own two, and every other origin.

mod assets;
mod graph;
mod html;
mod router;
mod session;
mod views;

pub(super) use router::{is_page, not_found, refused, router};
pub(super) use session::has_session;
