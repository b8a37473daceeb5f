//! What is retained reaches a new subscription whole, however much it is and however slowly it is taken.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desk;
mod packets;

use std::collections::BTreeSet;

use desk::{Desk, compile, everything, rule};
use packets::{bytes, connect, publish, subscribe, v5};
use portcullis_grant::{Actions, Effect, Renewal};
use portcullis_mqtt::{
    Ack, Packet, ProtocolVersion, QoS, ReasonCode, Unsubscribe, UnsubscribeFilters, UserProperties, decode, frame,
};
use portcullis_router::MailboxLimits;
use portcullis_session::ListenerRules;

const MANY: usize = 3000;

/// A desk where so few messages may wait, and with [`MANY`] retained messages.
fn desk(qos: QoS) -> Desk {
    let mailbox = MailboxLimits { high_water: 20_000, queued_messages: 10, queued_bytes: 20_000 };
    let mut desk = Desk::new(ListenerRules { mailbox, max_in_flight: 20, ..ListenerRules::default() });
    let p = desk.accept(1 << 30);
    desk.feed(p, &connect(v5("p")));
    for n in 0..MANY {
        let mut packet = publish(&format!("kept/{n}"), qos, 1, b"before");
        packet[0] |= 1;
        desk.feed(p, &packet);
        if qos == QoS::ExactlyOnce {
            desk.feed(p, &[0x62, 2, 0, 1]);
        }
    }
    desk
}

fn acknowledge(desk: &mut Desk, line: usize, qos: QoS, id: portcullis_mqtt::PacketId) {
    let ack = Ack { packet_id: id, reason: ReasonCode::SUCCESS, reason_string: None, user: UserProperties::EMPTY };
    match qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => desk.feed(line, &bytes(ProtocolVersion::V5, Packet::PubAck(ack))),
        QoS::ExactlyOnce => {
            desk.feed(line, &bytes(ProtocolVersion::V5, Packet::PubRec(ack)));
            desk.feed(line, &bytes(ProtocolVersion::V5, Packet::PubComp(ack)));
        }
    }
}

/// Topics and payloads that have come, each acknowledged. `half`: a packet that has not come whole yet.
fn come(desk: &mut Desk, line: usize, half: &mut Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let (mut found, mut ids) = (Vec::new(), Vec::new());
    half.extend(desk.take_output(line));
    let mut at = 0;
    while let Some(f) = frame(half, at, u32::MAX).unwrap() {
        if let Packet::Publish(p) = decode(ProtocolVersion::V5, f.first, &half[f.body..f.end]).unwrap() {
            found.push((p.topic.to_owned(), p.payload.to_vec()));
            ids.extend(p.packet_id.map(|id| (p.qos, id)));
        }
        at = f.end;
    }
    half.drain(..at);
    for (qos, id) in ids {
        acknowledge(desk, line, qos, id);
    }
    found
}

#[test]
fn all_of_it_comes_though_little_of_it_may_wait() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut desk = desk(qos);
        let s = desk.accept(0);
        desk.feed(s, &[connect(v5("s")), subscribe("kept/#", qos)].concat());
        let (mut topics, mut half) = (BTreeSet::new(), Vec::new());
        // The socket takes a little at a time, as that of a slow client.
        for _ in 0..2 * MANY {
            desk.room(s, 500);
            for (topic, _) in come(&mut desk, s, &mut half) {
                assert!(topics.insert(topic), "once");
            }
            let waiting = desk.lines[s].machine.mailbox().unwrap().backlog();
            assert!(waiting.queued <= 10 && waiting.bytes <= 30_000, "{waiting:?}");
        }
        assert_eq!(topics.len(), MANY, "{qos:?}");
        assert!(!desk.lines[s].machine.wants_room(), "nothing is left to be reminded of");
    }
}

#[test]
fn what_is_published_or_removed_meanwhile_comes_as_it_is() {
    let mut desk = desk(QoS::AtLeastOnce);
    let s = desk.accept(1 << 30);
    desk.feed(s, &[connect(v5("s")), subscribe("kept/#", QoS::AtLeastOnce)].concat());
    let p = desk.accept(1 << 30);
    desk.feed(p, &connect(v5("p2")));
    let (mut first, mut half) = (BTreeSet::new(), Vec::new());
    for (topic, payload) in come(&mut desk, s, &mut half) {
        assert_eq!(payload, b"before");
        first.insert(topic);
    }
    assert!(first.len() < MANY / 2);
    let others: Vec<String> = (0..MANY).map(|n| format!("kept/{n}")).filter(|t| !first.contains(t)).take(2).collect();
    let (replaced, removed) = (others[0].clone(), others[1].clone());
    for (topic, payload) in [(&replaced, b"after".as_slice()), (&removed, b"")] {
        let mut packet = publish(topic, QoS::AtLeastOnce, 1, payload);
        packet[0] |= 1;
        desk.feed(p, &packet);
    }
    let mut rest = Vec::new();
    loop {
        let more = come(&mut desk, s, &mut half);
        if more.is_empty() {
            break;
        }
        rest.extend(more);
    }
    // The old one may have been on its way by then, and is never behind the new one.
    for (topic, last) in [(&replaced, b"after".to_vec()), (&removed, Vec::new())] {
        let of: Vec<_> = rest.iter().filter(|(t, _)| t == topic).map(|(_, p)| p.clone()).collect();
        assert!(of == [last.clone()] || of == [b"before".to_vec(), last], "{topic}: {of:?}");
    }
    assert_eq!(first.into_iter().chain(rest.into_iter().map(|(t, _)| t)).collect::<BTreeSet<_>>().len(), MANY);
}

#[test]
fn it_ends_with_the_subscription_and_with_the_permission() {
    for by_grant in [false, true] {
        let mut desk = desk(QoS::AtLeastOnce);
        let s = desk.accept(1 << 30);
        desk.feed(s, &[connect(v5("s")), subscribe("kept/#", QoS::AtLeastOnce)].concat());
        if by_grant {
            let mut draft = everything("s");
            draft.rules.push(rule(Effect::Deny, Actions::SUBSCRIBE, "kept/#", QoS::ExactlyOnce));
            desk.renew(s, Renewal::Replace(compile(draft)));
        } else {
            let unsubscribe = Unsubscribe {
                packet_id: packets::id(9),
                user: UserProperties::EMPTY,
                filters: UnsubscribeFilters::from_slice(&["kept/#"]),
            };
            desk.feed(s, &bytes(ProtocolVersion::V5, Packet::Unsubscribe(unsubscribe)));
        }
        let (mut got, mut half) = (0, Vec::new());
        for _ in 0..100 {
            got += come(&mut desk, s, &mut half).len();
        }
        // What was in flight or queued may still come.
        assert!(got <= 40, "{got}");
    }
}
