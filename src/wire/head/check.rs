//! One signature check for all heads of a batch.

use std::collections::VecDeque;

use super::{SignedHead, batch::check_key};
use crate::wire::{key::PublicKey, proof::ProofError};

/// How many batches a [`HeadCheck`] remembers. Events arrive in the order of few batches at a time, and a mark has 32
/// bytes, so that looking through all of them costs nothing beside the path.
pub const REMEMBERED_BATCHES: usize = 16;

/// Verifies signed heads, and remembers the last few batches whose signature held.
///
/// A signature takes 40 microseconds to check, a path one or two. What is remembered is the author, the number of heads,
/// the batch's root and the signature, all under one hash: so a head passes without a signature check only where the
/// very same check has passed before.
///
/// ```
/// use xaeroflux::{SubjectId, wire::{head::{HeadBatch, HeadCheck, LogHead}, sign::{SecretIdentity, Signer}}};
/// let author = SecretIdentity::generate()?;
/// let head = |n: u8| LogHead { subject: SubjectId::from([n; 32]), author: author.id(), length: 1, root: [n; 32] };
/// let batch = HeadBatch::sign(&author, (0..200).map(head).collect())?;
/// let mut check = HeadCheck::new();
/// for head in batch.signed_heads() {
///     check.verify(&head, author.public_key())?;
/// }
/// assert_eq!(check.signature_checks(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct HeadCheck {
    /// Marks of the batches that passed, the latest last.
    passed: VecDeque<blake3::Hash>,
    signature_checks: u64,
}

impl HeadCheck {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`SignedHead::verify`].
    ///
    /// # Errors
    /// Those of [`SignedHead::verify`].
    pub fn verify(&mut self, head: &SignedHead, key: &PublicKey) -> Result<(), ProofError> {
        check_key(head.head.author, key)?;
        let message = head.message()?;
        // The message names the author, and so the key.
        let mark = blake3::Hasher::new().update(&message).update(head.signature.as_bytes()).finalize();
        if self.passed.contains(&mark) {
            return Ok(());
        }
        self.signature_checks += 1;
        head.signature.verify(&message, key)?;
        if self.passed.len() == REMEMBERED_BATCHES {
            self.passed.pop_front();
        }
        self.passed.push_back(mark);
        Ok(())
    }

    /// How many signatures were checked so far, good and bad.
    #[must_use]
    pub const fn signature_checks(&self) -> u64 {
        self.signature_checks
    }
}
