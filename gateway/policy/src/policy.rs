//! A policy by name: the generation that is live, and how it has fared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use portcullis_grant::{BoxFuture, ConnectionFacts, HttpAnswer, HttpCall, HttpEndpoint, PeerDetails};

use crate::call::{Answer, CallError, Caller, Question};
use crate::capability::seconds_now;
use crate::convert;
use crate::generation::Generation;
use crate::quarantine::Quarantine;
use crate::recorder::Recorder;
use crate::shadow::Shadow;
use crate::stats::{CallOutcome, Stats};
use crate::tally::Tally;

/// A named slot that chains and mounts refer to. Putting another generation in place is one pointer; calls that are
/// under way end on the one that they began with.
pub struct Policy {
    name: Arc<str>,
    current: ArcSwap<Generation>,
    /// For clients in the middle of a challenge that the one before began.
    previous: Mutex<Option<Arc<Generation>>>,
    /// A candidate that is asked after it.
    shadow: ArcSwapOption<Shadow>,
    stats: Stats,
    recorder: ArcSwapOption<Recorder>,
}

impl Policy {
    /// A slot named after the generation.
    #[must_use]
    pub fn new(generation: Arc<Generation>) -> Arc<Self> {
        Arc::new(Self {
            name: Arc::clone(&generation.stamp.name),
            current: ArcSwap::new(generation),
            previous: Mutex::new(None),
            shadow: ArcSwapOption::empty(),
            stats: Stats::default(),
            recorder: ArcSwapOption::empty(),
        })
    }

    /// The configured name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The generation that is live.
    #[must_use]
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Puts a generation in place and returns the one that was there.
    pub fn swap(&self, generation: Arc<Generation>) -> Arc<Generation> {
        let old = self.current.swap(generation);
        let challenges = old.abilities.exports("enhanced-authentication");
        *self.previous.lock() = challenges.then(|| Arc::clone(&old));
        self.stats.swapped();
        old
    }

    /// The candidate that is asked after it, if there is one.
    #[must_use]
    pub fn shadow(&self) -> Option<Arc<Shadow>> {
        self.shadow.load_full()
    }

    /// Begins to ask a candidate after it, or ends that. Returns the one that was asked until now.
    pub fn set_shadow(&self, shadow: Option<Arc<Shadow>>) -> Option<Arc<Shadow>> {
        self.shadow.swap(shadow)
    }

    /// Counters since the slot was made.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Has its logins recorded. False: they are already.
    #[must_use]
    pub fn record(&self, recorder: Arc<Recorder>) -> bool {
        if self.recorder().is_some_and(|other| !other.is_over()) {
            return false;
        }
        self.recorder.store(Some(recorder));
        true
    }

    /// The recording that is being made.
    #[must_use]
    pub fn recorder(&self) -> Option<Arc<Recorder>> {
        self.recorder.load_full()
    }

    /// Ends the recording. False: there is none.
    pub fn end_recording(&self) -> bool {
        self.recorder.swap(None).is_some()
    }

    /// The generation with this digest, if it is live or was so last.
    pub(crate) fn with_digest(&self, digest: &str) -> Option<Arc<Generation>> {
        let current = self.current();
        if *current.stamp.digest == *digest {
            return Some(current);
        }
        self.previous.lock().clone().filter(|previous| *previous.stamp.digest == *digest)
    }

    /// Asks a generation, reads its answer, and counts what came of it. What `read` refuses is void.
    pub(crate) async fn ask<T>(
        &self,
        generation: &Generation,
        question: Question<'_>,
        caller: Caller,
        read: impl FnOnce(Answer) -> Result<(T, CallOutcome), String>,
    ) -> Result<T, CallError> {
        let begun = Instant::now();
        let (quarantine, who) = match question {
            Question::Handle(..) => (&generation.quarantines.requests, "the policy's HTTP interface"),
            _ => (&generation.quarantines.clients, "the policy"),
        };
        if let Err(rest) = quarantine.admit() {
            let last = self.stats.figures().last_error.map_or_else(String::new, |error| error.what);
            self.stats.count(CallOutcome::Refused, Duration::ZERO);
            return Err(CallError::Quarantined { rest, last });
        }
        // The caller may hang up in the middle of the one call that tries whether the policy has healed.
        let trial = Trial(Some(quarantine));
        let recording = match question {
            Question::Authenticate(connection, credentials) => self.recorder.load_full().and_then(|recorder| {
                let tape = recorder.tape()?;
                Some((recorder, tape, (connection, credentials)))
            }),
            _ => None,
        };
        let tape = recording.as_ref().map(|(_, tape, _)| Arc::clone(tape));
        let answer = generation.runtime.ask(question, Caller { tape, ..caller }).await;
        if let Some((recorder, tape, asked)) = recording {
            let verdict = match &answer {
                Ok(Answer::Verdict(verdict)) => serde_json::to_value(verdict).map_err(|why| why.to_string()),
                Ok(_) => Err("an answer to another question".to_owned()),
                Err(why) => Err(why.to_string()),
            };
            recorder.keep(&tape, asked, verdict, (&generation.stamp.digest, seconds_now()));
        }
        match answer.and_then(|answer| read(answer).map_err(CallError::Void)) {
            Ok((value, outcome)) => {
                trial.over();
                if quarantine.succeeded() {
                    tracing::info!(target: "portcullis::policy", policy = &*self.name, digest = &*generation.stamp.digest, "{who} answers again: its quarantine is over");
                    self.tell(generation, false, &format!("{who} answers again"));
                }
                match outcome {
                    CallOutcome::Allow => Tally::add(&generation.tally.admitted),
                    CallOutcome::Deny => Tally::add(&generation.tally.refused),
                    _ => {}
                }
                self.stats.count(outcome, begun.elapsed());
                Ok(value)
            }
            Err(error) => {
                self.stats.count(CallOutcome::of(&error), begun.elapsed());
                self.stats.failed(seconds_now(), &generation.stamp.digest, &error);
                if error.blames_policy() {
                    Tally::add(&generation.tally.failed);
                    trial.over();
                    if quarantine.failed() && quarantine.has_just_begun() {
                        generation.uses().quarantined();
                        self.tell(generation, true, &format!("{who} keeps failing: {error}"));
                        tracing::error!(target: "portcullis::policy", policy = &*self.name, digest = &*generation.stamp.digest, "{who} keeps failing and is left alone, for longer each time that it fails again; mend it, and `portcullis policy reload {}` ends this: {error}", self.name);
                    }
                }
                Err(error)
            }
        }
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("name", &self.name).field("current", &self.current).finish_non_exhaustive()
    }
}

impl Policy {
    fn tell(&self, generation: &Generation, entered: bool, why: &str) {
        if let Some(witness) = &generation.runtime.with.shared.quarantine {
            witness.tell(&generation.stamp, entered, why);
        }
    }
}

/// Leaves the way free for another trial unless the call came to an end that counts.
struct Trial<'a>(Option<&'a Quarantine>);

impl Trial<'_> {
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Some(quarantine) = self.0 {
            quarantine.gave_up();
        }
    }
}

pub(crate) fn caller(of: &ConnectionFacts) -> Caller {
    Caller { details: of.details.clone(), address: of.peer.ip(), ..Caller::default() }
}

impl HttpEndpoint for Policy {
    fn handle(&self, connection: ConnectionFacts, call: HttpCall) -> BoxFuture<'_, HttpAnswer> {
        Box::pin(async move {
            let generation = self.current();
            if !generation.abilities.exports("http-endpoint") {
                return plain(404, "not found");
            }
            let mut caller = caller(&connection);
            if generation.abilities.imports("peer") && caller.details.as_ref().is_none_or(|d| d.http.is_none()) {
                let known = caller.details.as_deref().cloned().unwrap_or_default();
                caller.details = Some(Arc::new(PeerDetails { http: Some(call.head.clone()), ..known }));
            }
            let connection = convert::connection(&connection);
            let request = convert::http_request(&call.head, call.body);
            let answer = self
                .ask(&generation, Question::Handle(&connection, &request), caller, |answer| match answer {
                    Answer::Http(response) => convert::http_answer(response).map(|a| (a, CallOutcome::Answer)),
                    _ => Err("an answer to another question".to_owned()),
                })
                .await;
            answer.unwrap_or_else(|error| {
                tracing::warn!(target: "portcullis::policy", policy = &*self.name, path = call.head.path, "the policy did not answer an HTTP request: {error}");
                match error {
                    CallError::Deadline(_) => plain(504, "the policy did not answer in time"),
                    CallError::Busy | CallError::Quarantined { .. } | CallError::Start(_) => {
                        let mut answer = plain(503, "the policy is not available; try again later");
                        answer.headers.push(("retry-after".to_owned(), "1".to_owned()));
                        answer
                    }
                    _ => plain(500, "the policy failed"),
                }
            })
        })
    }
}

fn plain(status: u16, text: &str) -> HttpAnswer {
    HttpAnswer {
        status,
        headers: vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())],
        body: format!("{text}\n").into_bytes(),
    }
}
