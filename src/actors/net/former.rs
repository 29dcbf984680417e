//! Where a node listened last, kept in its data directory: a node that is told no address listens there again if it can.
//!
//! Tickets, and what peers remember, have the node's ports in them. With other ports after each start a node would be
//! found by nobody any more. What is kept is a wish and no more: it may be gone, damaged, or taken by somebody else.
//!
//! The file is text: the endpoint, then an address a line. That of another endpoint came with a copy of its directory,
//! and is not used: the original listens there.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    net::SocketAddr,
    path::Path,
};

use crate::wire::id::EndpointId;

/// The file in the data directory.
const FILE: &str = "listen";

/// What it is written to at first, so that it is never there by half.
const NEW_FILE: &str = "listen.new";

/// Most bytes that are read of it: more than an endpoint and an address for each kind of socket take.
const MAX_BYTES: u64 = 1_024;

/// The addresses that were kept for this endpoint.
pub(crate) fn read(data_dir: &Path, endpoint: EndpointId) -> Vec<SocketAddr> {
    let mut text = String::new();
    let read = File::open(data_dir.join(FILE)).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    let mut lines = text.lines();
    if read.is_err() || lines.next() != Some(endpoint.to_string().as_str()) {
        return Vec::new();
    }
    let addrs: Result<Vec<SocketAddr>, _> = lines.map(str::parse).collect();
    addrs.unwrap_or_default()
}

/// Keeps these addresses.
///
/// # Errors
/// Where the file cannot be written.
pub(crate) fn write(data_dir: &Path, endpoint: EndpointId, addrs: &[SocketAddr]) -> io::Result<()> {
    let text: String = addrs.iter().fold(format!("{endpoint}\n"), |text, addr| format!("{text}{addr}\n"));
    let new = data_dir.join(NEW_FILE);
    fs::write(&new, text)?;
    fs::rename(new, data_dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_for_their_endpoint_and_damage_is_as_if_there_were_none() {
        let dir = tempfile::tempdir().unwrap();
        let (me, other) = (EndpointId::from([1; 32]), EndpointId::from([2; 32]));
        let addrs: Vec<SocketAddr> = ["0.0.0.0:4433", "[::]:4434"].map(|addr| addr.parse().unwrap()).into();
        assert!(read(dir.path(), me).is_empty());
        write(dir.path(), me, &addrs).unwrap();
        assert_eq!(read(dir.path(), me), addrs);
        assert!(read(dir.path(), other).is_empty());
        for damaged in ["", "\n0.0.0.0:1\n", &format!("{me}\n0.0.0.0\n"), &format!("{me}\n0.0.0.0:1\n").repeat(99)] {
            fs::write(dir.path().join(FILE), damaged).unwrap();
            assert!(read(dir.path(), me).is_empty(), "{damaged:?}");
        }
    }
}
