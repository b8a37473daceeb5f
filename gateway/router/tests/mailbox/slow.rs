//! Who does not read: publishers wait for it, then give it up, and it is sent no more than it takes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portcullis_mqtt::QoS;
use portcullis_router::{Batch, Flush, MailboxLimits, Router, Wake};

use crate::client::{Owner, SMALL, client, publish};

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
