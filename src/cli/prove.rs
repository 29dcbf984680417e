//! `xaeroflux prove` and `xaeroflux check-proof`: the proof of an event, made here and checked anywhere.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use serde::Serialize;
use xaeroflux::{
    XaeroID,
    wire::{
        key::{PUBLIC_KEY_BYTES, PublicKey},
        name,
        proof::{EventProof, MAX_PROOF_BYTES, ProofError},
    },
};

use super::{
    args::{self, CheckProofArgs, ProveArgs},
    exit::{Exit, Failure},
    id,
    kind::Printed,
    output::Output,
    place::Place,
};

/// No text of a public key is longer.
const MAX_KEY_TEXT: usize = 2 * PUBLIC_KEY_BYTES;

/// What a proof proves, as it is printed.
#[derive(Serialize)]
struct Line {
    valid: bool,
    subject: String,
    author: String,
    seq: u64,
    id: String,
    #[serde(rename = "type")]
    kind: String,
    clock_ms: u64,
    latest_ts: u64,
    payload_bytes: u32,
    payload_hash: String,
    log_length: u64,
    log_root: String,
}

/// Writes the proof of an event to standard output.
pub fn prove(place: &Place<'_>, args: &ProveArgs, output: &mut Output) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    if output.is_terminal() {
        return Err(Failure::usage("a proof is binary: send it to a file, as in `xaeroflux prove … > proof`"));
    }
    let node = place.open()?;
    let author = match args.author.parse::<XaeroID>() {
        Ok(author) => author,
        Err(_) => id::existing(&node, &args.author)?,
    };
    let proof = node.subject(args.subject.clone()).prove(author, args.seq)?;
    let out = output.bytes();
    out.write_all(&proof.encode())?;
    out.flush()?;
    Ok(Exit::Done)
}

/// Checks a proof with nothing but the author's public key.
pub fn check(args: &CheckProofArgs, output: &mut Output) -> Result<Exit, Failure> {
    args.subject.as_deref().map(args::checked).transpose()?;
    let key = read(&args.key, MAX_KEY_TEXT)?;
    let key = String::from_utf8(key).map_err(|_| unproven(format_args!("{}: not a text", args.key.display())))?;
    let key = PublicKey::from_text(&key).map_err(|error| unproven(format_args!("{}: {error}", args.key.display())))?;
    let bytes = read(&args.proof, MAX_PROOF_BYTES)?;
    let proof = EventProof::decode(&bytes).and_then(|proof| proof.verify(&key).map(|()| proof));
    let proof = proof.and_then(|proof| expect(&proof, args).map(|()| proof));
    let proof = proof.map_err(|error| unproven(format_args!("{}: {error}", args.proof.display())))?;
    let (header, head) = (proof.header(), proof.head().head());
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let line = Line {
        valid: true,
        subject: header.subject().to_string(),
        author: header.author().to_string(),
        seq: header.seq(),
        id: header.id().to_string(),
        kind: Printed(header.event_type()).to_string(),
        clock_ms: header.clock().millis(),
        latest_ts: header.latest_ts(),
        payload_bytes: header.payload_bytes(),
        payload_hash: hex(header.payload_hash()),
        log_length: head.length,
        log_root: hex(&head.root),
    };
    output.json(&line)?;
    Ok(Exit::Done)
}

/// Refuses a proof that holds, but is about something else than was asked for.
fn expect(proof: &EventProof, args: &CheckProofArgs) -> Result<(), ProofError> {
    let header = proof.header();
    if let Some(expected) = args.subject.as_deref().map(name::open_subject_id)
        && header.subject() != expected
    {
        return Err(ProofError::OtherSubject { expected, found: header.subject() });
    }
    match args.seq {
        Some(expected) if header.seq() != expected => Err(ProofError::OtherSeq { expected, found: header.seq() }),
        _ => Ok(()),
    }
}

fn unproven(what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Unproven, what)
}

/// The file's bytes; not many more than it may have.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |error: io::Error| Failure::new(Exit::Streams, format_args!("{} could not be read: {error}", path.display()));
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).map_err(unreadable)?.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > most {
        return Err(unproven(format_args!("{} is larger than any file of its kind", path.display())));
    }
    Ok(bytes)
}
