//! What a policy uses up, and which of its limits it has run into: counted for metrics, and said to the operator with the
//! line of the configuration that would change it.
//!
//! One of these belongs to a policy's name, whatever generations come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use portcullis_grant::rules::now_ms;
use portcullis_grant::{DenyReason, Freshness};
use wasmtime::Trap;

/// Between two lines of the log about one limit of one policy: a policy that runs into it at each call must not fill it.
const SAID_EVERY_MS: u64 = 60_000;

/// A list of words, each with its place among the counters.
macro_rules! counted {
    ($(#[$meta:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$of])* $variant),+ }

        impl $name {
            /// All of them, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for metrics.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

counted! {
    /// A bound of a policy's `limits`, by its name in the configuration.
    Limit {
        /// Linear memory of an instance.
        Memory = "memory",
        /// Time of a call.
        Deadline = "deadline",
        /// Calls that wait for their turn.
        Queue = "queue",
        /// Requests of one call.
        HttpRequests = "http-requests",
        /// Octets of one call's requests and responses.
        HttpBytes = "http-bytes",
        /// Requests a second.
        HttpRate = "http-rate",
        /// Requests under way.
        HttpOpen = "http-open",
        /// Octets of one response.
        HttpResponse = "http-response",
        /// Octets of the storage.
        Storage = "storage",
        /// Keys of the storage.
        StorageKeys = "storage-keys",
        /// Lines of the log.
        LogLines = "log-lines",
    }
}

counted! {
    /// What stopped a guest.
    TrapKind {
        /// It had no memory left.
        Memory = "memory",
        /// It recursed too deep.
        Stack = "stack",
        /// It said itself that this cannot be: a panic, an abort.
        Unreachable = "unreachable",
        /// It reached beyond its memory or a table.
        Bounds = "bounds",
        /// What it handed over is not what the contract's types are.
        Boundary = "boundary",
        /// Anything else.
        Other = "other",
    }
}

counted! {
    /// How an instance came or went.
    InstanceEvent {
        /// It was started.
        Made = "made",
        /// It failed and was thrown away.
        Discarded = "discarded",
    }
}

counted! {
    /// What came of a request to another server.
    HttpOutcome {
        /// It was answered.
        Answered = "answered",
        /// One that was under way already answered for it.
        Shared = "shared",
        /// It was not answered.
        Failed = "failed",
        /// It was not sent: its host is not allowed, or a limit was reached.
        Refused = "refused",
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Uses {
    policy: Arc<str>,
    limits: [AtomicU64; Limit::ALL.len()],
    said: Mutex<[Option<u64>; Limit::ALL.len()]>,
    traps: [AtomicU64; TrapKind::ALL.len()],
    denials: [AtomicU64; DENIALS.len()],
    instances: [AtomicU64; InstanceEvent::ALL.len()],
    http: [AtomicU64; HttpOutcome::ALL.len()],
    http_sent: AtomicU64,
    http_received: AtomicU64,
    keys: [AtomicU64; 3],
    memory: AtomicU64,
    log_dropped: AtomicU64,
    quarantines: AtomicU64,
}

/// The contract's reasons, in the order of the counters.
const DENIALS: [DenyReason; 11] = [
    DenyReason::BadCredentials,
    DenyReason::NotAuthorized,
    DenyReason::ClientIdNotValid,
    DenyReason::BadAuthenticationMethod,
    DenyReason::Banned,
    DenyReason::QuotaExceeded,
    DenyReason::RateExceeded,
    DenyReason::Unavailable,
    DenyReason::Malformed,
    DenyReason::ServerBusy,
    DenyReason::UseAnotherServer,
];

impl Uses {
    pub(crate) fn new(policy: Arc<str>) -> Self {
        Self {
            policy,
            limits: std::array::from_fn(|_| AtomicU64::new(0)),
            said: Mutex::new([None; Limit::ALL.len()]),
            traps: std::array::from_fn(|_| AtomicU64::new(0)),
            denials: std::array::from_fn(|_| AtomicU64::new(0)),
            instances: std::array::from_fn(|_| AtomicU64::new(0)),
            http: std::array::from_fn(|_| AtomicU64::new(0)),
            http_sent: AtomicU64::new(0),
            http_received: AtomicU64::new(0),
            keys: std::array::from_fn(|_| AtomicU64::new(0)),
            memory: AtomicU64::new(0),
            log_dropped: AtomicU64::new(0),
            quarantines: AtomicU64::new(0),
        }
    }

    /// A limit was reached. Gives the words for whoever is refused by it, and says them in the log once in a while.
    pub(crate) fn hit(&self, limit: Limit, bound: impl std::fmt::Display) -> String {
        self.limits[limit as usize].fetch_add(1, Ordering::Relaxed);
        let words = format!("its limit `{}` of {bound} is reached", limit.as_str());
        let now = now_ms();
        let said = self.said.lock()[limit as usize].replace(now);
        match said {
            Some(at) if now.saturating_sub(at) < SAID_EVERY_MS => {
                // The pause counts from the line that was written.
                self.said.lock()[limit as usize] = Some(at);
            }
            _ => {
                let policy = &*self.policy;
                tracing::warn!(
                    target: "portcullis::policy",
                    policy,
                    "{words}; if it may use more, set `{}` in the `limits` of the [[policy]] named {policy:?}",
                    limit.as_str()
                );
            }
        }
        words
    }

    pub(crate) fn trapped(&self, kind: TrapKind) {
        self.traps[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn denied(&self, reason: DenyReason) {
        if let Some(place) = DENIALS.iter().position(|known| *known == reason) {
            self.denials[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn instance(&self, event: InstanceEvent) {
        self.instances[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn memory(&self, octets: usize) {
        self.memory.fetch_max(octets as u64, Ordering::Relaxed);
    }

    pub(crate) fn requested(&self, outcome: HttpOutcome) {
        self.http[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn moved(&self, sent: usize, received: usize) {
        self.http_sent.fetch_add(sent as u64, Ordering::Relaxed);
        self.http_received.fetch_add(received as u64, Ordering::Relaxed);
    }

    pub(crate) fn looked_up_keys(&self, freshness: Freshness) {
        self.keys[freshness as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped_line(&self) {
        self.log_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn quarantined(&self) {
        self.quarantines.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now.
    #[must_use]
    pub fn figures(&self) -> UseFigures {
        fn named<const N: usize>(
            words: impl Iterator<Item = &'static str>,
            counters: &[AtomicU64; N],
        ) -> Vec<(&'static str, u64)> {
            words.zip(counters).map(|(word, counter)| (word, counter.load(Ordering::Relaxed))).collect()
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        UseFigures {
            limits: named(Limit::ALL.iter().map(|limit| limit.as_str()), &self.limits),
            traps: named(TrapKind::ALL.iter().map(|kind| kind.as_str()), &self.traps),
            denials: named(DENIALS.iter().map(|reason| reason.as_str()), &self.denials),
            instances: named(InstanceEvent::ALL.iter().map(|event| event.as_str()), &self.instances),
            http: named(HttpOutcome::ALL.iter().map(|outcome| outcome.as_str()), &self.http),
            http_bytes: [("sent", read(&self.http_sent)), ("received", read(&self.http_received))],
            keys: named(
                [Freshness::Fresh, Freshness::Cached, Freshness::Stale].into_iter().map(Freshness::as_str),
                &self.keys,
            ),
            memory_peak: read(&self.memory),
            log_dropped: read(&self.log_dropped),
            quarantines: read(&self.quarantines),
        }
    }
}

/// The counters of [`Uses`] at one moment, each with its word.
#[derive(Clone, Debug)]
pub struct UseFigures {
    /// Times that a limit was reached, by its name in the configuration.
    pub limits: Vec<(&'static str, u64)>,
    /// Traps by kind.
    pub traps: Vec<(&'static str, u64)>,
    /// Denials by the contract's reason.
    pub denials: Vec<(&'static str, u64)>,
    /// Instances that were made, and thrown away for failing.
    pub instances: Vec<(&'static str, u64)>,
    /// Requests to other servers by what came of them.
    pub http: Vec<(&'static str, u64)>,
    /// Octets of their bodies.
    pub http_bytes: [(&'static str, u64); 2],
    /// Look-ups of published keys by how new they were.
    pub keys: Vec<(&'static str, u64)>,
    /// Octets of the largest linear memory that an instance had.
    pub memory_peak: u64,
    /// Lines of the log that were dropped.
    pub log_dropped: u64,
    /// Times that it was put into quarantine.
    pub quarantines: u64,
}

/// The uses of all policies by name, for those that are loaded again.
#[derive(Debug, Default)]
pub(crate) struct AllUses(Mutex<HashMap<Arc<str>, Arc<Uses>>>);

impl AllUses {
    /// Those of one policy. They begin when it is loaded first.
    pub(crate) fn of(&self, policy: &str) -> Arc<Uses> {
        let mut all = self.0.lock();
        if let Some(uses) = all.get(policy) {
            return Arc::clone(uses);
        }
        let name: Arc<str> = policy.into();
        let uses = Arc::new(Uses::new(Arc::clone(&name)));
        all.insert(name, Arc::clone(&uses));
        uses
    }
}

impl TrapKind {
    /// What wasmtime says, and whether memory was refused before.
    pub(crate) fn of(error: &wasmtime::Error, memory_refused: bool) -> Self {
        match error.downcast_ref::<Trap>() {
            _ if memory_refused => Self::Memory,
            Some(Trap::StackOverflow) => Self::Stack,
            Some(Trap::UnreachableCodeReached) => Self::Unreachable,
            Some(Trap::MemoryOutOfBounds | Trap::TableOutOfBounds) => Self::Bounds,
            Some(_) => Self::Other,
            // Lifting and lowering fail with errors of their own.
            None => Self::Boundary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stand_where_their_words_do() {
        assert!(Limit::ALL.iter().enumerate().all(|(n, limit)| *limit as usize == n));
        assert!(TrapKind::ALL.iter().enumerate().all(|(n, kind)| *kind as usize == n));
        let uses = Uses::new("p".into());
        let words = uses.hit(Limit::HttpRequests, 16);
        assert_eq!(words, "its limit `http-requests` of 16 is reached");
        uses.denied(DenyReason::UseAnotherServer);
        let figures = uses.figures();
        assert!(figures.limits.contains(&("http-requests", 1)));
        assert!(figures.denials.contains(&("use-another-server", 1)));
        assert_eq!(figures.traps.iter().map(|(_, count)| count).sum::<u64>(), 0);
    }

    #[test]
    fn a_policy_that_is_loaded_again_goes_on_counting() {
        let all = AllUses::default();
        all.of("p").quarantined();
        assert_eq!(all.of("p").figures().quarantines, 1);
        assert_eq!(all.of("q").figures().quarantines, 0);
    }
}
