//! Nodes for the tests, and how to wait for what they do.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    actors::net::{NetHandle, NetworkConfig, PeerStatus, SubjectStream},
    wire::{endpoint::PeerAddr, id::SubjectId, sign::SecretIdentity},
};

/// How long anything may take before a test fails. Generous: the machine may be busy.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// One of a few identities: generating them is slow.
pub(super) fn identity(number: usize) -> Arc<SecretIdentity> {
    static IDENTITIES: [OnceLock<Arc<SecretIdentity>>; 4] = [const { OnceLock::new() }; 4];
    Arc::clone(IDENTITIES[number].get_or_init(|| Arc::new(SecretIdentity::generate().unwrap())))
}

/// Listens on this machine only.
pub(super) fn local() -> NetworkConfig {
    NetworkConfig::new().listen("127.0.0.1:0".parse().unwrap())
}

pub(super) fn node(number: usize) -> NetHandle {
    node_with(number, secret(), local())
}

pub(super) fn secret() -> [u8; 32] {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).unwrap();
    secret
}

pub(super) fn node_with(number: usize, secret: [u8; 32], config: NetworkConfig) -> NetHandle {
    let identity = identity(number);
    let key = identity.public_key().clone();
    NetHandle::start(config, secret, identity, key).unwrap()
}

pub(super) fn addr(node: &NetHandle) -> PeerAddr {
    PeerAddr { endpoint: node.endpoint_id(), addrs: node.listen_addrs(), relay: None }
}

/// What a node knows of another one.
pub(super) fn status(node: &NetHandle, of: &NetHandle) -> Option<PeerStatus> {
    node.peers().into_iter().find(|peer| peer.endpoint == of.endpoint_id())
}

/// Waits until what a node knows of its peers is as wanted.
pub(super) fn until(node: &NetHandle, what: &str, mut holds: impl FnMut(&[PeerStatus]) -> bool) -> Vec<PeerStatus> {
    let mut changes = node.changes();
    // On a runtime of its own: the node's may be blocked by what is tested.
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        let waiting = async {
            loop {
                changes.mark_unchanged();
                let peers = node.peers();
                if holds(&peers) {
                    return peers;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(peers) => peers,
            Err(_) => panic!("not within {DEADLINE:?}: {what}; {:?}", node.peers()),
        }
    })
}

/// Waits until two nodes are connected, as each of them sees it.
pub(super) fn connected(left: &NetHandle, right: &NetHandle) {
    for (node, other) in [(left, right), (right, left)] {
        until(node, "connected", |peers| {
            peers.iter().any(|peer| peer.endpoint == other.endpoint_id() && peer.connected_since.is_some())
        });
    }
}

/// Waits until two nodes mean the same connection: the one is its dialer, the other its acceptor.
pub(super) fn agree(left: &NetHandle, right: &NetHandle) {
    let (mut at_left, mut at_right) = (left.changes(), right.changes());
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        let agreeing = async {
            loop {
                at_left.mark_unchanged();
                at_right.mark_unchanged();
                let roles = [(left, right), (right, left)].map(|(node, other)| status(node, other)?.role);
                if matches!(roles, [Some(left), Some(right)] if left != right) {
                    return;
                }
                tokio::select! {
                    changed = at_left.changed() => changed.unwrap(),
                    changed = at_right.changed() => changed.unwrap(),
                }
            }
        };
        tokio::time::timeout(DEADLINE, agreeing).await.expect("two nodes do not mean the same connection");
    });
}

/// The streams of a subject as they come.
pub(super) struct Streams {
    told: mpsc::UnboundedReceiver<SubjectStream>,
    /// By which the subject is shared no more.
    pub(super) number: u64,
}

impl Streams {
    /// Shares the subject.
    pub(super) fn share(node: &NetHandle, subject: u8, secrets: &[u8]) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let secrets = secrets.iter().map(|secret| [*secret; 32].into()).collect();
        let sink = Box::new(move |stream| drop(tell.send(stream)));
        let number = node.share(SubjectId::from([subject; 32]), secrets, sink);
        Self { told, number }
    }

    pub(super) fn next(&mut self) -> SubjectStream {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            tokio::time::timeout(DEADLINE, self.told.recv())
                .await
                .expect("no stream in time")
                .expect("the sink is gone")
        })
    }

    /// The next one, however long that takes.
    pub(super) async fn come(&mut self) -> SubjectStream {
        self.told.recv().await.expect("the sink is gone")
    }

    pub(super) fn is_empty(&mut self) -> bool {
        self.told.is_empty()
    }
}
