//! Logins that meet others, limits and time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desk;
mod packets;

use std::sync::Arc;

use desk::{Desk, compile, everything};
use packets::{bytes, connack, connect, hear, lasting, payloads, publish, subscribe, subscribe_many, v5};
use portcullis_grant::{Dependency, Outcome};
use portcullis_mqtt::{
    Connect, Disconnect, Packet, ProtocolVersion, QoS, ReasonCode, SubscribeOptions, Will, WillProperties,
};
use portcullis_session::ListenerRules;
use portcullis_store::{Options, Store};

const ROOM: usize = 1 << 20;

/// Everybody is one person, who may have `most` connections.
fn one_person(most: u64) -> Desk {
    let mut desk = Desk::new(ListenerRules::default());
    desk.on_login = Box::new(move |_| {
        let mut draft = everything("alice");
        draft.limits.push(("connections".to_owned(), most));
        Some(Outcome::allow(compile(draft)))
    });
    desk
}

#[test]
fn a_client_that_comes_again_takes_its_own_place_among_the_connections_of_its_identity() {
    let mut desk = one_person(1);
    let old = desk.accept(ROOM);
    desk.feed(old, &connect(v5("phone")));
    let new = desk.accept(ROOM);
    desk.feed(new, &connect(v5("phone")));
    assert_eq!(connack(&mut desk, new), 0);
    assert_eq!(desk.lines[old].end().map(|e| e.reason), Some(ReasonCode::SESSION_TAKEN_OVER));
    // Another client of the same person is one too many.
    let other = desk.accept(ROOM);
    desk.feed(other, &connect(v5("laptop")));
    assert_eq!(connack(&mut desk, other), ReasonCode::QUOTA_EXCEEDED.0);
    desk.lose(new);
    let other = desk.accept(ROOM);
    desk.feed(other, &connect(v5("laptop")));
    assert_eq!(connack(&mut desk, other), 0);
    desk.lose(other);
    assert_eq!(desk.broker.remainders(), (0, 0));
}

#[test]
fn two_that_come_again_while_the_last_one_is_not_on_disk_yet_follow_each_other() {
    let mut desk = Desk::on(Some(Store::in_memory(Options::default()).unwrap()), ListenerRules::default());
    desk.on_login = one_person(1).on_login;
    let old = desk.accept(ROOM);
    desk.feed(old, &[connect(lasting("phone")), subscribe("a", QoS::AtLeastOnce)].concat());
    let [second, third] = [(); 2].map(|()| {
        let line = desk.accept(ROOM);
        desk.hold(line, true);
        desk.feed(line, &connect(lasting("phone")));
        line
    });
    for line in [second, third] {
        desk.hold(line, false);
    }
    // It is gone before what it published is on disk, and both have to wait for that.
    let leave = bytes(ProtocolVersion::V5, Packet::Disconnect(Disconnect::default()));
    desk.feed(old, &[publish("a", QoS::AtLeastOnce, 1, b"x"), leave].concat());
    assert_eq!([connack(&mut desk, second), connack(&mut desk, third)], [0, 0]);
    assert_eq!(desk.lines[second].end().map(|e| e.reason), Some(ReasonCode::SESSION_TAKEN_OVER));
    desk.lose(third);
    assert_eq!(desk.broker.remainders().1, 0);
}

#[test]
fn a_login_that_is_one_too_many_leaves_no_session() {
    let mut desk = one_person(1);
    let first = desk.accept(ROOM);
    desk.feed(first, &connect(v5("phone")));
    let other = desk.accept(ROOM);
    desk.feed(other, &connect(lasting("laptop")));
    assert_eq!(connack(&mut desk, other), ReasonCode::QUOTA_EXCEEDED.0);
    assert_eq!(desk.broker.sessions(), 1);
}

#[test]
fn an_identity_that_may_have_no_connection_leaves_no_trace() {
    let mut desk = one_person(0);
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(v5("phone")));
    assert_eq!(connack(&mut desk, line), ReasonCode::QUOTA_EXCEEDED.0);
    assert_eq!(desk.broker.remainders(), (0, 0));
}

#[test]
fn who_waited_too_long_for_a_session_does_not_count_for_ever() {
    let mut desk = one_person(2);
    let stuck = desk.accept(ROOM);
    desk.feed(stuck, &connect(v5("phone")));
    // The old connection does not leave: its loop is kept from running.
    let new = desk.accept(ROOM);
    desk.hold(stuck, true);
    desk.feed(new, &connect(v5("phone")));
    desk.pass(11);
    assert_eq!(desk.lines[new].end().map(|e| e.reason), Some(ReasonCode::MAXIMUM_CONNECT_TIME));
    desk.hold(stuck, false);
    desk.settle();
    assert!(desk.lines[stuck].end().is_some());
    assert_eq!(desk.broker.remainders(), (0, 0));
}

#[test]
fn a_will_is_held_to_the_bounds_of_topics() {
    let mut desk = Desk::new(ListenerRules::default());
    for topic in ["/".repeat(65_535), "x".repeat(5000)] {
        let line = desk.accept(ROOM);
        let properties = WillProperties::default();
        let will = Will { topic: &topic, payload: b"x", qos: QoS::AtMostOnce, retain: true, properties };
        desk.feed(line, &connect(Connect { will: Some(will), ..v5("c") }));
        assert_eq!(connack(&mut desk, line), ReasonCode::TOPIC_NAME_INVALID.0);
        assert_eq!(desk.broker.retained(), (0, 0));
    }
}

#[test]
fn a_will_that_lives_for_no_time_is_not_one_that_lives_for_ever() {
    let mut desk = Desk::new(ListenerRules::default());
    let s = desk.accept(ROOM);
    desk.feed(s, &[connect(v5("s")), subscribe("#", QoS::AtLeastOnce)].concat());
    for (expiry, expected) in [(Some(0), 0), (Some(5), 1), (None, 1)] {
        let line = desk.accept(ROOM);
        let properties = WillProperties { message_expiry: expiry, ..WillProperties::default() };
        let will = Will { topic: "w", payload: b"x", qos: QoS::AtLeastOnce, retain: true, properties };
        desk.feed(line, &connect(Connect { will: Some(will), ..v5("c") }));
        desk.lose(line);
        assert_eq!(payloads(&mut desk, s).len(), expected, "{expiry:?}");
        assert_eq!(desk.broker.retained().0, expected, "{expiry:?}");
    }
}

#[test]
fn a_packet_has_not_more_filters_than_a_session_may_have_subscriptions() {
    let mut desk = Desk::new(ListenerRules { max_subscriptions: 2, ..ListenerRules::default() });
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(v5("c")));
    connack(&mut desk, line);
    let filters = ["a", "a", "b", "a"].map(|f| (f, SubscribeOptions::new(QoS::AtMostOnce)));
    desk.feed(line, &subscribe_many(&filters, None));
    let mut codes = Vec::new();
    hear(&mut desk, line, |packet, _| {
        if let Packet::SubAck(ack) = packet {
            codes = ack.codes.to_vec();
        }
    });
    assert_eq!(codes, [0, 0, ReasonCode::QUOTA_EXCEEDED.0, ReasonCode::QUOTA_EXCEEDED.0]);
    assert_eq!(desk.broker.subscriptions(), 1);
}

#[test]
fn what_changed_while_a_policy_decided_is_looked_at_again() {
    for (name, again) in [("revoked", 1), ("another", 0)] {
        let mut desk = Desk::new(ListenerRules::default());
        let broker = Arc::clone(&desk.broker);
        desk.on_login = Box::new(move |login| {
            let mut draft = everything(&login.credentials.client_id);
            draft.depends_on = vec![format!("key:{}", login.credentials.client_id)];
            // The policy has found the key, which goes before the client is among those who are connected.
            assert_eq!(broker.changed(&Dependency("key:revoked".into())), 0);
            Some(Outcome::allow(compile(draft)))
        });
        let line = desk.accept(ROOM);
        desk.feed(line, &connect(v5(name)));
        assert_eq!(connack(&mut desk, line), 0);
        assert_eq!(desk.renewals, again, "{name}");
    }
}

#[test]
fn who_is_let_in_by_a_policy_that_has_left_the_listener_meanwhile_is_looked_at_again() {
    for (listener, standing, again) in [("desk", "another", 1), ("desk", "test", 0), ("elsewhere", "another", 0)] {
        let mut desk = Desk::new(ListenerRules::default());
        let broker = Arc::clone(&desk.broker);
        desk.on_login = Box::new(move |login| {
            // A reload puts another chain in place before the client is among those who are connected.
            assert_eq!(broker.rechained(listener, [Arc::from(standing)].into()), 0);
            Some(Outcome::allow(compile(everything(&login.credentials.client_id))))
        });
        let line = desk.accept(ROOM);
        desk.feed(line, &connect(v5("c")));
        assert_eq!(connack(&mut desk, line), 0);
        assert_eq!(desk.renewals, again, "{listener} {standing}");
    }
}
