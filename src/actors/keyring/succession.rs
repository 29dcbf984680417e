//! Succession: what happens to the identities of a data directory that was copied or restored, and to one whose log forked.
//!
//! A writer is one key in one directory. Two directories that publish under one key would fork its log, and nobody could
//! tell which branch is right. So when a directory finds that it is not the one that its keys were made for, each of its
//! identities gets a fresh key, and the old key signs one last statement: that the new one continues its work. The old
//! key is put away and never writes again here; in the directory that was copied from it goes on as if nothing had been.
//!
//! Where that came too late, a key has signed two histories (a backup was restored in place, a key was used in two
//! directories) and nothing that it writes counts any more. Then its identity gets a fresh key in the same way, and the
//! statement is kept a second time as `<keys>/continued/<old writer>.vouch`: the new writer stands for the old one here, publishes
//! for it, and publishes again what counts no more.
//!
//! A statement is `<keys>/vouched/<new writer>.vouch`:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic, `XFVOUCH1` |
//! | 8 | 897 | public key of the old writer |
//! | 905 | 897 | public key of the new writer |
//! | 1802 | 666 | signature of the old writer over the domain `xaeroflux 2026 succession v1`, old id, new id |
//! | 2468 | 4 | CRC32C of all before it, little-endian |

use std::{fs, path::Path};

use hashbrown::{HashMap, HashSet};

use super::{Keyring, KeyringError, file};
use crate::wire::{
    id::XaeroID,
    key::{PUBLIC_KEY_BYTES, PublicKey, SIGNATURE_BYTES},
    key_file,
    sign::{SecretIdentity, Signer, tagged},
};

const MAGIC: &[u8; 8] = b"XFVOUCH1";
const DOMAIN: &str = "xaeroflux 2026 succession v1";

/// Where keys are put that write no more.
pub(super) const RETIRED: &str = "retired";
pub(super) const VOUCHED: &str = "vouched";

/// Statements by the writer that writes no more since its log forked.
pub(super) const CONTINUED: &str = "continued";

/// Why an identity gets a fresh key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The directory is a copy: its original goes on under the old key.
    Copy,
    /// The log of the old key has forked.
    Fork,
}

/// One writer's word that another continues its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// The writer that writes no more in this directory.
    pub old: XaeroID,
    /// The writer that continues its work.
    pub new: XaeroID,
}

impl Keyring {
    /// Gives every identity a fresh key that the old one vouches for. An identity whose old key cannot be used is left
    /// out of the keyring, since under its old key it must not write. Called before anybody else has the keyring.
    pub(crate) fn succeed_all(&self) {
        for (name, old) in self.names() {
            match self.succeed(&name, old, Cause::Copy) {
                Ok(succession) => {
                    tracing::warn!(name, old = %succession.old, new = %succession.new,
                        "this data directory is a copy: the identity writes under a fresh key from now on");
                }
                Err(error) => {
                    tracing::error!(name, %error, "this data directory is a copy, and the identity could get no fresh key");
                    self.forget(&name, old);
                }
            }
        }
    }

    /// Whose work this writer continues, if the statement is here and its signature holds.
    #[must_use]
    pub fn predecessor(&self, new: XaeroID) -> Option<Succession> {
        let bytes = fs::read(self.dir().join(VOUCHED).join(format!("{new}.vouch"))).ok()?;
        decode(&bytes).filter(|succession| succession.new == new)
    }

    pub(super) fn succeed(&self, name: &str, old: XaeroID, cause: Cause) -> Result<Succession, KeyringError> {
        let signer = self.secret(old)?;
        let fresh = SecretIdentity::generate().map_err(KeyringError::Generate)?;
        let statement = encode(&signer, &fresh).map_err(KeyringError::Generate)?;
        let succession = Succession { old, new: fresh.id() };
        // In this order: the word, then the old key at its new place, and last the new key at the old place. Wherever
        // that ends early, the old key is still found under its name, and the next start begins again.
        let vouched = file::open_subdirectory(self.dir(), VOUCHED)?;
        file::write_new_as(&vouched, &format!("{}.vouch", succession.new), &statement)?;
        if cause == Cause::Fork {
            let continued = file::open_subdirectory(self.dir(), CONTINUED)?;
            file::write_new_as(&continued, &format!("{old}.vouch"), &statement)?;
        }
        let retired = file::open_subdirectory(self.dir(), RETIRED)?;
        file::write_new_as(&retired, &format!("{old}.key"), &key_file::encode(&signer))?;
        file::write_new(self.dir(), name, &key_file::encode(&fresh))?;
        self.note_retired(old);
        self.replace(name, old, fresh.public_key());
        Ok(succession)
    }
}

/// The writers whose keys are put away here.
pub(super) fn retired(keys: &Path) -> HashSet<XaeroID> {
    let Ok(entries) = fs::read_dir(keys.join(RETIRED)) else { return HashSet::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".key")?.parse().ok());
    ids.collect()
}

/// The writers whose logs forked, each with the one that continues its work. A statement that does not hold is none.
pub(super) fn continued(keys: &Path) -> HashMap<XaeroID, XaeroID> {
    let Ok(entries) = fs::read_dir(keys.join(CONTINUED)) else { return HashMap::new() };
    let read = |entry: fs::DirEntry| {
        let old: XaeroID = entry.file_name().to_str()?.strip_suffix(".vouch")?.parse().ok()?;
        let statement = decode(&fs::read(entry.path()).ok()?).filter(|statement| statement.old == old)?;
        Some((statement.old, statement.new))
    };
    entries.filter_map(|entry| read(entry.ok()?)).collect()
}

/// The secret of a writer whose key is put away here.
pub(super) fn retired_secret(keys: &Path, id: XaeroID) -> Result<SecretIdentity, KeyringError> {
    let path = keys.join(RETIRED).join(format!("{id}.key"));
    let bytes = file::read_private(&path)?;
    match key_file::decode(&bytes) {
        Ok(identity) if identity.id() == id => Ok(identity),
        Ok(_) => Err(KeyringError::Replaced(path)),
        Err(source) => Err(KeyringError::BadFile { path, source }),
    }
}

fn encode(old: &SecretIdentity, new: &SecretIdentity) -> Result<Vec<u8>, crate::wire::key::KeyError> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(old.public_key().as_bytes());
    out.extend_from_slice(new.public_key().as_bytes());
    out.extend_from_slice(&old.sign(&message(old.id(), new.id()))?);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    Ok(out)
}

pub(super) fn decode(bytes: &[u8]) -> Option<Succession> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let body = body.strip_prefix(MAGIC)?;
    let (old, rest) = body.split_at_checked(PUBLIC_KEY_BYTES)?;
    let (new, signature) = rest.split_at_checked(PUBLIC_KEY_BYTES)?;
    if signature.len() != SIGNATURE_BYTES {
        return None;
    }
    let (old, new) = (PublicKey::from_bytes(old).ok()?, PublicKey::from_bytes(new).ok()?);
    old.verify(&message(old.id(), new.id()), signature).ok()?;
    Some(Succession { old: old.id(), new: new.id() })
}

fn message(old: XaeroID, new: XaeroID) -> Vec<u8> {
    tagged(DOMAIN, &[old.as_bytes().as_slice(), new.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_key_vouches_for_the_new_one_and_writes_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let keyring = Keyring::open(&keys).unwrap();
        let old = keyring.create("alice").unwrap();
        keyring.succeed_all();
        let new = keyring.find("alice").unwrap();
        assert_ne!(old, new);
        assert!(!keyring.contains(old) && keyring.contains(new));
        assert_eq!(keyring.predecessor(new), Some(Succession { old, new }));
        assert_eq!(keyring.predecessor(old), None);
        // And so it is found again.
        let reopened = Keyring::open(&keys).unwrap();
        assert_eq!(reopened.names(), [("alice".to_owned(), new)]);
        assert_eq!(reopened.predecessor(new), Some(Succession { old, new }));
        assert!(keys.join(RETIRED).join(format!("{old}.key")).exists());
    }

    #[test]
    fn an_identity_whose_log_forked_writes_under_a_fresh_key_once_and_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let keyring = Keyring::open(&keys).unwrap();
        let (old, other) = (keyring.create("alice").unwrap(), keyring.create("bob").unwrap());
        assert_eq!((keyring.writing_for(old), keyring.successor(old)), (Some(old), None));
        let second = keyring.continue_forked(old).unwrap();
        assert_eq!(keyring.continue_forked(old).unwrap(), second, "asked twice");
        let third = keyring.continue_forked(second).unwrap();
        for keyring in [&keyring, &Keyring::open(&keys).unwrap()] {
            assert_eq!(keyring.find("alice"), Some(third));
            for writer in [old, second, third] {
                assert_eq!(keyring.writing_for(writer), Some(third));
                assert!(keyring.can_sign(writer), "heads of before");
            }
            assert_eq!(keyring.successor(old), Some(Succession { old, new: second }));
            assert_eq!(keyring.predecessor(third), Some(Succession { old: second, new: third }));
            assert_eq!((keyring.writing_for(other), keyring.successor(other)), (Some(other), None));
        }
        // In a copy of the directory nobody stands for the old one: what it wrote is published again by its own directory.
        let copy = Keyring::open(&keys).unwrap();
        copy.succeed_all();
        assert_eq!(copy.writing_for(old), None);
        assert!(copy.continue_forked(old).is_err());
    }

    #[test]
    fn no_altered_statement_passes() {
        let (old, new) = (SecretIdentity::generate().unwrap(), SecretIdentity::generate().unwrap());
        let good = encode(&old, &new).unwrap();
        assert_eq!(decode(&good), Some(Succession { old: old.id(), new: new.id() }));
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None);
            // With the checksum made right again, the signature tells.
            let body = bad.len() - 4;
            if at < body {
                let crc = crc32c::crc32c(&bad[..body]).to_le_bytes();
                bad[body..].copy_from_slice(&crc);
                assert_eq!(decode(&bad), None, "byte {at}");
            }
        }
        assert_eq!(decode(&[]), None);
    }
}
