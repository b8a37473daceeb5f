//! Reads a TOML tree key by key. A wrong value and an unknown key are problems with a place, never the end of the
//! reading: that is why this is not serde, which stops at the first.
//!
//! Knows nothing of what the keys mean.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;

use portcullis_net::{Balancer, Endpoint, NetworkError};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems, Span};
use super::units::{FileMode, PerSecond, Percent, Size, Time};

/// A value, and where the file says it. Two are equal when the values are: moving a line changes nothing.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    /// The value.
    pub(crate) value: T,
    /// Its place in the file. Empty at 0 for what was not written in a file.
    pub(crate) span: Span,
}

impl<T> Located<T> {
    /// A value that no file says, such as a default.
    pub(crate) fn nowhere(value: T) -> Self {
        Self { value, span: 0..0 }
    }

    /// The place of a value.
    pub(crate) fn span(located: &Self) -> Span {
        located.span.clone()
    }
}

impl<T> Deref for Located<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

/// What a key's value may be read as.
pub(crate) trait Read: Sized {
    /// Reads a value. What is wrong with it goes to `problems`, and None is returned.
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self>;
}

/// A value of another kind stands there than was expected.
pub(crate) fn mismatch(value: &Spanned<DeValue<'_>>, expected: &str) -> Problem {
    let found = match value.get_ref() {
        DeValue::String(text) if text.is_empty() => "an empty text",
        DeValue::String(text) => return Problem::new(value.span(), format!("{text:?} is not {expected}")),
        DeValue::Integer(number) => return Problem::new(value.span(), format!("{number} is not {expected}")),
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Problem::new(value.span(), format!("expected {expected}, not {found}"))
}

macro_rules! read_with {
    ($type:ty, $expected:expr, $read:expr) => {
        impl Read for $type {
            fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
                let read: fn(&DeValue<'_>) -> Option<$type> = $read;
                let result = read(value.get_ref());
                if result.is_none() {
                    problems.add(mismatch(value, $expected));
                }
                result
            }
        }
    };
}

read_with!(String, "a text", |value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned));
read_with!(bool, "true or false", |value| value.as_bool());
read_with!(Size, Size::EXPECTED, |value| value.as_str().and_then(Size::parse));
read_with!(Time, Time::EXPECTED, |value| value.as_str().and_then(Time::parse));
read_with!(PerSecond, PerSecond::EXPECTED, |value| value.as_str().and_then(PerSecond::parse));
read_with!(Percent, Percent::EXPECTED, |value| value.as_str().and_then(Percent::parse));
read_with!(SocketAddr, "an address and a port, such as \"127.0.0.1:1883\" or \"[::]:8883\"", |value| {
    let text = value.as_str()?;
    let localhost = || text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    text.parse().ok().or_else(|| localhost().map(|port| SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)))
});
impl Read for Endpoint {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        let Some(path) = value.get_ref().as_str().and_then(|text| text.strip_prefix("unix:")) else {
            return SocketAddr::read(value, problems).map(Self::Ip);
        };
        if path.is_empty() || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let message = "expected the path of a socket behind `unix:`, without blanks";
            problems.add(Problem::new(value.span(), message).label("such as \"unix:/run/portcullis/mqtt.sock\""));
            return None;
        }
        Some(Self::Unix(path.into()))
    }
}

read_with!(FileMode, FileMode::EXPECTED, |value| value.as_str().and_then(FileMode::parse));

impl Read for Balancer {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        let problem =
            || mismatch(value, "an address or a network, such as \"192.0.2.7\" or \"10.0.0.0/8\", or \"unix\"");
        let Some(text) = value.get_ref().as_str() else {
            problems.add(problem());
            return None;
        };
        if text == "unix" {
            return Some(Self::Unix);
        }
        text.parse()
            .map(Self::Network)
            .map_err(|why| {
                problems.add(problem().label(match why {
                    NetworkError::Beyond { network } => format!("did you mean \"{network}\"?"),
                    why => why.to_string(),
                }));
            })
            .ok()
    }
}

read_with!(u32, "a whole number from 1 to 4294967295", |value| integer(value).filter(|number| *number > 0));
read_with!(u16, "a whole number from 1 to 65535", |value| integer(value).filter(|number| *number > 0));

fn integer<T: TryFrom<i64>>(value: &DeValue<'_>) -> Option<T> {
    let integer = value.as_integer()?;
    T::try_from(i64::from_str_radix(integer.as_str(), integer.radix()).ok()?).ok()
}

impl<T: Read> Read for Located<T> {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        T::read(value, problems).map(|read| Self { value: read, span: value.span() })
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else {
            problems.add(mismatch(value, "a list"));
            return None;
        };
        // Every bad element is a problem of its own; the good ones are still checked against the rest of the file.
        Some(array.iter().filter_map(|element| T::read(element, problems)).collect())
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<T: Read> Read for OneOrMany<T> {
    fn read(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        match value.get_ref() {
            DeValue::Array(_) => Vec::read(value, problems).map(Self),
            _ => T::read(value, problems).map(|one| Self(vec![one])),
        }
    }
}

/// An enum of words, each written as the file writes it.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $crate::config::reader::Read for $name {
            fn read(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                problems: &$crate::config::problem::Problems,
            ) -> Option<Self> {
                match value.get_ref().as_str() {
                    $(Some($word) => Some(Self::$variant),)+
                    text => {
                        $crate::config::reader::wrong_word(value, text, &[$($word),+], problems);
                        None
                    }
                }
            }
        }
    };
}
pub(crate) use words;

pub(crate) fn wrong_word(value: &Spanned<DeValue<'_>>, text: Option<&str>, words: &[&str], problems: &Problems) {
    let list: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    let problem = mismatch(value, &format!("one of {}", list.join(", ")));
    let near = text.and_then(|text| nearest(text, words.iter().copied()));
    problems.add(match near {
        Some(near) => problem.label(format!("did you mean {near:?}?")),
        None => problem,
    });
}

/// A table whose keys are taken one by one; whatever is left in the end is unknown.
pub(crate) struct Section<'a> {
    /// Keys whose value could not be read.
    wrong: Vec<&'static str>,
    title: &'static str,
    span: Span,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// `title` is how messages call it: `[[listener]]`, `limits`.
    pub(crate) fn new(title: &'static str, span: Span, table: &'a DeTable<'a>, problems: &'a Problems) -> Self {
        Self { wrong: Vec::new(), title, span, table, known: Vec::new(), problems }
    }

    /// The place of the table's head.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// The place of a key's name, if the key is there.
    pub(crate) fn key_span(&self, key: &str) -> Option<Span> {
        self.table.get_key_value(key).map(|(name, _)| name.span())
    }

    /// Where problems go.
    pub(crate) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Whether a key that is not this one was probably meant to be it.
    pub(crate) fn is_misspelt(&self, key: &str) -> bool {
        let mut keys = self.table.keys().map(|name| name.get_ref().as_ref());
        !self.table.contains_key(key) && keys.any(|name| !self.known.contains(&name) && nearest(name, [key]).is_some())
    }

    /// Whether this key's value was asked for, is there, and could not be read.
    pub(crate) fn is_wrong(&self, key: &str) -> bool {
        self.wrong.contains(&key)
    }

    /// The value as the file has it.
    pub(crate) fn raw(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// A value that may be absent.
    pub(crate) fn optional<T: Read>(&mut self, key: &'static str) -> Option<T> {
        let value = self.raw(key)?;
        let read = T::read(value, self.problems);
        if read.is_none() {
            self.wrong.push(key);
        }
        read
    }

    /// A value that must be there. `what` completes the sentence "it needs …".
    pub(crate) fn required<T: Read>(&mut self, key: &'static str, what: &str) -> Option<T> {
        self.known.push(key);
        if !self.table.contains_key(key) {
            let message = format!("{} has no `{key}`", self.title);
            self.problems.add(Problem::new(self.span(), message).label(format!("it needs {what}")));
            return None;
        }
        self.optional(key)
    }

    /// A table within this one.
    pub(crate) fn section(&mut self, key: &'static str, title: &'static str) -> Option<Section<'a>> {
        let value = self.raw(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.problems.add(mismatch(value, "a table"));
            return None;
        };
        Some(Section::new(title, value.span(), table, self.problems))
    }

    /// A list of tables, written `[[key]]`.
    pub(crate) fn sections(&mut self, key: &'static str, title: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            let problem = mismatch(value, "a list of tables").help(format!("write {title} above the table"));
            self.problems.add(problem);
            return Vec::new();
        };
        let table = |element: &'a Spanned<DeValue<'a>>| match element.get_ref().as_table() {
            Some(table) => Some(Section::new(title, element.span(), table, self.problems)),
            None => {
                self.problems.add(mismatch(element, "a table"));
                None
            }
        };
        array.iter().filter_map(table).collect()
    }

    /// Every key that nobody asked for is a problem: configuration that does nothing is a mistake.
    pub(crate) fn finish(self) {
        for (name, _) in self.table.iter() {
            let key = name.get_ref().as_ref();
            if self.known.contains(&key) {
                continue;
            }
            let problem = Problem::new(name.span(), format!("`{key}` is not a key of {}", self.title));
            let mut known = self.known.clone();
            known.sort_unstable();
            known.dedup();
            self.problems.add(match nearest(key, known.iter().copied()) {
                Some(near) => problem.label(format!("did you mean `{near}`?")),
                None => problem.help(format!("its keys are: {}", known.join(", "))),
            });
        }
    }
}

/// The candidate that was most likely meant, if any is near.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let word = plain(word);
    let allowed = (word.chars().count() / 3).max(1);
    let near = candidates.into_iter().map(|candidate| (distance(&word, &plain(candidate)), candidate)).min()?;
    (near.0 <= allowed).then_some(near.1)
}

/// Edits that turn one word into the other: insert, delete, replace, or swap two neighbours.
fn distance(a: &str, b: &str) -> usize {
    // Quadratic: nothing longer than a sensible key is compared.
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().take(40).collect(), b.chars().take(40).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    rows[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                replaced.min(swapped).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let keys = ["bind", "transport", "policies", "client-ca"];
        assert_eq!(nearest("transprot", keys), Some("transport"));
        assert_eq!(nearest("client_ca", keys), Some("client-ca"));
        assert_eq!(nearest("policy", keys), None);
        assert_eq!(nearest("bnd", keys), Some("bind"));
        assert_eq!(nearest("x", keys), None);
    }
}
