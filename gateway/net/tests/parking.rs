//! Connections that were quiet for long enough to be parked: whatever comes for them finds them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mqtt_client;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt_client::{Running, gate};
use portcullis_grant::Gatekeeper;
use portcullis_mqtt::ProtocolVersion::{V5, V311};
use portcullis_mqtt::{QoS, ReasonCode};

/// A gateway that parks whoever has nothing to say.
fn start(gatekeeper: Arc<dyn Gatekeeper>) -> Running {
    let gateway = Running::start(gatekeeper);
    gateway.wheel.park_after(Duration::ZERO);
    gateway
}

#[test]
fn who_is_parked_is_heard_and_served_again_and_again() {
    let gateway = start(gate::everybody());
    let (mut s, mut p) = (gateway.connect(V311, "s"), gateway.connect(V5, "p"));
    s.subscribe("a", QoS::ExactlyOnce);
    for round in 0..3u8 {
        gateway.until_parked(2);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            p.publish("a", qos, &[round]);
            assert_eq!(s.message().payload, [round]);
        }
    }
    gateway.until_parked(2);
    s.ping();
    p.disconnect();
    gateway.until(|broker| broker.sessions() == 1);
    drop(s);
    gateway.until(|broker| broker.sessions() == 0);
    gateway.until_parked(0);
}

#[test]
fn who_is_let_in_and_says_nothing_more_is_parked_at_once() {
    let gateway = Running::start(gate::everybody());
    gateway.wheel.park_after(Duration::from_secs(600));
    let mut clients: Vec<_> = (0..20).map(|n| gateway.connect(V311, &format!("c{n}"))).collect();
    // Whose CONNECT was not there when they were accepted have a task until they are quiet; they are few.
    let most = Instant::now() + Duration::from_secs(20);
    while gateway.wheel.parked() == 0 {
        assert!(Instant::now() < most, "nobody is parked");
        clients.push(gateway.connect(V311, &format!("d{}", clients.len())));
    }
    for client in &mut clients {
        client.ping();
    }
}

#[test]
fn who_has_not_said_who_it_is_waits_in_the_same_way() {
    let gateway = Running::start_with(gate::everybody(), |rules| rules.connect_timeout_ms = 2000);
    let mut silent: Vec<_> = (0..10).map(|_| gateway.raw()).collect();
    gateway.until_parked(10);
    let late = gateway.raw();
    gateway.until_parked(11);
    let mut late = Running::let_in(late, V5, "late");
    for client in &mut silent {
        client.closed();
    }
    late.ping();
}

#[test]
fn who_is_parked_without_a_session_hears_that_the_listener_stops() {
    let gateway = Running::start_with(gate::everybody(), |rules| rules.connect_timeout_ms = 3_600_000);
    let mut silent: Vec<_> = (0..10).map(|_| gateway.raw()).collect();
    gateway.until_parked(10);
    gateway.stop_connections();
    for client in &mut silent {
        client.closed();
    }
}

#[test]
fn who_talks_has_a_task_until_it_is_quiet() {
    let gateway = Running::start(gate::everybody());
    gateway.wheel.park_after(Duration::from_secs(1));
    let mut c = gateway.connect(V311, "c");
    gateway.until_parked(1);
    let most = Instant::now() + Duration::from_secs(20);
    // Who is served is in no table either, but not for so long.
    let stays_away = || {
        let until = Instant::now() + Duration::from_millis(100);
        while gateway.wheel.parked() == 0 {
            if Instant::now() > until {
                return true;
            }
            std::thread::yield_now();
        }
        false
    };
    loop {
        c.ping();
        if stays_away() {
            break;
        }
        assert!(Instant::now() < most, "it talks all the time");
    }
    gateway.until_parked(1);
    c.ping();
}

#[test]
fn who_goes_without_a_word_right_after_another_is_missed_at_once() {
    let gateway = start(gate::everybody());
    for round in 0..50 {
        let mut c = gateway.connect_with(V311, "c", |c| c.keep_alive = 0);
        if round % 2 == 0 {
            gateway.until_parked(1);
        }
        // What it says last and its end may come as one event.
        c.send(b"\xC0\0");
        drop(c);
        gateway.until(|broker| broker.sessions() == 0);
    }
}

#[test]
fn a_parked_connection_that_panics_ends_alone() {
    let gateway = start(gate::asking(|topic| {
        assert!(topic != "worst", "the test wants it");
        None
    }));
    let (mut a, mut b) = (gateway.connect(V311, "a"), gateway.connect(V311, "b"));
    gateway.until_parked(2);
    a.publish("worst", QoS::AtMostOnce, b"");
    a.closed();
    gateway.until(|broker| broker.sessions() == 1);
    b.ping();
}

#[test]
fn what_is_delivered_to_a_parked_client_wakes_nobody() {
    let gateway = start(gate::everybody());
    let mut s = gateway.connect(V311, "s");
    s.subscribe("a", QoS::AtMostOnce);
    gateway.until_parked(1);
    let mut p = gateway.connect(V311, "p");
    p.publish("a", QoS::AtMostOnce, b"x");
    assert_eq!(s.message().payload, b"x");
    assert!(gateway.wheel.parked() > 0, "it was written by its publisher");
    gateway.until_parked(2);
}

#[test]
fn a_parked_client_that_does_not_read_gets_all_of_it_in_the_end() {
    let gateway = start(gate::everybody());
    let mut s = gateway.connect(V311, "s");
    s.subscribe("a", QoS::AtLeastOnce);
    gateway.until_parked(1);
    let mut p = gateway.connect(V311, "p");
    let payload = vec![7; 10_000];
    let publishing = std::thread::spawn(move || {
        for n in 0..600u32 {
            let mut bytes = n.to_be_bytes().to_vec();
            bytes.extend_from_slice(&payload);
            p.publish_unacknowledged("a", QoS::AtLeastOnce, n as u16 + 1, &bytes);
        }
        p.expect_acknowledgements(600);
    });
    // More than sockets and mailbox take waits by now.
    gateway.until(|broker| broker.connections(None, 10).iter().any(|c| c.backlog.bytes > 100_000));
    for n in 0..600u32 {
        assert_eq!(s.message().payload[..4], n.to_be_bytes());
    }
    publishing.join().unwrap();
}

#[test]
fn a_parked_session_is_taken_over_and_its_client_told() {
    let gateway = start(gate::everybody());
    let mut old = gateway.connect(V5, "same");
    gateway.until_parked(1);
    let mut new = gateway.connect(V5, "same");
    assert_eq!(old.disconnect_reason(), ReasonCode::SESSION_TAKEN_OVER);
    new.ping();
}

#[test]
fn the_time_of_a_parked_client_comes() {
    let gateway = start(gate::expiring_in(3));
    let mut brief = gateway.connect(V5, "brief");
    gateway.until_parked(1);
    assert_eq!(brief.disconnect_reason(), ReasonCode::NOT_AUTHORIZED);

    let gateway = start(gate::everybody());
    let mut silent = gateway.connect_with(V5, "silent", |c| c.keep_alive = 2);
    gateway.until_parked(1);
    assert_eq!(silent.disconnect_reason(), ReasonCode::KEEP_ALIVE_TIMEOUT);
}

#[test]
fn who_is_parked_hears_that_the_gateway_stops() {
    let gateway = start(gate::everybody());
    let mut clients: Vec<_> = (0..100).map(|n| gateway.connect(V5, &format!("c{n}"))).collect();
    gateway.until_parked(100);
    gateway.broker.shut_down();
    for client in &mut clients {
        assert_eq!(client.disconnect_reason(), ReasonCode::SERVER_SHUTTING_DOWN);
    }
    gateway.until(|broker| broker.sessions() == 0);
}

#[test]
fn a_runtime_that_goes_down_leaves_no_parked_connection_behind() {
    let gateway = start(gate::everybody());
    let _client = gateway.connect(V5, "c");
    gateway.until_parked(1);
    let broker = Arc::clone(&gateway.broker);
    gateway.stop();
    assert_eq!(broker.sessions(), 0);
}

#[test]
fn half_a_packet_keeps_a_connection_awake() {
    let gateway = start(gate::everybody());
    let mut c = gateway.connect(V311, "c");
    gateway.until_parked(1);
    // The first octet of PINGREQ wakes it; it has its task until the second has come.
    c.send(b"\xC0");
    gateway.until_parked(0);
    c.send(b"\0");
    assert_eq!(c.packet_kind(), mqtt_client::Kind::Other("PingResp".into()));
    gateway.until_parked(1);
}
