//! What lies between callers and the writer: bounded in octets, so that a disk that is too slow is felt by those who
//! write and not by the memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

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
    /// Those who want to hear that there is room.
    hopeful: Vec<Waker>,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    room: Condvar,
    limit: usize,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), room: Condvar::new(), limit }
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
        if let Some(why) = &state.stopped {
            return Err(Refusal::Stopped(why.clone()));
        }
        let size = batch.size();
        if !state.waiting.is_empty() && state.size + size > self.limit {
            return Err(Refusal::Busy(batch));
        }
        self.take(&mut state, batch, durability, completion);
        Ok(())
    }

    /// Takes a batch whatever waits.
    pub(crate) fn push_always(
        &self,
        batch: Batch,
        durability: Durability,
        completion: &Arc<Completion>,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if let Some(why) = &state.stopped {
            return Err(why.clone());
        }
        self.take(&mut state, batch, durability, completion);
        Ok(())
    }

    fn take(&self, state: &mut State, batch: Batch, durability: Durability, completion: &Arc<Completion>) {
        let size = batch.size();
        state.size += size;
        let first = state.waiting.is_empty();
        let completion = Arc::clone(completion);
        state.waiting.push_back(Submission { operations: batch.operations, size, durability, completion });
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
        let hopeful = std::mem::take(&mut state.hopeful);
        drop(state);
        self.filled.notify_all();
        self.room.notify_all();
        hopeful.into_iter().for_each(Waker::wake);
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

    /// Why it takes no more, if it does not.
    pub(crate) fn stopped(&self) -> Option<StoreError> {
        self.state.lock().stopped.clone()
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
        state.stopped.is_some() || state.waiting.is_empty() || state.size <= self.limit / 2
    }
}
