//! Topic filters with placeholders in braces, and the check that keeps a value that somebody else chose from becoming
//! more than one level of a topic.

use std::borrow::Cow;
use std::fmt;

use crate::filter;

/// The most octets of a value that replaces a placeholder.
pub const VALUE_LIMIT: usize = 512;

/// The most values that a placeholder with a list may have.
pub const LIST_LIMIT: usize = 1024;

/// The placeholders that a policy knows.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary {
    /// Whole names, such as `sub`.
    pub names: &'static [&'static str],
    /// Beginnings that anything may follow, such as `claim.`.
    pub families: &'static [&'static str],
}

impl Vocabulary {
    fn knows(&self, name: &str) -> bool {
        self.names.contains(&name)
            || self.families.iter().any(|family| name.strip_prefix(family).is_some_and(|rest| !rest.is_empty()))
    }

    fn list(&self) -> String {
        let names = self.names.iter().map(|name| format!("`{{{name}}}`"));
        let families = self.families.iter().map(|family| format!("`{{{family}…}}`"));
        names.chain(families).collect::<Vec<_>>().join(", ")
    }
}

/// What stands for a placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing: what needs it is left out.
    Missing,
    /// One text.
    One(Cow<'a, str>),
    /// One filter for each of these.
    Many(Vec<Cow<'a, str>>),
}

impl<'a> Value<'a> {
    /// One text.
    #[must_use]
    pub fn one(text: &'a str) -> Self {
        Self::One(Cow::Borrowed(text))
    }

    /// One text, or nothing if there is none or it is empty.
    #[must_use]
    pub fn maybe(text: Option<&'a str>) -> Self {
        text.filter(|text| !text.is_empty()).map_or(Self::Missing, Self::one)
    }

    fn as_slice(&self) -> &[Cow<'a, str>] {
        match self {
            Self::Missing => &[],
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// Where values come from. `name` is one that the vocabulary knows.
pub trait Values {
    /// The value of a placeholder.
    ///
    /// # Errors
    /// The value is there and of a kind that cannot be used.
    fn value(&self, name: &str) -> Result<Value<'_>, Unfit>;
}

/// A placeholder's value that cannot stand in a topic filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The placeholder, without braces.
    pub placeholder: String,
    /// What is wrong, in words that continue "it …".
    pub why: &'static str,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}} cannot be written into a topic filter: it {}", self.placeholder, self.why)
    }
}

/// Whether a text may stand for a placeholder: it must be one level of a topic, or a part of one, and nothing more.
///
/// # Errors
/// What is wrong with it, in words that continue "it …".
pub fn check_value(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > VALUE_LIMIT {
        return Err("is longer than 512 octets");
    }
    if text.starts_with('$') {
        return Err("begins with `$`");
    }
    match text.bytes().find(|octet| matches!(octet, b'+' | b'#' | b'/' | 0)) {
        Some(b'+') => Err("contains `+`"),
        Some(b'#') => Err("contains `#`"),
        Some(b'/') => Err("contains `/`"),
        Some(_) => Err("contains U+0000"),
        None => Ok(()),
    }
}

/// A topic filter with placeholders, such as `{device}/stream`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    /// Distinct placeholders, in the order of their first use.
    names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// Index into `names`.
    Placeholder(usize),
}

impl Template {
    /// Reads a template and checks that it makes topic filters.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub fn parse(text: &str, vocabulary: &Vocabulary) -> Result<Self, String> {
        if text.len() > 1024 {
            return Err("it is longer than 1,024 octets".into());
        }
        let mut template = Self { parts: Vec::new(), names: Vec::new() };
        let mut rest = text;
        while let Some((literal, more)) = rest.split_once('{') {
            let Some((name, after)) = more.split_once('}') else {
                return Err("a `{` has no `}`".into());
            };
            if !vocabulary.knows(name) {
                return Err(format!("there is no placeholder `{{{name}}}`; there are {}", vocabulary.list()));
            }
            template.literal(literal)?;
            let index = template.names.iter().position(|known| known == name).unwrap_or_else(|| {
                template.names.push(name.to_owned());
                template.names.len() - 1
            });
            template.parts.push(Part::Placeholder(index));
            rest = after;
        }
        template.literal(rest)?;
        let sample = template.write(&vec!["x"; template.names.len()]);
        filter::check(&sample).map_err(|why| format!("the filter {why}"))?;
        Ok(template)
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        if text.contains('}') {
            return Err("a `}` has no `{`".into());
        }
        if !text.is_empty() {
            self.parts.push(Part::Literal(text.to_owned()));
        }
        Ok(())
    }

    /// Whether it uses this placeholder.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.names.iter().any(|used| used == name)
    }

    /// The placeholders that it uses.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    fn write(&self, values: &[&str]) -> String {
        let mut out = String::with_capacity(32);
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Placeholder(index) => out.push_str(values.get(*index).copied().unwrap_or_default()),
            }
        }
        out
    }

    /// Every filter that the values make: one for each combination of the elements of lists, none when a value is
    /// missing. Stops with an error after `limit`.
    ///
    /// # Errors
    /// A value cannot stand in a filter, or there would be more filters than `limit`.
    pub fn expand(&self, values: &dyn Values, limit: usize) -> Result<Vec<String>, Unfit> {
        let mut choices = Vec::with_capacity(self.names.len());
        let mut total = 1_usize;
        for name in &self.names {
            let unfit = |why| Unfit { placeholder: name.clone(), why };
            let value = values.value(name)?;
            let texts = value.as_slice();
            if texts.len() > LIST_LIMIT {
                return Err(unfit("has more than 1,024 elements"));
            }
            texts.iter().try_for_each(|text| check_value(text)).map_err(unfit)?;
            total = total.saturating_mul(texts.len());
            if total > limit {
                return Err(unfit("makes more rules than a grant may have"));
            }
            choices.push(value);
        }
        let mut out = Vec::with_capacity(total);
        let mut picked = Vec::with_capacity(choices.len());
        for number in 0..total {
            // The number of the combination, read as digits: one digit for each placeholder.
            let mut digits = number;
            picked.clear();
            for choice in &choices {
                let texts = choice.as_slice();
                picked.extend(texts.get(digits % texts.len()).map(Cow::as_ref));
                digits /= texts.len();
            }
            out.push(self.write(&picked));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::{Template, Unfit, VALUE_LIMIT, Value, Values, Vocabulary, check_value};
    use crate::filter;
    use proptest::prelude::*;

    const WORDS: Vocabulary = Vocabulary { names: &["sub", "list", "none"], families: &["claim."] };

    struct Sample(&'static str);

    impl Values for Sample {
        fn value(&self, name: &str) -> Result<Value<'_>, Unfit> {
            Ok(match name {
                "sub" => Value::one(self.0),
                "list" => Value::Many(vec!["a".into(), "b".into()]),
                "claim.two" => Value::Many(vec!["1".into(), "2".into(), "3".into()]),
                _ => Value::Missing,
            })
        }
    }

    fn expand(template: &str, sub: &'static str, limit: usize) -> Result<Vec<String>, String> {
        let template = Template::parse(template, &WORDS).unwrap();
        template.expand(&Sample(sub), limit).map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn placeholders_are_replaced() {
        assert_eq!(expand("x/{sub}/+", "me", 9), Ok(vec!["x/me/+".into()]));
        assert_eq!(expand("plain/#", "me", 9), Ok(vec!["plain/#".into()]));
        assert_eq!(expand("{list}/{sub}", "me", 9), Ok(vec!["a/me".into(), "b/me".into()]));
        assert_eq!(expand("{none}/x", "me", 9), Ok(vec![]));
    }

    #[test]
    fn a_list_used_twice_keeps_step_and_two_lists_combine() {
        assert_eq!(expand("{list}/in/{list}", "me", 9), Ok(vec!["a/in/a".into(), "b/in/b".into()]));
        let mut all = expand("{list}/{claim.two}", "me", 9).unwrap();
        all.sort();
        assert_eq!(all, ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"]);
        let too_many = expand("{list}/{claim.two}", "me", 5).unwrap_err();
        assert!(too_many.contains("more rules than a grant may have"), "{too_many}");
    }

    #[test]
    fn a_value_that_would_be_more_than_a_level_is_refused() {
        for bad in ["+", "a/b", "#", "", "$SYS", "a\0b", "/", "a#"] {
            assert!(check_value(bad).is_err(), "{bad:?}");
        }
        assert!(check_value(&"a".repeat(VALUE_LIMIT)).is_ok());
        assert!(check_value(&"a".repeat(VALUE_LIMIT + 1)).is_err());
        assert_eq!(
            expand("{sub}/x", "a/b", 9),
            Err("{sub} cannot be written into a topic filter: it contains `/`".into())
        );
    }

    #[test]
    fn bad_templates_are_refused_with_a_reason() {
        for (text, part) in [
            ("{nobody}/x", "no placeholder `{nobody}`; there are `{sub}`, `{list}`, `{none}`, `{claim.…}`"),
            ("{claim.}", "no placeholder `{claim.}`"),
            ("{sub", "a `{` has no `}`"),
            ("sub}", "a `}` has no `{`"),
            ("", "is empty"),
            ("a/#/{sub}", "`#` that is not its last level"),
            ("+{sub}/x", "wildcard beside other characters"),
            ("$share/{sub}/x", "$share/"),
        ] {
            let error = Template::parse(text, &WORDS).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    struct Any(String);

    impl Values for Any {
        fn value(&self, _: &str) -> Result<Value<'_>, Unfit> {
            Ok(Value::one(&self.0))
        }
    }

    proptest! {
        /// Whatever the value, the filter keeps the number of levels and the wildcards of its template.
        #[test]
        fn no_value_breaks_out(value in any::<String>()) {
            let template = Template::parse("a/{sub}/+/x{sub}y/#", &WORDS).unwrap();
            if let Ok(filters) = template.expand(&Any(value.clone()), 9) {
                prop_assert_eq!(filters.len(), 1);
                prop_assert_eq!(filter::check(&filters[0]), Ok(()));
                prop_assert_eq!(filters[0].split('/').count(), 5);
                prop_assert_eq!(filters[0].matches(['+', '#']).count(), 2);
            }
        }

        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            let _ = Template::parse(&text, &WORDS);
        }
    }
}
