//! The socket in the data directory.
//!
//! It is `serve/socket`, in a directory that only its owner may enter: so nobody else reaches the socket even for the
//! moment between its making and its permissions. Only who holds the lock of the data directory makes or removes it, so
//! that there is never more than one who does. One that is left behind by a process that was killed takes no
//! connections; commands then open the directory themselves, and the next `serve` replaces it.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{DirBuilderExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use crate::cli::exit::{Exit, Failure};

/// The directory of the socket, in the data directory.
const DIRECTORY: &str = "serve";

/// The socket in it.
const NAME: &str = "socket";

/// Only the owner enters, lists and changes the directory.
const DIRECTORY_MODE: u32 = 0o700;

/// Only the owner connects.
const SOCKET_MODE: u32 = 0o600;

/// The socket, which is gone when this is dropped.
pub struct Socket {
    listener: UnixListener,
    directory: PathBuf,
}

impl Socket {
    /// Makes the socket of a data directory. To be called by the holder of the directory's lock, and by nobody else.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn bind(data_dir: &Path) -> Result<Self, Failure> {
        let directory = data_dir.join(DIRECTORY);
        let listener = listen(&directory).map_err(|error| {
            let path = directory.join(NAME);
            Failure::new(Exit::Storage, format_args!("the socket {} could not be made: {error}", path.display()))
        })?;
        Ok(Self { listener, directory })
    }

    /// What takes connections.
    pub const fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // What is left behind takes no connections, and is replaced by the next.
        let _ = fs::remove_file(self.directory.join(NAME));
        let _ = fs::remove_dir(&self.directory);
    }
}

fn listen(directory: &Path) -> io::Result<UnixListener> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))?;
    match fs::remove_file(directory.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let opened = File::open(directory)?;
    let listener = UnixListener::bind(short_path(directory, &opened))?;
    fs::set_permissions(directory.join(NAME), Permissions::from_mode(SOCKET_MODE))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to whoever serves the data directory; `None` where nobody does.
pub fn connect(data_dir: &Path) -> Option<UnixStream> {
    let directory = data_dir.join(DIRECTORY);
    let connected = File::open(&directory).and_then(|opened| UnixStream::connect(short_path(&directory, &opened)));
    // Whatever keeps us from it, opening the data directory itself says more about it.
    connected.inspect_err(|error| tracing::debug!(%error, "nobody serves the data directory")).ok()
}

/// A path of the socket that is short enough: the address of a socket has some hundred bytes, and a data directory may
/// have more. Where the system has a name for the open directory, that is used; it is valid while that is open.
fn short_path(directory: &Path, opened: &File) -> PathBuf {
    if cfg!(target_os = "linux") {
        PathBuf::from(format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd()))
    } else {
        directory.join(NAME)
    }
}
