//! What the keyring promises, each on a directory of its own. Keys are slow to make: few are.

use std::{fs, os::unix::fs::PermissionsExt, sync::Barrier};

use tempfile::TempDir;

use super::*;
use crate::wire::{
    key::KeyError,
    key_file::{KEY_FILE_BYTES, KeyFileError},
    sign::tagged,
};

fn keyring() -> (TempDir, PathBuf, Keyring) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("keys");
    let keyring = Keyring::open(&dir).unwrap();
    (parent, dir, keyring)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Puts bytes where the key file of `name` lies, for its owner only.
fn put(dir: &Path, name: &str, bytes: &[u8]) {
    let path = file::path_of(dir, name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn an_identity_is_made_once_and_found_after_a_restart() {
    let (_parent, dir, keyring) = keyring();
    assert_eq!(keyring.find("alice"), None);
    let alice = keyring.make_or_find("alice").unwrap();
    assert_eq!(keyring.make_or_find("alice").unwrap(), alice);
    assert!(keyring.contains(alice));
    let public = keyring.public_key("alice").unwrap();
    drop(keyring);

    let keyring = Keyring::open(dir).unwrap();
    assert_eq!(keyring.names(), [("alice".to_owned(), alice)]);
    assert!(keyring.damaged().is_empty());
    let message = tagged("test", b"message");
    let signature = keyring.signer(alice).unwrap().sign(&message).unwrap();
    assert_eq!(public.verify(&message, &signature), Ok(()));
    assert_eq!(public.id(), alice);
}

#[test]
fn the_nodes_own_identity_is_made_on_first_use() {
    let (_parent, _dir, keyring) = keyring();
    assert!(keyring.names().is_empty(), "opening makes no key");
    let own = keyring.own().unwrap();
    assert_eq!(keyring.own().unwrap(), own);
    assert_eq!(keyring.find(OWN_NAME), Some(own));
}

#[test]
fn files_and_directory_are_for_their_owner_only_and_nothing_temporary_is_left() {
    let (_parent, dir, keyring) = keyring();
    keyring.create("alice").unwrap();
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["alice.key"]);
    assert_eq!(mode(&dir.join("alice.key")), 0o600);
}

#[test]
fn a_name_is_created_once_and_looking_never_creates() {
    let (_parent, dir, keyring) = keyring();
    assert!(matches!(keyring.existing("alice"), Err(KeyringError::UnknownName(_))));
    assert!(matches!(keyring.public_key("alice"), Err(KeyringError::UnknownName(_))));
    assert!(matches!(keyring.signer(XaeroID::from([1; 32])), Err(KeyringError::UnknownWriter(_))));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    keyring.create("alice").unwrap();
    assert!(matches!(keyring.create("alice"), Err(KeyringError::Exists(_))));
    for bad in ["", "../up", ".hidden"] {
        assert!(matches!(keyring.make_or_find(bad), Err(KeyringError::BadName { .. })), "{bad:?}");
        assert!(matches!(keyring.create(bad), Err(KeyringError::BadName { .. })), "{bad:?}");
        assert!(matches!(keyring.existing(bad), Err(KeyringError::BadName { .. })), "{bad:?}");
    }
}

#[test]
fn threads_that_want_one_name_get_one_identity() {
    let (_parent, dir, keyring) = keyring();
    let barrier = Barrier::new(4);
    let ids: Vec<XaeroID> = std::thread::scope(|scope| {
        let make = || {
            barrier.wait();
            keyring.make_or_find("alice").unwrap()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(Keyring::open(dir).unwrap().find("alice"), Some(ids[0]));
}

#[test]
fn a_damaged_file_blocks_its_own_name_only_and_is_never_overwritten() {
    let (_parent, dir, keyring) = keyring();
    let alice = keyring.create("alice").unwrap();
    let good = fs::read(dir.join("alice.key")).unwrap();
    drop(keyring);
    put(&dir, "empty", &[]);
    put(&dir, "zeros", &[0; KEY_FILE_BYTES]);
    put(&dir, "short", &good[..1000]);
    let keyring = Keyring::open(&dir).unwrap();
    assert_eq!(keyring.names(), [("alice".to_owned(), alice)]);
    assert_eq!(keyring.damaged().len(), 3);
    let expected = [
        ("empty", KeyFileError::WrongLength(0)),
        ("zeros", KeyFileError::NotAKeyFile),
        ("short", KeyFileError::WrongLength(1000)),
    ];
    for (name, error) in expected {
        let before = fs::read(file::path_of(&dir, name)).unwrap();
        for result in [keyring.make_or_find(name), keyring.existing(name)] {
            assert!(matches!(result, Err(KeyringError::BadFile { source, .. }) if source == error), "{name}");
        }
        assert!(matches!(keyring.create(name), Err(KeyringError::Exists(_))), "{name}");
        assert!(matches!(keyring.import(name, &dir.join("alice.key")), Err(KeyringError::Exists(_))), "{name}");
        assert_eq!(fs::read(file::path_of(&dir, name)).unwrap(), before, "{name}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused_until_it_is_closed() {
    let (_parent, dir, keyring) = keyring();
    let alice = keyring.create("alice").unwrap();
    let path = dir.join("alice.key");
    for open in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
        let refused = keyring.signer(alice).err().unwrap();
        assert!(matches!(refused, KeyringError::FilePermissions { mode, .. } if mode == open));
        assert!(refused.to_string().contains("chmod 600"));
        assert!(matches!(Keyring::open(&dir).unwrap().damaged(), [KeyringError::FilePermissions { .. }]));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(keyring.signer(alice).unwrap().id(), alice);

    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(Keyring::open(&dir), Err(KeyringError::DirectoryPermissions { mode: 0o755, .. })));
}

#[test]
fn a_secret_of_another_key_is_found_on_first_use() {
    let (_parent, dir, keyring) = keyring();
    keyring.create("alice").unwrap();
    keyring.create("bob").unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| fs::read(file::path_of(&dir, name)).unwrap());
    // Bob's public half over alice's secret half, under a right checksum.
    let mut mixed = [&bob[..905], &alice[905..2186]].concat();
    mixed.extend(crc32c::crc32c(&mixed).to_le_bytes());
    put(&dir, "bob", &mixed);
    let keyring = Keyring::open(&dir).unwrap();
    let signer = keyring.signer(keyring.find("bob").unwrap());
    let source = KeyFileError::Key(KeyError::Mismatch);
    assert!(matches!(signer.err(), Some(KeyringError::BadFile { source: found, .. }) if found == source));

    // And a whole file that is somebody else's by now.
    let id = keyring.find("alice").unwrap();
    put(&dir, "alice", &bob);
    assert!(matches!(keyring.signer(id).err(), Some(KeyringError::Replaced(_))));
}

#[test]
fn a_half_written_file_of_a_crash_is_removed() {
    let (_parent, dir, keyring) = keyring();
    drop(keyring);
    fs::write(dir.join(".new-alice"), b"XKEY").unwrap();
    let keyring = Keyring::open(&dir).unwrap();
    assert_eq!(keyring.find("alice"), None);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn an_exported_key_is_the_same_writer_elsewhere() {
    let (parent, _dir, keyring) = keyring();
    let alice = keyring.create("alice").unwrap();
    let copy = parent.path().join("alice.backup");
    keyring.export("alice", &copy).unwrap();
    assert_eq!(mode(&copy), 0o600);
    assert!(matches!(keyring.export("alice", &copy), Err(KeyringError::Io { .. })), "never over a file");
    assert!(matches!(keyring.import("bob", &copy), Err(KeyringError::AlreadyHere(name)) if name == "alice"));

    let elsewhere = Keyring::open(parent.path().join("elsewhere")).unwrap();
    assert_eq!(elsewhere.import("al", &copy).unwrap(), alice);
    assert_eq!(elsewhere.signer(alice).unwrap().id(), alice);
    assert!(matches!(elsewhere.import("al", &copy), Err(KeyringError::Exists(_))));
    assert!(matches!(elsewhere.import("bad", parent.path()), Err(KeyringError::Io { .. })));
}
