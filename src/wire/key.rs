//! Public keys: who wrote something, in a form that anyone can check.
//!
//! A writer's key is Falcon-512 with padded signatures: every signature has [`SIGNATURE_BYTES`] bytes and one encoding.
//! (The other variant of the scheme has signatures of varying length, and accepts more than one encoding of the same
//! signature.) The writer's [`XaeroID`] is a hash of the public key, so an identifier can be checked against a key but
//! not the other way round.
//!
//! A Falcon public key is a header byte, `0x09`, and 512 coefficients of 14 bits, each below 12289. Bytes that are not
//! of this form are refused when they are read, so that a [`PublicKey`] is always one that a signature can be
//! checked with.
//!
//! # Text form
//!
//! Exactly one line for each key: `xaeroflux-falcon512`, one space, the 897 bytes in base64 (the alphabet with `+` and
//! `/`), one line feed. Nothing else is read back, so two texts that differ are two keys that differ.
//!
//! See <https://falcon-sign.info> for the scheme.

use std::fmt;

use data_encoding::BASE64;
use pqcrypto_falcon::falconpadded512 as falcon;
use pqcrypto_traits::sign::{DetachedSignature as _, PublicKey as _};
use thiserror::Error;

use crate::wire::id::XaeroID;

/// Length of a Falcon-512 public key.
pub const PUBLIC_KEY_BYTES: usize = 897;

/// Length of a padded Falcon-512 signature.
pub const SIGNATURE_BYTES: usize = 666;

/// Domain of the hash that turns a public key into the identifier of its writer.
const WRITER_ID_CONTEXT: &str = "xaeroflux 2026 writer id v1";

/// What a public key's text form starts with: the scheme's name and a space.
const TEXT_PREFIX: &str = "xaeroflux-falcon512 ";

/// The first byte of every Falcon-512 public key.
const HEADER: u8 = 0x09;

/// Bits of one coefficient of a public key.
const COEFFICIENT_BITS: u32 = 14;

/// The modulus of Falcon: every coefficient is below it.
const MODULUS: u32 = 12289;

/// A key that cannot be used, or a signature that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A key or a signature of the wrong length.
    #[error("a Falcon-512 {what} has {need} bytes, this one has {have}: it was cut short or is something else")]
    WrongLength {
        /// What it should be.
        what: &'static str,
        /// Bytes that are there.
        have: usize,
        /// Bytes that it must have.
        need: usize,
    },
    /// Bytes of the right length that are no public key.
    #[error("these {PUBLIC_KEY_BYTES} bytes are not a Falcon-512 public key: get the key again from its owner")]
    NotAPublicKey,
    /// A text that is not the text form of a public key.
    #[error(
        "this is not the text form of a public key ({0}): it is one line, `xaeroflux-falcon512`, a space and base64; export it again"
    )]
    BadText(&'static str),
    /// The signature is not by this key, or not over this message.
    #[error("the signature does not hold: it is by another key, over another message, or damaged")]
    BadSignature,
    /// The secret key produced no signature, which the scheme's code does with a corrupt key without an error.
    #[error("the secret key cannot sign: it is corrupt; restore the key file from a backup or make a new identity")]
    CannotSign,
    /// The secret key signs, but not for the public key beside it.
    #[error(
        "the secret key does not belong to the public key: they come from two files or are damaged; restore the key file from a backup"
    )]
    Mismatch,
}

/// A Falcon-512 public key.
#[derive(Clone, PartialEq)]
pub struct PublicKey(falcon::PublicKey);

impl Eq for PublicKey {}

impl PublicKey {
    /// The key with these bytes.
    ///
    /// # Errors
    /// [`KeyError::WrongLength`] and [`KeyError::NotAPublicKey`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let wrong_length = KeyError::WrongLength { what: "public key", have: bytes.len(), need: PUBLIC_KEY_BYTES };
        let key = falcon::PublicKey::from_bytes(bytes).map_err(|_| wrong_length)?;
        match bytes.split_first() {
            Some((&HEADER, coefficients)) if coefficients_are_reduced(coefficients) => Ok(Self(key)),
            _ => Err(KeyError::NotAPublicKey),
        }
    }

    /// The key that the scheme's own code has just generated.
    pub(super) const fn generated(key: falcon::PublicKey) -> Self {
        Self(key)
    }

    /// The key's [`PUBLIC_KEY_BYTES`] bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The writer whose key this is: BLAKE3 of the key, in key derivation mode, with the context
    /// `xaeroflux 2026 writer id v1`.
    #[must_use]
    pub fn id(&self) -> XaeroID {
        XaeroID::from(blake3::derive_key(WRITER_ID_CONTEXT, self.as_bytes()))
    }

    /// Checks a signature over `message`, which starts with a domain tag: see [`tagged`](crate::wire::sign::tagged).
    ///
    /// # Errors
    /// [`KeyError::WrongLength`] where the signature is not padded to [`SIGNATURE_BYTES`], and
    /// [`KeyError::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        // The scheme's code also takes the same signature without its padding: only this check makes it one encoding.
        if signature.len() != SIGNATURE_BYTES {
            return Err(KeyError::WrongLength { what: "signature", have: signature.len(), need: SIGNATURE_BYTES });
        }
        let signature = falcon::DetachedSignature::from_bytes(signature).map_err(|_| KeyError::BadSignature)?;
        falcon::verify_detached_signature(&signature, message, &self.0).map_err(|_| KeyError::BadSignature)
    }

    /// The text form: one line, with its line feed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::from(TEXT_PREFIX);
        BASE64.encode_append(self.as_bytes(), &mut text);
        text.push('\n');
        text
    }

    /// The key of a text that [`to_text`](Self::to_text) made. Anything else is refused, a missing line feed too.
    ///
    /// # Errors
    /// [`KeyError::BadText`] says which rule the text breaks; the decoded bytes may be refused as by
    /// [`from_bytes`](Self::from_bytes).
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let rest =
            text.strip_prefix(TEXT_PREFIX).ok_or(KeyError::BadText("it does not start with the scheme's name"))?;
        let encoded = rest.strip_suffix('\n').ok_or(KeyError::BadText("it does not end with a line feed"))?;
        let bytes =
            BASE64.decode(encoded.as_bytes()).map_err(|_| KeyError::BadText("its base64 is not in canonical form"))?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// Whether each coefficient is below the modulus, so that the key has this one encoding.
fn coefficients_are_reduced(packed: &[u8]) -> bool {
    let (mut bits, mut held) = (0_u32, 0);
    packed.iter().all(|&byte| {
        bits = bits << 8 | u32::from(byte);
        held += 8;
        if held < COEFFICIENT_BITS {
            return true;
        }
        held -= COEFFICIENT_BITS;
        let coefficient = bits >> held;
        bits &= (1 << held) - 1;
        coefficient < MODULUS
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sign::tests::identity;

    #[test]
    fn a_key_survives_both_its_forms() {
        let key = identity().public_key();
        assert_eq!(&PublicKey::from_bytes(key.as_bytes()).unwrap(), key);
        let text = key.to_text();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(&PublicKey::from_text(&text).unwrap(), key);
        assert_eq!(PublicKey::from_text(&text).unwrap().id(), identity().public_key().id());
    }

    #[test]
    fn every_other_text_is_refused() {
        let text = identity().public_key().to_text();
        let line = text.trim_end();
        let variants = [
            line.to_owned(),
            format!("{line}\r\n"),
            format!("{line}\n\n"),
            format!(" {line}\n"),
            format!("{line} \n"),
            format!("{line}=\n"),
            line.replace("falcon512 ", "falcon512  ") + "\n",
            line.replace("xaeroflux", "Xaeroflux") + "\n",
            text.replace("falcon512", "falcon1024"),
            text[..text.len() - 5].to_owned() + "\n",
            String::new(),
        ];
        for variant in variants {
            assert!(PublicKey::from_text(&variant).is_err(), "{variant:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        let good = identity().public_key().as_bytes();
        assert_eq!(
            PublicKey::from_bytes(&good[1..]),
            Err(KeyError::WrongLength { what: "public key", have: 896, need: 897 })
        );
        assert_eq!(PublicKey::from_bytes(&[0; 897]), Err(KeyError::NotAPublicKey));
        // The first and the last coefficient, just above the largest that is reduced: 12289 in 14 bits.
        let mut first = good.to_vec();
        first[1] = 0b1100_0000;
        first[2] = 0b0000_0100;
        assert_eq!(PublicKey::from_bytes(&first), Err(KeyError::NotAPublicKey));
        first[2] = 0b0000_0000;
        assert!(PublicKey::from_bytes(&first).is_ok());
        let mut last = good.to_vec();
        last[895] |= 0b0011_1111;
        last[896] = 0xFF;
        assert_eq!(PublicKey::from_bytes(&last), Err(KeyError::NotAPublicKey));
    }

    #[test]
    fn the_writer_id_never_changes() {
        // Part of the format: all coefficients zero is a well-formed key, though no one holds its secret.
        let mut bytes = [0; PUBLIC_KEY_BYTES];
        bytes[0] = HEADER;
        assert_eq!(
            PublicKey::from_bytes(&bytes).unwrap().id().to_string(),
            "491868a402f612112724cac8c40b951dee785702dad9a96db16346e51a1f1bb5"
        );
    }
}
