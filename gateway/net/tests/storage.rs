//! What clients are told while the disk is slow, and when it is full or broken: nothing that is not stored.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mqtt_client;

use std::time::Duration;

use mqtt_client::{Client, Kind, Running, gate};
use portcullis_mqtt::ProtocolVersion::{V5, V311};
use portcullis_mqtt::{Connect, QoS, ReasonCode};
use portcullis_store::disk::Disk;
use portcullis_store::{Durability, Options, Store};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn lasting(c: &mut Connect<'_>) {
    c.clean_start = false;
    c.properties.session_expiry = Some(600);
}

fn start(disk: &Disk) -> Running {
    Running::start_on_store(gate::everybody(), Store::on_disk(disk, Options::default()).unwrap())
}

/// The gateway has done what it had to do: others were served on both of its workers, more than once.
fn a_while(gateway: &Running) {
    let mut others: Vec<Client> = (0..8).map(|n| gateway.connect(V311, &format!("other-{n}"))).collect();
    for _ in 0..5 {
        others.iter_mut().for_each(Client::ping);
    }
}

#[test]
fn acknowledgements_wait_for_the_disk() {
    let disk = Disk::new();
    let gateway = start(&disk);
    let mut s = gateway.connect_with(V5, "s", lasting);
    s.subscribe("a", QoS::ExactlyOnce);
    drop(s);
    let mut p = gateway.connect_with(V5, "p", lasting);
    let mut new = gateway.connect_with(V5, "new", lasting);
    let mut passing = gateway.connect(V5, "passing");
    p.ping();
    let held = disk.hold_syncs();
    p.publish_unacknowledged("a", QoS::AtLeastOnce, 1, b"1");
    assert!(held.has_one_within(PATIENCE));
    p.publish_unacknowledged("a", QoS::ExactlyOnce, 2, b"2");
    new.send_subscribe("b", QoS::AtLeastOnce);
    // One read with something to store before the SUBSCRIBE of a session that is not stored.
    passing.publish_unacknowledged("a", QoS::AtLeastOnce, 9, b"9");
    passing.send_subscribe("c", QoS::AtMostOnce);
    a_while(&gateway);
    assert!(p.is_silent(), "neither PUBACK nor PUBREC");
    assert!(new.is_silent(), "no SUBACK");
    assert!(passing.is_silent(), "no PUBACK, and no SUBACK before it");
    drop(held);
    assert_eq!(p.packet_kind(), Kind::PubAck(1, ReasonCode::SUCCESS));
    assert_eq!(p.packet_kind(), Kind::PubRec(2));
    assert!(matches!(new.packet_kind(), Kind::Other(other) if other.starts_with("SubAck")));
    assert_eq!(passing.packet_kind(), Kind::PubAck(9, ReasonCode::SUCCESS));
    assert!(matches!(passing.packet_kind(), Kind::Other(other) if other.starts_with("SubAck")));
    gateway.stop();
}

#[test]
fn publishers_wait_for_a_store_that_is_behind_whatever_an_acknowledgement_means() {
    const COUNT: u64 = 1000;
    for durability in [Durability::Ack, Durability::None] {
        let disk = Disk::new();
        let store = Store::on_disk(&disk, Options { queue: 256 * 1024, ..Options::default() }).unwrap();
        let gateway = Running::start_on_store_with(gate::everybody(), store, |rules| rules.durability = durability);
        let mut s = gateway.connect_with(V5, "s", lasting);
        s.subscribe("a", QoS::AtLeastOnce);
        drop(s);
        let mut p = gateway.connect(V5, "p");
        p.ping();
        // Until the disk goes on, nothing leaves the store's queue.
        let held = disk.hold_syncs();
        let mut one = gateway.connect_with(V5, "one", lasting);
        one.send_subscribe("b", QoS::AtLeastOnce);
        assert!(held.has_one_within(PATIENCE));
        let publishing = std::thread::spawn(move || {
            for n in 0..COUNT {
                p.publish_unacknowledged("a", QoS::AtLeastOnce, n as u16 + 1, &[7; 10_000]);
            }
            p.expect_acknowledgements(COUNT as usize);
        });
        gateway.until(|broker| broker.totals().received >= 26);
        for _ in 0..5 {
            a_while(&gateway);
        }
        // 256 KiB, and what was read when that was reached; without a bound it would be all of them.
        let received = gateway.broker.totals().received;
        assert!(received <= 200, "{received} messages of 10,000 octets were taken ({durability:?})");
        drop(held);
        publishing.join().unwrap();
        gateway.stop();
    }
}

#[test]
fn a_connection_that_comes_back_is_not_told_what_the_last_one_was_not() {
    let disk = Disk::new();
    let gateway = start(&disk);
    gateway.connect_with(V5, "s", lasting).subscribe("a", QoS::ExactlyOnce);
    let mut p = gateway.connect_with(V5, "p", lasting);
    p.ping();
    let held = disk.hold_syncs();
    p.publish_unacknowledged("a", QoS::ExactlyOnce, 5, b"once");
    assert!(held.has_one_within(PATIENCE));
    drop(p);
    // It does what the protocol asks for: PUBLISH again.
    let mut p = gateway.send_connect_with(V5, "p", lasting);
    p.publish_unacknowledged("a", QoS::ExactlyOnce, 5, b"once");
    a_while(&gateway);
    assert!(p.is_silent());
    drop(held);
    assert!(matches!(p.packet_kind(), Kind::Other(other) if other.starts_with("ConnAck")));
    assert_eq!(p.packet_kind(), Kind::PubRec(5));
    p.release(5);
    let mut s = gateway.connect_with(V5, "s", lasting);
    assert_eq!(s.message().payload, b"once");

    // The same of the other side: PUBREL says that PUBREC is stored.
    p.publish("a", QoS::ExactlyOnce, b"twice");
    let message = s.message_unacknowledged();
    let held = disk.hold_syncs();
    s.send_ack(0x50, message.id());
    assert!(held.has_one_within(PATIENCE));
    drop(s);
    let mut s = gateway.send_connect_with(V5, "s", lasting);
    a_while(&gateway);
    assert!(s.is_silent());
    drop(held);
    assert!(matches!(s.packet_kind(), Kind::Other(other) if other.starts_with("ConnAck")));
    s.expect_release(message.id());
    gateway.stop();
}

#[test]
fn a_store_that_fails_costs_only_those_who_need_it() {
    for full in [true, false] {
        let disk = Disk::new();
        let gateway = start(&disk);
        gateway.connect_with(V5, "s", lasting).subscribe("kept", QoS::AtLeastOnce);
        let mut passing = gateway.connect(V5, "passing");
        passing.subscribe("live", QoS::ExactlyOnce);
        let mut idle = gateway.connect_with(V311, "idle", lasting);
        idle.ping();
        if full {
            disk.fill_after(50_000)
        } else {
            disk.fail_syncs()
        }

        let mut acknowledged = 0;
        let mut p = gateway.connect(V5, "p");
        loop {
            p.publish_unacknowledged("kept", QoS::AtLeastOnce, 1, &[acknowledged; 2000]);
            match p.packet_kind() {
                Kind::PubAck(1, ReasonCode::SUCCESS) => acknowledged += 1,
                Kind::Other(other) => {
                    assert!(other.starts_with("Disconnect") && other.contains("server busy"), "{other}");
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        p.closed();
        assert!(full || acknowledged == 0);
        // From now on whoever's acknowledgement would be false is told so.
        let mut p = gateway.connect(V5, "p");
        p.publish_unacknowledged("kept", QoS::ExactlyOnce, 1, b"");
        let told = p.packet_kind();
        assert!(matches!(told, Kind::PubRecRefused(1, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR)), "{told:?}");
        // Who wants a session that lasts, or leaves a will, hears why at once, also with the pipelined packets of a
        // client in a hurry.
        assert_eq!(gateway.refused_with(V5, "s", lasting), ReasonCode::SERVER_UNAVAILABLE.0);
        assert_eq!(gateway.refused_with(V311, "t", lasting), 3);
        let mut hasty = gateway.send_connect_with(V5, "s", lasting);
        hasty.send_subscribe("a", QoS::AtLeastOnce);
        assert!(matches!(hasty.packet_kind(), Kind::Other(other) if other.starts_with("ConnAck")));
        hasty.closed();
        // Everybody else is served, at every quality of service.
        let mut p = gateway.connect(V311, "p");
        p.publish("live", QoS::AtLeastOnce, b"1");
        p.publish("live", QoS::ExactlyOnce, b"2");
        assert_eq!(passing.message().payload, b"1");
        assert_eq!(passing.message().payload, b"2");
        // One with a session that has nothing to be stored stays as well.
        idle.ping();
        gateway.stop();

        let gateway = start(&disk.repaired());
        let mut s = gateway.connect_with(V5, "s", lasting);
        assert!(s.session_present);
        for n in 0..acknowledged {
            assert_eq!(s.message().payload, [n; 2000]);
        }
        gateway.stop();
    }
}
