//! Time-outs of connections, without a timer each: a wheel of slots, turned a few times a second.
//!
//! A connection is in one slot at most. Keep-alive moves its time with every read, and does not touch the wheel: when the
//! slot comes up the connection looks at its clock and takes a later one. Whoever closes leaves its slot, so that clients
//! which come and go leave nothing behind.

use std::io;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use hashbrown::HashTable;
use parking_lot::Mutex;
use portcullis_router::now_ms;
use portcullis_session::{Broker, Handle};

use super::parking::Parking;
use super::worker;

/// Milliseconds of a slot; a time-out is late by this at the most.
const TICK_MS: u64 = 250;
/// Later times are put into the last slot, and again when it comes up.
const SLOTS: u64 = 512;
/// The broker's own appointments are looked at every so many ticks.
const TICKS_OF_BROKER: u64 = 2;

/// By their numbers, which are in them.
type Slot = HashTable<Arc<Handle>>;

/// Numbers are counted up by ourselves, so that nobody chooses them.
fn hash(handle: &Arc<Handle>) -> u64 {
    handle.number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Where a connection waits for its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Armed {
    /// Counted from the beginning of the process: there is room for 34 years.
    tick: NonZeroU32,
}

impl Armed {
    /// When it is woken, in milliseconds of `now_ms`.
    pub(super) fn at(self) -> u64 {
        u64::from(self.tick.get()) * TICK_MS
    }
}

/// See the module's description.
pub struct Wheel {
    slots: Box<[Mutex<Slot>]>,
    /// The tick that was last worked through.
    turned: AtomicU64,
    pub(super) parking: Arc<Parking>,
}

impl Wheel {
    /// A wheel that nobody turns yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
            turned: AtomicU64::new(now_ms() / TICK_MS),
            parking: Parking::new(),
        })
    }

    /// Has `handle` woken at `at` or a little later; long times a first time before.
    pub(super) fn arm(&self, at: u64, handle: &Arc<Handle>) -> Armed {
        loop {
            let turned = self.turned.load(Ordering::Acquire);
            // Round up: never early, and never a slot that is being worked through.
            let tick = (at / TICK_MS + 1).clamp(turned + 2, turned + SLOTS - 1);
            let slot = tick % SLOTS;
            self.slots[slot as usize].lock().insert_unique(hash(handle), Arc::clone(handle), hash);
            let armed = Armed { tick: u32::try_from(tick).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX) };
            // The wheel went past it meanwhile: once more.
            if self.turned.load(Ordering::Acquire) < tick {
                return armed;
            }
            self.disarm(handle, armed);
        }
    }

    pub(super) fn disarm(&self, handle: &Arc<Handle>, armed: Armed) {
        let mut slot = self.slots[(u64::from(armed.tick.get()) % SLOTS) as usize].lock();
        let gone = slot.find_entry(hash(handle), |other| Arc::ptr_eq(other, handle)).map(|found| found.remove().0).ok();
        if slot.is_empty() && slot.capacity() > 64 {
            *slot = Slot::default();
        }
        drop(slot);
        drop(gone);
    }

    fn turn(&self) {
        let now = now_ms() / TICK_MS;
        let mut tick = self.turned.load(Ordering::Acquire);
        while tick < now {
            tick += 1;
            self.turned.store(tick, Ordering::Release);
            let due = std::mem::take(&mut *self.slots[(tick % SLOTS) as usize].lock());
            for handle in &due {
                handle.time_is_up();
            }
        }
    }

    /// From now on plain connections are parked when they have been quiet for so long.
    pub fn park_after(&self, quiet: Duration) {
        self.parking.park_after(quiet.as_millis() as u64);
    }

    /// How many connections are parked.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parking.len()
    }

    /// Turns the wheel, keeps the broker's appointments, and serves those who are parked, for as long as it is polled.
    ///
    /// The wheel has a thread of its own: with no timer in the runtime, a worker that goes to sleep has no clock to read and no
    /// alarm to set, at each message that comes alone.
    pub async fn run(self: Arc<Self>, broker: Arc<Broker>) {
        let turned_here = async {
            match Turning::start(Arc::clone(&self), Arc::clone(&broker)) {
                Ok(_turning) => return std::future::pending().await,
                Err(e) => tracing::warn!("time-outs share the workers with connections: {e}"),
            }
            let mut interval = tokio::time::interval(Duration::from_millis(TICK_MS));
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut ticks = 0;
            loop {
                interval.tick().await;
                self.tick(&broker, &mut ticks);
            }
        };
        tokio::join!(turned_here, Arc::clone(&self.parking).run());
    }

    fn tick(&self, broker: &Broker, ticks: &mut u64) {
        self.turn();
        *ticks += 1;
        if ticks.is_multiple_of(TICKS_OF_BROKER) {
            worker::with(|worker| {
                broker.tick(&mut worker.scratch);
                broker.settle(&mut worker.scratch);
            });
        }
    }
}

/// The thread that turns a wheel. Dropped, it has ended: it holds the broker, and with it the store, no longer than the
/// runtime does.
struct Turning {
    alive: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Turning {
    fn start(wheel: Arc<Wheel>, broker: Arc<Broker>) -> io::Result<Self> {
        let (alive, over) = mpsc::channel();
        // Whom a tick wakes may want to spawn.
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name("wheel".into()).spawn(move || {
            let _within = runtime.enter();
            let mut ticks = 0;
            while over.recv_timeout(Duration::from_millis(TICK_MS)) == Err(RecvTimeoutError::Timeout) {
                // One that panics has said so, and is not the end of time: grants expire by it.
                let _ = catch_unwind(AssertUnwindSafe(|| wheel.tick(&broker, &mut ticks)));
            }
        })?;
        Ok(Self { alive: Some(alive), thread: Some(thread) })
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
