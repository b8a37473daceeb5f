//! What all connections share: router, sessions, what happens later, totals.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_grant::{Action, ConnectionFacts, Dependency, Grant, Identity, Refusal};
use portcullis_mqtt::{QoS, ReasonCode, SharedFilter};
use portcullis_router::{
    Backlog, DeliveryCheck, Holder, Mailbox, MailboxLimits, Message, Published, RetainedLimits, Router, RouterLimits,
    Subscription, now_ms,
};

use parking_lot::Mutex;
use portcullis_store::Store;

use crate::deferred::{Deferred, Due};
use crate::durable::Found;
use crate::durable::{Durable, RecoveryError, SOON, SessionRecord, WillRecord, encode_retained, recover};
use crate::handle::{Control, Handle};
use crate::machine::{End, unanswered};
use crate::registry::{Entry, Live, Owner, Registry, Slot, Will};
use crate::scratch::Scratch;
use crate::state::{Held, NEVER, SessionState};
use crate::stats::{Stats, Totals};
use crate::sys::Sys;
use crate::unix_now;

/// Expired retained messages that one call of [`Broker::tick`] removes at the most.
const SWEPT_A_TICK: usize = 1000;

/// Told of what happens to clients: audit, `portcullis why`, logs. Called on the connections' threads: be quick.
pub trait Observer: Send + Sync + 'static {
    /// A client was let in.
    fn admitted(&self, connection: &ConnectionFacts, client_id: &str, grant: &Grant);
    /// A login was refused.
    fn refused(&self, connection: &ConnectionFacts, client_id: &str, username: Option<&str>, refusal: &Refusal);
    /// A publication, subscription or will was refused. `what` is `publish`, `subscribe`, `receive` or `will`.
    fn action_refused(&self, connection: &ConnectionFacts, client_id: &str, grant: &Grant, what: &str, topic: &str);
    /// A connection that had been let in ended.
    fn ended(&self, connection: &ConnectionFacts, client_id: &str, end: &End);
}

/// An observer that does nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn admitted(&self, _: &ConnectionFacts, _: &str, _: &Grant) {}
    fn refused(&self, _: &ConnectionFacts, _: &str, _: Option<&str>, _: &Refusal) {}
    fn action_refused(&self, _: &ConnectionFacts, _: &str, _: &Grant, _: &str, _: &str) {}
    fn ended(&self, _: &ConnectionFacts, _: &str, _: &End) {}
}

/// How a [`Broker`] is made.
pub struct BrokerOptions {
    /// Bounds on what is retained, and on what waits for all clients together.
    pub router: RouterLimits,
    /// Who is told.
    pub observer: Arc<dyn Observer>,
    /// Where sessions are kept. None: in memory only.
    pub store: Option<Store>,
    /// Bounds on what waits for sessions that are found in the store.
    pub mailbox: MailboxLimits,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            router: RouterLimits::default(),
            observer: Arc::new(Silent),
            store: None,
            mailbox: MailboxLimits::default(),
        }
    }
}

/// A connection as the admin interface shows it.
#[derive(Clone, Debug)]
pub struct ConnectionSummary {
    /// Its client identifier.
    pub client_id: Arc<str>,
    /// Where it comes from.
    pub facts: Arc<ConnectionFacts>,
    /// Its grant.
    pub grant: Arc<Grant>,
    /// Seconds since 1970 at which it was let in.
    pub since: u64,
    /// What waits for it.
    pub backlog: Backlog,
}

/// Which session of a client identifier this is, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionMark {
    /// Its number in the store; 0: it is not stored.
    pub number: u64,
    /// The last sequence number that one of its QoS 1 and 2 messages was given: number `n` is sent under the packet
    /// identifier `(n - 1) mod 65,535 + 1`.
    pub sequence: u64,
}

/// What all connections of the gateway share.
pub struct Broker {
    pub(crate) router: Router,
    pub(crate) registry: Registry,
    deferred: Deferred,
    pub(crate) stats: Stats,
    pub(crate) observer: Arc<dyn Observer>,
    connections: AtomicU64,
    boot: u32,
    pub(crate) durable: Option<Durable>,
    sys: Mutex<Sys>,
}

/// What came of asking for a session.
pub(crate) enum Opened {
    /// It is the caller's.
    Yes { entry: Arc<Entry>, mailbox: Arc<Mailbox>, state: Box<SessionState>, present: bool },
    /// Another connection has it and was told to leave, or what that one did is not on disk yet; the caller is woken
    /// when it may try again.
    Wait,
    /// It has a subscription that the gatekeeper has to be asked about first. The caller has it only after that: messages
    /// go on waiting for it meanwhile.
    Ask(Action),
    /// It belongs to somebody else.
    OfAnother,
}

/// Whose session is to be opened, and how.
pub(crate) struct Opening<'a> {
    pub client_id: &'a str,
    pub clean_start: bool,
    pub facts: &'a Arc<ConnectionFacts>,
    pub grant: &'a Arc<Grant>,
    /// What the gatekeeper answered so far about subscriptions of the session.
    pub asked: &'a HashMap<Action, bool>,
    pub limits: MailboxLimits,
    pub handle: &'a Arc<Handle>,
}

impl Broker {
    /// A broker with the sessions that its store holds.
    ///
    /// # Errors
    /// The store cannot be read or holds what this gateway does not understand. Nothing was changed then.
    pub fn open_store(options: BrokerOptions) -> Result<Arc<Self>, RecoveryError> {
        let router = Router::new(options.router);
        let found = match &options.store {
            Some(store) => recover(store, &router.retained)?,
            None => Vec::new(),
        };
        let next = found.iter().map(|f| f.record.number).max().unwrap_or(0) + 1;
        let durable = options.store.map(|store| Durable::new(store, next));
        let broker = Self::with(router, options.observer, durable);
        let mut s = Scratch::default();
        for session in found {
            broker.restore(session, options.mailbox, &mut s);
        }
        broker.settle(&mut s);
        Ok(broker)
    }

    /// A broker that keeps nothing beyond its own life, whatever store the options name.
    #[must_use]
    pub fn new(options: BrokerOptions) -> Arc<Self> {
        Self::with(Router::new(options.router), options.observer, None)
    }

    fn with(router: Router, observer: Arc<dyn Observer>, durable: Option<Durable>) -> Arc<Self> {
        Arc::new(Self {
            router,
            registry: Registry::default(),
            deferred: Deferred::default(),
            stats: Stats::default(),
            observer,
            connections: AtomicU64::new(1),
            boot: getrandom::u32().unwrap_or_default(),
            durable,
            sys: Mutex::new(Sys::new(env!("CARGO_PKG_VERSION"))),
        })
    }

    fn restore(&self, found: Found, limits: MailboxLimits, s: &mut Scratch) {
        let Found { client_id, record, subscriptions, unreleased, queued, released, last_sequence, will } = found;
        let mailbox = self.router.mailbox(limits, true);
        mailbox.restore(record.number, queued, &released, last_sequence);
        let mut state = Box::new(SessionState { expiry: record.expiry, ..SessionState::default() });
        state.unreleased.extend(unreleased);
        for (filter, held) in subscriptions {
            let (share, inner) = split_share(&filter);
            // Without a grant at hand: what it denies is sorted out when the client is back.
            let subscription = Subscription {
                mailbox: Arc::clone(&mailbox),
                qos: held.requested.min(held.granted),
                no_local: held.no_local,
                retain_as_published: held.retain_as_published,
                id: held.id,
                check: None,
            };
            self.router.subscribe(inner, share, subscription);
            state.subscriptions.insert(filter.into(), held);
        }
        let expiry = record.expiry;
        let entry = self.registry.restore(&client_id, record.owner, record.number, mailbox, state);
        let mut slot = entry.lock();
        let mut left_at = record.left_at;
        if left_at == 0 {
            // One that had a connection when the gateway ended lost it at that moment, as far as anybody can tell: now. It
            // is written, or each further restart would give it its whole expiry anew.
            left_at = unix_now();
            s.journal.put_session(&client_id, self::record(&entry, record.number, expiry, left_at).encode());
        }
        let gone_for = unix_now().saturating_sub(left_at);
        let now = now_ms();
        if expiry != NEVER {
            let at = now + u64::from(expiry).saturating_sub(gone_for) * 1000;
            slot.appointments[0] = Some(self.deferred.schedule(at, &entry, slot.generation, Due::Expiry));
        }
        if let Some(will) = will {
            let delay = u64::from(will.delay.min(expiry)).saturating_sub(gone_for);
            slot.appointments[1] = Some(self.deferred.schedule(now + delay * 1000, &entry, slot.generation, Due::Will));
            let message = Arc::new(will.message.with_lifetime(will.lifetime));
            slot.will = Some(Will { message, delay: will.delay, limits: RetainedLimits::NONE });
        }
    }

    /// Hands what a batch changed to the store, has its deliveries written and adds its counts to the totals. For
    /// whoever works without a client to answer to.
    pub fn settle(&self, s: &mut Scratch) {
        match &self.durable {
            Some(durable) => durable.submit(s, SOON),
            None => {
                s.batch.changes.clear();
                s.batch.uncommitted.clear();
            }
        }
        s.batch.flush();
        self.stats.add(&mut s.batch.counts);
        s.batch.take_full();
    }

    /// A handle for a new connection.
    #[must_use]
    pub fn handle(&self) -> Arc<Handle> {
        Arc::new(Handle::new(self.connections.fetch_add(1, Ordering::Relaxed)))
    }

    /// The name of a connection: unique while the data directory lives, as good as chance makes it.
    #[must_use]
    pub fn connection_name(&self, handle: &Handle) -> Arc<str> {
        format!("{:08x}-{}", self.boot, handle.number).into()
    }

    /// The totals now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.stats.totals()
    }

    /// Sessions, with a connection or without.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.registry.len()
    }

    /// Subscriptions of all sessions.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.router.subscriptions()
    }

    /// Retained messages, and the octets that they take.
    #[must_use]
    pub fn retained(&self) -> (usize, usize) {
        (self.router.retained.len(), self.router.retained.bytes())
    }

    /// Octets that wait for clients, or until they are acknowledged. A client with less than 16 KiB does not count.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.router.waiting_bytes()
    }

    /// What is to happen later (delayed wills, ends of sessions), and identities whose connections are counted. Both
    /// are 0 when no session is left.
    #[must_use]
    pub fn remainders(&self) -> (usize, usize) {
        (self.deferred.len(), self.registry.identities())
    }

    /// Publishes a message that no MQTT client sent. The caller settles the batch.
    pub fn publish(&self, message: &Arc<Message>, s: &mut Scratch) -> Published {
        self.publish_for(None, message, s)
    }

    fn publish_for(&self, holder: Option<&Holder>, message: &Arc<Message>, s: &mut Scratch) -> Published {
        let published = self.router.publish_message(message, holder, &mut s.batch);
        if published.retained {
            self.store_retained(message, holder, &mut s.journal);
        }
        published
    }

    /// As [`Self::publish`], without a trace on disk: what begins anew with the gateway.
    pub(crate) fn publish_volatile(&self, message: &Arc<Message>, s: &mut Scratch) {
        self.router.publish_message(message, None, &mut s.batch);
    }

    /// Has the store keep, or forget, what was just retained.
    pub(crate) fn store_retained(
        &self,
        message: &Message,
        holder: Option<&Holder>,
        journal: &mut portcullis_store::Batch,
    ) {
        if self.durable.is_none() {
            return;
        }
        if message.payload().is_empty() {
            journal.delete_retained(message.topic());
        } else {
            journal.put_retained(message.topic(), encode_retained(message, holder.map(|holder| &*holder.name)));
        }
    }

    fn publish_will(&self, owner: &Owner, will: &Will, s: &mut Scratch) {
        let holder = Holder { name: owner.name(), limits: will.limits };
        self.publish_for(Some(&holder), &Arc::new(will.message.begin()), s);
    }

    /// Whether a session is stored: one that outlives its connection, or that has a will to be sent after it. Gives it
    /// its number.
    pub(crate) fn store_session(
        &self,
        entry: &Entry,
        state: &SessionState,
        will: Option<&Will>,
        s: &mut Scratch,
    ) -> u64 {
        let Some(durable) = &self.durable else { return 0 };
        let mut slot = entry.lock();
        if state.expiry == 0 && will.is_none() {
            if slot.number != 0 {
                s.journal.delete_session(&entry.client_id, slot.number);
                slot.number = 0;
            }
            return 0;
        }
        if slot.number == 0 {
            slot.number = durable.number();
        }
        s.journal.put_session(&entry.client_id, record(entry, slot.number, state.expiry, 0).encode());
        match will {
            Some(will) => s.journal.put_will(slot.number, WillRecord::encode(&will.message, will.delay)),
            None => s.journal.delete_will(slot.number),
        };
        slot.number
    }

    /// Asks for the session of `client_id`.
    pub(crate) fn open(&self, login: &Opening<'_>, s: &mut Scratch) -> Opened {
        let &Opening { client_id, clean_start, facts, grant, asked, limits, handle } = login;
        loop {
            let mailbox = || self.router.mailbox(limits, false);
            let (entry, _) = self.registry.get_or_create(client_id, &grant.identity, mailbox);
            let mut slot = entry.lock();
            if slot.gone {
                continue;
            }
            if !entry.belongs_to(&grant.identity) {
                return Opened::OfAnother;
            }
            if slot.give_way_to(handle) {
                return Opened::Wait;
            }
            // What the last connection did is known here before it is on disk. Were it answered again now (a PUBREC for
            // what is resent, a PUBREL), that would be an acknowledgement of what may yet be lost.
            if slot.unsettled.as_ref().is_some_and(|held| held.keeps_waiting(handle)) {
                return Opened::Wait;
            }
            slot.unsettled = None;
            let resumed = slot.state.as_deref().filter(|_| !clean_start);
            if let Some(action) = resumed.and_then(|state| unanswered(state, grant, asked)) {
                return Opened::Ask(action);
            }
            self.cancel_appointments(&mut slot);
            let mut state = slot.state.take().unwrap_or_default();
            let known = slot.generation > 0;
            if known && clean_start {
                self.unsubscribe_all(&state, &slot.mailbox);
                slot.mailbox.close();
                slot.mailbox = self.router.mailbox(limits, false);
                state = Box::default();
                if slot.number != 0 {
                    s.journal.delete_session(&entry.client_id, slot.number);
                    slot.number = 0;
                }
                if let Some(will) = slot.will.take() {
                    self.publish_will(&entry.owner, &will, s);
                }
            }
            // The client is back before the delay has passed: the will is not sent (MQTT 5 §3.1.3.2.2).
            slot.will = None;
            slot.generation += 1;
            slot.live = Some(Live {
                handle: Arc::clone(handle),
                facts: Arc::clone(facts),
                grant: Arc::clone(grant),
                since: unix_now(),
            });
            self.stats.connections.fetch_add(1, Ordering::Relaxed);
            self.stats.connected.fetch_add(1, Ordering::Relaxed);
            let mailbox = Arc::clone(&slot.mailbox);
            drop(slot);
            return Opened::Yes { entry, mailbox, state, present: known && !clean_start };
        }
    }

    /// Has the live connection of `client_id` leave, if it is one of the same identity; `handle` is woken when it has.
    /// False: there is none.
    pub(crate) fn take_over(&self, client_id: &str, identity: &Identity, handle: &Arc<Handle>) -> bool {
        let Some(entry) = self.registry.get(client_id) else { return false };
        entry.belongs_to(identity) && entry.lock().give_way_to(handle)
    }

    /// Another grant is in force on a live connection.
    pub(crate) fn regrant(&self, entry: &Entry, grant: &Arc<Grant>) {
        if let Some(live) = &mut entry.lock().live {
            live.grant = Arc::clone(grant);
        }
    }

    /// The connection of a session ended; its mailbox is detached already. `will`: to be published unless the client
    /// comes back in time.
    /// `held`: what it was to be answered.
    pub(crate) fn leave(
        &self,
        entry: &Arc<Entry>,
        state: Box<SessionState>,
        will: Option<Will>,
        held: Option<Arc<crate::durable::Held>>,
        s: &mut Scratch,
    ) {
        let mut slot = entry.lock();
        slot.live = None;
        slot.unsettled = held;
        self.stats.connections.fetch_sub(1, Ordering::Relaxed);
        let now = now_ms();
        if state.expiry == 0 {
            self.end(entry, &mut slot, &state, s);
            if let Some(will) = will {
                self.publish_will(&entry.owner, &will, s);
            }
        } else {
            let generation = slot.generation;
            if slot.number != 0 {
                s.journal.put_session(&entry.client_id, record(entry, slot.number, state.expiry, unix_now()).encode());
                if will.as_ref().is_none_or(|w| w.delay == 0) {
                    s.journal.delete_will(slot.number);
                }
            }
            if state.expiry != NEVER {
                let at = now + u64::from(state.expiry) * 1000;
                slot.appointments[0] = Some(self.deferred.schedule(at, entry, generation, Due::Expiry));
            }
            match will {
                Some(will) if will.delay > 0 => {
                    // Not later than the end of the session (MQTT 5 §3.1.3.2.2).
                    let delay = u64::from(will.delay.min(state.expiry));
                    let at = now + delay * 1000;
                    slot.appointments[1] = Some(self.deferred.schedule(at, entry, generation, Due::Will));
                    slot.will = Some(will);
                }
                Some(will) => self.publish_will(&entry.owner, &will, s),
                None => {}
            }
            slot.state = Some(state);
        }
        let waiters = std::mem::take(&mut slot.waiters);
        drop(slot);
        for waiter in waiters {
            portcullis_router::Wake::wake(&*waiter);
        }
    }

    /// Ends a session for good: no trace of it stays in the router.
    fn end(&self, entry: &Arc<Entry>, slot: &mut Slot, state: &SessionState, s: &mut Scratch) {
        self.unsubscribe_all(state, &slot.mailbox);
        slot.mailbox.close();
        slot.gone = true;
        self.registry.remove(entry);
        self.cancel_appointments(slot);
        if slot.number != 0 {
            s.journal.delete_session(&entry.client_id, slot.number);
        }
        if let Some(will) = slot.will.take() {
            self.publish_will(&entry.owner, &will, s);
        }
    }

    fn unsubscribe_all(&self, state: &SessionState, mailbox: &Mailbox) {
        for filter in state.subscriptions.keys() {
            let (share, filter) = split_share(filter);
            self.router.unsubscribe(filter, share, mailbox);
        }
    }

    fn cancel_appointments(&self, slot: &mut Slot) {
        for appointment in &mut slot.appointments {
            if let Some(appointment) = appointment.take() {
                self.deferred.cancel(appointment);
            }
        }
    }

    /// Does what is due: delayed wills, the end of sessions, expired retained messages. Call it about twice a second;
    /// the caller settles the batch.
    pub fn tick(&self, s: &mut Scratch) {
        let now = now_ms();
        while let Some((entry, generation, due)) = self.deferred.pop(now) {
            let mut slot = entry.lock();
            if slot.gone || slot.live.is_some() || slot.generation != generation {
                continue;
            }
            match due {
                Due::Will => {
                    slot.appointments[1] = None;
                    if let Some(will) = slot.will.take() {
                        self.publish_will(&entry.owner, &will, s);
                    }
                    if slot.number != 0 {
                        s.journal.delete_will(slot.number);
                    }
                }
                Due::Expiry => {
                    slot.appointments[0] = None;
                    if let Some(state) = slot.state.take() {
                        self.end(&entry, &mut slot, &state, s);
                    }
                }
            }
        }
        self.sys.lock().tick(self, s);
        for expired in self.router.retained.sweep(SWEPT_A_TICK) {
            if self.durable.is_some() {
                s.journal.delete_retained(expired.topic());
            }
        }
    }

    /// Live connections in the order of their client identifiers, at most `most`, after the one named `after`.
    #[must_use]
    pub fn connections(&self, after: Option<&str>, most: usize) -> Vec<ConnectionSummary> {
        let mut found = Vec::new();
        self.registry.for_each(|entry| {
            if after.is_some_and(|a| &*entry.client_id <= a) {
                return;
            }
            let slot = entry.lock();
            if let Some(live) = &slot.live {
                found.push(ConnectionSummary {
                    client_id: Arc::clone(&entry.client_id),
                    facts: Arc::clone(&live.facts),
                    grant: Arc::clone(&live.grant),
                    since: live.since,
                    backlog: slot.mailbox.backlog(),
                });
            }
        });
        found.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        found.truncate(most);
        found
    }

    /// A client's session as far as it can be told apart from later ones of the same name. None: there is none.
    #[must_use]
    pub fn session(&self, client_id: &str) -> Option<SessionMark> {
        let entry = self.registry.get(client_id)?;
        let slot = entry.lock();
        Some(SessionMark { number: slot.number, sequence: slot.mailbox.last_sequence() })
    }

    /// What is retained for `filter`, in the order of the topics, after the one named `after`, at most `most` of those
    /// that `keep` wants. A filter without wildcards finds one message or none.
    #[must_use]
    pub fn retained_for(
        &self,
        filter: &str,
        after: Option<&str>,
        most: usize,
        keep: impl Fn(&str) -> bool,
    ) -> Vec<Arc<Message>> {
        let retained = &self.router.retained;
        let mut found = if filter.contains(['+', '#']) {
            retained.matching(filter)
        } else {
            retained.get(filter).into_iter().collect()
        };
        found.retain(|message| after.is_none_or(|after| message.topic() > after) && keep(message.topic()));
        if found.len() > most {
            found.select_nth_unstable_by(most, |a, b| a.topic().cmp(b.topic()));
            found.truncate(most);
        }
        found.sort_unstable_by(|a, b| a.topic().cmp(b.topic()));
        found
    }

    /// Asks something of the connection of one client. False: it has none.
    pub fn request(&self, client_id: &str, control: Control) -> bool {
        let Some(entry) = self.registry.get(client_id) else { return false };
        let slot = entry.lock();
        match &slot.live {
            Some(live) => {
                live.handle.request(control);
                true
            }
            None => false,
        }
    }

    /// Asks something of all connections that `which` picks. Returns how many.
    pub fn request_where(&self, control: &Control, mut which: impl FnMut(&ConnectionFacts, &Grant) -> bool) -> usize {
        let mut asked = 0;
        self.registry.for_each(|entry| {
            if let Some(live) = &entry.lock().live
                && which(&live.facts, &live.grant)
            {
                live.handle.request(control.clone());
                asked += 1;
            }
        });
        asked
    }

    /// Something in the directory changed: connections whose grant was derived from it are looked at again. Returns how
    /// many.
    pub fn changed(&self, dependency: &Dependency) -> usize {
        self.request_where(&Control::Reevaluate, |_, grant| grant.depends_on.contains(dependency))
    }

    /// Ends all connections: the gateway stops.
    pub fn shut_down(&self) -> usize {
        let control =
            Control::Disconnect { reason: ReasonCode::SERVER_SHUTTING_DOWN, detail: "the gateway stops".to_owned() };
        self.request_where(&control, |_, _| true)
    }
}

/// What is stored of a session. `left_at`: see [`SessionRecord::left_at`].
fn record(entry: &Entry, number: u64, expiry: u32, left_at: u64) -> SessionRecord {
    SessionRecord { number, expiry, left_at, owner: entry.owner.clone() }
}

/// Share name and filter of a subscription that was validated when it was made.
pub(crate) fn split_share(filter: &str) -> (Option<&str>, &str) {
    match SharedFilter::parse(filter) {
        Ok(Some(shared)) => (Some(shared.share), shared.filter),
        _ => (None, filter),
    }
}

/// A grant as the router asks it about deliveries.
struct Receives(Arc<Grant>);

impl DeliveryCheck for Receives {
    fn may_receive(&self, topic: &str) -> bool {
        self.0.may_receive(topic)
    }
}

/// What the router is given for a subscription. `filtered`: the grant denies some of what the filter matches.
pub(crate) fn subscription(
    mailbox: &Arc<Mailbox>,
    held: &Held,
    granted: QoS,
    filtered: bool,
    grant: &Arc<Grant>,
) -> Subscription {
    Subscription {
        mailbox: Arc::clone(mailbox),
        qos: held.requested.min(granted),
        no_local: held.no_local,
        retain_as_published: held.retain_as_published,
        id: held.id,
        check: filtered.then(|| Arc::new(Receives(Arc::clone(grant))) as Arc<dyn DeliveryCheck>),
    }
}
