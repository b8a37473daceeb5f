//! What all connections share: router, sessions, what happens later, totals.

mod changes;
mod leave;
mod live;
mod observer;
mod open;
mod publish;
mod restore;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use portcullis_grant::ConnectionFacts;
use portcullis_router::{MailboxLimits, Router, RouterLimits};
use portcullis_store::Store;

pub use live::{ConnectionSummary, SessionMark};
pub use observer::{Observer, Silent};
pub(crate) use open::{Opened, Opening};

use crate::deferred::Deferred;
use crate::durable::{Durable, RecoveryError, SOON, recover};
use crate::handle::Handle;
use crate::machine::Origin;
use crate::registry::Registry;
use crate::scratch::Scratch;
use crate::stats::{Stats, Totals};
use crate::sys::Sys;
use changes::Changes;

/// Expired retained messages that one call of [`Broker::tick`] removes at the most.
const SWEPT_A_TICK: usize = 1000;

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

/// What all connections of the gateway share.
pub struct Broker {
    pub(crate) router: Router,
    pub(crate) registry: Registry,
    deferred: Deferred,
    pub(crate) stats: Stats,
    pub(crate) observer: Arc<dyn Observer>,
    connections: AtomicU64,
    /// What the names of all connections begin with.
    boot: Box<str>,
    pub(crate) durable: Option<Durable>,
    sys: Mutex<Sys>,
    pub(crate) changes: Changes,
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
            boot: format!("{:08x}-", getrandom::u32().unwrap_or_default()).into(),
            durable,
            sys: Mutex::new(Sys::new(env!("CARGO_PKG_VERSION"))),
            changes: Changes::default(),
        })
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
    pub fn handle(&self, from: Origin) -> Arc<Handle> {
        Arc::new(Handle::new(self.number(), from))
    }

    fn number(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// A name for a connection that is none of MQTT.
    #[must_use]
    pub fn connection_name(&self) -> Arc<str> {
        self.name_of(self.number())
    }

    /// The name of a connection: unique while the data directory lives, as good as chance makes it.
    fn name_of(&self, number: u64) -> Arc<str> {
        let mut name = String::with_capacity(self.boot.len() + 20);
        name.push_str(&self.boot);
        // A text takes everything.
        let _ = write!(name, "{number}");
        name.into()
    }

    /// What policies, and whoever observes, are told of a connection. Put together when it is wanted: idle connections are
    /// many, and questions about them few.
    #[must_use]
    pub fn facts(&self, handle: &Handle) -> ConnectionFacts {
        handle.facts(self.name_of(handle.number))
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

    /// Does what is due: delayed wills, the end of sessions, expired retained messages. Call it about twice a second;
    /// the caller settles the batch.
    pub fn tick(&self, s: &mut Scratch) {
        self.do_what_is_due(s);
        self.sys.lock().tick(self, s);
        for expired in self.router.retained.sweep(SWEPT_A_TICK) {
            if self.durable.is_some() {
                s.journal.delete_retained(expired.topic());
            }
        }
    }
}
