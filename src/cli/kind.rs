//! The names of event types: as `publish --type` takes them, and as `replay` prints them.

use std::{fmt, str::FromStr};

use xaeroflux::event::{
    CRDT_COUNTER_DECREMENT, CRDT_COUNTER_INCREMENT, CRDT_REGISTER_WRITE, CRDT_SET_ADD, CRDT_SET_REMOVE, EventType,
};

/// What the lines of `publish` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Add,
    Remove,
    Increment,
    Decrement,
    Write,
    /// An application's own.
    App(u8),
}

impl Kind {
    /// The application code of the event.
    pub const fn code(self) -> u8 {
        match self {
            Self::Add => CRDT_SET_ADD,
            Self::Remove => CRDT_SET_REMOVE,
            Self::Increment => CRDT_COUNTER_INCREMENT,
            Self::Decrement => CRDT_COUNTER_DECREMENT,
            Self::Write => CRDT_REGISTER_WRITE,
            Self::App(code) => code,
        }
    }

    /// Whether a line is a decimal integer.
    pub const fn is_counter(self) -> bool {
        matches!(self, Self::Increment | Self::Decrement)
    }
}

impl FromStr for Kind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "the types are add, remove, increment, decrement, write, and app:0 to app:255";
        Ok(match text {
            "add" => Self::Add,
            "remove" => Self::Remove,
            "increment" => Self::Increment,
            "decrement" => Self::Decrement,
            "write" => Self::Write,
            _ => Self::App(text.strip_prefix("app:").and_then(|code| code.parse().ok()).ok_or(RULE)?),
        })
    }
}

/// An event type as `replay` prints it.
pub struct Printed(pub EventType);

impl Printed {
    /// Whether the payload is the operand of a counter.
    pub const fn is_counter(&self) -> bool {
        matches!(self.0, EventType::ApplicationEvent(CRDT_COUNTER_INCREMENT | CRDT_COUNTER_DECREMENT))
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            EventType::ApplicationEvent(CRDT_SET_ADD) => f.write_str("set.add"),
            EventType::ApplicationEvent(CRDT_SET_REMOVE) => f.write_str("set.remove"),
            EventType::ApplicationEvent(CRDT_COUNTER_INCREMENT) => f.write_str("counter.increment"),
            EventType::ApplicationEvent(CRDT_COUNTER_DECREMENT) => f.write_str("counter.decrement"),
            EventType::ApplicationEvent(CRDT_REGISTER_WRITE) => f.write_str("register.write"),
            EventType::ApplicationEvent(code) => write!(f, "app:{code}"),
            EventType::SystemEvent(code) => write!(f, "system:{code}"),
            EventType::NetworkEvent(code) => write!(f, "network:{code}"),
            EventType::StorageEvent(code) => write!(f, "storage:{code}"),
            EventType::MetaEvent(code) => write!(f, "meta:{code}"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_code_and_its_name() {
        for (text, code, printed) in [
            ("add", 30, "set.add"),
            ("remove", 31, "set.remove"),
            ("increment", 33, "counter.increment"),
            ("decrement", 34, "counter.decrement"),
            ("write", 43, "register.write"),
            ("app:0", 0, "app:0"),
            ("app:255", 255, "app:255"),
        ] {
            let kind: Kind = text.parse().unwrap();
            assert_eq!(kind.code(), code);
            assert_eq!(Printed(EventType::ApplicationEvent(code)).to_string(), printed);
        }
        for bad in ["", "Add", "app", "app:", "app:256", "app:-1", "app:x"] {
            assert!(bad.parse::<Kind>().is_err(), "{bad:?}");
        }
    }
}
