//! The connection loop where several things happen at once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mqtt_client;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use mqtt_client::rules::rule;
use mqtt_client::{Kind, Running, gate};
use parking_lot::Mutex;
use portcullis_grant::{
    Action, Actions, Authorization, BoxFuture, ConnectionFacts, Denial, DenyReason, Effect, Gatekeeper, Grant, Login,
    Outcome, Refusal, Renewal, Reply, Rule,
};
use portcullis_mqtt::ProtocolVersion::V5;
use portcullis_mqtt::QoS;
use portcullis_net::{AsyncStream, ConnectionHandler, Facts, MqttHandler, Protocol};
use portcullis_session::Control;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[test]
fn what_follows_connect_is_heard_when_the_session_had_to_be_taken_over() {
    let gateway = Running::start(gate::everybody());
    let _old = gateway.connect(V5, "same");
    let mut new = gateway.raw();
    // CONNECT with a clean start as `same`, and PINGREQ in the same breath.
    new.send(b"\x10\x11\0\x04MQTT\x05\x02\0\0\0\0\x04same\xC0\0");
    for expected in ["ConnAck", "PingResp"] {
        let Kind::Other(got) = new.packet_kind() else { panic!("an acknowledgement of nothing") };
        assert!(got.starts_with(expected), "{got} instead of {expected}");
    }
}

/// Lets everybody in, and never answers about an action.
struct Stuck {
    others: Arc<dyn Gatekeeper>,
    polls: Arc<AtomicUsize>,
    renewals: Arc<AtomicUsize>,
}

impl Gatekeeper for Stuck {
    fn authenticate(&self, login: Login) -> BoxFuture<'_, Outcome> {
        self.others.authenticate(login)
    }

    fn continue_authentication(&self, reply: Reply) -> BoxFuture<'_, Outcome> {
        self.others.continue_authentication(reply)
    }

    fn authorize(&self, _: Arc<Grant>, _: Action) -> BoxFuture<'_, Authorization> {
        Box::pin(std::future::poll_fn(|_| {
            self.polls.fetch_add(1, Ordering::Relaxed);
            Poll::Pending
        }))
    }

    fn renew(&self, _: ConnectionFacts, _: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        self.renewals.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Renewal::Keep(0) })
    }
}

#[test]
fn a_wish_that_comes_while_the_gatekeeper_is_asked_waits_without_a_sound() {
    let (polls, renewals) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gateway = Running::start(Arc::new(Stuck {
        others: gate::asking(|_| None),
        polls: Arc::clone(&polls),
        renewals: Arc::clone(&renewals),
    }));
    let mut asks = gateway.connect(V5, "asks");
    let mut other = gateway.connect(V5, "other");
    asks.try_publish("t", b"x").unwrap();
    gateway.until(|_| polls.load(Ordering::Relaxed) > 0);
    for _ in 0..3 {
        assert!(gateway.broker.request("asks", Control::Reevaluate));
    }
    for _ in 0..200 {
        other.ping();
    }
    // Once for the question, once for each wish, and a time-out that may have come.
    assert!(polls.load(Ordering::Relaxed) < 10, "{} polls", polls.load(Ordering::Relaxed));
    assert_eq!(renewals.load(Ordering::Relaxed), 0);
}

/// Never decides about anybody.
struct Slow {
    others: Arc<dyn Gatekeeper>,
    asked: Arc<AtomicUsize>,
}

impl Gatekeeper for Slow {
    fn authenticate(&self, _: Login) -> BoxFuture<'_, Outcome> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::pending())
    }

    fn continue_authentication(&self, reply: Reply) -> BoxFuture<'_, Outcome> {
        self.others.continue_authentication(reply)
    }

    fn authorize(&self, grant: Arc<Grant>, action: Action) -> BoxFuture<'_, Authorization> {
        self.others.authorize(grant, action)
    }

    fn renew(&self, connection: ConnectionFacts, grant: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        self.others.renew(connection, grant)
    }
}

#[test]
fn who_has_no_session_yet_ends_as_soon_as_the_listener_stops() {
    let asked = Arc::new(AtomicUsize::new(0));
    let slow = Slow { others: gate::everybody(), asked: Arc::clone(&asked) };
    // No time-out of its own could end them within the test.
    let gateway = Running::start_with(Arc::new(slow), |rules| rules.connect_timeout_ms = 3_600_000);
    let silent = gateway.raw();
    let mut halfway = gateway.raw();
    halfway.send(b"\x10\x11\0\x04MQ");
    let decided = gateway.send_connect(V5, "decided");
    gateway.until(|_| asked.load(Ordering::Relaxed) == 1);
    gateway.stop_connections();
    for mut client in [silent, halfway, decided] {
        client.closed();
    }
}

#[test]
fn sessions_hear_of_the_end_from_the_broker_alone() {
    let gateway = Running::start(gate::everybody());
    let mut client = gateway.connect(V5, "resident");
    // One read a turn: the second answer shows that the turn which let it in is over.
    client.ping();
    client.ping();
    gateway.stop_connections();
    client.ping();
    gateway.broker.shut_down();
    client.closed();
}

/// A stream that takes all at once, as TLS does, and lets go of so many octets; then its client reads no more.
struct Swallows {
    stream: TcpStream,
    taken: Vec<u8>,
    lets_go: usize,
    flushes: Arc<AtomicUsize>,
}

impl AsyncRead for Swallows {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Swallows {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.taken.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        let me = &mut *self;
        while !me.taken.is_empty() {
            if me.taken.len() > me.lets_go {
                return Poll::Pending;
            }
            let written = std::task::ready!(Pin::new(&mut me.stream).poll_write(cx, &me.taken))?;
            me.taken.drain(..written);
            me.lets_go -= written;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Has every second connection swallow what it is sent, the first of all among them.
struct EverySecond {
    handler: Arc<MqttHandler>,
    count: AtomicUsize,
    flushes: Arc<AtomicUsize>,
}

impl ConnectionHandler for EverySecond {
    fn speaks(&self) -> Protocol {
        Protocol::Mqtt
    }

    fn tcp(&self, stream: std::net::TcpStream, facts: Facts) {
        if self.count.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            return self.handler.tcp(stream, facts);
        }
        let stream = TcpStream::from_std(stream).unwrap();
        let swallows = Swallows { stream, taken: Vec::new(), lets_go: 1000, flushes: Arc::clone(&self.flushes) };
        self.handler.stream(Box::new(swallows), facts);
    }

    fn stream(&self, _: Box<dyn AsyncStream>, _: Facts) {
        unreachable!("the listener is plain");
    }
}

#[test]
fn a_stream_that_took_all_and_lets_go_of_nothing_is_waited_for_without_a_sound() {
    let flushes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&flushes);
    let gateway = Running::start_through(gate::everybody(), |handler| EverySecond {
        handler,
        count: AtomicUsize::new(0),
        flushes: count,
    });
    let mut deaf = gateway.connect(V5, "deaf");
    let mut other = gateway.connect(V5, "other");
    for number in 0..64 {
        other.publish_retained(&format!("kept/{number}"), &[b'x'; 10_000]);
    }
    deaf.send_subscribe("kept/#", QoS::AtMostOnce);
    gateway.until(|broker| broker.subscriptions() == 1);
    for _ in 0..200 {
        other.ping();
    }
    let flushes = flushes.load(Ordering::Relaxed);
    assert!(flushes < 20, "{flushes} flushes");
}

/// Answers about one action at a time, when it is let, and keeps what was asked.
struct Turns {
    others: Arc<dyn Gatekeeper>,
    turns: tokio::sync::Semaphore,
    asked: Mutex<Vec<&'static str>>,
    renewal: fn() -> Renewal,
}

impl Turns {
    fn new(rules: Vec<Rule>, renewal: fn() -> Renewal) -> Arc<Self> {
        let others = gate::with_rules(rules);
        Arc::new(Self { others, turns: tokio::sync::Semaphore::new(0), asked: Mutex::default(), renewal })
    }
}

impl Gatekeeper for Turns {
    fn authenticate(&self, login: Login) -> BoxFuture<'_, Outcome> {
        self.others.authenticate(login)
    }

    fn continue_authentication(&self, reply: Reply) -> BoxFuture<'_, Outcome> {
        self.others.continue_authentication(reply)
    }

    fn authorize(&self, _: Arc<Grant>, _: Action) -> BoxFuture<'_, Authorization> {
        self.asked.lock().push("action");
        Box::pin(async {
            self.turns.acquire().await.unwrap().forget();
            Authorization { denied: None, valid_for: 0 }
        })
    }

    fn renew(&self, _: ConnectionFacts, _: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        self.asked.lock().push("grant");
        Box::pin(async { (self.renewal)() })
    }
}

#[test]
fn a_grant_is_looked_at_before_more_is_asked_about_what_has_come_under_it() {
    let gate = Turns::new(vec![rule(Effect::Ask, Actions::PUBLISH, "#", QoS::ExactlyOnce)], || {
        Renewal::Revoke(Refusal::new(Denial::new(DenyReason::NotAuthorized, "no more"), None))
    });
    let gateway = Running::start(Arc::clone(&gate) as _);
    let mut client = gateway.connect(V5, "revoked");
    // QoS 0, `t`, no properties, `x`.
    client.send(&b"\x30\x05\0\x01t\0x".repeat(50));
    gateway.until(|_| gate.asked.lock().len() == 1);
    assert!(gateway.broker.request("revoked", Control::Reevaluate));
    // The wish is seen while the first is still asked about.
    let mut other = gateway.connect(V5, "other");
    for _ in 0..50 {
        other.ping();
    }
    gate.turns.add_permits(1000);
    client.closed();
    assert_eq!(*gate.asked.lock(), ["action", "grant"]);
}

#[test]
fn a_packet_that_was_asked_about_is_done_with_before_its_grant_is_looked_at() {
    let rules = vec![rule(Effect::Ask, Actions::SUBSCRIBE, "#", QoS::ExactlyOnce)];
    let gate = Turns::new(rules, || Renewal::Keep(0));
    let gateway = Running::start(Arc::clone(&gate) as _);
    let mut client = gateway.connect(V5, "many");
    // Filters `a`, `b` and `c`, QoS 0.
    client.send(b"\x82\x0F\0\x01\0\0\x01a\0\0\x01b\0\0\x01c\0");
    gateway.until(|_| gate.asked.lock().len() == 1);
    assert!(gateway.broker.request("many", Control::Reevaluate));
    let mut other = gateway.connect(V5, "other");
    for _ in 0..50 {
        other.ping();
    }
    gate.turns.add_permits(1000);
    // Each of the three is judged again when the grant was looked at.
    gateway.until(|_| gate.asked.lock().len() == 7);
    assert_eq!(*gate.asked.lock(), ["action", "action", "action", "grant", "action", "action", "action"]);
    let Kind::Other(got) = client.packet_kind() else { panic!("an acknowledgement of nothing") };
    assert!(got.starts_with("SubAck"), "{got}");
}
