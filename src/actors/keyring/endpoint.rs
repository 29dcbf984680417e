//! The key of the node's endpoint: who it is on the network, whatever its identities sign.
//!
//! It lies among the keys as `endpoint.secret`, which is no identity's file, and is made when it is first needed:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic, `XEND` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 1 | algorithm, 1: ed25519 |
//! | 6 | 2 | zero |
//! | 8 | 32 | secret key |
//! | 40 | 4 | CRC32C of bytes 0 to 39, little-endian |
//!
//! Two directories with one endpoint would take each other's connections, so a copy of a directory gets a fresh one. Unlike
//! an identity's it needs nobody's word: peers know a node's endpoint from its latest address only.

use std::{fs, io::ErrorKind, path::Path};

use zeroize::Zeroizing;

use super::{Keyring, KeyringError, file};
use crate::wire::id::EndpointId;

const FILE: &str = "endpoint.secret";
const MAGIC: [u8; 4] = *b"XEND";
const VERSION: u8 = 1;
const ALGORITHM_ED25519: u8 = 1;
const HEADER_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const CRC_BYTES: usize = 4;

/// The secret half of an endpoint's key. Wiped when dropped.
pub(crate) type EndpointSecret = Zeroizing<[u8; SECRET_BYTES]>;

impl Keyring {
    /// The secret key of the node's endpoint: made, and on disk, where there was none.
    pub(crate) fn endpoint_secret(&self) -> Result<EndpointSecret, KeyringError> {
        let _making = self.making();
        let path = self.dir().join(FILE);
        match read(&path) {
            Err(KeyringError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            read => return read,
        }
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(secret.as_mut_slice()).map_err(|error| KeyringError::Randomness(error.to_string()))?;
        file::write_new_as(self.dir(), FILE, &encode(&secret))?;
        Ok(secret)
    }

    /// Forgets the key of the endpoint, so that the next use makes a fresh one: the directory is a copy, and the key is
    /// the original's.
    pub(crate) fn forget_endpoint(&self) -> Result<(), KeyringError> {
        let _making = self.making();
        let path = self.dir().join(FILE);
        match fs::remove_file(&path) {
            Ok(()) => {
                tracing::warn!("this data directory is a copy: the node gets a fresh endpoint");
                file::sync_directory(self.dir())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(source) => Err(KeyringError::Io { action: "remove the copied endpoint key", path, source }),
        }
    }
}

/// What is wrong with the file of the endpoint's key in this directory of keys, if there is one. Changes nothing.
pub(super) fn fault(keys: &Path) -> Option<(std::path::PathBuf, String)> {
    match read(&keys.join(FILE)) {
        Err(KeyringError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        read => read.err().map(|error| (FILE.into(), error.to_string())),
    }
}

/// The public half, which is how others know the node.
pub(crate) fn id_of(secret: &EndpointSecret) -> EndpointId {
    EndpointId::from(*iroh::SecretKey::from_bytes(secret).public().as_bytes())
}

fn read(path: &Path) -> Result<EndpointSecret, KeyringError> {
    decode(&file::read_private(path)?).map_err(|what| KeyringError::BadEndpoint { path: path.to_owned(), what })
}

fn encode(secret: &[u8; SECRET_BYTES]) -> Zeroizing<Vec<u8>> {
    // The full capacity at once: a vector that grows leaves copies of the secret behind.
    let mut file = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + SECRET_BYTES + CRC_BYTES));
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&[VERSION, ALGORITHM_ED25519, 0, 0]);
    file.extend_from_slice(secret);
    let crc = crc32c::crc32c(&file);
    file.extend_from_slice(&crc.to_le_bytes());
    file
}

fn decode(bytes: &[u8]) -> Result<EndpointSecret, &'static str> {
    if !bytes.starts_with(&MAGIC) {
        return Err("it does not start with XEND");
    }
    let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or("it is cut short")?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err("its checksum differs");
    }
    let (header, secret) = body.split_first_chunk::<HEADER_BYTES>().ok_or("it is cut short")?;
    match header {
        [_, _, _, _, VERSION, ALGORITHM_ED25519, 0, 0] => {}
        _ => return Err("it is of a newer version of xaeroflux"),
    }
    let secret: &[u8; SECRET_BYTES] = secret.try_into().map_err(|_| "it has another length than a key")?;
    Ok(Zeroizing::new(*secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_no_identity() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let keyring = Keyring::open(&keys).unwrap();
        assert!(!keys.join(FILE).exists(), "it is made when it is needed");
        let secret = keyring.endpoint_secret().unwrap();
        assert_eq!(keyring.endpoint_secret().unwrap(), secret);
        let mode = fs::metadata(keys.join(FILE)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let reopened = Keyring::open(&keys).unwrap();
        assert_eq!(reopened.endpoint_secret().unwrap(), secret);
        assert!(reopened.names().is_empty() && reopened.damaged().is_empty());
        assert_eq!(fault(&keys), None);
    }

    #[test]
    fn a_damaged_key_is_an_error_that_names_its_file_and_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let keyring = Keyring::open(&keys).unwrap();
        keyring.endpoint_secret().unwrap();
        let good = fs::read(keys.join(FILE)).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "{length} bytes");
        }
        fs::write(keys.join(FILE), &good[..20]).unwrap();
        let error = keyring.endpoint_secret().unwrap_err();
        assert!(error.to_string().contains(FILE), "{error}");
        assert_eq!(fs::read(keys.join(FILE)).unwrap(), &good[..20]);
        assert!(fault(&keys).is_some());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let keyring = Keyring::open(&keys).unwrap();
        keyring.endpoint_secret().unwrap();
        fs::set_permissions(keys.join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(keyring.endpoint_secret(), Err(KeyringError::FilePermissions { .. })));
    }

    #[test]
    fn a_key_that_was_forgotten_is_followed_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring::open(dir.path().join("keys")).unwrap();
        keyring.forget_endpoint().unwrap();
        let first = keyring.endpoint_secret().unwrap();
        keyring.forget_endpoint().unwrap();
        assert_ne!(keyring.endpoint_secret().unwrap(), first);
    }
}
