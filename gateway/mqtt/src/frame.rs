//! Where a packet begins and ends in a stream: the fixed header (MQTT 5 §2.1). Knows nothing of what is inside.

use crate::Error;

/// The largest remaining length that four octets can say: 268,435,455.
pub const MAX_REMAINING_LENGTH: u32 = 0x0FFF_FFFF;

/// The fixed header's packet type, the high four bits of the first octet (MQTT 5 §2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names say it all
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type that a packet's first octet names; `None` for the reserved type 0.
    pub const fn from_first(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The name in capitals, as the specification writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The low four bits that every packet of this type but PUBLISH must have (MQTT 5 §2.1.3).
    pub const fn required_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// The first octet of a packet of this type with its required flags; for PUBLISH with QoS 0.
    pub const fn first(self) -> u8 {
        (self as u8) << 4 | self.required_flags()
    }
}

impl std::fmt::Display for PacketType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One whole packet in a buffer, as offsets into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The first octet: packet type and flags.
    pub first: u8,
    /// Where the body (everything after the remaining length) begins.
    pub body: usize,
    /// Where the packet ends, and the next one begins.
    pub end: usize,
}

/// What the fixed header at an offset says, when all of it is there.
struct Header {
    body: usize,
    remaining: u32,
}

/// Reads the fixed header at `at`; `None` when octets are missing.
#[inline]
fn header(buf: &[u8], at: usize) -> Result<Option<Header>, Error> {
    let Some(rest) = buf.get(at..) else { return Ok(None) };
    // Nearly all packets say their length in one octet.
    if let [_, length @ 0..=0x7F, ..] = rest {
        return Ok(Some(Header { body: at + 2, remaining: u32::from(*length) }));
    }
    let mut remaining = 0u32;
    for (i, octet) in rest.iter().skip(1).take(4).enumerate() {
        remaining |= u32::from(octet & 0x7F) << (7 * i);
        if octet & 0x80 == 0 {
            if i > 0 && *octet == 0 {
                return Err(Error::RemainingLengthNotMinimal);
            }
            return Ok(Some(Header { body: at + 2 + i, remaining }));
        }
    }
    if rest.len() > 4 { Err(Error::RemainingLengthTooLong) } else { Ok(None) }
}

/// Finds the packet that begins at `buf[at]`.
///
/// `Ok(None)` means that octets are missing. `max_packet` is the largest packet that is taken, in octets with the fixed
/// header; a larger one is [`Error::PacketTooLarge`] as soon as its length is known, before its octets arrive, so that
/// nothing is kept for it. A remaining length of more than four octets, or not in its shortest form, is malformed.
#[inline]
pub fn frame(buf: &[u8], at: usize, max_packet: u32) -> Result<Option<Frame>, Error> {
    let Some(header) = header(buf, at)? else { return Ok(None) };
    // At most five octets of header and 2^28 - 1 of body: no overflow.
    let size = (header.body - at) as u32 + header.remaining;
    if size > max_packet {
        return Err(Error::PacketTooLarge { size, max: max_packet });
    }
    let end = at + size as usize;
    if end > buf.len() {
        return Ok(None);
    }
    Ok(Some(Frame { first: buf[at], body: header.body, end }))
}

/// The octets of the whole packet that begins at `buf[at]`, when its fixed header is there and well formed: how much a
/// reader has to wait for. Check it with [`frame`] before you reserve anything.
pub fn frame_need(buf: &[u8], at: usize) -> Option<usize> {
    let header = header(buf, at).ok()??;
    Some(header.body - at + header.remaining as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_found_only_when_all_of_it_is_there() {
        let stream = [0xC0, 0x00, 0x40, 0x02, 0x00, 0x07];
        assert_eq!(frame(&stream, 0, 100), Ok(Some(Frame { first: 0xC0, body: 2, end: 2 })));
        assert_eq!(frame(&stream, 2, 100), Ok(Some(Frame { first: 0x40, body: 4, end: 6 })));
        assert_eq!(frame(&stream, 6, 100), Ok(None));
        assert_eq!(frame(&stream, 7, 100), Ok(None));
        for cut in 2..6 {
            assert_eq!(frame(&stream[..cut], 2, 100), Ok(None), "{cut}");
        }
    }

    #[test]
    fn every_length_boundary_is_read() {
        for (bytes, remaining) in [
            (&[0x30, 0x7F][..], 127),
            (&[0x30, 0x80, 0x01], 128),
            (&[0x30, 0xFF, 0x7F], 16_383),
            (&[0x30, 0x80, 0x80, 0x01], 16_384),
            (&[0x30, 0xFF, 0xFF, 0x7F], 2_097_151),
            (&[0x30, 0x80, 0x80, 0x80, 0x01], 2_097_152),
            (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
        ] {
            assert_eq!(frame_need(bytes, 0), Some(bytes.len() + remaining), "{bytes:x?}");
            assert_eq!(frame(bytes, 0, u32::MAX), Ok(None), "{bytes:x?}");
        }
    }

    #[test]
    fn a_length_that_is_too_long_or_not_minimal_is_malformed() {
        for (bytes, error) in [
            (&[0x30, 0x80, 0x00][..], Error::RemainingLengthNotMinimal),
            (&[0x30, 0xFF, 0x80, 0x00], Error::RemainingLengthNotMinimal),
            (&[0x30, 0x80, 0x80, 0x80, 0x00], Error::RemainingLengthNotMinimal),
            (&[0x30, 0x80, 0x80, 0x80, 0x80], Error::RemainingLengthTooLong),
            (&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], Error::RemainingLengthTooLong),
        ] {
            assert_eq!(frame(bytes, 0, u32::MAX), Err(error), "{bytes:x?}");
            assert_eq!(frame_need(bytes, 0), None);
        }
        assert_eq!(frame(&[0x30, 0x80, 0x80, 0x80], 0, u32::MAX), Ok(None));
    }

    #[test]
    fn an_oversized_packet_is_refused_before_it_arrives() {
        let header = [0x30, 0x80, 0x01];
        assert_eq!(frame(&header, 0, 131), Ok(None));
        assert_eq!(frame(&header, 0, 130), Err(Error::PacketTooLarge { size: 131, max: 130 }));
    }
}
