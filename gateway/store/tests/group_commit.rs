//! Many callers share a transaction and a sync; the queue between them is bounded; tickets work for threads and futures.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use portcullis_store::{Batch, Clock, Durability, Options, Store, StoreError};

fn batch(id: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put_entry("user", id, vec![7; 100]);
    batch
}

/// A store whose writer stands still inside a transaction until the sender is used: it asks the clock in each.
fn held_store(queue: usize) -> (Store, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (entered, has_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let gate = parking_lot::Mutex::new((entered, released));
    let clock = Clock::new(move || {
        let gate = gate.lock();
        let _ = gate.0.send(());
        let _ = gate.1.recv_timeout(Duration::from_secs(120));
        0
    });
    (Store::in_memory(Options { queue, clock, ..Options::default() }).unwrap(), has_entered, release)
}

#[test]
fn what_waits_is_written_in_one_transaction() {
    let (store, entered, release) = held_store(1 << 20);
    let first = store.submit(batch("first"));
    entered.recv_timeout(Duration::from_secs(120)).unwrap();
    let rest: Vec<_> = (0..500).map(|n| store.submit(batch(&n.to_string()))).collect();
    release.send(()).unwrap();
    release.send(()).unwrap();
    first.wait().unwrap();
    for ticket in rest {
        ticket.wait().unwrap();
    }
    let statistics = store.statistics();
    assert_eq!((statistics.transactions, statistics.syncs), (2, 2), "{statistics:?}");
    assert_eq!((statistics.batches, statistics.operations, statistics.waiting), (501, 501, 0));
}

#[test]
fn many_threads_need_fewer_syncs_than_batches() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path(), Options::default()).unwrap();
    let start = Arc::new(Barrier::new(16));
    let threads: Vec<_> = (0..16)
        .map(|t| {
            let (store, start) = (store.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                for n in 0..25 {
                    store.submit(batch(&format!("{t}-{n}"))).wait().unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let statistics = store.statistics();
    assert_eq!(statistics.batches, 400);
    assert!(statistics.syncs <= 200, "{statistics:?}");
}

#[test]
fn a_full_queue_refuses_gives_back_and_tells_when_there_is_room() {
    let limit = 4096;
    let (store, entered, release) = held_store(limit);
    let first = store.submit(batch("first"));
    entered.recv_timeout(Duration::from_secs(120)).unwrap();
    let mut accepted = Vec::new();
    let given_back = loop {
        match store.try_submit(batch("x"), Durability::Ack) {
            Ok(ticket) => accepted.push(ticket),
            Err(batch) => break batch,
        }
        assert!(accepted.len() < 1000, "the queue is bounded");
    };
    assert_eq!(given_back.len(), 1);
    assert!(store.statistics().waiting <= limit as u64);
    assert_eq!(store.submit(batch("y")).wait(), Err(StoreError::Busy));
    let kv = store.key_value("p", 1 << 20).unwrap();
    assert_eq!(kv.set("k", &[0; 4096], None).wait(), Err(StoreError::Busy.into()));

    let count = Arc::new(Counting(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut room = pin!(store.room());
    assert!(room.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let waiting = thread::spawn({
        let room = store.room();
        move || room.wait()
    });
    for _ in 0..10 {
        release.send(()).unwrap();
    }
    first.wait().unwrap();
    for ticket in accepted {
        ticket.wait().unwrap();
    }
    waiting.join().unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "woken once");
    assert!(room.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    store.try_submit(given_back, Durability::Ack).unwrap().wait().unwrap();
}

#[test]
fn a_batch_larger_than_the_queue_is_written_when_nothing_else_waits() {
    let store = Store::in_memory(Options { queue: 1024, ..Options::default() }).unwrap();
    let mut large = Batch::new();
    large.put_entry("user", "x", vec![0; 100_000]);
    assert!(large.size() > 100_000);
    store.submit(large).wait().unwrap();
}

struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_ticket_is_a_future_of_any_executor() {
    let (store, entered, release) = held_store(1 << 20);
    let mut ticket = pin!(store.submit(batch("x")));
    entered.recv_timeout(Duration::from_secs(120)).unwrap();
    struct Sending(mpsc::SyncSender<()>);
    impl Wake for Sending {
        fn wake(self: Arc<Self>) {
            let _ = self.0.try_send(());
        }
    }
    let (sender, woken) = mpsc::sync_channel(4);
    let waker = Waker::from(Arc::new(Sending(sender)));
    assert!(ticket.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    release.send(()).unwrap();
    woken.recv_timeout(Duration::from_secs(120)).unwrap();
    assert_eq!(ticket.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(())));
    assert!(ticket.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "it answers once and never panics");
}

#[test]
fn a_dropped_ticket_takes_nothing_back() {
    let store = Store::in_memory(Options::default()).unwrap();
    drop(store.submit(batch("a")));
    store.submit(batch("b")).wait().unwrap();
    let mut seen = Vec::new();
    store.visit_entries("user", |id, _| seen.push(id.to_owned())).unwrap();
    assert_eq!(seen, ["a", "b"]);
}

#[test]
fn an_interval_is_synced_in_time_without_another_batch() {
    let data = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Interval(Duration::from_millis(20)), ..Options::default() };
    let store = Store::open(data.path(), options).unwrap();
    store.submit(batch("a")).wait().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while store.statistics().syncs == 0 {
        assert!(std::time::Instant::now() < deadline, "never synced");
        thread::yield_now();
    }
    assert_eq!(store.statistics().syncs, 1);
}

#[test]
fn one_that_wants_the_disk_takes_the_others_along() {
    let store = Store::in_memory(Options { durability: Durability::None, ..Options::default() }).unwrap();
    store.submit(batch("a")).wait().unwrap();
    assert_eq!(store.statistics().syncs, 0);
    store.submit_with(batch("b"), Durability::Ack).wait().unwrap();
    assert_eq!(store.statistics().syncs, 1);
    store.close();
    assert_eq!(store.statistics().syncs, 1, "nothing was left to sync");
}
