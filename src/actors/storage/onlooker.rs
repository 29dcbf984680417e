//! Access to a data directory for somebody who only looks: its commits, one after the other, with their segments.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::MmapOptions;

use super::{
    claim::{Access, Claim},
    error::StorageError,
    frozen::{Frozen, View},
    keys,
    lmdb::{PinEnv, PinTxn, Table},
    mark,
    preflight::{self, Meta},
};
use crate::actors::segment::{
    layout::{file_name, first_of},
    list::{Lost, Part, Parts},
    sealed::{OpenError, Sealed},
};

/// How often a commit that is over before its meta page is read is followed by another look: each costs a page.
const LOOKS: usize = 100;

/// Access to a data directory for somebody who only looks.
pub(crate) struct Watch {
    path: PathBuf,
    /// The directory of segments.
    segments: PathBuf,
    /// The segments that were opened, or why not, by the positions that their names say.
    opened: BTreeMap<u64, Result<Arc<Sealed>, String>>,
    pin: PinKind,
    /// The newest transaction when there was no pin, to be compared in the end.
    seen: Option<u64>,
    _claim: Option<Claim>,
}

enum PinKind {
    /// A node of this process.
    Node(Arc<super::Store>),
    /// Another opening of the environment.
    Own(PinEnv),
    /// There is none.
    None,
}

impl Watch {
    /// Begins to look.
    pub(crate) fn open(dir: &Path) -> Result<Self, StorageError> {
        let (pin, claim) = match Claim::share(dir)? {
            Access::Node(store) => (PinKind::Node(store), None),
            // Without a lock file nobody has the environment open, and it would have to be made.
            Access::Own(claim) if !dir.join("lock.mdb").exists() => (PinKind::None, Some(claim)),
            Access::Own(claim) => {
                let pin = PinEnv::open(dir).map_or_else(
                    |error| {
                        tracing::debug!(%error, "no place among the readers of the data directory");
                        PinKind::None
                    },
                    PinKind::Own,
                );
                (pin, Some(claim))
            }
        };
        let (path, segments) = (dir.join("data.mdb"), dir.join("segments"));
        Ok(Self { path, segments, opened: BTreeMap::new(), pin, seen: None, _claim: claim })
    }

    /// The directory as of the newest commit.
    pub(crate) fn freeze(&mut self) -> Result<Frozen<'_>, StorageError> {
        if let PinKind::None = self.pin
            && self.seen.is_none()
        {
            self.seen = newest(&self.path)?;
        }
        for _ in 0..LOOKS {
            let pin = match &self.pin {
                PinKind::Node(store) => Some(store.env.pin()?),
                PinKind::Own(env) => Some(env.pin()?),
                PinKind::None => None,
            };
            // After the transaction has begun: the file has at least its pages.
            let file = File::open(&self.path).map_err(|source| StorageError::io("opening", &self.path, source))?;
            let metas = metas(&file, &self.path)?;
            let number = pin.as_ref().map(PinTxn::number);
            let chosen = metas
                .into_iter()
                .flatten()
                .filter(|meta| number.is_none_or(|number| meta.txn == number))
                .max_by_key(|meta| meta.txn);
            let Some(meta) = chosen else { continue };
            // SAFETY: the mapping is only read, and the file is made shorter by nobody of ours. Its pages do not change
            // while they belong to a commit that is pinned; what is read is checked, wherever it comes from.
            let map = unsafe { MmapOptions::new().map(&file) };
            let map = map.map_err(|source| StorageError::io("mapping", &self.path, source))?;
            // After the transaction has begun as well: what it does not find in the table is in a segment.
            open_segments(&self.segments, &mut self.opened)?;
            let mut frozen = Frozen { path: &self.path, map, meta, parts: Parts::default(), trimmed: 0, _pin: pin };
            frozen.trimmed = trimmed(&frozen.view());
            frozen.parts = parts(&self.segments, &self.opened, frozen.trimmed);
            return Ok(frozen);
        }
        Err(StorageError::DamagedFile {
            path: self.path.clone(),
            what: "no meta page describes the newest commit, or they change faster than they can be read".to_owned(),
        })
    }

    /// The segments that were opened, or why not, by the positions that their names say.
    pub(crate) const fn segments(&self) -> &BTreeMap<u64, Result<Arc<Sealed>, String>> {
        &self.opened
    }

    /// What is wrong with the meta pages: the number of each page, and the rule that it breaks.
    pub(crate) fn meta_faults(&self) -> Result<Vec<(u64, &'static str)>, StorageError> {
        let file = File::open(&self.path).map_err(|source| StorageError::io("opening", &self.path, source))?;
        let mut before = None;
        for _ in 0..LOOKS {
            let length = file.metadata().map_err(|source| StorageError::io("reading", &self.path, source))?.len();
            let read = preflight::read_metas(&file, length);
            let Some([first, second]) = read.map_err(|source| StorageError::io("reading", &self.path, source))? else {
                return Ok(Vec::new());
            };
            let faults: Vec<_> = [(0, first.fault(0)), (1, second.fault(1))]
                .into_iter()
                .filter_map(|(n, what)| Some((n, what?)))
                .collect();
            // A commit writes the page that is not the newest one, so that the two are one apart.
            let distance = first.txn.abs_diff(second.txn);
            if faults.is_empty() && (distance == 1 || (distance == 0 && first.txn == 0)) {
                return Ok(faults);
            }
            // A commit may have come in between.
            if before == Some((first.txn, second.txn)) {
                let older = u64::from(second.txn < first.txn);
                let apart = (older, "the two meta pages are not of two commits in a row: one of them is damaged");
                return Ok(if faults.is_empty() { vec![apart] } else { faults });
            }
            before = Some((first.txn, second.txn));
        }
        Ok(Vec::new())
    }

    /// Whether what was read cannot have changed under the reader's eyes.
    pub(crate) fn is_undisturbed(&self) -> Result<bool, StorageError> {
        match self.pin {
            PinKind::None => Ok(newest(&self.path)? == self.seen),
            _ => Ok(true),
        }
    }
}

/// Opens the segments that were not there before.
fn open_segments(dir: &Path, opened: &mut BTreeMap<u64, Result<Arc<Sealed>, String>>) -> Result<(), StorageError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StorageError::io("reading", dir, source)),
    };
    for entry in entries {
        let name = entry.map_err(|source| StorageError::io("reading", dir, source))?.file_name();
        let Some(first) = name.to_str().and_then(first_of).filter(|first| !opened.contains_key(first)) else {
            continue;
        };
        let sealed = match Sealed::open(&dir.join(name)) {
            Ok(sealed) if sealed.footer().first != first => Err("it holds another range than its name says".to_owned()),
            Ok(sealed) => Ok(Arc::new(sealed)),
            Err(OpenError::Damaged(what)) => Err(what.to_string()),
            Err(OpenError::Io(error)) => Err(error.to_string()),
        };
        opened.insert(first, sealed);
    }
    Ok(())
}

/// Up to where the log has left its table. Where the row that says so is damaged, the table begins there.
fn trimmed(view: &View<'_>) -> u64 {
    let begins = || {
        let mut begins = None;
        let visited = view.rows(
            Table::Log,
            &[],
            &mut |key, _| {
                begins = keys::position_of(key);
                Ok(false)
            },
            &mut |_| {},
        );
        // Nothing but the visit could fail.
        drop(visited);
        begins.unwrap_or(0)
    };
    mark::get(view, mark::TRIMMED).unwrap_or_else(|_| begins())
}

/// The segments that the log goes through before its table, and what lacks between them.
fn parts(dir: &Path, opened: &BTreeMap<u64, Result<Arc<Sealed>, String>>, trimmed: u64) -> Parts {
    let (mut parts, mut at) = (Vec::new(), 0);
    let lost = |first: u64, end: u64, what: &str| {
        let path = dir.join(file_name(first));
        Part::Lost(Arc::new(Lost { path, first, end, what: Arc::from(what) }))
    };
    for (first, sealed) in opened.range(..trimmed) {
        if at < *first {
            parts.push(lost(at, *first, "it is missing"));
            at = *first;
        }
        let next = opened.range(first.saturating_add(1)..trimmed).next().map_or(trimmed, |(next, _)| *next);
        match sealed {
            _ if *first < at => {}
            Ok(sealed) => {
                at = sealed.footer().end;
                parts.push(Part::Sealed(Arc::clone(sealed)));
            }
            Err(what) => {
                at = next;
                parts.push(lost(*first, next, what));
            }
        }
    }
    if at < trimmed {
        parts.push(lost(at, trimmed, "it is missing"));
    }
    Parts::from(parts)
}

/// The number of the newest transaction that a whole meta page names.
fn newest(path: &Path) -> Result<Option<u64>, StorageError> {
    let file = File::open(path).map_err(|source| StorageError::io("opening", path, source))?;
    Ok(metas(&file, path)?.iter().flatten().map(|meta| meta.txn).max())
}

/// The meta pages that break no rule.
fn metas(file: &File, path: &Path) -> Result<[Option<Meta>; 2], StorageError> {
    let failed = |source| StorageError::io("reading", path, source);
    let length = file.metadata().map_err(failed)?.len();
    let metas = preflight::read_metas(file, length).map_err(failed)?;
    let Some([first, second]) = metas else {
        return Err(StorageError::Truncated { path: path.to_owned(), have: length, need: 2 * 4096 });
    };
    let whole = |meta: Meta, number| meta.fault(number).is_none().then_some(meta);
    Ok([whole(first, 0), whole(second, 1)])
}
