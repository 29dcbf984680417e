//! The OR-Set fold against the Orswot of the crate `crdts`, on the same elements.
//!
//! 80 % adds and 20 % removes over 5,000 elements of 16 bytes by eight authors, in causal order, as a log delivers
//! them. Both sides get operations that were decoded before, each remove with its causal context in the form that its
//! side wants, and neither keeps them. The sides take turns over several rounds, and the fastest of each counts:
//! what else the machine does only ever slows a round.

mod support;

use std::time::{Duration, Instant};

use crdts::{CmRDT, Orswot, orswot::Op};
use support::report::{Figure, is_wanted, size};
use xaeroflux::{
    Dot, VersionVector, XaeroID,
    crdt::{CausalContext, ORSet},
};

const ELEMENTS: u64 = 5_000;
const AUTHORS: u64 = 8;

type Element = [u8; 16];

/// One operation, for either side.
enum Operation {
    Add(Element, Dot),
    Remove(Element, Seen),
}

/// What a log says of an event: what its author had seen, and that causes came before.
struct Seen(VersionVector);

impl CausalContext for Seen {
    fn covers(&self, dot: Dot) -> bool {
        self.0.covers(dot)
    }

    fn to_vector(&self) -> VersionVector {
        self.0.clone()
    }

    fn causal_delivery(&self) -> bool {
        true
    }
}

fn main() {
    if !is_wanted() {
        return;
    }
    let rounds = size(7, 1);
    let operations = operations(size(500_000, 20_000));
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        let (time, our_elements) = fold_ours(&operations);
        ours = ours.min(time);
        let (time, their_elements) = fold_theirs(&operations);
        theirs = theirs.min(time);
        assert_eq!(our_elements, their_elements, "both sides end with the same set");
    }
    let rate = |time: Duration| operations.len() as f64 / time.as_secs_f64();
    let (ours, theirs) = (rate(ours), rate(theirs));
    Figure::new("orset_fold", ours, theirs, ours / theirs).unit("operations/s").with("rounds", rounds as f64).print();
}

fn operations(count: usize) -> Vec<Operation> {
    let mut random = 1u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut log = VersionVector::new();
    let authors: Vec<XaeroID> =
        (1..=AUTHORS).map(|n| XaeroID::from(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
    (0..count)
        .map(|_| {
            let author = authors[usize::try_from(below(AUTHORS)).unwrap()];
            let mut element = [0; 16];
            element[..8].copy_from_slice(&below(ELEMENTS).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
            let dot = Dot::new(author, log.get(author) + 1);
            // Removes take a number of their author's log too, but only adds are in a set's clock on either side.
            if below(5) == 0 {
                return Operation::Remove(element, Seen(log.clone()));
            }
            log.observe(dot);
            Operation::Add(element, dot)
        })
        .collect()
}

fn fold_ours(operations: &[Operation]) -> (Duration, Vec<Vec<u8>>) {
    let start = Instant::now();
    let mut set = ORSet::new();
    for operation in operations {
        match operation {
            Operation::Add(element, dot) => set.add(element, *dot),
            Operation::Remove(element, seen) => set.remove(element, seen),
        }
    }
    let time = start.elapsed();
    (time, set.elements().into_iter().map(<[u8]>::to_vec).collect())
}

fn fold_theirs(operations: &[Operation]) -> (Duration, Vec<Vec<u8>>) {
    let prepared: Vec<Op<Element, XaeroID>> = operations
        .iter()
        .map(|operation| match operation {
            Operation::Add(element, dot) => {
                Op::Add { dot: crdts::Dot::new(dot.author, dot.seq), members: vec![*element] }
            }
            Operation::Remove(element, seen) => {
                let clock = seen.0.iter().map(|(author, seq)| crdts::Dot::new(author, seq)).collect();
                Op::Rm { clock, members: vec![*element] }
            }
        })
        .collect();
    let start = Instant::now();
    let mut set = Orswot::new();
    for operation in prepared {
        set.apply(operation);
    }
    let time = start.elapsed();
    let mut elements: Vec<Vec<u8>> = set.read().val.into_iter().map(|element| element.to_vec()).collect();
    elements.sort_unstable();
    (time, elements)
}
