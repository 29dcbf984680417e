//! Which subjects both sides of one connection share: a pure state machine over tags.
//!
//! The side that made the connection says the tags of everything it shares. The other side keeps them, and says its own
//! tag only where it knows one of them: at once, or when it comes to share the subject later. So an acceptor shows nothing
//! to who does not know it already, and a dialer shows only how many subjects it has. For each answer the dialer opens a
//! stream.

use hashbrown::{HashMap, HashSet};

use super::limits::MAX_REMEMBERED_TAGS;
use crate::wire::{
    id::SubjectId,
    sync::{Role, Tag, TagKey},
    ticket::SubjectSecret,
};

/// What is to be done about what was heard or has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// Tags to say.
    pub(super) say: Vec<Tag>,
    /// Streams to open, each with the tag that it starts with.
    pub(super) open: Vec<(SubjectId, Tag)>,
}

/// The peer said more tags than anybody needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyTags;

/// What a stream is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// A subject.
    Subject(SubjectId),
    /// A subject that was offered and is shared no more: nobody's fault.
    Gone,
    /// Nothing that was ever offered.
    Unknown,
}

/// The tags of one connection.
#[derive(Debug)]
pub(super) struct TagBook {
    role: Role,
    key: TagKey,
    /// By the tag that the peer has for it: the subject, and our tag for it with the same secret.
    known: HashMap<Tag, (SubjectId, Tag)>,
    /// The peer's tags for each subject, to forget them.
    subjects: HashMap<SubjectId, Vec<Tag>>,
    /// What the peer said, as far as it has to be remembered: everything, for an acceptor; what it does not know, for a dialer.
    heard: HashSet<Tag>,
    /// What was said to the peer: tags of our own for a dialer, of the peer's for an acceptor.
    offered: HashSet<Tag>,
}

impl TagBook {
    /// Of nothing, for `role`'s side.
    pub(super) fn new(role: Role, key: TagKey) -> Self {
        Self {
            role,
            key,
            known: HashMap::new(),
            subjects: HashMap::new(),
            heard: HashSet::new(),
            offered: HashSet::new(),
        }
    }

    /// A subject is shared, or has other secrets now, or wants a new stream.
    pub(super) fn share(&mut self, subject: SubjectId, secrets: &[SubjectSecret]) -> Steps {
        self.unshare(subject);
        let mut steps = Steps::default();
        let mut theirs = Vec::with_capacity(secrets.len());
        for secret in secrets {
            let (our, their) =
                (self.key.tag(secret.as_bytes(), self.role), self.key.tag(secret.as_bytes(), self.role.other()));
            self.known.insert(their, (subject, our));
            theirs.push(their);
            match self.role {
                Role::Dialer => {
                    if self.offered.len() < MAX_REMEMBERED_TAGS || self.offered.contains(&our) {
                        self.offered.insert(our);
                        steps.say.push(our);
                    }
                }
                Role::Acceptor => {
                    if steps.say.is_empty() && self.heard.contains(&their) {
                        self.offered.insert(their);
                        steps.say.push(our);
                    }
                }
            }
        }
        self.subjects.insert(subject, theirs);
        steps
    }

    /// A subject is shared no more.
    pub(super) fn unshare(&mut self, subject: SubjectId) {
        for their in self.subjects.remove(&subject).unwrap_or_default() {
            self.known.remove(&their);
        }
    }

    /// The peer said tags. `shared` tells whether a subject still is.
    pub(super) fn hear(&mut self, tags: &[Tag], shared: impl Fn(SubjectId) -> bool) -> Result<Steps, TooManyTags> {
        let mut steps = Steps::default();
        let mut answered: HashSet<SubjectId> = HashSet::new();
        for tag in tags {
            let known = self.known.get(tag).copied().filter(|(subject, _)| shared(*subject));
            if self.role == Role::Acceptor || known.is_none() {
                if self.heard.len() >= MAX_REMEMBERED_TAGS && !self.heard.contains(tag) {
                    return Err(TooManyTags);
                }
                self.heard.insert(*tag);
            }
            // Several secrets of one subject need one answer only.
            let Some((subject, our)) = known.filter(|(subject, _)| answered.insert(*subject)) else { continue };
            match self.role {
                Role::Dialer => steps.open.push((subject, our)),
                Role::Acceptor => {
                    self.offered.insert(*tag);
                    steps.say.push(our);
                }
            }
        }
        Ok(steps)
    }

    /// What a stream of the peer's that starts with this tag is about.
    pub(super) fn about(&self, tag: Tag, shared: impl Fn(SubjectId) -> bool) -> About {
        match self.known.get(&tag) {
            Some((subject, _)) if shared(*subject) && self.offered.contains(&tag) => About::Subject(*subject),
            _ if self.offered.contains(&tag) => About::Gone,
            _ => About::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: [u8; 32] = [1; 32];
    const SECRET: [u8; 32] = [2; 32];

    fn subject() -> SubjectId {
        SubjectId::from(SUBJECT)
    }

    fn pair() -> (TagBook, TagBook) {
        let key = TagKey::new([7; 32]);
        (TagBook::new(Role::Dialer, key.clone()), TagBook::new(Role::Acceptor, key))
    }

    fn yes(_: SubjectId) -> bool {
        true
    }

    #[test]
    fn a_subject_that_both_share_gets_a_stream() {
        let (mut dialer, mut acceptor) = pair();
        acceptor.share(subject(), &[SECRET.into()]);
        let said = dialer.share(subject(), &[SECRET.into()]).say;
        let answer = acceptor.hear(&said, yes).unwrap().say;
        let open = dialer.hear(&answer, yes).unwrap().open;
        assert_eq!(open, [(subject(), said[0])]);
        assert_eq!(acceptor.about(said[0], yes), About::Subject(subject()));
    }

    #[test]
    fn an_acceptor_says_nothing_to_who_does_not_know_it() {
        let (mut dialer, mut acceptor) = pair();
        assert_eq!(acceptor.share(subject(), &[SECRET.into()]), Steps::default());
        let said = dialer.share(SubjectId::from([3; 32]), &[[4; 32].into()]).say;
        assert_eq!(acceptor.hear(&said, yes), Ok(Steps::default()));
        assert_eq!(acceptor.about(said[0], yes), About::Unknown);
    }

    #[test]
    fn an_acceptor_that_shares_later_remembers_what_was_said() {
        let (mut dialer, mut acceptor) = pair();
        let said = dialer.share(subject(), &[SECRET.into()]).say;
        assert_eq!(acceptor.hear(&said, yes), Ok(Steps::default()));
        let answer = acceptor.share(subject(), &[SECRET.into()]).say;
        assert_eq!(dialer.hear(&answer, yes).unwrap().open, [(subject(), said[0])]);
    }

    #[test]
    fn one_old_secret_in_common_is_enough_and_gives_one_stream() {
        let (mut dialer, mut acceptor) = pair();
        let (old, older) = ([8; 32], [9; 32]);
        acceptor.share(subject(), &[SECRET.into(), old.into(), older.into()]);
        let said = dialer.share(subject(), &[old.into(), older.into()]).say;
        assert_eq!(said.len(), 2);
        let answer = acceptor.hear(&said, yes).unwrap().say;
        assert_eq!(answer.len(), 1);
        assert_eq!(dialer.hear(&answer, yes).unwrap().open.len(), 1);
    }

    #[test]
    fn a_stream_about_what_is_shared_no_more_is_no_offence() {
        let (mut dialer, mut acceptor) = pair();
        acceptor.share(subject(), &[SECRET.into()]);
        let said = dialer.share(subject(), &[SECRET.into()]).say;
        acceptor.hear(&said, yes).unwrap();
        assert_eq!(acceptor.about(said[0], |_| false), About::Gone);
        acceptor.unshare(subject());
        assert_eq!(acceptor.about(said[0], yes), About::Gone);
    }

    #[test]
    fn tags_that_nobody_knows_are_remembered_up_to_the_limit() {
        let (mut dialer, mut acceptor) = pair();
        let tag = |n: usize| {
            let mut bytes = [0; Tag::BYTES];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            Tag::from_bytes(bytes)
        };
        let most: Vec<Tag> = (0..MAX_REMEMBERED_TAGS).map(tag).collect();
        for book in [&mut dialer, &mut acceptor] {
            assert_eq!(book.hear(&most, yes), Ok(Steps::default()));
            assert_eq!(book.hear(&most, yes), Ok(Steps::default()), "the same ones again");
            assert_eq!(book.hear(&[tag(MAX_REMEMBERED_TAGS)], yes), Err(TooManyTags));
        }
    }

    #[test]
    fn a_dialer_never_says_more_than_an_acceptor_remembers() {
        let (mut dialer, _) = pair();
        let mut said = 0;
        for n in 0..MAX_REMEMBERED_TAGS + 10 {
            let mut secret = [0; 32];
            secret[..8].copy_from_slice(&n.to_le_bytes());
            said += dialer.share(SubjectId::from(secret), &[secret.into()]).say.len();
        }
        assert_eq!(said, MAX_REMEMBERED_TAGS);
    }
}
