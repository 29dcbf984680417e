//! What goes over the socket: frames of a kind, a length and so many bytes.
//!
//! [`Kind::Hello`] and [`Kind::Refused`] have their numbers and their meaning for ever, so that versions which do not
//! understand each other can still say so. All the rest belongs to one [`PROTOCOL`](super::hello::PROTOCOL).

use std::io::{self, Read, Write};

/// Most bytes of one frame beside its head: as much as a pipe holds, and room for the arguments of any command.
pub const FRAME_BYTES: usize = 64 << 10;

/// A kind and a length.
const HEAD_BYTES: usize = 1 + 4;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// From the client, first of all: who it is and what it asks. See [`hello`](super::hello).
    Hello = 0,
    /// To the client, the last one: why nothing is done for it, as text.
    Refused = 1,
    /// To the client: its command begins now.
    Welcome = 2,
    /// To the client: the command waits for standard input.
    Want = 3,
    /// From the client, once for each `Want`: some of standard input; of no bytes at its end.
    Input = 4,
    /// From the client, instead of `Input`: standard input cannot be read. An error number of the system.
    InputFailed = 5,
    /// To the client: bytes for its standard output.
    Output = 6,
    /// From the client: so many bytes more were written there.
    Written = 7,
    /// From the client: nothing can be written there any more. An error number of the system.
    OutputFailed = 8,
    /// To the client: bytes for its standard error.
    Errors = 9,
    /// To the client: signals, and the end of whoever reads its output, are to be told from now on.
    Catch = 10,
    /// From the client: one of these.
    Interrupt = 11,
    /// To the client, the last one: the exit code.
    Exit = 12,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        const ALL: [Kind; 13] = [
            Kind::Hello,
            Kind::Refused,
            Kind::Welcome,
            Kind::Want,
            Kind::Input,
            Kind::InputFailed,
            Kind::Output,
            Kind::Written,
            Kind::OutputFailed,
            Kind::Errors,
            Kind::Catch,
            Kind::Interrupt,
            Kind::Exit,
        ];
        ALL.get(usize::from(byte)).copied()
    }
}

/// Sends a frame, as one write where it can be. More bytes than a frame has become several.
///
/// # Errors
/// Where the other end is gone.
pub fn write(mut to: impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    loop {
        let (part, after) = rest.split_at(rest.len().min(FRAME_BYTES));
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let mut frame = Vec::with_capacity(HEAD_BYTES + part.len());
        frame.push(kind as u8);
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(part);
        to.write_all(&frame)?;
        rest = after;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// The next frame; `None` where the other end has closed behind the last.
///
/// # Errors
/// Where the other end is gone in the middle of one, or sends what is none.
pub fn read(mut from: impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0; HEAD_BYTES];
    let [kind, length @ ..] = &mut head;
    // The first byte alone tells the end behind a frame from one in the middle.
    loop {
        match from.read(std::slice::from_mut(kind)) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    from.read_exact(length)?;
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "this is no frame");
    let kind = Kind::of(*kind).ok_or_else(invalid)?;
    let length = u32::from_le_bytes(*length);
    if usize::try_from(length).is_ok_and(|length| length <= FRAME_BYTES) {
        let mut bytes = Vec::new();
        if from.take(u64::from(length)).read_to_end(&mut bytes)? == usize::try_from(length).unwrap_or(usize::MAX) {
            return Ok(Some((kind, bytes)));
        }
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Err(invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let mut sent = Vec::new();
        write(&mut sent, Kind::Want, &[]).unwrap();
        write(&mut sent, Kind::Output, &vec![7; FRAME_BYTES + 1]).unwrap();
        write(&mut sent, Kind::Exit, &[3]).unwrap();
        let mut from = sent.as_slice();
        assert_eq!(read(&mut from).unwrap(), Some((Kind::Want, vec![])));
        assert_eq!(read(&mut from).unwrap(), Some((Kind::Output, vec![7; FRAME_BYTES])));
        assert_eq!(read(&mut from).unwrap(), Some((Kind::Output, vec![7])));
        assert_eq!(read(&mut from).unwrap(), Some((Kind::Exit, vec![3])));
        assert_eq!(read(&mut from).unwrap(), None);
    }

    #[test]
    fn every_kind_has_its_number() {
        for byte in 0..=u8::MAX {
            assert!(Kind::of(byte).is_none_or(|kind| kind as u8 == byte), "{byte}");
        }
        assert_eq!(Kind::of(12), Some(Kind::Exit));
        assert_eq!(Kind::of(13), None);
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let mut sent = Vec::new();
        write(&mut sent, Kind::Input, b"abc").unwrap();
        for cut in 1..sent.len() {
            assert_eq!(read(&sent[..cut]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
        for bad in [&[13, 0, 0, 0, 0][..], &[4, 1, 0, 1, 0], &[4, 0xFF, 0xFF, 0xFF, 0xFF]] {
            assert_eq!(read(bad).unwrap_err().kind(), io::ErrorKind::InvalidData, "{bad:?}");
        }
    }
}
