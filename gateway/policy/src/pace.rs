//! Whose turn it is among guests that run for long.
//!
//! A guest that runs yields at every tick, but a dozen of them that never wait would still keep every worker busy, a tick
//! each, and messages would wait behind them. So a guest that has run for a tick needs a place to go on, of which there
//! are fewer than workers; and since each policy has no more places of its own than there are in all, policies take
//! turns, whatever one of them does. What answers within a tick, as nearly all logins do, never asks for a place.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one policy, and behind them those of all.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

impl Places {
    /// So many, shared by all policies.
    pub(crate) fn of_all(count: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(count.max(1)))
    }

    /// Those of one policy among `count` of all.
    pub(crate) fn of_one(count: usize, all: &Arc<Semaphore>) -> Self {
        Self { own: Self::of_all(count), all: Arc::clone(all) }
    }
}

/// The place that a guest has. Shared with the future that waits for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place(Arc<Mutex<Option<[OwnedSemaphorePermit; 2]>>>);

impl Place {
    /// Leaves it to others: a tick is over, the guest waits for the host, or its call has ended.
    pub(crate) fn leave(&self) {
        // Dropped after the lock.
        let _left = self.0.lock().take();
    }

    /// Waits for one.
    pub(crate) async fn take(self, places: Places) {
        // Once round, so that those who need none go on.
        tokio::task::yield_now().await;
        // Nobody closes them: without a place the deadline ends the call.
        let Ok(own) = places.own.acquire_owned().await else { return };
        let Ok(all) = places.all.acquire_owned().await else { return };
        *self.0.lock() = Some([own, all]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_policy_never_keeps_another_from_its_turn() {
        let all = Places::of_all(1);
        let (greedy, other) = (Places::of_one(1, &all), Places::of_one(1, &all));
        let first = Place::default();
        first.clone().take(greedy.clone()).await;
        let mut crowd: Vec<_> = (0..20).map(|_| Place::default()).collect();
        let waiting: Vec<_> = crowd.iter().map(|place| tokio::spawn(place.clone().take(greedy.clone()))).collect();
        tokio::task::yield_now().await;
        let polite = Place::default();
        let turn = tokio::spawn(polite.clone().take(other));
        tokio::task::yield_now().await;
        // One of the crowd stood there before; then it is the other's turn, although nineteen came earlier.
        first.leave();
        let mut before = 0;
        while !turn.is_finished() {
            tokio::task::yield_now().await;
            crowd.retain(|place| {
                let has = place.0.lock().is_some();
                before += usize::from(has);
                place.leave();
                !has
            });
        }
        assert!(before <= 2, "{before} went before");
        polite.leave();
        drop(waiting);
    }
}
