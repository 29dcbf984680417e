//! What a start finds in the directory of segments, and what it makes of it.
//!
//! | found | what is done |
//! |---|---|
//! | an unfinished file | removed: the table has it all |
//! | a whole segment, its events still in the table | verified and used; the table is trimmed |
//! | a damaged segment, its events still in the table | put aside as `.damaged`, and written again |
//! | a segment whose footer alone is damaged | its blocks are verified, one by one, and it gets a new footer |
//! | any other damaged segment, or none where one should be | its range is refused, all else is used |
//!
//! Only footers are read, so that a start takes no longer with more history. A block is compared when it is read. The
//! segments whose events are still in the table are compared as a whole: the last ones, if any.

use std::{fs, io, path::Path, sync::Arc};

use super::{
    layout::{BlockRow, Footer, SegmentError, as_u64, file_name, first_of},
    list::{Lost, Part, Parts},
    pack::Contents,
    sealed::{OpenError, Sealed},
    store::Segments,
    writer::{SegmentFile, UNFINISHED},
};
use crate::actors::storage::{
    StorageError,
    block::BlockView,
    keys,
    lmdb::{Env, Reads, Table},
    mark,
    open::sync_dir,
    reader::LogReader,
};

/// What is put aside is called so, and looked at by nobody.
const DAMAGED: &str = ".damaged";

/// What the log table says of the segments.
struct LogTable<'e> {
    env: &'e Env,
    /// The log has left the table up to here.
    trimmed: u64,
    /// The position after the log's last event.
    end: u64,
}

/// The segments as far as they are looked at.
#[derive(Default)]
struct Found {
    parts: Vec<Part>,
    /// Where the next part has to begin.
    at: u64,
    /// From here on nothing is used: the table has it, and it is written again.
    again: bool,
}

impl Segments {
    /// Finds the segments and brings them into the environment's list. Counts what is due.
    pub(crate) fn recover(&self, env: &Env) -> Result<(), StorageError> {
        let txn = env.read()?;
        let table = LogTable { env, trimmed: mark::get(&txn, mark::TRIMMED)?, end: LogReader::new(&txn).end()? };
        drop(txn);
        let names = self.tidy().map_err(|source| StorageError::io("reading", &self.dir, source))?;
        let mut found = Found::default();
        for (index, first) in names.iter().enumerate() {
            let next = names.get(index + 1).copied();
            self.look_at(*first, next, &table, &mut found)?;
        }
        if found.at < table.trimmed {
            found.lose(self.lost(found.at, table.trimmed, "it is missing"));
        }
        if found.again {
            sync_dir(&self.dir)?;
        }
        env.segments().replace(Parts::from(found.parts));
        self.count(env)
    }

    /// Removes unfinished files; the positions that the others begin at, ascending.
    fn tidy(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.strip_suffix(UNFINISHED).is_some_and(|name| first_of(name).is_some()) {
                fs::remove_file(self.dir.join(name))?;
            }
            names.extend(first_of(name));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Takes the segment that begins at `first` into the list, or what is known of it.
    fn look_at(
        &self,
        first: u64,
        next: Option<u64>,
        table: &LogTable<'_>,
        found: &mut Found,
    ) -> Result<(), StorageError> {
        let path = self.dir.join(file_name(first));
        if first > found.at && !found.again {
            let end = first.min(table.trimmed);
            if found.at < end {
                found.lose(self.lost(found.at, end, "it is missing"));
            }
        }
        // What the table has, and what does not go on from where the others end, is written again.
        found.again |= first > found.at;
        if found.again {
            return fs::remove_file(&path).map_err(|source| StorageError::io("removing", path, source));
        }
        let what = match self.open(&path, first, next, table) {
            Ok(sealed) => match Self::objection(&sealed, first, table, found) {
                None => {
                    found.at = sealed.footer().end;
                    found.parts.push(Part::Sealed(Arc::new(sealed)));
                    return Ok(());
                }
                Some(what) => what,
            },
            Err(OpenError::Damaged(what)) => what.to_string(),
            Err(OpenError::Io(error)) => error.to_string(),
        };
        if first >= table.trimmed {
            tracing::warn!(path = %path.display(), what, "a segment is put aside and written again");
            found.again = true;
            let mut aside = path.clone().into_os_string();
            aside.push(DAMAGED);
            return fs::rename(&path, aside).map_err(|source| StorageError::io("putting aside", path, source));
        }
        let end = next.unwrap_or(table.trimmed).min(table.trimmed);
        if found.at < end {
            found.lose(self.lost(found.at, end, &what));
        }
        Ok(())
    }

    fn open(&self, path: &Path, first: u64, next: Option<u64>, table: &LogTable<'_>) -> Result<Sealed, OpenError> {
        match Sealed::open(path) {
            // Where the table has it, it is written again from there, with no guessing.
            Err(OpenError::Damaged(what)) if first < table.trimmed && !is_newer(&what) => {
                match self.rebuild(path, first, next, table) {
                    Ok(()) => {
                        tracing::warn!(path = %path.display(), %what, "a segment got a new footer: its blocks are whole");
                        Sealed::open(path)
                    }
                    Err(Rebuild::Blocks(offset, inner)) => {
                        Err(SegmentError::Block { offset, what: format!("{inner}; and of the whole file: {what}") }
                            .into())
                    }
                    Err(Rebuild::Storage(error)) => {
                        tracing::warn!(%error, "a segment whose footer is damaged could not be written again");
                        Err(what.into())
                    }
                }
            }
            other => other,
        }
    }

    /// What speaks against a segment whose footer is whole.
    fn objection(sealed: &Sealed, first: u64, table: &LogTable<'_>, found: &Found) -> Option<String> {
        let footer = sealed.footer();
        if footer.first != first {
            return Some("it holds another range than its name says".to_owned());
        }
        if footer.first < found.at {
            return Some("it overlaps with the one before it".to_owned());
        }
        if footer.end > table.end {
            return Some("it reaches beyond the end of the log: data.mdb is older than it".to_owned());
        }
        if footer.end > table.trimmed {
            return sealed.verify().err().map(|error| error.to_string());
        }
        None
    }

    /// Gives the file a new footer, where all its blocks are whole and reach as far as they should.
    fn rebuild(&self, path: &Path, first: u64, next: Option<u64>, table: &LogTable<'_>) -> Result<(), Rebuild> {
        let bytes = fs::read(path).map_err(|source| Rebuild::Storage(StorageError::io("reading", path, source)))?;
        let txn = table.env.read().map_err(Rebuild::Storage)?;
        let (mut position, mut offset, mut rows) = (first, 0_usize, Vec::<BlockRow>::new());
        let complete = |position: u64| match next {
            Some(next) => position == next,
            None => position >= table.trimmed,
        };
        while !complete(position) {
            let rest = bytes.get(offset..).unwrap_or_default();
            let damaged = |what: String| Rebuild::Blocks(as_u64(offset), what);
            let parsed = BlockView::open(position, rest).and_then(|view| {
                let length = view.length_up_to(view.end().saturating_sub(1))?;
                Ok((view.end(), length, Contents::of(&view)?))
            });
            let (end, length, contents) = parsed.map_err(|error| damaged(error.to_string()))?;
            let block = rest.get(..length).unwrap_or_default();
            rows.push(contents.row(&txn, as_u64(offset), block).map_err(Rebuild::Storage)?);
            (position, offset) = (end, offset + length);
        }
        drop(txn);
        let footer = Footer::new(rows).ok_or_else(|| Rebuild::Blocks(0, "it has no blocks".to_owned()))?.encode();
        let whole = as_u64(offset + footer.len());
        let written = SegmentFile::create(&self.scope, &self.dir, first, whole).and_then(|mut file| {
            file.write(bytes.get(..offset).unwrap_or_default())?;
            file.seal(&footer)
        });
        written.map(drop).map_err(Rebuild::Storage)
    }

    fn lost(&self, first: u64, end: u64, what: &str) -> Lost {
        Lost { path: self.dir.join(file_name(first)), first, end, what: Arc::from(what) }
    }

    /// Counts the bytes of the log table that no segment has, up to as many as make one.
    fn count(&self, env: &Env) -> Result<(), StorageError> {
        let txn = env.read()?;
        let mut bytes = 0_u64;
        txn.scan(Table::Log, &keys::position(env.segments().end()), &mut |_, value| {
            bytes = bytes.saturating_add(as_u64(value.len()));
            Ok(bytes < self.bytes)
        })?;
        self.correct(bytes);
        Ok(())
    }
}

impl Found {
    /// Takes a range into the list that cannot be read.
    fn lose(&mut self, lost: Lost) {
        tracing::error!(error = %lost.error(), "a part of the log cannot be read");
        self.at = lost.end;
        self.parts.push(Part::Lost(Arc::new(lost)));
    }
}

/// Why a segment did not get a new footer.
enum Rebuild {
    /// Its blocks are damaged as well, from this byte on.
    Blocks(u64, String),
    /// It could not be read or written.
    Storage(StorageError),
}

const fn is_newer(what: &SegmentError) -> bool {
    matches!(what, SegmentError::NewerVersion { .. })
}
