//! Standard output: JSON Lines, or text for people.

use std::{
    fmt,
    io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _},
};

use serde::Serialize;

/// What is gathered before it is written, in bytes, unless it is flushed earlier: a few hundred lines.
const BUFFER_BYTES: usize = 64 << 10;

/// Standard output, buffered: what is to be seen at once has to be [flushed](Output::flush).
pub struct Output {
    json: bool,
    asked_for: bool,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// JSON Lines where asked for, or where nobody sits in front of it.
    pub fn new(json: bool) -> Self {
        let out = io::stdout();
        Self {
            json: json || !out.is_terminal(),
            asked_for: json,
            out: BufWriter::with_capacity(BUFFER_BYTES, out.lock()),
        }
    }

    /// Whether lines are for programs.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether `--json` was given.
    pub const fn was_json_asked_for(&self) -> bool {
        self.asked_for
    }

    /// Writes a line: the value as JSON for programs, the text for people.
    pub fn line(&mut self, value: &impl Serialize, text: impl fmt::Display) -> io::Result<()> {
        if self.json { self.json(value) } else { writeln!(self.out, "{text}") }
    }

    /// Writes a value as a line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Writes text as it is.
    pub fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    /// Has everything so far on its way.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
