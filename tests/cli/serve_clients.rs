//! `serve` and clients that are slow, gone, too many, or none of ours: the node and the other clients go on.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    process::Stdio,
};

use crate::support::{Machine, PATIENCE, Running, run, until};

/// The threads of clients.
const THREADS: [&str; 3] = ["xaeroflux-command", "xaeroflux-client", "xaeroflux-stdin"];

fn is_alone(serve: &Running) -> bool {
    THREADS.iter().all(|name| serve.threads(name) == 0)
}

fn connect(machine: &Machine) -> UnixStream {
    let socket = UnixStream::connect(machine.data_dir().join("serve/socket")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// What is answered, as a kind of frame and its text.
fn answer(mut socket: UnixStream) -> (u8, String) {
    let mut bytes = Vec::new();
    // Closed with what was sent unread, it ends with an error.
    let _ = socket.read_to_end(&mut bytes);
    (bytes[0], String::from_utf8(bytes[5..].to_vec()).unwrap())
}

const REFUSED: u8 = 1;

#[test]
fn a_publisher_that_is_killed_leaves_whole_lines_and_no_thread() {
    let machine = Machine::new();
    let serve = machine.serve();
    let mut publish = Running::start(&mut machine.command(["publish", "s"]));
    publish.write("a\nb\nhalf a li");
    publish.line();
    publish.line();
    assert!(!is_alone(&serve));
    publish.child.kill().unwrap();
    publish.end();
    until("the command ends", || is_alone(&serve));
    assert_eq!(machine.payloads("s"), ["a", "b"]);
    machine.ok("publish s", "c\n");
    assert_eq!(machine.payloads("s"), ["a", "b", "c"]);
}

#[test]
fn a_follower_that_is_killed_or_read_no_more_leaves_no_thread() {
    let machine = Machine::new();
    let serve = machine.serve();
    machine.ok("publish s", "a\n");
    let mut follow = Running::start(&mut machine.command(["replay", "s", "--follow"]));
    follow.line();
    follow.child.kill().unwrap();
    follow.end();
    until("the command ends", || is_alone(&serve));

    let mut child = machine.command(["replay", "s", "--follow"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(0), &b""[..]));
    until("the command ends", || is_alone(&serve));
}

#[test]
fn one_that_does_not_read_keeps_nobody_waiting() {
    let machine = Machine::new();
    let serve = machine.serve();
    // More than all that is between the two ends takes.
    machine.ok("publish s", format!("{}\n", "x".repeat(1_000)).repeat(3_000));
    let mut slow = machine.command(["replay", "s"]).spawn().unwrap();
    let mut stdout = slow.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    assert_eq!(machine.ok("publish s", "more\n").len(), 1);
    until("only the slow one is left", || serve.threads("xaeroflux-command") == 1);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(slow.wait().unwrap().success());
    assert!(rest.lines().count() >= 3_000);
    until("the command ends", || is_alone(&serve));
}

#[test]
fn a_client_that_is_stopped_does_not_keep_the_node_from_ending() {
    let machine = Machine::new();
    let serve = machine.serve();
    let mut publish = Running::start(&mut machine.command(["publish", "s"]));
    publish.write("a\n");
    publish.line();
    publish.signal("STOP");
    serve.signal("TERM");
    assert_eq!(serve.end().code, 0);
    publish.signal("CONT");
    assert_eq!(machine.payloads("s"), ["a"]);
}

#[test]
fn an_output_that_nobody_reads_loses_no_event() {
    let machine = Machine::new();
    let _serve = machine.serve();
    let mut child = machine.command(["publish", "s"]).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(&b"a line\n".repeat(5_000)).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(0), &b""[..]));
    assert_eq!(machine.payloads("s").len(), 5_000);
}

#[test]
fn an_output_that_cannot_be_written_is_told_by_the_exit_code() {
    let machine = Machine::new();
    let _serve = machine.serve();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for args in ["id --new alice", "publish s"] {
        let done = run(machine.command(args.split(' ')).stdout(Stdio::from(full())), "a\n");
        assert_eq!(done.code, 6, "{args}");
        assert_eq!(done.stderr.matches("standard output").count(), 1, "{args}: {}", done.stderr);
    }
    assert_eq!(machine.payloads("s"), ["a"]);
}

#[test]
fn a_node_that_is_killed_ends_its_clients() {
    let machine = Machine::new();
    let mut serve = machine.serve();
    let mut publish = Running::start(&mut machine.command(["publish", "s"]));
    publish.write("a\n");
    publish.line();
    serve.child.kill().unwrap();
    let stdin = publish.stdin.take();
    let done = publish.end();
    drop(stdin);
    assert_eq!(done.code, 7, "{}", done.stderr);
    assert!(done.stderr.contains("connection"), "{}", done.stderr);
    serve.end();
    assert_eq!(machine.payloads("s"), ["a"]);
}

#[test]
fn one_too_many_is_told_so() {
    let machine = Machine::new();
    let serve = machine.serve();
    let silent: Vec<UnixStream> = (0..64).map(|_| connect(&machine)).collect();
    let done = machine.run(["id"], "");
    assert_eq!((done.code, done.stdout.as_str()), (3, ""), "{}", done.stderr);
    assert!(done.stderr.contains("64 commands"), "{}", done.stderr);
    drop(silent);
    until("the others leave", || is_alone(&serve));
    machine.ok("id", "");
}

#[test]
fn one_that_says_nothing_is_hung_up_on() {
    let machine = Machine::new();
    let serve = machine.serve();
    let (kind, text) = answer(connect(&machine));
    assert_eq!(kind, REFUSED);
    assert!(text.contains("did not say"), "{text}");
    until("it leaves", || is_alone(&serve));
}

#[test]
fn one_of_another_version_and_one_that_is_none_of_ours_are_refused() {
    let machine = Machine::new();
    let _serve = machine.serve();
    let hello = b"xaeroflux\x001\x0099.0.0\x000\x000\0/\0xaeroflux\0id";
    let mut frame = vec![0, u8::try_from(hello.len()).unwrap(), 0, 0, 0];
    frame.extend_from_slice(hello);
    let mut socket = connect(&machine);
    socket.write_all(&frame).unwrap();
    let (kind, text) = answer(socket);
    assert_eq!(kind, REFUSED);
    assert!(text.contains("99.0.0") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");

    let mut socket = connect(&machine);
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(answer(socket).0, REFUSED);

    // More than is ever taken, by what it claims.
    let mut socket = connect(&machine);
    socket.write_all(&[0, 0xFF, 0xFF, 0xFF, 0xFF]).unwrap();
    assert_eq!(answer(socket).0, REFUSED);
    machine.ok("id", "");
}
