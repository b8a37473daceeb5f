//! AUTH (MQTT 5 §3.15): a step of enhanced authentication. The older versions have none.

use crate::connect::Secret;
use crate::property::{self, Place, Property, UserProperties, id, write_some};
use crate::publish::Sender;
use crate::read::Reader;
use crate::write::{Content, Sink};
use crate::{EncodeError, Error, PacketType, ReasonCode};

static PLACE: Place =
    Place::new("AUTH", &[id::AuthenticationMethod, id::AuthenticationData, id::ReasonString, id::User]);

/// An AUTH. Its `Debug` form does not show the data.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Auth<'a> {
    /// Continue (both sides), re-authenticate (client) or success (server).
    pub reason: ReasonCode,
    /// The method. Only a success may leave it out, in the form without any body (§3.15.2.1).
    pub method: Option<&'a str>,
    /// The data of this step.
    pub data: Option<&'a [u8]>,
    /// For people: why.
    pub reason_string: Option<&'a str>,
    /// The user properties.
    pub user: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    pub(crate) fn read(body: &'a [u8], sender: Sender) -> Result<Self, Error> {
        let mut all = Self::default();
        if !body.is_empty() {
            let mut reader = Reader::new(body);
            all.reason = ReasonCode(reader.byte("reason code")?);
            let block = reader.block()?;
            all.user = property::read_block(block, &PLACE, |property| match property {
                Property::AuthenticationMethod(method) => all.method = Some(method),
                Property::AuthenticationData(data) => all.data = Some(data),
                Property::ReasonString(reason) => all.reason_string = Some(reason),
                _ => {}
            })?;
            reader.end(PacketType::Auth)?;
            if all.method.is_none() {
                return Err(Error::MissingAuthenticationMethod);
            }
        }
        check(all.reason, sender)?;
        Ok(all)
    }
}

fn check(reason: ReasonCode, sender: Sender) -> Result<(), Error> {
    let allowed = match reason {
        ReasonCode::SUCCESS => sender == Sender::Either,
        ReasonCode::CONTINUE_AUTHENTICATION | ReasonCode::RE_AUTHENTICATE => true,
        _ => false,
    };
    if allowed { Ok(()) } else { Err(Error::ReasonCodeNotAllowed { packet: PacketType::Auth, code: reason.0 }) }
}

impl Content for Auth<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        check(self.reason, Sender::Either)?;
        if *self == Self::default() {
            return Ok(());
        }
        if self.method.is_none() {
            return Err(Error::MissingAuthenticationMethod.into());
        }
        sink.byte(self.reason.0);
        sink.block(&Properties(self))
    }
}

struct Properties<'a>(&'a Auth<'a>);

impl Content for Properties<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        write_some(sink, self.0.method.map(Property::AuthenticationMethod))?;
        write_some(sink, self.0.data.map(Property::AuthenticationData))?;
        write_some(sink, self.0.reason_string.map(Property::ReasonString))?;
        self.0.user.write(sink)
    }
}

impl std::fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("reason", &self.reason)
            .field("method", &self.method)
            .field("data", &Secret(self.data))
            .field("reason_string", &self.reason_string)
            .field("user", &self.user)
            .finish()
    }
}
