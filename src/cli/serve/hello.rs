//! How a client begins: who it is, where it was called, and with which arguments.
//!
//! The fields are separated by a byte 0, which no argument and no path has. Those up to the version stay what they are in
//! all versions.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use super::frame::FRAME_BYTES;

/// What both ends must have in common. It changes with the meaning of a frame.
pub const PROTOCOL: &str = "1";

/// The version of this program. Its commands are those that the other end runs, and so it must be the same there.
const VERSION: &str = env!("CARGO_PKG_VERSION");

const MAGIC: &[u8] = b"xaeroflux";

/// What a client asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Hello {
    /// Whether its standard input is a terminal.
    pub input_is_terminal: bool,
    /// Whether its standard output is one.
    pub output_is_terminal: bool,
    /// The directory in which it was called.
    pub directory: PathBuf,
    /// Its arguments, beginning with the program.
    pub args: Vec<OsString>,
}

/// Why a client cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHello {
    /// It is of another version.
    #[error(
        "the running `xaeroflux serve` is version {VERSION} (protocol {PROTOCOL}), this command is version {version} \
         (protocol {protocol}): use the same version for both"
    )]
    Version {
        /// Of the client.
        version: String,
        /// Of the client.
        protocol: String,
    },
    /// It is no client of ours.
    #[error("this is no command of xaeroflux")]
    Unknown,
}

impl Hello {
    /// What this process was called with.
    ///
    /// # Errors
    /// Where it is in no directory.
    pub fn own() -> io::Result<Self> {
        Ok(Self {
            input_is_terminal: io::stdin().is_terminal(),
            output_is_terminal: io::stdout().is_terminal(),
            directory: std::env::current_dir()?,
            args: std::env::args_os().collect(),
        })
    }

    /// The bytes; `None` where there are more of them than a frame takes.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let flag = |is_terminal: bool| if is_terminal { b"1" } else { b"0" };
        let mut bytes = MAGIC.to_vec();
        let mut field = |field: &[u8]| {
            bytes.push(0);
            bytes.extend_from_slice(field);
        };
        field(PROTOCOL.as_bytes());
        field(VERSION.as_bytes());
        field(flag(self.input_is_terminal));
        field(flag(self.output_is_terminal));
        field(self.directory.as_os_str().as_bytes());
        self.args.iter().for_each(|arg| field(arg.as_bytes()));
        (bytes.len() <= FRAME_BYTES).then_some(bytes)
    }

    /// What the bytes say.
    ///
    /// # Errors
    /// Where they are of another version, or of something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadHello> {
        let mut fields = bytes.split(|byte| *byte == 0);
        let mut field = || fields.next().ok_or(BadHello::Unknown);
        if field()? != MAGIC {
            return Err(BadHello::Unknown);
        }
        let (protocol, version) = (field()?, field()?);
        if protocol != PROTOCOL.as_bytes() || version != VERSION.as_bytes() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(40).collect();
            return Err(BadHello::Version { version: text(version), protocol: text(protocol) });
        }
        let mut flag = || Ok(field()? == b"1");
        let (input_is_terminal, output_is_terminal) = (flag()?, flag()?);
        let path = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let directory = PathBuf::from(path(field()?));
        Ok(Self { input_is_terminal, output_is_terminal, directory, args: fields.map(path).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(args: &[&str]) -> Hello {
        Hello {
            input_is_terminal: true,
            output_is_terminal: false,
            directory: PathBuf::from("/some/where"),
            args: args.iter().map(OsString::from).collect(),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for args in [&[][..], &["xaeroflux", "publish", "", "-", "ü"]] {
            assert_eq!(Hello::decode(&hello(args).encode().unwrap()), Ok(hello(args)));
        }
    }

    #[test]
    fn arguments_that_no_frame_takes_are_none() {
        assert_eq!(hello(&["x".repeat(FRAME_BYTES).as_str()]).encode(), None);
    }

    #[test]
    fn another_version_is_told_from_something_else() {
        let version = |version: &str, protocol: &str| {
            Err(BadHello::Version { version: version.to_owned(), protocol: protocol.to_owned() })
        };
        assert_eq!(Hello::decode(b"xaeroflux\x001\x0099.0.0\0what\0ever"), version("99.0.0", "1"));
        assert_eq!(Hello::decode(format!("xaeroflux\x002\0{VERSION}").as_bytes()), version(VERSION, "2"));
        for bad in [&b""[..], b"GET / HTTP/1.1", b"xaeroflux", b"xaeroflux\x001"] {
            assert_eq!(Hello::decode(bad), Err(BadHello::Unknown));
        }
    }
}
