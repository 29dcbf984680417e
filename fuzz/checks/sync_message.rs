//! Any bytes as a message between peers: reading never panics, and what is read is written as the same bytes.

use xaeroflux::wire::sync::{HEADER_BYTES, Header, Kind, Message};

/// Every kind that this version knows, and the first of those that may be skipped and of those that may not.
const KINDS: [u8; 13] = [1, 2, 3, 16, 17, 18, 19, 20, 21, 22, 23, 128, 129];

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    // Whether it is one as it comes.
    drop(read(bytes));
    // Chance does not find the length: the same bytes as the body of each kind.
    let body = bytes.get(HEADER_BYTES..).unwrap_or(bytes);
    for kind in KINDS {
        holds(Kind::from_byte(kind), body);
    }
}

/// The message that these bytes are, if they are one and nothing else.
pub fn read(bytes: &[u8]) -> Option<Message> {
    let (head, body) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let header = Header::decode(*head).ok().filter(|header| header.length == body.len())?;
    holds(header.kind, body)
}

fn holds(kind: Kind, body: &[u8]) -> Option<Message> {
    let decoded = Message::decode(kind, body.to_vec());
    let Ok(limit) = kind.limit() else {
        assert!(decoded.is_err(), "{kind} has no limit");
        return None;
    };
    let Some(message) = decoded.ok().filter(|_| body.len() <= limit)? else {
        assert!(kind.is_optional());
        return None;
    };
    assert_eq!(message.kind(), kind);
    let again = message.encode();
    let (head, rest) = again.split_first_chunk::<HEADER_BYTES>().expect("a message has a header");
    assert_eq!(Header::decode(*head), Ok(Header { kind, length: body.len() }));
    assert_eq!(rest, body);
    Some(message)
}
