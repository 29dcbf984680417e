//! Batches of signed heads that were read, kept for the next question.
//!
//! The path from a head to its signature is made from all heads of the batch: a few hashes for each of up to thousands.
//! Whoever asks for the heads of many logs, one by one, asks for the same few batches again and again.

use std::collections::VecDeque;

use super::recover::damaged;
use crate::{
    actors::storage::{
        StorageError,
        lmdb::{Reads, Table},
        row::unchecked,
    },
    wire::head::HeadBatch,
};

/// Heads of all batches that are kept, but for the last one read: a few megabytes.
const KEPT_HEADS: usize = 16_384;

/// Batches by number, the latest read last. A number is given once, so that what was read stays true.
#[derive(Default)]
pub(super) struct ReadBatches {
    kept: VecDeque<(u64, HeadBatch)>,
    heads: usize,
}

impl ReadBatches {
    /// The batch with this number, which must be there.
    pub(super) fn get(&mut self, txn: &impl Reads, number: u64) -> Result<&HeadBatch, StorageError> {
        let lost = || damaged("signed heads", &number.to_be_bytes());
        if !self.kept.iter().any(|(known, _)| *known == number) {
            let batch = batch_row(txn, number)?.ok_or_else(lost)?;
            self.heads += batch.heads().len();
            self.kept.push_back((number, batch));
            while self.heads > KEPT_HEADS && self.kept.len() > 1 {
                let oldest = self.kept.pop_front();
                self.heads -= oldest.map_or(0, |(_, batch)| batch.heads().len());
            }
        }
        self.kept.iter().find(|(known, _)| *known == number).map(|(_, batch)| batch).ok_or_else(lost)
    }
}

/// The heads of a batch and their signature, from its row.
fn batch_row(txn: &impl Reads, number: u64) -> Result<Option<HeadBatch>, StorageError> {
    let key = number.to_be_bytes();
    let Some(row) = txn.get(Table::SignedHeads, &key)? else { return Ok(None) };
    let batch = unchecked(row).and_then(|row| HeadBatch::decode(row).ok());
    batch.map(Some).ok_or_else(|| damaged("signed heads", &key))
}
