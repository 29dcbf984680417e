//! The lines of standard input, in bounded memory.
//!
//! A line is what stands before a line feed, or after the last one. A carriage return before the line feed belongs to
//! the payload: a payload is stored exactly as it came. The integers of counters may have white space around them, and so
//! do not mind it.

use std::{
    fmt,
    io::{self, BufRead, Read as _},
};

use xaeroflux::wire::limits::MAX_PAYLOAD_BYTES;

use super::{kind::Kind, text::Bytes};

/// Most characters of a bad line that are shown.
const SHOWN_CHARS: usize = 40;

/// Reads lines, and never holds more than the largest payload of one.
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// Lines begun so far.
    number: u64,
    /// Whether the rest of a line that is too long is still to be skipped.
    skip: bool,
}

/// One line, or why it cannot be published.
pub type Line = Result<Vec<u8>, Bad>;

/// Why a line cannot be published.
#[derive(Debug, PartialEq, Eq)]
pub enum Bad {
    /// It has more bytes than a payload may have.
    TooLong,
    /// It is not UTF-8 from this byte on.
    NotText(usize),
    /// It is not a decimal integer of 64 bits; begins like this.
    NotAnInteger(String),
}

impl<R: BufRead> Lines<R> {
    pub const fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), number: 0, skip: false }
    }

    /// The number of the line that was read last; the first is 1.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The payload of the next line; `None` at the end.
    ///
    /// A line that is too long is told of as soon as it is, and skipped with the next call: it may have no end.
    pub fn next(&mut self, kind: Kind) -> io::Result<Option<Line>> {
        // One byte more than a payload has: the line feed, or the proof that there is too much.
        const LIMIT: u64 = MAX_PAYLOAD_BYTES as u64 + 1;
        if std::mem::take(&mut self.skip) {
            self.input.skip_until(b'\n')?;
        }
        self.buffer.clear();
        let read = (&mut self.input).take(LIMIT).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if self.buffer.len() > MAX_PAYLOAD_BYTES {
            self.skip = true;
            return Ok(Some(Err(Bad::TooLong)));
        }
        Ok(Some(payload(&self.buffer, kind)))
    }
}

fn payload(line: &[u8], kind: Kind) -> Line {
    let text = std::str::from_utf8(line).map_err(|error| Bad::NotText(error.valid_up_to()))?;
    if !kind.is_counter() {
        return Ok(line.to_vec());
    }
    match text.trim().parse::<i64>() {
        Ok(number) => Ok(number.to_le_bytes().to_vec()),
        Err(_) => Err(Bad::NotAnInteger(text.chars().take(SHOWN_CHARS).collect())),
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(
                f,
                "it is too large: a payload has at most {MAX_PAYLOAD_BYTES} bytes; put the content into a blob store and \
                 publish its hash"
            ),
            Self::NotText(at) => {
                write!(f, "it is not UTF-8 from byte {} on: encode it, in base64 for instance", at + 1)
            }
            Self::NotAnInteger(line) => write!(
                f,
                "\"{}\" is not an integer: a counter takes a decimal integer from {} to {}",
                Bytes::new(line.as_bytes()),
                i64::MIN,
                i64::MAX
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], kind: Kind) -> Vec<(u64, Line)> {
        let mut lines = Lines::new(input);
        let mut all = Vec::new();
        while let Some(line) = lines.next(kind).unwrap() {
            all.push((lines.number(), line));
        }
        all
    }

    #[test]
    fn only_the_line_feed_is_taken_away() {
        assert_eq!(
            all(b"a\r\n\n b \nlast", Kind::Add),
            [(1, Ok(b"a\r".to_vec())), (2, Ok(vec![])), (3, Ok(b" b ".to_vec())), (4, Ok(b"last".to_vec()))]
        );
        assert_eq!(all(b"", Kind::Add), []);
    }

    #[test]
    fn a_line_of_the_largest_size_is_taken_and_a_byte_more_is_not() {
        let mut input = vec![b'x'; MAX_PAYLOAD_BYTES];
        input.push(b'\n');
        input.extend(vec![b'y'; 3 * MAX_PAYLOAD_BYTES]);
        input.extend(b"\nafter\n");
        input.extend(vec![b'z'; MAX_PAYLOAD_BYTES]);
        let lines = all(&input, Kind::Write);
        assert_eq!(lines.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(lines[0].1.as_ref().unwrap().len(), MAX_PAYLOAD_BYTES);
        assert_eq!(lines[1].1, Err(Bad::TooLong));
        assert_eq!(lines[2].1, Ok(b"after".to_vec()));
        assert_eq!(lines[3].1.as_ref().unwrap().len(), MAX_PAYLOAD_BYTES);
    }

    #[test]
    fn an_endless_line_is_told_of_before_its_end() {
        let mut lines = Lines::new(io::BufReader::new(io::repeat(b'x')));
        assert_eq!(lines.next(Kind::Add).unwrap(), Some(Err(Bad::TooLong)));
        assert!(lines.buffer.capacity() < 4 * MAX_PAYLOAD_BYTES);
    }

    #[test]
    fn counters_take_integers_only() {
        let number = |n: i64| Ok(n.to_le_bytes().to_vec());
        let bad = |text: &str| Err(Bad::NotAnInteger(text.to_owned()));
        assert_eq!(
            all(b"5\n-7\r\n\n1.5\n9223372036854775807\n9223372036854775808\nx\n", Kind::Increment),
            [
                (1, number(5)),
                (2, number(-7)),
                (3, bad("")),
                (4, bad("1.5")),
                (5, number(i64::MAX)),
                (6, bad("9223372036854775808")),
                (7, bad("x"))
            ]
        );
    }

    #[test]
    fn what_is_not_text_is_refused_with_its_place() {
        assert_eq!(all(b"ab\xFFc\nd", Kind::Add), [(1, Err(Bad::NotText(2))), (2, Ok(b"d".to_vec()))]);
    }
}
