//! What all handles on one subject share: its buses, its pipelines, and whether it works in memory or is durable.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use actix::Addr;

use super::{
    bell::Bells,
    dead::DeadLetters,
    durable::Claims,
    engine::Engine,
    error::Error,
    follower::{Follower, LogSource},
    node::NodeShared,
    notice::{Notice, NoticeHub},
    prover::KeptProver,
    run::HandleInner,
    supervisor::{HostFollower, Lifecycle, SubjectActor, Wake},
    sync::hub::Hub,
};
use crate::{
    actors::{
        bus::{Bus, Chunk, PublishError},
        pool::{Scheduled, Task, Worker},
        storage::open::SubjectLog,
    },
    wire::{id::SubjectId, name},
};

/// Chunks that the memory pump passes on before it lets other tasks have their turn.
const PUMP_CHUNKS: usize = 16;

/// One subject of one node.
pub(crate) struct Core {
    pub(crate) name: String,
    /// Which subject the name stands for, once an open engine was asked: an alias is known to the data directory only.
    id: OnceLock<SubjectId>,
    pub(crate) node: Arc<NodeShared>,
    pub(crate) data: Arc<Bus>,
    pub(crate) control: Arc<Bus>,
    pub(crate) notices: NoticeHub,
    pub(crate) dead: DeadLetters,
    /// Told when there is something new in the log, and when the subject stops.
    pub(crate) bells: Bells,
    /// The durable subscriptions that are open.
    pub(crate) durables: Claims,
    state: Mutex<State>,
    followers: Mutex<Arc<Vec<Attached>>>,
    pumping: Scheduled,
    this: Weak<Self>,
}

/// A pipeline that reads this subject, as source number `source` of its own.
#[derive(Clone)]
pub(crate) struct Attached {
    pub(crate) follower: Weak<Follower>,
    pub(crate) source: usize,
}

/// How the subject works now.
pub(crate) enum State {
    /// Nothing touches the disk; pipelines see what is sent while they are subscribed.
    Memory,
    /// Everything goes through the log.
    Durable(Running),
    /// It was durable, and the last handle is gone.
    Stopped,
}

/// A durable subject.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) supervisor: Addr<SubjectActor>,
    pub(crate) source: LogSource,
    pub(crate) handle: Weak<HandleInner>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) prover: KeptProver,
    pub(crate) hub: Arc<Hub>,
}

impl Core {
    pub(crate) fn new(node: Arc<NodeShared>, name: String) -> Arc<Self> {
        let bad = name::check(&name).err();
        let bus = || match &bad {
            Some(error) => Bus::broken(Arc::new(error.clone())),
            None => Bus::new(node.bus_limits()),
        };
        let (data, control) = (bus(), bus());
        let core = Arc::new_cyclic(|this| Self {
            id: OnceLock::new(),
            name,
            node,
            data,
            control,
            notices: NoticeHub::default(),
            dead: DeadLetters::default(),
            bells: Bells::default(),
            durables: Claims::default(),
            state: Mutex::new(State::Memory),
            followers: Mutex::default(),
            pumping: Scheduled::new(),
            this: Weak::clone(this),
        });
        core.notify_memory();
        let this = Weak::clone(&core.this);
        core.control.set_notify(Some(Arc::new(move || {
            if let Some(core) = this.upgrade() {
                core.pass_control();
            }
        })));
        core
    }

    /// Whether the name is one that a subject can have.
    pub(crate) fn check(&self) -> Result<(), Error> {
        Ok(name::check(&self.name)?)
    }

    /// The subject's identifier. Before the engine is open, which a handle on the default node does not wait for, the one
    /// of the open subject with this name.
    pub(crate) fn id(&self) -> SubjectId {
        if let Some(id) = self.known_id() {
            return id;
        }
        let resolved = self.node.engine_at_hand().and_then(|engine| self.resolve(&engine).ok());
        resolved.unwrap_or_else(|| name::open_subject_id(&self.name))
    }

    /// The subject's identifier, if it is settled already.
    pub(crate) fn known_id(&self) -> Option<SubjectId> {
        self.id.get().copied()
    }

    /// Finds out which subject the name stands for. From then on it is settled, for as long as this is there.
    pub(crate) fn resolve(&self, engine: &Engine) -> Result<SubjectId, Error> {
        match self.known_id() {
            Some(id) => Ok(id),
            None => {
                let id = engine.subject_id(&self.name)?;
                Ok(*self.id.get_or_init(|| id))
            }
        }
    }

    /// The node's engine, opened if it is not, and the subject's log, its extent known.
    pub(crate) fn log(&self) -> Result<(Arc<Engine>, Arc<SubjectLog>), Error> {
        self.check()?;
        let engine = self.node.engine()?;
        let log = engine.log(self.resolve(&engine)?, &self.name)?;
        Ok((engine, log))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The durable side, if the subject runs.
    pub(crate) fn running(&self) -> Option<Running> {
        match &*self.state() {
            State::Durable(running) => Some(running.clone()),
            State::Memory | State::Stopped => None,
        }
    }

    pub(crate) fn followers(&self) -> Arc<Vec<Attached>> {
        Arc::clone(&self.followers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on the pipeline gets this subject's events.
    pub(crate) fn attach(&self, follower: &Arc<Follower>, source: usize) {
        // The state's lock, so that a run that begins now finds the pipeline, or the pipeline finds it begun.
        let state = self.state();
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<Attached> =
            followers.iter().filter(|attached| attached.follower.strong_count() > 0).cloned().collect();
        list.push(Attached { follower: Arc::downgrade(follower), source });
        *followers = Arc::new(list);
        drop(followers);
        if let State::Durable(running) = &*state {
            self.follow_log(follower, source, running);
        }
    }

    /// Lets the pipeline read the log.
    pub(crate) fn follow_log(&self, follower: &Arc<Follower>, source: usize, running: &Running) {
        follower.read_log(source, running.source.clone());
        if follower.is_batch() && source == 0 {
            running.supervisor.do_send(HostFollower(Arc::clone(follower)));
        } else {
            follower.wake();
        }
    }

    /// Forgets a pipeline that has ended.
    pub(crate) fn detach(&self, follower: *const Follower) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        let keep =
            |attached: &&Attached| attached.follower.strong_count() > 0 && attached.follower.as_ptr() != follower;
        *followers = Arc::new(followers.iter().filter(keep).cloned().collect());
        drop(followers);
        // It may have been what held the bus up.
        self.pump_memory();
    }

    /// There is something new in the log.
    pub(crate) fn wake_followers(&self) {
        for attached in self.followers().iter() {
            if let Some(follower) = attached.follower.upgrade() {
                follower.wake();
            }
        }
        self.bells.ring();
    }

    /// The data bus wakes the memory pump.
    pub(crate) fn notify_memory(&self) {
        let this = Weak::clone(&self.this);
        self.data.set_hash_payloads(false);
        self.data.set_notify(Some(Arc::new(move || {
            if let Some(core) = this.upgrade() {
                core.pump_memory();
            }
        })));
    }

    /// The data bus wakes the supervisor.
    pub(crate) fn notify_supervisor(&self, supervisor: Addr<SubjectActor>) {
        self.data.set_hash_payloads(true);
        self.data.set_notify(Some(Arc::new(move || supervisor.do_send(Wake))));
    }

    /// Passes on what is on the bus while the subject works in memory.
    pub(crate) fn pump_memory(&self) {
        let state = self.state();
        if !matches!(&*state, State::Memory) {
            return;
        }
        let followers = self.followers();
        if let Some(follower) = followers.iter().find_map(|attached| attached.follower.upgrade()) {
            drop(state);
            if let Some(core) = self.this.upgrade() {
                follower.schedule(core);
            }
            return;
        }
        // Nobody listens, and nothing is kept: a stream in memory is hot. Drained under the state's lock, since what is
        // sent once the subject is durable belongs to its supervisor.
        let mut unheard = Vec::new();
        while let Some(chunk) = self.data.drain() {
            unheard.push(Arc::new(chunk));
        }
        drop(state);
        unheard.iter().for_each(|chunk| not_durable(chunk));
    }

    /// Passes one chunk to every pipeline that reads in memory. Called under the state's lock, so that a pipeline has all
    /// that came in memory before it is told to read the log; the rest is for after the lock: [`Delivered::finish`].
    pub(crate) fn deliver_memory(&self, mut chunk: Chunk) -> Delivered {
        // What the committer does for durable events, so that a register is resolved alike in memory.
        let now_ms = self.node.now_ms();
        for entry in &mut chunk.entries {
            entry.event.latest_ts.get_or_insert(now_ms);
        }
        let chunk = Arc::new(chunk);
        let mut followers = Vec::new();
        for attached in self.followers().iter() {
            if let Some(follower) = attached.follower.upgrade() {
                follower.offer(attached.source, Arc::clone(&chunk));
                follower.wake();
                followers.push(follower);
            }
        }
        Delivered { chunk, _followers: followers }
    }

    /// Whether every pipeline that blocks the bus when it is behind has room.
    fn has_room(&self) -> bool {
        self.followers()
            .iter()
            .all(|attached| attached.follower.upgrade().is_none_or(|follower| follower.has_room(attached.source)))
    }

    /// What the application sends on the control bus reaches the readers of notices, and is not stored.
    fn pass_control(&self) {
        while let Some(chunk) = self.control.drain() {
            for entry in chunk.entries {
                self.notices.tell(&Notice::Control(entry.event));
            }
        }
    }
}

impl Task for Core {
    fn scheduled(&self) -> &Scheduled {
        &self.pumping
    }

    /// The memory pump.
    fn run(self: Arc<Self>, worker: &Worker<'_>) {
        for _ in 0..PUMP_CHUNKS {
            if !self.has_room() {
                // Whoever makes room pumps again.
                return;
            }
            // Under the state's lock, so that no event passes in memory once the subject is durable.
            let state = self.state();
            if !matches!(&*state, State::Memory) {
                return;
            }
            let Some(chunk) = self.data.drain() else { return };
            let delivered = self.deliver_memory(chunk);
            drop(state);
            delivered.finish();
        }
        worker.schedule(self);
    }
}

/// A chunk that was passed on in memory, and what must not be dropped under a lock: the last reference to a pipeline drops
/// the user's closures, which may hold anything, the subject's own handle too.
#[must_use = "its publishers want to know"]
pub(crate) struct Delivered {
    chunk: Arc<Chunk>,
    _followers: Vec<Arc<Follower>>,
}

impl Delivered {
    /// Tells the publishers.
    pub(crate) fn finish(self) {
        not_durable(&self.chunk);
    }
}

/// Tells the publishers of a chunk that it went by in memory. This wakes futures, whose code is not ours: not to be called
/// under a lock.
fn not_durable(chunk: &Chunk) {
    if let Some(receipts) = &chunk.receipts {
        receipts.fail(PublishError::NotRunning);
    }
}
