//! Rights in an owned subject: who may write is decided by the log itself, and alike on every replica.
//!
//! Two questions are kept apart.
//!
//! *May this event be in the log at all?* That is asked once, when it is appended, and the answer must never change: a replica
//! that refused what another one holds would never agree with it again. So it is about **structure** only, about what an
//! event and its causes say, never about what else has arrived: an author's first event is the subject's genesis or names a
//! grant for the author, and grants and revocations come from the creator or from somebody with an owner's grant. The
//! [`Charter`] knows the structure.
//!
//! *Does it count?* That may change whenever a revocation or the evidence of a fork arrives. [`Members`] is a pure function
//! of the *set* of control events and forks, so all replicas that have the same events come to the same answer, in whatever
//! order these came. What it says of an author is a *cut*: the number of the author's last event that counts.
//!
//! The rules are layered, so that no two of them can contradict each other:
//!
//! 1. The creator's acts count up to the creator's own fork, if there is one. Nobody revokes the creator.
//! 2. An owner is cut by the creator only, and by the owner's own fork. An owner's grants and revocations count up to
//!    that cut: those past it are undone, and whom they admitted or revoked with them.
//! 3. Writers and readers are cut by the creator and by owners whose acts count.
//!
//! Of several cuts the lowest holds. A key has one role: that of the grant which its join names. And a key that was revoked stays
//! so: whoever is granted a role again writes under a new key, since nothing tells the events of the first time from those
//! of the second.

mod charter;
mod members;
#[cfg(test)]
mod tests;

pub use charter::{BrokenRule, Charter, ControlEvent};
pub use members::{Denial, Member, Members, Standing};
