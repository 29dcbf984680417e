//! A look at the key files that changes nothing, for a verification: their public parts only.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    KeyringError, endpoint, file,
    succession::{self, CONTINUED, RETIRED, VOUCHED},
};
use crate::wire::{id::XaeroID, key::PublicKey, key_file};

/// Mode of a key file: its owner reads and writes.
const FILE_MODE: u32 = 0o600;

/// What was found.
#[derive(Default)]
pub(crate) struct Inspected {
    /// The public keys of the files that are whole.
    pub(crate) keys: Vec<PublicKey>,
    /// Each file that is not as it should be, under the directory of keys, and what is wrong with it.
    pub(crate) faults: Vec<(PathBuf, String)>,
}

/// Looks at the directory of keys, if there is one.
pub(crate) fn inspect(dir: &Path) -> Inspected {
    let mut found = Inspected::default();
    found.directory(dir, Path::new(""));
    found.directory(dir, Path::new(RETIRED));
    found.faults.extend(endpoint::fault(dir));
    for within in [VOUCHED, CONTINUED] {
        for (name, path) in files(dir, Path::new(within), ".vouch") {
            let decoded = fs::read(dir.join(&path)).ok().and_then(|bytes| succession::decode(&bytes));
            let named_for = decoded.map(|statement| if within == VOUCHED { statement.new } else { statement.old });
            if named_for.is_none_or(|writer| writer.to_string() != name) {
                found.faults.push((path, "the statement that one key continues another does not hold".to_owned()));
            }
        }
    }
    found
}

impl Inspected {
    fn directory(&mut self, dir: &Path, within: &Path) {
        let full = dir.join(within);
        match fs::metadata(&full) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                let mode = metadata.permissions().mode() & 0o777;
                self.faults
                    .push((within.to_owned(), KeyringError::DirectoryPermissions { path: full, mode }.to_string()));
            }
            Ok(_) => {}
            Err(_) => return,
        }
        for (name, path) in files(dir, within, ".key") {
            if within.as_os_str().is_empty() && super::check(&name).is_err() {
                continue;
            }
            match public(&dir.join(&path)) {
                Ok(key) => {
                    // A retired key lies under its writer's identifier.
                    let is_named = name.parse::<XaeroID>().is_ok_and(|id| id == key.id());
                    if within == Path::new(RETIRED) && !is_named {
                        self.faults
                            .push((path, "the key in it is not of the writer that the file is named for".to_owned()));
                    }
                    self.keys.push(key);
                }
                Err(what) => self.faults.push((path, what)),
            }
        }
    }
}

/// The public part of a key file.
fn public(path: &Path) -> Result<PublicKey, String> {
    let bytes = file::read_private(path).map_err(|error| error.to_string())?;
    let mode = fs::metadata(path).map_or(FILE_MODE, |metadata| metadata.permissions().mode() & 0o777);
    if mode != FILE_MODE {
        return Err(format!(
            "the key file has mode {mode:o}, and should have {FILE_MODE:o}: its owner cannot use it so"
        ));
    }
    key_file::public_part(&bytes).map_err(|error| error.to_string())
}

/// The files with this ending: their names without it, and their paths under the directory of keys. In order.
fn files(dir: &Path, within: &Path, ending: &str) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(dir.join(within)) else { return Vec::new() };
    let named = |entry: fs::DirEntry| {
        let file = entry.file_name();
        let name = file.to_str()?.strip_suffix(ending).filter(|name| !name.starts_with('.'))?;
        Some((name.to_owned(), within.join(&file)))
    };
    let mut files: Vec<_> = entries.filter_map(|entry| named(entry.ok()?)).collect();
    files.sort_unstable();
    files
}
