//! Making a bundle.

use super::{AuthorEntry, ChunkBuilder, ForkEntry, Opening, decoder::PREAMBLE, section, section::Kind};
use crate::wire::{
    head::subject_root,
    id::{SubjectId, XaeroID},
    mmr::Hash,
};

/// Makes the bytes of a bundle, piece by piece: each call appends to a buffer, which the caller writes out.
///
/// The order of the calls is the caller's to keep: [`new`](Self::new), each author in ascending order, the forks, the chunks,
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct Encoder {
    hasher: blake3::Hasher,
    subject: SubjectId,
    events: u64,
    heads: Vec<(XaeroID, u64, Hash)>,
}

impl Encoder {
    /// Begins a bundle.
    #[must_use]
    pub fn new(opening: &Opening, out: &mut Vec<u8>) -> Self {
        let mut encoder =
            Self { hasher: blake3::Hasher::new(), subject: opening.subject, events: opening.events, heads: Vec::new() };
        encoder.append(out, |out| {
            PREAMBLE.write(out);
            section::append(out, Kind::SUBJECT, |out| opening.write(out));
        });
        encoder
    }

    /// Appends an author.
    pub fn author(&mut self, entry: &AuthorEntry, out: &mut Vec<u8>) {
        let head = entry.head.head();
        self.heads.push((head.author, head.length, head.root));
        self.append(out, |out| section::append(out, Kind::AUTHOR, |out| entry.write(out)));
    }

    /// Appends evidence of a fork.
    pub fn fork(&mut self, entry: &ForkEntry, out: &mut Vec<u8>) {
        self.append(out, |out| section::append(out, Kind::FORK, |out| entry.write(out)));
    }

    /// Appends a section of another kind, of at most [`MAX_SKIPPED_BYTES`](super::MAX_SKIPPED_BYTES).
    pub fn section(&mut self, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
        self.append(out, |out| section::append(out, kind, |out| out.extend_from_slice(body)));
    }

    /// Appends a chunk.
    pub fn events(&mut self, chunk: &ChunkBuilder, out: &mut Vec<u8>) {
        self.append(out, |out| section::append(out, Kind::EVENTS, |out| chunk.write(out)));
    }

    /// Ends the bundle.
    pub fn finish(self, out: &mut Vec<u8>) {
        let Self { mut hasher, subject, events, heads } = self;
        let start = out.len();
        section::append(out, Kind::DONE, |out| {
            out.extend_from_slice(&events.to_le_bytes());
            out.extend_from_slice(&subject_root(subject, heads));
            // The section's header stands before its body only now, but is known: the hash covers it as it will be.
            let header = section::header(Kind::DONE, super::decoder::TRAILER_BYTES);
            hasher.update(&header).update(out.get(start + header.len()..).unwrap_or_default());
            out.extend_from_slice(hasher.finalize().as_bytes());
        });
    }

    fn append(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        write(out);
        self.hasher.update(out.get(start..).unwrap_or_default());
    }
}
