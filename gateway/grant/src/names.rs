//! What is a client's own in what is said of it: its names, kept once, and texts in which they stand by number.
//!
//! Most clients of a policy are granted the same but for their names: a subject, a namespace, a client identifier that filters,
//! attributes and dependencies repeat. With the names taken out, what is left is equal for all of them and lies in memory once.
//! Which words are taken for names decides about memory alone: every text comes out again as it went in.

use std::borrow::Cow;

use compact_str::CompactString;
use smallvec::SmallVec;

/// The most names of one grant: each has a letter.
const MOST: usize = 16;
/// Octets of the longest name beside subject, tenant and who is acted for.
const LONGEST: usize = 255;
/// What stands before the letter of a name, and before itself. No topic has it (MQTT 5 §1.5.4).
const MARK: char = '\0';
/// Octets of a name in a [`Text`]: the mark and its letter.
pub(crate) const MARKED: usize = 2;
/// The letter of the first name.
const FIRST: u8 = b'A';

/// Names in one piece: each behind its length. The first three are subject, tenant, and who is acted for. Up to 24 octets in all are
/// no allocation of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Names(CompactString);

impl Names {
    pub(crate) const SUBJECT: usize = 0;
    pub(crate) const TENANT: usize = 1;
    pub(crate) const ACTING_FOR: usize = 2;

    /// By number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (name, more) = next(rest)?;
            rest = more;
            Some(name)
        })
    }

    /// By number, empty where there is none.
    pub(crate) fn all(&self) -> SmallVec<[&str; MOST]> {
        self.iter().map(Option::unwrap_or_default).collect()
    }

    /// The name with this number, if there is one.
    pub(crate) fn get(&self, number: usize) -> Option<&str> {
        self.iter().nth(number)?
    }
}

/// A name and what follows it. A length is one more than it is, and 0 where there is no name; in digits of six bits, the
/// lowest first, of which all but the last have the seventh bit: most are one octet.
fn next(text: &str) -> Option<(Option<&str>, &str)> {
    let (mut length, mut at) = (0usize, 0);
    loop {
        let digit = *text.as_bytes().get(at)?;
        length |= usize::from(digit & 0x3F).checked_shl(6 * at as u32)?;
        at += 1;
        if digit & 0x40 == 0 {
            break;
        }
    }
    let rest = text.get(at..)?;
    match length.checked_sub(1) {
        None => Some((None, rest)),
        Some(length) => rest.split_at_checked(length).map(|(name, rest)| (Some(name), rest)),
    }
}

fn push(text: &mut String, name: Option<&str>) {
    let mut length = name.map_or(0, |name| name.len() + 1);
    loop {
        let more = if length > 0x3F { 0x40 } else { 0 };
        text.push(char::from((length & 0x3F) as u8 | more));
        length >>= 6;
        if more == 0 {
            break;
        }
    }
    text.push_str(name.unwrap_or_default());
}

/// The words that are looked for in texts, to become [`Names`].
#[derive(Debug)]
pub(crate) struct Words<'a> {
    all: SmallVec<[Option<&'a str>; MOST]>,
    /// Bit `n`: the word `n` may stand for a part of a filter. One with a wildcard would hide it, and one that begins or ends
    /// with a separator would hide where the level before a wildcard ends.
    in_filters: u16,
}

impl<'a> Words<'a> {
    pub(crate) fn new(subject: &'a str, tenant: Option<&'a str>, acting_for: Option<&'a str>) -> Self {
        let mut words = Self { all: SmallVec::new(), in_filters: 0 };
        for word in [Some(subject), tenant, acting_for] {
            words.push(word);
        }
        words
    }

    fn push(&mut self, word: Option<&'a str>) {
        let whole = |word: &str| !word.contains(['+', '#']) && !word.starts_with('/') && !word.ends_with('/');
        self.in_filters |= u16::from(word.is_some_and(whole)) << self.all.len();
        self.all.push(word);
    }

    /// Another one, unless it is there already or there is no room.
    pub(crate) fn add(&mut self, word: &'a str) {
        if !word.is_empty() && word.len() <= LONGEST && self.all.len() < MOST && !self.all.contains(&Some(word)) {
            self.push(Some(word));
        }
    }

    pub(crate) fn names(&self) -> Names {
        let mut text = String::with_capacity(self.all.iter().map(|word| word.map_or(0, str::len) + 2).sum());
        self.all.iter().for_each(|word| push(&mut text, *word));
        Names(CompactString::new(text))
    }

    /// The longest word that stands here, and its number.
    fn at(&self, text: &str, at: usize, which: u16) -> Option<(usize, &'a str)> {
        let numbered = self.all.iter().enumerate().filter(|(number, _)| which >> number & 1 != 0);
        let found =
            numbered.filter_map(|(number, word)| word.filter(|word| ends(text, at, word)).map(|word| (number, word)));
        found.max_by_key(|(_, word)| word.len())
    }

    /// Where one of these stands in a text, if [`Text::new`] would find it there and it is no word yet.
    pub(crate) fn occurrence<'t>(&self, word: &str, text: &'t str) -> Option<&'t str> {
        if self.all.contains(&Some(word)) {
            return None;
        }
        let begins = |at: &usize| {
            at.checked_sub(1).is_none_or(|before| !text.as_bytes().get(before).copied().is_some_and(is_inner))
        };
        let at = (0..text.len()).filter(begins).find(|at| ends(text, *at, word))?;
        text.get(at..at + word.len())
    }
}

/// Whether a word stands here, and ends where it does. That it begins here is known.
fn ends(text: &str, at: usize, word: &str) -> bool {
    let text = text.as_bytes();
    !word.is_empty()
        && text.get(at) == word.as_bytes().first()
        && text.get(at..).is_some_and(|rest| rest.starts_with(word.as_bytes()))
        && !text.get(at + word.len()).copied().is_some_and(is_inner)
}

/// Whether a word goes on with this octet.
fn is_inner(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || !octet.is_ascii()
}

/// A text in which names stand by number: `\0` and a letter. `\0` twice is itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Text(Box<str>);

impl Text {
    pub(crate) fn new(text: &str, words: &Words<'_>) -> Self {
        Self::with(text, words, u16::MAX).unwrap_or_else(|| Self(text.into()))
    }

    /// A filter in which a name stands: see [`Words::in_filters`].
    pub(crate) fn filter(text: &str, words: &Words<'_>) -> Option<Self> {
        Self::with(text, words, words.in_filters)
    }

    /// None: it is as it was.
    fn with(text: &str, words: &Words<'_>, which: u16) -> Option<Self> {
        let octets = text.as_bytes();
        let (mut out, mut copied, mut at) = (String::new(), 0, 0);
        // Words are not looked for within others: each round begins where one may.
        while at < octets.len() {
            if let Some((number, word)) = words.at(text, at, which) {
                out.push_str(text.get(copied..at).unwrap_or_default());
                out.push(MARK);
                out.push(char::from(FIRST + number as u8));
                at += word.len();
                copied = at;
            }
            while octets.get(at).copied().is_some_and(is_inner) {
                at += 1;
            }
            if octets.get(at) == Some(&(MARK as u8)) {
                out.push_str(text.get(copied..=at).unwrap_or_default());
                out.push(MARK);
                copied = at + 1;
            }
            at += 1;
        }
        if copied == 0 {
            return None;
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        Some(Self(out.into()))
    }

    /// Where the first name stands in it, and its number.
    pub(crate) fn first_name(&self) -> Option<(usize, usize)> {
        let mut pieces = Raw(&self.0);
        loop {
            let at = self.0.len() - pieces.0.len();
            if let Piece::Name(number) = pieces.next()? {
                return Some((at, number));
            }
        }
    }

    pub(crate) fn raw(&self) -> &str {
        &self.0
    }

    /// The text with these names.
    pub(crate) fn with_names<'a>(&'a self, names: &'a Names) -> Cow<'a, str> {
        resolve(&self.0, &names.all())
    }

    /// Whether it is this text with these names.
    pub(crate) fn is(&self, text: &str, names: &Names) -> bool {
        strip(&self.0, &names.all(), text) == Some("")
    }
}

/// The whole of a [`Text`], or a part of it, with these names by number.
pub(crate) fn resolve<'a>(raw: &'a str, names: &[&'a str]) -> Cow<'a, str> {
    let mut pieces = Raw(raw).map(|piece| piece.text(names));
    let first = pieces.next().unwrap_or_default();
    match pieces.next() {
        None => Cow::Borrowed(first),
        Some(second) => Cow::Owned([first, second].into_iter().chain(pieces).collect()),
    }
}

/// What follows in `text` after the whole of a [`Text`], or a part of it. None: it does not begin so.
pub(crate) fn strip<'t>(raw: &str, names: &[&str], text: &'t str) -> Option<&'t str> {
    Raw(raw).try_fold(text, |text, piece| text.strip_prefix(piece.text(names)))
}

/// The pieces of a [`Text`].
struct Raw<'a>(&'a str);

enum Piece<'a> {
    Literal(&'a str),
    Name(usize),
}

impl<'a> Piece<'a> {
    fn text(self, names: &[&'a str]) -> &'a str {
        match self {
            Self::Literal(text) => text,
            Self::Name(number) => names.get(number).copied().unwrap_or_default(),
        }
    }
}

impl<'a> Iterator for Raw<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let Some(marked) = self.0.strip_prefix(MARK) else {
            let (literal, rest) = self.0.split_at(self.0.bytes().position(|octet| octet == 0).unwrap_or(self.0.len()));
            self.0 = rest;
            return (!literal.is_empty()).then_some(Piece::Literal(literal));
        };
        let (letter, rest) = marked.split_at_checked(1)?;
        self.0 = rest;
        Some(match letter.bytes().next()?.checked_sub(FIRST) {
            Some(number) => Piece::Name(usize::from(number)),
            None => Piece::Literal(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_text_comes_out_as_it_went_in(
            subject in "[ab/\0+é-]{0,4}", tenant in prop::option::of("[ab/]{0,2}"), acting_for in prop::option::of(".{0,70}"),
            more in prop::collection::vec("[ab\0]{0,3}", 0..20), text in "[ab/\0+é:A-]{0,20}", other in "[ab/\0]{0,20}",
        ) {
            let mut words = Words::new(&subject, tenant.as_deref(), acting_for.as_deref());
            more.iter().for_each(|word| words.add(word));
            let names = words.names();
            for made in [Some(Text::new(&text, &words)), Text::filter(&text, &words)].into_iter().flatten() {
                prop_assert_eq!(&*made.with_names(&names), &*text);
                prop_assert!(made.is(&text, &names));
                prop_assert_eq!(made.is(&other, &names), text == other);
            }
            prop_assert_eq!(names.get(Names::SUBJECT), Some(&*subject));
            prop_assert_eq!(names.get(Names::TENANT), tenant.as_deref());
            prop_assert_eq!(names.get(Names::ACTING_FOR), acting_for.as_deref());
        }
    }

    #[test]
    fn names_of_every_length_are_kept() {
        for length in [0, 1, 61, 62, 63, 64, 4094, 4095, 4096, 70_000] {
            let long = "x".repeat(length);
            let words = Words::new("s", Some(&long), Some("last"));
            let names = words.names();
            assert_eq!(names.get(Names::TENANT), Some(&*long));
            assert_eq!((names.get(Names::ACTING_FOR), names.get(3)), (Some("last"), None));
        }
    }

    #[test]
    fn texts_that_differ_in_names_alone_are_equal_without_them() {
        let of = |name: &str, text: &str| Text::new(text, &Words::new(name, None, None));
        assert_eq!(of("ada", "user:ada"), of("bob", "user:bob"));
        assert_eq!(of("ada", "ada/ada-ada/x"), of("bob", "bob/bob-bob/x"));
        assert_ne!(of("ada", "adamant"), of("bob", "bobmant"), "a part of a word is no name");
        assert_ne!(of("ada", "u:ada"), of("ada", "u:\0A"), "nobody gets another's name by a mark");
    }
}
