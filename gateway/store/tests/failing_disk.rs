//! A disk that fills up, does not answer, or loses what it was to write: everybody is told at once, what sessions rely on is
//! kept, and the store comes back by itself when the disk does, with all that was acknowledged.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::mpsc;
use std::time::Duration;

use portcullis_store::disk::Disk;
use portcullis_store::{Batch, Durability, Fate, OpenError, Options, SessionRow, Store, StoreError};

const SOON: Duration = Duration::from_secs(120);

fn message(n: u64, size: usize) -> Batch {
    let mut batch = Batch::new();
    batch.put_queued(1, n, vec![n as u8; size]);
    batch
}

fn messages(store: &Store) -> Vec<u64> {
    let mut found = Vec::new();
    store
        .visit_sessions(|row| {
            if let SessionRow::Queued { sequence, bytes, .. } = row {
                assert!(bytes.iter().all(|octet| *octet == sequence as u8), "message {sequence} is another's");
                found.push(sequence);
            }
        })
        .unwrap();
    found
}

/// What is told of batches, in the order in which it is.
fn hand_in(store: &Store, n: u64, durability: Durability, told: &mpsc::Sender<(u64, Fate)>) {
    let told = told.clone();
    store.submitter().submit_then(message(n, 400), durability, move |fate| told.send((n, fate)).unwrap());
}

fn break_it(disk: &Disk, full: bool) {
    if full {
        disk.fill_after(0);
    } else {
        disk.fail_syncs();
    }
}

fn until_it_is_back(store: &Store, n: u64) {
    let end = std::time::Instant::now() + SOON;
    while store.submit(message(n, 10)).wait().is_err() {
        assert!(std::time::Instant::now() < end, "the store does not come back: {:?}", store.stopped());
        std::thread::yield_now();
    }
}

#[test]
fn everybody_is_told_at_once_and_the_store_comes_back_with_the_disk() {
    for full in [true, false] {
        let disk = Disk::new();
        let store = Store::on_disk(&disk, Options::default()).unwrap();
        store.submit(message(1, 400)).wait().unwrap();
        let (told, heard) = mpsc::channel();
        // Acknowledged before it is on disk: it has to survive as well.
        hand_in(&store, 2, Durability::None, &told);
        assert_eq!(heard.recv_timeout(SOON).unwrap(), (2, Fate::Written));

        break_it(&disk, full);
        hand_in(&store, 3, Durability::Ack, &told);
        let (3, Fate::Delayed(why)) = heard.recv_timeout(SOON).unwrap() else { panic!("expected a delay") };
        let StoreError::Failed(reason) = &why else { panic!("{why:?}") };
        let expected = if full { "no storage space" } else { "does not answer" };
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(store.stopped(), Some(why.clone()));
        assert!(store.submitter().has_stopped());
        // Who waits for a ticket is refused, and who relies on a batch is told that it takes longer.
        assert_eq!(store.submit(message(4, 400)).wait(), Err(why.clone()));
        hand_in(&store, 5, Durability::Ack, &told);
        assert_eq!(heard.recv_timeout(SOON).unwrap(), (5, Fate::Delayed(why)));

        disk.heal();
        assert_eq!(heard.recv_timeout(SOON).unwrap(), (3, Fate::Written));
        assert_eq!(heard.recv_timeout(SOON).unwrap(), (5, Fate::Written));
        until_it_is_back(&store, 6);
        assert_eq!((store.stopped(), store.statistics().failures), (None, 1));
        assert_eq!(messages(&store), [1, 2, 3, 5, 6], "refused, and so not written: 4");
        drop(store);
        // What was acknowledged is on the platter, and not only in what the system shows.
        let store = Store::on_disk(&disk.after_power_cut(|_| 0), Options::default()).unwrap();
        assert_eq!(messages(&store), [1, 2, 3, 5, 6]);
    }
}

#[test]
fn a_store_that_is_closed_while_the_disk_fails_says_what_is_lost() {
    let disk = Disk::new();
    let store = Store::on_disk(&disk, Options::default()).unwrap();
    store.submit(message(1, 400)).wait().unwrap();
    disk.fail_syncs();
    let (told, heard) = mpsc::channel();
    hand_in(&store, 2, Durability::Ack, &told);
    assert!(matches!(heard.recv_timeout(SOON).unwrap(), (2, Fate::Delayed(_))));
    store.close();
    assert!(matches!(heard.recv_timeout(SOON).unwrap(), (2, Fate::Lost(StoreError::Failed(_)))));
    drop(store);
    let store = Store::on_disk(&disk.after_power_cut(|_| 0), Options::default()).unwrap();
    assert_eq!(messages(&store), [1]);
}

#[test]
fn what_waits_for_a_failed_disk_is_bounded() {
    let disk = Disk::new();
    let store = Store::on_disk(&disk, Options { queue: 4096, ..Options::default() }).unwrap();
    disk.fail_syncs();
    let (told, heard) = mpsc::channel();
    // What is handed in before the failure is noticed is nobody's fault.
    hand_in(&store, 1000, Durability::Ack, &told);
    assert!(matches!(heard.recv_timeout(SOON).unwrap(), (1000, Fate::Delayed(_))));
    for n in 0..1000 {
        hand_in(&store, n, Durability::Ack, &told);
        if matches!(store.stopped(), Some(StoreError::Failed(why)) if why.contains("more came")) {
            break;
        }
        assert!(n < 999, "the backlog is bounded");
    }
    drop(told);
    // Each hears of its end, and that the store will not be back.
    let lost = heard.iter().filter(|(_, fate)| matches!(fate, Fate::Lost(_))).count();
    assert!(lost >= 4, "{lost}");
    assert!(store.submit(message(2000, 1)).wait().is_err());
}

#[test]
fn a_file_that_lost_a_synced_commit_is_not_gone_on_with() {
    let disk = Disk::new();
    let store = Store::on_disk(&disk, Options::default()).unwrap();
    store.submit(message(1, 400)).wait().unwrap();
    let before = disk.repaired();
    store.submit(message(2, 400)).wait().unwrap();
    disk.fail_syncs();
    let (told, heard) = mpsc::channel();
    hand_in(&store, 3, Durability::Ack, &told);
    assert!(matches!(heard.recv_timeout(SOON).unwrap(), (3, Fate::Delayed(_))));
    // Somebody restores yesterday's file under a running gateway.
    disk.restore(&before);
    disk.heal();
    let (3, Fate::Lost(StoreError::Failed(why))) = heard.recv_timeout(SOON).unwrap() else {
        panic!("expected the end")
    };
    assert!(why.contains("was acknowledged"), "{why}");
    assert!(store.stopped().is_some());
}

#[test]
fn a_store_that_cannot_be_opened_says_what_helps() {
    let disk = Disk::new();
    let store = Store::on_disk(&disk, Options::default()).unwrap();
    store.submit(message(1, 400)).wait().unwrap();
    // As after a crash: opening has something to write.
    let crashed = disk.repaired();
    drop(store);
    crashed.fill_after(0);
    let refused = Store::on_disk(&crashed, Options::default()).unwrap_err();
    assert!(refused.to_string().contains("make room"), "{refused}");
    crashed.heal();
    assert_eq!(messages(&Store::on_disk(&crashed, Options::default()).unwrap()), [1]);

    let refused = |kind: std::io::ErrorKind| {
        OpenError::Io { action: "open", path: "portcullis.redb".into(), source: kind.into() }.to_string()
    };
    assert!(refused(std::io::ErrorKind::ReadOnlyFilesystem).contains("mounted writable"));
    assert!(refused(std::io::ErrorKind::PermissionDenied).contains("allowed to read and write"));
}
