//! The replacement of `object.rs` in a build without the feature `object-store`: the same types, whose constructors
//! fail.

use std::io::{self, Write};

use super::target::Target;
use super::uploads::UploadControl;

/// The location of an object in a store.
#[derive(Clone, Debug)]
pub struct ObjectLocation {
    /// URL of the object.
    pub url: String,
    /// Credentials and endpoints, as in the build with object stores.
    pub options: Vec<(String, String)>,
    /// True if an existing object must not be replaced.
    pub no_clobber: bool,
    /// Cancels the requests, in the build with object stores.
    pub uploads: UploadControl,
}

impl PartialEq for ObjectLocation {
    fn eq(&self, other: &Self) -> bool {
        let ObjectLocation { url, options, no_clobber, uploads: _ } = self;
        (url, options, no_clobber) == (&other.url, &other.options, &other.no_clobber)
    }
}

impl Eq for ObjectLocation {}

impl ObjectLocation {
    /// Creates the location of an object.
    pub fn new(url: impl Into<String>, options: Vec<(String, String)>, no_clobber: bool) -> Self {
        ObjectLocation { url: url.into(), options, no_clobber, uploads: UploadControl::default() }
    }

    /// Fails with [`io::ErrorKind::Unsupported`].
    pub fn check(&self) -> io::Result<()> {
        let text = "this build of drawoff does not support object stores (feature `object-store`)";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }
}

/// An upload, which cannot exist in this build.
#[derive(Debug)]
pub enum ObjectUpload {}

impl ObjectUpload {
    /// Fails with [`io::ErrorKind::Unsupported`].
    pub fn begin(location: &ObjectLocation) -> io::Result<Self> {
        location.check().and_then(|()| Err(io::ErrorKind::Unsupported.into()))
    }
}

impl Target for ObjectUpload {}

/// A prefix of object names, which cannot exist in this build.
#[derive(Debug)]
pub enum ObjectPrefix {}

impl ObjectPrefix {
    /// Fails with [`io::ErrorKind::Unsupported`].
    pub fn open(location: &ObjectLocation) -> io::Result<Self> {
        location.check().and_then(|()| Err(io::ErrorKind::Unsupported.into()))
    }

    /// Unreachable: the type has no values.
    pub fn upload(&self, _: &std::path::Path, _: &str) -> io::Result<()> {
        match *self {}
    }

    /// Unreachable: the type has no values.
    pub fn put(&self, _: &str, _: &[u8]) -> io::Result<()> {
        match *self {}
    }

    /// Unreachable: the type has no values.
    pub fn read(&self, _: &str) -> io::Result<Option<String>> {
        match *self {}
    }

    /// Unreachable: the type has no values.
    pub fn exists(&self, _: &str) -> io::Result<bool> {
        match *self {}
    }

    /// Unreachable: the type has no values.
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
