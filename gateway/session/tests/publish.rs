//! What a client publishes: nothing that is acknowledged is lost, and nothing is published twice at QoS 2.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desk;
mod packets;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use desk::{Desk, compile, everything, rule};
use packets::{connect, hear, lasting, payloads, publish, subscribe, v5};
use portcullis_grant::{Actions, Authorization, Effect, Outcome, Renewal};
use portcullis_mqtt::{Packet, ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode};
use portcullis_session::ListenerRules;

const ROOM: usize = 1 << 24;

/// A desk with a subscriber to `t` on line 0.
fn desk(rules: ListenerRules) -> Desk {
    let mut desk = Desk::new(rules);
    let s = desk.accept(ROOM);
    desk.feed(s, &[connect(v5("s")), subscribe("t", QoS::ExactlyOnce)].concat());
    desk.take_output(s);
    desk
}

fn again(mut packet: Vec<u8>) -> Vec<u8> {
    packet[0] |= 8;
    packet
}

fn codes(desk: &mut Desk, line: usize) -> Vec<(u16, ReasonCode)> {
    let mut found = Vec::new();
    hear(desk, line, |packet, _| {
        if let Packet::PubRec(ack) | Packet::PubAck(ack) = packet {
            found.push((ack.packet_id.get(), ack.reason));
        }
    });
    found
}

#[test]
fn a_run_beyond_the_receive_maximum_is_published_as_far_as_it_may() {
    let mut desk = desk(ListenerRules { receive_maximum: 2, ..ListenerRules::default() });
    let p = desk.accept(ROOM);
    desk.feed(p, &connect(lasting("p")));
    let run: Vec<u8> = (1..=3).flat_map(|n| publish("t", QoS::ExactlyOnce, n, &[n as u8])).collect();
    desk.feed(p, &run);
    assert_eq!(desk.lines[p].end().map(|e| e.reason), Some(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED));
    assert_eq!(payloads(&mut desk, 0), [[1], [2]]);
    // Its session lives on, and knows exactly those.
    let p = desk.accept(ROOM);
    desk.feed(p, &connect(lasting("p")));
    desk.feed(p, &again(publish("t", QoS::ExactlyOnce, 2, &[2])));
    assert_eq!(codes(&mut desk, p), [(2, ReasonCode::SUCCESS)]);
    assert_eq!(payloads(&mut desk, 0), Vec::<Vec<u8>>::new());
}

#[test]
fn what_came_too_fast_is_not_taken_for_published() {
    let mut desk = desk(ListenerRules::default());
    desk.on_login = Box::new(|login| {
        let mut draft = everything(&login.credentials.client_id);
        draft.limits.push(("publish-per-second".to_owned(), 2));
        Some(Outcome::allow(compile(draft)))
    });
    let p = desk.accept(ROOM);
    desk.feed(p, &connect(lasting("p")));
    let run: Vec<u8> = (1..=3).flat_map(|n| publish("t", QoS::ExactlyOnce, n, &[n as u8])).collect();
    desk.feed(p, &run);
    assert_eq!(desk.lines[p].end().map(|e| e.reason), Some(ReasonCode::MESSAGE_RATE_TOO_HIGH));
    assert_eq!(payloads(&mut desk, 0), Vec::<Vec<u8>>::new());
    let p = desk.accept(ROOM);
    desk.feed(p, &connect(lasting("p")));
    desk.feed(p, &again(publish("t", QoS::ExactlyOnce, 1, &[1])));
    assert_eq!(payloads(&mut desk, 0), [[1]]);
}

#[test]
fn what_was_published_under_another_grant_is_acknowledged_again() {
    let mut desk = desk(ListenerRules::default());
    let p = desk.accept(ROOM);
    desk.feed(p, &connect(lasting("p")));
    desk.feed(p, &publish("t", QoS::ExactlyOnce, 1, b"once"));
    let mut nothing = everything("p");
    nothing.rules.clear();
    desk.renew(p, Renewal::Replace(compile(nothing)));
    codes(&mut desk, p);
    desk.feed(p, &again(publish("t", QoS::ExactlyOnce, 1, b"once")));
    desk.feed(p, &publish("t", QoS::ExactlyOnce, 2, b"no more"));
    assert_eq!(codes(&mut desk, p), [(1, ReasonCode::SUCCESS), (2, ReasonCode::NOT_AUTHORIZED)]);
    assert_eq!(payloads(&mut desk, 0), [b"once"]);
}

#[test]
fn an_answer_that_holds_only_now_is_asked_for_each_packet() {
    let mut desk = desk(ListenerRules::default());
    desk.on_login = Box::new(|login| {
        let mut draft = everything(&login.credentials.client_id);
        draft.rules = vec![rule(Effect::Ask, Actions::ALL, "t", QoS::ExactlyOnce)];
        Some(Outcome::allow(compile(draft)))
    });
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    desk.on_action = Box::new(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Some(Authorization { denied: None, valid_for: 0 })
    });
    let p = desk.accept(ROOM);
    desk.feed(p, &connect(v5("p")));
    let run: Vec<u8> = (1..=3).flat_map(|n| publish("t", QoS::AtLeastOnce, n, b"same size")).collect();
    desk.feed(p, &run);
    assert_eq!(asked.load(Ordering::Relaxed), 3, "{:?}", desk.lines[p].doing);
    assert_eq!(payloads(&mut desk, 0).len(), 3);
}

/// Subscribers come and go while a value is retained again and again: what each of them is sent never goes back in
/// time, and the last that was published before it is answered is not missed.
#[test]
fn a_subscriber_meets_the_retained_message_that_is_just_replaced() {
    let mut reader = Desk::new(ListenerRules::default());
    let broker = Arc::clone(&reader.broker);
    let published = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let s = reader.accept(ROOM);
    reader.feed(s, &connect(v5("s")));
    let (count, stop) = (Arc::clone(&published), Arc::clone(&done));
    let writing = std::thread::spawn(move || {
        let mut desk = Desk::new(ListenerRules::default());
        desk.broker = broker;
        let p = desk.accept(ROOM);
        desk.feed(p, &connect(v5("p")));
        let mut n = 0u32;
        while stop.load(Ordering::Acquire) == 0 {
            n += 1;
            let payload = n.to_be_bytes();
            let properties = PublishProperties::default();
            let (dup, qos, retain, topic) = (false, QoS::AtMostOnce, true, "t");
            let message = Publish { dup, qos, retain, topic, packet_id: None, properties, payload: &payload };
            desk.feed(p, &packets::bytes(ProtocolVersion::V5, Packet::Publish(message)));
            count.store(n as usize, Ordering::Release);
        }
    });
    let unsubscribe = [0xA2, 6, 0, 2, 0, 0, 1, b't'];
    for _ in 0..20_000 {
        let before = published.load(Ordering::Acquire);
        reader.feed(s, &subscribe("t", QoS::AtMostOnce));
        let mut last = 0;
        let mut patience = 10_000_000u32;
        // The writer's thread may be the one that writes to the socket: what it has begun it ends.
        while last < before {
            for payload in payloads(&mut reader, s) {
                let n = u32::from_be_bytes(payload.try_into().unwrap()) as usize;
                assert!(n >= last, "{n} after {last}");
                last = n;
            }
            patience -= 1;
            assert!(patience > 0, "{last} is the last, and {before} was published before it was asked for");
        }
        reader.feed(s, &unsubscribe);
        payloads(&mut reader, s);
    }
    done.store(1, Ordering::Release);
    writing.join().unwrap();
}
