//! Any bytes as a chunk of events: reading and verifying never panic, what is read is written as the same bytes, and
//! nothing passes in an author's name that the author has not signed.

use std::sync::OnceLock;

use xaeroflux::{
    SubjectId, XaeroID,
    wire::{
        archive,
        head::HeadCheck,
        key::PublicKey,
        mmr::{Hash, Peaks},
        sync::{ChunkAuthor, Events, SyncError, check_events},
    },
};

/// The subject of the seeds.
pub const SUBJECT: [u8; 32] = [9; 32];

/// What the authors of the seeds have written and signed: a chunk with all of it.
const LOGS: &[u8] = include_bytes!("../../tests/fixtures/sync/logs.xchk");

/// One author's log.
struct Log {
    author: XaeroID,
    key: PublicKey,
    ids: Vec<Hash>,
}

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(chunk) = Events::decode(bytes.to_vec()) else { return };
    assert_eq!(chunk.body(), bytes);
    // To who has nothing, and to who has all that there is.
    drop(read(&chunk, false));
    drop(read(&chunk, true));
}

/// Verifies a chunk, and returns how many events have passed.
pub fn read(chunk: &Events, has_all: bool) -> Result<usize, SyncError> {
    let before = |author: XaeroID, first: u64| {
        let log = logs().iter().find(|log| log.author == author).filter(|_| has_all);
        let length = usize::try_from(first.checked_sub(1)?).ok()?;
        let mut peaks = Peaks::new();
        peaks.extend(log.map_or(&[][..], |log| &log.ids).get(..length)?, &mut |_, _, _| {});
        Some(ChunkAuthor { before: peaks, key: log.map(|log| log.key.clone()) })
    };
    let checked = check_events(SubjectId::from(SUBJECT), chunk, &mut HeadCheck::new(), before)?;
    assert_eq!(checked.events.len(), chunk.len());
    assert_eq!(checked.authors.len(), chunk.proofs().len());
    for event in &checked.events {
        let (record, length) = archive::open(event.frame).expect("it was opened before");
        assert_eq!((length, record.dot(), record.id()), (event.frame.len(), event.dot, event.id));
        let author = &checked.authors[event.author];
        assert_eq!(author.author, event.dot.author);
        let place = usize::try_from(event.dot.seq - author.before.len() - 1).expect("it has a place");
        assert_eq!(author.leaves[place], *event.id.as_bytes());
        if let Some(log) = logs().iter().find(|log| log.author == event.dot.author) {
            let signed = usize::try_from(event.dot.seq - 1).ok().and_then(|at| log.ids.get(at));
            assert_eq!(signed, Some(event.id.as_bytes()), "{} was never signed", event.dot);
        }
    }
    Ok(checked.events.len())
}

fn logs() -> &'static [Log] {
    static ALL: OnceLock<Vec<Log>> = OnceLock::new();
    ALL.get_or_init(|| {
        let chunk = Events::decode(LOGS.to_vec()).expect("the logs of the fixtures");
        let of = |proof: &xaeroflux::wire::sync::LogProof| {
            let key = proof.key.clone().expect("the author's key");
            Log { author: proof.author(), key, ids: Vec::new() }
        };
        let mut logs: Vec<Log> = chunk.proofs().iter().map(of).collect();
        let mut rest = chunk.frames();
        while let Ok((record, length)) = archive::open(rest) {
            let log = logs.iter_mut().find(|log| log.author == record.dot().author).expect("it is proven");
            log.ids.push(*record.id().as_bytes());
            rest = &rest[length..];
        }
        logs
    })
}
