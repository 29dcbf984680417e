//! Figures, and how they are printed.

use std::fmt::Display;

/// Whether to measure at all: `cargo test` runs benches too, and there is nothing to test in them.
pub fn is_wanted() -> bool {
    is_smoke() || std::env::args().any(|argument| argument == "--bench")
}

/// Whether a short run is enough to see that the bench works; its figures mean nothing.
pub fn is_smoke() -> bool {
    std::env::args().any(|argument| argument == "--smoke")
        || std::env::var_os("XAEROFLUX_BENCH_SMOKE").is_some_and(|value| value == "1")
}

/// Whether this figure is asked for: those named on the command line, or all.
pub fn is_selected(name: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).peekable();
    names.peek().is_none() || names.any(|asked| asked == name)
}

/// A size: the first, or the second in a short run.
pub fn size(full: usize, smoke: usize) -> usize {
    if is_smoke() { smoke } else { full }
}

/// The middle one of some measurements.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (length, middle) if length % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        (_, middle) => sorted[middle],
    }
}

/// One figure: what it is called, what both sides reach, and what else there is to know.
pub struct Figure {
    line: String,
}

impl Figure {
    /// `ratio` is what the target is about: ours in terms of theirs.
    pub fn new(name: &str, ours: f64, theirs: f64, ratio: f64) -> Self {
        let line =
            format!(r#"{{"name":"{name}","ours":{},"theirs":{},"ratio":{ratio:.3}"#, number(ours), number(theirs));
        Self { line }.with_text("cores", std::thread::available_parallelism().map_or(0, usize::from))
    }

    /// Adds a number.
    pub fn with(mut self, key: &str, value: f64) -> Self {
        self.line.push_str(&format!(r#","{key}":{}"#, number(value)));
        self
    }

    /// Adds the unit of both sides.
    pub fn unit(mut self, unit: &str) -> Self {
        self.line.push_str(&format!(r#","unit":"{unit}""#));
        self
    }

    /// Prints the line.
    pub fn print(self) {
        println!("{}{}}}", self.line, if is_smoke() { r#","smoke":true"# } else { "" });
    }

    fn with_text(mut self, key: &str, value: impl Display) -> Self {
        self.line.push_str(&format!(r#","{key}":{value}"#));
        self
    }
}

/// Enough digits, and no more.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
