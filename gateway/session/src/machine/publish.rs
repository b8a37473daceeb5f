//! PUBLISH from a client: the hot path.
//!
//! Consecutive packets with the same first octet, topic and properties are one run: one permission check, one route, one
//! delivery a receiver.

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_grant::{Action, Permission, Publication};
use portcullis_mqtt::{
    Error, Frame, ProtocolVersion, PublishFlags, PublishHead, PublishProperties, QoS, ReasonCode, SubscriptionIds,
    frame, publish_head,
};
use portcullis_router::{Batch, FrameMark, Holder, Message, Published, Route, Run, Wire, now_ms};

use super::filtering::Whole;
use super::open::Open;
use super::reply::{PUBACK, PUBREC, acknowledge};
use super::{Fault, Stop};
use crate::broker::Broker;
use crate::handle::Handle;
use crate::rules::{ListenerRules, RefusedPublish};
use crate::scratch::Scratch;
use crate::sys;

/// What the properties of a run say, apart from what is forwarded.
#[derive(Default)]
pub(super) struct Told {
    pub expiry: Option<u32>,
    pub has_alias: bool,
}

/// Whether the grant permits a publication.
#[derive(Clone, Copy)]
pub(super) struct Permitted {
    pub allowed: bool,
    /// A policy said so of the packet at hand alone: the next one is asked about again.
    pub once: bool,
    /// Filters have to look at it.
    pub filtered: bool,
}

impl Open {
    /// Publishes the run that begins at `at`. Returns where the next packet begins.
    #[expect(clippy::too_many_arguments, reason = "the parts of a machine that its open state may use")]
    pub(super) fn publish(
        &mut self,
        broker: &Broker,
        rules: &ListenerRules,
        handle: &Handle,
        bytes: &[u8],
        at: usize,
        f: Frame,
        s: &mut Scratch,
    ) -> Result<usize, Stop> {
        let flags = PublishFlags::read(f.first)?;
        let body = bytes.get(f.body..f.end).unwrap_or_default();
        let head = publish_head(self.version, body, flags.qos as u8)?;
        s.forward.clear();
        let mut told = Told::default();
        if !head.properties.is_empty() {
            told = read_properties(body.get(head.properties.clone()).unwrap_or_default(), &mut s.forward)?;
        }
        let aliased;
        let topic = match self.resolve(rules, head.topic(body), &head)? {
            Cow::Borrowed(topic) => topic,
            Cow::Owned(topic) => {
                aliased = topic;
                &*aliased
            }
        };
        let (route, permitted) = self.permitted(broker, rules, topic, flags, body.len() - head.payload_at)?;
        if permitted.filtered {
            let packet = Whole { bytes, at, f, head: &head, flags, topic, told };
            return self.publish_filtered(broker, rules, handle, packet, route, s);
        }
        let allowed = permitted.allowed;
        // What is not allowed is refused for that, below.
        let unstored = broker.durable.as_ref().is_some_and(|durable| durable.has_stopped());
        if unstored && allowed && self.needs_store(&route, flags) && self.turn_away(bytes, f, &head, flags.qos, s)? {
            return Ok(f.end);
        }
        let end = self.gather(rules, bytes, at, f, &head, flags.qos, permitted, s)?;
        let count = s.frames.len() as u64;
        s.batch.counts.received += count;
        s.batch.counts.received_bytes += (end - at) as u64;
        if let Err(fault) = self.pace(count, (end - at) as u64) {
            self.forget_unpublished(flags.qos, bytes, at, s);
            return Err(fault.into());
        }
        if s.frames.is_empty() {
            // QoS 2 messages that came before: answered again, not published again.
            return Ok(end);
        }
        if !allowed {
            s.batch.counts.unauthorized += count;
            broker.observer.action_refused(&broker.facts(handle), &self.entry.client_id, &self.grant, "publish", topic);
            self.refuse(rules, flags.qos, bytes, at, s)?;
            return Ok(end);
        }
        let run = Run {
            wire: self.wire(),
            bytes: bytes.get(at..end).unwrap_or_default(),
            frames: &s.frames,
            topic,
            qos: flags.qos,
            retain: flags.retain,
            verbatim: !flags.dup && !flags.retain && !told.has_alias,
            forward: &s.forward,
            expiry: told.expiry,
            origin: self.mailbox.number,
        };
        let published = self.deliver(broker, rules, &run, route, unstored, &mut s.batch, &mut s.journal);
        self.answer(flags.qos, bytes, at, published, s);
        Ok(end)
    }

    /// Retains a run that is to be retained, and gives it to those who are subscribed.
    #[expect(clippy::too_many_arguments, reason = "the parts of a machine that its open state may use")]
    pub(super) fn deliver(
        &self,
        broker: &Broker,
        rules: &ListenerRules,
        run: &Run<'_>,
        mut route: Arc<Route>,
        unstored: bool,
        batch: &mut Batch,
        journal: &mut portcullis_store::Batch,
    ) -> Published {
        let mut not_retained = 0;
        if run.retain {
            // Before it is delivered, and to a route that is looked up after: whoever subscribes meanwhile gets it from
            // one or the other, and never an older one after it.
            let holder = Holder { name: self.entry.owner.name(), limits: rules.retained_by(self.grant.limits()) };
            let retained = if unstored { None } else { retain_last(broker, run, &holder) };
            match retained {
                Some(message) => broker.store_retained(&message, Some(&holder), journal),
                None => {
                    not_retained = 1;
                    batch.counts.refused += 1;
                }
            }
            if !broker.router.is_current(&route) {
                route = broker.router.route(run.topic);
            }
        }
        let mut published = broker.router.publish(run, &route, batch);
        published.refused += not_retained;
        published
    }

    /// Whether an acknowledgement of this publication would promise what only the store can keep: somebody's session has
    /// to get it, it is to be retained, or the publisher's own session has to know its identifier.
    pub(super) fn needs_store(&self, route: &Route, flags: PublishFlags) -> bool {
        flags.retain || (flags.qos == QoS::ExactlyOnce && self.is_stored()) || route.needs_store()
    }

    /// While the store has failed, nothing that needs it is taken at QoS 1 or 2: to acknowledge it would be to promise
    /// what may not be kept. QoS 0, which promises nothing, goes on. True: the packet is answered.
    pub(super) fn turn_away(
        &self,
        bytes: &[u8],
        f: Frame,
        head: &PublishHead,
        qos: QoS,
        s: &mut Scratch,
    ) -> Result<bool, Fault> {
        let Some(id_at) = head.packet_id_at.filter(|_| qos != QoS::AtMostOnce) else { return Ok(false) };
        let id = read_u16(bytes, f.body + id_at);
        if self.state.unreleased.contains(id) {
            // Taken before the store failed: it is answered as ever.
            return Ok(false);
        }
        if self.version != ProtocolVersion::V5 {
            return Err(Fault::new(ReasonCode::SERVER_UNAVAILABLE, "the store has failed: QoS 1 and 2 are not taken"));
        }
        s.batch.counts.refused += 1;
        self.acknowledge_publish(qos, id, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, s);
        Ok(true)
    }

    /// The topic name, with its alias set or looked up (MQTT 5 §3.3.2.3.4).
    fn resolve<'a>(
        &mut self,
        rules: &ListenerRules,
        topic: &'a str,
        head: &PublishHead,
    ) -> Result<Cow<'a, str>, Fault> {
        let Some(alias) = head.topic_alias else { return Ok(Cow::Borrowed(topic)) };
        let invalid =
            || Fault::new(ReasonCode::TOPIC_ALIAS_INVALID, format!("topic alias {alias} is not in use or too high"));
        let most = usize::from(rules.topic_alias_maximum);
        if usize::from(alias.get()) > most {
            return Err(invalid());
        }
        let aliases = self.seldom().aliases.get_or_insert_with(|| vec![None; most].into());
        let place = aliases.get_mut(usize::from(alias.get()) - 1).ok_or_else(invalid)?;
        if topic.is_empty() {
            // An alias saves octets on the wire; here it costs a copy.
            return place.as_deref().map(|t| Cow::Owned(t.to_owned())).ok_or_else(|| {
                Fault::new(ReasonCode::PROTOCOL_ERROR, format!("topic alias {alias} was not set on this connection"))
            });
        }
        if place.as_deref() != Some(topic) {
            *place = Some(topic.into());
        }
        Ok(Cow::Borrowed(topic))
    }

    /// The route of the topic, and whether the grant permits to publish there.
    fn permitted(
        &mut self,
        broker: &Broker,
        rules: &ListenerRules,
        topic: &str,
        flags: PublishFlags,
        size: usize,
    ) -> Result<(Arc<Route>, Permitted), Stop> {
        let key = (flags.qos as u8) << 1 | u8::from(flags.retain);
        let mut known = None;
        if let Some(cached) = self.routes.get(topic, key, &broker.router) {
            match cached.allowed {
                Some(allowed) => {
                    return Ok((Arc::clone(&cached.route), Permitted { allowed, once: false, filtered: false }));
                }
                None => known = Some(Arc::clone(&cached.route)),
            }
        }
        if !rules.takes_topic(topic, self.grant.limits()) {
            return Err(Fault::new(
                ReasonCode::TOPIC_NAME_INVALID,
                "the topic is longer or deeper than the listener or the grant allows",
            )
            .into());
        }
        let mut once = false;
        let allowed = match self.grant.publish(topic, flags.qos, flags.retain) {
            // The gateway's own voice: nobody else speaks there.
            _ if topic.starts_with(sys::ROOT) => false,
            Permission::Allow => true,
            Permission::Deny => false,
            Permission::Ask => {
                once = true;
                let action = Action::Publish(Publication {
                    topic: topic.to_owned(),
                    qos: flags.qos,
                    retain: flags.retain,
                    will: false,
                    size: size as u32,
                });
                self.answered(action)?
            }
        };
        let filtered = allowed && rules.filters(topic);
        let route = match known {
            Some(route) => route,
            None => {
                let route = broker.router.route(topic);
                let keep = (!self.grant.asks() && !filtered).then_some(allowed);
                self.routes.put(topic, key, Arc::clone(&route), keep);
                route
            }
        };
        Ok((route, Permitted { allowed, once: once || filtered, filtered }))
    }

    /// The answer that holds only for the packet at hand, or a stop to get it.
    pub(super) fn answered(&self, action: Action) -> Result<bool, Stop> {
        let at_hand = self.seldom.as_ref().and_then(|seldom| seldom.at_hand.as_ref());
        match at_hand.and_then(|at_hand| at_hand.answers.get(&action)) {
            Some(allowed) => Ok(*allowed),
            None => Err(Stop::Ask(action)),
        }
    }

    /// Collects the run into `s.frames`, marks relative to `at`. Returns where it ends.
    ///
    /// QoS 2 messages whose identifier is not released yet were published before: they are answered and left out.
    #[expect(clippy::too_many_arguments, reason = "a loop that was worth keeping apart")]
    pub(super) fn gather(
        &mut self,
        rules: &ListenerRules,
        bytes: &[u8],
        at: usize,
        first: Frame,
        head: &PublishHead,
        qos: QoS,
        Permitted { allowed, once, .. }: Permitted,
        s: &mut Scratch,
    ) -> Result<usize, Fault> {
        s.frames.clear();
        let body = bytes.get(first.body..first.end).unwrap_or_default();
        let topic = body.get(..head.topic.end).unwrap_or_default();
        // Property length and properties, between identifier and payload.
        let properties_at = head.packet_id_at.map_or(head.topic.end, |id| id + 2);
        let properties = body.get(properties_at..head.payload_at).unwrap_or_default();
        let (mut f, mut start, mut end) = (first, at, first.end);
        loop {
            let id_at = head.packet_id_at.map_or(0, |id| f.body + id);
            let mut known = false;
            if qos == QoS::ExactlyOnce {
                let id = read_u16(bytes, id_at);
                // Published before, whatever the grant says today.
                known = self.state.unreleased.contains(id);
                if allowed && !known {
                    if self.state.unreleased.len() >= usize::from(rules.receive_maximum) {
                        if s.frames.is_empty() {
                            return Err(Fault::new(
                                ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
                                "more unreleased QoS 2 messages than the receive maximum",
                            ));
                        }
                        // Those before it are remembered as published, so they must be; it has its turn then.
                        return Ok(end);
                    }
                    self.state.unreleased.insert(id);
                    if self.is_stored() {
                        s.journal.put_unreleased(self.number, id);
                    }
                }
            }
            if known {
                if s.frames.is_empty() {
                    acknowledge(&mut s.replies, PUBREC, read_u16(bytes, id_at), self.version, ReasonCode::SUCCESS);
                    return Ok(f.end);
                }
                // It begins the next run.
                return Ok(end);
            }
            s.frames.push(FrameMark {
                start: (start - at) as u32,
                id: if id_at == 0 { 0 } else { (id_at - at) as u32 },
                payload: (f.body + head.payload_at - at) as u32,
                end: (f.end - at) as u32,
            });
            end = f.end;
            if once {
                return Ok(end);
            }
            match frame(bytes, end, self.max_packet) {
                Ok(Some(next))
                    if next.first == first.first
                        && next.end - next.body >= head.payload_at
                        && bytes.get(next.body..next.body + topic.len()) == Some(topic)
                        && bytes.get(next.body + properties_at..next.body + head.payload_at) == Some(properties)
                        && (qos == QoS::AtMostOnce || read_u16(bytes, next.body + head.topic.end) != 0) =>
                {
                    start = end;
                    f = next;
                }
                // What is malformed is found when its turn comes.
                _ => return Ok(end),
            }
        }
    }

    /// Takes back what [`Self::gather`] remembered of a run that is not published after all: else it would be taken for
    /// published when the client sends it again.
    fn forget_unpublished(&mut self, qos: QoS, bytes: &[u8], at: usize, s: &mut Scratch) {
        if qos != QoS::ExactlyOnce {
            return;
        }
        for i in 0..s.frames.len() {
            let id = frame_id(bytes, at, s.frames.get(i));
            if self.state.unreleased.remove(id) && self.is_stored() {
                s.journal.delete_unreleased(self.number, id);
            }
        }
    }

    /// Holds the client to the rate that the listener and its grant allow.
    pub(super) fn pace(&mut self, messages: u64, bytes: u64) -> Result<(), Fault> {
        let Some(rate) = self.seldom.as_mut().and_then(|seldom| seldom.rate.as_mut()) else { return Ok(()) };
        if rate.take(messages, bytes, now_ms()) {
            Ok(())
        } else {
            Err(Fault::new(
                ReasonCode::MESSAGE_RATE_TOO_HIGH,
                "more is published a second than the listener or the grant allows",
            ))
        }
    }

    fn refuse(&self, rules: &ListenerRules, qos: QoS, bytes: &[u8], at: usize, s: &mut Scratch) -> Result<(), Fault> {
        if self.version != ProtocolVersion::V5 && rules.refused_publish == RefusedPublish::Disconnect {
            return Err(Fault::new(ReasonCode::NOT_AUTHORIZED, "it published where its grant does not permit"));
        }
        for i in 0..s.frames.len() {
            let id = frame_id(bytes, at, s.frames.get(i));
            self.acknowledge_publish(qos, id, ReasonCode::NOT_AUTHORIZED, s);
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, qos: QoS, bytes: &[u8], at: usize, published: Published, s: &mut Scratch) {
        if qos == QoS::AtMostOnce {
            return;
        }
        let reason = if published.refused > 0 {
            ReasonCode::QUOTA_EXCEEDED
        } else if published.receivers == 0 {
            ReasonCode::NO_MATCHING_SUBSCRIBERS
        } else {
            ReasonCode::SUCCESS
        };
        for i in 0..s.frames.len() {
            let id = frame_id(bytes, at, s.frames.get(i));
            if qos == QoS::ExactlyOnce && reason.is_error() && self.version == ProtocolVersion::V5 {
                // A refusing PUBREC ends the exchange (MQTT 5 §4.3.3).
                self.state.unreleased.remove(id);
                if self.is_stored() {
                    s.journal.delete_unreleased(self.number, id);
                }
            }
            self.acknowledge_publish(qos, id, reason, s);
        }
    }

    pub(super) fn acknowledge_publish(&self, qos: QoS, id: u16, reason: ReasonCode, s: &mut Scratch) {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => acknowledge(&mut s.replies, PUBACK, id, self.version, reason),
            QoS::ExactlyOnce => acknowledge(&mut s.replies, PUBREC, id, self.version, reason),
        }
    }
}

pub(super) fn read_u16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}

fn frame_id(bytes: &[u8], at: usize, mark: Option<&FrameMark>) -> u16 {
    mark.map_or(0, |m| read_u16(bytes, at + m.id as usize))
}

/// Reads a property block that was checked already, and writes what is forwarded into `forward`.
fn read_properties(block: &[u8], forward: &mut Vec<u8>) -> Result<Told, Error> {
    let properties = PublishProperties::decode(block)?;
    let told = Told { expiry: properties.message_expiry, has_alias: properties.topic_alias.is_some() };
    let kept = PublishProperties {
        message_expiry: None,
        topic_alias: None,
        subscription_ids: SubscriptionIds::EMPTY,
        ..properties
    };
    encode_forward(&kept, forward);
    Ok(told)
}

/// Writes a property block without its length: it is joined with others later.
pub(super) fn encode_forward(properties: &PublishProperties<'_>, forward: &mut Vec<u8>) {
    forward.clear();
    if properties.encode(forward).is_err() {
        // What was decoded can be encoded; were it not so, nothing is forwarded rather than something broken.
        forward.clear();
        return;
    }
    let length = forward.iter().position(|octet| octet & 0x80 == 0).map_or(0, |last| last + 1);
    forward.drain(..length);
}

/// Retains the last message of the run: those before it would be replaced at once. None: it is more than may be retained,
/// by anybody or by this client. Else the message, for the disk.
fn retain_last(broker: &Broker, run: &Run<'_>, holder: &Holder) -> Option<Arc<Message>> {
    let payload = run.payload(run.frames.len() - 1);
    let forward = if run.wire == Wire::V5 { run.forward } else { &[] };
    let message = Arc::new(Message::new(run.topic, forward, payload, run.qos, true, run.expiry, run.origin));
    broker.router.retained.set(Arc::clone(&message), Some(holder)).ok()?;
    Some(message)
}
