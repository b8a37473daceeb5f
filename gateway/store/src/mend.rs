//! What the writer does when the store has failed: the disk is full, does not answer, or reads back what was not written.
//!
//! Whoever waits is told at once. Batches of those who rely on them ([`crate::Submitter`]) are kept, in their order, with
//! what was acknowledged before it was synced. Then the file is opened again, with a pause in between that grows: after
//! a failed write or sync nobody knows what is on disk until it is. It must have the last commit that was synced, which
//! its number shows; what was kept is written to it, and all goes on. A file that lacks a synced commit has lost what was
//! acknowledged: that is never papered over, the store stops for good.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::batch::Operation;
use crate::error::{OpenError, StoreError};
use crate::open::stumbling;
use crate::queue::Submission;
use crate::tables::Fault;
use crate::ticket::Answer;
use crate::writer::{Writer, number_of};

/// Before the file is opened again for the first time; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why the store is not back.
enum Still {
    /// It may be, later.
    Failing(String),
    /// It never will.
    Lost(String),
}

impl Writer {
    /// Brings the store back after `fault`. `group` is what was to be written, and `sync` whether it was to be synced: it
    /// may have come to the disk all the same. False: the store has failed for good, and everybody was told.
    pub(crate) fn mend(&mut self, Fault(fault): Fault, group: Vec<Submission>, sync: bool) -> bool {
        tracing::error!(why = %fault, "the store failed; nothing is stored until it can be opened again");
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let why = StoreError::Failed(fault.into());
        // First, so that whoever hears of it and comes again finds the store closed.
        let refused = self.queue.fail(&why);
        let (mut owed, others): (Vec<_>, Vec<_>) = group.into_iter().partition(|s| s.owed);
        owed.iter().for_each(|s| s.completion.delay(&why));
        others.iter().chain(&refused).for_each(|s| s.completion.complete(Err(why.clone().into())));
        let began = Instant::now();
        let (mut attempted, mut pause) = (sync, FIRST_PAUSE);
        loop {
            self.shelf.clear();
            let last = self.queue.stops_within(pause);
            match self.again(&mut owed, &mut attempted) {
                Ok(()) => {
                    tracing::warn!(after = ?began.elapsed(), "the store is back; nothing that was acknowledged is lost");
                    return true;
                }
                Err(Still::Failing(why)) if !last => {
                    if pause < LONGEST_PAUSE {
                        tracing::warn!(%why, "the store cannot be opened again yet");
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(Still::Failing(fault) | Still::Lost(fault)) => {
                    self.shelf.clear();
                    self.give_up(fault, owed);
                    return false;
                }
            }
        }
    }

    /// Opens the file again and writes what was kept.
    fn again(&mut self, owed: &mut Vec<Submission>, attempted: &mut bool) -> Result<(), Still> {
        let database = self.origin.open_again().map_err(|why| match why {
            OpenError::Newer { .. } | OpenError::Foreign(_) => Still::Lost(why.to_string()),
            // Damage that was read may be the disk's trouble and pass.
            other => Still::Failing(other.to_string()),
        })?;
        let found = stumbling(|| number_of(&database)).map_err(|Fault(why)| Still::Failing(why))?;
        if *attempted && found == self.kept.number + 1 {
            // The last attempt came to the disk after all, whole, as commits are.
            self.kept.number = found;
            self.kept.work.clear();
            self.kept.premature.clone_from(&self.premature);
            for submission in owed.drain(..) {
                submission.completion.complete(Ok(Answer::Done));
            }
        } else if found != self.kept.number {
            let last = self.kept.number;
            return Err(Still::Lost(format!("the file has commit {found}, where commit {last} was acknowledged")));
        }
        self.premature.clone_from(&self.kept.premature);
        self.shelf.put(database);
        owed.extend(self.queue.drain());
        let kept = std::mem::take(&mut self.kept.work);
        let work: Vec<&[Operation]> =
            kept.iter().map(Vec::as_slice).chain(owed.iter().map(|s| s.operations.as_slice())).collect();
        *attempted = true;
        let written = self.write(&work, true);
        let outcomes = match written {
            Ok(outcomes) => outcomes,
            Err(Fault(why)) => {
                self.kept.work = kept;
                return Err(Still::Failing(why));
            }
        };
        self.queue.mend();
        self.written(std::mem::take(owed), outcomes.into_iter().skip(kept.len()).collect(), true);
        Ok(())
    }

    fn give_up(&self, fault: String, owed: Vec<Submission>) {
        tracing::error!(why = %fault, "the store failed for good; it takes no more until the gateway is started again");
        let why = StoreError::Failed(fault.into());
        for submission in owed.into_iter().chain(self.queue.abandon(why.clone())) {
            submission.completion.complete(Err(why.clone().into()));
        }
    }
}
