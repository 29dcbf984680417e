//! The engine in an application that has an actix System of its own: a subject is an actor with an address.
//!
//! `cargo run --example embed_actix [-- --data-dir DIR]`

mod common;

use std::process::ExitCode;

use actix::prelude::*;
use clap::Parser;
use common::{DataDir, PATIENCE};
use xaeroflux::{Acknowledged, Publish, SubjectActor, prelude::*};

/// Two editors of the application's own set a document's title together
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    data: DataDir,
}

/// An actor of the application, on the application's own System.
struct Editor {
    name: &'static str,
    id: XaeroID,
    document: Addr<SubjectActor>,
}

impl Actor for Editor {
    type Context = Context<Self>;
}

/// Asks an editor to set the title.
struct SetTitle(&'static str);

impl Message for SetTitle {
    type Result = Result<Acknowledged, PublishError>;
}

impl Handler<SetTitle> for Editor {
    type Result = ResponseActFuture<Self, Result<Acknowledged, PublishError>>;

    fn handle(&mut self, SetTitle(title): SetTitle, _: &mut Self::Context) -> Self::Result {
        // The reply comes when the event is on disk; until then the editor takes other messages.
        let written = self.document.send(Publish(XaeroEvent::new(title, CRDT_REGISTER_WRITE).by(self.id)));
        Box::pin(written.into_actor(self).map(|reply, editor, _| {
            let acknowledged = reply.unwrap_or(Err(PublishError::Abandoned))?;
            println!("{} wrote the title: event {} of that log is on disk", editor.name, acknowledged.seq);
            Ok(acknowledged)
        }))
    }
}

/// Shows the title, and stops the application once it is the expected one.
struct Screen {
    expected: &'static str,
}

impl Actor for Screen {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(PATIENCE, |screen, _| {
            eprintln!("the title was never {:?}", screen.expected);
            System::current().stop_with_code(1);
        });
    }
}

impl StreamHandler<XaeroEvent> for Screen {
    fn handle(&mut self, state: XaeroEvent, _: &mut Self::Context) {
        let title = String::from_utf8_lossy(&state.evt.data);
        println!("title: {title}");
        if title == self.expected {
            System::current().stop();
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<i32, Box<dyn std::error::Error>> {
    let node = Options::parse().data.open()?;
    let document = node.subject("workspace/docs/object/proposal-title");
    let titles = document
        .batch(
            Duration::from_millis(20),
            Some(25),
            vec![
                Operator::Sort(Sort::VectorClock.to_operator()),
                Operator::Fold(Fold::LWWRegister.to_operator()),
                Operator::Reduce(Reduce::RegisterValue.to_operator()),
            ],
        )
        .stream();
    let handle = document.run()?;
    let address = document.addr()?;
    let (alice, bob) = (node.identity("alice")?, node.identity("bob")?);

    // The application's System. The engine's own runs on threads of its own.
    let system = System::new();
    system.block_on(async move {
        Screen::create(|ctx| {
            ctx.add_stream(titles);
            Screen { expected: "A proposal, second draft" }
        });
        let alice = Editor { name: "alice", id: alice, document: address.clone() }.start();
        let bob = Editor { name: "bob", id: bob, document: address }.start();
        alice.send(SetTitle("A proposal")).await??;
        // Bob writes when Alice's title is on disk, so his is the later one.
        bob.send(SetTitle("A proposal, second draft")).await??;
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    let code = system.run_with_code()?;
    drop(handle);
    Ok(code)
}
