//! Writing the data types of MQTT 5 §1.5, and the few packets that the hot path writes without a [`crate::Packet`].
//!
//! Packets are written by one function each that runs over a [`Sink`] twice: once to count, once to write. So a length
//! prefix can never differ from what follows it, and nothing is moved afterwards.

use crate::{EncodeError, Error, PacketId, PacketType, frame::MAX_REMAINING_LENGTH};

/// Where octets go: counted, or written.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.put(&[byte]);
    }

    #[inline]
    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    #[inline]
    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    fn varint(&mut self, mut value: u32) {
        while value > 0x7F {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    #[inline]
    fn bin(&mut self, bytes: &[u8], what: &'static str) -> Result<(), EncodeError> {
        let len = u16::try_from(bytes.len()).map_err(|_| EncodeError::TooLong { what, len: bytes.len() })?;
        self.u16(len);
        self.put(bytes);
        Ok(())
    }

    #[inline]
    fn string(&mut self, text: &str, what: &'static str) -> Result<(), EncodeError> {
        if text.as_bytes().contains(&0) {
            return Err(Error::NullCharacter { what }.into());
        }
        self.bin(text.as_bytes(), what)
    }

    /// A length-prefixed part, written by `part`.
    fn block(&mut self, part: &impl Content) -> Result<(), EncodeError>
    where
        Self: Sized,
    {
        self.varint(part.measure()?);
        part.write(self)
    }
}

/// Counts.
pub(crate) struct Count(pub(crate) usize);

impl Sink for Count {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Something that has a length in front of it on the wire: a packet's body, a property block.
pub(crate) trait Content {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError>;

    /// The octets that `write` writes, if a variable byte integer can say them.
    fn measure(&self) -> Result<u32, EncodeError> {
        let mut count = Count(0);
        self.write(&mut count)?;
        u32::try_from(count.0)
            .ok()
            .filter(|len| *len <= MAX_REMAINING_LENGTH)
            .ok_or(EncodeError::PacketTooLarge(count.0))
    }
}

/// Writes a whole packet. After an error `out` is as it was.
pub(crate) fn packet(out: &mut Vec<u8>, first: u8, body: &impl Content) -> Result<(), EncodeError> {
    let len = body.measure()?;
    out.reserve(1 + varint_len(len) + len as usize);
    out.push(first);
    out.varint(len);
    // Counting ran through the same checks, so this cannot fail.
    body.write(out)
}

/// The octets that a variable byte integer takes: 1 to 4. `value` is at most 268,435,455.
#[inline]
pub const fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer in its shortest form. `value` is at most 268,435,455 ([`crate::MAX_REMAINING_LENGTH`]);
/// bits above that are cut off, since the wire cannot say them.
#[inline]
pub fn write_varint(out: &mut Vec<u8>, value: u32) {
    debug_assert!(value <= MAX_REMAINING_LENGTH);
    out.varint(value & MAX_REMAINING_LENGTH);
}

/// Writes a UTF-8 string with its length. Fails, writing nothing, above 65,535 octets and for U+0000.
#[inline]
pub fn write_str(out: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    out.string(text, "string")
}

/// Writes binary data with its length. Fails, writing nothing, above 65,535 octets.
#[inline]
pub fn write_bin(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    out.bin(bytes, "binary data")
}

/// Writes a PUBACK, PUBREC, PUBREL or PUBCOMP (or a 3.1.1 UNSUBACK) that says nothing but success: the four octets that
/// are the same in every version.
#[inline]
pub fn write_puback(out: &mut Vec<u8>, packet: PacketType, packet_id: PacketId) {
    let [high, low] = packet_id.get().to_be_bytes();
    out.extend_from_slice(&[packet.first(), 2, high, low]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::Reader;

    #[test]
    fn varints_are_minimal_and_read_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455] {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            assert_eq!(Reader::new(&out).varint("x"), Ok(value));
        }
    }

    #[test]
    fn what_cannot_be_said_leaves_the_buffer_alone() {
        let mut out = vec![7];
        assert!(matches!(write_bin(&mut out, &[0; 65_536]), Err(EncodeError::TooLong { len: 65_536, .. })));
        assert!(matches!(write_str(&mut out, "\0"), Err(EncodeError::Invalid(Error::NullCharacter { .. }))));
        assert_eq!(out, [7]);
        assert_eq!(write_str(&mut out, "é"), Ok(()));
        assert_eq!(out, [7, 0, 2, 0xC3, 0xA9]);
    }

    #[test]
    fn short_acknowledgements() {
        let mut out = Vec::new();
        write_puback(&mut out, PacketType::PubAck, PacketId::MIN);
        write_puback(&mut out, PacketType::PubRel, PacketId::MIN);
        assert_eq!(out, [0x40, 2, 0, 1, 0x62, 2, 0, 1]);
    }
}
