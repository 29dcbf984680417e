//! `xaeroflux demo`: the main job.

use super::{
    args::Global,
    exit::{Exit, Failure},
    output::Output,
};

/// Runs the demo.
#[expect(clippy::unnecessary_wraps, reason = "the story is still to be written")]
pub const fn run(_: &Global, _: &mut Output) -> Result<Exit, Failure> {
    Ok(Exit::Done)
}
