//! Where clients come in.

use std::{
    io::{self, Read as _},
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    clients::{Clients, MAX_CLIENTS},
    frame::Kind,
    link::Link,
    served::Served,
    session::Session,
    socket::Socket,
};
use crate::cli::{
    exit::{Exit, Failure},
    signals::Interrupt,
};

/// How long nobody is let in where the system has no descriptor for one more: it will not have one in the next moment.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is looked whether the node has failed. Who serves it has a second to spare for that.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What is needed to let clients in.
pub struct Door<'a> {
    /// Where they knock.
    pub socket: &'a Socket,
    /// Can be read once the flag is set.
    pub woken: &'a UnixStream,
    /// Set once the node is to end.
    pub interrupt: &'a Interrupt,
    /// Those who are in.
    pub clients: &'a Arc<Clients>,
    /// What they come for.
    pub served: &'a Arc<Served>,
}

impl Door<'_> {
    /// Lets clients in until the node is to end.
    ///
    /// # Errors
    /// Where the system does not let us wait, and where the node has failed.
    pub fn keep(&self) -> Result<(), Failure> {
        self.woken.set_read_timeout(Some(PAUSE)).map_err(|error| broken(&error))?;
        while !self.interrupt.is_set() {
            let mut asked =
                [PollFd::new(self.socket.listener(), PollFlags::IN), PollFd::new(self.woken, PollFlags::IN)];
            // Nobody tells that the node has failed: it is asked now and then.
            if let Some(error) = self.served.node().failure() {
                return Err(error.into());
            }
            match poll(&mut asked, Some(&LOOK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(broken(&error.into())),
            }
            match self.socket.listener().accept() {
                Ok((socket, _)) => self.admit(socket),
                Err(error) if is_nobody(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "a command could not be let in");
                    // How it ends does not matter: whoever has woken us has set the flag.
                    let _ = (&mut &*self.woken).read(&mut [0]);
                }
            }
        }
        Ok(())
    }

    fn admit(&self, socket: UnixStream) {
        // On some systems it has this from the listener.
        if let Err(error) = socket.set_nonblocking(false) {
            return tracing::warn!(%error, "a command could not be let in");
        }
        let link = Arc::new(Link::new(socket));
        let Some(slot) = self.clients.enter(&link) else {
            let why =
                format!("{MAX_CLIENTS} commands use the node already, which is as many as it takes: wait for one");
            return link.send(Kind::Refused, why.as_bytes());
        };
        let session = Session { link: Arc::clone(&link), served: Arc::clone(self.served), slot };
        let started = thread::Builder::new().name("xaeroflux-command".to_owned()).spawn(move || session.run());
        if let Err(error) = started {
            link.send(Kind::Refused, format!("a thread could not be started: {error}").as_bytes());
        }
    }
}

/// Whether nobody came after all.
fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted)
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format_args!("commands cannot be waited for: {error}"))
}
