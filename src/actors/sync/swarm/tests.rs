//! What a node does in a swarm, in virtual time.

use super::{
    guard::{FLOOD, FORGED_OWN, FORGED_RELAYED, FROM_NEIGHBOUR, MAX_NEIGHBOURS},
    limits::*,
    *,
};

fn id(number: u8) -> EndpointId {
    EndpointId::from([number; 32])
}

/// A node in a swarm, and the time there.
struct World {
    swarm: Swarm,
    now: Duration,
    sessions: Sessions,
    random: u64,
}

impl World {
    /// In the swarm, with this root, and nothing to say.
    fn new() -> Self {
        let swarm = Swarm::new(id(0), Some(true));
        let mut world = Self { swarm, now: Duration::from_secs(1), sessions: Sessions::new(), random: u64::MAX };
        let mut out = Vec::new();
        world.swarm.peers(world.now, 1, &mut out);
        assert_eq!(out, [Action::Join]);
        world.swarm.neighbours(world.now, ENOUGH_NEIGHBOURS);
        world.grows(1);
        assert_eq!(world.passes(Duration::from_secs(2)), [Action::Announce { to_all: true }]);
        world
    }

    fn grows(&mut self, root: u8) {
        self.swarm.looked(self.now, [root; 32], root.into(), self.random);
    }

    /// A neighbour brings what `holder` says it has.
    fn hears(&mut self, holder: u8, root: u8) {
        let said = said(holder, root);
        let mut out = Vec::new();
        self.swarm.heard(self.now, (id(200), false), || Ok(said), self.random, &mut out);
        assert_eq!(out, [], "only with time");
    }

    fn hears_forged(&mut self, from: u8, is_own: bool) -> Vec<Action> {
        let mut out = Vec::new();
        let open = || Err(AnnounceError::NotAuthentic);
        self.swarm.heard(self.now, (id(from), is_own), open, self.random, &mut out);
        out
    }

    /// Time passes, step by step as the policy asks for it.
    fn passes(&mut self, time: Duration) -> Vec<Action> {
        let (until, mut out, mut steps) = (self.now + time, Vec::new(), 0);
        while let Some(next) = self.swarm.next().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.swarm.time(self.now, &self.sessions, self.random, &mut out);
            steps += 1;
            assert!(steps < 10_000, "it asks for the time again and again");
        }
        self.now = until;
        out
    }
}

fn said(holder: u8, root: u8) -> Announcement {
    let addrs = vec![([192, 0, 2, holder], 9).into()];
    let holder = PeerAddr { endpoint: id(holder), addrs, relay: None };
    Announcement::new([0; 8], [root; 32], root.into(), &holder)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_node_joins_beyond_a_handful_of_peers_and_leaves_when_there_have_been_few_for_a_while() {
    let (mut swarm, mut out) = (Swarm::new(id(0), None), Vec::new());
    for (now, peers, is_in) in [(0, HANDFUL, false), (1, HANDFUL + 1, true), (2, FEW + 1, true), (3, FEW, true)] {
        swarm.peers(secs(now), peers, &mut out);
        swarm.neighbours(secs(now), ENOUGH_NEIGHBOURS);
        swarm.time(secs(now), &Sessions::new(), 0, &mut out);
        assert_eq!(swarm.is_in(), is_in, "{peers} peers");
    }
    assert_eq!(swarm.next(), Some(secs(3) + LEAVE_AFTER));
    swarm.time(secs(3) + LEAVE_AFTER, &Sessions::new(), 0, &mut out);
    assert_eq!(out, [Action::Join, Action::Leave]);
    assert_eq!(swarm.next(), None, "nothing is to be done outside");
}

#[test]
fn a_peer_that_comes_and_goes_changes_nothing() {
    let (mut swarm, mut out) = (Swarm::new(id(0), None), Vec::new());
    swarm.peers(secs(0), HANDFUL + 1, &mut out);
    for now in 1..200 {
        swarm.peers(secs(now), FEW + usize::try_from(now % 2).unwrap(), &mut out);
        swarm.neighbours(secs(now), ENOUGH_NEIGHBOURS);
        swarm.time(secs(now), &Sessions::new(), 0, &mut out);
    }
    assert_eq!(out, [Action::Join]);
}

#[test]
fn growth_is_announced_once_and_a_burst_of_it_too() {
    let mut world = World::new();
    for root in 2..7 {
        world.grows(root);
        world.now += Duration::from_millis(10);
    }
    assert_eq!(world.passes(secs(60)), [Action::Announce { to_all: true }]);
}

#[test]
fn what_somebody_else_has_just_announced_is_not_announced_again() {
    let mut world = World::new();
    world.hears(7, 2);
    world.grows(2);
    assert_eq!(world.passes(secs(60)), []);
}

#[test]
fn a_writer_who_never_rests_announces_a_few_times_a_second() {
    let mut world = World::new();
    let mut said = 0;
    for step in 0..3_000_u32 {
        let mut root = [0; 32];
        root[..4].copy_from_slice(&(step + 100).to_le_bytes());
        world.swarm.looked(world.now, root, u64::from(step), world.random);
        said += world.passes(Duration::from_millis(10)).len();
    }
    let most = usize::try_from(30 * ANNOUNCEMENTS.1 + ANNOUNCEMENTS.0).unwrap();
    assert!((60..=most).contains(&said), "{said} announcements in 30 s");
}

#[test]
fn where_nothing_changes_a_swarm_says_so_about_once_in_ten_minutes() {
    let mut worlds: Vec<World> = (0..20).map(|_| World::new()).collect();
    let (mut said, mut random) = (0, 1_u64);
    for _ in 0..3_600 {
        for at in 0..worlds.len() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            worlds[at].random = random;
            if worlds[at].passes(secs(1)).is_empty() {
                continue;
            }
            said += 1;
            for other in (0..worlds.len()).filter(|other| *other != at) {
                worlds[other].hears(u8::try_from(at).unwrap() + 1, 1);
            }
        }
    }
    assert!((6..=14).contains(&said), "{said} announcements of 20 nodes in an hour");
}

#[test]
fn a_holder_of_something_new_is_visited_after_a_grace() {
    let mut world = World::new();
    world.hears(7, 9);
    assert_eq!(world.passes(GRACE / 2 - Duration::from_millis(1)), []);
    assert_eq!(world.passes(GRACE), [Action::Visit(said(7, 9).peer())]);
}

#[test]
fn what_comes_by_a_session_within_the_grace_is_not_fetched() {
    let mut world = World::new();
    world.hears(7, 9);
    world.hears(7, 9);
    world.grows(9);
    assert_eq!(world.passes(secs(30)), []);
}

#[test]
fn a_holder_with_a_session_is_not_visited_since_its_summary_says_it_all() {
    let mut world = World::new();
    world.sessions.insert(id(7), 0);
    world.hears(7, 9);
    assert_eq!(world.passes(secs(30)), []);
}

#[test]
fn who_is_behind_is_told_what_is_here_and_not_visited() {
    let mut world = World::new();
    world.grows(2);
    assert_eq!(world.passes(secs(5)), [Action::Announce { to_all: true }]);
    world.hears(7, 1);
    assert_eq!(world.passes(secs(5)), [Action::Announce { to_all: true }]);
    world.hears(7, 1);
    world.hears(8, 2);
    assert_eq!(world.passes(secs(5)), [], "somebody else has told it");
}

#[test]
fn where_as_much_has_come_meanwhile_that_is_said_and_nobody_visited() {
    let mut world = World::new();
    world.hears(7, 9);
    world.grows(20);
    assert_eq!(world.passes(GRACE / 3), [Action::Announce { to_all: true }]);
    assert_eq!(world.passes(secs(30)), [Action::Announce { to_all: true }], "the holder may lack it");
    world.hears(7, 9);
    assert_eq!(world.passes(secs(5)), [Action::Visit(said(7, 9).peer())], "it has something else indeed");
}

#[test]
fn a_visit_ends_a_minute_after_the_last_it_brought() {
    let mut world = World::new();
    world.hears(7, 9);
    world.passes(secs(3));
    world.sessions.insert(id(7), 3);
    world.swarm.time(world.now, &world.sessions, 0, &mut Vec::new());
    assert_eq!(world.passes(VISIT_IDLE - Duration::from_secs(1)), []);
    world.sessions.insert(id(7), 4);
    world.swarm.time(world.now, &world.sessions, 0, &mut Vec::new());
    assert_eq!(world.passes(VISIT_IDLE - Duration::from_secs(1)), []);
    assert_eq!(world.passes(secs(2)), [Action::Part(id(7))]);
    assert_eq!(world.swarm.visited().count(), 0);
}

#[test]
fn a_holder_who_does_not_answer_is_left_alone_for_a_while() {
    let mut world = World::new();
    world.hears(7, 9);
    let out = world.passes(secs(3) + VISIT_FAILED);
    assert_eq!(out, [Action::Visit(said(7, 9).peer()), Action::Part(id(7))]);
    world.hears(7, 10);
    assert_eq!(world.passes(secs(30)), []);
    world.now += UNREACHABLE;
    world.hears(7, 11);
    assert!(world.passes(secs(3)).contains(&Action::Visit(said(7, 11).peer())));
}

#[test]
fn visits_and_what_is_remembered_of_holders_are_bounded() {
    let mut world = World::new();
    for holder in 1..=199 {
        world.hears(holder, holder);
        world.now += Duration::from_millis(50);
    }
    assert!(world.swarm.wishes.len() <= MAX_HOLDERS);
    let out = world.passes(secs(10));
    let visits = out.iter().filter(|action| matches!(action, Action::Visit(_))).count();
    assert_eq!((visits, world.swarm.visited().count()), (MAX_VISITS, MAX_VISITS));
    world.passes(secs(600));
    assert!(world.swarm.unreachable.len() <= MAX_HOLDERS && world.swarm.said.len() <= MAX_ROOTS);
}

#[test]
fn a_new_neighbour_hears_what_is_here() {
    let mut world = World::new();
    world.swarm.neighbour_up(world.now, 0);
    world.swarm.neighbour_up(world.now, 0);
    assert_eq!(world.passes(secs(5)), [Action::Announce { to_all: false }]);
}

#[test]
fn who_has_hardly_a_neighbour_looks_for_more_after_waits_that_grow() {
    let mut world = World::new();
    let mut waits = |neighbours, times| {
        world.swarm.neighbours(world.now, neighbours);
        let wait = |_| {
            let (begun, mut out) = (world.now, Vec::new());
            while !out.contains(&Action::Seek) {
                let next = world.swarm.next().unwrap();
                out = world.passes(next.saturating_sub(world.now));
            }
            (world.now - begun).as_secs()
        };
        (0..times).map(wait).collect::<Vec<u64>>()
    };
    assert_eq!(waits(1, 10), [2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
    assert_eq!(waits(0, 6), [2, 4, 8, 16, 20, 20], "the last one is gone");
    assert_eq!(waits(1, 3), [20, 40, 80]);
    world.swarm.neighbours(world.now, ENOUGH_NEIGHBOURS);
    assert!(!world.passes(secs(3_600)).contains(&Action::Seek));
}

#[test]
fn who_was_heard_last_is_remembered_with_its_address() {
    let mut world = World::new();
    for holder in [1, 2, 3, 4, 5, 4] {
        world.hears(holder, 1);
    }
    let recent: Vec<PeerAddr> = world.swarm.recent().cloned().collect();
    assert_eq!(recent, [2, 3, 5, 4].map(|holder| said(holder, 1).peer()));
}

#[test]
fn lost_announcements_make_it_say_what_is_here_so_that_others_tell_what_is_missing() {
    let mut world = World::new();
    world.swarm.lagged(world.now, 0);
    assert_eq!(world.passes(secs(5)), [Action::Announce { to_all: true }]);
    assert_eq!(world.swarm.counts().lagged, 1);
}

#[test]
fn a_swarm_that_broke_down_is_joined_again_after_waits_that_grow() {
    let mut world = World::new();
    let mut waits = Vec::new();
    for _ in 0..8 {
        world.swarm.lost(world.now, u64::MAX);
        let next = world.swarm.next().unwrap();
        waits.push((next - world.now).as_secs());
        assert_eq!(world.passes(next - world.now), [Action::Join]);
        world.swarm.neighbours(world.now, ENOUGH_NEIGHBOURS);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_flood_is_dropped_and_counted_and_who_delivers_it_is_not_heard() {
    let mut world = World::new();
    let (mut opened, mut out) = (0_u32, Vec::new());
    let mut delivered = 0;
    while out.is_empty() {
        delivered += 1;
        let open = || {
            opened += 1;
            Ok(said(7, 1))
        };
        world.swarm.heard(world.now, (id(66), false), open, 0, &mut out);
    }
    assert_eq!(out, [Action::Mute(id(66))]);
    assert_eq!((opened, delivered), (FROM_NEIGHBOUR.0, FLOOD.0 + 1));
    assert_eq!(world.swarm.counts().dropped, u64::from(FLOOD.0 + 1 - FROM_NEIGHBOUR.0));
    world.hears(8, 9);
    assert_eq!(world.passes(secs(3)).last(), Some(&Action::Visit(said(8, 9).peer())), "another neighbour is heard");
}

#[test]
fn forged_announcements_are_an_offence_of_who_says_that_they_are_its_own() {
    let mut world = World::new();
    for _ in 0..FORGED_OWN {
        assert_eq!(world.hears_forged(66, true), []);
    }
    assert_eq!(world.hears_forged(66, true), [Action::Offence(id(66))]);
    assert_eq!(world.swarm.counts().forged, u64::from(FORGED_OWN) + 1);
    for _ in 0..1_000 {
        assert_eq!(world.hears_forged(66, true), [], "what was on its way is not another offence");
    }
    assert_eq!(world.swarm.counts().dropped, 1_000);
}

#[test]
fn who_relayed_forged_announcements_is_no_offender() {
    let mut world = World::new();
    let mut out = Vec::new();
    for _ in 0..=FORGED_RELAYED {
        world.now += Duration::from_millis(40);
        out.extend(world.hears_forged(66, false));
        assert!(out.len() < 2 && !out.contains(&Action::Offence(id(66))));
    }
    assert_eq!(out, [Action::Mute(id(66))]);
}

#[test]
fn a_few_forged_ones_now_and_then_are_forgiven() {
    let mut world = World::new();
    for _ in 0..10 {
        for _ in 0..FORGED_OWN {
            assert_eq!(world.hears_forged(66, true), []);
        }
        world.now += secs(61);
    }
}

#[test]
fn neighbours_that_come_and_go_are_forgotten() {
    let mut guard = Guard::new();
    for number in 0..1_000_u32 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        guard.delivers(Duration::from_millis(u64::from(number)), EndpointId::from(bytes));
    }
    assert!(format!("{guard:?}").matches("Neighbour").count() <= MAX_NEIGHBOURS + 1);
}
