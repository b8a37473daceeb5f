//! The configuration of `api-key`.

use policy_support::config::{ConfigError, parse};
use policy_support::limits;
use policy_support::rules::{self, Grammar, RuleTemplate};
use policy_support::template::Vocabulary;
use policy_support::wit::types::Limit;

/// JSON Schema of the configuration.
pub const SCHEMA: &str = include_str!("../config.schema.json");

const GRAMMAR: Grammar = Grammar {
    vocabulary: Vocabulary { names: &["consumer", "app", "key", "client-id", "device"], families: &[] },
    roles: false,
};

/// What a secret key may do for a consumer unless configured: what the consumer itself may do with a token (the defaults
/// of `jwt`).
const RULES: &str = r#"{"rules": [
    {"actions": "subscribe", "filter": "{device}/stream"},
    {"actions": "publish", "filter": "{device}/control"},
    {"actions": ["publish", "subscribe", "retain", "will"], "filter": "{app}/{consumer}/#"}
]}"#;

/// What a reset key may do: ask for the reset of the consumer's devices, and nothing else.
const RESET_RULES: &str = r#"{"reset-rules": [{"actions": "publish", "filter": "$reset/{device}"}]}"#;

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether a key must be used on behalf of a consumer.
    pub require_consumer: bool,
    /// Whether reset keys are admitted.
    pub reset_keys: bool,
    /// The rules of a secret key's grant.
    pub rules: Vec<RuleTemplate>,
    /// The rules of a reset key's grant.
    pub reset_rules: Vec<RuleTemplate>,
    /// The limits of the grant.
    pub limits: Vec<Limit>,
}

impl Config {
    /// Reads the `config` table, given as JSON.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        parse(json, |table| {
            let config = Self {
                require_consumer: table.flag("require-consumer", true)?,
                reset_keys: table.flag("reset-keys", false)?,
                rules: rules::read(table, "rules", &GRAMMAR, RULES)?,
                reset_rules: rules::read(table, "reset-rules", &GRAMMAR, RESET_RULES)?,
                limits: limits::read(table)?,
            };
            match table.raw("reset-rules") {
                Some(_) if !config.reset_keys => {
                    Err(table.error("reset-rules", "reset keys are not admitted: add `reset-keys = true`"))
                }
                _ => Ok(config),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, SCHEMA};

    #[test]
    fn the_readme_and_the_schema_tell_the_truth() {
        policy_support::documented::check(include_str!("../README.md"), SCHEMA, "api-key", |json| {
            Config::parse(json).map(|_| ())
        });
    }

    #[test]
    fn reset_rules_need_reset_keys() {
        let error = Config::parse(r#"{"reset-rules":[]}"#).unwrap_err().to_string();
        assert_eq!(error, "`reset-rules`: reset keys are not admitted: add `reset-keys = true`");
        assert!(Config::parse(r#"{"reset-keys":true,"reset-rules":[]}"#).unwrap().reset_rules.is_empty());
    }
}
