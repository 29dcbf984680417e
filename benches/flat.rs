//! Whether publishing slows down as a subject grows: the rate with a million events in it against the rate with ten
//! thousand, in turn.

mod support;

use support::{
    engine::{Ours, WINDOW},
    report::{Rounds, is_wanted, size},
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
    let mut measured = Rounds::default();
    for _ in 0..rounds {
        let fresh = Ours::new(1);
        fresh.publish(small, WINDOW);
        let at_small = rate(&fresh);
        drop(fresh);
        // It only gets larger.
        measured.push(rate(&grown), at_small);
    }
    measured.figure("publish_flat").unit("events/s").with("events_at_most", (large + rounds * events) as f64).print();
}
