//! The power fails at any moment: what was acknowledged is there, and no batch by halves. The same of a disk that fills up.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_store::disk::Disk;
use portcullis_store::{Batch, Durability, Fate, Options, SessionRow, Store};
use proptest::prelude::*;

/// One change of the kinds that sessions make.
#[derive(Clone, Debug)]
enum Change {
    Retain(u8, u16),
    Forget(u8),
    Queue(u8, u16),
    /// Deletes a message that was queued: the one at this place among them.
    Done(u8),
    Entry(u8, u16),
    Session(u8),
    End(u8),
}

/// A batch, how durable, and whether it is waited for before the next.
type Handed = (Vec<Change>, Durability, bool);

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..12u8, 0..3000u16).prop_map(|(topic, size)| Change::Retain(topic, size)),
        1 => (0..12u8).prop_map(Change::Forget),
        6 => (0..4u8, 0..3000u16).prop_map(|(session, size)| Change::Queue(session, size)),
        4 => any::<u8>().prop_map(Change::Done),
        1 => (0..6u8, 0..3000u16).prop_map(|(id, size)| Change::Entry(id, size)),
        1 => (0..4u8).prop_map(Change::Session),
        1 => (0..4u8).prop_map(Change::End),
    ]
}

fn handed() -> impl Strategy<Value = Handed> {
    let durability = prop_oneof![
        4 => Just(Durability::Ack),
        1 => Just(Durability::Interval(Duration::from_secs(3600))),
        1 => Just(Durability::None),
    ];
    (prop::collection::vec(change(), 1..12), durability, prop::bool::weighted(0.3))
}

/// All rows: what they are, and their bytes.
type Rows = BTreeMap<String, Vec<u8>>;

/// What the store should hold, and what makes the next message.
#[derive(Clone, Debug, Default)]
struct Model {
    rows: Rows,
    sequence: u64,
    /// Counts changes, so that no two values are equal.
    count: u32,
}

impl Model {
    fn value(&mut self, size: u16) -> Vec<u8> {
        self.count += 1;
        let mut value = self.count.to_le_bytes().to_vec();
        value.resize(4 + usize::from(size), self.count as u8);
        value
    }

    /// Applies a change here, and adds it to the batch.
    fn apply(&mut self, change: &Change, batch: &mut Batch) {
        match change {
            Change::Retain(topic, size) => {
                let value = self.value(*size);
                batch.put_retained(&format!("t/{topic}"), value.clone());
                self.rows.insert(format!("retained t/{topic}"), value);
            }
            Change::Forget(topic) => {
                batch.delete_retained(&format!("t/{topic}"));
                self.rows.remove(&format!("retained t/{topic}"));
            }
            Change::Queue(session, size) => {
                self.sequence += 1;
                let value = self.value(*size);
                batch.put_queued(u64::from(*session), self.sequence, value.clone());
                self.rows.insert(format!("queued {session} {:06}", self.sequence), value);
            }
            Change::Done(place) => {
                let queued: Vec<_> = self.rows.keys().filter(|key| key.starts_with("queued ")).cloned().collect();
                let Some(key) = queued.get(usize::from(*place) % queued.len().max(1)) else { return };
                let mut parts = key.split(' ').skip(1).map(|part| part.parse::<u64>().unwrap());
                batch.delete_queued(parts.next().unwrap(), parts.next().unwrap());
                self.rows.remove(key);
            }
            Change::Entry(id, size) => {
                let value = self.value(*size);
                batch.put_entry("user", &id.to_string(), value.clone());
                self.rows.insert(format!("entry {id}"), value);
            }
            Change::Session(session) => {
                let value = self.value(40);
                batch.put_session(&format!("c{session}"), value.clone());
                batch.put_subscription(u64::from(*session), "a/#", value.clone());
                self.rows.insert(format!("session c{session}"), value.clone());
                self.rows.insert(format!("subscription {session} a/#"), value);
            }
            Change::End(session) => {
                batch.delete_session(&format!("c{session}"), u64::from(*session));
                self.rows.remove(&format!("session c{session}"));
                let own = [format!("subscription {session} "), format!("queued {session} ")];
                self.rows.retain(|key, _| !own.iter().any(|prefix| key.starts_with(prefix)));
            }
        }
    }
}

fn rows(store: &Store) -> Rows {
    let mut rows = Rows::new();
    store
        .visit_sessions(|row| {
            let (key, bytes) = match row {
                SessionRow::Session { client_id, bytes } => (format!("session {client_id}"), bytes),
                SessionRow::Subscription { session, filter, bytes } => {
                    (format!("subscription {session} {filter}"), bytes)
                }
                SessionRow::Unreleased { session, id } => (format!("unreleased {session} {id}"), &[][..]),
                SessionRow::Queued { session, sequence, bytes } => (format!("queued {session} {sequence:06}"), bytes),
                SessionRow::Will { session, bytes } => (format!("will {session}"), bytes),
                SessionRow::Retained { topic, bytes } => (format!("retained {topic}"), bytes),
            };
            rows.insert(key, bytes.to_vec());
        })
        .unwrap();
    store.visit_entries("user", |id, bytes| drop(rows.insert(format!("entry {id}"), bytes.to_vec()))).unwrap();
    rows
}

/// A small cache, so that pages are written before their transaction is committed as well.
fn options() -> Options {
    Options { cache: 64 << 10, ..Options::default() }
}

/// Hands in batches. Gives the model after each of them, the first being the one before all, and how many of them were
/// promised to last.
fn run(store: &Store, before: Model, work: &[Handed]) -> (Vec<Model>, usize) {
    let mut models = vec![before];
    let mut outcomes = Vec::new();
    for (changes, durability, wait) in work {
        let mut model = models.last().unwrap().clone();
        let mut batch = Batch::new();
        for change in changes {
            model.apply(change, &mut batch);
        }
        models.push(model);
        let ticket = store.submit_with(batch, *durability);
        outcomes.push(if *wait { Ok(ticket.wait().is_ok()) } else { Err(ticket) });
    }
    let written = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|ticket| ticket.wait().is_ok()));
    let promised = written.zip(work).map(|(written, (_, durability, _))| written && *durability == Durability::Ack);
    let promised = promised.enumerate().filter(|(_, promised)| *promised).last().map_or(0, |(place, _)| place + 1);
    (models, promised)
}

fn chance(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |bound| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound.max(1)
    }
}

/// The place of the state that the store is in; batches are written in order, so it is the state after one of them.
fn state_of(found: &Rows, models: &[Model]) -> Option<usize> {
    models.iter().rposition(|model| model.rows == *found)
}

fn differences(found: &Rows, wanted: &Rows) -> Vec<String> {
    let short = |bytes: Option<&Vec<u8>>| bytes.map(|b| (b.len(), b[..4.min(b.len())].to_vec()));
    let keys: std::collections::BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    keys.into_iter()
        .filter(|key| found.get(*key) != wanted.get(*key))
        .map(|key| format!("{key}: {:?} instead of {:?}", short(found.get(key)), short(wanted.get(key))))
        .collect()
}

proptest! {
    /// Three cuts in a row, so that a cut meets the repair of the one before as well.
    #[test]
    fn what_was_acknowledged_survives_a_power_cut_and_nothing_is_half_applied(
        rounds in prop::collection::vec((prop::collection::vec(handed(), 1..30), 1..400u64, any::<u64>()), 1..4),
    ) {
        let mut disk = Disk::new();
        drop(Store::on_disk(&disk, options()).unwrap());
        let mut model = Model::default();
        for (work, steps, seed) in rounds {
            disk.cut_after(steps);
            let (models, promised) = match Store::on_disk(&disk, options()) {
                Ok(store) => run(&store, model, &work),
                // The power failed while it was opened.
                Err(_) if disk.is_cut() => (vec![model], 0),
                Err(why) => panic!("{why}"),
            };
            disk = disk.after_power_cut(chance(seed));
            let store = Store::on_disk(&disk, options()).map_err(|why| TestCaseError::fail(why.to_string()))?;
            let found = rows(&store);
            let Some(place) = state_of(&found, &models) else {
                let wanted = &models[promised].rows;
                return Err(TestCaseError::fail(format!(
                    "half a batch, or an acknowledged one is missing; against the last that was acknowledged: {:#?}",
                    differences(&found, wanted)
                )));
            };
            // Equal states are told apart by the last of them.
            prop_assert!(place >= promised, "batch {promised} was acknowledged, and {place} is the last that is there");
            model = Model { rows: found, ..models.last().unwrap().clone() };
        }
    }

    /// The disk fills up, and later there is room again. Sessions rely on their batches: none is lost, and none is
    /// written before another that was handed in earlier.
    #[test]
    fn what_was_handed_in_while_the_disk_was_full_is_written_when_there_is_room(
        work in prop::collection::vec(handed(), 1..30),
        room in 0..200_000u64,
        heal_at in 0..30usize,
    ) {
        let disk = Disk::new();
        let store = Store::on_disk(&disk, options()).unwrap();
        disk.fill_after(room);
        let mut model = Model::default();
        let (told, heard) = std::sync::mpsc::channel();
        for (place, (changes, durability, _)) in work.iter().enumerate() {
            if place == heal_at {
                disk.heal();
            }
            let mut batch = Batch::new();
            for change in changes {
                model.apply(change, &mut batch);
            }
            let told = told.clone();
            store.submitter().submit_then(batch, *durability, move |fate| told.send((place, fate)).unwrap());
        }
        disk.heal();
        let mut written = Vec::new();
        while written.len() < work.len() {
            match heard.recv_timeout(Duration::from_secs(120)).unwrap() {
                (place, Fate::Written) => written.push(place),
                (_, Fate::Delayed(_)) => {}
                (place, Fate::Lost(why)) => panic!("{place}: {why}"),
            }
        }
        prop_assert!(written.is_sorted(), "{written:?}");
        prop_assert_eq!(store.stopped(), None);
        store.close();
        let found = rows(&store);
        prop_assert!(found == model.rows, "{:#?}", differences(&found, &model.rows));
        drop(store);
        let store = Store::on_disk(&disk.after_power_cut(|_| 0), options()).map_err(|why| TestCaseError::fail(why.to_string()))?;
        prop_assert!(rows(&store) == model.rows, "{:#?}", differences(&rows(&store), &model.rows));
    }
}

#[test]
fn a_deletion_that_comes_before_the_writing_wins() {
    let store = Store::in_memory(Options::default()).unwrap();
    let hand_in = |fill: &dyn Fn(&mut Batch) -> usize| {
        let mut batch = Batch::new();
        fill(&mut batch);
        store.submit(batch).wait().unwrap();
    };
    hand_in(&|batch| batch.delete_queued(1, 7).len());
    hand_in(&|batch| batch.put_queued(1, 7, vec![7]).len());
    assert_eq!(rows(&store), Rows::new());
    // Within one transaction, in either order, and after the writing.
    hand_in(&|batch| batch.delete_queued(1, 8).put_queued(1, 8, vec![8]).len());
    hand_in(&|batch| batch.put_queued(1, 9, vec![9]).delete_queued(1, 9).len());
    hand_in(&|batch| batch.put_queued(1, 10, vec![10]).len());
    hand_in(&|batch| batch.put_queued(1, 10, vec![255]).delete_queued(1, 10).len());
    assert_eq!(rows(&store), Rows::new());
    // Nothing of it is remembered for others.
    hand_in(&|batch| batch.put_queued(1, 11, vec![11]).put_queued(2, 7, vec![7]).len());
    assert_eq!(rows(&store).len(), 2);
}
