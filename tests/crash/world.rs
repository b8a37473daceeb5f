//! What clients and the killer share: which gateway lives and where, what happened so far, and the first failure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use std::sync::{Condvar, Mutex, MutexGuard};

use crate::ANSWER;

/// How far the slowest subscriber may be behind: below the gateway's bound on queued messages, which is not tested here.
const LAG: u64 = 3_000;

/// See the module's description.
pub(crate) struct World {
    state: Mutex<State>,
    changed: Condvar,
    started: Instant,
    seed: u64,
}

#[derive(Default)]
pub(crate) struct State {
    /// Counts starts of the gateway, from 1.
    pub(crate) life: u32,
    address: Option<SocketAddr>,
    /// What happened in this life: answers, deliveries, connections.
    events: u64,
    /// No more kills: publishers come to an end.
    finishing: bool,
    /// Subscribers that have their SUBACK.
    pub(crate) subscribed: usize,
    /// Messages published, and by subscriber those received for the first time.
    published: Vec<u64>,
    received: Vec<u64>,
    /// Retained messages by topic.
    pub(crate) kept: HashMap<String, Kept>,
    failure: Option<String>,
}

/// What is known of the retained message of a topic, whose values only grow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) acknowledged: Option<u64>,
    pub(crate) sent: u64,
}

/// A failure elsewhere, or one's own that was reported: there is no use in going on.
#[derive(Debug)]
pub(crate) struct Over;

/// A moment, for the story.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) life: u32,
    pub(crate) at: Duration,
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "start {} +{:.3} s", self.life, self.at.as_secs_f64())
    }
}

impl World {
    pub(crate) fn new(publishers: usize, subscribers: usize, seed: u64) -> Self {
        let state = State { published: vec![0; publishers], received: vec![0; subscribers], ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new(), started: Instant::now(), seed }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock")
    }

    /// A gateway lives.
    pub(crate) fn begin(&self, address: SocketAddr) {
        let mut state = self.lock();
        state.life += 1;
        state.events = 0;
        state.address = Some(address);
        self.changed.notify_all();
    }

    /// It is about to be killed.
    pub(crate) fn end_life(&self) {
        self.lock().address = None;
        self.changed.notify_all();
    }

    pub(crate) fn moment(&self, life: u32) -> Moment {
        Moment { life, at: self.started.elapsed() }
    }

    /// The gateway that lives: its number and address. Waits for the next one while there is none.
    pub(crate) fn gateway(&self) -> Result<(u32, SocketAddr), Over> {
        let state = self.wait("a gateway lives", |state| state.address.is_some())?;
        state.address.map(|address| (state.life, address)).ok_or(Over)
    }

    /// A connection to the gateway of this life broke: waits until that life is over. It is a failure if it is not.
    pub(crate) fn died(&self, life: u32, who: &str, what: &str) -> Result<(), Over> {
        let doubt = format!("the gateway that closed the connection of {who} ({what}) was killed");
        self.wait(&doubt, |state| state.life != life || state.address.is_none()).map(drop)
    }

    /// Something happened that a kill may follow.
    pub(crate) fn event(&self) {
        let mut state = self.lock();
        state.events += 1;
        self.changed.notify_all();
    }

    /// Waits until so much happened in this life.
    pub(crate) fn after_events(&self, count: u64) {
        drop(self.wait("clients are served", |state| state.events >= count));
        self.stop_on_failure();
    }

    /// Lets a moment pass, unless somebody fails.
    pub(crate) fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while state.failure.is_none() {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            state = self.changed.wait_timeout(state, left).expect("nobody panics with the lock").0;
        }
    }

    /// Waits for what must come about.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        drop(self.wait(what, wanted));
        self.stop_on_failure();
    }

    fn wait(&self, what: &str, wanted: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>, Over> {
        let mut state = self.lock();
        // As long as anything happens at all there is no reason to give up.
        let mut by = Instant::now() + ANSWER;
        let mut seen = (state.life, state.events);
        loop {
            if state.failure.is_some() {
                return Err(Over);
            }
            if wanted(&state) {
                return Ok(state);
            }
            if seen != (state.life, state.events) {
                seen = (state.life, state.events);
                by = Instant::now() + ANSWER;
            }
            let Some(left) = by.checked_duration_since(Instant::now()) else {
                state.failure = Some(format!("waited {ANSWER:?} in vain for this: {what}"));
                self.changed.notify_all();
                return Err(Over);
            };
            state = self.changed.wait_timeout(state, left).expect("nobody panics with the lock").0;
        }
    }

    /// Publishers: a message was sent for the first time.
    pub(crate) fn published(&self, publisher: usize) {
        self.lock().published[publisher] += 1;
    }

    /// Subscribers: a message came for the first time.
    pub(crate) fn received(&self, subscriber: usize) {
        let mut state = self.lock();
        state.received[subscriber] += 1;
        state.events += 1;
        self.changed.notify_all();
    }

    /// Whether there may be more messages: not while a subscriber is far behind, nor near the end.
    pub(crate) fn wants_more(&self) -> bool {
        let state = self.lock();
        !state.finishing && state.may_publish()
    }

    pub(crate) fn finishing(&self) -> bool {
        self.lock().finishing
    }

    /// For a publisher with nothing to do.
    pub(crate) fn wait_for_work(&self, life: u32) -> Result<(), Over> {
        self.wait("subscribers catch up", |state| {
            state.finishing || state.may_publish() || state.life != life || state.address.is_none()
        })
        .map(drop)
    }

    /// For a subscriber that stays away until so many more things have happened.
    pub(crate) fn stay_away(&self, events: u64) -> Result<(), Over> {
        let (life, until) = {
            let state = self.lock();
            (state.life, state.events + events)
        };
        self.wait("others go on while one is away", |state| {
            state.finishing || state.life != life || state.events >= until || !state.may_publish()
        })
        .map(drop)
    }

    pub(crate) fn finish(&self) {
        self.lock().finishing = true;
        self.changed.notify_all();
    }

    pub(crate) fn failed(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// Tells of a failure. The first counts.
    pub(crate) fn fail(&self, why: String) -> Over {
        let mut state = self.lock();
        let life = state.life;
        state.failure.get_or_insert_with(|| format!("{}: {why}", self.moment(life)));
        self.changed.notify_all();
        Over
    }

    /// Ends the test with this failure, or an earlier one.
    pub(crate) fn give_up(&self, why: &str) -> ! {
        self.fail(why.to_owned());
        self.stop_on_failure();
        unreachable!("there is a failure")
    }

    /// Ends the test if there was a failure.
    pub(crate) fn stop_on_failure(&self) {
        let failure = self.lock().failure.clone();
        if let Some(failure) = failure {
            panic!("{failure} (PORTCULLIS_SEED={})", self.seed);
        }
    }

    /// The outcome of a client.
    pub(crate) fn join<T>(&self, thread: JoinHandle<Result<T, Over>>) -> T {
        match thread.join() {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Over)) => self.give_up("a client gave up"),
            Err(_) => self.give_up("a client panicked"),
        }
    }
}

impl State {
    fn may_publish(&self) -> bool {
        let published: u64 = self.published.iter().sum();
        self.received.iter().min().is_none_or(|slowest| published <= slowest + LAG)
    }
}

/// Starts a client; a panic in it ends the test at once.
pub(crate) fn client<T: Send + 'static>(
    world: &Arc<World>,
    run: impl FnOnce() -> Result<T, Over> + Send + 'static,
) -> JoinHandle<Result<T, Over>> {
    struct Alarm(Arc<World>);
    impl Drop for Alarm {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.fail("a client panicked".to_owned());
            }
        }
    }
    let alarm = Alarm(Arc::clone(world));
    std::thread::spawn(move || {
        let _alarm = alarm;
        run()
    })
}
