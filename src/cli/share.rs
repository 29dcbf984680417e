//! `xaeroflux ticket` and `join`: sharing a subject with another node.

use serde::Serialize;
use xaeroflux::{EventType, Node, ReplicaFilter, ScanWindow, SubjectTicket};

use super::{
    args::{self, JoinArgs, TicketArgs},
    exit::{Exit, Failure},
    id,
    kind::Kind,
    output::Output,
    place::Place,
};

/// A ticket as it is printed.
#[derive(Serialize)]
struct Ticket {
    ticket: String,
}

/// What was joined, as it is printed.
#[derive(Serialize)]
struct Joined<'a> {
    subject: &'a str,
    id: String,
    /// What is kept of it, where that is a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<String>,
}

/// Prints a ticket of the subject, with where this node is now.
pub fn ticket(place: &Place<'_>, args: &TicketArgs, output: &mut Output) -> Result<Exit, Failure> {
    args::checked(&args.subject)?;
    let node = place.open()?;
    let subject = node.subject(args.subject.as_str());
    let ticket = if args.rotate { subject.rotate_secret()? } else { subject.ticket()? };
    // A subject that is shared is to be there for who comes.
    place.keep(&subject)?;
    if node.peer_addr().is_none() {
        tracing::warn!(
            "nobody serves this data directory: the ticket says who this node is, and not where; run `serve` first, or have the others start with --peer"
        );
    }
    let ticket = ticket.to_string();
    output.line(&Ticket { ticket: ticket.clone() }, ticket)?;
    Ok(Exit::Done)
}

/// Takes a ticket. The node that serves the directory, now or later, does the rest.
pub fn join(place: &Place<'_>, args: &JoinArgs, output: &mut Output) -> Result<Exit, Failure> {
    let ticket: SubjectTicket = args.ticket.trim().parse().map_err(Failure::usage)?;
    let node = place.open()?;
    let filter = filter(&node, args)?;
    let subject = match (&args.alias, filter.is_all()) {
        (Some(alias), true) => node.join_as(&ticket, args::checked(alias)?)?,
        (None, true) => node.join(&ticket)?,
        (Some(alias), false) => node.join_partial_as(&ticket, args::checked(alias)?, filter)?,
        (None, false) => node.join_partial(&ticket, filter)?,
    };
    place.keep(&subject)?;
    let (id, partial) = (subject.id().to_string(), subject.replica_filter()?.map(|filter| filter.to_string()));
    let kept = partial.as_ref().map(|partial| format!(", for a part of it: {partial}")).unwrap_or_default();
    let text = format!("joined {}{kept}", subject.name());
    output.line(&Joined { subject: subject.name(), id, partial }, text)?;
    Ok(Exit::Done)
}

/// What is to be kept of the subject.
fn filter(node: &Node, args: &JoinArgs) -> Result<ReplicaFilter, Failure> {
    let (start, end) = (args.only_from.unwrap_or(0), args.only_to.unwrap_or(u64::MAX));
    let mut filter = ReplicaFilter::all().window(ScanWindow { start, end });
    for author in &args.only_author {
        filter = filter.author(id::author(node, author)?);
    }
    let of_type = |kind: &Kind| EventType::ApplicationEvent(kind.code());
    Ok(args.only_type.iter().fold(filter, |filter, kind| filter.event_type(of_type(kind))))
}
