//! The states that a window can be folded into: ours by name, and users' own closures.
//!
//! A fold's name stands for its meaning: a snapshot kept under `or-set/1` is only ever read by a fold of that name. So a
//! change of meaning is a new number. A closure has no name, keeps no snapshot, and folds the log again after a
//! restart, unless its user gives it a name and a pair of functions for its bytes.

use std::{
    any::Any,
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    crdt::{
        GCounter, LWWRegister, MVRegister, ORSet, PNCounter,
        dot_set::DotSet,
        operator::{Applied, CausalContext, FoldOp, FoldState, Operator},
        snapshot::{Kind, Reader, Writer},
    },
    wire::{event::XaeroEvent, id::Dot},
};

/// Version of the layout around a user's own bytes.
const SNAPSHOT_VERSION: u8 = 1;

/// A conflict-free type to fold events into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fold {
    /// [`ORSet`]: adds and removes of elements.
    ORSet,
    /// [`GCounter`]: increments.
    GCounter,
    /// [`PNCounter`]: increments and decrements.
    PNCounter,
    /// [`LWWRegister`]: writes, of which the last wins.
    LWWRegister,
    /// [`MVRegister`]: writes, of which the concurrent ones are all kept.
    MVRegister,
}

impl Fold {
    /// The operator for a batch pipeline.
    ///
    /// ```
    /// use xaeroflux::{Fold, Operator};
    /// let step = Operator::Fold(Fold::ORSet.to_operator());
    /// ```
    #[must_use]
    pub fn to_operator(self) -> FoldOp {
        match self {
            Self::ORSet => built_in("or-set/1", ORSet::restore),
            Self::GCounter => built_in("g-counter/1", GCounter::restore),
            Self::PNCounter => built_in("pn-counter/1", PNCounter::restore),
            Self::LWWRegister => built_in("lww-register/1", LWWRegister::restore),
            Self::MVRegister => built_in("mv-register/1", MVRegister::restore),
        }
    }
}

impl FoldOp {
    /// A fold of the user's own: starts at `init`, merges each event once by `apply`. It keeps no snapshots.
    ///
    /// For replicas to agree, the result must not depend on the order of concurrent events, beyond what the pipeline's
    /// sort fixes within a window.
    ///
    /// ```
    /// use xaeroflux::{Dot, FoldOp, VersionVector, XaeroEvent, XaeroID};
    /// let bytes = FoldOp::from_fn(0usize, |sum, event| *sum += event.evt.data.len());
    /// let mut state = bytes.make();
    /// state.apply(&XaeroEvent::new("four", 1), Dot::new(XaeroID::from([1; 32]), 1), &VersionVector::new());
    /// assert_eq!(state.as_any().downcast_ref::<usize>(), Some(&4));
    /// ```
    #[must_use]
    pub fn from_fn<S>(init: S, apply: impl Fn(&mut S, &XaeroEvent) + Send + Sync + 'static) -> Self
    where
        S: Clone + Send + 'static,
    {
        let custom = Custom { init: Mutex::new(init), functions: Arc::new(Functions { apply, bytes: None }) };
        Self { name: None, make: Arc::new(move || Box::new(custom.start())), restore: Arc::new(|_| None) }
    }

    /// A fold of the user's own that keeps snapshots, under `name` and `version`. Another `version` makes the
    /// snapshots of before unreadable: raise it whenever the meaning of `apply` or the bytes change.
    ///
    /// `decode` gets only bytes that `encode` made, but of any time; `None` folds the log again.
    #[must_use]
    pub fn named<S>(
        name: &str,
        version: u32,
        init: S,
        apply: impl Fn(&mut S, &XaeroEvent) + Send + Sync + 'static,
        encode: impl Fn(&S) -> Vec<u8> + Send + Sync + 'static,
        decode: impl Fn(&[u8]) -> Option<S> + Send + Sync + 'static,
    ) -> Self
    where
        S: Clone + Send + 'static,
    {
        let bytes = Some(Box::new(encode) as Box<Encode<S>>);
        let custom = Custom { init: Mutex::new(init), functions: Arc::new(Functions { apply, bytes }) };
        let functions = Arc::clone(&custom.functions);
        Self {
            // Ours have no colon in their names, so that a user's never reads a snapshot of ours.
            name: Some(Cow::Owned(format!("custom:{name}/{version}"))),
            make: Arc::new(move || Box::new(custom.start())),
            restore: Arc::new(move |bytes| {
                let mut reader = Reader::open(bytes, Kind::Custom, SNAPSHOT_VERSION)?;
                let folded = DotSet::read(&mut reader)?;
                let state = decode(reader.bytes()?)?;
                reader.end()?;
                Some(Box::new(CustomState { state, folded, functions: Arc::clone(&functions) }))
            }),
        }
    }

    /// An empty state.
    #[must_use]
    pub fn make(&self) -> Box<dyn FoldState> {
        (self.make)()
    }

    /// The state that [`FoldState::save`] wrote; `None` where the bytes are not that.
    #[must_use]
    pub fn restore(&self, bytes: &[u8]) -> Option<Box<dyn FoldState>> {
        (self.restore)(bytes)
    }

    /// The name and version under which snapshots are kept; `None` keeps none.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl From<FoldOp> for Operator {
    fn from(fold: FoldOp) -> Self {
        Self::Fold(fold)
    }
}

impl From<Fold> for Operator {
    fn from(fold: Fold) -> Self {
        Self::Fold(fold.to_operator())
    }
}

fn built_in<S: FoldState + Default>(name: &'static str, restore: fn(&[u8]) -> Option<S>) -> FoldOp {
    FoldOp {
        name: Some(Cow::Borrowed(name)),
        make: Arc::new(|| Box::new(S::default())),
        restore: Arc::new(move |bytes| Some(Box::new(restore(bytes)?))),
    }
}

type Encode<S> = dyn Fn(&S) -> Vec<u8> + Send + Sync;

/// What a user gave us.
struct Functions<S, F> {
    apply: F,
    bytes: Option<Box<Encode<S>>>,
}

/// A factory of users' states.
struct Custom<S, F> {
    /// Behind a lock only because `S` need not be `Sync`.
    init: Mutex<S>,
    functions: Arc<Functions<S, F>>,
}

/// A user's state.
struct CustomState<S, F> {
    state: S,
    /// What was folded already; stays empty under causal delivery.
    folded: DotSet,
    functions: Arc<Functions<S, F>>,
}

impl<S: Clone, F> Custom<S, F> {
    fn start(&self) -> CustomState<S, F> {
        // A clone that panicked leaves the original as it was.
        let state = self.init.lock().unwrap_or_else(PoisonError::into_inner).clone();
        CustomState { state, folded: DotSet::default(), functions: Arc::clone(&self.functions) }
    }
}

impl<S, F> FoldState for CustomState<S, F>
where
    S: Send + 'static,
    F: Fn(&mut S, &XaeroEvent) + Send + Sync + 'static,
{
    fn apply(&mut self, event: &XaeroEvent, dot: Dot, context: &dyn CausalContext) -> Applied {
        if context.causal_delivery() || self.folded.insert(dot) {
            (self.functions.apply)(&mut self.state, event);
        }
        Applied::Yes
    }

    fn save(&self) -> Option<Vec<u8>> {
        let encode = self.functions.bytes.as_ref()?;
        let mut writer = Writer::new(Kind::Custom, SNAPSHOT_VERSION);
        self.folded.write(&mut writer);
        writer.bytes(&encode(&self.state));
        Some(writer.finish())
    }

    /// The user's own state, so that the user's reducer finds it.
    fn as_any(&self) -> &dyn Any {
        &self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crdt::{laws::Causal, snapshot::tests::refuses_damage},
        wire::{id::XaeroID, vector::VersionVector},
    };

    fn dot(seq: u64) -> Dot {
        Dot::new(XaeroID::from([1; 32]), seq)
    }

    fn total() -> FoldOp {
        let decode = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
        FoldOp::named("total", 3, 0u64, |sum, _| *sum += 1, |sum| sum.to_le_bytes().to_vec(), decode)
    }

    #[test]
    fn every_fold_has_its_own_name_and_reads_its_own_snapshots_only() {
        let folds =
            [Fold::ORSet, Fold::GCounter, Fold::PNCounter, Fold::LWWRegister, Fold::MVRegister].map(Fold::to_operator);
        for a in &folds {
            for b in &folds {
                let restored = b.restore(&a.make().save().unwrap());
                assert_eq!(restored.is_some(), a.name() == b.name(), "{:?} and {:?}", a.name(), b.name());
            }
        }
    }

    #[test]
    fn a_closure_folds_each_event_once_and_keeps_no_snapshot() {
        let fold = FoldOp::from_fn(Vec::new(), |seen: &mut Vec<u8>, event| seen.extend(&event.evt.data));
        let mut state = fold.make();
        for _ in 0..2 {
            state.apply(&XaeroEvent::new("a", 1), dot(1), &VersionVector::new());
        }
        state.apply(&XaeroEvent::new("b", 1), dot(2), &Causal(VersionVector::new()));
        assert_eq!(state.as_any().downcast_ref::<Vec<u8>>().unwrap(), b"ab");
        assert_eq!((state.save(), fold.name()), (None, None));
        assert!(fold.make().as_any().downcast_ref::<Vec<u8>>().unwrap().is_empty(), "each state starts anew");
    }

    #[test]
    fn a_named_closure_comes_back_from_its_snapshot() {
        let fold = total();
        assert_eq!(fold.name(), Some("custom:total/3"));
        let mut state = fold.make();
        state.apply(&XaeroEvent::new("a", 1), dot(7), &VersionVector::new());
        let bytes = state.save().unwrap();
        let mut back = fold.restore(&bytes).unwrap();
        back.apply(&XaeroEvent::new("a", 1), dot(7), &VersionVector::new());
        back.apply(&XaeroEvent::new("a", 1), dot(8), &VersionVector::new());
        assert_eq!(back.as_any().downcast_ref::<u64>(), Some(&2));
        refuses_damage(&bytes, |bytes| fold.restore(bytes));
    }
}
