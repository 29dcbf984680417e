//! The readers of fold states: what a batch pipeline emits.
//!
//! | reducer | reads | bytes | emitted as |
//! |---|---|---|---|
//! | [`SetContents`](Reduce::SetContents) | [`ORSet`] | the elements, sorted: `Vec<Vec<u8>>` in rkyv | [`CRDT_SET_STATE`] |
//! | [`CounterValue`](Reduce::CounterValue) | [`GCounter`], [`PNCounter`] | `i64`, little-endian | [`CRDT_COUNTER_STATE`] |
//! | [`RegisterValue`](Reduce::RegisterValue) | [`LWWRegister`] | the winner's own; none where nothing was written | [`CRDT_REGISTER_STATE`] |
//! | [`RegisterValues`](Reduce::RegisterValues) | [`MVRegister`], [`LWWRegister`] | the values, sorted: `Vec<Vec<u8>>` in rkyv | [`CRDT_REGISTER_STATE`] |
//!
//! A reducer over a state that it cannot read gives `None`. `RegisterValue` does not read an [`MVRegister`]: to pick
//! one of several values is what that register is there to avoid.

use std::{any::Any, borrow::Cow, sync::Arc};

use rkyv::{
    Archive, Place, Serialize,
    rancor::{Failure, Fallible},
    ser::{Allocator, Writer},
    vec::{ArchivedVec, VecResolver},
};

use crate::{
    crdt::{
        GCounter, LWWRegister, MVRegister, ORSet, PNCounter,
        operator::{FoldState, Operator, ReduceOp},
    },
    wire::event::{CRDT_COUNTER_STATE, CRDT_REGISTER_STATE, CRDT_SET_STATE},
};

/// A reading of a fold's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reduce {
    /// The elements of an [`ORSet`].
    SetContents,
    /// The value of a [`GCounter`] or [`PNCounter`].
    CounterValue,
    /// The value of an [`LWWRegister`].
    RegisterValue,
    /// The values of an [`MVRegister`], or the none or one of an [`LWWRegister`].
    RegisterValues,
}

impl Reduce {
    /// The operator for a batch pipeline.
    ///
    /// ```
    /// use xaeroflux::{Fold, Operator, Reduce};
    /// let steps = vec![
    ///     Operator::Fold(Fold::GCounter.to_operator()),
    ///     Operator::Reduce(Reduce::CounterValue.to_operator()),
    /// ];
    /// let bytes = Reduce::CounterValue.to_operator().reduce(&*Fold::GCounter.to_operator().make());
    /// assert_eq!(bytes, Some(0i64.to_le_bytes().to_vec()));
    /// ```
    #[must_use]
    pub fn to_operator(self) -> ReduceOp {
        let named = |name, event_type, reduce: fn(&dyn Any) -> Option<Vec<u8>>| ReduceOp {
            name: Cow::Borrowed(name),
            event_type,
            reduce: Arc::new(reduce),
        };
        match self {
            Self::SetContents => named("set-contents", CRDT_SET_STATE, set_contents),
            Self::CounterValue => named("counter-value", CRDT_COUNTER_STATE, counter_value),
            Self::RegisterValue => named("register-value", CRDT_REGISTER_STATE, register_value),
            Self::RegisterValues => named("register-values", CRDT_REGISTER_STATE, register_values),
        }
    }
}

impl ReduceOp {
    /// A reducer of the user's own, for the fold whose state is an `S`. What it gives is emitted as an application
    /// event of this type.
    ///
    /// ```
    /// use xaeroflux::{FoldOp, ReduceOp};
    /// let count = FoldOp::from_fn(0u64, |count, _| *count += 1);
    /// let reduce = ReduceOp::from_fn(99, |count: &u64| count.to_le_bytes().to_vec());
    /// assert_eq!(reduce.reduce(&*count.make()), Some(vec![0; 8]));
    /// ```
    #[must_use]
    pub fn from_fn<S: 'static>(event_type: u8, reduce: impl Fn(&S) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let reduce = move |state: &dyn Any| state.downcast_ref().map(&reduce);
        Self { name: Cow::Borrowed("custom"), event_type, reduce: Arc::new(reduce) }
    }

    /// The bytes of a state; `None` where this reducer cannot read it.
    #[must_use]
    pub fn reduce(&self, state: &dyn FoldState) -> Option<Vec<u8>> {
        (self.reduce)(state.as_any())
    }

    /// The application code of the event that carries the bytes.
    #[must_use]
    pub const fn event_type(&self) -> u8 {
        self.event_type
    }
}

impl From<ReduceOp> for Operator {
    fn from(reduce: ReduceOp) -> Self {
        Self::Reduce(reduce)
    }
}

impl From<Reduce> for Operator {
    fn from(reduce: Reduce) -> Self {
        Self::Reduce(reduce.to_operator())
    }
}

fn set_contents(state: &dyn Any) -> Option<Vec<u8>> {
    archive(&state.downcast_ref::<ORSet>()?.elements())
}

fn counter_value(state: &dyn Any) -> Option<Vec<u8>> {
    let grow_only = state.downcast_ref().map(GCounter::value);
    let value = grow_only.or_else(|| state.downcast_ref().map(PNCounter::value))?;
    Some(value.to_le_bytes().to_vec())
}

fn register_value(state: &dyn Any) -> Option<Vec<u8>> {
    state.downcast_ref::<LWWRegister>().map(|register| register.value().unwrap_or_default().to_vec())
}

fn register_values(state: &dyn Any) -> Option<Vec<u8>> {
    let several = state.downcast_ref().map(MVRegister::values);
    archive(&several.or_else(|| state.downcast_ref().map(|one: &LWWRegister| one.value().into_iter().collect()))?)
}

/// The archive of the items as a `Vec<Vec<u8>>`, without making one. `None` where it would be beyond the 2 GiB that
/// 32-bit relative pointers reach.
fn archive(items: &[&[u8]]) -> Option<Vec<u8>> {
    let items: Vec<_> = items.iter().map(|item| Bytes(item)).collect();
    rkyv::to_bytes::<Failure>(&items).ok().map(|bytes| bytes.into_vec())
}

/// A slice that is archived as a `Vec<u8>` is.
struct Bytes<'a>(&'a [u8]);

impl Archive for Bytes<'_> {
    type Archived = ArchivedVec<u8>;
    type Resolver = VecResolver;

    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        ArchivedVec::resolve_from_slice(self.0, resolver, out);
    }
}

impl<S: Fallible + Allocator + Writer + ?Sized> Serialize<S> for Bytes<'_> {
    fn serialize(&self, serializer: &mut S) -> Result<Self::Resolver, S::Error> {
        ArchivedVec::serialize_from_slice(self.0, serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_the_one_of_a_vec_of_vecs() {
        for items in [vec![], vec![&b""[..]], vec![b"a", b"\xFF\x00", &[7; 1_000]]] {
            let owned: Vec<Vec<u8>> = items.iter().map(|item| item.to_vec()).collect();
            let bytes = archive(&items).unwrap();
            assert_eq!(bytes, rkyv::to_bytes::<Failure>(&owned).unwrap().into_vec());
            assert_eq!(rkyv::from_bytes::<Vec<Vec<u8>>, Failure>(&bytes).unwrap(), owned);
        }
    }
}
