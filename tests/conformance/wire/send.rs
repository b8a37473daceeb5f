//! Packets of a client, well made unless a test says otherwise.

use portcullis_tests::Version;

use super::kind;

/// A variable byte integer in its shortest form.
#[must_use]
pub(crate) fn varint(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (number % 128) as u8;
        number /= 128;
        if number == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// A packet of this first octet and body.
#[must_use]
pub(crate) fn packet(first: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out = vec![first];
    out.extend(varint(body.len()));
    out.extend(body);
    out
}

/// Octets with two octets of length before them.
#[must_use]
pub(crate) fn blob(octets: impl AsRef<[u8]>) -> Vec<u8> {
    let octets = octets.as_ref();
    let mut out = u16::try_from(octets.len()).expect("below 64 KiB").to_be_bytes().to_vec();
    out.extend(octets);
    out
}

/// A string, encoded as [`blob`].
#[must_use]
pub(crate) fn text(string: &str) -> Vec<u8> {
    blob(string)
}

/// Properties, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Properties(pub(crate) Vec<u8>);

impl Properties {
    /// None.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One whose value is these octets.
    #[must_use]
    pub(crate) fn raw(mut self, id: u8, value: impl AsRef<[u8]>) -> Self {
        self.0.push(id);
        self.0.extend(value.as_ref());
        self
    }

    /// One of one octet.
    #[must_use]
    pub(crate) fn byte(self, id: u8, value: u8) -> Self {
        self.raw(id, [value])
    }

    /// One of two octets.
    #[must_use]
    pub(crate) fn two(self, id: u8, value: u16) -> Self {
        self.raw(id, value.to_be_bytes())
    }

    /// One of four octets.
    #[must_use]
    pub(crate) fn four(self, id: u8, value: u32) -> Self {
        self.raw(id, value.to_be_bytes())
    }

    /// A variable byte integer.
    #[must_use]
    pub(crate) fn varint(self, id: u8, value: usize) -> Self {
        self.raw(id, varint(value))
    }

    /// A string, or binary data.
    #[must_use]
    pub(crate) fn text(self, id: u8, value: impl AsRef<[u8]>) -> Self {
        self.raw(id, blob(value))
    }

    /// A user property.
    #[must_use]
    pub(crate) fn user(self, name: &str, value: &str) -> Self {
        self.raw(super::property::USER, [text(name), text(value)].concat())
    }

    /// With their length before them; nothing before MQTT 5.
    #[must_use]
    pub(crate) fn block(&self, version: Version) -> Vec<u8> {
        if version == Version::V5 { [varint(self.0.len()), self.0.clone()].concat() } else { Vec::new() }
    }
}

/// A will.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Properties,
}

impl Will {
    /// QoS 1, not retained.
    #[must_use]
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: 1, retain: false, properties: Properties::new() }
    }

    /// With a delay in seconds.
    #[must_use]
    pub(crate) fn after(mut self, seconds: u32) -> Self {
        self.properties = self.properties.four(super::property::WILL_DELAY, seconds);
        self
    }
}

/// CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) version: Version,
    pub(crate) id: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) will: Option<Will>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) properties: Properties,
}

impl Hello {
    /// A clean start, no keep-alive, nothing else.
    #[must_use]
    pub(crate) fn new(version: Version, id: impl Into<String>) -> Self {
        Self {
            version,
            id: id.into(),
            clean: true,
            keep_alive: 0,
            will: None,
            user: None,
            password: None,
            properties: Properties::new(),
        }
    }

    /// A session that is there later too: not clean, and for five minutes where MQTT 5 has to be told.
    #[must_use]
    pub(crate) fn lasting(self) -> Self {
        let mut hello = self.expiring(300);
        hello.clean = false;
        hello
    }

    /// MQTT 5: with this session expiry, in seconds.
    #[must_use]
    pub(crate) fn expiring(mut self, seconds: u32) -> Self {
        self.properties = self.properties.four(super::property::SESSION_EXPIRY, seconds);
        self
    }

    /// Clean start or not.
    #[must_use]
    pub(crate) fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    /// With a keep-alive in seconds.
    #[must_use]
    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// With a will.
    #[must_use]
    pub(crate) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// With more properties.
    #[must_use]
    pub(crate) fn with(mut self, add: impl FnOnce(Properties) -> Properties) -> Self {
        self.properties = add(self.properties);
        self
    }

    /// The connect flags.
    #[must_use]
    pub(crate) fn flags(&self) -> u8 {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags | u8::from(self.password.is_some()) << 6 | u8::from(self.user.is_some()) << 7
    }

    /// What follows the flags and the keep-alive.
    #[must_use]
    pub(crate) fn rest(&self) -> Vec<u8> {
        let mut out = self.properties.block(self.version);
        out.extend(text(&self.id));
        if let Some(will) = &self.will {
            out.extend(will.properties.block(self.version));
            out.extend(text(&will.topic));
            out.extend(blob(&will.payload));
        }
        out.extend(self.user.iter().flat_map(|user| text(user)));
        out.extend(self.password.iter().flat_map(blob));
        out
    }

    /// The packet with other flags than its own.
    #[must_use]
    pub(crate) fn with_flags(&self, flags: u8) -> Vec<u8> {
        let (name, level) = match self.version {
            Version::V31 => ("MQIsdp", 3),
            Version::V311 => ("MQTT", 4),
            Version::V5 => ("MQTT", 5),
        };
        let mut body = [text(name), vec![level, flags]].concat();
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(self.rest());
        packet(kind::CONNECT, body)
    }

    /// The packet.
    #[must_use]
    pub(crate) fn octets(&self) -> Vec<u8> {
        self.with_flags(self.flags())
    }
}

/// PUBLISH.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    version: Version,
    topic: Vec<u8>,
    payload: Vec<u8>,
    first: u8,
    id: u16,
    properties: Properties,
}

impl Publish {
    /// QoS 0, not retained.
    #[must_use]
    pub(crate) fn new(version: Version, topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            version,
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            first: kind::PUBLISH,
            id: 0,
            properties: Properties::new(),
        }
    }

    /// With a QoS above 0 and this identifier.
    #[must_use]
    pub(crate) fn qos(mut self, qos: u8, id: u16) -> Self {
        self.first |= qos << 1;
        self.id = id;
        self
    }

    /// With the RETAIN flag.
    #[must_use]
    pub(crate) fn retained(mut self) -> Self {
        self.first |= 1;
        self
    }

    /// With the DUP flag.
    #[must_use]
    pub(crate) fn again(mut self) -> Self {
        self.first |= 8;
        self
    }

    /// With properties.
    #[must_use]
    pub(crate) fn with(mut self, add: impl FnOnce(Properties) -> Properties) -> Self {
        self.properties = add(self.properties);
        self
    }

    /// The packet.
    #[must_use]
    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut body = blob(&self.topic);
        if self.first & 0x06 != 0 {
            body.extend(self.id.to_be_bytes());
        }
        body.extend(self.properties.block(self.version));
        body.extend(&self.payload);
        packet(self.first, body)
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP that says success in its short form.
#[must_use]
pub(crate) fn acknowledge(first: u8, id: u16) -> Vec<u8> {
    packet(first, id.to_be_bytes())
}

/// The same with a reason code: MQTT 5.
#[must_use]
pub(crate) fn acknowledge_with(first: u8, id: u16, reason: u8) -> Vec<u8> {
    packet(first, [&id.to_be_bytes()[..], &[reason]].concat())
}

/// Filters, each with its options: the payload of SUBSCRIBE.
#[must_use]
pub(crate) fn filters(list: &[(&str, u8)]) -> Vec<u8> {
    list.iter().flat_map(|(filter, options)| [text(filter), vec![*options]].concat()).collect()
}

/// SUBSCRIBE.
#[must_use]
pub(crate) fn subscribe(version: Version, id: u16, list: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(version, id, &Properties::new(), list)
}

/// SUBSCRIBE with properties.
#[must_use]
pub(crate) fn subscribe_with(version: Version, id: u16, properties: &Properties, list: &[(&str, u8)]) -> Vec<u8> {
    packet(kind::SUBSCRIBE, [id.to_be_bytes().to_vec(), properties.block(version), filters(list)].concat())
}

/// UNSUBSCRIBE.
#[must_use]
pub(crate) fn unsubscribe(version: Version, id: u16, list: &[&str]) -> Vec<u8> {
    let list: Vec<Vec<u8>> = list.iter().map(|filter| text(filter)).collect();
    plain_unsubscribe(version, id, &list.concat())
}

/// UNSUBSCRIBE with this payload.
#[must_use]
pub(crate) fn plain_unsubscribe(version: Version, id: u16, payload: &[u8]) -> Vec<u8> {
    let block = Properties::new().block(version);
    packet(kind::UNSUBSCRIBE, [&id.to_be_bytes()[..], &block, payload].concat())
}
