//! What happens in the demo, scene by scene.

use std::{sync::Barrier, thread, time::Duration};

use serde_json::json;
use xaeroflux::{
    ChildKind, Handle, IngestOutcome, Node, Notice, Notices, PublishError, ScanWindow, Subject, XaeroEvent, XaeroID,
    event::{CRDT_COUNTER_DECREMENT, CRDT_COUNTER_INCREMENT, CRDT_SET_ADD, CRDT_SET_REMOVE},
    wire::{frame, record::Record},
};

use super::{
    narrator::Narrator,
    stage::{Resolved, Stage, publish},
};
use crate::cli::{
    args::Crdt,
    exit::{Exit, Failure, of_publish},
    state::Value,
    text::{Bytes, short},
};

/// Votes of each person. Three times this is more than the bus holds, so that the last cannot even be sent before the
/// killed actor is back.
const VOTES: u16 = 2_000;

/// How long a killed actor may take to be back. It takes some 10 ms.
const RESTART_PATIENCE: Duration = Duration::from_secs(10);

/// A subject, and the state that it came to.
pub struct Ending {
    subject: &'static str,
    crdt: Crdt,
    state: Value,
    events: u64,
}

/// Who is there.
pub fn people(stage: &Stage<'_>, narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    narrator.scene("people", "one node, three identities")?;
    for (name, id) in stage.node.identities() {
        let text = format!("{name:<5} writes as {}…", short(&id));
        narrator.tell("identity", text, json!({ "name": name, "id": id.to_string() }))?;
    }
    Ok(())
}

/// Three people react to a post in the same moment.
pub fn reactions(stage: &Stage<'_>, narrator: &mut Narrator<'_>) -> Result<Ending, Failure> {
    const SUBJECT: &str = "demo/post-456-reactions";
    narrator.scene("reactions", "three people react to a post in the same moment (OR-Set)")?;
    let subject = stage.node.subject(SUBJECT);
    let live = Resolved::of(&subject, Crdt::OrSet);
    let handle = subject.run()?;
    let all = [("alice", stage.alice, "👍"), ("bob", stage.bob, "❤️"), ("carol", stage.carol, "👍")];
    let at_once = Barrier::new(all.len());
    let stored = thread::scope(|scope| {
        let threads = all.map(|(_, id, reaction)| {
            let (subject, at_once) = (&subject, &at_once);
            scope.spawn(move || {
                at_once.wait();
                publish(subject, id, reaction, CRDT_SET_ADD)
            })
        });
        threads.map(joined)
    });
    for ((name, _, reaction), stored) in all.into_iter().zip(stored) {
        let stored = stored??;
        narrator.tell(
            "published",
            format_args!("{name:<5} reacts with {reaction}: on disk as number {} of that writer", stored.seq),
            json!({ "name": name, "payload": reaction, "seq": stored.seq, "id": stored.id.to_string() }),
        )?;
    }
    drop(handle);
    resolved(narrator, &subject, live, Crdt::OrSet, many(&["❤️", "👍"]))?;
    ending(narrator, &stage.node, SUBJECT, Crdt::OrSet, 3)
}

/// Two machines edit the tags of a document, apart for a while.
pub fn tags(stage: &Stage<'_>, narrator: &mut Narrator<'_>) -> Result<Ending, Failure> {
    const SUBJECT: &str = "demo/proposal-v2-tags";
    narrator.scene("tags", "two machines edit tags, apart for a while (OR-Set)")?;
    let laptop = stage.other("laptop")?;
    let train = laptop.identity("carol")?;
    let (here, there) = (stage.node.subject(SUBJECT), laptop.subject(SUBJECT));
    let handles = (here.run()?, there.run()?);

    edit(narrator, &here, ("alice", stage.alice), CRDT_SET_ADD, "draft")?;
    edit(narrator, &here, ("bob", stage.bob), CRDT_SET_ADD, "needs-review")?;
    narrator.tell("carried", "carol takes a copy with her on her laptop, which is a node of its own", json!({}))?;
    carry(narrator, &here, &there, 2)?;

    narrator.tell("apart", "no connection from here on", json!({}))?;
    edit(narrator, &here, ("bob", stage.bob), CRDT_SET_REMOVE, "draft")?;
    edit(narrator, &here, ("alice", stage.alice), CRDT_SET_ADD, "approved")?;
    edit(narrator, &there, ("carol", train), CRDT_SET_ADD, "draft")?;
    edit(narrator, &there, ("carol", train), CRDT_SET_REMOVE, "needs-review")?;
    narrator.state("the node", &Value::of_log(&here, Crdt::OrSet)?, &many(&["approved", "needs-review"]))?;
    narrator.state("the laptop", &Value::of_log(&there, Crdt::OrSet)?, &many(&["draft"]))?;

    narrator.tell("together", "they meet, and each gives the other what it has", json!({}))?;
    carry(narrator, &there, &here, 2)?;
    carry(narrator, &here, &there, 2)?;
    let why =
        "bob removed the draft that he had seen, not the one that carol added meanwhile; carol had seen needs-review";
    narrator.tell("why", why, json!({}))?;
    let expected = many(&["approved", "draft"]);
    narrator.state("the node", &Value::of_log(&here, Crdt::OrSet)?, &expected)?;
    narrator.state("the laptop", &Value::of_log(&there, Crdt::OrSet)?, &expected)?;
    drop(handles);
    ending(narrator, &stage.node, SUBJECT, Crdt::OrSet, 6)
}

/// Three people vote as fast as they can, while the actors are killed.
pub fn votes(stage: &Stage<'_>, narrator: &mut Narrator<'_>) -> Result<Ending, Failure> {
    const SUBJECT: &str = "demo/dark-mode-votes";
    narrator.scene("votes", "three people vote as fast as they can, while actors are killed (PN-Counter)")?;
    let subject = stage.node.subject(SUBJECT);
    let live = Resolved::of(&subject, Crdt::PnCounter);
    let notices = subject.notices();
    let handle = subject.run()?;
    let voters = [
        ("alice", stage.alice, CRDT_COUNTER_INCREMENT),
        ("bob", stage.bob, CRDT_COUNTER_INCREMENT),
        ("carol", stage.carol, CRDT_COUNTER_DECREMENT),
    ];
    // At a third and at two thirds of the votes everybody meets, the killer too; nobody waits for receipts there.
    let meeting = Barrier::new(voters.len() + 1);
    let killed = [(ChildKind::Aof, 1), (ChildKind::Batch, 2)];
    let (kills, outcomes) = thread::scope(|scope| {
        let threads = voters.map(|(_, id, code)| {
            let (subject, meeting) = (&subject, &meeting);
            scope.spawn(move || vote(subject, meeting, id, code))
        });
        let kills = killed.map(|(child, thirds)| {
            meeting.wait();
            // At once, while everybody goes on: to count takes a turn at the disk.
            handle.kill_child(child);
            let durable = subject.count();
            (child, 3 * (VOTES / 3 * thirds), durable, data_file_bytes(&stage.node))
        });
        (kills, threads.map(joined))
    });
    for (child, sent, durable, bytes) in kills {
        let durable = durable?;
        narrator.tell(
            "kill",
            format_args!(
                "after {sent} votes the {child} is killed, and the votes go on; on disk by now: {durable} events, {} KiB",
                bytes / 1024
            ),
            json!({ "child": child.to_string(), "sent": sent, "events": durable, "data_file_bytes": bytes }),
        )?;
    }
    tell_of_restarts(narrator, &notices, killed.map(|(child, _)| child).to_vec(), &handle)?;
    for ((name, _, code), outcomes) in voters.into_iter().zip(outcomes) {
        let numbers = outcomes?.map_err(|error| Failure::new(of_publish(&error), error))?;
        let sign = if code == CRDT_COUNTER_INCREMENT { "+1" } else { "-1" };
        narrator.must(
            numbers.into_iter().eq(1..=u64::from(VOTES)),
            "receipts",
            &format!("{name:<5} votes {sign} {VOTES} times: a receipt for each, numbered 1 to {VOTES} with no gap"),
            json!({ "name": name, "votes": VOTES }),
        )?;
    }
    drop(handle);
    resolved(narrator, &subject, live, Crdt::PnCounter, Value::Number(i64::from(VOTES)))?;
    ending(narrator, &stage.node, SUBJECT, Crdt::PnCounter, 3 * u64::from(VOTES))
}

/// The same data directory, opened anew.
pub fn restart(stage: &Stage<'_>, endings: &[Ending], narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    narrator.scene("restart", "everything was stopped; the data directory is opened anew")?;
    for Ending { subject: name, crdt, state, events } in endings {
        let subject = stage.node.subject(*name);
        narrator.state(name, &Value::of_log(&subject, *crdt)?, state)?;
        disk(narrator, &stage.node, &subject, *events)?;
    }
    Ok(())
}

/// The numbers that the votes got.
fn vote(subject: &Subject, meeting: &Barrier, id: XaeroID, code: u8) -> Result<Vec<u64>, PublishError> {
    let publish = |n| {
        if n == VOTES / 3 || n == VOTES / 3 * 2 {
            meeting.wait();
        }
        subject.publish(XaeroEvent::new(1_i64.to_le_bytes(), code).by(id))
    };
    let receipts: Vec<_> = (0..VOTES).map(publish).collect();
    receipts.into_iter().map(|receipt| receipt.wait().map(|stored| stored.seq)).collect()
}

/// Tells of deaths and restarts until all that were killed are up again.
pub(super) fn tell_of_restarts(
    narrator: &mut Narrator<'_>,
    notices: &Notices,
    mut killed: Vec<ChildKind>,
    handle: &Handle,
) -> Result<(), Failure> {
    while !killed.is_empty() {
        match notices.next_timeout(RESTART_PATIENCE) {
            Some(Notice::ChildDied { child, restart_after: Some(wait), .. }) => narrator.tell(
                "died",
                format_args!("the {child} is dead; its supervisor starts it again in {wait:.1?}"),
                json!({ "child": child.to_string(), "restart_after_ms": wait.as_secs_f64() * 1e3 }),
            )?,
            Some(Notice::ChildRestarted { child, replayed }) => {
                killed.retain(|other| *other != child);
                let again = match child {
                    ChildKind::Aof => format!("; batches that it had not acknowledged and got again: {replayed}"),
                    ChildKind::Sync => "; it goes on with what its peers and this node lack of each other".to_owned(),
                    _ => "; it folds on from what is durable".to_owned(),
                };
                narrator.tell(
                    "restarted",
                    format_args!("the {child} is up again{again}"),
                    json!({ "child": child.to_string(), "replayed": replayed }),
                )?;
            }
            Some(_) => {}
            None => {
                let reason = handle.failure().map_or_else(|| "not in time".to_owned(), |error| error.to_string());
                return Err(Failure::new(Exit::Failed, format_args!("a killed actor did not come back: {reason}")));
            }
        }
    }
    Ok(())
}

pub(super) fn edit(
    narrator: &mut Narrator<'_>,
    subject: &Subject,
    (name, id): (&str, XaeroID),
    code: u8,
    tag: &str,
) -> Result<(), Failure> {
    let stored = publish(subject, id, tag, code)?;
    let (done, kind) = if code == CRDT_SET_ADD { ("adds", "set.add") } else { ("removes", "set.remove") };
    narrator.tell(
        "published",
        format_args!("{name:<5} {done} {tag}"),
        json!({ "name": name, "type": kind, "payload": tag, "seq": stored.seq, "id": stored.id.to_string() }),
    )
}

/// Takes all events of one node's log to another, by the door for events that were made elsewhere.
fn carry(narrator: &mut Narrator<'_>, from: &Subject, to: &Subject, expected: usize) -> Result<(), Failure> {
    let (mut frames, mut failed) = (Vec::new(), None);
    from.for_each_archived(ScanWindow::ALL, |record| {
        let deps: Vec<_> = record.deps().collect();
        let record = Record {
            subject: record.subject(),
            dot: record.dot(),
            clock: record.clock(),
            latest_ts: record.latest_ts(),
            deps: &deps,
            event_type: record.event_type(),
            payload: record.payload(),
        };
        let mut bytes = Vec::new();
        failed = frame::encode_into(&mut bytes, &record).err();
        frames.push(bytes);
        failed.is_none()
    })?;
    if let Some(error) = failed {
        return Err(Failure::new(Exit::Failed, error));
    }
    let outcomes = to.ingest(frames)?.wait()?;
    let new = outcomes.iter().filter(|outcome| matches!(outcome, IngestOutcome::Stored(_))).count();
    let known = outcomes.iter().filter(|outcome| matches!(outcome, IngestOutcome::Duplicate(_))).count();
    narrator.must(
        new == expected && new + known == outcomes.len(),
        "ingested",
        &format!("events handed over: {new} new, {known} known already"),
        json!({ "new": new, "known": known }),
    )
}

/// Tells what the pipeline that ran along and what the log come to. The subject has been stopped.
fn resolved(
    narrator: &mut Narrator<'_>,
    subject: &Subject,
    live: Resolved,
    crdt: Crdt,
    expected: Value,
) -> Result<(), Failure> {
    let (emitted, state) = live.last()?;
    narrator.state(&format!("live, after {emitted} windows"), &state, &expected)?;
    narrator.state("from the log", &Value::of_log(subject, crdt)?, &expected)
}

/// The state that a scene leaves, once it has told what is on disk.
pub(super) fn ending(
    narrator: &mut Narrator<'_>,
    node: &Node,
    name: &'static str,
    crdt: Crdt,
    events: u64,
) -> Result<Ending, Failure> {
    let subject = node.subject(name);
    disk(narrator, node, &subject, events)?;
    Ok(Ending { subject: name, crdt, state: Value::of_log(&subject, crdt)?, events })
}

fn disk(narrator: &mut Narrator<'_>, node: &Node, subject: &Subject, expected: u64) -> Result<(), Failure> {
    let events = subject.count()?;
    let bytes = data_file_bytes(node);
    narrator.must(
        events == expected,
        "disk",
        &format!("on disk: {events} events of this subject; the data file has {} KiB", bytes / 1024),
        json!({ "subject": subject.name(), "events": events, "data_file_bytes": bytes }),
    )
}

fn data_file_bytes(node: &Node) -> u64 {
    std::fs::metadata(node.data_dir().join("data.mdb")).map_or(0, |data| data.len())
}

pub(super) fn many(values: &[&str]) -> Value {
    Value::Many(values.iter().map(|value| Bytes::from(value.as_bytes().to_vec())).collect())
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> Result<T, Failure> {
    thread.join().map_err(|_| Failure::new(Exit::Failed, "a publishing thread panicked: report this as a bug"))
}
