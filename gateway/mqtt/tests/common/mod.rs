//! Arbitrary valid packets of each version, for the property tests.
//!
//! Packets borrow, and strategies have to own: so the strings that they are made of are leaked. A test process is short.

use std::num::{NonZeroU16, NonZeroU32};

use portcullis_mqtt::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];

pub(crate) fn leak<T: ?Sized>(owned: impl Into<Box<T>>) -> &'static T {
    Box::leak(owned.into())
}

pub(crate) fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop::sample::select(&VERSIONS[..])
}

/// Anything that a UTF-8 string of MQTT may hold.
pub(crate) fn text() -> impl Strategy<Value = &'static str> {
    let character = prop_oneof![4 => prop::char::range('\u{1}', '\u{7f}'), 1 => prop::char::range('\u{80}', char::MAX)];
    vec(character, 0..12).prop_map(|characters| leak(characters.into_iter().collect::<String>()))
}

pub(crate) fn bytes() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..24).prop_map(leak)
}

/// A topic name.
pub(crate) fn topic() -> impl Strategy<Value = &'static str> {
    let character = prop_oneof![
        6 => prop::sample::select(&['a', 'b', '/', '$', ' '][..]),
        1 => any::<char>().prop_filter("no wildcard", |c| !matches!(c, '\0' | '+' | '#')),
    ];
    vec(character, 1..20).prop_map(|characters| leak(characters.into_iter().collect::<String>()))
}

/// A string of some length that may be a topic filter and may be none.
fn filter() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        topic(),
        prop::sample::select(&["a/+", "#", "+/b/#", "$share/g/a/#", "$SYS/#", "a#", "+a", "$share/g"][..]),
    ]
}

fn user(version: ProtocolVersion) -> BoxedStrategy<UserProperties<'static>> {
    if !version.is_v5() {
        return Just(UserProperties::EMPTY).boxed();
    }
    vec((text(), text()), 0..4).prop_map(|pairs| UserProperties::from_pairs(leak(pairs))).boxed()
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<NonZeroU16>().prop_map(PacketId)
}

pub(crate) fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..])
}

fn code(codes: &'static [u8]) -> impl Strategy<Value = u8> {
    prop::sample::select(codes)
}

/// What only MQTT 5 has: there, or absent in the older versions.
fn v5_option<T: std::fmt::Debug + Clone + 'static>(
    version: ProtocolVersion,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    if version.is_v5() { option::of(strategy).boxed() } else { Just(None).boxed() }
}

/// Payload format, expiry, content type, response topic, correlation data, user properties.
type MessageProperties = (
    Option<bool>,
    Option<u32>,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static [u8]>,
    UserProperties<'static>,
);

fn message_properties(version: ProtocolVersion) -> impl Strategy<Value = MessageProperties> {
    (
        v5_option(version, any::<bool>()),
        v5_option(version, any::<u32>()),
        v5_option(version, text()),
        v5_option(version, topic()),
        v5_option(version, bytes()),
        user(version),
    )
}

fn will(version: ProtocolVersion) -> impl Strategy<Value = Will<'static>> {
    (topic(), bytes(), qos(), any::<bool>(), v5_option(version, any::<u32>()), message_properties(version)).prop_map(
        |(topic, payload, qos, retain, delay, (format, expiry, content_type, response, correlation, user))| Will {
            topic,
            payload,
            qos,
            retain,
            properties: WillProperties {
                delay: delay.unwrap_or(0),
                payload_format: format,
                message_expiry: expiry,
                content_type,
                response_topic: response,
                correlation_data: correlation,
                user,
            },
        },
    )
}

fn connect_properties(version: ProtocolVersion) -> BoxedStrategy<ConnectProperties<'static>> {
    if !version.is_v5() {
        return Just(ConnectProperties::default()).boxed();
    }
    (
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        option::of(any::<NonZeroU32>()),
        any::<u16>(),
        any::<bool>(),
        any::<bool>(),
        user(version),
        option::of((text(), option::of(bytes()))),
    )
        .prop_map(|(expiry, receive, size, aliases, response, problem, user, authentication)| ConnectProperties {
            session_expiry: expiry,
            receive_maximum: receive,
            maximum_packet_size: size,
            topic_alias_maximum: aliases,
            request_response_information: response,
            request_problem_information: problem,
            user,
            authentication_method: authentication.map(|(method, _)| method),
            authentication_data: authentication.and_then(|(_, data)| data),
        })
        .boxed()
}

pub(crate) fn connect(version: ProtocolVersion) -> impl Strategy<Value = Connect<'static>> {
    (
        any::<bool>(),
        any::<u16>(),
        text(),
        option::of(text()),
        option::of(bytes()),
        option::of(will(version)),
        connect_properties(version),
    )
        .prop_map(move |(clean_start, keep_alive, client_id, username, password, will, properties)| Connect {
            version,
            clean_start,
            keep_alive,
            client_id,
            username,
            password: password.filter(|_| version.is_v5() || username.is_some()),
            will,
            properties,
        })
}

fn connack_properties(version: ProtocolVersion) -> BoxedStrategy<ConnAckProperties<'static>> {
    if !version.is_v5() {
        return Just(ConnAckProperties::default()).boxed();
    }
    let limits = (option::of(any::<u32>()), option::of(any::<NonZeroU16>()), qos(), option::of(any::<NonZeroU32>()));
    let texts = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let numbers = (any::<u16>(), option::of(any::<u16>()));
    (limits, texts, numbers, any::<[bool; 4]>(), user(version), option::of((text(), option::of(bytes()))))
        .prop_map(
            |(
                (session_expiry, receive_maximum, maximum_qos, maximum_packet_size),
                (assigned_client_id, reason_string, response_information, server_reference),
                (topic_alias_maximum, server_keep_alive),
                [retain_available, wildcard_available, subscription_ids_available, shared_available],
                user,
                authentication,
            )| ConnAckProperties {
                session_expiry,
                receive_maximum,
                maximum_qos,
                retain_available,
                maximum_packet_size,
                assigned_client_id,
                topic_alias_maximum,
                reason_string,
                user,
                wildcard_available,
                subscription_ids_available,
                shared_available,
                server_keep_alive,
                response_information,
                server_reference,
                authentication_method: authentication.map(|(method, _)| method),
                authentication_data: authentication.and_then(|(_, data)| data),
            },
        )
        .boxed()
}

fn connack(version: ProtocolVersion) -> impl Strategy<Value = Packet<'static>> {
    const V5: &[u8] = &[0, 0, 0, 0x80, 0x84, 0x86, 0x87, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9D, 0x9F];
    let codes: &[u8] = if version.is_v5() { V5 } else { &[0, 0, 1, 2, 3, 4, 5] };
    (any::<bool>(), code(codes), connack_properties(version)).prop_map(move |(present, code, properties)| {
        let session_present = present && code == 0 && version > ProtocolVersion::V31;
        Packet::ConnAck(ConnAck { session_present, code, properties })
    })
}

/// A PUBLISH that a client may send, or with `ids` one that only a server may.
pub(crate) fn publish(version: ProtocolVersion, ids: bool) -> impl Strategy<Value = Publish<'static>> {
    let ids = v5_option(version, vec(1..=MAX_REMAINING_LENGTH, 0..if ids { 3 } else { 1 }));
    let alias = v5_option(version, any::<NonZeroU16>());
    let flags = (qos(), any::<bool>(), any::<bool>(), packet_id());
    (flags, topic(), any::<bool>(), alias, ids, message_properties(version), bytes()).prop_map(
        |((qos, dup, retain, packet_id), topic, unnamed, topic_alias, ids, message, payload)| {
            let (payload_format, message_expiry, content_type, response_topic, correlation_data, user) = message;
            Publish {
                dup: dup && qos > QoS::AtMostOnce,
                qos,
                retain,
                topic: if unnamed && topic_alias.is_some() { "" } else { topic },
                packet_id: Some(packet_id).filter(|_| qos > QoS::AtMostOnce),
                properties: PublishProperties {
                    payload_format,
                    message_expiry,
                    topic_alias,
                    response_topic,
                    correlation_data,
                    user,
                    subscription_ids: SubscriptionIds::from_slice(leak(ids.unwrap_or_default())),
                    content_type,
                },
                payload,
            }
        },
    )
}

fn ack(version: ProtocolVersion, codes: &'static [u8]) -> impl Strategy<Value = Ack<'static>> {
    let codes = if version.is_v5() { codes } else { &[0] };
    (packet_id(), code(codes), v5_option(version, text()), user(version)).prop_map(
        |(packet_id, reason, reason_string, user)| Ack { packet_id, reason: ReasonCode(reason), reason_string, user },
    )
}

fn options(version: ProtocolVersion) -> BoxedStrategy<SubscribeOptions> {
    if !version.is_v5() {
        return qos().prop_map(SubscribeOptions::new).boxed();
    }
    let handling = &[RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][..];
    (qos(), any::<bool>(), any::<bool>(), prop::sample::select(handling))
        .prop_map(|(qos, no_local, retain_as_published, retain_handling)| SubscribeOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        })
        .boxed()
}

fn subscribe(version: ProtocolVersion) -> impl Strategy<Value = Packet<'static>> {
    let filter = (filter(), options(version)).prop_map(|(filter, mut options)| {
        options.no_local &= !filter.starts_with("$share/");
        SubscribeFilter { filter, options }
    });
    (packet_id(), v5_option(version, 1..=MAX_REMAINING_LENGTH), user(version), vec(filter, 1..4)).prop_map(
        |(packet_id, subscription_id, user, filters)| {
            let filters = SubscribeFilters::from_slice(leak(filters));
            Packet::Subscribe(Subscribe { packet_id, subscription_id, user, filters })
        },
    )
}

fn suback(version: ProtocolVersion) -> impl Strategy<Value = Packet<'static>> {
    let codes: &[u8] = if version.is_v5() {
        &[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]
    } else {
        &[0, 1, 2, 0x80]
    };
    (packet_id(), v5_option(version, text()), user(version), vec(code(codes), 1..5)).prop_map(
        |(packet_id, reason_string, user, codes)| {
            Packet::SubAck(SubAck { packet_id, reason_string, user, codes: leak(codes) })
        },
    )
}

fn unsubscribe(version: ProtocolVersion) -> impl Strategy<Value = Packet<'static>> {
    (packet_id(), user(version), vec(filter(), 1..4)).prop_map(|(packet_id, user, filters)| {
        Packet::Unsubscribe(Unsubscribe { packet_id, user, filters: UnsubscribeFilters::from_slice(leak(filters)) })
    })
}

fn unsuback(version: ProtocolVersion) -> impl Strategy<Value = Packet<'static>> {
    let codes = vec(code(&[0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]), 1..5);
    (packet_id(), v5_option(version, text()), user(version), codes).prop_map(
        move |(packet_id, reason_string, user, codes)| {
            let codes: &[u8] = if version.is_v5() { leak(codes) } else { &[] };
            Packet::UnsubAck(UnsubAck { packet_id, reason_string, user, codes })
        },
    )
}

fn disconnect(version: ProtocolVersion) -> impl Strategy<Value = Packet<'static>> {
    let codes: &[u8] = if version.is_v5() { &[0, 4, 0x81, 0x87, 0x8E, 0x98, 0x99, 0xA0, 0xA2] } else { &[0] };
    let expiry = v5_option(version, any::<u32>());
    (code(codes), expiry, v5_option(version, text()), user(version), v5_option(version, text())).prop_map(
        |(reason, session_expiry, reason_string, user, server_reference)| {
            let reason = ReasonCode(reason);
            Packet::Disconnect(Disconnect { reason, session_expiry, reason_string, user, server_reference })
        },
    )
}

fn auth() -> impl Strategy<Value = Packet<'static>> {
    let step = (code(&[0, 0x18, 0x19]), text(), option::of(bytes()), option::of(text()), user(ProtocolVersion::V5))
        .prop_map(|(reason, method, data, reason_string, user)| {
            Packet::Auth(Auth { reason: ReasonCode(reason), method: Some(method), data, reason_string, user })
        });
    prop_oneof![9 => step, 1 => Just(Packet::Auth(Auth::default()))]
}

/// A packet of every type that the version has.
pub(crate) fn packet(version: ProtocolVersion) -> BoxedStrategy<Packet<'static>> {
    const RECEIVED: &[u8] = &[0, 0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    const RELEASED: &[u8] = &[0, 0, 0x92];
    let acks = prop_oneof![
        ack(version, RECEIVED).prop_map(Packet::PubAck),
        ack(version, RECEIVED).prop_map(Packet::PubRec),
        ack(version, RELEASED).prop_map(Packet::PubRel),
        ack(version, RELEASED).prop_map(Packet::PubComp),
    ];
    let common = prop_oneof![
        3 => connect(version).prop_map(Packet::Connect),
        2 => connack(version),
        3 => publish(version, true).prop_map(Packet::Publish),
        3 => acks,
        1 => subscribe(version),
        1 => suback(version),
        1 => unsubscribe(version),
        1 => unsuback(version),
        1 => prop_oneof![Just(Packet::PingReq), Just(Packet::PingResp)],
        2 => disconnect(version),
    ];
    if version.is_v5() { prop_oneof![9 => common, 1 => auth()].boxed() } else { common.boxed() }
}

/// The packet's bytes; panics when it cannot be written.
pub(crate) fn encode(version: ProtocolVersion, packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, &mut out).unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    out
}

/// Reads the one packet that `bytes` are.
pub(crate) fn decode_whole(version: ProtocolVersion, bytes: &[u8]) -> Result<Packet<'_>, Error> {
    let frame = frame(bytes, 0, u32::MAX)?.unwrap_or_else(|| panic!("not a whole packet: {bytes:02x?}"));
    assert_eq!(frame.end, bytes.len(), "more than one packet: {bytes:02x?}");
    decode(version, frame.first, &bytes[frame.body..])
}
