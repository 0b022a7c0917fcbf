//! The parsers against their oracles: cases written down, generated and broken records, and the
//! corpus, each through the same checks that the fuzz targets run.

#[path = "../../fuzz/checks/mod.rs"]
mod checks;

mod broken;
mod cases;
mod corpus;
mod framing;
mod generated;
