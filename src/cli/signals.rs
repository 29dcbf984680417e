//! Signals that ask for the end, and the end of whoever reads our output.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::exit::{Exit, Failure};

/// Whether a signal has asked for the end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on `SIGINT` and `SIGTERM` set the flag and call `wake`, instead of ending the process on the spot. A second
    /// one does end it, should the first not be heard.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn catch(wake: impl Fn() + Send + 'static) -> Result<Self, Failure> {
        let failure =
            |error: io::Error| Failure::new(Exit::Failed, format_args!("signals could not be caught: {error}"));
        let interrupt = Self::default();
        let flag = Arc::clone(&interrupt.0);
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failure)?;
        let watch = move || {
            for signal in signals.forever() {
                if flag.swap(true, Ordering::SeqCst) {
                    // Ends the process as if the signal had not been caught.
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
                wake();
            }
        };
        std::thread::Builder::new().name("xaeroflux-signal".to_owned()).spawn(watch).map_err(failure)?;
        Ok(interrupt)
    }

    /// Whether one came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
