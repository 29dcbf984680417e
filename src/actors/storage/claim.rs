//! Which data directories this process has open.
//!
//! LMDB marks an environment as in use by a lock that belongs to the process, and that goes with the first of its openings
//! that is closed. A process that opened one directory twice would lose it, and another process would take the directory
//! for unused and clear the table of readers. So each directory is open once in a process: a verification beside a node of
//! its own process uses that node's environment, and one without keeps nodes from starting until it is done.

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
};

use hashbrown::HashMap;

use super::{StorageError, Store};

/// Device and inode number of a directory.
type Place = (u64, u64);

static CLAIMS: Mutex<Option<HashMap<Place, Weak<Store>>>> = Mutex::new(None);
static RELEASED: Condvar = Condvar::new();

/// The right to open a directory; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim(Place);

/// How a verification comes to the directory.
pub(crate) enum Access {
    /// Nobody in this process has it open.
    Own(Claim),
    /// A node of this process has.
    Node(Arc<Store>),
}

impl Claim {
    /// For a node.
    pub(crate) fn take(dir: &Path) -> Result<Self, StorageError> {
        let place = place(dir)?;
        let mut claims = claims();
        if claims.get_or_insert_default().contains_key(&place) {
            let holder = "a verification in this process".to_owned();
            return Err(StorageError::InUse { path: dir.to_owned(), holder });
        }
        claims.get_or_insert_default().insert(place, Weak::new());
        Ok(Self(place))
    }

    /// For a verification. Waits for another one, and for a node that is being closed.
    pub(crate) fn share(dir: &Path) -> Result<Access, StorageError> {
        let place = place(dir)?;
        let mut claims = claims();
        loop {
            match claims.get_or_insert_default().get(&place) {
                None => {
                    claims.get_or_insert_default().insert(place, Weak::new());
                    return Ok(Access::Own(Self(place)));
                }
                Some(holder) => {
                    if let Some(store) = holder.upgrade() {
                        return Ok(Access::Node(store));
                    }
                }
            }
            claims = RELEASED.wait(claims).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Names the node that has the directory.
    pub(super) fn belongs_to(&self, store: &Arc<Store>) {
        claims().get_or_insert_default().insert(self.0, Arc::downgrade(store));
        RELEASED.notify_all();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        claims().get_or_insert_default().remove(&self.0);
        RELEASED.notify_all();
    }
}

fn claims() -> MutexGuard<'static, Option<HashMap<Place, Weak<Store>>>> {
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(dir: &Path) -> Result<Place, StorageError> {
    let metadata = dir.metadata().map_err(|source| StorageError::io("looking at", dir, source))?;
    Ok((metadata.dev(), metadata.ino()))
}
