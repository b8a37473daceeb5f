//! What lies between callers and the writer: bounded in octets, so that a disk that is too slow is felt by those who
//! write and not by the memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::batch::{Batch, Operation};
use crate::error::StoreError;
use crate::options::Durability;
use crate::ticket::Completion;

/// A batch on its way.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) operations: Vec<Operation>,
    pub(crate) size: usize,
    pub(crate) durability: Durability,
    pub(crate) completion: Arc<Completion>,
    /// Whoever handed it in has moved on and relies on it: it is kept when the store fails.
    pub(crate) owed: bool,
}

/// What the writer finds.
#[derive(Debug)]
pub(crate) enum Work {
    /// All that was waiting.
    Group(Vec<Submission>),
    /// The deadline has come.
    Time,
    /// Closed, and nothing waits any more.
    Closed,
}

/// Why a batch was not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    Busy(Batch),
    Stopped(StoreError),
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Submission>,
    size: usize,
    stopped: Option<StoreError>,
    /// Why nothing is written for now, while the store has failed and may come back.
    failing: Option<StoreError>,
    /// Those who want to hear that there is room.
    hopeful: Vec<Waker>,
}

impl State {
    fn refusal(&self) -> Option<&StoreError> {
        self.stopped.as_ref().or(self.failing.as_ref())
    }
}

/// How many times the limit may wait while the store has failed. Whoever is told to wait stops soon; what comes all the
/// same is the end of what had begun: acknowledgements, sessions that end.
const PATIENCE: usize = 4;

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Whether `state` refuses, for those who ask at every message.
    refusing: AtomicBool,
    filled: Condvar,
    room: Condvar,
    limit: usize,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            refusing: AtomicBool::new(false),
            filled: Condvar::new(),
            room: Condvar::new(),
            limit,
        }
    }

    /// Takes a batch, or gives it back. A batch that alone exceeds the limit is taken when nothing else waits:
    /// otherwise it could never be written.
    pub(crate) fn push(
        &self,
        batch: Batch,
        durability: Durability,
        completion: &Arc<Completion>,
    ) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        if let Some(why) = state.refusal() {
            return Err(Refusal::Stopped(why.clone()));
        }
        let size = batch.size();
        if !state.waiting.is_empty() && state.size + size > self.limit {
            return Err(Refusal::Busy(batch));
        }
        self.take(&mut state, batch, durability, completion, false);
        Ok(())
    }

    /// Takes a batch whatever waits, to be written even if the store fails meanwhile. Gives the reason if it has failed
    /// already: the batch has to wait then. What waits for a failed store is bounded as well: beyond, it is given up.
    pub(crate) fn push_always(
        &self,
        batch: Batch,
        durability: Durability,
        completion: &Arc<Completion>,
    ) -> Result<Option<StoreError>, StoreError> {
        let mut state = self.state.lock();
        if let Some(why) = &state.stopped {
            return Err(why.clone());
        }
        let failing = state.failing.clone();
        if failing.is_some() && state.size + batch.size() > self.limit.saturating_mul(PATIENCE) {
            let why = StoreError::Failed("more came to be written than can be kept until the store is back".into());
            state.stopped = Some(why.clone());
            self.refusing.store(true, Ordering::Release);
            self.filled.notify_all();
            return Err(why);
        }
        self.take(&mut state, batch, durability, completion, true);
        Ok(failing)
    }

    fn take(&self, state: &mut State, batch: Batch, durability: Durability, completion: &Arc<Completion>, owed: bool) {
        let size = batch.size();
        state.size += size;
        let first = state.waiting.is_empty();
        let completion = Arc::clone(completion);
        state.waiting.push_back(Submission { operations: batch.operations, size, durability, completion, owed });
        if first {
            self.filled.notify_one();
        }
    }

    /// Whether more waits than the limit.
    pub(crate) fn is_crowded(&self) -> bool {
        self.state.lock().size > self.limit
    }

    /// Blocks until something waits, the deadline comes, or the queue is closed.
    pub(crate) fn next(&self, deadline: Option<Instant>) -> Work {
        let mut state = self.state.lock();
        loop {
            if !state.waiting.is_empty() {
                state.size = 0;
                let group = std::mem::take(&mut state.waiting).into();
                let hopeful = std::mem::take(&mut state.hopeful);
                drop(state);
                self.room.notify_all();
                hopeful.into_iter().for_each(Waker::wake);
                return Work::Group(group);
            }
            if state.stopped.is_some() {
                return Work::Closed;
            }
            match deadline {
                None => self.filled.wait(&mut state),
                Some(at) => {
                    if self.filled.wait_until(&mut state, at).timed_out() && state.waiting.is_empty() {
                        return if state.stopped.is_some() { Work::Closed } else { Work::Time };
                    }
                }
            }
        }
    }

    /// Refuses all that comes from now on, with this reason; what waits already stays for the writer. The first reason
    /// counts.
    pub(crate) fn stop(&self, why: StoreError) {
        let mut state = self.state.lock();
        state.stopped.get_or_insert(why);
        self.refusing.store(true, Ordering::Release);
        let hopeful = std::mem::take(&mut state.hopeful);
        drop(state);
        self.filled.notify_all();
        self.room.notify_all();
        hopeful.into_iter().for_each(Waker::wake);
    }

    /// Nothing is written for now, for this reason. Takes out what was not promised to be kept; those who wait for room
    /// are told to come and hear of it.
    pub(crate) fn fail(&self, why: &StoreError) -> Vec<Submission> {
        let mut state = self.state.lock();
        state.failing = Some(why.clone());
        self.refusing.store(true, Ordering::Release);
        let (kept, refused): (Vec<_>, Vec<_>) = std::mem::take(&mut state.waiting).into_iter().partition(|s| s.owed);
        state.size = kept.iter().map(|s| s.size).sum();
        let delayed: Vec<_> = kept.iter().map(|s| Arc::clone(&s.completion)).collect();
        state.waiting = kept.into();
        let hopeful = std::mem::take(&mut state.hopeful);
        drop(state);
        delayed.iter().for_each(|completion| completion.delay(why));
        self.room.notify_all();
        hopeful.into_iter().for_each(Waker::wake);
        refused
    }

    /// What waits, for a writer that tries again.
    pub(crate) fn drain(&self) -> Vec<Submission> {
        let mut state = self.state.lock();
        state.size = 0;
        std::mem::take(&mut state.waiting).into()
    }

    /// Everything is written again.
    pub(crate) fn mend(&self) {
        let mut state = self.state.lock();
        state.failing = None;
        self.refusing.store(state.stopped.is_some(), Ordering::Release);
    }

    /// Blocks for this time. True: it was stopped, and there is no more waiting.
    pub(crate) fn stops_within(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        let end = Instant::now() + time;
        while state.stopped.is_none() && !self.filled.wait_until(&mut state, end).timed_out() {}
        state.stopped.is_some()
    }

    /// As [`Queue::stop`], and takes out what waits.
    pub(crate) fn abandon(&self, why: StoreError) -> Vec<Submission> {
        self.stop(why);
        let mut state = self.state.lock();
        state.size = 0;
        std::mem::take(&mut state.waiting).into()
    }

    /// Octets that wait.
    pub(crate) fn size(&self) -> usize {
        self.state.lock().size
    }

    /// Whether it takes no more, for now or for good. Costs nothing.
    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Acquire)
    }

    /// Why it takes no more, for now or for good, if it does not.
    pub(crate) fn stopped(&self) -> Option<StoreError> {
        self.state.lock().refusal().cloned()
    }

    pub(crate) fn wait_for_room(&self) {
        let mut state = self.state.lock();
        while !self.has_room(&state) {
            self.room.wait(&mut state);
        }
    }

    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if self.has_room(&state) {
            return Poll::Ready(());
        }
        if !state.hopeful.iter().any(|w| w.will_wake(cx.waker())) {
            state.hopeful.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Half empty, so that those who wait are not woken for a single batch.
    fn has_room(&self, state: &State) -> bool {
        state.refusal().is_some() || state.waiting.is_empty() || state.size <= self.limit / 2
    }
}
