//! The network of a node, as its subjects have it: switched on once, and offered to each of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Addr, WeakAddr};
use hashbrown::HashMap;

use crate::{
    actors::net::{NetHandle, NetworkConfig, former},
    subject::{
        engine::Engine,
        error::Error,
        supervisor::{ShareChanged, SubjectActor},
    },
    wire::id::SubjectId,
};

/// The network of a node, if it has one.
#[derive(Default)]
pub(crate) struct Network {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    handle: Option<NetHandle>,
    /// The supervisors of the subjects that run.
    running: HashMap<SubjectId, WeakAddr<SubjectActor>>,
}

impl Network {
    /// The network, while it is on.
    pub(crate) fn handle(&self) -> Option<NetHandle> {
        self.lock().handle.clone()
    }

    /// A subject runs: it is told when it comes to be shared.
    pub(crate) fn runs(&self, subject: SubjectId, supervisor: &Addr<SubjectActor>) {
        let mut state = self.lock();
        if state.running.len() >= state.running.capacity() {
            state.running.retain(|_, supervisor| supervisor.upgrade().is_some());
        }
        state.running.insert(subject, supervisor.downgrade());
    }

    /// How a subject is shared has changed.
    pub(crate) fn share_changed(&self, subject: SubjectId) {
        let supervisor = self.lock().running.get(&subject).and_then(WeakAddr::upgrade);
        if let Some(supervisor) = supervisor {
            supervisor.do_send(ShareChanged);
        }
    }

    /// Says farewell to the peers and ends the network's threads.
    pub(crate) fn stop(&self) {
        let handle = self.lock().handle.take();
        if let Some(handle) = handle {
            handle.shutdown();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Switches the network on, unless it is on already.
    ///
    /// # Errors
    /// Where the endpoint's or the node's key cannot be had, or the sockets cannot be bound.
    pub(crate) fn start_network(self: &Arc<Self>, config: NetworkConfig) -> Result<NetHandle, Error> {
        let mut state = self.network.lock();
        if let Some(handle) = &state.handle {
            return Ok(handle.clone());
        }
        let own = self.keyring.own()?;
        let key = self.writer_key(own)?.ok_or(Error::NotRunning)?;
        let secret = self.endpoint_secret()?;
        let (is_told, me, dir) = (!config.listen_addrs().is_empty(), self.endpoint_id()?, self.store.dir());
        let config = if is_told { config } else { config.formerly(former::read(dir, me)) };
        let handle = NetHandle::start(config, *secret, self.keyring.signer(own)?, key)?;
        // Where it is told the port as well, it has the same each time.
        if !is_told && let Err(error) = former::write(dir, me, &handle.listen_addrs()) {
            tracing::warn!(%error, "the next start will be at other ports: where this one listens could not be noted down");
        }
        state.handle = Some(handle.clone());
        let running: Vec<_> = state.running.values().filter_map(WeakAddr::upgrade).collect();
        drop(state);
        for supervisor in running {
            supervisor.do_send(ShareChanged);
        }
        Ok(handle)
    }
}
