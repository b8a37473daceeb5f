//! The configuration of `device`.

use policy_support::config::{ConfigError, Table, parse};
use policy_support::limits;
use policy_support::rules::{self, Grammar, RuleTemplate};
use policy_support::template::Vocabulary;
use policy_support::wit::types::Limit;

use crate::naming::Naming;

/// JSON Schema of the configuration.
pub const SCHEMA: &str = include_str!("../config.schema.json");

const GRAMMAR: Grammar = Grammar {
    vocabulary: Vocabulary { names: &["device", "device-id", "client-id", "app", "owner"], families: &["attribute."] },
    roles: false,
};

/// What a device may do unless configured: its stream and its reset, its control. A will is a publication that it
/// could make itself.
const RULES: &str = r#"{"rules": [
    {"actions": ["publish", "will"], "filter": "{device}/stream"},
    {"actions": "publish", "filter": "$reset/{device}"},
    {"actions": "subscribe", "filter": "{device}/control"}
]}"#;

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether user names are served.
    pub username: bool,
    /// Whether certificates are served.
    pub x509: bool,
    /// Whether a client with nothing but an unknown certificate is left to other policies.
    pub pass_unknown_certificates: bool,
    /// How devices are known by what is written in their certificates.
    pub namings: Vec<Naming>,
    /// The rules of the grant.
    pub rules: Vec<RuleTemplate>,
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
            let (username, x509) = credentials(table)?;
            Ok(Self {
                username,
                x509,
                pass_unknown_certificates: table.word(
                    "unknown-certificate",
                    false,
                    &[("deny", false), ("pass", true)],
                )?,
                namings: Naming::read_all(table)?,
                rules: rules::read(table, "rules", &GRAMMAR, RULES)?,
                limits: limits::read(table)?,
            })
        })
    }
}

fn credentials(table: &Table<'_>) -> Result<(bool, bool), ConfigError> {
    const KEY: &str = "credentials";
    let Some(words) = table.texts(KEY)? else { return Ok((true, true)) };
    let (mut username, mut x509) = (false, false);
    for word in &words {
        match word.as_str() {
            "username" => username = true,
            "x509" => x509 = true,
            other => return Err(table.error(KEY, format!("expected `username` or `x509`, found {other:?}"))),
        }
    }
    if words.is_empty() { Err(table.error(KEY, "it is empty")) } else { Ok((username, x509)) }
}

#[cfg(test)]
mod tests {
    use super::{Config, SCHEMA};

    #[test]
    fn the_readme_and_the_schema_tell_the_truth() {
        policy_support::documented::check(include_str!("../README.md"), SCHEMA, "device", |json| {
            Config::parse(json).map(|_| ())
        });
    }

    #[test]
    fn credentials_are_chosen() {
        let chosen = |json| Config::parse(json).map(|c| (c.username, c.x509)).map_err(|e| e.to_string());
        assert_eq!(chosen("{}"), Ok((true, true)));
        assert_eq!(chosen(r#"{"credentials":"x509"}"#), Ok((false, true)));
        assert_eq!(chosen(r#"{"credentials":[]}"#), Err("`credentials`: it is empty".into()));
        assert!(chosen(r#"{"credentials":["token"]}"#).unwrap_err().contains("found \"token\""));
    }
}
