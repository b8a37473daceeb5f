//! The instances of one generation: so many at one time, so many calls waiting, and the idle ones kept for later.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// An instance that nobody needed for so long gives its memory back.
const IDLE: Duration = Duration::from_secs(30);

/// A stack of idle things behind a bounded gate.
pub(crate) struct Pool<T> {
    gate: Semaphore,
    turns: usize,
    waiting: AtomicU32,
    queue: u32,
    idle: Mutex<VecDeque<(Instant, T)>>,
}

/// One of the calls that may run at one time.
pub(crate) struct Turn<'a>(#[expect(dead_code, reason = "held for its drop")] SemaphorePermit<'a>);

impl<T> Pool<T> {
    pub(crate) fn new(concurrency: u32, queue: u32) -> Self {
        Self {
            gate: Semaphore::new(concurrency.max(1) as usize),
            turns: concurrency.max(1) as usize,
            waiting: AtomicU32::new(0),
            queue,
            idle: Mutex::new(VecDeque::new()),
        }
    }

    /// Waits for a turn, in order of arrival. None: too many wait already, or it took too long.
    pub(crate) async fn turn(&self, patience: Duration) -> Option<Turn<'_>> {
        if let Ok(permit) = self.gate.try_acquire() {
            return Some(Turn(permit));
        }
        // Counted by a guard: the caller may give up in the middle.
        let _waiting = Waiting::join(&self.waiting, self.queue)?;
        tokio::time::timeout(patience, self.gate.acquire()).await.ok()?.ok().map(Turn)
    }

    /// The thing that was used last, whose memory is warm.
    pub(crate) fn take(&self) -> Option<T> {
        self.idle.lock().pop_back().map(|(_, thing)| thing)
    }

    /// Puts a thing back, and drops one that has lain idle for long.
    pub(crate) fn give_back(&self, thing: T) {
        let now = Instant::now();
        let _expired = {
            let mut idle = self.idle.lock();
            idle.push_back((now, thing));
            let old = idle.len() > 1 && idle.front().is_some_and(|(since, _)| now.duration_since(*since) > IDLE);
            // Returned from here so that it is dropped after the lock.
            if old { idle.pop_front() } else { None }
        };
    }

    /// Calls that wait for their turn.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Calls that run.
    pub(crate) fn running(&self) -> usize {
        self.turns.saturating_sub(self.gate.available_permits())
    }

    pub(crate) fn idle(&self) -> usize {
        self.idle.lock().len()
    }
}

struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicU32, limit: u32) -> Option<Self> {
        let guard = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) >= limit { None } else { Some(guard) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_run_so_many_wait_and_the_rest_is_refused() {
        let pool: Pool<()> = Pool::new(1, 1);
        let forever = Duration::from_secs(3600);
        let first = pool.turn(forever).await.expect("the first runs");
        let mut second = Box::pin(pool.turn(forever));
        assert!(futures_poll(second.as_mut()).is_none(), "the second waits");
        assert!(pool.turn(forever).await.is_none(), "the third is refused at once");
        drop(first);
        let second = second.await;
        assert!(second.is_some(), "the second runs");
        assert!(pool.turn(Duration::ZERO).await.is_none(), "one that waits too long gives up");
        drop(second);
        assert!(pool.turn(forever).await.is_some(), "and everything is free again");
    }

    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn the_warmest_is_taken_first() {
        let pool = Pool::new(4, 4);
        pool.give_back(1);
        pool.give_back(2);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some(2), Some(1), None));
    }
}
