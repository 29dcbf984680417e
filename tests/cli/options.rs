//! The global options, and what goes wrong with a data directory.

use crate::support::{Machine, Running, run};

#[test]
fn global_options_stand_before_the_subcommand_or_after_it() {
    let machine = Machine::new();
    let other = machine.home().join("other");
    let other = other.to_str().unwrap();
    let options = ["--data-dir", other, "--map-size", "16M", "--log", "error", "--json"];
    let before = options.iter().copied().chain(["publish", "s"]);
    let after = ["publish", "s"].into_iter().chain(options);
    assert_eq!(machine.run(before, "a\n").json()[0]["seq"], 1);
    assert_eq!(machine.run(after, "b\n").json()[0]["seq"], 2);
    assert!(!machine.data_dir().exists(), "the option goes before the variable");
}

#[test]
fn without_option_and_variable_the_directory_is_the_platforms() {
    let machine = Machine::new();
    let done = run(machine.command(["publish", "s"]).env_remove("XAEROFLUX_DATA_DIR"), "a\n");
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(!machine.data_dir().exists());
    assert!(machine.home().join(".local/share/xaeroflux/xaeroflux/data.mdb").exists() || !cfg!(target_os = "linux"));
}

#[test]
fn the_directory_is_made_with_those_above_it() {
    let machine = Machine::new();
    let deep = machine.home().join("a/b/c");
    machine.ok(&format!("id --data-dir {}", deep.display()), "");
    assert!(deep.join("data.mdb").exists());
}

#[test]
fn a_second_process_learns_at_once_who_the_first_is() {
    let machine = Machine::new();
    let mut first = Running::start(&mut machine.command(["publish", "s"]));
    first.write("a\n");
    first.line();
    for args in ["publish s", "replay s", "state s --crdt mv", "id"] {
        let done = machine.run(args.split_whitespace(), "b\n");
        assert_eq!((done.code, done.stdout.as_str()), (3, ""), "{args}");
        assert!(done.stderr.contains(&format!("process {}", first.child.id())), "{}", done.stderr);
    }
    first.end();
    assert_eq!(machine.payloads("s"), ["a"]);
}

#[test]
fn a_directory_that_cannot_be_made_is_a_storage_error() {
    let machine = Machine::new();
    let file = machine.home().join("file");
    std::fs::write(&file, "").unwrap();
    for dir in [file.clone(), file.join("below")] {
        let done = machine.run(["id", "--data-dir", dir.to_str().unwrap()], "");
        assert_eq!(done.code, 4, "{}", done.stderr);
        assert!(done.stderr.contains(file.to_str().unwrap()), "{}", done.stderr);
    }
}

#[test]
fn a_directory_of_a_newer_version_is_left_alone() {
    let machine = Machine::new();
    machine.ok("publish s", "a\n");
    let format = machine.data_dir().join("FORMAT");
    std::fs::write(&format, "xaeroflux data 99\n").unwrap();
    let done = machine.run(["publish", "s"], "b\n");
    assert_eq!((done.code, done.stdout.as_str()), (4, ""));
    assert!(done.stderr.contains("upgrade"), "{}", done.stderr);
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    let machine = Machine::new();
    for args in [
        "",
        "frobnicate",
        "publish",
        "publish s --type app:256",
        "publish s --type state",
        "publish s --timestamp x",
        "replay s --from -1",
        "id --map-size 0",
        "id --log =x=",
        "id --data-dir",
        "serve --listen 4433",
        "serve --listen localhost:4433",
        "serve --peer 10.0.0.1:4433",
        "serve --relay nowhere",
        "serve --relay ftp://relay.example",
        "serve --swarm",
        "serve --swarm sometimes",
        "serve now",
    ] {
        let done = machine.run(args.split_whitespace(), "");
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{args}");
        assert!(!done.stderr.is_empty(), "{args}");
    }
    assert!(!machine.data_dir().exists());
    assert_eq!(machine.run(["--help"], "").code, 0);
    assert_eq!(machine.run(["--version"], "").stdout, concat!("xaeroflux ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn logs_go_to_standard_error_and_only_where_asked_for() {
    let machine = Machine::new();
    let quiet = machine.run(["publish", "s"], "a\n");
    assert_eq!(quiet.stderr, "");
    let loud = machine.run(["publish", "s", "--log", "trace"], "a\n");
    assert_eq!(loud.json().len(), 1);
}
