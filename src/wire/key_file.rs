//! Key files: a writer's whole key as bytes.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic, `XKEY` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 1 | algorithm, 1: Falcon-512 with padded signatures |
//! | 6 | 1 | key derivation from a passphrase, 0: none, the secret key is in the clear |
//! | 7 | 1 | zero |
//! | 8 | 897 | public key |
//! | 905 | 1281 | secret key |
//! | 2186 | 4 | CRC32C of bytes 0 to 2185, little-endian |
//!
//! In every version the file starts with the magic and the version and ends with the checksum of all bytes before it, so
//! that a newer file is told from a damaged one.
//!
//! [`public_part`] reads who the writer is without touching the secret: cheap enough to do for thousands of files at
//! start. [`decode`] also tries the key out, which costs a signature.

use thiserror::Error;
use zeroize::Zeroizing;

use crate::wire::{
    key::{KeyError, PUBLIC_KEY_BYTES, PublicKey},
    sign::{SECRET_KEY_BYTES, SecretIdentity},
};

/// Length of a key file.
pub const KEY_FILE_BYTES: usize = HEADER_BYTES + PUBLIC_KEY_BYTES + SECRET_KEY_BYTES + CRC_BYTES;

const HEADER_BYTES: usize = 8;
const CRC_BYTES: usize = 4;
const MAGIC: [u8; 4] = *b"XKEY";
const VERSION: u8 = 1;
const ALGORITHM_FALCON_512: u8 = 1;
const KDF_NONE: u8 = 0;

/// Bytes that are not a key file that this program can use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The bytes do not start with the magic.
    #[error(
        "this is not a xaeroflux key file: it does not start with XKEY; restore it from a backup, or move it away to make a new identity"
    )]
    NotAKeyFile,
    /// There are too few or too many bytes.
    #[error(
        "a key file has {KEY_FILE_BYTES} bytes, this one has {0}: restore it from a backup, or move it away to make a new identity"
    )]
    WrongLength(usize),
    /// The checksum differs.
    #[error(
        "the key file's checksum is {found:08x}, not {expected:08x}: it is damaged; restore it from a backup, or move it away to make a new identity"
    )]
    Checksum {
        /// What the file says.
        expected: u32,
        /// What its bytes give.
        found: u32,
    },
    /// The file is of a version that this program does not know.
    #[error("the key file has format version {0}, which this program does not know: upgrade xaeroflux")]
    UnknownVersion(u8),
    /// The key is of an algorithm that this program does not know.
    #[error("the key file's key is of algorithm {0}, which this program does not know: upgrade xaeroflux")]
    UnknownAlgorithm(u8),
    /// The secret key is behind a passphrase.
    #[error(
        "the key file is protected by a passphrase (method {0}), which this program cannot ask for: upgrade xaeroflux"
    )]
    PassphraseNeeded(u8),
    /// The reserved byte is set.
    #[error("the key file's reserved byte is {0}, which this version never writes: restore it from a backup")]
    ReservedByte(u8),
    /// The file is whole, but the key in it is not.
    #[error("the key in the file cannot be used: {0}")]
    Key(#[from] KeyError),
}

/// The file of this identity: its secret key in the clear. The bytes are wiped when they are dropped.
#[must_use]
pub fn encode(identity: &SecretIdentity) -> Zeroizing<Vec<u8>> {
    // The full capacity at once: a vector that grows leaves copies of the secret behind.
    let mut file = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES));
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&[VERSION, ALGORITHM_FALCON_512, KDF_NONE, 0]);
    file.extend_from_slice(identity.public_key().as_bytes());
    file.extend_from_slice(identity.secret_bytes());
    let crc = crc32c::crc32c(&file);
    file.extend_from_slice(&crc.to_le_bytes());
    file
}

/// The identity in these bytes of a key file, tried out.
///
/// # Errors
/// Says what is wrong with the bytes or the key, and the way out.
pub fn decode(bytes: &[u8]) -> Result<SecretIdentity, KeyFileError> {
    let (public, secret) = halves(bytes)?;
    Ok(SecretIdentity::from_parts(PublicKey::from_bytes(public)?, secret)?)
}

/// The public key in these bytes of a key file; the secret key is covered by the checksum but not tried out.
///
/// # Errors
/// Says what is wrong with the bytes, and the way out.
pub fn public_part(bytes: &[u8]) -> Result<PublicKey, KeyFileError> {
    let (public, _) = halves(bytes)?;
    Ok(PublicKey::from_bytes(public)?)
}

/// The bytes of the public and the secret key, once everything around them was checked.
fn halves(bytes: &[u8]) -> Result<(&[u8], &[u8]), KeyFileError> {
    let wrong_length = || KeyFileError::WrongLength(bytes.len());
    if !bytes.starts_with(&MAGIC) {
        // A file of no bytes is what a full disk leaves behind: its length says more than its missing magic.
        return Err(if bytes.len() < MAGIC.len() { wrong_length() } else { KeyFileError::NotAKeyFile });
    }
    let (covered, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or_else(wrong_length)?;
    let (expected, found) = (u32::from_le_bytes(*crc), crc32c::crc32c(covered));
    if expected != found {
        let length_is_right = bytes.len() == KEY_FILE_BYTES;
        return Err(if length_is_right { KeyFileError::Checksum { expected, found } } else { wrong_length() });
    }
    let (header, keys) = covered.split_first_chunk::<HEADER_BYTES>().ok_or_else(wrong_length)?;
    let [_, _, _, _, version, algorithm, kdf, reserved] = *header;
    if version != VERSION {
        return Err(KeyFileError::UnknownVersion(version));
    }
    if algorithm != ALGORITHM_FALCON_512 {
        return Err(KeyFileError::UnknownAlgorithm(algorithm));
    }
    if kdf != KDF_NONE {
        return Err(KeyFileError::PassphraseNeeded(kdf));
    }
    if reserved != 0 {
        return Err(KeyFileError::ReservedByte(reserved));
    }
    if bytes.len() != KEY_FILE_BYTES {
        return Err(wrong_length());
    }
    keys.split_at_checked(PUBLIC_KEY_BYTES).ok_or_else(wrong_length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sign::{Signer as _, tests::identity};

    /// A good file with one byte replaced and the checksum made right again.
    fn with_byte(at: usize, byte: u8) -> Vec<u8> {
        let mut file = encode(identity()).to_vec();
        file[at] = byte;
        reseal(file)
    }

    fn reseal(mut file: Vec<u8>) -> Vec<u8> {
        let covered = file.len() - CRC_BYTES;
        let crc = crc32c::crc32c(&file[..covered]);
        file[covered..].copy_from_slice(&crc.to_le_bytes());
        file
    }

    #[test]
    fn an_identity_survives_its_file() {
        let file = encode(identity());
        assert_eq!(file.len(), 2190);
        assert_eq!(&public_part(&file).unwrap(), identity().public_key());
        let read = decode(&file).unwrap();
        assert_eq!(read.id(), identity().id());
        let signature = read.sign(b"message").unwrap();
        assert_eq!(identity().public_key().verify(b"message", &signature), Ok(()));
    }

    #[test]
    fn no_cut_and_no_flipped_bit_goes_unnoticed() {
        let good = encode(identity());
        for length in 0..good.len() {
            assert!(public_part(&good[..length]).is_err(), "{length} bytes");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(public_part(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn each_broken_rule_has_its_error() {
        let good = encode(identity()).to_vec();
        assert_eq!(public_part(&[]), Err(KeyFileError::WrongLength(0)));
        assert_eq!(public_part(&[0; KEY_FILE_BYTES]), Err(KeyFileError::NotAKeyFile));
        assert_eq!(public_part(&good[..100]), Err(KeyFileError::WrongLength(100)));
        assert!(matches!(public_part(&[&good[..2189], &[!good[2189]]].concat()), Err(KeyFileError::Checksum { .. })));
        assert_eq!(public_part(&with_byte(4, 2)), Err(KeyFileError::UnknownVersion(2)));
        assert_eq!(public_part(&with_byte(5, 9)), Err(KeyFileError::UnknownAlgorithm(9)));
        assert_eq!(public_part(&with_byte(6, 1)), Err(KeyFileError::PassphraseNeeded(1)));
        assert_eq!(public_part(&with_byte(7, 1)), Err(KeyFileError::ReservedByte(1)));
        assert_eq!(public_part(&with_byte(8, 0)), Err(KeyFileError::Key(KeyError::NotAPublicKey)));
        let longer = reseal([&good[..], &[0; 10]].concat());
        assert_eq!(public_part(&longer), Err(KeyFileError::WrongLength(2200)));
    }

    #[test]
    fn a_newer_file_is_not_taken_for_a_damaged_one() {
        let mut newer = encode(identity()).to_vec();
        newer[4] = 2;
        newer.extend([0; 500]);
        assert_eq!(public_part(&reseal(newer)), Err(KeyFileError::UnknownVersion(2)));
    }

    #[test]
    fn a_corrupt_secret_with_a_right_checksum_fails_the_self_test() {
        let corrupt = with_byte(HEADER_BYTES + PUBLIC_KEY_BYTES, 0);
        assert!(public_part(&corrupt).is_ok(), "the public part is whole");
        assert_eq!(decode(&corrupt).err(), Some(KeyFileError::Key(KeyError::CannotSign)));
    }
}
