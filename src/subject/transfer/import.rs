//! Reading a bundle of a subject.

use std::{
    io::{self, Read},
    sync::Arc,
};

use super::{
    Progress,
    arrival::Arrival,
    error::{ImportError, ImportFailure},
};
use crate::{
    subject::node::Node,
    wire::{
        bundle::{BundleCheck, BundleError, Chunk, Decoder, ForkEntry, Part},
        fork::Cut,
        id::SubjectId,
        mmr::Hash,
    },
};

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportSummary {
    /// The subject.
    pub subject: SubjectId,
    /// Its name.
    pub name: String,
    /// Events that were not here before.
    pub new: u64,
    /// Events that were.
    pub duplicates: u64,
    /// Events past the point where their author's log forked, as is known here: they count for nothing and were left out.
    pub retracted: u64,
    /// Events of authors whom a replica that keeps a part of the subject only leaves out.
    pub left_out: u64,
    /// Authors found to have signed two histories by this import, or by the bundle's word and evidence: what each wrote after
    /// the event that is named counts for nothing here from now on.
    pub forks: Vec<Cut>,
    /// Events that are here, and enter the log when this machine's clock gets near their own.
    pub waiting: u64,
    /// How many authors wrote what the bundle has and continues.
    pub authors: usize,
    /// The root over the heads of the bundle: that of the subject where it was exported.
    pub bundle_root: Hash,
    /// The subject's root here now. The same, unless there is more here.
    pub root: Hash,
}

impl Node {
    /// Takes a [bundle](crate::wire::bundle) into the log of its subject, which is made if it is not here. `progress` is
    /// called as events become durable.
    ///
    /// Nothing enters the log before it is shown to be its author's, in its place. After an error the events before it stay,
    /// and importing the whole bundle later goes on from there; what is here already is compared, and not stored again.
    ///
    /// The subject runs meanwhile. Holds five chunks of 4 MiB at most in memory, and key and head of each author.
    ///
    /// # Errors
    /// [`ImportFailure::Bundle`] says what is wrong with the bundle and where, [`ImportFailure::Fork`] that the log here has
    /// another history of an author which it did not sign, [`ImportFailure::PrefixMissing`] that the bundle goes on where the log here has not
    /// come yet; others that it could not be read or stored. All say how many events were imported before.
    pub fn import(&self, reader: impl Read, progress: impl FnMut(Progress)) -> Result<ImportSummary, ImportError> {
        let mut import = Import { node: self, check: None, arrival: None, progress };
        match import.run(reader) {
            Ok(summary) => Ok(summary),
            Err(failure) => {
                // What was on its way to the disk arrives, and counts.
                let (new, duplicates) = import.arrival.map_or((0, 0), |arrival| arrival.abandon());
                Err(ImportError { failure: Box::new(failure), new, duplicates })
            }
        }
    }
}

/// An import on its way.
struct Import<'n, P> {
    node: &'n Node,
    /// Once it is known what the bundle is about.
    check: Option<BundleCheck>,
    /// Once the first chunk is there.
    arrival: Option<Arrival>,
    progress: P,
}

impl<P: FnMut(Progress)> Import<'_, P> {
    fn run(&mut self, mut reader: impl Read) -> Result<ImportSummary, ImportFailure> {
        let mut decoder = Decoder::new();
        let mut buffer = Vec::new();
        while decoder.wanted() > 0 {
            // Bounded: no section is longer than the limit of its kind.
            buffer.resize(decoder.wanted(), 0);
            let have = fill(&mut reader, &mut buffer)?;
            if have < buffer.len() {
                return Err(decoder.cut_short(have).into());
            }
            match decoder.feed(&buffer)? {
                None | Some(Part::Other(..)) => {}
                Some(Part::Opening(opening)) => self.check = Some(BundleCheck::new(opening)),
                Some(Part::Author(at, entry)) => self.check()?.author(at, *entry)?,
                Some(Part::Fork(at, entry)) => self.fork(at, *entry)?,
                Some(Part::Events(chunk)) => self.take(&chunk)?,
                Some(Part::End(trailer)) => {
                    if fill(&mut reader, &mut [0])? > 0 {
                        return Err(decoder.trailing().into());
                    }
                    // A bundle may have nothing but heads.
                    self.begin()?;
                    self.check()?.end(&trailer)?;
                }
            }
        }
        let (Some(check), Some(arrival)) = (&self.check, &mut self.arrival) else { return Err(unopened().into()) };
        arrival.finish(check, &mut self.progress)
    }

    fn fork(&mut self, at: u64, entry: ForkEntry) -> Result<(), ImportFailure> {
        let cut = self.check()?.fork(at, &entry)?;
        self.begin()?;
        let arrival = self.arrival.as_mut().ok_or_else(unopened)?;
        arrival.cut(entry.evidence, cut, &entry.key)
    }

    fn take(&mut self, chunk: &Chunk<'_>) -> Result<(), ImportFailure> {
        self.begin()?;
        let (Some(check), Some(arrival)) = (&mut self.check, &mut self.arrival) else { return Err(unopened().into()) };
        let checked = check.events_of(chunk)?;
        arrival.take(check, checked, &mut self.progress)
    }

    /// Looks at what is here of the authors' logs, once all authors are known.
    fn begin(&mut self) -> Result<(), ImportFailure> {
        if self.arrival.is_none() {
            let node = self.node;
            let check = self.check()?;
            let arrival = Arrival::new(node, check)?;
            self.arrival = Some(arrival);
        }
        Ok(())
    }

    fn check(&mut self) -> Result<&mut BundleCheck, BundleError> {
        self.check.as_mut().ok_or_else(unopened)
    }
}

/// The decoder gives the opening before all else.
fn unopened() -> BundleError {
    BundleError::CutShort { at: 0, within: "its beginning" }
}

/// Reads until the buffer is full or the input ends, and returns how much there is.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ImportFailure> {
    let mut have = 0;
    while let Some(rest) = buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ImportFailure::Read(Arc::new(error))),
        }
    }
    Ok(have)
}
