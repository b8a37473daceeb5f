//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5 §3.4–3.7): four packets of one form.

use crate::property::{self, Place, Property, UserProperties, id, write_some};
use crate::publish::Sender;
use crate::read::Reader;
use crate::write::{Content, Sink};
use crate::{EncodeError, Error, PacketId, PacketType, ProtocolVersion, ReasonCode};

static PLACE: Place = Place::new("an acknowledgement", &[id::ReasonString, id::User]);

/// A PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The packet that is acknowledged.
    pub packet_id: PacketId,
    /// How it ended; success before MQTT 5, where nothing else can be said.
    pub reason: ReasonCode,
    /// For people: why.
    pub reason_string: Option<&'a str>,
    /// The user properties.
    pub user: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    /// An acknowledgement with a reason code and nothing else.
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, reason_string: None, user: UserProperties::EMPTY }
    }

    pub(crate) fn read(
        packet: PacketType,
        version: ProtocolVersion,
        body: &'a [u8],
        sender: Sender,
    ) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let mut ack = Self::new(reader.packet_id()?, ReasonCode::SUCCESS);
        // Reason code and property length may be left out from the end (§3.4.2.1, §3.4.2.2.1).
        if version.is_v5() && !reader.is_empty() {
            ack.reason = ReasonCode(reader.byte("reason code")?);
            check(packet, ack.reason, sender)?;
            if !reader.is_empty() {
                let block = reader.block()?;
                ack.user = property::read_block(block, &PLACE, |property| {
                    if let Property::ReasonString(reason) = property {
                        ack.reason_string = Some(reason);
                    }
                })?;
            }
        }
        reader.end(packet)?;
        Ok(ack)
    }

    pub(crate) const fn body(&self, packet: PacketType, version: ProtocolVersion) -> impl Content {
        Body { ack: self, packet, version }
    }
}

/// The reason codes of each of the four (§3.4.2.1, §3.5.2.1, §3.6.2.1, §3.7.2.1).
fn check(packet: PacketType, reason: ReasonCode, sender: Sender) -> Result<(), Error> {
    let allowed = match packet {
        PacketType::PubRel | PacketType::PubComp => matches!(reason.0, 0 | 0x92),
        _ => match reason.0 {
            0 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99 => true,
            0x10 => sender == Sender::Either,
            _ => false,
        },
    };
    if allowed { Ok(()) } else { Err(Error::ReasonCodeNotAllowed { packet, code: reason.0 }) }
}

struct Body<'a> {
    ack: &'a Ack<'a>,
    packet: PacketType,
    version: ProtocolVersion,
}

impl Content for Body<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let ack = self.ack;
        sink.u16(ack.packet_id.get());
        if !self.version.is_v5() {
            return Ok(());
        }
        check(self.packet, ack.reason, Sender::Either)?;
        let bare = ack.reason_string.is_none() && ack.user.is_empty();
        if !bare || ack.reason != ReasonCode::SUCCESS {
            sink.byte(ack.reason.0);
        }
        if bare { Ok(()) } else { sink.block(&Properties(ack.reason_string, ack.user)) }
    }
}

/// The two properties that every answer may have.
pub(crate) struct Properties<'a>(pub(crate) Option<&'a str>, pub(crate) UserProperties<'a>);

impl Content for Properties<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        write_some(sink, self.0.map(Property::ReasonString))?;
        self.1.write(sink)
    }
}
