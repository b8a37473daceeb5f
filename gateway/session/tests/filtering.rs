//! Messages that filters look at: in order, before anybody has them, acknowledged by what became of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desk;
mod packets;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use desk::{Desk, compile, everything, rule};
use packets::{bytes, connack, connect, hear, id, lasting, publish, subscribe, v5};
use portcullis_grant::{Actions, Effect, FilterRefusal, Filtered, Outcome, Replacement};
use portcullis_mqtt::{Ack, Packet, ProtocolVersion, QoS, ReasonCode, Will, WillProperties};
use portcullis_session::{Control, ListenerRules};

const ROOM: usize = 1 << 20;

fn filters(topics: &[&str]) -> Option<Arc<[String]>> {
    Some(topics.iter().map(|topic| (*topic).to_owned()).collect())
}

/// A desk that filters `raw/#`, with what the payload says: `drop`, `refuse`, `fail`, `to TOPIC`, or anything else, which
/// passes with an exclamation mark. Whatever was looked at is written down.
fn desk() -> (Desk, Rc<RefCell<Vec<String>>>) {
    let mut desk = Desk::new(ListenerRules { filters: filters(&["raw/#"]), ..ListenerRules::default() });
    desk.on_login = Box::new(|login| {
        let mut draft = everything(&login.credentials.client_id);
        draft.rules.push(rule(Effect::Deny, Actions::PUBLISH | Actions::WILL, "forbidden", QoS::ExactlyOnce));
        Some(Outcome::allow(compile(draft)))
    });
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&seen);
    desk.on_passage = Box::new(move |passage| {
        let said = String::from_utf8(passage.payload.clone()).unwrap();
        log.borrow_mut().push(format!("{}{} {said}", if passage.will { "will " } else { "" }, passage.topic));
        let refusal = |reason| FilterRefusal { reason, failed: false, detail: "no".to_owned(), policy: None };
        match said.split_once(' ').unwrap_or((&said, "")) {
            ("drop", _) => Filtered::Drop,
            ("refuse", _) => Filtered::Refuse(refusal(ReasonCode::PAYLOAD_FORMAT_INVALID)),
            ("fail", _) => Filtered::Refuse(FilterRefusal::failed("broken", None)),
            ("as-is", _) => Filtered::Pass,
            ("to", topic) => Filtered::Replace(Replacement { topic: Some(topic.to_owned()), ..Replacement::default() }),
            _ => Filtered::Replace(Replacement { payload: Some(format!("{said}!").into()), ..Replacement::default() }),
        }
    });
    (desk, seen)
}

fn enter(desk: &mut Desk, packet: portcullis_mqtt::Connect<'_>) -> usize {
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(packet));
    assert_eq!(connack(desk, line), 0);
    line
}

/// What a client was sent: topics with payloads, and reasons of acknowledgements.
fn told(desk: &mut Desk, line: usize) -> Vec<String> {
    let mut all = Vec::new();
    hear(desk, line, |packet, _| match packet {
        Packet::Publish(p) => {
            let retained = if p.retain { "retained " } else { "" };
            all.push(format!("{retained}{} {}", p.topic, String::from_utf8_lossy(p.payload)));
        }
        Packet::PubAck(a) | Packet::PubRec(a) => all.push(format!("{:#04x}", a.reason.0)),
        _ => {}
    });
    all
}

#[test]
fn each_message_becomes_what_filters_make_of_it_in_order() {
    let (mut desk, seen) = desk();
    let (listener, publisher) = (enter(&mut desk, v5("listener")), enter(&mut desk, v5("publisher")));
    desk.feed(listener, &subscribe("#", QoS::AtMostOnce));
    desk.take_output(listener);
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        seen.borrow_mut().clear();
        let messages = [
            ("plain", "one"),
            ("raw/x", "two"),
            ("raw/x", "two"),
            ("plain", "three"),
            ("raw/x", "drop"),
            ("raw/x", "refuse"),
            ("raw/x", "fail"),
            ("raw/x", "as-is"),
            ("raw/x", "to moved/there"),
            ("raw/x", "to forbidden"),
            ("raw/x", "to $SYS/x"),
            ("plain", "four"),
            ("plain", "four"),
        ];
        // All in one read: what is behind a message that is looked at waits for it.
        let all: Vec<u8> =
            (1..).zip(messages).flat_map(|(n, (topic, text))| publish(topic, qos, n, text.as_bytes())).collect();
        desk.feed(publisher, &all);
        let codes = told(&mut desk, publisher);
        assert_eq!(
            codes,
            ["0x00", "0x00", "0x00", "0x00", "0x00", "0x99", "0x83", "0x00", "0x00", "0x87", "0x87", "0x00", "0x00"]
        );
        assert_eq!(
            told(&mut desk, listener),
            [
                "plain one",
                "raw/x two!",
                "raw/x two!",
                "plain three",
                "raw/x as-is",
                "moved/there to moved/there",
                "plain four",
                "plain four"
            ]
        );
        assert_eq!(seen.borrow().len(), 9, "nothing is shown but what is on its topics: {seen:?}");
    }
}

#[test]
fn a_message_at_qos_2_that_comes_again_is_not_looked_at_again() {
    let (mut desk, seen) = desk();
    let (listener, publisher) = (enter(&mut desk, v5("listener")), enter(&mut desk, v5("publisher")));
    desk.feed(listener, &subscribe("#", QoS::AtMostOnce));
    desk.take_output(listener);
    for _ in 0..2 {
        desk.feed(publisher, &publish("raw/x", QoS::ExactlyOnce, 7, b"once"));
        assert_eq!(told(&mut desk, publisher), ["0x00"]);
    }
    desk.feed(publisher, &bytes(ProtocolVersion::V5, Packet::PubRel(Ack::new(id(7), ReasonCode::SUCCESS))));
    // One that was refused is not remembered: the identifier is free.
    for _ in 0..2 {
        desk.feed(publisher, &publish("raw/x", QoS::ExactlyOnce, 8, b"refuse"));
        assert_eq!(told(&mut desk, publisher), ["0x99"]);
    }
    assert_eq!(told(&mut desk, listener), ["raw/x once!"]);
    assert_eq!(seen.borrow().len(), 3);
}

#[test]
fn what_is_retained_is_what_filters_made_of_it() {
    let (mut desk, _) = desk();
    let publisher = enter(&mut desk, v5("publisher"));
    for (topic, text) in [("raw/x", "kept"), ("raw/x", "refuse"), ("raw/y", "to state/y")] {
        let mut packet = publish(topic, QoS::AtLeastOnce, 1, text.as_bytes());
        packet[0] |= 1;
        desk.feed(publisher, &packet);
    }
    let listener = enter(&mut desk, v5("listener"));
    desk.feed(listener, &subscribe("#", QoS::AtMostOnce));
    let mut all = told(&mut desk, listener);
    all.retain(|said| !said.contains("$SYS"));
    all.sort();
    assert_eq!(all, ["retained raw/x kept!", "retained state/y to state/y"]);
}

#[test]
fn wills_are_looked_at_when_their_client_connects() {
    for (text, code, published) in [
        ("last", 0, Some("raw/w last!")),
        ("to moved", 0, Some("moved to moved")),
        ("drop", 0, None),
        ("refuse", 0x99, None),
        ("fail", 0x88, None),
        ("to forbidden", 0x87, None),
    ] {
        let (mut desk, seen) = desk();
        let listener = enter(&mut desk, v5("listener"));
        desk.feed(listener, &subscribe("#", QoS::AtMostOnce));
        desk.take_output(listener);
        let will = Will {
            topic: "raw/w",
            payload: text.as_bytes(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: WillProperties::default(),
        };
        let mortal = desk.accept(ROOM);
        desk.feed(mortal, &connect(portcullis_mqtt::Connect { will: Some(will), ..lasting("mortal") }));
        assert_eq!(connack(&mut desk, mortal), code, "{text}");
        assert_eq!(*seen.borrow(), [format!("will raw/w {text}")]);
        desk.lose(mortal);
        assert_eq!(told(&mut desk, listener), published.into_iter().collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn other_topics_are_filtered_as_soon_as_a_connection_is_told() {
    let (mut desk, seen) = desk();
    let publisher = enter(&mut desk, v5("publisher"));
    for (control, looked_at) in
        [(None, 0), (filters(&["plain"]), 1), (filters(&["other"]), 1), (filters(&["plain"]), 2)]
    {
        if control.is_some() {
            desk.control(publisher, Control::Filter(control));
        }
        desk.feed(publisher, &publish("plain", QoS::AtLeastOnce, 1, b"as-is"));
        assert_eq!(seen.borrow().len(), looked_at);
    }
}

#[test]
fn before_mqtt_5_a_filter_that_fails_ends_the_connection_and_acknowledges_nothing() {
    let (mut desk, _) = desk();
    let line = desk.accept(ROOM);
    let v311 = portcullis_mqtt::Connect { version: ProtocolVersion::V311, ..v5("old") };
    desk.feed(line, &connect(v311));
    desk.take_output(line);
    desk.feed(line, b"\x32\x0d\0\x05raw/x\0\x01fail");
    assert_eq!(desk.take_output(line), b"");
    assert_eq!(desk.lines[line].end().map(|end| end.reason), Some(ReasonCode::SERVER_UNAVAILABLE));
}
