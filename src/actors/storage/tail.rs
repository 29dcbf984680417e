//! Whether what a data file lacks at its end is nothing but free pages.
//!
//! LMDB does not write pages that a transaction took and gave back, so a file may end before the last page that its meta
//! page counts. The [store](super::Store) lengthens it after each commit; a process that dies just before that leaves a
//! file that looks cut short and is whole.
//!
//! Each page of a data file is either reachable from the roots or on the list of free pages. So nothing is lost exactly
//! where every page that lacks is on that list: a small B-tree, far smaller than the data, that is read here from the
//! file, as LMDB 0.9 lays it out on a 64-bit machine, before LMDB maps it. Nothing in it is believed: each page is read
//! once, only where it lies in the file, and must say itself that it is the one that was looked for.

use std::{fs::File, io, os::unix::fs::FileExt};

use hashbrown::HashSet;

// A page: number (8), padding (2), flags (2), end of the offsets (2), begin of the nodes (2), offsets (2 each), nodes.
// The first page of a large value has the number of its pages (4) where others have the two ends.
const PAGE_HEADER: usize = 16;
const FLAGS_AT: usize = 10;
const LOWER_AT: usize = 12;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
// A node: low and high half of the data's length (or of the child's number), flags, length of the key, key, data.
const NODE_HEADER: usize = 8;
const BIG_DATA: u16 = 0x01;

/// What a data file lacks at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// Free pages, and nothing else.
    FreePages,
    /// A page that is in use.
    UsedPages,
    /// The list of free pages breaks this rule of LMDB's format.
    Unknown(&'static str),
}

/// What a file of `have` pages of `page` bytes lacks, whose list of free pages begins at `root` and whose pages should
/// reach up to `last`.
pub(super) fn lack(file: &File, page: u64, root: u64, have: u64, last: u64) -> io::Result<Lack> {
    let mut list = FreeList { file, page, have, last, seen: HashSet::new(), left: Vec::new(), free: HashSet::new() };
    let read = list.visit(root).map_err(Stop::from).and_then(|()| list.read_all());
    match read {
        Ok(()) if (have..=last).all(|number| list.free.contains(&number)) => Ok(Lack::FreePages),
        Ok(()) => Ok(Lack::UsedPages),
        Err(Stop::Lack(lack)) => Ok(lack),
        Err(Stop::Io(error)) => Err(error),
    }
}

/// Why the list is not read to its end.
enum Stop {
    Lack(Lack),
    Io(io::Error),
}

impl From<Lack> for Stop {
    fn from(lack: Lack) -> Self {
        Self::Lack(lack)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The list of free pages, while it is read.
struct FreeList<'f> {
    file: &'f File,
    /// Bytes of a page.
    page: u64,
    /// Pages that the file has.
    have: u64,
    /// The last page that it should have.
    last: u64,
    /// Pages of the tree that were met.
    seen: HashSet<u64>,
    /// Those of them that are still to be read.
    left: Vec<u64>,
    /// The free pages that the file lacks.
    free: HashSet<u64>,
}

impl FreeList<'_> {
    fn read_all(&mut self) -> Result<(), Stop> {
        while let Some(number) = self.left.pop() {
            self.read_page(number)?;
        }
        Ok(())
    }

    /// Has a page of the tree read.
    fn visit(&mut self, number: u64) -> Result<(), Lack> {
        self.check_run(number, 1)?;
        if !self.seen.insert(number) {
            return Err(Lack::Unknown("it goes in a circle"));
        }
        self.left.push(number);
        Ok(())
    }

    /// Whether these pages, which are in use, are in the file.
    fn check_run(&self, first: u64, count: u64) -> Result<(), Lack> {
        // Without any free page there is no list, and nothing that lacks is on it.
        let end = first.saturating_add(count);
        if first == u64::MAX || (end > self.have && end <= self.last.saturating_add(1)) {
            Err(Lack::UsedPages)
        } else if first < 2 || end > self.have {
            Err(Lack::Unknown("it leads out of the file"))
        } else {
            Ok(())
        }
    }

    fn read_page(&mut self, number: u64) -> Result<(), Stop> {
        let bytes = self.bytes(number, 0, self.page)?;
        let flags = u16_at(&bytes, FLAGS_AT)?;
        if u64_at(&bytes, 0)? != number || ![BRANCH, LEAF].contains(&(flags & (BRANCH | LEAF | OVERFLOW))) {
            return Err(Lack::Unknown("one of its pages is something else").into());
        }
        let nodes = usize::from(u16_at(&bytes, LOWER_AT)?).saturating_sub(PAGE_HEADER) / 2;
        for node in 0..nodes {
            let at = usize::from(u16_at(&bytes, PAGE_HEADER + 2 * node)?);
            let field = |field: usize| u16_at(&bytes, at + field).map(u64::from);
            let (low, high, node_flags) = (field(0)?, field(2)?, field(4)?);
            if flags & BRANCH != 0 {
                self.visit(low | high << 16 | node_flags << 32)?;
                continue;
            }
            let length = low | high << 16;
            let data = at + NODE_HEADER + usize::from(u16_at(&bytes, at + 6)?);
            if node_flags & u64::from(BIG_DATA) == 0 {
                self.note(bytes.get(data..).unwrap_or_default())?;
            } else {
                let large = self.large_value(u64_at(&bytes, data)?, length)?;
                self.note(&large)?;
            }
        }
        Ok(())
    }

    /// A value that has pages of its own.
    fn large_value(&self, first: u64, length: u64) -> Result<Vec<u8>, Stop> {
        const HEADER: u64 = 16;
        self.check_run(first, 1)?;
        let header = self.bytes(first, 0, HEADER)?;
        let count = u64::from(u16_at(&header, LOWER_AT)?) | u64::from(u16_at(&header, LOWER_AT + 2)?) << 16;
        let room = count.saturating_mul(self.page).saturating_sub(HEADER);
        if u64_at(&header, 0)? != first || u16_at(&header, FLAGS_AT)? & OVERFLOW == 0 || length > room {
            return Err(Lack::Unknown("one of its large values is something else").into());
        }
        self.check_run(first, count)?;
        self.bytes(first, HEADER, length)
    }

    /// Notes the free pages of one row: their number, then they.
    fn note(&mut self, row: &[u8]) -> Result<(), Lack> {
        let count = usize::try_from(u64_at(row, 0)?).unwrap_or(usize::MAX);
        let (numbers, _) = row.get(8..).unwrap_or_default().as_chunks::<8>();
        let numbers = numbers.get(..count).ok_or(Lack::Unknown("one of its rows is cut short"))?;
        let lacking = |number: &u64| (self.have..=self.last).contains(number);
        self.free.extend(numbers.iter().map(|number| u64::from_le_bytes(*number)).filter(lacking));
        Ok(())
    }

    /// Bytes of the file, from an offset into a page that is in it.
    fn bytes(&self, page: u64, offset: u64, length: u64) -> Result<Vec<u8>, Stop> {
        let length = usize::try_from(length).map_err(|_| Lack::Unknown("it is larger than this machine's memory"))?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, page.saturating_mul(self.page).saturating_add(offset))?;
        Ok(bytes)
    }
}

const SHORT: Lack = Lack::Unknown("one of its pages leads out of itself");

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Lack> {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map(|bytes| u16::from_le_bytes(*bytes)).ok_or(SHORT)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Lack> {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map(|bytes| u64::from_le_bytes(*bytes)).ok_or(SHORT)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::actors::storage::{
        StorageError,
        lmdb::{Env, Reads, Table, WriteTxn},
        preflight,
    };

    const PAGE: usize = 4096;

    fn open(dir: &Path) -> Env {
        Env::open(dir, 64 << 20).unwrap()
    }

    fn commit(dir: &Path, env: &Env, write: impl FnOnce(&mut WriteTxn<'_>)) {
        let mut txn = env.write().unwrap();
        write(&mut txn);
        txn.commit(&File::open(dir.join("data.mdb")).unwrap()).unwrap();
    }

    /// A directory as a process leaves it that dies right after a commit which took pages at the end and gave them back.
    /// Returns the length that the file should have.
    fn short_by_free_pages(dir: &Path, rows: u8) -> u64 {
        let env = open(dir);
        commit(dir, &env, |txn| (0..rows).for_each(|row| txn.put(Table::Log, &[0, row], &[row; 9_000]).unwrap()));
        commit(dir, &env, |txn| (0..rows / 2).for_each(|row| txn.delete(Table::Log, &[0, row]).unwrap()));
        commit(dir, &env, |txn| {
            txn.put(Table::Log, &[1], b"stays").unwrap();
            txn.put(Table::Log, &[2], &vec![9; 4 << 20]).unwrap();
            txn.delete(Table::Log, &[2]).unwrap();
        });
        let used = env.used_bytes();
        assert!(std::fs::metadata(dir.join("data.mdb")).unwrap().len() < used, "the scene is not the one it should be");
        used
    }

    fn assert_all_readable(dir: &Path, rows: u8) {
        let env = open(dir);
        let txn = env.read().unwrap();
        assert_eq!(txn.get(Table::Log, &[1]).unwrap(), Some(b"stays".as_slice()));
        assert_eq!(txn.get(Table::Log, &[2]).unwrap(), None);
        for row in 0..rows {
            let expected = (row >= rows / 2).then_some(vec![row; 9_000]);
            assert_eq!(txn.get(Table::Log, &[0, row]).unwrap(), expected.as_deref());
        }
        drop(txn);
        commit(dir, &env, |txn| txn.put(Table::Log, &[3], &vec![3; 6 << 20]).unwrap());
    }

    #[test]
    fn a_file_that_lacks_free_pages_only_is_lengthened_and_opens() {
        // With many rows the list of free pages does not fit into its page.
        for rows in [0, 8, 250] {
            let dir = tempfile::tempdir().unwrap();
            let used = short_by_free_pages(dir.path(), rows);
            preflight::data_file(dir.path()).unwrap();
            assert_eq!(std::fs::metadata(dir.path().join("data.mdb")).unwrap().len(), used);
            assert_all_readable(dir.path(), rows);
        }
    }

    #[test]
    fn a_file_is_whole_down_to_its_last_used_page_and_cut_short_below() {
        for rows in [0, 8, 250] {
            let dir = tempfile::tempdir().unwrap();
            let used = short_by_free_pages(dir.path(), rows);
            let good = std::fs::read(dir.path().join("data.mdb")).unwrap();
            let mut pages = good.len() / PAGE;
            let cut = |pages: usize| {
                std::fs::write(dir.path().join("data.mdb"), &good[..pages * PAGE]).unwrap();
                preflight::data_file(dir.path())
            };
            while cut(pages).is_ok() {
                pages -= 1;
            }
            for pages in 2..=pages {
                let refused = cut(pages);
                assert!(matches!(refused, Err(StorageError::Truncated { need, .. }) if need == used), "{refused:?}");
            }
            cut(pages + 1).unwrap();
            assert_all_readable(dir.path(), rows);
        }
    }

    #[test]
    fn every_page_is_in_use_or_on_the_list_of_free_pages() {
        let dir = tempfile::tempdir().unwrap();
        let env = open(dir.path());
        for round in 0..200_usize {
            commit(dir.path(), &env, |txn| {
                for step in 0..20_usize {
                    let key = [1, u8::try_from(round * 31 % 97 + step).unwrap()];
                    txn.put(Table::Log, &key, &vec![7; round * step * 37 % 30_000]).unwrap();
                    txn.put(Table::Heads, &key, &vec![7; step * 50]).unwrap();
                    txn.delete(Table::Log, &[1, u8::try_from(round * 17 % 97 + step / 2).unwrap()]).unwrap();
                }
            });
            let (spanned, accounted) = env.census();
            assert_eq!(spanned, accounted, "round {round}");
        }
    }

    /// Flips of bits in a file that lacks free pages, and whole pages of garbage.
    #[test]
    fn no_damage_to_a_short_file_is_more_than_an_error() {
        let dir = tempfile::tempdir().unwrap();
        short_by_free_pages(dir.path(), 250);
        let path = dir.path().join("data.mdb");
        let good = std::fs::read(&path).unwrap();
        // Where the list is, so that most of the damage meets it.
        let list: Vec<usize> = (2..good.len() / PAGE).filter(|page| is_of_list(&good, *page)).collect();
        assert!(list.len() > 1, "the list should have more than one page");
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut refused = 0;
        for round in 0..300 {
            let mut bad = good.clone();
            let page = list[random(list.len())] * PAGE;
            for _ in 0..=random(4) {
                // Headers and nodes' offsets more often than the rest.
                let at = page + random(if round % 2 == 0 { 64 } else { PAGE });
                bad[at] ^= 1 << random(8);
            }
            if round % 10 == 0 {
                bad[page + 8..page + PAGE].iter_mut().for_each(|byte| *byte = u8::try_from(random(256)).unwrap());
            }
            std::fs::write(&path, &bad).unwrap();
            match preflight::data_file(dir.path()) {
                Ok(()) => {}
                Err(StorageError::Truncated { .. } | StorageError::DamagedFile { .. }) => refused += 1,
                Err(other) => panic!("round {round}: {other}"),
            }
        }
        assert!(refused > 50, "{refused}");
    }

    #[test]
    fn a_list_that_goes_in_a_circle_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        short_by_free_pages(dir.path(), 8);
        let path = dir.path().join("data.mdb");
        let mut bytes = std::fs::read(&path).unwrap();
        let root = free_root(&bytes);
        // A branch page with two nodes, both of which lead to itself.
        let page = &mut bytes[root * PAGE..(root + 1) * PAGE];
        page[10..14].copy_from_slice(&[1, 0, 20, 0]);
        page[16..20].copy_from_slice(&[64, 0, 64, 0]);
        page[64..72].copy_from_slice(&[u8::try_from(root).unwrap(), 0, 0, 0, 0, 0, 0, 0]);
        std::fs::write(&path, &bytes).unwrap();
        let refused = preflight::data_file(dir.path());
        assert!(
            matches!(&refused, Err(StorageError::DamagedFile { what, .. }) if what.contains("circle")),
            "{refused:?}"
        );
    }

    fn number(bytes: &[u8], at: usize) -> usize {
        usize::try_from(u64_at(bytes, at).unwrap()).unwrap()
    }

    /// The root of the list of free pages, of the newer meta page.
    fn free_root(bytes: &[u8]) -> usize {
        let newer = if number(bytes, PAGE + 144) > number(bytes, 144) { PAGE } else { 0 };
        number(bytes, newer + 80)
    }

    /// Whether a page is the list's root or, where that is a leaf, a large value of it.
    fn is_of_list(bytes: &[u8], page: usize) -> bool {
        let root = free_root(bytes);
        let leaf = &bytes[root * PAGE..(root + 1) * PAGE];
        let nodes = (usize::from(u16_at(leaf, LOWER_AT).unwrap()) - PAGE_HEADER) / 2;
        page == root
            || (0..nodes).any(|node| {
                let at = usize::from(u16_at(leaf, PAGE_HEADER + 2 * node).unwrap());
                u16_at(leaf, at + 4).unwrap() & BIG_DATA != 0 && number(leaf, at + NODE_HEADER + 8) == page
            })
    }
}
