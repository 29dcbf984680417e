//! Bundles of two authors, good and altered. What was altered has its checksums and the hash over all made right again, so
//! that only what the bundle says can give it away.

use std::sync::OnceLock;

use super::*;
use crate::wire::{
    archive,
    clock::Clock,
    event::EventType,
    frame,
    head::{HeadBatch, LogHead, SignedHead},
    id::{Dot, SubjectId},
    mmr::{ConsistencyProof, Hash, Peaks, Tree, empty_root, root_at},
    name::open_subject_id,
    proof::ProofError,
    record::Record,
    sign::{SecretIdentity, Signer},
};

const NAME: &str = "tags";

fn authors() -> &'static [SecretIdentity; 2] {
    static AUTHORS: OnceLock<[SecretIdentity; 2]> = OnceLock::new();
    AUTHORS.get_or_init(|| {
        let mut authors = [SecretIdentity::generate().unwrap(), SecretIdentity::generate().unwrap()];
        authors.sort_by_key(Signer::id);
        authors
    })
}

fn frame_of(subject: SubjectId, author: usize, seq: u64, deps: &[Dot]) -> Vec<u8> {
    let (mut frame, payload) = (Vec::new(), format!("payload {seq}"));
    let record = Record {
        subject,
        dot: Dot::new(authors()[author].id(), seq),
        clock: Clock::from_millis(1_700_000_000_000 + 2 * seq),
        latest_ts: seq,
        deps,
        event_type: EventType::ApplicationEvent(30),
        payload: payload.as_bytes(),
    };
    frame::encode_into(&mut frame, &record).unwrap();
    frame
}

fn head_of(subject: SubjectId, author: usize, tree: &mut Tree, length: u64) -> SignedHead {
    let root = root_at(tree, length).unwrap();
    let head = LogHead { subject, author: authors()[author].id(), length, root };
    HeadBatch::sign(&authors()[author], vec![head]).unwrap().signed_head(0).unwrap()
}

/// What a bundle is made of: two authors take turns, each having seen all before, in chunks of so many events.
struct Parts {
    opening: Opening,
    entries: Vec<AuthorEntry>,
    chunks: Vec<(Vec<Vec<u8>>, Vec<ChunkProof>)>,
    extra: Vec<(Kind, Vec<u8>)>,
}

impl Parts {
    fn new(events: u64, in_chunk: usize) -> Self {
        Self::after(0, events, in_chunk)
    }

    /// Without the first so many events.
    fn after(first: u64, events: u64, in_chunk: usize) -> Self {
        let subject = open_subject_id(NAME);
        let mut frames: Vec<(usize, Vec<u8>)> = Vec::new();
        for n in 0..events {
            let author = usize::try_from(n % 2).unwrap();
            let seen = (n > 0).then(|| Dot::new(authors()[1 - author].id(), n.div_ceil(2)));
            let seen: Vec<Dot> = seen.into_iter().filter(|dot| dot.seq > 0).collect();
            frames.push((author, frame_of(subject, author, n / 2 + 1, &seen)));
        }
        let mut trees = [0, 1].map(|author| {
            let of_author = frames.iter().filter(|(of, _)| *of == author);
            let leaves: Vec<Hash> = of_author.map(|(_, frame)| archive::open(frame).unwrap().0.id().into()).collect();
            Tree::new(&leaves)
        });
        let lengths = [events.div_ceil(2), events / 2];
        let mut at = [first.div_ceil(2), first / 2];
        let entries = [0, 1].map(|author| AuthorEntry {
            base: at[author],
            base_root: root_at(&mut trees[author], at[author]).unwrap(),
            key: authors()[author].public_key().clone(),
            head: head_of(subject, author, &mut trees[author], lengths[author]),
        });
        let mut chunks = Vec::new();
        for chunk in frames[usize::try_from(first).unwrap()..].chunks(in_chunk) {
            let mut proofs = Vec::new();
            for author in [0, 1] {
                let events = chunk.iter().filter(|(of, _)| *of == author).count() as u64;
                if events > 0 {
                    at[author] += events;
                    let proof = ConsistencyProof::make(&mut trees[author], at[author], lengths[author]).unwrap();
                    proofs.push(ChunkProof { author: author as u32, length: at[author], path: proof.path });
                }
            }
            chunks.push((chunk.iter().map(|(_, frame)| frame.clone()).collect(), proofs));
        }
        let opening =
            Opening { subject, name: NAME.to_owned(), is_owned: false, first, events: events - first, authors: 2 };
        Self { opening, entries: entries.into(), chunks, extra: Vec::new() }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&self.opening, &mut out);
        for entry in &self.entries {
            encoder.author(entry, &mut out);
        }
        for (kind, body) in &self.extra {
            encoder.section(*kind, body, &mut out);
        }
        for (frames, proofs) in &self.chunks {
            let mut chunk = ChunkBuilder::new();
            frames.iter().for_each(|frame| assert!(chunk.push(frame)));
            proofs.iter().for_each(|proof| chunk.prove(proof.clone()));
            encoder.events(&chunk, &mut out);
        }
        encoder.finish(&mut out);
        out
    }

    fn read(&self) -> Result<u64, BundleError> {
        read(&self.encode())
    }
}

/// Reads and checks all of a bundle, and returns how many events have passed.
fn read(bytes: &[u8]) -> Result<u64, BundleError> {
    read_after(bytes, &[])
}

/// As [`read`], for one that has these leaves of the authors already.
fn read_after(mut bytes: &[u8], here: &[Peaks]) -> Result<u64, BundleError> {
    let (mut decoder, mut check) = (Decoder::new(), None);
    while decoder.wanted() > 0 {
        let Some((piece, rest)) = bytes.split_at_checked(decoder.wanted()) else {
            return Err(decoder.cut_short(bytes.len()));
        };
        bytes = rest;
        let part = decoder.feed(piece)?;
        match (part, &mut check) {
            (Some(Part::Opening(opening)), check) => *check = Some(BundleCheck::new(opening)),
            (Some(Part::Author(at, entry)), Some(check)) => {
                check.author(at, *entry)?;
                let place = check.logs().len() - 1;
                if check.logs()[place].base() > 0 {
                    check.continue_from(place, here.get(place).cloned().unwrap_or_default())?;
                }
            }
            (Some(Part::Events(chunk)), Some(check)) => drop(check.events_of(&chunk)?),
            (Some(Part::End(trailer)), Some(check)) => check.end(&trailer)?,
            _ => {}
        }
    }
    if bytes.is_empty() { Ok(check.unwrap().events()) } else { Err(decoder.trailing()) }
}

/// The sections of a bundle: where each begins, and the bytes of its body.
fn sections(bytes: &[u8]) -> Vec<(usize, std::ops::Range<usize>)> {
    let mut at = 6;
    let mut sections = Vec::new();
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        sections.push((at, at + 12..at + 12 + length));
        at += 12 + length + 4;
    }
    sections
}

/// Makes the checksums right, and the hash over all.
fn seal(bytes: &mut [u8]) {
    let sections = sections(bytes);
    let last = sections.last().unwrap().1.clone();
    for (at, body) in sections {
        let header = crc32c::crc32c(&bytes[at..at + 8]).to_le_bytes();
        bytes[at + 8..at + 12].copy_from_slice(&header);
        if body == last {
            let hash = *blake3::hash(&bytes[..body.end - 32]).as_bytes();
            bytes[body.end - 32..body.end].copy_from_slice(&hash);
        }
        let crc = crc32c::crc32c(&bytes[body.clone()]).to_le_bytes();
        bytes[body.end..body.end + 4].copy_from_slice(&crc);
    }
}

#[test]
fn what_is_written_is_read() {
    for (events, in_chunk) in [(2, 1), (2, 2), (9, 4), (60, 7), (60, 60)] {
        assert_eq!(Parts::new(events, in_chunk).read(), Ok(events));
    }
}

#[test]
fn no_altered_byte_passes() {
    let good = Parts::new(6, 4).encode();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(read(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn no_altered_byte_passes_with_checksums_that_hold() {
    let good = Parts::after(2, 6, 3).encode();
    let here = here(2, 6);
    assert_eq!(read_after(&good, &here), Ok(4));
    for (_, body) in sections(&good) {
        for at in body.clone() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            let meant = bad[at];
            seal(&mut bad);
            // All but the hash itself, which was made right again.
            if bad[at] == meant {
                assert!(read_after(&bad, &here).is_err(), "byte {at} of the section {body:?}");
            }
        }
    }
}

/// The peaks of both authors after the first events of a bundle.
fn here(first: u64, events: u64) -> Vec<Peaks> {
    let whole = Parts::new(events, 1);
    let frames = whole.chunks.iter().take(usize::try_from(first).unwrap()).map(|(frames, _)| &frames[0]);
    let mut peaks = vec![Peaks::new(), Peaks::new()];
    for (n, frame) in frames.enumerate() {
        peaks[n % 2].push(archive::open(frame).unwrap().0.id().as_bytes());
    }
    peaks
}

#[test]
fn every_shorter_form_says_where_it_ends() {
    let good = Parts::new(6, 4).encode();
    for length in 0..good.len() {
        match read(&good[..length]) {
            Err(BundleError::CutShort { at, .. }) => assert_eq!(at, length as u64),
            other => panic!("{length} bytes: {other:?}"),
        }
    }
    let longer = [&good[..], &[0]].concat();
    assert_eq!(read(&longer), Err(BundleError::TrailingBytes { at: good.len() as u64 }));
}

#[test]
fn a_bundle_that_goes_on_needs_what_it_continues() {
    let bundle = Parts::after(5, 12, 4).encode();
    assert_eq!(read_after(&bundle, &here(5, 12)), Ok(7));
    assert!(matches!(read(&bundle), Err(BundleError::OtherBase { .. })));
    assert!(matches!(read_after(&bundle, &here(4, 12)), Err(BundleError::OtherBase { .. })));
}

#[test]
fn a_section_is_skipped_or_refused_as_its_first_letter_says() {
    let mut parts = Parts::new(4, 4);
    parts.extra = vec![(Kind::new(*b"note"), b"anything".to_vec()), (Kind::new(*b"x\0\0\0"), Vec::new())];
    assert_eq!(parts.read(), Ok(4));
    let kind = Kind::new(*b"NOTE");
    parts.extra = vec![(kind, b"anything".to_vec())];
    assert!(matches!(parts.read(), Err(BundleError::UnknownSection { kind: found, .. }) if found == kind));
}

#[test]
fn no_length_is_believed_before_it_was_compared_with_its_limit() {
    let good = Parts::new(4, 4).encode();
    for (at, _) in sections(&good) {
        let mut bad = good[..at + 12].to_vec();
        bad[at + 4..at + 8].copy_from_slice(&[0xFF; 4]);
        let crc = crc32c::crc32c(&bad[at..at + 8]).to_le_bytes();
        bad[at + 8..at + 12].copy_from_slice(&crc);
        assert!(matches!(read(&bad), Err(BundleError::TooLong { .. })), "{:?}", read(&bad));
    }
    // Within a chunk: numbers of events, of proofs, of bytes.
    let events = sections(&good)[3].1.clone();
    for field in 0..3 {
        let mut bad = good.clone();
        bad[events.start + 4 * field..events.start + 4 * field + 4].copy_from_slice(&[0xFF; 4]);
        seal(&mut bad);
        assert!(matches!(read(&bad), Err(BundleError::Contradiction { .. })), "{:?}", read(&bad));
    }
    let mut parts = Parts::new(4, 4);
    parts.opening.authors = u32::MAX;
    assert_eq!(parts.read(), Err(BundleError::TooManyAuthors(u32::MAX)));
}

#[test]
fn a_section_out_of_its_place_is_refused() {
    let good = Parts::new(4, 2).encode();
    let sections = sections(&good);
    let piece = |n: usize| &good[sections[n].0..sections[n].1.end + 4];
    // An author before the opening, a chunk before the last author, the end before the authors, an author too many.
    for order in [&[1][..], &[0, 1, 3], &[0, 5], &[0, 1, 2, 2], &[0, 0]] {
        let bad = order.iter().fold(good[..6].to_vec(), |bad, n| [&bad[..], piece(*n)].concat());
        assert!(matches!(read(&bad), Err(BundleError::OutOfOrder { .. })), "{order:?}");
    }
}

#[test]
fn what_was_put_into_a_bundle_is_refused_and_named() {
    let subject = open_subject_id(NAME);
    let refused = |change: &dyn Fn(&mut Parts)| {
        let mut parts = Parts::new(8, 8);
        change(&mut parts);
        parts.read().unwrap_err()
    };
    // An event of another subject; of somebody else; twice; one left out; in another order.
    let other = refused(&|parts| parts.chunks[0].0[2] = frame_of(open_subject_id("other"), 0, 2, &[]));
    assert!(matches!(other, BundleError::OtherSubject { dot, .. } if dot.seq == 2), "{other}");
    let unknown = refused(&|parts| {
        parts.opening.authors = 1;
        parts.opening.events = 4;
        parts.entries.pop();
    });
    assert!(matches!(unknown, BundleError::UnknownAuthor { .. }), "{unknown}");
    let twice = refused(&|parts| parts.chunks[0].0[2] = parts.chunks[0].0[0].clone());
    assert!(matches!(twice, BundleError::OtherSeq { expected: 2, .. }), "{twice}");
    let left_out = refused(&|parts| drop(parts.chunks[0].0.remove(7)));
    assert!(matches!(left_out, BundleError::NotSigned { length: 3, .. }), "{left_out}");
    let acausal = refused(&|parts| parts.chunks[0].0.swap(2, 3));
    assert!(matches!(acausal, BundleError::CauseMissing { missing, .. } if missing.seq == 2), "{acausal}");
    // An event with another content.
    let altered = refused(&|parts| parts.chunks[0].0[7] = frame_of(subject, 1, 4, &[]));
    let author = authors()[1].id();
    assert!(matches!(altered, BundleError::NotSigned { author: of, length: 4, .. } if of == author), "{altered}");
    // Fewer events than announced, in chunks that are all right by themselves.
    let mut parts = Parts::new(8, 4);
    parts.chunks.pop();
    assert!(matches!(parts.read(), Err(BundleError::Incomplete { have: 2, need: 4, .. })));
    // A proof missing, and one too many.
    let missing = refused(&|parts| drop(parts.chunks[0].1.pop()));
    assert!(matches!(missing, BundleError::Contradiction { field: "number of proofs", .. }), "{missing}");
    let mut parts = Parts::new(8, 1);
    let extra = ChunkProof { author: 1, length: 0, path: Vec::new() };
    parts.chunks[0].1.push(extra);
    assert!(parts.read().is_err());
}

#[test]
fn keys_and_heads_that_do_not_belong_together_are_refused() {
    let subject = open_subject_id(NAME);
    let refused = |change: &dyn Fn(&mut AuthorEntry)| {
        let mut parts = Parts::new(8, 8);
        change(&mut parts.entries[0]);
        parts.read().unwrap_err()
    };
    let tree = Tree::new(&[[1; 32], [2; 32], [3; 32], [4; 32]]);
    let other_key = refused(&|entry| entry.key = authors()[1].public_key().clone());
    assert!(matches!(other_key, BundleError::Head { error: ProofError::OtherAuthor { .. }, .. }), "{other_key}");
    let other_subject = refused(&|entry| entry.head = head_of(open_subject_id("o"), 0, &mut tree.clone(), 4));
    let is_told = matches!(other_subject, BundleError::Head { error: ProofError::OtherSubject { .. }, .. });
    assert!(is_told, "{other_subject}");
    // Another log of the same author, rightly signed.
    let other_log = refused(&|entry| entry.head = head_of(subject, 0, &mut tree.clone(), 4));
    assert!(matches!(other_log, BundleError::NotSigned { .. }), "{other_log}");
    let other_length = refused(&|entry| entry.head = head_of(subject, 0, &mut tree.clone(), 3));
    assert!(matches!(other_length, BundleError::Contradiction { .. }), "{other_length}");
    let base = refused(&|entry| (entry.base, entry.base_root) = (5, empty_root()));
    assert!(matches!(base, BundleError::Contradiction { .. }), "{base}");
    // The signature in the other encoding of the scheme.
    let good = Parts::new(8, 8).encode();
    let mut bad = good.clone();
    let entry = sections(&good)[1].1.clone();
    let signature = entry.end - 666;
    assert_eq!(bad[signature], 0x39);
    bad[signature] = 0x59;
    seal(&mut bad);
    let encoding = read(&bad).unwrap_err();
    let is_told = matches!(encoding, BundleError::Head { error: ProofError::SignatureEncoding { .. }, .. });
    assert!(is_told, "{encoding}");
    // The authors in another order.
    let sections = sections(&good);
    let piece = |n: usize| &good[sections[n].0..sections[n].1.end + 4];
    let mut swapped = [&good[..6], piece(0), piece(2), piece(1), piece(3), piece(4)].concat();
    seal(&mut swapped);
    assert!(matches!(read(&swapped), Err(BundleError::Contradiction { field: "order of authors", .. })));
}

#[test]
fn a_name_that_is_not_the_subjects_is_refused() {
    let mut parts = Parts::new(2, 2);
    parts.opening.name = "other".to_owned();
    assert!(matches!(parts.read(), Err(BundleError::OtherName { .. })));
    parts.opening.name = "a\nb".to_owned();
    assert!(matches!(parts.read(), Err(BundleError::Name(_))));
}
