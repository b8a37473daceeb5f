//! A grant that takes the place of another: its bounds hold from then on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desk;
mod packets;

use std::num::NonZeroU16;

use desk::{Desk, compile, everything, rule};
use packets::{connack, connect, hear, lasting, publish, subscribe, subscribe_many, v5};
use portcullis_grant::{Action, Actions, Authorization, Denial, DenyReason, Effect, Outcome, Renewal};
use portcullis_mqtt::{Connect, ConnectProperties, Packet, QoS, ReasonCode, SubscribeOptions};
use portcullis_session::ListenerRules;

const ROOM: usize = 1 << 20;

/// A desk where everybody is let in with these limits.
fn desk(limits: &[(&str, u64)]) -> Desk {
    let mut desk = Desk::new(ListenerRules::default());
    admit_with(&mut desk, limits);
    desk
}

fn admit_with(desk: &mut Desk, limits: &[(&str, u64)]) {
    let limits: Vec<_> = limits.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    desk.on_login = Box::new(move |login| {
        let mut draft = everything(&login.credentials.client_id);
        draft.limits.clone_from(&limits);
        Some(Outcome::allow(compile(draft)))
    });
}

/// Replaces the grant of `subject` on a line by one with these limits.
fn regrant(desk: &mut Desk, line: usize, subject: &str, limits: &[(&str, u64)]) {
    let mut draft = everything(subject);
    draft.limits = limits.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    desk.renew(line, Renewal::Replace(compile(draft)));
}

fn enter(desk: &mut Desk, packet: Connect<'_>) -> usize {
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(packet));
    assert_eq!(connack(desk, line), 0);
    line
}

/// A client that has one message at a time in flight, and acknowledges none.
fn slow(desk: &mut Desk, client_id: &str) -> usize {
    let wants = lasting(client_id);
    let properties = ConnectProperties { receive_maximum: NonZeroU16::new(1), ..wants.properties };
    let line = enter(desk, Connect { properties, ..wants });
    desk.feed(line, &subscribe("t", QoS::AtLeastOnce));
    desk.take_output(line);
    line
}

/// Publishes to `t` with QoS 1 and gives the reason of the answer.
fn told(desk: &mut Desk, line: usize) -> ReasonCode {
    desk.feed(line, &publish("t", QoS::AtLeastOnce, 1, b"m"));
    let mut reason = None;
    hear(desk, line, |packet, _| {
        if let Packet::PubAck(ack) = packet {
            reason = Some(ack.reason);
        }
    });
    reason.expect("a PUBACK")
}

#[test]
fn a_queue_is_as_long_as_the_grant_in_force_says() {
    let mut desk = desk(&[]);
    let (slow, publisher) = (slow(&mut desk, "slow"), enter(&mut desk, v5("publisher")));
    for _ in 0..4 {
        assert_eq!(told(&mut desk, publisher), ReasonCode::SUCCESS);
    }
    // Three wait: what waits stays, and no more is taken.
    regrant(&mut desk, slow, "slow", &[("queued-messages", 2)]);
    assert_eq!(told(&mut desk, publisher), ReasonCode::QUOTA_EXCEEDED);
    regrant(&mut desk, slow, "slow", &[("queued-bytes", 1)]);
    assert_eq!(told(&mut desk, publisher), ReasonCode::QUOTA_EXCEEDED);
    regrant(&mut desk, slow, "slow", &[("queued-messages", 4)]);
    assert_eq!(told(&mut desk, publisher), ReasonCode::SUCCESS);
    assert_eq!(told(&mut desk, publisher), ReasonCode::QUOTA_EXCEEDED);
    regrant(&mut desk, slow, "slow", &[]);
    assert_eq!(told(&mut desk, publisher), ReasonCode::SUCCESS);
}

#[test]
fn a_session_that_comes_back_has_the_bounds_of_its_new_grant() {
    let mut desk = desk(&[]);
    let (line, publisher) = (slow(&mut desk, "slow"), enter(&mut desk, v5("publisher")));
    for _ in 0..4 {
        assert_eq!(told(&mut desk, publisher), ReasonCode::SUCCESS);
    }
    desk.lose(line);
    admit_with(&mut desk, &[("queued-messages", 2)]);
    slow(&mut desk, "slow");
    assert_eq!(told(&mut desk, publisher), ReasonCode::QUOTA_EXCEEDED);
}

#[test]
fn who_publishes_as_fast_as_it_may_does_not_earn_by_a_new_grant() {
    let mut desk = desk(&[("publish-per-second", 4)]);
    let line = enter(&mut desk, v5("fast"));
    for _ in 0..4 {
        told(&mut desk, line);
    }
    regrant(&mut desk, line, "fast", &[("publish-per-second", 3)]);
    desk.feed(line, &publish("t", QoS::AtLeastOnce, 1, b"m"));
    assert_eq!(desk.lines[line].end().map(|end| end.reason), Some(ReasonCode::MESSAGE_RATE_TOO_HIGH));
    // One that was not bounded begins with a whole second's worth.
    admit_with(&mut desk, &[]);
    let line = enter(&mut desk, v5("free"));
    for _ in 0..9 {
        told(&mut desk, line);
    }
    regrant(&mut desk, line, "free", &[("publish-per-second", 2)]);
    told(&mut desk, line);
    told(&mut desk, line);
    desk.feed(line, &publish("t", QoS::AtLeastOnce, 1, b"m"));
    assert_eq!(desk.lines[line].end().map(|end| end.reason), Some(ReasonCode::MESSAGE_RATE_TOO_HIGH));
}

#[test]
fn a_session_that_comes_back_keeps_the_subscriptions_that_its_policy_is_asked_about() {
    let mut desk = Desk::new(ListenerRules::default());
    desk.on_login = Box::new(|login| {
        let mut draft = everything(&login.credentials.client_id);
        if login.credentials.client_id == "s" {
            draft.rules = vec![
                rule(Effect::Ask, Actions::SUBSCRIBE, "asked/#", QoS::ExactlyOnce),
                rule(Effect::Allow, Actions::SUBSCRIBE, "open/#", QoS::ExactlyOnce),
            ];
        }
        Some(Outcome::allow(compile(draft)))
    });
    // Answers that hold for one time only; and which topics they are about.
    let answer = |no: &'static str| {
        move |action: &Action| {
            let Action::Subscribe(wanted) = action else { panic!("{action:?}") };
            let denied = (wanted.filter == no).then(|| Denial::new(DenyReason::NotAuthorized, "no"));
            Some(Authorization { denied, valid_for: 0 })
        }
    };
    desk.on_action = Box::new(answer(""));
    let p = enter(&mut desk, v5("p"));
    let s = enter(&mut desk, lasting("s"));
    for topic in ["asked/a", "asked/b", "open/c"] {
        desk.feed(s, &subscribe(topic, QoS::AtLeastOnce));
    }
    desk.take_output(s);
    desk.lose(s);
    let tell = |desk: &mut Desk, text: &[u8]| {
        for (n, topic) in ["asked/a", "asked/b", "open/c"].iter().enumerate() {
            desk.feed(p, &publish(topic, QoS::AtLeastOnce, n as u16 + 1, text));
        }
        desk.take_output(p);
    };
    // One subscription is refused now. The other stays, and has missed nothing: not while the client was away, nor while
    // the policy thinks.
    tell(&mut desk, b"away");
    desk.on_action = Box::new(|_| None);
    let s = desk.accept(ROOM);
    desk.feed(s, &connect(lasting("s")));
    tell(&mut desk, b"asking");
    assert!(desk.take_output(s).is_empty(), "nobody is let in before the policy has answered");
    desk.on_action = Box::new(answer("asked/b"));
    desk.settle();
    tell(&mut desk, b"back");
    let mut come = Vec::new();
    hear(&mut desk, s, |packet, _| match packet {
        Packet::ConnAck(ack) => assert!(ack.session_present && ack.code == 0),
        Packet::Publish(p) => come.push((p.topic.to_owned(), p.payload.to_vec())),
        _ => {}
    });
    let of = |topic: &str| come.iter().filter(|(t, _)| t == topic).map(|(_, p)| p.clone()).collect::<Vec<_>>();
    let all = [b"away".to_vec(), b"asking".to_vec(), b"back".to_vec()];
    assert_eq!((of("asked/a"), of("open/c")), (all.to_vec(), all.to_vec()));
    assert!(!of("asked/b").contains(&b"back".to_vec()), "{come:?}");
}

#[test]
fn a_grant_that_replaces_another_asks_about_subscriptions_before_it_holds() {
    let asking = |subject: &str| {
        let mut draft = everything(subject);
        draft.rules.push(rule(Effect::Ask, Actions::SUBSCRIBE, "asked/#", QoS::ExactlyOnce));
        compile(draft)
    };
    let mut desk = desk(&[]);
    let (p, s) = (enter(&mut desk, v5("p")), enter(&mut desk, v5("s")));
    for topic in ["asked/a", "asked/b", "open/c"] {
        desk.feed(s, &subscribe(topic, QoS::AtMostOnce));
    }
    desk.take_output(s);
    let heard = |desk: &mut Desk| {
        for topic in ["asked/a", "asked/b", "open/c"] {
            desk.feed(p, &publish(topic, QoS::AtMostOnce, 0, b"m"));
        }
        let mut topics = Vec::new();
        hear(desk, s, |packet, _| {
            if let Packet::Publish(p) = packet {
                topics.push(p.topic.to_owned());
            }
        });
        topics
    };
    // While the policy thinks, what was granted before holds.
    desk.on_action = Box::new(|_| None);
    desk.renew(s, Renewal::Replace(asking("s")));
    assert_eq!(heard(&mut desk), ["asked/a", "asked/b", "open/c"]);
    assert!(desk.lines[s].machine.grant().is_some_and(|grant| grant.asks()), "it is the new grant that is asked");
    desk.on_action = Box::new(|action| {
        let Action::Subscribe(wanted) = action else { panic!("{action:?}") };
        let denied = (wanted.filter == "asked/b").then(|| Denial::new(DenyReason::NotAuthorized, "no"));
        Some(Authorization { denied, valid_for: 0 })
    });
    desk.settle();
    assert_eq!(heard(&mut desk), ["asked/a", "open/c"]);
    // One about somebody else ends the connection, and nobody is asked about it.
    desk.on_action = Box::new(|action| panic!("{action:?}"));
    desk.renew(s, Renewal::Replace(asking("another")));
    assert_eq!(desk.lines[s].end().map(|end| end.reason), Some(ReasonCode::NOT_AUTHORIZED));
}

/// All subscriptions are asked about, and no answer is remembered.
fn asking_desk() -> Desk {
    let mut desk = Desk::new(ListenerRules { max_subscriptions: 3000, ..ListenerRules::default() });
    desk.on_login = Box::new(|login| {
        let mut draft = everything(&login.credentials.client_id);
        draft.rules = vec![rule(Effect::Ask, Actions::ALL, "#", QoS::ExactlyOnce)];
        Some(Outcome::allow(compile(draft)))
    });
    desk.on_action = Box::new(|action| {
        let Action::Subscribe(wanted) = action else { panic!("{action:?}") };
        let denied = wanted.filter.ends_with('7').then(|| Denial::new(DenyReason::NotAuthorized, "no"));
        Some(Authorization { denied, valid_for: 0 })
    });
    desk
}

/// Where each answer leads to a look at all that was answered before, this does not end.
#[test]
fn thousands_of_filters_are_asked_about_in_a_packet_and_when_their_session_comes_back() {
    let mut desk = asking_desk();
    let line = enter(&mut desk, lasting("s"));
    let filters: Vec<_> = (0..3000).map(|number| format!("t/{number}")).collect();
    let wanted: Vec<_> = filters.iter().map(|f| (&**f, SubscribeOptions::new(QoS::AtLeastOnce))).collect();
    desk.feed(line, &subscribe_many(&wanted, None));
    let mut codes = Vec::new();
    hear(&mut desk, line, |packet, _| {
        if let Packet::SubAck(ack) = packet {
            codes = ack.codes.to_vec();
        }
    });
    let expected = (0..3000).map(|number| if number % 10 == 7 { ReasonCode::NOT_AUTHORIZED.0 } else { 1 });
    assert!(codes.iter().copied().eq(expected), "{codes:?}");
    assert_eq!(desk.broker.subscriptions(), 2700);
    desk.lose(line);
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(lasting("s")));
    assert_eq!(connack(&mut desk, line), 0);
    assert_eq!(desk.broker.subscriptions(), 2700);
}

#[test]
fn silence_while_a_policy_is_asked_is_not_the_clients() {
    let mut desk = asking_desk();
    let line = enter(&mut desk, Connect { keep_alive: 10, ..v5("s") });
    desk.on_action = Box::new(|_| None);
    desk.feed(line, &subscribe("t", QoS::AtMostOnce));
    for _ in 0..5 {
        desk.pass(14);
    }
    desk.on_action = Box::new(|_| Some(Authorization { denied: None, valid_for: 0 }));
    desk.settle();
    desk.pass(14);
    assert!(desk.lines[line].end().is_none());
    desk.pass(14);
    assert_eq!(desk.lines[line].end().map(|end| end.reason), Some(ReasonCode::KEEP_ALIVE_TIMEOUT));
}
