//! What the host told a policy in one call: noted for a recording, or given again from one.
//!
//! `config` and `log` are not on the tape: a candidate has a configuration of its own. Everything else that a policy can learn
//! is, so that a recorded decision can be put to another version without the rooms and the secrets that it came from.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most octets of one call's tape, roughly.
const MOST: usize = 256 << 10;

/// One question of a policy to the host, and the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// `directory.find-user`.
    pub function: String,
    /// Its arguments, a list.
    pub arguments: Value,
    /// What it returned.
    pub answer: Value,
}

/// The tape of one call.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    told: Mutex<Vec<Told>>,
    /// Some: it is played. How many entries of which were given already.
    given: Option<Mutex<Vec<bool>>>,
    missing: Mutex<Vec<String>>,
    octets: AtomicUsize,
    full: AtomicBool,
}

/// What a tape knows of a question.
pub(crate) enum Known {
    /// The answer, from a recording.
    Answer(Value),
    /// Nothing, and nobody else may be asked.
    Nothing,
    /// It is being recorded: ask, and note the answer.
    Ask,
}

impl Tape {
    /// One that is played.
    pub(crate) fn of(told: Vec<Told>) -> Self {
        Self { given: Some(Mutex::new(vec![false; told.len()])), told: Mutex::new(told), ..Self::default() }
    }

    /// The answer to a question. The same question twice has its answers in their order, and the last one from then on.
    pub(crate) fn known(&self, function: &str, arguments: &Value) -> Known {
        let Some(given) = &self.given else { return Known::Ask };
        let (told, mut given) = (self.told.lock(), given.lock());
        let mut found = None;
        for (number, entry) in told.iter().enumerate() {
            if entry.function == function && entry.arguments == *arguments {
                found = Some(number);
                if !given[number] {
                    break;
                }
            }
        }
        match found {
            Some(number) => {
                given[number] = true;
                Known::Answer(told[number].answer.clone())
            }
            None => {
                self.lacks(function);
                Known::Nothing
            }
        }
    }

    /// A question has no answer here.
    pub(crate) fn lacks(&self, function: &str) {
        let mut missing = self.missing.lock();
        if missing.len() < 16 && !missing.iter().any(|known| known == function) {
            missing.push(function.to_owned());
        }
    }

    /// Notes an answer.
    pub(crate) fn note(&self, function: &str, arguments: Value, answer: Value) {
        let octets = weight(&arguments) + weight(&answer);
        if self.octets.fetch_add(octets, Ordering::Relaxed) + octets > MOST {
            self.full.store(true, Ordering::Relaxed);
            return;
        }
        self.told.lock().push(Told { function: function.to_owned(), arguments, answer });
    }

    /// What was told, with its size. None: it was more than a tape holds.
    pub(crate) fn take(&self) -> Option<(Vec<Told>, usize)> {
        if self.full.load(Ordering::Relaxed) {
            return None;
        }
        Some((std::mem::take(&mut *self.told.lock()), self.octets.load(Ordering::Relaxed)))
    }

    /// What was asked and not on it.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.missing.lock().clone()
    }
}

/// Octets of a value in memory, roughly.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => 32 + text.len(),
        Value::Array(items) => 32 + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => {
            32 + members.iter().map(|(name, value)| 48 + name.len() + weight(value)).sum::<usize>()
        }
        _ => 32,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(function: &str, answer: u8) -> Told {
        Told { function: function.to_owned(), arguments: json!([1]), answer: answer.into() }
    }

    #[test]
    fn what_was_told_twice_is_told_in_order_and_what_was_not_is_missing() {
        let tape = Tape::of(vec![told("a", 1), told("a", 2), told("b", 3)]);
        let ask = |function: &str| match tape.known(function, &json!([1])) {
            Known::Answer(answer) => answer.as_u64(),
            _ => None,
        };
        assert_eq!([ask("a"), ask("a"), ask("a"), ask("b"), ask("c")], [Some(1), Some(2), Some(2), Some(3), None]);
        assert_eq!(tape.missing(), ["c"]);
    }
}
