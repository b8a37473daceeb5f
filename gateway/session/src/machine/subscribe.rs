//! SUBSCRIBE and UNSUBSCRIBE, and the subscriptions of a session under another grant.

use std::collections::HashSet;
use std::sync::Arc;

use portcullis_grant::{Action, Grant, Permission, Publication, SubscribePermission, SubscriptionRequest};
use portcullis_mqtt::{
    Packet, ProtocolVersion, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeFilter, UnsubAck,
    Unsubscribe, UserProperties,
};
use portcullis_router::Message;

use super::admission::max_subscriptions;
use super::asked::Asked;
use super::offering::Offering;
use super::open::Open;
use super::reply::codes_size;
use super::{Fault, Stop};
use crate::broker::Broker;
use crate::durable::encode_subscription;
use crate::handle::Handle;
use crate::rules::ListenerRules;
use crate::scratch::Scratch;
use crate::state::{Held, SessionState};
use crate::subscription::{split_share, subscription};

/// What a filter of SUBSCRIBE comes to.
#[derive(Clone, Copy)]
pub(super) enum Judged {
    Granted { qos: QoS, filtered: bool },
    Refused(ReasonCode),
}

impl Open {
    pub(super) fn subscribe(
        &mut self,
        broker: &Broker,
        rules: &ListenerRules,
        handle: &Handle,
        packet: &Subscribe<'_>,
        s: &mut Scratch,
    ) -> Result<(), Stop> {
        self.takes_codes(packet.filters.iter().count())?;
        // All questions first: the packet is answered whole.
        let at_hand = self.seldom.as_mut().and_then(|seldom| seldom.at_hand.as_mut());
        let mut judged = at_hand.map(|at_hand| std::mem::take(&mut at_hand.judged)).unwrap_or_default();
        let most = max_subscriptions(rules, &self.grant);
        for (i, wanted) in packet.filters.iter().enumerate().skip(judged.len()) {
            // A packet has room for hundreds of thousands, and each costs a look at the grant and at what is retained.
            let within = i < most;
            match if within { self.judge(rules, &wanted) } else { Ok(Judged::Refused(ReasonCode::QUOTA_EXCEEDED)) } {
                Ok(answer) => judged.push(answer),
                Err(stop) => {
                    self.seldom().at_hand.get_or_insert_default().judged = judged;
                    return Err(stop);
                }
            }
        }
        let mut codes = Vec::with_capacity(judged.len());
        let mut retained = Vec::new();
        for (wanted, answer) in packet.filters.iter().zip(judged) {
            let code = match answer {
                Judged::Granted { qos, filtered } => {
                    let new = !self.state.subscriptions.contains_key(wanted.filter);
                    if new && self.state.subscriptions.len() >= most {
                        ReasonCode::QUOTA_EXCEEDED
                    } else {
                        self.add(broker, &wanted, packet.subscription_id, qos, filtered, s);
                        let wants = match wanted.options.retain_handling {
                            RetainHandling::Send => true,
                            RetainHandling::SendIfNew => new,
                            RetainHandling::DoNotSend => false,
                        };
                        // Retained messages are not for shared subscriptions (MQTT 5 §4.8.2).
                        if wants && split_share(wanted.filter).0.is_none() {
                            retained.push((wanted.filter, qos, filtered));
                        }
                        ReasonCode(qos as u8)
                    }
                }
                Judged::Refused(code) => {
                    if code == ReasonCode::NOT_AUTHORIZED {
                        broker.observer.action_refused(
                            &broker.facts(handle),
                            &self.entry.client_id,
                            &self.grant,
                            "subscribe",
                            wanted.filter,
                        );
                    }
                    code
                }
            };
            let plain = rules.plain_subscribe_failure && code.is_error();
            codes.push(if plain { ReasonCode::UNSPECIFIED_ERROR.0 } else { code.0 });
        }
        let suback =
            SubAck { packet_id: packet.packet_id, reason_string: None, user: UserProperties::EMPTY, codes: &codes };
        let _: Result<(), _> = Packet::SubAck(suback).encode(self.version, &mut s.replies);
        // The SUBACK goes before what is retained, as clients expect it; but where anything of this read has to be on disk
        // first, it waits with the other replies, and what is retained may overtake it (MQTT 5 §3.8.4).
        if !self.is_stored() && s.journal.is_empty() && s.batch.changes.is_empty() {
            if !self.holds_back(&s.replies) {
                self.mailbox.push(&s.replies, &mut s.batch);
            }
            s.replies.clear();
        }
        let ids: &[u32] = packet.subscription_id.as_slice();
        for (filter, qos, filtered) in retained {
            let kept = &broker.router.retained;
            self.offer(kept, Offering::new(kept, filter, qos, ids, filtered), &mut s.batch);
        }
        Ok(())
    }

    fn judge(&self, rules: &ListenerRules, wanted: &SubscribeFilter<'_>) -> Result<Judged, Stop> {
        let filter = wanted.filter;
        if wanted.valid_filter().is_err() || !rules.takes_topic(filter, self.grant.limits()) {
            return Ok(Judged::Refused(ReasonCode::TOPIC_FILTER_INVALID));
        }
        let (share, inner) = split_share(filter);
        if share.is_some() && wanted.options.no_local {
            return Err(Fault::new(ReasonCode::PROTOCOL_ERROR, "no-local on a shared subscription").into());
        }
        let requested = wanted.options.qos;
        let (max_qos, filtered) = match self.grant.subscribe(inner, requested, share) {
            SubscribePermission::Allow { max_qos, filtered } => (max_qos, filtered),
            SubscribePermission::Deny => return Ok(Judged::Refused(ReasonCode::NOT_AUTHORIZED)),
            SubscribePermission::Ask { max_qos, filtered } => {
                let action = Action::Subscribe(SubscriptionRequest {
                    filter: inner.to_owned(),
                    qos: requested,
                    share: share.map(str::to_owned),
                });
                if !self.answered(action)? {
                    return Ok(Judged::Refused(ReasonCode::NOT_AUTHORIZED));
                }
                (max_qos, filtered)
            }
        };
        if filtered && rules.strict_subscriptions {
            return Ok(Judged::Refused(ReasonCode::NOT_AUTHORIZED));
        }
        Ok(Judged::Granted { qos: requested.min(max_qos), filtered })
    }

    fn add(
        &mut self,
        broker: &Broker,
        wanted: &SubscribeFilter<'_>,
        id: Option<u32>,
        qos: QoS,
        filtered: bool,
        s: &mut Scratch,
    ) {
        let held = Held {
            requested: wanted.options.qos,
            granted: qos,
            no_local: wanted.options.no_local,
            retain_as_published: wanted.options.retain_as_published,
            id,
        };
        let (share, filter) = split_share(wanted.filter);
        broker.router.subscribe(filter, share, subscription(&self.mailbox, &held, qos, filtered, &self.grant));
        if self.is_stored() {
            s.journal.put_subscription(self.number, wanted.filter, encode_subscription(&held));
        }
        self.state.subscriptions.insert(wanted.filter.into(), held);
    }

    /// Before anything is done: whether the client takes a SUBACK or UNSUBACK with so many codes. An answer cannot be
    /// shortened, and without one the client would not know what it has (MQTT 5 §3.1.2.11.4).
    fn takes_codes(&self, filters: usize) -> Result<(), Fault> {
        if self.version != ProtocolVersion::V5 || codes_size(filters) <= self.client_max_packet as usize {
            return Ok(());
        }
        Err(Fault::new(
            ReasonCode::PACKET_TOO_LARGE,
            "the client takes no packet as large as the answer to its filters",
        ))
    }

    pub(super) fn unsubscribe(
        &mut self,
        broker: &Broker,
        packet: &Unsubscribe<'_>,
        s: &mut Scratch,
    ) -> Result<(), Fault> {
        self.takes_codes(packet.filters.iter().count())?;
        let mut codes = Vec::new();
        for filter in packet.filters.iter() {
            let code = if self.state.subscriptions.remove(filter).is_some() {
                let (share, inner) = split_share(filter);
                broker.router.unsubscribe(inner, share, &self.mailbox);
                if self.is_stored() {
                    s.journal.delete_subscription(self.number, filter);
                }
                ReasonCode::SUCCESS
            } else {
                ReasonCode::NO_SUBSCRIPTION_EXISTED
            };
            codes.push(code.0);
        }
        let codes: &[u8] = if self.version == ProtocolVersion::V5 { &codes } else { &[] };
        let unsuback =
            UnsubAck { packet_id: packet.packet_id, reason_string: None, user: UserProperties::EMPTY, codes };
        let _: Result<(), _> = Packet::UnsubAck(unsuback).encode(self.version, &mut s.replies);
        Ok(())
    }

    /// Puts the session's subscriptions under the grant in force: those that it does not permit end, and those that it
    /// would have to ask about and that `asked` has no yes for; the others get its bounds. So do queued messages, and the
    /// will.
    pub(super) fn apply_grant(&mut self, broker: &Broker, handle: &Handle, asked: &Asked, s: &mut Scratch) {
        let grant = Arc::clone(&self.grant);
        let (mut refused, stored) = (Vec::new(), self.is_stored());
        for (filter, held) in self.state.subscriptions.iter_mut() {
            let (share, inner) = split_share(filter);
            let (permission, action) = judge_again(&grant, filter, held.requested);
            let (max_qos, filtered) = match permission {
                SubscribePermission::Ask { max_qos, filtered } if asked.permits(&action) => (max_qos, filtered),
                SubscribePermission::Allow { max_qos, filtered } => (max_qos, filtered),
                SubscribePermission::Deny | SubscribePermission::Ask { .. } => {
                    refused.push(filter.to_owned());
                    continue;
                }
            };
            broker.router.subscribe(inner, share, subscription(&self.mailbox, held, max_qos, filtered, &grant));
            let granted = held.requested.min(max_qos);
            if held.granted != granted {
                held.granted = granted;
                // What comes after a restart is held to it as well.
                if stored {
                    s.journal.put_subscription(self.number, filter, encode_subscription(held));
                }
            }
        }
        let any_refused = !refused.is_empty();
        for filter in refused {
            self.state.subscriptions.remove(&filter);
            if self.is_stored() {
                s.journal.delete_subscription(self.number, &filter);
            }
            let (share, inner) = split_share(&filter);
            broker.router.unsubscribe(inner, share, &self.mailbox);
            broker.observer.action_refused(&broker.facts(handle), &self.entry.client_id, &grant, "subscribe", &filter);
        }
        self.regrant_offerings();
        self.retain_queued(broker, any_refused, s);
        if let Some(will) = &self.will {
            let message = &will.message;
            let permitted = match grant.will(message.topic(), message.qos, message.retain) {
                Permission::Allow => true,
                Permission::Deny => false,
                Permission::Ask => asked.permits(&will_action(message)),
            };
            if !permitted {
                broker.observer.action_refused(
                    &broker.facts(handle),
                    &self.entry.client_id,
                    &grant,
                    "will",
                    message.topic(),
                );
                self.will = None;
                // Else it would be published after a restart.
                if self.number != 0 {
                    s.journal.delete_will(self.number);
                }
            }
        }
        self.routes.clear();
        broker.regrant(&self.entry, &grant);
    }

    /// Takes back what is queued and may not be delivered any more. Where the rules ask, that is what came by the
    /// subscriptions that were refused: what no other one of the session reaches.
    fn retain_queued(&self, broker: &Broker, any_refused: bool, s: &mut Scratch) {
        let mut asked = HashSet::new();
        self.mailbox.retain_queued(&mut s.batch, |message| {
            let permission = self.grant.receive(message.topic());
            if permission == Permission::Ask && any_refused && !asked.contains(message.topic()) {
                asked.insert(message.topic().to_owned());
            }
            permission != Permission::Deny
        });
        // Not while the mailbox is locked: the router is looked at.
        asked.retain(|topic| !broker.router.route(topic).reaches(&self.mailbox));
        if !asked.is_empty() {
            self.mailbox.retain_queued(&mut s.batch, |message| !asked.contains(message.topic()));
        }
    }
}

/// What a grant says to a subscription that exists, and the question for when it says `ask`.
fn judge_again(grant: &Grant, filter: &str, requested: QoS) -> (SubscribePermission, Action) {
    let (share, inner) = split_share(filter);
    let action = Action::Subscribe(SubscriptionRequest {
        filter: inner.to_owned(),
        qos: requested,
        share: share.map(str::to_owned),
    });
    (grant.subscribe(inner, requested, share), action)
}

/// The first subscription of a session that its owner's grant has to ask about and that nobody has answered for.
pub(crate) fn unanswered(state: &SessionState, grant: &Grant, asked: &Asked) -> Option<Action> {
    asked.next(state.subscriptions.iter(), |(filter, held)| {
        let (permission, action) = judge_again(grant, filter, held.requested);
        matches!(permission, SubscribePermission::Ask { .. }).then_some(action)
    })
}

impl Open {
    /// What the grant has to ask about the session and its will, and nobody has answered.
    pub(super) fn unanswered(&self, grant: &Grant, asked: &Asked) -> Option<Action> {
        unanswered(&self.state, grant, asked).or_else(|| {
            let message = &self.will.as_ref()?.message;
            let asks = grant.will(message.topic(), message.qos, message.retain) == Permission::Ask;
            Some(will_action(message)).filter(|action| asks && !asked.has(action))
        })
    }
}

fn will_action(message: &Message) -> Action {
    Action::Publish(Publication {
        topic: message.topic().to_owned(),
        qos: message.qos,
        retain: message.retain,
        will: true,
        size: message.payload().len() as u32,
    })
}
