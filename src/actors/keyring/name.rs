//! Names of identities. A name is also a file name, so it holds only what every file system and every shell takes.

use super::KeyringError;

/// Longest name of an identity, in characters. With its ending it stays below every file system's limit.
pub const MAX_NAME_CHARS: usize = 64;

/// Checks a name: 1 to [`MAX_NAME_CHARS`] characters of `a-z A-Z 0-9 . _ -`, not starting with a dot.
///
/// # Errors
/// [`KeyringError::BadName`], with the rule that the name breaks.
pub fn check(name: &str) -> Result<(), KeyringError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let rule = if name.is_empty() {
        "it is empty"
    } else if name.starts_with('.') {
        "it starts with a dot"
    } else if !name.chars().all(allowed) {
        "it has a character outside a-z A-Z 0-9 . _ -"
    } else if name.len() > MAX_NAME_CHARS {
        "it is too long"
    } else {
        return Ok(());
    };
    // What is quoted in the message is bounded too: a name comes from outside.
    Err(KeyringError::BadName { name: name.chars().take(MAX_NAME_CHARS).collect(), rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broken_rule_is_named() {
        let rule_of = |name: &str| match check(name) {
            Err(KeyringError::BadName { rule, .. }) => rule,
            other => panic!("{name:?}: {other:?}"),
        };
        assert_eq!(rule_of(""), "it is empty");
        assert_eq!(rule_of(".hidden"), "it starts with a dot");
        assert_eq!(rule_of(".."), "it starts with a dot");
        assert_eq!(rule_of(&"a".repeat(MAX_NAME_CHARS + 1)), "it is too long");
        for name in ["a/b", "a b", "jürgen", "a\0b", "a\n", "a\\b", "a:b"] {
            assert_eq!(rule_of(name), "it has a character outside a-z A-Z 0-9 . _ -", "{name:?}");
        }
    }

    #[test]
    fn usual_names_pass() {
        for name in ["self", "alice", "Alice.Smith-2_x", "-", &"a".repeat(MAX_NAME_CHARS)] {
            assert!(check(name).is_ok(), "{name:?}");
        }
    }
}
