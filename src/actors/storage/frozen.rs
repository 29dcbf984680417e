//! A data directory as of one commit, read without trust and without a change.
//!
//! Nothing is made or lengthened here, and tables that an older version did not have are empty. LMDB has one part in it: a
//! read transaction in its table of readers, which keeps the node beside from reusing the pages of the commit. The pages
//! themselves are read by [`pages`](super::pages).
//!
//! Where that table cannot be used (there is none yet, or it cannot be written), the directory is read all the same, and
//! [`onlooker`](super::onlooker) tells afterwards whether anybody wrote meanwhile.

use std::path::Path;

use memmap2::Mmap;

use super::{
    error::StorageError,
    lmdb::{PinTxn, Reads, Row, TABLES, Table},
    pages::{Cursor, Fault, Pages, Tree},
    preflight::Meta,
};
use crate::actors::segment::list::Parts;

/// One commit.
pub(crate) struct Frozen<'w> {
    pub(super) path: &'w Path,
    pub(super) map: Mmap,
    pub(super) meta: Meta,
    pub(super) parts: Parts,
    pub(super) trimmed: u64,
    pub(super) _pin: Option<PinTxn<'w>>,
}

impl Frozen<'_> {
    /// Its reader.
    pub(crate) fn view(&self) -> View<'_> {
        let pages = Pages::new(&self.map, &self.meta);
        let (mut tables, mut faults) = ([Tree::EMPTY; TABLES.len()], Vec::new());
        for (tree, (_, name)) in tables.iter_mut().zip(TABLES) {
            match pages.table(self.meta.main, name) {
                Ok(found) => *tree = found,
                Err(fault) => faults.push(fault),
            }
        }
        View {
            path: self.path,
            bytes: &self.map,
            pages,
            tables,
            meta: &self.meta,
            parts: &self.parts,
            trimmed: self.trimmed,
            faults,
        }
    }
}

/// Reads one commit, page by page.
pub(crate) struct View<'f> {
    path: &'f Path,
    bytes: &'f [u8],
    pages: Pages<'f>,
    tables: [Tree; TABLES.len()],
    meta: &'f Meta,
    parts: &'f Parts,
    trimmed: u64,
    /// What was wrong with the tree that names the tables.
    faults: Vec<Fault>,
}

impl<'f> View<'f> {
    /// Up to here the log is in segments.
    pub(crate) const fn trimmed(&self) -> u64 {
        self.trimmed
    }

    /// What the log goes through before its table.
    pub(crate) const fn segments(&self) -> &'f Parts {
        self.parts
    }

    /// All bytes of the data file.
    pub(crate) const fn bytes(&self) -> &'f [u8] {
        self.bytes
    }

    /// Its pages.
    pub(crate) const fn pages(&self) -> Pages<'f> {
        self.pages
    }

    /// The trees of the file with their names: that of the names first, then the tables, last the list of free pages.
    pub(crate) fn trees(&self) -> impl Iterator<Item = (&'static str, Tree)> + '_ {
        let tables = TABLES.iter().zip(self.tables).map(|((_, name), tree)| (*name, tree));
        [("names of the tables", self.meta.main)].into_iter().chain(tables).chain([(FREE, self.meta.free)])
    }

    /// What is wrong with the tree that names the tables.
    pub(crate) fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The place in the data file of bytes that were read from it.
    pub(crate) fn offset_of(&self, slice: &[u8]) -> Option<u64> {
        self.pages.offset_of(slice)
    }

    /// Visits the rows from `from` on that can be read, until `visit` returns `false`; tells of the pages that cannot.
    pub(crate) fn rows(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&'f [u8], &'f [u8]) -> Result<bool, StorageError>,
        damaged: &mut dyn FnMut(Fault),
    ) -> Result<(), StorageError> {
        self.walk(self.tree(table), from, visit, damaged)
    }

    /// Visits the rows of the list of free pages.
    pub(crate) fn free_rows(&self, visit: &mut dyn FnMut(&'f [u8])) {
        self.all(self.meta.free, &mut |_, row| visit(row));
    }

    /// Visits the names of the tables, with their descriptions.
    pub(crate) fn name_rows(&self, visit: &mut dyn FnMut(&'f [u8], &'f [u8])) {
        self.all(self.meta.main, visit);
    }

    /// Visits the rows that can be read.
    fn all(&self, tree: Tree, visit: &mut dyn FnMut(&'f [u8], &'f [u8])) {
        let visited = self.walk(
            tree,
            &[],
            &mut |key, row| {
                visit(key, row);
                Ok(true)
            },
            &mut |_| {},
        );
        // Nothing but the visit could fail.
        drop(visited);
    }

    fn walk(
        &self,
        tree: Tree,
        from: &[u8],
        visit: &mut dyn FnMut(&'f [u8], &'f [u8]) -> Result<bool, StorageError>,
        damaged: &mut dyn FnMut(Fault),
    ) -> Result<(), StorageError> {
        let mut cursor = Cursor::new(self.pages, tree);
        let mut moved = cursor.seek(from);
        loop {
            match moved.and_then(|()| cursor.current()) {
                Ok(None) => return Ok(()),
                Ok(Some((key, value))) => {
                    if !visit(key, value)? {
                        return Ok(());
                    }
                    moved = cursor.step();
                }
                Err(fault) => {
                    damaged(fault);
                    moved = match cursor.skip_damage() {
                        Ok(true) => Ok(()),
                        Ok(false) => return Ok(()),
                        Err(fault) => Err(fault),
                    };
                }
            }
        }
    }

    fn tree(&self, table: Table) -> Tree {
        self.tables.get(table as usize).copied().unwrap_or(Tree::EMPTY)
    }

    fn damage(&self) -> impl FnOnce(Fault) -> StorageError + use<'f> {
        let path = self.path;
        move |Fault { page, what }| StorageError::DamagedFile {
            path: path.to_owned(),
            what: format!("page {page}: {what}"),
        }
    }
}

/// What the list of free pages is called.
pub(crate) const FREE: &str = "list of free pages";

impl Reads for View<'_> {
    fn parts(&self) -> &Parts {
        self.parts
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StorageError> {
        let mut cursor = Cursor::new(self.pages, self.tree(table));
        cursor.seek(key).map_err(self.damage())?;
        if cursor.key() != Some(key) {
            return Ok(None);
        }
        Ok(cursor.current().map_err(self.damage())?.map(|(_, value)| value))
    }

    fn at_or_before(&self, table: Table, key: &[u8]) -> Result<Option<Row<'_>>, StorageError> {
        let mut cursor = Cursor::new(self.pages, self.tree(table));
        cursor.seek(key).map_err(self.damage())?;
        if cursor.key() != Some(key) {
            cursor.step_back().map_err(self.damage())?;
        }
        cursor.current().map_err(self.damage())
    }

    fn last(&self, table: Table) -> Result<Option<Row<'_>>, StorageError> {
        let mut cursor = Cursor::new(self.pages, self.tree(table));
        cursor.seek_last().map_err(self.damage())?;
        cursor.current().map_err(self.damage())
    }

    fn scan<'t>(
        &'t self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&'t [u8], &'t [u8]) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let mut first = None;
        self.walk(self.tree(table), from, &mut |key, value| visit(key, value), &mut |fault| {
            first.get_or_insert(fault);
        })?;
        first.map_or(Ok(()), |fault| Err(self.damage()(fault)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::actors::storage::pages::Order;
    use crate::actors::storage::{lmdb::Env, onlooker::Watch};

    fn random(state: &mut u64, below: usize) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 33).unwrap() % below
    }

    /// Two tables with small and large values and many keys, after many commits.
    fn scene(dir: &Path) {
        let env = Env::open(dir, 64 << 20).unwrap();
        let mut state = 7;
        for _ in 0..60 {
            let mut txn = env.write().unwrap();
            for _ in 0..50 {
                let key = u32::try_from(random(&mut state, 3_000)).unwrap().to_be_bytes();
                let length = if random(&mut state, 10) == 0 { 20_000 } else { 40 };
                txn.put(Table::Log, &key, &vec![key[3]; random(&mut state, length)]).unwrap();
                txn.put(Table::Heads, &key, &key).unwrap();
                let key = u32::try_from(random(&mut state, 3_000)).unwrap().to_be_bytes();
                txn.delete(Table::Log, &key).unwrap();
            }
            txn.commit(&File::open(dir.join("data.mdb")).unwrap()).unwrap();
        }
    }

    type Rows = Vec<(Vec<u8>, Vec<u8>)>;

    fn rows(reads: &impl Reads, table: Table, from: &[u8]) -> Rows {
        let mut rows = Rows::new();
        reads
            .scan(table, from, &mut |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                Ok(true)
            })
            .unwrap();
        rows
    }

    #[test]
    fn the_list_of_free_pages_is_in_the_order_of_its_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::open(dir.path(), 64 << 20).unwrap();
        let file = File::open(dir.path().join("data.mdb")).unwrap();
        // As long as somebody reads an old commit the pages of all later ones stay on the list, and it grows past 256.
        let old = env.read().unwrap();
        for n in 0..300_u32 {
            let mut txn = env.write().unwrap();
            txn.put(Table::Heads, &n.to_be_bytes(), &[0]).unwrap();
            txn.commit(&file).unwrap();
        }
        let mut watch = Watch::open(dir.path()).unwrap();
        let frozen = watch.freeze().unwrap();
        let view = frozen.view();
        let (_, free) = view.trees().find(|(name, _)| *name == FREE).unwrap();
        let count = |order| {
            let mut faults = Vec::new();
            let rows = view.pages().census(free, order, &mut |_, _| Ok(()), &mut |fault| faults.push(fault));
            assert!(rows > 256);
            faults.len()
        };
        assert_eq!((count(Order::Numbers), count(Order::Bytes) > 0), (0, true));
        drop(old);
    }

    #[test]
    fn it_reads_what_lmdb_reads() {
        let dir = tempfile::tempdir().unwrap();
        scene(dir.path());
        let mut watch = Watch::open(dir.path()).unwrap();
        let frozen = watch.freeze().unwrap();
        let view = frozen.view();
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join("data.mdb"), copy.path().join("data.mdb")).unwrap();
        let env = Env::open(copy.path(), 64 << 20).unwrap();
        let txn = env.read().unwrap();
        for table in [Table::Log, Table::Heads, Table::Meta] {
            assert_eq!(rows(&view, table, &[]), rows(&txn, table, &[]));
            assert_eq!(view.last(table).unwrap(), txn.last(table).unwrap());
            for key in 0..3_001_u32 {
                let key = key.to_be_bytes();
                assert_eq!(view.get(table, &key).unwrap(), txn.get(table, &key).unwrap());
                assert_eq!(view.at_or_before(table, &key).unwrap(), txn.at_or_before(table, &key).unwrap());
            }
            assert_eq!(rows(&view, table, &[0, 0, 5, 5]), rows(&txn, table, &[0, 0, 5, 5]));
        }
    }

    #[test]
    fn no_damage_to_pages_is_more_than_an_error() {
        let dir = tempfile::tempdir().unwrap();
        scene(dir.path());
        let path = dir.path().join("data.mdb");
        std::fs::remove_file(dir.path().join("lock.mdb")).unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut state = 3;
        for _ in 0..400 {
            let mut bad = good.clone();
            for _ in 0..=random(&mut state, 8) {
                let page = random(&mut state, bad.len() / 4096 - 2) + 2;
                let at = page * 4096
                    + if random(&mut state, 2) == 0 { random(&mut state, 60) } else { random(&mut state, 4096) };
                bad[at] ^= 1 << random(&mut state, 8);
            }
            std::fs::write(&path, &bad).unwrap();
            let mut watch = Watch::open(dir.path()).unwrap();
            let frozen = watch.freeze().unwrap();
            let view = frozen.view();
            for (_, tree) in view.trees() {
                view.pages().census(tree, Order::Bytes, &mut |_, _| Ok(()), &mut |_| {});
            }
            for table in [Table::Log, Table::Heads] {
                view.rows(table, &[], &mut |_, _| Ok(true), &mut |_| {}).unwrap();
                drop(view.last(table));
                drop(view.at_or_before(table, &[0, 0, 5, 5]));
            }
        }
    }
}
