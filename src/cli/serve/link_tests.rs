//! A conversation with a client that does what it should, and with ones that do not.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    frame::{self, FRAME_BYTES, Kind},
    link::Link,
};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn conversation() -> (Arc<Link>, UnixStream, JoinHandle<()>) {
    let (here, there) = UnixStream::pair().unwrap();
    there.set_read_timeout(Some(PATIENCE)).unwrap();
    let link = Arc::new(Link::new(here));
    assert!(link.begin());
    let listening = Arc::clone(&link);
    (link, there, thread::spawn(move || listening.listen()))
}

#[test]
fn input_comes_when_it_is_wanted() {
    let (link, client, listener) = conversation();
    let reader = thread::spawn(move || io::read_to_string(link.input()));
    for part in ["some ", "input", ""] {
        assert_eq!(frame::read(&client).unwrap(), Some((Kind::Want, vec![])));
        frame::write(&client, Kind::Input, part.as_bytes()).unwrap();
    }
    assert_eq!(reader.join().unwrap().unwrap(), "some input");
    drop(client);
    listener.join().unwrap();
}

#[test]
fn no_more_output_is_on_its_way_than_fits_the_window() {
    let (link, client, listener) = conversation();
    let mut output = link.output();
    let writer = thread::spawn(move || output.write_all(&vec![0; 5 * FRAME_BYTES]).and_then(|()| output.flush()));
    for _ in 0..4 {
        assert_eq!(frame::read(&client).unwrap().unwrap().0, Kind::Output);
    }
    client.set_nonblocking(true).unwrap();
    assert_eq!(frame::read(&client).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    for frames in [2, 3] {
        assert!(!writer.is_finished(), "flushed is what was written");
        frame::write(&client, Kind::Written, &u32::try_from(frames * FRAME_BYTES).unwrap().to_le_bytes()).unwrap();
        if frames == 2 {
            assert_eq!(frame::read(&client).unwrap().unwrap().0, Kind::Output);
        }
    }
    writer.join().unwrap().unwrap();
    drop(client);
    listener.join().unwrap();
}

#[test]
fn errors_of_the_streams_are_those_of_the_client() {
    let (link, client, listener) = conversation();
    let number = 28_i32;
    frame::write(&client, Kind::OutputFailed, &number.to_le_bytes()).unwrap();
    // It is known once the next frame was taken.
    frame::write(&client, Kind::Interrupt, &[]).unwrap();
    drop(client);
    listener.join().unwrap();
    assert!(link.interrupt().is_set());
    assert_eq!(link.output().flush().unwrap_err().raw_os_error(), Some(number));
}

#[test]
fn a_client_that_sends_what_was_not_asked_for_is_not_listened_to() {
    let written = 1_u32.to_le_bytes();
    for (kind, bytes) in
        [(Kind::Input, &b"unasked"[..]), (Kind::Written, &written), (Kind::Written, b"x"), (Kind::Exit, b"")]
    {
        let (link, client, listener) = conversation();
        frame::write(&client, kind, bytes).unwrap();
        listener.join().unwrap();
        assert!(link.interrupt().is_set());
        assert_eq!(link.output().write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe, "{kind:?}");
        assert!(link.input().read(&mut [0]).is_err());
    }
}

#[test]
fn a_command_that_waits_for_input_ends_with_the_node() {
    let (link, client, listener) = conversation();
    let mut input = link.input();
    let reader = thread::spawn(move || input.read(&mut [0]));
    assert_eq!(frame::read(&client).unwrap(), Some((Kind::Want, vec![])));
    link.end();
    let error = reader.join().unwrap().unwrap_err();
    assert!(crate::cli::console::Ending::is(&error), "{error}");
    drop(client);
    listener.join().unwrap();
}
