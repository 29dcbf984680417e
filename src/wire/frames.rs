//! Frames one after the other in one buffer.

use std::{ops::Range, sync::Arc};

/// Frames of several events in one buffer: what a batch of them costs is its bytes, and no allocation for each. The buffer may
/// be that of the chunk with which they came, so that a chunk that waits for the disk is in memory once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frames {
    buffer: Arc<Vec<u8>>,
    /// Where each is in it.
    places: Vec<Range<usize>>,
    /// Bytes of all of them.
    bytes: usize,
}

impl Frames {
    /// None yet, of those in this buffer: [`keep`](Self::keep) says which. There are at most `frames`.
    pub(crate) fn within(buffer: Arc<Vec<u8>>, frames: usize) -> Self {
        Self { buffer, places: Vec::with_capacity(frames), bytes: 0 }
    }

    /// Adds the frame that lies there in the buffer.
    pub(crate) fn keep(&mut self, place: Range<usize>) {
        self.bytes += place.len();
        self.places.push(place);
    }

    /// Adds a frame, and its bytes to the buffer. One that is shared is copied first.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        let buffer = Arc::make_mut(&mut self.buffer);
        let start = buffer.len();
        buffer.extend_from_slice(frame);
        self.keep(start..start + frame.len());
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of all of them.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Each of them, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| self.buffer.get(place.clone()).unwrap_or_default())
    }
}

impl From<Vec<Vec<u8>>> for Frames {
    fn from(frames: Vec<Vec<u8>>) -> Self {
        let bytes = frames.iter().map(Vec::len).sum();
        let mut all = Self::within(Arc::new(Vec::with_capacity(bytes)), frames.len());
        frames.iter().for_each(|frame| all.push(frame));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: &Frames) -> Vec<&[u8]> {
        frames.iter().collect()
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let given: Vec<Vec<u8>> = vec![b"one".to_vec(), Vec::new(), b"three".to_vec()];
        let frames = Frames::from(given.clone());
        assert_eq!(all(&frames), given);
        assert_eq!((frames.len(), frames.bytes(), frames.is_empty()), (3, 8, false));
        assert!(Frames::default().is_empty());
        assert_eq!(Frames::default().iter().count(), 0);
    }

    #[test]
    fn frames_of_a_shared_buffer_are_not_copied_and_may_be_some_of_it() {
        let buffer = Arc::new(b"[onetwothree]".to_vec());
        let mut frames = Frames::within(Arc::clone(&buffer), 2);
        frames.keep(1..4);
        frames.keep(7..12);
        assert_eq!(all(&frames), [b"one".as_slice(), b"three"]);
        assert_eq!((frames.len(), frames.bytes()), (2, 8));
        assert_eq!(Arc::strong_count(&buffer), 2);
        frames.push(b"four");
        assert_eq!(all(&frames), [b"one".as_slice(), b"three", b"four"]);
        assert_eq!(*buffer, b"[onetwothree]");
    }
}
