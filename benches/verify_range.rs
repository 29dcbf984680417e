//! Verifying a received range: 10,000 events of 256 bytes that continue a log, with one signature check at the end, on one
//! thread. Beside it the same events with a hash and a signature check each, as if every event were signed.

mod support;

use std::{hint::black_box, time::Instant};

use support::{
    PAYLOAD,
    report::{Rounds, is_wanted, size},
};
use xaeroflux::{
    Dot, EventType, SubjectId,
    event::Clock,
    wire::{
        archive, frame,
        head::{HeadBatch, HeadCheck, LogHead, SignedHead},
        id::XaeroID,
        mmr::Peaks,
        range::RangeCheck,
        record::Record,
        sign::{SecretIdentity, Signer, tagged},
    },
};

/// Frames that arrive together: what one read of a stream brings.
const PIECE: usize = 2_000;

const SUBJECT: [u8; 32] = [9; 32];

fn main() {
    if !is_wanted() {
        return;
    }
    let (events, rounds) = (size(10_000, 500), size(15, 1));
    let each = events / 10;
    let author = SecretIdentity::generate().expect("an identity");
    // The range does not begin the log, so that there are peaks to extend.
    let before = frames(author.id(), 1, 1_000);
    let peaks = feed(Peaks::new(), author.id(), &before).peaks().clone();
    let range = frames(author.id(), 1_001, events);
    let head = signed(&author, &feed(peaks.clone(), author.id(), &range));
    let signature = author.sign(&tagged("bench", &[])).expect("a signature");

    let mut measured = Rounds::default();
    for _ in 0..rounds {
        let start = Instant::now();
        let check = feed(peaks.clone(), author.id(), &range);
        let verified = check.finish(&head, author.public_key(), &mut HeadCheck::new()).expect("a range that holds");
        let ours = events as f64 / start.elapsed().as_secs_f64();
        assert_eq!(verified.len(), head.head().length);

        let start = Instant::now();
        for frame in &range[..each] {
            let (record, _) = archive::open(frame).expect("a frame");
            black_box(record.id());
            author.public_key().verify(&tagged("bench", &[]), &signature).expect("a signature that holds");
        }
        measured.push(ours, each as f64 / start.elapsed().as_secs_f64());
    }
    measured
        .figure("verify_range")
        .unit("events/s")
        .with("events", events as f64)
        .with("payload_bytes", PAYLOAD as f64)
        .print();
}

fn feed(peaks: Peaks, author: XaeroID, frames: &[Vec<u8>]) -> RangeCheck {
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut check = RangeCheck::new(SubjectId::from(SUBJECT), author, peaks);
    for piece in frames.chunks(PIECE) {
        black_box(check.feed(piece).expect("frames that come next"));
    }
    check
}

fn signed(author: &SecretIdentity, range: &RangeCheck) -> SignedHead {
    let (length, root) = (range.peaks().len(), range.peaks().root());
    let head = LogHead { subject: SubjectId::from(SUBJECT), author: author.id(), length, root };
    HeadBatch::sign(author, vec![head]).expect("a signature").signed_head(0).expect("its head")
}

fn frames(author: XaeroID, first: u64, count: usize) -> Vec<Vec<u8>> {
    (first..)
        .take(count)
        .map(|seq| {
            let mut payload = [7; PAYLOAD];
            payload[..8].copy_from_slice(&seq.to_le_bytes());
            let mut frame = Vec::new();
            let record = Record {
                subject: SubjectId::from(SUBJECT),
                dot: Dot::new(author, seq),
                clock: Clock::from_millis(1_700_000_000_000 + seq),
                latest_ts: seq,
                deps: &[],
                event_type: EventType::ApplicationEvent(30),
                payload: &payload,
            };
            frame::encode_into(&mut frame, &record).expect("a frame");
            frame
        })
        .collect()
}
