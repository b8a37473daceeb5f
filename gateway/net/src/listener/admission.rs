//! Who may come in before anything is known but an address: how many, and how fast.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
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
    /// Closed at once because `max_connections` were open.
    pub refused_full: u64,
    /// Closed at once because one of the connect rates was used up.
    pub refused_rate: u64,
    /// TLS or WebSocket handshakes that failed or took too long.
    pub handshakes_failed: u64,
}

/// Why a connection is closed before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// `max_connections` are open.
    Full,
    /// `connect_rate` is used up.
    Rate,
    /// `connect_rate_per_address` is used up.
    AddressRate,
}

/// The books of one listener.
#[derive(Debug)]
pub(crate) struct Admission {
    started: Instant,
    open: AtomicUsize,
    accepted: AtomicU64,
    refused_full: AtomicU64,
    refused_rate: AtomicU64,
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
            handshakes_failed: AtomicU64::new(0),
            total: Mutex::new(Schedule::default()),
            addresses: Mutex::new(None),
            idle: Notify::new(),
        })
    }

    /// Admits a connection from `address`, or says why not. The address comes before the total, so that one that is
    /// over its own rate cannot use up everybody's.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, live: &Live) -> Result<ConnectionGuard, Refused> {
        if self.open.fetch_add(1, Relaxed) >= live.max_connections {
            self.leave();
            self.refused_full.fetch_add(1, Relaxed);
            return Err(Refused::Full);
        }
        let guard = ConnectionGuard::new(Arc::clone(self));
        if live.connect_rate.is_some() || live.connect_rate_per_address.is_some() {
            let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX / 2);
            if let Some(rate) = live.connect_rate_per_address
                && !self.addresses.lock().get_or_insert_with(AddressTable::new).admit(address, rate, now)
            {
                self.refused_rate.fetch_add(1, Relaxed);
                return Err(Refused::AddressRate);
            }
            if let Some(rate) = live.connect_rate
                && !self.total.lock().admit(rate, now)
            {
                self.refused_rate.fetch_add(1, Relaxed);
                return Err(Refused::Rate);
            }
        }
        self.accepted.fetch_add(1, Relaxed);
        Ok(guard)
    }

    /// A connection is gone.
    pub(crate) fn leave(&self) {
        if self.open.fetch_sub(1, Relaxed) == 1 {
            self.idle.notify_waiters();
        }
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
            handshakes_failed: self.handshakes_failed.load(Relaxed),
        }
    }
}
