//! A line that delays every packet and loses some, between two processes on the loopback.
//!
//! One end has an IPv4 address and the other an IPv6 address, so that the two nodes, which listen on one kind each, cannot
//! find a way past it.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// More than a packet has.
const PACKET_BYTES: usize = 65_536;

/// How long the line waits for a packet before it looks whether one is due.
const TICK: Duration = Duration::from_millis(1);

/// What the line does to packets, in either direction.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    pub delay: Duration,
    /// Of a hundred packets.
    pub lost: u64,
}

/// A line that is there until it is dropped.
pub struct BadLine {
    /// What a node with an IPv4 socket calls to reach the other.
    pub entrance: SocketAddr,
    pub lost: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl BadLine {
    /// A line to a node at an IPv6 address, for one node that calls.
    pub fn to(callee: SocketAddr, quality: Quality) -> Self {
        let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let far = Arc::new(UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap());
        let (lost, stop) = (Arc::default(), Arc::default());
        // Where the caller is shows with its first packet.
        let caller = Arc::new(std::sync::Mutex::new(None));
        let entrance = near.local_addr().unwrap();
        let way = |from: &Arc<UdpSocket>, to: &Arc<UdpSocket>, seed| Way {
            from: Arc::clone(from),
            to: Arc::clone(to),
            caller: Arc::clone(&caller),
            quality,
            random: seed,
            lost: Arc::clone(&lost),
            stop: Arc::clone(&stop),
        };
        let (out, back) = (way(&near, &far, 0x9e37_79b9), way(&far, &near, 0x7f4a_7c15));
        let threads = vec![
            std::thread::spawn(move || {
                out.run(|from, caller| {
                    *caller = Some(from);
                    Some(callee)
                })
            }),
            std::thread::spawn(move || back.run(|_, caller| *caller)),
        ];
        Self { entrance, lost, stop, threads }
    }
}

impl Drop for BadLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One direction.
struct Way {
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    caller: Arc<std::sync::Mutex<Option<SocketAddr>>>,
    quality: Quality,
    random: u64,
    lost: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Way {
    fn run(mut self, target: impl Fn(SocketAddr, &mut Option<SocketAddr>) -> Option<SocketAddr>) {
        self.from.set_read_timeout(Some(TICK)).unwrap();
        let (mut buffer, mut travelling) = (vec![0; PACKET_BYTES], VecDeque::<(Instant, SocketAddr, Vec<u8>)>::new());
        while !self.stop.load(Ordering::Relaxed) {
            match self.from.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let to = target(from, &mut self.caller.lock().unwrap());
                    match to {
                        Some(to) if !self.loses() => {
                            travelling.push_back((Instant::now() + self.quality.delay, to, buffer[..length].to_vec()));
                        }
                        _ => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // Somebody else's packet could not be delivered; or nobody listens at the other end.
                Err(_) => {}
            }
            while travelling.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
                let (_, to, packet) = travelling.pop_front().unwrap();
                // Lost, as on any line.
                let _ = self.to.send_to(&packet, to);
            }
        }
    }

    /// The same packets every time, as far as they come in the same order.
    fn loses(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < self.quality.lost
    }
}
