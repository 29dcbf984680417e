//! Real-time reactions to a post: three people react at once, two of them alike, and all see the same set.
//!
//! `cargo run --example reactions [-- --data-dir DIR]`

mod common;

use std::{sync::mpsc, time::SystemTime};

use clap::Parser;
use common::{DataDir, Outcome, wait_for};
use xaeroflux::prelude::*;

/// Three people react to a post at the same time
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    data: DataDir,
}

#[tokio::main]
async fn main() -> Outcome {
    let _node = Options::parse().data.open_default()?;
    let (alice_id, bob_id, charlie_id) = (identity("alice")?, identity("bob")?, identity("charlie")?);
    let (tell, states) = mpsc::channel();
    let update_reaction_ui = move |reaction_list: Vec<String>| {
        let _ = tell.send(reaction_list);
    };

    // Create subject for post reactions
    let reactions = Subject::new("workspace/social/object/post-456-reactions".into());

    // Pipeline that handles concurrent reactions
    let reaction_pipeline = reactions
        .batch(
            Duration::from_millis(200),
            Some(50),
            vec![
                Operator::Sort(Sort::VectorClock.to_operator()),
                Operator::Fold(Fold::ORSet.to_operator()),
                Operator::Reduce(Reduce::SetContents.to_operator()),
            ],
        )
        .subscribe(move |final_reactions| {
            // Parse final reaction set
            if let Ok(reactions) = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&final_reactions.evt.data) {
                let reaction_list: Vec<String> =
                    reactions.into_iter().filter_map(|r| String::from_utf8(r).ok()).collect();

                println!("📱 Current reactions: {:?}", reaction_list);
                update_reaction_ui(reaction_list);
            }
        });

    // Start the system
    let handle = reactions.unsafe_run();

    // Multiple users react simultaneously
    let add_reaction = async |user_id: XaeroID, reaction: &str| {
        let event = XaeroEvent {
            evt: Event::new(reaction.as_bytes().to_vec(), CRDT_SET_ADD),
            merkle_proof: None,
            author_id: Some(user_id),
            latest_ts: Some(current_timestamp()),
        };
        reactions.data.sink.tx.send(event).unwrap();
    };

    // Users react at the same time - no conflicts!
    add_reaction(alice_id, "👍").await;
    add_reaction(bob_id, "❤️").await;
    add_reaction(charlie_id, "👍").await; // Same reaction as Alice - handled correctly

    // A set is sorted by its bytes. Nothing else runs on this runtime, so a wait that blocks does no harm.
    wait_for(&states, &vec!["❤️".to_owned(), "👍".to_owned()])?;
    handle.shutdown().await?;
    drop(reaction_pipeline);
    Ok(())
}

fn current_timestamp() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64)
}
