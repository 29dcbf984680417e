//! The keys of the tables: big-endian, so that LMDB's order of bytes is the order of numbers.

use crate::wire::id::{Dot, XaeroID};

/// The number of a subject in this data directory, given in the order of first use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubjectNumber(pub(crate) u32);

impl SubjectNumber {
    pub(crate) const fn key(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    pub(crate) fn from_key(key: &[u8]) -> Option<Self> {
        key.first_chunk().map(|bytes| Self(u32::from_be_bytes(*bytes)))
    }
}

/// A position's key in the log.
pub(crate) const fn position(position: u64) -> [u8; 8] {
    position.to_be_bytes()
}

pub(crate) fn position_of(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Key of the sparse index by subject: every 64th ordinal.
pub(crate) fn subject_index(subject: SubjectNumber, step: u64) -> [u8; 12] {
    concat(subject.key(), step.to_be_bytes())
}

/// Key of the sparse index by author: every 64th sequence number of the author in this slot of the subject's head.
pub(crate) fn author_index(subject: SubjectNumber, slot: u32, step: u64) -> [u8; 16] {
    let prefix: [u8; 8] = concat(subject.key(), slot.to_be_bytes());
    concat(prefix, step.to_be_bytes())
}

/// Slot and step in a key of the sparse index by author, if it is of this subject.
pub(crate) fn author_index_of(subject: SubjectNumber, key: &[u8]) -> Option<(u32, u64)> {
    let rest = key.strip_prefix(&subject.key())?;
    let (slot, step) = rest.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*slot), u64::from_be_bytes(step.try_into().ok()?)))
}

/// Key of what is known of the author in this slot of the subject's head.
pub(crate) fn author(subject: SubjectNumber, slot: u32) -> [u8; 8] {
    concat(subject.key(), slot.to_be_bytes())
}

/// The slot in the key of what is known of an author, if the key is of this subject.
pub(crate) fn author_of(subject: SubjectNumber, key: &[u8]) -> Option<u32> {
    key.strip_prefix(&subject.key())?.try_into().ok().map(u32::from_be_bytes)
}

/// Key of an event that waits.
pub(crate) fn pending(subject: SubjectNumber, dot: Dot) -> [u8; 44] {
    let prefix: [u8; 36] = concat(subject.key(), *dot.author.as_bytes());
    concat(prefix, dot.seq.to_be_bytes())
}

/// The dot in the key of an event that waits, if the key is of this subject.
pub(crate) fn pending_of(subject: SubjectNumber, key: &[u8]) -> Option<Dot> {
    let rest = key.strip_prefix(&subject.key())?;
    let (author, seq) = rest.split_first_chunk::<32>()?;
    Some(Dot::new(XaeroID::from(*author), u64::from_be_bytes(seq.try_into().ok()?)))
}

/// Key of a fold's snapshot.
pub(crate) fn snapshot(subject: SubjectNumber, fold: &[u8; 32]) -> [u8; 36] {
    concat(subject.key(), *fold)
}

/// Key of an author's cut.
pub(crate) fn cut(subject: SubjectNumber, author: XaeroID) -> [u8; 36] {
    concat(subject.key(), *author.as_bytes())
}

/// Key of the control event with this ordinal.
pub(crate) fn control(subject: SubjectNumber, ordinal: u64) -> [u8; 12] {
    concat(subject.key(), ordinal.to_be_bytes())
}

/// Key of a durable subscription's cursor.
pub(crate) fn cursor(subject: SubjectNumber, name: &[u8; 32]) -> [u8; 36] {
    concat(subject.key(), *name)
}

pub(crate) fn concat<const A: usize, const B: usize, const N: usize>(a: [u8; A], b: [u8; B]) -> [u8; N] {
    const { assert!(A + B == N, "the parts make up the key") };
    let mut out = [0; N];
    for (slot, byte) in out.iter_mut().zip(a.iter().chain(&b)) {
        *slot = *byte;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_key_gives_its_dot_back() {
        let dot = Dot::new(XaeroID::from([7; 32]), 300);
        let key = pending(SubjectNumber(5), dot);
        assert_eq!(pending_of(SubjectNumber(5), &key), Some(dot));
        assert_eq!(pending_of(SubjectNumber(6), &key), None);
    }
}
