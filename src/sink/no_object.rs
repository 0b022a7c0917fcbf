//! The replacement of `object.rs` in a build without the feature `object-store`: the same types, whose constructors
//! fail.

use std::io::{self, Write};
use std::time::SystemTime;

use bytes::Bytes;

use super::object_location::ObjectLocation;
use super::put_new::PutNew;
use super::target::Target;

impl ObjectLocation {
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

/// An object that exists, which cannot be known in this build.
#[derive(Clone, Debug)]
pub enum StoredObject {}

impl StoredObject {
    /// Fails with [`io::ErrorKind::Unsupported`].
    pub fn find(location: &ObjectLocation) -> io::Result<Option<Self>> {
        location.check().and_then(|()| Err(io::ErrorKind::Unsupported.into()))
    }

    /// Fails with [`io::ErrorKind::Unsupported`].
    pub fn list(location: &ObjectLocation) -> io::Result<Vec<Self>> {
        location.check().and_then(|()| Err(io::ErrorKind::Unsupported.into()))
    }

    /// Unreachable: the type has no values.
    pub fn key(&self) -> &str {
        match *self {}
    }

    /// Unreachable: the type has no values.
    pub fn size_bytes(&self) -> u64 {
        match *self {}
    }

    /// Unreachable: the type has no values.
    pub fn reader(self) -> ObjectReader {
        match self {}
    }
}

/// A reader of an object, which cannot exist in this build.
#[derive(Debug)]
pub enum ObjectReader {}

impl io::Read for ObjectReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }
}

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
    pub fn put_new(&self, _: &str, _: &[u8]) -> io::Result<PutNew> {
        match *self {}
    }

    /// Unreachable: the type has no values.
    pub fn is_s3(&self) -> bool {
        match *self {}
    }

    /// Unreachable: the type has no values.
    pub fn list(&self, _: &str, _: Option<&str>) -> io::Result<Vec<(String, u64, SystemTime)>> {
        match *self {}
    }

    /// Unreachable: the type has no values.
    pub fn reader(&self, _: &str) -> io::Result<Option<ObjectReader>> {
        match *self {}
    }

    /// Unreachable: the type has no values.
    pub fn read_bytes(&self, _: &str) -> io::Result<Option<Bytes>> {
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
