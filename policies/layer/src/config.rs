//! The configuration of `layer`.

use policy_support::config::{ConfigError, Table, parse};
use policy_support::limits;
use policy_support::rules::{self, Grammar, RuleTemplate};
use policy_support::template::Vocabulary;
use policy_support::wit::jose::KeySource;
use policy_support::wit::types::Limit;

use crate::uuid;

/// JSON Schema of the configuration.
pub const SCHEMA: &str = include_str!("../config.schema.json");

const GRAMMAR: Grammar = Grammar {
    vocabulary: Vocabulary { names: &["user", "provider", "principal", "client-id", "device"], families: &[] },
    roles: true,
};

/// What a person may do unless configured: hear their devices, steer them, and use a branch of their own. Whom another
/// provider names has a branch within that provider's, since its names may be those of users here.
const RULES: &str = r#"{"rules": [
    {"actions": "subscribe", "filter": "{device}/stream"},
    {"actions": "publish", "filter": "{device}/control"},
    {"actions": ["publish", "subscribe", "retain", "will"], "filter": "users/{user}/#"},
    {"actions": ["publish", "subscribe", "retain", "will"], "filter": "providers/{provider}/{principal}/#"}
]}"#;

/// The most providers, and the most Layer apps.
const LISTED: usize = 64;

/// Somebody else whose identity tokens are believed.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The UUID in `iss`.
    pub id: String,
    /// The UUID that `kid` must have, if one is asked for.
    pub key_id: Option<String>,
    /// The keys that its tokens are checked with.
    pub keys: KeySource,
    /// The app of the directory whose consumers its principals are.
    pub app: Option<String>,
}

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// What stands before the paths: empty, or a path without a slash at its end.
    pub prefix: String,
    /// Whether anybody may register.
    pub registration: bool,
    /// Registrations from one address within an hour; 0: any number.
    pub registrations_per_hour: i64,
    /// Nonces for one address within a minute.
    pub nonces_per_minute: i64,
    /// Whether users whose e-mail address was not confirmed are refused.
    pub require_verified: bool,
    /// The domain of the directory that registered users are in.
    pub domain: String,
    /// The name of the key that identity tokens are signed with.
    pub key: String,
    /// The UUID of this gateway as a provider. None: one is made and kept.
    pub provider_id: Option<String>,
    /// The UUID of the key. None: it follows from the key.
    pub key_id: Option<String>,
    /// Others whose identity tokens are believed.
    pub providers: Vec<Provider>,
    /// The Layer apps that sessions are for, by UUID. Empty: any.
    pub apps: Vec<String>,
    /// The app of the directory whose devices are users'. None: devices of no app.
    pub device_app: Option<String>,
    /// Seconds that a session lasts.
    pub session_lifetime: u64,
    /// Seconds of tolerance for the times of identity tokens.
    pub leeway: u32,
    /// The rules of the grant.
    pub rules: Vec<RuleTemplate>,
    /// The limits of the grant.
    pub limits: Vec<Limit>,
    /// Whether the owner's devices are needed to write the rules.
    pub needs_devices: bool,
}

impl Config {
    /// Reads the `config` table, given as JSON.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        parse(json, Self::read)
    }

    fn read(table: &Table<'_>) -> Result<Self, ConfigError> {
        let text = |key| Ok(table.text(key)?.map(str::to_owned));
        let rules = rules::read(table, "rules", &GRAMMAR, RULES)?;
        let providers = table.tables("providers", LISTED, provider)?.unwrap_or_default();
        let config = Self {
            prefix: prefix(table)?,
            registration: table.flag("registration", true)?,
            registrations_per_hour: count(table, "registrations-per-hour", 0, 20)?,
            nonces_per_minute: count(table, "nonces-per-minute", 1, 60)?,
            require_verified: table.flag("require-verified", false)?,
            domain: text("domain")?.unwrap_or_else(|| "default".into()),
            key: text("key")?.unwrap_or_else(|| "gateway-rs256".into()),
            provider_id: id(table, "provider-id")?,
            key_id: id(table, "key-id")?,
            apps: apps(table)?,
            device_app: text("device-app")?,
            session_lifetime: table.number("session-lifetime", 60..=31_536_000)?.unwrap_or(86_400),
            leeway: table.number("leeway", 0..=300)?.map_or(0, |seconds| seconds as u32),
            needs_devices: rules::use_placeholder(&rules, "device"),
            limits: limits::read(table)?,
            providers,
            rules,
        };
        for (index, provider) in config.providers.iter().enumerate() {
            let earlier = config.providers.iter().take(index).any(|other| other.id == provider.id);
            if earlier || config.provider_id.as_ref() == Some(&provider.id) {
                let path = format!("providers.{index}.id");
                return Err(ConfigError::new(&path, "another provider has this UUID already"));
            }
        }
        Ok(config)
    }
}

/// A UUID.
fn id(table: &Table<'_>, key: &'static str) -> Result<Option<String>, ConfigError> {
    let parse = |text| uuid::parse(text).ok_or_else(|| table.error(key, format!("expected a UUID, found {text:?}")));
    table.text(key)?.map(parse).transpose()
}

fn count(table: &Table<'_>, key: &'static str, least: u64, default: i64) -> Result<i64, ConfigError> {
    Ok(table.number(key, least..=1_000_000)?.and_then(|number| i64::try_from(number).ok()).unwrap_or(default))
}

fn prefix(table: &Table<'_>) -> Result<String, ConfigError> {
    const KEY: &str = "prefix";
    let Some(text) = table.text(KEY)? else { return Ok(String::new()) };
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet))
    };
    match text.strip_prefix('/') {
        Some(rest) if rest.split('/').all(plain) => Ok(text.to_owned()),
        _ => Err(table.error(KEY, format!("expected a path such as `/chat`, found {text:?}"))),
    }
}

fn apps(table: &Table<'_>) -> Result<Vec<String>, ConfigError> {
    const KEY: &str = "apps";
    let names = table.texts(KEY)?.unwrap_or_default();
    if names.len() > LISTED {
        return Err(table.error(KEY, format!("there are more than {LISTED}")));
    }
    let parse = |name: &String| {
        app_id(name).ok_or_else(|| table.error(KEY, format!("expected a UUID or `layer:///apps/…`, found {name:?}")))
    };
    names.iter().map(parse).collect()
}

fn provider(entry: &Table<'_>) -> Result<Provider, ConfigError> {
    let text = |key| Ok(entry.text(key)?.map(str::to_owned));
    let sources: Vec<KeySource> = [
        text("pem")?.map(KeySource::Pem),
        text("jwks")?.map(KeySource::Jwks),
        text("jwks-url")?.map(KeySource::JwksUrl),
    ]
    .into_iter()
    .flatten()
    .collect();
    let [keys] = <[KeySource; 1]>::try_from(sources)
        .map_err(|_| entry.error("pem", "give exactly one of `pem`, `jwks` and `jwks-url`"))?;
    if let KeySource::JwksUrl(url) = &keys
        && !url.starts_with("https://")
        && !url.starts_with("http://")
    {
        return Err(entry.error("jwks-url", "expected a URL that begins with `https://`"));
    }
    let missing = || entry.error("id", "it is missing");
    Ok(Provider { id: id(entry, "id")?.ok_or_else(missing)?, key_id: id(entry, "key-id")?, keys, app: text("app")? })
}

impl Config {
    /// Whether sessions are for this Layer app.
    #[must_use]
    pub fn admits_app(&self, id: &str) -> bool {
        self.apps.is_empty() || self.apps.iter().any(|app| app == id)
    }
}

/// The UUID of a Layer app, named by it alone or as `layer:///apps/production/<uuid>`. None: it is neither.
pub fn app_id(name: &str) -> Option<String> {
    let last = match name.strip_prefix("layer:///apps/").or_else(|| name.strip_prefix("layer://apps/")) {
        Some(path) => path.split_once('/').filter(|(stage, _)| matches!(*stage, "production" | "staging"))?.1,
        None => name,
    };
    uuid::parse(last)
}

#[cfg(test)]
mod tests {
    use super::{Config, SCHEMA, app_id};
    use policy_support::documented;

    const ID: &str = "e49e50aa-ffda-453f-adc8-404f68de84ae";

    #[test]
    fn readme_schema_and_parser_agree() {
        documented::check(include_str!("../README.md"), SCHEMA, "layer", |json| Config::parse(json).map(|_| ()));
    }

    #[test]
    fn nothing_needs_to_be_configured() {
        let config = Config::parse("").unwrap();
        assert!(config.registration && !config.require_verified && config.needs_devices);
        assert_eq!((config.session_lifetime, config.leeway, config.nonces_per_minute), (86_400, 0, 60));
        assert_eq!(
            (config.key.as_str(), config.domain.as_str(), config.prefix.as_str()),
            ("gateway-rs256", "default", "")
        );
    }

    #[test]
    fn apps_are_named_in_two_ways() {
        assert_eq!(app_id(ID).as_deref(), Some(ID));
        assert_eq!(app_id(&format!("layer:///apps/staging/{}", ID.to_uppercase())).as_deref(), Some(ID));
        for bad in ["", "layer:///apps/staging", &format!("layer:///apps/other/{ID}"), &format!("layer:///keys/{ID}")] {
            assert_eq!(app_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let provider = |more: &str| format!(r#"{{"providers":[{{"id":"{ID}"{more}}}]}}"#);
        for (json, part) in [
            (r#"{"provider-id":"x"}"#.to_owned(), "`provider-id`: expected a UUID, found \"x\""),
            (r#"{"key-id":"x"}"#.to_owned(), "`key-id`: expected a UUID"),
            (r#"{"apps":["x"]}"#.to_owned(), "`apps`: expected a UUID or `layer:///apps/…`, found \"x\""),
            (r#"{"prefix":"chat"}"#.to_owned(), "`prefix`: expected a path such as `/chat`"),
            (r#"{"prefix":"/chat/"}"#.to_owned(), "`prefix`: expected a path"),
            (r#"{"session-lifetime":59}"#.to_owned(), "`session-lifetime`: 59 is not between 60"),
            (r#"{"nonces-per-minute":0}"#.to_owned(), "`nonces-per-minute`: 0 is not between 1"),
            (r#"{"leeway":301}"#.to_owned(), "`leeway`: 301"),
            (provider(""), "exactly one of `pem`, `jwks` and `jwks-url`"),
            (provider(r#","pem":"p","jwks":"j""#), "exactly one of"),
            (provider(r#","jwks-url":"ftp://x""#), "`providers.0.jwks-url`"),
            (provider(r#","pem":"p","kid":"x""#), "`providers.0.kid`: there is no such key"),
            (r#"{"providers":[{"pem":"p"}]}"#.to_owned(), "`providers.0.id`: it is missing"),
            (
                format!(r#"{{"provider-id":"{ID}","providers":[{{"id":"{ID}","pem":"p"}}]}}"#),
                "`providers.0.id`: another provider has this UUID",
            ),
            (
                r#"{"rules":[{"actions":"publish","filter":"{sub}"}]}"#.to_owned(),
                "`{user}`, `{provider}`, `{principal}`, `{client-id}`, `{device}`",
            ),
        ] {
            let error = Config::parse(&json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
