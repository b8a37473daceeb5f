//! SHA-256 of components and of compiled code.

use sha2::{Digest, Sha256};

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

/// SHA-256 of a component, in hexadecimal: what stamps and the cache call it.
#[must_use]
pub fn digest_of(component: &[u8]) -> String {
    hex(&Sha256::digest(component))
}

/// HMAC-SHA-256 (RFC 2104) over several parts. Each part is preceded by its length, so that no two lists of parts look
/// the same.
pub(crate) struct Authenticator {
    inner: Sha256,
    outer: Sha256,
}

impl Authenticator {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
            block
        };
        Self { inner: Sha256::new_with_prefix(pad(0x36)), outer: Sha256::new_with_prefix(pad(0x5c)) }
    }

    /// One whole part.
    #[must_use]
    pub(crate) fn part(self, part: &[u8]) -> Self {
        self.part_of(part.len() as u64).piece(part)
    }

    /// The length of a part that follows in pieces.
    #[must_use]
    pub(crate) fn part_of(self, length: u64) -> Self {
        self.piece(&length.to_be_bytes())
    }

    /// A piece of the part that was begun.
    #[must_use]
    pub(crate) fn piece(mut self, piece: &[u8]) -> Self {
        self.inner.update(piece);
        self
    }

    pub(crate) fn tag(self) -> [u8; 32] {
        self.outer.chain_update(self.inner.finalize()).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sha_256_in_hexadecimal() {
        // FIPS 180-4's example.
        assert_eq!(digest_of(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn parts_cannot_be_shifted_between_neighbours() {
        let tag = |key: u8, parts: &[&[u8]]| {
            parts.iter().fold(Authenticator::new(&[key; 32]), |all, part| all.part(part)).tag()
        };
        assert_ne!(tag(7, &[b"ab", b"c"]), tag(7, &[b"a", b"bc"]));
        assert_ne!(tag(7, &[b"ab"]), tag(8, &[b"ab"]));
        let pieces = Authenticator::new(&[7; 32]).part_of(2).piece(b"a").piece(b"b").tag();
        assert_eq!(tag(7, &[b"ab"]), pieces);
    }
}
