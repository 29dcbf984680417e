//! Who is at the other end: a writer's identity, bound to one connection.
//!
//! The transport has authenticated a *node* (its endpoint key). A hello adds the node's *writer*: a Falcon-512 signature
//! over keying material that only the two ends of this very connection can export, over who speaks to whom, and over the
//! versions. A hello that was recorded is of no use on another connection, nor in the other direction, and nobody in
//! between can make a peer believe that the other side speaks an older version.

use super::{Kind, MAJOR, MINOR, SyncError, frame};
use crate::wire::{
    bytes::{Preamble, Reader},
    head::Signature,
    id::XaeroID,
    key::{PUBLIC_KEY_BYTES, PublicKey},
    proof::ProofError,
    sign::{Signer, tagged},
};

/// Domain of the signed message.
const HELLO_DOMAIN: &str = "xaeroflux 2026 hello v1";

const WHAT: &str = "a hello";
const PREAMBLE: Preamble = Preamble { magic: "XSYN", version: 1 };

/// Most bytes that a later minor version may add to a hello: this one carries them, signed, and ignores them.
pub const MAX_EXTENSION_BYTES: usize = 1_024;

/// Longest body of a hello.
pub(super) const MAX_HELLO_BYTES: usize =
    Preamble::BYTES + 2 + 4 + 2 + MAX_EXTENSION_BYTES + PUBLIC_KEY_BYTES + Signature::ENCODED_BYTES;

/// Which side of a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side that made the connection.
    Dialer,
    /// The side that was called.
    Acceptor,
}

impl Role {
    /// The byte that stands for it in what is signed and hashed.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Dialer => 0,
            Self::Acceptor => 1,
        }
    }

    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

/// What a side speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Peers of different major versions refuse each other.
    pub major: u8,
    /// Peers of different minor versions talk as the older understands it.
    pub minor: u8,
    /// Bits of what the side can do beyond that; unknown ones are ignored.
    pub features: u32,
}

/// The feature of who can say which part of a subject it keeps, and hear it said.
pub const FILTERS: u32 = 1 << 1;

impl Versions {
    /// What this program speaks.
    pub const OURS: Self = Self { major: MAJOR, minor: MINOR, features: FILTERS };
}

/// What one connection is, to its two ends: what a hello is bound to.
#[derive(Clone, Copy)]
pub struct Binding {
    /// Exported keying material of the connection (RFC 5705 with the label [`Binding::LABEL`] and no context).
    pub exported: [u8; 32],
    /// The endpoint key of the side that made the connection.
    pub dialer: [u8; 32],
    /// The endpoint key of the side that was called.
    pub acceptor: [u8; 32],
}

impl Binding {
    /// The label under which the keying material is exported.
    pub const LABEL: &[u8] = b"EXPORTER-xaeroflux-sync-v1";
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Binding(..)")
    }
}

/// Who one side of a connection is.
///
/// ```
/// use xaeroflux::wire::{sign::SecretIdentity, sync::{Hello, Role, Versions, hello::Binding}};
/// let alice = SecretIdentity::generate()?;
/// let binding = Binding { exported: [1; 32], dialer: [2; 32], acceptor: [3; 32] };
/// let hello = Hello::sign(&alice, alice.public_key(), Versions::OURS, Role::Dialer, &binding)?;
/// let mut body = Vec::new();
/// hello.encode_body(&mut body);
/// // At the other end:
/// let hello = Hello::decode(&body)?;
/// hello.verify(Role::Dialer, &binding)?;
/// assert!(hello.verify(Role::Dialer, &Binding { exported: [9; 32], ..binding }).is_err(), "on another connection");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    versions: Versions,
    /// What a later minor version adds.
    extension: Vec<u8>,
    key: PublicKey,
    signature: Signature,
}

impl Hello {
    /// The hello of the writer with this key, speaking as `role` on the connection with this binding.
    ///
    /// # Errors
    /// [`ProofError::CannotSign`] where the key is out of order.
    pub fn sign(
        signer: &dyn Signer,
        key: &PublicKey,
        versions: Versions,
        role: Role,
        binding: &Binding,
    ) -> Result<Self, ProofError> {
        let message = message(versions, &[], key, role, binding);
        let signature = Signature::sign(signer, &message)?;
        Ok(Self { versions, extension: Vec::new(), key: key.clone(), signature })
    }

    /// The writer.
    #[must_use]
    pub fn writer(&self) -> XaeroID {
        self.key.id()
    }

    /// The writer's key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What the side speaks.
    #[must_use]
    pub const fn versions(&self) -> Versions {
        self.versions
    }

    /// Checks that the owner of the key said this, as `role`, on this very connection, and that it can be talked to.
    ///
    /// # Errors
    /// [`SyncError::NotItself`]; [`SyncError::OtherMajor`], which is only said of what holds.
    pub fn verify(&self, role: Role, binding: &Binding) -> Result<(), SyncError> {
        let message = message(self.versions, &self.extension, &self.key, role, binding);
        let not_itself = |error| SyncError::NotItself { claimed: self.writer(), error };
        self.signature.verify(&message, &self.key).map_err(not_itself)?;
        if self.versions.major == MAJOR {
            Ok(())
        } else {
            Err(SyncError::OtherMajor { ours: MAJOR, theirs: self.versions.major })
        }
    }

    /// Appends the body of the message.
    pub fn encode_body(&self, out: &mut Vec<u8>) {
        PREAMBLE.write(out);
        out.extend_from_slice(&[self.versions.major, self.versions.minor]);
        out.extend_from_slice(&self.versions.features.to_le_bytes());
        out.extend_from_slice(&u16::try_from(self.extension.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&self.extension);
        out.extend_from_slice(self.key.as_bytes());
        self.signature.write(out);
    }

    /// Appends the message.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        frame::append(out, Kind::HELLO, |out| self.encode_body(out));
    }

    /// The hello with this body. Nothing is checked but the form: [`verify`](Self::verify) it.
    ///
    /// # Errors
    /// [`SyncError::Malformed`], [`SyncError::BadField`].
    pub fn decode(body: &[u8]) -> Result<Self, SyncError> {
        let malformed = SyncError::malformed(Kind::HELLO);
        let mut reader = Reader::new(WHAT, body);
        let mut read = || {
            reader.preamble(&PREAMBLE)?;
            let [major, minor] = reader.array()?;
            let features = reader.u32()?;
            let length = usize::from(reader.u16()?);
            if length > MAX_EXTENSION_BYTES {
                return Err(ProofError::BadField("length of the extension"));
            }
            let extension = reader.take(length)?.to_vec();
            let key = reader.take(PUBLIC_KEY_BYTES)?;
            let key = PublicKey::from_bytes(key).map_err(|_| ProofError::BadField("public key"))?;
            let signature = Signature::read(&mut reader)?;
            Ok(Self { versions: Versions { major, minor, features }, extension, key, signature })
        };
        let hello = read().map_err(&malformed)?;
        reader.finish().map_err(&malformed)?;
        Ok(hello)
    }
}

fn message(versions: Versions, extension: &[u8], key: &PublicKey, role: Role, binding: &Binding) -> Vec<u8> {
    let mut body = Vec::with_capacity(3 * 32 + 7 + 2 + extension.len() + 32);
    body.extend_from_slice(&binding.exported);
    body.push(role.byte());
    body.extend_from_slice(&binding.dialer);
    body.extend_from_slice(&binding.acceptor);
    body.extend_from_slice(&[versions.major, versions.minor]);
    body.extend_from_slice(&versions.features.to_le_bytes());
    body.extend_from_slice(&u16::try_from(extension.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend_from_slice(extension);
    body.extend_from_slice(key.id().as_bytes());
    tagged(HELLO_DOMAIN, &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sign::SecretIdentity;

    fn binding() -> Binding {
        Binding { exported: [1; 32], dialer: [2; 32], acceptor: [3; 32] }
    }

    #[test]
    fn a_hello_holds_on_its_connection_in_its_direction_only() {
        let alice = SecretIdentity::generate().unwrap();
        let hello = Hello::sign(&alice, alice.public_key(), Versions::OURS, Role::Dialer, &binding()).unwrap();
        assert_eq!(hello.verify(Role::Dialer, &binding()), Ok(()));
        let others = [
            Binding { exported: [9; 32], ..binding() },
            Binding { dialer: [9; 32], ..binding() },
            Binding { acceptor: [9; 32], ..binding() },
        ];
        for other in others {
            assert!(matches!(hello.verify(Role::Dialer, &other), Err(SyncError::NotItself { .. })), "{other:?}");
        }
        assert!(matches!(hello.verify(Role::Acceptor, &binding()), Err(SyncError::NotItself { .. })));
    }

    #[test]
    fn nobody_speaks_with_the_key_of_another() {
        let (alice, mallory) = (SecretIdentity::generate().unwrap(), SecretIdentity::generate().unwrap());
        let hello = Hello::sign(&mallory, alice.public_key(), Versions::OURS, Role::Dialer, &binding()).unwrap();
        assert!(matches!(hello.verify(Role::Dialer, &binding()), Err(SyncError::NotItself { .. })));
    }

    #[test]
    fn another_minor_version_is_talked_to_and_another_major_one_is_not() {
        let alice = SecretIdentity::generate().unwrap();
        let says = |versions| Hello::sign(&alice, alice.public_key(), versions, Role::Acceptor, &binding()).unwrap();
        let newer = Versions { minor: MINOR + 1, features: u32::MAX, ..Versions::OURS };
        assert_eq!(says(newer).verify(Role::Acceptor, &binding()), Ok(()));
        let other = says(Versions { major: MAJOR + 1, ..Versions::OURS });
        let refused = SyncError::OtherMajor { ours: MAJOR, theirs: MAJOR + 1 };
        assert_eq!(other.verify(Role::Acceptor, &binding()), Err(refused));
    }

    #[test]
    fn what_a_later_version_adds_is_signed_and_ignored() {
        let alice = SecretIdentity::generate().unwrap();
        let (versions, extension) = (Versions { minor: 7, ..Versions::OURS }, b"more".to_vec());
        let message = message(versions, &extension, alice.public_key(), Role::Dialer, &binding());
        let signature = Signature::sign(&alice, &message).unwrap();
        let hello = Hello { versions, extension, key: alice.public_key().clone(), signature };
        let mut body = Vec::new();
        hello.encode_body(&mut body);
        let decoded = Hello::decode(&body).unwrap();
        assert_eq!(decoded, hello);
        assert_eq!(decoded.verify(Role::Dialer, &binding()), Ok(()));
        let at = body.windows(4).position(|window| window == b"more").unwrap();
        body[at] ^= 1;
        let changed = Hello::decode(&body).unwrap();
        assert!(changed.verify(Role::Dialer, &binding()).is_err());
    }
}
