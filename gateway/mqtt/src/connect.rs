//! CONNECT (MQTT 5 §3.1): who wants in, with what, and the will. Decoded apart from all others, because the version that
//! all others need is said here.

use std::num::{NonZeroU16, NonZeroU32};

use crate::property::{self, Place, Property, UserProperties, id, write_some};
use crate::read::Reader;
use crate::will::Will;
use crate::write::{Content, Sink};
use crate::{ConnectError, EncodeError, Error, PacketType, ProtocolVersion, QoS};

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

static PLACE: Place = Place::new(
    "CONNECT",
    &[
        id::SessionExpiry,
        id::ReceiveMaximum,
        id::MaximumPacketSize,
        id::TopicAliasMaximum,
        id::RequestResponseInformation,
        id::RequestProblemInformation,
        id::User,
        id::AuthenticationMethod,
        id::AuthenticationData,
    ],
);

/// A CONNECT. Its `Debug` form does not show the password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version, from protocol name and level.
    pub version: ProtocolVersion,
    /// Clean start; before MQTT 5 clean session.
    pub clean_start: bool,
    /// Keep-alive in seconds; 0 is off.
    pub keep_alive: u16,
    /// The client identifier; may be empty, see [`Self::client_id_allowed`]. MQTT 3.1 limits it to 23 characters: longer
    /// ones are taken, as every later version does.
    pub client_id: &'a str,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password: any octets. Before MQTT 5 only with a user name.
    pub password: Option<&'a [u8]>,
    /// What to publish when the connection ends without a word.
    pub will: Option<Will<'a>>,
    /// The properties; the defaults before MQTT 5.
    pub properties: ConnectProperties<'a>,
}

/// The properties of a CONNECT (MQTT 5 §3.1.2.11). The default is what an absent property means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// Seconds that the session outlives the connection; `u32::MAX` is for ever, absent is 0.
    pub session_expiry: Option<u32>,
    /// How many QoS 1 and 2 messages the client takes at once; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The largest packet that the client takes, in octets; absent is no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The highest topic alias that the server may use; 0 is none.
    pub topic_alias_maximum: u16,
    /// Whether the client wants response information in CONNACK; default false.
    pub request_response_information: bool,
    /// Whether reason strings and user properties may be sent where a failure is told; default true.
    pub request_problem_information: bool,
    /// The user properties.
    pub user: UserProperties<'a>,
    /// The method of enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// Its data; only with a method.
    pub authentication_data: Option<&'a [u8]>,
}

impl Default for ConnectProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user: UserProperties::EMPTY,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// Reads the body of a CONNECT: everything after the remaining length. The first octet has to be 0x10; [`crate::decode`]
/// checks it, a caller who comes here directly has done so.
pub fn decode_connect(body: &[u8]) -> Result<Connect<'_>, ConnectError> {
    let unknown = |error| ConnectError::Malformed { version: None, error };
    let mut reader = Reader::new(body);
    let name = reader.bin("protocol name").map_err(unknown)?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(ConnectError::UnknownProtocolName);
    }
    let level = reader.byte("protocol level").map_err(unknown)?;
    let version = ProtocolVersion::from_level(level)
        .filter(|version| version.protocol_name().as_bytes() == name)
        .ok_or(ConnectError::UnsupportedProtocolVersion(level))?;
    Connect::read(version, reader).map_err(|error| ConnectError::Malformed { version: Some(version), error })
}

impl<'a> Connect<'a> {
    /// Reads what follows the protocol level.
    fn read(version: ProtocolVersion, mut reader: Reader<'a>) -> Result<Self, Error> {
        let flags = reader.byte("connect flags")?;
        if flags & RESERVED != 0 {
            return Err(Error::ReservedBits { what: "connect flags", value: flags });
        }
        let will_qos = QoS::from_u8(flags >> 3 & 3).ok_or(Error::InvalidQos { what: "will QoS" })?;
        let will_retain = flags & WILL_RETAIN != 0;
        let has_will = flags & WILL != 0;
        if !has_will && (will_qos != QoS::AtMostOnce || will_retain) {
            return Err(Error::WillFlagsWithoutWill);
        }
        if flags & (USER_NAME | PASSWORD) == PASSWORD && version < ProtocolVersion::V5 {
            return Err(Error::PasswordWithoutUserName);
        }
        let keep_alive = reader.u16("keep alive")?;
        let properties =
            if version.is_v5() { ConnectProperties::read(reader.block()?)? } else { ConnectProperties::default() };
        let client_id = reader.string("client identifier")?;
        let will = match has_will {
            true => Some(Will::read(version, will_qos, will_retain, &mut reader)?),
            false => None,
        };
        // MQTT 3.1 §3.1: the remaining length goes before these two flags; a string that is not there is not an error.
        let announced =
            |flag, reader: &Reader<'_>| flags & flag != 0 && !(version == ProtocolVersion::V31 && reader.is_empty());
        let username = match announced(USER_NAME, &reader) {
            true => Some(reader.string("user name")?),
            false => None,
        };
        let password = match announced(PASSWORD, &reader) {
            true => Some(reader.bin("password")?),
            false => None,
        };
        reader.end(PacketType::Connect)?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self { version, clean_start, keep_alive, client_id, username, password, will, properties })
    }

    /// Whether the client identifier may be as it is: an empty one is for MQTT 5, and for 3.1.1 with a clean session
    /// ([MQTT-3.1.3-8] of 3.1.1). Not a decoding error, because the answer is a CONNACK: 0x02, "identifier rejected".
    pub const fn client_id_allowed(&self) -> bool {
        match self.version {
            _ if !self.client_id.is_empty() => true,
            ProtocolVersion::V31 => false,
            ProtocolVersion::V311 => self.clean_start,
            ProtocolVersion::V5 => true,
        }
    }

    fn flags(&self) -> u8 {
        let will = self.will.map_or(0, |will| WILL | (will.qos as u8) << 3 | if will.retain { WILL_RETAIN } else { 0 });
        will | if self.username.is_some() { USER_NAME } else { 0 }
            | if self.password.is_some() { PASSWORD } else { 0 }
            | if self.clean_start { CLEAN_START } else { 0 }
    }
}

impl Content for Connect<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        if self.version < ProtocolVersion::V5 && self.username.is_none() && self.password.is_some() {
            return Err(Error::PasswordWithoutUserName.into());
        }
        sink.bin(self.version.protocol_name().as_bytes(), "protocol name")?;
        sink.byte(self.version.level());
        sink.byte(self.flags());
        sink.u16(self.keep_alive);
        if self.version.is_v5() {
            sink.block(&self.properties)?;
        }
        sink.string(self.client_id, "client identifier")?;
        if let Some(will) = &self.will {
            will.write(self.version, sink)?;
        }
        if let Some(username) = self.username {
            sink.string(username, "user name")?;
        }
        if let Some(password) = self.password {
            sink.bin(password, "password")?;
        }
        Ok(())
    }
}

impl<'a> ConnectProperties<'a> {
    fn read(block: &'a [u8]) -> Result<Self, Error> {
        let mut all = Self::default();
        all.user = property::read_block(block, &PLACE, |property| match property {
            Property::SessionExpiry(seconds) => all.session_expiry = Some(seconds),
            Property::ReceiveMaximum(count) => all.receive_maximum = Some(count),
            Property::MaximumPacketSize(size) => all.maximum_packet_size = Some(size),
            Property::TopicAliasMaximum(alias) => all.topic_alias_maximum = alias,
            Property::RequestResponseInformation(wanted) => all.request_response_information = wanted,
            Property::RequestProblemInformation(wanted) => all.request_problem_information = wanted,
            Property::AuthenticationMethod(method) => all.authentication_method = Some(method),
            Property::AuthenticationData(data) => all.authentication_data = Some(data),
            _ => {}
        })?;
        all.check()?;
        Ok(all)
    }

    fn check(&self) -> Result<(), Error> {
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(Error::AuthenticationDataWithoutMethod);
        }
        Ok(())
    }
}

impl Content for ConnectProperties<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        self.check()?;
        let aliases = Some(self.topic_alias_maximum).filter(|maximum| *maximum > 0);
        write_some(sink, self.session_expiry.map(Property::SessionExpiry))?;
        write_some(sink, self.receive_maximum.map(Property::ReceiveMaximum))?;
        write_some(sink, self.maximum_packet_size.map(Property::MaximumPacketSize))?;
        write_some(sink, aliases.map(Property::TopicAliasMaximum))?;
        if self.request_response_information {
            Property::RequestResponseInformation(true).write(sink)?;
        }
        if !self.request_problem_information {
            Property::RequestProblemInformation(false).write(sink)?;
        }
        write_some(sink, self.authentication_method.map(Property::AuthenticationMethod))?;
        write_some(sink, self.authentication_data.map(Property::AuthenticationData))?;
        self.user.write(sink)
    }
}

/// Shows that a secret is there, and not what it is.
pub(crate) struct Secret<'a>(pub(crate) Option<&'a [u8]>);

impl std::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(secret) => write!(f, "Some({} octets)", secret.len()),
            None => f.write_str("None"),
        }
    }
}

impl std::fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &Secret(self.password))
            .field("will", &self.will)
            .field("properties", &self.properties)
            .finish()
    }
}

impl std::fmt::Debug for ConnectProperties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectProperties")
            .field("session_expiry", &self.session_expiry)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_packet_size", &self.maximum_packet_size)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("request_response_information", &self.request_response_information)
            .field("request_problem_information", &self.request_problem_information)
            .field("user", &self.user)
            .field("authentication_method", &self.authentication_method)
            .field("authentication_data", &Secret(self.authentication_data))
            .finish()
    }
}
