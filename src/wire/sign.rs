//! Signing: the secret half of a writer, and the seam behind which it sits.
//!
//! The engine signs through the [`Signer`] trait and never sees a secret key, so that a simulation can put a fast keyed
//! hash there and a key can one day live in other hardware. [`SecretIdentity`] is the real one.
//!
//! # Two rules
//!
//! - *What is signed starts with a domain tag* ([`tagged`]), so that a signature made for one purpose can never be
//!   shown as one made for another.
//! - *A secret key is tried before it is trusted.* The scheme's code accepts any bytes as a secret key, and then "signs"
//!   with an empty signature and no error. A [`SecretIdentity`] exists only once it has signed a fixed message and its
//!   public key has verified that.
//!
//! That finds damage, not malice: a secret key that somebody made up on purpose can keep the scheme's code searching for a
//! signature for ever. Take key files only from where you would take the secret itself.
//!
//! # What stays in memory
//!
//! The secret lies in one heap allocation that is overwritten on drop, and the encoded form is wiped as well. The
//! scheme's code copies the key through its stack while it signs and its key type is `Copy`: those traces are out of our
//! hands.

use std::{
    fmt,
    sync::atomic::{Ordering, compiler_fence},
};

use pqcrypto_falcon::falconpadded512 as falcon;
use pqcrypto_traits::sign::{DetachedSignature as _, SecretKey as _};

use crate::wire::{
    id::XaeroID,
    key::{KeyError, PublicKey, SIGNATURE_BYTES},
};

/// Length of a Falcon-512 secret key.
pub const SECRET_KEY_BYTES: usize = 1281;

/// Domain of the message that a key signs to show that it works.
const SELF_TEST_DOMAIN: &str = "xaeroflux 2026 key self-test v1";

/// Signs in the name of one writer.
pub trait Signer: Send + Sync {
    /// The writer.
    fn id(&self) -> XaeroID;

    /// The signature over `message`, which starts with a domain tag: see [`tagged`].
    ///
    /// # Errors
    /// [`KeyError::CannotSign`] where the key is corrupt: the writer is out of order until its key is restored.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// `body` under a domain tag: the domain's length as one byte, the domain, the body.
///
/// The length makes it injective: no body under one domain equals another body under another. A domain is a constant of
/// at most 255 bytes that names its purpose and version; only the first 255 bytes of a longer one count.
#[must_use]
pub fn tagged(domain: &'static str, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(domain.len()).unwrap_or(u8::MAX);
    let mut message = Vec::with_capacity(1 + domain.len() + body.len());
    message.push(length);
    message.extend(domain.bytes().take(usize::from(length)));
    message.extend_from_slice(body);
    message
}

/// A writer's whole key: it signs, and its public half verifies.
pub struct SecretIdentity {
    id: XaeroID,
    public: PublicKey,
    /// Boxed so that the secret stays in one place however often the identity is moved.
    secret: Box<falcon::SecretKey>,
}

impl SecretIdentity {
    /// A new key from the operating system's randomness. Takes 5 to 15 milliseconds.
    ///
    /// # Errors
    /// Where the new key fails its self-test, which means that the machine or the build is broken.
    ///
    /// # Panics
    /// Where the operating system has no randomness to give.
    pub fn generate() -> Result<Self, KeyError> {
        let (public, secret) = falcon::keypair();
        Self::tested(PublicKey::generated(public), Box::new(secret))
    }

    /// The identity of these two halves, once it has passed its self-test (a quarter of a millisecond).
    ///
    /// # Errors
    /// [`KeyError::WrongLength`], [`KeyError::CannotSign`] where the secret key is corrupt, [`KeyError::Mismatch`]
    /// where the halves do not belong together.
    pub fn from_parts(public: PublicKey, secret: &[u8]) -> Result<Self, KeyError> {
        let wrong_length = KeyError::WrongLength { what: "secret key", have: secret.len(), need: SECRET_KEY_BYTES };
        let secret = falcon::SecretKey::from_bytes(secret).map_err(|_| wrong_length)?;
        Self::tested(public, Box::new(secret))
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The secret half, for the key file only.
    pub(super) fn secret_bytes(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    fn tested(public: PublicKey, secret: Box<falcon::SecretKey>) -> Result<Self, KeyError> {
        let identity = Self { id: public.id(), public, secret };
        let message = tagged(SELF_TEST_DOMAIN, identity.id.as_bytes());
        let signature = identity.sign(&message)?;
        identity.public.verify(&message, &signature).map_err(|_| KeyError::Mismatch)?;
        Ok(identity)
    }
}

impl Signer for SecretIdentity {
    fn id(&self) -> XaeroID {
        self.id
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = falcon::detached_sign(message, &self.secret);
        // A corrupt key is not reported: it leaves the signature empty.
        if signature.as_bytes().len() == SIGNATURE_BYTES {
            Ok(signature.as_bytes().to_vec())
        } else {
            Err(KeyError::CannotSign)
        }
    }
}

impl Drop for SecretIdentity {
    fn drop(&mut self) {
        if let Ok(zeros) = falcon::SecretKey::from_bytes(&[0; SECRET_KEY_BYTES]) {
            *self.secret = zeros;
        }
        // The compiler may not drop a write whose result escapes.
        std::hint::black_box(&mut *self.secret);
        compiler_fence(Ordering::SeqCst);
    }
}

impl fmt::Debug for SecretIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretIdentity").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::OnceLock;

    use super::*;

    /// One identity for all tests of this module and its siblings: generating one is slow.
    pub(in crate::wire) fn identity() -> &'static SecretIdentity {
        static IDENTITY: OnceLock<SecretIdentity> = OnceLock::new();
        IDENTITY.get_or_init(|| SecretIdentity::generate().unwrap())
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let message = tagged("test", b"message");
        let signature = identity().sign(&message).unwrap();
        assert_eq!(signature.len(), SIGNATURE_BYTES);
        let key = identity().public_key();
        assert_eq!(key.verify(&message, &signature), Ok(()));
        assert_eq!(key.verify(&tagged("tesu", b"message"), &signature), Err(KeyError::BadSignature));
        let other = SecretIdentity::generate().unwrap();
        assert_eq!(other.public_key().verify(&message, &signature), Err(KeyError::BadSignature));
    }

    #[test]
    fn a_signature_has_one_length_and_no_slack() {
        let message = tagged("test", b"message");
        let signature = identity().sign(&message).unwrap();
        let key = identity().public_key();
        // Without its padding the scheme's code would take it too.
        let unpadded = signature.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for length in [0, 1, 41, unpadded.min(SIGNATURE_BYTES - 1), SIGNATURE_BYTES - 1] {
            assert!(matches!(key.verify(&message, &signature[..length]), Err(KeyError::WrongLength { .. })));
        }
        let mut longer = signature.clone();
        longer.push(0);
        assert!(matches!(key.verify(&message, &longer), Err(KeyError::WrongLength { .. })));
        for at in [0, 1, 40, 41, 300, SIGNATURE_BYTES - 1] {
            let mut damaged = signature.clone();
            damaged[at] ^= 1;
            assert_eq!(key.verify(&message, &damaged), Err(KeyError::BadSignature), "byte {at}");
        }
    }

    #[test]
    fn a_corrupt_secret_key_is_found_before_it_is_used() {
        let public = identity().public_key().clone();
        let zeros = SecretIdentity::from_parts(public.clone(), &[0; SECRET_KEY_BYTES]);
        assert_eq!(zeros.err(), Some(KeyError::CannotSign));
        let short = SecretIdentity::from_parts(public, &[0; SECRET_KEY_BYTES - 1]);
        assert!(matches!(short.err(), Some(KeyError::WrongLength { what: "secret key", .. })));
    }

    #[test]
    fn halves_of_two_keys_do_not_make_one() {
        let other = SecretIdentity::generate().unwrap();
        let mixed = SecretIdentity::from_parts(identity().public_key().clone(), other.secret_bytes());
        assert_eq!(mixed.err(), Some(KeyError::Mismatch));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let text = format!("{:?}", identity());
        assert_eq!(text, format!("SecretIdentity {{ id: {:?}, .. }}", identity().id()));
    }

    #[test]
    fn a_tag_keeps_domains_apart() {
        assert_eq!(tagged("ab", b"c"), b"\x02abc");
        assert_ne!(tagged("ab", b"c"), tagged("a", b"bc"));
    }
}
