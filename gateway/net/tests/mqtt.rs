//! MQTT over real sockets, with a gatekeeper that the test writes: sessions, delivery, back-pressure.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mqtt_client;

use mqtt_client::{Client, Running, gate, rules};
use portcullis_grant::{Denial, DenyReason, Effect};
use portcullis_mqtt::ProtocolVersion::{V5, V31, V311};
use portcullis_mqtt::{QoS, ReasonCode};

const ALL: [portcullis_mqtt::ProtocolVersion; 3] = [V31, V311, V5];

#[test]
fn every_quality_of_service_reaches_every_version() {
    let gateway = Running::start(gate::everybody());
    for publisher in ALL {
        for subscriber in ALL {
            let mut s = gateway.connect(subscriber, "s");
            s.subscribe("a/+", QoS::ExactlyOnce);
            let mut p = gateway.connect(publisher, "p");
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                p.publish("a/b", qos, format!("{qos:?}").as_bytes());
                let got = s.message();
                assert_eq!((got.topic.as_str(), got.qos, got.payload), ("a/b", qos, format!("{qos:?}").into_bytes()));
            }
        }
    }
}

#[test]
fn a_run_longer_than_the_window_arrives_whole_and_in_order() {
    let gateway = Running::start(gate::everybody());
    let mut s = gateway.connect_with(V5, "s", |c| c.properties.receive_maximum = std::num::NonZeroU16::new(3));
    s.subscribe("a", QoS::AtLeastOnce);
    let mut p = gateway.connect(V311, "p");
    // One write, one read, one run.
    p.publish_many("a", QoS::AtLeastOnce, 500);
    for n in 0..500u32 {
        assert_eq!(s.message().payload, n.to_be_bytes());
    }
    p.expect_acknowledgements(500);
}

#[test]
fn a_receiver_that_stops_reading_holds_its_publisher_and_loses_nothing_at_qos_1() {
    let gateway = Running::start(gate::everybody());
    let mut s = gateway.connect(V311, "s");
    s.subscribe("a", QoS::AtLeastOnce);
    let mut p = gateway.connect(V311, "p");
    let payload = vec![7; 10_000];
    let count = 600u32;
    let publishing = std::thread::spawn(move || {
        for n in 0..count {
            let mut bytes = n.to_be_bytes().to_vec();
            bytes.extend_from_slice(&payload);
            p.publish_unacknowledged("a", QoS::AtLeastOnce, n as u16 + 1, &bytes);
        }
        p.expect_acknowledgements(count as usize);
        p
    });
    // Long enough for the gateway to run into the full socket; the order of events does not matter for the outcome.
    while gateway.broker.connections(None, 10).iter().all(|c| c.backlog.bytes < 100_000) {
        std::thread::yield_now();
    }
    for n in 0..count {
        assert_eq!(s.message().payload[..4], n.to_be_bytes());
    }
    publishing.join().unwrap();
}

#[test]
fn a_publisher_that_leaves_while_it_is_held_is_noticed() {
    let gateway = Running::start(gate::everybody());
    let mut s = gateway.connect(V311, "s");
    s.subscribe("a", QoS::AtMostOnce);
    let mut p = gateway.connect(V311, "p");
    for n in 0..400u32 {
        if p.try_publish("a", &[n as u8; 10_000]).is_err() {
            break;
        }
    }
    drop(p);
    gateway.until(|b| b.totals().connections == 1);
}

#[test]
fn a_will_is_sent_when_the_connection_breaks_and_not_after_disconnect() {
    let gateway = Running::start(gate::everybody());
    for version in ALL {
        let mut s = gateway.connect(V5, "s");
        s.subscribe("wills/#", QoS::AtLeastOnce);
        let polite = gateway.connect_with_will(version, "polite", "wills/polite");
        polite.disconnect();
        drop(gateway.connect_with_will(version, "rude", "wills/rude"));
        assert_eq!(s.message().topic, "wills/rude");
    }
}

#[test]
fn the_same_client_identifier_takes_the_session_over() {
    let gateway = Running::start(gate::everybody());
    let mut first = gateway.connect(V5, "same");
    first.subscribe("a", QoS::AtMostOnce);
    let mut second = gateway.connect(V5, "same");
    assert_eq!(first.disconnect_reason(), ReasonCode::SESSION_TAKEN_OVER);
    second.ping();
    assert_eq!(gateway.broker.sessions(), 1);
}

#[test]
fn a_session_of_another_identity_is_not_to_be_had() {
    let gateway = Running::start(gate::by_username());
    let _alice = gateway.connect_as(V5, "shared-id", "alice").unwrap();
    assert_eq!(gateway.connect_as(V5, "shared-id", "bob").unwrap_err(), ReasonCode::CLIENT_IDENTIFIER_NOT_VALID.0);
    assert_eq!(gateway.connect_as(V311, "shared-id", "bob").unwrap_err(), 2);
}

#[test]
fn what_came_while_the_client_was_away_waits_for_it() {
    let gateway = Running::start(gate::everybody());
    let persistent = |c: &mut portcullis_mqtt::Connect<'_>| {
        c.clean_start = false;
        c.properties.session_expiry = Some(60);
    };
    for version in ALL {
        let id = format!("s-{version:?}");
        let mut s = gateway.connect_with(version, &id, persistent);
        assert!(!s.session_present);
        s.subscribe("a", QoS::ExactlyOnce);
        let p_id = format!("p-{version:?}");
        let mut p = gateway.connect(V311, &p_id);
        // One in flight that is never acknowledged.
        p.publish("a", QoS::AtLeastOnce, b"first");
        assert_eq!(s.message_unacknowledged().payload, b"first");
        drop(s);
        gateway.until(|b| b.connections(None, 100).iter().all(|c| *c.client_id != *id));
        p.publish("a", QoS::AtLeastOnce, b"second");
        p.publish("a", QoS::AtMostOnce, b"lost, as QoS 0 may be");
        p.publish("a", QoS::ExactlyOnce, b"third");
        let mut s = gateway.connect_with(version, &id, persistent);
        assert_eq!(s.session_present, version != V31);
        let again = s.message();
        assert_eq!((again.payload.as_slice(), again.dup), (&b"first"[..], true));
        assert_eq!(s.message().payload, b"second");
        assert_eq!(s.message().payload, b"third");
        s.disconnect_and_forget(version);
        p.disconnect();
    }
}

#[test]
fn retained_messages_meet_new_subscriptions() {
    let gateway = Running::start(gate::everybody());
    let mut p = gateway.connect(V5, "p");
    p.publish_retained("r/1", b"one");
    p.publish_retained("r/2", b"two");
    p.publish_retained("r/2", b"");
    for version in ALL {
        let mut s = gateway.connect(version, "s");
        s.subscribe("r/#", QoS::AtLeastOnce);
        let got = s.message();
        assert_eq!((got.topic.as_str(), got.payload.as_slice(), got.retain), ("r/1", &b"one"[..], true));
        p.publish("r/1", QoS::AtMostOnce, b"live");
        assert!(!s.message().retain);
    }
}

#[test]
fn what_the_grant_does_not_permit_is_refused_with_the_reason() {
    let gateway = Running::start(gate::with_rules(vec![
        rules::publish(Effect::Allow, "own/#", QoS::AtLeastOnce),
        rules::subscribe(Effect::Allow, "own/#", QoS::AtLeastOnce),
        rules::subscribe(Effect::Deny, "own/secret", QoS::AtLeastOnce),
    ]));
    let mut c = gateway.connect(V5, "c");
    assert_eq!(c.publish_code("other", QoS::AtLeastOnce), ReasonCode::NOT_AUTHORIZED);
    assert_eq!(c.publish_code("own/x", QoS::ExactlyOnce), ReasonCode::NOT_AUTHORIZED);
    assert_eq!(c.publish_code("own/x", QoS::AtLeastOnce), ReasonCode::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(c.subscribe_code("#", QoS::AtMostOnce), ReasonCode::NOT_AUTHORIZED.0);
    // Granted at most what the rule says, and without what is denied.
    assert_eq!(c.subscribe_code("own/#", QoS::ExactlyOnce), 1);
    c.publish_code("own/secret", QoS::AtLeastOnce);
    c.publish_code("own/open", QoS::AtLeastOnce);
    assert_eq!(c.message().topic, "own/open");
    let mut old = gateway.connect(V311, "old");
    assert_eq!(old.subscribe_code("#", QoS::AtMostOnce), 0x80);
}

#[test]
fn a_rule_that_asks_waits_for_the_answer_and_keeps_the_order() {
    let gateway = Running::start(gate::asking(|topic| {
        if topic.ends_with("no") { Some(Denial::new(DenyReason::NotAuthorized, "because")) } else { None }
    }));
    let mut c = gateway.connect(V5, "c");
    c.subscribe("t/#", QoS::AtLeastOnce);
    for n in 0..20u32 {
        let (topic, expected) =
            if n % 3 == 0 { ("t/no", ReasonCode::NOT_AUTHORIZED) } else { ("t/yes", ReasonCode::SUCCESS) };
        assert_eq!(c.publish_code(topic, QoS::AtLeastOnce), expected);
    }
    for _ in 0..13 {
        assert_eq!(c.message().topic, "t/yes");
    }
}

#[test]
fn an_expired_grant_ends_the_connection_with_the_reason() {
    let gateway = Running::start(gate::expiring_in(2));
    let mut s = gateway.connect(V5, "c");
    assert_eq!(s.disconnect_reason(), ReasonCode::NOT_AUTHORIZED);
}

#[test]
fn a_silent_client_is_disconnected_after_one_and_a_half_keep_alives() {
    let gateway = Running::start(gate::everybody());
    let mut c = gateway.connect_with(V5, "c", |c| c.keep_alive = 1);
    assert_eq!(c.disconnect_reason(), ReasonCode::KEEP_ALIVE_TIMEOUT);
}

#[test]
fn an_exchange_of_challenges_admits_and_repeats() {
    let gateway = Running::start(gate::challenging());
    let mut c = gateway.authenticate("c", b"open sesame").unwrap();
    assert_eq!(c.reauthenticate(b"open sesame"), None);
    c.ping();
    assert_eq!(c.reauthenticate(b"wrong"), Some(ReasonCode::NOT_AUTHORIZED));
    assert_eq!(gateway.authenticate("c", b"wrong").unwrap_err(), ReasonCode::BAD_USER_NAME_OR_PASSWORD.0);
}

#[test]
fn garbage_closes_the_connection_and_costs_nobody_else() {
    let gateway = Running::start(gate::everybody());
    let mut other = gateway.connect(V5, "other");
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x10, 0xff, 0xff, 0xff, 0xff],
        &[0x30, 3, 0, 1, b'a'],
        &[0x10, 4, 0, 4, b'M', b'Q'],
        &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 9, 2, 0, 0, 0, 0],
        &[0x20, 2, 0, 0],
        &[0; 64],
    ] {
        gateway.closes_after(bytes);
    }
    other.ping();
    // What is malformed later is told to those who can be told.
    let mut c = gateway.connect(V5, "c");
    c.send(&[0x36, 5, 0, 1, b'a', 0, 1]);
    assert_eq!(c.disconnect_reason(), ReasonCode::MALFORMED_PACKET);
    other.ping();
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member() {
    let gateway = Running::start(gate::everybody());
    let mut members: Vec<Client> = (0..3).map(|i| gateway.connect(V5, &format!("m{i}"))).collect();
    for m in &mut members {
        m.subscribe("$share/g/work", QoS::AtLeastOnce);
    }
    let mut p = gateway.connect(V311, "p");
    p.publish_many("work", QoS::AtLeastOnce, 30);
    p.expect_acknowledgements(30);
    let mut seen: Vec<u32> = Vec::new();
    for m in &mut members {
        // Fair: ten each.
        seen.extend((0..10).map(|_| u32::from_be_bytes(m.message().payload.try_into().unwrap())));
        m.ping_with_nothing_before();
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
}

#[test]
fn a_slow_answer_of_the_gatekeeper_holds_nobody_else_up() {
    let gateway = Running::start(gate::never_answering_to("stuck"));
    let _stuck = gateway.send_connect(V5, "stuck");
    let mut others: Vec<Client> = (0..10).map(|i| gateway.connect(V311, &format!("o{i}"))).collect();
    others.iter_mut().for_each(Client::ping);
}

#[test]
fn half_a_connect_does_not_hold_a_connection_open_for_ever() {
    let gateway = Running::start_with(gate::everybody(), |rules| rules.connect_timeout_ms = 500);
    let mut half = gateway.raw();
    half.send(&[0x10, 20, 0, 4]);
    half.closed();
    let mut silent = gateway.raw();
    silent.closed();
}

#[test]
fn qos_2_is_published_once_however_often_it_is_sent() {
    let gateway = Running::start(gate::everybody());
    let mut s = gateway.connect(V311, "s");
    s.subscribe("a", QoS::AtMostOnce);
    let mut p = gateway.connect(V311, "p");
    for _ in 0..3 {
        p.publish_unacknowledged("a", QoS::ExactlyOnce, 9, b"once");
        assert!(matches!(p.packet_kind(), mqtt_client::Kind::PubRec(9)));
    }
    p.release(9);
    p.publish("a", QoS::AtMostOnce, b"end");
    assert_eq!(s.message().payload, b"once");
    assert_eq!(s.message().payload, b"end");
}

#[test]
fn messages_larger_than_a_client_takes_are_left_out_for_it_alone() {
    let gateway = Running::start(gate::everybody());
    let mut small =
        gateway.connect_with(V5, "small", |c| c.properties.maximum_packet_size = std::num::NonZeroU32::new(64));
    let mut large = gateway.connect(V5, "large");
    small.subscribe("a", QoS::AtLeastOnce);
    large.subscribe("a", QoS::AtLeastOnce);
    let mut p = gateway.connect(V311, "p");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        p.publish("a", qos, &[b'x'; 100]);
        p.publish("a", qos, b"fits");
        assert_eq!(large.message().payload.len(), 100);
        assert_eq!(large.message().payload, b"fits");
        assert_eq!(small.message().payload, b"fits");
    }
}

#[test]
fn topic_aliases_stand_for_their_topics() {
    let gateway = Running::start(gate::everybody());
    let mut s = gateway.connect(V5, "s");
    s.subscribe("#", QoS::AtMostOnce);
    let mut p = gateway.connect(V5, "p");
    p.publish_aliased("long/topic/name", 5, b"1");
    p.publish_aliased("", 5, b"2");
    p.publish_aliased("another", 5, b"3");
    p.publish_aliased("", 5, b"4");
    let got: Vec<String> = (0..4).map(|_| s.message().topic).collect();
    assert_eq!(got, ["long/topic/name", "long/topic/name", "another", "another"]);
    p.publish_aliased("", 6, b"unknown");
    assert_eq!(p.disconnect_reason(), ReasonCode::PROTOCOL_ERROR);
}

#[test]
fn a_large_packet_in_many_pieces_arrives_whole() {
    let gateway = Running::start(gate::everybody());
    let mut s = gateway.connect(V311, "s");
    s.subscribe("big", QoS::AtLeastOnce);
    let mut p = gateway.connect(V311, "p");
    let payload: Vec<u8> = (0..500_000u32).map(|n| (n % 251) as u8).collect();
    p.publish_in_pieces("big", &payload, 4099);
    assert_eq!(s.message().payload, payload);
}

#[test]
fn the_gatekeeper_can_revoke_and_replace_grants_of_live_connections() {
    let gateway = Running::start(gate::renewing());
    let mut c = gateway.connect(V5, "narrowed");
    c.subscribe("a", QoS::AtMostOnce);
    c.subscribe("b", QoS::AtMostOnce);
    let dependency = portcullis_grant::Dependency("user:narrowed".into());
    assert_eq!(gateway.broker.changed(&dependency), 1);
    gateway.until(|b| b.subscriptions() == 1);
    let mut p = gateway.connect(V311, "p");
    p.publish("a", QoS::AtMostOnce, b"no more");
    p.publish("b", QoS::AtMostOnce, b"still");
    assert_eq!(c.message().topic, "b");
    let mut gone = gateway.connect(V5, "revoked");
    assert_eq!(gateway.broker.changed(&portcullis_grant::Dependency("user:revoked".into())), 1);
    assert_eq!(gone.disconnect_reason(), ReasonCode::NOT_AUTHORIZED);
}

#[test]
fn the_end_of_the_gateway_is_told() {
    let gateway = Running::start(gate::everybody());
    let mut c = gateway.connect(V5, "c");
    assert_eq!(gateway.broker.shut_down(), 1);
    assert_eq!(c.disconnect_reason(), ReasonCode::SERVER_SHUTTING_DOWN);
    gateway.until(|b| b.totals().connections == 0);
}

#[test]
fn the_gateway_speaks_of_itself_to_those_whose_grant_names_it() {
    let gateway = Running::start(gate::with_rules(vec![
        rules::publish(Effect::Allow, "$SYS/#", QoS::AtLeastOnce),
        rules::subscribe(Effect::Allow, "$SYS/#", QoS::AtLeastOnce),
    ]));
    let mut c = gateway.connect(V5, "c");
    c.subscribe("$SYS/broker/version", QoS::AtMostOnce);
    assert_eq!(c.message().payload, format!("portcullis {}", env!("CARGO_PKG_VERSION")).into_bytes());
    assert_eq!(c.publish_code("$SYS/broker/version", QoS::AtLeastOnce), ReasonCode::NOT_AUTHORIZED);
    let everybody = Running::start(gate::everybody());
    let mut d = everybody.connect(V5, "d");
    assert_eq!(d.subscribe_code("$SYS/#", QoS::AtMostOnce), ReasonCode::NOT_AUTHORIZED.0);
    d.subscribe("#", QoS::AtMostOnce);
    d.ping();
}
