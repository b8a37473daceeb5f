//! SHA-256, for names that must not show what they were made of: keys of stored answers, identifiers.

use sha2::{Digest, Sha256};

/// SHA-256 of the parts, each with its length, as 64 lower-case hexadecimal digits.
#[must_use]
pub fn sha256(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize())
}

/// Lower-case hexadecimal digits. Logins wait for this: the formatter would take as long as the hash.
fn hex(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        for half in [octet >> 4, octet & 0xF] {
            text.push(char::from(DIGITS[usize::from(half)]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::sha256;

    #[test]
    fn where_one_part_ends_matters() {
        assert_eq!(sha256(&["a"]).len(), 64);
        assert_ne!(sha256(&["ab", "c"]), sha256(&["a", "bc"]));
        assert_ne!(sha256(&[]), sha256(&[""]));
        // Of eight octets of zero.
        assert_eq!(sha256(&[""]), "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
    }
}
