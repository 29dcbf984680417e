//! `docs/format.md` is enough to check a proof: here it is done with BLAKE3, Falcon, and nothing of this crate.
//!
//! The files in `tests/fixtures/proof/` were written once, since a signature is another one each time. Any later version
//! must read them as the same, and the page prints the proof among them byte by byte.
//!
//! `XAEROFLUX_WRITE_FIXTURES=1 cargo test --test proof_format` writes them where they do not exist yet, under a new key
//! that is then thrown away, and prints the tables of the page. It never replaces one.

use std::{fs, path::PathBuf};

use data_encoding::HEXLOWER;
use pqcrypto_falcon::falconpadded512 as falcon;
use pqcrypto_traits::sign::{DetachedSignature as _, PublicKey as _};
use xaeroflux::{
    Dot, EventType, SubjectId, XaeroID,
    event::Clock,
    wire::{
        archive,
        fork::{Cut, ForkEvidence, ForkHalf},
        frame,
        head::{HeadBatch, LogHead, SignedHead},
        key::PublicKey,
        mmr::{InclusionProof, Tree, root_at},
        proof::{EventHeader, EventProof},
        record::Record,
        sign::{SecretIdentity, Signer},
    },
};

const SUBJECT: [u8; 32] = [0x99; 32];
const DEP: [u8; 32] = [0x22; 32];

/// The event that is proven, in a log of five.
const PROVEN: u64 = 3;
const LENGTH: u64 = 5;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/proof").join(name)
}

fn fixture(name: &str) -> Vec<u8> {
    if std::env::var_os("XAEROFLUX_WRITE_FIXTURES").is_some() {
        write_fixtures();
    }
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn key() -> PublicKey {
    PublicKey::from_text(std::str::from_utf8(&fixture("author.pub")).unwrap()).unwrap()
}

/// Written from `docs/format.md`, not from the crate: what a stranger would write.
mod stranger {
    use super::*;

    pub struct Fields<'a>(pub &'a [u8]);

    impl<'a> Fields<'a> {
        fn take(&mut self, count: usize) -> &'a [u8] {
            let (field, rest) = self.0.split_at(count);
            self.0 = rest;
            field
        }

        fn number(&mut self, count: usize) -> u64 {
            self.take(count).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        }
    }

    pub struct Checked {
        pub event_id: [u8; 32],
        pub log_root: [u8; 32],
        pub batch_leaf: [u8; 32],
        pub batch_root: [u8; 32],
    }

    /// "Tree": how many hashes a path has.
    fn path_length(index: u64, length: u64) -> u32 {
        let inner = u64::BITS - (index ^ (length - 1)).leading_zeros();
        inner + (index >> inner).count_ones()
    }

    /// "Tree": the root that a leaf and its path give.
    fn root(context: &str, leaf: [u8; 32], mut index: u64, length: u64, path: &[u8]) -> [u8; 32] {
        let mut last = length - 1;
        let mut node = leaf;
        for neighbour in path.chunks(32) {
            if index & 1 == 1 || index == last {
                node = blake3::derive_key(context, &[neighbour, &node].concat());
                while index & 1 == 0 && index != 0 {
                    (index, last) = (index / 2, last / 2);
                }
            } else {
                node = blake3::derive_key(context, &[&node, neighbour].concat());
            }
            (index, last) = (index / 2, last / 2);
        }
        node
    }

    /// "Event proof".
    pub fn check(proof: &[u8], key: &[u8]) -> Option<Checked> {
        let mut fields = Fields(proof);
        assert_eq!(fields.take(6), b"XPRF\x01\x01");
        let header_start = fields.0;
        let (subject, author) = (fields.take(32), fields.take(32));
        let seq = fields.number(8);
        fields.take(8 + 8 + 2);
        let deps = fields.number(2);
        fields.take(4 + 40 * usize::try_from(deps).unwrap() + 32);
        let header = &header_start[..header_start.len() - fields.0.len()];
        let event_id = blake3::derive_key("xaeroflux 2026 event id v1", header);

        assert_eq!(fields.take(6), b"XHED\x01\x01");
        let log_head = &fields.0[..104];
        if (fields.take(32), fields.take(32)) != (subject, author) {
            return None;
        }
        let length = fields.number(8);
        let log_root = fields.take(32);
        let batch_leaf = blake3::derive_key("xaeroflux 2026 log head v1", log_head);
        let (size_field, heads, index) = (&fields.0[..4], fields.number(4), fields.number(4));
        let path = fields.take(32 * path_length(index, heads) as usize);
        let batch_root = root("xaeroflux 2026 head batch node v1", batch_leaf, index, heads, path);
        assert_eq!(fields.number(2), 666);
        let signature = fields.take(666);

        let path = fields.take(32 * path_length(seq - 1, length) as usize);
        assert!(fields.0.is_empty());
        if root("xaeroflux 2026 mmr node v1", event_id, seq - 1, length, path) != log_root {
            return None;
        }
        if blake3::derive_key("xaeroflux 2026 writer id v1", key) != author {
            return None;
        }
        let domain = b"xaeroflux 2026 head batch v1";
        let message = [&[28], &domain[..], author, size_field, &batch_root].concat();
        let key = falcon::PublicKey::from_bytes(key).unwrap();
        let signature = falcon::DetachedSignature::from_bytes(signature).unwrap();
        falcon::verify_detached_signature(&signature, &message, &key).ok()?;
        Some(Checked { event_id, log_root: log_root.try_into().unwrap(), batch_leaf, batch_root })
    }

    /// "Public key text".
    pub fn public_key(text: &[u8]) -> Vec<u8> {
        let base64 = text.strip_prefix(b"xaeroflux-falcon512 ").unwrap().strip_suffix(b"\n").unwrap();
        data_encoding::BASE64.decode(base64).unwrap()
    }
}

#[test]
fn the_page_is_enough_to_check_a_proof() {
    let (proof, key) = (fixture("event.xprf"), stranger::public_key(&fixture("author.pub")));
    assert!(stranger::check(&proof, &key).is_some());
    // In the payload's hash, the log's root, a batch path, the signature, the log path.
    for at in [6 + 96 + 40, 174 + 6 + 72, 174 + 118, 174 + 300, proof.len() - 1] {
        let mut altered = proof.clone();
        altered[at] ^= 1;
        assert!(stranger::check(&altered, &key).is_none(), "byte {at}");
        assert!(
            EventProof::decode(&altered).and_then(|proof| proof.verify(&PublicKey::from_bytes(&key).unwrap())).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn the_page_prints_this_proof_and_its_hashes() {
    let page = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/format.md")).unwrap();
    let (_, example) = page.split_once("## Worked example").expect("the example has its heading");
    let (proof, key) = (fixture("event.xprf"), fixture("author.pub"));
    let printed: String = example
        .split("```")
        .nth(1)
        .expect("the bytes are in a block")
        .lines()
        .filter_map(|line| line.split_once(": "))
        .flat_map(|(_, bytes)| bytes.chars().filter(|digit| !digit.is_whitespace()))
        .collect();
    assert!(HEXLOWER.encode(&proof) == printed, "the page should print:\n{}", dump(&proof));
    let checked = stranger::check(&proof, &stranger::public_key(&key)).unwrap();
    let hashes = [
        ("event id", checked.event_id),
        ("root of the log", checked.log_root),
        ("batch leaf", checked.batch_leaf),
        ("root of the batch", checked.batch_root),
    ];
    let missing: Vec<String> = hashes
        .iter()
        .map(|(name, hash)| format!("| {name} | `{}` |", HEXLOWER.encode(hash)))
        .filter(|row| !example.contains(row))
        .collect();
    assert!(missing.is_empty(), "the page should have:\n{}", missing.join("\n"));
}

#[test]
fn the_files_are_read_as_what_they_were_written_as() {
    let key = key();
    let proof = EventProof::decode(&fixture("event.xprf")).unwrap();
    assert_eq!(proof.verify(&key), Ok(()));
    assert_eq!(proof.encode(), fixture("event.xprf"));
    let header = proof.header();
    assert_eq!((header.subject(), header.dot()), (SubjectId::from(SUBJECT), Dot::new(key.id(), PROVEN)));
    assert_eq!(header.clock(), Clock::from_millis(1_700_000_000_003));
    assert_eq!((header.latest_ts(), header.event_type()), (1_700_000_000_003, EventType::ApplicationEvent(30)));
    assert_eq!(header.deps(), [Dot::new(XaeroID::from(DEP), 7)]);
    assert_eq!(header.payload_hash(), blake3::hash(b"event 3").as_bytes());
    assert_eq!(header.payload_bytes(), 7);
    assert_eq!((proof.head().batch_size(), proof.head().index()), (3, 1));

    let head = SignedHead::decode(&fixture("head.xhed")).unwrap();
    assert_eq!(&head, proof.head());
    assert_eq!(head.encode(), fixture("head.xhed"));
    let batch = HeadBatch::decode(&fixture("batch.xhdb")).unwrap();
    assert_eq!(batch.verify(&key), Ok(()));
    assert_eq!(batch.signed_head(1), Some(head));
    let fork = ForkEvidence::decode(&fixture("fork.xfrk")).unwrap();
    let cut = Cut { author: key.id(), subject: SubjectId::from(SUBJECT), last_valid: PROVEN - 1 };
    assert_eq!(fork.verify(&key), Ok(cut));
    assert_eq!(fork.encode(), fixture("fork.xfrk"));
    // The proof is about what today's writer would write, apart from the signature.
    let (tree, frames) = log(key.id(), "event");
    let (record, _) = archive::open(&frames[2]).unwrap();
    assert_eq!(proof.proves_record(&record), Ok(()));
    assert_eq!(proof.inclusion(), &InclusionProof::make(&mut &tree, PROVEN - 1, LENGTH).unwrap());
}

/// A log of the author's in the example, its events named so.
fn log(author: XaeroID, name: &str) -> (Tree, Vec<Vec<u8>>) {
    let frames: Vec<Vec<u8>> = (1..=LENGTH)
        .map(|seq| {
            let name = if seq < PROVEN { "event" } else { name };
            let clock = Clock::from_millis(1_700_000_000_000 + seq);
            let payload = format!("{name} {seq}");
            let record = Record {
                subject: SubjectId::from(SUBJECT),
                dot: Dot::new(author, seq),
                clock,
                latest_ts: clock.millis(),
                deps: &[Dot::new(XaeroID::from(DEP), 7)],
                event_type: EventType::ApplicationEvent(30),
                payload: payload.as_bytes(),
            };
            let mut frame = Vec::new();
            frame::encode_into(&mut frame, &record).unwrap();
            frame
        })
        .collect();
    let leaves: Vec<[u8; 32]> = frames.iter().map(|frame| archive::open(frame).unwrap().0.id().into()).collect();
    (Tree::new(&leaves), frames)
}

fn write_fixtures() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if path("event.xprf").exists() {
            return;
        }
        let identity = SecretIdentity::generate().unwrap();
        let author = identity.id();
        let signed = |tree: &Tree| {
            let root = root_at(&mut &*tree, LENGTH).unwrap();
            let head = |subject: u8, length| LogHead { subject: SubjectId::from([subject; 32]), author, length, root };
            HeadBatch::sign(&identity, vec![head(0x11, 1), head(0x99, LENGTH), head(0xEE, 4)]).unwrap()
        };
        let ((tree, frames), (other, other_frames)) = (log(author, "event"), log(author, "other"));
        let (batch, other_batch) = (signed(&tree), signed(&other));
        let head = batch.signed_head(1).unwrap();
        let inclusion = InclusionProof::make(&mut &tree, PROVEN - 1, LENGTH).unwrap();
        let (record, _) = archive::open(&frames[2]).unwrap();
        let (other_record, _) = archive::open(&other_frames[2]).unwrap();
        let proof = EventProof::new(EventHeader::of(&record), inclusion.clone(), head.clone()).unwrap();
        let fork = ForkEvidence::new(
            ForkHalf::new(record.id(), inclusion, head.clone()),
            ForkHalf::new(
                other_record.id(),
                InclusionProof::make(&mut &other, PROVEN - 1, LENGTH).unwrap(),
                other_batch.signed_head(1).unwrap(),
            ),
        )
        .unwrap();
        let mut encoded = Vec::new();
        batch.encode_into(&mut encoded);
        fs::create_dir_all(path("")).unwrap();
        fs::write(path("author.pub"), identity.public_key().to_text()).unwrap();
        fs::write(path("head.xhed"), head.encode()).unwrap();
        fs::write(path("batch.xhdb"), encoded).unwrap();
        fs::write(path("fork.xfrk"), fork.encode()).unwrap();
        fs::write(path("event.xprf"), proof.encode()).unwrap();
    });
}

/// The bytes as the page prints them: the offset of a line's first byte, and 32 bytes.
fn dump(bytes: &[u8]) -> String {
    let line = |(number, bytes): (usize, &[u8])| format!("{:4}: {}\n", number * 32, HEXLOWER.encode(bytes));
    bytes.chunks(32).enumerate().map(line).collect()
}
