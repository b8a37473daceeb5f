//! Packets as the tests see them, encoded and checked by mqttbytes.
//!
//! What mqttbytes cannot say is added here by hand and kept small: MQTT 3.1 framing, passwords that are not text, empty
//! credentials, the short DISCONNECT and AUTH. Everything that arrives is run through its decoder as well.

use bytes::{BufMut, Bytes, BytesMut};
use mqttbytes::v5::{ConnAckProperties, ConnectProperties, PublishProperties, WillProperties};
use mqttbytes::{QoS, v4, v5};

/// The protocol versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1, level 3.
    V31,
    /// MQTT 3.1.1, level 4.
    V311,
    /// MQTT 5, level 5.
    V5,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];
}

/// A message, published or received.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Topic name; empty with a topic alias.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// 0, 1 or 2.
    pub qos: u8,
    /// RETAIN flag.
    pub retain: bool,
    /// DUP flag.
    pub dup: bool,
    /// Packet identifier, 0 with QoS 0.
    pub id: u16,
    /// MQTT 5 properties.
    pub properties: PublishProperties,
}

/// The properties of a PUBLISH that has none.
#[must_use]
pub fn no_properties() -> PublishProperties {
    PublishProperties {
        payload_format_indicator: None,
        message_expiry_interval: None,
        topic_alias: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
        subscription_identifiers: Vec::new(),
        content_type: None,
    }
}

impl Message {
    /// QoS 0, not retained.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into().into(),
            qos: 0,
            retain: false,
            dup: false,
            id: 0,
            properties: no_properties(),
        }
    }

    /// With this quality of service.
    #[must_use]
    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// With the RETAIN flag.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// With properties that `set` fills in.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut PublishProperties)) -> Self {
        set(&mut self.properties);
        self
    }
}

/// A will.
#[derive(Clone, Debug)]
pub struct Will {
    /// What is published; its `properties` are those of the will, without the delay.
    pub message: Message,
    /// Will Delay Interval in seconds.
    pub delay: Option<u32>,
}

impl From<Message> for Will {
    fn from(message: Message) -> Self {
        Self { message, delay: None }
    }
}

/// What is said in CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The version to speak.
    pub version: Version,
    /// Client identifier.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Password: any octets.
    pub password: Option<Vec<u8>>,
    /// Clean Session, or Clean Start.
    pub clean: bool,
    /// Seconds; 0 switches it off.
    pub keep_alive: u16,
    /// The will.
    pub will: Option<Will>,
    /// MQTT 5 properties.
    pub properties: ConnectProperties,
}

/// Everything that a server sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// CONNACK: session present, return or reason code, properties.
    ConnAck(bool, u8, Option<Box<ConnAckProperties>>),
    /// PUBLISH.
    Publish(Message),
    /// PUBACK: identifier, reason.
    PubAck(u16, u8),
    /// PUBREC: identifier, reason.
    PubRec(u16, u8),
    /// PUBREL: identifier, reason.
    PubRel(u16, u8),
    /// PUBCOMP: identifier, reason.
    PubComp(u16, u8),
    /// SUBACK: identifier, codes.
    SubAck(u16, Vec<u8>),
    /// UNSUBACK: identifier, reasons (none before MQTT 5).
    UnsubAck(u16, Vec<u8>),
    /// PINGRESP.
    PingResp,
    /// DISCONNECT: reason, reason string.
    Disconnect(u8, Option<String>),
    /// AUTH: reason, authentication data.
    Auth(u8, Option<Vec<u8>>),
}

fn quality(qos: u8) -> QoS {
    mqttbytes::qos(qos).expect("a QoS of 0, 1 or 2")
}

/// The octets of an AUTH (MQTT 5 §3.15) with a method and perhaps data.
///
/// # Panics
/// When they are longer than a text or binary of MQTT may be.
#[must_use]
pub fn auth(reason: u8, method: &str, data: Option<&str>) -> Vec<u8> {
    let mut properties = Vec::new();
    for (name, text) in [(0x15, Some(method)), (0x16, data)] {
        let Some(text) = text else { continue };
        properties.push(name);
        properties.extend(u16::try_from(text.len()).expect("at most 65,535 octets").to_be_bytes());
        properties.extend(text.as_bytes());
    }
    let mut body = vec![reason];
    put_varint(&mut body, properties.len());
    body.extend(properties);
    let mut whole = vec![0xf0];
    put_varint(&mut whole, body.len());
    whole.extend(body);
    whole
}

fn put_varint(out: &mut Vec<u8>, mut number: usize) {
    while number > 127 {
        out.push((number & 127) as u8 | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The authentication data of an AUTH whose other properties are texts.
fn auth_data(body: &[u8]) -> Option<Vec<u8>> {
    let (length, used) = varint(body.get(1..)?)?;
    let mut rest = body.get(1 + used..1 + used + length)?;
    while let [name, high, low, more @ ..] = rest {
        let (value, after) = more.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        if *name == 0x16 {
            return Some(value.to_vec());
        }
        rest = after;
    }
    None
}

/// The octets of a CONNECT.
#[must_use]
pub fn connect(hello: &Connect) -> BytesMut {
    let mut out = BytesMut::new();
    if hello.version == Version::V5 {
        let mut packet = v5::Connect::new(&hello.client_id);
        packet.keep_alive = hello.keep_alive;
        packet.clean_session = hello.clean;
        packet.properties = Some(hello.properties.clone());
        packet.last_will = hello.will.as_ref().map(|will| v5::LastWill {
            topic: will.message.topic.clone(),
            message: will.message.payload.clone(),
            qos: quality(will.message.qos),
            retain: will.message.retain,
            properties: Some(WillProperties {
                delay_interval: will.delay,
                payload_format_indicator: will.message.properties.payload_format_indicator,
                message_expiry_interval: will.message.properties.message_expiry_interval,
                content_type: will.message.properties.content_type.clone(),
                response_topic: will.message.properties.response_topic.clone(),
                correlation_data: will.message.properties.correlation_data.clone(),
                user_properties: will.message.properties.user_properties.clone(),
            }),
        });
        packet.write(&mut out).expect("a CONNECT");
    } else {
        let mut packet = v4::Connect::new(&hello.client_id);
        packet.keep_alive = hello.keep_alive;
        packet.clean_session = hello.clean;
        packet.last_will = hello.will.as_ref().map(|will| v4::LastWill {
            topic: will.message.topic.clone(),
            message: will.message.payload.clone(),
            qos: quality(will.message.qos),
            retain: will.message.retain,
        });
        packet.write(&mut out).expect("a CONNECT");
    }
    let mut body = out.split_off(header_length(&out));
    if hello.version == Version::V31 {
        let rest = body.split_off(7);
        body = BytesMut::from(&b"\0\x06MQIsdp\x03"[..]);
        body.unsplit(rest);
    }
    let flags = if hello.version == Version::V31 { 9 } else { 7 };
    for (bit, credential) in [(0x80, hello.username.as_ref().map(|u| u.as_bytes())), (0x40, hello.password.as_deref())]
    {
        if let Some(octets) = credential {
            body[flags] |= bit;
            body.put_u16(u16::try_from(octets.len()).expect("a credential below 64 KiB"));
            body.put_slice(octets);
        }
    }
    packet(0x10, &body)
}

/// The octets of a PUBLISH.
#[must_use]
pub fn publish(version: Version, message: &Message) -> BytesMut {
    let mut out = BytesMut::new();
    if version == Version::V5 {
        let mut packet = v5::Publish::from_bytes(message.topic.as_str(), quality(message.qos), message.payload.clone());
        packet.pkid = message.id;
        packet.retain = message.retain;
        packet.dup = message.dup;
        packet.properties = Some(message.properties.clone());
        packet.write(&mut out).expect("a PUBLISH");
    } else {
        let mut packet = v4::Publish::from_bytes(message.topic.as_str(), quality(message.qos), message.payload.clone());
        packet.pkid = message.id;
        packet.retain = message.retain;
        packet.dup = message.dup;
        packet.write(&mut out).expect("a PUBLISH");
    }
    out
}

/// The octets of a SUBSCRIBE.
#[must_use]
pub fn subscribe(version: Version, id: u16, subscription: Option<usize>, filters: &[v5::SubscribeFilter]) -> BytesMut {
    let mut out = BytesMut::new();
    if version == Version::V5 {
        let mut packet = v5::Subscribe::new_many(filters.to_vec());
        packet.pkid = id;
        packet.properties =
            subscription.map(|id| v5::SubscribeProperties { id: Some(id), user_properties: Vec::new() });
        packet.write(&mut out).expect("a SUBSCRIBE");
    } else {
        let filters = filters.iter().map(|f| v4::SubscribeFilter::new(f.path.clone(), f.qos));
        let mut packet = v4::Subscribe::new_many(filters);
        packet.pkid = id;
        packet.write(&mut out).expect("a SUBSCRIBE");
    }
    out
}

/// The octets of an UNSUBSCRIBE of one filter.
#[must_use]
pub fn unsubscribe(version: Version, id: u16, filter: &str) -> BytesMut {
    let mut out = BytesMut::new();
    if version == Version::V5 {
        let mut packet = v5::Unsubscribe::new(filter);
        packet.pkid = id;
        packet.write(&mut out).expect("an UNSUBSCRIBE");
    } else {
        let mut packet = v4::Unsubscribe::new(filter);
        packet.pkid = id;
        packet.write(&mut out).expect("an UNSUBSCRIBE");
    }
    out
}

/// An acknowledgement that says success; `first` is the first octet of PUBACK, PUBREC, PUBREL or PUBCOMP.
#[must_use]
pub fn acknowledgement(first: u8, id: u16) -> BytesMut {
    packet(first, &id.to_be_bytes())
}

/// Any packet: first octet, remaining length, body. Nothing is checked, so that wrong ones can be made.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(body.len() + 5);
    out.put_u8(first);
    let mut length = body.len();
    loop {
        let low = (length % 128) as u8;
        length /= 128;
        out.put_u8(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    out.put_slice(body);
    out
}

fn header_length(octets: &[u8]) -> usize {
    1 + octets[1..].iter().take_while(|octet| **octet & 0x80 != 0).count() + 1
}

/// A variable byte integer: value and octets used; none while it is incomplete.
fn varint(octets: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, octet) in octets.iter().take(4).enumerate() {
        value |= usize::from(octet & 0x7f) << (7 * index);
        if octet & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Takes one whole packet from the front of `buffer`, if there is one.
///
/// # Panics
/// When the server sent something that mqttbytes does not take for a packet.
#[must_use]
pub fn take(version: Version, buffer: &mut BytesMut) -> Option<Incoming> {
    let (length, used) = varint(buffer.get(1..)?)?;
    let end = 1 + used + length;
    if buffer.len() < end {
        return None;
    }
    let whole = buffer.split_to(end).freeze();
    let body = whole.slice(1 + used..);
    let id = || u16::from_be_bytes([body[0], body[1]]);
    let reason = || body.get(2).copied().unwrap_or(0);
    Some(match whole[0] >> 4 {
        // mqttbytes knows neither of these: the short form of DISCONNECT, and AUTH.
        14 => Incoming::Disconnect(body.first().copied().unwrap_or(0), disconnect_text(&whole)),
        15 => Incoming::Auth(body.first().copied().unwrap_or(0), auth_data(&body)),
        kind => {
            let checked = if version == Version::V5 { opened_v5(&whole) } else { opened_v4(&whole) };
            match (kind, checked) {
                (_, Some(known)) => known,
                (4, None) => Incoming::PubAck(id(), reason()),
                (5, None) => Incoming::PubRec(id(), reason()),
                (6, None) => Incoming::PubRel(id(), reason()),
                (7, None) => Incoming::PubComp(id(), reason()),
                (9 | 11, None) => {
                    let codes = if version == Version::V5 {
                        let (properties, used) = varint(&body[2..]).expect("a property length");
                        body[2 + used + properties..].to_vec()
                    } else {
                        body[2..].to_vec()
                    };
                    if kind == 9 { Incoming::SubAck(id(), codes) } else { Incoming::UnsubAck(id(), codes) }
                }
                (13, None) => Incoming::PingResp,
                _ => panic!("the server sent a packet that only clients send: {whole:02x?}"),
            }
        }
    })
}

fn opened_v4(whole: &Bytes) -> Option<Incoming> {
    let packet = v4::read(&mut BytesMut::from(&whole[..]), usize::MAX)
        .unwrap_or_else(|error| panic!("mqttbytes does not take this for MQTT 3: {error:?}: {whole:02x?}"));
    match packet {
        v4::Packet::ConnAck(ack) => Some(Incoming::ConnAck(ack.session_present, ack.code as u8, None)),
        v4::Packet::Publish(publish) => Some(Incoming::Publish(Message {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
            id: publish.pkid,
            properties: no_properties(),
        })),
        _ => None,
    }
}

fn opened_v5(whole: &Bytes) -> Option<Incoming> {
    let packet = v5::read(&mut BytesMut::from(&whole[..]), usize::MAX)
        .unwrap_or_else(|error| panic!("mqttbytes does not take this for MQTT 5: {error:?}: {whole:02x?}"));
    match packet {
        v5::Packet::ConnAck(ack) => {
            Some(Incoming::ConnAck(ack.session_present, ack.code as u8, ack.properties.map(Box::new)))
        }
        v5::Packet::Publish(publish) => Some(Incoming::Publish(Message {
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
            id: publish.pkid,
            properties: publish.properties.unwrap_or_else(no_properties),
        })),
        _ => None,
    }
}

/// The reason string of an MQTT 5 DISCONNECT, read by mqttbytes where the packet has properties.
fn disconnect_text(whole: &Bytes) -> Option<String> {
    match v5::read(&mut BytesMut::from(&whole[..]), usize::MAX) {
        Ok(v5::Packet::Disconnect(packet)) => packet.properties.and_then(|properties| properties.reason_string),
        _ => None,
    }
}
