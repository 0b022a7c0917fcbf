//! Names of the store that become parts of paths: ids of runs and uploads, and names of files. The service generates
//! all of them, but rows also come from archives, which anybody can make. So each is checked by its type when a row is
//! read, and no other module needs to.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::api::{HandleId, RunId, Workflow};

/// Greatest length of a [`ResultFile`] in bytes; file systems take 255.
const MAX_FILE_NAME_BYTES: usize = 200;

/// Greatest length of a workflow's id in bytes.
const MAX_WORKFLOW_ID_BYTES: usize = 200;

/// Returns true for an id of the form that the service generates for runs and uploads: a UUID in lower case with
/// hyphens. The other spellings of UUIDs would let two ids name one directory on some file systems.
pub(super) fn is_generated_id(text: &str) -> bool {
    Uuid::parse_str(text).is_ok_and(|id| id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text)
}

/// Returns an id of that form which depends on the kind and the name of an item only.
pub(super) fn id_from_name(kind: &str, name: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(format!("drawoff {kind} 1\n{name}"))[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// Returns the handle of an upload that a service is started with, from its file name.
pub(super) fn upload_from_name(name: &str) -> HandleId {
    HandleId(id_from_name("upload", name))
}

/// Returns true for an id that a client may choose for a workflow. Our reading: any text that fits one path segment,
/// not only a UUID. It never becomes part of a file's path.
pub(super) fn is_workflow_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_WORKFLOW_ID_BYTES
        && !id.chars().any(char::is_control)
        && !matches!(id, "." | "..")
}

/// Reads the id of a run, for `deserialize_with`.
pub(super) fn run_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RunId, D::Error> {
    generated_id(deserializer, "run").map(RunId)
}

/// Reads the handle of an upload, for `deserialize_with`.
pub(super) fn handle_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HandleId, D::Error> {
    generated_id(deserializer, "upload").map(HandleId)
}

/// Reads a workflow whose id a client could have chosen, for `deserialize_with`.
pub(super) fn workflow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Workflow>, D::Error> {
    let workflow = Box::<Workflow>::deserialize(deserializer)?;
    if is_workflow_id(&workflow.id.0) {
        Ok(workflow)
    } else {
        Err(D::Error::custom(format_args!("invalid workflow id {:?}", workflow.id.0)))
    }
}

fn generated_id<'de, D: Deserializer<'de>>(deserializer: D, what: &str) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    if is_generated_id(&id) {
        Ok(id)
    } else {
        Err(D::Error::custom(format_args!("invalid {what} id {id:?}: expected a UUID in lower case")))
    }
}

/// Defines a type of file names that is checked whenever one is made or read.
macro_rules! file_name {
    ($(#[$doc:meta])* $name:ident, $is_valid:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub(super) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(name: String) -> Result<Self, String> {
                match $is_valid(&name) {
                    true => Ok($name(name)),
                    false => Err(format!(concat!("invalid file name {:?}: expected ", $expected), name)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

file_name!(
    /// Name of a result file in the directory of its run.
    ResultFile,
    is_result_file,
    "ASCII letters, digits, `_`, `-` and `.`, not at the start"
);

file_name!(
    /// Name of a notebook's file in the directory of notebooks: `UUID.ndjson`.
    NotebookFile,
    is_notebook_file,
    "UUID.ndjson"
);

file_name!(
    /// Name of an uploaded file in the directory of uploads: `UUID.EXTENSION`.
    UploadFile,
    is_upload_file,
    "UUID.csv, UUID.json, UUID.jsonl or UUID.ndjson"
);

impl NotebookFile {
    /// Returns a new random name.
    pub(super) fn generate() -> Self {
        NotebookFile(format!("{}.ndjson", Uuid::new_v4()))
    }
}

impl UploadFile {
    /// Returns the name of the file of an upload. Fails if the handle is not one that the service generates.
    pub(super) fn of(handle: &HandleId, extension: Extension) -> Result<Self, String> {
        UploadFile::try_from(format!("{handle}.{}", extension.as_str()))
    }

    /// Returns the extension, which decides the format.
    pub(super) fn extension(&self) -> Extension {
        let extension = self.0.split_once('.').and_then(|(_, extension)| Extension::parse(extension));
        extension.expect("checked by the type")
    }
}

fn is_result_file(name: &str) -> bool {
    name.len() <= MAX_FILE_NAME_BYTES
        && !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn is_notebook_file(name: &str) -> bool {
    name.strip_suffix(".ndjson").is_some_and(is_generated_id)
}

fn is_upload_file(name: &str) -> bool {
    name.split_once('.').is_some_and(|(id, extension)| is_generated_id(id) && Extension::parse(extension).is_some())
}

/// Extension of an uploaded file, which decides its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Extension {
    Csv,
    Json,
    Jsonl,
    Ndjson,
}

impl Extension {
    /// All extensions, in the order of messages.
    pub(super) const ALL: [Extension; 4] = [Extension::Csv, Extension::Json, Extension::Jsonl, Extension::Ndjson];

    /// Parses an extension in lower case; `None` if it is unknown.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Extension::ALL.into_iter().find(|extension| extension.as_str() == text)
    }

    /// Returns the extension in lower case, without the dot.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Extension::Csv => "csv",
            Extension::Json => "json",
            Extension::Jsonl => "jsonl",
            Extension::Ndjson => "ndjson",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b5c6f2e-6f0c-4d7e-9a3b-5d1f0a7c9e21";

    /// Texts that lead elsewhere as a path, or that two rows could share on some file system.
    const HOSTILE: [&str; 12] = [
        "",
        ".",
        "..",
        "/",
        "/etc/passwd",
        "../../x",
        "a/b",
        "a\\b",
        "C:x",
        "x\0y",
        "0B5C6F2E-6F0C-4D7E-9A3B-5D1F0A7C9E21",
        "{0b5c6f2e-6f0c-4d7e-9a3b-5d1f0a7c9e21}",
    ];

    #[test]
    fn ids_from_names_never_change() {
        assert_ne!(id_from_name("workflow", "a"), id_from_name("upload", "a"));
        assert!(is_generated_id(&id_from_name("workflow", "a")));
        // Tests of users rely on it.
        assert_eq!(upload_from_name("companies.csv").0, "179a176a-60ca-8bd1-af8c-52adb00c9053");
    }

    #[test]
    fn ids_are_those_that_the_service_generates() {
        assert!(is_generated_id(ID) && is_generated_id(&Uuid::new_v4().to_string()));
        for text in HOSTILE.into_iter().chain([&ID.replace('-', "")[..], &format!("urn:uuid:{ID}")]) {
            assert!(!is_generated_id(text), "{text:?}");
        }
    }

    #[test]
    fn file_names_are_one_plain_segment() {
        let result = |name: &str| serde_json::from_value::<ResultFile>(name.into()).is_ok();
        assert!(result("block_1_filter.csv") && result("block_-3_x.ndjson"));
        for name in HOSTILE.into_iter().filter(|name| !name.starts_with("0B")).chain([".x", "a b", "a\"b", "a\nb"]) {
            assert!(!result(name), "{name:?}");
        }
        assert!(!result(&"a".repeat(201)));
        let notebook = |name: &str| NotebookFile::try_from(name.to_owned()).is_ok();
        let upload = |name: &str| UploadFile::try_from(name.to_owned()).is_ok();
        for suffix in ["", ".csv", ".ndjson", ".exe", ".ndjson.csv", ".csv/", ".CSV"] {
            let name = format!("{ID}{suffix}");
            assert_eq!(notebook(&name), suffix == ".ndjson", "{name}");
            assert_eq!(upload(&name), [".csv", ".ndjson"].contains(&suffix), "{name}");
            for prefix in ["/", "../", "./", "x/"] {
                assert!(!notebook(&format!("{prefix}{name}")) && !upload(&format!("{prefix}{name}")), "{prefix}{name}");
            }
        }
    }

    #[test]
    fn workflow_ids_are_those_that_a_client_may_choose() {
        assert!(is_workflow_id(ID) && is_workflow_id("Ünser Ablauf/2"));
        for id in ["", ".", "..", "a\nb", &"x".repeat(201)] {
            assert!(!is_workflow_id(id), "{id:?}");
        }
    }
}
