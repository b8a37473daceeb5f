//! CONNACK (MQTT 5 §3.2): the server's answer to a CONNECT.

use std::num::{NonZeroU16, NonZeroU32};

use crate::connect::Secret;
use crate::property::{self, MaximumQos, Place, Property, UserProperties, id, write_some};
use crate::read::Reader;
use crate::write::{Content, Sink};
use crate::{EncodeError, Error, PacketType, ProtocolVersion, QoS};

static PLACE: Place = Place::new(
    "CONNACK",
    &[
        id::SessionExpiry,
        id::ReceiveMaximum,
        id::MaximumQos,
        id::RetainAvailable,
        id::MaximumPacketSize,
        id::AssignedClientId,
        id::TopicAliasMaximum,
        id::ReasonString,
        id::User,
        id::WildcardAvailable,
        id::SubscriptionIdsAvailable,
        id::SharedAvailable,
        id::ServerKeepAlive,
        id::ResponseInformation,
        id::ServerReference,
        id::AuthenticationMethod,
        id::AuthenticationData,
    ],
);

/// A CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnAck<'a> {
    /// Whether the server kept a session for this client. MQTT 3.1 cannot say it: not written, and read as false.
    pub session_present: bool,
    /// A return code of 0 to 5 before MQTT 5 ([`crate::ReasonCode::connect_return_code`]), a reason code in it.
    pub code: u8,
    /// The properties; not written before MQTT 5.
    pub properties: ConnAckProperties<'a>,
}

/// The properties of a CONNACK (MQTT 5 §3.2.2.3). The default is what an absent property means: a server that has
/// everything and limits nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConnAckProperties<'a> {
    /// Seconds that the session outlives the connection, if not what the client asked for.
    pub session_expiry: Option<u32>,
    /// How many QoS 1 and 2 messages the server takes at once; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest quality of service; QoS 2 is said by leaving the property out.
    pub maximum_qos: QoS,
    /// Whether messages can be retained; default true.
    pub retain_available: bool,
    /// The largest packet that the server takes, in octets; absent is no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The identifier of a client that came without one.
    pub assigned_client_id: Option<&'a str>,
    /// The highest topic alias that the client may use; 0 is none.
    pub topic_alias_maximum: u16,
    /// For people: why.
    pub reason_string: Option<&'a str>,
    /// The user properties.
    pub user: UserProperties<'a>,
    /// Whether filters may have wildcards; default true.
    pub wildcard_available: bool,
    /// Whether subscriptions may have identifiers; default true.
    pub subscription_ids_available: bool,
    /// Whether subscriptions may be shared; default true.
    pub shared_available: bool,
    /// Keep-alive in seconds that the client has to use instead of its own.
    pub server_keep_alive: Option<u16>,
    /// What response topics are made from.
    pub response_information: Option<&'a str>,
    /// The server to go to.
    pub server_reference: Option<&'a str>,
    /// The method of enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// Its data; only with a method.
    pub authentication_data: Option<&'a [u8]>,
}

impl Default for ConnAckProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry: None,
            receive_maximum: None,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            user: UserProperties::EMPTY,
            wildcard_available: true,
            subscription_ids_available: true,
            shared_available: true,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// The reason codes of an MQTT 5 CONNACK (§3.2.2.2), or the return codes of the older ones.
const fn allowed(version: ProtocolVersion, code: u8) -> bool {
    match version {
        ProtocolVersion::V5 => matches!(code, 0 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F),
        _ => code <= 5,
    }
}

impl<'a> ConnAck<'a> {
    pub(crate) fn read(version: ProtocolVersion, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let flags = reader.byte("connect acknowledge flags")?;
        // MQTT 3.1 does not use this octet, and does not say what it must be.
        if version > ProtocolVersion::V31 && flags > 1 {
            return Err(Error::ReservedBits { what: "connect acknowledge flags", value: flags });
        }
        let session_present = version > ProtocolVersion::V31 && flags == 1;
        let code = reader.byte("reason code")?;
        let properties =
            if version.is_v5() { ConnAckProperties::read(reader.block()?)? } else { ConnAckProperties::default() };
        reader.end(PacketType::ConnAck)?;
        let connack = Self { session_present, code, properties };
        connack.check(version)?;
        Ok(connack)
    }

    fn check(&self, version: ProtocolVersion) -> Result<(), Error> {
        if !allowed(version, self.code) {
            return Err(Error::ReasonCodeNotAllowed { packet: PacketType::ConnAck, code: self.code });
        }
        if self.session_present && self.code != 0 {
            return Err(Error::SessionPresentOnRefusal);
        }
        Ok(())
    }

    pub(crate) const fn body(&self, version: ProtocolVersion) -> impl Content {
        Body(self, version)
    }
}

struct Body<'a>(&'a ConnAck<'a>, ProtocolVersion);

impl Content for Body<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let Self(connack, version) = self;
        connack.check(*version)?;
        sink.byte(u8::from(connack.session_present && *version > ProtocolVersion::V31));
        sink.byte(connack.code);
        if version.is_v5() { sink.block(&connack.properties) } else { Ok(()) }
    }
}

impl<'a> ConnAckProperties<'a> {
    fn read(block: &'a [u8]) -> Result<Self, Error> {
        let mut all = Self::default();
        all.user = property::read_block(block, &PLACE, |property| match property {
            Property::SessionExpiry(seconds) => all.session_expiry = Some(seconds),
            Property::ReceiveMaximum(count) => all.receive_maximum = Some(count),
            Property::MaximumQos(MaximumQos(qos)) => all.maximum_qos = qos,
            Property::RetainAvailable(available) => all.retain_available = available,
            Property::MaximumPacketSize(size) => all.maximum_packet_size = Some(size),
            Property::AssignedClientId(client_id) => all.assigned_client_id = Some(client_id),
            Property::TopicAliasMaximum(alias) => all.topic_alias_maximum = alias,
            Property::ReasonString(reason) => all.reason_string = Some(reason),
            Property::WildcardAvailable(available) => all.wildcard_available = available,
            Property::SubscriptionIdsAvailable(available) => all.subscription_ids_available = available,
            Property::SharedAvailable(available) => all.shared_available = available,
            Property::ServerKeepAlive(seconds) => all.server_keep_alive = Some(seconds),
            Property::ResponseInformation(information) => all.response_information = Some(information),
            Property::ServerReference(server) => all.server_reference = Some(server),
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

impl Content for ConnAckProperties<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        self.check()?;
        let highest = Some(self.maximum_qos).filter(|qos| *qos < QoS::ExactlyOnce);
        let aliases = Some(self.topic_alias_maximum).filter(|maximum| *maximum > 0);
        write_some(sink, self.session_expiry.map(Property::SessionExpiry))?;
        write_some(sink, self.receive_maximum.map(Property::ReceiveMaximum))?;
        write_some(sink, highest.map(MaximumQos).map(Property::MaximumQos))?;
        write_some(sink, self.maximum_packet_size.map(Property::MaximumPacketSize))?;
        write_some(sink, self.assigned_client_id.map(Property::AssignedClientId))?;
        write_some(sink, aliases.map(Property::TopicAliasMaximum))?;
        write_some(sink, self.reason_string.map(Property::ReasonString))?;
        for (available, property) in [
            (self.retain_available, Property::RetainAvailable(false)),
            (self.wildcard_available, Property::WildcardAvailable(false)),
            (self.subscription_ids_available, Property::SubscriptionIdsAvailable(false)),
            (self.shared_available, Property::SharedAvailable(false)),
        ] {
            if !available {
                property.write(sink)?;
            }
        }
        write_some(sink, self.server_keep_alive.map(Property::ServerKeepAlive))?;
        write_some(sink, self.response_information.map(Property::ResponseInformation))?;
        write_some(sink, self.server_reference.map(Property::ServerReference))?;
        write_some(sink, self.authentication_method.map(Property::AuthenticationMethod))?;
        write_some(sink, self.authentication_data.map(Property::AuthenticationData))?;
        self.user.write(sink)
    }
}

impl std::fmt::Debug for ConnAckProperties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnAckProperties")
            .field("session_expiry", &self.session_expiry)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_qos", &self.maximum_qos)
            .field("retain_available", &self.retain_available)
            .field("maximum_packet_size", &self.maximum_packet_size)
            .field("assigned_client_id", &self.assigned_client_id)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("reason_string", &self.reason_string)
            .field("user", &self.user)
            .field("wildcard_available", &self.wildcard_available)
            .field("subscription_ids_available", &self.subscription_ids_available)
            .field("shared_available", &self.shared_available)
            .field("server_keep_alive", &self.server_keep_alive)
            .field("response_information", &self.response_information)
            .field("server_reference", &self.server_reference)
            .field("authentication_method", &self.authentication_method)
            .field("authentication_data", &Secret(self.authentication_data))
            .finish()
    }
}
