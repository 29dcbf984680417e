//! `xaeroflux id`: the identities of the data directory.

use serde::Serialize;
use xaeroflux::{Error, KeyringError, Node, XaeroID};

use super::{
    args::IdArgs,
    exit::{Exit, Failure},
    output::Output,
};

/// An identity as it is printed.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<&'a str>,
    /// Whose work it continues: of the directory that this one was copied from, or of a log that forked.
    #[serde(skip_serializing_if = "Option::is_none")]
    succeeds: Option<String>,
}

/// Makes what is to be made, then prints what is to be printed; without either, lists what is there.
pub fn run(node: &Node, args: &IdArgs, output: &mut Output) -> Result<Exit, Failure> {
    if let Some(name) = &args.new {
        print(node, output, name, node.create_identity(name)?)?;
    }
    if let Some(name) = &args.export_public {
        let key = node.public_key(name).map_err(|error| unknown(name, error))?;
        let text = key.to_text();
        // The text form is a file format of its own, so it is printed as it is wherever it goes, unless JSON is asked for.
        if output.was_json_asked_for() {
            let id = key.id().to_string();
            output.json(&Line { name, id, public_key: Some(text.trim_end()), succeeds: succeeds(node, key.id()) })?;
        } else {
            output.text(text.trim_end())?;
        }
    }
    if args.new.is_none() && args.export_public.is_none() {
        for (name, id) in node.identities() {
            print(node, output, &name, id)?;
        }
    }
    Ok(Exit::Done)
}

/// The writer behind a name that must exist.
///
/// # Errors
/// Where it does not, or its key cannot be used.
pub fn existing(node: &Node, name: &str) -> Result<XaeroID, Failure> {
    node.public_key(name).map(|key| key.id()).map_err(|error| unknown(name, error))
}

/// A writer as the command line has it: the hexadecimal id that receipts show, of anybody, or the name of a local identity.
///
/// # Errors
/// Where it is neither.
pub fn author(node: &Node, text: &str) -> Result<XaeroID, Failure> {
    text.parse().or_else(|_| existing(node, text))
}

/// An error about a name, with the way out that the command offers.
fn unknown(name: &str, error: Error) -> Failure {
    match &error {
        Error::Keyring(cause) if matches!(**cause, KeyringError::UnknownName(_)) => Failure::new(
            Exit::Identity,
            format_args!(
                "there is no identity {name:?} in this data directory: make it with `xaeroflux id --new {name}`, or see \
                 `xaeroflux id` for those that exist"
            ),
        ),
        _ => error.into(),
    }
}

fn succeeds(node: &Node, id: XaeroID) -> Option<String> {
    node.predecessor(id).map(|succession| succession.old.to_string())
}

fn print(node: &Node, output: &mut Output, name: &str, id: XaeroID) -> Result<(), Failure> {
    let (id, succeeds) = (id.to_string(), succeeds(node, id));
    let text = match &succeeds {
        Some(old) => format!("{id}  {name}, after {old}"),
        None => format!("{id}  {name}"),
    };
    Ok(output.line(&Line { name, id, public_key: None, succeeds }, text)?)
}
