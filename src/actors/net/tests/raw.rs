//! A peer that is not ours: it speaks QUIC and says what it likes.

use std::sync::Arc;

use iroh::{
    Endpoint, EndpointAddr, RelayMode,
    endpoint::{Connection, ConnectionError, RecvStream, SendStream, presets},
};
use tokio::{runtime::Runtime, time::timeout};

use super::nodes::DEADLINE;
use crate::{
    actors::net::{NetHandle, limits::ALPN},
    wire::{
        id::EndpointId,
        sign::{SecretIdentity, Signer},
        sync::{ByeReason, Hello, Message, Role, TagKey, Versions, hello::Binding},
    },
};

/// Its endpoint, on a thread of its own.
pub(super) struct Raw {
    pub(super) runtime: Runtime,
    pub(super) endpoint: Endpoint,
}

/// Its connection to a node, which it has made.
pub(super) struct Call {
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
    pub(super) binding: Binding,
}

impl Raw {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = runtime.block_on(async {
            let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).clear_ip_transports();
            builder.bind_addr("127.0.0.1:0").unwrap().bind().await.unwrap()
        });
        Self { runtime, endpoint }
    }

    pub(super) fn id(&self) -> EndpointId {
        EndpointId::from(*self.endpoint.id().as_bytes())
    }

    /// Connects to a node.
    pub(super) fn connect(&self, node: &NetHandle) -> Connection {
        let id = iroh::EndpointId::from_bytes(node.endpoint_id().as_bytes()).unwrap();
        let addr = EndpointAddr::new(id).with_ip_addr(node.listen_addrs()[0]);
        self.runtime.block_on(self.endpoint.connect(addr, ALPN)).unwrap()
    }

    /// Calls a node, and says nothing yet.
    pub(super) fn call(&self, node: &NetHandle) -> Call {
        let connection = self.connect(node);
        self.runtime.block_on(async {
            let (send, recv) = connection.open_bi().await.unwrap();
            let mut exported = [0; 32];
            connection.export_keying_material(&mut exported, Binding::LABEL, &[]).unwrap();
            let binding =
                Binding { exported, dialer: *self.endpoint.id().as_bytes(), acceptor: *node.endpoint_id().as_bytes() };
            Call { connection, send, recv, binding }
        })
    }

    /// Calls a node and says who it is, as a peer that means well would.
    pub(super) fn greet(&self, node: &NetHandle, who: &Arc<SecretIdentity>) -> Call {
        let mut call = self.call(node);
        let hello = call.hello(&**who, who, Versions::OURS);
        self.say(&mut call, &hello);
        self.runtime.block_on(async {
            // Its hello comes only once it believes ours.
            let mut first = [0; 1];
            timeout(DEADLINE, call.recv.read_exact(&mut first)).await.expect("no hello in time").unwrap();
            assert_eq!(first, [1]);
        });
        call
    }

    /// Says bytes on the control stream. The node may have closed it.
    pub(super) fn say(&self, call: &mut Call, bytes: &[u8]) {
        let _ = self.runtime.block_on(call.send.write_all(bytes));
    }

    /// Waits until the node has cut it off, and returns why.
    pub(super) fn cut_off(&self, connection: &Connection) -> (ByeReason, String) {
        self.runtime.block_on(async {
            match timeout(DEADLINE, connection.closed()).await.expect("not cut off in time") {
                ConnectionError::ApplicationClosed(close) => {
                    let code = u16::try_from(close.error_code.into_inner()).unwrap();
                    (ByeReason::from_code(code), String::from_utf8(close.reason.to_vec()).unwrap())
                }
                other => panic!("closed otherwise: {other}"),
            }
        })
    }

    /// Stops without a word, as a process that is killed.
    pub(super) fn die(self, call: Call) {
        // What is dropped would say farewell.
        std::mem::forget((call, self.endpoint));
        self.runtime.shutdown_background();
    }
}

impl Call {
    /// A hello with this writer's key, signed by somebody.
    pub(super) fn hello(&self, signer: &dyn Signer, who: &SecretIdentity, versions: Versions) -> Vec<u8> {
        let hello = Hello::sign(signer, who.public_key(), versions, Role::Dialer, &self.binding).unwrap();
        Message::Hello(Box::new(hello)).encode()
    }

    pub(super) const fn tags(&self) -> TagKey {
        TagKey::new(self.binding.exported)
    }
}
