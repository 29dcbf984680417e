//! `xaeroflux demo`: the main job, told as a story and checked as it goes.
//!
//! Three people react to a post, tag a document and vote on a feature, at the same time; one of them is offline for a
//! while; actors are killed while events are on their way; three nodes that wrote apart meet over connections, and
//! go on while a network and a sync actor are killed; the program is stopped and started. After each scene it says
//! what state the edits came to and what is on disk, and compares that with what the scene must come to.
//!
//! * [`narrator`] tells and compares.
//! * [`stage`] is where it happens: the temporary directory, the node, and the people.
//! * [`scenes`] is what happens, and [`peers`] the scene with several nodes and connections between them.

mod narrator;
mod peers;
mod scenes;
mod stage;

use self::{narrator::Narrator, stage::Stage};
use super::{
    args::Global,
    exit::{Exit, Failure},
    output::Output,
    signals::Interrupt,
};

/// Runs the demo, in a temporary directory that is gone afterwards, however it ends.
pub fn run(global: &Global, output: &mut Output) -> Result<Exit, Failure> {
    // Asked to end, it does so at the next word: in order, with everything stopped and the directory removed.
    let mut narrator = Narrator::new(output, Interrupt::catch(|| {})?);
    let directory = stage::directory()?;
    let path = directory.path().to_owned();
    let played = play(global, &directory, &mut narrator);
    // By now the node is closed; a file that was left open would not keep the directory from being removed.
    let removed = directory
        .close()
        .map_err(|error| Failure::new(Exit::Failed, format_args!("{} could not be removed: {error}", path.display())));
    played?;
    removed?;
    narrator.end()
}

fn play(global: &Global, directory: &tempfile::TempDir, narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    let stage = Stage::open(directory.path(), global.map_size)?;
    scenes::people(&stage, narrator)?;
    let reactions = scenes::reactions(&stage, narrator)?;
    let tags = scenes::tags(&stage, narrator)?;
    let votes = scenes::votes(&stage, narrator)?;
    let plan = peers::play(&stage, narrator)?;
    drop(stage);
    let stage = Stage::open(directory.path(), global.map_size)?;
    scenes::restart(&stage, &[reactions, tags, votes, plan], narrator)
}
