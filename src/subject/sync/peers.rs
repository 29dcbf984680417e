//! What a subject has with its peers, for those who ask.

use super::hub::Standing;
use crate::{
    actors::sync::session::Status,
    subject::handle::Subject,
    wire::id::{EndpointId, XaeroID},
};

/// A peer with which a subject is synced now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubjectPeer {
    /// The peer's endpoint.
    pub endpoint: EndpointId,
    /// The peer's writer.
    pub writer: XaeroID,
    /// How far the two have come.
    pub status: Status,
    /// Events that the peer has brought.
    pub new: u64,
    /// Events that it sent although they were here, or count for nothing.
    pub known: u64,
}

impl Subject {
    /// The peers with which this subject is synced at this moment, by endpoint: none before it runs, without a
    /// [network](crate::NodeBuilder::network), and without a [ticket](Self::ticket).
    #[must_use]
    pub fn peers(&self) -> Vec<SubjectPeer> {
        let standings = self.core().and_then(|core| core.running()).map(|running| running.hub.standings());
        let mut peers: Vec<SubjectPeer> = standings.into_iter().flatten().map(SubjectPeer::from).collect();
        peers.sort_by_key(|peer| peer.endpoint);
        peers
    }

    /// How many members of the subject's swarm tell this node directly what they have: see
    /// [`NetworkConfig::swarm`](crate::NetworkConfig::swarm). `None` while the subject is not in its swarm, 0 while it has found nobody there.
    #[must_use]
    pub fn swarm_neighbours(&self) -> Option<usize> {
        self.core().and_then(|core| core.running()).and_then(|running| running.hub.neighbours())
    }
}

impl From<Standing> for SubjectPeer {
    fn from(Standing { peer, status, new, known }: Standing) -> Self {
        Self { endpoint: peer.endpoint, writer: peer.writer, status, new, known }
    }
}
