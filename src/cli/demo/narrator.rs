//! The narrator: tells the story, to people in words and to programs in JSON, and notes what went other than it must.

use std::{fmt, io, time::Instant};

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::cli::{
    exit::{Exit, Failure},
    output::Output,
    signals::Interrupt,
    state::Value,
};

/// Tells the story.
pub struct Narrator<'a> {
    output: &'a mut Output,
    interrupt: Interrupt,
    scene: &'static str,
    begun: Instant,
    /// What was compared, and how much of it was wrong.
    checks: u32,
    wrong: u32,
}

/// What is told, for programs.
#[derive(Serialize)]
struct Line<'a> {
    scene: &'a str,
    event: &'a str,
    text: &'a str,
    #[serde(flatten)]
    facts: Json,
}

impl<'a> Narrator<'a> {
    pub fn new(output: &'a mut Output, interrupt: Interrupt) -> Self {
        Self { output, interrupt, scene: "demo", begun: Instant::now(), checks: 0, wrong: 0 }
    }

    /// Begins a scene.
    pub fn scene(&mut self, name: &'static str, title: &str) -> Result<(), Failure> {
        self.scene = name;
        if !self.output.is_json() {
            self.output.text(format_args!("\n{}: {title}", name.to_uppercase()))?;
            return self.go_on();
        }
        self.tell("scene", title, json!({}))
    }

    /// Tells what happened. The facts are what a program would want of it.
    pub fn tell(&mut self, event: &str, text: impl fmt::Display, facts: Json) -> Result<(), Failure> {
        let text = text.to_string();
        self.line(&Line { scene: self.scene, event, text: &text, facts })?;
        self.go_on()
    }

    /// Tells a state, and whether it is the one that it must be.
    pub fn state(&mut self, of: &str, state: &Value, expected: &Value) -> Result<(), Failure> {
        let right = self.check(state == expected);
        let verdict = if right { "as it must be".to_owned() } else { format!("WRONG, it must be {}", flat(expected)) };
        self.tell(
            "state",
            format_args!("{of}: {}  ({verdict})", flat(state)),
            json!({ "of": of, "value": state, "expected": expected, "ok": right }),
        )
    }

    /// Tells something that must hold.
    pub fn must(&mut self, holds: bool, event: &str, text: &str, mut facts: Json) -> Result<(), Failure> {
        let right = self.check(holds);
        if let Some(facts) = facts.as_object_mut() {
            facts.insert("ok".to_owned(), json!(right));
        }
        let verdict = if right { "" } else { "  (WRONG: this must not be)" };
        self.tell(event, format_args!("{text}{verdict}"), facts)
    }

    /// Tells how it went, and ends with the exit code for it.
    pub fn end(mut self) -> Result<Exit, Failure> {
        self.scene("end", "how it went")?;
        let (checks, wrong, seconds) = (self.checks, self.wrong, self.begun.elapsed().as_secs_f64());
        self.tell(
            "done",
            format_args!("{} of {checks} checks held, in {seconds:.1} s; nothing is left behind", checks - wrong),
            json!({ "ok": wrong == 0, "checks": checks, "wrong": wrong, "seconds": (seconds * 1e3).round() / 1e3 }),
        )?;
        if wrong > 0 {
            return Err(Failure::new(Exit::Failed, "the demo did not go as it must: report this as a bug"));
        }
        Ok(Exit::Done)
    }

    const fn check(&mut self, holds: bool) -> bool {
        self.checks += 1;
        if !holds {
            self.wrong += 1;
        }
        holds
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.output.line(line, format_args!("  {}", line.text))
    }

    /// Shows what was told, unless somebody has asked for the end.
    fn go_on(&mut self) -> Result<(), Failure> {
        if self.interrupt.is_set() {
            return Err(Failure::new(Exit::Interrupted, "interrupted; nothing is left behind"));
        }
        Ok(self.output.flush()?)
    }
}

/// A state in one line.
fn flat(state: &Value) -> String {
    match state {
        Value::Many(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_state_is_a_failure_of_the_whole() {
        let end = |state: i64| {
            let mut output = Output::new(true);
            let mut narrator = Narrator::new(&mut output, Interrupt::default());
            narrator.state("right", &Value::Number(1), &Value::Number(1)).unwrap();
            narrator.state("in question", &Value::Number(state), &Value::Number(1)).unwrap();
            narrator.must(true, "held", "something else held", json!({})).unwrap();
            narrator.end().map_err(|failure| failure.exit)
        };
        assert_eq!(end(1).unwrap(), Exit::Done);
        assert_eq!(end(2).unwrap_err(), Exit::Failed);
    }
}
