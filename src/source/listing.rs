//! Lists the files of a directory, or those that match a pattern, as sources in a fixed order, with the columns that the
//! names of their directories hold. Reads names only, never the contents of a file.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use glob::{MatchOptions, glob_with};

use crate::format::FormatFamily;

/// Directory name for null, as Hive, Spark and drawoff's own outputs have it.
const NULL_DIRECTORY: &str = "__HIVE_DEFAULT_PARTITION__";

/// The directory of the log of a Delta table, without which its files hold rows that were deleted.
const DELTA_LOG: &str = "_delta_log";

/// Files that drawoff and others write beside their results. Skipped like others that begin with `_`, and not counted.
const MARKERS: [&str; 2] = ["_SUCCESS", "_manifest.json"];

/// The values of columns that all records of a source have, from the names of directories such as `country=NO`: column
/// names with their text, or with `None` for null.
pub type DirectoryColumns = Arc<[(Arc<str>, Option<Arc<str>>)]>;

/// The files of a directory or a pattern.
#[derive(Debug, Default)]
pub struct Listing {
    /// The files, in the order of the bytes of their paths.
    pub files: Vec<ListedFile>,
    /// Names that were skipped because they begin with `.` or `_`, without `_SUCCESS` and manifests.
    pub skipped: u64,
}

/// A file of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// Its path.
    pub path: PathBuf,
    /// The columns of the directories between the listed directory and the file.
    pub columns: DirectoryColumns,
}

/// An error of a listing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListingError {
    /// A directory or file that cannot be read.
    #[error("cannot list {}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        #[source]
        cause: io::Error,
    },
    /// A pattern that is not valid.
    #[error("the pattern `{pattern}` is not valid: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The reason.
        why: &'static str,
    },
    /// No file to read.
    #[error("{name} {}", if *skipped > 0 { "has only files whose names begin with `.` or `_`, which are skipped" } else { "has no files to read" })]
    Empty {
        /// The directory, or the pattern with its article.
        name: String,
        /// Names that were skipped.
        skipped: u64,
    },
    /// A pipe, a socket or a device among the files.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// A link that leads back to a directory above it.
    #[error("{} is a link to a directory that contains it", .0.display())]
    Cycle(PathBuf),
    /// Files of different formats.
    #[error("{name} has files of different formats, such as {first} and {second}")]
    MixedFormats {
        /// The directory or the pattern.
        name: String,
        /// A file of the first format.
        first: String,
        /// A file of another format.
        second: String,
    },
    /// A column in two directory names of one path.
    #[error("{}: two directories of this path name the column `{column}`", path.display())]
    DuplicateColumn {
        /// Path of the file.
        path: PathBuf,
        /// The column.
        column: String,
    },
    /// The directory of a Delta table.
    #[error("{} is a Delta table; its files alone also hold rows that were deleted or replaced", .0.display())]
    DeltaTable(PathBuf),
}

impl Listing {
    /// Lists all files below `directory`, in all of its directories. Names that begin with `.` or `_` are skipped, such as
    /// `_SUCCESS` and the manifest of drawoff's own outputs. Links are followed.
    ///
    /// # Errors
    ///
    /// A directory without files, with files of different formats, or with anything but files and directories.
    pub fn of_directory(directory: &Path) -> Result<Self, ListingError> {
        let mut listing = Listing::default();
        listing.walk(directory, &mut Vec::new())?;
        listing.finish(directory.display().to_string(), directory)
    }

    /// Lists the files that match `pattern`, whose `*`, `?` and `[…]` stand for characters of one name, and `**` for any
    /// directories. All files of a directory that matches are listed. Names that begin with `.` or `_` match only where
    /// the pattern has that character.
    ///
    /// # Errors
    ///
    /// A pattern without a match, and those of [`Listing::of_directory`].
    pub fn of_pattern(pattern: &str) -> Result<Self, ListingError> {
        let fixed = fixed_part(pattern);
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
        let matches = glob_with(pattern, options)
            .map_err(|error| ListingError::Pattern { pattern: pattern.to_owned(), why: error.msg })?;
        let underscores = UnderscoreParts::of(pattern);
        // Only `**` passes through links to any depth, and then would read files again for each turn.
        let is_recursive = pattern.contains("**");
        let mut directories = DirectoryIdentities::default();
        let mut listing = Listing::default();
        for path in matches {
            let path =
                path.map_err(|error| ListingError::Read { path: error.path().to_owned(), cause: error.into() })?;
            let is_skipped = |part: Component<'_>| underscores.skip(&part.as_os_str().to_string_lossy());
            if below(&path, &fixed).components().any(is_skipped) {
                let is_marker = path.file_name().is_some_and(|name| MARKERS.iter().any(|marker| name == *marker));
                listing.skipped += u64::from(!is_marker);
                continue;
            }
            if is_recursive {
                directories.require_no_cycle(&path, &fixed)?;
            }
            let metadata = fs::metadata(&path).map_err(|cause| ListingError::Read { path: path.clone(), cause })?;
            if metadata.is_dir() {
                listing.walk(&path, &mut Vec::new())?;
            } else {
                listing.push(path, metadata.is_file())?;
            }
        }
        // A directory that matches, and files in it that match as well.
        listing.files.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
        listing.files.dedup_by(|a, b| a.path == b.path);
        listing.finish(format!("the pattern {pattern}"), &fixed)
    }

    /// Appends the files below `directory`. `above` has the identities of the directories that lead to it.
    fn walk(&mut self, directory: &Path, above: &mut Vec<(u64, u64)>) -> Result<(), ListingError> {
        let read = |cause| ListingError::Read { path: directory.to_owned(), cause };
        let identity = fs::metadata(directory).map(|metadata| (metadata.dev(), metadata.ino())).map_err(read)?;
        if above.contains(&identity) {
            return Err(ListingError::Cycle(directory.to_owned()));
        }
        above.push(identity);
        for entry in fs::read_dir(directory).map_err(read)? {
            let entry = entry.map_err(read)?;
            let (name, path) = (entry.file_name(), entry.path());
            if name == DELTA_LOG {
                return Err(ListingError::DeltaTable(directory.to_owned()));
            }
            if name.as_bytes().starts_with(b".") || name.as_bytes().starts_with(b"_") {
                self.skipped += u64::from(!MARKERS.iter().any(|marker| name == *marker));
                continue;
            }
            // Follows links.
            let metadata = fs::metadata(&path).map_err(|cause| ListingError::Read { path: path.clone(), cause })?;
            if metadata.is_dir() {
                self.walk(&path, above)?;
            } else {
                self.push(path, metadata.is_file())?;
            }
        }
        above.pop();
        Ok(())
    }

    fn push(&mut self, path: PathBuf, is_regular: bool) -> Result<(), ListingError> {
        // A pipe would block, and is more likely a leftover than data.
        if !is_regular {
            return Err(ListingError::NotRegular(path));
        }
        self.files.push(ListedFile { path, columns: Arc::default() });
        Ok(())
    }

    /// Sorts and checks the files, and takes the columns from their paths below `root`.
    fn finish(mut self, name: String, root: &Path) -> Result<Self, ListingError> {
        if self.files.is_empty() {
            return Err(ListingError::Empty { name, skipped: self.skipped });
        }
        self.files.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
        let names: Vec<String> = self.files.iter().map(|file| file.path.display().to_string()).collect();
        require_one_format(&name, names.iter().map(|name| &**name))?;
        for file in &mut self.files {
            file.columns = directory_columns(below(&file.path, root))
                .map_err(|column| ListingError::DuplicateColumn { path: file.path.clone(), column })?;
        }
        Ok(self)
    }

    /// Returns the names of the columns of all files, in the order of first sight.
    pub fn column_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        for (name, _) in self.files.iter().flat_map(|file| file.columns.iter()) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

/// Chooses among objects or members by their names, relative to a root: skips those with a part that begins with `.` or `_`
/// unless `pattern` has it, sorts the others by the bytes of their names, and takes the columns of their directories.
/// `whole` is the name of all in errors. Also returns the number of skipped names.
///
/// # Errors
///
/// No name that is left, and names of different formats.
pub fn listed_names<T>(
    whole: &str,
    names: impl IntoIterator<Item = (String, T)>,
    pattern: Option<&NamePattern>,
) -> Result<(Vec<(T, DirectoryColumns)>, u64), ListingError> {
    let mut skipped = 0;
    let mut kept: Vec<(String, T)> = Vec::new();
    for (name, item) in names {
        // A pattern that matched has the points itself.
        let is_skipped = |part: &str| match pattern {
            Some(pattern) => pattern.underscores.skip(part),
            None => part.starts_with(['.', '_']),
        };
        if name.split('/').any(is_skipped) {
            let last = name.rsplit('/').next().unwrap_or_default();
            skipped += u64::from(!MARKERS.contains(&last));
        } else {
            kept.push((name, item));
        }
    }
    if kept.is_empty() {
        return Err(ListingError::Empty { name: whole.to_owned(), skipped });
    }
    kept.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
    require_one_format(whole, kept.iter().map(|(name, _)| &**name))?;
    let with_columns = |(name, item): (String, T)| match directory_columns(Path::new(&name)) {
        Ok(columns) => Ok((item, columns)),
        Err(column) => Err(ListingError::DuplicateColumn { path: name.into(), column }),
    };
    Ok((kept.into_iter().map(with_columns).collect::<Result<_, _>>()?, skipped))
}

/// Returns true if `name` has characters of a pattern.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// Fails if the names of files have extensions of formats that cannot be read together, or only some of them have one.
/// `name` is that of the whole in the error.
pub(super) fn require_one_format<'a>(name: &str, files: impl Iterator<Item = &'a str>) -> Result<(), ListingError> {
    let mut first: Option<(&str, Option<FormatFamily>)> = None;
    for file in files {
        let family = FormatFamily::of_name(file);
        match first {
            None => first = Some((file, family)),
            Some((_, known)) if known == family => {}
            Some((known, _)) => {
                let (first, second) = (known.to_owned(), file.to_owned());
                return Err(ListingError::MixedFormats { name: name.to_owned(), first, second });
            }
        }
    }
    Ok(())
}

/// A pattern of names that are not files, such as keys of objects.
#[derive(Clone, Debug)]
pub struct NamePattern {
    text: String,
    pattern: glob::Pattern,
    underscores: UnderscoreParts,
}

/// The parts of a pattern that begin with an underscore. A name that does is meant only if one of them matches it: those of
/// `_new/*` are the directory, and not the marker `_SUCCESS` in it.
#[derive(Clone, Debug)]
struct UnderscoreParts(Vec<glob::Pattern>);

impl UnderscoreParts {
    fn of(pattern: &str) -> Self {
        let parts = pattern.split('/').filter(|part| part.starts_with('_'));
        UnderscoreParts(parts.filter_map(|part| glob::Pattern::new(part).ok()).collect())
    }

    /// Returns true if `part` of a name begins with an underscore that the pattern does not have.
    fn skip(&self, part: &str) -> bool {
        part.starts_with('_') && !self.0.iter().any(|pattern| pattern.matches(part))
    }
}

impl NamePattern {
    /// Parses a pattern with the rules of [`Listing::of_pattern`].
    pub fn new(text: &str) -> Result<Self, ListingError> {
        let pattern = glob::Pattern::new(text)
            .map_err(|error| ListingError::Pattern { pattern: text.to_owned(), why: error.msg })?;
        Ok(NamePattern { text: text.to_owned(), pattern, underscores: UnderscoreParts::of(text) })
    }

    /// Returns the directories before the first part with characters of a pattern, with a slash at the end; empty if there
    /// are none.
    pub fn fixed_prefix(&self) -> &str {
        let end = self.text.find(['*', '?', '[']).unwrap_or(self.text.len());
        &self.text[..self.text[..end].rfind('/').map_or(0, |slash| slash + 1)]
    }

    /// Returns true if `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let options =
            MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, ..MatchOptions::new() };
        self.pattern.matches_with(name, options)
    }

    /// Returns true if a part of `name`, which matches, begins with an underscore that the pattern does not have.
    pub(super) fn skips(&self, name: &str) -> bool {
        name.split('/').any(|part| self.underscores.skip(part))
    }
}

/// The identities of directories, device and inode by path. Each is asked for once.
#[derive(Default)]
struct DirectoryIdentities(HashMap<PathBuf, (u64, u64)>);

impl DirectoryIdentities {
    /// Fails if one of the directories that lead from `root` to `path` contains itself, through a link.
    fn require_no_cycle(&mut self, path: &Path, root: &Path) -> Result<(), ListingError> {
        let mut above: Vec<(u64, u64)> = Vec::new();
        let directories: Vec<&Path> = path.ancestors().skip(1).take_while(|path| path.starts_with(root)).collect();
        for directory in directories.into_iter().rev() {
            let identity = match self.0.get(directory) {
                Some(identity) => *identity,
                None => {
                    let read = |cause| ListingError::Read { path: directory.to_owned(), cause };
                    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
                    let metadata = fs::metadata(here).map_err(read)?;
                    let identity = (metadata.dev(), metadata.ino());
                    self.0.insert(directory.to_owned(), identity);
                    identity
                }
            };
            if above.contains(&identity) {
                return Err(ListingError::Cycle(directory.to_owned()));
            }
            above.push(identity);
        }
        Ok(())
    }
}

/// Returns the leading directories of a pattern that have no characters of a pattern.
fn fixed_part(pattern: &str) -> PathBuf {
    let parts = Path::new(pattern).components();
    parts.take_while(|part| !part.as_os_str().to_str().is_some_and(is_pattern)).collect()
}

/// Returns `path` relative to `root`, or itself if it is elsewhere.
fn below<'a>(path: &'a Path, root: &Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

/// Returns the columns of the directories of `path`, a file. Fails with the name of a column that two of them have.
pub(super) fn directory_columns(path: &Path) -> Result<DirectoryColumns, String> {
    let mut columns: Vec<(Arc<str>, Option<Arc<str>>)> = Vec::new();
    for part in path.parent().into_iter().flat_map(Path::components) {
        let Some((name, value)) = directory_column(part.as_os_str()) else { continue };
        if columns.iter().any(|(other, _)| **other == *name) {
            return Err(name);
        }
        columns.push((name.into(), value.map(Into::into)));
    }
    Ok(columns.into())
}

/// Splits the name of a directory into column and value; `None` if it has none.
fn directory_column(name: &OsStr) -> Option<(String, Option<String>)> {
    let (name, value) = name.to_str()?.split_once('=')?;
    let value = (value != NULL_DIRECTORY).then(|| unescaped(value));
    (!name.is_empty()).then(|| (unescaped(name), value))
}

/// Decodes `%XX`, as Hive and drawoff write what a path or a reader would take for something else. Text that is no such
/// code stays, and so does all of a text that would not be UTF-8.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = match (first, after) {
            (b'%', [a, b, ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                std::str::from_utf8(&after[..2]).ok().and_then(|code| u8::from_str_radix(code, 16).ok())
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    fn names(root: &Path, listing: Result<Listing, ListingError>) -> Result<Vec<String>, String> {
        let listing = listing.map_err(|error| error.to_string().replace(&root.display().to_string(), "ROOT"))?;
        let names = listing.files.iter().map(|file| {
            let columns = file.columns.iter().map(|(name, value)| format!(" {name}={value:?}"));
            below(&file.path, root).display().to_string() + &columns.collect::<String>()
        });
        Ok(names.collect())
    }

    #[test]
    fn a_directory_is_listed_in_the_order_of_bytes() {
        let root =
            directory(&["b.csv", "a10.csv", "a9.csv", "B.csv", "a/z.csv", "a.csv", ".h.csv", "_SUCCESS", "é.csv"]);
        let found = names(root.path(), Listing::of_directory(root.path())).unwrap();
        assert_eq!(found, ["B.csv", "a.csv", "a/z.csv", "a10.csv", "a9.csv", "b.csv", "é.csv"]);
        assert_eq!(Listing::of_directory(root.path()).unwrap().skipped, 1);
    }

    #[test]
    fn patterns_match_names_and_directories() {
        let root = directory(&["a1.csv", "a2.csv", "_a.csv", ".a.csv", "d/x.csv", "d/e/y.csv", "n=1/a[1].csv"]);
        let found =
            |pattern: &str| names(root.path(), Listing::of_pattern(&root.path().join(pattern).display().to_string()));
        assert_eq!(found("a?.csv").unwrap(), ["a1.csv", "a2.csv"]);
        assert_eq!(found("*.csv").unwrap(), ["a1.csv", "a2.csv"]);
        assert_eq!(found("_*.csv").unwrap(), ["_a.csv"]);
        let marked = directory(&["_new/a.csv", "_new/_SUCCESS", "_new/_b.csv", "_new/_d/c.csv"]);
        let found_in_new = |pattern: &str| {
            names(marked.path(), Listing::of_pattern(&marked.path().join(pattern).display().to_string()))
        };
        assert_eq!(found_in_new("_new/*").unwrap(), ["_new/a.csv"]);
        assert_eq!(found_in_new("_n*/*").unwrap(), ["_new/a.csv"]);
        assert_eq!(
            found_in_new("*/_d/*").unwrap_err(),
            "the pattern ROOT/*/_d/* has only files whose names begin with `.` or `_`, which are skipped"
        );
        assert_eq!(found_in_new("_new/_*.csv").unwrap(), ["_new/_b.csv"]);
        assert_eq!(found("d*").unwrap(), ["d/e/y.csv", "d/x.csv"]);
        assert_eq!(found("**/y.csv").unwrap(), ["d/e/y.csv"]);
        assert_eq!(found("d/**/*.csv").unwrap(), ["d/e/y.csv", "d/x.csv"]);
        assert_eq!(
            found("A?.csv").unwrap_err(),
            "the pattern ROOT/A?.csv has no files to read",
            "names differ in case"
        );
        assert!(!NamePattern::new("A*.csv").unwrap().matches("a1.csv"));
        assert_eq!(found("n=*/*").unwrap(), ["n=1/a[1].csv n=Some(\"1\")"]);
        assert_eq!(found("n=1/*").unwrap(), ["n=1/a[1].csv"], "a directory that is named is no column");
        assert_eq!(found("*.json").unwrap_err(), "the pattern ROOT/*.json has no files to read");
        assert!(found("a[.csv").unwrap_err().ends_with("is not valid: invalid range pattern"));
    }

    #[test]
    fn directories_of_other_contents_are_refused() {
        let refused = |files: &[&str]| {
            let root = directory(files);
            names(root.path(), Listing::of_directory(root.path())).unwrap_err()
        };
        assert_eq!(refused(&[]), "ROOT has no files to read");
        assert!(refused(&["_x.csv"]).contains("has only files whose names begin with `.` or `_`"));
        assert!(refused(&["a.csv", "b.json"]).contains("different formats, such as ROOT/a.csv and ROOT/b.json"));
        assert!(refused(&["README.md", "b.json"]).contains("different formats"));
        assert!(refused(&["a.parquet", "b.arrow"]).contains("different formats"));
        assert!(refused(&["a.parquet", "_delta_log/0.json"]).contains("is a Delta table"));
        assert!(refused(&["a=1/a=2/x"]).contains("two directories of this path name the column `a`"));
        let root = directory(&["a.csv.gz", "b.tsv", "d/c.csv"]);
        assert_eq!(Listing::of_directory(root.path()).unwrap().files.len(), 3);
        let pattern = |pattern: &str| Listing::of_pattern(&root.path().join(pattern).display().to_string());
        std::os::unix::fs::symlink("d", root.path().join("e")).unwrap();
        assert_eq!(pattern("**/c.csv").unwrap().files.len(), 2, "a link beside its target");
        std::os::unix::fs::symlink("..", root.path().join("d/up")).unwrap();
        let cycle = pattern("**/*.csv").unwrap_err().to_string();
        assert!(cycle.contains("/up is a link to a directory that contains it"), "{cycle}");
        assert!(pattern("d/*/c.csv").unwrap_err().to_string().contains("no files to read"));
        assert!(pattern("d/../**/b.tsv").unwrap_err().to_string().contains("contains it"));
        assert_eq!(pattern("d/../d/c.c*").unwrap().files.len(), 1);
        assert!(Listing::of_directory(root.path()).unwrap_err().to_string().contains("a link to a directory"));
        assert!(Listing::of_directory(&root.path().join("no")).unwrap_err().to_string().starts_with("cannot list "));
    }

    #[test]
    fn names_of_directories_are_columns() {
        let columns = |path: &str| {
            let columns = directory_columns(Path::new(path)).unwrap();
            columns
                .iter()
                .map(|(name, value)| format!("{name}:{}", value.as_deref().unwrap_or("NULL")))
                .collect::<Vec<_>>()
        };
        assert_eq!(columns("country=NO/n=12/part-1.csv"), ["country:NO", "n:12"]);
        assert_eq!(columns("a=__HIVE_DEFAULT_PARTITION__/x"), ["a:NULL"]);
        assert_eq!(columns("a=%5F_HIVE_DEFAULT_PARTITION__/x"), ["a:__HIVE_DEFAULT_PARTITION__"]);
        assert_eq!(columns("a%2Fb=..%2Fx%3D1%20%C3%BC%00%25/x"), ["a/b:../x=1 ü\0%"]);
        assert_eq!(columns("a=/b=c=d/e=100%/f=%ff/x=y"), ["a:", "b:c=d", "e:100%", "f:%ff"]);
        assert_eq!(columns("plain/=x/file"), [""; 0]);
    }
}
