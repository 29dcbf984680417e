//! Any text as a ticket: reading never panics, and a ticket that is read has that text and no other.

use xaeroflux::wire::ticket::{MAX_TICKET_CHARS, SubjectTicket};

/// Panics where it does not hold.
pub fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        holds(text);
    }
    // Chance finds neither the checksum nor the encoding: help it past both.
    holds(&sealed(bytes));
    holds(&sealed(&[&[1], bytes].concat()));
}

fn holds(text: &str) {
    if let Ok(ticket) = text.parse::<SubjectTicket>() {
        assert_eq!(ticket.to_string(), text);
        assert!(text.len() <= MAX_TICKET_CHARS);
    }
}

fn sealed(body: &[u8]) -> String {
    let bytes = [body, &crc32c::crc32c(body).to_le_bytes()].concat();
    format!("xaero{}", base64url(&bytes))
}

/// Base64url without padding. Written out, since the targets depend on little.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(part.get(at).copied().unwrap_or(0)));
        for digit in 0..=part.len() {
            text.push(char::from(DIGITS[bits >> (18 - 6 * digit) & 63]));
        }
    }
    text
}
