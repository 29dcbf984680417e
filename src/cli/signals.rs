//! Signals that ask for the end, and the end of whoever reads our output.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::exit::{Exit, Failure};

/// Whether somebody has asked for the end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on `SIGINT` and `SIGTERM` set the flag and call `wake`, instead of ending the process on the spot. A second
    /// one does end it, should the first not be heard.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn catch(wake: impl Fn() + Send + 'static) -> Result<Self, Failure> {
        let interrupt = Self::default();
        let flag = Arc::clone(&interrupt.0);
        let mut signals = Signals::new([SIGINT, SIGTERM])
            .map_err(|error| Failure::new(Exit::Failed, format_args!("signals could not be caught: {error}")))?;
        watch("xaeroflux-signal", move || {
            for signal in signals.forever() {
                if flag.swap(true, Ordering::SeqCst) {
                    // Ends the process as if the signal had not been caught.
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
                wake();
            }
        })?;
        Ok(interrupt)
    }

    /// Has the end of whoever reads standard output do the same. Without this it shows with the next line only, for which
    /// a follower may wait for ever.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn catch_closed_output(&self, wake: impl Fn() + Send + 'static) -> Result<(), Failure> {
        let flag = Arc::clone(&self.0);
        watch("xaeroflux-stdout", move || {
            let output = io::stdout();
            // No events are asked for: that the other end is gone is told all the same, and a file never tells anything.
            let mut asked = [PollFd::new(&output, PollFlags::empty())];
            while let Err(Errno::INTR) = poll(&mut asked, None) {}
            flag.store(true, Ordering::SeqCst);
            wake();
        })
    }

    /// Somebody does.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody did.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Starts a thread that waits for something as long as the process lives.
fn watch(name: &str, wait: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    match std::thread::Builder::new().name(name.to_owned()).spawn(wait) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Failed, format_args!("a thread could not be started: {error}"))),
    }
}
