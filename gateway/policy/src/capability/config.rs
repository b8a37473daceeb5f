//! `config`: the `config` table of the policy's entry, flattened once for all instances.

use serde_json::Value;

use crate::bindings::portcullis::policy::config::Host;
use crate::state::State;

/// The most octets of a policy's configuration as JSON.
const MOST: usize = 1 << 20;

/// The configuration of one generation.
#[derive(Debug)]
pub(crate) struct Values {
    /// Sorted by dotted key.
    flat: Vec<(String, String)>,
    json: String,
}

impl Values {
    /// Takes the table; null counts as an empty one.
    pub(crate) fn new(table: &Value) -> Result<Self, String> {
        let json = match table {
            Value::Null => "{}".to_owned(),
            Value::Object(_) => table.to_string(),
            _ => return Err("`config` must be a table".to_owned()),
        };
        if json.len() > MOST {
            return Err(format!("`config` has {} octets as JSON, more than {MOST}", json.len()));
        }
        let mut flat = Vec::new();
        flatten("", table, &mut flat);
        flat.sort();
        Ok(Self { flat, json })
    }

    fn get(&self, key: &str) -> Option<&str> {
        let at = self.flat.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok()?;
        Some(&self.flat[at].1)
    }

    fn below(&self, prefix: &str) -> Vec<(String, String)> {
        let from = self.flat.partition_point(|(k, _)| k.as_str() < prefix);
        self.flat[from..].iter().take_while(|(k, _)| k.starts_with(prefix)).cloned().collect()
    }
}

fn flatten(at: &str, value: &Value, into: &mut Vec<(String, String)>) {
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match value {
        Value::Null => {}
        Value::Object(members) => members.iter().for_each(|(name, value)| flatten(&below(name), value, into)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| flatten(&below(&n.to_string()), value, into));
        }
        Value::String(text) => into.push((at.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) => into.push((at.to_owned(), value.to_string())),
    }
}

impl Host for State {
    fn get(&mut self, key: String) -> Option<String> {
        self.with.config.get(&key).map(str::to_owned)
    }

    fn list_values(&mut self, prefix: String) -> Vec<(String, String)> {
        self.with.config.below(&prefix)
    }

    fn json(&mut self) -> String {
        self.with.config.json.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values::new(&serde_json::json!({
            "issuer": "me", "leeway": 30, "strict": true, "none": null,
            "roles": { "admin": "all" }, "rules": [{ "filter": "a/#" }, { "filter": "b" }],
        }))
        .expect("a table")
    }

    #[test]
    fn tables_and_arrays_are_reached_with_dots() {
        let values = values();
        assert_eq!(values.get("issuer"), Some("me"));
        assert_eq!(values.get("leeway"), Some("30"));
        assert_eq!(values.get("strict"), Some("true"));
        assert_eq!(values.get("roles.admin"), Some("all"));
        assert_eq!(values.get("rules.1.filter"), Some("b"));
        for absent in ["none", "roles", "rules", "rules.2.filter", "", "issuer.x"] {
            assert_eq!(values.get(absent), None, "{absent:?}");
        }
    }

    #[test]
    fn a_prefix_lists_in_order() {
        let below = values().below("rules.");
        assert_eq!(
            below,
            [("rules.0.filter".to_owned(), "a/#".to_owned()), ("rules.1.filter".to_owned(), "b".to_owned())]
        );
        assert_eq!(values().below("").len(), 6);
    }

    #[test]
    fn only_a_table_is_a_configuration() {
        assert_eq!(Values::new(&Value::Null).expect("empty").json, "{}");
        assert!(Values::new(&serde_json::json!([1])).is_err());
    }
}
