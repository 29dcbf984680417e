//! The thread: jobs in, signed batches of heads out.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use crossbeam::channel::{Sender, unbounded};

use crate::{
    actors::{fault::fault_point, keyring::Keyring, storage::StorageError},
    wire::{
        head::{HeadBatch, LogHead},
        id::{SubjectId, XaeroID},
        mmr::Peaks,
    },
};

/// Heads that one signature covers, at most. More make the path from a head to its signature longer.
const BATCH_HEADS: usize = 4_096;

/// After so many panics in a row each author of the job is signed for by itself, and whoever makes that panic as well is
/// out of order: the same job would come back for ever.
const PANICS_IN_A_ROW: u32 = 3;

/// Heads to be signed.
pub(crate) struct Job {
    /// Which state of the committer they are of: after a failed commit they may never have been.
    pub(crate) epoch: u64,
    /// By author.
    pub(crate) heads: Vec<(XaeroID, Vec<GrownHead>)>,
}

/// The tree of one log, as far as its head is to be signed.
pub(crate) struct GrownHead {
    pub(crate) subject: SubjectId,
    pub(crate) peaks: Peaks,
}

/// What became of a job.
pub(crate) struct Done {
    pub(crate) epoch: u64,
    pub(crate) batches: Vec<HeadBatch>,
    /// Authors that cannot be signed for, and why.
    pub(crate) failed: Vec<(XaeroID, String)>,
}

/// Called on the signing thread: it must only pass the news on.
pub(crate) type Tell = Box<dyn Fn(Done) + Send>;

/// The signing thread of one node.
pub(crate) struct Signing {
    jobs: Option<Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Signing {
    pub(crate) fn start(keyring: Arc<Keyring>, scope: String, tell: Tell) -> Result<Self, StorageError> {
        // At most one job is on its way: the committer waits for its end before it sends another.
        let (jobs, inbox) = unbounded::<Job>();
        let thread = std::thread::Builder::new()
            .name("xaeroflux-sign".to_owned())
            .spawn(move || {
                let mut panics = 0;
                for job in inbox {
                    let epoch = job.epoch;
                    let one_by_one = panics + 1 == PANICS_IN_A_ROW;
                    let attempt = |job| {
                        catch_unwind(AssertUnwindSafe(|| {
                            fault_point!(scope, "signing.job");
                            sign(&keyring, job)
                        }))
                    };
                    // A panic here costs this job: its heads are still unsigned, and part of the next.
                    let done = if one_by_one { Ok(sign_one_by_one(job, attempt)) } else { attempt(job) };
                    panics = if done.is_ok() { 0 } else { panics + 1 };
                    tell(done.unwrap_or_else(|_| {
                        tracing::error!("signing heads ended in a panic; they are signed with the next");
                        Done { epoch, batches: Vec::new(), failed: Vec::new() }
                    }));
                }
            })
            .map_err(|source| StorageError::io("starting a thread for", "signing", source))?;
        Ok(Self { jobs: Some(jobs), thread: Mutex::new(Some(thread)) })
    }

    /// Hands a job over. `false` where the thread has ended.
    pub(crate) fn submit(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the signing thread ended in a panic");
        }
    }
}

/// Makes a job of each author's heads; where that panics, the author is said to have failed.
fn sign_one_by_one(job: Job, attempt: impl Fn(Job) -> std::thread::Result<Done>) -> Done {
    let mut done = Done { epoch: job.epoch, batches: Vec::new(), failed: Vec::new() };
    for (author, heads) in job.heads {
        match attempt(Job { epoch: job.epoch, heads: vec![(author, heads)] }) {
            Ok(Done { batches, failed, .. }) => {
                done.batches.extend(batches);
                done.failed.extend(failed);
            }
            Err(_) => done.failed.push((author, "signing them panics each time".to_owned())),
        }
    }
    done
}

/// Signs the heads of a job, one signature for each author.
pub(crate) fn sign(keyring: &Keyring, job: Job) -> Done {
    let mut done = Done { epoch: job.epoch, batches: Vec::new(), failed: Vec::new() };
    for (author, heads) in job.heads {
        let signer = match keyring.head_signer(author) {
            Ok(signer) => signer,
            Err(error) => {
                done.failed.push((author, error.to_string()));
                continue;
            }
        };
        for part in heads.chunks(BATCH_HEADS) {
            let head = |GrownHead { subject, peaks }: &GrownHead| LogHead {
                subject: *subject,
                author,
                length: peaks.len(),
                root: peaks.root(),
            };
            match HeadBatch::sign(&*signer, part.iter().map(head).collect()) {
                Ok(batch) => done.batches.push(batch),
                Err(error) => {
                    done.failed.push((author, error.to_string()));
                    break;
                }
            }
        }
    }
    done
}
