//! Peers on lines that are cut, that are slow, and that lose packets.
//!
//! Tests for which the machine lacks the rights or the means say `SKIPPED` on standard error, and why.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod peers_kit;

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use peers_kit::{
    Machine,
    bad_line::{BadLine, Quality},
    namespace::Cable,
    texts, until, until_same,
};

#[test]
fn nodes_that_are_cut_off_from_each_other_go_on_writing_and_merge_when_the_line_is_back() {
    let cable = match Cable::lay("p") {
        Ok(cable) => cable,
        Err(why) => return eprintln!("SKIPPED: no network namespaces: {why}"),
    };
    let [here, there] =
        [&cable.here, &cable.there].map(|namespace| Machine::within(["ip", "netns", "exec", namespace]));
    let at_here = here.serve_with(&format!("--listen {}:0", Cable::HERE));
    let at_there = there.serve_with(&format!("--listen {}:0", Cable::THERE));
    there.join(&here.ticket("s"));
    until("they meet", || there.is_connected(&at_here.endpoint));
    let (published, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Whatever happens, they come to an end.
        let end = End(&enough);
        for (name, machine) in [("here", &here), ("there", &there)] {
            let (published, enough) = (&published, &enough);
            scope.spawn(move || {
                for part in 0.. {
                    machine.publish("s", &texts(&format!("{name} {part}"), 10));
                    published.fetch_add(10, Ordering::Relaxed);
                    if enough.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        until("both have something of the other", || here.count("s") > 20);
        cable.pull();
        until("it is noticed at one end", || !here.is_connected(&at_there.endpoint));
        until("it is noticed at the other", || !there.is_connected(&at_here.endpoint));
        assert_ne!(here.root("s").0, there.root("s").0);
        cable.plug_in();
        until("they meet again", || there.is_connected(&at_here.endpoint));
        drop(end);
    });
    until_same(&[&here, &there], "s", published.into_inner());
    assert_eq!(here.set("s"), there.set("s"));
    at_here.end();
    at_there.end();
}

#[test]
fn a_peer_on_the_local_network_is_found_by_its_key_alone() {
    let laid = Cable::lay("m").and_then(|cable| cable.allow_multicast().map(|()| cable));
    let cable = match laid {
        Ok(cable) => cable,
        Err(why) => return eprintln!("SKIPPED: no network namespaces: {why}"),
    };
    let [here, there] =
        [&cable.here, &cable.there].map(|namespace| Machine::within(["ip", "netns", "exec", namespace]));
    here.publish("s", &["x"]);
    // Made while nobody serves: it does not say where.
    there.join(&here.ticket("s"));
    let at_here = here.serve_with(&format!("--mdns --listen {}:0", Cable::HERE));
    let at_there = there.serve_with(&format!("--mdns --listen {}:0", Cable::THERE));
    until_same(&[&here, &there], "s", 1);
    at_here.end();
    at_there.end();

    // Both are elsewhere now than what they remember of each other.
    let at_here = here.serve_with(&format!("--mdns --listen {}:0", Cable::HERE));
    let at_there = there.serve_with(&format!("--mdns --listen {}:0", Cable::THERE));
    here.publish("s", &["y"]);
    until_same(&[&here, &there], "s", 2);
    at_here.end();
    at_there.end();
}

/// Says that it is enough when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_sync_over_a_line_with_a_long_delay_that_loses_packets_comes_to_its_end() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return eprintln!("SKIPPED: no IPv6 on the loopback");
    }
    let (far, near) = (Machine::new(), Machine::new());
    far.publish("s", &texts("far", 2_000));
    near.publish("s", &texts("near", 500));
    let at_far = far.serve_with("--listen [::1]:0");
    let quality = Quality { delay: Duration::from_millis(100), lost: 5 };
    let line = BadLine::to(at_far.addr(), quality);
    near.join(&far.ticket("s"));
    let at_near = near.serve_with(&format!("--listen 127.0.0.1:0 --peer {}@{}", at_far.endpoint, line.entrance));
    until_same(&[&far, &near], "s", 2_500);
    let lost = line.lost.load(Ordering::Relaxed);
    assert!(lost > 10, "only {lost} packets were lost");
    let round_trip = near.peer(&at_far.endpoint).unwrap()["round_trip_us"].as_u64().unwrap();
    assert!(round_trip >= 200_000, "they have found a way around the line: {round_trip} µs");
    near.publish("s", &["live"]);
    until_same(&[&far, &near], "s", 2_501);
    at_far.end();
    at_near.end();
}

#[test]
fn many_subjects_that_share_a_thin_line_come_to_their_end() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return eprintln!("SKIPPED: no IPv6 on the loopback");
    }
    let (far, near) = (Machine::new(), Machine::new());
    let subjects: Vec<String> = (0..16).map(|number| format!("s{number}")).collect();
    for subject in &subjects {
        far.publish(subject, &texts(&"x".repeat(150), 100));
    }
    let at_far = far.serve_with("--listen [::1]:0");
    let line = BadLine::to(at_far.addr(), Quality { delay: Duration::from_millis(200), lost: 10 });
    for subject in &subjects {
        near.join(&far.ticket(subject));
    }
    let at_near = near.serve_with(&format!("--listen 127.0.0.1:0 --peer {}@{}", at_far.endpoint, line.entrance));
    for subject in &subjects {
        until_same(&[&far, &near], subject, 100);
    }
    assert_eq!(near.peer(&at_far.endpoint).unwrap()["offences"], 0);
    at_far.end();
    at_near.end();
}

#[test]
fn a_session_that_is_given_up_in_the_middle_of_a_message_is_no_offence_and_goes_on() {
    use xaeroflux::{ChildKind, NetworkConfig, PeerAddr, prelude::*};

    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return eprintln!("SKIPPED: no IPv6 on the loopback");
    }
    let node = |listen: &str| {
        let network = NetworkConfig::new().listen(listen.parse().unwrap());
        Node::builder().network(network).ephemeral().unwrap()
    };
    let (far, near) = (node("[::1]:0"), node("127.0.0.1:0"));
    let ours = far.subject("s");
    let running = ours.run().unwrap();
    // One message, of more bytes than may be on their way at once.
    for n in 0..3 {
        ours.publish(XaeroEvent::new(vec![n; 1_000_000], CRDT_SET_ADD)).wait().unwrap();
    }
    let line = BadLine::to(far.listen_addrs()[0], Quality { delay: Duration::from_millis(50), lost: 0 });
    let entrance = PeerAddr { addrs: vec![line.entrance], ..PeerAddr::new(far.endpoint_id().unwrap()) };
    near.add_peer(entrance).unwrap();
    let theirs = near.join(&ours.ticket().unwrap()).unwrap();
    let _running = theirs.run().unwrap();
    until("the message has begun", || near.peers()[0].bytes_received > 100_000);
    running.kill_child(ChildKind::Sync);
    until("it is sent again", || ours.root().unwrap() == theirs.root().unwrap());
    assert_eq!(theirs.count().unwrap(), 3);
    assert_eq!(near.peers()[0].offences, 0, "{:?}", near.peers());
}

#[test]
fn a_sync_through_a_kernel_that_delays_and_loses_packets_comes_to_its_end() {
    let cable = match Cable::lay("d") {
        Ok(cable) => cable,
        Err(why) => return eprintln!("SKIPPED: no network namespaces: {why}"),
    };
    if let Err(why) = cable.worsen(100, 5) {
        return eprintln!("SKIPPED: no netem: {why}");
    }
    let [here, there] =
        [&cable.here, &cable.there].map(|namespace| Machine::within(["ip", "netns", "exec", namespace]));
    here.publish("s", &texts("here", 2_000));
    there.publish("s", &texts("there", 500));
    let at_here = here.serve_with(&format!("--listen {}:0", Cable::HERE));
    let at_there = there.serve_with(&format!("--listen {}:0", Cable::THERE));
    there.join(&here.ticket("s"));
    until_same(&[&here, &there], "s", 2_500);
    at_here.end();
    at_there.end();
}
