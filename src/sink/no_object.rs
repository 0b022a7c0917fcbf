//! In place of object stores, in a build without them.

use std::io::{self, Write};

use super::target::Target;

/// Where an object is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectLocation {
    /// Its URL.
    pub url: String,
    /// What it takes to write there.
    pub options: Vec<(String, String)>,
    /// Refuse if an object is there.
    pub no_clobber: bool,
}

impl ObjectLocation {
    /// Refuses.
    pub fn check(&self) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this build of drawoff has no object stores"))
    }
}

/// There are none.
#[derive(Debug)]
pub enum ObjectUpload {}

impl ObjectUpload {
    /// Refuses.
    pub fn begin(place: &ObjectLocation) -> io::Result<Self> {
        place.check().and_then(|()| Err(io::ErrorKind::Unsupported.into()))
    }
}

impl Target for ObjectUpload {}

/// There are none.
#[derive(Debug)]
pub enum ObjectPrefix {}

impl ObjectPrefix {
    /// Refuses.
    pub fn open(place: &ObjectLocation) -> io::Result<Self> {
        place.check().and_then(|()| Err(io::ErrorKind::Unsupported.into()))
    }

    /// Never called.
    pub fn upload(&self, _: &std::path::Path, _: &str) -> io::Result<()> {
        match *self {}
    }

    /// Never called.
    pub fn put(&self, _: &str, _: &[u8]) -> io::Result<()> {
        match *self {}
    }

    /// Never called.
    pub fn read(&self, _: &str) -> io::Result<Option<String>> {
        match *self {}
    }

    /// Never called.
    pub fn exists(&self, _: &str) -> io::Result<bool> {
        match *self {}
    }

    /// Never called.
    pub fn remove(&self, _: &str) -> io::Result<()> {
        match *self {}
    }
}

impl Write for ObjectUpload {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match *self {}
    }
}
