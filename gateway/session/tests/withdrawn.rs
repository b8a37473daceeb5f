//! Messages that were sent, not acknowledged, and may not be sent again: their identifiers are not free.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desk;
mod packets;

use std::num::NonZeroU32;

use desk::{Desk, compile, everything, rule};
use packets::{connect, hear, lasting, publish, subscribe, v5};
use portcullis_grant::{Actions, Effect, Outcome};
use portcullis_mqtt::{Connect, ConnectProperties, Packet, QoS};
use portcullis_session::ListenerRules;
use portcullis_store::{Options, Store};

const ROOM: usize = 1 << 20;

fn enter(desk: &mut Desk, packet: Connect<'_>) -> usize {
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(packet));
    line
}

/// The identifiers of the messages that came.
fn identifiers(desk: &mut Desk, line: usize) -> Vec<u16> {
    let mut found = Vec::new();
    hear(desk, line, |packet, _| {
        if let Packet::Publish(p) = packet {
            found.extend(p.packet_id.map(|id| id.get()));
        }
    });
    found
}

fn publish_one(desk: &mut Desk, topic: &str, payload: &[u8]) {
    let publisher = enter(desk, v5("publisher"));
    desk.feed(publisher, &publish(topic, QoS::ExactlyOnce, 1, payload));
    desk.lose(publisher);
}

/// A desk with a store, and a client that was sent `secret` at QoS 2 under the identifier 1 and has not answered.
fn sent_and_not_acknowledged(payload: &[u8]) -> Desk {
    let mut desk = Desk::on(Some(Store::in_memory(Options::default()).unwrap()), ListenerRules::default());
    let line = enter(&mut desk, lasting("listener"));
    desk.feed(line, &subscribe("#", QoS::ExactlyOnce));
    desk.take_output(line);
    publish_one(&mut desk, "secret", payload);
    assert_eq!(identifiers(&mut desk, line), [1]);
    desk
}

/// The client is there again, and is sent one more message, after one more restart.
fn next_identifier(desk: &mut Desk) -> Vec<u16> {
    desk.restart(1);
    let line = enter(desk, lasting("listener"));
    publish_one(desk, "open", &[8; 500]);
    identifiers(desk, line)
}

// A client may have taken the first message and not been heard: were the identifier used anew, it would take the second
// for the first, which at QoS 2 it has already.
#[test]
fn what_a_grant_takes_back_after_a_restart_leaves_its_identifier_behind() {
    let mut desk = sent_and_not_acknowledged(b"old");
    desk.restart(1);
    desk.on_login = Box::new(|login| {
        let mut draft = everything(&login.credentials.client_id);
        draft.rules.push(rule(Effect::Deny, Actions::SUBSCRIBE, "secret", QoS::ExactlyOnce));
        Some(Outcome::allow(compile(draft)))
    });
    let line = enter(&mut desk, lasting("listener"));
    assert_eq!(identifiers(&mut desk, line), [0; 0]);
    assert_eq!(next_identifier(&mut desk), [2]);
}

#[test]
fn what_has_become_too_large_for_a_client_leaves_its_identifier_behind() {
    let mut desk = sent_and_not_acknowledged(&[7; 500]);
    // The second is not acknowledged either, and is remembered in place of the first.
    for next in [2, 3] {
        let wants = lasting("listener");
        let properties = ConnectProperties { maximum_packet_size: NonZeroU32::new(100), ..wants.properties };
        let line = enter(&mut desk, Connect { properties, ..wants });
        assert_eq!(identifiers(&mut desk, line), [0; 0]);
        assert_eq!(next_identifier(&mut desk), [next]);
    }
}
