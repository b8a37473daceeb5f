//! Packets of the server, read strictly: whatever is not exactly as the specification has it fails the test.

use portcullis_tests::Version;

use super::{allowed_codes, allowed_properties, kind, property as p};

/// One packet, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Type and flags.
    pub(crate) first: u8,
    /// What follows the remaining length.
    pub(crate) body: Vec<u8>,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Of one, two, four or a variable number of octets.
    Number(u32),
    /// A string.
    Text(String),
    /// Binary data.
    Blob(Vec<u8>),
    /// A user property.
    Pair(String, String),
}

/// The properties of a packet, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Got(pub(crate) Vec<(u8, Value)>);

impl Got {
    fn find(&self, id: u8) -> Option<&Value> {
        self.0.iter().find(|(at, _)| *at == id).map(|(_, value)| value)
    }

    /// Whether it is there.
    #[must_use]
    pub(crate) fn has(&self, id: u8) -> bool {
        self.find(id).is_some()
    }

    /// A number.
    #[must_use]
    pub(crate) fn number(&self, id: u8) -> Option<u32> {
        match self.find(id)? {
            Value::Number(number) => Some(*number),
            other => panic!("property {id:#04x} is {other:?}"),
        }
    }

    /// A string.
    #[must_use]
    pub(crate) fn text(&self, id: u8) -> Option<&str> {
        match self.find(id)? {
            Value::Text(text) => Some(text),
            other => panic!("property {id:#04x} is {other:?}"),
        }
    }

    /// Binary data.
    #[must_use]
    pub(crate) fn blob(&self, id: u8) -> Option<&[u8]> {
        match self.find(id)? {
            Value::Blob(octets) => Some(octets),
            other => panic!("property {id:#04x} is {other:?}"),
        }
    }

    /// Subscription identifiers, sorted.
    #[must_use]
    pub(crate) fn subscriptions(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .0
            .iter()
            .filter_map(|(id, value)| match value {
                Value::Number(number) if *id == p::SUBSCRIPTION_ID => Some(*number),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// A PUBLISH from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    /// 0 with QoS 0.
    pub(crate) id: u16,
    pub(crate) properties: Got,
    pub(crate) payload: Vec<u8>,
}

impl Publication {
    /// The payload as text.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a payload of text")
    }
}

/// Reads fields from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(self.0.len() >= count, "the packet ends too early: {:02x?}", self.0);
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }

    fn number(&mut self, octets: usize) -> u32 {
        self.take(octets).iter().fold(0, |number, octet| number << 8 | u32::from(*octet))
    }

    fn varint(&mut self) -> u32 {
        let mut number = 0;
        for shift in 0..4 {
            let octet = self.take(1)[0];
            number |= u32::from(octet & 0x7f) << (7 * shift);
            if octet & 0x80 == 0 {
                assert!(octet != 0 || shift == 0, "a number that is longer than it need be");
                return number;
            }
        }
        panic!("a variable byte integer of more than four octets");
    }

    fn blob(&mut self) -> &'a [u8] {
        let length = self.number(2) as usize;
        self.take(length)
    }

    fn text(&mut self) -> String {
        let text = std::str::from_utf8(self.blob()).expect("UTF-8");
        assert!(!text.contains('\0'), "U+0000 in {text:?}");
        text.to_owned()
    }

    fn properties(&mut self, first: u8) -> Got {
        let length = self.varint() as usize;
        let mut fields = Fields(self.take(length));
        let mut got = Got::default();
        while !fields.0.is_empty() {
            let id = fields.take(1)[0];
            assert!(allowed_properties(first).contains(&id), "property {id:#04x} in a packet {first:#04x}");
            let repeats = id == p::USER || id == p::SUBSCRIPTION_ID;
            assert!(repeats || !got.has(id), "property {id:#04x} twice");
            let value = match id {
                p::PAYLOAD_FORMAT
                | p::MAXIMUM_QOS
                | p::RETAIN_AVAILABLE
                | p::WILDCARD_AVAILABLE
                | p::SUBSCRIPTION_IDS_AVAILABLE
                | p::SHARED_AVAILABLE => {
                    let value = fields.number(1);
                    assert!(value <= 1, "property {id:#04x} is {value}");
                    Value::Number(value)
                }
                p::RECEIVE_MAXIMUM | p::TOPIC_ALIAS_MAXIMUM | p::TOPIC_ALIAS | p::SERVER_KEEP_ALIVE => {
                    let value = fields.number(2);
                    let zero_is_wrong = id == p::RECEIVE_MAXIMUM || id == p::TOPIC_ALIAS;
                    assert!(value > 0 || !zero_is_wrong, "property {id:#04x} is 0");
                    Value::Number(value)
                }
                p::MESSAGE_EXPIRY | p::SESSION_EXPIRY | p::MAXIMUM_PACKET_SIZE => Value::Number(fields.number(4)),
                p::SUBSCRIPTION_ID => Value::Number(fields.varint()),
                p::CORRELATION_DATA | p::AUTHENTICATION_DATA => Value::Blob(fields.blob().to_vec()),
                p::USER => Value::Pair(fields.text(), fields.text()),
                _ => Value::Text(fields.text()),
            };
            got.0.push((id, value));
        }
        got
    }

    fn end(&self) {
        assert!(self.0.is_empty(), "octets after the end of the packet: {:02x?}", self.0);
    }
}

impl Packet {
    /// Takes one whole packet from the front of what has arrived.
    #[must_use]
    pub(crate) fn take(buffer: &mut bytes::BytesMut) -> Option<Self> {
        let lengths = buffer.get(1..)?;
        let used = lengths.iter().take(4).position(|octet| octet & 0x80 == 0)? + 1;
        let length = Fields(&lengths[..used]).varint() as usize;
        if buffer.len() < 1 + used + length {
            return None;
        }
        let whole = buffer.split_to(1 + used + length);
        Some(Self { first: whole[0], body: whole[1 + used..].to_vec() })
    }

    /// Octets that it had on the wire.
    #[must_use]
    pub(crate) fn size(&self) -> usize {
        1 + super::varint(self.body.len()).len() + self.body.len()
    }

    /// Its type, as in [`kind`], the flags of PUBLISH left out.
    #[must_use]
    pub(crate) fn kind(&self) -> u8 {
        if self.first & 0xf0 == kind::PUBLISH { kind::PUBLISH } else { self.first }
    }

    /// The packet identifier, of those that begin with one.
    #[must_use]
    pub(crate) fn id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// Holds it to the rules, whatever it is.
    pub(crate) fn check(&self, version: Version) {
        match self.kind() {
            kind::CONNACK => drop(self.connack(version)),
            kind::PUBLISH => drop(self.publication(version)),
            kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP => drop(self.acknowledgement(version)),
            kind::SUBACK | kind::UNSUBACK => drop(self.codes(version)),
            kind::PINGRESP => assert!(self.body.is_empty(), "PINGRESP with a body"),
            kind::DISCONNECT | kind::AUTH => drop(self.reason(version)),
            other => panic!("first octet {other:#04x} from a server: {:02x?}", self.body),
        }
    }

    /// CONNACK: session present, code, properties.
    #[must_use]
    pub(crate) fn connack(&self, version: Version) -> (bool, u8, Got) {
        assert_eq!(self.first, kind::CONNACK, "expected CONNACK");
        let mut fields = Fields(&self.body);
        let flags = fields.take(1)[0];
        assert!(flags <= 1, "reserved bits in CONNACK: {flags:#04x}");
        let code = fields.take(1)[0];
        assert!(flags == 0 || code == 0, "a refusal with session present");
        let mut properties = Got::default();
        if version == Version::V5 {
            assert!(allowed_codes(self.first).contains(&code), "CONNACK with the code {code:#04x}");
            properties = fields.properties(self.first);
        } else {
            assert!(code <= 5, "CONNACK with the return code {code}");
        }
        fields.end();
        (flags == 1, code, properties)
    }

    /// PUBLISH.
    #[must_use]
    pub(crate) fn publication(&self, version: Version) -> Publication {
        assert_eq!(self.first & 0xf0, kind::PUBLISH, "expected PUBLISH, got {:#04x} {:02x?}", self.first, self.body);
        let qos = self.first >> 1 & 3;
        assert!(qos < 3, "QoS 3");
        let dup = self.first & 8 != 0;
        assert!(!dup || qos > 0, "DUP with QoS 0");
        let mut fields = Fields(&self.body);
        let topic = fields.text();
        assert!(!topic.contains(['+', '#']), "a wildcard in the topic {topic:?}");
        let id = if qos > 0 { fields.number(2) as u16 } else { 0 };
        assert!(qos == 0 || id != 0, "packet identifier 0");
        let properties = if version == Version::V5 { fields.properties(self.first) } else { Got::default() };
        assert!(!topic.is_empty() || properties.has(p::TOPIC_ALIAS), "no topic and no alias");
        Publication { dup, qos, retain: self.first & 1 != 0, topic, id, properties, payload: fields.0.to_vec() }
    }

    /// PUBACK, PUBREC, PUBREL, PUBCOMP: identifier, reason, properties.
    #[must_use]
    pub(crate) fn acknowledgement(&self, version: Version) -> (u16, u8, Got) {
        let mut fields = Fields(&self.body);
        let id = fields.number(2) as u16;
        assert!(id != 0, "packet identifier 0");
        let (reason, properties) = if version == Version::V5 { self.tail(&mut fields) } else { (0, Got::default()) };
        fields.end();
        (id, reason, properties)
    }

    /// The optional reason and the optional properties at the end of many packets of MQTT 5.
    fn tail(&self, fields: &mut Fields<'_>) -> (u8, Got) {
        if fields.0.is_empty() {
            return (0, Got::default());
        }
        let reason = fields.take(1)[0];
        assert!(allowed_codes(self.first).contains(&reason), "{:#04x} with the code {reason:#04x}", self.first);
        let properties = if fields.0.is_empty() { Got::default() } else { fields.properties(self.first) };
        (reason, properties)
    }

    /// SUBACK, UNSUBACK: identifier, codes, properties.
    #[must_use]
    pub(crate) fn codes(&self, version: Version) -> (u16, Vec<u8>, Got) {
        let mut fields = Fields(&self.body);
        let id = fields.number(2) as u16;
        let properties = if version == Version::V5 { fields.properties(self.first) } else { Got::default() };
        let codes = fields.0.to_vec();
        for code in &codes {
            let allowed: &[u8] = if version == Version::V5 { allowed_codes(self.first) } else { &[0, 1, 2, 0x80] };
            assert!(allowed.contains(code), "{:#04x} with the code {code:#04x}", self.first);
        }
        assert!(version == Version::V5 || self.first == kind::SUBACK || codes.is_empty(), "UNSUBACK with a payload");
        (id, codes, properties)
    }

    /// DISCONNECT, AUTH: reason and properties.
    #[must_use]
    pub(crate) fn reason(&self, version: Version) -> (u8, Got) {
        assert_eq!(version, Version::V5, "only MQTT 5 has {:#04x} from a server", self.first);
        let mut fields = Fields(&self.body);
        let reason = self.tail(&mut fields);
        fields.end();
        reason
    }
}
