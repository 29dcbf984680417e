//! Two nodes that edit one shopping list while they are offline, then meet over a real connection and agree.
//!
//! `cargo run --example two_nodes [-- --data-dir DIR]`
//!
//! Both nodes live in this process, and the connection goes through the loopback interface. Between two machines nothing
//! would be different, but for how the ticket gets from one to the other.

mod common;

use std::sync::mpsc;

use clap::Parser;
use common::{DataDir, Outcome, PATIENCE, loopback, until};
use xaeroflux::{SubjectTicket, prelude::*};

/// A laptop and a phone edit the same list offline, then meet
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    data: DataDir,
}

/// One device: a node of its own, with the list.
struct Device {
    name: &'static str,
    node: Node,
    list: Subject,
    // The list is durable, and synced, as long as this is held.
    _handle: Handle,
}

fn main() -> Outcome {
    let options = Options::parse();

    // 1. Two devices that know nothing of each other: a name is enough for both to mean the same subject.
    let laptop = Device::open("laptop", &options.data)?;
    let phone = Device::open("phone", &options.data)?;

    // 2. Both are offline, and both edit.
    println!("Both are offline.");
    laptop.edit(CRDT_SET_ADD, "milk")?;
    laptop.edit(CRDT_SET_ADD, "bread")?;
    phone.edit(CRDT_SET_ADD, "milk")?;
    phone.edit(CRDT_SET_REMOVE, "milk")?;
    phone.edit(CRDT_SET_ADD, "eggs")?;
    laptop.show()?;
    phone.show()?;
    println!("The roots differ: {} and {}.", laptop.root()?, phone.root()?);

    // 3. They meet: the laptop makes a ticket, and the phone joins with it.
    laptop.node.start_network(loopback())?;
    phone.node.start_network(loopback())?;
    let ticket = laptop.list.ticket()?.to_string(); // to be sent, shown as a code, pasted
    println!("\nThe phone joins with the laptop's ticket, of {} characters.", ticket.len());
    let ticket: SubjectTicket = ticket.parse()?;
    phone.node.join(&ticket)?;
    until("both have the same events", || Ok(laptop.list.root()? == phone.list.root()?))?;
    for peer in phone.node.peers().into_iter().filter(|peer| peer.endpoint == ticket.peers()[0].endpoint) {
        let protected = if peer.post_quantum == Some(true) { ", safe from quantum computers" } else { "" };
        println!("A connection to {}{protected}.", peer.addr.map_or("?".to_owned(), |addr| addr.to_string()));
    }
    println!("The phone removed the milk that it had seen, not the laptop's:");
    laptop.show()?;
    phone.show()?;

    // 4. From now on each sees what the other writes as it is written.
    let (tell, told) = mpsc::channel();
    let live = phone.list.subscribe(move |event| {
        // Nobody listens any more once the example has ended.
        let _ = tell.send(event.evt.data);
    });
    println!();
    laptop.edit(CRDT_SET_ADD, "butter")?;
    while told.recv_timeout(PATIENCE)? != b"butter" {}
    println!("The phone has it already.");
    drop(live);

    // 5. The same events, the same state, the same root.
    until("both have the same events", || Ok(laptop.list.root()? == phone.list.root()?))?;
    laptop.show()?;
    phone.show()?;
    if laptop.items()? != phone.items()? || laptop.items()? != ["bread", "butter", "eggs", "milk"] {
        return Err("the lists are not what they must be".into());
    }
    println!("The roots are equal: {} and {}.", laptop.root()?, phone.root()?);
    Ok(())
}

impl Device {
    fn open(name: &'static str, data: &DataDir) -> Result<Self, Error> {
        let node = data.open_as(name)?;
        let list = node.subject("workspace/home/object/shopping-list");
        let handle = list.run()?;
        Ok(Self { name, node, list, _handle: handle })
    }

    /// Publishes one edit, and waits until it is on disk.
    fn edit(&self, code: u8, item: &str) -> Outcome {
        let sign = if code == CRDT_SET_ADD { '+' } else { '-' };
        println!("  {:<6} {sign} {item}", self.name);
        self.list.publish(XaeroEvent::new(item, code)).wait()?;
        Ok(())
    }

    fn show(&self) -> Outcome {
        println!("  {:<6} has {}", self.name, self.items()?.join(", "));
        Ok(())
    }

    /// What is on the list.
    fn items(&self) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let state = self.list.resolve(vec![
            Operator::Sort(Sort::VectorClock.to_operator()),
            Operator::Fold(Fold::ORSet.to_operator()),
            Operator::Reduce(Reduce::SetContents.to_operator()),
        ])?;
        let Some(state) = state else { return Ok(Vec::new()) };
        let items = rkyv::from_bytes::<Vec<Vec<u8>>, _>(&state.evt.data)?;
        Ok(items.into_iter().map(String::from_utf8).collect::<Result<_, _>>()?)
    }

    /// One hash over all events, in short.
    fn root(&self) -> Result<String, Error> {
        Ok(self.list.root()?.iter().take(4).map(|byte| format!("{byte:02x}")).collect())
    }
}
