//! UTF-8 strings (MQTT 5 §1.5.4) and topic names, checked on the octets that came in.
//!
//! Refused: ill-formed UTF-8 (surrogates are) and U+0000. Let through: the control characters U+0001–U+001F and
//! U+007F–U+009F and non-characters, which a receiver MAY refuse and which are in use. A byte order mark is an
//! ordinary character and stays ([MQTT-1.5.4-3]).

use crate::Error;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Has its high bits set where `v` has a zero octet; exact in the question whether there is one at all.
const fn zeros(v: u64) -> u64 {
    v.wrapping_sub(LOW) & !v & HIGH
}

/// Whether eight octets at once are ASCII without U+0000, `+` and `#`.
///
/// `+` is 0x2B and `#` is 0x23: with bit 3 set both become 0x2B, and no other octet does.
#[inline]
const fn eight_plain(v: u64) -> bool {
    (v & HIGH) | zeros(v) | zeros((v | LOW << 3) ^ (LOW * 0x2B)) == 0
}

/// Whether a topic name is so ordinary that nothing remains to be checked: ASCII, no U+0000, no wildcard.
#[inline]
fn plain(bytes: &[u8]) -> bool {
    let (chunks, tail) = bytes.as_chunks::<8>();
    // The tail is looked at with the octets before it, if there are any: no copy of a length that is not known.
    let last = bytes.last_chunk::<8>().copied().unwrap_or_else(|| {
        let mut padded = [b'a'; 8];
        padded.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        padded
    });
    chunks.iter().chain([&last]).all(|chunk| eight_plain(u64::from_le_bytes(*chunk)))
}

/// Reads a string; `what` names it in errors.
#[inline]
pub(crate) fn string<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::InvalidUtf8 { what })?;
    if bytes.contains(&0) {
        return Err(Error::NullCharacter { what });
    }
    Ok(text)
}

/// Checks a topic name that may be empty (a topic alias stands for it then).
#[inline]
pub(crate) fn check_topic_name(bytes: &[u8], what: &'static str) -> Result<(), Error> {
    if plain(bytes) { Ok(()) } else { check_unusual_topic_name(bytes, what) }
}

#[cold]
fn check_unusual_topic_name(bytes: &[u8], what: &'static str) -> Result<(), Error> {
    let name = string(bytes, what)?;
    if name.contains(['+', '#']) { Err(Error::WildcardInTopicName { what }) } else { Ok(()) }
}

/// Reads a topic name that may be empty.
#[inline]
pub(crate) fn topic_name<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, Error> {
    check_topic_name(bytes, what)?;
    std::str::from_utf8(bytes).map_err(|_| Error::InvalidUtf8 { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: &str = "topic name";

    #[test]
    fn strings() {
        for good in ["", "a", "é", "\u{1}", "\u{7f}", "\u{9f}", "\u{feff}x", "\u{ffff}", "\u{10ffff}"] {
            assert_eq!(string(good.as_bytes(), WHAT), Ok(good));
        }
        for bad in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"a\xe2\x82", b"\xf4\x90\x80\x80"] {
            assert_eq!(string(bad, WHAT), Err(Error::InvalidUtf8 { what: WHAT }), "{bad:x?}");
        }
        assert_eq!(string(b"a\0b", WHAT), Err(Error::NullCharacter { what: WHAT }));
    }

    #[test]
    fn every_octet_at_every_place_of_a_topic_name() {
        for len in 1..=17 {
            for at in 0..len {
                for octet in 0..=255u8 {
                    let mut name = vec![b'/'; len];
                    name[at] = octet;
                    let expected = match octet {
                        0 => Err(Error::NullCharacter { what: WHAT }),
                        b'+' | b'#' => Err(Error::WildcardInTopicName { what: WHAT }),
                        0x80.. => Err(Error::InvalidUtf8 { what: WHAT }),
                        _ => Ok(()),
                    };
                    assert_eq!(check_topic_name(&name, WHAT), expected, "{octet:#x} at {at} of {len}");
                }
            }
        }
        assert_eq!(topic_name("é/ü/€".as_bytes(), WHAT), Ok("é/ü/€"));
        assert_eq!(topic_name("é/+".as_bytes(), WHAT), Err(Error::WildcardInTopicName { what: WHAT }));
        assert_eq!(topic_name("é/\0".as_bytes(), WHAT), Err(Error::NullCharacter { what: WHAT }));
    }
}
