//! The node that is served, with the subjects that run on it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use xaeroflux::{Handle, Node, Subject};

use crate::cli::{
    console::Console,
    exit::{Exit, Failure},
    signals::Interrupt,
};

/// A node whose subjects go on when the command that has run them is done.
pub struct Served {
    node: Node,
    /// By name; `None` once it is stopped.
    running: Mutex<Option<HashMap<String, Handle>>>,
}

impl Served {
    /// Nothing runs yet.
    pub fn new(node: Node) -> Self {
        Self { node, running: Mutex::new(Some(HashMap::new())) }
    }

    /// The node.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Runs every subject of the data directory. One that cannot be run is told of, and the others are.
    ///
    /// # Errors
    /// Where the subjects cannot be listed.
    pub fn run_all(&self, console: &Console, interrupt: &Interrupt) -> Result<(), Failure> {
        for name in self.node.subjects()?.into_iter().map(|subject| subject.name) {
            if interrupt.is_set() {
                break;
            }
            if let Err(failure) = self.run(&self.node.subject(name.as_str())) {
                console.complain(&format_args!("the subject {name:?} does not run: {failure}"));
            }
        }
        Ok(())
    }

    /// Runs a subject until the node stops. One that has given up begins again, as in a process of its own.
    ///
    /// # Errors
    /// Where it cannot be run, or the node has stopped.
    pub fn run(&self, subject: &Subject) -> Result<Handle, Failure> {
        let failed = match self.running().as_mut() {
            None => return Err(Failure::new(Exit::Interrupted, "the node was asked to end")),
            Some(running) => match running.get(subject.name()) {
                Some(handle) if handle.failure().is_none() => return Ok(handle.clone()),
                Some(_) => running.remove(subject.name()),
                None => None,
            },
        };
        // Not under the lock: the last handle on a subject waits for its actors to be gone.
        drop(failed);
        let handle = subject.run()?;
        if let Some(running) = self.running().as_mut() {
            running.insert(subject.name().to_owned(), handle.clone());
        }
        Ok(handle)
    }

    /// Stops what runs, once everything that was sent is on disk.
    pub fn stop(&self) {
        let running = self.running().take();
        drop(running);
    }

    fn running(&self) -> MutexGuard<'_, Option<HashMap<String, Handle>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use xaeroflux::{XaeroEvent, event::CRDT_SET_ADD};

    use super::*;

    fn publish(node: &Node, name: &str) {
        node.subject(name).publish(XaeroEvent::new("x", CRDT_SET_ADD)).wait().unwrap();
    }

    #[test]
    fn every_subject_of_the_directory_runs_until_the_node_stops() {
        let node = Node::ephemeral().unwrap();
        for name in ["a", "b"] {
            let handle = node.subject(name).run().unwrap();
            publish(&node, name);
            drop(handle);
        }
        let served = Served::new(node);
        served.run_all(&Console::Own, &Interrupt::default()).unwrap();
        for name in ["a", "b"] {
            publish(served.node(), name);
            assert_eq!(served.node().subject(name).count().unwrap(), 2);
        }
        served.stop();
        assert_eq!(served.run(&served.node().subject("a")).unwrap_err().exit, Exit::Interrupted);
    }

    #[test]
    fn what_a_command_has_run_goes_on_without_it() {
        let served = Served::new(Node::ephemeral().unwrap());
        drop(served.run(&served.node().subject("new")).unwrap());
        publish(served.node(), "new");
        assert_eq!(served.node().subject("new").count().unwrap(), 1);
    }
}
