//! What a policy may bring about that only decides in shadow: nothing that anybody else could see.
//!
//! `store`: what it changes goes to a scratch of its own in memory. Reading finds that, and beneath it what the live policy
//! has stored. Conditional changes and counters see the scratch alone: the live policy has just made the same ones about the
//! same login, and a candidate that found them would take its own client for a replay.
//! `directory-admin` is refused, wrong passwords are not counted, `http-client` is refused unless it was asked for.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use portcullis_store::{KeyValue, KeyValueError, Options, Store};

/// Keys that a candidate may take away, in its own eyes, from what the live policy has stored.
const GONE: usize = 4096;

/// The bounds of one candidate, and what it would have done beyond them.
#[derive(Debug)]
pub(crate) struct Effects {
    /// Whether it may send requests.
    pub(crate) http: bool,
    scratch: KeyValue,
    gone: Mutex<HashSet<String>>,
    counts: [AtomicU64; 3],
}

/// What a candidate did without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changed its storage: the scratch.
    Stored,
    /// It wanted to change the directory.
    Directory,
    /// It wanted to send a request.
    Http,
}

impl Effects {
    /// With a scratch of so many octets.
    pub(crate) fn new(http: bool, quota: u64) -> Result<Self, String> {
        let store = Store::in_memory(Options::default()).map_err(|why| why.to_string())?;
        let scratch = store.key_value("shadow", quota).map_err(|why| why.to_string())?;
        Ok(Self { http, scratch, gone: Mutex::default(), counts: Default::default() })
    }

    pub(crate) fn note(&self, effect: Effect) {
        self.counts[effect as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// By kind, in the order of [`Effect`].
    pub(crate) fn counts(&self) -> [u64; 3] {
        std::array::from_fn(|kind| self.counts[kind].load(Ordering::Relaxed))
    }

    pub(crate) fn get(&self, live: &KeyValue, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        match self.scratch.get(key)? {
            Some(own) => Ok(Some(own)),
            None if self.gone.lock().contains(key) => Ok(None),
            None => live.get(key),
        }
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8], ttl: Option<u32>) -> Result<(), KeyValueError> {
        self.note(Effect::Stored);
        self.scratch.set(key, value, ttl).await
    }

    pub(crate) async fn set_if_absent(&self, key: &str, value: &[u8], ttl: Option<u32>) -> Result<bool, KeyValueError> {
        self.note(Effect::Stored);
        self.scratch.set_if_absent(key, value, ttl).await
    }

    pub(crate) async fn take(&self, live: &KeyValue, key: &str) -> Result<Option<Vec<u8>>, KeyValueError> {
        self.note(Effect::Stored);
        let own = self.scratch.take(key).await?;
        let first = self.goes(key);
        if own.is_none() && first { live.get(key) } else { Ok(own) }
    }

    pub(crate) async fn delete(&self, live: &KeyValue, key: &str) -> Result<bool, KeyValueError> {
        self.take(live, key).await.map(|value| value.is_some())
    }

    pub(crate) async fn increment(&self, key: &str, delta: i64, ttl: Option<u32>) -> Result<i64, KeyValueError> {
        self.note(Effect::Stored);
        self.scratch.increment(key, delta, ttl).await
    }

    /// Whether the key goes for the first time. Beyond the bound all come back.
    fn goes(&self, key: &str) -> bool {
        let mut gone = self.gone.lock();
        if gone.len() >= GONE {
            gone.clear();
        }
        gone.insert(key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_candidate_reads_what_is_there_and_changes_nothing_of_it() {
        let store = Store::in_memory(Options::default()).unwrap();
        let live = store.key_value("policy:p", 1 << 20).unwrap();
        live.set("cached", b"answer", None).await.unwrap();
        live.set("nonce", b"used", None).await.unwrap();
        assert_eq!(live.increment("attempts", 5, None).await.unwrap(), 5);
        let shadow = Effects::new(false, 1 << 20).unwrap();
        assert_eq!(shadow.get(&live, "cached").unwrap().as_deref(), Some(&b"answer"[..]));
        assert!(shadow.set_if_absent("nonce", b"used", None).await.unwrap(), "the live one has only just used it");
        assert!(!shadow.set_if_absent("nonce", b"used", None).await.unwrap(), "and this is a replay");
        assert_eq!(shadow.increment("attempts", 1, None).await.unwrap(), 1);
        assert_eq!(shadow.take(&live, "cached").await.unwrap().as_deref(), Some(&b"answer"[..]));
        assert_eq!(shadow.take(&live, "cached").await.unwrap(), None, "what is taken is taken once");
        assert_eq!(shadow.get(&live, "cached").unwrap(), None);
        shadow.set("cached", b"mine", None).await.unwrap();
        assert_eq!(shadow.get(&live, "cached").unwrap().as_deref(), Some(&b"mine"[..]));
        assert_eq!(live.get("cached").unwrap().as_deref(), Some(&b"answer"[..]));
        assert_eq!(live.increment("attempts", 1, None).await.unwrap(), 6);
        assert_eq!(shadow.counts(), [6, 0, 0]);
    }
}
