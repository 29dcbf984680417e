//! The API that users were promised: each snippet of the project's first description, compiled and run.
//!
//! What differs from the description: one `use`, closures where a nested `fn` would capture, the subjects' names, which
//! tests of one process share, and that a test waits for a state instead of a fixed time.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::redundant_closure,
    clippy::uninlined_format_args,
    unused_variables,
    reason = "as users would write it"
)]

use std::sync::{PoisonError, Weak, mpsc};

use xaeroflux::prelude::*;

/// How long to wait for what takes a fraction of a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The default node of this process, for as long as a test runs: in a temporary directory.
fn default_node() -> Arc<Node> {
    static NODE: Mutex<Weak<Node>> = Mutex::new(Weak::new());
    let mut shared = NODE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(node) = shared.upgrade() {
        return node;
    }
    let node = Arc::new(Node::ephemeral().unwrap());
    node.make_default().unwrap();
    *shared = Arc::downgrade(&node);
    node
}

fn wait_for<T: PartialEq + std::fmt::Debug>(states: &mpsc::Receiver<T>, expected: &T) {
    loop {
        let state = states.recv_timeout(PATIENCE).unwrap();
        if state == *expected {
            return;
        }
    }
}

fn current_timestamp() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn the_three_concepts() {
    fn add_timestamp(mut msg: XaeroEvent) -> XaeroEvent {
        msg.latest_ts = Some(7);
        msg
    }
    let _node = default_node();
    let chat = Subject::new("workspace/team-alpha/object/general-chat".into());

    let filtered_chat = chat.filter(|msg| !msg.evt.data.is_empty()).map(|msg| add_timestamp(msg));

    let subject = Subject::new("workspace/team-alpha/object/document".into());
    let collaborative_doc = subject.batch(
        Duration::from_millis(50),
        Some(20),
        vec![
            Operator::Sort(Sort::VectorClock.to_operator()),
            Operator::Fold(Fold::ORSet.to_operator()),
            Operator::Reduce(Reduce::SetContents.to_operator()),
        ],
    );

    let (tell, told) = mpsc::channel();
    let subscription = filtered_chat.subscribe(move |msg| tell.send((msg.evt.data, msg.latest_ts)).unwrap());
    chat.data.sink.tx.send(XaeroEvent::new("", 1)).unwrap();
    chat.data.sink.tx.send(XaeroEvent::new("hello", 1)).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (b"hello".to_vec(), Some(7)));
    let state = collaborative_doc.take(1);
    let (tell, told) = mpsc::channel();
    let subscription = state.subscribe(move |state| tell.send(state).unwrap());
    subject.data.sink.tx.send(XaeroEvent::new("a", CRDT_SET_ADD)).unwrap();
    let state = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(state.evt.event_type, EventType::ApplicationEvent(CRDT_SET_STATE));
}

#[test]
fn basic_subject_usage_and_adding_conflict_resolution() {
    let _node = default_node();
    let (user_id, timestamp) = (identity("alice").unwrap(), current_timestamp());
    let (tell, liked) = mpsc::channel();
    let (tell_total, totals) = mpsc::channel();
    let update_ui_likes = move |total_likes: i64| tell_total.send(total_likes).unwrap();

    // 1. Create a subject for your data
    let likes = Subject::new("workspace/blog/object/post-123-likes".into());

    // 2. Set up a simple pipeline
    let likes_stream = likes
        .filter(|event| matches!(event.evt.event_type, EventType::ApplicationEvent(CRDT_COUNTER_INCREMENT)))
        .subscribe(move |event| {
            println!("Someone liked the post!");
            tell.send(event.author_id).unwrap();
        });

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

    // 3. Connect to storage and networking
    let _handle = likes.unsafe_run(); // Starts AOF, MMR, P2P sync

    // 4. Publish events
    let like_event = XaeroEvent {
        evt: Event::new(1i64.to_le_bytes().to_vec(), CRDT_COUNTER_INCREMENT),
        merkle_proof: None,
        author_id: Some(user_id),
        latest_ts: Some(timestamp),
    };
    likes.data.sink.tx.send(like_event).unwrap();

    assert_eq!(liked.recv_timeout(PATIENCE).unwrap(), Some(user_id));
    wait_for(&totals, &1);
}

#[test]
fn streaming_operators_batch_operators_and_publishing() {
    fn add_metadata(xe: XaeroEvent) -> XaeroEvent {
        xe
    }
    let _node = default_node();
    let subject = Subject::new("workspace/api/object/operators".into());
    let scan_window = ScanWindow { start: 0, end: u64::MAX };

    let processed = subject
        .map(|xe| {
            // Transform each event
            add_metadata(xe)
        })
        .filter(|xe| {
            // Keep only events matching criteria
            !xe.evt.data.is_empty()
        })
        .filter_merkle_proofs() // Keep only cryptographically verified events
        .scan(scan_window); // Replay historical events

    let (duration, event_count) = (Duration::from_millis(10), Some(5));
    let sort_function = Sort::VectorClock.to_operator();
    let merge_function = Fold::LWWRegister.to_operator();
    let extract_state = Reduce::RegisterValue.to_operator();
    let crdt_pipeline = subject.batch(
        duration,
        event_count,
        vec![
            Operator::Sort(sort_function),   // Order by causality
            Operator::Fold(merge_function),  // Resolve conflicts
            Operator::Reduce(extract_state), // Get final state
        ],
    );

    let (tell, states) = mpsc::channel();
    let verified = processed.subscribe(|_| panic!("there are no proofs yet, so nothing passes"));
    let resolved = crdt_pipeline.subscribe(move |state| tell.send(state.evt.data).unwrap());
    let notices = subject.notices();
    let event = XaeroEvent::new("busy", CRDT_REGISTER_WRITE);
    let control_event = XaeroEvent::new("a word to the wise", 200);

    // Send to data bus (most events)
    subject.data.sink.tx.send(event).unwrap();

    // Send to control bus (system events)
    subject.control.sink.tx.send(control_event).unwrap();

    wait_for(&states, &b"busy".to_vec());
    let notice = notices.next_timeout(PATIENCE);
    assert!(matches!(&notice, Some(Notice::Control(event)) if event.evt.data == b"a word to the wise"), "{notice:?}");
    assert!(!verified.has_ended());
}

#[test]
fn event_type_constants() {
    use xaeroflux::event::*;
    let operations = [CRDT_SET_ADD, CRDT_SET_REMOVE, CRDT_SET_STATE];
    assert_eq!(operations, [30, 31, 32]);
    assert_eq!([CRDT_COUNTER_INCREMENT, CRDT_COUNTER_DECREMENT, CRDT_COUNTER_STATE], [33, 34, 35]);
    assert_eq!([CRDT_REGISTER_WRITE, CRDT_REGISTER_STATE], [43, 44]);
}

#[tokio::test]
async fn example_1_real_time_reaction_system() {
    let _node = default_node();
    let alice_id = identity("alice").unwrap();
    let bob_id = identity("bob").unwrap();
    let charlie_id = identity("charlie").unwrap();
    let (tell, states) = mpsc::channel();
    let update_reaction_ui = move |reaction_list: Vec<String>| tell.send(reaction_list).unwrap();

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
    let _handle = reactions.unsafe_run();

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

    wait_for(&states, &strings(&["❤️", "👍"]));
}

#[test]
fn example_2_collaborative_document_tags() {
    let _node = default_node();
    let alice_id = identity("alice").unwrap();
    let bob_id = identity("bob").unwrap();
    let charlie_id = identity("charlie").unwrap();
    let (tell, states) = mpsc::channel();
    let refresh_tag_display = move |current_tags: Vec<String>| tell.send(current_tags).unwrap();

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

    let _handle = tags.unsafe_run();

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

    add_tag(charlie_id, "draft");

    // Concurrent tag operations
    add_tag(alice_id, "urgent");
    add_tag(bob_id, "needs-review");
    remove_tag(charlie_id, "draft"); // Someone removes old tag
    add_tag(alice_id, "approved"); // Alice adds final status

    wait_for(&states, &strings(&["approved", "needs-review", "urgent"]));
}

#[test]
fn example_3_voting_system_with_pn_counter() {
    let _node = default_node();
    let [alice_id, bob_id, charlie_id, diana_id] =
        ["alice", "bob", "charlie", "diana"].map(|name| identity(name).unwrap());
    let (tell, scores) = mpsc::channel();
    let update_vote_display = move |total_score: i64| tell.send(total_score).unwrap();
    let notify_milestone_reached = |total_score: i64| println!("milestone {total_score}");

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

    let _handle = votes.unsafe_run();

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

    wait_for(&scores, &2);
}

#[test]
fn starting_the_system_and_historical_replay() {
    let _node = default_node();
    let subject = Subject::new("workspace/history/object/log".into());
    let before = current_timestamp();

    // Connect subject to all storage actors
    let handle = subject.unsafe_run();

    subject.publish(XaeroEvent::new("old", 1)).wait().unwrap();

    // Keep handle alive to maintain connections
    // Dropping handle shuts down storage actors
    drop(handle);

    let handle = subject.unsafe_run();
    let (yesterday_timestamp, now_timestamp) = (before - 24 * 60 * 60 * 1000, u64::MAX);
    let (tell, told) = mpsc::channel();
    let historical = subject.scan(ScanWindow { start: yesterday_timestamp, end: now_timestamp }).subscribe(
        move |historical_event| {
            println!("Replaying: {:?}", historical_event);
            tell.send(historical_event.evt.data).unwrap();
        },
    );
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), b"old");
    subject.publish(XaeroEvent::new("new", 1)).wait().unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), b"new");
    drop(handle);
}

fn add_event(element: &str) -> XaeroEvent {
    XaeroEvent::new(element, CRDT_SET_ADD)
}

fn remove_event(element: &str) -> XaeroEvent {
    XaeroEvent::new(element, CRDT_SET_REMOVE)
}

#[test]
fn test_concurrent_set_operations() {
    let _node = default_node();
    let subject = Subject::new("test/concurrent-set".into());
    let results = Arc::new(Mutex::new(Vec::new()));
    let (tell, told) = mpsc::channel();

    let pipeline = subject
        .batch(
            Duration::from_millis(50),
            Some(10),
            vec![
                Operator::Sort(Sort::VectorClock.to_operator()),
                Operator::Fold(Fold::ORSet.to_operator()),
                Operator::Reduce(Reduce::SetContents.to_operator()),
            ],
        )
        .subscribe({
            let results = results.clone();
            move |final_state| {
                let set = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&final_state.evt.data).unwrap();
                results.lock().unwrap().push(final_state);
                tell.send(set).unwrap();
            }
        });

    // Simulate concurrent operations
    let began = std::time::Instant::now();
    subject.data.sink.tx.send(add_event("alice")).unwrap();
    subject.data.sink.tx.send(add_event("bob")).unwrap();
    subject.data.sink.tx.send(remove_event("alice")).unwrap();
    let took = began.elapsed();

    // Verify conflict resolution: should contain only "bob"
    wait_for(&told, &vec![b"bob".to_vec()]);
    let final_results = results.lock().unwrap();
    // On a machine so busy that the three did not go out at once, there may have been more windows than one.
    if took < Duration::from_millis(5) {
        assert_eq!(final_results.len(), 1);
    }
}
