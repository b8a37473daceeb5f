//! For unit tests: a policy's README, its JSON Schema and its parser must agree.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::config::ConfigError;

/// Checks that every `toml` block of the README that configures the policy is accepted, that there is one, and that
/// README, schema and parser know the same keys.
///
/// # Panics
/// They do not agree: this is an assertion.
#[allow(clippy::expect_used)]
pub fn check(readme: &str, schema: &str, policy: &str, parse: impl Fn(&str) -> Result<(), ConfigError>) {
    let mut examples = 0;
    for block in readme.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap_or_default();
        let document: Value = toml::from_str(text).unwrap_or_else(|error| panic!("in the README: {error}\n{text}"));
        for entry in document["policy"].as_array().into_iter().flatten() {
            assert_eq!(entry["source"], json!(format!("builtin:{policy}")), "the source in the README");
            let config = entry.get("config").cloned().unwrap_or_else(|| json!({})).to_string();
            parse(&config).unwrap_or_else(|error| panic!("the README's example is refused: {error}\n{text}"));
            examples += 1;
        }
    }
    assert!(examples > 0, "the README has no example");

    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    assert_eq!(schema["additionalProperties"], json!(false));
    let described: BTreeSet<&str> =
        schema["properties"].as_object().expect("the schema has properties").keys().map(String::as_str).collect();
    let written: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | ")?.0.into())
        .filter(|key| !key.contains([' ', '.', '{']))
        .collect();
    let missing: Vec<_> = described.difference(&written).collect();
    assert!(missing.is_empty(), "keys of the schema that the README does not describe: {missing:?}");

    for key in &described {
        let config = Value::Object(Map::from_iter([((*key).to_owned(), Value::Null)])).to_string();
        let error = parse(&config).expect_err("null is of no key's type").to_string();
        assert!(!error.contains("there is no such key"), "a key of the schema that the parser does not know: {error}");
    }
    let error = parse(r#"{"no-such-key": 1}"#).expect_err("an unknown key is refused").to_string();
    for key in error.split('`').skip(3).step_by(2) {
        assert!(described.contains(key), "a key of the parser that the schema does not know: {key}");
    }
}
