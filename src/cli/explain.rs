//! `xaeroflux explain`: what became of an event.

use serde::Serialize;
use xaeroflux::Explanation;

use super::{
    args::{self, ExplainArgs},
    exit::{Exit, Failure},
    id,
    output::Output,
    place::Place,
};

/// An explanation as it is printed.
#[derive(Serialize)]
struct Line {
    author: String,
    seq: u64,
    /// One word.
    is: &'static str,
    /// One sentence.
    text: String,
    #[serde(flatten)]
    more: More,
}

/// What is said of some kinds only.
#[derive(Serialize, Default)]
struct More {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordinal: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_valid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<String>,
    /// What is kept here, where that is a part of the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<String>,
}

/// Prints what is known of the event.
pub fn run(place: &Place<'_>, args: &ExplainArgs, output: &mut Output) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let node = place.open()?;
    let author = id::author(&node, &args.author)?;
    let subject = node.subject(args.subject.clone());
    let explanation = subject.explain(author, args.seq)?;
    let (is, more) = parts(&explanation);
    let more = More { partial: subject.replica_filter()?.map(|filter| filter.to_string()), ..more };
    let text = explanation.to_string();
    output.line(&Line { author: author.to_string(), seq: args.seq, is, text: text.clone(), more }, text)?;
    Ok(Exit::Done)
}

/// The word for what became of the event, and what else is known.
fn parts(explanation: &Explanation) -> (&'static str, More) {
    match explanation {
        Explanation::Accepted { id, ordinal, signed, refused, .. } => {
            let refused = refused.as_ref().map(ToString::to_string);
            let more =
                More { id: Some(id.to_string()), ordinal: Some(*ordinal), signed: Some(*signed), ..More::default() };
            ("accepted", More { refused, ..more })
        }
        Explanation::Withheld { id, ordinal, signed, .. } => {
            let (id, ordinal, signed) = (Some(id.to_string()), Some(*ordinal), Some(*signed));
            ("withheld", More { id, ordinal, signed, ..More::default() })
        }
        Explanation::LeftOut { .. } => ("left-out", More::default()),
        Explanation::Waiting { missing, .. } => {
            ("waiting", More { missing: Some(missing.to_string()), ..More::default() })
        }
        Explanation::Held { until_ms, .. } => ("held", More { until_ms: Some(*until_ms), ..More::default() }),
        Explanation::Refused { why, .. } => ("refused", More { refused: Some(why.to_string()), ..More::default() }),
        Explanation::Superseded { last_valid, again, .. } => {
            let again = again.as_ref().map(ToString::to_string);
            ("superseded", More { last_valid: Some(*last_valid), again, ..More::default() })
        }
        Explanation::Revoked { last_valid, .. } => {
            ("revoked", More { last_valid: Some(*last_valid), ..More::default() })
        }
        _ => ("unknown", More::default()),
    }
}
