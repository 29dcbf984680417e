//! Many nodes in virtual time: the machines as they are, everything around them simulated.
//!
//! Links delay, lose and break, streams push back, disks are slow, nodes stop with what was not stored gone, halves of the
//! world part and meet again, while several authors write. The promises: all nodes end with the same events, nothing is lost,
//! doubled or made up, memory is bounded all the time, a world in which all is said is silent, and the same seed gives the
//! same trace.
//!
//! - `log`: what a node has.
//! - `end`: one end of a link.
//! - `world`: time, links, and what happens to them.
//! - `shell`: what carries out what the sessions ask for.
//! - `random`: chance.

pub(crate) mod end;
pub(crate) mod log;
pub(crate) mod random;
mod shell;
pub(crate) mod world;

use std::time::Duration;

use world::{FINE, Weather, World};

use crate::wire::sync::Kind;

/// What happens to a world.
struct Plan {
    nodes: usize,
    authors: u8,
    events: u64,
    /// One in so many links loses messages and breaks now and then.
    bad_links: u64,
    /// How many nodes stop and start.
    stops: u64,
    parts: bool,
}

const SECOND: u64 = 1_000;

/// A random connected graph with four links a node, and everything that is to happen to it.
fn plan(seed: u64, plan: &Plan) -> (World, Vec<usize>) {
    let nodes = plan.nodes as u64;
    let mut world = World::new(seed, plan.nodes);
    let mut pairs: Vec<[usize; 2]> =
        (1..plan.nodes).map(|node| [node, world.random.below(node as u64) as usize]).collect();
    while pairs.len() < 2 * plan.nodes {
        let [one, other] = [(); 2].map(|()| world.random.below(nodes) as usize);
        if one != other && !pairs.contains(&[one, other]) && !pairs.contains(&[other, one]) {
            pairs.push([one, other]);
        }
    }
    for [one, other] in pairs {
        let is_bad = world.random.one_in(plan.bad_links);
        let delay = 1 + world.random.below(40);
        let weather = Weather { delay, jitter: delay / 2, loss: Some(if is_bad { 20 } else { 2_000 }) };
        let link = world.link(one, other, weather);
        for at in 0..if is_bad { 5 } else { 0 } {
            let at = world.random.millis((1 + 4 * at) * SECOND, (5 + 4 * at) * SECOND);
            world.break_at(at, link);
        }
    }
    for author in 0..plan.authors {
        let home = world.random.below(nodes) as usize;
        for _ in 0..plan.events {
            let at = world.random.millis(SECOND, 20 * SECOND);
            world.publish_at(at, home, author);
        }
    }
    for _ in 0..plan.stops {
        let node = world.random.below(nodes) as usize;
        let at = world.random.millis(2 * SECOND, 18 * SECOND);
        let down = world.random.millis(SECOND / 10, 5 * SECOND);
        world.stop_at(at, node);
        world.start_at(at + down, node);
    }
    let is_between = |[one, other]: [usize; 2]| (one < plan.nodes / 2) != (other < plan.nodes / 2);
    let between = (0..world.links()).filter(|link| plan.parts && is_between(world.nodes_of(*link))).collect();
    (world, between)
}

/// All of it: until everything has happened, and all nodes have the same.
fn run(seed: u64, it: &Plan) -> World {
    let (mut world, between) = plan(seed, it);
    world.run_until(Duration::from_secs(3));
    between.iter().for_each(|link| world.close(*link));
    world.run_until(Duration::from_secs(7));
    world.learn_fork(0);
    world.run_until(Duration::from_secs(14));
    between.iter().for_each(|link| world.open(*link));
    // The last event is published, also by who was away.
    world.run_until(Duration::from_secs(25));
    assert!(world.run_to_convergence(Duration::from_secs(120)), "seed {seed}: they differ for ever");
    let events = it.events * u64::from(it.authors);
    for node in 0..it.nodes {
        assert_eq!(world.log(node).events() as u64, events, "seed {seed}: nothing is lost");
        assert!(world.log(node).evidence().is_some());
    }
    assert_eq!(world.ended, [], "seed {seed}: nobody was found to offend");
    world
}

fn report(world: &World, it: &Plan) -> String {
    let traffic = &world.traffic;
    let kinds = [Kind::SUMMARY, Kind::VECTOR, Kind::EVENTS, Kind::CAUGHT_UP, Kind::PUSH, Kind::FORK];
    let counts: Vec<String> = kinds.map(|kind| format!("{kind} {}", traffic.count(kind))).into();
    let ideal = it.events * u64::from(it.authors) * (it.nodes as u64 - 1);
    format!(
        "equal after {:.1} s; {} events to bring, {} came, {} of them again ({:.2} of the ideal); {:.1} MB, {:.1} MB of them chunks; {}",
        world.now.as_secs_f64(),
        ideal,
        traffic.new + traffic.duplicates,
        traffic.duplicates,
        (traffic.new + traffic.duplicates) as f64 / ideal as f64,
        traffic.bytes as f64 / 1e6,
        traffic.chunk_bytes as f64 / 1e6,
        counts.join(", "),
    )
}

#[test]
fn two_hundred_nodes_converge_through_loss_churn_and_partitions() {
    let events = number("XAEROFLUX_SIMULATION_EVENTS").unwrap_or(24);
    let it = Plan { nodes: 200, authors: 8, events, bad_links: 6, stops: 30, parts: true };
    let mut world = run(seed(), &it);
    println!("{}", report(&world, &it));
    let now = world.now;
    world.run_until(now + Duration::from_secs(30));
    let before = world.traffic.clone();
    world.run_until(now + Duration::from_secs(3_600));
    assert_eq!(world.traffic, before, "when all is said there is silence");
    assert!((0..it.nodes).all(|node| world.turns(node).holder().is_none()), "every turn came back");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let it = Plan { nodes: 20, authors: 3, events: 10, bad_links: 3, stops: 5, parts: true };
    let traces = [1, 1, 2].map(|seed| run(seed, &it).trace);
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
}

#[test]
fn small_worlds_of_many_seeds_converge() {
    let it = Plan { nodes: 7, authors: 3, events: 12, bad_links: 2, stops: 4, parts: true };
    for seed in 0..seeds() {
        run(seed, &it);
    }
}

/// `XAEROFLUX_SIMULATION_SEED` for another world, `XAEROFLUX_SIMULATION_SEEDS` for a longer run.
fn seed() -> u64 {
    number("XAEROFLUX_SIMULATION_SEED").unwrap_or(1)
}

fn seeds() -> u64 {
    number("XAEROFLUX_SIMULATION_SEEDS").unwrap_or(12)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn a_line_of_nodes_forwards_what_one_end_writes() {
    let mut world = World::new(1, 5);
    (1..5).for_each(|node| {
        world.link(node - 1, node, FINE);
    });
    world.run_until(Duration::from_secs(2));
    world.publish(0, 0);
    let before = world.now;
    assert!(world.run_to_convergence(Duration::from_secs(1)));
    assert!(world.now - before < Duration::from_millis(500), "each hop pushes");
    assert_eq!(world.traffic.count(Kind::EVENTS), 4);
}
