//! Sessions by client identifier: who owns one, whether it has a connection, taking over.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use parking_lot::{Mutex, MutexGuard};
use portcullis_grant::{Grant, Principal};
use portcullis_router::{Mailbox, Message, RetainedLimits};

use crate::deferred::Appointment;
use crate::durable::Held;
use crate::handle::{Control, Handle};
use crate::state::SessionState;

/// Client identifiers are spread over so many locks.
const SHARDS: usize = 64;

/// Who a session belongs to. The scheme does not count: a person may come with a token today and a key tomorrow.
#[derive(Clone, Debug)]
pub(crate) struct Owner(Arc<Principal>);

impl From<&Arc<Principal>> for Owner {
    fn from(identity: &Arc<Principal>) -> Self {
        Self(Arc::clone(identity))
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for Owner {}

impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.tenant(), self.subject(), self.acting_for()).hash(state);
    }
}

impl Owner {
    pub(crate) fn new(tenant: Option<&str>, subject: &str, acting_for: Option<&str>) -> Self {
        Self(Arc::new(Principal::named(subject, tenant, acting_for)))
    }

    pub(crate) fn tenant(&self) -> Option<&str> {
        self.0.tenant()
    }

    pub(crate) fn subject(&self) -> &str {
        self.0.subject()
    }

    pub(crate) fn acting_for(&self) -> Option<&str> {
        self.0.acting_for()
    }

    /// A text that no other owner has: each part with its length in front, `-` for one that there is not.
    pub(crate) fn name(&self) -> Arc<str> {
        let mut name = String::new();
        for part in [self.tenant(), Some(self.subject()), self.acting_for()] {
            match part {
                Some(part) => name.extend([&part.len().to_string(), ":", part]),
                None => name.push('-'),
            }
        }
        name.into()
    }

    fn is(&self, other: &Principal) -> bool {
        let own = &*self.0;
        (own.subject(), own.tenant(), own.acting_for()) == (other.subject(), other.tenant(), other.acting_for())
    }
}

/// A connection that has a session.
pub(crate) struct Live {
    pub handle: Arc<Handle>,
    pub grant: Arc<Grant>,
}

/// A will that waits (MQTT 5 §3.1.3.2.2).
pub(crate) struct Will {
    pub message: Arc<Message>,
    /// Seconds.
    pub delay: u32,
    /// What its publisher may hold of what is retained.
    pub limits: RetainedLimits,
}

/// What changes about an [`Entry`].
pub(crate) struct Slot {
    pub mailbox: Arc<Mailbox>,
    /// While it has a connection.
    pub live: Option<Live>,
    /// Its number in the store; 0: it is not stored.
    pub number: u64,
    /// Counts attachments, from 1; appointments of an earlier one are void. 0: there was none; [`GONE`].
    generation: u32,
    /// While it has a connection: since when, in seconds since 1970.
    pub since: u32,
    aside: Option<Box<Aside>>,
}

/// In place of a generation: it was removed from the registry, and whoever still holds it must look again.
const GONE: u32 = u32::MAX;

/// What a session has while it has no connection, or while one follows another.
#[derive(Default)]
struct Aside {
    /// What its connection has while there is one.
    state: Option<SessionState>,
    appointments: Option<Box<Appointments>>,
    between: Option<Box<Between>>,
}

/// What passes from one connection to the next.
#[derive(Default)]
struct Between {
    /// Connections that want to take over.
    waiters: Vec<Arc<Handle>>,
    /// What the last connection left behind on the way to the store.
    unsettled: Option<Arc<Held>>,
}

/// What is due for a session without a connection.
#[derive(Default)]
pub(crate) struct Appointments {
    /// It expires.
    pub expiry: Option<Appointment>,
    /// Its will is published.
    pub will: Option<Appointment>,
    /// That will.
    pub message: Option<Will>,
}

impl Appointments {
    fn is_empty(&self) -> bool {
        self.expiry.is_none() && self.will.is_none() && self.message.is_none()
    }
}

impl Slot {
    /// Which attachment is the latest.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Begins the next one.
    pub(crate) fn begin_generation(&mut self) {
        self.generation = self.generation % (GONE - 1) + 1;
    }

    /// Whether it was removed from the registry: whoever still holds it must look again.
    pub(crate) fn is_gone(&self) -> bool {
        self.generation == GONE
    }

    /// It is removed from the registry.
    pub(crate) fn end(&mut self) {
        self.generation = GONE;
    }

    /// Tells the session's connection to leave, and has `handle` woken when it has. False: there is none.
    pub(crate) fn give_way_to(&mut self, handle: &Arc<Handle>) -> bool {
        let Some(live) = &self.live else { return false };
        live.handle.request(Control::TakenOver);
        // Whoever waits asks again each time that something wakes it.
        let waiters = &mut self.aside.get_or_insert_default().between.get_or_insert_default().waiters;
        if !waiters.iter().any(|waiter| Arc::ptr_eq(waiter, handle)) {
            waiters.push(Arc::clone(handle));
        }
        true
    }

    /// Takes the will that waits.
    pub(crate) fn take_will(&mut self) -> Option<Will> {
        let will = self.aside.as_mut()?.appointments.as_mut()?.message.take();
        self.tidy();
        will
    }

    /// What it is made of, while it has no connection.
    pub(crate) fn state(&self) -> Option<&SessionState> {
        self.aside.as_ref()?.state.as_ref()
    }

    /// The same, for a connection or to be ended.
    pub(crate) fn take_state(&mut self) -> Option<SessionState> {
        let state = self.aside.as_mut()?.state.take();
        self.tidy();
        state
    }

    /// Its connection has left it.
    pub(crate) fn set_state(&mut self, state: SessionState) {
        self.aside.get_or_insert_default().state = Some(state);
    }

    /// What is due for it.
    pub(crate) fn appointments(&mut self) -> &mut Appointments {
        self.aside.get_or_insert_default().appointments.get_or_insert_default()
    }

    /// Nothing is due for it any more: its appointments are to be cancelled. Its will stays.
    pub(crate) fn take_appointments(&mut self) -> [Option<Appointment>; 2] {
        let due = self.aside.as_mut().and_then(|aside| aside.appointments.as_mut());
        let taken = due.map(|due| [due.expiry.take(), due.will.take()]).unwrap_or_default();
        self.tidy();
        taken
    }

    /// Takes those who wait for the session.
    pub(crate) fn take_waiters(&mut self) -> Vec<Arc<Handle>> {
        let Some(between) = self.aside.as_mut().and_then(|aside| aside.between.as_mut()) else { return Vec::new() };
        let waiters = std::mem::take(&mut between.waiters);
        self.tidy();
        waiters
    }

    /// What the last connection left behind on the way to the store.
    pub(crate) fn unsettled(&self) -> Option<&Arc<Held>> {
        self.aside.as_ref()?.between.as_ref()?.unsettled.as_ref()
    }

    pub(crate) fn set_unsettled(&mut self, held: Option<Arc<Held>>) {
        if held.is_some() {
            self.aside.get_or_insert_default().between.get_or_insert_default().unsettled = held;
        } else if let Some(between) = self.aside.as_mut().and_then(|aside| aside.between.as_mut()) {
            between.unsettled = None;
            self.tidy();
        }
    }

    fn tidy(&mut self) {
        let Some(aside) = &mut self.aside else { return };
        aside.appointments.take_if(|due| due.is_empty());
        aside.between.take_if(|between| between.waiters.is_empty() && between.unsettled.is_none());
        if aside.state.is_none() && aside.appointments.is_none() && aside.between.is_none() {
            self.aside = None;
        }
    }
}

/// One session.
pub(crate) struct Entry {
    pub client_id: Box<str>,
    pub owner: Owner,
    slot: Mutex<Slot>,
}

// With its counts a size class of the allocator's.
const _: () = assert!(size_of::<Entry>() <= 80);

impl Entry {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock()
    }

    pub(crate) fn belongs_to(&self, identity: &Principal) -> bool {
        self.owner.is(identity)
    }
}

/// By the client identifiers in the entries: a second copy would be memory of every session.
type Shard = HashTable<Arc<Entry>>;

/// All sessions.
pub(crate) struct Registry {
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::quality::RandomState,
    /// Connections by identity, of those whose grant limits them.
    per_identity: Mutex<HashMap<Owner, u64, foldhash::quality::RandomState>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: foldhash::quality::RandomState::default(),
            per_identity: Mutex::default(),
        }
    }
}

impl Registry {
    /// Where a client identifier is, and its hash.
    fn shard(&self, client_id: &str) -> (MutexGuard<'_, Shard>, u64) {
        let hash = self.hasher.hash_one(client_id);
        // Its highest and lowest bits are what the table looks at.
        (self.shards[(hash >> 32) as usize % SHARDS].lock(), hash)
    }

    fn insert(&self, shard: &mut Shard, hash: u64, entry: &Arc<Entry>) {
        shard.insert_unique(hash, Arc::clone(entry), |entry| self.hasher.hash_one(&*entry.client_id));
    }

    /// The session with this client identifier, made by `mailbox` if there is none. True: it was made.
    pub(crate) fn get_or_create(
        &self,
        client_id: &str,
        identity: &Arc<Principal>,
        mailbox: impl FnOnce() -> Arc<Mailbox>,
    ) -> (Arc<Entry>, bool) {
        let (mut shard, hash) = self.shard(client_id);
        if let Some(entry) = shard.find(hash, |entry| *entry.client_id == *client_id) {
            return (Arc::clone(entry), false);
        }
        let entry = Arc::new(Entry {
            client_id: client_id.into(),
            owner: Owner::from(identity),
            slot: Mutex::new(Slot { mailbox: mailbox(), live: None, number: 0, generation: 0, since: 0, aside: None }),
        });
        self.insert(&mut shard, hash, &entry);
        (entry, true)
    }

    /// Puts back a session that was found in the store. It counts as known: its generation is not 0.
    pub(crate) fn restore(
        &self,
        client_id: &str,
        owner: Owner,
        number: u64,
        mailbox: Arc<Mailbox>,
        state: SessionState,
    ) -> Arc<Entry> {
        let slot = Slot {
            mailbox,
            live: None,
            number,
            generation: 1,
            since: 0,
            aside: Some(Box::new(Aside { state: Some(state), ..Aside::default() })),
        };
        let entry = Arc::new(Entry { client_id: client_id.into(), owner, slot: Mutex::new(slot) });
        let (mut shard, hash) = self.shard(client_id);
        self.insert(&mut shard, hash, &entry);
        entry
    }

    pub(crate) fn get(&self, client_id: &str) -> Option<Arc<Entry>> {
        let (shard, hash) = self.shard(client_id);
        shard.find(hash, |entry| *entry.client_id == *client_id).cloned()
    }

    /// Removes the entry, if it is still the one of its client identifier. The caller holds its slot's lock and
    /// says [`Slot::end`].
    pub(crate) fn remove(&self, entry: &Arc<Entry>) {
        let (mut shard, hash) = self.shard(&entry.client_id);
        if let Ok(found) = shard.find_entry(hash, |other| Arc::ptr_eq(other, entry)) {
            found.remove();
        }
    }

    /// Sessions, with a connection or without.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().len()).sum()
    }

    /// All sessions at this moment, a shard at a time.
    pub(crate) fn for_each(&self, mut f: impl FnMut(&Arc<Entry>)) {
        for shard in &self.shards {
            let entries: Vec<Arc<Entry>> = shard.lock().iter().cloned().collect();
            entries.iter().for_each(&mut f);
        }
    }

    /// Counts a connection of an identity that may have at most `most`. False: it has that many.
    pub(crate) fn admit(&self, identity: &Arc<Principal>, most: u64) -> bool {
        if most == 0 {
            return false;
        }
        let mut counts = self.per_identity.lock();
        let count = counts.entry(Owner::from(identity)).or_insert(0);
        if *count >= most {
            return false;
        }
        *count += 1;
        true
    }

    /// Identities with connections that were counted.
    pub(crate) fn identities(&self) -> usize {
        self.per_identity.lock().len()
    }

    /// Takes back what [`Self::admit`] counted.
    pub(crate) fn release(&self, identity: &Arc<Principal>) {
        let mut counts = self.per_identity.lock();
        if let hashbrown::hash_map::Entry::Occupied(mut count) = counts.entry(Owner::from(identity)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
