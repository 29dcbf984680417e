//! Reading fields from bytes that somebody else wrote.

use crate::wire::proof::ProofError;

/// The rest of some bytes.
pub(crate) struct Reader<'a> {
    /// What the bytes should be, for the errors.
    what: &'static str,
    whole: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// All of the bytes, which should be `what`.
    pub(crate) const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, whole: bytes.len(), rest: bytes }
    }

    /// What is left.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], ProofError> {
        let (field, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.cut_short(count))?;
        self.rest = rest;
        Ok(field)
    }

    /// The next bytes, as many as the array has.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ProofError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or_else(|| self.cut_short(N))?;
        self.rest = rest;
        Ok(*field)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ProofError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ProofError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ProofError> {
        self.array().map(u64::from_le_bytes)
    }

    /// So many hashes. Nothing is allocated before their bytes are known to be there.
    pub(crate) fn hashes(&mut self, count: usize) -> Result<Vec<[u8; 32]>, ProofError> {
        let (hashes, _) = self.take(count.saturating_mul(32))?.as_chunks();
        Ok(hashes.to_vec())
    }

    /// The magic, the version and the algorithm with which every signed thing starts.
    pub(crate) fn preamble(&mut self, preamble: &Preamble) -> Result<(), ProofError> {
        // What the bytes are says more than how many are missing.
        let magic = preamble.magic.as_bytes();
        if !self.rest.iter().zip(magic).all(|(left, right)| left == right) {
            return Err(ProofError::WrongMagic { what: self.what, magic: preamble.magic });
        }
        self.take(magic.len())?;
        let [version, algorithm] = self.array()?;
        if version != preamble.version {
            return Err(ProofError::UnknownVersion { what: self.what, version });
        }
        if algorithm != ALGORITHM_FALCON_512 {
            return Err(ProofError::UnknownAlgorithm { what: self.what, algorithm });
        }
        Ok(())
    }

    /// Checks that nothing is left.
    pub(crate) const fn finish(self) -> Result<(), ProofError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ProofError::TrailingBytes { what: self.what, bytes: self.rest.len() })
        }
    }

    const fn cut_short(&self, count: usize) -> ProofError {
        let read = self.whole - self.rest.len();
        ProofError::CutShort { what: self.what, have: self.whole, need: read.saturating_add(count) }
    }
}

/// The signature algorithm of everything that is signed today: Falcon-512 with padded signatures. FN-DSA will be
/// another number, with lengths of its own.
pub(crate) const ALGORITHM_FALCON_512: u8 = 1;

/// With what an encoding starts.
pub(crate) struct Preamble {
    /// Four letters.
    pub(crate) magic: &'static str,
    /// The version of the encoding.
    pub(crate) version: u8,
}

impl Preamble {
    /// Length of a preamble.
    pub(crate) const BYTES: usize = 6;

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.magic.as_bytes());
        out.extend_from_slice(&[self.version, ALGORITHM_FALCON_512]);
    }
}
