//! The page for people: workflows, runs as they go, their graphs, results and last errors. Made here as HTML, whole
//! on every request; a small script asks for it again and puts the new in place of the old. It only shows.
//!
//! Nothing that comes from outside reaches it unescaped: [`html::Html`] takes as markup only what stands in this
//! program. The policy in its headers forbids every script and style but its own two, and every other origin.

mod assets;
mod graph;
mod html;
mod router;
mod views;

pub(super) use router::router;
