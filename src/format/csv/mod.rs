//! stub
#![allow(missing_docs)]
use super::decode::*;
use super::*;
use crate::column::*;
use std::sync::Arc;
#[derive(Debug, Clone)]
pub struct Header {
    pub lines: u64,
}
pub fn take_header(_m: Morsel, _d: u8) -> Result<(Header, Morsel), Reject> {
    panic!()
}
pub fn text_schema(_h: &Header) -> Schema {
    panic!()
}
pub fn infer(_m: &Morsel, _h: &Header, _d: u8) -> Schema {
    panic!()
}
pub struct DecodeOptions {
    pub delimiter: u8,
    pub freeze: bool,
}
pub fn decode(_m: &Morsel, _h: &Header, _s: &Arc<Schema>, _o: &DecodeOptions) -> Outcome {
    panic!()
}
pub fn encode_rows(_b: &Batch, _o: &CsvOptions, _out: &mut Vec<u8>) {
    panic!()
}
pub fn encode_header(_b: &[Arc<str>], _o: &CsvOptions, _out: &mut Vec<u8>) {
    panic!()
}
pub struct Remap;
impl Remap {
    pub fn new(_a: &[Arc<str>], _b: &[Arc<str>], _d: u8) -> Self {
        panic!()
    }
    pub fn copy(&mut self, _r: impl std::io::Read, _w: &mut impl std::io::Write) -> std::io::Result<()> {
        panic!()
    }
}
