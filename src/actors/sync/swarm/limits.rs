//! Every number of a node in a swarm, with its reason. What a neighbour may deliver is in `guard`.

use std::time::Duration;

/// Others who share a subject: with so many a node has sessions, and needs no swarm.
pub const HANDFUL: usize = 5;

/// With so few others it leaves again: fewer than made it join, so that one who comes and goes changes nothing.
pub const FEW: usize = 3;

/// How long there must be few before it leaves.
pub const LEAVE_AFTER: Duration = Duration::from_secs(60);

/// From growth to its announcement: what is written within that time is announced at once.
pub const GATHER: Duration = Duration::from_millis(200);

/// From an announcement of what was here before to the answer.
pub const ANSWER: Duration = Duration::from_secs(1);

/// How long what somebody else has announced need not be announced again.
pub const SAID_FOR: Duration = Duration::from_secs(60);

/// Announcements at once, and in a second. So a busy writer does not keep the whole swarm busy.
pub const ANNOUNCEMENTS: (u32, u32) = (8, 4);

/// Where nothing changes, all the same is said after this time: gossip keeps nothing for who was away. Whoever hears
/// it need not say it, so it costs a swarm about one announcement.
pub const REFRESH: Duration = Duration::from_secs(600);

/// How long something that is not here is waited for before the holder is visited: a session brings it sooner.
pub const GRACE: Duration = Duration::from_millis(1_500);

/// Visits at a time.
pub const MAX_VISITS: usize = 4;

/// A visit that has brought nothing for so long ends.
pub const VISIT_IDLE: Duration = Duration::from_secs(60);

/// A visit that has led to no session in this time has failed.
pub const VISIT_FAILED: Duration = Duration::from_secs(20);

/// How long a holder who could not be visited is not visited again.
pub const UNREACHABLE: Duration = Duration::from_secs(300);

/// Holders that are remembered: those waited for, and those who could not be visited.
pub const MAX_HOLDERS: usize = 64;

/// With fewer neighbours it looks for more: who has one is alone when that one is gone, and so is all that hangs on it.
pub const ENOUGH_NEIGHBOURS: usize = 2;

/// From the moment when there are too few to the first time that it looks for more; each wait after that is twice as long. Joining takes
/// one or two round trips.
pub const SEEK: Duration = Duration::from_secs(2);

/// The longest such wait with no neighbour: what is written meanwhile comes late by this.
pub const SEEK_ALONE: Duration = Duration::from_secs(20);

/// The longest such wait with one: two nodes that are alone in a swarm look for others for ever.
pub const SEEK_SPARSE: Duration = Duration::from_secs(600);

/// Holders by whose way it finds neighbours: those heard last, since whoever was just heard is there.
pub const MAX_RECENT: usize = 4;

/// Roots that were here before, and such that were heard of.
pub const MAX_ROOTS: usize = 64;

/// The first wait before a swarm is joined again that broke down, and the longest.
pub const REJOIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
