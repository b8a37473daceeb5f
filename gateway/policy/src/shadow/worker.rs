//! The thread of a shadow: takes questions from the queue, asks the candidate, compares.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use portcullis_grant::ConnectionFacts;
use tokio::sync::{mpsc, watch};

use super::given::{Given, compare};
use super::report::{Difference, ShadowReport};
use super::{Asked, Comparison, Matter};
use crate::call::{Answer, CallError, Caller, Question};
use crate::capability::{Effects, seconds_now};
use crate::convert;
use crate::generation::Generation;
use crate::policy::{Policy, caller};
use crate::stats::{CallOutcome, Stats};
use crate::verdict::{Terms, Watch};

/// Differences that are remembered.
const DIFFERENCES: usize = 32;
/// Exchanges of challenges that are followed at one time; the one that began first goes first.
const EXCHANGES: usize = 256;
/// Octets of a text that a stranger chose.
const TEXT: usize = 128;
/// The lowest priority that there is.
const NICE: i32 = 19;

/// What the thread and whoever asks for a report share.
pub(super) struct Work {
    /// The candidate has a slot of its own: counters, quarantine, instances.
    pub(super) slot: Arc<Policy>,
    since: u64,
    live: Stats,
    comparisons: [AtomicU64; Comparison::ALL.len()],
    not_followed: AtomicU64,
    parts: Mutex<BTreeMap<&'static str, u64>>,
    differences: Mutex<VecDeque<Difference>>,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// Begins the thread. It ends with the queue, or with `until`.
pub(super) fn start(work: Arc<Work>, inbox: mpsc::Receiver<Asked>, until: watch::Receiver<()>) -> io::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    let run = move || {
        // It concerns this thread alone. Where it may not be done the shadow takes part like others: one call at a time.
        if let Err(why) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!("a shadow runs with the priority of the gateway: {why}");
        }
        // Timers and sockets are the gateway's; the candidate's own code runs here.
        runtime.block_on(run(&work, inbox, until));
    };
    std::thread::Builder::new().name("shadow".to_owned()).spawn(run).map(drop)
}

async fn run(work: &Work, mut inbox: mpsc::Receiver<Asked>, mut until: watch::Receiver<()>) {
    let mut exchanges = Exchanges::default();
    loop {
        tokio::select! {
            biased;
            _ = until.changed() => return,
            asked = inbox.recv() => {
                let Some(asked) = asked else { return };
                tokio::select! {
                    biased;
                    _ = until.changed() => return,
                    () = work.consider(asked, &mut exchanges) => {}
                }
            }
        }
    }
}

/// What the candidate wants back with the reply of a client, by connection.
#[derive(Default)]
struct Exchanges {
    states: HashMap<Arc<str>, Vec<u8>>,
    order: VecDeque<Arc<str>>,
}

impl Exchanges {
    fn begin(&mut self, connection: &Arc<str>, state: Vec<u8>) {
        if self.states.insert(Arc::clone(connection), state).is_none() {
            self.order.push_back(Arc::clone(connection));
        }
        if self.order.len() > EXCHANGES
            && let Some(oldest) = self.order.pop_front()
        {
            self.states.remove(&oldest);
        }
    }

    fn take(&mut self, connection: &str) -> Option<Vec<u8>> {
        self.order.retain(|known| **known != *connection);
        self.states.remove(connection)
    }
}

/// Of whom a question was.
struct Subject {
    what: &'static str,
    client: String,
    username: Option<String>,
    listener: String,
}

impl Work {
    pub(super) fn new(candidate: Arc<Generation>) -> Self {
        Self {
            slot: Policy::new(candidate),
            since: seconds_now(),
            live: Stats::default(),
            comparisons: Default::default(),
            not_followed: AtomicU64::new(0),
            parts: Mutex::default(),
            differences: Mutex::default(),
        }
    }

    pub(super) fn effects(&self) -> Option<Arc<Effects>> {
        self.slot.current().runtime.with.effects.clone()
    }

    pub(super) fn report(&self, dropped: u64) -> ShadowReport {
        let [stored, directory, http] = self.effects().map_or([0; 3], |effects| effects.counts());
        ShadowReport {
            since: self.since,
            comparisons: std::array::from_fn(|number| self.comparisons[number].load(Ordering::Relaxed)),
            parts: self.parts.lock().iter().map(|(part, count)| (*part, *count)).collect(),
            dropped,
            not_followed: self.not_followed.load(Ordering::Relaxed),
            live: self.live.figures(),
            candidate: self.slot.stats().figures(),
            quarantined: self.slot.current().is_quarantined(),
            stored,
            directory,
            http,
            differences: self.differences.lock().iter().rev().cloned().collect(),
        }
    }

    /// Puts one question to the candidate, and notes how the answers compare.
    async fn consider(&self, asked: Asked, exchanges: &mut Exchanges) {
        let Asked { matter, live, took } = asked;
        let hindered = || self.effects().map_or(0, |effects| effects.counts()[1..].iter().sum::<u64>());
        let before = hindered();
        let subject = subject(&matter);
        let Some(candidate) = self.ask(&matter, &live, exchanges).await else {
            self.not_followed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.live.count(outcome(&live), took);
        let (comparison, parts) = compare(&live, &candidate);
        self.comparisons[comparison as usize].fetch_add(1, Ordering::Relaxed);
        if comparison == Comparison::Same {
            return;
        }
        for part in &parts {
            *self.parts.lock().entry(part).or_default() += 1;
        }
        let mut differences = self.differences.lock();
        if differences.len() == DIFFERENCES {
            differences.pop_front();
        }
        differences.push_back(Difference {
            at: seconds_now(),
            what: subject.what,
            client: subject.client,
            username: subject.username,
            listener: subject.listener,
            comparison,
            parts,
            live: live.words(),
            candidate: candidate.words(),
            hindered: hindered() != before,
        });
    }

    /// None: it cannot be asked this.
    async fn ask(&self, matter: &Matter, live: &Given, exchanges: &mut Exchanges) -> Option<Given> {
        let generation = self.slot.current();
        match matter {
            Matter::Login(login) => {
                let method = login.credentials.method.as_deref();
                if !generation.abilities.exports("authentication")
                    || method.is_some_and(|method| !generation.serves_method(method))
                {
                    return Some(Given::Pass);
                }
                let connection = convert::connection(&login.connection);
                let credentials = convert::credentials(&login.credentials);
                let (watch, caller) = Watch::start(caller(&login.connection));
                let terms = Terms::of_login(login, &watch);
                let question = Question::Authenticate(&connection, &credentials);
                let (given, state) = self.verdict(&generation, question, caller, &terms).await;
                follow(exchanges, &login.connection, live, &given, state);
                Some(given)
            }
            Matter::Reply(reply) => {
                let state = exchanges.take(&reply.connection.id)?;
                let connection = convert::connection(&reply.connection);
                let mut question = convert::reply(reply);
                question.state = state;
                let (watch, caller) = Watch::start(caller(&reply.connection));
                let terms = Terms::of_reply(reply, &watch);
                let question = Question::Continue(&connection, &question);
                let (given, state) = self.verdict(&generation, question, caller, &terms).await;
                follow(exchanges, &reply.connection, live, &given, state);
                Some(given)
            }
            Matter::Authorize(grant, action) => {
                if !generation.abilities.exports("authorization") {
                    return Some(Given::Failed("it does not export `authorization`".to_owned()));
                }
                let identity = convert::identity(&grant.identity);
                let action = convert::action(action);
                let question = Question::Authorize(&identity, grant.state(), &action);
                Some(self.plain(&generation, question, Caller::default()).await)
            }
            Matter::Renew(connection, grant) => {
                if !generation.abilities.exports("renewal") {
                    return Some(Given::Failed("it does not export `renewal`".to_owned()));
                }
                let facts = convert::connection(connection);
                let question = Question::Renew(&facts, grant.state());
                Some(self.plain(&generation, question, caller(connection)).await)
            }
        }
    }

    /// Asks for a verdict. With a challenge comes the state that the candidate wants back.
    async fn verdict(
        &self,
        generation: &Generation,
        question: Question<'_>,
        caller: Caller,
        terms: &Terms<'_>,
    ) -> (Given, Option<Vec<u8>>) {
        let mut state = None;
        let read = |answer: Answer| {
            if let Answer::Verdict(crate::bindings::portcullis::policy::types::Verdict::Challenge(asks)) = &answer {
                state = Some(asks.state.clone());
            }
            let given = Given::of(&answer);
            terms.read(generation, answer).map(|(_, outcome)| (given, outcome))
        };
        let answer = self.slot.ask(generation, question, caller, read).await;
        (answer.unwrap_or_else(failed), state)
    }

    async fn plain(&self, generation: &Generation, question: Question<'_>, caller: Caller) -> Given {
        let read = |answer: Answer| Ok((Given::of(&answer), CallOutcome::Answer));
        self.slot.ask(generation, question, caller, read).await.unwrap_or_else(failed)
    }
}

fn failed(error: CallError) -> Given {
    Given::Failed(error.to_string())
}

/// A client answers what the live policy has asked. Only if the candidate would have asked the same can it be given the answer.
fn follow(
    exchanges: &mut Exchanges,
    connection: &ConnectionFacts,
    live: &Given,
    given: &Given,
    state: Option<Vec<u8>>,
) {
    if let (Given::Challenge(asked), Given::Challenge(would_ask), Some(state)) = (live, given, state)
        && asked == would_ask
    {
        exchanges.begin(&connection.id, state);
    }
}

fn outcome(given: &Given) -> CallOutcome {
    match given {
        Given::Allow(Some(_)) => CallOutcome::Allow,
        Given::Allow(None) => CallOutcome::Answer,
        Given::Deny(..) => CallOutcome::Deny,
        Given::Pass => CallOutcome::Pass,
        Given::Challenge(_) => CallOutcome::Challenge,
        Given::Failed(_) => CallOutcome::Trap,
    }
}

fn subject(matter: &Matter) -> Subject {
    let bounded = |text: &str| crate::capability::escaped(&text[..text.floor_char_boundary(TEXT)]);
    let subject = |what, client: &str, username: Option<&str>, listener: &str| Subject {
        what,
        client: bounded(client),
        username: username.map(bounded),
        listener: listener.to_owned(),
    };
    match matter {
        Matter::Login(login) => {
            let credentials = &login.credentials;
            subject("login", &credentials.client_id, credentials.username.as_deref(), &login.connection.listener)
        }
        Matter::Reply(reply) => subject("continue", &reply.client_id, None, &reply.connection.listener),
        Matter::Authorize(grant, _) => subject("authorize", grant.identity.subject(), None, ""),
        Matter::Renew(connection, grant) => subject("renew", grant.identity.subject(), None, &connection.listener),
    }
}
