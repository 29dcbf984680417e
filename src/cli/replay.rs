//! `xaeroflux replay`: the events of a subject's log, in its order.

use std::{fmt, io};

use data_encoding::BASE64;
use serde::Serialize;
use xaeroflux::{
    Dot, EventId, EventType, ScanWindow,
    wire::{clock::Clock, record::RecordView},
};

use super::{
    args::{self, ReplayArgs},
    console::Streams,
    exit::{Exit, Failure},
    follow::follow,
    id,
    kind::Printed,
    output::Output,
    place::Place,
    text::{Bytes, Time, short},
};

/// Prints the log, and with `--follow` what comes after.
pub fn run(place: &Place<'_>, args: &ReplayArgs, streams: &mut Streams) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let node = place.open()?;
    let subject = node.subject(args.subject.as_str());
    let window = ScanWindow { start: args.from, end: args.to };
    let mut wanted = subject.replay().window(window);
    if let Some(author) = &args.author {
        wanted = wanted.author(id::author(&node, author)?);
    }
    if let Some(kind) = args.kind {
        wanted = wanted.event_type(EventType::ApplicationEvent(kind.code()));
    }
    if let Some(seqs) = args.seq {
        wanted = wanted.seqs(seqs);
    }
    if args.follow {
        return follow(place, &subject, window, wanted, streams);
    }
    let mut written = Ok(());
    wanted.for_each(|record| {
        written = print(&mut streams.output, &Replayed::of(record));
        written.is_ok()
    })?;
    written?;
    Ok(Exit::Done)
}

/// An event of the log.
pub struct Replayed<'a> {
    pub dot: Dot,
    pub id: EventId,
    pub clock: Clock,
    pub event_type: EventType,
    pub payload: &'a [u8],
}

impl<'a> Replayed<'a> {
    fn of(record: &RecordView<'a>) -> Self {
        Self {
            dot: record.dot(),
            id: record.id(),
            clock: record.clock(),
            event_type: record.event_type(),
            payload: record.payload(),
        }
    }
}

/// Prints an event.
pub fn print(output: &mut Output, event: &Replayed<'_>) -> io::Result<()> {
    let kind = Printed(event.event_type);
    let payload = Payload::new(event.payload, &kind);
    if !output.is_json() {
        let (time, author, seq) = (Time(event.clock.millis()), short(&event.dot.author), event.dot.seq);
        return output.text(format_args!("{time}  {author} {seq:>6}  {:<17}  {payload}", kind.to_string()));
    }
    let (payload, payload_base64) = match payload {
        Payload::Other(bytes) => (None, Some(BASE64.encode(bytes))),
        payload => (Some(payload), None),
    };
    output.json(&Line {
        author: event.dot.author.to_string(),
        seq: event.dot.seq,
        id: event.id.to_string(),
        ts: event.clock.millis(),
        kind: kind.to_string(),
        payload,
        payload_base64,
    })
}

/// An event as it is printed.
#[derive(Serialize)]
struct Line<'a> {
    author: String,
    seq: u64,
    id: String,
    ts: u64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// What a payload is to whoever reads it.
#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Number(i64),
    Text(&'a str),
    Other(&'a [u8]),
}

impl<'a> Payload<'a> {
    fn new(bytes: &'a [u8], kind: &Printed) -> Self {
        if kind.is_counter() {
            // Of a wrong size it is no number, and no text either, whatever its bytes look like.
            return <[u8; 8]>::try_from(bytes)
                .map_or(Self::Other(bytes), |bytes| Self::Number(i64::from_le_bytes(bytes)));
        }
        std::str::from_utf8(bytes).map_or(Self::Other(bytes), Self::Text)
    }
}

impl fmt::Display for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => Bytes::new(text.as_bytes()).fmt(f),
            Self::Other(bytes) => Bytes::Other { base64: BASE64.encode(bytes) }.fmt(f),
        }
    }
}
