//! Data directories that are copied, and put back from a copy, as people do with their backups.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part of this")]

use std::{fs, path::Path};

/// Copies a directory with everything in it; permissions stay, since keys with others are refused.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
}

/// Overwrites the files of a directory with those of a backup, in place, and removes what the backup does not have.
pub fn restore(backup: &Path, dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let saved = backup.join(entry.file_name());
        match (saved.exists(), entry.file_type().unwrap().is_dir()) {
            (true, true) => restore(&saved, &entry.path()),
            // The file stays the one it was: its inode is what a copy is told by.
            (true, false) => fs::write(entry.path(), fs::read(saved).unwrap()).unwrap(),
            (false, true) => fs::remove_dir_all(entry.path()).unwrap(),
            (false, false) => fs::remove_file(entry.path()).unwrap(),
        }
    }
}
