//! `serve`: a node in the foreground, which every other command uses as if it had the directory to itself.

use std::process::Stdio;

use crate::support::{Machine, Running, run};

#[test]
fn it_says_when_it_is_ready_and_ends_cleanly_when_asked_to() {
    let machine = Machine::new();
    for signal in ["TERM", "INT"] {
        let serve = Running::start(&mut machine.command(["serve"]));
        let ready = serve.line();
        assert_eq!(ready["ready"], true);
        assert!(ready["listen"].is_array());
        serve.signal(signal);
        assert!(serve.rest().is_empty());
        let done = serve.end();
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{signal}");
        assert!(!machine.data_dir().join("serve").exists(), "the socket is gone with it");
    }
}

#[test]
fn it_takes_each_way_to_be_in_swarms_and_its_help_names_them() {
    let machine = Machine::new();
    for swarm in ["auto", "always", "never"] {
        let serve = Running::start(&mut machine.command(["serve", "--listen", "127.0.0.1:0", "--swarm", swarm]));
        assert_eq!(serve.line()["ready"], true, "{swarm}");
        serve.signal("TERM");
        assert_eq!(serve.end().code, 0, "{swarm}");
    }
    let help = machine.run(["serve", "--help"], "").stdout;
    for said in ["--swarm <WHEN>", "[default: auto]", "- always:", "- never:"] {
        assert!(help.contains(said), "{said}: {help}");
    }
}

#[test]
fn other_commands_publish_and_read_through_it() {
    let machine = Machine::new();
    let serve = machine.serve();
    machine.ok("id --new alice", "");
    let receipts = machine.ok("publish s --as alice", "a\nb\n");
    assert_eq!(receipts.iter().map(|receipt| receipt["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(machine.payloads("s"), ["a", "b"]);
    assert_eq!(machine.state("s", "or-set"), serde_json::json!(["a", "b"]));
    // A node on the network is somebody: its own identity.
    assert_eq!(machine.identities(), ["alice", "self"]);
    machine.ok("verify", "");
    serve.signal("TERM");
    assert_eq!(serve.end().code, 0);
    assert_eq!(machine.ok("replay s", "")[1]["id"], receipts[1]["id"]);
}

#[test]
fn many_processes_publish_at_once() {
    let machine = Machine::new();
    let serve = machine.serve();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let machine = &machine;
            scope.spawn(move || {
                let input: String = (0..500).map(|line| format!("{n} {line}\n")).collect();
                assert_eq!(machine.ok(&format!("publish s{}", n % 2), input).len(), 500);
            });
        }
    });
    for subject in ["s0", "s1"] {
        assert_eq!(machine.payloads(subject).len(), 2_000);
    }
    serve.signal("TERM");
    assert_eq!(serve.end().code, 0);
}

#[test]
fn a_command_ends_and_tells_as_it_would_by_itself() {
    let machine = Machine::new();
    machine.ok("id --new alice", "");
    // That of the node, which serve would make.
    machine.ok("id --new self", "");
    machine.ok("publish s --as alice", "a\nb\n");
    machine.ok("publish c --as alice --type increment", "5\n");
    let asked = [
        ("replay s", "", 0),
        ("replay c --author alice", "", 0),
        ("replay s --author nobody", "", 5),
        ("state c --crdt pn-counter", "", 0),
        ("id", "", 0),
        ("id --export-public alice --json", "", 0),
        ("id --new alice", "", 5),
        ("publish c --type increment --as alice", "x\n1.5\n", 1),
        ("publish s --as nobody", "c\n", 5),
        ("prove s alice 3", "", 2),
        ("export nothing", "", 2),
        ("import", "not a bundle at all", 8),
        ("import no/such/file", "", 6),
    ];
    let all = || asked.map(|(args, input, _)| machine.run(args.split(' '), input));
    let alone = all();
    let serve = machine.serve();
    for (((args, _, code), alone), served) in asked.into_iter().zip(alone).zip(all()) {
        assert_eq!(served.code, code, "{args}: {}", served.stderr);
        assert_eq!((served.code, served.stdout, served.stderr), (alone.code, alone.stdout, alone.stderr), "{args}");
    }
    serve.signal("TERM");
    assert_eq!(serve.end().code, 0);
}

#[test]
fn a_receipt_comes_while_the_input_stays_open() {
    let machine = Machine::new();
    let _serve = machine.serve();
    let mut publish = Running::start(&mut machine.command(["publish", "s"]));
    for seq in 1..=3 {
        publish.write("a line\n");
        assert_eq!(publish.line()["seq"], seq);
    }
    assert_eq!(publish.end().code, 0);
}

#[test]
fn a_follower_sees_what_other_processes_publish() {
    let machine = Machine::new();
    machine.ok("publish s", "before\n");
    let _serve = machine.serve();
    for signal in ["INT", "TERM"] {
        let follow = Running::start(&mut machine.command(["replay", "s", "--follow"]));
        for payload in machine.payloads("s") {
            assert_eq!(follow.line()["payload"], payload);
        }
        machine.ok("publish s", "live\n");
        assert_eq!(follow.line()["payload"], "live");
        follow.signal(signal);
        assert!(follow.rest().is_empty());
        let done = follow.end();
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{signal}");
    }
}

#[test]
fn a_command_takes_nothing_of_an_input_that_it_does_not_read() {
    let machine = Machine::new();
    let _serve = machine.serve();
    let command = machine.command(["peers"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "\"$0\" peers; cat"]).arg(command.get_program());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = run(&mut shell, "left for the next\n");
    assert_eq!((done.code, done.stdout.as_str()), (0, "left for the next\n"), "{}", done.stderr);
}

#[test]
fn files_are_those_of_the_directory_in_which_the_command_was_called() {
    let machine = Machine::new();
    machine.ok("publish s", "a\n");
    let bundle = std::fs::File::create(machine.tmp().join("bundle")).unwrap();
    assert_eq!(run(machine.command(["export", "s"]).stdout(Stdio::from(bundle)), "").code, 0);
    let other = Machine::new();
    let _serve = other.serve();
    let done = run(other.command(["import", "bundle"]).current_dir(machine.tmp()), "");
    assert_eq!((done.code, done.json()[0]["new"].as_u64()), (0, Some(1)), "{}", done.stderr);
    assert_eq!(other.payloads("s"), ["a"]);
}

#[test]
fn an_export_through_it_is_the_same_file() {
    let machine = Machine::new();
    machine.ok("publish s", "a line of some length\n".repeat(20_000));
    let export = |name: &str| {
        let path = machine.tmp().join(name);
        let file = std::fs::File::create(&path).unwrap();
        let done = run(machine.command(["export", "s"]).stdout(Stdio::from(file)), "");
        assert_eq!(done.code, 0, "{}", done.stderr);
        std::fs::read(path).unwrap()
    };
    let alone = export("alone");
    let _serve = machine.serve();
    assert!(alone == export("served"));
}

#[test]
fn asked_to_end_it_keeps_what_was_receipted() {
    let machine = Machine::new();
    let serve = machine.serve();
    let mut publish = Running::start(&mut machine.command(["publish", "s"]));
    publish.write("a\nb\n");
    let receipts = [publish.line(), publish.line()];
    let follow = Running::start(&mut machine.command(["replay", "s", "--follow"]));
    assert_eq!(follow.line()["payload"], "a");
    serve.signal("TERM");
    assert_eq!(serve.end().code, 0);
    let stdin = publish.stdin.take();
    let done = publish.end();
    drop(stdin);
    assert_eq!(done.code, 130, "its input was still open: {}", done.stderr);
    assert!(done.stderr.contains("asked to end"), "{}", done.stderr);
    assert_eq!(follow.end().code, 0);
    let events = machine.ok("replay s", "");
    assert_eq!(events.len(), 2);
    for (receipt, event) in receipts.iter().zip(&events) {
        assert_eq!(receipt["id"], event["id"]);
    }
}

#[test]
fn a_socket_that_a_killed_one_left_is_ignored_and_replaced() {
    let machine = Machine::new();
    let mut serve = machine.serve();
    machine.ok("publish s", "a\n");
    serve.child.kill().unwrap();
    serve.end();
    assert!(machine.data_dir().join("serve/socket").exists());
    machine.ok("publish s", "b\n");
    let serve = machine.serve();
    machine.ok("publish s", "c\n");
    assert_eq!(machine.payloads("s"), ["a", "b", "c"]);
    serve.signal("TERM");
    assert_eq!(serve.end().code, 0);
}

#[test]
fn a_second_one_learns_who_the_first_is() {
    let machine = Machine::new();
    let serve = machine.serve();
    let second = machine.run(["serve"], "");
    assert_eq!((second.code, second.stdout.as_str()), (3, ""));
    assert!(second.stderr.contains(&format!("process {}", serve.child.id())), "{}", second.stderr);
    assert_eq!(machine.ok("publish s", "a\n").len(), 1);
}

#[test]
fn a_path_of_any_length_will_do() {
    let machine = Machine::new();
    let long = machine.home().join("x".repeat(150)).join("y".repeat(150));
    let command = |args: &str| {
        let mut command = machine.command(args.split(' '));
        command.env("XAEROFLUX_DATA_DIR", &long);
        command
    };
    let serve = Running::start(&mut command("serve"));
    assert_eq!(serve.line()["ready"], true);
    assert_eq!(run(&mut command("publish s"), "a\n").json()[0]["seq"], 1);
    assert_eq!(run(&mut command("replay s"), "").json()[0]["payload"], "a");
    serve.signal("TERM");
    assert_eq!(serve.end().code, 0);
}
