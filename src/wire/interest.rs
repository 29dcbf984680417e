//! Interests: which part of a subject a replica keeps.
//!
//! A *whole* replica keeps all of a subject. A *partial* one keeps some authors' logs, or the events of some types or of a
//! time only, and says so to its peers before anything else is compared ([`sync`](crate::wire::sync)). The two are left out
//! in different ways, since an author's log proves as a whole:
//!
//! * An author who is not asked for is left out altogether. What depends on one of its events counts as having it.
//! * Of an author who is asked for, each event is there. One that is not of the types or the time asked for is there without
//!   its payload, in whose place stand its length and its hash: see [`frame`](crate::wire::frame). So it proves, and tells
//!   what its author had seen, like any other.
//!
//! Two things are never left out: what the replica's own writers have written, and in an owned subject what decides who may
//! write: records about rights, and with them the logs of owners.
//!
//! An interest is encoded as follows, all numbers little-endian:
//!
//! | bytes | field | allowed |
//! |---|---|---|
//! | 2 | number of authors asked for, *a*; 0 asks for all | 0 to 1024 |
//! | 32 *a* | the authors | ascending |
//! | 2 | number of own writers, *o* | 0 to 256 |
//! | 32 *o* | the own writers | ascending |
//! | 2 | number of event types asked for, *t*; 0 asks for all | 0 to 1280 |
//! | 2 *t* | the event types, as in a record | ascending |
//! | 8 | the first millisecond asked for, by the events' clocks | |
//! | 8 | the first millisecond that is not | above the one before |

use std::fmt;

use crate::wire::{
    bytes::Reader,
    event::{EventType, ScanWindow},
    id::XaeroID,
    proof::ProofError,
    record::RecordView,
};

/// Most authors that a filter may name. Who wants more of a subject takes all of it: the list is sent with each session.
pub const MAX_FILTER_AUTHORS: usize = 1_024;

/// Most own writers of one replica in one subject.
pub const MAX_OWN_WRITERS: usize = 256;

/// All event types that there are: five variants of 256 codes.
const MAX_TYPES: usize = 1_280;

/// Longest encoding.
pub const MAX_INTEREST_BYTES: usize = 2 + 32 * MAX_FILTER_AUTHORS + 2 + 32 * MAX_OWN_WRITERS + 2 + 2 * MAX_TYPES + 16;

/// What a partial replica asks for: an event has to be right in every respect that is asked about. See the
/// [module](self).
///
/// ```
/// use xaeroflux::{EventType, ReplicaFilter, ScanWindow, event::CRDT_SET_ADD};
/// let filter = ReplicaFilter::all()
///     .event_type(EventType::ApplicationEvent(CRDT_SET_ADD))
///     .window(ScanWindow { start: 1_790_000_000_000, end: u64::MAX });
/// assert!(!filter.is_all());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaFilter {
    authors: Vec<XaeroID>,
    types: Vec<EventType>,
    window: ScanWindow,
}

impl Default for ReplicaFilter {
    fn default() -> Self {
        Self::all()
    }
}

impl ReplicaFilter {
    /// Asks for everything.
    #[must_use]
    pub const fn all() -> Self {
        Self { authors: Vec::new(), types: Vec::new(), window: ScanWindow::ALL }
    }

    /// Asks for this author's events only; each further call adds an author. At most [`MAX_FILTER_AUTHORS`] are of use.
    #[must_use]
    pub fn author(mut self, author: XaeroID) -> Self {
        if let Err(place) = self.authors.binary_search(&author) {
            self.authors.insert(place, author);
        }
        self
    }

    /// Asks for events of this type only; each further call adds a type.
    #[must_use]
    pub fn event_type(mut self, event_type: EventType) -> Self {
        if let Err(place) = self.types.binary_search_by_key(&event_type.to_bytes(), |known| known.to_bytes()) {
            self.types.insert(place, event_type);
        }
        self
    }

    /// Asks for events only whose clock lies in this window.
    #[must_use]
    pub const fn window(mut self, window: ScanWindow) -> Self {
        self.window = window;
        self
    }

    /// The authors that are asked for, ascending; none: all.
    #[must_use]
    pub fn authors(&self) -> &[XaeroID] {
        &self.authors
    }

    /// The event types that are asked for, ascending; none: all.
    #[must_use]
    pub fn event_types(&self) -> &[EventType] {
        &self.types
    }

    /// The time that is asked for.
    #[must_use]
    pub const fn time(&self) -> ScanWindow {
        self.window
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::all()
    }

    /// Whether a replica can have this filter: not more authors than fit, and a time that is one.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.authors.len() <= MAX_FILTER_AUTHORS && self.window.start < self.window.end
    }

    /// Whether the author's log is asked for.
    #[must_use]
    pub fn takes_author(&self, author: XaeroID) -> bool {
        self.authors.is_empty() || self.authors.binary_search(&author).is_ok()
    }

    /// Whether an event of an author whose log is here is asked for with its payload.
    #[must_use]
    pub fn takes(&self, record: &RecordView<'_>) -> bool {
        let of_type = |event_type: EventType| {
            self.types.is_empty()
                || self.types.binary_search_by_key(&event_type.to_bytes(), |known| known.to_bytes()).is_ok()
        };
        let is_engines = matches!(record.event_type(), EventType::SystemEvent(_));
        is_engines
            || (self.takes_author(record.author())
                && of_type(record.event_type())
                && self.window.contains(record.clock()))
    }
}

/// For people.
impl fmt::Display for ReplicaFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        match self.authors.as_slice() {
            [] => {}
            [author] => parts.push(format!("author {author}")),
            authors => parts.push(format!("{} authors", authors.len())),
        }
        if !self.types.is_empty() {
            let types: Vec<String> = self
                .types
                .iter()
                .map(|event_type| match event_type {
                    EventType::ApplicationEvent(code) => code.to_string(),
                    other => format!("{other:?}"),
                })
                .collect();
            parts.push(format!("event types {}", types.join(", ")));
        }
        if self.window.start > 0 {
            parts.push(format!("from {} ms on", self.window.start));
        }
        if self.window.end < u64::MAX {
            parts.push(format!("before {} ms", self.window.end));
        }
        f.write_str(&if parts.is_empty() { "everything".to_owned() } else { parts.join("; ") })
    }
}

/// What one side of a session keeps of a subject: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interest {
    /// What it asks for.
    pub filter: ReplicaFilter,
    /// Its own writers, ascending: their logs are kept whole, whatever the filter asks for.
    pub own: Vec<XaeroID>,
}

impl Interest {
    /// The same with these own writers as well, as many as there is room for. Those that were told of stay.
    #[must_use]
    pub fn with_own(&self, writers: &[XaeroID]) -> Self {
        let mut interest = self.clone();
        for writer in writers {
            if let Err(place) = interest.own.binary_search(writer)
                && interest.own.len() < MAX_OWN_WRITERS
            {
                interest.own.insert(place, *writer);
            }
        }
        interest
    }

    /// Whether it is that of a whole replica.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.filter.is_all()
    }

    /// Whether the author's log is kept. `is_owner`: whether it is that of an owner, where the subject is an owned one.
    #[must_use]
    pub fn keeps_author(&self, author: XaeroID, is_owner: bool) -> bool {
        is_owner || self.filter.takes_author(author) || self.own.binary_search(&author).is_ok()
    }

    /// Whether an event of an author whose log is kept is kept with its payload.
    #[must_use]
    pub fn keeps_payload(&self, record: &RecordView<'_>) -> bool {
        self.filter.takes(record) || self.own.binary_search(&record.author()).is_ok()
    }

    /// Appends the encoding.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let count = |out: &mut Vec<u8>, count: usize| {
            // Bounded where interests are made.
            out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
        };
        count(out, self.filter.authors.len());
        self.filter.authors.iter().for_each(|author| out.extend_from_slice(author.as_bytes()));
        count(out, self.own.len());
        self.own.iter().for_each(|author| out.extend_from_slice(author.as_bytes()));
        count(out, self.filter.types.len());
        self.filter.types.iter().for_each(|event_type| out.extend_from_slice(&event_type.to_bytes()));
        out.extend_from_slice(&self.filter.window.start.to_le_bytes());
        out.extend_from_slice(&self.filter.window.end.to_le_bytes());
    }

    /// The interest with this encoding.
    ///
    /// # Errors
    /// Says which field is not as [`encode_into`](Self::encode_into) writes it.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let mut reader = Reader::new("an interest", bytes);
        let interest = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(interest)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ProofError> {
        let authors = ids(reader, MAX_FILTER_AUTHORS, "authors asked for")?;
        let own = ids(reader, MAX_OWN_WRITERS, "own writers")?;
        let count = usize::from(reader.u16()?);
        if count > MAX_TYPES {
            return Err(ProofError::BadField("event types asked for"));
        }
        let (pairs, _) = reader.take(count.saturating_mul(2))?.as_chunks::<2>();
        let types = pairs.iter().map(|pair| EventType::from_bytes(*pair)).collect::<Option<Vec<_>>>();
        let types = types.filter(|_| pairs.is_sorted_by(|left, right| left < right));
        let types = types.ok_or(ProofError::BadField("event types asked for"))?;
        let window = ScanWindow { start: reader.u64()?, end: reader.u64()? };
        let filter = ReplicaFilter { authors, types, window };
        if !filter.is_sound() {
            return Err(ProofError::BadField("time asked for"));
        }
        Ok(Self { filter, own })
    }
}

fn ids(reader: &mut Reader<'_>, most: usize, field: &'static str) -> Result<Vec<XaeroID>, ProofError> {
    let count = usize::from(reader.u16()?);
    if count > most {
        return Err(ProofError::BadField(field));
    }
    let ids: Vec<XaeroID> = reader.hashes(count)?.into_iter().map(XaeroID::from).collect();
    if ids.is_sorted_by(|left, right| left < right) { Ok(ids) } else { Err(ProofError::BadField(field)) }
}

#[cfg(test)]
mod tests;
