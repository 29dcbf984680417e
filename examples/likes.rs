//! Likes of a blog post: a stream that tells of each like, and a pipeline that sums them up without conflict.
//!
//! `cargo run --example likes [-- --data-dir DIR]`

mod common;

use std::{sync::mpsc, time::SystemTime};

use clap::Parser;
use common::{DataDir, Outcome, wait_for};
use xaeroflux::prelude::*;

/// Three people like a post; the likes are summed up
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    data: DataDir,
}

fn main() -> Outcome {
    let _node = Options::parse().data.open_default()?;

    // 1. Create a subject for your data
    let likes = Subject::new("workspace/blog/object/post-123-likes".into());

    // 2. Set up a simple pipeline
    let likes_stream = likes
        .filter(|event| matches!(event.evt.event_type, EventType::ApplicationEvent(CRDT_COUNTER_INCREMENT)))
        .subscribe(|_event| {
            println!("Someone liked the post!");
        });

    // When multiple users interact simultaneously, add CRDT batch processing
    let (tell, totals) = mpsc::channel();
    let update_ui_likes = move |total_likes: i64| {
        println!("{total_likes} likes");
        let _ = tell.send(total_likes);
    };
    let collaborative_likes = likes
        .batch(
            Duration::from_millis(100), // Collect events for 100ms
            Some(25),                   // Or until 25 events
            vec![
                Operator::Sort(Sort::VectorClock.to_operator()),
                Operator::Fold(Fold::GCounter.to_operator()), // Sum all likes
                Operator::Reduce(Reduce::CounterValue.to_operator()),
            ],
        )
        .subscribe(move |resolved_state| {
            // Get final like count after resolving conflicts
            let bytes: [u8; 8] = resolved_state.evt.data[0..8].try_into().unwrap();
            let total_likes = i64::from_le_bytes(bytes);
            update_ui_likes(total_likes);
        });

    // A data directory of one's own may hold the likes of an earlier run.
    let before = likes_so_far(&likes)?;

    // 3. Connect to storage
    let handle = likes.unsafe_run();

    // 4. Publish events
    for name in ["alice", "bob", "charlie"] {
        let user_id = identity(name)?;
        let like_event = XaeroEvent {
            evt: Event::new(1i64.to_le_bytes().to_vec(), CRDT_COUNTER_INCREMENT),
            merkle_proof: None,
            author_id: Some(user_id),
            latest_ts: Some(current_timestamp()),
        };
        likes.data.sink.tx.send(like_event).unwrap();
    }

    wait_for(&totals, &(before + 3))?;
    // Everything is on disk and was passed on when this returns; then the subscriptions have nothing left to do.
    drop(handle);
    drop((likes_stream, collaborative_likes));
    Ok(())
}

fn likes_so_far(likes: &Subject) -> Result<i64, Error> {
    let state = likes.resolve(vec![
        Operator::Sort(Sort::VectorClock.to_operator()),
        Operator::Fold(Fold::GCounter.to_operator()),
        Operator::Reduce(Reduce::CounterValue.to_operator()),
    ])?;
    Ok(state.map_or(0, |state| i64::from_le_bytes(state.evt.data[0..8].try_into().unwrap())))
}

fn current_timestamp() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64)
}
