use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::wire::id::EndpointId;

fn secret() -> SubjectSecret {
    SubjectSecret::from([7; 32])
}

fn peer(n: u8, addrs: usize) -> PeerAddr {
    let addr = |port: usize| SocketAddr::from(([192, 0, 2, n], u16::try_from(port).unwrap()));
    PeerAddr { addrs: (1..=addrs).map(addr).collect(), ..PeerAddr::new(EndpointId::from([n; 32])) }
}

/// The text of these bytes, with a checksum that holds.
fn sealed(body: &[u8]) -> String {
    let bytes = [body, &crc32c::crc32c(body).to_le_bytes()].concat();
    format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
}

fn peers() -> impl Strategy<Value = Vec<PeerAddr>> {
    let addr = prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
    ];
    let relay = proptest::option::of("https://[a-z.]{1,40}/");
    let peer = (any::<[u8; 32]>(), proptest::collection::vec(addr, 0..20), relay)
        .prop_map(|(endpoint, addrs, relay)| PeerAddr { endpoint: EndpointId::from(endpoint), addrs, relay });
    proptest::collection::vec(peer, 0..20)
}

fn tickets() -> impl Strategy<Value = SubjectTicket> {
    (proptest::option::of(any::<[u8; 32]>()), "[a-zü/]{1,150}", any::<[u8; 32]>(), peers()).prop_map(
        |(owned, name, secret, peers)| {
            let secret = SubjectSecret::from(secret);
            match owned {
                Some(id) => SubjectTicket::owned(SubjectId::from(id), &name, secret, &peers).unwrap(),
                None => SubjectTicket::open(&name, secret, &peers).unwrap(),
            }
        },
    )
}

proptest! {
    #[test]
    fn a_ticket_is_read_back_from_its_text(ticket in tickets()) {
        let text = ticket.to_string();
        prop_assert!(text.len() <= MAX_TICKET_CHARS);
        prop_assert_eq!(text.parse::<SubjectTicket>().unwrap(), ticket);
    }

    #[test]
    fn no_ticket_passes_with_one_character_changed(ticket in tickets(), at in any::<prop::sample::Index>(), to in "[ -~]") {
        let text = ticket.to_string();
        let at = at.index(text.len());
        let mut bad = text.clone();
        bad.replace_range(at..=at, &to);
        prop_assume!(bad != text);
        prop_assert!(bad.parse::<SubjectTicket>().is_err());
    }

    #[test]
    fn bytes_that_pass_are_the_one_text_of_their_ticket(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = sealed(&[&[VERSION], body.as_slice()].concat());
        if let Ok(ticket) = text.parse::<SubjectTicket>() {
            prop_assert_eq!(ticket.to_string(), text);
        }
    }
}

#[test]
fn every_change_of_one_character_is_refused() {
    let text = SubjectTicket::open("tags", secret(), &[peer(1, 2)]).unwrap().to_string();
    for at in 0..text.len() {
        for to in ' '..='~' {
            let mut bad = text.clone();
            bad.replace_range(at..=at, &to.to_string());
            assert_eq!(bad.parse::<SubjectTicket>().is_ok(), bad == text, "{bad}");
        }
    }
    for at in 0..text.len() {
        assert!(text[..at].parse::<SubjectTicket>().is_err());
    }
    assert!(format!("{text}A").parse::<SubjectTicket>().is_err());
    assert!(format!("{text}\n").parse::<SubjectTicket>().is_err());
}

#[test]
fn what_is_wrong_with_a_text_is_told() {
    let text = SubjectTicket::open("tags", secret(), &[]).unwrap().to_string();
    let parse = |text: &str| text.parse::<SubjectTicket>().unwrap_err();
    assert_eq!(parse("hello"), TicketError::NotATicket);
    assert_eq!(parse(&text.to_uppercase()), TicketError::NotATicket);
    assert_eq!(parse(&text[..20]), TicketError::Damaged);
    assert_eq!(parse(&format!("xaero{}", "A".repeat(600))), TicketError::TooLong(605));
    assert_eq!(parse(&sealed(&[2, 1, 2, 3])), TicketError::OtherVersion(2));
    assert_eq!(parse(&sealed(&[1, 3])), TicketError::Malformed);
    let name = [[1, 1].as_slice(), &[7; 32], &[1, 0], b"\n", &[0]].concat();
    assert_eq!(parse(&sealed(&name)), TicketError::Name(NameError::Control(10)));
}

#[test]
fn a_ticket_that_names_an_endpoint_twice_is_refused() {
    let mut body = [[1, 1].as_slice(), &[7; 32], &[1, 0], b"a", &[2]].concat();
    peer(1, 1).encode_into(&mut body);
    peer(1, 2).encode_into(&mut body);
    assert_eq!(sealed(&body).parse::<SubjectTicket>().unwrap_err(), TicketError::Malformed);
}

#[test]
fn what_does_not_fit_is_left_out_from_the_end() {
    let all: Vec<PeerAddr> = (1..=16).map(|n| peer(n, 4)).collect();
    let ticket = SubjectTicket::open("tags", secret(), &all).unwrap();
    let (last, whole) = ticket.peers().split_last().unwrap();
    assert!(!whole.is_empty() && whole == &all[..whole.len()], "{:?}", ticket.peers());
    assert_eq!(last.addrs, all[whole.len()].addrs[..last.addrs.len()]);
    assert!(ticket.to_string().len() > MAX_TICKET_CHARS - 64);
}

#[test]
fn a_name_has_room_or_is_refused_with_the_room_that_there_is() {
    let longest = "x".repeat(MAX_OPEN_NAME_BYTES);
    let ticket = SubjectTicket::open(&longest, secret(), &[peer(1, 1)]).unwrap();
    assert_eq!((ticket.to_string().len(), ticket.peers().len()), (MAX_TICKET_CHARS, 0));
    assert_eq!(
        SubjectTicket::open(&format!("{longest}x"), secret(), &[]),
        Err(TicketError::NameTooLong { bytes: MAX_OPEN_NAME_BYTES + 1, most: MAX_OPEN_NAME_BYTES })
    );
    let id = SubjectId::from([9; 32]);
    assert!(SubjectTicket::owned(id, &"x".repeat(MAX_OWNED_NAME_BYTES), secret(), &[]).is_ok());
    assert!(SubjectTicket::owned(id, &"x".repeat(MAX_OWNED_NAME_BYTES + 1), secret(), &[]).is_err());
}

#[test]
fn a_ticket_has_the_same_text_everywhere() {
    // Part of the format: this text never changes.
    let ticket = SubjectTicket::open("tags", secret(), &[peer(1, 1)]).unwrap();
    assert_eq!(ticket.to_string(), TEXT);
}

const TEXT: &str = "xaeroAQEHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwQAdGFncwEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQABBMAAAgEBALeHbX8";

#[test]
fn nothing_but_the_text_shows_the_secret() {
    let ticket = SubjectTicket::open("tags", SubjectSecret::from([0xAB; 32]), &[]).unwrap();
    let shown = format!("{ticket:?}").to_lowercase();
    assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
}
