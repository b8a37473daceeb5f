//! What is expected of an answer, in the words of `shown`.

use serde_json::{Map, Value};

use super::super::read::Moment;
use super::Deed;
use crate::config::policy::json;
use crate::config::reader::{Section, wrong_word};

/// The answer as far as it matters.
#[derive(Default)]
pub(in crate::cli::desk) struct Expected {
    /// What it says.
    pub(in crate::cli::desk) answer: Map<String, Value>,
    /// When the grant is to end.
    pub(in crate::cli::desk) expires: Option<Moment>,
    /// What the grant must permit.
    pub(in crate::cli::desk) may: Vec<Deed>,
    /// What it must not.
    pub(in crate::cli::desk) may_not: Vec<Deed>,
}

/// What an answer may be expected to say.
const EXPECTED: [&str; 29] = [
    "fault",
    "scheme",
    "subject",
    "tenant",
    "acting-for",
    "roles",
    "attributes",
    "renew-after",
    "client-id",
    "rules",
    "limits",
    "depends-on",
    "state",
    "data",
    "reason",
    "detail",
    "message",
    "retry-after",
    "server-reference",
    "reply-within",
    "valid-for",
    "seconds",
    "status",
    "headers",
    "topic",
    "payload",
    "content-type",
    "body",
    "json",
];

/// The words for what an answer is.
const VERDICTS: [&str; 10] =
    ["allow", "deny", "pass", "challenge", "keep", "replace", "revoke", "response", "drop", "refuse"];

impl Expected {
    /// Reads `expect`.
    pub(in crate::cli::desk) fn read(mut section: Section<'_>) -> Self {
        let mut answer = Map::new();
        let problems = section.problems();
        if let Some(value) = section.raw("verdict") {
            match value.get_ref().as_str() {
                Some(word) if VERDICTS.contains(&word) => {
                    answer.insert("verdict".to_owned(), word.into());
                }
                word => wrong_word(value, word, &VERDICTS, problems),
            }
        }
        for key in EXPECTED {
            if let Some(value) = section.raw(key).and_then(|value| json(value, problems)) {
                answer.insert(key.to_owned(), value);
            }
        }
        let expected = Self {
            answer,
            expires: section.optional("expires-at"),
            may: section.optional("may").unwrap_or_default(),
            may_not: section.optional("may-not").unwrap_or_default(),
        };
        section.finish();
        expected
    }
}
