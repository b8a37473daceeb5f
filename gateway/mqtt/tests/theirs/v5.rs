//! MQTT 5.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{Bytes, BytesMut};
use mqttbytes::v5 as their;
use portcullis_mqtt::*;

use super::{filled, id, qos, strs, user};
use crate::common::leak;

fn bytes(theirs: &Option<Bytes>) -> Option<&[u8]> {
    theirs.as_deref()
}

/// A switch that they hold as an octet.
fn switch(theirs: Option<u8>, default: bool) -> bool {
    theirs.map_or(default, |octet| octet == 1)
}

/// The two properties that every answer has.
struct Answer {
    reason_string: Option<String>,
    user_properties: Vec<(String, String)>,
}

fn ack(packet_id: u16, reason: u8, properties: Option<Answer>) -> Ack<'static> {
    let mut ack = Ack::new(id(packet_id), ReasonCode(reason));
    if let Some(answer) = properties {
        ack.reason_string = answer.reason_string.map(leak::<str>);
        ack.user = user(leak(answer.user_properties));
    }
    ack
}

fn connect(connect: &their::Connect) -> Connect<'_> {
    let properties = connect.properties.as_ref().map_or_else(ConnectProperties::default, |theirs| ConnectProperties {
        session_expiry: theirs.session_expiry_interval,
        receive_maximum: theirs.receive_maximum.and_then(NonZeroU16::new),
        maximum_packet_size: theirs.max_packet_size.and_then(NonZeroU32::new),
        topic_alias_maximum: theirs.topic_alias_max.unwrap_or(0),
        request_response_information: switch(theirs.request_response_info, false),
        request_problem_information: switch(theirs.request_problem_info, true),
        user: user(&theirs.user_properties),
        authentication_method: theirs.authentication_method.as_deref(),
        authentication_data: bytes(&theirs.authentication_data),
    });
    Connect {
        version: ProtocolVersion::V5,
        clean_start: connect.clean_session,
        keep_alive: connect.keep_alive,
        client_id: &connect.client_id,
        username: connect.login.as_ref().and_then(|login| filled(&login.username)),
        password: connect.login.as_ref().and_then(|login| filled(&login.password)).map(str::as_bytes),
        will: connect.last_will.as_ref().map(|will| Will {
            topic: &will.topic,
            payload: &will.message,
            qos: qos(will.qos),
            retain: will.retain,
            properties: will.properties.as_ref().map_or_else(WillProperties::default, |theirs| WillProperties {
                delay: theirs.delay_interval.unwrap_or(0),
                payload_format: theirs.payload_format_indicator.map(|format| format == 1),
                message_expiry: theirs.message_expiry_interval,
                content_type: theirs.content_type.as_deref(),
                response_topic: theirs.response_topic.as_deref(),
                correlation_data: bytes(&theirs.correlation_data),
                user: user(&theirs.user_properties),
            }),
        }),
        properties,
    }
}

fn connack(connack: &their::ConnAck) -> ConnAck<'_> {
    let properties = connack.properties.as_ref().map_or_else(ConnAckProperties::default, |theirs| ConnAckProperties {
        session_expiry: theirs.session_expiry_interval,
        receive_maximum: theirs.receive_max.and_then(NonZeroU16::new),
        maximum_qos: theirs.max_qos.map_or(QoS::ExactlyOnce, |qos| QoS::from_u8(qos).unwrap()),
        retain_available: switch(theirs.retain_available, true),
        maximum_packet_size: theirs.max_packet_size.and_then(NonZeroU32::new),
        assigned_client_id: theirs.assigned_client_identifier.as_deref(),
        topic_alias_maximum: theirs.topic_alias_max.unwrap_or(0),
        reason_string: theirs.reason_string.as_deref(),
        user: user(&theirs.user_properties),
        wildcard_available: switch(theirs.wildcard_subscription_available, true),
        subscription_ids_available: switch(theirs.subscription_identifiers_available, true),
        shared_available: switch(theirs.shared_subscription_available, true),
        server_keep_alive: theirs.server_keep_alive,
        response_information: theirs.response_information.as_deref(),
        server_reference: theirs.server_reference.as_deref(),
        authentication_method: theirs.authentication_method.as_deref(),
        authentication_data: bytes(&theirs.authentication_data),
    });
    ConnAck { session_present: connack.session_present, code: connack.code as u8, properties }
}

fn publish(publish: &their::Publish) -> Publish<'_> {
    let properties = publish.properties.as_ref().map_or_else(PublishProperties::default, |theirs| {
        let ids: Vec<u32> = theirs.subscription_identifiers.iter().map(|id| *id as u32).collect();
        PublishProperties {
            payload_format: theirs.payload_format_indicator.map(|format| format == 1),
            message_expiry: theirs.message_expiry_interval,
            topic_alias: theirs.topic_alias.and_then(NonZeroU16::new),
            response_topic: theirs.response_topic.as_deref(),
            correlation_data: bytes(&theirs.correlation_data),
            user: user(&theirs.user_properties),
            subscription_ids: SubscriptionIds::from_slice(leak(ids)),
            content_type: theirs.content_type.as_deref(),
        }
    });
    Publish {
        dup: publish.dup,
        qos: qos(publish.qos),
        retain: publish.retain,
        topic: &publish.topic,
        packet_id: PacketId::new(publish.pkid),
        properties,
        payload: &publish.payload,
    }
}

fn subscribe(subscribe: &their::Subscribe) -> Subscribe<'_> {
    let filters = subscribe.filters.iter().map(|filter| SubscribeFilter {
        filter: leak(filter.path.as_str()),
        options: SubscribeOptions {
            qos: qos(filter.qos),
            no_local: filter.nolocal,
            retain_as_published: filter.preserve_retain,
            retain_handling: match filter.retain_forward_rule {
                their::RetainForwardRule::OnEverySubscribe => RetainHandling::Send,
                their::RetainForwardRule::OnNewSubscribe => RetainHandling::SendIfNew,
                their::RetainForwardRule::Never => RetainHandling::DoNotSend,
            },
        },
    });
    let properties = subscribe.properties.as_ref();
    Subscribe {
        packet_id: id(subscribe.pkid),
        subscription_id: properties.and_then(|theirs| theirs.id).map(|id| id as u32),
        user: properties.map_or(UserProperties::EMPTY, |theirs| user(&theirs.user_properties)),
        filters: SubscribeFilters::from_slice(leak(filters.collect::<Vec<_>>())),
    }
}

fn disconnect(disconnect: &their::Disconnect) -> Disconnect<'_> {
    let mut ours = Disconnect::new(ReasonCode(disconnect.reason_code as u8));
    if let Some(theirs) = &disconnect.properties {
        ours.session_expiry = theirs.session_expiry_interval;
        ours.reason_string = theirs.reason_string.as_deref();
        ours.user = user(&theirs.user_properties);
        ours.server_reference = theirs.server_reference.as_deref();
    }
    ours
}

/// Takes an answer's properties, whatever their type is called.
macro_rules! answer {
    ($properties:expr) => {
        $properties
            .clone()
            .map(|theirs| Answer { reason_string: theirs.reason_string, user_properties: theirs.user_properties })
    };
}

pub(crate) fn as_ours(packet: &their::Packet) -> Packet<'_> {
    match packet {
        their::Packet::Connect(theirs) => Packet::Connect(connect(theirs)),
        their::Packet::ConnAck(theirs) => Packet::ConnAck(connack(theirs)),
        their::Packet::Publish(theirs) => Packet::Publish(publish(theirs)),
        their::Packet::PubAck(a) => Packet::PubAck(ack(a.pkid, a.reason as u8, answer!(a.properties))),
        their::Packet::PubRec(a) => Packet::PubRec(ack(a.pkid, a.reason as u8, answer!(a.properties))),
        their::Packet::PubRel(a) => Packet::PubRel(ack(a.pkid, a.reason as u8, answer!(a.properties))),
        their::Packet::PubComp(a) => Packet::PubComp(ack(a.pkid, a.reason as u8, answer!(a.properties))),
        their::Packet::Subscribe(theirs) => Packet::Subscribe(subscribe(theirs)),
        their::Packet::SubAck(theirs) => {
            let Ack { packet_id, reason_string, user, .. } = ack(theirs.pkid, 0, answer!(theirs.properties));
            let codes: Vec<u8> = theirs.return_codes.iter().map(|code| *code as u8).collect();
            Packet::SubAck(SubAck { packet_id, reason_string, user, codes: leak(codes) })
        }
        their::Packet::Unsubscribe(theirs) => Packet::Unsubscribe(Unsubscribe {
            packet_id: id(theirs.pkid),
            user: theirs.properties.as_ref().map_or(UserProperties::EMPTY, |theirs| user(&theirs.user_properties)),
            filters: UnsubscribeFilters::from_slice(strs(&theirs.filters)),
        }),
        their::Packet::UnsubAck(theirs) => {
            let Ack { packet_id, reason_string, user, .. } = ack(theirs.pkid, 0, answer!(theirs.properties));
            let codes: Vec<u8> = theirs.reasons.iter().map(|code| *code as u8).collect();
            Packet::UnsubAck(UnsubAck { packet_id, reason_string, user, codes: leak(codes) })
        }
        their::Packet::PingReq => Packet::PingReq,
        their::Packet::PingResp => Packet::PingResp,
        their::Packet::Disconnect(theirs) => Packet::Disconnect(disconnect(theirs)),
    }
}

pub(crate) fn write(packet: their::Packet) -> BytesMut {
    let mut out = BytesMut::new();
    match packet {
        their::Packet::Connect(connect) => connect.write(&mut out),
        their::Packet::ConnAck(mut connack) => {
            // It writes no property length for `None`.
            connack.properties.get_or_insert_with(their::ConnAckProperties::new);
            connack.write(&mut out)
        }
        their::Packet::Publish(publish) => publish.write(&mut out),
        their::Packet::PubAck(puback) => puback.write(&mut out),
        their::Packet::PubRec(pubrec) => pubrec.write(&mut out),
        their::Packet::PubRel(pubrel) => pubrel.write(&mut out),
        their::Packet::PubComp(pubcomp) => pubcomp.write(&mut out),
        their::Packet::Subscribe(subscribe) => subscribe.write(&mut out),
        their::Packet::SubAck(suback) => suback.write(&mut out),
        their::Packet::Unsubscribe(unsubscribe) => unsubscribe.write(&mut out),
        their::Packet::UnsubAck(unsuback) => unsuback.write(&mut out),
        their::Packet::PingReq => their::PingReq.write(&mut out),
        their::Packet::PingResp => their::PingResp.write(&mut out),
        their::Packet::Disconnect(disconnect) => disconnect.write(&mut out),
    }
    .unwrap();
    out
}
