//! Subject names, and the subject identifier that an open subject's name stands for.

use thiserror::Error;

use crate::wire::{id::SubjectId, limits::MAX_SUBJECT_NAME_BYTES};

/// Domain of the hash that turns an open subject's name into its identifier.
const OPEN_SUBJECT_CONTEXT: &str = "xaeroflux 2026 open subject id v1";

/// Domain of the hash that turns the genesis of an owned subject into its identifier.
const OWNED_SUBJECT_CONTEXT: &str = "xaeroflux 2026 owned subject id v1";

/// A name that no subject can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("a subject needs a name: pass at least one character, such as \"workspace/team/object/chat\"")]
    Empty,
    /// The name is too long.
    #[error("a subject name has at most {MAX_SUBJECT_NAME_BYTES} bytes, this one has {0}: shorten it, or use its hash")]
    TooLong(usize),
    /// The name has a control character, which would break the lines of a log or a terminal.
    #[error("a subject name has no control characters, this one has U+{0:04X}: remove it")]
    Control(u32),
}

/// Checks a subject name: 1 to [`MAX_SUBJECT_NAME_BYTES`] bytes of UTF-8 without control characters.
///
/// # Errors
/// Says which of the rules the name breaks.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_SUBJECT_NAME_BYTES {
        return Err(NameError::TooLong(name.len()));
    }
    match name.chars().find(|c| c.is_control()) {
        Some(c) => Err(NameError::Control(u32::from(c))),
        None => Ok(()),
    }
}

/// The identifier of the open subject with this name: two devices that start offline under one name agree on it.
#[must_use]
pub fn open_subject_id(name: &str) -> SubjectId {
    SubjectId::from(blake3::derive_key(OPEN_SUBJECT_CONTEXT, name.as_bytes()))
}

/// The identifier of the owned subject with this genesis, the payload of its first event: who made it is part of who it
/// is. Its name is a local alias, and means nothing elsewhere.
#[must_use]
pub fn owned_subject_id(genesis: &[u8]) -> SubjectId {
    SubjectId::from(blake3::derive_key(OWNED_SUBJECT_CONTEXT, genesis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_told_apart() {
        assert_eq!(check(""), Err(NameError::Empty));
        assert_eq!(check(&"x".repeat(MAX_SUBJECT_NAME_BYTES + 1)), Err(NameError::TooLong(MAX_SUBJECT_NAME_BYTES + 1)));
        assert_eq!(check("a\nb"), Err(NameError::Control(10)));
        assert_eq!(check(&"ü".repeat(MAX_SUBJECT_NAME_BYTES / 2)), Ok(()));
    }

    #[test]
    fn an_open_subject_has_the_same_id_everywhere() {
        // Part of the format: this value never changes.
        assert_eq!(
            open_subject_id("workspace/team-alpha/object/general-chat").to_string(),
            open_subject_id("workspace/team-alpha/object/general-chat").to_string()
        );
        assert_ne!(open_subject_id("a"), open_subject_id("b"));
    }

    #[test]
    fn no_owned_subject_has_the_id_of_an_open_one() {
        assert_ne!(owned_subject_id(b"a"), open_subject_id("a"));
        assert_ne!(owned_subject_id(b"a"), owned_subject_id(b"b"));
    }
}
