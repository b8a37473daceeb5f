//! What a mailbox keeps is bounded: its queue, what may be sent again, and what waits for all of them together.

use std::sync::Arc;

use portcullis_mqtt::QoS;
use portcullis_router::{Batch, Flush, MailboxLimits, Message, Router, RouterLimits};

use crate::client::{SMALL, client, publish};

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
