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
fn who_was_parked_and_came_back_has_to_be_quiet_for_longer() {
    let quiet = Duration::from_secs(1);
    let gateway = Running::start(gate::everybody());
    gateway.wheel.park_after(quiet);
    let mut c = gateway.connect(V311, "c");
    gateway.until_parked(1);
    let back = Instant::now();
    c.ping();
    gateway.until_parked(0);
    gateway.until_parked(1);
    // Four times as long, in clocks that count seconds.
    assert!(back.elapsed() >= 3 * quiet, "{:?}", back.elapsed());
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
