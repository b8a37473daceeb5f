//! What callers get back: the promise of an answer, for futures of any executor and for threads that may block.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use crate::error::{KeyValueError, StoreError};
use crate::queue::Queue;

/// What an operation has to say when its transaction is committed.
#[derive(Debug)]
pub(crate) enum Answer {
    Done,
    Flag(bool),
    Number(i64),
    Value(Option<Vec<u8>>),
    Count(u64),
}

pub(crate) type Outcome = Result<Answer, KeyValueError>;

/// What became of a batch that was handed in with [`crate::Submitter::submit_then`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is written, as its durability says. Nothing follows.
    Written,
    /// The store has failed, and keeps the batch until it can be written: another fate follows. Told at most once.
    Delayed(StoreError),
    /// It is not written, and will not be. Nothing follows.
    Lost(StoreError),
}

/// What is told of the fate of a batch.
pub(crate) type Callback = Box<dyn FnMut(Fate) + Send>;

enum Progress {
    /// Nobody waits: somebody is to be called.
    Calling(Callback),
    Waiting(Option<Waker>),
    Done(Outcome),
    Taken,
}

/// Where the writer leaves the outcome and the ticket picks it up.
pub(crate) struct Completion {
    progress: Mutex<Progress>,
    done: Condvar,
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Completion")
    }
}

impl Completion {
    /// One that calls instead of being asked.
    pub(crate) fn calling(callback: Callback) -> Arc<Self> {
        Arc::new(Self { progress: Mutex::new(Progress::Calling(callback)), done: Condvar::new() })
    }

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { progress: Mutex::new(Progress::Waiting(None)), done: Condvar::new() })
    }

    /// The first outcome counts.
    pub(crate) fn complete(&self, outcome: Outcome) {
        let mut progress = self.progress.lock();
        match std::mem::replace(&mut *progress, Progress::Taken) {
            Progress::Calling(mut callback) => {
                drop(progress);
                callback(written(outcome).map_or_else(Fate::Lost, |()| Fate::Written));
            }
            Progress::Waiting(waker) => {
                *progress = Progress::Done(outcome);
                drop(progress);
                self.done.notify_all();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            other => *progress = other,
        }
    }

    /// Tells that it takes longer, unless it is over already.
    pub(crate) fn delay(&self, why: &StoreError) {
        // Under the lock, so that the end is told after this and not instead of it.
        if let Progress::Calling(callback) = &mut *self.progress.lock() {
            callback(Fate::Delayed(why.clone()));
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Outcome> {
        let mut progress = self.progress.lock();
        match std::mem::replace(&mut *progress, Progress::Taken) {
            Progress::Done(outcome) => Poll::Ready(outcome),
            Progress::Waiting(old) => {
                let waker = old.filter(|w| w.will_wake(cx.waker())).unwrap_or_else(|| cx.waker().clone());
                *progress = Progress::Waiting(Some(waker));
                Poll::Pending
            }
            Progress::Taken | Progress::Calling(_) => Poll::Pending,
        }
    }

    fn wait(&self) -> Outcome {
        let mut progress = self.progress.lock();
        loop {
            match std::mem::replace(&mut *progress, Progress::Taken) {
                Progress::Done(outcome) => return outcome,
                // Taken before: only a ticket that was polled to its end and then waited for.
                Progress::Taken | Progress::Calling(_) => return Err(StoreError::Closed.into()),
                waiting @ Progress::Waiting(_) => *progress = waiting,
            }
            self.done.wait(&mut progress);
        }
    }
}

/// What an outcome says to those who only want to know whether it was written.
pub(crate) fn written(outcome: Outcome) -> Result<(), StoreError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(KeyValueError::Store(why)) => Err(why),
        Err(other) => Err(StoreError::Failed(other.to_string().into())),
    }
}

/// The promise of an answer from the writer. A ticket that is dropped takes nothing back: the batch is written all the
/// same.
///
/// It is a future that needs no particular executor; a thread that may block calls [`Ticket::wait`]. Once it has given
/// its answer it stays pending for ever.
#[must_use = "what was handed in is not known to be written before its ticket is done"]
#[derive(Debug)]
pub struct Ticket<T, E = StoreError>(State<T, E>);

#[derive(Debug)]
enum State<T, E> {
    Refused(Option<E>),
    Pending { completion: Arc<Completion>, read: fn(Outcome) -> Result<T, E> },
}

impl<T, E> Ticket<T, E> {
    pub(crate) fn refused(why: E) -> Self {
        Self(State::Refused(Some(why)))
    }

    pub(crate) fn pending(completion: Arc<Completion>, read: fn(Outcome) -> Result<T, E>) -> Self {
        Self(State::Pending { completion, read })
    }

    /// Blocks until the batch is written as its durability says. Not for threads that run futures.
    ///
    /// # Errors
    /// Why it was not written.
    pub fn wait(self) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        match self.0 {
            State::Refused(why) => Err(why.unwrap_or_else(|| StoreError::Closed.into())),
            State::Pending { completion, read } => read(completion.wait()),
        }
    }
}

impl<T, E: Unpin> Future for Ticket<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(why) => why.take().map_or(Poll::Pending, |why| Poll::Ready(Err(why))),
            State::Pending { completion, read } => completion.poll(cx).map(*read),
        }
    }
}

/// Waits until the store takes more. A future for any executor, or [`Room::wait`].
#[must_use = "it does nothing unless it is awaited"]
#[derive(Debug)]
pub struct Room(pub(crate) Arc<Queue>);

impl Room {
    /// Blocks until there is room, or the store is closed.
    pub fn wait(self) {
        self.0.wait_for_room();
    }
}

impl Future for Room {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_room(cx)
    }
}
