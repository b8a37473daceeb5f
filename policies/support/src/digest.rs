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
    hash.finalize().iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::sha256;

    #[test]
    fn where_one_part_ends_matters() {
        assert_eq!(sha256(&["a"]).len(), 64);
        assert_ne!(sha256(&["ab", "c"]), sha256(&["a", "bc"]));
        assert_ne!(sha256(&[]), sha256(&[""]));
    }
}
