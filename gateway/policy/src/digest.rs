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
pub(crate) fn authenticate(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    let mut inner = Sha256::new_with_prefix(pad(0x36));
    for part in parts {
        inner.update((part.len() as u64).to_be_bytes());
        inner.update(part);
    }
    Sha256::new_with_prefix(pad(0x5c)).chain_update(inner.finalize()).finalize().into()
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
        let key = [7; 32];
        assert_ne!(authenticate(&key, &[b"ab", b"c"]), authenticate(&key, &[b"a", b"bc"]));
        assert_ne!(authenticate(&key, &[b"ab"]), authenticate(&[8; 32], &[b"ab"]));
        assert_eq!(authenticate(&key, &[b"ab"]), authenticate(&key, &[b"ab"]));
    }
}
