//! Plain connections that have been quiet for a while: parked, without a task and without a place in the runtime's reactor.
//!
//! A task and what the runtime keeps of a socket are more than a third of what an idle connection would be in memory. A parked one
//! is in a table here, and its socket in a poll of its own, which is one socket to the runtime. Whatever comes for it (bytes, a
//! wish, its time, a socket that has to be waited for) has it put back where it was. That is four system calls and two tasks
//! that are woken, and a message that comes alone costs half as much again: so who was parked once, or talks now and then, has to be quiet for
//! four times as long. A connection that is not quiet pays nothing.
//!
//! What is delivered to a parked connection is written by its publisher, as ever, and wakes nobody.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use hashbrown::HashTable;
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use parking_lot::Mutex;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use portcullis_router::now_ms;

use super::io::Io;
use super::{Connection, Doing};
use crate::socket::Watched;

/// Milliseconds of silence after which a connection is parked.
const PARKED_AFTER_MS: u64 = 5000;
/// Who was parked and has come back, or talks on and off, is parked after so many times as long: to park and to come back cost more than
/// half as much as a message that comes alone.
const QUIETER: u64 = 4;
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
    called: Mutex<Vec<u64>>,
    bell: Notify,
}

/// Numbers are counted up by ourselves, so that nobody chooses them.
fn hash(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Wakes a parked connection.
struct Bell {
    parking: Arc<Parking>,
    number: u64,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.parking.called.lock().push(self.number);
        self.parking.bell.notify_one();
    }
}

impl Parking {
    pub(super) fn new() -> Arc<Self> {
        let made = mio::Poll::new().and_then(|poll| Ok((poll.registry().try_clone()?, poll)));
        let made = made.inspect_err(|e| tracing::warn!("idle connections keep their tasks: {e}")).ok();
        let (registry, poll) = made.unzip();
        Arc::new(Self {
            poll: Mutex::new(poll),
            registry,
            after_ms: AtomicU64::new(PARKED_AFTER_MS),
            parked: Mutex::default(),
            called: Mutex::default(),
            bell: Notify::new(),
        })
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
        connection.machine.handle().register(&Waker::from(Arc::new(Bell { parking: Arc::clone(self), number })));
        if !connection.rests() || self.quiet_ms().is_none() {
            return Some(connection);
        }
        let Some(registry) = self.registry.as_ref().filter(|_| matches!(connection.io, Io::Direct(_))) else {
            return Some(connection);
        };
        let Io::Direct(watched) = std::mem::replace(&mut connection.io, Io::Parked(None)) else {
            return Some(connection);
        };
        let socket = watched.into_socket();
        let descriptor = socket.as_raw_fd();
        connection.io = Io::Parked(Some(socket));
        if let Err(e) = registry.register(&mut SourceFd(&descriptor), Token(number as usize), Interest::READABLE) {
            tracing::debug!("a connection cannot be parked: {e}");
            return Some(connection.unpark());
        }
        connection.arm_timer();
        parked.insert_unique(hash(number), connection, |other| hash(other.machine.handle().number));
        None
    }

    /// Puts a connection back into a task.
    fn wake(&self, number: u64) {
        let mut parked = self.parked.lock();
        let found = parked.find_entry(hash(number), |other| other.machine.handle().number as usize == number as usize);
        // It was woken by something else before.
        let Ok(found) = found else { return };
        let (connection, _) = found.remove();
        if parked.capacity() > 64 && parked.len() < parked.capacity() / 8 {
            parked.shrink_to_fit(|other| hash(other.machine.handle().number));
        }
        drop(parked);
        if let (Some(registry), Io::Parked(Some(socket))) = (&self.registry, &connection.io)
            && let Err(e) = registry.deregister(&mut SourceFd(&socket.as_raw_fd()))
        {
            tracing::debug!("a parked socket was not in the poll: {e}");
        }
        connection.unpark().wake_up();
    }

    /// Wakes those for whom something comes, for as long as it is polled.
    pub(super) async fn run(self: Arc<Self>) {
        let Some(poll) = self.poll.lock().take() else { return };
        let _end = End(Arc::clone(&self));
        let mut poll = match register(poll) {
            Ok(poll) => poll,
            Err(e) => return tracing::warn!("parked connections cannot be heard: {e}"),
        };
        let mut events = Events::with_capacity(EVENTS);
        loop {
            tokio::select! {
                ready = poll.readable_mut() => {
                    let Ok(mut ready) = ready else { return };
                    // Its events come once: they are fetched until there are none.
                    let fetched = ready.try_io(|poll| {
                        poll.get_mut().poll(&mut events, Some(Duration::ZERO))?;
                        if events.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
                    });
                    if let Ok(Err(e)) = fetched && e.kind() != io::ErrorKind::Interrupted {
                        tracing::warn!("parked connections cannot be heard: {e}");
                        return;
                    }
                    for event in &events {
                        self.wake(event.token().0 as u64);
                    }
                    events.clear();
                }
                () = self.bell.notified() => {}
            }
            for number in std::mem::take(&mut *self.called.lock()) {
                self.wake(number);
            }
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
        let heard_at = self.machine.heard_at();
        plain.then(|| match self.stirred_at {
            0 => heard_at + quiet,
            at => heard_at.max(u64::from(at) * 1000) + quiet * QUIETER,
        })
    }

    /// Its time has come: is it quiet enough to be parked?
    pub(super) fn tire(&mut self) {
        let (Some(at), Some(quiet)) = (self.parks_at(), self.handler.wheel.parking.quiet_ms()) else { return };
        let now = now_ms();
        self.tired = at <= now && self.rests();
        if self.machine.heard_at() + quiet / 2 > now {
            self.stir();
        }
    }

    /// It says something now and then: it has to be quiet for longer.
    fn stir(&mut self) {
        self.stirred_at = u32::try_from(now_ms() / 1000).unwrap_or(u32::MAX).max(1);
    }

    /// Whether there is nothing that it waits for but its client, its time, and the wishes of others, of which there are none.
    fn rests(&self) -> bool {
        matches!(self.doing, Doing::Reading)
            && self.before.is_none()
            && self.look_next.is_none()
            && self.waits_for.is_none()
            && self.partial.is_empty()
            && !self.unflushed
            && !self.machine.is_offering()
            && !self.machine.handle().is_called()
            && self.machine.mailbox().is_some_and(|mailbox| mailbox.is_at_rest())
    }

    /// Gives the socket back to itself, which goes to the reactor when it waits.
    fn unpark(mut self: Box<Self>) -> Box<Self> {
        if let Io::Parked(socket) = &mut self.io
            && let Some(socket) = socket.take()
        {
            self.io = Io::Direct(Watched::new(socket));
            self.stir();
        }
        self
    }
}
