//! Who gets what is published to one topic: found once, kept by publishers until a subscription changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_mqtt::QoS;
use smallvec::SmallVec;

use crate::mailbox::{Full, Mailbox};

/// Receivers that are looked at before a publisher reads more.
const LOOKED_AT: usize = 64;

/// One receiver.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where to.
    pub mailbox: Arc<Mailbox>,
    /// The highest quality of service among its matching subscriptions.
    pub qos: QoS,
    /// Not for the receiver's own messages (MQTT 5 §3.8.3.1).
    pub no_local: bool,
    /// For the receiver's own messages alone: it has subscriptions with and without no-local that match.
    pub own_only: bool,
    /// RETAIN as published rather than clear (MQTT 5 §3.8.3.1).
    pub retain_as_published: bool,
    /// The identifiers of all its matching subscriptions that have one (MQTT 5 §3.3.4).
    pub ids: SmallVec<[u32; 1]>,
}

/// Most topics have one receiver.
pub(crate) type Targets = SmallVec<[Target; 1]>;

/// A shared subscription that matches: each message goes to one member (MQTT 5 §4.8.2).
#[derive(Clone, Debug)]
pub(crate) struct GroupRoute {
    pub members: Vec<Target>,
    /// Whose turn it is; shared by all routes to the group.
    pub turn: Arc<AtomicUsize>,
}

impl GroupRoute {
    /// The member whose turn it is: the next that has a connection, else the next.
    pub(crate) fn choose(&self) -> Option<&Target> {
        let n = self.members.len();
        if n == 0 {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..n)
            .map(|i| &self.members[(turn.wrapping_add(i)) % n])
            .find(|t| t.mailbox.is_online())
            .or_else(|| self.members.get(turn % n))
    }
}

/// The state of the subscriptions that a route was found under. See [`crate::Router::route`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteVersion {
    pub(crate) part: u64,
    pub(crate) wild: u64,
}

/// All receivers of one topic. It is good for as long as [`crate::Router::is_current`] says so.
#[derive(Debug)]
pub struct Route {
    pub(crate) version: RouteVersion,
    /// The part of the router that the topic's first level belongs to.
    pub(crate) part: usize,
    pub(crate) targets: Targets,
    pub(crate) groups: Vec<GroupRoute>,
}

impl Route {
    /// Whether nobody gets it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }

    /// Whether a session gets it, by itself or as a member of a group.
    #[must_use]
    pub fn reaches(&self, mailbox: &Mailbox) -> bool {
        let members = self.groups.iter().flat_map(|group| &group.members);
        self.targets.iter().chain(members).any(|target| target.mailbox.number == mailbox.number)
    }

    /// A receiver that holds more than it should. Not every one of many is looked at.
    #[must_use]
    pub fn full_receiver(&self) -> Option<Full> {
        self.targets.iter().take(LOOKED_AT).find_map(|target| target.mailbox.full())
    }

    /// Whether a message at QoS 1 or 2 has to be stored for somebody who may get it. Looks at every receiver.
    #[must_use]
    pub fn needs_store(&self) -> bool {
        let members = self.groups.iter().flat_map(|group| &group.members);
        self.targets.iter().chain(members).any(|target| target.qos > QoS::AtMostOnce && target.mailbox.is_stored())
    }
}
