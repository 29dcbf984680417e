//! A look at the files before LMDB maps them.
//!
//! LMDB believes its meta pages: a data file that was cut short ends the process with SIGBUS at the first read past the
//! end, and a damaged root page number does worse. So the two meta pages are checked here against each other and
//! against the length of the file, through a read-only mapping of just these pages.

use std::{fs::File, io::ErrorKind, path::Path};

use memmap2::MmapOptions;

use super::{
    error::StorageError,
    pages::Tree,
    tail::{self, Lack},
};

const FORMAT_FILE: &str = "FORMAT";

/// The newest format of a data directory that this version reads, and the one that it writes: 2 has event ids in the log.
const FORMAT: u32 = 2;

const FORMAT_PREFIX: &str = "xaeroflux data ";

/// A line of the format file that is added once the data file exists. From then on a directory without it has lost
/// everything, and must not be taken for a new one: its authors' logs would begin again at 1, and fork.
const BEGUN: &str = "begun";

const LMDB_MAGIC: u32 = 0xBEEF_C0DE;
const LMDB_VERSION: u32 = 1;

// Offsets in a meta page of LMDB 0.9 on a 64-bit machine: a page header of 16 bytes, then `MDB_meta`.
const MAGIC_AT: usize = 16;
const VERSION_AT: usize = 20;
const PAGE_SIZE_AT: usize = 40;
const FREE_ROOT_AT: usize = 80;
const MAIN_AT: usize = 88;
const MAIN_ROOT_AT: usize = 128;
const LAST_PAGE_AT: usize = 136;
const TXN_AT: usize = 144;
const META_BYTES: usize = 152;

/// Root page number of an empty table.
const NO_PAGE: u64 = u64::MAX;

/// Checks the format of the directory, and marks a new one with ours.
pub(crate) fn format(dir: &Path) -> Result<(), StorageError> {
    if has_format(dir)? {
        return Ok(());
    }
    let path = dir.join(FORMAT_FILE);
    mark(dir, &path, &format!("{FORMAT_PREFIX}{FORMAT}\n"))
        .map_err(|source| StorageError::NotWritable { path, source: source.into() })
}

/// Whether the directory has a format, which must be one that this version reads. Changes nothing.
pub(crate) fn has_format(dir: &Path) -> Result<bool, StorageError> {
    let path = dir.join(FORMAT_FILE);
    let read = match std::fs::read_to_string(&path) {
        // The process that made it died before it wrote it.
        Ok(text) if text.is_empty() && !dir.join("data.mdb").exists() => Err(ErrorKind::NotFound.into()),
        read => read,
    };
    match read {
        Ok(text) => {
            let first = text.lines().next().unwrap_or("");
            let found = first.trim().strip_prefix(FORMAT_PREFIX).unwrap_or("unknown").to_owned();
            match found.parse::<u32>() {
                Ok(format) if format <= FORMAT => Ok(true),
                Ok(_) => Err(StorageError::NewerFormat { path: dir.to_owned(), found, known: FORMAT }),
                Err(_) => {
                    Err(StorageError::DamagedFile { path, what: format!("it should read \"{FORMAT_PREFIX}{FORMAT}\"") })
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if dir.join("data.mdb").exists() {
                return Err(StorageError::DamagedFile {
                    path,
                    what: "it is missing beside a data file: this is not a data directory of xaeroflux".to_owned(),
                });
            }
            Ok(false)
        }
        Err(source) => Err(StorageError::io("reading", path, source)),
    }
}

/// Notes that the directory has its data file, and that it is of our format from now on: what is written next, older
/// versions would take for damage.
pub(crate) fn mark_begun(dir: &Path) -> Result<(), StorageError> {
    let path = dir.join(FORMAT_FILE);
    let text = format!("{FORMAT_PREFIX}{FORMAT}\n{BEGUN}\n");
    if std::fs::read_to_string(&path).is_ok_and(|current| current == text) {
        return Ok(());
    }
    mark(dir, &path, &text).map_err(|source| StorageError::NotWritable { path, source: source.into() })
}

pub(crate) fn is_begun(dir: &Path) -> bool {
    std::fs::read_to_string(dir.join(FORMAT_FILE)).is_ok_and(|text| text.lines().any(|line| line == BEGUN))
}

/// Puts the mark of our format into the directory: whole or not at all, since a directory with half a mark is refused.
fn mark(dir: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let new = dir.join("FORMAT.new");
    std::fs::write(&new, text)?;
    File::open(&new)?.sync_all()?;
    std::fs::rename(&new, path)?;
    // Before there is a data file, which is refused without the mark.
    File::open(dir)?.sync_all()
}

/// Checks the meta pages and the length of the data file, if there is one. Where it lacks free pages only, it gets them.
pub(crate) fn data_file(dir: &Path) -> Result<(), StorageError> {
    let path = dir.join("data.mdb");
    let Some((length, need)) = inspect(dir)? else { return Ok(()) };
    tracing::warn!(length, need, "lengthened a data file whose process died before it could");
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(need))
        .map_err(|source| StorageError::NotWritable { path, source: source.into() })
}

/// As [`data_file`], and changes nothing: returns the length that the file has and the one that it should get.
pub(crate) fn inspect(dir: &Path) -> Result<Option<(u64, u64)>, StorageError> {
    let path = dir.join("data.mdb");
    let empty =
        |path| if is_begun(dir) { Err(StorageError::Truncated { path, have: 0, need: 2 * 4096 }) } else { Ok(None) };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return empty(path),
        Err(source) => return Err(StorageError::io("opening", path, source)),
    };
    let length = file.metadata().map_err(|source| StorageError::io("reading", &path, source))?.len();
    if length == 0 {
        // Unless it had been begun, LMDB was interrupted before it wrote its first page: there is nothing to lose.
        return empty(path);
    }
    let damaged = |what: String| StorageError::DamagedFile { path: path.clone(), what };
    let metas = read_metas(&file, length).map_err(|source| StorageError::io("mapping", &path, source))?;
    let Some(metas) = metas else {
        return Err(StorageError::Truncated { path, have: length, need: 2 * 4096 });
    };
    for (number, meta) in (0..).zip(&metas) {
        if let Some(what) = meta.fault(number) {
            return Err(damaged(format!("meta page {number}: {what}")));
        }
    }
    let [first, second] = &metas;
    let newest = if second.txn > first.txn { second } else { first };
    let need = metas.iter().map(Meta::bytes).max().unwrap_or(0);
    if need <= length {
        return Ok(None);
    }
    let lack = if need == newest.bytes() {
        let page = u64::from(newest.page_size);
        tail::lack(&file, page, newest.free_root, length / page, newest.last_page)
            .map_err(|source| StorageError::io("reading", &path, source))?
    } else {
        Lack::UsedPages
    };
    match lack {
        Lack::FreePages => Ok(Some((length, need))),
        Lack::UsedPages => Err(StorageError::Truncated { path, have: length, need }),
        Lack::Unknown(what) => Err(damaged(format!("the list of free pages: {what}"))),
    }
}

/// The fields of a meta page that can be checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    magic: u32,
    version: u32,
    pub(super) page_size: u32,
    free_root: u64,
    main_root: u64,
    pub(super) last_page: u64,
    pub(super) txn: u64,
    /// The list of free pages.
    pub(super) free: Tree,
    /// The tree that names the tables.
    pub(super) main: Tree,
}

impl Meta {
    fn parse(page: &[u8]) -> Option<Self> {
        let four = |at: usize| page.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let eight = |at: usize| page.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        Some(Self {
            magic: four(MAGIC_AT)?,
            version: four(VERSION_AT)?,
            page_size: four(PAGE_SIZE_AT)?,
            free_root: eight(FREE_ROOT_AT)?,
            main_root: eight(MAIN_ROOT_AT)?,
            last_page: eight(LAST_PAGE_AT)?,
            txn: eight(TXN_AT)?,
            free: page.get(PAGE_SIZE_AT..).and_then(Tree::parse)?,
            main: page.get(MAIN_AT..).and_then(Tree::parse)?,
        })
    }

    /// Bytes that the file must have.
    fn bytes(&self) -> u64 {
        self.last_page.saturating_add(1).saturating_mul(u64::from(self.page_size))
    }

    /// Which rule of LMDB's format the page breaks, if any.
    pub(super) fn fault(&self, number: u64) -> Option<&'static str> {
        let root_ok = |root: u64| root == NO_PAGE || (root >= 2 && root <= self.last_page);
        if self.magic != LMDB_MAGIC {
            Some("it does not start with LMDB's magic")
        } else if self.version != LMDB_VERSION {
            Some("its version is not that of LMDB 0.9")
        } else if !self.page_size.is_power_of_two() || !(512..=65536).contains(&self.page_size) {
            Some("its page size is not a power of two")
        } else if self.txn > 1 && self.txn % 2 != number {
            Some("its transaction belongs on the other meta page")
        } else if !root_ok(self.free_root) || !root_ok(self.main_root) {
            Some("a root page lies outside of the file")
        } else {
            None
        }
    }
}

/// Both meta pages; `None` where the file is too short to have them.
pub(super) fn read_metas(file: &File, length: u64) -> std::io::Result<Option<[Meta; 2]>> {
    let map = |from: u64, bytes: usize| {
        // SAFETY: the range lies within the file, which no process of ours ever makes shorter.
        unsafe { MmapOptions::new().offset(from).len(bytes).map(file) }
    };
    let reaches = |bytes: u64| length >= bytes;
    if !reaches(u64::try_from(META_BYTES).unwrap_or(u64::MAX)) {
        return Ok(None);
    }
    let Some(first) = Meta::parse(&map(0, META_BYTES)?) else { return Ok(None) };
    // A damaged page size is reported as such; until then the usual one finds the second page.
    let page = if first.page_size.is_power_of_two() && (512..=65536).contains(&first.page_size) {
        u64::from(first.page_size)
    } else {
        4096
    };
    if !reaches(page.saturating_mul(2)) {
        return Ok(None);
    }
    let second = Meta::parse(&map(page, META_BYTES)?);
    Ok(second.map(|second| [first, second]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_whose_marking_was_interrupted_is_marked_again() {
        let dir = tempfile::tempdir().unwrap();
        // What a crash leaves: the new mark is not whole, and has not taken its name.
        std::fs::write(dir.path().join("FORMAT.new"), "xaero").unwrap();
        format(dir.path()).unwrap();
        format(dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(FORMAT_FILE)).unwrap(), "xaeroflux data 2\n");
    }
}
