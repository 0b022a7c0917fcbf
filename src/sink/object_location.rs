//! The location of an object, in builds with and without object stores.

use std::fmt;

use super::uploads::UploadControl;

/// The location of an object, and the credentials to write it.
#[derive(Clone)]
pub struct ObjectLocation {
    /// URL of the object: `s3://bucket/key`, `gs://…`, `az://…`. The key is taken as it is: `%`, `?` and `#` are
    /// characters of it.
    pub url: String,
    /// Credentials and endpoints, by the lower-case names of the environment variables, such as `aws_access_key_id`.
    pub options: Vec<(String, String)>,
    /// True if an existing object must not be replaced.
    pub no_clobber: bool,
    /// Cancels the requests. Each execution replaces it by its own.
    pub uploads: UploadControl,
}

impl PartialEq for ObjectLocation {
    fn eq(&self, other: &Self) -> bool {
        let ObjectLocation { url, options, no_clobber, uploads: _ } = self;
        (url, options, no_clobber) == (&other.url, &other.options, &other.no_clobber)
    }
}

impl Eq for ObjectLocation {}

impl fmt::Debug for ObjectLocation {
    /// Omits the options, which hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectLocation").field("url", &self.url).field("no_clobber", &self.no_clobber).finish()
    }
}

impl ObjectLocation {
    /// Creates the location of an object, with an [`UploadControl`] of its own.
    pub fn new(url: impl Into<String>, options: Vec<(String, String)>, no_clobber: bool) -> Self {
        ObjectLocation { url: url.into(), options, no_clobber, uploads: UploadControl::default() }
    }
}
