//! Bytes from outside that claim trust: key files, signatures, proofs. What is wrong is refused, says what it is, and names
//! the way out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use xaeroflux::{
    Dot, Error, Node, PublishError, Subject, XaeroEvent, XaeroID,
    event::CRDT_SET_ADD,
    wire::{
        head::{MAX_SIGNED_HEAD_BYTES, SignedHead},
        key::{KeyError, PublicKey, SIGNATURE_BYTES},
        mmr::InclusionProof,
        proof::{EventProof, ProofError},
    },
};

fn publish(subject: &Subject, author: XaeroID, count: usize) {
    let events = (0..count).map(|n| XaeroEvent::new(format!("{n}"), CRDT_SET_ADD).by(author));
    subject.publish_all(events).into_iter().for_each(|receipt| assert!(receipt.wait().is_ok()));
}

// Key files.

struct Bad {
    what: &'static str,
    bytes: Vec<u8>,
    mode: u32,
    /// What the error says of it, and what to do.
    says: [&'static str; 2],
}

fn bad_key_files(good: &[u8]) -> Vec<Bad> {
    let bad = |what, bytes: Vec<u8>, says| Bad { what, bytes, mode: 0o600, says };
    let mut flipped = good.to_vec();
    flipped[2_000] ^= 1;
    let restore = "restore it from a backup";
    vec![
        bad("of no bytes", Vec::new(), ["this one has 0", restore]),
        bad("all zeros", vec![0; good.len()], ["does not start with XKEY", restore]),
        bad("cut short", good[..good.len() - 1].to_vec(), ["has 2190 bytes, this one has 2189", restore]),
        bad("too long", [good, &[0]].concat(), ["this one has 2191", restore]),
        bad("a bit flipped", flipped, ["checksum", restore]),
        bad("something else", b"-----BEGIN PRIVATE KEY-----".to_vec(), ["does not start with XKEY", restore]),
    ]
}

fn put(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with the identity alice, the path of her key file, and its bytes.
fn with_alice() -> (tempfile::TempDir, PathBuf, Vec<u8>, XaeroID) {
    let dir = tempfile::tempdir().unwrap();
    let alice = Node::builder().data_dir(dir.path()).build().unwrap().identity("alice").unwrap();
    let path = dir.path().join("keys/alice.key");
    let good = fs::read(&path).unwrap();
    (dir, path, good, alice)
}

#[test]
fn a_bad_key_file_is_refused_with_the_way_out_and_never_overwritten() {
    let (dir, path, good, alice) = with_alice();
    let mut all = bad_key_files(&good);
    for mode in [0o640, 0o604, 0o620, 0o602, 0o666] {
        let says = ["is open to other users", "chmod 600"];
        all.push(Bad { what: "open to others", bytes: good.clone(), mode, says });
    }
    for Bad { what, bytes, mode, says } in all {
        put(&path, &bytes, mode);
        let node = Node::builder().data_dir(dir.path()).build().unwrap();
        assert_eq!(node.find_identity("alice"), None, "{what}");
        for refused in [node.identity("alice").map(drop), node.public_key("alice").map(drop)] {
            let Err(error @ Error::Keyring(_)) = refused else { panic!("{what}: {refused:?}") };
            let text = error.to_string();
            assert!(says.iter().all(|says| text.contains(says)) && text.contains("alice.key"), "{what}: {text}");
        }
        assert!(node.create_identity("alice").is_err(), "{what}");
        let subject = node.subject("s");
        let _handle = subject.run().unwrap();
        let refused = subject.publish(XaeroEvent::new("x", 7).by(alice)).wait();
        assert!(matches!(refused, Err(PublishError::UnknownAuthor { .. })), "{what}: {refused:?}");
        // Others are not disturbed.
        publish(&subject, node.identity("bob").unwrap(), 1);
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}");
    }
    put(&path, &good, 0o600);
    assert_eq!(Node::builder().data_dir(dir.path()).build().unwrap().identity("alice").unwrap(), alice);
}

#[test]
fn a_key_directory_that_others_may_enter_is_refused_with_the_way_out() {
    let (dir, _, _, _) = with_alice();
    let keys = dir.path().join("keys");
    for mode in [0o750, 0o705, 0o755, 0o777] {
        fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
        let refused = Node::builder().data_dir(dir.path()).build().unwrap_err();
        assert!(refused.to_string().contains("chmod 700"), "{refused}");
    }
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(Node::builder().data_dir(dir.path()).build().is_ok());
}

#[test]
fn a_bad_file_is_not_imported_and_leaves_nothing_behind() {
    let (_dir, _, good, _) = with_alice();
    let (node, elsewhere) = (Node::ephemeral().unwrap(), tempfile::tempdir().unwrap());
    let from = elsewhere.path().join("key");
    for Bad { what, bytes, says, .. } in bad_key_files(&good) {
        put(&from, &bytes, 0o600);
        let text = node.import_identity("al", &from).unwrap_err().to_string();
        assert!(says.iter().all(|says| text.contains(says)), "{what}: {text}");
        assert!(node.identities().is_empty(), "{what}");
    }
    assert_eq!(fs::read_dir(node.data_dir().join("keys")).unwrap().count(), 0);
}

// Signatures.

/// A log of three events with its newest signed head.
struct Signed {
    node: Node,
    subject: Subject,
    alice: XaeroID,
    key: PublicKey,
    _handle: xaeroflux::Handle,
}

impl Signed {
    fn new() -> Self {
        let node = Node::ephemeral().unwrap();
        let alice = node.identity("alice").unwrap();
        let (subject, key) = (node.subject("s"), node.public_key("alice").unwrap());
        let handle = subject.run().unwrap();
        publish(&subject, alice, 3);
        Self { node, subject, alice, key, _handle: handle }
    }

    fn signature(&self) -> Vec<u8> {
        self.subject.signed_head(self.alice).unwrap().unwrap().signature().as_bytes().to_vec()
    }
}

/// Where these bytes are.
fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).expect("it is in there")
}

/// The same signature without its padding, which the scheme's own code takes for as good: its length, and its bytes.
fn unpadded(signature: &[u8]) -> Vec<u8> {
    let end = signature.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    signature[..end.min(SIGNATURE_BYTES - 1)].to_vec()
}

#[test]
fn a_signature_in_the_other_encoding_is_refused_in_a_head_and_in_a_proof() {
    let signed = Signed::new();
    let signature = signed.signature();
    assert_eq!((signature.len(), signature[0]), (SIGNATURE_BYTES, 0x39));
    let head = signed.subject.signed_head(signed.alice).unwrap().unwrap().encode();
    let proof = signed.subject.prove(signed.alice, 3).unwrap().encode();
    assert!(head.len() <= MAX_SIGNED_HEAD_BYTES);
    let decoded_head = |bytes: &[u8]| SignedHead::decode(bytes).and_then(|head| head.verify(&signed.key));
    let decoded_proof = |bytes: &[u8]| EventProof::decode(bytes).and_then(|proof| proof.verify(&signed.key));
    type Check<'c> = &'c dyn Fn(&[u8]) -> Result<(), ProofError>;
    for (good, check) in [(&head, &decoded_head as Check), (&proof, &decoded_proof)] {
        check(good).unwrap();
        let at = find(good, &signature);
        // The constant-time encoding, by its first byte.
        for header in [0x59, 0x29, 0x00] {
            let mut other = good.clone();
            other[at] = header;
            let refused = check(&other).unwrap_err();
            assert_eq!(refused, ProofError::SignatureEncoding { header });
            assert!(refused.to_string().contains("sign again"), "{refused}");
        }
        // Without the padding, with a length that says so, and with one that does not.
        let short = unpadded(&signature);
        let rest = &good[at + SIGNATURE_BYTES..];
        let length = u16::try_from(short.len()).unwrap().to_le_bytes();
        let told = [&good[..at - 2], &length, &short, rest].concat();
        assert_eq!(check(&told), Err(ProofError::SignatureLength { have: short.len() }));
        let untold = [&good[..at], &short, rest].concat();
        assert!(matches!(check(&untold), Err(ProofError::CutShort { .. })));
    }
    assert!(matches!(signed.key.verify(b"", &unpadded(&signature)), Err(KeyError::WrongLength { .. })));
}

// Proofs of something else.

#[test]
fn a_proof_of_something_else_is_refused_and_says_of_what() {
    let signed = Signed::new();
    let (other, bob) = (signed.node.subject("other"), signed.node.identity("bob").unwrap());
    let _handle = other.run().unwrap();
    publish(&other, signed.alice, 3);
    publish(&signed.subject, bob, 3);
    let proof = signed.subject.prove(signed.alice, 2).unwrap();
    let of_other = other.prove(signed.alice, 2).unwrap();
    let of_bob = signed.subject.prove(bob, 2).unwrap();
    let of_next = signed.subject.prove(signed.alice, 3).unwrap();
    // The key of somebody else.
    let refused = proof.verify(&signed.node.public_key("bob").unwrap()).unwrap_err();
    assert_eq!(refused, ProofError::OtherAuthor { expected: bob, found: signed.alice });
    assert!(refused.to_string().contains(&bob.to_string()) && refused.to_string().contains("public key"), "{refused}");
    // The event of somebody else, from elsewhere, from another place.
    let proves = |subject: &Subject, dot: Dot| {
        let mut told = None;
        let event = subject.replay().author(dot.author).seqs(dot.seq..=dot.seq);
        event.for_each(|record| told.replace(proof.proves_record(record)).is_none()).unwrap();
        told.expect("it is there")
    };
    let (own, elsewhere) = (signed.subject.id(), other.id());
    proves(&signed.subject, Dot::new(signed.alice, 2)).unwrap();
    for (told, about) in [
        (proves(&other, Dot::new(signed.alice, 2)), ProofError::OtherSubject { expected: elsewhere, found: own }),
        (proves(&signed.subject, Dot::new(bob, 2)), ProofError::OtherAuthor { expected: bob, found: signed.alice }),
        (proves(&signed.subject, Dot::new(signed.alice, 3)), ProofError::OtherSeq { expected: 3, found: 2 }),
    ] {
        assert_eq!(told, Err(about));
    }
    // Parts of several proofs.
    let parts = |inclusion: &InclusionProof, head: &SignedHead| {
        EventProof::new(proof.header().clone(), inclusion.clone(), head.clone()).unwrap_err()
    };
    assert_eq!(parts(proof.inclusion(), of_other.head()), ProofError::OtherSubject { expected: own, found: elsewhere });
    assert_eq!(parts(proof.inclusion(), of_bob.head()), ProofError::OtherAuthor { expected: signed.alice, found: bob });
    assert_eq!(parts(of_next.inclusion(), proof.head()), ProofError::OtherSeq { expected: 2, found: 3 });
    publish(&signed.subject, signed.alice, 5);
    let longer = signed.subject.prove(signed.alice, 8).unwrap();
    let found = proof.inclusion().length;
    assert_eq!(parts(proof.inclusion(), longer.head()), ProofError::OtherLength { expected: 8, found });
}
