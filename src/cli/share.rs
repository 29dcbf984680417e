//! `xaeroflux ticket` and `join`: sharing a subject with another node.

use serde::Serialize;
use xaeroflux::SubjectTicket;

use super::{
    args::{self, JoinArgs, TicketArgs},
    exit::{Exit, Failure},
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
    let subject = match &args.alias {
        Some(alias) => node.join_as(&ticket, args::checked(alias)?)?,
        None => node.join(&ticket)?,
    };
    place.keep(&subject)?;
    let id = subject.id().to_string();
    output.line(&Joined { subject: subject.name(), id }, format_args!("joined {}", subject.name()))?;
    Ok(Exit::Done)
}
