//! How bytes are shown: as text where they are text, in base64 where they are not, and never as commands to a terminal.

use std::{borrow::Cow, fmt, ops::RangeInclusive};

use data_encoding::BASE64;
use serde::Serialize;

/// Bytes as a value in JSON: a string, or `{"base64": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Bytes<'a> {
    Text(Cow<'a, str>),
    Other { base64: String },
}

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(Cow::Borrowed(text)),
            Err(_) => Self::Other { base64: BASE64.encode(bytes) },
        }
    }
}

impl From<Vec<u8>> for Bytes<'static> {
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(Cow::Owned(text)),
            Err(error) => Self::Other { base64: BASE64.encode(error.as_bytes()) },
        }
    }
}

/// For people: one line, in which control characters do nothing.
impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.chars().try_for_each(|c| {
                // Control characters would move the cursor, and the marks of bidirectional text hide what is there.
                const MARKS: [RangeInclusive<char>; 3] =
                    ['\u{200e}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
                let harmful = c.is_control() || MARKS.iter().any(|marks| marks.contains(&c));
                if harmful { write!(f, "{}", c.escape_default()) } else { write!(f, "{c}") }
            }),
            Self::Other { base64 } => write!(f, "base64:{base64}"),
        }
    }
}

/// The beginning of an identifier: enough to tell a few apart.
pub fn short(id: &impl fmt::Display) -> String {
    id.to_string().chars().take(8).collect()
}

/// Milliseconds since the Unix epoch as a date and time of day in UTC.
///
/// Days to dates as in Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013): a year begins in March, so
/// that the day that comes and goes is its last.
pub struct Time(pub u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, in_day) = (self.0 / 86_400_000, self.0 % 86_400_000);
        // From the first of March of the year 0.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
        let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_text_is_base64() {
        assert_eq!(serde_json::to_string(&Bytes::new(b"a\"b")).unwrap(), r#""a\"b""#);
        assert_eq!(serde_json::to_string(&Bytes::new(b"\xFF\x00")).unwrap(), r#"{"base64":"/wA="}"#);
    }

    #[test]
    fn text_gives_no_commands_to_a_terminal() {
        assert_eq!(Bytes::new("\x1b[2Jü\n".as_bytes()).to_string(), "\\u{1b}[2Jü\\n");
        assert_eq!(Bytes::new("a\u{202e}b".as_bytes()).to_string(), "a\\u{202e}b");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(Time(0).to_string(), "1970-01-01 00:00:00.000Z");
        assert_eq!(Time(951_782_400_000).to_string(), "2000-02-29 00:00:00.000Z");
        assert_eq!(Time(1_709_251_199_999).to_string(), "2024-02-29 23:59:59.999Z");
        assert_eq!(Time(4_107_542_400_000).to_string(), "2100-03-01 00:00:00.000Z");
    }
}
