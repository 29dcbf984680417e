//! Tags of a document: team members add and remove them at once.
//!
//! `cargo run --example tags [-- --data-dir DIR]`

mod common;

use std::{sync::mpsc, time::SystemTime};

use clap::Parser;
use common::{DataDir, Outcome, wait_for};
use xaeroflux::prelude::*;

/// A team tags a document together
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    data: DataDir,
}

fn main() -> Outcome {
    let _node = Options::parse().data.open_default()?;
    let (alice_id, bob_id, charlie_id) = (identity("alice")?, identity("bob")?, identity("charlie")?);
    let (tell, states) = mpsc::channel();
    let refresh_tag_display = move |current_tags: Vec<String>| {
        let _ = tell.send(current_tags);
    };

    // Create a tag management system
    let tags = Subject::new("workspace/docs/object/proposal-v2-tags".into());

    let tag_system = tags
        .filter(|xe| {
            // Only process tag-related events
            matches!(
                xe.evt.event_type,
                EventType::ApplicationEvent(CRDT_SET_ADD) | EventType::ApplicationEvent(CRDT_SET_REMOVE)
            )
        })
        .batch(
            Duration::from_millis(300), // Longer window for tags
            None,                       // No count limit
            vec![
                Operator::Sort(Sort::VectorClock.to_operator()),
                Operator::Fold(Fold::ORSet.to_operator()),
                Operator::Reduce(Reduce::SetContents.to_operator()),
            ],
        )
        .subscribe(move |tag_state| {
            if let Ok(tag_data) = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&tag_state.evt.data) {
                let current_tags: Vec<String> =
                    tag_data.into_iter().filter_map(|t| String::from_utf8(t).ok()).collect();

                println!("🏷️  Document tags: {}", current_tags.join(", "));
                refresh_tag_display(current_tags);
            }
        });

    let handle = tags.unsafe_run();

    // Team members add/remove tags concurrently
    let add_tag = |user: XaeroID, tag: &str| {
        let event = XaeroEvent {
            evt: Event::new(tag.as_bytes().to_vec(), CRDT_SET_ADD),
            merkle_proof: None,
            author_id: Some(user),
            latest_ts: Some(current_timestamp()),
        };
        tags.data.sink.tx.send(event).unwrap();
    };

    let remove_tag = |user: XaeroID, tag: &str| {
        let event = XaeroEvent {
            evt: Event::new(tag.as_bytes().to_vec(), CRDT_SET_REMOVE),
            merkle_proof: None,
            author_id: Some(user),
            latest_ts: Some(current_timestamp()),
        };
        tags.data.sink.tx.send(event).unwrap();
    };

    // The old tag that somebody is going to remove
    add_tag(bob_id, "draft");

    // Concurrent tag operations
    add_tag(alice_id, "urgent");
    add_tag(bob_id, "needs-review");
    remove_tag(charlie_id, "draft"); // Someone removes old tag
    add_tag(alice_id, "approved"); // Alice adds final status

    wait_for(&states, &["approved", "needs-review", "urgent"].map(str::to_owned).to_vec())?;
    drop(handle);
    drop(tag_system);
    Ok(())
}

fn current_timestamp() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64)
}
