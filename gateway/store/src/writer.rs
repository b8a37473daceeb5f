//! The one thread that writes: takes what waits, applies it in one transaction, syncs once, tells everybody.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase};

use crate::batch::Operation;
use crate::clock::Clock;
use crate::error::StoreError;
use crate::options::Durability;
use crate::queue::{Queue, Submission, Work};
use crate::tables::{Fault, Tables, key_value, sessions};
use crate::ticket::Outcome;

/// Octets that may wait for a sync under [`Durability::None`].
const UNSYNCED: u64 = 64 << 20;
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
}

/// The writer's state.
pub(crate) struct Writer {
    pub(crate) database: Arc<Database>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    /// When what was acknowledged before its sync must be on disk.
    sync_at: Option<Instant>,
    /// Octets acknowledged before their sync.
    unsynced: u64,
    dirty: bool,
    sweep_at: Instant,
    premature: sessions::Premature,
}

impl Writer {
    pub(crate) fn new(database: Arc<Database>, queue: Arc<Queue>, counters: Arc<Counters>, clock: Clock) -> Self {
        let sweep_at = Instant::now() + SWEEP_EVERY;
        let premature = sessions::Premature::default();
        Self { database, queue, counters, clock, sync_at: None, unsynced: 0, dirty: false, sweep_at, premature }
    }

    /// Runs until the queue is closed and empty, or the engine fails.
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

    /// Writes a group. False: the engine failed, everybody was told, and nothing more can be written: after a failed
    /// write or sync nobody knows what is on disk until the file is opened anew.
    fn attempt(&mut self, group: Vec<Submission>, sync: bool) -> bool {
        let mut submissions = Vec::with_capacity(group.len());
        let mut waiting = Vec::with_capacity(group.len());
        let (mut size, mut operations) = (0, 0);
        let now = Instant::now();
        let mut sync_at = self.sync_at;
        for submission in group {
            size += submission.size as u64;
            operations += submission.operations.len() as u64;
            if let Durability::Interval(within) = submission.durability {
                let at = now + within;
                sync_at = Some(sync_at.map_or(at, |old| old.min(at)));
            }
            submissions.push(submission.operations);
            waiting.push(submission.completion);
        }
        let batches = waiting.len() as u64;
        let written = catch_unwind(AssertUnwindSafe(|| self.write(submissions, sync)));
        match written.unwrap_or_else(|_| Err(Fault("the storage engine stumbled over the file's contents".to_owned())))
        {
            Ok(outcomes) => {
                if sync {
                    (self.sync_at, self.unsynced, self.dirty) = (None, 0, false);
                } else {
                    (self.sync_at, self.dirty) = (sync_at, true);
                    self.unsynced += size;
                }
                let count = |counter: &AtomicU64, by| counter.fetch_add(by, Ordering::Relaxed);
                count(&self.counters.transactions, 1);
                count(&self.counters.syncs, u64::from(sync));
                count(&self.counters.batches, batches);
                count(&self.counters.operations, operations);
                for (completion, outcome) in waiting.into_iter().zip(outcomes) {
                    completion.complete(outcome);
                }
                true
            }
            Err(Fault(why)) => {
                tracing::error!(%why, "the store failed; it takes no more until the gateway is started again");
                let why = StoreError::Failed(why.into());
                let left = self.queue.abandon(why.clone());
                for completion in waiting.into_iter().chain(left.into_iter().map(|s| s.completion)) {
                    completion.complete(Err(why.clone().into()));
                }
                false
            }
        }
    }

    fn write(&mut self, submissions: Vec<Vec<Operation>>, sync: bool) -> Result<Vec<Outcome>, Fault> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(if sync { redb::Durability::Immediate } else { redb::Durability::None })?;
        let mut outcomes = Vec::with_capacity(submissions.len());
        let mut tables = Tables::new(&transaction, self.clock.now_ms(), &mut self.premature);
        tables.skip_queued(done_with(&submissions))?;
        for operations in submissions {
            outcomes.push(tables.apply(operations)?);
        }
        tables.finish()?;
        transaction.commit()?;
        Ok(outcomes)
    }

    /// Removes what has expired, if anything has: an idle store is not written to.
    fn sweep(&mut self) -> bool {
        let due = self
            .database
            .begin_read()
            .map_err(Fault::from)
            .and_then(|transaction| key_value::is_due(&transaction, self.clock.now_ms()));
        match due {
            Ok(false) => true,
            // Losing a removal loses nothing, so it does not cost a sync of its own.
            Ok(true) => match self.write(vec![vec![Operation::Sweep(SWEEP)]], false) {
                Ok(_) => {
                    self.dirty = true;
                    true
                }
                Err(fault) => self.fail(fault),
            },
            Err(fault) => self.fail(fault),
        }
    }

    fn fail(&self, Fault(why): Fault) -> bool {
        tracing::error!(%why, "the store failed; it takes no more until the gateway is started again");
        let why = StoreError::Failed(why.into());
        for left in self.queue.abandon(why.clone()) {
            left.completion.complete(Err(why.clone().into()));
        }
        false
    }
}

/// Messages of sessions that this group deletes.
fn done_with(submissions: &[Vec<Operation>]) -> HashSet<sessions::Message> {
    let changes = submissions.iter().flatten();
    changes
        .filter_map(|operation| match operation {
            Operation::Session(sessions::Change::DeleteQueued { session, sequence }) => Some((*session, *sequence)),
            _ => None,
        })
        .collect()
}
