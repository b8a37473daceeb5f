//! MQTT 3.1.1.

use bytes::BytesMut;
use mqttbytes::v4 as their;
use portcullis_mqtt::*;

use super::{filled, id, qos, strs};
use crate::common::leak;

pub(crate) fn as_ours(packet: &their::Packet) -> Packet<'_> {
    let ack = |packet_id| Ack::new(id(packet_id), ReasonCode::SUCCESS);
    match packet {
        their::Packet::Connect(connect) => Packet::Connect(Connect {
            version: ProtocolVersion::V311,
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
                properties: WillProperties::default(),
            }),
            properties: ConnectProperties::default(),
        }),
        their::Packet::ConnAck(connack) => Packet::ConnAck(ConnAck {
            session_present: connack.session_present,
            code: connack.code as u8,
            properties: ConnAckProperties::default(),
        }),
        their::Packet::Publish(publish) => Packet::Publish(Publish {
            dup: publish.dup,
            qos: qos(publish.qos),
            retain: publish.retain,
            topic: &publish.topic,
            packet_id: PacketId::new(publish.pkid),
            properties: PublishProperties::default(),
            payload: &publish.payload,
        }),
        their::Packet::PubAck(puback) => Packet::PubAck(ack(puback.pkid)),
        their::Packet::PubRec(pubrec) => Packet::PubRec(ack(pubrec.pkid)),
        their::Packet::PubRel(pubrel) => Packet::PubRel(ack(pubrel.pkid)),
        their::Packet::PubComp(pubcomp) => Packet::PubComp(ack(pubcomp.pkid)),
        their::Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.iter().map(|filter| SubscribeFilter {
                filter: leak(filter.path.as_str()),
                options: SubscribeOptions::new(qos(filter.qos)),
            });
            Packet::Subscribe(Subscribe {
                packet_id: id(subscribe.pkid),
                subscription_id: None,
                user: UserProperties::EMPTY,
                filters: SubscribeFilters::from_slice(leak(filters.collect::<Vec<_>>())),
            })
        }
        their::Packet::SubAck(suback) => {
            let codes = suback.return_codes.iter().map(|code| match code {
                their::SubscribeReasonCode::Success(granted) => *granted as u8,
                their::SubscribeReasonCode::Failure => 0x80,
            });
            Packet::SubAck(SubAck {
                packet_id: id(suback.pkid),
                reason_string: None,
                user: UserProperties::EMPTY,
                codes: leak(codes.collect::<Vec<_>>()),
            })
        }
        their::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe(Unsubscribe {
            packet_id: id(unsubscribe.pkid),
            user: UserProperties::EMPTY,
            filters: UnsubscribeFilters::from_slice(strs(&unsubscribe.topics)),
        }),
        their::Packet::UnsubAck(unsuback) => Packet::UnsubAck(UnsubAck {
            packet_id: id(unsuback.pkid),
            reason_string: None,
            user: UserProperties::EMPTY,
            codes: &[],
        }),
        their::Packet::PingReq => Packet::PingReq,
        their::Packet::PingResp => Packet::PingResp,
        their::Packet::Disconnect => Packet::Disconnect(Disconnect::default()),
    }
}

pub(crate) fn write(packet: &their::Packet) -> BytesMut {
    let mut out = BytesMut::new();
    match packet {
        their::Packet::Connect(connect) => connect.write(&mut out),
        their::Packet::ConnAck(connack) => connack.write(&mut out),
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
        their::Packet::Disconnect => their::Disconnect.write(&mut out),
    }
    .unwrap();
    out
}
