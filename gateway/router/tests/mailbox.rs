//! Mailboxes against a socket that the test plays: what is appended arrives once, in order, whoever writes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use portcullis_mqtt::{Packet, ProtocolVersion, QoS, decode, frame};
use portcullis_router::{
    Batch, DirectWriter, Flush, FrameMark, Link, Mailbox, MailboxLimits, Message, Router, RouterLimits, Run,
    Subscription, Wake, Wire,
};
use proptest::prelude::*;

/// A socket that takes so many octets until it is emptied.
#[derive(Default)]
struct Socket {
    room: Mutex<usize>,
    got: Mutex<Vec<u8>>,
    broken: Mutex<bool>,
}

impl DirectWriter for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if *self.broken.lock() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut room = self.room.lock();
        let n = bytes.len().min(*room);
        *room -= n;
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.got.lock().extend_from_slice(&bytes[..n]);
        Ok(n)
    }
}

#[derive(Default)]
struct Owner {
    woken: AtomicUsize,
    resumed: AtomicUsize,
}

impl Wake for Owner {
    fn wake(&self) {
        self.woken.fetch_add(1, Ordering::SeqCst);
    }
    fn resume(&self) {
        self.resumed.fetch_add(1, Ordering::SeqCst);
    }
}

struct Client {
    socket: Arc<Socket>,
    owner: Arc<Owner>,
    mailbox: Arc<Mailbox>,
}

fn client(router: &Router, limits: MailboxLimits, room: usize, window: u16, persistent: bool) -> Client {
    let socket = Arc::new(Socket { room: Mutex::new(room), ..Socket::default() });
    let owner = Arc::new(Owner::default());
    let mailbox = router.mailbox(limits, persistent);
    let c = Client { socket, owner, mailbox };
    c.attach(window);
    c
}

impl Client {
    fn attach(&self, window: u16) {
        let mut batch = Batch::default();
        let link = Link {
            owner: Arc::clone(&self.owner) as _,
            writer: Some(Arc::clone(&self.socket) as _),
            wire: Wire::V3,
            max_packet: u32::MAX,
            window,
        };
        self.mailbox.attach(link, 0, &[], &mut batch);
        batch.flush();
    }

    fn subscribe(&self, router: &Router, filter: &str, qos: QoS) {
        let mailbox = Arc::clone(&self.mailbox);
        router.subscribe(
            filter,
            None,
            Subscription { mailbox, qos, no_local: false, retain_as_published: false, id: None, check: None },
        );
    }

    /// What arrived: payloads of messages, and identifiers.
    fn messages(&self) -> Vec<(u16, Vec<u8>, bool)> {
        let got = self.socket.got.lock();
        let mut at = 0;
        let mut found = Vec::new();
        while let Some(f) = frame(&got, at, u32::MAX).unwrap() {
            if let Packet::Publish(p) = decode(ProtocolVersion::V311, f.first, &got[f.body..f.end]).unwrap() {
                found.push((p.packet_id.map_or(0, |id| id.get()), p.payload.to_vec(), p.dup));
            }
            at = f.end;
        }
        assert_eq!(at, got.len(), "no half packets");
        found
    }
}

fn publish(router: &Router, topic: &str, qos: QoS, payloads: &[Vec<u8>], batch: &mut Batch) -> usize {
    let mut bytes = Vec::new();
    let mut frames = Vec::new();
    for payload in payloads {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(payload);
        frames.push(FrameMark { start, id: 0, payload: start, end: bytes.len() as u32 });
    }
    let run = Run {
        wire: Wire::V3,
        bytes: &bytes,
        frames: &frames,
        topic,
        qos,
        retain: false,
        verbatim: false,
        forward: &[],
        expiry: None,
        origin: 0,
    };
    router.publish(&run, &router.route(topic), batch).refused
}

#[test]
fn a_full_socket_keeps_what_it_did_not_take_and_its_owner_goes_on() {
    let router = Router::default();
    let c = client(&router, MailboxLimits::default(), 7, 10, false);
    c.subscribe(&router, "a", QoS::AtMostOnce);
    let mut batch = Batch::default();
    publish(&router, "a", QoS::AtMostOnce, &[b"first".to_vec(), b"second".to_vec()], &mut batch);
    batch.flush();
    assert!(c.mailbox.is_blocked());
    assert!(c.owner.woken.load(Ordering::SeqCst) > 0);
    // Appended while it is blocked: nobody but the owner writes.
    publish(&router, "a", QoS::AtMostOnce, &[b"third".to_vec()], &mut batch);
    batch.flush();
    assert_eq!(c.socket.got.lock().len(), 7);
    *c.socket.room.lock() = 1000;
    c.mailbox.unblock();
    assert_eq!(c.mailbox.flush(), Flush::Done);
    let payloads: Vec<_> = c.messages().into_iter().map(|m| m.1).collect();
    assert_eq!(payloads, [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()]);
}

#[test]
fn a_broken_socket_is_told_to_its_owner() {
    let router = Router::default();
    let c = client(&router, MailboxLimits::default(), 100, 10, false);
    c.subscribe(&router, "a", QoS::AtMostOnce);
    *c.socket.broken.lock() = true;
    let mut batch = Batch::default();
    publish(&router, "a", QoS::AtMostOnce, &[b"x".to_vec()], &mut batch);
    batch.flush();
    assert!(c.mailbox.is_broken());
    assert!(c.owner.woken.load(Ordering::SeqCst) > 0);
}

#[test]
fn publishers_who_wait_are_resumed_when_half_is_gone() {
    let router = Router::default();
    let limits = MailboxLimits { high_water: 1000, ..MailboxLimits::default() };
    let c = client(&router, limits, 0, 10, false);
    c.subscribe(&router, "a", QoS::AtMostOnce);
    let mut batch = Batch::default();
    publish(&router, "a", QoS::AtMostOnce, &[vec![0; 2000]], &mut batch);
    batch.flush();
    let full = batch.take_full();
    assert_eq!(full.len(), 1);
    let publisher = Arc::new(Owner::default());
    let waiter: Arc<dyn Wake> = Arc::clone(&publisher) as _;
    assert!(full[0].wait(&waiter));
    *c.socket.room.lock() = 10_000;
    c.mailbox.unblock();
    c.mailbox.flush();
    assert_eq!(publisher.resumed.load(Ordering::SeqCst), 1);
    assert!(!full[0].wait(&waiter), "there is room");
    assert!(c.mailbox.full().is_none());
}

#[test]
fn who_is_given_up_on_loses_qos_0_until_it_has_caught_up() {
    let router = Router::default();
    let limits = MailboxLimits { high_water: 1000, ..MailboxLimits::default() };
    let c = client(&router, limits, 0, 10, false);
    c.subscribe(&router, "a", QoS::AtMostOnce);
    let mut batch = Batch::default();
    publish(&router, "a", QoS::AtMostOnce, &[vec![0; 2000]], &mut batch);
    batch.flush();
    batch.take_full()[0].give_up();
    assert!(c.mailbox.full().is_none(), "nobody waits for it");
    publish(&router, "a", QoS::AtMostOnce, &[b"dropped".to_vec()], &mut batch);
    assert_eq!(batch.counts.dropped, 1);
    *c.socket.room.lock() = 10_000;
    c.mailbox.unblock();
    c.mailbox.flush();
    publish(&router, "a", QoS::AtMostOnce, &[b"again".to_vec()], &mut batch);
    batch.flush();
    let payloads: Vec<_> = c.messages().into_iter().map(|m| m.1).collect();
    assert_eq!(payloads, [vec![0; 2000], b"again".to_vec()]);
}

#[test]
fn a_full_queue_refuses_and_counts_and_keeps_what_it_has() {
    let router = Router::default();
    let limits = MailboxLimits { queued_messages: 2, ..MailboxLimits::default() };
    let c = client(&router, limits, 10_000, 1, true);
    c.subscribe(&router, "a", QoS::AtLeastOnce);
    let mut batch = Batch::default();
    let payloads: Vec<Vec<u8>> = (0..5u8).map(|n| vec![n]).collect();
    // One goes into the window and two into the queue.
    assert_eq!(publish(&router, "a", QoS::AtLeastOnce, &payloads, &mut batch), 2);
    batch.flush();
    assert_eq!(batch.counts.refused, 2);
    let first = c.messages();
    assert_eq!(first.len(), 1);
    c.mailbox.puback(first[0].0, &mut batch).unwrap();
    batch.flush();
    assert_eq!(c.messages().iter().map(|m| m.1[0]).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_client_without_a_queue_still_has_its_window() {
    let router = Router::default();
    let limits = MailboxLimits { queued_messages: 0, queued_bytes: 0, ..MailboxLimits::default() };
    let c = client(&router, limits, 10_000, 2, false);
    c.subscribe(&router, "a", QoS::AtLeastOnce);
    let mut batch = Batch::default();
    let payloads: Vec<Vec<u8>> = (0..3u8).map(|n| vec![n]).collect();
    assert_eq!(publish(&router, "a", QoS::AtLeastOnce, &payloads, &mut batch), 1);
    let retained = Arc::new(Message::new("a", &[], b"kept", QoS::AtLeastOnce, true, None, 0));
    assert!(!c.mailbox.send(&retained, QoS::AtLeastOnce, true, &[], &mut batch));
    batch.flush();
    assert_eq!(c.messages().iter().map(|m| m.1[0]).collect::<Vec<_>>(), [0, 1]);
}

const SMALL: MailboxLimits = MailboxLimits { high_water: 10_000, queued_messages: 1000, queued_bytes: 50_000 };

#[test]
fn a_large_window_is_no_licence_to_be_sent_what_is_not_read() {
    let router = Router::default();
    let c = client(&router, SMALL, 0, 1000, false);
    c.subscribe(&router, "a", QoS::AtLeastOnce);
    let mut batch = Batch::default();
    let mut taken = 0u32;
    for n in 0..200u32 {
        let payload = [&n.to_be_bytes()[..], &[0; 996]].concat();
        taken += 1 - publish(&router, "a", QoS::AtLeastOnce, &[payload], &mut batch) as u32;
        batch.flush();
    }
    assert!(c.mailbox.backlog().bytes < 10_000 + 50_000 + 2000, "{:?}", c.mailbox.backlog());
    assert!(c.mailbox.unsent() < 10_000 + 2000);
    // When it reads, its owner fetches the rest, without an acknowledgement to remind anybody.
    *c.socket.room.lock() = usize::MAX;
    c.mailbox.unblock();
    let mut rounds = 0;
    while c.mailbox.flush() == Flush::Owner {
        assert!(c.mailbox.refill(&mut batch));
        rounds += 1;
    }
    assert!(rounds > 1);
    let numbers: Vec<_> = c.messages().iter().map(|m| u32::from_be_bytes(m.1[..4].try_into().unwrap())).collect();
    assert_eq!(numbers, (0..taken).collect::<Vec<_>>());
    assert_eq!(c.mailbox.backlog().queued, 0);
}

#[test]
fn what_is_kept_to_be_sent_again_is_bounded_in_octets() {
    let router = Router::default();
    let c = client(&router, SMALL, usize::MAX, 1000, true);
    c.subscribe(&router, "a", QoS::ExactlyOnce);
    let mut batch = Batch::default();
    for n in 0..200u32 {
        publish(
            &router,
            "a",
            if n % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce },
            &[vec![0; 1000]],
            &mut batch,
        );
        batch.flush();
    }
    let full = c.mailbox.backlog();
    assert!(full.in_flight <= 51 && full.queued <= 50, "{full:?}");
    // Each acknowledgement makes room for the next, whichever way it ends.
    for (id, _, _) in c.messages() {
        if c.mailbox.puback(id, &mut batch).is_err() {
            c.mailbox.pubrec_run(&[id], &mut batch, |_, done| done.unwrap());
            c.mailbox.pubcomp_run(&[id], &mut batch).unwrap();
        }
        batch.flush();
    }
    assert_eq!(c.mailbox.backlog().queued, 0);
    assert_eq!(c.messages().len(), full.in_flight + full.queued);
}

#[test]
fn qos_0_is_dropped_where_nobody_can_be_made_to_wait() {
    let router = Router::default();
    let c = client(&router, SMALL, 0, 10, false);
    c.subscribe(&router, "a", QoS::AtMostOnce);
    let mut batch = Batch::default();
    for _ in 0..500 {
        // As wills are published: no publisher stands behind them.
        publish(&router, "a", QoS::AtMostOnce, &[vec![0; 1000]], &mut batch);
        batch.flush();
        batch.take_full();
    }
    assert!(c.mailbox.backlog().bytes <= 2 * 10_000, "{:?}", c.mailbox.backlog());
    assert_eq!(batch.counts.dropped + batch.counts.delivered, 500);
}

#[test]
fn a_receiver_that_caught_up_at_the_last_moment_is_not_stalled_for_ever() {
    let router = Router::default();
    let c = client(&router, SMALL, 0, 10, false);
    c.subscribe(&router, "a", QoS::AtMostOnce);
    let mut batch = Batch::default();
    publish(&router, "a", QoS::AtMostOnce, &[vec![0; 11_000]], &mut batch);
    batch.flush();
    let full = batch.take_full();
    *c.socket.room.lock() = usize::MAX;
    c.mailbox.unblock();
    c.mailbox.flush();
    full[0].give_up();
    // Nor one that others have filled again meanwhile.
    *c.socket.room.lock() = 0;
    publish(&router, "a", QoS::AtMostOnce, &[vec![0; 11_000]], &mut batch);
    batch.flush();
    full[0].give_up();
    publish(&router, "a", QoS::AtMostOnce, &[b"x".to_vec()], &mut batch);
    assert_eq!((batch.counts.delivered, batch.counts.dropped), (3, 0));
}

#[test]
fn a_subscription_elsewhere_leaves_routes_valid() {
    let router = Router::default();
    let c = client(&router, MailboxLimits::default(), 100, 10, false);
    let route = router.route("plant-7/line/1");
    c.subscribe(&router, "plant-8/line/1", QoS::AtMostOnce);
    // One of 256 parts may be shared by chance of the seed: at most a few of many topics are.
    let stale = (0..64).filter(|i| !router.is_current(&router.route(&format!("other-{i}")))).count();
    assert_eq!(stale, 0);
    let _ = route;
    let routes: Vec<_> = (0..64).map(|i| router.route(&format!("t{i}/x"))).collect();
    c.subscribe(&router, "t0/y", QoS::AtMostOnce);
    let stale = routes.iter().filter(|r| !router.is_current(r)).count();
    assert!((1..8).contains(&stale), "{stale} of 64 routes fell");
    c.subscribe(&router, "+/z", QoS::AtMostOnce);
    assert!(routes.iter().all(|r| !router.is_current(r)));
}

#[test]
fn an_expired_message_is_not_delivered_from_the_queue() {
    let router = Router::default();
    let c = client(&router, MailboxLimits::default(), 1000, 10, true);
    c.subscribe(&router, "a", QoS::AtLeastOnce);
    c.mailbox.detach(true).unwrap();
    let mut batch = Batch::default();
    let short = Arc::new(Message::new("a", &[], b"short", QoS::AtLeastOnce, false, Some(0), 0));
    let long = Arc::new(Message::new("a", &[], b"long", QoS::AtLeastOnce, false, Some(60), 0));
    assert!(c.mailbox.send(&short, QoS::AtLeastOnce, false, &[], &mut batch));
    assert!(c.mailbox.send(&long, QoS::AtLeastOnce, false, &[], &mut batch));
    c.attach(10);
    assert_eq!(c.messages().iter().map(|m| m.1.clone()).collect::<Vec<_>>(), [b"long".to_vec()]);
}

#[derive(Debug, Clone)]
enum Event {
    Publish(u8),
    Room(usize),
    Acknowledge,
    Reconnect,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..5u8).prop_map(Event::Publish),
        3 => (0..60usize).prop_map(Event::Room),
        3 => Just(Event::Acknowledge),
        1 => Just(Event::Reconnect),
    ]
}

proptest! {
    /// QoS 1 to a session that outlives its connections: whatever the socket takes and however often the client comes
    /// back, every message arrives, in order but for repetitions that are marked, and never more than the window is
    /// unacknowledged.
    #[test]
    fn nothing_is_lost_and_the_window_holds(events in prop::collection::vec(event(), 1..120), window in 1..4u16) {
        let router = Router::default();
        let c = client(&router, MailboxLimits::default(), 0, window, true);
        c.subscribe(&router, "a", QoS::AtLeastOnce);
        let mut batch = Batch::default();
        let mut published = 0u32;
        let mut received: Vec<u32> = Vec::new();
        let mut acknowledged = 0usize;
        let mut unacknowledged: Vec<u16> = Vec::new();
        // Takes in what arrived on this connection so far.
        let take = |c: &Client, at: &mut usize, received: &mut Vec<u32>, unacknowledged: &mut Vec<u16>| {
            let got = c.socket.got.lock();
            while let Some(f) = frame(&got, *at, u32::MAX).unwrap() {
                if let Packet::Publish(p) = decode(ProtocolVersion::V311, f.first, &got[f.body..f.end]).unwrap() {
                    let n = u32::from_be_bytes(p.payload.try_into().unwrap());
                    let again = received.contains(&n);
                    assert!(p.dup || !again, "{n} came twice without DUP");
                    if !again {
                        assert_eq!(n as usize, received.len(), "in order");
                        received.push(n);
                    }
                    unacknowledged.push(p.packet_id.unwrap().get());
                }
                *at = f.end;
            }
        };
        let mut at = 0;
        for event in events.into_iter().chain((0..400).flat_map(|_| [Event::Room(1000), Event::Acknowledge])) {
            match event {
                Event::Publish(n) => {
                    let payloads: Vec<Vec<u8>> = (0..u32::from(n)).map(|i| (published + i).to_be_bytes().to_vec()).collect();
                    published += u32::from(n);
                    publish(&router, "a", QoS::AtLeastOnce, &payloads, &mut batch);
                    batch.flush();
                }
                Event::Room(n) => {
                    *c.socket.room.lock() = n;
                    c.mailbox.unblock();
                    c.mailbox.flush();
                }
                Event::Acknowledge => {
                    if let Some(id) = unacknowledged.first().copied() {
                        unacknowledged.remove(0);
                        c.mailbox.puback(id, &mut batch).unwrap();
                        acknowledged += 1;
                        batch.flush();
                    }
                }
                Event::Reconnect => {
                    c.mailbox.detach(true).unwrap();
                    c.socket.got.lock().clear();
                    at = 0;
                    unacknowledged.clear();
                    c.attach(window);
                }
            }
            take(&c, &mut at, &mut received, &mut unacknowledged);
            prop_assert!(unacknowledged.len() <= usize::from(window));
        }
        prop_assert_eq!(received.len(), published as usize);
        prop_assert!(acknowledged >= published as usize);
    }
}

#[test]
fn what_is_not_on_disk_is_not_sent_though_what_came_later_is() {
    let router = Router::default();
    let c = client(&router, MailboxLimits::default(), usize::MAX, 10, true);
    c.mailbox.set_session(1);
    c.subscribe(&router, "a", QoS::ExactlyOnce);
    // Two publishers, whose batches reach the disk in the other order.
    let (mut first, mut second, mut writer) = (Batch::default(), Batch::default(), Batch::default());
    publish(&router, "a", QoS::ExactlyOnce, &[b"first".to_vec()], &mut first);
    publish(&router, "a", QoS::ExactlyOnce, &[b"second".to_vec()], &mut second);
    let sequence = |batch: &mut Batch| {
        let waits = std::mem::take(&mut batch.uncommitted);
        assert_eq!(waits.len(), 1);
        waits[0].1
    };
    c.mailbox.committed(sequence(&mut second), &mut writer);
    writer.wake_owners();
    c.mailbox.flush();
    assert_eq!(c.messages(), []);
    c.mailbox.committed(sequence(&mut first), &mut writer);
    writer.wake_owners();
    c.mailbox.flush();
    let got: Vec<_> = c.messages().into_iter().map(|(_, payload, _)| payload).collect();
    assert_eq!(got, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn what_waits_for_all_together_is_bounded_and_whoever_reads_is_served_on() {
    let limits = RouterLimits { waiting_bytes: 300_000, ..RouterLimits::default() };
    let router = Router::new(limits);
    let silent: Vec<_> = (0..20).map(|_| client(&router, MailboxLimits::default(), 0, 1000, false)).collect();
    let reader = client(&router, MailboxLimits::default(), usize::MAX, 1000, false);
    let absent = client(&router, MailboxLimits::default(), 0, 10, true);
    absent.mailbox.detach(true).unwrap();
    for (n, c) in silent.iter().chain([&reader, &absent]).enumerate() {
        c.subscribe(&router, "a", if n % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce });
    }
    let mut batch = Batch::default();
    let (mut sent, mut refused) = (0, 0);
    for n in 0..600u32 {
        let qos = if n % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        refused += publish(&router, "a", qos, &[vec![0; 1000]], &mut batch);
        sent += 1;
    }
    batch.flush();
    let each: Vec<_> = silent.iter().chain([&absent]).map(|c| c.mailbox.backlog().bytes).collect();
    assert!(each.iter().sum::<usize>() <= 300_000 + 21 * 64 * 1024, "{each:?}");
    assert!(batch.counts.dropped > 0 && refused > 0, "{:?}", batch.counts);
    assert_eq!(reader.messages().len(), sent);
    // Whatever ends it, what was counted is given back.
    for (n, c) in silent.iter().enumerate() {
        match n % 3 {
            0 => c.mailbox.detach(false).unwrap(),
            1 => c.mailbox.close(),
            _ => {
                *c.socket.room.lock() = usize::MAX;
                c.mailbox.unblock();
                while c.mailbox.flush() == Flush::Owner {
                    c.mailbox.refill(&mut batch);
                }
            }
        }
    }
    absent.mailbox.close();
    for c in silent.iter().skip(1).step_by(3) {
        c.mailbox.detach(false).unwrap();
    }
    assert_eq!(router.waiting_bytes(), 0);
}

#[test]
fn what_is_sent_again_waits_for_a_client_that_does_not_read() {
    let router = Router::default();
    let c = client(&router, SMALL, usize::MAX, 1000, true);
    c.subscribe(&router, "a", QoS::AtLeastOnce);
    let mut batch = Batch::default();
    for n in 0..40u8 {
        publish(&router, "a", QoS::AtLeastOnce, &[vec![n; 1000]], &mut batch);
        batch.flush();
    }
    assert_eq!(c.messages().len(), 40);
    c.mailbox.detach(true).unwrap();
    c.socket.got.lock().clear();
    *c.socket.room.lock() = 0;
    c.attach(1000);
    assert!(c.mailbox.unsent() < 10_000 + 2000, "{:?}", c.mailbox.backlog());
    // What is new stays behind what is repeated.
    publish(&router, "a", QoS::AtLeastOnce, &[vec![40; 1000]], &mut batch);
    batch.flush();
    *c.socket.room.lock() = usize::MAX;
    c.mailbox.unblock();
    while c.mailbox.flush() == Flush::Owner {
        assert!(c.mailbox.refill(&mut batch));
    }
    let order: Vec<_> = c.messages().iter().map(|m| m.1[0]).collect();
    assert_eq!(order, (0..41).collect::<Vec<u8>>());
}
