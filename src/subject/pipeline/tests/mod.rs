//! The pipeline in virtual time: what every test file shares.

mod batch;
mod laws;
mod merge;
mod stages;

use std::{any::Any, borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    crdt::operator::{Applied, CausalContext, FoldOp, FoldState, Operator, ReduceOp, SortOp},
    subject::pipeline::{MemoryContexts, Pipeline, PipelineSpec, Report, Tick},
    wire::{
        clock::Clock,
        event::{EventType, Stamp, XaeroEvent},
        id::{Dot, SubjectId, XaeroID},
        vector::VersionVector,
    },
};

/// A pipeline whose shell is the test: a bus a source, virtual time, and all that came out.
struct Rig {
    pipeline: Pipeline,
    contexts: MemoryContexts,
    /// How many events each bus has carried.
    buses: Vec<u64>,
    now: Tick,
    out: Vec<XaeroEvent>,
}

impl Rig {
    fn new(spec: &PipelineSpec) -> Self {
        Self::reading(spec, (0..spec.sources()).map(|source| u8::try_from(source).unwrap()).collect())
    }

    /// A rig whose source number `k` reads the subject `subjects[k]`.
    fn reading(spec: &PipelineSpec, subjects: Vec<u8>) -> Self {
        Self {
            pipeline: spec.instantiate(),
            buses: vec![0; subjects.len()],
            contexts: MemoryContexts::new(subjects.into_iter().map(|byte| SubjectId::from([byte; 32])).collect()),
            now: Tick::ZERO,
            out: Vec::new(),
        }
    }

    fn send(&mut self, text: &str) {
        self.send_from(0, &XaeroEvent::new(text, ADD));
    }

    fn send_from(&mut self, source: usize, event: &XaeroEvent) {
        self.buses[source] += 1;
        let dot = Dot::new(event.author_id.unwrap_or(author(0)), self.buses[source]);
        self.send_as(source, event, Some(dot));
    }

    fn send_as(&mut self, source: usize, event: &XaeroEvent, dot: Option<Dot>) {
        if let Some(dot) = dot {
            self.contexts.observe(source, dot);
        }
        let out = &mut self.out;
        let sink = &mut |event| out.push(event);
        self.pipeline.feed(source, Cow::Borrowed(event), dot, self.now, &self.contexts, sink);
    }

    /// Lets `millis` pass, and every timer go off at its own time.
    fn pass(&mut self, millis: u64) {
        let end = self.now + ms(millis);
        let out = &mut self.out;
        while let Some(due) = self.pipeline.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.pipeline.tick(self.now, &self.contexts, &mut |event| out.push(event));
            assert_ne!(self.pipeline.deadline(), Some(due), "a timer that went off is set no more");
        }
        self.now = end;
    }

    fn catching_up(&mut self, yes: bool) {
        let out = &mut self.out;
        self.pipeline.set_catching_up(yes, self.now, &self.contexts, &mut |event| out.push(event));
    }

    fn finish(&mut self) {
        let out = &mut self.out;
        self.pipeline.finish(self.now, &self.contexts, &mut |event| out.push(event));
    }

    /// What came out since the last call.
    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.out).into_iter().map(|event| String::from_utf8(event.evt.data).unwrap()).collect()
    }
}

const ADD: u8 = 200;
const REMOVE: u8 = 201;
const STATE: u8 = 202;
/// An event of the fold's type that breaks its rules.
const BROKEN: u8 = 203;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn author(byte: u8) -> XaeroID {
    XaeroID::from([byte; 32])
}

/// An OR-Set written for clarity: every add by its dot, every remove with what it had seen.
#[derive(Default)]
struct TestSet {
    adds: BTreeMap<Dot, Vec<u8>>,
    removes: Vec<(Vec<u8>, VersionVector)>,
    /// How many events were applied with the promise that their causes came before.
    causal: u64,
}

impl FoldState for TestSet {
    fn apply(&mut self, event: &XaeroEvent, dot: Dot, context: &dyn CausalContext) -> Applied {
        let data = event.evt.data.clone();
        match event.evt.event_type {
            EventType::ApplicationEvent(ADD) => drop(self.adds.insert(dot, data)),
            EventType::ApplicationEvent(REMOVE) => {
                let seen = context.to_vector();
                for add in self.adds.keys() {
                    assert_eq!(seen.covers(*add), context.covers(*add), "the two questions have one answer");
                }
                self.removes.push((data, seen));
            }
            EventType::ApplicationEvent(BROKEN) => return Applied::Skipped("it is broken"),
            _ => return Applied::NotMine,
        }
        self.causal += u64::from(context.causal_delivery());
        Applied::Yes
    }

    fn save(&self) -> Option<Vec<u8>> {
        Some(self.contents().join(",").into_bytes())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl TestSet {
    fn contents(&self) -> Vec<String> {
        let live = self
            .adds
            .iter()
            .filter(|(dot, data)| !self.removes.iter().any(|(removed, seen)| removed == *data && seen.covers(**dot)));
        let mut contents: Vec<_> = live.map(|(_, data)| String::from_utf8(data.clone()).unwrap()).collect();
        contents.sort();
        contents
    }

    /// The inverse of `save`, for sets without removes.
    fn load(bytes: &[u8]) -> Option<Box<dyn FoldState>> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())?;
        let adds = (1..).map(|seq| Dot::new(author(250), seq)).zip(text.split(',').map(|add| add.as_bytes().to_vec()));
        Some(Box::new(Self { adds: adds.collect(), ..Self::default() }))
    }
}

fn by_clock() -> Operator {
    sort("by-clock", |event| (event.evt.clock(), event.evt.dot()))
}

fn by_payload() -> Operator {
    sort("by-payload", |event| event.evt.data.clone())
}

fn sort<K: Ord>(name: &'static str, key: impl Fn(&XaeroEvent) -> K + Send + Sync + 'static) -> Operator {
    Operator::Sort(SortOp {
        name: Cow::Borrowed(name),
        compare: Arc::new(move |a, b| key(a).cmp(&key(b))),
        keeps_causes_first: false,
    })
}

fn fold() -> Operator {
    Operator::Fold(FoldOp {
        name: Some(Cow::Borrowed("test-set/1")),
        make: Arc::new(|| Box::new(TestSet::default())),
        restore: Arc::new(TestSet::load),
    })
}

/// The set's elements, between commas.
fn contents() -> Operator {
    reduce("contents", |set| Some(set.contents().join(",")))
}

fn reduce(name: &'static str, read: impl Fn(&TestSet) -> Option<String> + Send + Sync + 'static) -> Operator {
    let reduce = Arc::new(move |state: &dyn Any| Some(read(state.downcast_ref()?)?.into_bytes()));
    Operator::Reduce(ReduceOp { name: Cow::Borrowed(name), event_type: STATE, reduce })
}
