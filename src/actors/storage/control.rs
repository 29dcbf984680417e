//! The rows of control events: what is needed of them to know the rights in an owned subject without reading its log.
//!
//! A row lies under the subject's number and the event's ordinal in the subject's log, so their order is that of the log,
//! which is causal. It is written in the transaction that appends the event. All numbers are little-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 32 | author |
//! | 8 | sequence number |
//! | 1 | code |
//! | | the record, as in the event's payload |
//! | 4 | CRC32C of all bytes before it |

use super::{
    error::StorageError,
    keys::{self, SubjectNumber},
    lmdb::{Reads, Table},
    row::{checked, unchecked},
};
use crate::{
    crdt::rights::ControlEvent,
    wire::{
        control::Control,
        id::{Dot, XaeroID},
    },
};

/// The row of a control event.
pub(crate) fn encode(event: &ControlEvent) -> Vec<u8> {
    let ControlEvent { dot, control } = event;
    let fixed = [dot.author.as_bytes().as_slice(), &dot.seq.to_le_bytes(), &[control.code()]].concat();
    checked(&[fixed, control.encode()].concat())
}

/// The control event of a row; `None` where the row is damaged.
pub(crate) fn decode(row: &[u8]) -> Option<ControlEvent> {
    let (author, rest) = unchecked(row)?.split_first_chunk::<32>()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let (code, record) = rest.split_first()?;
    let control = Control::decode(*code, record).ok()?;
    Some(ControlEvent { dot: Dot::new(XaeroID::from(*author), u64::from_le_bytes(*seq)), control })
}

/// The control events of a subject, in the order of its log.
pub(crate) fn load(txn: &impl Reads, number: SubjectNumber) -> Result<Vec<ControlEvent>, StorageError> {
    let mut events = Vec::new();
    txn.scan(Table::Control, &keys::control(number, 0), &mut |key, row| {
        if !key.starts_with(&number.key()) {
            return Ok(false);
        }
        let key = || data_encoding::HEXLOWER.encode(key);
        events.push(decode(row).ok_or_else(|| StorageError::DamagedRow { table: "control", key: key() })?);
        Ok(true)
    })?;
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::control::{Grant, Role};

    #[test]
    fn a_row_gives_its_event_back_and_an_altered_one_gives_none() {
        let [author, grantee] = [1, 2].map(|byte| XaeroID::from([byte; 32]));
        let control = Control::Grant(Grant { grantee, role: Role::Writer, authority: None });
        let event = ControlEvent { dot: Dot::new(author, 300), control };
        let row = encode(&event);
        assert_eq!(decode(&row), Some(event));
        for bit in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None, "bit {bit}");
        }
    }
}
