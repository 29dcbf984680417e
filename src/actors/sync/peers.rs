//! Whom to dial and when, which of two connections stays, and who is not talked to for a while.
//!
//! A node keeps one connection to each peer that it wants. Where both have dialed at the same time, both ends keep the
//! connection that was dialed by the smaller id, so they agree without a word. A dialer that dials again has lost the
//! connection before, whatever the other end believes, so a new one from the same dialer takes its place.
//!
//! Ids are any small ordered key; who answers to them, and where, is the shell's business.

use std::{collections::BTreeMap, time::Duration};

/// The wait before a peer is dialed again for the first time: a peer that restarts is back within it.
pub const FIRST_REDIAL: Duration = Duration::from_millis(250);

/// The longest wait: a peer that comes back after days is found within half a minute, and one dial in that time costs nothing.
pub const LONGEST_REDIAL: Duration = Duration::from_secs(30);

/// A connection that lasted this long was a good one: the next wait is the first again.
pub const GOOD_CONNECTION: Duration = Duration::from_secs(60);

/// How long an offender is not talked to, the first time. Long enough to make offending useless, short enough for a bug that
/// was fixed.
pub const FIRST_BAN: Duration = Duration::from_secs(60);

/// Each further ban is this many times longer.
pub const BAN_GROWTH: u32 = 4;

/// The longest ban: also a person's mistake is forgiven after a day.
pub const LONGEST_BAN: Duration = Duration::from_secs(24 * 3_600);

/// An offender that has behaved for this long after a ban begins anew.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// Most peers that are kept track of: a node has a handful, and the list of a large swarm stays below a megabyte.
pub const MAX_PEERS: usize = 4_096;

/// Most offenders that are remembered; the one whose ban ends first makes room.
pub const MAX_OFFENDERS: usize = 1_024;

/// Most bytes of the text that says what an offender did.
pub const MAX_OFFENCE_TEXT: usize = 256;

/// A connection, by a number that the shell gives it and never uses again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What is to become of a connection that has just been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the only one: keep it.
    Keep,
    /// Keep it, and close this older one as a duplicate.
    Replace(ConnectionId),
    /// Close it as a duplicate: the one that there is stays.
    Duplicate,
    /// Close it: the peer is banned.
    Banned,
    /// Close it: there are [`MAX_PEERS`] peers already.
    Full,
}

/// A peer that broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offender {
    /// How often, since it was last forgiven.
    pub offences: u32,
    /// What it did last.
    pub reason: String,
    /// Until when it is not talked to.
    pub banned_until: Duration,
}

#[derive(Debug)]
struct Peer<K> {
    /// Whether it is to be dialed.
    is_wanted: bool,
    is_dialing: bool,
    /// Dials in a row that led to nothing that lasted.
    failures: u32,
    not_before: Duration,
    connection: Option<Connection<K>>,
}

#[derive(Debug, Clone, Copy)]
struct Connection<K> {
    id: ConnectionId,
    dialer: K,
    since: Duration,
}

/// The peers of a node.
///
/// ```
/// use std::time::Duration;
/// use xaeroflux::actors::sync::peers::{ConnectionId, Peers, Verdict};
/// let (me, peer, now) = (1_u8, 2_u8, Duration::ZERO);
/// let mut peers = Peers::new(me);
/// assert!(peers.want(peer));
/// assert_eq!(peers.dial(now), [peer]);
/// // The peer has dialed too, and its connection is here first; then ours, which is the smaller id's:
/// assert_eq!(peers.connected(now, peer, peer, ConnectionId(1)), Verdict::Keep);
/// assert_eq!(peers.connected(now, peer, me, ConnectionId(2)), Verdict::Replace(ConnectionId(1)));
/// ```
#[derive(Debug)]
pub struct Peers<K> {
    me: K,
    peers: BTreeMap<K, Peer<K>>,
    offenders: BTreeMap<K, Offender>,
    /// All offences there have been.
    offences: u64,
}

impl<K: Ord + Copy> Peers<K> {
    /// No peers so far, of the node with this id.
    #[must_use]
    pub const fn new(me: K) -> Self {
        Self { me, peers: BTreeMap::new(), offenders: BTreeMap::new(), offences: 0 }
    }

    /// From now on this peer is dialed whenever there is no connection to it. `false` for oneself, and where there are [`MAX_PEERS`]
    /// already.
    #[must_use]
    pub fn want(&mut self, peer: K) -> bool {
        let entry = self.entry(peer);
        entry.map(|entry| entry.is_wanted = true).is_some()
    }

    /// From now on this peer is not dialed any more. A connection that there is stays.
    pub fn forget(&mut self, peer: K) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.is_wanted = false;
        }
        self.tidy(peer);
    }

    /// Something speaks for a peer's being there (it has dialed before, its address has changed, the network is back): it is dialed at
    /// once.
    pub fn hint(&mut self, peer: K) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            (entry.failures, entry.not_before) = (0, Duration::ZERO);
        }
    }

    /// Whom to dial now. They count as being dialed until [`connected`](Self::connected) or [`failed`](Self::failed).
    pub fn dial(&mut self, now: Duration) -> Vec<K> {
        let offenders = &self.offenders;
        let is_banned = |peer: &K| offenders.get(peer).is_some_and(|offender| now < offender.banned_until);
        let mut due = Vec::new();
        for (peer, entry) in &mut self.peers {
            if entry.is_idle() && entry.not_before <= now && !is_banned(peer) {
                entry.is_dialing = true;
                due.push(*peer);
            }
        }
        due
    }

    /// When [`dial`](Self::dial) is to be asked again.
    #[must_use]
    pub fn next_dial(&self) -> Option<Duration> {
        let idle = self.peers.iter().filter(|(_, entry)| entry.is_idle());
        let banned_until = |peer| self.offenders.get(peer).map_or(Duration::ZERO, |offender| offender.banned_until);
        idle.map(|(peer, entry)| entry.not_before.max(banned_until(peer))).min()
    }

    /// A dial has led to nothing. `random`: 64 bits of it, for the jitter.
    pub fn failed(&mut self, now: Duration, peer: K, random: u64) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.is_dialing = false;
            entry.back_off(now, random);
        }
    }

    /// There is a connection to `peer`, which `dialer` (the peer or this node) has made.
    #[must_use]
    pub fn connected(&mut self, now: Duration, peer: K, dialer: K, id: ConnectionId) -> Verdict {
        let (me, is_banned) = (self.me, self.is_banned(now, peer));
        let Some(entry) = self.entry(peer) else { return Verdict::Full };
        if dialer == me {
            entry.is_dialing = false;
        }
        let smaller = me.min(peer);
        let verdict = match entry.connection {
            _ if is_banned => Verdict::Banned,
            None => Verdict::Keep,
            Some(old) if old.dialer == dialer || dialer == smaller => Verdict::Replace(old.id),
            Some(_) => Verdict::Duplicate,
        };
        if matches!(verdict, Verdict::Keep | Verdict::Replace(_)) {
            entry.connection = Some(Connection { id, dialer, since: now });
        }
        self.tidy(peer);
        verdict
    }

    /// A connection has ended. One that had been replaced changes nothing.
    pub fn closed(&mut self, now: Duration, peer: K, id: ConnectionId, random: u64) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if let Some(connection) = entry.connection.take_if(|connection| connection.id == id) {
            if now.saturating_sub(connection.since) >= GOOD_CONNECTION {
                entry.failures = 0;
            }
            entry.back_off(now, random);
        }
        self.tidy(peer);
    }

    /// The connection to a peer.
    #[must_use]
    pub fn connection(&self, peer: K) -> Option<ConnectionId> {
        self.peers.get(&peer)?.connection.map(|connection| connection.id)
    }

    /// Every connection there is.
    pub fn connections(&self) -> impl Iterator<Item = (K, ConnectionId)> {
        self.peers.iter().filter_map(|(peer, entry)| Some((*peer, entry.connection?.id)))
    }

    /// A peer has broken the protocol: it is counted, named, and not talked to until the time that is returned. The shell closes the connection.
    pub fn offended(&mut self, now: Duration, peer: K, reason: &str) -> Duration {
        self.offences = self.offences.saturating_add(1);
        if !self.offenders.contains_key(&peer) && self.offenders.len() >= MAX_OFFENDERS {
            let first = self.offenders.iter().min_by_key(|(_, offender)| offender.banned_until).map(|(peer, _)| *peer);
            first.and_then(|first| self.offenders.remove(&first));
        }
        let fresh = Offender { offences: 0, reason: String::new(), banned_until: Duration::ZERO };
        let offender = self.offenders.entry(peer).or_insert(fresh);
        if now.saturating_sub(offender.banned_until) >= FORGIVEN_AFTER {
            offender.offences = 0;
        }
        let growth = BAN_GROWTH.checked_pow(offender.offences).unwrap_or(u32::MAX);
        offender.offences = offender.offences.saturating_add(1);
        let ban = FIRST_BAN.saturating_mul(growth).min(LONGEST_BAN);
        offender.banned_until = offender.banned_until.max(now.saturating_add(ban));
        offender.reason.clear();
        for character in reason.chars() {
            if offender.reason.len() + character.len_utf8() > MAX_OFFENCE_TEXT {
                break;
            }
            offender.reason.push(character);
        }
        offender.banned_until
    }

    /// Whether a peer is not talked to at present.
    #[must_use]
    pub fn is_banned(&self, now: Duration, peer: K) -> bool {
        self.offenders.get(&peer).is_some_and(|offender| now < offender.banned_until)
    }

    /// The offenders that are remembered.
    pub fn offenders(&self) -> impl Iterator<Item = (K, &Offender)> {
        self.offenders.iter().map(|(peer, offender)| (*peer, offender))
    }

    /// How many offences there have been, of whomever.
    #[must_use]
    pub const fn offences(&self) -> u64 {
        self.offences
    }

    fn entry(&mut self, peer: K) -> Option<&mut Peer<K>> {
        let is_new = !self.peers.contains_key(&peer);
        if peer == self.me || is_new && self.peers.len() >= MAX_PEERS {
            return None;
        }
        Some(self.peers.entry(peer).or_default())
    }

    /// Forgets who is neither wanted nor there.
    fn tidy(&mut self, peer: K) {
        let is_of_use = |entry: &Peer<K>| entry.is_wanted || entry.is_dialing || entry.connection.is_some();
        if !self.peers.get(&peer).is_some_and(is_of_use) {
            self.peers.remove(&peer);
        }
    }
}

impl<K> Default for Peer<K> {
    fn default() -> Self {
        Self { is_wanted: false, is_dialing: false, failures: 0, not_before: Duration::ZERO, connection: None }
    }
}

impl<K> Peer<K> {
    /// Whether it is to be dialed, sooner or later.
    const fn is_idle(&self) -> bool {
        self.is_wanted && !self.is_dialing && self.connection.is_none()
    }

    /// Half of the wait is random, so that the peers of a node that restarts do not come all at once.
    fn back_off(&mut self, now: Duration, random: u64) {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let nominal = FIRST_REDIAL.saturating_mul(doubled).min(LONGEST_REDIAL);
        self.not_before = now.saturating_add(crate::actors::supervise::backoff::jittered(nominal, random));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u8 = 5;

    fn peers() -> Peers<u8> {
        let mut peers = Peers::new(ME);
        assert!(peers.want(9));
        peers
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits_double_up_to_the_longest_and_a_good_connection_resets_them() {
        let mut peers = peers();
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(peers.dial(now), [9]);
            assert_eq!(peers.dial(now), [0; 0], "once");
            peers.failed(now, 9, u64::MAX);
            let next = peers.next_dial().unwrap();
            waits.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        for (lasted, wait) in [(secs(59), LONGEST_REDIAL), (GOOD_CONNECTION, FIRST_REDIAL)] {
            assert_eq!(peers.dial(now), [9]);
            assert_eq!(peers.connected(now, 9, ME, ConnectionId(1)), Verdict::Keep);
            assert_eq!(peers.next_dial(), None);
            now += lasted;
            peers.closed(now, 9, ConnectionId(1), u64::MAX);
            assert_eq!(peers.next_dial(), Some(now + wait));
            now += wait;
        }
    }

    #[test]
    fn both_ends_keep_the_same_of_two_connections_in_either_order() {
        for order in [[5_u8, 9], [9, 5]] {
            for (me, peer) in [(5, 9), (9, 5)] {
                let mut peers = Peers::new(me);
                for dialer in order {
                    let _ = peers.connected(Duration::ZERO, peer, dialer, ConnectionId(u64::from(dialer)));
                }
                assert_eq!(peers.connection(peer), Some(ConnectionId(5)), "{order:?} seen from {me}");
            }
        }
    }

    #[test]
    fn a_new_connection_of_the_same_dialer_replaces_the_older() {
        let mut peers = peers();
        for dialer in [ME, 9] {
            let mut peers = Peers::new(ME);
            assert_eq!(peers.connected(secs(0), 9, dialer, ConnectionId(1)), Verdict::Keep);
            assert_eq!(peers.connected(secs(1), 9, dialer, ConnectionId(2)), Verdict::Replace(ConnectionId(1)));
            peers.closed(secs(2), 9, ConnectionId(1), 0);
            assert_eq!(peers.connection(9), Some(ConnectionId(2)), "the end of the replaced one changes nothing");
        }
        assert_eq!(peers.dial(secs(0)), [9]);
    }

    #[test]
    fn bans_grow_and_end_and_are_forgiven() {
        let mut peers = peers();
        let mut now = secs(1);
        let mut bans = Vec::new();
        for _ in 0..8 {
            let until = peers.offended(now, 9, "it lies");
            bans.push((until - now).as_secs());
            assert!(peers.is_banned(now, 9));
            assert_eq!(peers.dial(now), [0; 0]);
            assert_eq!(peers.connected(now, 9, 9, ConnectionId(1)), Verdict::Banned);
            assert_eq!(peers.next_dial(), Some(until));
            now = until;
            assert!(!peers.is_banned(now, 9));
        }
        assert_eq!(bans, [60, 240, 960, 3_840, 15_360, 61_440, 86_400, 86_400]);
        now += FORGIVEN_AFTER;
        assert_eq!(peers.offended(now, 9, "again"), now + FIRST_BAN);
        assert_eq!(peers.offences(), 9);
    }

    #[test]
    fn the_list_of_offenders_is_bounded_and_named() {
        let mut peers: Peers<u32> = Peers::new(0);
        for peer in 1..=u32::try_from(MAX_OFFENDERS).unwrap() + 10 {
            peers.offended(secs(u64::from(peer)), peer, &"é".repeat(MAX_OFFENCE_TEXT));
        }
        assert_eq!(peers.offenders().count(), MAX_OFFENDERS);
        assert!(peers.offenders().all(|(peer, offender)| peer > 10 && offender.reason.len() <= MAX_OFFENCE_TEXT));
    }

    #[test]
    fn strangers_that_come_and_go_leave_nothing_behind() {
        let mut peers: Peers<u32> = Peers::new(0);
        for peer in 1..10_000 {
            assert_eq!(peers.connected(secs(1), peer, peer, ConnectionId(1)), Verdict::Keep);
            peers.closed(secs(1), peer, ConnectionId(1), 0);
        }
        assert_eq!(peers.peers.len(), 0);
        assert!(!peers.want(0), "oneself");
    }
}
