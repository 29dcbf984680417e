//! What two machines promise, and three.

use std::time::Duration;

use crate::{
    actors::sync::{
        session::{Status, limits::MAX_STORING},
        simulation::world::{FINE, World},
    },
    wire::sync::Kind,
};

/// Two nodes, of which each has written this much, not connected yet.
fn pair(events: [u64; 2]) -> World {
    let mut world = World::new(5, 2);
    for (node, events) in events.into_iter().enumerate() {
        for event in 0..events {
            world.publish(node, u8::try_from(node as u64 * 8 + event % 7).unwrap());
        }
    }
    world
}

#[test]
fn two_that_have_the_same_exchange_two_summaries_and_no_vector() {
    let mut world = pair([0, 0]);
    world.link(0, 1, FINE);
    world.run_until(Duration::from_secs(3_600));
    let count = |kind| world.traffic.count(kind);
    assert_eq!((count(Kind::SUMMARY), count(Kind::VECTOR), count(Kind::EVENTS)), (2, 0, 0));
    assert_eq!(count(Kind::PUSH), 2, "by the wish of the coordinators");
}

#[test]
fn both_download_at_once_and_each_event_travels_once() {
    let mut world = pair([300, 200]);
    world.link(0, 1, FINE);
    assert!(world.run_to_convergence(Duration::from_secs(10)));
    assert_eq!((world.traffic.new, world.traffic.duplicates), (500, 0));
    world.run_until(Duration::from_secs(60));
    for node in 0..2 {
        assert_eq!(world.end((0, node)).unwrap().session.status(), Status::Current);
    }
}

#[test]
fn a_break_at_any_message_loses_nothing_and_repeats_no_more_than_was_being_stored() {
    let mut is_reached = true;
    for cut in 0.. {
        let mut world = pair([200, 150]);
        world.cut_after = Some(cut);
        world.link(0, 1, FINE);
        assert!(world.run_to_convergence(Duration::from_secs(30)), "cut after {cut}");
        assert_eq!(world.traffic.new, 350, "cut after {cut}");
        let on_its_way = 2 * MAX_STORING as u64 * 48;
        assert!(world.traffic.duplicates <= on_its_way, "cut after {cut}: {}", world.traffic.duplicates);
        world.run_until(world.now + Duration::from_secs(60));
        let was_cut = world.cut_after.is_none();
        if !was_cut {
            is_reached = cut > 20;
            break;
        }
    }
    assert!(is_reached);
}

#[test]
fn of_two_peers_with_the_same_only_one_sends_it() {
    let mut world = World::new(5, 3);
    for _ in 0..500 {
        world.publish(1, 1);
    }
    world.link(1, 2, FINE);
    assert!(world.run_until_equal(&[1, 2]));
    let before = world.traffic.clone();
    world.link(0, 1, FINE);
    world.link(0, 2, FINE);
    assert!(world.run_to_convergence(Duration::from_secs(10)));
    assert_eq!(world.traffic.new - before.new, 500);
    assert_eq!(world.traffic.duplicates, before.duplicates);
}
