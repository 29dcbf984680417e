//! `xaeroflux serve`: a node in the foreground, which runs every subject of its data directory until it is asked to end,
//! and the local socket through which all other commands use it.
//!
//! One process has a data directory at a time. While that is `serve`, a command connects to the socket in the directory
//! instead of opening it, and sends its arguments. `serve` then runs *the same function* that the command would have run
//! itself, with standard streams that lead through the socket. There is no protocol of commands: what a command reads,
//! writes and returns is all that goes over the socket, and a new command needs nothing here.
//!
//! * [`socket`] is where the socket is, and who may make it; [`frame`] what goes over it; [`hello`] how it begins.
//! * [`client`] is the end of the command that was called, [`link`] the other, with [`session`] around it.
//! * [`clients`] are all that are connected at once, and [`door`] where they come in.
//! * [`served`] is the node with the subjects that run.

pub mod client;
mod clients;
mod door;
mod frame;
mod hello;
pub mod link;
#[cfg(test)]
mod link_tests;
pub mod served;
mod session;
mod socket;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    sync::Arc,
};

use serde::Serialize;
use xaeroflux::{EndpointId, NetworkConfig, Node, PeerAddr, Swarming};

use self::{clients::Clients, door::Door, served::Served, socket::Socket};
use super::{
    args::{Global, ServeArgs, Swarm},
    console::Streams,
    exit::{Exit, Failure},
    peer::Peer,
    signals::Interrupt,
};

/// What is printed once commands and peers can come.
#[derive(Serialize)]
struct Ready {
    ready: bool,
    /// Who this node is to its peers.
    endpoint: String,
    /// Where peers reach it.
    listen: Vec<SocketAddr>,
}

/// Serves until asked to end.
pub fn run(global: &Global, args: &ServeArgs, Streams { output, console }: &mut Streams) -> Result<Exit, Failure> {
    let broken = |error: io::Error| Failure::new(Exit::Failed, format_args!("the node cannot be woken: {error}"));
    let (woken, waker) = UnixStream::pair().map_err(broken)?;
    waker.set_nonblocking(true).map_err(broken)?;
    // Before anything is opened: asked to end while it starts, it ends in order too.
    let interrupt = Interrupt::catch(move || {
        // Where it is full, the other end has enough to wake up for.
        let _ = (&waker).write(&[0]);
    })?;
    let (node, ready) = start(global, args)?;
    let served = Arc::new(Served::new(node));
    served.run_all(console, &interrupt)?;
    // The node has the lock of the directory by now, and so nobody else serves it.
    let socket = Socket::bind(&served.node().data_dir())?;
    if !interrupt.is_set() {
        tell(output.json(&ready).and_then(|()| output.flush()))?;
    }
    let clients = Arc::new(Clients::default());
    let ended =
        Door { socket: &socket, woken: &woken, interrupt: &interrupt, clients: &clients, served: &served }.keep();
    // From here on commands find no socket, and are told that the directory is in use until it is free.
    drop(socket);
    clients.end();
    served.stop();
    ended?;
    Ok(Exit::Done)
}

/// Opens the node, with its network.
fn start(global: &Global, args: &ServeArgs) -> Result<(Node, Ready), Failure> {
    let mut network = NetworkConfig::new().swarm(match args.swarm {
        Swarm::Auto => Swarming::Auto,
        Swarm::Always => Swarming::Always,
        Swarm::Never => Swarming::Never,
    });
    for addr in &args.listen {
        network = network.listen(*addr);
    }
    for Peer { id, address } in &args.peer {
        let addrs = address.iter().copied().collect();
        network = network.peer(PeerAddr { endpoint: EndpointId::from(*id), addrs, relay: None });
    }
    if args.mdns {
        network = network.mdns();
    }
    for relay in &args.relay {
        network = network.relay(relay);
    }
    let node = super::builder(global).network(network).build()?;
    let endpoint = node.endpoint_id()?.to_string();
    let listen = node.listen_addrs();
    Ok((node, Ready { ready: true, endpoint, listen }))
}

/// That nobody wants to know whether the node is ready is no reason not to be.
fn tell(told: io::Result<()>) -> Result<(), Failure> {
    match told.map_err(Failure::from) {
        Err(failure) if !failure.is_closed_output() => Err(failure),
        _ => Ok(()),
    }
}
