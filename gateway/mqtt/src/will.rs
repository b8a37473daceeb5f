//! The will (MQTT 5 §3.1.3.2): the message in a CONNECT that is published when the connection ends without a word.

use crate::property::{self, Name, Place, Property, UserProperties, id, write_some, write_topic_name};
use crate::read::Reader;
use crate::write::{Content, Sink};
use crate::{EncodeError, Error, ProtocolVersion, QoS};

static PLACE: Place = Place::new(
    "the will",
    &[
        id::WillDelay,
        id::PayloadFormat,
        id::MessageExpiry,
        id::ContentType,
        id::ResponseTopic,
        id::CorrelationData,
        id::User,
    ],
);

/// A will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// The topic name: not empty, no wildcard.
    pub topic: &'a str,
    /// The payload, at most 65,535 octets.
    pub payload: &'a [u8],
    /// The quality of service.
    pub qos: QoS,
    /// Whether the message is to be retained.
    pub retain: bool,
    /// The properties; the defaults before MQTT 5.
    pub properties: WillProperties<'a>,
}

/// The properties of a will. All but the delay go with the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WillProperties<'a> {
    /// Seconds between the end of the connection and the publication; default 0.
    pub delay: u32,
    /// Whether the payload is UTF-8 text (`Some(true)`) or octets.
    pub payload_format: Option<bool>,
    /// Seconds that the message lives.
    pub message_expiry: Option<u32>,
    /// What the payload is, in words that the application knows.
    pub content_type: Option<&'a str>,
    /// The topic name for answers.
    pub response_topic: Option<&'a str>,
    /// What ties an answer to its request.
    pub correlation_data: Option<&'a [u8]>,
    /// The user properties.
    pub user: UserProperties<'a>,
}

impl<'a> Will<'a> {
    pub(crate) fn read(
        version: ProtocolVersion,
        qos: QoS,
        retain: bool,
        reader: &mut Reader<'a>,
    ) -> Result<Self, Error> {
        let properties =
            if version.is_v5() { WillProperties::read(reader.block()?)? } else { WillProperties::default() };
        let topic = match reader.topic_name("will topic")? {
            "" => return Err(Error::EmptyTopicName { what: "will topic" }),
            topic => topic,
        };
        let payload = reader.bin("will payload")?;
        Ok(Self { topic, payload, qos, retain, properties })
    }

    pub(crate) fn write(&self, version: ProtocolVersion, sink: &mut impl Sink) -> Result<(), EncodeError> {
        if version.is_v5() {
            sink.block(&self.properties)?;
        }
        write_topic_name(sink, self.topic, "will topic")?;
        sink.bin(self.payload, "will payload")
    }
}

impl<'a> WillProperties<'a> {
    fn read(block: &'a [u8]) -> Result<Self, Error> {
        let mut all = Self::default();
        all.user = property::read_block(block, &PLACE, |property| match property {
            Property::WillDelay(seconds) => all.delay = seconds,
            Property::PayloadFormat(utf8) => all.payload_format = Some(utf8),
            Property::MessageExpiry(seconds) => all.message_expiry = Some(seconds),
            Property::ContentType(content_type) => all.content_type = Some(content_type),
            Property::ResponseTopic(Name(topic)) => all.response_topic = Some(topic),
            Property::CorrelationData(data) => all.correlation_data = Some(data),
            _ => {}
        })?;
        Ok(all)
    }
}

impl Content for WillProperties<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        if self.delay > 0 {
            Property::WillDelay(self.delay).write(sink)?;
        }
        write_some(sink, self.payload_format.map(Property::PayloadFormat))?;
        write_some(sink, self.message_expiry.map(Property::MessageExpiry))?;
        write_some(sink, self.content_type.map(Property::ContentType))?;
        write_some(sink, self.response_topic.map(Name).map(Property::ResponseTopic))?;
        write_some(sink, self.correlation_data.map(Property::CorrelationData))?;
        self.user.write(sink)
    }
}
