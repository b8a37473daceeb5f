//! PUBLISH as subscribers get it: the one place that writes its bytes on the way out.

use portcullis_mqtt::{ProtocolVersion, QoS};

use crate::alias::Alias;

/// The two forms that PUBLISH has on the wire: without properties (3.1, 3.1.1) and with (5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// MQTT 3.1 and 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

impl From<ProtocolVersion> for Wire {
    fn from(version: ProtocolVersion) -> Self {
        if version == ProtocolVersion::V5 { Self::V5 } else { Self::V3 }
    }
}

/// What a PUBLISH packet to a subscriber is made of.
pub(crate) struct Parts<'a> {
    pub wire: Wire,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    pub topic: &'a str,
    /// Only on [`Wire::V5`].
    pub alias: Alias,
    /// Encoded properties that are forwarded unchanged; ignored on [`Wire::V3`].
    pub forward: &'a [u8],
    /// Seconds of life left.
    pub expiry: Option<u32>,
    pub subscription_ids: &'a [u32],
    pub payload: &'a [u8],
}

const MESSAGE_EXPIRY: u8 = 0x02;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
const TOPIC_ALIAS: u8 = 0x23;
/// By how much an alias beside the topic may make a packet longer: the property, and the two lengths that count it.
pub(crate) const ALIAS_LEN: usize = 3 + 2;

pub(crate) fn varint_len(n: usize) -> usize {
    match n {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut n: usize) {
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        if n == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

impl Parts<'_> {
    fn properties_len(&self) -> usize {
        let ids: usize = self.subscription_ids.iter().map(|id| 1 + varint_len(*id as usize)).sum();
        let alias = if self.alias == Alias::None { 0 } else { 3 };
        self.forward.len() + if self.expiry.is_some() { 5 } else { 0 } + alias + ids
    }

    /// The topic as it stands in the packet.
    fn topic_sent(&self) -> &str {
        if matches!(self.alias, Alias::Known(_)) { "" } else { self.topic }
    }

    fn remaining_len(&self) -> usize {
        let mut n = 2 + self.topic_sent().len() + self.payload.len();
        if self.qos != QoS::AtMostOnce {
            n += 2;
        }
        if self.wire == Wire::V5 {
            let p = self.properties_len();
            n += varint_len(p) + p;
        }
        n
    }

    /// Octets of the whole packet.
    pub(crate) fn len(&self) -> usize {
        let n = self.remaining_len();
        1 + varint_len(n) + n
    }

    /// Appends the packet. Returns where its packet identifier stands in `out` (0 is written there); 0 for QoS 0.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> usize {
        let remaining = self.remaining_len();
        out.reserve(5 + remaining);
        out.push(0x30 | u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain));
        put_varint(out, remaining);
        let topic = self.topic_sent();
        out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
        let mut id_at = 0;
        if self.qos != QoS::AtMostOnce {
            id_at = out.len();
            out.extend_from_slice(&[0, 0]);
        }
        if self.wire == Wire::V5 {
            put_varint(out, self.properties_len());
            if let Some(seconds) = self.expiry {
                out.push(MESSAGE_EXPIRY);
                out.extend_from_slice(&seconds.to_be_bytes());
            }
            if let Alias::Set(number) | Alias::Known(number) = self.alias {
                out.push(TOPIC_ALIAS);
                out.extend_from_slice(&number.to_be_bytes());
            }
            for id in self.subscription_ids {
                out.push(SUBSCRIPTION_IDENTIFIER);
                put_varint(out, *id as usize);
            }
            out.extend_from_slice(self.forward);
        }
        out.extend_from_slice(self.payload);
        id_at
    }
}
