//! `xaeroflux state`: what all events of a subject come to, by the rules of a CRDT.

use std::fmt;

use serde::Serialize;
use xaeroflux::{Fold, Operator, Reduce, Sort, Subject, XaeroEvent, prelude::rkyv};

use super::{
    args::{self, Crdt, StateArgs},
    exit::{Exit, Failure},
    output::Output,
    place::Place,
    text::Bytes,
};

/// Prints the state.
pub fn run(place: &Place<'_>, args: &StateArgs, output: &mut Output) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let node = place.open()?;
    let subject = node.subject(args.subject.as_str());
    let value = Value::of_log_at(&subject, args.crdt, args.at.unwrap_or(u64::MAX))?;
    let partial = subject.replica_filter()?.map(|filter| filter.to_string());
    if let Some(partial) = &partial {
        tracing::warn!("this replica is partial, and so is the state: it keeps {partial}");
    }
    output.line(&Line { crdt: args.crdt, value: &value, partial }, &value)?;
    Ok(Exit::Done)
}

/// A state as it is printed.
#[derive(Serialize)]
struct Line<'a> {
    crdt: Crdt,
    value: &'a Value,
    /// What is kept here, where that is a part of the subject: the state is that of this part.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<String>,
}

/// The value of a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Of a counter.
    Number(i64),
    /// Of a set or a multi-value register, sorted by bytes.
    Many(Vec<Bytes<'static>>),
    /// Of a last-writer-wins register; `null` where nothing was written.
    One(Option<Bytes<'static>>),
}

impl Value {
    /// The value that the subject's log resolves to.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn of_log(subject: &Subject, crdt: Crdt) -> Result<Self, Failure> {
        Self::of_log_at(subject, crdt, u64::MAX)
    }

    /// The value that the events of the log from before this time resolve to.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn of_log_at(subject: &Subject, crdt: Crdt, time_ms: u64) -> Result<Self, Failure> {
        match subject.state_at(time_ms, operators(crdt))? {
            Some(state) => Self::of_state(&state, crdt),
            None => Ok(Self::empty(crdt)),
        }
    }

    /// The value in an event that a pipeline of these [`operators`] emitted.
    ///
    /// # Errors
    /// Where the event is no such one.
    pub fn of_state(state: &XaeroEvent, crdt: Crdt) -> Result<Self, Failure> {
        let data = &state.evt.data;
        let unreadable = |why: &dyn fmt::Display| {
            Failure::new(Exit::Failed, format_args!("the resolved state cannot be read ({why}): report this as a bug"))
        };
        let values = || rkyv::from_bytes::<Vec<Vec<u8>>, _>(data).map_err(|error| unreadable(&error));
        Ok(match crdt {
            Crdt::GCounter | Crdt::PnCounter => {
                let bytes = data.as_slice().try_into().map_err(|error| unreadable(&error))?;
                Self::Number(i64::from_le_bytes(bytes))
            }
            Crdt::OrSet | Crdt::Mv => Self::Many(values()?.into_iter().map(Bytes::from).collect()),
            Crdt::Lww => Self::One(values()?.into_iter().next().map(Bytes::from)),
        })
    }

    const fn empty(crdt: Crdt) -> Self {
        match crdt {
            Crdt::GCounter | Crdt::PnCounter => Self::Number(0),
            Crdt::OrSet | Crdt::Mv => Self::Many(Vec::new()),
            Crdt::Lww => Self::One(None),
        }
    }
}

/// For people: one element a line, nothing where there is nothing.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Many(values) if values.is_empty() => f.write_str("(empty)"),
            Self::Many(values) => values.iter().enumerate().try_for_each(|(n, value)| {
                if n > 0 {
                    f.write_str("\n")?;
                }
                write!(f, "{value}")
            }),
            Self::One(Some(value)) => write!(f, "{value}"),
            Self::One(None) => f.write_str("(nothing written)"),
        }
    }
}

/// The operators that resolve a subject by the rules of this CRDT.
pub fn operators(crdt: Crdt) -> Vec<Operator> {
    let (fold, reduce) = match crdt {
        Crdt::OrSet => (Fold::ORSet, Reduce::SetContents),
        Crdt::GCounter => (Fold::GCounter, Reduce::CounterValue),
        Crdt::PnCounter => (Fold::PNCounter, Reduce::CounterValue),
        // Not `RegisterValue`, which gives no bytes for a register that was never written and for one that holds none.
        Crdt::Lww => (Fold::LWWRegister, Reduce::RegisterValues),
        Crdt::Mv => (Fold::MVRegister, Reduce::RegisterValues),
    };
    vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(fold.to_operator()),
        Operator::Reduce(reduce.to_operator()),
    ]
}
