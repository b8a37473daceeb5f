//! SUBACK (MQTT 5 §3.9) and UNSUBACK (§3.11): one code for each filter.

use crate::ack::Properties;
use crate::property::{self, Place, Property, UserProperties, id};
use crate::read::Reader;
use crate::write::{Content, Sink};
use crate::{EncodeError, Error, PacketId, PacketType, ProtocolVersion, ReasonCode};

static SUBACK: Place = Place::new("SUBACK", &[id::ReasonString, id::User]);
static UNSUBACK: Place = Place::new("UNSUBACK", &[id::ReasonString, id::User]);

/// A SUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// The packet identifier of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// For people: why.
    pub reason_string: Option<&'a str>,
    /// The user properties.
    pub user: UserProperties<'a>,
    /// One reason code for each filter, in order: the granted quality of service, or a failure. Before MQTT 5 every
    /// failure is written as 0x80, the only one that exists there (3.1 has none at all; brokers use 0x80).
    pub codes: &'a [u8],
}

/// An UNSUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// The packet identifier of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// For people: why.
    pub reason_string: Option<&'a str>,
    /// The user properties.
    pub user: UserProperties<'a>,
    /// One reason code for each filter, in order. Before MQTT 5 there are none, and none are written.
    pub codes: &'a [u8],
}

fn check(packet: PacketType, version: ProtocolVersion, codes: &[u8]) -> Result<(), Error> {
    let allowed = |code: u8| match (packet, version) {
        (PacketType::SubAck, ProtocolVersion::V5) => {
            matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
        }
        (PacketType::SubAck, _) => matches!(code, 0..=2 | 0x80),
        _ => matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
    };
    if codes.is_empty() {
        return Err(Error::EmptyPayload(packet));
    }
    match codes.iter().find(|code| !allowed(**code)) {
        Some(code) => Err(Error::ReasonCodeNotAllowed { packet, code: *code }),
        None => Ok(()),
    }
}

fn read_properties<'a>(block: &'a [u8], place: &Place) -> Result<(Option<&'a str>, UserProperties<'a>), Error> {
    let mut reason_string = None;
    let user = property::read_block(block, place, |property| {
        if let Property::ReasonString(reason) = property {
            reason_string = Some(reason);
        }
    })?;
    Ok((reason_string, user))
}

impl<'a> SubAck<'a> {
    pub(crate) fn read(version: ProtocolVersion, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let (reason_string, user) = match version.is_v5() {
            true => read_properties(reader.block()?, &SUBACK)?,
            false => (None, UserProperties::EMPTY),
        };
        let codes = reader.rest();
        check(PacketType::SubAck, version, codes)?;
        Ok(Self { packet_id, reason_string, user, codes })
    }

    pub(crate) const fn body(&self, version: ProtocolVersion) -> impl Content {
        SubAckBody(self, version)
    }
}

struct SubAckBody<'a>(&'a SubAck<'a>, ProtocolVersion);

impl Content for SubAckBody<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let Self(suback, version) = self;
        // All that MQTT 5 can say can be said in the older ones, if less precisely.
        check(PacketType::SubAck, ProtocolVersion::V5, suback.codes)?;
        sink.u16(suback.packet_id.get());
        if version.is_v5() {
            sink.block(&Properties(suback.reason_string, suback.user))?;
            sink.put(suback.codes);
        } else {
            for code in suback.codes {
                sink.byte(if ReasonCode(*code).is_error() { ReasonCode::UNSPECIFIED_ERROR.0 } else { *code });
            }
        }
        Ok(())
    }
}

impl<'a> UnsubAck<'a> {
    pub(crate) fn read(version: ProtocolVersion, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        if !version.is_v5() {
            reader.end(PacketType::UnsubAck)?;
            return Ok(Self { packet_id, reason_string: None, user: UserProperties::EMPTY, codes: &[] });
        }
        let (reason_string, user) = read_properties(reader.block()?, &UNSUBACK)?;
        let codes = reader.rest();
        check(PacketType::UnsubAck, version, codes)?;
        Ok(Self { packet_id, reason_string, user, codes })
    }

    pub(crate) const fn body(&self, version: ProtocolVersion) -> impl Content {
        UnsubAckBody(self, version)
    }
}

struct UnsubAckBody<'a>(&'a UnsubAck<'a>, ProtocolVersion);

impl Content for UnsubAckBody<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let Self(unsuback, version) = self;
        sink.u16(unsuback.packet_id.get());
        if version.is_v5() {
            check(PacketType::UnsubAck, *version, unsuback.codes)?;
            sink.block(&Properties(unsuback.reason_string, unsuback.user))?;
            sink.put(unsuback.codes);
        }
        Ok(())
    }
}
