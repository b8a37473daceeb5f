//! Decisions of a policy, recorded for a while: what was asked, what the host told it, what it answered. Bounded in number, size
//! and time; what finds no room is dropped and counted, and nobody waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::bindings::portcullis::policy::types::{Connection, Credentials};
use crate::mask::Masks;
use crate::tape::{Tape, weight};

/// Octets of decisions that wait to be fetched, roughly.
const ROOM: usize = 16 << 20;
/// A recording that nobody fetches for so long is over.
const FORSAKEN: Duration = Duration::from_secs(30);

/// How a recording is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordingOptions {
    /// How long.
    pub time: Duration,
    /// Which share of the decisions, 0 to 1.
    pub share: f64,
    /// Whether passwords, tokens and keys stay as they are.
    pub with_secrets: bool,
}

/// A recording that is being made.
pub struct Recorder {
    until: Instant,
    /// Of 2^32.
    share: u64,
    masks: Option<Masks>,
    waiting: Mutex<VecDeque<(Value, usize)>>,
    octets: AtomicUsize,
    recorded: AtomicU64,
    dropped: AtomicU64,
    fetched: Mutex<Instant>,
    count: AtomicU64,
    ended: AtomicBool,
}

/// What was fetched of a recording.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Decisions, each a JSON object.
    pub decisions: Vec<Value>,
    /// Decisions that were recorded so far.
    pub recorded: u64,
    /// Decisions that found no room.
    pub dropped: u64,
    /// Whether nothing more comes.
    pub ended: bool,
}

impl Recorder {
    /// Begins.
    ///
    /// # Errors
    /// There is no randomness for the masks.
    pub fn new(options: RecordingOptions) -> Result<Arc<Self>, String> {
        let masks = if options.with_secrets { None } else { Some(Masks::new().map_err(|why| why.to_string())?) };
        Ok(Arc::new(Self {
            until: Instant::now() + options.time,
            share: (options.share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64,
            masks,
            waiting: Mutex::default(),
            octets: AtomicUsize::new(0),
            recorded: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            fetched: Mutex::new(Instant::now()),
            count: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }))
    }

    /// Ends it. What was recorded can still be fetched.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether it is over: its time is, or nobody wants it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || Instant::now() >= self.until || self.fetched.lock().elapsed() > FORSAKEN
    }

    /// A tape for the next decision, if it is one of the share.
    pub(crate) fn tape(&self) -> Option<Arc<Tape>> {
        if self.is_over() {
            return None;
        }
        // Spread evenly: the golden ratio of 2^32 visits all shares of a sequence.
        let number = self.count.fetch_add(1, Ordering::Relaxed).wrapping_mul(2_654_435_769) & 0xffff_ffff;
        (number < self.share).then(Arc::default)
    }

    /// Keeps a decision.
    pub(crate) fn keep(
        &self,
        tape: &Tape,
        (connection, credentials): (&Connection, &Credentials),
        answer: Result<Value, String>,
        stamp: (&str, u64),
    ) {
        let Some((told, octets)) = tape.take() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut decision = json!({
            "at": stamp.1,
            "digest": stamp.0,
            "connection": connection,
            "credentials": credentials,
            "told": told,
        });
        match answer {
            Ok(verdict) => decision["verdict"] = verdict,
            Err(why) => decision["failed"] = why.into(),
        }
        let octets = octets + weight(&decision["connection"]) + weight(&decision["credentials"]) + 1024;
        if self.octets.load(Ordering::Relaxed) + octets > ROOM {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.octets.fetch_add(octets, Ordering::Relaxed);
        self.recorded.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().push_back((decision, octets));
    }

    /// Takes out what waits, at most so many decisions. Secrets are masked here, off the road of clients.
    #[must_use]
    pub fn fetch(&self, most: usize) -> Fetched {
        *self.fetched.lock() = Instant::now();
        let over = self.is_over();
        let mut taken: Vec<(Value, usize)> = Vec::new();
        let left = {
            let mut waiting = self.waiting.lock();
            let count = waiting.len().min(most);
            taken.extend(waiting.drain(..count));
            waiting.len()
        };
        let freed: usize = taken.iter().map(|(_, octets)| octets).sum();
        self.octets.fetch_sub(freed, Ordering::Relaxed);
        let mut decisions: Vec<Value> = taken.into_iter().map(|(decision, _)| decision).collect();
        for decision in &mut decisions {
            if let Some(masks) = &self.masks {
                // What a policy keeps for itself may hold a token.
                for kind in ["Allow", "Challenge"] {
                    if let Some(state) = decision.pointer_mut(&format!("/verdict/{kind}/state")) {
                        *state = json!([]);
                    }
                }
                masks.apply(decision);
            }
        }
        Fetched {
            decisions,
            recorded: self.recorded.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            ended: over && left == 0,
        }
    }
}
