//! A bare loop on LMDB: increasing keys, one put an event, full sync. Nothing is checked, hashed or acknowledged.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use lmdb::{Database, DatabaseFlags, Environment, EnvironmentFlags, Transaction, WriteFlags};
use tempfile::TempDir;

use super::{MAP_SIZE, PAYLOAD, directory};

/// An environment with one table of events.
pub struct Bare {
    env: Environment,
    table: Database,
    next: u64,
    payload: [u8; PAYLOAD],
    _dir: Option<TempDir>,
}

impl Bare {
    /// In a new directory.
    pub fn new() -> Self {
        let dir = directory();
        Self { _dir: None, ..Self::open(dir.path()) }.keep(dir)
    }

    /// In this directory, after what is there.
    pub fn open(dir: &Path) -> Self {
        let env = Environment::new()
            .set_flags(EnvironmentFlags::NO_TLS)
            .set_max_dbs(1)
            .set_map_size(MAP_SIZE)
            .open(dir)
            .expect("a bare environment");
        let table = env.create_db(Some("events"), DatabaseFlags::empty()).expect("a table");
        let next = env.begin_ro_txn().and_then(|txn| txn.stat(table)).map_or(0, |stat| stat.entries() as u64);
        Self { env, table, next, payload: [7; PAYLOAD], _dir: None }
    }

    /// Puts so many events and commits them.
    pub fn commit(&mut self, events: usize) {
        let mut txn = self.env.begin_rw_txn().expect("a write transaction");
        for _ in 0..events {
            self.payload[..8].copy_from_slice(&self.next.to_le_bytes());
            txn.put(self.table, &self.next.to_be_bytes(), &self.payload, WriteFlags::empty()).expect("a put");
            self.next += 1;
        }
        txn.commit().expect("a commit");
    }

    /// Writes so many events in batches, and says how long that took.
    pub fn write(&mut self, events: usize, batch: usize) -> Duration {
        let start = Instant::now();
        let mut left = events;
        while left > 0 {
            let now = left.min(batch.max(1));
            self.commit(now);
            left -= now;
        }
        start.elapsed()
    }

    fn keep(mut self, dir: TempDir) -> Self {
        self._dir = Some(dir);
        self
    }
}

/// How many transactions have been committed in a directory that nobody has open.
pub fn transactions(dir: &Path) -> usize {
    let env = Environment::new().set_map_size(MAP_SIZE).set_max_dbs(16).open(dir).expect("the engine's environment");
    env.info().expect("its state").last_txnid()
}
