//! Reading a policy's configuration strictly: an unknown key, a wrong type or a word that does not exist is an error
//! that names the key, where it stands and what was expected.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// What is wrong with a configuration, in one sentence that begins with the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// An error about the key at `path`.
    #[must_use]
    pub fn new(path: &str, problem: impl fmt::Display) -> Self {
        Self(if path.is_empty() { problem.to_string() } else { format!("`{path}`: {problem}") })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

type Result<T> = std::result::Result<T, ConfigError>;

/// Reads the policy's whole configuration: hands the root table to `read` and then refuses what it did not ask for.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse<T>(json: &str, read: impl FnOnce(&Table<'_>) -> Result<T>) -> Result<T> {
    let value: Value = if json.trim().is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_str(json).map_err(|error| ConfigError::new("", format!("it is not JSON: {error}")))?
    };
    let Value::Object(map) = &value else {
        return Err(ConfigError::new("", format!("expected a table, found {}", kind(&value))));
    };
    let table = Table::new(String::new(), map);
    let config = read(&table)?;
    table.finish()?;
    Ok(config)
}

/// One table of a configuration. It remembers which keys were asked for, so that [`Table::finish`] can refuse others.
#[derive(Debug)]
pub struct Table<'a> {
    path: String,
    map: &'a Map<String, Value>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    /// A table that stands at `path` (empty for the root).
    #[must_use]
    pub fn new(path: String, map: &'a Map<String, Value>) -> Self {
        Self { path, map, known: RefCell::new(Vec::new()) }
    }

    /// The dotted path of a key of this table.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// An error about a key of this table.
    #[must_use]
    pub fn error(&self, key: &str, problem: impl fmt::Display) -> ConfigError {
        ConfigError::new(&self.path(key), problem)
    }

    /// Refuses keys that nobody asked for.
    ///
    /// # Errors
    /// Names the first unknown key and the known ones.
    pub fn finish(&self) -> Result<()> {
        let known = self.known.borrow();
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(self.error(key, format!("there is no such key; there are `{}`", known.join("`, `")))),
        }
    }

    /// The value of a key as it is.
    pub fn raw(&self, key: &'static str) -> Option<&'a Value> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        self.map.get(key)
    }

    fn typed<T>(&self, key: &'static str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        self.raw(key)
            .map(|value| {
                read(value).ok_or_else(|| self.error(key, format!("expected {expected}, found {}", kind(value))))
            })
            .transpose()
    }

    /// A text that is not empty.
    ///
    /// # Errors
    /// It is not a text, or it is empty.
    pub fn text(&self, key: &'static str) -> Result<Option<&'a str>> {
        match self.typed(key, "a string", Value::as_str)? {
            Some("") => Err(self.error(key, "it is empty")),
            text => Ok(text),
        }
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// It is missing, empty, or not a text.
    pub fn needed_text(&self, key: &'static str) -> Result<&'a str> {
        self.text(key)?.ok_or_else(|| self.error(key, "it is missing"))
    }

    /// A list of texts, or one text that stands for a list of one. No list: none.
    ///
    /// # Errors
    /// An element is not a text, or is empty.
    pub fn texts(&self, key: &'static str) -> Result<Option<Vec<String>>> {
        const EXPECTED: &str = "a string or an array of strings";
        let Some(value) = self.raw(key) else { return Ok(None) };
        let texts = match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(|| self.error(key, format!("expected {EXPECTED}")))?,
            other => return Err(self.error(key, format!("expected {EXPECTED}, found {}", kind(other)))),
        };
        match texts.iter().any(String::is_empty) {
            true => Err(self.error(key, "it holds an empty string")),
            false => Ok(Some(texts)),
        }
    }

    /// True or false.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&self, key: &'static str, default: bool) -> Result<bool> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A whole number within a range.
    ///
    /// # Errors
    /// It is not a whole number, or out of the range.
    pub fn number(&self, key: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let number = self.typed(key, "a whole number", Value::as_u64)?;
        match number {
            Some(n) if !range.contains(&n) => {
                Err(self.error(key, format!("{n} is not between {} and {}", range.start(), range.end())))
            }
            number => Ok(number),
        }
    }

    /// One of some words.
    ///
    /// # Errors
    /// It is another word, or not a text.
    pub fn word<T: Copy>(&self, key: &'static str, default: T, words: &[(&str, T)]) -> Result<T> {
        let Some(text) = self.text(key)? else { return Ok(default) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(*meaning),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                Err(self.error(key, format!("expected `{}`, found {text:?}", words.join("` or `"))))
            }
        }
    }

    /// A table within this one. Its reader's unknown keys are refused.
    ///
    /// # Errors
    /// It is not a table, or something in it is wrong.
    pub fn table<T>(&self, key: &'static str, read: impl FnOnce(&Table<'a>) -> Result<T>) -> Result<Option<T>> {
        let Some(map) = self.typed(key, "a table", Value::as_object)? else { return Ok(None) };
        let table = Table::new(self.path(key), map);
        let value = read(&table)?;
        table.finish()?;
        Ok(Some(value))
    }

    /// An array of tables, at most `limit`.
    ///
    /// # Errors
    /// It is not one, there are too many, or something in one is wrong.
    pub fn tables<T>(
        &self,
        key: &'static str,
        limit: usize,
        mut read: impl FnMut(&Table<'a>) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(items) = self.typed(key, "an array of tables", Value::as_array)? else { return Ok(None) };
        if items.len() > limit {
            return Err(self.error(key, format!("{} entries are more than the {limit} that there may be", items.len())));
        }
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}.{index}", self.path(key));
            let Value::Object(map) = item else {
                return Err(ConfigError::new(&path, format!("expected a table, found {}", kind(item))));
            };
            let table = Table::new(path, map);
            out.push(read(&table)?);
            table.finish()?;
        }
        Ok(Some(out))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, parse};

    fn error<T: std::fmt::Debug>(json: &str, read: impl FnOnce(&Table<'_>) -> super::Result<T>) -> String {
        parse(json, read).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let read = |table: &Table<'_>| {
            table.flag("other", true)?;
            table.tables("rules", 8, |rule| rule.text("filter").map(|_| ()))
        };
        assert_eq!(
            error(r#"{"rules":[{"filter":"a"},{"filtre":"b"}]}"#, read),
            "`rules.1.filtre`: there is no such key; there are `filter`"
        );
        assert_eq!(error(r#"{"rulez":[]}"#, read), "`rulez`: there is no such key; there are `other`, `rules`");
    }

    #[test]
    fn wrong_types_and_values_say_what_was_expected() {
        assert_eq!(error(r#"{"a":1}"#, |t| t.text("a").map(|_| ())), "`a`: expected a string, found a number");
        assert_eq!(error(r#"{"a":""}"#, |t| t.text("a").map(|_| ())), "`a`: it is empty");
        assert_eq!(error("{}", |t| t.needed_text("a").map(|_| ())), "`a`: it is missing");
        assert_eq!(error(r#"{"a":9}"#, |t| t.number("a", 0..=8)), "`a`: 9 is not between 0 and 8");
        assert_eq!(error(r#"{"a":-1}"#, |t| t.number("a", 0..=8)), "`a`: expected a whole number, found a number");
        assert_eq!(
            error(r#"{"a":"x"}"#, |t| t.word("a", 0, &[("b", 1), ("c", 2)])),
            "`a`: expected `b` or `c`, found \"x\""
        );
        assert_eq!(error(r#"{"a":["x",1]}"#, |t| t.texts("a")), "`a`: expected a string or an array of strings");
        assert_eq!(error(r#"{"a":[1]}"#, |t| t.tables("a", 2, |_| Ok(()))), "`a.0`: expected a table, found a number");
        assert_eq!(error("[]", |_| Ok(())), "expected a table, found an array");
        assert!(error("{", |_| Ok(())).starts_with("it is not JSON: "));
    }

    #[test]
    fn what_is_right_is_read() {
        let all = parse(r#"{"t":"x","one":"y","many":["a","b"],"f":true,"n":3,"in":{"k":"v"}}"#, |t| {
            Ok((
                t.text("t")?.map(str::to_owned),
                t.texts("one")?,
                t.texts("many")?,
                t.flag("f", false)?,
                t.number("n", 0..=5)?,
                t.table("in", |t| t.needed_text("k").map(str::to_owned))?,
                t.word("w", 7, &[])?,
            ))
        });
        let list = |items: &[&str]| Some(items.iter().map(|&s| s.to_owned()).collect::<Vec<_>>());
        let expected = (Some("x".into()), list(&["y"]), list(&["a", "b"]), true, Some(3), Some("v".into()), 7);
        assert_eq!(all, Ok(expected));
        assert_eq!(parse("  ", |t| t.number("n", 0..=1)), Ok(None));
    }
}
