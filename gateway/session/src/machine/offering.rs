//! What is retained, on its way to a new subscription: as much at a time as the client takes.
//!
//! A filter may match far more than may wait for a client. The rest is kept here as references that keep no message
//! alive: one that is replaced meanwhile reaches the client as the publication that replaced it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use portcullis_grant::Grant;
use portcullis_mqtt::QoS;
use portcullis_router::{Batch, Mailbox, Message, Retained};
use smallvec::SmallVec;

use super::open::Open;
use super::{Machine, Phase};
use crate::scratch::Scratch;

/// References that wait for one client at most: a mebibyte of them. A client that subscribes again and again, and reads
/// nothing, is offered nothing more.
const MOST: usize = 128 * 1024;

/// What one filter of a SUBSCRIBE found.
pub(super) struct Offering {
    filter: Box<str>,
    qos: QoS,
    ids: SmallVec<[u32; 1]>,
    /// Whether the grant has to be asked about each topic.
    filtered: bool,
    found: Box<[Weak<Message>]>,
    next: usize,
}

impl Offering {
    /// All that is retained for `filter` at this moment.
    pub(super) fn new(retained: &Retained, filter: &str, qos: QoS, ids: &[u32], filtered: bool) -> Self {
        let found = retained.matching(filter).iter().map(Arc::downgrade).collect();
        Self { filter: filter.into(), qos, ids: SmallVec::from_slice(ids), filtered, found, next: 0 }
    }

    fn left(&self) -> usize {
        self.found.len() - self.next
    }

    /// Puts into the mailbox what it takes. True: that was all.
    fn send(&mut self, mailbox: &Arc<Mailbox>, retained: &Retained, grant: &Grant, batch: &mut Batch) -> bool {
        while let Some(found) = self.found.get(self.next) {
            if let Some(message) = found.upgrade() {
                let topic = message.topic();
                let permitted = !self.filtered || grant.may_receive(topic);
                if permitted && !mailbox.send_retained(retained, topic, self.qos, &self.ids, batch) {
                    return false;
                }
            }
            self.next += 1;
        }
        true
    }
}

impl Open {
    /// Begins to send what a subscription found.
    pub(super) fn offer(&mut self, retained: &Retained, mut offering: Offering, batch: &mut Batch) {
        // One after the other, so that none waits for ever behind those that come later.
        if !self.has_offerings() && offering.send(&self.mailbox, retained, &self.grant, batch) {
            return;
        }
        let waiting: usize = self.seldom.iter().flat_map(|seldom| &seldom.offerings).map(Offering::left).sum();
        if waiting + offering.left() > MOST {
            batch.counts.refused += offering.left() as u64;
            return;
        }
        self.seldom().offerings.push_back(offering);
    }

    /// Goes on sending.
    fn go_on_offering(&mut self, retained: &Retained, batch: &mut Batch) {
        let Some(offerings) = self.seldom.as_mut().map(|seldom| &mut seldom.offerings) else { return };
        while let Some(offering) = offerings.front_mut() {
            let wanted = self.state.subscriptions.contains_key(&offering.filter);
            if wanted && !offering.send(&self.mailbox, retained, &self.grant, batch) {
                return;
            }
            offerings.pop_front();
        }
        *offerings = VecDeque::new();
    }

    /// Puts what waits under the grant in force, which its subscriptions are under already.
    pub(super) fn regrant_offerings(&mut self) {
        let Some(offerings) = self.seldom.as_mut().map(|seldom| &mut seldom.offerings) else { return };
        offerings.retain_mut(|offering| match self.state.subscriptions.get(&offering.filter) {
            Some(held) => {
                offering.qos = offering.qos.min(held.granted);
                offering.filtered = true;
                true
            }
            None => false,
        });
    }
}

impl Machine {
    /// The client has taken something, or acknowledged it: sends more of what is retained for its new subscriptions, if
    /// it waits for that.
    pub fn on_room(&mut self, s: &mut Scratch) {
        let broker = Arc::clone(&self.broker);
        if let Some(open) = self.open().filter(|open| open.has_offerings()) {
            open.go_on_offering(&broker.router.retained, &mut s.batch);
        }
    }

    /// Whether [`Self::on_room`] has anything to do.
    #[must_use]
    pub fn is_offering(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.has_offerings())
    }

    /// Whether [`Self::on_room`] would have something to do once what is written now has gone: nothing else may come to
    /// remind the owner.
    #[must_use]
    pub fn wants_room(&mut self) -> bool {
        self.open().is_some_and(|open| open.has_offerings() && open.mailbox.is_moving())
    }
}
