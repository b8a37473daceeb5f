//! How connections end, and what the client is told.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desk;
mod packets;

use desk::{Desk, compile, everything, stamp};
use packets::{bytes, connack, connect, hear, lasting, payloads, publish, subscribe, v5};
use portcullis_grant::{Challenge, Denial, DenyReason, Outcome, Refusal, Renewal};
use portcullis_mqtt::{Auth, Connect, ConnectProperties, Packet, ProtocolVersion, QoS, ReasonCode};
use portcullis_session::{Control, ListenerRules};

const ROOM: usize = 1 << 20;

fn disconnect(desk: &mut Desk, line: usize) -> (ReasonCode, Option<String>, Option<String>) {
    let mut found = None;
    hear(desk, line, |packet, _| {
        if let Packet::Disconnect(d) = packet {
            found = Some((d.reason, d.reason_string.map(str::to_owned), d.server_reference.map(str::to_owned)));
        }
    });
    found.expect("a DISCONNECT")
}

fn refusal() -> Refusal {
    let denial = Denial {
        message: Some("ask the porter".to_owned()),
        server_reference: Some("elsewhere:1883".to_owned()),
        ..Denial::new(DenyReason::UseAnotherServer, "the operator's own words: host db-7 is down")
    };
    Refusal::new(denial, Some(stamp()))
}

#[test]
fn what_is_meant_for_the_operator_is_not_told_to_the_client() {
    let mut desk = Desk::new(ListenerRules::default());
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(v5("c")));
    connack(&mut desk, line);
    desk.renew(line, Renewal::Revoke(refusal()));
    assert!(desk.lines[line].end().is_some_and(|e| e.detail.contains("db-7")));
    let told = ("ask the porter".to_owned(), "elsewhere:1883".to_owned());
    assert_eq!(disconnect(&mut desk, line), (ReasonCode::USE_ANOTHER_SERVER, Some(told.0), Some(told.1)));
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(v5("c")));
    connack(&mut desk, line);
    let reason = ReasonCode::SERVER_BUSY;
    desk.control(line, Control::Disconnect { reason, detail: "/var/lib: no space left".to_owned() });
    assert_eq!(disconnect(&mut desk, line), (reason, None, None));
}

#[test]
fn a_grant_that_ends_after_the_end_of_time_does_not_end_now() {
    let mut desk = Desk::new(ListenerRules::default());
    desk.on_login = Box::new(|login| {
        let mut draft = everything(&login.credentials.client_id);
        draft.expires_at = Some(u64::MAX);
        Some(Outcome::allow(compile(draft)))
    });
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(v5("c")));
    desk.pass(1_000_000);
    assert!(desk.lines[line].end().is_none());
}

#[test]
fn a_re_authentication_does_not_go_on_for_ever() {
    let mut desk = Desk::new(ListenerRules::default());
    let mut step = 0;
    let question =
        |step| Challenge { data: b"?".to_vec(), state: Vec::new(), reply_within: None, policy: stamp(), step };
    desk.on_login = Box::new(move |login| {
        Some(match login.connection.identity {
            None => Outcome::allow(compile(everything("c"))),
            Some(_) => Outcome::Challenge(question(1)),
        })
    });
    desk.on_reply = Box::new(move |reply| {
        // Whoever decides knows who it was until now.
        assert!(reply.connection.identity.is_some());
        Some(Outcome::Challenge(question(reply.challenge.step + 1)))
    });
    let line = desk.accept(ROOM);
    let properties = ConnectProperties { authentication_method: Some("m"), ..ConnectProperties::default() };
    desk.feed(line, &connect(Connect { properties, ..v5("c") }));
    let auth = |reason| {
        bytes(
            ProtocolVersion::V5,
            Packet::Auth(Auth { reason, method: Some("m"), data: Some(b"!"), ..Auth::default() }),
        )
    };
    desk.feed(line, &auth(ReasonCode::RE_AUTHENTICATE));
    while desk.lines[line].end().is_none() {
        desk.feed(line, &auth(ReasonCode::CONTINUE_AUTHENTICATION));
        step += 1;
        assert!(step < 100, "it goes on and on");
    }
    assert_eq!(desk.lines[line].end().map(|e| e.reason), Some(ReasonCode::NOT_AUTHORIZED));
}

#[test]
fn a_stranger_cannot_announce_more_than_a_connect_needs() {
    let mut desk = Desk::new(ListenerRules { max_packet: u32::MAX, ..ListenerRules::default() });
    let line = desk.accept(ROOM);
    // A CONNECT of 100 MB.
    desk.feed(line, &[0x10, 0x80, 0xE1, 0xEB, 0x2F]);
    assert!(desk.lines[line].end().is_some());
    let line = desk.accept(ROOM);
    desk.feed(line, &connect(v5("c")));
    desk.feed(line, &[0x30, 0x80, 0xE1, 0xEB, 0x2F]);
    assert!(desk.lines[line].end().is_none());
}

#[test]
fn a_grant_with_a_window_of_nothing_delivers_one_at_a_time() {
    let mut desk = Desk::new(ListenerRules::default());
    desk.on_login = Box::new(|login| {
        let mut draft = everything(&login.credentials.client_id);
        draft.limits.push(("receive-maximum".to_owned(), 0));
        Some(Outcome::allow(compile(draft)))
    });
    let line = desk.accept(ROOM);
    desk.feed(line, &[connect(lasting("c")), subscribe("t", QoS::AtLeastOnce)].concat());
    desk.feed(line, &[publish("t", QoS::AtLeastOnce, 1, b"1"), publish("t", QoS::AtLeastOnce, 2, b"2")].concat());
    assert_eq!(payloads(&mut desk, line), [b"1"]);
}
