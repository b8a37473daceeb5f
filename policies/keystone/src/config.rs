//! The configuration of `keystone`.

use policy_support::config::{ConfigError, Table, parse};
use policy_support::limits;
use policy_support::rules::{self, Grammar, RuleTemplate};
use policy_support::template::Vocabulary;
use policy_support::wit::jose::{KeySource, Requirements};
use policy_support::wit::types::Limit;

/// JSON Schema of the configuration.
pub const SCHEMA: &str = include_str!("../config.schema.json");

const VOCABULARY: Vocabulary = Vocabulary {
    names: &[
        "user",
        "user-id",
        "user-domain",
        "project",
        "project-id",
        "domain",
        "domain-id",
        "service",
        "subservice",
        "client-id",
        "device",
    ],
    families: &[],
};

const GRAMMAR: Grammar = Grammar { vocabulary: VOCABULARY, roles: true };

/// What a user may do unless configured: use a branch of their own, hear their devices, and steer them.
const RULES: &str = r#"{"rules": [
    {"actions": ["publish", "subscribe", "retain", "will"], "filter": "users/{user-id}/#"},
    {"actions": "subscribe", "filter": "{device}/stream"},
    {"actions": "publish", "filter": "{device}/control"}
]}"#;

/// The algorithm of Keystone's JWS tokens.
const ALGORITHM: &str = "ES256";

/// The most services of a catalog, and the most endpoints of one.
const SERVICES: usize = 64;

/// What is done with FIWARE's headers on HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fiware {
    /// They are not looked at.
    Off,
    /// They are checked where they are.
    Optional,
    /// They must be there.
    Required,
}

/// One way to reach a service of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// None: made of what it is.
    pub id: Option<String>,
    /// `public`, `internal` or `admin`.
    pub interface: String,
    /// Its region.
    pub region: String,
    /// With `$(project_id)s` and `$(user_id)s` to be replaced.
    pub url: String,
}

/// A service of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEntry {
    /// None: made of what it is.
    pub id: Option<String>,
    /// Such as `identity`.
    pub kind: String,
    /// For people.
    pub name: String,
    /// How to reach it.
    pub endpoints: Vec<Endpoint>,
}

/// The gateway is the Keystone.
#[derive(Clone, Debug)]
pub struct Local {
    /// Seconds that a token lives.
    pub life: u64,
    /// The name of the key that signs tokens.
    pub key: String,
    /// What is asked of its tokens.
    pub requirements: Requirements,
    /// Whether a token with a scope can be exchanged for another.
    pub rescope: bool,
    /// Who may look at and revoke others' tokens.
    pub admin_roles: Vec<String>,
    /// Who may look at others' tokens.
    pub service_roles: Vec<String>,
    /// The URL at which clients find this, up to and without `/v3`. None: as the request says.
    pub public_url: Option<String>,
    /// None: this service alone.
    pub catalog: Option<Vec<CatalogEntry>>,
}

/// Another Keystone answers.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its URL, up to and with `/v3`.
    pub url: String,
    /// Milliseconds to wait for it.
    pub timeout: u32,
    /// Seconds for which an answer counts.
    pub cache: u64,
    /// Seconds for which a refusal counts.
    pub refused: u32,
    /// Seconds for which an answer counts while the other cannot be reached.
    pub stale: u64,
    /// What is asked of its JWS tokens here, if its public keys are known.
    pub requirements: Option<Requirements>,
}

/// Who answers.
#[derive(Clone, Debug)]
pub enum Mode {
    /// This gateway.
    Local(Local),
    /// Somebody else.
    Upstream(Upstream),
}

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who answers.
    pub mode: Mode,
    /// Whether `user@domain` and a password are a login on MQTT.
    pub passwords: bool,
    /// FIWARE's headers.
    pub fiware: Fiware,
    /// The rules of the grant.
    pub rules: Vec<RuleTemplate>,
    /// The limits of the grant.
    pub limits: Vec<Limit>,
    /// Whether the user's devices are needed to write the rules.
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
        let upstream = table.word("mode", false, &[("local", false), ("upstream", true)])?;
        // Both are read, so that a key of the other mode is an error that says so, and one of none is unknown.
        let (here, there) = (local(table)?, other(table)?);
        let (foreign, mode) = if upstream { (LOCAL, "local") } else { (UPSTREAM, "upstream") };
        if let Some(key) = foreign.iter().find(|key| table.raw(key).is_some()) {
            return Err(table.error(key, format!("it belongs to `mode = {mode:?}`")));
        }
        let rules = rules::read(table, "rules", &GRAMMAR, RULES)?;
        Ok(Self {
            mode: match upstream {
                false => Mode::Local(here),
                true => Mode::Upstream(there.ok_or_else(|| table.error("url", "it is missing"))?),
            },
            passwords: table.flag("passwords", true)?,
            fiware: table.word(
                "fiware",
                Fiware::Optional,
                &[("off", Fiware::Off), ("optional", Fiware::Optional), ("required", Fiware::Required)],
            )?,
            needs_devices: rules::use_placeholder(&rules, "device"),
            rules,
            limits: limits::read(table)?,
        })
    }
}

const LOCAL: &[&str] = &["token-life", "key", "rescope", "admin-roles", "service-roles", "public-url", "catalog"];
const UPSTREAM: &[&str] = &["url", "timeout", "cache", "refused", "stale", "keys"];

fn local(table: &Table<'_>) -> Result<Local, ConfigError> {
    let key = table.text("key")?.unwrap_or("gateway-es256").to_owned();
    let roles = |name, default: &str| Ok(table.texts(name)?.unwrap_or_else(|| vec![default.to_owned()]));
    Ok(Local {
        life: table.number("token-life", 60..=30 * 86_400)?.unwrap_or(3_600),
        requirements: requirements(KeySource::Named(key.clone()), 0),
        key,
        rescope: table.flag("rescope", true)?,
        admin_roles: roles("admin-roles", "admin")?,
        service_roles: roles("service-roles", "service")?,
        public_url: match table.text("public-url")? {
            None => None,
            Some(text) => {
                let text = web(table, "public-url", text)?;
                Some(text.strip_suffix("/v3").unwrap_or(text).to_owned())
            }
        },
        catalog: table.tables("catalog", SERVICES, service)?,
    })
}

fn service(table: &Table<'_>) -> Result<CatalogEntry, ConfigError> {
    let kind = table.needed_text("type")?.to_owned();
    Ok(CatalogEntry {
        id: table.text("id")?.map(str::to_owned),
        name: table.text("name")?.unwrap_or(&kind).to_owned(),
        endpoints: table
            .tables("endpoints", SERVICES, |table| {
                let words = [("public", "public"), ("internal", "internal"), ("admin", "admin")];
                Ok(Endpoint {
                    id: table.text("id")?.map(str::to_owned),
                    interface: table.word("interface", "public", &words)?.to_owned(),
                    region: table.text("region")?.unwrap_or("RegionOne").to_owned(),
                    url: table.needed_text("url")?.to_owned(),
                })
            })?
            .ok_or_else(|| table.error("endpoints", "it is missing"))?,
        kind,
    })
}

fn other(table: &Table<'_>) -> Result<Option<Upstream>, ConfigError> {
    let url = table.text("url")?.map(|text| web(table, "url", text)).transpose()?;
    let timeout = table.number("timeout", 50..=30_000)?.map_or(2_000, |ms| ms as u32);
    let cache = table.number("cache", 1..=86_400)?.unwrap_or(300);
    let refused = table.number("refused", 1..=3_600)?.map_or(30, |seconds| seconds as u32);
    let stale = table.number("stale", 0..=7 * 86_400)?;
    let keys = table.table("keys", keys)?;
    if let Some(stale) = stale.filter(|stale| *stale < cache) {
        return Err(table.error("stale", format!("{stale} is less than `cache`, {cache}")));
    }
    Ok(url.map(|url| Upstream {
        url: if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") },
        timeout,
        cache,
        refused,
        stale: stale.unwrap_or(3_600.max(cache)),
        requirements: keys.map(|keys| requirements(keys, 5)),
    }))
}

fn keys(table: &Table<'_>) -> Result<KeySource, ConfigError> {
    let text = |key| Ok(table.text(key)?.map(str::to_owned));
    let given =
        [text("pem")?.map(KeySource::Pem), text("jwks")?.map(KeySource::Jwks), text("named")?.map(KeySource::Named)];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(source), None) => Ok(source),
        _ => Err(ConfigError::new("keys", "give exactly one of `pem`, `jwks` and `named`")),
    }
}

fn requirements(keys: KeySource, leeway: u32) -> Requirements {
    Requirements {
        keys,
        algorithms: vec![ALGORITHM.to_owned()],
        leeway,
        issuers: vec![],
        audiences: vec![],
        required: ["sub", "iat", "exp", "openstack_methods", "openstack_audit_ids"].map(str::to_owned).to_vec(),
    }
}

/// A URL without a slash at its end.
fn web<'t>(table: &Table<'_>, key: &'static str, text: &'t str) -> Result<&'t str, ConfigError> {
    if !text.starts_with("https://") && !text.starts_with("http://") {
        return Err(table.error(key, "expected a URL that begins with `https://` or `http://`"));
    }
    Ok(text.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::{Config, Mode, SCHEMA};

    #[test]
    fn the_readme_and_the_schema_tell_the_truth() {
        policy_support::documented::check(include_str!("../README.md"), SCHEMA, "keystone", |json| {
            Config::parse(json).map(|_| ())
        });
    }

    #[test]
    fn the_defaults_are_careful() {
        let config = Config::parse("{}").unwrap();
        let Mode::Local(local) = &config.mode else { panic!("local is the default") };
        assert_eq!((local.life, local.key.as_str()), (3_600, "gateway-es256"));
        assert_eq!(local.requirements.algorithms, ["ES256"]);
        let config = Config::parse(r#"{"mode":"upstream","url":"http://127.0.0.1:5000/v3/"}"#).unwrap();
        let Mode::Upstream(upstream) = &config.mode else { panic!("upstream was asked for") };
        assert_eq!(upstream.url, "http://127.0.0.1:5000/v3");
        assert_eq!((upstream.cache, upstream.stale), (300, 3_600));
    }

    #[test]
    fn mistakes_are_named() {
        for (json, part) in [
            (r#"{"mode":"upstream"}"#, "`url`: it is missing"),
            (r#"{"mode":"upstream","url":"keystone"}"#, "`url`: expected a URL"),
            (r#"{"mode":"upstream","url":"http://k","rescope":true}"#, "`rescope`: it belongs to `mode = \"local\"`"),
            (r#"{"url":"http://k"}"#, "`url`: it belongs to `mode = \"upstream\"`"),
            (r#"{"stale":10,"cache":20}"#, "`stale`: 10 is less than `cache`, 20"),
            (r#"{"mode":"upstream","url":"http://k","keys":{}}"#, "`keys`: give exactly one of"),
            (r#"{"token-life":1}"#, "`token-life`: 1 is not between"),
            (r#"{"catalog":[{"type":"x"}]}"#, "`catalog.0.endpoints`: it is missing"),
            (r#"{"catalog":[{"type":"x","endpoints":[{"url":"u","interface":"inner"}]}]}"#, "found \"inner\""),
            (r#"{"rules":[{"actions":"publish","filter":"{sub}/x"}]}"#, "there is no placeholder `{sub}`"),
        ] {
            let error = Config::parse(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
