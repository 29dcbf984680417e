//! Authors as small numbers: 32 bytes once, 4 bytes wherever they are mentioned.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::wire::id::XaeroID;

/// Number of recent answers that are kept: one cache line.
const RECENT: usize = 16;

/// A table of authors. Numbers are given in order of appearance, so they mean something in this table only.
#[derive(Debug, Clone, Default)]
pub(super) struct Authors {
    ids: Vec<XaeroID>,
    numbers: HashTable<u32>,
    /// Keyed at random in each table, so that nobody can choose ids that collide.
    hasher: DefaultHashBuilder,
    /// Recent answers, by the first byte of the id: most subjects have a few busy authors, and comparing with one is
    /// cheaper than to hash.
    recent: [u32; RECENT],
}

impl Authors {
    /// The author's number, given on first sight.
    pub(super) fn intern(&mut self, id: XaeroID) -> u32 {
        let [first_byte, ..] = *id.as_bytes();
        let slot = usize::from(first_byte) % RECENT;
        if let Some(number) = self.recent.get(slot).copied().filter(|number| self.id(*number) == Some(id)) {
            return number;
        }
        let number = self.get(id).unwrap_or_else(|| self.push(id));
        if let Some(recent) = self.recent.get_mut(slot) {
            *recent = number;
        }
        number
    }

    /// The author's number, if it has one.
    pub(super) fn get(&self, id: XaeroID) -> Option<u32> {
        let hash = hash(&self.hasher, &id);
        self.numbers.find(hash, |number| self.id(*number) == Some(id)).copied()
    }

    /// The author with this number.
    pub(super) fn id(&self, number: u32) -> Option<XaeroID> {
        usize::try_from(number).ok().and_then(|index| self.ids.get(index)).copied()
    }

    /// How many authors there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    fn push(&mut self, id: XaeroID) -> u32 {
        // The table would need 128 GiB before the number saturated.
        let number = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        self.ids.push(id);
        let Self { ids, numbers, hasher, .. } = self;
        let hash_of = |number: &u32| {
            let id = usize::try_from(*number).ok().and_then(|index| ids.get(index));
            id.map_or(0, |id| hash(hasher, id))
        };
        numbers.insert_unique(hash(hasher, &id), number, hash_of);
        number
    }
}

/// The keyed hash of an id, word by word: half the cost of hashing it as a slice.
fn hash(hasher: &DefaultHashBuilder, id: &XaeroID) -> u64 {
    let mut state = hasher.build_hasher();
    for word in id.as_bytes().as_chunks().0 {
        state.write_u64(u64::from_le_bytes(*word));
    }
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_author_keeps_the_number_of_its_first_appearance() {
        let mut authors = Authors::default();
        let ids: Vec<_> = (0..200u8).map(|byte| XaeroID::from([byte; 32])).collect();
        for round in 0..2 {
            for (number, id) in (0..).zip(&ids) {
                assert_eq!(authors.get(*id).is_some(), round == 1);
                assert_eq!(authors.intern(*id), number);
                assert_eq!(authors.id(number), Some(*id));
            }
        }
        assert_eq!(authors.len(), 200);
        assert_eq!(authors.id(200), None);
    }
}
