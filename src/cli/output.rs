//! Standard output: JSON Lines, or text for people.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write},
};

use serde::Serialize;

/// Most bytes of one write, unless a single line is longer. A pipe takes a write of this size (`PIPE_BUF` on Linux) whole
/// or not at all, so that a process that is killed in the middle leaves no half of a line to whoever reads.
const WRITE_BYTES: usize = 4_096;

/// Standard output. Lines are gathered: what is to be seen at once has to be [flushed](Output::flush).
pub struct Output {
    json: bool,
    asked_for: bool,
    is_terminal: bool,
    out: Box<dyn Write>,
    /// Whole lines that are not written yet.
    lines: Vec<u8>,
}

impl Output {
    /// This process's standard output: JSON Lines where asked for, or where nobody sits in front of it.
    pub fn new(json: bool) -> Self {
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        Self::to(Box::new(out.lock()), json, is_terminal)
    }

    /// As [`new`](Self::new), of somebody else.
    pub fn to(out: Box<dyn Write>, json: bool, is_terminal: bool) -> Self {
        Self { json: json || !is_terminal, asked_for: json, is_terminal, out, lines: Vec::new() }
    }

    /// Whether somebody sits in front of it.
    pub const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// For what is not lines. Nothing of them may be waiting.
    pub fn bytes(&mut self) -> &mut dyn Write {
        &mut *self.out
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
        if self.json { self.json(value) } else { self.text(text) }
    }

    /// Writes a value as a line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let before = self.lines.len();
        serde_json::to_writer(&mut self.lines, value)?;
        self.end_line(before)
    }

    /// Writes text as a line.
    pub fn text(&mut self, text: impl fmt::Display) -> io::Result<()> {
        let before = self.lines.len();
        write!(self.lines, "{text}")?;
        self.end_line(before)
    }

    /// Has everything so far on its way.
    pub fn flush(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.lines).and_then(|()| self.out.flush());
        // What could not be written is not tried again.
        self.lines.clear();
        written
    }

    /// A line was added to those `before` bytes that were there.
    fn end_line(&mut self, before: usize) -> io::Result<()> {
        self.lines.push(b'\n');
        if self.lines.len() <= WRITE_BYTES {
            return Ok(());
        }
        let line = self.lines.split_off(before);
        if before > 0 {
            self.flush()?;
        }
        self.lines = line;
        if self.lines.len() > WRITE_BYTES { self.flush() } else { Ok(()) }
    }
}
