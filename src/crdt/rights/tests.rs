use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::wire::{
    control::{Control, Genesis, Grant, Join, Revoke, Role},
    event::EventType,
    id::{Dot, SubjectId, XaeroID},
};

/// Keys in a random history; number 0 is the creator.
const KEYS: u8 = 7;

fn key(number: u8) -> XaeroID {
    XaeroID::from([number; 32])
}

fn genesis() -> Genesis {
    Genesis { creator: key(0), nonce: [9; 16] }
}

/// Control events as they are written one after the other, each with what its author has seen of the others at least.
#[derive(Debug, Clone)]
struct Script {
    charter: Charter,
    lengths: BTreeMap<XaeroID, u64>,
}

impl Script {
    fn new() -> Self {
        let mut script = Self { charter: Charter::new(genesis().subject_id()), lengths: BTreeMap::new() };
        script.write(key(0), Control::Genesis(genesis())).unwrap();
        script
    }

    fn write(&mut self, author: XaeroID, control: Control) -> Result<Dot, BrokenRule> {
        let length = self.lengths.entry(author).or_default();
        let dot = Dot::new(author, *length + 1);
        self.charter.judge(dot, control.event_type(), &control.encode())?;
        *length += 1;
        self.charter.add(ControlEvent { dot, control });
        Ok(dot)
    }

    /// An event that is no control event.
    fn say(&mut self, author: XaeroID) -> u64 {
        let length = self.lengths.entry(author).or_default();
        *length += 1;
        *length
    }

    fn grant(&mut self, by: u8, to: u8, role: Role) -> Dot {
        let authority = self.charter.authority(key(by)).unwrap();
        self.write(key(by), Control::Grant(Grant { grantee: key(to), role, authority })).unwrap()
    }

    fn join(&mut self, who: u8, grant: Dot) {
        self.write(key(who), Control::Join(Join { grant })).unwrap();
    }

    fn revoke(&mut self, by: u8, target: u8, last_valid: u64) -> Dot {
        let authority = self.charter.authority(key(by)).unwrap();
        self.write(key(by), Control::Revoke(Revoke { target: key(target), last_valid, authority })).unwrap()
    }

    fn members(&self) -> Members {
        Members::of(&self.charter, |_| None)
    }

    fn cut(&self, who: u8) -> Option<u64> {
        self.members().cuts().find(|(author, _)| *author == key(who)).map(|(_, last)| last)
    }
}

/// Another order in which the same events can arrive.
fn reordered(charter: &Charter, choices: &[Index]) -> Charter {
    let mut left: Vec<ControlEvent> = charter.events().to_vec();
    let mut other = Charter::new(genesis().subject_id());
    let mut choices = choices.iter().cycle();
    let mut here: Vec<Dot> = Vec::new();
    while !left.is_empty() {
        let is_ready = |event: &ControlEvent| {
            let earlier = charter.events().iter().filter(|other| other.dot.author == event.dot.author);
            let mut before = earlier.filter(|other| other.dot.seq < event.dot.seq).map(|other| other.dot);
            let cause = Charter::cause(event.dot.seq, event.control.event_type(), &event.control.encode());
            before.all(|dot| here.contains(&dot)) && cause.is_none_or(|cause| here.contains(&cause))
        };
        let ready: Vec<usize> = (0..left.len()).filter(|at| is_ready(&left[*at])).collect();
        let event = left.remove(ready[choices.next().unwrap().index(ready.len())]);
        let ControlEvent { dot, control } = event;
        assert_eq!(
            other.judge(dot, control.event_type(), &control.encode()),
            Ok(Some(control)),
            "structure never changes"
        );
        other.add(event);
        here.push(dot);
    }
    other
}

/// The rules once more, as one reads them, with no thought of what it costs.
fn specified(charter: &Charter, forks: &BTreeMap<XaeroID, u64>, who: XaeroID) -> Option<u64> {
    let creator = key(0);
    let fork = |author: XaeroID| forks.get(&author).copied().unwrap_or(u64::MAX);
    let grant = |dot: Dot| match charter.events().iter().find(|event| event.dot == dot).map(|event| event.control) {
        Some(Control::Grant(grant)) => grant,
        other => panic!("{other:?}"),
    };
    let joined = |author: XaeroID| charter.joined(author).filter(|_| fork(author) > 0);
    fn counts(charter: &Charter, dot: Dot, fork: &dyn Fn(XaeroID) -> u64, grant: &dyn Fn(Dot) -> Grant) -> bool {
        let creator = key(0);
        if dot.author == creator {
            return dot.seq <= fork(creator);
        }
        let Some(by) = charter.joined(dot.author) else { return false };
        let by_creator = charter.events().iter().filter(|event| event.dot.author == creator);
        let revoked = by_creator.filter(|event| event.dot.seq <= fork(creator)).any(|event| {
            matches!(event.control, Control::Revoke(revoke) if revoke.target == dot.author && revoke.last_valid < dot.seq)
        });
        dot.seq <= fork(dot.author) && !revoked && grant(by).role == Role::Owner && counts(charter, by, fork, grant)
    }
    let counts = |dot| counts(charter, dot, &fork, &grant);
    let role = match joined(who) {
        Some(by) => counts(by).then(|| grant(by).role),
        None => None,
    };
    let granted = charter.events().iter().filter_map(|event| match event.control {
        Control::Grant(grant) if grant.grantee == who && counts(event.dot) => Some(grant.role),
        _ => None,
    });
    let role = role.or_else(|| granted.max());
    let revocations = charter.events().iter().filter_map(|event| match event.control {
        Control::Revoke(revoke) if revoke.target == who && who != creator && counts(event.dot) => {
            (event.dot.author == creator || role != Some(Role::Owner)).then_some(revoke.last_valid)
        }
        _ => None,
    });
    let void = joined(who).filter(|by| !counts(*by)).map(|_| 0);
    revocations.chain(void).min()
}

#[derive(Debug, Clone)]
enum Step {
    Grant(u8, u8, Role),
    Join(u8, Index),
    Revoke(u8, u8, u64),
    Say(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let role = prop_oneof![Just(Role::Owner), Just(Role::Owner), Just(Role::Writer), Just(Role::Reader)];
    prop_oneof![
        4 => (0..KEYS, 0..KEYS, role).prop_map(|(by, to, role)| Step::Grant(by, to, role)),
        4 => (1..KEYS, any::<Index>()).prop_map(|(who, at)| Step::Join(who, at)),
        2 => (0..KEYS, 0..KEYS, 0_u64..7).prop_map(|(by, who, last)| Step::Revoke(by, who, last)),
        1 => (1..KEYS).prop_map(Step::Say),
    ]
}

fn script() -> impl Strategy<Value = Charter> {
    prop::collection::vec(step(), 0..60).prop_map(|steps| {
        let mut script = Script::new();
        for step in steps {
            match step {
                Step::Grant(by, to, role) if script.charter.authority(key(by)).is_some() => {
                    script.grant(by, to, role);
                }
                Step::Revoke(by, who, last) if script.charter.authority(key(by)).is_some() => {
                    script.revoke(by, who, last);
                }
                Step::Join(who, at) if script.charter.joined(key(who)).is_none() => {
                    let grants: Vec<Dot> = (script.charter.events().iter())
                        .filter(|event| matches!(event.control, Control::Grant(grant) if grant.grantee == key(who) && grant.role != Role::Reader))
                        .map(|event| event.dot)
                        .collect();
                    if !grants.is_empty() {
                        script.join(who, grants[at.index(grants.len())]);
                    }
                }
                Step::Say(who) if script.charter.joined(key(who)).is_some() => {
                    script.say(key(who));
                }
                _ => {}
            }
        }
        script.charter
    })
}

proptest! {
    #[test]
    fn every_order_of_arrival_comes_to_the_same_members_and_they_are_the_specified_ones(
        charter in script(),
        choices in prop::collection::vec(any::<Index>(), 1..80),
        forks in prop::collection::btree_map((0..KEYS).prop_map(key), 0_u64..6, 0..3),
    ) {
        let fork = |author| forks.get(&author).copied();
        let members = Members::of(&charter, fork);
        let other = reordered(&charter, &choices);
        prop_assert_eq!(&Members::of(&other, fork), &members);
        for number in 0..KEYS {
            let cut = members.cuts().find(|(author, _)| *author == key(number)).map(|(_, last)| last);
            prop_assert_eq!(cut, specified(&charter, &forks, key(number)), "key {}", number);
        }
    }
}

#[test]
fn a_granted_writer_joins_and_writes_until_it_is_revoked() {
    let mut script = Script::new();
    let grant = script.grant(0, 1, Role::Writer);
    assert_eq!(script.members().standing(key(1)), Standing::MayJoin(grant));
    script.join(1, grant);
    assert_eq!(script.members().standing(key(1)), Standing::Writes);
    script.revoke(0, 1, 5);
    assert_eq!(script.members().standing(key(1)), Standing::Denied(Denial::Revoked(5)));
    assert!(!script.members().may_read(key(1)) && script.members().may_read(key(0)));
}

#[test]
fn a_reader_may_read_and_not_write() {
    let mut script = Script::new();
    script.grant(0, 1, Role::Reader);
    assert_eq!(script.members().standing(key(1)), Standing::Denied(Denial::Reader));
    assert!(script.members().may_read(key(1)));
    script.revoke(0, 1, 0);
    assert!(!script.members().may_read(key(1)) && script.members().may_read(key(2)));
    let mut script = Script::new();
    let grant = script.grant(0, 1, Role::Reader);
    assert_eq!(script.write(key(1), Control::Join(Join { grant })), Err(BrokenRule::NoSuchGrant(grant)));
}

#[test]
fn a_revoked_key_is_not_revived_by_another_grant() {
    let mut script = Script::new();
    let grant = script.grant(0, 1, Role::Writer);
    script.join(1, grant);
    script.revoke(0, 1, 1);
    script.grant(0, 1, Role::Owner);
    assert_eq!(script.cut(1), Some(1));
    let unjoined = script.grant(0, 2, Role::Writer);
    script.revoke(0, 2, 0);
    let again = script.grant(0, 2, Role::Writer);
    assert_eq!(script.members().standing(key(2)), Standing::Denied(Denial::Revoked(0)));
    // The structure does not see it: what counts does.
    script.join(2, again);
    assert_eq!((script.cut(2), script.charter.grant(unjoined).is_some()), (Some(0), true));
}

#[test]
fn what_an_owner_did_past_the_owners_own_cut_is_undone() {
    let mut script = Script::new();
    let owner = script.grant(0, 1, Role::Owner);
    script.join(1, owner);
    let early = script.grant(1, 2, Role::Writer);
    let late = script.grant(1, 3, Role::Writer);
    let third = script.grant(0, 4, Role::Writer);
    script.join(2, early);
    script.join(3, late);
    script.join(4, third);
    script.revoke(1, 4, 1);
    assert_eq!((script.cut(2), script.cut(3), script.cut(4)), (None, None, Some(1)));
    script.revoke(0, 1, 2);
    assert_eq!((script.cut(1), script.cut(2)), (Some(2), None));
    assert_eq!((script.cut(3), script.cut(4)), (Some(0), None), "the grant and the revocation are undone");
}

#[test]
fn only_the_creator_revokes_owners_and_nobody_the_creator() {
    let mut script = Script::new();
    for owner in [1, 2] {
        let grant = script.grant(0, owner, Role::Owner);
        script.join(owner, grant);
    }
    script.revoke(1, 2, 0);
    script.revoke(1, 0, 1);
    assert_eq!((script.cut(2), script.cut(0)), (None, None));
    script.revoke(0, 2, 1);
    assert_eq!(script.cut(2), Some(1));
}

#[test]
fn the_creators_fork_undoes_what_comes_after_it() {
    let mut script = Script::new();
    let before = script.grant(0, 1, Role::Writer);
    let after = script.grant(0, 2, Role::Writer);
    script.join(1, before);
    script.join(2, after);
    let members = Members::of(&script.charter, |author| (author == key(0)).then_some(before.seq));
    let cuts: Vec<_> = members.cuts().collect();
    assert_eq!(cuts, [(key(2), 0)]);
    assert_eq!(members.get(key(0)).unwrap().last_valid, Some(before.seq));
}

#[test]
fn the_structure_refuses_what_has_no_right_to_be_there() {
    let mut script = Script::new();
    let writer = script.grant(0, 1, Role::Writer);
    let to_other = script.grant(0, 2, Role::Owner);
    let app = EventType::ApplicationEvent(30);
    let judge = |script: &Script, who: u8, seq, control: Control| {
        script.charter.judge(Dot::new(key(who), seq), control.event_type(), &control.encode()).err()
    };
    assert_eq!(script.charter.judge(Dot::new(key(1), 1), app, b"x"), Err(BrokenRule::NotJoined));
    let join = |grant| Control::Join(Join { grant });
    assert_eq!(judge(&script, 1, 1, join(to_other)), Some(BrokenRule::NoSuchGrant(to_other)));
    assert_eq!(judge(&script, 1, 2, join(writer)), Some(BrokenRule::NotFirst));
    assert_eq!(judge(&script, 1, 1, Control::Genesis(genesis())), Some(BrokenRule::OtherGenesis));
    let other = Genesis { creator: key(1), nonce: [9; 16] };
    assert_eq!(judge(&script, 1, 1, Control::Genesis(other)), Some(BrokenRule::OtherGenesis));
    script.join(1, writer);
    assert_eq!(script.charter.judge(Dot::new(key(1), 2), app, b"x"), Ok(None));
    for authority in [None, Some(writer), Some(to_other)] {
        let grant = Control::Grant(Grant { grantee: key(3), role: Role::Writer, authority });
        let revoke = Control::Revoke(Revoke { target: key(2), last_valid: 0, authority });
        assert_eq!(judge(&script, 1, 2, grant), Some(BrokenRule::NotAnOwner));
        assert_eq!(judge(&script, 1, 2, revoke), Some(BrokenRule::NotAnOwner));
    }
    let unknown = script.charter.judge(Dot::new(key(1), 2), EventType::SystemEvent(9), b"");
    assert!(matches!(unknown, Err(BrokenRule::Record(_))));
    assert_ne!(SubjectId::from([0; 32]), genesis().subject_id());
}
