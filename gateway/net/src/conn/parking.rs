//! Plain connections that are idle: parked, without a task and without a place in the runtime's reactor.
//!
//! A task and what the runtime keeps of a socket are more than a third of what an idle connection would be in memory. A parked one
//! is in a table here, and its socket in a poll of its own, which is one socket to the runtime. Who is let in and says nothing
//! more is parked at once, before the runtime has heard of its socket.
//!
//! Whoever is heard now and then is served here: it is polled once, and stays. Who talks (twice within two seconds), of whom
//! somebody else wants something, or who has more to do than one turn, is given a task, and is parked again when it has been
//! quiet for a while: to give a task and to take it back costs half as much as a message that comes alone.
//!
//! What is delivered to a parked connection is written by its publisher, as ever, and wakes nobody.

use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use hashbrown::HashTable;
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use parking_lot::{Mutex, RwLock};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use portcullis_router::now_ms;

use super::io::Io;
use super::poll::{Turn, listener_stops};
use super::{Connection, Stopped};
use crate::socket::Watched;

/// Milliseconds of silence after which a connection that has a task is parked.
const PARKED_AFTER_MS: u64 = 5000;
/// Connections that are served here before others get the worker's attention.
const AT_A_TIME: usize = 16;
/// Nobody is parked.
const NEVER: u64 = u64::MAX;
/// Sockets that are heard of at a time.
const EVENTS: usize = 256;

/// See the module's description.
pub(super) struct Parking {
    /// Taken by whoever runs it.
    poll: Mutex<Option<mio::Poll>>,
    /// None: the system had no poll left, and nobody is parked.
    registry: Option<mio::Registry>,
    after_ms: AtomicU64,
    parked: Mutex<HashTable<Box<Connection>>>,
    /// Numbers of those that somebody other than their client wants something of.
    called: Mutex<Vec<usize>>,
    bell: Notify,
}

/// Numbers are counted up by ourselves, so that nobody chooses them.
fn hash(number: u64) -> u64 {
    (number as usize as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// How a parked connection is heard of.
#[derive(Clone, Copy)]
struct Heard {
    /// The part of its number that a machine word has room for.
    number: usize,
    /// Its socket has something to read; else somebody else has rung for it.
    by_socket: bool,
    /// The client says nothing more.
    ended: bool,
}

/// All there are. A gateway has one; where there are more, each hears of numbers that are another's, and finds them not parked, or
/// looks once for nothing.
static PARKINGS: RwLock<Vec<Weak<Parking>>> = RwLock::new(Vec::new());

/// What rings for a parked connection: its number is all there is of it, so that it takes no memory.
static BELL: RawWakerVTable = RawWakerVTable::new(|number| RawWaker::new(number, &BELL), ring, ring, |_| {});

fn ring(number: *const ()) {
    for parking in PARKINGS.read().iter().filter_map(Weak::upgrade) {
        parking.called.lock().push(number.addr());
        parking.bell.notify_one();
    }
}

/// Rings for the connection with this number.
#[allow(unsafe_code)]
fn bell(number: u64) -> Waker {
    let number = std::ptr::without_provenance(number as usize);
    // SAFETY: what stands behind the functions of `BELL` is a number, which they only copy; they may be called from any thread.
    unsafe { Waker::new(number, &BELL) }
}

impl Parking {
    pub(super) fn new() -> Arc<Self> {
        let made = mio::Poll::new().and_then(|poll| Ok((poll.registry().try_clone()?, poll)));
        let made = made.inspect_err(|e| tracing::warn!("idle connections keep their tasks: {e}")).ok();
        let (registry, poll) = made.unzip();
        let parking = Arc::new(Self {
            poll: Mutex::new(poll),
            registry,
            after_ms: AtomicU64::new(PARKED_AFTER_MS),
            parked: Mutex::default(),
            called: Mutex::default(),
            bell: Notify::new(),
        });
        // Those that have gone leave here: one that goes may do so while somebody rings, who has the list.
        let mut all = PARKINGS.write();
        all.retain(|parking| parking.strong_count() > 0);
        all.push(Arc::downgrade(&parking));
        drop(all);
        parking
    }

    /// Milliseconds of silence after which a connection is parked. None: none is.
    pub(super) fn quiet_ms(&self) -> Option<u64> {
        self.registry.as_ref().map(|_| self.after_ms.load(Ordering::Relaxed)).filter(|ms| *ms != NEVER)
    }

    /// The same from now on.
    pub(super) fn park_after(&self, ms: u64) {
        self.after_ms.store(ms, Ordering::Relaxed);
    }

    /// How many are parked now.
    pub(super) fn len(&self) -> usize {
        self.parked.lock().len()
    }

    /// Parks a connection that rests. Gives it back if something has come for it meanwhile.
    pub(super) fn park(self: &Arc<Self>, mut connection: Box<Connection>) -> Option<Box<Connection>> {
        let number = connection.machine.handle().number;
        // Before the socket leaves the reactor, whoever wants something wakes the task, which is ending; from here on the bell.
        // Nobody who is told of it finds the table without it.
        let mut parked = self.parked.lock();
        let bell = bell(number);
        connection.machine.handle().register(&bell);
        let stops = connection.hears_of_stop(&mut Context::from_waker(&bell));
        let rests = !stops && connection.rests() && self.quiet_ms().is_some();
        let Some(registry) = self.registry.as_ref().filter(|_| rests) else { return Some(connection) };
        let Io::Direct(watched) = &connection.io else { return Some(connection) };
        let socket = Arc::clone(watched.socket());
        let descriptor = socket.as_raw_fd();
        // The runtime watches it no longer.
        connection.io = Io::Parked(socket);
        if let Err(e) = registry.register(&mut SourceFd(&descriptor), Token(number as usize), Interest::READABLE) {
            tracing::debug!("a connection cannot be parked: {e}");
            // Not to be tried again at once, and for ever.
            connection.stir();
            return Some(connection.unpark());
        }
        connection.arm_timer();
        parked.insert_unique(hash(number), connection, |other| hash(other.machine.handle().number));
        None
    }

    fn take(&self, number: usize) -> Option<Box<Connection>> {
        let mut parked = self.parked.lock();
        let found = parked.find_entry(hash(number as u64), |other| other.machine.handle().number as usize == number);
        let (connection, _) = found.ok()?.remove();
        if parked.capacity() > 64 && parked.len() < parked.capacity() / 8 {
            parked.shrink_to_fit(|other| hash(other.machine.handle().number));
        }
        Some(connection)
    }

    /// Has a connection do what it was heard for.
    fn serve(self: &Arc<Self>, heard: Heard) {
        // It is awake already, or gone.
        let Some(mut connection) = self.take(heard.number) else { return };
        // Logins are for all workers, one beside the other; so is what may concern everybody at once.
        if connection.before.is_some() || connection.machine.handle().is_asked() {
            return self.wake(connection);
        }
        let talks = heard.by_socket && connection.stir();
        let number = connection.machine.handle().number;
        let bell = bell(number);
        let polled = catch_unwind(AssertUnwindSafe(|| connection.poll(&mut Context::from_waker(&bell))));
        let Ok(Turn::Waits | Turn::Tires) = polled else {
            // It left, or it panicked, which is told by then; neither that nor its end is to be everybody's. A socket that is
            // closed leaves the poll.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(connection)));
            return;
        };
        let again = self.called.lock().contains(&heard.number);
        if talks || again || heard.ended || !connection.rests() {
            return self.wake(connection);
        }
        self.parked.lock().insert_unique(hash(number), connection, |other| hash(other.machine.handle().number));
    }

    /// Gives a connection a task.
    fn wake(&self, connection: Box<Connection>) {
        if let (Some(registry), Io::Parked(socket)) = (&self.registry, &connection.io)
            && let Err(e) = registry.deregister(&mut SourceFd(&socket.as_raw_fd()))
        {
            tracing::debug!("a parked socket was not in the poll: {e}");
        }
        connection.unpark().wake_up();
    }

    /// Serves those for whom something comes, for as long as it is polled.
    pub(super) async fn run(self: Arc<Self>) {
        let Some(poll) = self.poll.lock().take() else { return };
        let _end = End(Arc::clone(&self));
        let mut poll = match register(poll) {
            Ok(poll) => poll,
            Err(e) => return tracing::warn!("parked connections cannot be heard: {e}"),
        };
        let mut events = Events::with_capacity(EVENTS);
        let mut heard = Vec::new();
        loop {
            tokio::select! {
                ready = poll.readable_mut() => {
                    let Ok(mut ready) = ready else { return };
                    match ready.get_inner_mut().poll(&mut events, Some(Duration::ZERO)) {
                        // Its events come once: they are fetched until there is room for more than there were.
                        Ok(()) if events.iter().count() < EVENTS => ready.clear_ready(),
                        Ok(()) => {}
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => {
                            tracing::warn!("parked connections cannot be heard: {e}");
                            return;
                        }
                    }
                    heard.extend(events.iter().map(|event| Heard {
                        number: event.token().0,
                        by_socket: true,
                        ended: event.is_read_closed() || event.is_error(),
                    }));
                    events.clear();
                }
                () = self.bell.notified() => {}
            }
            let called = std::mem::take(&mut *self.called.lock());
            heard.extend(called.into_iter().map(|number| Heard { number, by_socket: false, ended: false }));
            for some in heard.chunks(AT_A_TIME) {
                for one in some {
                    self.serve(*one);
                }
                if some.len() == AT_A_TIME {
                    tokio::task::yield_now().await;
                }
            }
            heard.clear();
        }
    }
}

/// Registers the poll with the runtime of the calling task.
#[allow(unsafe_code)]
fn register(poll: mio::Poll) -> io::Result<AsyncFd<mio::Poll>> {
    // SAFETY: the descriptor must stay open and the same for as long as the `AsyncFd` lives. It holds the poll, which owns the
    // descriptor and is only borrowed.
    Ok(unsafe { AsyncFd::register(poll) }?)
}

/// Connections hold what holds them here: whoever stops running it ends those that are parked.
struct End(Arc<Parking>);

impl Drop for End {
    fn drop(&mut self) {
        // Whoever has the table after us sees it.
        self.0.park_after(NEVER);
        let left = std::mem::take(&mut *self.0.parked.lock());
        drop(left);
    }
}

impl Connection {
    /// From when on it may be parked, in [`now_ms`]. None: it cannot be.
    pub(super) fn parks_at(&self) -> Option<u64> {
        let plain = matches!(self.io, Io::Direct(_)) && self.before.is_none();
        let quiet = self.handler.wheel.parking.quiet_ms()?;
        plain.then(|| self.machine.heard_at() + quiet)
    }

    /// When to look whether it is quiet enough, in [`now_ms`]. None: it cannot be parked.
    pub(super) fn looks_whether_it_rests_at(&self) -> Option<u64> {
        let (at, now) = (self.parks_at()?, now_ms());
        // What keeps it (half a packet, a client that acknowledges nothing) may do so for long: it is not asked at each tick.
        if at <= now && !self.rests() { Some(now + self.handler.wheel.parking.quiet_ms()?) } else { Some(at) }
    }

    /// Its time has come: is it quiet enough to be parked?
    pub(super) fn is_tired(&self) -> bool {
        self.parks_at().is_some_and(|at| at <= now_ms()) && self.rests()
    }

    /// All that had come is read. Who has nothing else to do, be it let in or not, is to be parked before the runtime hears of its
    /// socket; everybody else's is watched. None: nothing new is known of what comes.
    pub(super) fn wait_for_more(&mut self, cx: &mut Context<'_>) -> Option<Turn> {
        if !matches!(self.io, Io::Direct(Watched::Emptied(_))) {
            return None;
        }
        if !self.talks(second()) && self.handler.wheel.parking.quiet_ms().is_some() && self.rests() {
            return Some(Turn::Tires);
        }
        let Io::Direct(socket) = &mut self.io else { return None };
        match socket.poll_readable(cx) {
            Ok(false) => return Some(Turn::Waits),
            Ok(true) => {}
            Err(e) => self.lost(&e),
        }
        cx.waker().wake_by_ref();
        Some(Turn::Waits)
    }

    /// Whether it was heard while it was parked in this second or the last.
    fn talks(&self, now: u16) -> bool {
        let next = if self.stirred_at == u16::MAX { 1 } else { self.stirred_at + 1 };
        self.stirred_at != 0 && (now == self.stirred_at || now == next)
    }

    /// It was heard while it was parked. True: it talks.
    fn stir(&mut self) -> bool {
        let now = second();
        let talks = self.talks(now);
        self.stirred_at = now;
        talks
    }

    /// Whether there is nothing that it waits for but its client, its time, and the wishes of others, of which there are none.
    fn rests(&self) -> bool {
        let written = match (self.machine.mailbox(), &self.before) {
            (Some(mailbox), None) => mailbox.is_at_rest() && !self.machine.is_offering(),
            (None, Some(before)) => before.early.is_empty() && self.machine.awaits_connect(),
            _ => false,
        };
        written
            && self.is_reading()
            && self.look_next.is_none()
            && self.behind.is_nothing()
            && !self.unflushed
            && !self.machine.handle().is_called()
    }

    /// Has the task of `cx` woken when the listener stops, where that has to be waited for. True: it has stopped, and the connection ends.
    fn hears_of_stop(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(before) = &mut self.before else { return false };
        let Some(Stopped::Awaited(stopped)) = &mut before.stopped else { return false };
        let stops = stopped.as_mut().as_mut().poll(cx).is_ready();
        if stops {
            before.stopped = None;
            self.machine.handle().request(listener_stops());
        }
        stops
    }

    /// Gives the socket back to itself, which goes to the reactor when it waits.
    fn unpark(mut self: Box<Self>) -> Box<Self> {
        if let Io::Parked(socket) = &self.io {
            self.io = Io::Direct(Watched::new(Arc::clone(socket)));
        }
        self
    }
}

/// The second of [`now_ms`], from 1. It comes again after 18 hours: who is heard once in it then, or in the next, has a task for a while.
fn second() -> u16 {
    (now_ms() / 1000 % u64::from(u16::MAX)) as u16 + 1
}
