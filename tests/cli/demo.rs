//! `demo`: the main job, which checks itself.

use std::collections::BTreeSet;

use crate::support::{Machine, Running};

#[test]
fn it_ends_in_the_states_that_it_must_and_leaves_nothing_behind() {
    let machine = Machine::new();
    let lines = machine.ok("demo", "");
    let events = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    assert!(events("state").iter().all(|state| state["ok"] == true && state["value"] == state["expected"]));
    assert!(events("disk").iter().all(|disk| disk["ok"] == true && disk["data_file_bytes"].as_u64() > Some(0)));
    let restarted: BTreeSet<_> = events("restarted").iter().map(|line| line["child"].as_str().unwrap()).collect();
    assert_eq!(restarted, BTreeSet::from(["AOF actor", "batch actor", "sync actor"]));
    let roots = |when: &str| {
        let told: Vec<_> = events("roots").into_iter().filter(|line| line["when"] == when).collect();
        assert!(told.len() == 1 && told[0]["ok"] == true, "{told:?}");
        told[0]["roots"].as_array().unwrap().iter().map(|root| root.as_str().unwrap()).collect::<BTreeSet<_>>()
    };
    assert_eq!([roots("apart").len(), roots("together").len(), roots("after the kills").len()], [3, 1, 1]);
    assert!(events("sent").iter().all(|sent| sent["bytes"].as_u64() > Some(0)));
    let done = lines.last().unwrap();
    assert_eq!((&done["event"], &done["ok"]), (&"done".into(), &true.into()));
    assert!(done["seconds"].as_f64().unwrap() < 20.0);

    assert!(!machine.data_dir().exists());
    assert_eq!(std::fs::read_dir(machine.tmp()).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(machine.home()).unwrap().count(), 1, "only the directory for temporary files");
}

#[test]
fn interrupted_it_leaves_nothing_behind_either() {
    let machine = Machine::new();
    let demo = Running::start(&mut machine.command(["demo"]));
    demo.line();
    demo.signal("INT");
    let lines = demo.rest();
    let done = demo.end();
    // It may have been done before it heard.
    assert!(done.code == 130 || lines.last().unwrap()["event"] == "done", "{done:?}");
    assert_eq!(std::fs::read_dir(machine.tmp()).unwrap().count(), 0);
}
