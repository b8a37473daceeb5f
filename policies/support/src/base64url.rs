//! Base64url without padding (RFC 4648 §5), as tokens have it. Strict: octets have one text, and whatever else is none.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The text of these octets.
#[must_use]
pub fn encode(octets: &[u8]) -> String {
    let mut out = String::with_capacity((octets.len() * 4).div_ceil(3));
    for group in octets.chunks(3) {
        let word = group.iter().fold(0_u32, |word, octet| word << 8 | u32::from(*octet)) << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * place) & 0x3F) as usize]));
        }
    }
    out
}

/// The octets of a text. None: no octets have it.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    // Bits that make no octet yet.
    let (mut rest, mut bits) = (0_u32, 0);
    for letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        rest = rest << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((rest >> bits) as u8);
            rest &= (1 << bits) - 1;
        }
    }
    // A letter that makes no octet is too many, and so are bits of the last one beyond the last octet.
    (bits < 6 && rest == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Those of RFC 4648 §10 without their padding, and the two letters in which the alphabets differ.
    #[test]
    fn octets_and_their_texts() {
        let vectors: [(&[u8], &str); 9] = [
            (b"", ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (b"fooba", "Zm9vYmE"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xFB, 0xEF, 0xBE], "----"),
            (&[0xFF; 4], "_____w"),
        ];
        for (octets, text) in vectors {
            assert_eq!(encode(octets), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(octets), "{text}");
        }
    }

    #[test]
    fn what_is_no_text_of_octets_is_refused() {
        let padded = ["Zg==", "Zm8=", "="];
        let stray_bits = ["Zh", "Zm9", "_____x"];
        let too_long = ["Z", "Zm9vY"];
        let foreign = ["Zm+v", "Zm/v", "Zm9v ", "Zm9v\n", "Zm.v", "Zé"];
        for text in padded.iter().chain(&stray_bits).chain(&too_long).chain(&foreign) {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn octets_come_out_of_their_text(octets in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decode(encode(&octets).as_bytes()), Some(octets));
        }

        #[test]
        fn octets_have_one_text(text in "[A-Za-f_=-]{0,9}") {
            if let Some(octets) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&octets), text);
            }
        }
    }
}
