//! A bare connection: iroh and nothing else, between two endpoints on the loopback interface.

use std::net::{Ipv4Addr, SocketAddr};

use iroh::{
    Endpoint, EndpointAddr, RelayMode,
    endpoint::{Connection, presets},
};
use tokio::runtime::Runtime;

const ALPN: &[u8] = b"bench/raw";

/// Two endpoints, connected.
pub struct RawIroh {
    runtime: Runtime,
    ends: (Connection, Connection),
    _endpoints: (Endpoint, Endpoint),
}

impl RawIroh {
    pub fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (ends, endpoints) = runtime.block_on(async {
            let (here, there) = (bind().await, bind().await);
            let port = there.bound_sockets().iter().find(|addr| addr.is_ipv4()).expect("a socket").port();
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let accept = async { there.accept().await.expect("a call").await.expect("a connection") };
            let connect = async {
                here.connect(EndpointAddr::new(there.id()).with_ip_addr(addr), ALPN).await.expect("a connection")
            };
            let ends = tokio::join!(connect, accept);
            (ends, (here, there))
        });
        Self { runtime, ends, _endpoints: endpoints }
    }

    /// Sends so many bytes in writes of `write` bytes, until the other end has them all.
    pub fn stream(&self, bytes: usize, write: usize) {
        let (here, there) = self.ends.clone();
        self.runtime.block_on(async {
            let send = async move {
                let mut stream = here.open_uni().await.expect("a stream");
                let part = vec![7; write];
                let mut left = bytes;
                while left > 0 {
                    let now = left.min(write);
                    stream.write_all(&part[..now]).await.expect("the other end reads");
                    left -= now;
                }
                stream.finish().expect("it is open");
            };
            let receive = async move {
                let mut stream = there.accept_uni().await.expect("a stream");
                let mut received = 0;
                while let Some(chunk) = stream.read_chunk(64 << 10).await.expect("the other end writes") {
                    received += chunk.len();
                }
                assert_eq!(received, bytes);
            };
            // Each on a worker of its own, as the two nodes have their own.
            let (sent, received) = tokio::join!(tokio::spawn(send), tokio::spawn(receive));
            sent.and(received).expect("both ends");
        });
    }

    /// Sends a few bytes there and back so many times on one stream, and returns how long each took, in microseconds.
    pub fn round_trips(&self, times: usize, bytes: usize) -> Vec<f64> {
        let (here, there) = self.ends.clone();
        self.runtime.block_on(async {
            let echo = tokio::spawn(async move {
                let (mut send, mut receive) = there.accept_bi().await.expect("a stream");
                let mut buffer = vec![0; bytes];
                for _ in 0..times {
                    receive.read_exact(&mut buffer).await.expect("the other end writes");
                    send.write_all(&buffer).await.expect("the other end reads");
                }
            });
            let (mut send, mut receive) = here.open_bi().await.expect("a stream");
            let mut buffer = vec![7; bytes];
            let mut took = Vec::with_capacity(times);
            for _ in 0..times {
                let start = std::time::Instant::now();
                send.write_all(&buffer).await.expect("the other end reads");
                receive.read_exact(&mut buffer).await.expect("the other end writes");
                took.push(start.elapsed().as_secs_f64() * 1e6);
            }
            echo.await.expect("it echoes");
            took
        })
    }
}

async fn bind() -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .expect("an address")
        .crypto_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await
        .expect("an endpoint")
}
