//! The clock of the guests: one thread that advances the engine's epoch while calls are in flight.
//!
//! At each tick a running guest yields to the executor, so that no guest holds a worker thread longer than one tick, and
//! its deadline is looked at. While nothing runs, the thread sleeps and the gateway makes no wake-ups of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

/// Time between ticks.
pub(crate) const TICK: Duration = Duration::from_millis(5);
/// Ticks without any call after which the thread goes to sleep: waking it costs a system call, which a busy gateway
/// should not pay for each login.
const LINGER: u32 = 20;

struct Shared {
    in_flight: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// The thread. It ends when this is dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// While this lives, the epoch advances.
pub(crate) struct InFlight(Arc<Ticker>);

impl Ticker {
    pub(crate) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            in_flight: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let held = Arc::clone(&shared);
        let thread = thread::Builder::new().name("policy-ticks".to_owned()).spawn(move || run(&engine, &held))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Announces a call.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        // Counted first, looked at second; the thread does both the other way round, so one of them sees the other.
        self.shared.in_flight.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        InFlight(Arc::clone(self))
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_asleep(&self) -> bool {
        self.shared.asleep.load(Ordering::SeqCst)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It only sleeps and counts; there is nothing that could have failed in it.
            let _ = thread.join();
        }
    }
}

fn run(engine: &Engine, shared: &Shared) {
    let mut idle = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        if idle >= LINGER {
            shared.asleep.store(true, Ordering::SeqCst);
            while shared.in_flight.load(Ordering::SeqCst) == 0 && !shared.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            shared.asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
        thread::park_timeout(TICK);
        engine.increment_epoch();
        idle = if shared.in_flight.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_while_calls_are_in_flight_and_sleeps_otherwise() {
        let engine = Engine::new(&crate::engine::compile_settings(None).expect("settings")).expect("engine");
        let ticker = Arc::new(Ticker::start(engine).expect("thread"));
        let limit = std::time::Instant::now() + Duration::from_secs(120);
        let wait = |asleep| {
            while ticker.is_asleep() != asleep {
                assert!(std::time::Instant::now() < limit, "the ticker did not change its state");
                thread::yield_now();
            }
        };
        wait(true);
        let call = ticker.enter();
        wait(false);
        drop(call);
        wait(true);
    }
}
