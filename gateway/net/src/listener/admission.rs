//! Who may come in before anything is known but an address: how many, and how fast.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use portcullis_grant::Peer;
use tokio::sync::Notify;

use crate::handler::ConnectionGuard;
use crate::listener::rate::{AddressTable, Schedule};
use crate::listener::spec::Live;

/// Counters of a listener since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerStats {
    /// Connections that live now, those in their handshake included.
    pub open: usize,
    /// Connections that were admitted.
    pub accepted: u64,
    /// Refused because `max_connections` were open.
    pub refused_full: u64,
    /// Refused because one of the connect rates was used up.
    pub refused_rate: u64,
    /// Closed at once because a PROXY header is expected, and not from this peer.
    pub refused_peer: u64,
    /// Refusals that were told to the client. The others were closed without a word: too many at one time, a client
    /// that did not ask to be let in, or one that would have had to be told within TLS.
    pub refusals_told: u64,
    /// PROXY headers, TLS or WebSocket handshakes that failed or took too long.
    pub handshakes_failed: u64,
}

/// Which limit keeps a connection out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// `max_connections` are open.
    Full,
    /// `connect_rate` is used up.
    Rate,
    /// `connect_rate_per_address` is used up.
    AddressRate,
}

impl Refused {
    /// For the log.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Full => "max-connections are open",
            Self::Rate => "connect-rate is used up",
            Self::AddressRate => "connect-rate-per-address is used up",
        }
    }
}

/// The books of one listener.
#[derive(Debug)]
pub(crate) struct Admission {
    started: Instant,
    open: AtomicUsize,
    accepted: AtomicU64,
    refused_full: AtomicU64,
    refused_rate: AtomicU64,
    refused_peer: AtomicU64,
    refusals_told: AtomicU64,
    handshakes_failed: AtomicU64,
    total: Mutex<Schedule>,
    addresses: Mutex<Option<AddressTable>>,
    idle: Notify,
}

impl Admission {
    /// Empty books.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused_full: AtomicU64::new(0),
            refused_rate: AtomicU64::new(0),
            refused_peer: AtomicU64::new(0),
            refusals_told: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            total: Mutex::new(Schedule::default()),
            addresses: Mutex::new(None),
            idle: Notify::new(),
        })
    }

    /// Admits a connection from `peer`, or says why not. The address comes before the total, so that one that is
    /// over its own rate cannot use up everybody's.
    pub(crate) fn admit(self: &Arc<Self>, peer: Peer, live: &Live) -> Result<ConnectionGuard, Refused> {
        let guard = self.place(live)?;
        self.address_rate(peer, live)?;
        self.total_rate(live)?;
        self.accepted.fetch_add(1, Relaxed);
        Ok(guard)
    }

    /// Gives a connection its place as long as nobody knows whose it is: the first half of [`Self::admit`].
    pub(crate) fn admit_unknown(self: &Arc<Self>, live: &Live) -> Result<ConnectionGuard, Refused> {
        let guard = self.place(live)?;
        self.total_rate(live)?;
        Ok(guard)
    }

    /// Admits the connection once its header has told whose it is. None: the balancer's own, which has no rate to
    /// itself.
    pub(crate) fn admit_known(&self, client: Option<Peer>, live: &Live) -> Result<(), Refused> {
        if let Some(client) = client
            && let Err(refused) = self.address_rate(client, live)
        {
            if let Some(rate) = live.connect_rate {
                self.total.lock().give_back(rate);
            }
            return Err(refused);
        }
        self.accepted.fetch_add(1, Relaxed);
        Ok(())
    }

    fn place(self: &Arc<Self>, live: &Live) -> Result<ConnectionGuard, Refused> {
        if self.open.fetch_add(1, Relaxed) >= live.max_connections {
            self.leave();
            self.refused_full.fetch_add(1, Relaxed);
            return Err(Refused::Full);
        }
        Ok(ConnectionGuard::new(Arc::clone(self)))
    }

    fn total_rate(&self, live: &Live) -> Result<(), Refused> {
        match live.connect_rate {
            Some(rate) if !self.total.lock().admit(rate, self.now()) => {
                self.refused_rate.fetch_add(1, Relaxed);
                Err(Refused::Rate)
            }
            _ => Ok(()),
        }
    }

    fn address_rate(&self, peer: Peer, live: &Live) -> Result<(), Refused> {
        let Some(rate) = live.connect_rate_per_address else { return Ok(()) };
        if self.addresses.lock().get_or_insert_with(AddressTable::new).admit(peer, rate, self.now()) {
            return Ok(());
        }
        self.refused_rate.fetch_add(1, Relaxed);
        Err(Refused::AddressRate)
    }

    /// Nanoseconds since the listener's start.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX / 2)
    }

    /// A connection is gone.
    pub(crate) fn leave(&self) {
        if self.open.fetch_sub(1, Relaxed) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// A peer that may not speak for others was turned away.
    pub(crate) fn peer_refused(&self) {
        self.refused_peer.fetch_add(1, Relaxed);
    }

    /// A client over a limit was told so.
    pub(crate) fn refusal_told(&self) {
        self.refusals_told.fetch_add(1, Relaxed);
    }

    /// A handshake came to nothing.
    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Relaxed);
    }

    /// Waits until no connection is open.
    pub(crate) async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            tokio::pin!(notified);
            // Registered before looking, or a connection that ends in between would be missed.
            notified.as_mut().enable();
            if self.open.load(Relaxed) == 0 {
                return;
            }
            notified.await;
        }
    }

    /// The counters now.
    pub(crate) fn stats(&self) -> ListenerStats {
        ListenerStats {
            open: self.open.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            refused_full: self.refused_full.load(Relaxed),
            refused_rate: self.refused_rate.load(Relaxed),
            refused_peer: self.refused_peer.load(Relaxed),
            refusals_told: self.refusals_told.load(Relaxed),
            handshakes_failed: self.handshakes_failed.load(Relaxed),
        }
    }
}
