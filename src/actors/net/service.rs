//! The endpoint's task and its supervision.
//!
//! The task accepts and makes connections, each in a task of its own. When it dies, by a panic or because the sockets are
//! gone, all connections go with it, and the policy of [`supervise`](crate::actors::supervise) decides when it is
//! started again, on the same port if that is possible. The log knows nothing of it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use iroh::{Endpoint, endpoint::Incoming};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use zeroize::Zeroizing;

use super::{
    NetError, NetworkConfig,
    book::Book,
    connection::live,
    ended::Ended,
    endpoint,
    framed::Permits,
    gossip::{Gate, Swarms},
    greeting::Identity,
    limits::{ALPN, GOSSIP_ALPN, MAX_CONNECTIONS},
    shares::Shares,
};
use crate::{
    actors::{
        supervise::{Cause, Decision, Died, Supervisor},
        watch::Kill,
    },
    wire::{endpoint::PeerAddr, sync::Role},
};

/// What the tasks of the network have in common. It outlives the endpoint.
pub(super) struct Shared {
    pub(super) me: Identity,
    pub(super) secret: Zeroizing<[u8; 32]>,
    pub(super) config: NetworkConfig,
    pub(super) permits: Permits,
    pub(super) shares: Shares,
    pub(super) book: Book,
    pub(super) swarms: Swarms,
    /// Whether the network is to stop.
    pub(super) stop: watch::Sender<bool>,
    /// Ends the endpoint's task as a panic would.
    pub(super) kill: Notify,
    /// The sockets of the last endpoint.
    pub(super) listening: Mutex<Vec<SocketAddr>>,
    /// The endpoint, while there is one.
    pub(super) endpoint: Mutex<Option<Endpoint>>,
    /// Why there will be none any more.
    pub(super) failed: Mutex<Option<NetError>>,
}

impl Shared {
    /// Binds the endpoint: where the former one was, or else as configured.
    pub(super) async fn bind(self: &Arc<Self>) -> Result<Endpoint, NetError> {
        let former = lock(&self.listening).clone();
        let configured = endpoint::listen_addrs(&self.config);
        let mut bound = Err(NetError::Stopped);
        if !former.is_empty() {
            bound = endpoint::bind(&self.config, &self.secret, &former, Gate::new(self)).await;
        }
        let bound = match bound {
            Ok(endpoint) => endpoint,
            Err(_) => endpoint::bind(&self.config, &self.secret, &configured, Gate::new(self)).await?,
        };
        #[cfg(feature = "mdns")]
        if self.config.mdns {
            super::mdns::begin(&bound);
        }
        *lock(&self.listening) = bound.bound_sockets();
        *lock(&self.endpoint) = Some(bound.clone());
        Ok(bound)
    }

    /// Closes the endpoint, if one is left, within a bound.
    async fn close(&self) {
        // In this order: nobody starts the gossip on an endpoint that closes.
        let endpoint = lock(&self.endpoint).take();
        let _ = timeout(self.config.timing.stop, self.swarms.stop()).await;
        if let Some(endpoint) = endpoint {
            // Peers that do not answer are left to their own time-outs.
            let _ = timeout(self.config.timing.close, endpoint.close()).await;
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the network is to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Where nobody could say so any more, it is to stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Keeps an endpoint running until the network is stopped, or the policy gives it up. The first one is there already.
pub(super) async fn supervise(shared: Arc<Shared>, first: Endpoint) {
    let (mut supervisor, begun) = (Supervisor::new(), Instant::now());
    let mut stop = shared.stop.subscribe();
    let mut endpoint = Ok(first);
    loop {
        let cause = match endpoint {
            Ok(endpoint) => match tokio::spawn(run(Arc::clone(&shared), endpoint)).await {
                Ok(()) => Cause::Stopped,
                Err(error) if error.is_panic() => Cause::Panic,
                Err(_) => Cause::Stopped,
            },
            Err(error) => {
                tracing::error!(%error, "the network cannot be started again");
                Cause::EnvironmentFault
            }
        };
        shared.close().await;
        if *stop.borrow() {
            return;
        }
        let death = Died { cause, head: None, progress: false, now: begun.elapsed() };
        let after = match supervisor.died(death, getrandom::u64().unwrap_or(0)) {
            Decision::Restart { after } | Decision::RestartAll { after } | Decision::SetAside { after, .. } => after,
            Decision::Escalate { reason } => {
                tracing::error!(%reason, "the network is given up");
                *lock(&shared.failed) = Some(NetError::GivenUp(reason));
                return;
            }
        };
        tracing::warn!(?cause, ?after, "the endpoint died and is started again");
        tokio::select! {
            () = sleep(after) => {}
            () = stopped(&mut stop) => return,
        }
        endpoint = shared.bind().await;
    }
}

/// The endpoint's task.
async fn run(shared: Arc<Shared>, endpoint: Endpoint) {
    let mut connections = JoinSet::new();
    let mut stop = shared.stop.subscribe();
    let mut changed = shared.book.watch();
    loop {
        let (due, next) = shared.book.due();
        for peer in due {
            connections.spawn(call(Arc::clone(&shared), endpoint.clone(), peer));
        }
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => answer(&shared, incoming, &mut connections),
                None => break,
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the task of a connection died");
                }
            }
            _ = changed.changed() => {}
            () = at(next) => {}
            () = shared.kill.notified() => Kill::strike(),
            () = stopped(&mut stop) => break,
        }
    }
    // The connections say farewell by themselves, but not for longer than the stop may take.
    let farewells = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(shared.config.timing.stop, farewells).await;
}

/// At that moment, or never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Takes up a connection that somebody makes, as far as there is room.
fn answer(shared: &Arc<Shared>, incoming: Incoming, connections: &mut JoinSet<()>) {
    if connections.len() >= MAX_CONNECTIONS {
        incoming.refuse();
        return;
    }
    if connections.len() >= MAX_CONNECTIONS / 2 && !incoming.remote_addr_validated() {
        // Nobody fills the other half with addresses that are not its own.
        let _ = incoming.retry();
        return;
    }
    let shared = Arc::clone(shared);
    connections.spawn(async move {
        let Ok(accepting) = incoming.accept() else { return };
        let Ok(Ok(connection)) = timeout(shared.config.timing.connect, accepting).await else { return };
        if connection.alpn() == GOSSIP_ALPN {
            let mut stop = shared.stop.subscribe();
            tokio::select! {
                () = shared.swarms.take(connection) => {}
                () = stopped(&mut stop) => {}
            }
        } else {
            live(&shared, connection, Role::Acceptor).await;
        }
    });
}

/// Calls a peer and lives through the connection.
async fn call(shared: Arc<Shared>, endpoint: Endpoint, peer: PeerAddr) {
    let mut call = shared.book.calling(peer);
    match connect(&shared, &endpoint, &call.peer).await {
        Ok(connection) => call.has_led_to_one = live(&shared, connection, Role::Dialer).await,
        Err(ended) => shared.book.note(call.peer.endpoint, None, &ended),
    }
}

async fn connect(shared: &Shared, endpoint: &Endpoint, peer: &PeerAddr) -> Result<iroh::endpoint::Connection, Ended> {
    let failed = |error: String| Ended::Lost(format!("the peer cannot be reached: {error}"));
    let address = endpoint::address(peer).map_err(|error| failed(error.to_string()))?;
    let timing = &shared.config.timing;
    let connecting = async {
        let connecting = endpoint.connect_with_opts(address, ALPN, endpoint::calling(timing)).await;
        connecting.map_err(|error| failed(error.to_string()))?.await.map_err(|error| failed(error.to_string()))
    };
    let mut stop = shared.stop.subscribe();
    tokio::select! {
        connected = timeout(timing.connect, connecting) => {
            connected.map_err(|_| failed(format!("no answer within {} s", timing.connect.as_secs_f32())))?
        }
        () = stopped(&mut stop) => Err(Ended::Stopping),
    }
}
