//! Writing one segment file: allocated, written, synced, renamed into place.
//!
//! Until it is renamed the file is called `.tmp`, and a start removes it. It is allocated in its full length first, so that
//! a full disk shows before anything is written, and cut to its real length before anybody maps it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::layout::{as_u64, file_name};
use crate::actors::{
    fault::fault_point,
    storage::{
        StorageError,
        open::{create, sync_dir},
    },
};

/// The end of the name of a file that is not complete.
pub(super) const UNFINISHED: &str = ".tmp";

/// A segment that is being written.
pub(super) struct SegmentFile<'s> {
    scope: &'s str,
    file: File,
    dir: PathBuf,
    first: u64,
    written: u64,
}

impl<'s> SegmentFile<'s> {
    /// Makes the file for the segment that begins at `first`, with room for so many bytes.
    pub(super) fn create(scope: &'s str, dir: &Path, first: u64, bytes: u64) -> Result<Self, StorageError> {
        create(dir)?;
        let path = unfinished(dir, first);
        // There is one only where an earlier attempt could not remove its own.
        let _gone = std::fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|source| failed("making", &path, source))?;
        let made = Self { scope, file, dir: dir.to_owned(), first, written: 0 };
        allocate(&made.file, bytes).map_err(|source| failed("making room for", &path, source))?;
        fault_point!(scope, "segment.allocated");
        Ok(made)
    }

    /// Appends bytes, and has them written out: a segment's worth of dirty pages at once would hold up the committer's
    /// sync.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let written = self.file.write_all_at(bytes, self.written);
        written.map_err(|source| failed("writing", &unfinished(&self.dir, self.first), source))?;
        write_out(&self.file, self.written, as_u64(bytes.len()));
        self.written = self.written.saturating_add(as_u64(bytes.len()));
        Ok(())
    }

    /// Ends the file with its footer and gives it its name. When this returns, all of it is on disk.
    pub(super) fn seal(self, footer: &[u8]) -> Result<PathBuf, StorageError> {
        let (from, to) = (unfinished(&self.dir, self.first), self.dir.join(file_name(self.first)));
        fault_point!(self.scope, "segment.written");
        let end = self.written.saturating_add(as_u64(footer.len()));
        self.file
            .write_all_at(footer, self.written)
            .and_then(|()| self.file.set_len(end))
            .and_then(|()| self.file.set_permissions(std::fs::Permissions::from_mode(0o400)))
            .and_then(|()| self.file.sync_all())
            .map_err(|source| failed("writing", &from, source))?;
        fault_point!(self.scope, "segment.synced");
        std::fs::rename(&from, &to).map_err(|source| failed("renaming", &from, source))?;
        sync_dir(&self.dir)?;
        fault_point!(self.scope, "segment.renamed");
        Ok(to)
    }
}

impl Drop for SegmentFile<'_> {
    fn drop(&mut self) {
        // Once it has its name there is none to remove. Otherwise nothing of it is of use, and the disk may be full.
        let _gone = std::fs::remove_file(unfinished(&self.dir, self.first));
    }
}

fn unfinished(dir: &Path, first: u64) -> PathBuf {
    dir.join(file_name(first) + UNFINISHED)
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> StorageError {
    match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => StorageError::DiskFull,
        _ => StorageError::io(action, path, source),
    }
}

/// Has the file system set aside room for the file.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the length of the call, which touches no memory of ours.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        // A file system that cannot do this refuses the write instead: nothing is written through a map.
        0 | libc::EOPNOTSUPP | libc::EINVAL => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Here a full disk shows when the bytes are written, which is no worse: nothing is written through a map.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn allocate(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

/// Has the system begin to write these bytes to the disk. It promises nothing: the sync of the whole file does. A sync of
/// each part would too, and would have the committer's wait for it: publishers lost up to half of their rate to that.
#[cfg(target_os = "linux")]
fn write_out(file: &File, offset: u64, bytes: u64) {
    use std::os::fd::AsRawFd;
    if let (Ok(offset), Ok(bytes)) = (libc::off64_t::try_from(offset), libc::off64_t::try_from(bytes)) {
        // SAFETY: the descriptor is open for the length of the call, which touches no memory of ours.
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn write_out(_: &File, _: u64, _: u64) {}
