//! Identifiers: who ([`XaeroID`]), which stream ([`SubjectId`]), which event ([`EventId`], [`Dot`]), which node
//! ([`EndpointId`]).
//!
//! All of them are 32-byte BLAKE3 hashes, except the endpoint, which is a public key, and the dot, which is a pair. They print and parse as 64
//! digits of lower-case hexadecimal and nothing else, so that two texts that differ name two things that differ.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use thiserror::Error;

/// A text that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "an identifier is 64 hexadecimal digits in lower case, but this has {length} characters or others than 0-9 and a-f"
)]
pub struct ParseIdError {
    length: usize,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The identifier's bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl From<$name> for [u8; 32] {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), HEXLOWER.encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let wrong = ParseIdError { length: text.chars().count() };
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| wrong.clone())?;
                Ok(Self(bytes.try_into().map_err(|_| wrong)?))
            }
        }
    };
}

identifier! {
    /// One writer: the BLAKE3 hash of a Falcon-512 public key.
    ///
    /// A writer is one key in one data directory. A person who writes on two machines is two writers.
    ///
    /// ```
    /// use xaeroflux::XaeroID;
    /// let id = XaeroID::from([7; 32]);
    /// assert_eq!(id.to_string().parse::<XaeroID>()?, id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    XaeroID
}

identifier! {
    /// One event stream. That of an open subject is derived from its name: see [`name`](crate::wire::name).
    SubjectId
}

identifier! {
    /// One event, by content: see [`record`](crate::wire::record) for what is hashed.
    EventId
}

identifier! {
    /// One node on the network: its ed25519 public key, which each of its connections proves.
    EndpointId
}

/// The name of one event within a subject: its author and its place in that author's log.
///
/// Sequence numbers start at 1 and have no gaps. The term is from Preguiça et al., "Dotted Version Vectors" (2010).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who wrote the event.
    pub author: XaeroID,
    /// Its place in that author's log of the subject; the first is 1.
    pub seq: u64,
}

impl Dot {
    /// The dot of `author`'s event number `seq`.
    #[must_use]
    pub const fn new(author: XaeroID, seq: u64) -> Self {
        Self { author, seq }
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.author, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_one_text() {
        let text = "0123456789abcdef".repeat(4);
        assert_eq!(text.parse::<XaeroID>().unwrap().to_string(), text);
        let variants = [
            text.to_uppercase(),
            text.replacen('a', "A", 1),
            format!(" {text}"),
            format!("{text}\n"),
            format!("0x{text}"),
            text[1..].to_owned(),
            format!("{text}0"),
            format!("{text}00"),
            text.replacen('0', "g", 1),
            String::new(),
        ];
        for variant in variants {
            assert!(variant.parse::<XaeroID>().is_err(), "{variant:?}");
        }
    }
}
