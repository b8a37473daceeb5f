//! The configuration of `jwt`.

use policy_support::config::{ConfigError, Table, parse};
use policy_support::limits;
use policy_support::rules::{self, Grammar, RuleTemplate};
use policy_support::template::{Template, Vocabulary};
use policy_support::wit::jose::{KeySource, Requirements};
use policy_support::wit::types::Limit;

use crate::oisp::config::Oisp;

/// JSON Schema of the configuration.
pub const SCHEMA: &str = include_str!("../config.schema.json");

const VOCABULARY: Vocabulary = Vocabulary { names: &["sub", "app", "client-id", "device"], families: &["claim."] };

const GRAMMAR: Grammar = Grammar { vocabulary: VOCABULARY, roles: true };

/// What a consumer may do unless configured: hear its devices, steer them, and use a branch of its own within its app's.
const RULES: &str = r#"{"rules": [
    {"actions": "subscribe", "filter": "{device}/stream"},
    {"actions": "publish", "filter": "{device}/control"},
    {"actions": ["publish", "subscribe", "retain", "will"], "filter": "{app}/{sub}/#"}
]}"#;

/// Signatures that anybody with the public key can check.
const PUBLIC: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Signatures with a shared secret.
const SECRET: [&str; 3] = ["HS256", "HS384", "HS512"];

/// The most issuers.
const ISSUERS: usize = 64;

/// What an MQTT client identifier must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientId {
    /// Any that is not a registered device's.
    Any,
    /// The subject. A client that sends none is given it.
    Subject,
    /// The subject, or the subject and one of `-_.:/` and more.
    Prefix,
}

/// Someone whose tokens are trusted without an app of the directory.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The value of `iss`.
    pub issuer: String,
    /// The app whose consumers its subjects are.
    pub app: Option<String>,
    /// What is asked of its tokens.
    pub requirements: Requirements,
}

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether tokens of the directory's apps are admitted.
    pub apps: bool,
    /// The app of every token that is not an issuer's.
    pub app: Option<String>,
    /// The claim that names the app.
    pub app_claim: Option<String>,
    /// Trusted issuers.
    pub issuers: Vec<Issuer>,
    /// The tokens that the gateway signs itself. None: it signs none, and admits none.
    pub oisp: Option<Oisp>,
    /// What is asked of the tokens of apps; `keys` is to be replaced by the app's.
    pub requirements: Requirements,
    /// Whether any user name may come with a token.
    pub any_username: bool,
    /// What the client identifier must be.
    pub client_id: ClientId,
    /// Whether tokens of no known app or issuer are left to other policies.
    pub pass_foreign: bool,
    /// The claim with names of roles.
    pub roles_claim: Option<String>,
    /// The claim with further rules.
    pub rules_claim: Option<String>,
    /// Where those may reach.
    pub rules_within: Vec<Template>,
    /// The rules of the grant.
    pub rules: Vec<RuleTemplate>,
    /// The limits of the grant.
    pub limits: Vec<Limit>,
    /// Whether the owner's devices are needed to write the rules.
    pub needs_devices: bool,
    /// Whether claims beyond the registered ones are needed to write the grant.
    pub needs_claims: bool,
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
        let leeway = table.number("leeway", 0..=300)?.map_or(30, |seconds| seconds as u32);
        let required = match table.flag("require-exp", true)? {
            true => vec!["sub".to_owned(), "exp".to_owned()],
            false => vec!["sub".to_owned()],
        };
        let requirements = Requirements {
            // Never asked: each login names its app's keys.
            keys: KeySource::App(String::new()),
            algorithms: algorithms(table, false)?,
            leeway,
            issuers: vec![],
            audiences: table.texts("audience")?.unwrap_or_default(),
            required,
        };
        let issuers = table.tables("issuers", ISSUERS, |entry| issuer(entry, &requirements))?.unwrap_or_default();
        let oisp = table.table("oisp", |table| Oisp::read(table, leeway))?;
        let rules_claim = text("rules-claim")?;
        let rules_within = within(table, rules_claim.is_some())?;
        let rules = rules::read(table, "rules", &GRAMMAR, RULES)?;
        let config = Self {
            apps: table.flag("apps", true)?,
            app: text("app")?,
            app_claim: text("app-claim")?,
            any_username: table.word("username", false, &[("match", false), ("any", true)])?,
            client_id: table.word(
                "client-id",
                ClientId::Any,
                &[("any", ClientId::Any), ("sub", ClientId::Subject), ("prefix", ClientId::Prefix)],
            )?,
            pass_foreign: table.word("foreign-tokens", false, &[("deny", false), ("pass", true)])?,
            roles_claim: text("roles-claim")?,
            needs_devices: rules::use_placeholder(&rules, "device") || rules_within.iter().any(|t| t.uses("device")),
            needs_claims: false,
            limits: limits::read(table)?,
            issuers,
            oisp,
            requirements,
            rules_claim,
            rules_within,
            rules,
        };
        if config.app.is_some() && config.app_claim.is_some() {
            return Err(table.error("app-claim", "`app` names the app already: give one of the two"));
        }
        if !config.apps && config.issuers.is_empty() && config.oisp.is_none() {
            let problem = "without apps, without `issuers` and without `oisp` no token is ever admitted";
            return Err(table.error("apps", problem));
        }
        let own = config.oisp.as_ref().map(|oisp| oisp.issuer.as_str());
        if let Some(index) = config.issuers.iter().position(|known| Some(known.issuer.as_str()) == own) {
            let problem = "it is that of the gateway's own tokens: name another in `oisp.issuer`";
            return Err(table.error(&format!("issuers.{index}.issuer"), problem));
        }
        let uses_claims = rules::placeholders(&config.rules)
            .chain(config.rules_within.iter().flat_map(Template::placeholders))
            .any(|name| name.starts_with("claim."));
        let needs_claims = uses_claims || config.roles_claim.is_some() || config.rules_claim.is_some();
        Ok(Self { needs_claims, ..config })
    }
}

fn issuer(entry: &Table<'_>, base: &Requirements) -> Result<Issuer, ConfigError> {
    let issuer = entry.needed_text("issuer")?.to_owned();
    let keys = entry.table("keys", keys)?.ok_or_else(|| entry.error("keys", "it is missing"))?;
    let secrets = matches!(keys, KeySource::Named(_));
    let requirements = Requirements {
        algorithms: algorithms(entry, secrets)?,
        issuers: vec![issuer.clone()],
        audiences: entry.texts("audience")?.unwrap_or_default(),
        keys,
        ..base.clone()
    };
    Ok(Issuer { issuer, app: entry.text("app")?.map(str::to_owned), requirements })
}

fn keys(table: &Table<'_>) -> Result<KeySource, ConfigError> {
    let text = |key| Ok(table.text(key)?.map(str::to_owned));
    let sources: Vec<KeySource> = [
        text("pem")?.map(KeySource::Pem),
        text("jwks")?.map(KeySource::Jwks),
        text("jwks-url")?.map(KeySource::JwksUrl),
        text("named")?.map(KeySource::Named),
    ]
    .into_iter()
    .flatten()
    .collect();
    let [source] = <[KeySource; 1]>::try_from(sources).map_err(|_| {
        ConfigError::new(&table.path("keys"), "give exactly one of `pem`, `jwks`, `jwks-url` and `named`")
    })?;
    if let KeySource::JwksUrl(url) = &source
        && !url.starts_with("https://")
        && !url.starts_with("http://")
    {
        return Err(table.error("jwks-url", "expected a URL that begins with `https://`"));
    }
    Ok(source)
}

/// The algorithms of a table. Those with a shared secret are there only for keys that are named secrets, and only when
/// they are asked for, so that a public key is never taken for a secret.
fn algorithms(table: &Table<'_>, secrets: bool) -> Result<Vec<String>, ConfigError> {
    const KEY: &str = "algorithms";
    let Some(names) = table.texts(KEY)? else { return Ok(PUBLIC.map(str::to_owned).to_vec()) };
    if names.is_empty() {
        return Err(table.error(KEY, "it is empty: no token would ever be admitted"));
    }
    for name in &names {
        if SECRET.contains(&name.as_str()) {
            if !secrets {
                let problem = "needs a secret: it is possible for issuers whose `keys` are `named`, and only for them";
                return Err(table.error(KEY, format!("`{name}` {problem}")));
            }
        } else if !PUBLIC.contains(&name.as_str()) {
            let known = [&PUBLIC[..], &SECRET[..]].concat().join("`, `");
            return Err(table.error(KEY, format!("expected some of `{known}`, found {name:?}")));
        }
    }
    Ok(names)
}

fn within(table: &Table<'_>, claimed: bool) -> Result<Vec<Template>, ConfigError> {
    const KEY: &str = "rules-within";
    let given = table.texts(KEY)?;
    if given.is_some() && !claimed {
        return Err(table.error(KEY, "it bounds the rules of `rules-claim`, which is not there"));
    }
    let texts = given.unwrap_or_else(|| vec!["{app}/#".to_owned()]);
    texts.iter().map(|text| Template::parse(text, &VOCABULARY).map_err(|why| table.error(KEY, why))).collect()
}

#[cfg(test)]
mod tests {
    use super::{ClientId, Config, SCHEMA};
    use policy_support::wit::jose::KeySource;

    #[test]
    fn the_readme_and_the_schema_tell_the_truth() {
        policy_support::documented::check(include_str!("../README.md"), SCHEMA, "jwt", |json| {
            Config::parse(json).map(|_| ())
        });
    }

    #[test]
    fn the_defaults_are_careful() {
        let config = Config::parse("{}").unwrap();
        assert!(config.apps && !config.any_username && !config.pass_foreign && config.needs_devices);
        assert_eq!(config.client_id, ClientId::Any);
        assert_eq!(config.requirements.leeway, 30);
        assert_eq!(config.requirements.required, ["sub", "exp"]);
        assert!(config.requirements.algorithms.iter().all(|name| !name.starts_with("HS") && name != "none"));
        assert!(!config.needs_claims);
    }

    #[test]
    fn issuers_are_read() {
        let config = Config::parse(
            r#"{"leeway":5,"require-exp":false,"apps":false,"issuers":[
                {"issuer":"i1","audience":"a","keys":{"named":"k"},"algorithms":["HS256"],"app":"x"},
                {"issuer":"i2","keys":{"jwks-url":"https://example.com/jwks"}}]}"#,
        )
        .unwrap();
        let [first, second] = config.issuers.as_slice() else { panic!("two issuers") };
        assert_eq!((first.issuer.as_str(), first.app.as_deref()), ("i1", Some("x")));
        assert_eq!(first.requirements.keys, KeySource::Named("k".into()));
        assert_eq!(
            (&first.requirements.algorithms[..], &first.requirements.audiences[..]),
            (&["HS256".to_owned()][..], &["a".to_owned()][..])
        );
        assert_eq!((first.requirements.leeway, &first.requirements.required[..]), (5, &["sub".to_owned()][..]));
        assert_eq!(second.requirements.issuers, ["i2"]);
        assert!(second.requirements.algorithms.iter().all(|name| !name.starts_with("HS")));
    }

    #[test]
    fn mistakes_are_named() {
        for (json, part) in [
            (r#"{"leeway":301}"#, "`leeway`: 301 is not between 0 and 300"),
            (r#"{"algorithms":["none"]}"#, "found \"none\""),
            (r#"{"algorithms":["HS256"]}"#, "`algorithms`: `HS256` needs a secret"),
            (r#"{"algorithms":[]}"#, "`algorithms`: it is empty"),
            (
                r#"{"issuers":[{"issuer":"i","keys":{"pem":"p"},"algorithms":["HS256"]}]}"#,
                "`issuers.0.algorithms`: `HS256`",
            ),
            (r#"{"issuers":[{"issuer":"i","keys":{"jwks":"{}"},"algorithms":["HS256"]}]}"#, "`HS256` needs a secret"),
            (r#"{"issuers":[{"keys":{"pem":"p"}}]}"#, "`issuers.0.issuer`: it is missing"),
            (r#"{"issuers":[{"issuer":"i"}]}"#, "`issuers.0.keys`: it is missing"),
            (r#"{"issuers":[{"issuer":"i","keys":{}}]}"#, "exactly one of `pem`, `jwks`, `jwks-url` and `named`"),
            (r#"{"issuers":[{"issuer":"i","keys":{"pem":"p","named":"k"}}]}"#, "exactly one of"),
            (r#"{"issuers":[{"issuer":"i","keys":{"jwks-url":"ftp://x"}}]}"#, "`issuers.0.keys.jwks-url`"),
            (r#"{"issuers":[{"issuer":"i","keys":{"pem":"p"},"aud":"x"}]}"#, "`issuers.0.aud`: there is no such key"),
            (r#"{"apps":false}"#, "`apps`: without apps, without `issuers`"),
            (r#"{"app":"a","app-claim":"b"}"#, "`app-claim`: `app` names the app already"),
            (r##"{"rules-within":["#"]}"##, "`rules-within`: it bounds the rules of `rules-claim`"),
            (r#"{"client-id":"own"}"#, "`client-id`: expected `any` or `sub` or `prefix`"),
            (
                r#"{"rules":[{"actions":"publish","filter":"{consumer}"}]}"#,
                "`{sub}`, `{app}`, `{client-id}`, `{device}`, `{claim.…}`",
            ),
        ] {
            let error = Config::parse(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
