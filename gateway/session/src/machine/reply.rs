//! The short packets that a server answers with.

use portcullis_mqtt::{ProtocolVersion, ReasonCode};

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
