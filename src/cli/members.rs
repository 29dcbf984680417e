//! `xaeroflux create`, `grant`, `revoke`, `members`: owned subjects and the roles in them.

use clap::{Args, ValueEnum};
use serde::Serialize;
use xaeroflux::{Acknowledged, Node, Role, XaeroID};

use super::{
    args,
    exit::{Exit, Failure},
    id,
    output::Output,
    place::Place,
    text::short,
};

/// Arguments of `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The subject's name here
    pub subject: String,

    /// Only those write in it who were granted that; a subject that everybody may write in needs no creation
    #[arg(long, required = true)]
    pub owned: bool,

    /// Create it as the identity of this name, which must exist [default: the node's own, made on first use]
    #[arg(long = "as", value_name = "NAME")]
    pub author: Option<String>,
}

/// Arguments of `grant`.
#[derive(Debug, Args)]
pub struct GrantArgs {
    /// The subject's name
    pub subject: String,

    /// Who gets the role: the hexadecimal id of an identity, or the name of a local one
    pub who: String,

    /// The role
    #[arg(long)]
    pub role: RoleArg,

    /// Grant it as the identity of this name, which must exist [default: the node's own]
    #[arg(long = "as", value_name = "NAME")]
    pub author: Option<String>,
}

/// Arguments of `revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The subject's name
    pub subject: String,

    /// Whose role is taken: the hexadecimal id of an identity, or the name of a local one
    pub who: String,

    /// Revoke it as the identity of this name, which must exist [default: the node's own]
    #[arg(long = "as", value_name = "NAME")]
    pub author: Option<String>,
}

/// Arguments of `members`.
#[derive(Debug, Args)]
pub struct MembersArgs {
    /// The subject's name
    pub subject: String,
}

/// The roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// May give and take roles too
    Owner,
    /// May write
    Writer,
    /// May read
    Reader,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Owner => Self::Owner,
            RoleArg::Writer => Self::Writer,
            RoleArg::Reader => Self::Reader,
        }
    }
}

/// A subject that was created.
#[derive(Serialize)]
struct Created<'a> {
    subject: &'a str,
    id: String,
    creator: String,
}

/// The receipt of a grant or a revocation.
#[derive(Serialize)]
struct Receipt {
    author: String,
    seq: u64,
    id: String,
}

/// A member as it is printed.
#[derive(Serialize)]
struct Line {
    id: String,
    role: &'static str,
    granted_by: Option<String>,
    revoked: bool,
    last_valid: Option<u64>,
}

/// Creates an owned subject.
pub fn create(place: &Place<'_>, args: &CreateArgs, output: &mut Output) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let node = place.open()?;
    let creator = acting(&node, args.author.as_deref())?;
    let subject = node.create_owned_by(&args.subject, creator)?;
    let created = Created { subject: &args.subject, id: subject.id().to_string(), creator: creator.to_string() };
    output.line(&created, format_args!("{}  {}", subject.id(), args.subject))?;
    Ok(Exit::Done)
}

/// Grants a role.
pub fn grant(place: &Place<'_>, args: &GrantArgs, output: &mut Output) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let node = place.open()?;
    let (author, who) = (acting(&node, args.author.as_deref())?, id::author(&node, &args.who)?);
    let subject = node.subject(args.subject.as_str());
    let handle = place.run(&subject)?;
    let receipt = subject.grant_as(author, who, args.role.into())?;
    print(output, &receipt)?;
    drop(handle);
    Ok(Exit::Done)
}

/// Takes a role.
pub fn revoke(place: &Place<'_>, args: &RevokeArgs, output: &mut Output) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let node = place.open()?;
    let (author, who) = (acting(&node, args.author.as_deref())?, id::author(&node, &args.who)?);
    let subject = node.subject(args.subject.as_str());
    let handle = place.run(&subject)?;
    let receipt = subject.revoke_as(author, who)?;
    print(output, &receipt)?;
    drop(handle);
    Ok(Exit::Done)
}

/// Lists the members.
pub fn members(place: &Place<'_>, args: &MembersArgs, output: &mut Output) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let node = place.open()?;
    for member in node.subject(args.subject.as_str()).members()? {
        let line = Line {
            id: member.id.to_string(),
            role: member.role.name(),
            granted_by: member.granted_by.map(|by| by.to_string()),
            revoked: member.is_revoked,
            last_valid: member.last_valid,
        };
        let by = member.granted_by.map_or_else(|| "created the subject".to_owned(), |by| format!("by {}", short(&by)));
        let end = match (member.is_revoked, member.last_valid) {
            (true, Some(last)) => format!(", revoked after event {last}"),
            (false, Some(last)) => format!(", forked after event {last}"),
            _ => String::new(),
        };
        output.line(&line, format_args!("{}  {:6}  {by}{end}", member.id, member.role.name()))?;
    }
    Ok(Exit::Done)
}

/// The identity that acts.
fn acting(node: &Node, name: Option<&str>) -> Result<XaeroID, Failure> {
    match name {
        Some(name) => id::existing(node, name),
        None => Ok(node.own_identity()?),
    }
}

fn print(output: &mut Output, receipt: &Acknowledged) -> Result<(), Failure> {
    let Acknowledged { author, seq, id } = receipt;
    let line = Receipt { author: author.to_string(), seq: *seq, id: id.to_string() };
    Ok(output.line(&line, receipt)?)
}
