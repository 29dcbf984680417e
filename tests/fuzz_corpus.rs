//! The seeds of the fuzz targets, good and corrupt: what must hold for any bytes holds for these, without a fuzzer.
//!
//! `XAEROFLUX_WRITE_FIXTURES=1 cargo test --test fuzz_corpus` writes seeds that do not exist yet, made from the fixtures
//! of other tests. An input on which a fuzzer found a fault belongs beside them, as a file that ends in `.bin`.

#[path = "../fuzz/checks/mod.rs"]
mod checks;
#[path = "support/sync_seeds.rs"]
mod sync_seeds;
#[path = "hostile_kit/writer.rs"]
mod writer;

use std::{fs, net::SocketAddr, path::PathBuf};

use xaeroflux::{
    Dot, EndpointId, ExportOptions, Node, PeerAddr, Role, SubjectId, SubjectSecret, SubjectTicket, XaeroEvent, XaeroID,
    event::CRDT_SET_ADD,
    wire::{
        control::{Control, Genesis, Grant, Join, Revoke},
        fork::ForkEvidence,
        head::SignedHead,
        key_file,
        proof::EventProof,
        sign::SecretIdentity,
        sync::{self, Announcement, Events, Hello},
    },
};

/// The seeds of a target, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = root().join("fuzz/corpus").join(target);
    if std::env::var_os("XAEROFLUX_WRITE_FIXTURES").is_some() && !dir.exists() {
        match target {
            "sync_message" => sync_seeds::messages(&dir),
            "sync_hello" => sync_seeds::hellos(&dir),
            "sync_events" => sync_seeds::events(&dir, &root().join("tests/fixtures/sync/logs.xchk")),
            _ => write_seeds(target, &dir),
        }
    }
    let mut seeds: Vec<(String, Vec<u8>)> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    assert!(seeds.iter().any(|(name, _)| name == "good.bin") && seeds.len() > 4, "{target} has too few seeds");
    seeds
}

/// Runs a target over its seeds; each shorter form of a seed too, which reaches every place where bytes can be missing.
fn run(target: &str, check: fn(&[u8])) {
    for (name, bytes) in seeds(target) {
        println!("{target}/{name}");
        check(&bytes);
        // A fault of a long frame is not in its payload.
        for length in (0..bytes.len()).step_by(bytes.len() / 256 + 1) {
            check(&bytes[..length]);
        }
    }
}

#[test]
fn frames() {
    run("frame", checks::frame::check);
}

#[test]
fn key_files() {
    run("key_file", checks::key_file::check);
    for (name, bytes) in seeds("key_file") {
        assert_eq!(key_file::decode(&bytes).is_ok(), name == "good.bin", "{name}");
    }
}

#[test]
fn public_keys() {
    run("public_key", checks::public_key::check);
}

#[test]
fn head_batches() {
    run("head_batch", checks::head_batch::check);
}

#[test]
fn signed_heads() {
    run("signed_head", checks::signed_head::check);
    for (name, bytes) in seeds("signed_head") {
        let holds = SignedHead::decode(&bytes).and_then(|head| head.verify(&checks::key()));
        assert_eq!(holds.is_ok(), name == "good.bin", "{name}: {holds:?}");
    }
}

#[test]
fn control_records() {
    run("control", checks::control::check);
    for (name, bytes) in seeds("control") {
        let read = bytes.split_first().map(|(code, payload)| Control::decode(*code, payload));
        assert_eq!(read.is_some_and(|read| read.is_ok()), name.starts_with("good"), "{name}");
    }
}

#[test]
fn event_proofs() {
    run("event_proof", checks::event_proof::check);
    for (name, bytes) in seeds("event_proof") {
        let holds = EventProof::decode(&bytes).and_then(|proof| proof.verify(&checks::key()));
        assert_eq!(holds.is_ok(), name == "good.bin", "{name}: {holds:?}");
    }
}

#[test]
fn fork_evidences() {
    run("fork_evidence", checks::fork_evidence::check);
    for (name, bytes) in seeds("fork_evidence") {
        let holds = ForkEvidence::decode(&bytes).and_then(|evidence| evidence.verify(&checks::key()));
        assert_eq!(holds.is_ok(), name == "good.bin", "{name}: {holds:?}");
    }
}

#[test]
fn segments() {
    run("segment", checks::segment::check);
    for (name, bytes) in seeds("segment") {
        let holds = xaeroflux::actors::segment::check(&bytes);
        assert_eq!(holds.is_ok(), name == "good.bin", "{name}: {holds:?}");
    }
}

#[test]
fn tickets() {
    run("ticket", checks::ticket::check);
    for (name, bytes) in seeds("ticket") {
        let read = str::from_utf8(&bytes).ok().map(str::parse::<SubjectTicket>);
        assert_eq!(read.is_some_and(|read| read.is_ok()), name.starts_with("good"), "{name}");
    }
}

#[test]
fn exports() {
    run("export", checks::export::check);
    for (name, bytes) in seeds("export") {
        let read = checks::export::read(&bytes);
        assert_eq!(read.is_ok(), name.starts_with("good"), "{name}: {read:?}");
    }
}

#[test]
fn messages_between_peers() {
    run("sync_message", checks::sync_message::check);
    for (name, bytes) in seeds("sync_message") {
        let read = checks::sync_message::read(&bytes);
        assert_eq!(read.is_some(), name.starts_with("good"), "{name}: {read:?}");
    }
}

#[test]
fn announcements_in_a_swarm() {
    run("announce", checks::announce::check);
    for (name, bytes) in seeds("announce") {
        let read = Announcement::decode_body(&bytes);
        // The other seeds differ in the nonce, a hash or a number: announcements of good form that say something else.
        let is_bad = ["cut_short", "empty", "last_byte", "trailing_byte", "other_magic", "zeros", "largest"];
        let is_bad = is_bad.iter().any(|bad| name.starts_with(bad));
        assert_eq!(read.is_err(), is_bad, "{name}: {read:?}");
    }
}

#[test]
fn hellos_between_peers() {
    run("sync_hello", checks::sync_hello::check);
    for (name, bytes) in seeds("sync_hello") {
        let verify = |hello: Hello| hello.verify(sync::Role::Dialer, &checks::sync_hello::BINDING);
        let holds = Hello::decode(&bytes).and_then(verify);
        assert_eq!(holds.is_ok(), name.starts_with("good"), "{name}: {holds:?}");
    }
}

#[test]
fn events_between_peers() {
    run("sync_events", checks::sync_events::check);
    for (name, bytes) in seeds("sync_events") {
        let read = |has_all| Events::decode(bytes.clone()).and_then(|chunk| checks::sync_events::read(&chunk, has_all));
        assert_eq!(read(true).is_ok(), name.starts_with("good"), "{name}: {:?}", read(true));
        // Keys come with the beginning of a log only, and so does all that there is to go on.
        assert_eq!(read(false).is_ok(), name.starts_with("good_beginning") || name == "good.bin", "{name}");
    }
}

/// A small exported subject of two authors.
fn exported() -> Vec<u8> {
    let node = Node::ephemeral().unwrap();
    let subject = node.subject("seed");
    let handle = subject.run().unwrap();
    for (n, name) in ["alice", "bob", "alice", "bob", "alice"].iter().enumerate() {
        let author = node.identity(name).unwrap();
        subject.publish(XaeroEvent::new(format!("event {n}"), CRDT_SET_ADD).by(author)).wait().unwrap();
    }
    let mut bundle = Vec::new();
    subject.export(&mut bundle, ExportOptions::new()).unwrap();
    drop(handle);
    bundle
}

/// A ticket of an owned subject, with two peers.
fn ticket() -> Vec<u8> {
    let peer = |n: u8| PeerAddr {
        addrs: vec![
            SocketAddr::from(([192, 0, 2, n], 4433)),
            SocketAddr::from(([0x2001_u16, 0xDB8, 0, 0, 0, 0, 0, 1], 9)),
        ],
        relay: Some("https://relay.example./".to_owned()),
        ..PeerAddr::new(EndpointId::from([n; 32]))
    };
    let secret = SubjectSecret::from([7; 32]);
    let ticket = SubjectTicket::owned(SubjectId::from([9; 32]), "board", secret, &[peer(1), peer(2)]);
    ticket.unwrap().to_string().into_bytes()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Control records, each behind its code.
fn write_control_seeds(dir: &std::path::Path) {
    let [creator, bob] = [1, 2].map(|byte| XaeroID::from([byte; 32]));
    let grant = Dot::new(creator, 2);
    let (role, authority) = (Role::Writer, Some(grant));
    let records = [
        ("good", Control::Grant(Grant { grantee: bob, role, authority: None })),
        ("good_by_owner", Control::Grant(Grant { grantee: bob, role, authority })),
        ("good_genesis", Control::Genesis(Genesis { creator, nonce: [3; 16] })),
        ("good_join", Control::Join(Join { grant })),
        ("good_revocation", Control::Revoke(Revoke { target: bob, last_valid: 7, authority })),
    ];
    fs::create_dir_all(dir).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name).with_extension("bin"), bytes).unwrap();
    for (name, control) in records {
        let bytes = [vec![control.code()], control.encode()].concat();
        write(name, &bytes);
        write(&name.replace("good", "cut_short"), &bytes[..bytes.len() - 1]);
        let mut newer = bytes.clone();
        newer[1] = 2;
        write(&name.replace("good", "newer_version"), &newer);
        write(&name.replace("good", "other_code"), &[&[99], &bytes[1..]].concat());
        write(&name.replace("good", "trailing_byte"), &[&bytes[..], &[0]].concat());
    }
    write("empty", &[]);
}

fn write_seeds(target: &str, dir: &std::path::Path) {
    if target == "control" {
        return write_control_seeds(dir);
    }
    let fixture = |name: &str| fs::read(root().join("tests/fixtures").join(name)).unwrap();
    let good = match target {
        "frame" => fixture("frames/good_v1_with_deps.bin"),
        "key_file" => key_file::encode(&SecretIdentity::generate().unwrap()).to_vec(),
        "public_key" => fixture("proof/author.pub"),
        "head_batch" => fixture("proof/batch.xhdb"),
        "signed_head" => fixture("proof/head.xhed"),
        "event_proof" => fixture("proof/event.xprf"),
        "segment" => fixture("segments/good.seg"),
        "export" => exported(),
        "ticket" => ticket(),
        "announce" => checks::announce::seed(),
        _ => fixture("proof/fork.xfrk"),
    };
    fs::create_dir_all(dir).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name).with_extension("bin"), bytes).unwrap();
    let altered = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    write("good", &good);
    write("empty", &[]);
    write("zeros", &vec![0; good.len()]);
    write("cut_short", &good[..good.len() * 2 / 3]);
    write("last_byte_missing", &good[..good.len() - 1]);
    write("trailing_byte", &altered(&|bytes| bytes.push(0)));
    write("other_magic", &altered(&|bytes| bytes[0] ^= 0x20));
    write("newer_version", &altered(&|bytes| bytes[4] = 2));
    write("other_algorithm", &altered(&|bytes| bytes[5] = 2));
    write("flipped_bit", &altered(&|bytes| *bytes.last_mut().unwrap() ^= 1));
    write("largest_numbers", &altered(&|bytes| bytes[8..].iter_mut().take(128).for_each(|byte| *byte = 0xFF)));
    if target == "public_key" {
        write("binary", checks::key().as_bytes());
    }
    if target == "segment" {
        for name in ["cut_short", "footer_bit", "block_bit", "wrong_magic", "newer_version"] {
            write(name, &fixture(&format!("segments/{name}.seg")));
        }
    }
    if target == "signed_head" {
        // What the other variant of the scheme would make: the same signature without all of its padding.
        let (head, signature) = good.split_at(good.len() - 666);
        let (shorter, length) = (&signature[..650], 650_u16.to_le_bytes());
        write("unpadded_signature", &[&head[..head.len() - 2], &length, shorter].concat());
    }
}
