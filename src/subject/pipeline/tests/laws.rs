//! What is emitted last depends on the events, not on the windows that they fell into.

use proptest::prelude::*;

use super::*;

/// One event, and what happens before it.
#[derive(Debug, Clone)]
struct Step {
    text: u8,
    code: u8,
    author: u8,
    ts: u64,
    /// How many milliseconds pass.
    wait: u64,
    /// Whether the shell reads history from here on.
    catching_up: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let code = prop_oneof![4 => Just(ADD), 2 => Just(REMOVE), 1 => Just(99)];
    let step = (0..5_u8, code, 0..3_u8, 0..100_u64, 0..8_u64, any::<bool>());
    let step = step.prop_map(|(text, code, author, ts, wait, catching_up)| Step {
        text: b'a' + text,
        code,
        author,
        ts,
        wait,
        catching_up,
    });
    proptest::collection::vec(step, 0..40)
}

/// The last state that comes out of a batch with these windows, and how many did.
fn last_state(steps: &[Step], duration: u64, count: Option<usize>, history: bool) -> (Option<XaeroEvent>, usize) {
    let operators = vec![by_clock(), fold(), contents()];
    let mut rig = Rig::new(&PipelineSpec::default().batch(ms(duration), count, operators).unwrap());
    for step in steps {
        if history {
            rig.catching_up(step.catching_up);
        }
        rig.pass(step.wait);
        rig.send_from(0, &XaeroEvent::new(vec![step.text], step.code).by(author(step.author)).at(step.ts));
    }
    rig.catching_up(false);
    rig.finish();
    (rig.out.last().cloned(), rig.out.len())
}

proptest! {
    #[test]
    fn any_split_into_windows_ends_in_the_same_state(
        steps in steps(),
        duration in 0..20_u64,
        count in proptest::option::of(1..10_usize),
        history in any::<bool>(),
    ) {
        let (state, windows) = last_state(&steps, duration, count, history);
        let (whole, emitted) = last_state(&steps, 1_000_000, None, false);
        prop_assert_eq!(state, whole);
        prop_assert!(emitted <= 1 && windows <= steps.len());
    }
}
