//! What a server answers with, and whether the client takes it.

use portcullis_mqtt::{Packet, ProtocolVersion, ReasonCode, varint_len};

pub(super) const PUBACK: u8 = 0x40;
pub(super) const PUBREC: u8 = 0x50;
pub(super) const PUBCOMP: u8 = 0x70;
const PUBREL: u8 = 0x62;

/// Appends PUBACK, PUBREC or PUBCOMP. The reason is said where the version has room for it.
pub(super) fn acknowledge(out: &mut Vec<u8>, kind: u8, id: u16, version: ProtocolVersion, reason: ReasonCode) {
    let [high, low] = id.to_be_bytes();
    if version == ProtocolVersion::V5 && reason != ReasonCode::SUCCESS {
        out.extend_from_slice(&[kind, 3, high, low, reason.0]);
    } else {
        out.extend_from_slice(&[kind, 2, high, low]);
    }
}

/// Appends a PUBREL.
pub(super) fn release(out: &mut Vec<u8>, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[PUBREL, 2, high, low]);
}

/// Appends a PUBREL for an identifier that the gateway does not know (MQTT 5 §3.6.2.1).
pub(super) fn release_unknown(out: &mut Vec<u8>, id: u16, version: ProtocolVersion) {
    let [high, low] = id.to_be_bytes();
    if version == ProtocolVersion::V5 {
        out.extend_from_slice(&[PUBREL, 3, high, low, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND.0]);
    } else {
        out.extend_from_slice(&[PUBREL, 2, high, low]);
    }
}

/// Appends a packet, unless it is larger than the client takes (MQTT 5 §3.1.2.11.4) or cannot be said at all. True: it
/// was appended.
pub(super) fn append(out: &mut Vec<u8>, packet: &Packet<'_>, version: ProtocolVersion, most: u32) -> bool {
    let before = out.len();
    if packet.encode(version, out).is_ok() && out.len() - before <= most as usize {
        return true;
    }
    out.truncate(before);
    false
}

/// Octets of an MQTT 5 SUBACK or UNSUBACK without properties, for so many filters.
pub(super) fn codes_size(filters: usize) -> usize {
    // Packet identifier, the length of no properties, a code for each filter.
    let body = 2 + 1 + filters;
    1 + varint_len(body as u32) + body
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use portcullis_mqtt::{PacketId, SubAck, UserProperties};

    use super::*;

    #[test]
    fn the_size_of_a_suback_is_known_before_it_is_written() {
        for filters in [1, 124, 125, 126, 16_380, 16_381, 16_382, 2_097_148, 2_097_149] {
            let codes = vec![0; filters];
            let user = UserProperties::EMPTY;
            let suback = SubAck { packet_id: PacketId::new(1).unwrap(), reason_string: None, user, codes: &codes };
            let mut out = vec![7];
            let size = codes_size(filters);
            assert!(!append(&mut out, &Packet::SubAck(suback), ProtocolVersion::V5, size as u32 - 1));
            assert_eq!(out, [7], "what does not fit leaves no trace");
            assert!(append(&mut out, &Packet::SubAck(suback), ProtocolVersion::V5, size as u32));
            assert_eq!(out.len(), 1 + size, "{filters} filters");
        }
    }
}
