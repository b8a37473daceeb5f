//! The router: one look-up a run, one delivery a receiver.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::batch::Batch;
use crate::encode::Wire;
use crate::limits::MailboxLimits;
use crate::mailbox::Mailbox;
use crate::message::Message;
use crate::retained::{Holder, Retained, RetainedLimits};
use crate::route::{Route, RouteVersion};
use crate::run::{FrameMark, Run};
use crate::trie::{Subscription, Trie};
use crate::waiting::Waiting;

/// Parts of the router with a version each. A subscription whose first level is literal changes one part only, so that
/// a device that subscribes to its own topics does not make every publisher look its route up again.
const PARTS: usize = 256;

/// What became of a publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Receivers (a shared group counts as one). 0: nobody has subscribed.
    pub receivers: usize,
    /// QoS 1 or 2 messages that a receiver's full queue refused.
    pub refused: usize,
    /// [`Router::publish_message`]: whether it is retained now, or what was retained is removed.
    pub retained: bool,
}

/// Subscriptions and retained messages of the gateway.
pub struct Router {
    trie: RwLock<Trie>,
    parts: Box<[AtomicU64; PARTS]>,
    /// Changes of subscriptions that begin with a wildcard: they concern every part.
    wild: AtomicU64,
    hasher: foldhash::fast::RandomState,
    /// Retained messages.
    pub retained: Retained,
    mailboxes: AtomicU64,
    waiting: Arc<Waiting>,
}

/// Bounds of a [`Router`].
#[derive(Clone, Copy, Debug)]
pub struct RouterLimits {
    /// On what is retained.
    pub retained: RetainedLimits,
    /// Octets that all mailboxes together may hold: unsent, queued, or kept until they are acknowledged. Beyond it a
    /// mailbox takes only what leaves it within 64 KiB, or one packet; the rest is answered as for a full queue.
    pub waiting_bytes: usize,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self { retained: RetainedLimits::default(), waiting_bytes: 256 * 1024 * 1024 }
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new(RouterLimits::default())
    }
}

impl Router {
    /// An empty router.
    #[must_use]
    pub fn new(limits: RouterLimits) -> Self {
        Self {
            trie: RwLock::default(),
            parts: Box::new(std::array::from_fn(|_| AtomicU64::new(0))),
            wild: AtomicU64::new(0),
            hasher: foldhash::fast::RandomState::default(),
            retained: Retained::new(limits.retained),
            mailboxes: AtomicU64::new(1),
            waiting: Arc::new(Waiting::new(limits.waiting_bytes)),
        }
    }

    /// A new mailbox with a number of its own.
    #[must_use]
    pub fn mailbox(&self, limits: MailboxLimits, persistent: bool) -> Arc<Mailbox> {
        Mailbox::new(self.mailboxes.fetch_add(1, Ordering::Relaxed), limits, persistent, &self.waiting)
    }

    /// Octets that wait for all receivers together. One with less than 16 KiB does not count.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.bytes()
    }

    fn part(&self, first_level: &str) -> usize {
        (self.hasher.hash_one(first_level) as usize) % PARTS
    }

    fn changed(&self, filter: &str) {
        let first = filter.split('/').next().unwrap_or_default();
        if first == "+" || first == "#" {
            self.wild.fetch_add(1, Ordering::Release);
        } else {
            self.parts[self.part(first)].fetch_add(1, Ordering::Release);
        }
    }

    fn version(&self, part: usize) -> RouteVersion {
        RouteVersion { part: self.parts[part].load(Ordering::Acquire), wild: self.wild.load(Ordering::Acquire) }
    }

    /// Adds a subscription; `filter` is valid, and of a shared subscription the filter within it. True if it is new,
    /// false if it replaced one of the same session.
    pub fn subscribe(&self, filter: &str, share: Option<&str>, subscription: Subscription) -> bool {
        let new = self.trie.write().insert(filter, share, subscription);
        self.changed(filter);
        new
    }

    /// Removes a subscription. True if there was one.
    pub fn unsubscribe(&self, filter: &str, share: Option<&str>, mailbox: &Mailbox) -> bool {
        let there = self.trie.write().remove(filter, share, mailbox.number);
        if there {
            self.changed(filter);
        }
        there
    }

    /// Subscriptions in all.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.trie.read().len()
    }

    /// Who gets what is published to `topic`.
    #[must_use]
    pub fn route(&self, topic: &str) -> Arc<Route> {
        let part = self.part(topic.split('/').next().unwrap_or_default());
        // Read before the look-up: what changes meanwhile makes the route stale rather than wrong.
        let version = self.version(part);
        let (targets, groups) = self.trie.read().find(topic);
        Arc::new(Route { version, part, targets, groups })
    }

    /// Whether a route that was found earlier still holds.
    #[must_use]
    pub fn is_current(&self, route: &Route) -> bool {
        self.version(route.part) == route.version
    }

    /// Delivers a run along its route. What is retained is the caller's to set.
    pub fn publish(&self, run: &Run<'_>, route: &Route, batch: &mut Batch) -> Published {
        let mut refused = 0;
        if route.is_empty() {
            return Published::default();
        }
        batch.begin_run();
        for target in &route.targets {
            let own = target.mailbox.number == run.origin;
            if if own { target.no_local } else { target.own_only } {
                continue;
            }
            refused += target.mailbox.deliver(run, target, batch);
            batch.appended(run.size(), &self.waiting);
        }
        for group in &route.groups {
            // Each member whose turn it is gets its part of the run: a lock and a copy a member, not a message.
            let count = run.frames.len();
            let share = count.div_ceil(group.members.len().max(1)).max(1);
            for from in (0..count).step_by(share) {
                let part = run.part(from..(from + share).min(count));
                batch.begin_run();
                if let Some(target) = group.choose() {
                    refused += target.mailbox.deliver(&part, target, batch);
                    batch.appended(part.size(), &self.waiting);
                }
            }
        }
        Published { receivers: route.targets.len() + route.groups.len(), refused, retained: false }
    }

    /// Publishes one owned message: a will, `$SYS`, or one that came over HTTP. Retains it if its flag says so. One that
    /// has expired already goes nowhere. `holder`: who retains it.
    pub fn publish_message(&self, message: &Arc<Message>, holder: Option<&Holder>, batch: &mut Batch) -> Published {
        if message.expired(crate::now_ms()) {
            return Published::default();
        }
        let retained = message.retain && self.retained.set(Arc::clone(message), holder).is_ok();
        batch.counts.refused += u64::from(message.retain && !retained);
        let route = self.route(message.topic());
        let payload = message.payload();
        let frames = [FrameMark { start: 0, id: 0, payload: 0, end: payload.len() as u32 }];
        let run = Run {
            wire: Wire::V5,
            bytes: payload,
            frames: &frames,
            topic: message.topic(),
            qos: message.qos,
            retain: message.retain,
            verbatim: false,
            forward: message.forward(),
            expiry: message.remaining_seconds(crate::now_ms()),
            origin: message.origin,
        };
        Published { retained, ..self.publish(&run, &route, batch) }
    }
}
