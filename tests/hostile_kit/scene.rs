//! Two honest nodes that share a subject, and what must hold of them whatever a third one does.

use xaeroflux::{NetworkConfig, Notices, SubjectTicket, prelude::*, wire::sync::ByeReason};

use super::{Eve, Stream, until};

/// An honest node.
pub struct Peer {
    pub node: Node,
    pub subject: Subject,
    pub author: XaeroID,
    handle: Option<Handle>,
}

impl Peer {
    /// A node with a subject of its own.
    pub fn new() -> Self {
        let node = node();
        let subject = node.subject("docs/tags");
        Self::running(node, subject)
    }

    /// A node that has joined the subject of another.
    pub fn joined(ticket: &SubjectTicket) -> Self {
        let node = node();
        let subject = node.join(ticket).unwrap();
        Self::running(node, subject)
    }

    fn running(node: Node, subject: Subject) -> Self {
        let author = node.own_identity().unwrap();
        let handle = Some(subject.run().unwrap());
        Self { node, subject, author, handle }
    }

    pub fn add(&self, element: &str) {
        self.subject.publish(XaeroEvent::new(element, CRDT_SET_ADD)).wait().unwrap();
    }

    pub fn root(&self) -> [u8; 32] {
        self.subject.root().unwrap()
    }

    /// How many events it has of this author.
    pub fn events_of(&self, author: XaeroID) -> u64 {
        let authors = self.subject.authors().unwrap();
        authors.iter().find(|(id, ..)| *id == author).map_or(0, |(_, length, _)| *length)
    }
}

fn node() -> Node {
    let loopback = NetworkConfig::new().listen(([127, 0, 0, 1], 0).into());
    Node::builder().network(loopback).ephemeral().unwrap()
}

/// Alice, who is attacked, and Carol, with whom she shares a subject.
pub struct Scene {
    pub alice: Peer,
    pub carol: Peer,
    pub ticket: SubjectTicket,
    pub notices: Notices,
    /// What Alice has had from the beginning.
    before: Vec<Vec<u8>>,
}

impl Scene {
    pub fn new() -> Self {
        let alice = Peer::new();
        let notices = alice.subject.notices();
        alice.add("draft");
        alice.add("urgent");
        let ticket: SubjectTicket = alice.subject.ticket().unwrap().to_string().parse().unwrap();
        let carol = Peer::joined(&ticket);
        carol.add("reviewed");
        let scene = Self { alice, carol, ticket, notices, before: Vec::new() };
        scene.converges(3);
        Self { before: scene.alice.subject.frames(0, 10).unwrap(), ..scene }
    }

    pub fn id(&self) -> SubjectId {
        self.alice.subject.id()
    }

    /// Waits until both have so many events, the same ones.
    pub fn converges(&self, events: u64) {
        let (alice, carol) = (&self.alice, &self.carol);
        until("the honest nodes do not converge", || {
            alice.subject.count().unwrap() == events && alice.root() == carol.root()
        });
    }

    /// A peer that shares the subject.
    pub fn eve(&self) -> (Eve, Stream) {
        Eve::joins(&self.alice.node, &self.ticket)
    }

    /// Eve, of a version that says first which part of the subject she keeps. She has not said so yet.
    pub fn eve_of_today(&self) -> (Eve, Stream) {
        let mut eve = Eve::calls_as(&self.alice.node, xaeroflux::wire::sync::Versions::OURS);
        let stream = eve.opens(&self.ticket);
        (eve, stream)
    }

    /// Waits until Alice has cut Eve off, for a reason with these words in it, and has counted and named her. What was found
    /// out on a subject's stream is told as a notice too.
    pub fn cuts_off(&self, eve: &Eve, what: &str) {
        let (reason, text) = eve.is_told();
        assert_eq!(reason, ByeReason::Offence, "{text}");
        assert!(text.contains(what), "{text}");
        let mut known = None;
        until("she is not counted", || {
            known = self.alice.node.peers().into_iter().find(|peer| peer.endpoint == eve.endpoint());
            known.as_ref().is_some_and(|peer| peer.offences == 1 && peer.connected_since.is_none())
        });
        let known = known.unwrap();
        assert_eq!(known.writer, Some(eve.writer()));
        assert!(known.last_offence.is_some_and(|offence| offence.contains(what)));
    }

    /// As [`cuts_off`](Self::cuts_off), with the notice that the subject gives.
    pub fn cuts_off_and_tells(&self, eve: &Eve, what: &str) {
        self.cuts_off(eve, what);
        until("there is no notice", || match self.notice() {
            Some(Notice::PeerCutOff { endpoint, writer, what: told }) => {
                assert_eq!((endpoint, writer), (eve.endpoint(), eve.writer()));
                assert!(told.contains(what), "{told}");
                true
            }
            _ => false,
        });
    }

    /// What Alice's subject has to tell. Nothing of it died of what Eve said.
    pub fn notice(&self) -> Option<Notice> {
        let notice = self.notices.try_next();
        assert!(!matches!(notice, Some(Notice::ChildDied { .. } | Notice::Escalated { .. })), "{notice:?}");
        notice
    }

    /// Eve is connected and has done nothing wrong.
    pub fn is_served(&self, eve: &Eve) {
        assert!(eve.is_connected());
        let known = self.alice.node.peers().into_iter().find(|peer| peer.endpoint == eve.endpoint()).unwrap();
        assert_eq!((known.offences, known.last_offence), (0, None));
    }

    /// Alice has what she had, and nothing that is not hers or Carol's; and the two still sync.
    pub fn is_unharmed(&self) {
        self.is_unharmed_with(&[]);
    }

    /// The same where these authors have written too, so much each.
    pub fn is_unharmed_with(&self, others: &[(XaeroID, u64)]) {
        let (alice, carol) = (&self.alice, &self.carol);
        let others = others.iter().map(|(_, events)| *events).sum::<u64>();
        let (hers, of_carol) = (alice.events_of(alice.author), alice.events_of(carol.author));
        alice.add("later");
        carol.add("later, too");
        until("the honest nodes do not sync any more", || {
            carol.events_of(alice.author) == hers + 1 && alice.events_of(carol.author) == of_carol + 1
        });
        self.converges(hers + of_carol + 2 + others);
        assert!(alice.subject.frames(0, 10).unwrap().starts_with(&self.before), "something was lost");
        while self.notice().is_some() {}
    }
}

/// Eve says this once both have compared what they have, and is cut off for it.
pub fn is_cut_off_for_saying(what: &str, says: impl FnOnce(&Scene, &mut Stream)) {
    let scene = Scene::new();
    let (eve, mut stream) = scene.eve();
    stream.has_the_same();
    says(&scene, &mut stream);
    scene.cuts_off_and_tells(&eve, what);
    scene.is_unharmed();
}
