//! DISCONNECT (MQTT 5 §3.14): the last word. Before MQTT 5 only a client has one, and it says nothing.

use crate::property::{self, Place, Property, UserProperties, id, write_some};
use crate::publish::Sender;
use crate::read::Reader;
use crate::write::{Content, Sink};
use crate::{EncodeError, Error, PacketType, ProtocolVersion, ReasonCode};

static PLACE: Place = Place::new("DISCONNECT", &[id::SessionExpiry, id::ReasonString, id::User, id::ServerReference]);

/// A DISCONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disconnect<'a> {
    /// Why; success is a normal disconnection.
    pub reason: ReasonCode,
    /// Seconds that the session outlives the connection, instead of what CONNECT said. Only a client may send it; that
    /// it may not make a session of one that was to end at once is a question of state, not of form.
    pub session_expiry: Option<u32>,
    /// For people: why.
    pub reason_string: Option<&'a str>,
    /// The user properties.
    pub user: UserProperties<'a>,
    /// The server to go to; only a server may send it.
    pub server_reference: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT with a reason code and nothing else.
    pub const fn new(reason: ReasonCode) -> Self {
        Self { reason, session_expiry: None, reason_string: None, user: UserProperties::EMPTY, server_reference: None }
    }

    pub(crate) fn read(version: ProtocolVersion, body: &'a [u8], sender: Sender) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let mut all = Self::default();
        // Reason code and property length may be left out from the end (§3.14.2.1, §3.14.2.2.1).
        if version.is_v5() && !reader.is_empty() {
            all.reason = ReasonCode(reader.byte("reason code")?);
            check(all.reason, sender)?;
            if !reader.is_empty() {
                let block = reader.block()?;
                all.user = property::read_block(block, &PLACE, |property| match property {
                    Property::SessionExpiry(seconds) => all.session_expiry = Some(seconds),
                    Property::ReasonString(reason) => all.reason_string = Some(reason),
                    Property::ServerReference(server) => all.server_reference = Some(server),
                    _ => {}
                })?;
            }
        }
        reader.end(PacketType::Disconnect)?;
        if sender == Sender::Client && all.server_reference.is_some() {
            let property = "server reference";
            return Err(Error::ServerOnlyProperty { packet: PacketType::Disconnect, property });
        }
        Ok(all)
    }

    pub(crate) const fn body(&self, version: ProtocolVersion) -> impl Content {
        Body(self, version)
    }
}

/// The reason codes (§3.14.2.1; 0x8C only in the table of §2.4), those of servers apart.
fn check(reason: ReasonCode, sender: Sender) -> Result<(), Error> {
    let allowed = match reason.0 {
        0 | 4 | 0x80..=0x83 | 0x90 | 0x93..=0x99 => true,
        0x87 | 0x89 | 0x8B..=0x8F | 0x9A..=0xA2 => sender == Sender::Either,
        _ => false,
    };
    if allowed { Ok(()) } else { Err(Error::ReasonCodeNotAllowed { packet: PacketType::Disconnect, code: reason.0 }) }
}

struct Body<'a>(&'a Disconnect<'a>, ProtocolVersion);

impl Content for Body<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let Self(disconnect, version) = self;
        if !version.is_v5() {
            return Ok(());
        }
        check(disconnect.reason, Sender::Either)?;
        let bare = **disconnect == Disconnect::new(disconnect.reason);
        if !bare || disconnect.reason != ReasonCode::SUCCESS {
            sink.byte(disconnect.reason.0);
        }
        if bare { Ok(()) } else { sink.block(&Properties(disconnect)) }
    }
}

struct Properties<'a>(&'a Disconnect<'a>);

impl Content for Properties<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        write_some(sink, self.0.session_expiry.map(Property::SessionExpiry))?;
        write_some(sink, self.0.reason_string.map(Property::ReasonString))?;
        write_some(sink, self.0.server_reference.map(Property::ServerReference))?;
        self.0.user.write(sink)
    }
}
