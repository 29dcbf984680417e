//! What a stranger would check: roots made from nothing but the events, proofs, and every head that was ever seen.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use lmdb::{Cursor as _, Transaction as _};
use xaeroflux::{
    Node, ScanWindow, Subject, SubjectId, VerifyOptions, XaeroID, verify,
    wire::{
        head::{HeadBatch, LogHead},
        mmr::{Hash, InclusionProof, Peaks, Tree, root_at},
    },
};

use super::in_time;

/// The event ids of each author, in the order of its log.
pub fn leaves_of(subject: &Subject) -> BTreeMap<XaeroID, Vec<Hash>> {
    let mut leaves: BTreeMap<XaeroID, Vec<Hash>> = BTreeMap::new();
    subject
        .for_each_archived(ScanWindow::ALL, |record| {
            leaves.entry(record.author()).or_default().push(*record.id().as_bytes());
            true
        })
        .unwrap();
    leaves
}

/// The newest signed head of each of these authors covers all of its log and holds. They have written to this subject, or
/// have no head.
pub fn assert_signed(node: &Node, subject: &Subject, names: &[&str], seen: &mut Seen, what: &str) {
    let leaves = leaves_of(subject);
    for name in names {
        let key = node.public_key(name).unwrap_or_else(|error| panic!("{what}: {error}"));
        let asked = subject.clone();
        let signed = in_time("a signed head", move || asked.signed_head(key.id())).unwrap();
        let key = node.public_key(name).unwrap();
        let Some(leaves) = leaves.get(&key.id()) else {
            assert!(signed.is_none(), "{what}: a head of a log without events");
            continue;
        };
        let signed = signed.unwrap_or_else(|| panic!("{what}: {name} has no signed head"));
        seen.note(signed.head());
        signed.verify(&key).unwrap_or_else(|error| panic!("{what}: {name}: {error}"));
        let mut peaks = Peaks::new();
        leaves.iter().for_each(|leaf| peaks.push(leaf));
        assert_eq!((signed.head().length, signed.head().root), (peaks.len(), peaks.root()), "{what}: {name}");
        assert_eq!((signed.head().author, signed.head().subject), (key.id(), subject.id()), "{what}: {name}");
    }
}

/// The proofs of these events of an author hold, and are those that the author's events alone give.
pub fn assert_proven(node: &Node, subject: &Subject, name: &str, seqs: impl IntoIterator<Item = u64>, what: &str) {
    let key = node.public_key(name).unwrap();
    let leaves = &leaves_of(subject)[&key.id()];
    let tree = Tree::new(leaves);
    for seq in seqs {
        let (asked, author) = (subject.clone(), key.id());
        let proof = in_time("a proof", move || asked.prove(author, seq));
        let proof = proof.unwrap_or_else(|error| panic!("{what}: {name}:{seq}: {error}"));
        proof.verify(&key).unwrap_or_else(|error| panic!("{what}: {name}:{seq}: {error}"));
        let length = proof.head().head().length;
        assert!((seq..=leaves.len() as u64).contains(&length), "{what}: {name}:{seq} under a head of {length}");
        assert_eq!(proof.head().head().root, root_at(&mut &tree, length).unwrap(), "{what}: {name}:{seq}");
        let plain = InclusionProof::make(&mut &tree, seq - 1, length).unwrap();
        assert_eq!((proof.header().seq(), proof.inclusion()), (seq, &plain), "{what}: {name}");
    }
}

/// No damage is found in the directory, and as many events without a signature as are expected.
pub fn assert_whole(dir: &Path, unsigned: u64, what: &str) {
    let report = verify(dir, &VerifyOptions::default(), &mut |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.is_whole(), "{what}: {:?}", report.findings);
    assert_eq!(report.unsigned, unsigned, "{what}: {:?}", report.findings);
}

/// Every head that was seen, wherever: an author has signed one history only.
#[derive(Default)]
pub struct Seen(HashMap<(SubjectId, XaeroID, u64), Hash>);

impl Seen {
    pub fn note(&mut self, head: &LogHead) {
        let before = self.0.insert((head.subject, head.author, head.length), head.root);
        assert!(before.is_none_or(|before| before == head.root), "two histories of {} are signed", head.author);
    }

    /// The head that is the newest now, if there is one.
    pub fn ask(&mut self, subject: &Subject, author: XaeroID) -> u64 {
        let asked = subject.clone();
        let signed = in_time("a signed head", move || asked.signed_head(author)).unwrap();
        signed.map_or(0, |signed| {
            self.note(signed.head());
            signed.head().length
        })
    }

    /// The heads that the directory holds. No node may have it open in this process.
    pub fn read(&mut self, dir: &Path) {
        for (key, row) in rows(dir, "signed_heads") {
            // The longer keys count how many trees refer to a batch.
            if key.len() == 8 {
                let batch = HeadBatch::decode(&row[..row.len() - 4]).unwrap();
                batch.heads().iter().for_each(|head| self.note(head));
            }
        }
    }

    /// What was signed is the beginning of what is there.
    pub fn assert_of(&self, subject: &Subject, what: &str) {
        let leaves = leaves_of(subject);
        let of_this = self.0.iter().filter(|((id, _, _), _)| *id == subject.id());
        let mut count = 0;
        for ((_, author, length), root) in of_this {
            let tree = Tree::new(&leaves[author]);
            assert_eq!(&root_at(&mut &tree, *length).unwrap(), root, "{what}: {author} at {length}");
            count += 1;
        }
        assert!(count > 0, "{what}: no head was ever seen");
    }
}

/// The rows of a table of a directory that no node of this process has open.
pub fn rows(dir: &Path, table: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let flags = lmdb::EnvironmentFlags::READ_ONLY;
    let env = lmdb::Environment::new().set_flags(flags).set_max_dbs(32).set_map_size(1 << 30).open(dir).unwrap();
    let table = env.open_db(Some(table)).unwrap();
    let txn = env.begin_ro_txn().unwrap();
    let mut cursor = txn.open_ro_cursor(table).unwrap();
    cursor.iter_start().map(|row| row.unwrap()).map(|(key, row)| (key.to_vec(), row.to_vec())).collect()
}
