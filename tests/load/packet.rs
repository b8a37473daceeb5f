//! Packets, put together once and patched after that, and what is read of those that come.
//!
//! The first sixteen octets of a payload say who published it, which of its messages it is, and when it was due: a
//! receiver needs nothing else to tell whether everything came, once, and in order.

use portcullis_tests::Message;
use portcullis_tests::packets::{self, Version};

/// Octets of the label that each payload begins with; the smallest payload.
pub(crate) const LABEL: usize = 16;

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) publisher: u32,
    pub(crate) sequence: u32,
    /// Nanoseconds since the beginning of the run.
    pub(crate) due: u64,
}

/// A PUBLISH and where its changing parts lie.
pub(crate) struct Template {
    octets: Vec<u8>,
    id_at: Option<usize>,
    label_at: usize,
}

impl Template {
    pub(crate) fn new(version: Version, topic: &str, payload: usize, qos: u8, retain: bool) -> Self {
        let mut message = Message::new(topic, vec![b'.'; payload.max(LABEL)]).qos(qos);
        (message.id, message.retain) = (u16::from(qos > 0), retain);
        let octets = packets::publish(version, &message).to_vec();
        let label_at = octets.len() - payload.max(LABEL);
        // MQTT 5 has the length of its properties between the identifier and the payload.
        let id_at = (qos > 0).then(|| label_at - 2 - usize::from(version == Version::V5));
        Self { octets, id_at, label_at }
    }

    pub(crate) fn put(&self, id: u16, label: Label, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&self.octets);
        if let Some(id_at) = self.id_at {
            out[at + id_at..at + id_at + 2].copy_from_slice(&id.to_be_bytes());
        }
        let place = &mut out[at + self.label_at..at + self.label_at + LABEL];
        place[..4].copy_from_slice(&label.publisher.to_le_bytes());
        place[4..8].copy_from_slice(&label.sequence.to_le_bytes());
        place[8..].copy_from_slice(&label.due.to_le_bytes());
    }
}

/// A packet that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// PUBLISH: quality of service, identifier, label.
    Publish(u8, [u8; 2], Label),
    /// PUBACK, PUBREC, PUBREL, PUBCOMP: first octet, identifier, and whether it reports a failure.
    Acknowledgement(u8, [u8; 2], bool),
    /// CONNACK, and whether it accepts.
    ConnAck(bool),
    /// SUBACK, and whether everything in it was granted.
    SubAck(bool),
    /// DISCONNECT with its reason code.
    Disconnect(u8),
    /// PINGRESP, UNSUBACK.
    Other,
}

/// The first packet of `buffer` and its length. None: it is not whole.
pub(crate) fn first(buffer: &[u8], version: Version) -> Option<(Came, usize)> {
    let (length, head) = remaining_length(buffer)?;
    let whole = head + length;
    let body = buffer.get(head..whole)?;
    let five = version == Version::V5;
    let came = match buffer[0] >> 4 {
        3 => publish(buffer[0], body, five)?,
        4..=7 => {
            let failed = body.get(2).is_some_and(|reason| *reason >= 0x80);
            Came::Acknowledgement(buffer[0], [body[0], body[1]], failed)
        }
        2 => Came::ConnAck(body[1] == 0),
        9 => Came::SubAck(body.last().is_some_and(|code| *code < 0x80)),
        14 => Came::Disconnect(body.first().copied().unwrap_or(0)),
        _ => Came::Other,
    };
    Some((came, whole))
}

fn publish(first: u8, body: &[u8], five: bool) -> Option<Came> {
    let qos = first >> 1 & 3;
    let mut at = 2 + usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let mut id = [0; 2];
    if qos > 0 {
        id = [*body.get(at)?, *body.get(at + 1)?];
        at += 2;
    }
    if five {
        let (properties, used) = varint(&body[at..])?;
        at += properties + used;
    }
    let part = |from: usize, to: usize| body.get(at + from..at + to);
    let number = |octets: &[u8]| octets.iter().rev().fold(0u64, |sum, octet| sum << 8 | u64::from(*octet));
    // A message of somebody else's, such as `$SYS`, has no label: it belongs to no publisher.
    let Some(label) = part(0, LABEL) else {
        return Some(Came::Publish(qos, id, Label { publisher: u32::MAX, sequence: 0, due: 0 }));
    };
    let (publisher, sequence) = (number(&label[..4]) as u32, number(&label[4..8]) as u32);
    Some(Came::Publish(qos, id, Label { publisher, sequence, due: number(&label[8..]) }))
}

/// The remaining length, and where the body begins.
pub(crate) fn remaining_length(buffer: &[u8]) -> Option<(usize, usize)> {
    let (length, used) = varint(buffer.get(1..)?)?;
    Some((length, 1 + used))
}

fn varint(octets: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, octet) in octets.iter().take(4).enumerate() {
        value |= usize::from(octet & 0x7F) << (7 * index);
        if octet & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_is_read_again_in_each_version_and_quality() {
        let label = Label { publisher: 7, sequence: 70_000, due: 1 << 40 };
        for version in Version::ALL {
            for qos in 0..=2 {
                for payload in [LABEL, 64, 20_000] {
                    let mut octets = Vec::new();
                    Template::new(version, "a/b", payload, qos, false).put(513, label, &mut octets);
                    let id = if qos == 0 { [0, 0] } else { [2, 1] };
                    assert_eq!(first(&octets, version), Some((Came::Publish(qos, id, label), octets.len())));
                    assert_eq!(first(&octets[..octets.len() - 1], version), None);
                }
            }
        }
    }
}
