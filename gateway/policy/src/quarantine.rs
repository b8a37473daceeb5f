//! Leaving a policy alone that keeps failing.
//!
//! After several failures without a success between them, calls are refused at once for a while. Then one call is let
//! through: if it succeeds, everything is as before; if not, the pause doubles. A single client that can make a policy
//! trap does not close it to others, since each of their successes begins the count anew.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use portcullis_grant::rules::now_ms;

/// Failures in a row that open it.
pub(crate) const AFTER: u32 = 8;
const FIRST_PAUSE_MS: u64 = 250;
const LONGEST_PAUSE_MS: u64 = 30_000;

/// Those of one generation: what it does for MQTT clients and what it answers over HTTP are counted apart. Whoever finds a request that makes
/// it trap would otherwise shut out its clients, and requests that it answers well would have a broken login tried again and again.
#[derive(Debug, Default)]
pub(crate) struct Quarantines {
    /// Of logins and all that follows them, and of message filters.
    pub(crate) clients: Quarantine,
    /// Of `http-endpoint`.
    pub(crate) requests: Quarantine,
}

impl Quarantines {
    fn both(&self) -> [&Quarantine; 2] {
        [&self.clients, &self.requests]
    }

    /// Whether calls of any kind are being refused.
    pub(crate) fn is_any_open(&self) -> bool {
        self.both().iter().any(|quarantine| quarantine.is_open())
    }

    /// For how long something of it is left alone yet. None: nothing is.
    pub(crate) fn rest(&self) -> Option<Duration> {
        self.both().iter().filter_map(|quarantine| quarantine.rest()).max()
    }
}

/// The state of one of them.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    failures: AtomicU32,
    /// Monotonic milliseconds until which calls are refused. 0: none are.
    until_ms: AtomicU64,
    /// Somebody is trying it.
    trial: AtomicBool,
}

impl Quarantine {
    /// Whether a call may go on; otherwise, for how long not.
    pub(crate) fn admit(&self) -> Result<(), Duration> {
        // Two loads when all is well.
        if self.until_ms.load(Ordering::Acquire) == 0 { Ok(()) } else { self.admit_at(now_ms()) }
    }

    fn admit_at(&self, now: u64) -> Result<(), Duration> {
        let until = self.until_ms.load(Ordering::Acquire);
        if until == 0 {
            return Ok(());
        }
        if now < until {
            return Err(Duration::from_millis(until - now));
        }
        if self.trial.swap(true, Ordering::AcqRel) {
            return Err(Duration::from_millis(FIRST_PAUSE_MS));
        }
        Ok(())
    }

    /// A call was answered. True: that ends a quarantine.
    pub(crate) fn succeeded(&self) -> bool {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.trial.store(false, Ordering::Release);
        self.until_ms.swap(0, Ordering::AcqRel) != 0
    }

    /// Whether what failed last began the quarantine, rather than made it longer.
    pub(crate) fn has_just_begun(&self) -> bool {
        self.failures.load(Ordering::Relaxed) == AFTER
    }

    /// For how long it is left alone yet. None: it is not in quarantine.
    pub(crate) fn rest(&self) -> Option<Duration> {
        let until = self.until_ms.load(Ordering::Acquire);
        (until != 0).then(|| Duration::from_millis(until.saturating_sub(now_ms())))
    }

    /// A call failed. True: the policy is left alone from now on.
    pub(crate) fn failed(&self) -> bool {
        self.failed_at(now_ms())
    }

    fn failed_at(&self, now: u64) -> bool {
        // Calls that were under way when it opened say nothing new.
        if self.is_open() && !self.trial.load(Ordering::Acquire) {
            return false;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < AFTER {
            return false;
        }
        let doublings = (failures - AFTER).min(16);
        let pause = (FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS);
        self.until_ms.store(now + pause, Ordering::Release);
        self.trial.store(false, Ordering::Release);
        true
    }

    /// A call that was let through never entered the policy.
    pub(crate) fn gave_up(&self) {
        self.trial.store(false, Ordering::Release);
    }

    /// Whether calls are being refused.
    pub(crate) fn is_open(&self) -> bool {
        self.until_ms.load(Ordering::Acquire) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Quarantine {
        let quarantine = Quarantine::default();
        assert!((1..AFTER).all(|_| !quarantine.failed_at(1000)));
        assert!(quarantine.failed_at(1000));
        quarantine
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let quarantine = Quarantine::default();
        for _ in 0..100 {
            assert!((1..AFTER).all(|_| !quarantine.failed_at(1000)));
            quarantine.succeeded();
        }
        assert_eq!(quarantine.admit_at(1000), Ok(()));
    }

    #[test]
    fn one_call_tries_and_heals() {
        let quarantine = opened();
        assert_eq!(quarantine.admit_at(1100), Err(Duration::from_millis(150)));
        assert_eq!(quarantine.admit_at(1250), Ok(()));
        assert!(quarantine.admit_at(1250).is_err(), "only one at a time");
        quarantine.succeeded();
        assert_eq!(quarantine.admit_at(1250), Ok(()));
        assert!(!quarantine.is_open());
    }

    #[test]
    fn each_failed_trial_doubles_the_pause_up_to_a_bound() {
        let quarantine = opened();
        let (mut now, mut pauses) = (1250, Vec::new());
        for _ in 0..10 {
            assert_eq!(quarantine.admit_at(now), Ok(()));
            assert!(quarantine.failed_at(now));
            let Err(pause) = quarantine.admit_at(now) else { panic!("open") };
            pauses.push(pause.as_millis() as u64);
            now += pauses[pauses.len() - 1];
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn stragglers_do_not_lengthen_the_pause() {
        let quarantine = opened();
        assert!((0..100).all(|_| !quarantine.failed_at(1010)));
        assert_eq!(quarantine.admit_at(1250), Ok(()));
    }

    #[test]
    fn a_trial_that_never_entered_leaves_the_door_to_the_next() {
        let quarantine = opened();
        assert_eq!(quarantine.admit_at(1250), Ok(()));
        quarantine.gave_up();
        assert_eq!(quarantine.admit_at(1250), Ok(()));
    }
}
