//! What must not get in: a table of malformed packets, each with the error and the reason code that it has to give.
//!
//! Every entry differs in one thing from a packet that is accepted; where that is not plain, the accepted one is beside
//! it in the table of what is allowed.

use Error::*;
use PacketType::*;
use portcullis_mqtt::*;

const V31: ProtocolVersion = ProtocolVersion::V31;
const V311: ProtocolVersion = ProtocolVersion::V311;
const V5: ProtocolVersion = ProtocolVersion::V5;
const ALL: &[ProtocolVersion] = &[V31, V311, V5];
const OLD: &[ProtocolVersion] = &[V31, V311];
const NEW: &[ProtocolVersion] = &[V5];

/// The versions, the first octet, the body, and the error.
type Row = (&'static [ProtocolVersion], u8, &'static [u8], Error);

fn refused(table: &[Row]) {
    for (versions, first, body, expected) in table {
        for version in *versions {
            let result = decode(*version, *first, body);
            assert_eq!(result, Err(*expected), "{version} {first:#04x} {body:02x?}");
        }
    }
}

fn accepted(table: &[(&[ProtocolVersion], u8, &[u8])]) {
    for (versions, first, body) in table {
        for version in *versions {
            let result = decode(*version, *first, body);
            assert!(result.is_ok(), "{version} {first:#04x} {body:02x?}: {result:?}");
        }
    }
}

fn flags(packet: PacketType, flags: u8) -> Error {
    FixedHeaderFlags { packet, flags }
}

#[test]
fn every_wrong_flag_of_the_first_octet() {
    for version in ALL {
        for first in 0..=255u8 {
            let body: &[u8] = match first >> 4 {
                2 => b"\0\0\0",
                4..=7 | 11 => b"\0\x01",
                8 => b"\0\x01\0\0\x01a\0",
                _ => b"",
            };
            let flags = first & 0x0F;
            let required = if matches!(first >> 4, 6 | 8 | 10) { 2 } else { 0 };
            let dup_in_3_1 = *version == V31 && required == 2 && flags == 0b1010;
            let result = decode(*version, first, body);
            match first >> 4 {
                0 => assert_eq!(result, Err(ReservedPacketType(0))),
                15 if *version < V5 => assert_eq!(result, Err(ReservedPacketType(15))),
                3 => {}
                _ if flags == required || dup_in_3_1 => {
                    assert!(!matches!(result, Err(FixedHeaderFlags { .. })), "{version} {first:#x}");
                }
                _ => assert!(
                    matches!(result, Err(FixedHeaderFlags { flags: found, .. }) if found == flags),
                    "{version} {first:#x}: {result:?}"
                ),
            }
        }
    }
    assert_eq!(flags(Subscribe, 0).reason_code(), ReasonCode::MALFORMED_PACKET);
}

#[test]
fn connect() {
    let malformed = |version, error| ConnectError::Malformed { version, error };
    let what = |what| Truncated { what };
    let table: &[(&[u8], ConnectError)] = &[
        (b"", malformed(None, what("protocol name"))),
        (b"\0\x04MQT", malformed(None, what("protocol name"))),
        (b"\0\x04MQTT", malformed(None, what("protocol level"))),
        (b"\0\x04mqtt\x04\x02\0\0\0\0", ConnectError::UnknownProtocolName),
        (b"\0\x05MQTT!\x04\x02\0\0\0\0", ConnectError::UnknownProtocolName),
        (b"\0\0\x04\x02\0\0\0\0", ConnectError::UnknownProtocolName),
        (b"\0\x04MQTT\x06\x02\0\0\0\0", ConnectError::UnsupportedProtocolVersion(6)),
        (b"\0\x04MQTT\x03\x02\0\0\0\0", ConnectError::UnsupportedProtocolVersion(3)),
        (b"\0\x04MQTT\0", ConnectError::UnsupportedProtocolVersion(0)),
        (b"\0\x06MQIsdp\x04\x02\0\0\0\0", ConnectError::UnsupportedProtocolVersion(4)),
        (b"\0\x06MQIsdp\x83\x02\0\0\0\0", ConnectError::UnsupportedProtocolVersion(0x83)),
        (b"\0\x04MQTT\x04", malformed(Some(V311), what("connect flags"))),
        (b"\0\x04MQTT\x04\x02\0", malformed(Some(V311), what("keep alive"))),
        (b"\0\x04MQTT\x04\x02\0\0", malformed(Some(V311), what("client identifier"))),
        (b"\0\x04MQTT\x04\x02\0\0\0\x02a", malformed(Some(V311), what("client identifier"))),
        (b"\0\x04MQTT\x04\x03\0\0\0\0", malformed(Some(V311), ReservedBits { what: "connect flags", value: 3 })),
        (b"\0\x04MQTT\x05\x03\0\0\0\0\0", malformed(Some(V5), ReservedBits { what: "connect flags", value: 3 })),
        (b"\0\x04MQTT\x04\x0a\0\0\0\0", malformed(Some(V311), WillFlagsWithoutWill)),
        (b"\0\x04MQTT\x04\x12\0\0\0\0", malformed(Some(V311), WillFlagsWithoutWill)),
        (b"\0\x04MQTT\x05\x22\0\0\0\0\0", malformed(Some(V5), WillFlagsWithoutWill)),
        (b"\0\x04MQTT\x04\x1e\0\0\0\0\0\x01w\0\0", malformed(Some(V311), InvalidQos { what: "will QoS" })),
        (b"\0\x04MQTT\x04\x06\0\0\0\0", malformed(Some(V311), what("will topic"))),
        (b"\0\x04MQTT\x04\x06\0\0\0\0\0\x01w", malformed(Some(V311), what("will payload"))),
        (b"\0\x04MQTT\x04\x06\0\0\0\0\0\0\0\0", malformed(Some(V311), EmptyTopicName { what: "will topic" })),
        (b"\0\x04MQTT\x04\x06\0\0\0\0\0\x01+\0\0", malformed(Some(V311), WildcardInTopicName { what: "will topic" })),
        (b"\0\x04MQTT\x04\x42\0\0\0\0\0\x01p", malformed(Some(V311), PasswordWithoutUserName)),
        (b"\0\x06MQIsdp\x03\x42\0\0\0\0\0\x01p", malformed(Some(V31), PasswordWithoutUserName)),
        (b"\0\x04MQTT\x04\x82\0\0\0\0", malformed(Some(V311), what("user name"))),
        (b"\0\x04MQTT\x04\xc2\0\0\0\0\0\x01u", malformed(Some(V311), what("password"))),
        (b"\0\x06MQIsdp\x03\xc2\0\0\0\0\0\x01u\0", malformed(Some(V31), what("password"))),
        (b"\0\x04MQTT\x04\x82\0\0\0\0\0\x01\xff", malformed(Some(V311), InvalidUtf8 { what: "user name" })),
        (b"\0\x04MQTT\x04\x02\0\0\0\x01\xc3", malformed(Some(V311), InvalidUtf8 { what: "client identifier" })),
        (b"\0\x04MQTT\x04\x02\0\0\0\x01\0", malformed(Some(V311), NullCharacter { what: "client identifier" })),
        (b"\0\x04MQTT\x04\x02\0\0\0\0x", malformed(Some(V311), TrailingBytes { packet: Connect, extra: 1 })),
        (b"\0\x04MQTT\x05\x02\0\0", malformed(Some(V5), what("property length"))),
        (b"\0\x04MQTT\x05\x02\0\0\x01", malformed(Some(V5), what("properties"))),
        (b"\0\x04MQTT\x05\x02\0\0\x80\0\0\0", malformed(Some(V5), VarintNotMinimal { what: "property length" })),
        (
            b"\0\x04MQTT\x05\x02\0\0\xff\xff\xff\xff\x01\0\0",
            malformed(Some(V5), VarintTooLong { what: "property length" }),
        ),
        (
            b"\0\x04MQTT\x05\x06\0\0\0\0\0\x02\x23\x01\0\x01w\0\0",
            malformed(Some(V5), PropertyNotAllowed { property: "topic alias", place: "the will" }),
        ),
    ];
    for (body, expected) in table {
        assert_eq!(decode_connect(body), Err(*expected), "{body:02x?}");
        assert_eq!(decode(V5, 0x10, body), Err(Error::from(*expected)), "{body:02x?}");
        assert!(expected.reason_code().is_error());
    }
    // MQTT 5 lets a password stand alone.
    let alone = decode_connect(b"\0\x04MQTT\x05\x42\0\0\0\0\0\0\x01p");
    assert_eq!(alone.map(|connect| (connect.username, connect.password)), Ok((None, Some(&b"p"[..]))));
}

#[test]
fn how_a_bad_connect_is_answered() {
    let answer = |error: ConnectError| (error.version(), error.reason_code());
    let unsupported = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
    assert_eq!(answer(ConnectError::UnsupportedProtocolVersion(6)), (Some(V5), unsupported));
    assert_eq!(answer(ConnectError::UnsupportedProtocolVersion(2)), (Some(V311), unsupported));
    assert_eq!(unsupported.connect_return_code(), 1);
    assert_eq!(ConnectError::UnknownProtocolName.version(), None);
    let malformed = ConnectError::Malformed { version: Some(V5), error: WillFlagsWithoutWill };
    assert_eq!(answer(malformed), (Some(V5), ReasonCode::MALFORMED_PACKET));
}

/// A CONNECT of MQTT 5 with this property block (at most 127 octets).
fn connect_with(properties: &[u8]) -> Result<(), Error> {
    let mut body = b"\0\x04MQTT\x05\x02\0\0".to_vec();
    body.push(properties.len() as u8);
    body.extend_from_slice(properties);
    body.extend_from_slice(b"\0\0");
    decode(V5, 0x10, &body).map(|_| ())
}

#[test]
fn connect_properties() {
    let value = |property, value| PropertyValue { property, value };
    for (properties, expected) in [
        (&b"\x21\0\0"[..], value("receive maximum", 0)),
        (b"\x27\0\0\0\0", value("maximum packet size", 0)),
        (b"\x17\x02", value("request problem information", 2)),
        (b"\x19\x02", value("request response information", 2)),
        (b"\x16\0\x01a", AuthenticationDataWithoutMethod),
        (b"\x7f", UnknownProperty(0x7f)),
        (b"\0", UnknownProperty(0)),
        (b"\xff\x01", UnknownProperty(0xff)),
        (b"\x91\0\0\0\0\0", VarintNotMinimal { what: "property identifier" }),
        (b"\x11\0\0\0", Truncated { what: "session expiry interval" }),
        (b"\x26\0\x01k", Truncated { what: "user property" }),
        (b"\x26\0\x01\xff\0\0", InvalidUtf8 { what: "user property" }),
        (b"\x15\0\x01\0", NullCharacter { what: "authentication method" }),
    ] {
        assert_eq!(connect_with(properties), Err(expected), "{properties:02x?}");
    }
}

#[test]
fn each_property_stands_once_and_only_where_it_may() {
    // Every property with some valid value.
    let properties: [(&str, &[u8]); 27] = [
        ("payload format indicator", b"\x01\x01"),
        ("message expiry interval", b"\x02\0\0\0\x01"),
        ("content type", b"\x03\0\x01a"),
        ("response topic", b"\x08\0\x01a"),
        ("correlation data", b"\x09\0\x01a"),
        ("subscription identifier", b"\x0b\x01"),
        ("session expiry interval", b"\x11\0\0\0\x01"),
        ("assigned client identifier", b"\x12\0\x01a"),
        ("server keep alive", b"\x13\0\x01"),
        ("authentication method", b"\x15\0\x01a"),
        ("authentication data", b"\x16\0\x01a"),
        ("request problem information", b"\x17\x01"),
        ("will delay interval", b"\x18\0\0\0\x01"),
        ("request response information", b"\x19\x01"),
        ("response information", b"\x1a\0\x01a"),
        ("server reference", b"\x1c\0\x01a"),
        ("reason string", b"\x1f\0\x01a"),
        ("receive maximum", b"\x21\0\x01"),
        ("topic alias maximum", b"\x22\0\x01"),
        ("topic alias", b"\x23\0\x01"),
        ("maximum QoS", b"\x24\x01"),
        ("retain available", b"\x25\x01"),
        ("user property", b"\x26\0\x01k\0\x01v"),
        ("maximum packet size", b"\x27\0\0\0\x01"),
        ("wildcard subscription available", b"\x28\x01"),
        ("subscription identifier available", b"\x29\x01"),
        ("shared subscription available", b"\x2a\x01"),
    ];
    // The table of MQTT 5 §2.2.2.2, read the other way round: first octet, what stands before and after the block, and
    // what the block may have.
    type PacketRow = (u8, &'static str, &'static [u8], &'static [u8], &'static [u8]);
    let packets: &[PacketRow] = &[
        (0x10, "CONNECT", b"\0\x04MQTT\x05\x02\0\0", b"\0\0", &[0x11, 0x21, 0x27, 0x22, 0x19, 0x17, 0x26, 0x15, 0x16]),
        (
            0x10,
            "the will",
            b"\0\x04MQTT\x05\x06\0\0\0\0\0",
            b"\0\x01w\0\0",
            &[0x18, 0x01, 0x02, 0x03, 0x08, 0x09, 0x26],
        ),
        (
            0x20,
            "CONNACK",
            b"\0\0",
            b"",
            &[0x11, 0x21, 0x24, 0x25, 0x27, 0x12, 0x22, 0x1F, 0x26, 0x28, 0x29, 0x2A, 0x13, 0x1A, 0x1C, 0x15, 0x16],
        ),
        (0x30, "PUBLISH", b"\0\x01t", b"", &[0x01, 0x02, 0x23, 0x08, 0x09, 0x26, 0x0B, 0x03]),
        (0x40, "an acknowledgement", b"\0\x01\0", b"", &[0x1F, 0x26]),
        (0x50, "an acknowledgement", b"\0\x01\0", b"", &[0x1F, 0x26]),
        (0x62, "an acknowledgement", b"\0\x01\0", b"", &[0x1F, 0x26]),
        (0x70, "an acknowledgement", b"\0\x01\0", b"", &[0x1F, 0x26]),
        (0x82, "SUBSCRIBE", b"\0\x01", b"\0\x01a\0", &[0x0B, 0x26]),
        (0x90, "SUBACK", b"\0\x01", b"\0", &[0x1F, 0x26]),
        (0xA2, "UNSUBSCRIBE", b"\0\x01", b"\0\x01a", &[0x26]),
        (0xB0, "UNSUBACK", b"\0\x01", b"\0", &[0x1F, 0x26]),
        (0xE0, "DISCONNECT", b"\0", b"", &[0x11, 0x1F, 0x26, 0x1C]),
        (0xF0, "AUTH", b"\x18", b"", &[0x15, 0x16, 0x1F, 0x26]),
    ];
    for (first, place, before, after, allowed) in packets {
        let read = |block: &[u8]| {
            let body = [*before, &[block.len() as u8], block, *after].concat();
            decode(V5, *first, &body).map(|_| ())
        };
        for (property, bytes) in properties {
            let id = bytes[0];
            // Some properties need the authentication method beside them, and AUTH always has it.
            let method: &[u8] = if id != 0x15 && (*place == "AUTH" || id == 0x16 && allowed.contains(&id)) {
                b"\x15\0\x01m"
            } else {
                b""
            };
            let once = read(&[method, bytes].concat());
            let twice = read(&[method, bytes, bytes].concat());
            if !allowed.contains(&id) {
                assert_eq!(once, Err(PropertyNotAllowed { property, place }), "{place}");
                continue;
            }
            assert_eq!(once, Ok(()), "{property} in {place}");
            if id == 0x26 || (id == 0x0B && *place == "PUBLISH") {
                assert_eq!(twice, Ok(()), "{property} in {place}");
            } else {
                assert_eq!(twice, Err(DuplicateProperty { property }), "{place}");
            }
        }
    }
}

#[test]
fn publish() {
    let name = "topic name";
    refused(&[
        (ALL, 0x36, b"\0\x01t\0\x01", InvalidQos { what: "QoS" }),
        (ALL, 0x38, b"\0\x01t", DupWithoutQos),
        (ALL, 0x30, b"", Truncated { what: name }),
        (ALL, 0x30, b"\0", Truncated { what: name }),
        (ALL, 0x30, b"\0\x02t", Truncated { what: name }),
        (OLD, 0x30, b"\0\0", EmptyTopicName { what: name }),
        (NEW, 0x30, b"\0\0\0", EmptyTopicName { what: name }),
        (NEW, 0x30, b"\0\0\x02\x01\x01", EmptyTopicName { what: name }),
        (ALL, 0x30, b"\0\x01+\0", WildcardInTopicName { what: name }),
        (ALL, 0x30, b"\0\x03a/#\0", WildcardInTopicName { what: name }),
        (ALL, 0x30, b"\0\x02a\0\0", NullCharacter { what: name }),
        (ALL, 0x30, b"\0\x02\xc0\x80\0", InvalidUtf8 { what: name }),
        (ALL, 0x30, b"\0\x03\xed\xa0\x80\0", InvalidUtf8 { what: name }),
        (ALL, 0x32, b"\0\x01t", Truncated { what: "packet identifier" }),
        (ALL, 0x32, b"\0\x01t\0\0\0", ZeroPacketId),
        (ALL, 0x34, b"\0\x01t\0\0\0", ZeroPacketId),
        (NEW, 0x30, b"\0\x01t", Truncated { what: "property length" }),
        (NEW, 0x30, b"\0\x01t\x03\x01\x01", Truncated { what: "properties" }),
        (NEW, 0x30, b"\0\x01t\x02\x01\x02", PropertyValue { property: "payload format indicator", value: 2 }),
        (NEW, 0x30, b"\0\x01t\x03\x23\0\0", ZeroTopicAlias),
        (NEW, 0x30, b"\0\x01t\x02\x0b\0", PropertyValue { property: "subscription identifier", value: 0 }),
        (NEW, 0x30, b"\0\x01t\x06\x0b\x80\x80\x80\x80\x01", VarintTooLong { what: "subscription identifier" }),
        (NEW, 0x30, b"\0\x01t\x03\x08\0\0", EmptyTopicName { what: "response topic" }),
        (NEW, 0x30, b"\0\x01t\x04\x08\0\x01#", WildcardInTopicName { what: "response topic" }),
        (NEW, 0x30, b"\0\x01t\x04\x09\0\x02x", Truncated { what: "correlation data" }),
    ]);
    accepted(&[
        (OLD, 0x30, b"\0\x01t"),
        (NEW, 0x30, b"\0\0\x03\x23\0\x01"),
        (ALL, 0x3D, b"\0\x01t\0\x01\0"),
        (NEW, 0x30, b"\0\x01t\x05\x0b\xff\xff\xff\x7f"),
    ]);
}

#[test]
fn acknowledgements() {
    for (packet, first) in [(PubAck, 0x40), (PubRec, 0x50), (PubRel, 0x62), (PubComp, 0x70)] {
        refused(&[
            (ALL, first, b"", Truncated { what: "packet identifier" }),
            (ALL, first, b"\0", Truncated { what: "packet identifier" }),
            (ALL, first, b"\0\0", ZeroPacketId),
            (OLD, first, b"\0\x01\0", TrailingBytes { packet, extra: 1 }),
            (NEW, first, b"\0\x01\x7f", ReasonCodeNotAllowed { packet, code: 0x7f }),
            (NEW, first, b"\0\x01\0\x01", Truncated { what: "properties" }),
            (NEW, first, b"\0\x01\0\0\0", TrailingBytes { packet, extra: 1 }),
        ]);
        accepted(&[(ALL, first, b"\0\x01"), (NEW, first, b"\0\x01\0"), (NEW, first, b"\0\x01\0\0")]);
    }
    refused(&[
        (NEW, 0x62, b"\0\x01\x87", ReasonCodeNotAllowed { packet: PubRel, code: 0x87 }),
        (NEW, 0x40, b"\0\x01\x92", ReasonCodeNotAllowed { packet: PubAck, code: 0x92 }),
    ]);
}

#[test]
fn subscribe_and_unsubscribe() {
    let options = |value| ReservedBits { what: "subscription options", value };
    refused(&[
        (ALL, 0x82, b"\0", Truncated { what: "packet identifier" }),
        (OLD, 0x82, b"\0\0\0\x01a\0", ZeroPacketId),
        (NEW, 0x82, b"\0\0\0\0\x01a\0", ZeroPacketId),
        (OLD, 0x82, b"\0\x01", EmptyPayload(Subscribe)),
        (NEW, 0x82, b"\0\x01\0", EmptyPayload(Subscribe)),
        (NEW, 0x82, b"\0\x01", Truncated { what: "property length" }),
        (OLD, 0x82, b"\0\x01\0\0\0", EmptyTopicFilter),
        (NEW, 0x82, b"\0\x01\0\0\0\0", EmptyTopicFilter),
        (OLD, 0x82, b"\0\x01\0\x01a", Truncated { what: "subscription options" }),
        (OLD, 0x82, b"\0\x01\0\x01a\0\0", Truncated { what: "topic filter" }),
        (OLD, 0x82, b"\0\x01\0\x01a\x03", InvalidQos { what: "requested QoS" }),
        (NEW, 0x82, b"\0\x01\0\0\x01a\x03", InvalidQos { what: "requested QoS" }),
        (OLD, 0x82, b"\0\x01\0\x01a\x04", options(4)),
        (OLD, 0x82, b"\0\x01\0\x01a\x80", options(0x80)),
        (NEW, 0x82, b"\0\x01\0\0\x01a\x40", options(0x40)),
        (NEW, 0x82, b"\0\x01\0\0\x01a\x80", options(0x80)),
        (NEW, 0x82, b"\0\x01\0\0\x01a\x30", InvalidRetainHandling),
        (NEW, 0x82, b"\0\x01\0\0\x0a$share/g/a\x04", NoLocalOnSharedSubscription),
        (OLD, 0x82, b"\0\x01\0\x01\xff\0", InvalidUtf8 { what: "topic filter" }),
        (OLD, 0x82, b"\0\x01\0\x01\0\0", NullCharacter { what: "topic filter" }),
        (OLD, 0xA2, b"\0\x01", EmptyPayload(Unsubscribe)),
        (NEW, 0xA2, b"\0\x01\0", EmptyPayload(Unsubscribe)),
        (OLD, 0xA2, b"\0\x01\0\0", EmptyTopicFilter),
        (OLD, 0xA2, b"\0\0\0\x01a", ZeroPacketId),
        (OLD, 0xA2, b"\0\x01\0\x02a", Truncated { what: "topic filter" }),
        (OLD, 0xA2, b"\0\x01\0\x01\xff", InvalidUtf8 { what: "topic filter" }),
    ]);
    accepted(&[(NEW, 0x82, b"\0\x01\0\0\x01a\x2e"), (NEW, 0x82, b"\0\x01\0\0\x0a$share/g/a\x02")]);
}

#[test]
fn a_filter_that_is_none_is_answered_and_not_malformed() {
    for (body, valid) in [
        (&b"\0\x01\0\x02a+\0"[..], Err(TopicError::MisplacedPlus(1))),
        (b"\0\x01\0\x03#/a\0", Err(TopicError::MisplacedHash(0))),
        (b"\0\x01\0\x08$share/g\0", Err(TopicError::ShareWithoutFilter)),
        (b"\0\x01\0\x03a/#\0", Ok(())),
    ] {
        let Ok(Packet::Subscribe(subscribe)) = decode(V311, 0x82, body) else { panic!("{body:02x?}") };
        let answers: Vec<_> = subscribe.filters.iter().map(|filter| filter.valid_filter()).collect();
        assert_eq!(answers, [valid]);
    }
}

#[test]
fn answers_of_a_server() {
    refused(&[
        (ALL, 0x20, b"", Truncated { what: "connect acknowledge flags" }),
        (ALL, 0x20, b"\0", Truncated { what: "reason code" }),
        (&[V311], 0x20, b"\x02\0", ReservedBits { what: "connect acknowledge flags", value: 2 }),
        (OLD, 0x20, b"\0\x06", ReasonCodeNotAllowed { packet: ConnAck, code: 6 }),
        (NEW, 0x20, b"\0\x05\0", ReasonCodeNotAllowed { packet: ConnAck, code: 5 }),
        (&[V311], 0x20, b"\x01\x05", SessionPresentOnRefusal),
        (NEW, 0x20, b"\x01\x87\0", SessionPresentOnRefusal),
        (OLD, 0x20, b"\0\0\0", TrailingBytes { packet: ConnAck, extra: 1 }),
        (NEW, 0x20, b"\0\0\x02\x24\x02", PropertyValue { property: "maximum QoS", value: 2 }),
        (NEW, 0x20, b"\0\0\x03\x21\0\0", PropertyValue { property: "receive maximum", value: 0 }),
        (NEW, 0x20, b"\0\0\x02\x25\x02", PropertyValue { property: "retain available", value: 2 }),
        (NEW, 0x20, b"\0\0\x03\x16\0\0", AuthenticationDataWithoutMethod),
        (OLD, 0x90, b"\0\x01", EmptyPayload(SubAck)),
        (OLD, 0x90, b"\0\x01\x03", ReasonCodeNotAllowed { packet: SubAck, code: 3 }),
        (OLD, 0x90, b"\0\x01\x87", ReasonCodeNotAllowed { packet: SubAck, code: 0x87 }),
        (NEW, 0x90, b"\0\x01\0\0\x03", ReasonCodeNotAllowed { packet: SubAck, code: 3 }),
        (OLD, 0xB0, b"\0\x01\0", TrailingBytes { packet: UnsubAck, extra: 1 }),
        (NEW, 0xB0, b"\0\x01\0", EmptyPayload(UnsubAck)),
        (NEW, 0xB0, b"\0\x01\0\x01", ReasonCodeNotAllowed { packet: UnsubAck, code: 1 }),
    ]);
    accepted(&[(&[V31], 0x20, b"\xff\0"), (OLD, 0x90, b"\0\x01\x80"), (NEW, 0xB0, b"\0\x01\0\x11")]);
}

#[test]
fn ping_disconnect_and_auth() {
    refused(&[
        (ALL, 0xC0, b"\0", TrailingBytes { packet: PingReq, extra: 1 }),
        (ALL, 0xD0, b"\0", TrailingBytes { packet: PingResp, extra: 1 }),
        (OLD, 0xE0, b"\0", TrailingBytes { packet: Disconnect, extra: 1 }),
        (NEW, 0xE0, b"\x01", ReasonCodeNotAllowed { packet: Disconnect, code: 1 }),
        (NEW, 0xE0, b"\0\x01", Truncated { what: "properties" }),
        (NEW, 0xE0, b"\0\0\0", TrailingBytes { packet: Disconnect, extra: 1 }),
        (OLD, 0xF0, b"", ReservedPacketType(15)),
        (NEW, 0xF0, b"\x18", Truncated { what: "property length" }),
        (NEW, 0xF0, b"\x18\0", MissingAuthenticationMethod),
        (NEW, 0xF0, b"\x01\x04\x15\0\x01m", ReasonCodeNotAllowed { packet: Auth, code: 1 }),
        (NEW, 0xF0, b"\x18\x04\x15\0\x01m\0", TrailingBytes { packet: Auth, extra: 1 }),
    ]);
    accepted(&[(ALL, 0xE0, b""), (NEW, 0xE0, b"\x04"), (NEW, 0xE0, b"\0\0"), (NEW, 0xF0, b"")]);
}

#[test]
fn what_only_a_server_may_send() {
    let property = |packet, property| ServerOnlyProperty { packet, property };
    let code = |packet, code| ReasonCodeNotAllowed { packet, code };
    for (versions, first, body, expected) in [
        (OLD, 0x20, &b"\0\0"[..], ServerOnlyPacket(ConnAck)),
        (NEW, 0x20, b"\0\0\0", ServerOnlyPacket(ConnAck)),
        (OLD, 0x90, b"\0\x01\0", ServerOnlyPacket(SubAck)),
        (NEW, 0x90, b"\0\x01\0\0", ServerOnlyPacket(SubAck)),
        (OLD, 0xB0, b"\0\x01", ServerOnlyPacket(UnsubAck)),
        (NEW, 0xB0, b"\0\x01\0\0", ServerOnlyPacket(UnsubAck)),
        (ALL, 0xD0, b"", ServerOnlyPacket(PingResp)),
        (NEW, 0x30, b"\0\x01t\x02\x0b\x01", property(Publish, "subscription identifier")),
        (NEW, 0xE0, b"\0\x04\x1c\0\x01s", property(Disconnect, "server reference")),
        (NEW, 0xE0, b"\x8e", code(Disconnect, 0x8E)),
        (NEW, 0x40, b"\0\x01\x10", code(PubAck, 0x10)),
        (NEW, 0x50, b"\0\x01\x10", code(PubRec, 0x10)),
        (NEW, 0xF0, b"", code(Auth, 0)),
        (NEW, 0xF0, b"\0\x04\x15\0\x01m", code(Auth, 0)),
    ] {
        for version in versions {
            assert!(decode(*version, first, body).is_ok(), "{version} {first:#x} {body:02x?}");
            let refused = decode_from_client(*version, first, body);
            assert_eq!(refused, Err(expected), "{version} {first:#x} {body:02x?}");
            assert_eq!(expected.reason_code(), ReasonCode::PROTOCOL_ERROR);
        }
    }
}

#[test]
fn the_reason_codes_of_errors() {
    for (error, code) in [
        (PacketTooLarge { size: 2, max: 1 }, 0x95),
        (RemainingLengthTooLong, 0x81),
        (WildcardInTopicName { what: "topic name" }, 0x90),
        (ZeroTopicAlias, 0x94),
        (DuplicateProperty { property: "receive maximum" }, 0x82),
        (PropertyValue { property: "receive maximum", value: 0 }, 0x82),
        (PropertyNotAllowed { property: "receive maximum", place: "PUBLISH" }, 0x81),
        (EmptyPayload(Subscribe), 0x82),
        (InvalidQos { what: "QoS" }, 0x81),
        (ZeroPacketId, 0x81),
        (UnsupportedProtocolVersion(9), 0x84),
    ] {
        assert_eq!(error.reason_code(), ReasonCode(code), "{error}");
    }
}
