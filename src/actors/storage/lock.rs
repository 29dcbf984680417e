//! The lock of a data directory: one process at a time, and the second learns at once who the first is.
//!
//! The lock is the operating system's (`flock`), so that it ends with the process however that ends. The file's text
//! names the holder and means nothing by itself.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use super::error::StorageError;

const FILE: &str = "LOCK";

/// Longest text of a lock file that is shown.
const HOLDER_BYTES: u64 = 200;

/// Holds the lock until dropped.
#[derive(Debug)]
pub(crate) struct DirLock {
    file: File,
}

impl DirLock {
    /// Takes the lock of `dir`, or says who has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| StorageError::NotWritable { path: path.clone(), source: source.into() })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StorageError::InUse { path: dir.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(StorageError::io("locking", path, source)),
        }
        let text = format!("process {} ({})\n", std::process::id(), program());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(|source| StorageError::io("writing", &path, source))?;
        Ok(Self { file })
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is being started by another thread has a copy of the descriptor
        // until it runs its program, and would hold the lock for that long.
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the lock of the data directory goes with its file");
        }
    }
}

/// Who has the directory, as far as can be told without taking the lock, which would keep a node from starting: what the
/// file says, while the system says that it is locked.
pub(crate) fn holder_of(dir: &Path) -> Option<String> {
    let mut file = File::open(dir.join(FILE)).ok()?;
    let text = holder(&mut file);
    // Where the system does not tell, the last holder is named.
    is_locked(&file).unwrap_or(true).then_some(text)
}

/// Whether anybody has locked the file, where the system tells.
fn is_locked(file: &File) -> Option<bool> {
    let inode = format!(":{}", file.metadata().ok()?.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // Such as `1: FLOCK  ADVISORY  WRITE 2811 08:01:1573 0 EOF`.
    let is_it = |line: &str| line.contains("FLOCK") && line.split_whitespace().any(|part| part.ends_with(&inode));
    Some(locks.lines().any(is_it))
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(HOLDER_BYTES).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

fn program() -> String {
    std::env::current_exe()
        .ok()
        .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "unknown program".to_owned())
}
