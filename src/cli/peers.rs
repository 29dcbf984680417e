//! `xaeroflux peers`: whom the node that serves this directory talks to.

use std::{
    net::SocketAddr,
    time::{Duration, UNIX_EPOCH},
};

use serde::Serialize;
use xaeroflux::PeerStatus;

use super::{
    exit::{Exit, Failure},
    output::Output,
    place::Place,
};

/// A peer as it is printed.
#[derive(Serialize)]
struct Line {
    endpoint: String,
    writer: Option<String>,
    connected: bool,
    /// Milliseconds since the Unix epoch.
    since: Option<u64>,
    addr: Option<SocketAddr>,
    post_quantum: Option<bool>,
    /// Subjects that are synced with it now.
    subjects: usize,
    sent: u64,
    received: u64,
    round_trip_us: Option<u64>,
    offences: u64,
    last_offence: Option<String>,
    last_error: Option<String>,
}

/// Prints the peers, one a line. In a directory that nobody serves there are none.
pub fn run(place: &Place<'_>, output: &mut Output) -> Result<Exit, Failure> {
    for peer in place.open()?.peers() {
        let line = line(peer);
        let state = match (&line.connected, &line.last_error) {
            (true, _) => "connected",
            (false, Some(error)) => error.as_str(),
            (false, None) => "not connected",
        };
        let text = format!("{} {state}, {} subjects", line.endpoint, line.subjects);
        output.line(&line, text)?;
    }
    Ok(Exit::Done)
}

fn line(peer: PeerStatus) -> Line {
    Line {
        endpoint: peer.endpoint.to_string(),
        writer: peer.writer.map(|writer| writer.to_string()),
        connected: peer.connected_since.is_some(),
        since: peer
            .connected_since
            .map(|since| whole(since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis())),
        addr: peer.addr,
        post_quantum: peer.post_quantum,
        subjects: peer.subjects,
        sent: peer.bytes_sent,
        received: peer.bytes_received,
        round_trip_us: peer.round_trip.as_ref().map(Duration::as_micros).map(whole),
        offences: peer.offences,
        last_offence: peer.last_offence,
        last_error: peer.last_error,
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
