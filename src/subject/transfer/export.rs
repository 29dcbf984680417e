//! Writing a bundle of a subject.

use std::{fmt, io::Write, sync::Arc};

use hashbrown::HashMap;

use super::{
    Progress,
    error::ExportError,
    moment::{Author, Moment},
};
use crate::{
    actors::{
        committer::cuts,
        mmr::nodes::TreeNodes,
        storage::{
            StorageError,
            lmdb::{ReadTxn, Reads},
            open::SubjectLog,
            reader::LogReader,
        },
    },
    subject::{engine::Engine, handle::Subject},
    wire::{
        bundle::{
            AuthorEntry, ChunkBuilder, ChunkProof, Encoder, ForkEntry, MAX_AUTHORS, MAX_CHUNK_AUTHORS,
            MAX_CHUNK_EVENTS, Opening,
        },
        fork::ForkEvidence,
        head::subject_root,
        id::{SubjectId, XaeroID},
        mmr::{ConsistencyProof, Hash, Nodes, root_at},
        name::open_subject_id,
    },
};

/// How a subject is to be exported.
///
/// ```
/// use xaeroflux::ExportOptions;
/// let options = ExportOptions::new().from(1_000).progress(|progress| println!("{} events", progress.done));
/// # let _ = options;
/// ```
#[derive(Default)]
pub struct ExportOptions {
    from: u64,
    progress: Option<Box<dyn FnMut(Progress)>>,
}

impl ExportOptions {
    /// All events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out the first so many events of the log here, for one who has got these already.
    #[must_use]
    pub const fn from(mut self, events: u64) -> Self {
        self.from = events;
        self
    }

    /// Has this called after each chunk of up to 4,096 events.
    #[must_use]
    pub fn progress(mut self, tell: impl FnMut(Progress) + 'static) -> Self {
        self.progress = Some(Box::new(tell));
        self
    }
}

impl fmt::Debug for ExportOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportOptions").field("from", &self.from).finish_non_exhaustive()
    }
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportSummary {
    /// The subject.
    pub subject: SubjectId,
    /// How many events were left out.
    pub first: u64,
    /// How many events the bundle has.
    pub events: u64,
    /// How many authors wrote these, and those before.
    pub authors: usize,
    /// How many bytes it has.
    pub bytes: u64,
    /// The root over the heads in the bundle: the subject's at the moment of the export, unless an author's log has forked.
    pub root: Hash,
}

impl Subject {
    /// Writes the subject as a [bundle](crate::wire::bundle): all events that are durable now, and what shows whose they
    /// are. What is published meanwhile is no part of it.
    ///
    /// Works on a subject that runs as on one that does not. Holds some 4 MiB in memory, however large the log is.
    ///
    /// ```
    /// use xaeroflux::{ExportOptions, Node, XaeroEvent, event::CRDT_SET_ADD};
    /// let (here, there) = (Node::ephemeral()?, Node::ephemeral()?);
    /// let tags = here.subject("tags");
    /// let handle = tags.run()?;
    /// tags.publish(XaeroEvent::new("urgent", CRDT_SET_ADD)).wait()?;
    /// let mut stick = Vec::new();
    /// let exported = tags.export(&mut stick, ExportOptions::new())?;
    /// let imported = there.import(&stick[..], |_| {})?;
    /// assert_eq!((imported.new, imported.root), (1, exported.root));
    /// # drop(handle);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ExportError::Empty`] and [`ExportError::BeyondEnd`] where there is nothing to write, [`ExportError::Unsigned`]
    /// where nothing shows that an author wrote all of its events, and where the log cannot be read or the writer refuses.
    pub fn export(&self, mut writer: impl Write, options: ExportOptions) -> Result<ExportSummary, ExportError> {
        let ExportOptions { from, progress } = options;
        let mut tell = progress.unwrap_or_else(|| Box::new(|_| {}));
        let (engine, log) = self.log()?;
        if let Some(filter) = engine.replica_filter(log.id).map_err(crate::Error::from)? {
            return Err(ExportError::Partial { name: self.name().to_owned(), filter });
        }
        let moment = Moment::of(&engine, &log)?;
        if moment.events == 0 {
            return Err(ExportError::Empty { name: self.name().to_owned() });
        }
        if from > moment.events {
            return Err(ExportError::BeyondEnd { from, events: moment.events });
        }
        let mut export = Export::new(&engine, &log, moment, from)?;
        let total = export.end - from;
        let mut out = Vec::new();
        let mut encoder = export.begin(self.name(), &mut out)?;
        let (mut bytes, mut chunk) = (0_u64, ChunkBuilder::new());
        let mut flush = |out: &mut Vec<u8>| {
            writer.write_all(out)?;
            bytes = bytes.saturating_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
            out.clear();
            Ok::<(), ExportError>(())
        };
        flush(&mut out)?;
        while export.gather(&mut chunk)? {
            encoder.events(&chunk, &mut out);
            flush(&mut out)?;
            tell(Progress { done: export.next - from, total });
        }
        encoder.finish(&mut out);
        flush(&mut out)?;
        writer.flush()?;
        let heads = export.authors.iter().map(|author| *author.head.head());
        let root = subject_root(log.id, heads.map(|head| (head.author, head.length, head.root)));
        Ok(ExportSummary { subject: log.id, first: from, events: total, authors: export.authors.len(), bytes, root })
    }
}

/// An export on its way.
struct Export<'e> {
    engine: &'e Engine,
    log: &'e Arc<SubjectLog>,
    authors: Vec<Author>,
    places: HashMap<XaeroID, usize>,
    /// How many events of each author are before `next`.
    lengths: Vec<u64>,
    /// The ordinal of the event that is read next.
    next: u64,
    /// The ordinal after the last one.
    end: u64,
    /// Subtrees that were asked for: each proof shares most of them with the one before.
    nodes: HashMap<(usize, u8, u64), Hash>,
}

impl<'e> Export<'e> {
    fn new(engine: &'e Engine, log: &'e Arc<SubjectLog>, moment: Moment, from: u64) -> Result<Self, ExportError> {
        let Moment { authors, events: end } = moment;
        if authors.len() > MAX_AUTHORS {
            return Err(ExportError::TooManyAuthors(authors.len()));
        }
        let places = authors.iter().enumerate().map(|(place, author)| (author.head.head().author, place)).collect();
        let lengths = vec![0; authors.len()];
        let mut export = Self { engine, log, authors, places, lengths, next: 0, end, nodes: HashMap::new() };
        // What is left out is counted, author by author.
        while export.next < from {
            let most = (from - export.next).min(u64::try_from(MAX_CHUNK_EVENTS).unwrap_or(u64::MAX));
            let mut skipped = ChunkBuilder::new();
            if export.read(most, &mut skipped)?.is_empty() {
                return Err(export.lost().into());
            }
        }
        Ok(export)
    }

    /// Writes what comes before the events.
    fn begin(&self, name: &str, out: &mut Vec<u8>) -> Result<Encoder, ExportError> {
        let opening = Opening {
            subject: self.log.id,
            name: name.to_owned(),
            is_owned: open_subject_id(name) != self.log.id,
            first: self.next,
            events: self.end - self.next,
            authors: u32::try_from(self.authors.len()).unwrap_or(u32::MAX),
        };
        let txn = self.engine.store.env.read()?;
        let mut encoder = Encoder::new(&opening, out);
        for (author, base) in self.authors.iter().zip(&self.lengths) {
            let id = author.head.head().author;
            let key = self.engine.writer_key(id)?.ok_or(ExportError::UnknownKey { author: id })?;
            let base_root = root_at(&mut self.tree(&txn, author), *base)?;
            encoder.author(&AuthorEntry { base: *base, base_root, key, head: author.head.clone() }, out);
        }
        for evidence in self.forks(&txn)? {
            let author = evidence.author();
            let key = self.engine.writer_key(author)?.ok_or(ExportError::UnknownKey { author })?;
            encoder.fork(&ForkEntry { key, evidence }, out);
        }
        Ok(encoder)
    }

    /// What is known of authors who signed two histories.
    fn forks(&self, txn: &impl Reads) -> Result<Vec<ForkEvidence>, StorageError> {
        match self.log.published().number {
            Some(number) => cuts::evidence(txn, number),
            None => Ok(Vec::new()),
        }
    }

    /// Fills the chunk with the events that come next, and their proofs; `false` at the end.
    fn gather(&mut self, chunk: &mut ChunkBuilder) -> Result<bool, ExportError> {
        chunk.clear();
        if self.next >= self.end {
            return Ok(false);
        }
        let most = (self.end - self.next).min(u64::try_from(MAX_CHUNK_EVENTS).unwrap_or(u64::MAX));
        let mut places = self.read(most, chunk)?;
        if places.is_empty() {
            return Err(self.lost().into());
        }
        places.sort_unstable();
        let txn = self.engine.store.env.read()?;
        let mut nodes = std::mem::take(&mut self.nodes);
        for place in places {
            let (Some(author), Some(length)) = (self.authors.get(place), self.lengths.get(place)) else { continue };
            let mut tree = Remembered { tree: self.tree(&txn, author), place, nodes: &mut nodes };
            let ConsistencyProof { path, .. } = ConsistencyProof::make(&mut tree, *length, author.length())?;
            chunk.prove(ChunkProof { author: u32::try_from(place).unwrap_or(u32::MAX), length: *length, path });
        }
        self.nodes = nodes;
        Ok(true)
    }

    /// Reads at most so many events into the chunk, as many as it has room for, and returns the places of their authors.
    fn read(&mut self, most: u64, chunk: &mut ChunkBuilder) -> Result<Vec<usize>, StorageError> {
        let mut seen: Vec<usize> = Vec::new();
        let mut marks = vec![false; self.authors.len()];
        let (places, lengths, next) = (&self.places, &mut self.lengths, &mut self.next);
        let mut is_broken = false;
        self.engine.store.read(self.log, *next, most, &mut |stored| {
            let dot = stored.record.dot();
            let place = places.get(&dot.author).copied().unwrap_or(usize::MAX);
            let (Some(length), Some(mark)) = (lengths.get_mut(place), marks.get_mut(place)) else {
                is_broken = true;
                return Ok(false);
            };
            let is_new = !*mark;
            if (is_new && seen.len() >= MAX_CHUNK_AUTHORS) || !chunk.push(stored.frame) {
                return Ok(false);
            }
            if is_new {
                *mark = true;
                seen.push(place);
            }
            *length += 1;
            is_broken = dot.seq != *length;
            *next += 1;
            Ok(!is_broken)
        })?;
        if is_broken { Err(self.lost()) } else { Ok(seen) }
    }

    fn tree<'t>(&'t self, txn: &'t ReadTxn<'t>, author: &Author) -> TreeNodes<'t, ReadTxn<'t>> {
        let known = &author.known;
        TreeNodes::new(txn, LogReader::new(txn), known.number, known.slot, known.author)
    }

    /// The log does not hold together.
    fn lost(&self) -> StorageError {
        StorageError::DamagedRow { table: "log", key: format!("event {} of subject {}", self.next, self.log.id) }
    }
}

/// An author's tree that remembers what it was asked for.
struct Remembered<'n, 't, R> {
    tree: TreeNodes<'t, R>,
    place: usize,
    nodes: &'n mut HashMap<(usize, u8, u64), Hash>,
}

impl<R: Reads> Nodes for Remembered<'_, '_, R> {
    type Error = StorageError;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, StorageError> {
        let key = (self.place, level, index);
        if let Some(node) = self.nodes.get(&key) {
            return Ok(*node);
        }
        let node = self.tree.node(level, index)?;
        self.nodes.insert(key, node);
        Ok(node)
    }
}
