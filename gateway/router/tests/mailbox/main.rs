//! Mailboxes against a socket that the test plays: what is appended arrives once, in order, whoever writes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod client;
mod returning;
mod slow;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portcullis_mqtt::QoS;
use portcullis_router::{Batch, Flush, MailboxLimits, Message, Router};

use crate::client::{client, publish};

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
    assert!(!c.mailbox.is_moving(), "its owner has nothing to do until there is room");
    *c.socket.room.lock() = 1000;
    c.mailbox.unblock();
    assert_eq!(c.mailbox.flush(), Flush::Done);
    assert!(c.mailbox.is_moving());
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
