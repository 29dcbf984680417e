//! One connection, from the hello to the farewell.

use std::sync::Arc;

use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{
    ended::Ended,
    endpoint,
    framed::{MessageReader, write_message},
    greeting::{Greeted, greet},
    limits::{MAX_OPENING, MAX_UNKNOWN_STREAMS},
    service::{Shared, stopped},
    streams::{PeerInfo, Slot, Slots, SubjectStream, reset},
    tags::{About, Steps, TagBook},
};
use crate::wire::{
    id::{EndpointId, SubjectId, XaeroID},
    sync::{Bye, ByeReason, Message, Role, Tag, tag::MAX_TAGS},
};

/// Lives through a connection. Returns whether its peer has shown who it is.
pub(super) async fn live(shared: &Arc<Shared>, connection: Connection, role: Role) -> bool {
    let endpoint = endpoint::remote(&connection);
    let mut stop = shared.stop.subscribe();
    let greeting = async {
        shared.book.check(endpoint)?;
        greet(&connection, role, &shared.me, &shared.config.timing, &shared.permits).await
    };
    let greeted = tokio::select! {
        greeted = greeting => greeted,
        () = stopped(&mut stop) => Err(Ended::Stopping),
    };
    let mut writer = None::<XaeroID>;
    let (ended, send) = match greeted {
        Ok(greeted) => {
            writer = Some(greeted.hello.writer());
            let (ended, send) = talk(shared, &connection, role, endpoint, greeted).await;
            (ended, Some(send))
        }
        Err(ended) => (ended, None),
    };
    shared.book.note(endpoint, writer, &ended);
    if matches!(ended, Ended::Offence(_)) {
        shared.swarms.cut(endpoint);
    }
    part(shared, &connection, send, &ended).await;
    writer.is_some()
}

/// Says farewell and closes.
async fn part(shared: &Shared, connection: &Connection, send: Option<SendStream>, ended: &Ended) {
    let Some(bye) = ended.bye() else {
        connection.close(VarInt::from_u32(ByeReason::Stopping.code().into()), b"");
        return;
    };
    let (code, text) = (bye.reason.code(), bye.text.clone());
    if let Some(mut send) = send {
        // The closing says the same: this one is for peers that look at messages only.
        let _ = timeout(shared.config.timing.stop, write_message(&mut send, &Message::Bye(bye))).await;
        let _ = send.finish();
    }
    connection.close(VarInt::from_u32(code.into()), text.as_bytes());
}

/// From the hello on. Returns how it ended, and the control stream.
async fn talk(
    shared: &Arc<Shared>,
    connection: &Connection,
    role: Role,
    endpoint: EndpointId,
    greeted: Greeted,
) -> (Ended, SendStream) {
    let Greeted { send, reader, hello, tags } = greeted;
    let peer = PeerInfo {
        endpoint,
        writer: hello.writer(),
        features: hello.versions().features,
        role,
        addr: endpoint::remote_addr(connection),
        post_quantum: endpoint::post_quantum(connection),
    };
    let (slots, asked) = Slots::new();
    let admission = match shared.book.admit(&peer, connection, &slots) {
        Ok(admission) => admission,
        Err(ended) => return (ended, send),
    };
    tracing::info!(endpoint = %peer.endpoint, writer = %peer.writer, addr = ?peer.addr, "connected to a peer");
    endpoint::welcome(connection);
    let mut talk = Talk {
        shared,
        connection,
        peer,
        send,
        book: TagBook::new(role, tags),
        seen: 0,
        slots,
        opening: JoinSet::new(),
        unknown: 0,
    };
    let mut admission = admission;
    let ended = match talk.run(reader, asked, &mut admission.ended).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    };
    drop(admission);
    (ended, talk.send)
}

/// A stream that was opened by the peer and says now what it is about.
struct Opened {
    send: SendStream,
    reader: MessageReader,
    tag: Result<Tag, Ended>,
}

/// What the tasks beside the control stream come back with.
enum Done {
    /// The peer's stream has said what it is about.
    Opened(Box<Opened>),
    /// A stream has been handed over, or could not be.
    Nothing,
}

/// A connection that talks.
struct Talk<'a> {
    shared: &'a Arc<Shared>,
    connection: &'a Connection,
    peer: PeerInfo,
    send: SendStream,
    book: TagBook,
    /// The number of the last change of the shares that was seen.
    seen: u64,
    slots: Slots,
    /// The streams that are being opened.
    opening: JoinSet<Done>,
    /// Streams about what was never offered.
    unknown: usize,
}

impl Talk<'_> {
    async fn run(
        &mut self,
        mut reader: MessageReader,
        mut asked: mpsc::UnboundedReceiver<(SubjectId, Tag)>,
        told: &mut tokio::sync::oneshot::Receiver<Ended>,
    ) -> Result<std::convert::Infallible, Ended> {
        let mut shares = self.shared.shares.watch();
        let mut stop = self.shared.stop.subscribe();
        let accepts = self.peer.role == Role::Acceptor;
        self.announce().await?;
        loop {
            tokio::select! {
                message = reader.next() => match message? {
                    Some(Message::Tags(tags)) => self.hear(&tags).await?,
                    Some(Message::Bye(Bye { reason, text })) => return Err(Ended::ByPeer(reason, text)),
                    Some(other) => {
                        return Err(Ended::Offence(format!("the peer sent a {} message on the control stream", other.kind())));
                    }
                    None => return Err(Ended::Lost("the peer ended the control stream".to_owned())),
                },
                changed = shares.changed() => match changed {
                    Ok(()) => self.announce().await?,
                    Err(_) => return Err(Ended::Stopping),
                },
                stream = self.connection.accept_bi(), if accepts && self.opening.len() < MAX_OPENING => {
                    let (send, recv) = stream?;
                    self.read_tag(send, recv);
                }
                stream = self.connection.accept_uni(), if accepts => {
                    stream?;
                    return Err(Ended::Offence("the peer opened a stream in one direction, which this protocol has not".to_owned()));
                }
                Some(done) = self.opening.join_next() => match done {
                    Ok(Done::Opened(opened)) => self.opened(*opened)?,
                    Ok(Done::Nothing) => {}
                    Err(error) => tracing::error!(%error, "a task that opens streams died"),
                },
                Some((subject, tag)) = asked.recv() => self.open(subject, tag),
                ended = &mut *told => return Err(ended.unwrap_or(Ended::Stopping)),
                () = stopped(&mut stop) => return Err(Ended::Stopping),
                error = self.connection.closed() => return Err(error.into()),
            }
        }
    }

    /// Tells of what is shared that has not been told of.
    async fn announce(&mut self) -> Result<(), Ended> {
        let (shares, seen) = self.shared.shares.since(self.seen);
        self.seen = seen;
        let mut say = Vec::new();
        for share in shares {
            say.append(&mut self.book.share(share.subject, &share.secrets).say);
        }
        self.say(&say).await
    }

    async fn say(&mut self, tags: &[Tag]) -> Result<(), Ended> {
        for tags in tags.chunks(MAX_TAGS) {
            let message = Message::Tags(tags.to_vec());
            let written = timeout(self.shared.config.timing.write, write_message(&mut self.send, &message)).await;
            written.map_err(|_| Ended::Offence("the peer does not take what is sent to it".to_owned()))??;
        }
        Ok(())
    }

    async fn hear(&mut self, tags: &[Tag]) -> Result<(), Ended> {
        let shares = &self.shared.shares;
        let steps = self.book.hear(tags, |subject| shares.contains(subject));
        let Steps { say, open } =
            steps.map_err(|_| Ended::Offence("the peer said more tags than anybody needs".to_owned()))?;
        for (subject, tag) in open {
            self.open(subject, tag);
        }
        self.say(&say).await
    }

    /// Opens the stream of a subject, unless there is one.
    fn open(&mut self, subject: SubjectId, tag: Tag) {
        let Some(slot) = self.slots.take_or_note(subject, tag) else { return };
        let (shared, connection, peer) = (Arc::clone(self.shared), self.connection.clone(), self.peer.clone());
        self.opening.spawn(async move {
            let Ok((mut send, recv)) = connection.open_bi().await else { return Done::Nothing };
            let reader = MessageReader::new(recv, &connection, shared.permits.clone());
            if write_message(&mut send, &Message::Open(tag)).await.is_ok() {
                hand_over(&shared, subject, peer, send, reader, slot);
            }
            Done::Nothing
        });
    }

    /// Reads what a stream of the peer's is about.
    fn read_tag(&mut self, send: SendStream, recv: RecvStream) {
        let limit = self.shared.config.timing.open;
        let mut reader = MessageReader::new(recv, self.connection, self.shared.permits.clone());
        self.opening.spawn(async move {
            let tag = match timeout(limit, reader.next()).await {
                Err(_) => Err(Ended::Offence("the peer opened a stream and did not say what it is about".to_owned())),
                Ok(Ok(Some(Message::Open(tag)))) => Ok(tag),
                Ok(Ok(Some(other))) => {
                    Err(Ended::Offence(format!("the peer began a stream with a {} message", other.kind())))
                }
                Ok(Ok(None)) => Err(Ended::Offence("the peer opened a stream and ended it at once".to_owned())),
                Ok(Err(error)) if error.is_offence() => Err(error.into()),
                // Reset: what it was about does not matter any more.
                Ok(Err(_)) => return Done::Nothing,
            };
            Done::Opened(Box::new(Opened { send, reader, tag }))
        });
    }

    /// A stream of the peer's has said what it is about.
    fn opened(&mut self, opened: Opened) -> Result<(), Ended> {
        let Opened { mut send, mut reader, tag } = opened;
        let shares = &self.shared.shares;
        match self.book.about(tag?, |subject| shares.contains(subject)) {
            About::Subject(subject) => {
                let (shared, slots, peer) = (Arc::clone(self.shared), self.slots.clone(), self.peer.clone());
                let limit = shared.config.timing.open;
                self.opening.spawn(async move {
                    match timeout(limit, slots.take(subject)).await {
                        Ok(slot) => hand_over(&shared, subject, peer, send, reader, slot),
                        Err(_) => reset(&mut send, &mut reader, ByeReason::Duplicate),
                    }
                    Done::Nothing
                });
            }
            About::Gone => reset(&mut send, &mut reader, ByeReason::Refused),
            About::Unknown => {
                reset(&mut send, &mut reader, ByeReason::Refused);
                self.unknown += 1;
                if self.unknown > MAX_UNKNOWN_STREAMS {
                    return Err(Ended::Offence("the peer opened streams about what was never offered".to_owned()));
                }
            }
        }
        Ok(())
    }
}

/// Gives a stream to its subject, if it still is shared.
fn hand_over(
    shared: &Shared,
    subject: SubjectId,
    peer: PeerInfo,
    mut send: SendStream,
    mut reader: MessageReader,
    slot: Slot,
) {
    let Some(share) = shared.shares.get(subject) else {
        reset(&mut send, &mut reader, ByeReason::Refused);
        return;
    };
    let stream = SubjectStream { peer, reader, send, slot };
    let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (share.sink)(stream)));
    if taken.is_err() {
        tracing::error!(%subject, "what takes the streams of a subject panicked");
    }
}
