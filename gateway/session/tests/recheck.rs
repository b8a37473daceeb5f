//! `recheck`: what lives under a grant is judged again by what its policy says today; nobody has to log in again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desk;
mod packets;

use desk::{Desk, compile, everything, rule};
use packets::{connack, connect, lasting, payloads, publish, subscribe, v5};
use portcullis_grant::{Action, Actions, Authorization, Denial, DenyReason, Effect, Outcome};
use portcullis_mqtt::{Connect, QoS, Will, WillProperties};
use portcullis_session::{Control, ListenerRules};

const ROOM: usize = 1 << 20;

/// Rules that ask about everything, with answers that hold for an hour: no to what is named in `denied`.
fn answer(desk: &mut Desk, denied: &'static [&'static str]) {
    desk.on_action = Box::new(move |action| {
        let topic = match action {
            Action::Publish(p) => &p.topic,
            Action::Subscribe(s) => &s.filter,
        };
        let denial = denied.contains(&topic.as_str()).then(|| Denial::new(DenyReason::NotAuthorized, "not today"));
        Some(Authorization { denied: denial, valid_for: 3600 })
    });
}

fn desk() -> Desk {
    let mut desk = Desk::new(ListenerRules::default());
    desk.on_login = Box::new(|login| {
        let mut draft = everything(&login.credentials.client_id);
        if login.credentials.client_id == "asked" {
            draft.rules = vec![rule(Effect::Ask, Actions::ALL, "#", QoS::ExactlyOnce)];
        }
        Some(Outcome::allow(compile(draft)))
    });
    answer(&mut desk, &[]);
    desk
}

/// A client about which the policy is asked, with two subscriptions and a will.
fn asked(desk: &mut Desk) -> usize {
    let will = Will {
        topic: "w",
        payload: b"gone",
        qos: QoS::AtMostOnce,
        retain: false,
        properties: WillProperties::default(),
    };
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(Connect { will: Some(will), ..lasting("asked") }));
    assert_eq!(connack(desk, line), 0);
    for filter in ["a", "b"] {
        desk.feed(line, &subscribe(filter, QoS::AtLeastOnce));
    }
    desk.take_output(line);
    line
}

fn other(desk: &mut Desk) -> usize {
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(v5("other")));
    desk.feed(line, &subscribe("w", QoS::AtMostOnce));
    desk.take_output(line);
    line
}

/// What the asked client hears of a message to each topic.
fn hears(desk: &mut Desk, line: usize, other: usize) -> Vec<Vec<u8>> {
    for topic in ["a", "b"] {
        desk.feed(other, &publish(topic, QoS::AtMostOnce, 0, topic.as_bytes()));
    }
    payloads(desk, line)
}

#[test]
fn remembered_answers_do_not_outlive_a_recheck() {
    let mut desk = desk();
    let (line, other) = (asked(&mut desk), other(&mut desk));
    answer(&mut desk, &["b", "w"]);
    assert_eq!(hears(&mut desk, line, other), [b"a", b"b"], "what was answered is remembered");
    desk.control(line, Control::Recheck);
    assert!(desk.lines[line].end().is_none(), "nobody has to log in again");
    assert_eq!(hears(&mut desk, line, other), [b"a"]);
    desk.lose(line);
    assert_eq!(payloads(&mut desk, other), [[0u8; 0]; 0], "the will is not permitted any more");
}

#[test]
fn a_will_that_the_policy_still_permits_is_sent() {
    let mut desk = desk();
    let (line, other) = (asked(&mut desk), other(&mut desk));
    desk.control(line, Control::Recheck);
    assert_eq!(hears(&mut desk, line, other), [b"a", b"b"]);
    desk.lose(line);
    assert_eq!(payloads(&mut desk, other), [b"gone"]);
}

/// What is queued for a client that comes back was let through by the answer of then.
#[test]
fn what_waits_by_a_subscription_that_is_refused_now_is_taken_back() {
    let mut desk = desk();
    let (line, other) = (asked(&mut desk), other(&mut desk));
    desk.lose(line);
    for topic in ["a", "b", "a"] {
        desk.feed(other, &publish(topic, QoS::AtLeastOnce, 1, topic.as_bytes()));
    }
    answer(&mut desk, &["b"]);
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(lasting("asked")));
    assert_eq!(payloads(&mut desk, line), [b"a", b"a"]);
}

/// A login that the version before decides while another takes its place.
#[test]
fn who_is_let_in_by_a_version_that_was_replaced_meanwhile_is_judged_like_those_who_were_there() {
    for (serial, control) in [(1, Some(Control::Recheck)), (1, None), (0, Some(Control::Recheck))] {
        let mut desk = desk();
        let other = other(&mut desk);
        desk.on_login = Box::new(|_| None);
        let line = desk.accept(ROOM);
        desk.feed(line, &connect(lasting("asked")));
        let before = desk.renewals;
        desk.broker.replaced("test", serial, control.clone());
        desk.on_login = Box::new(|login| {
            let mut draft = everything(&login.credentials.client_id);
            draft.rules = vec![rule(Effect::Ask, Actions::ALL, "#", QoS::ExactlyOnce)];
            Some(Outcome::allow(compile(draft)))
        });
        desk.feed(other, &[0xC0, 0]);
        assert_eq!(connack(&mut desk, line), 0);
        // The serial of both grants is 0.
        let looked = if serial == 1 && control.is_some() { 2 } else { 0 };
        assert_eq!(desk.renewals - before, looked, "{serial} {control:?}");
    }
}

#[test]
fn a_publication_is_asked_about_again_after_a_recheck() {
    let mut desk = desk();
    let line = asked(&mut desk);
    let code = |desk: &mut Desk| {
        desk.feed(line, &publish("p", QoS::AtLeastOnce, 9, b"x"));
        let answer = desk.take_output(line);
        answer.get(4).copied().unwrap_or_default()
    };
    assert_eq!(code(&mut desk), 0x10, "nobody hears it");
    answer(&mut desk, &["p"]);
    assert_eq!(code(&mut desk), 0x10, "remembered");
    desk.control(line, Control::Recheck);
    assert_eq!(code(&mut desk), 0x87);
}
