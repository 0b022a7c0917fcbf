//! The parsers compared with slower ones, through the checks that the fuzz targets run: written cases, generated and
//! damaged records, and the corpus.

#[path = "../../fuzz/checks/mod.rs"]
mod checks;

mod broken;
mod cases;
mod corpus;
mod framing;
mod generated;
