//! `verify`: a whole directory, a damaged one, one that a node writes.

use std::fs;

use serde_json::Value;

use crate::support::{Machine, Running};

fn summary(lines: &[Value]) -> &Value {
    lines.last().unwrap()
}

#[test]
fn a_whole_directory_is_summed_up() {
    let machine = Machine::new();
    machine.ok("publish tags", "a\nb\nc\n");
    machine.ok("publish votes --type increment", "1\n");
    let lines = machine.ok("verify", "");
    let sum = summary(&lines);
    assert_eq!(sum["findings"], 0, "{lines:?}");
    for (key, value) in [("subjects", 2), ("events", 4), ("authors", 2), ("segments", 0), ("unknown_keys", 0)] {
        assert_eq!(sum[key], value, "{key}: {sum}");
    }
    assert!(sum["bytes"].as_u64().unwrap() > 4096);
    assert!(sum["first_bad"].is_null());
    let lines = machine.ok("verify votes", "");
    assert_eq!((summary(&lines)["subjects"].as_u64(), summary(&lines)["events"].as_u64()), (Some(1), Some(1)));
}

#[test]
fn a_subject_that_nobody_knows_is_a_usage_error_and_no_directory_one_of_storage() {
    let machine = Machine::new();
    let nothing = machine.run(["verify"], "");
    assert_eq!((nothing.code, nothing.stdout.as_str()), (4, ""), "{}", nothing.stderr);
    assert!(!machine.data_dir().exists(), "nothing is made");
    machine.ok("publish tags", "a\n");
    let unknown = machine.run(["verify", "tgas"], "");
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("tgas"), "{}", unknown.stderr);
    assert_eq!(machine.run(["verify", "a\nb"], "").code, 2);
}

#[test]
fn the_first_bad_byte_is_named_with_its_place() {
    let machine = Machine::new();
    machine.ok("publish tags", "first\nsecond\nthird\n");
    let path = machine.data_dir().join("data.mdb");
    let mut bytes = fs::read(&path).unwrap();
    // Pages of older commits may hold the payload as well.
    let places: Vec<usize> = (0..bytes.len() - 6).filter(|at| &bytes[*at..*at + 6] == b"second").collect();
    places.iter().for_each(|at| bytes[*at] ^= 0x20);
    fs::write(&path, bytes).unwrap();
    let done = machine.run(["verify"], "");
    assert_eq!(done.code, 9, "{}", done.stderr);
    let lines = done.json();
    let sum = summary(&lines);
    assert_eq!(sum["findings"], 1, "{lines:?}");
    let bad = &sum["first_bad"];
    assert_eq!(bad, &lines[0]);
    assert_eq!((&bad["finding"], &bad["file"], &bad["table"]), (&"damage".into(), &"data.mdb".into(), &"log".into()));
    assert_eq!((&bad["subject"], &bad["seqs"], &bad["positions"]), (&"tags".into(), &[2, 2].into(), &[1, 1].into()));
    let offset = usize::try_from(bad["offset"].as_u64().unwrap()).unwrap();
    assert!(places.iter().any(|place| (offset..offset + 400).contains(place)), "{offset} {places:?}");
}

#[test]
fn it_works_beside_a_node_that_writes_and_leaves_it_alone() {
    let machine = Machine::new();
    let mut running = Running::start(&mut machine.command(["publish", "tags"]));
    running.write("first\n");
    let mut published = 1;
    assert_eq!(running.line()["seq"], published);
    for round in 0..12 {
        for n in 0..200 {
            running.write(&format!("{round} {n}\n"));
        }
        // While those are on their way.
        let lines = machine.ok("verify", "");
        let sum = summary(&lines);
        assert_eq!(sum["findings"], 0, "{lines:?}");
        assert!(sum["events"].as_u64().unwrap() >= published);
        assert!(sum["holder"].as_str().unwrap().contains(&running.child.id().to_string()), "{sum}");
        for _ in 0..200 {
            assert_eq!(running.line()["seq"], published + 1);
            published += 1;
        }
    }
    assert_eq!(running.end().code, 0);
    let lines = machine.ok("verify tags", "");
    assert_eq!((summary(&lines)["events"].as_u64(), &summary(&lines)["holder"]), (Some(2_401), &Value::Null));
}
