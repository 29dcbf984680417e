//! Which node the default one is: a node that was lent, the environment's directory, or one that was set.
//!
//! Each case needs a process of its own, so that a test starts this file's program again with the case's name.
#![allow(clippy::unwrap_used)]

use std::{env, process::Command};

use xaeroflux::prelude::*;

/// Names the case that a child process is to act out.
const CASE: &str = "XAEROFLUX_TEST_CASE";

/// Acts the case out in a child process, with `dir` in its environment as the default directory.
fn in_a_child(test: &str, default_dir: Option<&std::path::Path>) {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(CASE, test).env_remove("XAEROFLUX_DATA_DIR");
    if let Some(dir) = default_dir {
        child.env("XAEROFLUX_DATA_DIR", dir);
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn is_child() -> bool {
    env::var_os(CASE).is_some()
}

#[test]
fn the_environment_overrides_the_directory_that_was_set() {
    if is_child() {
        let other = tempfile::tempdir().unwrap();
        Node::set_default(Node::builder().data_dir(other.path())).unwrap();
        let expected = env::var_os("XAEROFLUX_DATA_DIR").unwrap();
        assert_eq!(Node::default_node().unwrap().data_dir(), std::path::Path::new(&expected));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    in_a_child("the_environment_overrides_the_directory_that_was_set", Some(dir.path()));
}

#[test]
fn without_it_the_directory_that_was_set_is_used() {
    if is_child() {
        let dir = tempfile::tempdir().unwrap();
        Node::set_default(Node::builder().data_dir(dir.path())).unwrap();
        assert_eq!(Node::default_node().unwrap().data_dir(), dir.path());
        return;
    }
    in_a_child("without_it_the_directory_that_was_set_is_used", None);
}

#[test]
fn a_node_that_is_lent_is_the_default_until_it_is_gone() {
    if is_child() {
        let configured = env::var_os("XAEROFLUX_DATA_DIR").unwrap();
        let node = Node::ephemeral().unwrap();
        node.make_default().unwrap();
        node.make_default().unwrap();
        let dir = node.data_dir();
        assert_eq!(Node::default_node().unwrap().data_dir(), dir);
        let subject = Subject::new("s".into());
        let other = Node::ephemeral().unwrap();
        assert!(matches!(other.make_default(), Err(Error::DefaultInUse)));
        drop(node);
        assert!(matches!(other.make_default(), Err(Error::DefaultInUse)), "a subject of it is still held");
        assert!(dir.exists());
        drop(subject);
        assert!(!dir.exists(), "nothing of a lent node stays");
        assert_eq!(Node::default_node().unwrap().data_dir(), std::path::Path::new(&configured));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    in_a_child("a_node_that_is_lent_is_the_default_until_it_is_gone", Some(dir.path()));
}
