//! Identifiers and secrets, from the operating system's generator.

use crate::error::DirectoryError;
use crate::model::Alphabet;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Fills a buffer.
pub(super) fn fill(octets: &mut [u8]) -> Result<(), DirectoryError> {
    getrandom::fill(octets).map_err(|_| DirectoryError::NoRandomness)
}

/// 128 random bits as 32 hexadecimal digits.
pub(super) fn id() -> Result<String, DirectoryError> {
    text(32, Alphabet::Hex)
}

/// The characters of an alphabet.
pub(super) fn letters(alphabet: Alphabet) -> &'static [u8] {
    match alphabet {
        Alphabet::Hex => HEX,
        Alphabet::Base62 => BASE62,
    }
}

/// So many random characters, each as likely as any other.
pub(super) fn text(length: usize, alphabet: Alphabet) -> Result<String, DirectoryError> {
    let letters = letters(alphabet);
    // Octets beyond the last whole multiple would make some letters likelier.
    let bound = 256 - 256 % letters.len();
    let mut text = String::with_capacity(length);
    let mut octets = [0; 64];
    while text.len() < length {
        fill(&mut octets)?;
        let wanted = length - text.len();
        let usable = octets.iter().map(|octet| usize::from(*octet)).filter(|octet| *octet < bound);
        text.extend(usable.take(wanted).map(|octet| char::from(letters[octet % letters.len()])));
    }
    zeroize::Zeroize::zeroize(&mut octets);
    Ok(text)
}
