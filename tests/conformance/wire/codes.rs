//! What a server may say: reason codes and properties of each packet type, as the tables of chapter 3 have them.

use super::{kind, property as p};

/// The codes that a server may put into this packet; none: the packet has no code.
///
/// # Panics
/// For a packet that only clients send.
#[must_use]
pub(crate) fn allowed_codes(first: u8) -> &'static [u8] {
    match first & 0xf0 {
        kind::CONNACK => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a,
            0x9b, 0x9c, 0x9d, 0x9f,
        ],
        kind::PUBACK | kind::PUBREC => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        0x60 | kind::PUBCOMP => &[0x00, 0x92],
        kind::SUBACK => &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
        kind::UNSUBACK => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
        kind::DISCONNECT => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
            0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
        ],
        kind::AUTH => &[0x00, 0x18],
        other => panic!("a packet of type {other:#04x} from a server"),
    }
}

/// The properties that a server may put into this packet.
#[must_use]
pub(crate) fn allowed_properties(first: u8) -> &'static [u8] {
    match first & 0xf0 {
        kind::CONNACK => &[
            p::SESSION_EXPIRY,
            p::RECEIVE_MAXIMUM,
            p::MAXIMUM_QOS,
            p::RETAIN_AVAILABLE,
            p::MAXIMUM_PACKET_SIZE,
            p::ASSIGNED_CLIENT_ID,
            p::TOPIC_ALIAS_MAXIMUM,
            p::REASON_STRING,
            p::USER,
            p::WILDCARD_AVAILABLE,
            p::SUBSCRIPTION_IDS_AVAILABLE,
            p::SHARED_AVAILABLE,
            p::SERVER_KEEP_ALIVE,
            p::RESPONSE_INFORMATION,
            p::SERVER_REFERENCE,
            p::AUTHENTICATION_METHOD,
            p::AUTHENTICATION_DATA,
        ],
        kind::PUBLISH => &[
            p::PAYLOAD_FORMAT,
            p::MESSAGE_EXPIRY,
            p::CONTENT_TYPE,
            p::RESPONSE_TOPIC,
            p::CORRELATION_DATA,
            p::SUBSCRIPTION_ID,
            p::TOPIC_ALIAS,
            p::USER,
        ],
        kind::PUBACK | kind::PUBREC | 0x60 | kind::PUBCOMP | kind::SUBACK | kind::UNSUBACK => {
            &[p::REASON_STRING, p::USER]
        }
        // No session expiry: that is for clients (§3.14.2.2.2).
        kind::DISCONNECT => &[p::REASON_STRING, p::USER, p::SERVER_REFERENCE],
        kind::AUTH => &[p::AUTHENTICATION_METHOD, p::AUTHENTICATION_DATA, p::REASON_STRING, p::USER],
        _ => &[],
    }
}
