//! What differs between the answer that was expected, as far as the case says it, and the one that came.

use serde_json::Value;

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// Which part of the answer: `rules[0].filter`.
    pub(super) at: String,
    /// What the case says.
    pub(super) expected: String,
    /// What came.
    pub(super) got: String,
}

impl Difference {
    pub(super) fn new(at: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { at: at.into(), expected: expected.into(), got: got.into() }
    }
}

/// What is shown of what is not there.
const NOTHING: &str = "nothing";
/// What is shown of what somebody may do, when there is nobody.
pub(super) const NOBODY: &str = "nobody was let in";
/// Words for people: a part of them is enough.
const WORDS: [&str; 4] = ["detail", "fault", "body", "payload"];

/// Compares: members that the case does not name may be anything, a list must contain what the case lists.
pub(super) fn differences(at: &str, expected: &Value, got: &Value, into: &mut Vec<Difference>) {
    match (expected, got) {
        (Value::Object(members), Value::Object(theirs)) => {
            for (name, value) in members {
                let below = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                differences(&below, value, theirs.get(name).unwrap_or(&Value::Null), into);
            }
        }
        // An empty list is one that nothing is in.
        (Value::Array(items), Value::Array(theirs)) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                if !theirs.iter().any(|their| fits(item, their)) {
                    into.push(Difference::new(
                        format!("{at}[{number}]"),
                        shown(item),
                        format!("not among {}", shown(got)),
                    ));
                }
            }
        }
        (Value::String(words), Value::String(theirs)) if WORDS.contains(&at) && theirs.contains(words.as_str()) => {}
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => {}
        _ if expected == got => {}
        _ => {
            let part = if WORDS.contains(&at) { "contains " } else { "" };
            into.push(Difference::new(at, format!("{part}{}", shown(expected)), shown(got)));
        }
    }
}

/// Puts another verdict than the one that was expected first, and leaves out what an answer of that kind does not have.
pub(super) fn tell_first(found: &mut Vec<Difference>) {
    if let Some(at) = found.iter().position(|difference| difference.at == "verdict") {
        let verdict = found.remove(at);
        found.retain(|difference| difference.got != NOTHING && difference.got != NOBODY);
        found.insert(0, verdict);
    }
}

fn fits(expected: &Value, got: &Value) -> bool {
    let mut found = Vec::new();
    differences("", expected, got, &mut found);
    found.is_empty()
}

/// A value in one line.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(expected: Value, got: Value) -> Vec<String> {
        let mut found = Vec::new();
        differences("", &expected, &got, &mut found);
        found.into_iter().map(|difference| difference.at).collect()
    }

    #[test]
    fn another_verdict_comes_first_and_what_it_cannot_have_is_left_out() {
        let (expected, got) =
            (json!({ "subject": "a", "detail": "x", "verdict": "allow" }), json!({ "verdict": "deny", "detail": "y" }));
        let mut found = Vec::new();
        differences("", &expected, &got, &mut found);
        tell_first(&mut found);
        assert_eq!(found.iter().map(|difference| &*difference.at).collect::<Vec<_>>(), ["verdict", "detail"]);
    }

    #[test]
    fn only_what_is_named_counts() {
        let got = json!({ "verdict": "deny", "detail": "no such device", "rules": [{ "filter": "a", "n": 1 }, { "filter": "b" }] });
        assert!(found(json!({ "verdict": "deny", "detail": "such" }), got.clone()).is_empty());
        assert!(found(json!({ "rules": [{ "filter": "b" }] }), got.clone()).is_empty());
        assert_eq!(
            found(json!({ "rules": [{ "filter": "c" }], "verdict": "allow" }), got.clone()),
            ["rules[0]", "verdict"]
        );
        assert_eq!(found(json!({ "rules": [], "tenant": "x" }), got), ["rules", "tenant"]);
    }
}
