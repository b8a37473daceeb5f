//! A message for one receiver, and the packet that it becomes.

use std::sync::Arc;

use portcullis_mqtt::QoS;
use smallvec::SmallVec;

use super::link::Link;
use crate::alias::{Alias, Aliases};
use crate::encode::{ALIAS_LEN, Parts, Wire};
use crate::message::Message;
use crate::route::Target;

/// A message for one receiver.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The message.
    pub message: Arc<Message>,
    /// Its number in the session, from 1; 0 at QoS 0. The packet identifier follows from it.
    pub sequence: u64,
    /// The quality of service that this receiver gets.
    pub qos: QoS,
    /// RETAIN as this receiver gets it.
    pub retain: bool,
    /// Whether it may have been sent before: by a gateway that was restarted meanwhile.
    pub dup: bool,
    /// Subscription identifiers.
    pub ids: SmallVec<[u32; 1]>,
}

pub(super) fn queued(message: &Arc<Message>, target: &Target, qos: QoS, retain: bool, sequence: u64) -> Queued {
    Queued { message: Arc::clone(message), sequence, qos, retain, dup: false, ids: target.ids.clone() }
}

/// Whether the client takes a packet as large as this. If so, it is sent, and says its topic in the shortest way.
///
/// One that would fit only because its topic goes by an alias does not: the same message came or not by accident.
pub(super) fn fit(parts: &mut Parts<'_>, link: &Link, aliases: Option<&mut Aliases>) -> bool {
    let most = link.max_packet as usize;
    if link.max_packet == u32::MAX && aliases.is_none() {
        return true;
    }
    let len = parts.len();
    if len > most {
        return false;
    }
    if let Some(aliases) = aliases {
        parts.alias = aliases.next(parts.topic, len + ALIAS_LEN <= most);
    }
    true
}

pub(super) fn parts<'a>(queued: &'a Queued, wire: Wire, expiry: Option<u32>, dup: bool) -> Parts<'a> {
    Parts {
        wire,
        qos: queued.qos,
        retain: queued.retain,
        dup,
        topic: queued.message.topic(),
        alias: Alias::None,
        forward: queued.message.forward(),
        expiry,
        subscription_ids: &queued.ids,
        payload: queued.message.payload(),
    }
}
