//! PUBLISH (MQTT 5 §3.3): a message.

use std::num::NonZeroU16;

use crate::property::{self, Alias, Name, Place, Property, Set, SubscriptionIds, UserProperties, id, write_some};
use crate::read::Reader;
use crate::write::{Content, Sink};
use crate::{EncodeError, Error, PacketId, PacketType, ProtocolVersion, QoS, utf8};

/// Whose packets are read: what only a server may send is refused from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Either,
}

static PLACE: Place = Place {
    name: "PUBLISH",
    allowed: Set::of(&[
        id::PayloadFormat,
        id::MessageExpiry,
        id::TopicAlias,
        id::ResponseTopic,
        id::CorrelationData,
        id::User,
        id::SubscriptionId,
        id::ContentType,
    ]),
    // One for each of the subscriptions that matched ([MQTT-3.3.4-3]).
    repeated: Set::of(&[id::User, id::SubscriptionId]),
};

/// A PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether this may be a repetition; never with QoS 0.
    pub dup: bool,
    /// The quality of service.
    pub qos: QoS,
    /// Whether the server keeps the message, or kept it.
    pub retain: bool,
    /// The topic name: no wildcard, and not empty but in MQTT 5 with a topic alias.
    pub topic: &'a str,
    /// The packet identifier: with QoS 1 and 2, and only with them.
    pub packet_id: Option<PacketId>,
    /// The properties; none before MQTT 5, and not written there.
    pub properties: PublishProperties<'a>,
    /// The payload: everything that follows. Whether it is in the format that the indicator says is not checked.
    pub payload: &'a [u8],
}

/// The properties of a PUBLISH (MQTT 5 §3.3.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishProperties<'a> {
    /// Whether the payload is UTF-8 text (`Some(true)`) or octets.
    pub payload_format: Option<bool>,
    /// Seconds that the message lives.
    pub message_expiry: Option<u32>,
    /// A number that stands for the topic name on this connection and in this direction.
    pub topic_alias: Option<NonZeroU16>,
    /// The topic name for answers.
    pub response_topic: Option<&'a str>,
    /// What ties an answer to its request.
    pub correlation_data: Option<&'a [u8]>,
    /// The user properties.
    pub user: UserProperties<'a>,
    /// The identifiers of the subscriptions that matched; only from a server.
    pub subscription_ids: SubscriptionIds<'a>,
    /// What the payload is, in words that the application knows.
    pub content_type: Option<&'a str>,
}

/// The flags in a PUBLISH's first octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishFlags {
    /// Whether this may be a repetition.
    pub dup: bool,
    /// The quality of service.
    pub qos: QoS,
    /// Whether the message is retained.
    pub retain: bool,
}

impl PublishFlags {
    /// Reads the low four bits of a PUBLISH's first octet. QoS 3 and DUP with QoS 0 are malformed.
    #[inline]
    pub const fn read(first: u8) -> Result<Self, Error> {
        let Some(qos) = QoS::from_u8(first >> 1 & 3) else { return Err(Error::InvalidQos { what: "QoS" }) };
        let dup = first & 8 != 0;
        if dup && matches!(qos, QoS::AtMostOnce) {
            return Err(Error::DupWithoutQos);
        }
        Ok(Self { dup, qos, retain: first & 1 != 0 })
    }

    /// The first octet of a PUBLISH with these flags.
    #[inline]
    pub const fn first(self) -> u8 {
        (PacketType::Publish as u8) << 4 | (self.dup as u8) << 3 | (self.qos as u8) << 1 | self.retain as u8
    }
}

impl<'a> Publish<'a> {
    pub(crate) fn read(version: ProtocolVersion, first: u8, body: &'a [u8], sender: Sender) -> Result<Self, Error> {
        let PublishFlags { dup, qos, retain } = PublishFlags::read(first)?;
        let mut reader = Reader::new(body);
        let topic = reader.topic_name("topic name")?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => Some(reader.packet_id()?),
        };
        let properties = match version.is_v5() {
            true => PublishProperties::decode(reader.block()?)?,
            false => PublishProperties::default(),
        };
        check(topic.is_empty(), &properties, sender)?;
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
    }

    pub(crate) const fn first(&self) -> u8 {
        PublishFlags { dup: self.dup, qos: self.qos, retain: self.retain }.first()
    }

    pub(crate) const fn body(&self, version: ProtocolVersion) -> impl Content {
        Body(self, version)
    }
}

/// The rules that tie topic, properties and sender together.
#[inline]
pub(crate) fn check(no_topic: bool, properties: &PublishProperties<'_>, sender: Sender) -> Result<(), Error> {
    if no_topic && properties.topic_alias.is_none() {
        return Err(Error::EmptyTopicName { what: "topic name" });
    }
    if sender == Sender::Client && !properties.subscription_ids.is_empty() {
        let property = "subscription identifier";
        return Err(Error::ServerOnlyProperty { packet: PacketType::Publish, property });
    }
    Ok(())
}

struct Body<'a>(&'a Publish<'a>, ProtocolVersion);

impl Content for Body<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let Self(publish, version) = self;
        if publish.dup && publish.qos == QoS::AtMostOnce {
            return Err(Error::DupWithoutQos.into());
        }
        if publish.packet_id.is_some() != (publish.qos != QoS::AtMostOnce) {
            return Err(EncodeError::PacketId);
        }
        if publish.topic.is_empty() && !(version.is_v5() && publish.properties.topic_alias.is_some()) {
            return Err(Error::EmptyTopicName { what: "topic name" }.into());
        }
        utf8::check_topic_name(publish.topic.as_bytes(), "topic name")?;
        sink.bin(publish.topic.as_bytes(), "topic name")?;
        if let Some(packet_id) = publish.packet_id {
            sink.u16(packet_id.get());
        }
        if version.is_v5() {
            sink.block(&publish.properties)?;
        }
        sink.put(publish.payload);
        Ok(())
    }
}

impl<'a> PublishProperties<'a> {
    /// Reads a property block, without its length: the bytes at [`crate::PublishHead::properties`], say.
    #[inline]
    pub fn decode(block: &'a [u8]) -> Result<Self, Error> {
        let mut all = Self::default();
        all.user = property::read_block(block, &PLACE, |property| match property {
            Property::PayloadFormat(utf8) => all.payload_format = Some(utf8),
            Property::MessageExpiry(seconds) => all.message_expiry = Some(seconds),
            Property::TopicAlias(Alias(alias)) => all.topic_alias = Some(alias),
            Property::ResponseTopic(Name(topic)) => all.response_topic = Some(topic),
            Property::CorrelationData(data) => all.correlation_data = Some(data),
            Property::SubscriptionId(_) => all.subscription_ids = SubscriptionIds::from_block(block),
            Property::ContentType(content_type) => all.content_type = Some(content_type),
            _ => {}
        })?;
        Ok(all)
    }

    /// Writes the property block with its length in front. Fails, writing nothing, when a value breaks a rule.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.block(self)
    }
}

impl Content for PublishProperties<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        write_some(sink, self.payload_format.map(Property::PayloadFormat))?;
        write_some(sink, self.message_expiry.map(Property::MessageExpiry))?;
        write_some(sink, self.topic_alias.map(Alias).map(Property::TopicAlias))?;
        write_some(sink, self.response_topic.map(Name).map(Property::ResponseTopic))?;
        write_some(sink, self.correlation_data.map(Property::CorrelationData))?;
        self.subscription_ids.write(sink)?;
        write_some(sink, self.content_type.map(Property::ContentType))?;
        self.user.write(sink)
    }
}
