//! Members of zip archives as sources. The list of an archive is read by the zip crate; the bytes of a member are a part of
//! the file, inflated here and compared with their checksum.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::byte_source::ByteSource;
use super::expansion::Expansion;
use super::listing::{DirectoryColumns, ListingError, NamePattern, directory_columns, is_pattern, require_one_format};

/// The first bytes of an archive that has a member.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// A member of a zip archive.
#[derive(Clone, Debug)]
pub struct ArchiveMember {
    archive: PathBuf,
    /// Name in the archive, with its directories.
    name: String,
    /// Offset of its first byte in the archive.
    offset: u64,
    compressed_bytes: u64,
    bytes: u64,
    crc32: u32,
    is_deflated: bool,
}

/// The members of an archive that are sources.
#[derive(Debug)]
pub struct ArchiveListing {
    /// The members, in the order of the bytes of their names, with the columns of their directories.
    pub members: Vec<(ArchiveMember, DirectoryColumns)>,
    /// Members that were skipped because a part of their names begins with `.` or `_`.
    pub skipped: u64,
}

/// An error of an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The archive cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Path of the archive.
        path: PathBuf,
        /// The error of the system, or of its contents.
        #[source]
        cause: io::Error,
    },
    /// No member to read.
    #[error("{} has no {}", archive.display(), member.as_ref().map_or("files to read".to_owned(), |name| format!("member `{name}`; it has {}", known.join(", "))))]
    Empty {
        /// Path of the archive.
        archive: PathBuf,
        /// Name or pattern that matches no member.
        member: Option<String>,
        /// The first members.
        known: Vec<String>,
    },
    /// Two members with the same name, of which only one could be read.
    #[error("{} has two members with the same name", .0.display())]
    DuplicateNames(PathBuf),
    /// Members of different formats.
    #[error("{} has files of different formats, such as {first} and {second}", archive.display())]
    MixedFormats {
        /// Path of the archive.
        archive: PathBuf,
        /// A member of the first format.
        first: String,
        /// A member of another format.
        second: String,
    },
    /// A member that is encrypted, or compressed by a method that is not read.
    #[error("the member `{member}` of {} is {what}", archive.display())]
    Unsupported {
        /// Path of the archive.
        archive: PathBuf,
        /// The member.
        member: String,
        /// The reason.
        what: String,
    },
}

impl ArchiveListing {
    /// Lists the members of the archive that `path` is, or those that `path` names behind the path of the archive, which
    /// may be a pattern: `reports.zip/2026/*.csv`. `None` if no archive is there, and for Office documents, which are
    /// archives of other contents.
    pub fn of_path(path: &Path) -> Result<Option<Self>, ArchiveError> {
        let Some(archive) = path.ancestors().find(|path| path.is_file()) else { return Ok(None) };
        let read = |cause| ArchiveError::Read { path: archive.to_owned(), cause };
        let mut file = File::open(archive).map_err(read)?;
        let mut magic = Vec::new();
        file.by_ref().take(ZIP_MAGIC.len() as u64).read_to_end(&mut magic).map_err(read)?;
        let member = path.strip_prefix(archive).ok().and_then(Path::to_str).filter(|member| !member.is_empty());
        if magic != ZIP_MAGIC || path != archive && member.is_none() {
            return Ok(None);
        }
        // A damaged archive is named by the reader of sources for what it is.
        let Ok(mut zip) = ZipArchive::new(file) else { return Ok(None) };
        // Of two members with one name the crate keeps the last.
        if zip.has_duplicate_names() {
            return Err(ArchiveError::DuplicateNames(archive.to_owned()));
        }
        let mut listing = ArchiveListing { members: Vec::new(), skipped: 0 };
        // A member whose own name has characters of a pattern is that member.
        let pattern = member.filter(|member| is_pattern(member) && zip.index_for_name(member).is_none());
        let pattern = pattern.and_then(|pattern| NamePattern::new(pattern).ok());
        let mut known = Vec::new();
        for i in 0..zip.len() {
            let entry = zip.by_index_raw(i).map_err(|error| read(io::Error::other(error)))?;
            let name = entry.name().map_err(|error| read(io::Error::other(error)))?.into_owned();
            if name == "[Content_Types].xml" {
                return Ok(None);
            }
            if entry.is_dir() {
                continue;
            }
            let is_hidden = name.split('/').any(|part| part.starts_with(['.', '_']));
            let is_chosen = match (member, &pattern) {
                (Some(member), _) if member == name => true,
                (Some(_), Some(pattern)) => pattern.matches(&name) && !pattern.skips(&name),
                (Some(_), None) => false,
                (None, _) => !is_hidden,
            };
            if !is_hidden && known.len() < 10 {
                known.push(name.clone());
            }
            if !is_chosen {
                listing.skipped += u64::from(member.is_none());
                continue;
            }
            let unsupported =
                |what: String| ArchiveError::Unsupported { archive: archive.to_owned(), member: name.clone(), what };
            if entry.encrypted() {
                return Err(unsupported("encrypted".to_owned()));
            }
            let is_deflated = match entry.compression() {
                CompressionMethod::Stored => false,
                method if method == CompressionMethod::DEFLATE => true,
                method => return Err(unsupported(format!("compressed by another method than deflate ({method})"))),
            };
            let offset = entry.data_start().ok_or_else(|| read(io::ErrorKind::InvalidData.into()))?;
            // Directories that the pattern or the name of a member has are no columns.
            let below = match (&pattern, member) {
                (Some(pattern), _) => name.strip_prefix(pattern.fixed_prefix()).unwrap_or(&name),
                (None, Some(_)) => "",
                (None, None) => &name,
            };
            let columns = directory_columns(Path::new(below))
                .map_err(|column| unsupported(format!("in two directories that name the column `{column}`")))?;
            let member = ArchiveMember {
                archive: archive.to_owned(),
                name,
                offset,
                compressed_bytes: entry.compressed_size(),
                bytes: entry.size(),
                crc32: entry.crc32(),
                is_deflated,
            };
            listing.members.push((member, columns));
        }
        if listing.members.is_empty() {
            let member = member.map(str::to_owned).filter(|_| !known.is_empty());
            return Err(ArchiveError::Empty { archive: archive.to_owned(), member, known });
        }
        listing.members.sort_by(|(a, _), (b, _)| a.name.as_bytes().cmp(b.name.as_bytes()));
        let names = listing.members.iter().map(|(member, _)| &*member.name);
        if let Err(ListingError::MixedFormats { first, second, .. }) = require_one_format("", names) {
            return Err(ArchiveError::MixedFormats { archive: archive.to_owned(), first, second });
        }
        Ok(Some(listing))
    }
}

impl ArchiveMember {
    /// Returns the path of the archive.
    pub fn archive(&self) -> &Path {
        &self.archive
    }

    /// Returns the name in positions and messages: that of the member behind the path of the archive.
    pub fn display_name(&self) -> String {
        format!("{}/{}", self.archive.display(), self.name)
    }

    /// Returns the size without compression, in bytes, as the archive says.
    pub fn size_bytes(&self) -> u64 {
        self.bytes
    }

    /// Opens the member. It may expand to `max_expansion` times its compressed size; see [`Expansion::new`].
    pub fn open(&self, max_expansion: u64) -> io::Result<impl ByteSource + use<>> {
        let mut file = File::open(&self.archive)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let part = file.take(self.compressed_bytes);
        let bytes: Box<dyn Read + Send> = if self.is_deflated {
            let expansion = Expansion::new(max_expansion);
            let compressed = BufReader::with_capacity(256 << 10, expansion.counting(part));
            Box::new(expansion.limiting(DeflateDecoder::new(compressed)))
        } else {
            Box::new(part)
        };
        Ok(MemberSource { bytes, crc: Crc::new(), read: 0, member: self.clone() })
    }
}

/// The bytes of a member.
struct MemberSource {
    bytes: Box<dyn Read + Send>,
    crc: Crc,
    read: u64,
    member: ArchiveMember,
}

impl Read for MemberSource {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let n = self.bytes.read(out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("the archive is truncated"),
            _ => error,
        })?;
        self.crc.update(&out[..n]);
        self.read += n as u64;
        if n == 0 && (self.read != self.member.bytes || self.crc.sum() != self.member.crc32) {
            return Err(damaged("the member differs from its size or its checksum in the archive"));
        }
        Ok(n)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl ByteSource for MemberSource {
    fn size_bytes(&self) -> Option<u64> {
        Some(self.member.bytes)
    }
}
