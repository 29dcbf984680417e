//! A bar on standard error, where somebody sits in front of it. A client of `serve` has none.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};
use xaeroflux::Progress;

use super::console::Console;

/// How the bar looks.
const TEMPLATE: &str = "{msg} {bar:32} {human_pos}/{human_len} events  {per_sec}  {eta}";

/// The bar; nothing where standard error is no terminal.
#[derive(Clone)]
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// A bar for this work.
    pub fn new(what: &'static str, console: &Console) -> Self {
        if !console.is_own() || !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(0).with_message(what);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Self(Some(bar))
    }

    /// Shows how far it has come.
    pub fn show(&self, progress: Progress) {
        if let Some(bar) = &self.0 {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
    }

    /// Takes the bar away, before anything else is written.
    pub fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
