//! A cursor over a packet's body: the data types of MQTT 5 §1.5, each bounded and named in its error.

use crate::{Error, PacketId, PacketType, utf8};

/// What is left to read. Every read takes the name of the field, so that an error says where the packet broke.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated { what })?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::Truncated { what })?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Error> {
        self.array(what).map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Error> {
        self.array(what).map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// A variable byte integer of at most four octets, in its shortest form.
    #[inline]
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u32, Error> {
        let mut value = 0;
        for i in 0..4 {
            let byte = self.byte(what)?;
            value |= u32::from(byte & 0x7F) << (7 * i);
            if byte & 0x80 == 0 {
                return if i > 0 && byte == 0 { Err(Error::VarintNotMinimal { what }) } else { Ok(value) };
            }
        }
        Err(Error::VarintTooLong { what })
    }

    /// Binary data: two octets of length, then that many.
    #[inline]
    pub(crate) fn bin(&mut self, what: &'static str) -> Result<&'a [u8], Error> {
        let len = self.u16(what)?;
        self.take(usize::from(len), what)
    }

    #[inline]
    pub(crate) fn string(&mut self, what: &'static str) -> Result<&'a str, Error> {
        utf8::string(self.bin(what)?, what)
    }

    /// A topic name; an empty one is let through.
    #[inline]
    pub(crate) fn topic_name(&mut self, what: &'static str) -> Result<&'a str, Error> {
        utf8::topic_name(self.bin(what)?, what)
    }

    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Error> {
        PacketId::new(self.u16("packet identifier")?).ok_or(Error::ZeroPacketId)
    }

    /// A property block without its length.
    #[inline]
    pub(crate) fn block(&mut self) -> Result<&'a [u8], Error> {
        let len = self.varint("property length")?;
        self.take(len as usize, "properties")
    }

    /// Everything that is left.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    #[inline]
    pub(crate) fn end(self, packet: PacketType) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(Error::TrailingBytes { packet, extra }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_bounded_and_minimal() {
        for (bytes, expected) in [
            (&[0x00][..], Ok(0)),
            (&[0x80, 0x01], Ok(128)),
            (&[0xFF, 0xFF, 0xFF, 0x7F], Ok(268_435_455)),
            (&[0x80, 0x00], Err(Error::VarintNotMinimal { what: "x" })),
            (&[0x80, 0x80, 0x80, 0x80, 0x01], Err(Error::VarintTooLong { what: "x" })),
            (&[0x80], Err(Error::Truncated { what: "x" })),
            (&[], Err(Error::Truncated { what: "x" })),
        ] {
            assert_eq!(Reader::new(bytes).varint("x"), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_truncated() {
        assert_eq!(Reader::new(&[0, 3, 1, 2]).bin("x"), Err(Error::Truncated { what: "x" }));
        assert_eq!(Reader::new(&[0]).bin("x"), Err(Error::Truncated { what: "x" }));
        assert_eq!(Reader::new(&[0, 2, 1, 2, 3]).bin("x"), Ok(&[1, 2][..]));
    }
}
