//! Against mqttbytes 0.6, a codec that nobody here wrote: valid packets go from us to it and back, and every field must
//! be the same on each side.
//!
//! mqttbytes is an opponent for *valid* packets only; it lets much in that is malformed. And of the valid ones these are
//! left out, because it cannot take part:
//!
//! - MQTT 3.1, which it does not speak; AUTH, which it does not know.
//! - A DISCONNECT of MQTT 5 without properties: it refuses `E0 00`, the normal one, for want of a payload, and misses the
//!   property length that may be left out. It writes `E0 00` itself, and we read that.
//! - Passwords that are not UTF-8, and user names or passwords that are empty: it holds both as strings, and takes an
//!   empty one for an absent one. For the same reason a password that stands alone cannot be told from one with an empty
//!   user name; both codecs read it, and the comparison takes it as alone.
//! - A CONNACK of MQTT 5 without properties, on its way back: it writes no property length then, which is malformed. So
//!   it is given empty properties to write.
//! - A failure code in a SUBACK of 3.1.1 is `0x80` on the wire; the generator gives nothing else.
//! - `matches` panics for names that start with a non-ASCII character, and never matches those that start with `$`: the
//!   comparison is of ASCII names that do not.
//!
//! It prints to standard error for every UNSUBSCRIBE of MQTT 5.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
mod common;
mod theirs;

use bytes::BytesMut;
use common::{decode_whole, encode, packet};
use portcullis_mqtt::*;
use proptest::prelude::*;

/// A packet that both codecs have.
fn shared_packet(version: ProtocolVersion) -> impl Strategy<Value = Packet<'static>> {
    packet(version).prop_filter_map("mqttbytes cannot say it", move |packet| match packet {
        Packet::Auth(_) => None,
        Packet::Disconnect(disconnect) if version.is_v5() && disconnect == Disconnect::new(disconnect.reason) => None,
        Packet::Connect(mut connect) => {
            connect.username = connect.username.filter(|username| !username.is_empty());
            connect.password = connect.password.filter(|password| {
                !password.is_empty()
                    && std::str::from_utf8(password).is_ok()
                    && (version.is_v5() || connect.username.is_some())
            });
            Some(Packet::Connect(connect))
        }
        other => Some(other),
    })
}

const MAX: usize = 1 << 20;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn mqtt_3_1_1(packet in shared_packet(ProtocolVersion::V311)) {
        let version = ProtocolVersion::V311;
        let bytes = encode(version, &packet);
        let read = mqttbytes::v4::read(&mut BytesMut::from(&bytes[..]), MAX);
        let read = read.map_err(|error| TestCaseError::fail(format!("{error:?}: {bytes:02x?}")))?;
        prop_assert_eq!(theirs::v4::as_ours(&read), packet);
        let written = theirs::v4::write(&read);
        prop_assert_eq!(&written[..], &bytes[..], "written differently, though nothing here may be");
        prop_assert_eq!(decode_whole(version, &written), Ok(packet));
    }

    #[test]
    fn mqtt_5(packet in shared_packet(ProtocolVersion::V5)) {
        let version = ProtocolVersion::V5;
        let bytes = encode(version, &packet);
        let read = mqttbytes::v5::read(&mut BytesMut::from(&bytes[..]), MAX);
        let read = read.map_err(|error| TestCaseError::fail(format!("{error:?}: {bytes:02x?}")))?;
        prop_assert_eq!(theirs::v5::as_ours(&read), packet);
        // The order of properties is free, so only the meaning has to be the same.
        let written = theirs::v5::write(read);
        prop_assert_eq!(decode_whole(version, &written), Ok(packet), "{:02x?}", &written[..]);
    }

    #[test]
    fn matching(
        topic in prop::collection::vec("[ab]?", 1..5),
        filter in prop::collection::vec("[ab]?|[+]", 1..5),
        open in any::<bool>(),
    ) {
        let (topic, filter) = (topic.join("/"), filter.join("/") + if open { "/#" } else { "" });
        prop_assert_eq!(matches(&filter, &topic), mqttbytes::matches(&topic, &filter), "{:?} {:?}", filter, topic);
    }
}

/// Why the normal DISCONNECT is left out above: if this fails one day, it can be taken in.
#[test]
fn the_normal_disconnect_is_refused_there_and_read_here() {
    let bytes = [0xE0, 0x00];
    assert!(mqttbytes::v5::read(&mut BytesMut::from(&bytes[..]), MAX).is_err());
    let mut written = BytesMut::new();
    mqttbytes::v5::Disconnect::new().write(&mut written).unwrap();
    assert_eq!(&written[..], bytes);
    assert_eq!(decode_whole(ProtocolVersion::V5, &bytes), Ok(Packet::Disconnect(Disconnect::default())));
}
