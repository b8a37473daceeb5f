//! The configuration of `anonymous`.

use policy_support::config::{ConfigError, parse};
use policy_support::limits;
use policy_support::rules::{self, Grammar, RuleTemplate};
use policy_support::template::Vocabulary;
use policy_support::wit::types::Limit;

/// JSON Schema of the configuration.
pub const SCHEMA: &str = include_str!("../config.schema.json");

const GRAMMAR: Grammar = Grammar { vocabulary: Vocabulary { names: &["client-id"], families: &[] }, roles: false };

/// Everything, except topics that begin with `$`: a filter that begins with a wildcard does not match those.
const RULES: &str = r##"{"rules": [{"actions": ["publish", "subscribe", "retain", "will"], "filter": "#"}]}"##;

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether somebody who offers credentials is left to other policies.
    pub pass_credentials: bool,
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
            Ok(Self {
                pass_credentials: table.word("credentials", false, &[("ignore", false), ("pass", true)])?,
                rules: rules::read(table, "rules", &GRAMMAR, RULES)?,
                limits: limits::read(table)?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, SCHEMA};

    #[test]
    fn the_readme_and_the_schema_tell_the_truth() {
        policy_support::documented::check(include_str!("../README.md"), SCHEMA, "anonymous", |json| {
            Config::parse(json).map(|_| ())
        });
    }
}
