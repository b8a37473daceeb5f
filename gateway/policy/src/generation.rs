//! One loaded version of a policy: compiled, linked, tested, and ready to be called.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_grant::{Grants, PolicyStamp};
use wasmtime::PoolConcurrencyLimitError;
use wasmtime::component::InstancePre;

use crate::bindings::portcullis::policy::types::{Connection, Credentials};
use crate::call::{Answer, CallError, Caller, Question};
use crate::capability::Capabilities;
use crate::engine::PolicyEngine;
use crate::inspect::Abilities;
use crate::instance::{Indices, Instance};
use crate::pool::Pool;
use crate::quarantine::Quarantines;
use crate::spec::{Description, PolicyLimits};
use crate::state::{Call, DeadlinePassed, State};
use crate::tally::{Score, Tally};
use crate::tape::Tape;
use crate::trap::{self, Notes};
use crate::uses::{InstanceEvent, Limit, TrapKind, Uses};

/// A version of a policy that may go live. Immutable; dropped when the last call on it has ended.
pub struct Generation {
    pub(crate) stamp: PolicyStamp,
    pub(crate) origin: String,
    pub(crate) octets: usize,
    pub(crate) loaded_at: u64,
    pub(crate) from_cache: bool,
    pub(crate) loading: Loading,
    pub(crate) abilities: Abilities,
    pub(crate) description: Option<Description>,
    pub(crate) quarantines: Quarantines,
    pub(crate) tally: Tally,
    pub(crate) grants: Grants,
    pub(crate) runtime: Runtime,
}

/// How long it took to load a version.
#[derive(Clone, Copy, Debug)]
pub struct Loading {
    /// Until its machine code was compiled, or found, and linked.
    pub code: Duration,
    /// Until its first instance had described and tested itself.
    pub test: Duration,
}

/// What is needed to run it.
pub(crate) struct Runtime {
    pub(crate) engine: PolicyEngine,
    pub(crate) with: Arc<Capabilities>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) indices: Arc<Indices>,
    pub(crate) limits: PolicyLimits,
    pub(crate) deadline: Duration,
    /// Boxed: a call moves its instance in and out of several futures.
    pub(crate) pool: Pool<Box<Instance>>,
    /// Instances that were started.
    pub(crate) made: AtomicU64,
}

impl Generation {
    /// Name and digest.
    #[must_use]
    pub fn stamp(&self) -> &PolicyStamp {
        &self.stamp
    }

    /// Where the component came from.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Octets of the component.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn loaded_at(&self) -> u64 {
        self.loaded_at
    }

    /// Whether its machine code was found on disk.
    #[must_use]
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    /// How long it took to load it.
    #[must_use]
    pub fn loading(&self) -> Loading {
        self.loading
    }

    /// What it imports and exports.
    #[must_use]
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// What it says of itself. None: it exports no `descriptor`.
    #[must_use]
    pub fn description(&self) -> Option<&Description> {
        self.description.as_ref()
    }

    /// The wall-clock bound of a call.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.runtime.deadline
    }

    /// Instances that wait for work.
    #[must_use]
    pub fn idle_instances(&self) -> usize {
        self.runtime.pool.idle()
    }

    /// Puts a recorded decision to this version: the recording answers what it asks the host.
    ///
    /// # Errors
    /// It is not a decision as [`crate::Recorder`] records them.
    pub async fn replay(&self, decision: &serde_json::Value) -> Result<Replayed, String> {
        fn part<T: serde::de::DeserializeOwned>(of: &serde_json::Value, name: &str) -> Result<T, String> {
            serde_json::from_value(of[name].clone()).map_err(|why| format!("its `{name}` is none: {why}"))
        }
        let connection: Connection = part(decision, "connection")?;
        let credentials: Credentials = part(decision, "credentials")?;
        let tape = Arc::new(Tape::of(part(decision, "told")?));
        let caller = Caller { tape: Some(Arc::clone(&tape)), ..Caller::default() };
        let answer = self.runtime.ask(Question::Authenticate(&connection, &credentials), caller).await;
        let verdict = match answer {
            Ok(Answer::Verdict(verdict)) => {
                let shown = serde_json::to_value(&verdict).map_err(|why| why.to_string())?;
                crate::verdict::check(self, verdict).map(|()| shown).map_err(|why| CallError::Void(why).to_string())
            }
            Ok(_) => Err("an answer to another question".to_owned()),
            Err(why) => Err(why.to_string()),
        };
        Ok(Replayed { verdict, missing: tape.missing() })
    }

    /// Starts an instance that nobody asks anything: what a fresh one costs.
    ///
    /// # Errors
    /// It cannot be started: a sentence.
    pub async fn start_instance(&self) -> Result<(), String> {
        let _ticking = self.runtime.engine.ticker().enter();
        let (call, notes) = (Call::within(self.runtime.deadline), Arc::default());
        let started = self.runtime.start(call, &notes).await;
        self.runtime.with.uses.instance(InstanceEvent::Discarded);
        started.map(drop).map_err(|why| self.runtime.start_error(&why, &notes, self.runtime.deadline).to_string())
    }

    /// Instances that were started.
    #[must_use]
    pub fn instances_made(&self) -> u64 {
        self.runtime.made.load(Ordering::Relaxed)
    }

    /// Octets of linear memory that an idle instance has. None: there is none.
    #[must_use]
    pub fn instance_memory(&self) -> Option<usize> {
        let instance = self.runtime.pool.take()?;
        let octets = instance.state().memory.used();
        self.runtime.pool.give_back(instance);
        Some(octets)
    }

    /// How it fares.
    #[must_use]
    pub fn score(&self) -> Score {
        self.tally.score()
    }

    /// Calls that run in it.
    #[must_use]
    pub fn running(&self) -> usize {
        self.runtime.pool.running()
    }

    /// Calls that wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.runtime.pool.waiting()
    }

    /// What the policy of this name uses up.
    #[must_use]
    pub fn uses(&self) -> &Uses {
        &self.runtime.with.uses
    }

    /// Octets and keys in its storage. None: it has none, or it cannot be read.
    #[must_use]
    pub fn stored(&self) -> Option<(u64, u64)> {
        let store = self.runtime.with.store.as_ref()?;
        Some((store.usage().ok()?, store.keys().ok()?))
    }

    /// For how long it is left alone yet, because it kept failing. None: it is not.
    #[must_use]
    pub fn quarantined_for(&self) -> Option<Duration> {
        self.quarantines.rest()
    }

    /// Whether it keeps failing and is left alone: for clients, for HTTP requests, or both.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.quarantines.is_any_open()
    }

    /// Whether only HTTP requests are kept from it, and clients are not.
    #[must_use]
    pub fn is_quarantined_for_http_alone(&self) -> bool {
        self.quarantines.requests.is_open() && !self.quarantines.clients.is_open()
    }

    /// Whether it may serve a client that names this MQTT 5 authentication method. One without a descriptor is asked.
    pub(crate) fn serves_method(&self, method: &str) -> bool {
        self.description.as_ref().is_none_or(|says| says.methods.iter().any(|m| &**m == method))
    }
}

/// What a version decided about a recorded login.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The verdict in the words of the contract, or how it failed.
    pub verdict: Result<serde_json::Value, String>,
    /// What it asked and the recording has no answer to. If there is any, the verdict means nothing.
    pub missing: Vec<String>,
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation").field("stamp", &self.stamp).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Starts an instance within a call's deadline.
    pub(crate) async fn start(&self, call: Call, notes: &Arc<Notes>) -> wasmtime::Result<Box<Instance>> {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.with.uses.instance(InstanceEvent::Made);
        let state = State::new(Arc::clone(&self.with), self.limits.memory, call, Arc::clone(notes));
        Instance::start(self.engine.wasmtime(), &self.pre, &self.indices, state).await.map(Box::new)
    }

    /// Asks one question. The deadline counts from the moment it is this call's turn, over guest and host time together.
    pub(crate) async fn ask(&self, question: Question<'_>, caller: Caller) -> Result<Answer, CallError> {
        let Some(_turn) = self.pool.turn(self.deadline).await else {
            self.with.uses.hit(Limit::Queue, format!("{} calls beside those of `instances`", self.limits.queue));
            return Err(CallError::Busy);
        };
        let kept = if self.limits.reuse { self.pool.take() } else { None };
        let Caller { details, address, tape, sources } = caller;
        let call = Call { details, address, tape, sources, ..Call::within(self.deadline) };
        let (instance, answer) = self.run(kept, &question, call, self.deadline).await?;
        if self.limits.reuse && instance.served < self.limits.calls_per_instance {
            self.pool.give_back(instance);
        }
        Ok(answer)
    }

    /// Runs a question on an instance, started for it if there is none. An instance that failed is dropped.
    pub(crate) async fn run(
        &self,
        kept: Option<Box<Instance>>,
        question: &Question<'_>,
        call: Call,
        allowed: Duration,
    ) -> Result<(Box<Instance>, Answer), CallError> {
        let _ticking = self.engine.ticker().enter();
        let until = call.deadline;
        let notes = kept.as_ref().map_or_else(Arc::default, |instance| Arc::clone(&instance.state().notes));
        notes.clear();
        // Pinned where it is made: to move it would be to copy it.
        let work = pin!(async {
            let mut instance = match kept {
                Some(mut instance) => {
                    instance.state_mut().call = call;
                    instance
                }
                // Boxed, since it is rare, and its future large.
                None => {
                    Box::pin(self.start(call, &notes)).await.map_err(|why| self.start_error(&why, &notes, allowed))?
                }
            };
            let answer = instance.ask(question).await;
            instance.state().place.leave();
            self.with.uses.memory(instance.state().memory.used());
            if notes.wanted_more_than(self.limits.memory) {
                self.with.uses.hit(Limit::Memory, format!("{} KiB", self.limits.memory >> 10));
            }
            match answer {
                Ok(answer) => {
                    // What it was told of the client is not for the next call.
                    instance.state_mut().call.details = None;
                    instance.state_mut().call.tape = None;
                    Ok((instance, answer))
                }
                Err(why) => {
                    let error = CallError::of(&why, allowed, instance.state());
                    if matches!(error, CallError::Trap(_)) {
                        self.with.uses.trapped(TrapKind::of(&why, notes.wanted_more_than(self.limits.memory)));
                    }
                    Err(error)
                }
            }
        });
        // Ticks end a guest that runs; this ends one that waits for the host.
        let done = tokio::time::timeout_at(until.into(), work)
            .await
            .unwrap_or_else(|_| Err(CallError::Deadline(notes.late(allowed))));
        if let Err(error) = &done {
            self.with.uses.instance(InstanceEvent::Discarded);
            if matches!(error, CallError::Deadline(_)) {
                self.with.uses.hit(Limit::Deadline, format!("{} ms", allowed.as_millis()));
            }
        }
        done
    }

    /// Why no instance could be started.
    pub(crate) fn start_error(&self, why: &wasmtime::Error, notes: &Notes, allowed: Duration) -> CallError {
        if why.downcast_ref::<DeadlinePassed>().is_some() {
            CallError::Deadline(notes.late(allowed))
        } else if why.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            CallError::Busy
        } else {
            CallError::Start(trap::words(why, notes, self.limits.memory))
        }
    }
}
