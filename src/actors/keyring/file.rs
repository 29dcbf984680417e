//! Key files on disk: read only when nobody else can, written whole or not at all.
//!
//! A file is written under a temporary name, synced, renamed, and the directory synced: after a crash there is the whole
//! file or none. Temporary names start with a dot, which no identity's name does, so left-overs are told apart.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::KeyringError;
use crate::wire::key_file::KEY_FILE_BYTES;

/// What the file of an identity ends with.
const ENDING: &str = ".key";

/// What the temporary name of a file that is being written starts with.
const TEMPORARY: &str = ".new-";

/// Mode of a key file: its owner reads and writes.
const FILE_MODE: u32 = 0o600;

/// Mode of the directory of keys: its owner only.
const DIRECTORY_MODE: u32 = 0o700;

/// The permission bits of everyone but the owner.
const OTHERS: u32 = 0o077;

/// Most bytes read of one key file: enough for any later version to be recognised, little enough for a file that is
/// something else entirely.
const MAX_READ_BYTES: usize = 64 * 1024;

/// The file of the identity with this name, which was checked.
pub(super) fn path_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{ENDING}"))
}

/// Makes the directory if there is none, and checks that it is its owner's alone.
pub(super) fn open_directory(dir: &Path) -> Result<(), KeyringError> {
    if !dir.exists() {
        let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir);
        made.map_err(io_error("create the key directory", dir))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent)?;
        }
    }
    let metadata = fs::metadata(dir).map_err(io_error("look at the key directory", dir))?;
    match metadata.permissions().mode() & 0o777 {
        mode if mode & OTHERS == 0 => Ok(()),
        mode => Err(KeyringError::DirectoryPermissions { path: dir.into(), mode }),
    }
}

/// A directory among the keys, made if there is none.
pub(super) fn open_subdirectory(dir: &Path, name: &str) -> Result<PathBuf, KeyringError> {
    let path = dir.join(name);
    open_directory(&path)?;
    Ok(path)
}

/// The names that have a file here, in no order. Files that a crash left half written are removed on the way.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, KeyringError> {
    let failed = || io_error("list the key directory", dir);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed())? {
        let file_name = entry.map_err(failed())?.file_name();
        let Some(file_name) = file_name.to_str() else { continue };
        if file_name.starts_with(TEMPORARY) {
            let path = dir.join(file_name);
            fs::remove_file(&path).map_err(io_error("remove the half-written key file", &path))?;
        } else if let Some(name) = file_name.strip_suffix(ENDING).filter(|name| super::check(name).is_ok()) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The bytes of an identity's file, once its permissions were checked.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let file = File::open(path).map_err(io_error("open the key file", path))?;
    // Asked of the open file, not of the path, which could be another one by now.
    let metadata = file.metadata().map_err(io_error("look at the key file", path))?;
    match metadata.permissions().mode() & 0o777 {
        mode if mode & OTHERS == 0 => read(file, path),
        mode => Err(KeyringError::FilePermissions { path: path.into(), mode }),
    }
}

/// The bytes of a key file from somewhere else, whose permissions are not ours to judge.
pub(super) fn read_foreign(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    read(File::open(path).map_err(io_error("open the key file", path))?, path)
}

fn read(file: File, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    // One byte more than a key file has, so that reading one never makes the vector grow and leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES + 1));
    let limit = u64::try_from(MAX_READ_BYTES).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(io_error("read the key file", path))?;
    Ok(bytes)
}

/// Writes the file of a new identity: it is there whole, and survives a crash, once this returns.
///
/// The caller has made sure that the name is free, and keeps others from taking it meanwhile.
pub(super) fn write_new(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), KeyringError> {
    write_new_as(dir, &format!("{name}{ENDING}"), bytes)
}

/// As [`write_new`], under a file name of the caller's.
pub(super) fn write_new_as(dir: &Path, file_name: &str, bytes: &[u8]) -> Result<(), KeyringError> {
    let temporary = dir.join(format!("{TEMPORARY}{file_name}"));
    let path = dir.join(file_name);
    let written = write_synced(&temporary, bytes, OpenOptions::new().create(true).truncate(true))
        .map_err(io_error("write the key file", &temporary))
        .and_then(|()| fs::rename(&temporary, &path).map_err(io_error("rename the key file to", &path)));
    if written.is_err() {
        // What is left would be removed at the next start anyway; its secret should not lie there until then.
        drop(fs::remove_file(&temporary));
    }
    written?;
    sync_directory(dir)
}

/// Writes a copy of a key to where the user wants it, never over a file that is there.
pub(super) fn write_export(path: &Path, bytes: &[u8]) -> Result<(), KeyringError> {
    write_synced(path, bytes, OpenOptions::new().create_new(true))
        .map_err(io_error("write the exported key file", path))
}

fn write_synced(path: &Path, bytes: &[u8], options: &mut OpenOptions) -> io::Result<()> {
    let mut file = options.write(true).mode(FILE_MODE).open(path)?;
    // The mode above counts only where the file is new, and the umask takes from it.
    file.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(super) fn sync_directory(dir: &Path) -> Result<(), KeyringError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync the directory", dir))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyringError {
    move |source| KeyringError::Io { action, path: path.into(), source }
}
