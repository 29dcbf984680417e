//! Which subjects a data directory has.

use super::Node;
use crate::{
    actors::storage::{
        StorageError,
        lmdb::{Reads as _, Table},
    },
    subject::error::Error,
};

/// Bytes of a subject's id, which stand before its name in its row.
const ID_BYTES: usize = 32;

impl Node {
    /// The names of all subjects that have an event here, in the order in which they got their first.
    ///
    /// ```
    /// use xaeroflux::{Node, XaeroEvent, event::CRDT_SET_ADD};
    /// let node = Node::ephemeral()?;
    /// let tags = node.subject("tags");
    /// let handle = tags.run()?;
    /// tags.publish(XaeroEvent::new("urgent", CRDT_SET_ADD)).wait()?;
    /// assert_eq!(node.subjects()?, ["tags"]);
    /// # drop(handle);
    /// # Ok::<(), xaeroflux::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the data directory cannot be read.
    pub fn subjects(&self) -> Result<Vec<String>, Error> {
        let txn = self._engine.store.env.read()?;
        let mut names = Vec::new();
        txn.scan(Table::Subjects, &[], &mut |key, row| {
            let name = row.get(ID_BYTES..).and_then(|name| std::str::from_utf8(name).ok());
            let damaged = || StorageError::DamagedRow { table: "subjects", key: data_encoding::HEXLOWER.encode(key) };
            names.push(name.ok_or_else(damaged)?.to_owned());
            Ok(true)
        })?;
        Ok(names)
    }
}
