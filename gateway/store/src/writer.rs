//! The one thread that writes: takes what waits, applies it in one transaction, syncs once, tells everybody.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase};

use crate::batch::Operation;
use crate::clock::Clock;
use crate::open::stumbling;
use crate::options::Durability;
use crate::origin::Origin;
use crate::queue::{Queue, Submission, Work};
use crate::shelf::Shelf;
use crate::tables::{Fault, Tables, key_value, meta, sessions};
use crate::ticket::Outcome;

/// Octets that may wait for a sync under [`Durability::None`]. They are kept in memory as well, for the case that the
/// file has to be opened again.
const UNSYNCED: u64 = 16 << 20;
/// How often expired values are looked for, and how many are removed in one transaction, so that nobody waits long.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
const SWEEP: u32 = 1_000;

/// What the writer counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) transactions: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// The number of the last synced commit, among the store's own values.
const COMMITS: &str = "commits";

/// The writer's state.
pub(crate) struct Writer {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) origin: Origin,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    clock: Clock,
    /// When what was acknowledged before its sync must be on disk.
    sync_at: Option<Instant>,
    /// Octets acknowledged before their sync.
    unsynced: u64,
    dirty: bool,
    sweep_at: Instant,
    pub(crate) premature: sessions::Premature,
    pub(crate) kept: Kept,
}

/// What it takes to come from the last synced commit to what was acknowledged.
#[derive(Default)]
pub(crate) struct Kept {
    /// The commit's number. It is written with it, so that a file that is opened again can be asked which one it has.
    pub(crate) number: u64,
    /// As it was then.
    pub(crate) premature: sessions::Premature,
    /// What was written and acknowledged since.
    pub(crate) work: Vec<Vec<Operation>>,
}

impl Writer {
    pub(crate) fn new(
        shelf: Arc<Shelf>,
        origin: Origin,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
        clock: Clock,
    ) -> Result<Self, Fault> {
        let kept = Kept { number: stumbling(|| number_of(&*shelf.database()?))?, ..Kept::default() };
        Ok(Self {
            shelf,
            origin,
            queue,
            counters,
            clock,
            sync_at: None,
            unsynced: 0,
            dirty: false,
            sweep_at: Instant::now() + SWEEP_EVERY,
            premature: sessions::Premature::default(),
            kept,
        })
    }

    /// Runs until the queue is closed and empty, or the store has failed for good.
    pub(crate) fn run(mut self) {
        loop {
            let deadline = self.sync_at.map_or(self.sweep_at, |at| at.min(self.sweep_at));
            let group = match self.queue.next(Some(deadline)) {
                Work::Group(group) => group,
                Work::Time => Vec::new(),
                Work::Closed => {
                    if self.dirty {
                        self.attempt(Vec::new(), true);
                    }
                    return;
                }
            };
            let now = Instant::now();
            let sync = group.iter().any(|s| s.durability == Durability::Ack)
                || self.sync_at.is_some_and(|at| at <= now)
                || self.unsynced >= UNSYNCED;
            let sweep = self.sweep_at <= now;
            if sweep {
                self.sweep_at = now + SWEEP_EVERY;
            }
            if (!group.is_empty() || (sync && self.dirty)) && !self.attempt(group, sync) {
                return;
            }
            if sweep && !self.sweep() {
                return;
            }
        }
    }

    /// Writes a group. False: the store has failed for good, and everybody was told.
    fn attempt(&mut self, group: Vec<Submission>, sync: bool) -> bool {
        let now = Instant::now();
        let work: Vec<&[Operation]> = group.iter().map(|s| s.operations.as_slice()).collect();
        match self.write(&work, sync) {
            Ok(outcomes) => {
                for submission in &group {
                    if let Durability::Interval(within) = submission.durability {
                        let at = now + within;
                        self.sync_at = Some(self.sync_at.map_or(at, |old| old.min(at)));
                    }
                }
                self.written(group, outcomes, sync);
                true
            }
            Err(fault) => self.mend(fault, group, sync),
        }
    }

    /// Counts what was written, keeps what is not synced, and tells those who wait.
    pub(crate) fn written(&mut self, group: Vec<Submission>, outcomes: Vec<Outcome>, sync: bool) {
        let count = |counter: &AtomicU64, by| counter.fetch_add(by, Ordering::Relaxed);
        count(&self.counters.transactions, 1);
        count(&self.counters.syncs, u64::from(sync));
        count(&self.counters.batches, group.len() as u64);
        count(&self.counters.operations, group.iter().map(|s| s.operations.len() as u64).sum());
        if sync {
            (self.sync_at, self.unsynced, self.dirty) = (None, 0, false);
            self.kept.number += 1;
            self.kept.work.clear();
            self.kept.premature.clone_from(&self.premature);
        } else {
            self.dirty = true;
        }
        for (submission, outcome) in group.into_iter().zip(outcomes) {
            if !sync {
                self.unsynced += submission.size as u64;
                self.kept.work.push(submission.operations);
            }
            submission.completion.complete(outcome);
        }
    }

    /// One transaction. What the outcomes say of each batch holds once it is committed.
    pub(crate) fn write(&mut self, work: &[&[Operation]], sync: bool) -> Result<Vec<Outcome>, Fault> {
        stumbling(|| {
            let database = self.shelf.database()?;
            let mut transaction = database.begin_write()?;
            transaction.set_durability(if sync { redb::Durability::Immediate } else { redb::Durability::None })?;
            let mut tables = Tables::new(&transaction, self.clock.now_ms(), &mut self.premature);
            tables.skip_queued(done_with(work))?;
            let mut outcomes = Vec::with_capacity(work.len());
            for operations in work {
                outcomes.push(tables.apply(operations)?);
            }
            tables.finish()?;
            if sync {
                let bytes = (self.kept.number + 1).to_le_bytes().to_vec();
                meta::Writing::open(&transaction)?.apply(&meta::Change { name: COMMITS, bytes })?;
            }
            transaction.commit()?;
            Ok(outcomes)
        })
    }

    /// Removes what has expired, if anything has: an idle store is not written to.
    fn sweep(&mut self) -> bool {
        let now_ms = self.clock.now_ms();
        let due = stumbling(|| key_value::is_due(&self.shelf.database()?.begin_read()?, now_ms));
        match due {
            Ok(false) => true,
            // Losing a removal loses nothing, so it does not cost a sync of its own.
            Ok(true) => match self.write(&[&[Operation::Sweep(SWEEP)]], false) {
                Ok(_) => {
                    self.dirty = true;
                    true
                }
                Err(fault) => self.mend(fault, Vec::new(), false),
            },
            Err(fault) => self.mend(fault, Vec::new(), false),
        }
    }
}

/// The number of the last synced commit of a file.
pub(crate) fn number_of(database: &Database) -> Result<u64, Fault> {
    let found = meta::get(&database.begin_read()?, COMMITS)?;
    let bytes = found.map_or(Ok([0; 8]), |bytes| <[u8; 8]>::try_from(bytes.as_slice()));
    bytes.map(u64::from_le_bytes).map_err(|_| Fault("the number of its last commit is not a number".to_owned()))
}

/// Messages of sessions that this group deletes.
fn done_with(work: &[&[Operation]]) -> HashSet<sessions::Message> {
    let changes = work.iter().copied().flatten();
    changes
        .filter_map(|operation| match operation {
            Operation::Session(sessions::Change::DeleteQueued { session, sequence }) => Some((*session, *sequence)),
            _ => None,
        })
        .collect()
}
