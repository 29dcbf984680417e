//! How many share a subject, found out from peer to peer.
//!
//! Whether a swarm is worth while depends on how many there are, not on how many a node has sessions with: in a chain each
//! has two, and in a star all but one have one. So each tells each of its peers of the nearest others that it knows, up to
//! [`MAX_OTHERS`], and what a peer tells is one hop farther away. Who is told of was told of by somebody else, or is a peer or a
//! neighbour itself, so that a number is never counted twice or made up by going round.
//!
//! * In a connected graph of more than [`HANDFUL`] others each node comes to know of as many: a shortest way to one of the six
//!   nearest leads over a peer, and what that peer tells instead of it is no farther. With fewer, each knows them all.
//! * Who is gone is forgotten: what goes round about it gets farther with each hop, and beyond [`MAX_HOPS`] it is not told.
//!
//! With it comes where members of the swarm are, so that a newcomer joins by way of several, and outlives the one that it knew.
//!
//! Which is the distance vector of routing (RIP, RFC 2453, with its split horizon), with six hops for infinity.

use std::collections::BTreeSet;

use super::limits::HANDFUL;
use crate::wire::{
    endpoint::{PeerAddr, merged},
    id::EndpointId,
    sync::{
        Other, Others,
        others::{MAX_HOPS, MAX_OTHERS},
    },
};

/// What is known at one moment of who shares the subject.
#[derive(Debug)]
pub struct Company {
    me: EndpointId,
    /// The nearest first.
    ways: Vec<Way>,
}

/// Somebody, and through whom it is known.
#[derive(Debug)]
struct Way {
    other: Other,
    via: EndpointId,
}

impl Company {
    /// Of a node that has these peers and neighbours, each with what it has told.
    #[must_use]
    pub fn new<'a>(me: EndpointId, near: impl IntoIterator<Item = (PeerAddr, &'a Others)>) -> Self {
        let mut ways = Vec::new();
        for (peer, told) in near {
            let via = peer.endpoint;
            let farther = told.iter().map(|other| Other { hops: other.hops.saturating_add(1), ..other.clone() });
            let all = farther.chain([Other::new(1, peer)]);
            ways.extend(all.filter(|other| other.endpoint != me).map(|other| Way { other, via }));
        }
        ways.sort_by_key(|way| (way.other.hops, way.other.endpoint, way.via));
        Self { me, ways }
    }

    /// How many others there are, with these who are known otherwise. Above [`HANDFUL`] it may be fewer than there are.
    #[must_use]
    pub fn count<'a>(&self, also: impl IntoIterator<Item = &'a EndpointId>) -> usize {
        let also = also.into_iter().filter(|endpoint| **endpoint != self.me).copied();
        also.chain(self.ways.iter().map(|way| way.other.endpoint)).collect::<BTreeSet<_>>().len()
    }

    /// What this peer is told: others than itself, and not what is known through it only. Where they are is told by members of the
    /// swarm, where it is no secret.
    #[must_use]
    pub fn tells(&self, peer: EndpointId, is_in_swarm: bool) -> Others {
        let ways = self.ways.iter().filter(|way| way.via != peer && way.other.endpoint != peer);
        let others = Others::nearest_of(ways.map(|way| way.other.clone()));
        if is_in_swarm { others } else { others.without_addrs() }
    }

    /// Where the nearest of those are that peers have told of.
    #[must_use]
    pub fn told(&self) -> Vec<PeerAddr> {
        let told = self.ways.iter().filter(|way| way.via != way.other.endpoint && !way.other.addrs.is_empty());
        merged(told.map(|way| way.other.peer()).collect::<Vec<_>>().iter(), MAX_OTHERS)
    }
}

// Each has to hear of one more than a handful, of whom the last may be that many hops away from it.
const _: () = assert!(MAX_OTHERS == HANDFUL + 1 && MAX_HOPS as usize == HANDFUL);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Nodes that tell each other in rounds, over links that come and go.
    struct Graph {
        nodes: usize,
        links: BTreeSet<(usize, usize)>,
        /// What the second has told the first.
        told: BTreeMap<(usize, usize), Others>,
    }

    fn id(node: usize) -> EndpointId {
        EndpointId::from([u8::try_from(node).unwrap(); 32])
    }

    fn peer_at(node: usize) -> PeerAddr {
        PeerAddr { addrs: vec![([192, 0, 2, 7], 1 + u16::try_from(node).unwrap()).into()], ..PeerAddr::new(id(node)) }
    }

    impl Graph {
        fn new(nodes: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Self {
            Self { nodes, links: links.into_iter().collect(), told: BTreeMap::new() }
        }

        fn company(&self, node: usize) -> Company {
            let ends = self.links.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
            let peers: Vec<usize> = ends.filter(|(one, _)| *one == node).map(|(_, other)| other).collect();
            let none = Others::default();
            let near = peers.iter().map(|peer| (peer_at(*peer), self.told.get(&(node, *peer)).unwrap_or(&none)));
            Company::new(id(node), near)
        }

        /// All tell their peers what they know, at once. Whether that was news to anybody.
        fn round(&mut self) -> bool {
            let mut now = BTreeMap::new();
            for (one, other) in &self.links {
                now.insert((*one, *other), self.company(*other).tells(id(*one), true));
                now.insert((*other, *one), self.company(*one).tells(id(*other), true));
            }
            std::mem::replace(&mut self.told, now) != self.told
        }

        /// Until there is no news. How many rounds that took, and how many others each knows of.
        fn settles(&mut self) -> (usize, Vec<usize>) {
            let mut rounds = 0;
            while self.round() {
                rounds += 1;
                assert!(rounds < 100, "they never come to an end");
            }
            (rounds, (0..self.nodes).map(|node| self.company(node).count([])).collect())
        }

        /// A node is gone, and all its links.
        fn ends(&mut self, node: usize) {
            self.links.retain(|(one, other)| *one != node && *other != node);
        }
    }

    fn chain(nodes: usize) -> Graph {
        Graph::new(nodes, (1..nodes).map(|node| (node - 1, node)))
    }

    fn star(nodes: usize) -> Graph {
        Graph::new(nodes, (1..nodes).map(|node| (0, node)))
    }

    #[test]
    fn in_a_chain_a_star_and_a_ring_each_learns_whether_there_are_more_than_a_handful() {
        for nodes in 1..40 {
            let ring =
                |nodes: usize| Graph::new(nodes, (1..nodes).map(|node| (node - 1, node)).chain([(0, nodes - 1)]));
            let mut graphs = vec![chain(nodes), star(nodes)];
            graphs.extend((nodes > 2).then(|| ring(nodes)));
            for mut graph in graphs {
                let (rounds, known) = graph.settles();
                assert!(rounds <= MAX_OTHERS + 1, "{rounds} rounds of {nodes}");
                for known in known {
                    assert_eq!(known > HANDFUL, nodes - 1 > HANDFUL, "{known} of {nodes}");
                    assert!(known < nodes && (known == nodes - 1 || known > HANDFUL), "{known} of {nodes}");
                }
            }
        }
    }

    #[test]
    fn in_any_connected_graph_each_knows_of_as_many_as_matter() {
        let mut dice = 1_u64;
        let mut below = |most: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(dice >> 33).unwrap() % most
        };
        for _ in 0..400 {
            let nodes = 2 + below(24);
            let mut links: Vec<(usize, usize)> = (1..nodes).map(|node| (below(node), node)).collect();
            for _ in 0..below(nodes) {
                let (one, other) = (below(nodes), below(nodes));
                links.extend((one != other).then(|| (one.min(other), one.max(other))));
            }
            let (_, known) = Graph::new(nodes, links.clone()).settles();
            let fewest = (nodes - 1).min(MAX_OTHERS);
            assert!(known.iter().all(|known| (fewest..nodes).contains(known)), "{links:?}: {known:?}");
        }
    }

    #[test]
    fn who_is_gone_is_forgotten_also_where_it_could_be_told_round_and_round() {
        let all = (0..8).flat_map(|one| (one + 1..8).map(move |other| (one, other)));
        let mut mesh = Graph::new(8, all);
        mesh.settles();
        (4..8).for_each(|node| mesh.ends(node));
        let (rounds, known) = mesh.settles();
        assert_eq!(known[..4], [3; 4]);
        assert!(rounds <= MAX_OTHERS + 1, "{rounds} rounds");
        let mut star = star(9);
        star.settles();
        star.ends(0);
        assert_eq!(star.settles().1, [0; 9]);
    }

    #[test]
    fn the_end_of_a_chain_learns_where_the_six_next_are() {
        let mut chain = chain(9);
        chain.settles();
        let mut told = chain.company(0).told();
        told.sort_by_key(|peer| peer.endpoint);
        assert_eq!(told, (2..7).map(peer_at).collect::<Vec<_>>(), "and the next one it knows itself");
    }

    #[test]
    fn where_somebody_is_is_told_in_the_swarm_only() {
        let none = Others::default();
        let company = Company::new(id(1), [(peer_at(2), &none), (peer_at(3), &none), (PeerAddr::new(id(3)), &none)]);
        assert_eq!(company.tells(id(2), true).iter().map(Other::peer).collect::<Vec<_>>(), [peer_at(3)]);
        assert_eq!(company.tells(id(2), false).iter().map(Other::peer).collect::<Vec<_>>(), [PeerAddr::new(id(3))]);
        assert_eq!(company.told(), []);
    }

    #[test]
    fn two_by_themselves_have_nothing_to_tell() {
        let pair = Company::new(id(1), [(peer_at(2), &Others::default())]);
        assert!(pair.tells(id(2), true).is_empty());
        assert_eq!(pair.count([]), 1);
    }

    #[test]
    fn peers_of_tickets_count_and_one_that_is_known_twice_counts_once() {
        let told = Others::nearest_of([Other::new(1, peer_at(1))]);
        let company = Company::new(id(1), [(peer_at(2), &told), (peer_at(3), &Others::default())]);
        assert_eq!(company.count([&id(1), &id(3), &id(4)]), 3, "this node is not another one");
    }
}
