//! The subjects that this node shares with others: under which name, with which secrets, and where peers were seen.
//!
//! A row of the shares table stands under the subject's identifier, since a subject may be shared before it has an event,
//! and with it a number. It is written whole. All numbers are little-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version: 1, or 2 where a filter is in it |
//! | 32 | subject id, the key once more: no row passes for another's |
//! | 1 | kind: 1 open, 2 owned |
//! | 2 | length of the name, n |
//! | n | the name; of an owned subject the local alias |
//! | 1 | number of secrets; none where an owned subject has a name here and is not shared |
//! | 32 each | secrets, the current one first |
//! | 1 | number of peers |
//! | | each peer, as in [`endpoint`](crate::wire::endpoint) |
//! | | in version 2: what part of the subject is kept here, as in [`interest`](crate::wire::interest), with no own writers |
//! | 4 | CRC32C of all bytes before it |

use zeroize::Zeroizing;

use super::{
    error::StorageError,
    lmdb::{Reads, Table},
    row::{checked, unchecked},
};
use crate::wire::{
    bytes::Reader,
    endpoint::{MAX_PEER_BYTES, PeerAddr},
    id::SubjectId,
    interest::{Interest, MAX_INTEREST_BYTES, ReplicaFilter},
    name,
    ticket::{SubjectKind, SubjectSecret},
};

/// Most secrets of one subject. Two people who share an open subject under one name before they meet have one each; a list
/// as long as this is a sign of tickets that should have been one.
pub(crate) const MAX_SECRETS: usize = 16;

/// Most peers that are remembered of one subject: one that answers knows the others.
pub(crate) const MAX_PEERS: usize = 16;

const VERSION: u8 = 1;
/// Of rows that say that only a part of the subject is kept.
const PARTIAL_VERSION: u8 = 2;

/// One subject that is shared, or is to have a local name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) subject: SubjectId,
    pub(crate) kind: SubjectKind,
    /// The name of an open subject, or what an owned one is called here.
    pub(crate) name: String,
    /// What those who share it know, the current one first. None: it is not shared.
    pub(crate) secrets: Vec<SubjectSecret>,
    /// Where peers were seen, the best first. Never this node itself.
    pub(crate) peers: Vec<PeerAddr>,
    /// What part of it is kept here. It is set before the first event from elsewhere comes, and never changed.
    pub(crate) filter: ReplicaFilter,
}

impl Share {
    /// The row. Wiped when dropped.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        // The full capacity at once: a vector that grows leaves copies of the secrets behind.
        let filter = if self.filter.is_all() { 0 } else { MAX_INTEREST_BYTES };
        let room = 64 + filter + self.name.len() + 32 * self.secrets.len() + MAX_PEER_BYTES * self.peers.len();
        let mut row = Zeroizing::new(Vec::with_capacity(room));
        row.push(if self.filter.is_all() { VERSION } else { PARTIAL_VERSION });
        row.extend_from_slice(self.subject.as_bytes());
        row.push(self.kind.code());
        // Names are checked, and the lists kept short, before they get here.
        row.extend_from_slice(&u16::try_from(self.name.len()).unwrap_or(u16::MAX).to_le_bytes());
        row.extend_from_slice(self.name.as_bytes());
        row.push(u8::try_from(self.secrets.len()).unwrap_or(u8::MAX));
        self.secrets.iter().for_each(|secret| row.extend_from_slice(secret.as_bytes()));
        row.push(u8::try_from(self.peers.len()).unwrap_or(u8::MAX));
        self.peers.iter().for_each(|peer| peer.encode_into(&mut row));
        if !self.filter.is_all() {
            let interest = Interest { filter: self.filter.clone(), own: Vec::new() };
            let mut bytes = Vec::new();
            interest.encode_into(&mut bytes);
            row.extend_from_slice(&bytes);
        }
        Zeroizing::new(checked(&row))
    }

    /// The share from its row; `None` where the row is damaged, or is not of this key.
    pub(crate) fn decode(key: &[u8], row: &[u8]) -> Option<Self> {
        let mut reader = Reader::new("a share", unchecked(row)?);
        let [version @ (VERSION | PARTIAL_VERSION)] = reader.array().ok()? else { return None };
        let subject = SubjectId::from(reader.array::<32>().ok()?);
        let [kind] = reader.array().ok()?;
        let kind = SubjectKind::from_code(kind)?;
        let length = usize::from(reader.u16().ok()?);
        let name = str::from_utf8(reader.take(length).ok()?).ok()?.to_owned();
        let [count] = reader.array().ok()?;
        if usize::from(count) > MAX_SECRETS {
            return None;
        }
        let secret = |reader: &mut Reader<'_>| reader.array::<32>().ok().map(SubjectSecret::from);
        let secrets = (0..count).map(|_| secret(&mut reader)).collect::<Option<Vec<_>>>()?;
        let [count] = reader.array().ok()?;
        if usize::from(count) > MAX_PEERS {
            return None;
        }
        let peers = (0..count).map(|_| PeerAddr::decode(&mut reader)).collect::<Option<Vec<_>>>()?;
        let filter = match version {
            VERSION => ReplicaFilter::all(),
            _ => Interest::read(&mut reader).ok()?.filter,
        };
        reader.finish().ok()?;
        let is_named = match kind {
            SubjectKind::Open => name::open_subject_id(&name) == subject,
            SubjectKind::Owned => true,
        };
        let is_right = is_named && name::check(&name).is_ok() && key == subject.as_bytes();
        is_right.then_some(Self { subject, kind, name, secrets, peers, filter })
    }
}

/// All rows: each share, or the key of a row that is damaged.
pub(crate) fn all(txn: &impl Reads) -> Result<Vec<Result<Share, Vec<u8>>>, StorageError> {
    let mut shares = Vec::new();
    txn.scan(Table::Shares, &[], &mut |key, row| {
        shares.push(Share::decode(key, row).ok_or_else(|| key.to_vec()));
        Ok(true)
    })?;
    Ok(shares)
}

/// That the row under this key is damaged.
pub(crate) fn damaged(key: &[u8]) -> StorageError {
    StorageError::DamagedRow { table: "shares", key: data_encoding::HEXLOWER.encode(key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id::EndpointId;

    fn share(kind: SubjectKind) -> Share {
        let subject = match kind {
            SubjectKind::Open => name::open_subject_id("tags"),
            SubjectKind::Owned => name::owned_subject_id(b"genesis"),
        };
        let mut peer = PeerAddr::new(EndpointId::from([3; 32]));
        peer.addrs.push("192.0.2.1:4433".parse().unwrap());
        let secrets = vec![SubjectSecret::from([1; 32]), SubjectSecret::from([2; 32])];
        let filter = ReplicaFilter::all();
        Share { subject, kind, name: "tags".to_owned(), secrets, peers: vec![peer], filter }
    }

    #[test]
    fn a_share_survives_its_row_and_a_damaged_or_misplaced_row_does_not_pass() {
        let partial = ReplicaFilter::all().author(crate::wire::id::XaeroID::from([8; 32]));
        for (kind, filter) in [
            (SubjectKind::Open, ReplicaFilter::all()),
            (SubjectKind::Owned, ReplicaFilter::all()),
            (SubjectKind::Owned, partial),
        ] {
            let share = Share { filter, ..share(kind) };
            let (key, row) = (share.subject, share.encode());
            assert_eq!(Share::decode(key.as_bytes(), &row), Some(share));
            assert_eq!(Share::decode(&[9; 32], &row), None);
            for bit in 0..row.len() * 8 {
                let mut bad = row.to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Share::decode(key.as_bytes(), &bad), None, "bit {bit}");
            }
            for length in 0..row.len() {
                assert_eq!(Share::decode(key.as_bytes(), &row[..length]), None);
            }
        }
    }

    #[test]
    fn an_open_subject_under_another_name_than_its_own_does_not_pass() {
        let share = Share { name: "votes".to_owned(), ..share(SubjectKind::Open) };
        assert_eq!(Share::decode(share.subject.as_bytes(), &share.encode()), None);
    }
}
