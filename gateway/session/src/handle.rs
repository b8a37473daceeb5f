//! How others reach a live connection: to wake it, to let it read again, to tell it to end; and where it comes from.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;
use parking_lot::{Mutex, RwLock};
use portcullis_grant::{ConnectionFacts, Peer, PeerDetails};
use portcullis_mqtt::ReasonCode;
use portcullis_router::Wake;

use crate::machine::Origin;
use crate::peer::Packed;

/// What somebody else wants of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Have the grant looked at again: something that it depends on has changed, or its policy was replaced.
    Reevaluate,
    /// Judge again what lives under the grant, which stays: answers of its policy that are remembered are forgotten,
    /// and the session's subscriptions, what waits for it, and its will are put to it anew.
    Recheck,
    /// Other topics are filtered from now on: those of the `filters` in the listener's rules.
    Filter(Option<Arc<[String]>>),
    /// The same client identifier has connected elsewhere (MQTT 5 reason 0x8E).
    TakenOver,
    /// End, and say why.
    Disconnect {
        /// For the client, on MQTT 5.
        reason: ReasonCode,
        /// For the log.
        detail: String,
    },
}

/// Wishes that the owner has not looked at yet. One of a kind: a later one takes the place of an earlier.
#[derive(Debug, Default)]
struct Wishes {
    filter: Option<Control>,
    recheck: Option<Control>,
    reevaluate: Option<Control>,
    /// A stronger one stays.
    end: Option<Control>,
}

impl Wishes {
    fn add(&mut self, control: Control) {
        match control {
            Control::Filter(_) => self.filter = Some(control),
            Control::Recheck => self.recheck = Some(control),
            Control::Reevaluate => self.reevaluate = Some(control),
            Control::TakenOver if self.end.is_some() => {}
            Control::TakenOver | Control::Disconnect { .. } => self.end = Some(control),
        }
    }

    /// The next one. An end makes the others pointless.
    fn take(&mut self) -> Option<Control> {
        let Self { filter, recheck, reevaluate, end } = self;
        [end, filter, recheck, reevaluate].into_iter().find_map(Option::take)
    }

    fn is_empty(&self) -> bool {
        [&self.filter, &self.recheck, &self.reevaluate, &self.end].into_iter().all(Option::is_none)
    }
}

const PAUSED: u8 = 1;
const TIMER: u8 = 2;
const CONTROL: u8 = 4;
const CROWDED: u8 = 8;

/// One connection, as the rest of the gateway holds it. What there is to know of where it comes from is packed: an idle one keeps
/// it for questions that may never come.
#[derive(Debug)]
pub struct Handle {
    waker: AtomicWaker,
    flags: AtomicU8,
    seldom: Mutex<Option<Box<Seldom>>>,
    /// The connection's number: unique while the process lives.
    pub number: u64,
    listener: Name,
    peer: Packed,
    /// Its place among [`TRANSPORTS`].
    transport: u8,
    http: bool,
    /// Of MQTT once CONNECT told it; of HTTP.
    version: AtomicU8,
}

// With its counts a size class of the allocator's.
const _: () = assert!(size_of::<Handle>() <= 80);

/// What few connections have, or not for long; what TLS and WebSocket told, and those have it for good.
#[derive(Debug, Default)]
struct Seldom {
    wishes: Option<Box<Wishes>>,
    details: Option<Arc<PeerDetails>>,
    /// Where it could not be packed.
    peer: Option<Peer>,
    /// Where it has no number.
    listener: Option<Arc<str>>,
}

// All connections but those of plain TCP have one.
const _: () = assert!(size_of::<Seldom>() <= 64);

impl Seldom {
    fn is_empty(&self) -> bool {
        self.wishes.is_none() && self.details.is_none() && self.peer.is_none() && self.listener.is_none()
    }
}

/// The name of a listener: its place among [`NAMES`]. None: there were too many, and it is in [`Seldom`].
type Name = Option<NonZeroU16>;

/// The names of all listeners that there were since the process began; connections have numbers of them.
static NAMES: RwLock<Vec<Arc<str>>> = RwLock::new(Vec::new());
/// Beyond this many, who has reloaded as many names as that pays for them with some octets in each connection.
const MOST_NAMES: usize = 1000;

fn number_of(name: &Arc<str>) -> Name {
    let place = |names: &[Arc<str>]| names.iter().position(|known| known == name);
    let found = place(&NAMES.read());
    let found = found.or_else(|| {
        let mut names = NAMES.write();
        place(&names).or_else(|| {
            let next = names.len();
            (next < MOST_NAMES).then(|| {
                names.push(Arc::clone(name));
                next
            })
        })
    });
    found.and_then(|place| NonZeroU16::new(place as u16 + 1))
}

const TRANSPORTS: [&str; 4] = ["tcp", "tls", "ws", "wss"];

impl Handle {
    /// A handle for connection `number`.
    #[must_use]
    pub fn new(number: u64, from: Origin) -> Self {
        let packed = Packed::of(&from.peer);
        let peer = packed.is_none().then_some(from.peer);
        let listener = number_of(&from.listener);
        let unnumbered = listener.is_none().then_some(from.listener);
        let seldom = Seldom { wishes: None, details: from.details, peer, listener: unnumbered };
        Self {
            waker: AtomicWaker::new(),
            flags: AtomicU8::new(0),
            seldom: Mutex::new((!seldom.is_empty()).then(|| Box::new(seldom))),
            number,
            listener,
            peer: packed.unwrap_or(Packed::Unix(None)),
            transport: TRANSPORTS.iter().position(|word| *word == from.transport).unwrap_or_default() as u8,
            http: from.http.is_some(),
            version: AtomicU8::new(from.http.unwrap_or_default()),
        }
    }

    /// The name of the listener that it came through.
    #[must_use]
    pub fn listener(&self) -> Arc<str> {
        let numbered = self.listener.and_then(|number| NAMES.read().get(usize::from(number.get()) - 1).cloned());
        let named = || self.seldom.lock().as_ref().and_then(|seldom| seldom.listener.clone());
        numbered.or_else(named).unwrap_or_default()
    }

    /// What TLS and HTTP told. None on plain TCP.
    #[must_use]
    pub fn details(&self) -> Option<Arc<PeerDetails>> {
        self.seldom.lock().as_ref()?.details.clone()
    }

    /// Whether it is HTTP that speaks MQTT from within.
    pub(crate) fn is_http(&self) -> bool {
        self.http
    }

    /// CONNECT told the level of its protocol.
    pub(crate) fn set_version(&self, level: u8) {
        self.version.store(level, Ordering::Relaxed);
    }

    /// What policies, and whoever observes, are told of it.
    pub(crate) fn facts(&self, id: Arc<str>) -> ConnectionFacts {
        let unpacked = self.seldom.lock().as_ref().and_then(|seldom| seldom.peer);
        ConnectionFacts {
            id,
            listener: self.listener(),
            protocol: if self.http { "http" } else { "mqtt" },
            protocol_version: self.version.load(Ordering::Relaxed),
            transport: TRANSPORTS.get(usize::from(self.transport)).copied().unwrap_or_default(),
            peer: unpacked.unwrap_or_else(|| self.peer.unpack()),
            details: self.details(),
            identity: None,
        }
    }

    /// For the owner: who is to be woken. Call it before looking at anything that others change.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Asks something of the owner.
    pub fn request(&self, control: Control) {
        self.seldom.lock().get_or_insert_default().wishes.get_or_insert_default().add(control);
        self.flags.fetch_or(CONTROL, Ordering::Release);
        self.waker.wake();
    }

    /// For the owner: what is asked. Call it until there is nothing more.
    #[must_use]
    pub fn take_request(&self) -> Option<Control> {
        if self.flags.load(Ordering::Acquire) & CONTROL == 0 {
            return None;
        }
        let mut seldom = self.seldom.lock();
        let mut wishes = seldom.as_mut().map(|seldom| &mut seldom.wishes);
        let control = wishes.as_mut().and_then(|wishes| wishes.as_mut()?.take());
        let more = wishes.is_some_and(|wishes| {
            wishes.take_if(|wishes| wishes.is_empty());
            wishes.is_some()
        });
        if !more {
            self.flags.fetch_and(!CONTROL, Ordering::AcqRel);
            seldom.take_if(|seldom| seldom.is_empty());
        }
        control
    }

    /// For the owner: whether anything is wanted of it, or it must not read.
    #[must_use]
    pub fn is_called(&self) -> bool {
        self.flags.load(Ordering::Acquire) != 0
    }

    /// For the owner: whether anything was asked of it.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.flags.load(Ordering::Acquire) & CONTROL != 0
    }

    /// For the timer: the time that the owner named has come.
    pub fn time_is_up(&self) {
        self.flags.fetch_or(TIMER, Ordering::Release);
        self.waker.wake();
    }

    /// For the owner: whether its time has come.
    #[must_use]
    pub fn take_timer(&self) -> bool {
        self.flags.load(Ordering::Acquire) & TIMER != 0 && self.flags.fetch_and(!TIMER, Ordering::AcqRel) & TIMER != 0
    }

    /// For the owner: whether it must not read, because a receiver of its messages, or the store, is too far behind.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.flags.load(Ordering::Acquire) & (PAUSED | CROWDED) != 0
    }

    /// For the owner, before it asks the store to be let go on by it. A flag of its own: whoever has caught up says
    /// nothing for the other.
    pub(crate) fn wait_for_store(&self) {
        self.flags.fetch_or(CROWDED, Ordering::AcqRel);
    }

    /// The store has room again.
    pub(crate) fn store_has_room(&self) {
        self.flags.fetch_and(!CROWDED, Ordering::AcqRel);
        self.waker.wake();
    }

    /// For the owner, before it asks a mailbox to be resumed by it.
    pub fn pause(&self) {
        self.flags.fetch_or(PAUSED, Ordering::AcqRel);
    }

    /// For the owner, when there was nothing to wait for.
    pub fn unpause(&self) {
        self.flags.fetch_and(!PAUSED, Ordering::AcqRel);
    }
}

impl Wake for Handle {
    fn wake(&self) {
        self.waker.wake();
    }

    fn resume(&self) {
        self.unpause();
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> Handle {
        let peer = std::net::SocketAddr::from(([192, 0, 2, 7], 5000)).into();
        Handle::new(1, Origin { listener: "l".into(), transport: "wss", peer, details: None, http: None })
    }

    #[test]
    fn what_is_told_of_a_connection_is_what_it_came_with() {
        let zoned = Peer::Ip("[fe80::1%3]:5000".parse().unwrap());
        for (transport, peer, http) in [("wss", handle().peer.unpack(), None), ("tcp", zoned, Some(2))] {
            let details = http.map(|_| Arc::new(PeerDetails::default()));
            let handle = Handle::new(1, Origin { listener: "l".into(), transport, peer, details, http });
            if http.is_none() {
                handle.set_version(5);
            }
            let facts = handle.facts("id".into());
            assert_eq!((&*facts.id, &*facts.listener, facts.transport, facts.peer), ("id", "l", transport, peer));
            assert_eq!(facts.details.is_some(), http.is_some());
            assert_eq!((facts.protocol, facts.protocol_version), http.map_or(("mqtt", 5), |version| ("http", version)));
        }
    }

    #[test]
    fn a_connection_knows_its_listener_however_many_there_were() {
        let peer = std::net::SocketAddr::from(([192, 0, 2, 7], 5000)).into();
        for round in 0..2 {
            let of = |name: &str| {
                let origin = Origin { listener: name.into(), transport: "tcp", peer, details: None, http: None };
                (name.to_owned(), Handle::new(round, origin))
            };
            let all: Vec<_> = (0..MOST_NAMES + 10).map(|number| of(&format!("listener {number}"))).collect();
            for (name, handle) in &all {
                assert_eq!(*handle.listener(), **name);
                handle.request(Control::Recheck);
                let _ = (handle.take_request(), handle.take_request());
                assert_eq!(*handle.listener(), **name, "what it had wished for took its name along");
            }
        }
    }

    #[test]
    fn who_waits_for_a_receiver_and_for_the_store_goes_on_when_both_have_room() {
        let ends: [fn(&Handle); 3] = [Handle::resume, Handle::unpause, Handle::store_has_room];
        for (first, second) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
            let handle = handle();
            handle.pause();
            handle.wait_for_store();
            ends[first](&handle);
            assert!(handle.is_paused(), "the other is still behind");
            ends[second](&handle);
            assert!(!handle.is_paused());
        }
    }

    #[test]
    fn no_wish_is_lost_over_another_and_an_end_comes_first() {
        let handle = handle();
        let end = Control::Disconnect { reason: ReasonCode::SERVER_SHUTTING_DOWN, detail: String::new() };
        for control in [Control::Reevaluate, Control::Filter(None), end.clone(), Control::Recheck, Control::TakenOver] {
            handle.request(control);
        }
        let asked: Vec<_> = std::iter::from_fn(|| handle.take_request()).collect();
        assert_eq!(asked, [end, Control::Filter(None), Control::Recheck, Control::Reevaluate]);
        handle.request(Control::TakenOver);
        assert_eq!(handle.take_request(), Some(Control::TakenOver));
        assert_eq!(handle.take_request(), None);
    }
}
