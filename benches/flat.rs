//! Whether publishing slows down as a subject grows: the rate with a million events in it against the rate with ten
//! thousand, in turn.

mod support;

use support::{
    engine::{Ours, WINDOW},
    report::{Figure, is_wanted, median, size},
};

fn main() {
    if !is_wanted() {
        return;
    }
    let (small, large) = (size(10_000, 100), size(1_000_000, 5_000));
    let (events, rounds) = (size(200_000, 2_000), size(5, 1));
    let grown = Ours::new(1);
    grown.publish(large, WINDOW);
    let rate = |engine: &Ours| events as f64 / engine.publish(events, WINDOW).as_secs_f64();
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let fresh = Ours::new(1);
        fresh.publish(small, WINDOW);
        let at_small = rate(&fresh);
        drop(fresh);
        // It only gets larger.
        let at_large = rate(&grown);
        ours.push(at_large);
        theirs.push(at_small);
        ratios.push(at_large / at_small);
    }
    Figure::new("publish_flat", median(&ours), median(&theirs), median(&ratios))
        .unit("events/s")
        .with("events_at_most", (large + rounds * events) as f64)
        .with("rounds", rounds as f64)
        .print();
}
