//! A signature as it is stored and sent.

use std::{fmt, sync::Arc};

use crate::wire::{
    bytes::Reader,
    key::{KeyError, PublicKey, SIGNATURE_BYTES},
    proof::ProofError,
    sign::Signer,
};

/// With what a padded Falcon-512 signature starts. The constant-time encoding of the same scheme starts with `0x59`.
const PADDED_HEADER: u8 = 0x39;

/// A padded Falcon-512 signature. Cheap to clone: all heads of a batch share one.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(Arc<[u8; SIGNATURE_BYTES]>);

impl Signature {
    /// Length of the encoding: the length in two bytes, in little-endian order, and the signature.
    pub(crate) const ENCODED_BYTES: usize = 2 + SIGNATURE_BYTES;

    /// The signature with these bytes.
    ///
    /// # Errors
    /// [`ProofError::SignatureLength`]: an unpadded signature is refused even where it would hold, since one thing that
    /// is signed would have two encodings.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        let bytes = bytes.try_into().map_err(|_| ProofError::SignatureLength { have: bytes.len() })?;
        Ok(Self(Arc::new(bytes)))
    }

    /// The signer's signature over `message`, which starts with a domain tag.
    pub(crate) fn sign(signer: &dyn Signer, message: &[u8]) -> Result<Self, ProofError> {
        Self::from_bytes(&signer.sign(message).map_err(ProofError::CannotSign)?)
    }

    /// The signature's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }

    /// Checks that this is the key's signature over `message`.
    pub(crate) fn verify(&self, message: &[u8], key: &PublicKey) -> Result<(), ProofError> {
        let [header, ..] = *self.0;
        if header != PADDED_HEADER {
            return Err(ProofError::SignatureEncoding { header });
        }
        key.verify(message, self.as_bytes()).map_err(|error| match error {
            KeyError::WrongLength { have, .. } => ProofError::SignatureLength { have },
            _ => ProofError::BadSignature,
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        // 666 in two bytes. The length is written out so that a signature of another one is told from one cut short.
        out.extend_from_slice(&u16::try_from(SIGNATURE_BYTES).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(self.as_bytes());
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ProofError> {
        let have = usize::from(reader.u16()?);
        if have != SIGNATURE_BYTES {
            return Err(ProofError::SignatureLength { have });
        }
        reader.array().map(|bytes| Self(Arc::new(bytes)))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [.., a, b, c, d] = *blake3::hash(self.as_bytes()).as_bytes();
        write!(f, "Signature({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}
