//! JSON as tokens have it, in fewer octets: what all of them say is numbered, so is what the client's identity says already, and two
//! digits are one octet.
//!
//! The number of a word is a control character, of which JSON has none but between its parts; what is not ASCII has a mark before it,
//! and leaves its octets to digits. Nothing is lost: what was shortened becomes the same octets again, and the signature over them is
//! checked.

/// What may follow a quotation mark, by number; none begins as another does. Grants outlive the version of the policy that wrote
/// them: add at the end, and change none.
const WORDS: [&str; 27] = [
    "}",
    ",",
    "alg\":\"ES256\"",
    "alg\":\"RS256\"",
    "alg\":\"EdDSA\"",
    "typ\":\"JWT\"",
    "typ\":\"at+jwt\"",
    "kid\":\"",
    "iss\":",
    "sub\":",
    "aud\":\"",
    "aud\":[\"",
    "exp\":",
    "iat\":",
    "nbf\":",
    "jti\":\"",
    "azp\":\"",
    "scope\":\"",
    "client_id\":\"",
    "roles\":[\"",
    "groups\":[\"",
    "realm_access\":{\"",
    "resource_access\":{\"",
    "accounts\":{\"",
    "role\":\"user\"",
    "role\":\"device\"",
    "email\":\"",
];

/// The first octet that is not a number.
const PLAIN: u8 = b' ';

/// The digits 00; 01 to 99 follow.
const DIGITS: u8 = 0x80;
/// Before an octet of what is not ASCII.
const OTHER: u8 = 0xFF;

/// The longest JSON that a token has: the gateway looks at none of more than 16 KiB.
const LONGEST: usize = 16 << 10;

/// What a client's identity says, and its tokens as well: the first numbers.
pub(crate) type Names<'a> = [&'a str; 2];

/// JSON in fewer octets. None: it has control characters, or so much that is not ASCII that it would take more of them.
pub(crate) fn shorten(json: &[u8], names: Names<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    let mut rest = json;
    while let Some((&first, more)) = rest.split_first() {
        if first < PLAIN {
            return None;
        }
        let shorter = match first {
            b'"' => number(more, names),
            b'0'..=b'9' => digits(first, more),
            DIGITS.. => {
                out.push(OTHER);
                None
            }
            _ => None,
        };
        let (octet, after) = shorter.unwrap_or((first, more));
        out.push(octet);
        rest = after;
    }
    (out.len() <= json.len()).then_some(out)
}

/// A digit with the one behind it, and what is behind that.
fn digits(first: u8, more: &[u8]) -> Option<(u8, &[u8])> {
    let (&second, after) = more.split_first().filter(|(second, _)| second.is_ascii_digit())?;
    Some((DIGITS + (first - b'0') * 10 + (second - b'0'), after))
}

/// What stands behind a quotation mark, and what is behind that.
fn number<'a>(text: &'a [u8], names: Names<'_>) -> Option<(u8, &'a [u8])> {
    let first = text.first();
    (0..PLAIN).find_map(|number| {
        let (word, end) = word(number, names)?;
        // Logins wait for this: most words are told apart by their first octet.
        if word.as_bytes().first() != first {
            return None;
        }
        Some((number, text.strip_prefix(word.as_bytes())?.strip_prefix(end.as_bytes())?))
    })
}

/// A word, and what ends it. None: there is none of this number.
fn word<'a>(number: u8, names: Names<'a>) -> Option<(&'a str, &'static str)> {
    let number = usize::from(number);
    match names.get(number) {
        Some(name) => Some((*name, "\"")),
        None => Some((*WORDS.get(number - names.len())?, "")),
    }
}

/// The same JSON again. None: it was not made here.
pub(crate) fn lengthen(short: &[u8], names: Names<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(short.len() * 2);
    let mut octets = short.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            ..PLAIN => {
                let (word, end) = word(octet, names)?;
                out.push(b'"');
                out.extend_from_slice(word.as_bytes());
                out.extend_from_slice(end.as_bytes());
            }
            PLAIN..DIGITS => out.push(octet),
            OTHER => out.push(octets.next()?),
            _ => {
                let number = Some(octet - DIGITS).filter(|number| *number < 100)?;
                out.extend([b'0' + number / 10, b'0' + number % 10]);
            }
        }
        if out.len() > LONGEST {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: Names<'_> = ["sensor-000123", "https://login.example.com/realms/plant"];

    #[test]
    fn what_every_token_says_takes_an_octet() {
        let header = br#"{"alg":"ES256","typ":"JWT","kid":"key-2026-01"}"#;
        let claims = br#"{"iss":"https://login.example.com/realms/plant","sub":"sensor-000123","aud":"gateway","exp":1764363501,"iat":1764359901,"jti":"2f1c9a52-7a0b-4c3e-9f64-0d3b8a6f1e27"}"#;
        let short = |json| {
            let short = shorten(json, NAMES).unwrap();
            assert_eq!(lengthen(&short, NAMES).as_deref(), Some(json));
            (json.len(), short.len())
        };
        assert_eq!((short(header), short(claims)), ((47, 15), (165, 65)));
    }

    #[test]
    fn no_word_is_found_in_place_of_another() {
        assert!(NAMES.len() + WORDS.len() <= usize::from(PLAIN));
        for (number, word) in WORDS.iter().enumerate() {
            assert!(!WORDS[..number].iter().any(|other| word.starts_with(other)), "{word}");
            let text = format!("\"{word}");
            assert_eq!(shorten(text.as_bytes(), NAMES), Some(vec![(NAMES.len() + number) as u8]), "{word}");
        }
    }

    #[test]
    fn what_is_kept_of_digits_and_of_what_is_not_ascii_stays_what_it_is() {
        let short = shorten("{\"exp\":1764009,\"email\":\"é\"}".as_bytes(), NAMES);
        assert_eq!(short.as_deref(), Some(&b"{\x0E\x91\xC0\x809,\x1C\xFF\xC3\xFF\xA9\x02"[..]));
    }

    #[test]
    fn with_other_names_it_is_another_text() {
        let json = br#"{"sub":"sensor-000123"}"#;
        let short = shorten(json, NAMES).unwrap();
        assert_eq!(lengthen(&short, ["sensor-000124", ""]).as_deref(), Some(&br#"{"sub":"sensor-000124"}"#[..]));
    }

    #[test]
    fn what_cannot_be_shortened_is_told() {
        assert_eq!(shorten(b"{\n\"sub\": \"ann\"}", NAMES), None);
        assert_eq!(lengthen(&[31], NAMES), None, "no such word");
        assert_eq!(lengthen(&[DIGITS + 100], NAMES), None, "no such digits");
        assert_eq!(lengthen(&[OTHER], NAMES), None, "nothing behind the mark");
        assert_eq!(shorten("{\"name\":\"Ю\"}".as_bytes(), NAMES), None, "longer than it was");
        let long = "x".repeat(600);
        assert_eq!(lengthen(&[0; 40], [&long, ""]), None, "no token is as long");
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            parts in prop::collection::vec(prop_oneof![
                prop::sample::select(WORDS.to_vec()).prop_map(|word| format!("\"{word}")),
                Just("\"sensor-000123\"".to_owned()), Just("\"\"".to_owned()), "[ -~é]{0,6}", "[0-9]{1,7}",
            ], 0..30),
            subject in prop_oneof![Just("sensor-000123"), Just("")], issuer in prop_oneof![Just("é"), Just("")],
        ) {
            let json = parts.concat().into_bytes();
            let names = [subject, issuer];
            match shorten(&json, names) {
                Some(short) => {
                    prop_assert!(short.len() <= json.len());
                    prop_assert_eq!(lengthen(&short, names), Some(json));
                }
                None => prop_assert!(!json.is_ascii()),
            }
        }

        #[test]
        fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = shorten(&octets, NAMES);
            let _ = lengthen(&octets, NAMES);
        }
    }
}
