//! The world outside as policies meet it: the time, randomness, other servers, and who hears their log.
//!
//! In a gateway these are the real ones, which is the default. On a desk (`portcullis policy test`) a case plays them, and
//! everything else is the code that runs in production.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_grant::{GrantDraft, HttpAnswer};
use portcullis_store::Clock;
use sha2::{Digest, Sha256};

/// What stands outside.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// The time of day, for `clock`, WASI, and the times of tokens. None: the system's.
    pub clock: Option<Clock>,
    /// For `random` and WASI.
    pub randomness: Randomness,
    /// Who answers in the place of other servers. None: they do.
    pub servers: Option<Arc<dyn Servers>>,
    /// Who hears what policies log and how they word their grants. None: the gateway's log, and nobody.
    pub ear: Option<Arc<dyn Ear>>,
}

impl Outside {
    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.since_epoch().as_secs()
    }

    /// Time since 1970, nothing if the machine's clock stands before that.
    pub(crate) fn since_epoch(&self) -> Duration {
        match &self.clock {
            Some(clock) => Duration::from_millis(clock.now_ms()),
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }
}

/// Where random octets come from.
#[derive(Clone, Debug, Default)]
pub enum Randomness {
    /// The operating system.
    #[default]
    System,
    /// Always the same, and known to whoever knows the seed: never for a gateway.
    Seeded(Arc<Seed>),
}

/// A seed, and how much was taken of what follows from it.
#[derive(Debug)]
pub struct Seed {
    seed: u64,
    taken: AtomicU64,
}

impl Randomness {
    /// The octets that follow from a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(Seed { seed, taken: AtomicU64::new(0) }))
    }

    /// Fills a buffer.
    pub(crate) fn fill(&self, octets: &mut [u8]) -> Result<(), getrandom::Error> {
        let Self::Seeded(seed) = self else { return getrandom::fill(octets) };
        for part in octets.chunks_mut(32) {
            let number = seed.taken.fetch_add(1, Ordering::Relaxed);
            let mut digest = Sha256::new();
            digest.update(seed.seed.to_le_bytes());
            digest.update(number.to_le_bytes());
            part.copy_from_slice(&digest.finalize()[..part.len()]);
        }
        Ok(())
    }
}

/// A request to another server, as the policy worded it and the gateway would send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// In upper case.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why another server gave no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no connection, for this reason.
    Unreachable(String),
    /// It takes too long.
    Timeout,
}

/// Stands in for all other servers. What a policy may not send never comes here.
pub trait Servers: fmt::Debug + Send + Sync {
    /// Answers at once.
    ///
    /// # Errors
    /// There is no response.
    fn answer(&self, request: Asked) -> Result<HttpAnswer, NoAnswer>;
}

/// Hears what policies do not say to clients.
pub trait Ear: fmt::Debug + Send + Sync {
    /// A line for the log: its level (`error`, `warn`, `info`, `debug`, `trace`), and the line, already escaped. Be quick:
    /// the policy waits.
    fn line(&self, level: &str, line: &str);

    /// A grant as the policy worded it, before it is compiled.
    fn granted(&self, draft: &GrantDraft);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_octets_and_each_only_once() {
        let take = |randomness: &Randomness, length| {
            let mut octets = vec![0; length];
            randomness.fill(&mut octets).expect("octets");
            octets
        };
        let (one, other) = (Randomness::seeded(7), Randomness::seeded(7));
        assert_eq!(take(&one, 100), take(&other, 100));
        assert_ne!(take(&one, 32), take(&one, 32));
        assert_ne!(take(&Randomness::seeded(8), 32), take(&Randomness::seeded(7), 32));
    }
}
