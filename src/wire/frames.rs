//! Frames one after the other in one buffer.

/// Frames of several events in one buffer: what a batch of them costs is its bytes, and no allocation for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Frames {
    /// Adds a frame.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len());
    }

    /// Makes room for so many more frames of so many bytes in all.
    pub(crate) fn reserve(&mut self, frames: usize, bytes: usize) {
        self.ends.reserve_exact(frames);
        self.bytes.reserve_exact(bytes);
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all of them.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Each of them, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }
}

impl From<Vec<Vec<u8>>> for Frames {
    fn from(frames: Vec<Vec<u8>>) -> Self {
        let mut all = Self::default();
        all.reserve(frames.len(), frames.iter().map(Vec::len).sum());
        frames.iter().for_each(|frame| all.push(frame));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let given: Vec<Vec<u8>> = vec![b"one".to_vec(), Vec::new(), b"three".to_vec()];
        let frames = Frames::from(given.clone());
        assert_eq!(frames.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), given);
        assert_eq!((frames.len(), frames.bytes(), frames.is_empty()), (3, 8, false));
        assert!(Frames::default().is_empty());
        assert_eq!(Frames::default().iter().count(), 0);
    }
}
