//! A peer that speaks the real transport and then says whatever a test wants, message by message; and the scene in which
//! it does so: two honest nodes that share a subject.
#![allow(dead_code, reason = "each test file uses a part of this")]

pub mod scene;
pub mod writer;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use iroh::{
    Endpoint, EndpointAddr, RelayMode, TransportAddr,
    endpoint::{Connection, ConnectionError, RecvStream, SendStream, presets},
};
use tokio::{runtime::Runtime, time::timeout};
use xaeroflux::{
    EndpointId, Node, PeerAddr, SubjectTicket, XaeroID,
    wire::{
        sign::SecretIdentity,
        sync::{
            ByeReason, HEADER_BYTES, Header, Hello, Kind, Message, Role, Summary, Tag, TagKey, Vector, Versions,
            hello::Binding,
        },
    },
};

/// The protocol, as the transport names it.
const ALPN: &[u8] = b"xaeroflux/1";

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until it is so. It looks a few hundred times a second, which leaves the machine to the tests beside it.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A peer that knows the protocol and keeps it as far as a test wants. She has called a node and said who she is.
pub struct Eve {
    runtime: Runtime,
    connection: Connection,
    control: (SendStream, RecvStream),
    tags: TagKey,
    /// Her own side of the connection.
    role: Role,
    endpoint: EndpointId,
    identity: Arc<SecretIdentity>,
    _endpoint: Endpoint,
}

impl Eve {
    /// Calls the node and exchanges hellos.
    pub fn calls(node: &Node) -> Self {
        Self::calls_as(node, OLDER)
    }

    /// The same, with these versions.
    pub fn calls_as(node: &Node, versions: Versions) -> Self {
        let addr = node.peer_addr().unwrap();
        let (runtime, endpoint, identity) = Self::listens();
        let greeted = runtime.block_on(async {
            let id = iroh::EndpointId::from_bytes(addr.endpoint.as_bytes()).unwrap();
            let to = EndpointAddr::new(id).with_addrs(addr.addrs.iter().copied().map(TransportAddr::Ip));
            let connection = endpoint.connect(to, ALPN).await.unwrap();
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            let (binding, tags) = bind(&connection, &endpoint, Role::Dialer);
            send.write_all(&hello(&identity, versions, Role::Dialer, &binding)).await.unwrap();
            let Some(Message::Hello(hello)) = read(&mut recv).await else { panic!("no hello") };
            hello.verify(Role::Acceptor, &binding).unwrap();
            (connection, (send, recv), tags)
        });
        Self::greeted(runtime, endpoint, identity, Role::Dialer, greeted)
    }

    /// Has the node call her, and exchanges hellos.
    pub fn is_called_by(node: &Node) -> Self {
        let (runtime, endpoint, identity) = Self::listens();
        let addrs = endpoint.bound_sockets();
        node.add_peer(PeerAddr { endpoint: EndpointId::from(*endpoint.id().as_bytes()), addrs, relay: None }).unwrap();
        let greeted = runtime.block_on(async {
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            let (mut send, mut recv) = connection.accept_bi().await.unwrap();
            let (binding, tags) = bind(&connection, &endpoint, Role::Acceptor);
            let Some(Message::Hello(theirs)) = read(&mut recv).await else { panic!("no hello") };
            theirs.verify(Role::Dialer, &binding).unwrap();
            send.write_all(&hello(&identity, OLDER, Role::Acceptor, &binding)).await.unwrap();
            (connection, (send, recv), tags)
        });
        Self::greeted(runtime, endpoint, identity, Role::Acceptor, greeted)
    }

    fn greeted(
        runtime: Runtime,
        endpoint: Endpoint,
        identity: Arc<SecretIdentity>,
        role: Role,
        (connection, control, tags): (Connection, (SendStream, RecvStream), TagKey),
    ) -> Self {
        let id = EndpointId::from(*endpoint.id().as_bytes());
        Self { runtime, connection, control, tags, role, endpoint: id, identity, _endpoint: endpoint }
    }

    /// An endpoint and a key of her own.
    fn listens() -> (Runtime, Endpoint, Arc<SecretIdentity>) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let bind = async {
            Endpoint::builder(presets::Minimal)
                .crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .alpns(vec![ALPN.to_vec()])
                .relay_mode(RelayMode::Disabled)
                .clear_address_lookup()
                .clear_ip_transports()
                .bind_addr("127.0.0.1:0")
                .unwrap()
                .bind()
                .await
                .unwrap()
        };
        let endpoint = runtime.block_on(bind);
        (runtime, endpoint, Arc::new(SecretIdentity::generate().unwrap()))
    }

    /// Calls the node and opens the stream of the subject, as everybody does who has the ticket.
    pub fn joins(node: &Node, ticket: &SubjectTicket) -> (Self, Stream) {
        let mut eve = Self::calls(node);
        let stream = eve.opens(ticket);
        (eve, stream)
    }

    /// Tells of the subject, waits for the answer, and opens a stream.
    pub fn opens(&mut self, ticket: &SubjectTicket) -> Stream {
        let tag = self.tag(ticket, self.role);
        self.says(&Message::Tags(vec![tag]));
        self.opens_again(ticket)
    }

    /// Waits until the node tells of the subject, tells of it too, and takes the stream that the node opens.
    pub fn is_opened(&mut self, ticket: &SubjectTicket) -> Stream {
        let (ours, theirs) = (self.tag(ticket, Role::Acceptor), self.tag(ticket, Role::Dialer));
        while !matches!(self.hears(), Some(Message::Tags(tags)) if tags.contains(&theirs)) {}
        self.says(&Message::Tags(vec![ours]));
        let (send, recv) = self.waits(self.connection.accept_bi()).expect("a stream");
        let mut stream = Stream { handle: self.runtime.handle().clone(), send, recv };
        assert_eq!(stream.hears(), Some(Message::Open(theirs)));
        stream
    }

    /// Waits until the node offers the subject, and opens a stream.
    pub fn opens_again(&mut self, ticket: &SubjectTicket) -> Stream {
        let theirs = self.tag(ticket, Role::Acceptor);
        while !matches!(self.hears(), Some(Message::Tags(tags)) if tags.contains(&theirs)) {}
        self.opens_with(self.tag(ticket, Role::Dialer))
    }

    /// Opens a stream that begins with this tag.
    pub fn opens_with(&self, tag: Tag) -> Stream {
        let (send, recv) = self.waits(self.connection.open_bi()).expect("a stream");
        let mut stream = Stream { handle: self.runtime.handle().clone(), send, recv };
        stream.says(&Message::Open(tag));
        stream
    }

    pub fn tag(&self, ticket: &SubjectTicket, role: Role) -> Tag {
        self.tags.tag(ticket.secret().as_bytes(), role)
    }

    /// Says this on the control stream.
    pub fn says(&mut self, message: &Message) {
        self.raw(&message.encode());
    }

    /// As [`says`](Self::says), of any bytes.
    pub fn raw(&mut self, bytes: &[u8]) {
        // A connection that is gone is seen by whoever waits for that.
        let _ =
            self.runtime.block_on(async { timeout(PATIENCE, self.control.0.write_all(bytes)).await }).expect("stuck");
    }

    /// The next message of the control stream; `None` where it is gone.
    pub fn hears(&mut self) -> Option<Message> {
        self.runtime.block_on(async { timeout(PATIENCE, read(&mut self.control.1)).await }).expect("nothing is said")
    }

    pub fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    pub fn writer(&self) -> XaeroID {
        use xaeroflux::wire::sign::Signer;
        self.identity.id()
    }

    pub fn identity(&self) -> Arc<SecretIdentity> {
        Arc::clone(&self.identity)
    }

    pub fn is_connected(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Waits until the node has closed the connection, and returns why it did, in its own words.
    pub fn is_told(&self) -> (ByeReason, String) {
        match self.waits(self.connection.closed()) {
            ConnectionError::ApplicationClosed(close) => {
                let code = u16::try_from(close.error_code.into_inner()).unwrap();
                (ByeReason::from_code(code), String::from_utf8_lossy(&close.reason).into_owned())
            }
            other => panic!("the connection ended without a word: {other}"),
        }
    }

    fn waits<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(PATIENCE, what).await }).expect("nothing happens")
    }
}

/// A stream about the subject.
pub struct Stream {
    handle: tokio::runtime::Handle,
    send: SendStream,
    recv: RecvStream,
}

impl Stream {
    /// Sends a message. Whether it could be: a stream that was ended takes nothing.
    pub fn says(&mut self, message: &Message) -> bool {
        self.raw(&message.encode())
    }

    /// As [`says`](Self::says), of any bytes.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.handle.block_on(async { timeout(PATIENCE, self.send.write_all(bytes)).await }).expect("stuck").is_ok()
    }

    /// Sends a few bytes a second until the stream takes no more.
    pub fn trickles(&mut self, bytes: &[u8]) {
        let send = &mut self.send;
        let trickle = async {
            let mut pace = tokio::time::interval(Duration::from_millis(200));
            for byte in bytes {
                pace.tick().await;
                if send.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
        };
        self.handle.block_on(async { timeout(PATIENCE, trickle).await }).expect("it is waited for");
    }

    /// The next message; `None` where the stream is gone.
    pub fn hears(&mut self) -> Option<Message> {
        self.handle.block_on(async { timeout(PATIENCE, read(&mut self.recv)).await }).expect("nothing is said")
    }

    /// Hears everything up to the first summary.
    pub fn hears_summary(&mut self) -> Summary {
        loop {
            if let Message::Summary(summary) = self.hears().expect("the stream is gone") {
                return summary;
            }
        }
    }

    /// Hears everything up to a whole version vector.
    pub fn hears_vector(&mut self) -> Vector {
        loop {
            if let Message::Vector(vector) = self.hears().expect("the stream is gone")
                && !vector.more
            {
                return vector;
            }
        }
    }

    /// Says that she has what the node has.
    pub fn has_the_same(&mut self) {
        let theirs = self.hears_summary();
        self.says(&Message::Summary(theirs));
    }

    /// Says that she has something that the node has not, so that it asks for it.
    pub fn is_asked(&mut self) -> Vector {
        let theirs = self.hears_summary();
        self.says(&Message::Summary(Summary { root: [0xEE; 32], events: theirs.events + 1, ..theirs }));
        self.hears_vector()
    }

    /// Says that this was all that she has.
    pub fn says_caught_up(&mut self) -> bool {
        self.says(&Message::CaughtUp { root: [0xEE; 32], events: 1 })
    }
}

/// The header of a message of this kind with a body of so many bytes, by its own word.
pub fn header(kind: Kind, length: u32) -> Vec<u8> {
    [&[kind.byte()], length.to_le_bytes().as_slice()].concat()
}

/// Eve's version: one from before partial replicas, which begins with a summary.
const OLDER: Versions = Versions { minor: 0, features: 0, ..Versions::OURS };

/// What a connection is to its two ends, of which Eve's is this one.
fn bind(connection: &Connection, endpoint: &Endpoint, role: Role) -> (Binding, TagKey) {
    let mut exported = [0; 32];
    connection.export_keying_material(&mut exported, Binding::LABEL, &[]).unwrap();
    let (ours, theirs) = (*endpoint.id().as_bytes(), *connection.remote_id().as_bytes());
    let (dialer, acceptor) = if role == Role::Dialer { (ours, theirs) } else { (theirs, ours) };
    (Binding { exported, dialer, acceptor }, TagKey::new(exported))
}

fn hello(identity: &SecretIdentity, versions: Versions, role: Role, binding: &Binding) -> Vec<u8> {
    let hello = Hello::sign(identity, identity.public_key(), versions, role, binding).unwrap();
    Message::Hello(Box::new(hello)).encode()
}

/// The next message; `None` at the end of the stream.
async fn read(recv: &mut RecvStream) -> Option<Message> {
    loop {
        let mut head = [0; HEADER_BYTES];
        recv.read_exact(&mut head).await.ok()?;
        let header = Header::decode(head).expect("an honest node sends what can be read");
        let mut body = vec![0; header.length];
        recv.read_exact(&mut body).await.ok()?;
        if let Some(message) = Message::decode(header.kind, body).expect("an honest node sends what can be read") {
            return Some(message);
        }
    }
}
