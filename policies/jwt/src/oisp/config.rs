//! The table `oisp` of the configuration.

use policy_support::config::{ConfigError, Table};
use policy_support::rules::{self, Grammar, RuleTemplate};
use policy_support::template::Vocabulary;
use policy_support::wit::jose::{KeySource, Requirements};

/// The gateway's key that signs these tokens.
pub const KEY: &str = "gateway-rs256";

/// Seconds of a day.
const DAY: u32 = 86_400;

const PEOPLE: Grammar = Grammar {
    vocabulary: Vocabulary { names: &["sub", "client-id", "device", "account"], families: &["account."] },
    roles: true,
};

const DEVICES: Grammar = Grammar {
    vocabulary: Vocabulary { names: &["device", "device-id", "client-id", "app", "owner", "account"], families: &[] },
    roles: false,
};

/// What a person may do unless configured: hear and steer the devices that are theirs, use a branch of their own, and
/// that of each of their accounts.
const RULES: &str = r#"{"rules": [
    {"actions": "subscribe", "filter": "{device}/stream"},
    {"actions": "publish", "filter": "{device}/control"},
    {"actions": ["publish", "subscribe", "retain", "will"], "filter": "users/{sub}/#"},
    {"actions": ["publish", "subscribe"], "filter": "accounts/{account}/#"}
]}"#;

/// What a device may do unless configured: what the policy `device` permits, and its place in its account's branch.
const DEVICE_RULES: &str = r#"{"device-rules": [
    {"actions": ["publish", "will"], "filter": "{device}/stream"},
    {"actions": "publish", "filter": "$reset/{device}"},
    {"actions": "subscribe", "filter": "{device}/control"},
    {"actions": ["publish", "will"], "filter": "accounts/{account}/{device}/#"}
]}"#;

/// What the operator decided about the tokens that the gateway signs.
#[derive(Clone, Debug)]
pub struct Oisp {
    /// The claim `iss`. A token that has it is checked with the gateway's own key and no other.
    pub issuer: String,
    /// The domain of the directory in which people are looked up by name.
    pub domain: String,
    /// Seconds that a person's token is good.
    pub life: u32,
    /// Seconds that a device's token is good.
    pub device_life: u32,
    /// Whether people whose e-mail address was not confirmed get no token.
    pub require_verified: bool,
    /// The rules of people.
    pub rules: Vec<RuleTemplate>,
    /// The rules of devices.
    pub device_rules: Vec<RuleTemplate>,
    /// Whether a person's devices are needed to write the rules.
    pub needs_devices: bool,
    /// What is asked of a token.
    pub requirements: Requirements,
}

impl Oisp {
    /// Reads the table. `leeway` is that of the other tokens.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(table: &Table<'_>, leeway: u32) -> Result<Self, ConfigError> {
        let issuer = table.text("issuer")?.unwrap_or("portcullis").to_owned();
        let rules = rules::read(table, "rules", &PEOPLE, RULES)?;
        let known = ["account.admin", "account.user"];
        if let Some(other) = rules::placeholders(&rules).find(|name| name.contains('.') && !known.contains(name)) {
            let problem = format!("there are {{account.admin}} and {{account.user}}, found {{{other}}}");
            return Err(table.error("rules", problem));
        }
        Ok(Self {
            domain: table.text("domain")?.unwrap_or("default").to_owned(),
            life: table.number("token-life", 60..=u64::from(30 * DAY))?.map_or(DAY, |seconds| seconds as u32),
            device_life: table
                .number("device-token-life", 60..=u64::from(3_650 * DAY))?
                .map_or(365 * DAY, |seconds| seconds as u32),
            require_verified: table.flag("require-verified", true)?,
            needs_devices: rules::use_placeholder(&rules, "device"),
            device_rules: rules::read(table, "device-rules", &DEVICES, DEVICE_RULES)?,
            requirements: Requirements {
                keys: KeySource::Named(KEY.to_owned()),
                algorithms: vec!["RS256".to_owned()],
                leeway,
                issuers: vec![issuer.clone()],
                audiences: vec![],
                required: ["sub", "exp", "iat", "jti", "role"].map(str::to_owned).to_vec(),
            },
            issuer,
            rules,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn the_table_has_defaults() {
        assert!(Config::parse("{}").unwrap().oisp.is_none());
        let oisp = Config::parse(r#"{"oisp":{}}"#).unwrap().oisp.unwrap();
        assert_eq!((oisp.issuer.as_str(), oisp.life, oisp.device_life), ("portcullis", 86_400, 31_536_000));
        assert!(oisp.require_verified && oisp.needs_devices);
        assert_eq!(oisp.requirements.algorithms, ["RS256"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (json, part) in [
            (r#"{"oisp":{"token-life":59}}"#, "`oisp.token-life`: 59 is not between 60 and 2592000"),
            (r#"{"oisp":{"lifetime":60}}"#, "`oisp.lifetime`: there is no such key"),
            (r#"{"oisp":{"issuer":""}}"#, "`oisp.issuer`: it is empty"),
            (r#"{"oisp":{"rules":[{"actions":"publish","filter":"{account.owner}"}]}}"#, "found {account.owner}"),
            (r#"{"oisp":{"device-rules":[{"actions":"publish","filter":"{sub}"}]}}"#, "`{device-id}`"),
            (
                r#"{"oisp":{"issuer":"me"},"issuers":[{"issuer":"me","keys":{"pem":"p"}}]}"#,
                "`issuers.0.issuer`: it is that of the gateway's own tokens",
            ),
        ] {
            let error = Config::parse(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
