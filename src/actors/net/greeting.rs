//! The beginning of a connection: both sides say who they are.
//!
//! The one who called opens the control stream and speaks first. The other one signs nothing before it has verified what
//! it heard, so that a stranger cannot make it work.

use std::sync::Arc;

use iroh::endpoint::{Connection, SendStream};
use tokio::time::timeout;

use super::{
    ended::Ended,
    endpoint,
    framed::{MessageReader, Permits, write_message},
    limits::Timing,
};
use crate::wire::{
    id::EndpointId,
    key::PublicKey,
    sign::Signer,
    sync::{Hello, Message, Role, TagKey, Versions, hello::Binding},
};

/// Who this node is to its peers.
pub(super) struct Identity {
    pub(super) endpoint: EndpointId,
    pub(super) key: PublicKey,
    pub(super) signer: Arc<dyn Signer>,
}

/// A connection whose peer has shown who it is.
pub(super) struct Greeted {
    pub(super) send: SendStream,
    pub(super) reader: MessageReader,
    pub(super) hello: Hello,
    pub(super) tags: TagKey,
}

/// Exchanges the hellos.
pub(super) async fn greet(
    connection: &Connection,
    role: Role,
    me: &Identity,
    timing: &Timing,
    permits: &Permits,
) -> Result<Greeted, Ended> {
    let silent = || {
        let seconds = timing.hello.as_secs_f32();
        Ended::Offence(format!("the peer did not say who it is within {seconds} s"))
    };
    timeout(timing.hello, exchange(connection, role, me, permits)).await.map_err(|_| silent())?
}

async fn exchange(connection: &Connection, role: Role, me: &Identity, permits: &Permits) -> Result<Greeted, Ended> {
    let binding = binding(connection, role, me)?;
    let (send, reader, hello) = match role {
        Role::Dialer => {
            let (mut send, recv) = connection.open_bi().await?;
            let mut reader = MessageReader::new(recv, connection, permits.clone());
            say(&mut send, role, me, &binding).await?;
            let hello = hear(&mut reader, role.other(), &binding).await?;
            (send, reader, hello)
        }
        Role::Acceptor => {
            let (mut send, recv) = connection.accept_bi().await?;
            let mut reader = MessageReader::new(recv, connection, permits.clone());
            let hello = hear(&mut reader, role.other(), &binding).await?;
            say(&mut send, role, me, &binding).await?;
            (send, reader, hello)
        }
    };
    Ok(Greeted { send, reader, hello, tags: TagKey::new(binding.exported) })
}

async fn say(send: &mut SendStream, role: Role, me: &Identity, binding: &Binding) -> Result<(), Ended> {
    let hello = Hello::sign(&*me.signer, &me.key, Versions::OURS, role, binding)
        .map_err(|error| Ended::Failed(format!("this node cannot say who it is: {error}")))?;
    Ok(write_message(send, &Message::Hello(Box::new(hello))).await?)
}

async fn hear(reader: &mut MessageReader, role: Role, binding: &Binding) -> Result<Hello, Ended> {
    match reader.next().await? {
        Some(Message::Hello(hello)) => {
            hello.verify(role, binding)?;
            Ok(*hello)
        }
        Some(Message::Bye(bye)) => Err(Ended::ByPeer(bye.reason, bye.text)),
        Some(other) => Err(Ended::Offence(format!("the peer sent a {} message before its hello", other.kind()))),
        None => Err(Ended::Offence("the peer ended the control stream before its hello".to_owned())),
    }
}

fn binding(connection: &Connection, role: Role, me: &Identity) -> Result<Binding, Ended> {
    let mut exported = [0; 32];
    connection
        .export_keying_material(&mut exported, Binding::LABEL, &[])
        .map_err(|_| Ended::Failed("the connection has no keying material to export".to_owned()))?;
    let (ours, theirs) = (*me.endpoint.as_bytes(), *endpoint::remote(connection).as_bytes());
    let (dialer, acceptor) = match role {
        Role::Dialer => (ours, theirs),
        Role::Acceptor => (theirs, ours),
    };
    Ok(Binding { exported, dialer, acceptor })
}
