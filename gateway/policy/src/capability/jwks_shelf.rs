//! What is stored of the JWK Sets of other servers, so that a gateway that starts while they cannot be reached knows the
//! keys that it knew before. Knows nothing of fetching.

use std::time::Duration;

use portcullis_store::{Batch, Clock, Durability, Store};
use serde::{Deserialize, Serialize};

/// The kind of these entries; the URL is their identifier.
const KIND: &str = "jwk-set";

/// A set as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fetched {
    /// Milliseconds since 1970.
    pub(super) at: u64,
    /// The JWK Set as it came.
    pub(super) text: String,
}

/// Where sets are kept. Without a store nothing is.
pub(super) struct Shelf {
    store: Option<Store>,
    clock: Clock,
}

impl Shelf {
    pub(super) fn new(store: Option<Store>) -> Self {
        let clock = store.as_ref().map_or_else(Clock::system, |store| store.clock().clone());
        Self { store, clock }
    }

    /// Milliseconds since 1970: the age of a key must be known across restarts.
    pub(super) fn now(&self) -> u64 {
        self.clock.now_ms()
    }

    /// How old something is. What seems to come from the future is as old as `unsure`: the clock was set back, and nobody
    /// knows.
    pub(super) fn age(&self, at: u64, unsure: Duration) -> Duration {
        self.now().checked_sub(at).map_or(unsure, Duration::from_millis)
    }

    /// Everything that is kept, with its URL. What cannot be read is left out: it will be fetched again.
    pub(super) fn load(&self) -> Vec<(String, Fetched)> {
        let mut all = Vec::new();
        let Some(store) = &self.store else { return all };
        let visited = store.visit_entries(KIND, |url, bytes| {
            if let Ok(fetched) = serde_json::from_slice(bytes) {
                all.push((url.to_owned(), fetched));
            }
        });
        if let Err(why) = visited {
            tracing::warn!(target: "portcullis::policy", "the stored JWK Sets cannot be read: {why}");
        }
        all
    }

    /// Keeps a set. If the store has no room or fails, the next fetch is kept.
    pub(super) fn keep(&self, url: &str, fetched: &Fetched) {
        if let Ok(bytes) = serde_json::to_vec(fetched) {
            let mut batch = Batch::new();
            batch.put_entry(KIND, url, bytes);
            self.hand_in(batch);
        }
    }

    /// Forgets a set.
    pub(super) fn forget(&self, url: &str) {
        let mut batch = Batch::new();
        batch.delete_entry(KIND, url);
        self.hand_in(batch);
    }

    fn hand_in(&self, batch: Batch) {
        if let Some(store) = &self.store {
            drop(store.try_submit(batch, Durability::Ack));
        }
    }
}
