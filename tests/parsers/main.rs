//! The parsers compared with slower ones, through the checks that the fuzz targets run: written cases, generated and
//! damaged records, and the corpus.

#![allow(unreachable_pub, reason = "a program of its own has no users of its items")]

#[path = "../../fuzz/checks/mod.rs"]
mod checks;

mod broken;
mod cases;
mod corpus;
mod framing;
mod generated;
