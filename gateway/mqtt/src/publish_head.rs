//! The fast path of PUBLISH: where its parts are, as offsets, with everything checked that [`crate::decode`] checks.
//!
//! A gateway that hands messages on does not need them as a [`crate::Publish`]; it needs the topic to route by and the
//! bytes to copy.

use std::num::NonZeroU16;
use std::ops::Range;

use crate::publish::{PublishProperties, Sender, check};
use crate::read::Reader;
use crate::{Error, ProtocolVersion, QoS, utf8};

/// Where the parts of a PUBLISH from a client are in its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishHead {
    /// The topic name: valid UTF-8, no wildcard; empty only with an alias.
    pub topic: Range<usize>,
    /// Where the two octets of the packet identifier begin; with QoS 1 and 2.
    pub packet_id_at: Option<usize>,
    /// The bytes of the property block without its length; empty before MQTT 5. [`PublishProperties::decode`] reads
    /// them and does not fail.
    pub properties: Range<usize>,
    /// The topic alias among the properties, since it says what the topic is.
    pub topic_alias: Option<NonZeroU16>,
    /// Where the payload begins; it goes to the end of the body.
    pub payload_at: usize,
}

impl PublishHead {
    /// The topic name in the body that this head was read from (in another one: whatever stands there, or nothing).
    #[inline]
    pub fn topic<'a>(&self, body: &'a [u8]) -> &'a str {
        body.get(self.topic.clone()).and_then(|topic| std::str::from_utf8(topic).ok()).unwrap_or_default()
    }
}

/// Finds the parts of a PUBLISH that came from a client.
///
/// `qos_bits` are the two QoS bits of the first octet, 0 to 3; the other flags are [`crate::PublishFlags::read`]'s
/// business. Everything in the body is checked: topic, packet identifier, properties (subscription identifiers are for
/// servers to send). An empty property block costs one comparison.
#[inline]
pub fn publish_head(version: ProtocolVersion, body: &[u8], qos_bits: u8) -> Result<PublishHead, Error> {
    let qos = QoS::from_u8(qos_bits).ok_or(Error::InvalidQos { what: "QoS" })?;
    let mut reader = Reader::new(body);
    let topic = reader.bin("topic name")?;
    utf8::check_topic_name(topic, "topic name")?;
    let topic = 2..2 + topic.len();
    let packet_id_at = match qos {
        QoS::AtMostOnce => None,
        _ => reader.packet_id().map(|_| Some(topic.end))?,
    };
    let mut properties = body.len()..body.len();
    let mut topic_alias = None;
    if version.is_v5() {
        let block = reader.block()?;
        properties = body.len() - reader.len() - block.len()..body.len() - reader.len();
        if !block.is_empty() {
            let all = PublishProperties::decode(block)?;
            check(topic.is_empty(), &all, Sender::Client)?;
            topic_alias = all.topic_alias;
        }
    } else {
        let at = body.len() - reader.len();
        properties = at..at;
    }
    if topic.is_empty() && topic_alias.is_none() {
        return Err(Error::EmptyTopicName { what: "topic name" });
    }
    Ok(PublishHead { topic, packet_id_at, payload_at: properties.end, properties, topic_alias })
}
