//! Where the default node keeps its data. A process of its own, since there is one default node and one environment.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use xaeroflux::{Node, subject::node::DATA_DIR_VARIABLE};

const CHILD: &str = "XAEROFLUX_TEST_CHILD";

#[test]
fn the_environment_overrides_what_the_program_set() {
    if let Some(dir) = std::env::var_os(CHILD) {
        Node::set_default(Node::builder().data_dir(dir)).unwrap();
        println!("data_dir={}", Node::default_node().unwrap().data_dir().display());
        return;
    }
    let (set, environment) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let used = |variable: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_environment_overrides_what_the_program_set", "--nocapture"])
            .env(CHILD, set.path())
            .env(DATA_DIR_VARIABLE, variable)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.split_once("data_dir=")).unwrap().1.to_owned()
    };
    assert_eq!(used(environment.path().to_str().unwrap()), environment.path().to_str().unwrap());
    assert_eq!(used(""), set.path().to_str().unwrap(), "an empty variable is none");
}
