//! Sessions that outlive the gateway.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mqtt_client;

use mqtt_client::{Client, Running, gate};
use portcullis_mqtt::ProtocolVersion::{self, V5, V311};
use portcullis_mqtt::{Connect, QoS};

fn lasting(c: &mut Connect<'_>) {
    c.clean_start = false;
    c.properties.session_expiry = Some(600);
}

fn connect(gateway: &Running, version: ProtocolVersion, id: &str) -> Client {
    gateway.connect_with(version, id, lasting)
}

#[test]
fn what_was_acknowledged_is_delivered_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    for version in [V311, V5] {
        let id = format!("s-{version:?}");
        let gateway = Running::start_stored(gate::everybody(), data.path());
        let mut s = connect(&gateway, version, &id);
        s.subscribe("a/+", QoS::ExactlyOnce);
        drop(s);
        let mut p = gateway.connect(V311, "p");
        for (n, qos) in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce].into_iter().enumerate() {
            p.publish("a/b", qos, &[n as u8]);
        }
        gateway.stop();

        let gateway = Running::start_stored(gate::everybody(), data.path());
        let mut s = connect(&gateway, version, &id);
        assert!(s.session_present);
        for n in 0..3u8 {
            assert_eq!(s.message().payload, [n]);
        }
        s.ping();
        // The subscription is there as well.
        let mut p = gateway.connect(V311, "p");
        p.publish("a/c", QoS::AtLeastOnce, b"again");
        assert_eq!(s.message().payload, b"again");
        // Its acknowledgement has arrived when the ping is answered.
        s.ping();
        drop(s);
        gateway.stop();

        // What the client has acknowledged does not come a third time.
        let gateway = Running::start_stored(gate::everybody(), data.path());
        let mut s = connect(&gateway, version, &id);
        assert!(s.session_present);
        s.ping();
        gateway.stop();
    }
}

#[test]
fn qos_2_goes_on_where_it_was_with_the_same_identifiers() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Running::start_stored(gate::everybody(), data.path());
    let mut s = connect(&gateway, V5, "s");
    s.subscribe("a", QoS::ExactlyOnce);
    let mut p = connect(&gateway, V5, "p");
    p.publish("a", QoS::ExactlyOnce, b"released");
    p.publish("a", QoS::ExactlyOnce, b"sent");
    // Published, answered, not released: the publisher sends it again after the restart.
    p.publish_unacknowledged("a", QoS::ExactlyOnce, 77, b"once");
    assert_eq!(p.packet_kind(), mqtt_client::Kind::PubRec(77));
    let first = s.message_received();
    let second = s.message_unacknowledged();
    assert_eq!((first.payload.as_slice(), second.payload.as_slice()), (&b"released"[..], &b"sent"[..]));
    gateway.stop();

    let gateway = Running::start_stored(gate::everybody(), data.path());
    let mut p = connect(&gateway, V5, "p");
    p.publish_unacknowledged("a", QoS::ExactlyOnce, 77, b"once");
    assert_eq!(p.packet_kind(), mqtt_client::Kind::PubRec(77));
    p.release(77);
    let mut s = connect(&gateway, V5, "s");
    s.expect_release(first.id());
    let again = s.message();
    assert_eq!((again.payload.as_slice(), again.dup, again.id()), (&b"sent"[..], true, second.id()));
    assert_eq!(s.message().payload, b"once");
    s.ping();
    gateway.stop();
}

#[test]
fn retained_messages_and_wills_survive() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Running::start_stored(gate::everybody(), data.path());
    let mut p = gateway.connect(V5, "p");
    p.publish_retained("r/kept", b"1");
    p.publish_retained("r/gone", b"2");
    p.publish_retained("r/gone", b"");
    let _willing = gateway.connect_with_will(V311, "willing", "wills/a");
    let mut s = connect(&gateway, V5, "watcher");
    s.subscribe("wills/#", QoS::AtLeastOnce);
    gateway.stop();

    let gateway = Running::start_stored(gate::everybody(), data.path());
    let mut s = gateway.connect(V5, "s");
    s.subscribe("r/#", QoS::AtLeastOnce);
    let got = s.message();
    assert_eq!((got.topic.as_str(), got.retain), ("r/kept", true));
    s.ping();
    // The client with the will was cut off by the end of the gateway, or by its stopping: the will is sent either way.
    let mut watcher = connect(&gateway, V5, "watcher");
    assert_eq!(watcher.message().topic, "wills/a");
    gateway.stop();
}

#[test]
fn a_clean_start_forgets_what_was_stored() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Running::start_stored(gate::everybody(), data.path());
    let mut s = connect(&gateway, V5, "s");
    s.subscribe("a", QoS::AtLeastOnce);
    drop(s);
    gateway.connect(V311, "p").publish("a", QoS::AtLeastOnce, b"forgotten");
    let s = gateway.connect_with(V5, "s", |c| c.properties.session_expiry = Some(600));
    assert!(!s.session_present);
    drop(s);
    gateway.stop();
    let gateway = Running::start_stored(gate::everybody(), data.path());
    let mut s = connect(&gateway, V5, "s");
    assert!(s.session_present);
    gateway.connect(V311, "p").publish("a", QoS::AtLeastOnce, b"nobody is subscribed");
    s.ping();
    s.disconnect_and_forget(V5);
    gateway.stop();
    let gateway = Running::start_stored(gate::everybody(), data.path());
    assert!(!connect(&gateway, V5, "s").session_present);
    gateway.stop();
}
