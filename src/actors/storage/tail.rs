//! Whether what a data file lacks at its end is nothing but free pages.
//!
//! LMDB does not write pages that a transaction took and gave back, so a file may end before the last page that its meta
//! page counts. The [store](super::Store) lengthens it after each commit; a process that dies just before that leaves a
//! file that looks cut short and is whole. The difference is in the list of free pages, a small B-tree that is read here
//! from the file, as LMDB 0.9 lays it out on a 64-bit machine, before LMDB maps it.

use std::{fs::File, io, os::unix::fs::FileExt};

use hashbrown::HashSet;

// A page: number (8), padding (2), flags (2), end of the offsets (2), begin of the nodes (2), offsets (2 each), nodes.
const PAGE_HEADER: usize = 16;
const FLAGS_AT: usize = 10;
const LOWER_AT: usize = 12;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
// A node: low and high half of the data's length (or of the child's number), flags, length of the key, key, data.
const NODE_HEADER: usize = 8;
const BIG_DATA: u16 = 0x01;

/// Whether each of the pages from `have` to `last` is on the list of free pages that begins at `root`. `false` also where
/// the list itself makes no sense.
pub(super) fn lacks_free_pages_only(file: &File, page: u64, root: u64, have: u64, last: u64) -> io::Result<bool> {
    let mut free = HashSet::new();
    let mut left = vec![root];
    let mut visited = 0;
    while let Some(number) = left.pop() {
        visited += 1;
        // A list that goes in a circle is damaged.
        if number >= have || visited > have || read_page(file, page, number, have, &mut left, &mut free)?.is_none() {
            return Ok(false);
        }
    }
    Ok((have..=last).all(|number| free.contains(&number)))
}

/// Reads one page of the tree: its children into `left`, the free pages beyond `have` into `free`. `None`: it makes no sense.
fn read_page(
    file: &File,
    page: u64,
    number: u64,
    have: u64,
    left: &mut Vec<u64>,
    free: &mut HashSet<u64>,
) -> io::Result<Option<()>> {
    let Ok(length) = usize::try_from(page) else { return Ok(None) };
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, number.saturating_mul(page))?;
    let Some(flags) = u16_at(&bytes, FLAGS_AT) else { return Ok(None) };
    let Some(lower) = u16_at(&bytes, LOWER_AT) else { return Ok(None) };
    let nodes = usize::from(lower).saturating_sub(PAGE_HEADER) / 2;
    for node in 0..nodes {
        let Some(at) = u16_at(&bytes, PAGE_HEADER + 2 * node).map(usize::from) else { return Ok(None) };
        let fields = [0, 2, 4, 6].map(|field| u16_at(&bytes, at + field).map(u64::from));
        let [Some(low), Some(high), Some(node_flags), Some(key)] = fields else { return Ok(None) };
        if flags & BRANCH != 0 {
            left.push(low | high << 16 | node_flags << 32);
            continue;
        }
        if flags & LEAF == 0 {
            return Ok(None);
        }
        let data = at + NODE_HEADER + usize::try_from(key).unwrap_or(usize::MAX - at - NODE_HEADER);
        let list = if node_flags & u64::from(BIG_DATA) == 0 {
            bytes.get(data..).unwrap_or_default().to_vec()
        } else {
            let Some(overflow) = u64_at(&bytes, data).filter(|overflow| *overflow < have) else { return Ok(None) };
            let mut list = vec![0; usize::try_from(low | high << 16).unwrap_or(0)];
            file.read_exact_at(&mut list, overflow.saturating_mul(page).saturating_add(16))?;
            list
        };
        let Some(count) = u64_at(&list, 0).and_then(|count| usize::try_from(count).ok()) else { return Ok(None) };
        let (numbers, _) = list.get(8..).unwrap_or_default().as_chunks::<8>();
        if numbers.len() < count {
            return Ok(None);
        }
        free.extend(numbers.iter().take(count).map(|number| u64::from_le_bytes(*number)).filter(|free| *free >= have));
    }
    Ok(Some(()))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::actors::storage::{
        StorageError,
        lmdb::{Env, Reads, Table},
        preflight,
    };

    /// A directory as a process leaves it that dies right after a commit which took pages at the end and gave them back.
    /// Returns the length that the file should have.
    fn short_by_free_pages(dir: &Path, rows: u8) -> u64 {
        let path = dir.join("data.mdb");
        let env = Env::open(dir, 64 << 20).unwrap();
        let commit = |write: &dyn Fn(&mut crate::actors::storage::lmdb::WriteTxn<'_>)| {
            let mut txn = env.write().unwrap();
            write(&mut txn);
            txn.commit(&File::open(&path).unwrap()).unwrap();
        };
        commit(&|txn| (0..rows).for_each(|row| txn.put(Table::Log, &[0, row], &[7; 9_000]).unwrap()));
        commit(&|txn| (0..rows / 2).for_each(|row| txn.delete(Table::Log, &[0, row]).unwrap()));
        commit(&|txn| {
            txn.put(Table::Log, &[1], b"stays").unwrap();
            txn.put(Table::Log, &[2], &vec![9; 4 << 20]).unwrap();
            txn.delete(Table::Log, &[2]).unwrap();
        });
        let used = env.used_bytes();
        assert!(std::fs::metadata(&path).unwrap().len() < used, "the scene is not the one that it should be");
        used
    }

    #[test]
    fn a_file_that_lacks_free_pages_only_is_lengthened_and_opens() {
        // With many rows the list of free pages does not fit into its page.
        for rows in [0, 8, 250] {
            let dir = tempfile::tempdir().unwrap();
            let used = short_by_free_pages(dir.path(), rows);
            preflight::data_file(dir.path()).unwrap();
            assert_eq!(std::fs::metadata(dir.path().join("data.mdb")).unwrap().len(), used);
            let env = Env::open(dir.path(), 64 << 20).unwrap();
            assert_eq!(env.read().unwrap().get(Table::Log, &[1]).unwrap(), Some(b"stays".as_slice()));
        }
    }

    #[test]
    fn a_file_that_lacks_one_page_more_is_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        short_by_free_pages(dir.path(), 8);
        let file = File::options().write(true).open(dir.path().join("data.mdb")).unwrap();
        let length = file.metadata().unwrap().len();
        for lost in [1, 2, 5] {
            file.set_len(length - lost * 4096).unwrap();
            let refused = preflight::data_file(dir.path());
            assert!(matches!(refused, Err(StorageError::Truncated { .. })), "{lost}: {refused:?}");
        }
    }
}
