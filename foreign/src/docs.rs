//! The other side: iroh-docs, with iroh-blobs for the contents of its entries, as its documentation puts them together.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use iroh::{Endpoint, EndpointAddr, RelayMode, endpoint::presets, protocol::Router};
use iroh_blobs::{BlobsProtocol, Hash, protocol::GetManyRequest, store::fs::FsStore};
use iroh_docs::{
    AuthorId, DocTicket,
    api::{
        Doc,
        protocol::{AddrInfoOptions, ShareMode},
    },
    protocol::Docs,
    store::{DownloadPolicy, Query},
};
use iroh_gossip::net::Gossip;
use n0_future::StreamExt;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{directory, payload};

/// As many as ours has: the entries are theirs in turn.
const AUTHORS: usize = 2;

/// Entries that the writer has under way at once. Nobody measures how long it takes.
const WRITING: usize = 64;

/// Hashes of one request for many blobs. A connection of iroh is lost when more than 1,024 pieces of one stream wait to be
/// read, and each blob comes as a piece or two.
const REQUEST_HASHES: usize = 256;

/// Such requests at a time, so that no side waits for the other.
const REQUESTS: usize = 8;

/// Between two looks at whether something is there, as for ours.
const POLL: Duration = Duration::from_millis(1);

/// How long a content may not come before it counts as lost. In some runs iroh-docs never begins to fetch a part of them; why
/// was not looked for.
const STALL: Duration = Duration::from_secs(10);

/// How the contents come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Not at all: entries alone are hashes with signatures.
    Without,
    /// As iroh-docs fetches them: each by a request of its own, beside the entries.
    Each,
    /// By requests for many at once, once all entries are there. An application has to do that by itself.
    Together,
}

/// Who has all the entries.
pub struct Writer {
    peer: Peer,
    ticket: DocTicket,
    contents: Vec<Hash>,
    /// The entry that iroh-docs sends last: entries go by author and key.
    last: (AuthorId, Vec<u8>),
}

impl Writer {
    /// Writes so many entries.
    pub fn new(entries: usize) -> Self {
        let peer = Peer::new();
        let (ticket, contents, last) = peer.runtime.block_on(write(&peer, entries));
        Self { peer, ticket, contents, last }
    }

    /// How many entries there are.
    pub const fn entries(&self) -> usize {
        self.contents.len()
    }

    /// Has an empty peer catch up, and returns how long that took: until everything is on its disk.
    pub fn catch_up(&self, contents: Contents) -> Duration {
        let there = Peer::new();
        there.runtime.block_on(self.catch_up_at(&there, contents))
    }

    async fn catch_up_at(&self, there: &Peer, contents: Contents) -> Duration {
        let DocTicket { capability, nodes } = self.ticket.clone();
        let doc = there.docs.import_namespace(capability).await.expect("it takes the ticket");
        if contents != Contents::Each {
            doc.set_download_policy(DownloadPolicy::NothingExcept(Vec::new())).await.expect("it takes the policy");
        }
        let start = Instant::now();
        doc.start_sync(nodes).await.expect("it starts");
        // Events that tell of each entry would cost it more than to be asked for the last one.
        while doc.get_exact(self.last.0, &self.last.1, false).await.expect("it answers").is_none() {
            tokio::time::sleep(POLL).await;
        }
        // A query that lists commits first what is not on disk yet.
        doc.get_one(Query::all().limit(1)).await.expect("it answers").expect("an entry");
        let in_vain = match contents {
            Contents::Without => Duration::ZERO,
            Contents::Each => self.until_all_are_at(there).await,
            Contents::Together => {
                self.fetch_to(there, &self.contents).await;
                Duration::ZERO
            }
        };
        if contents != Contents::Without {
            there.blobs.sync_db().await.expect("it syncs");
        }
        let took = start.elapsed() - in_vain;
        self.check(there, &doc, contents).await;
        took
    }

    /// Asks for each in turn. They arrive in about that order, so that few questions are left when the last one is there.
    /// What is lost is fetched as an application would; returns how long it took to see that.
    async fn until_all_are_at(&self, there: &Peer) -> Duration {
        let has = async |hash: &Hash| there.blobs.blobs().has(*hash).await.expect("it answers");
        for (number, hash) in self.contents.iter().enumerate() {
            let asked = Instant::now();
            while !has(hash).await {
                if asked.elapsed() > STALL {
                    let mut lost = Vec::new();
                    for hash in &self.contents[number..] {
                        if !has(hash).await {
                            lost.push(*hash);
                        }
                    }
                    let in_vain = asked.elapsed();
                    eprintln!("{} of {} contents did not come by themselves", lost.len(), self.entries());
                    self.fetch_to(there, &lost).await;
                    return in_vain;
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Duration::ZERO
    }

    async fn fetch_to(&self, there: &Peer, contents: &[Hash]) {
        let connection =
            there.endpoint.connect(self.peer.addr(), iroh_blobs::ALPN).await.expect("a connection for blobs");
        let fetch = |part: &[Hash]| {
            let request = GetManyRequest::from_iter(part.iter().copied());
            let fetched = there.blobs.remote().execute_get_many(connection.clone(), request);
            async { fetched.await.expect("the contents") }
        };
        let parts = n0_future::stream::iter(contents.chunks(REQUEST_HASHES)).map(fetch);
        n0_future::BufferedStreamExt::buffered_unordered(parts, REQUESTS).count().await;
    }

    /// That what was measured has happened.
    async fn check(&self, there: &Peer, doc: &Doc, contents: Contents) {
        let entries = doc.get_many(Query::all()).await.expect("it lists them").count().await;
        assert_eq!(entries, self.entries(), "entries at the receiver");
        if contents != Contents::Without {
            for (number, hash) in self.contents.iter().enumerate() {
                let bytes = there.blobs.blobs().get_bytes(*hash).await.expect("a content");
                assert_eq!(bytes, payload(number), "a content at the receiver");
            }
        }
    }
}

async fn write(peer: &Peer, entries: usize) -> (DocTicket, Vec<Hash>, (AuthorId, Vec<u8>)) {
    let doc = peer.docs.create().await.expect("a document");
    let mut authors = Vec::new();
    for _ in 0..AUTHORS {
        authors.push(peer.docs.author_create().await.expect("an author"));
    }
    let by = |number: usize| authors[number % AUTHORS];
    let key = |number: usize| (number as u64).to_be_bytes().to_vec();
    let write = |number: usize| {
        let (doc, blobs, author) = (&doc, &peer.blobs, by(number));
        async move {
            let content = payload(number);
            let size = content.len() as u64;
            let tag = blobs.blobs().add_bytes(content).temp_tag().await.expect("a content");
            doc.set_hash(author, key(number), tag.hash(), size).await.expect("an entry");
            tag.hash()
        }
    };
    let contents = n0_future::stream::iter(0..entries).map(write);
    let contents = n0_future::BufferedStreamExt::buffered_ordered(contents, WRITING).collect().await;
    let last = (0..entries).rev().take(AUTHORS).map(|number| (by(number), key(number)));
    let last = last.max_by_key(|(author, _)| *author.as_bytes()).expect("an entry");
    let ticket = doc.share(ShareMode::Write, AddrInfoOptions::Id).await.expect("a ticket");
    (DocTicket::new(ticket.capability, vec![peer.addr()]), contents, last)
}

/// A node with threads and a directory of its own, as one of ours has.
struct Peer {
    runtime: Runtime,
    endpoint: Endpoint,
    blobs: FsStore,
    docs: Docs,
    router: Router,
    _dir: TempDir,
}

impl Peer {
    fn new() -> Self {
        let dir = directory();
        let runtime = Runtime::new().expect("a runtime");
        let (endpoint, blobs, docs, router) = runtime.block_on(spawn(dir.path()));
        Self { runtime, endpoint, blobs, docs, router, _dir: dir }
    }

    fn addr(&self) -> EndpointAddr {
        let port = self.endpoint.bound_sockets().first().expect("a socket").port();
        EndpointAddr::new(self.endpoint.id()).with_ip_addr(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It closes the stores as well. One that is gone already has nothing to close.
        let _ = self.runtime.block_on(self.router.shutdown());
    }
}

async fn spawn(dir: &Path) -> (Endpoint, FsStore, Docs, Router) {
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .expect("an address")
        // The same as ours has.
        .crypto_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .bind()
        .await
        .expect("an endpoint");
    let blobs = FsStore::load(dir.join("blobs")).await.expect("a store of blobs");
    let gossip = Gossip::builder().spawn(endpoint.clone());
    let docs = Docs::persistent(dir.to_owned())
        .spawn(endpoint.clone(), (*blobs).clone(), gossip.clone())
        .await
        .expect("a store of documents");
    let router = Router::builder(endpoint.clone())
        .accept(iroh_blobs::ALPN, BlobsProtocol::new(&blobs, None))
        .accept(iroh_gossip::ALPN, gossip)
        .accept(iroh_docs::ALPN, docs.clone())
        .spawn();
    (endpoint, blobs, docs, router)
}
