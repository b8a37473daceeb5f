//! Messages on topics that the listener filters: the packet waits for the gatekeeper's answer and is then processed again,
//! one at a time, so that order and acknowledgements are those of any other message.

use std::sync::Arc;

use portcullis_grant::{Action, FilterRefusal, Filtered, Grant, Passage, Permission, Publication, Replacement};
use portcullis_mqtt::{Frame, ProtocolVersion, PublishFlags, PublishHead, PublishProperties, QoS, ReasonCode};
use portcullis_router::{FrameMark, Message, Route, Run, Wire};

use super::admission::Refused;
use super::connect::{Connecting, pairs};
use super::open::Open;
use super::publish::{Permitted, Told, encode_forward, read_u16};
use super::reply::{PUBREC, acknowledge};
use super::{Fault, Machine, Phase, Step, Stop};
use crate::broker::Broker;
use crate::handle::Handle;
use crate::registry::Will;
use crate::rules::{ListenerRules, RefusedPublish};
use crate::scratch::Scratch;
use crate::sys;

/// A PUBLISH that the grant permits.
pub(super) struct Whole<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    pub f: Frame,
    pub head: &'a PublishHead,
    pub flags: PublishFlags,
    pub topic: &'a str,
    pub told: Told,
}

impl<'a> Whole<'a> {
    fn body(&self) -> &'a [u8] {
        self.bytes.get(self.f.body..self.f.end).unwrap_or_default()
    }

    fn payload(&self) -> &'a [u8] {
        self.body().get(self.head.payload_at..).unwrap_or_default()
    }

    fn properties(&self) -> Result<PublishProperties<'a>, Fault> {
        let block = self.body().get(self.head.properties.clone()).unwrap_or_default();
        Ok(if block.is_empty() { PublishProperties::default() } else { PublishProperties::decode(block)? })
    }

    /// 0 at QoS 0.
    fn id(&self) -> u16 {
        self.head.packet_id_at.map_or(0, |id| read_u16(self.bytes, self.f.body + id))
    }
}

impl Open {
    /// Publishes what filters made of a message, once they have looked at it. Returns where the next packet begins.
    pub(super) fn publish_filtered(
        &mut self,
        broker: &Broker,
        rules: &ListenerRules,
        handle: &Handle,
        packet: Whole<'_>,
        route: Arc<Route>,
        s: &mut Scratch,
    ) -> Result<usize, Stop> {
        let (qos, id, end) = (packet.flags.qos, packet.id(), packet.f.end);
        if qos == QoS::ExactlyOnce && self.state.unreleased.contains(id) {
            // Published before: it is answered again and looked at by nobody.
            acknowledge(&mut s.replies, PUBREC, id, self.version, ReasonCode::SUCCESS);
            return Ok(end);
        }
        let Some(outcome) = self.seldom.as_mut().and_then(|seldom| seldom.filtered.take()) else {
            return Err(Stop::Filter(self.passage(handle, &packet)?));
        };
        let with = match &*outcome {
            Filtered::Replace(with) => with,
            _ => &Replacement::default(),
        };
        let topic = with.topic.as_deref().unwrap_or(packet.topic);
        let permitted = match self.permits_replaced(rules, with, &packet) {
            Ok(permitted) => permitted,
            Err(stop) => {
                self.seldom().filtered = Some(outcome);
                return Err(stop);
            }
        };
        let octets = (end - packet.at) as u64;
        s.batch.counts.received += 1;
        s.batch.counts.received_bytes += octets;
        self.pace(1, octets)?;
        let refused = match &*outcome {
            Filtered::Refuse(refusal) => {
                broker.observer.message_refused(
                    &broker.facts(handle),
                    &self.entry.client_id,
                    &self.grant,
                    "publish",
                    packet.topic,
                    refusal,
                );
                if refusal.failed && qos > QoS::AtMostOnce && self.version != ProtocolVersion::V5 {
                    // An acknowledgement could not say that nobody has judged it.
                    return Err(Fault::new(ReasonCode::SERVER_UNAVAILABLE, "a message filter failed").into());
                }
                Some(refusal.reason)
            }
            _ if !permitted => {
                broker.observer.action_refused(
                    &broker.facts(handle),
                    &self.entry.client_id,
                    &self.grant,
                    "publish",
                    topic,
                );
                Some(ReasonCode::NOT_AUTHORIZED)
            }
            _ => None,
        };
        if let Some(reason) = refused {
            s.batch.counts.unauthorized += 1;
            if self.version != ProtocolVersion::V5 && rules.refused_publish == RefusedPublish::Disconnect {
                return Err(Fault::new(ReasonCode::NOT_AUTHORIZED, "a message filter refused what it published").into());
            }
            self.acknowledge_publish(qos, id, reason, s);
            return Ok(end);
        }
        let dropped = matches!(*outcome, Filtered::Drop);
        let route = if with.topic.is_some() { broker.router.route(topic) } else { route };
        let unstored = broker.durable.as_ref().is_some_and(|durable| durable.has_stopped());
        let needs_store = unstored && !dropped && self.needs_store(&route, packet.flags);
        if needs_store && self.turn_away(packet.bytes, packet.f, packet.head, qos, s)? {
            return Ok(end);
        }
        let taken = Permitted { allowed: true, once: true, filtered: true };
        self.gather(rules, packet.bytes, packet.at, packet.f, packet.head, qos, taken, s)?;
        if dropped {
            self.acknowledge_publish(qos, id, ReasonCode::SUCCESS, s);
            return Ok(end);
        }
        if with.payload.is_some() || with.content_type.is_some() {
            s.forward.clear();
            if self.version == ProtocolVersion::V5 || with.content_type.is_some() {
                replaced_properties(packet.properties()?, with, &mut s.forward);
            }
        }
        let payload = with.payload.as_deref().unwrap_or_else(|| packet.payload());
        let frame = FrameMark { start: 0, id: 0, payload: 0, end: payload.len() as u32 };
        let run = Run {
            wire: if s.forward.is_empty() { self.wire() } else { Wire::V5 },
            bytes: payload,
            frames: &[frame],
            topic,
            qos,
            retain: packet.flags.retain,
            verbatim: false,
            forward: &s.forward,
            expiry: packet.told.expiry,
            origin: self.mailbox.number,
        };
        let published = self.deliver(broker, rules, &run, route, unstored, &mut s.batch, &mut s.journal);
        self.answer(qos, packet.bytes, packet.at, published, s);
        Ok(end)
    }

    /// Whether the grant permits the topic that takes the place of the message's own, and the packet its new size.
    fn permits_replaced(&self, rules: &ListenerRules, with: &Replacement, packet: &Whole<'_>) -> Result<bool, Stop> {
        if with.payload.as_ref().is_some_and(|payload| payload.len() > rules.max_packet as usize) {
            return Ok(false);
        }
        let Some(topic) = &with.topic else { return Ok(true) };
        let (qos, retain) = (packet.flags.qos, packet.flags.retain);
        if !rules.takes_topic(topic, self.grant.limits()) || topic.starts_with(sys::ROOT) {
            return Ok(false);
        }
        match self.grant.publish(topic, qos, retain) {
            Permission::Allow => Ok(true),
            Permission::Deny => Ok(false),
            Permission::Ask => {
                let size = with.payload.as_ref().map_or(packet.payload().len(), Vec::len) as u32;
                let asked = Publication { topic: topic.clone(), qos, retain, will: false, size };
                self.answered(Action::Publish(asked))
            }
        }
    }

    fn passage(&self, handle: &Handle, packet: &Whole<'_>) -> Result<Box<Passage>, Fault> {
        let properties = packet.properties()?;
        Ok(Box::new(Passage {
            listener: handle.listener(),
            client_id: (&*self.entry.client_id).into(),
            identity: Arc::clone(&self.grant.identity),
            topic: packet.topic.to_owned(),
            qos: packet.flags.qos,
            retain: packet.flags.retain,
            will: false,
            payload: packet.payload().to_vec(),
            content_type: properties.content_type.map(str::to_owned),
            user_properties: pairs(properties.user),
        }))
    }
}

/// Writes what is forwarded of a message of which parts were replaced.
fn replaced_properties(mut properties: PublishProperties<'_>, with: &Replacement, forward: &mut Vec<u8>) {
    if with.payload.is_some() {
        properties.payload_format = None;
    }
    let kept = PublishProperties {
        message_expiry: None,
        topic_alias: None,
        subscription_ids: portcullis_mqtt::SubscriptionIds::EMPTY,
        content_type: with.content_type.as_deref().or(properties.content_type),
        ..properties
    };
    if kept != PublishProperties::default() {
        encode_forward(&kept, forward);
    }
}

impl Machine {
    /// The answer to [`Step::Filter`].
    pub fn on_filtered(&mut self, outcome: Filtered, s: &mut Scratch) -> Step {
        match &mut self.phase {
            Phase::Admitting(connecting) => {
                connecting.filtered = Some(Box::new(outcome));
                self.admit(s)
            }
            Phase::Open(open) => {
                open.seldom().filtered = Some(Box::new(outcome));
                Step::More
            }
            _ => Step::More,
        }
    }

    /// Has filters look at a will that the grant permits, and puts what they made of it in its place.
    pub(super) fn filter_will(
        &mut self,
        connecting: &mut Connecting,
        grant: &Arc<Grant>,
        client_id: &str,
    ) -> Option<Refused> {
        let Some(will) = &connecting.will else { return None };
        let message = &will.message;
        let Some(outcome) = connecting.filtered.take() else {
            return Some(Refused::Filter(Box::new(self.will_passage(grant, client_id, message))));
        };
        connecting.will_filtered = true;
        match *outcome {
            Filtered::Pass => {}
            Filtered::Drop => connecting.will = None,
            Filtered::Replace(with) => {
                let properties = PublishProperties::decode(message.forward()).unwrap_or_default();
                let mut forward = Vec::new();
                replaced_properties(properties, &with, &mut forward);
                let payload = with.payload.as_deref().unwrap_or(message.payload());
                let topic = with.topic.as_deref().unwrap_or(message.topic());
                if topic != message.topic() {
                    // It is another question to the grant.
                    connecting.will_allowed = None;
                }
                let replaced = Message::new(topic, &forward, payload, message.qos, message.retain, None, 0);
                let message = Arc::new(replaced.with_lifetime(message.lifetime()));
                connecting.will = Some(Will { message, delay: will.delay, limits: will.limits });
            }
            Filtered::Refuse(refusal) => {
                let FilterRefusal { reason, failed, .. } = refusal;
                let topic = message.topic();
                self.broker.observer.message_refused(&self.facts(), client_id, grant, "will", topic, &refusal);
                return Some(match failed {
                    true => Refused::Reason(ReasonCode::SERVER_UNAVAILABLE, "a message filter failed over its will"),
                    false => Refused::Reason(reason, "a message filter refuses its will"),
                });
            }
        }
        self.check_admission(connecting, grant, client_id)
    }

    fn will_passage(&self, grant: &Arc<Grant>, client_id: &str, message: &Message) -> Passage {
        let properties = PublishProperties::decode(message.forward()).unwrap_or_default();
        Passage {
            listener: self.handle.listener(),
            client_id: client_id.into(),
            identity: Arc::clone(&grant.identity),
            topic: message.topic().to_owned(),
            qos: message.qos,
            retain: message.retain,
            will: true,
            payload: message.payload().to_vec(),
            content_type: properties.content_type.map(str::to_owned),
            user_properties: pairs(properties.user),
        }
    }
}
