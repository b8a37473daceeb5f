//! The file does not grow without bound: free pages are used again while it is open, and a file that has become mostly
//! empty is rewritten when it is opened. Sizes are compared, never times.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use portcullis_store::{Batch, Durability, Options, SessionRow, Store};

const MESSAGE: usize = 500;

fn size(data: &Path) -> u64 {
    std::fs::metadata(data.join("portcullis.redb")).unwrap().len()
}

fn messages(store: &Store) -> Vec<u64> {
    let mut found = Vec::new();
    store
        .visit_sessions(|row| {
            if let SessionRow::Queued { sequence, bytes, .. } = row {
                assert!(bytes.len() == MESSAGE && bytes.iter().all(|octet| *octet == sequence as u8));
                found.push(sequence);
            }
        })
        .unwrap();
    found
}

/// Writes these messages and deletes those, a hundred to a batch, every tenth of them synced.
fn change(store: &Store, put: &[u64], delete: &[u64]) {
    let all = put.iter().map(|n| (true, *n)).chain(delete.iter().map(|n| (false, *n))).collect::<Vec<_>>();
    let mut last = None;
    for (place, part) in all.chunks(100).enumerate() {
        let mut batch = Batch::new();
        for (put, n) in part {
            if *put {
                batch.put_queued(1, *n, vec![*n as u8; MESSAGE]);
            } else {
                batch.delete_queued(1, *n);
            }
        }
        let durability = if place % 10 == 9 { Durability::Ack } else { Durability::None };
        let ticket = store.submit_with(batch, durability);
        // A store that is behind takes no more: it is waited for.
        if durability == Durability::Ack {
            ticket.wait().unwrap();
            last = None;
        } else {
            last = Some(ticket);
        }
    }
    if let Some(ticket) = last {
        ticket.wait().unwrap();
    }
}

#[test]
fn a_file_under_constant_change_stays_within_a_few_times_what_it_holds() {
    const LIVE: u64 = 4_000;
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path(), Options::default()).unwrap();
    change(&store, &(0..LIVE).collect::<Vec<_>>(), &[]);
    let (mut early, mut most) = (0, 0);
    for round in 1..=40 {
        let put: Vec<_> = (round * LIVE..(round + 1) * LIVE).collect();
        let delete: Vec<_> = ((round - 1) * LIVE..round * LIVE).collect();
        change(&store, &put, &delete);
        most = most.max(size(data.path()));
        if round == 10 {
            early = most;
        }
    }
    assert_eq!(messages(&store).len(), LIVE as usize);
    // In a round there are at most twice as many messages as between rounds.
    let live = 2 * LIVE * MESSAGE as u64;
    assert!(most <= 4 * live, "{most} octets for {live}");
    assert!(most <= 2 * early, "{early} octets after ten rounds, {most} after forty");
}

#[test]
fn a_file_that_is_mostly_empty_is_rewritten_when_it_is_opened() {
    let data = tempfile::tempdir().unwrap();
    let options = || Options { rewrite_from: 1 << 20, ..Options::default() };
    let store = Store::open(data.path(), options()).unwrap();
    let all: Vec<_> = (0..40_000).collect();
    change(&store, &all, &[]);
    store.key_value("policy:jwt", 1 << 20).unwrap().set("nonce", b"1", None).wait().unwrap();
    let mut batch = Batch::new();
    batch.put_entry("user", "ada", b"kept".to_vec());
    store.submit(batch).wait().unwrap();
    // Here and there something stays, so that the file cannot just be cut off.
    let (kept, gone): (Vec<u64>, Vec<u64>) = all.iter().partition(|n| *n % 200 == 0);
    change(&store, &[], &gone);
    drop(store);
    let before = size(data.path());
    let store = Store::open(data.path(), options()).unwrap();
    let after = size(data.path());
    assert!(after * 4 <= before && after < 2 << 20, "{before} octets before, {after} after");
    assert_eq!(messages(&store), kept);
    assert_eq!(store.key_value("policy:jwt", 1 << 20).unwrap().get("nonce").unwrap(), Some(b"1".to_vec()));
    let mut entries = Vec::new();
    store.visit_entries("user", |id, bytes| entries.push((id.to_owned(), bytes.to_vec()))).unwrap();
    assert_eq!(entries, [("ada".to_owned(), b"kept".to_vec())]);
    change(&store, &[50_000], &[]);
    drop(store);
    assert_eq!(messages(&Store::open(data.path(), options()).unwrap()).len(), kept.len() + 1);
}
