//! Votes on a feature request: up and down, all counted.
//!
//! `cargo run --example votes [-- --data-dir DIR]`

mod common;

use std::{sync::mpsc, time::SystemTime};

use clap::Parser;
use common::{DataDir, Outcome, wait_for};
use xaeroflux::prelude::*;

/// Four people vote on a feature request
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    data: DataDir,
}

fn main() -> Outcome {
    let _node = Options::parse().data.open_default()?;
    let (alice_id, bob_id) = (identity("alice")?, identity("bob")?);
    let (charlie_id, diana_id) = (identity("charlie")?, identity("diana")?);
    let (tell, scores) = mpsc::channel();
    let update_vote_display = move |total_score: i64| {
        let _ = tell.send(total_score);
    };
    let notify_milestone_reached = |total_score: i64| println!("A milestone: {total_score}");

    // Create a voting system where users can upvote/downvote
    let votes = Subject::new("workspace/feature-requests/object/dark-mode-votes".into());

    let voting_system = votes
        .batch(
            Duration::from_millis(100), // Quick resolution for votes
            Some(30),
            vec![
                Operator::Sort(Sort::VectorClock.to_operator()),
                Operator::Fold(Fold::PNCounter.to_operator()),
                Operator::Reduce(Reduce::CounterValue.to_operator()),
            ],
        )
        .subscribe(move |vote_result| {
            if vote_result.evt.data.len() >= 8 {
                let bytes: [u8; 8] = vote_result.evt.data[0..8].try_into().unwrap();
                let total_score = i64::from_le_bytes(bytes);

                println!("🗳️  Vote score: {}", total_score);
                update_vote_display(total_score);

                // Trigger notifications for milestone scores
                if total_score % 10 == 0 {
                    notify_milestone_reached(total_score);
                }
            }
        });

    // A data directory of one's own may hold the votes of an earlier run.
    let before = score_so_far(&votes)?;

    let handle = votes.unsafe_run();

    // Users vote simultaneously
    let upvote = |user_id: XaeroID| {
        let event = XaeroEvent {
            evt: Event::new(1i64.to_le_bytes().to_vec(), CRDT_COUNTER_INCREMENT),
            merkle_proof: None,
            author_id: Some(user_id),
            latest_ts: Some(current_timestamp()),
        };
        votes.data.sink.tx.send(event).unwrap();
    };

    let downvote = |user_id: XaeroID| {
        let event = XaeroEvent {
            evt: Event::new(1i64.to_le_bytes().to_vec(), CRDT_COUNTER_DECREMENT),
            merkle_proof: None,
            author_id: Some(user_id),
            latest_ts: Some(current_timestamp()),
        };
        votes.data.sink.tx.send(event).unwrap();
    };

    // Multiple users vote at once - all votes counted correctly
    upvote(alice_id);
    upvote(bob_id);
    downvote(charlie_id);
    upvote(diana_id);
    // Final score: +2 (3 upvotes, 1 downvote)

    wait_for(&scores, &(before + 2))?;
    drop(handle);
    drop(voting_system);
    Ok(())
}

fn score_so_far(votes: &Subject) -> Result<i64, Error> {
    let state = votes.resolve(vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(Fold::PNCounter.to_operator()),
        Operator::Reduce(Reduce::CounterValue.to_operator()),
    ])?;
    Ok(state.map_or(0, |state| i64::from_le_bytes(state.evt.data[0..8].try_into().unwrap())))
}

fn current_timestamp() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64)
}
