//! The actor itself.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, Message};

use super::messages::{Acknowledged, Append, Durable, Ingress, Parent};
use crate::{
    actors::{
        bus::PublishError,
        committer::{
            submission::{Batch, LocalBatch, Outcome, Submission},
            thread::Committer,
        },
        fault::fault_point,
        keyring::Keyring,
        storage::{StorageError, open::SubjectLog},
        supervise::Token,
        watch::{ChildKind, DeathWatch, Kill},
    },
    wire::id::XaeroID,
};

/// Stands for the node's own identity where that cannot be had.
fn nobody() -> XaeroID {
    XaeroID::from([0; 32])
}

/// What an AOF actor works with.
#[derive(Clone)]
pub(crate) struct AofEnv {
    pub(crate) committer: Arc<Committer>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) log: Arc<SubjectLog>,
}

/// Appends one subject's batches to the log.
pub(crate) struct Aof {
    env: AofEnv,
    parent: Parent,
    incarnation: u64,
    _watch: DeathWatch,
}

/// The committer's answer, on its way to the supervisor.
struct Committed {
    token: Token,
    refused: Vec<(XaeroID, usize, PublishError)>,
    failed: Option<StorageError>,
}

impl Message for Committed {
    type Result = ();
}

impl Aof {
    pub(crate) fn new(env: AofEnv, parent: Parent, incarnation: u64) -> Self {
        let watch = DeathWatch { child: ChildKind::Aof, incarnation, supervisor: parent.died.clone() };
        Self { env, parent, incarnation, _watch: watch }
    }

    /// Who writes the events without an author, and which events nobody here can write.
    fn resolve(&self, ingress: &Ingress) -> (XaeroID, Vec<(usize, PublishError)>) {
        let Ingress::Local(chunk) = ingress else { return (nobody(), Vec::new()) };
        let needs_own = chunk.entries.iter().any(|entry| entry.event.author_id.is_none());
        let own = if needs_own { self.env.keyring.own() } else { Ok(nobody()) };
        let mut refused = Vec::new();
        // Most chunks have one author: it is looked up once.
        let mut known = None;
        for (index, entry) in chunk.entries.iter().enumerate() {
            let Some(author) = entry.event.author_id else {
                if let Err(error) = &own {
                    refused.push((index, PublishError::Identity(Arc::from(error.to_string()))));
                }
                continue;
            };
            if known == Some(author) {
                continue;
            }
            // The committer has whoever continues the author's work write.
            if self.env.keyring.writing_for(author).is_some() {
                known = Some(author);
            } else {
                refused.push((index, PublishError::UnknownAuthor { id: author }));
            }
        }
        (own.unwrap_or(nobody()), refused)
    }

    fn submit(&self, batch: Batch, token: Token, reply: impl FnOnce(Result<Outcome, StorageError>) + Send + 'static) {
        self.env.committer.submit(Submission {
            log: Arc::clone(&self.env.log),
            token: token.into(),
            batch,
            reply: Box::new(reply),
        });
    }
}

impl Actor for Aof {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        let (parent, log, incarnation) = (self.parent.clone(), Arc::clone(&self.env.log), self.incarnation);
        self.submit(Batch::Open, Token::default(), move |answer| {
            if let Some(supervisor) = parent.durable.upgrade() {
                let result = answer.map(|_| Token::from(log.token()));
                supervisor.do_send(Durable { incarnation, result });
            }
        });
    }
}

impl Handler<Append> for Aof {
    type Result = ();

    fn handle(&mut self, Append { token, ingress }: Append, ctx: &mut Self::Context) {
        fault_point!(self.env.log.name, "aof.received");
        let address = ctx.address();
        let answer = move |refused, failed| address.do_send(Committed { token, refused, failed });
        let (own, refused) = self.resolve(&ingress);
        fault_point!(self.env.log.name, "aof.resolved");
        let mut told = tell_refused(&ingress, &refused);
        let batch = match &*ingress {
            Ingress::Local(chunk) => Batch::Local(Arc::new(LocalBatch::new(Arc::clone(chunk), own, refused))),
            Ingress::Foreign { batch, .. } => Batch::Foreign(Arc::clone(batch)),
            Ingress::Snapshot { fold, row, cuts } => {
                Batch::Snapshot { fold: *fold, row: Arc::clone(row), cuts: cuts.clone() }
            }
        };
        self.submit(batch, token, move |result| {
            let failed = match result {
                Ok(Outcome::Local(results)) => {
                    tell_denied(&results, &mut told);
                    settle_local(&ingress, Ok(results));
                    None
                }
                Ok(Outcome::Foreign(outcomes)) => {
                    if let Ingress::Foreign { tell, .. } = &*ingress {
                        tell(Ok(outcomes));
                    }
                    None
                }
                // Nothing else is asked for from here.
                Ok(_) => None,
                Err(error) => {
                    if let Ingress::Foreign { tell, .. } = &*ingress {
                        tell(Err(error.clone()));
                    }
                    settle_local(&ingress, Err(PublishError::from(error.clone())));
                    Some(error)
                }
            };
            answer(told, failed);
        });
        fault_point!(self.env.log.name, "aof.submitted");
    }
}

impl Handler<Committed> for Aof {
    type Result = ();

    fn handle(&mut self, Committed { token, refused, failed }: Committed, _: &mut Self::Context) {
        fault_point!(self.env.log.name, "aof.acknowledged");
        if let Some(supervisor) = self.parent.acknowledged.upgrade() {
            supervisor.do_send(Acknowledged { token, refused, failed });
        }
    }
}

impl Handler<Kill> for Aof {
    type Result = ();

    fn handle(&mut self, _: Kill, _: &mut Self::Context) {
        Kill::strike()
    }
}

/// Resolves the receipts of a local batch.
fn settle_local(ingress: &Ingress, results: Result<Vec<crate::actors::bus::Outcome>, PublishError>) {
    let Ingress::Local(chunk) = ingress else { return };
    if let Some(receipts) = &chunk.receipts {
        match results {
            Ok(results) => receipts.complete(results),
            Err(error) => receipts.fail(error),
        };
    }
}

/// Adds the events that the committer has refused since their authors may not write, counted by author.
fn tell_denied(results: &[crate::actors::bus::Outcome], told: &mut Vec<(XaeroID, usize, PublishError)>) {
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        let PublishError::NoRight { author, .. } = error else { continue };
        let is_same = |known: &&mut (XaeroID, usize, PublishError)| {
            known.0 == *author && matches!(known.2, PublishError::NoRight { .. })
        };
        match told.iter_mut().find(is_same) {
            Some((_, count, _)) => *count += 1,
            None => told.push((*author, 1, error.clone())),
        }
    }
}

/// The refused events of a batch, counted by author.
fn tell_refused(ingress: &Ingress, refused: &[(usize, PublishError)]) -> Vec<(XaeroID, usize, PublishError)> {
    let mut told: Vec<(XaeroID, usize, PublishError)> = Vec::new();
    let Ingress::Local(chunk) = ingress else { return told };
    for (index, error) in refused {
        let Some(entry) = chunk.entries.get(*index) else { continue };
        let author = entry.event.author_id.unwrap_or(nobody());
        match told.iter_mut().find(|(known, ..)| *known == author) {
            Some((_, count, _)) => *count += 1,
            None => told.push((author, 1, error.clone())),
        }
    }
    told
}
