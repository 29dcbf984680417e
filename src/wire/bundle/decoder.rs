//! Reading a bundle: form, order, checksums.

use super::{
    AuthorEntry, BundleError, Chunk, ForkEntry, Opening,
    section::{CRC_BYTES, HEADER_BYTES, Header, Kind},
};
use crate::wire::{
    bytes::{Preamble, Reader},
    mmr::Hash,
};

pub(super) const PREAMBLE: Preamble = Preamble { magic: "XBDL", version: 1 };

/// Length of the body of the last section: number of events, subject root, hash of all before.
pub(super) const TRAILER_BYTES: usize = 8 + 32 + 32;

/// Reads a bundle piece by piece. Holds nothing of it but a hash.
///
/// ```
/// # fn read(mut input: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Read as _;
/// use xaeroflux::wire::bundle::{Decoder, Part};
/// let (mut decoder, mut buffer) = (Decoder::new(), Vec::new());
/// while decoder.wanted() > 0 {
///     buffer.resize(decoder.wanted(), 0);
///     input.read_exact(&mut buffer)?;
///     match decoder.feed(&buffer)? {
///         Some(Part::Opening(opening)) => println!("{} events of {}", opening.events, opening.name),
///         Some(Part::Events(chunk)) => println!("{} of them", chunk.events),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// The byte that is fed next.
    at: u64,
    hasher: blake3::Hasher,
    stage: Stage,
}

/// What is fed next.
#[derive(Debug, Clone, Copy)]
enum State {
    Preamble,
    Header,
    /// The body of the section that begins there.
    Body(u64, Header),
    End,
}

/// What may come next, besides sections that may stand anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    /// So many authors are missing.
    Authors(u32),
    Events,
}

/// A section of a bundle.
#[derive(Debug, Clone)]
pub enum Part<'a> {
    /// What it is about: comes first.
    Opening(Opening),
    /// One author, and where the section begins.
    Author(u64, Box<AuthorEntry>),
    /// Evidence of a fork, and where the section begins.
    Fork(u64, Box<ForkEntry>),
    /// A chunk of events.
    Events(Chunk<'a>),
    /// A section that may be skipped: its kind and its body.
    Other(Kind, &'a [u8]),
    /// The end.
    End(Trailer),
}

/// What a bundle ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Where its section begins.
    pub at: u64,
    /// How many events the bundle has.
    pub events: u64,
    /// The root over the heads of all authors.
    pub root: Hash,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// For the first byte of a bundle.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Preamble, at: 0, hasher: blake3::Hasher::new(), stage: Stage::Opening }
    }

    /// How many bytes are to be fed next; 0 at the end. Never more than the limit of the section that they belong to.
    #[must_use]
    pub const fn wanted(&self) -> usize {
        match self.state {
            State::Preamble => Preamble::BYTES,
            State::Header => HEADER_BYTES,
            State::Body(_, header) => header.length + CRC_BYTES,
            State::End => 0,
        }
    }

    /// The byte that is fed next, from the start of the bundle.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.at
    }

    /// The error for an input that ended with so many of the [wanted](Self::wanted) bytes.
    #[must_use]
    pub fn cut_short(&self, have: usize) -> BundleError {
        let within = match self.state {
            State::Preamble => "its first bytes",
            State::Header if self.stage == Stage::Events => "the list of its chunks",
            State::Header => "its beginning",
            State::Body(_, Header { kind: Kind::EVENTS, .. }) => "a chunk of events",
            State::Body(_, Header { kind: Kind::AUTHOR, .. }) => "an author's key and head",
            State::Body(..) => "a section",
            State::End => "nothing",
        };
        BundleError::CutShort { at: self.at.saturating_add(u64::try_from(have).unwrap_or(u64::MAX)), within }
    }

    /// The error for an input that goes on after the end.
    #[must_use]
    pub const fn trailing(&self) -> BundleError {
        BundleError::TrailingBytes { at: self.at }
    }

    /// Takes the bytes that were [wanted](Self::wanted), just these, and gives the part that they complete. After an error
    /// the decoder is of no more use.
    ///
    /// # Errors
    /// [`BundleError`] says which rule of the form is broken, and where.
    pub fn feed<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Part<'a>>, BundleError> {
        if bytes.len() != self.wanted() {
            return Err(self.cut_short(bytes.len().min(self.wanted())));
        }
        let at = self.at;
        self.at = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match self.state {
            State::Preamble => {
                self.hasher.update(bytes);
                let mut reader = Reader::new("a bundle", bytes);
                reader.preamble(&PREAMBLE).map_err(BundleError::Preamble)?;
                self.state = State::Header;
                Ok(None)
            }
            State::Header => {
                self.hasher.update(bytes);
                let header = bytes.first_chunk().ok_or_else(|| self.cut_short(0))?;
                let header = Header::read(at, header)?;
                self.check_order(at, header.kind)?;
                self.state = State::Body(at, header);
                Ok(None)
            }
            State::Body(section, header) => self.body(section, header, bytes).map(Some),
            State::End => Ok(None),
        }
    }

    fn body<'a>(&mut self, at: u64, Header { kind, .. }: Header, bytes: &'a [u8]) -> Result<Part<'a>, BundleError> {
        let checked = bytes.split_last_chunk::<CRC_BYTES>();
        let body = checked.filter(|(body, crc)| crc32c::crc32c(body) == u32::from_le_bytes(**crc));
        let Some((body, _)) = body else { return Err(BundleError::Checksum { at, kind }) };
        self.state = State::Header;
        let part = match kind {
            Kind::SUBJECT => {
                let opening = Opening::read(at, body)?;
                self.stage = match opening.authors {
                    0 => Stage::Events,
                    authors => Stage::Authors(authors),
                };
                Part::Opening(opening)
            }
            Kind::AUTHOR => {
                let entry = AuthorEntry::read(at, body)?;
                if let Stage::Authors(missing) = self.stage {
                    self.stage = if missing <= 1 { Stage::Events } else { Stage::Authors(missing - 1) };
                }
                Part::Author(at, Box::new(entry))
            }
            Kind::FORK => Part::Fork(at, Box::new(ForkEntry::read(at, body)?)),
            Kind::EVENTS => Part::Events(Chunk::read(at, body)?),
            Kind::DONE => {
                self.state = State::End;
                return self.trailer(at, body).map(Part::End);
            }
            kind => Part::Other(kind, body),
        };
        self.hasher.update(bytes);
        Ok(part)
    }

    fn trailer(&mut self, at: u64, body: &[u8]) -> Result<Trailer, BundleError> {
        let malformed = |error| BundleError::Malformed { at, kind: Kind::DONE, error };
        let mut reader = Reader::new("the end of a bundle", body);
        let events = reader.u64().map_err(malformed)?;
        let root: Hash = reader.array().map_err(malformed)?;
        let hash: Hash = reader.array().map_err(malformed)?;
        reader.finish().map_err(malformed)?;
        self.hasher.update(&events.to_le_bytes()).update(&root);
        if self.hasher.finalize() != hash {
            return Err(BundleError::WrongHash { at });
        }
        Ok(Trailer { at, events, root })
    }

    fn check_order(&self, at: u64, kind: Kind) -> Result<(), BundleError> {
        let is_in_place = match kind {
            Kind::SUBJECT => self.stage == Stage::Opening,
            Kind::AUTHOR => matches!(self.stage, Stage::Authors(_)),
            Kind::FORK | Kind::EVENTS | Kind::DONE => self.stage == Stage::Events,
            // After the opening, so that whoever knows it knows what it is about.
            _ => self.stage != Stage::Opening,
        };
        if is_in_place { Ok(()) } else { Err(BundleError::OutOfOrder { at, kind }) }
    }
}
