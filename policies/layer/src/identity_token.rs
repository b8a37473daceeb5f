//! Identity tokens: made for km-api's users, and believed at Layer's end if they answer a nonce of ours.

use policy_support::SchemeGateway;
use policy_support::deny;
use policy_support::wit::directory::User;
use policy_support::wit::jose::{self, KeySource, Requirements, UnverifiedToken};
use policy_support::wit::types::{Denial, DenyReason};
use serde_json::{Map, Value, json};

use crate::config::{Config, Provider};
use crate::person::{self, Person, about, bad};
use crate::rate::failed;
use crate::uuid;

/// Seconds from the making of an identity token to its end.
const LIFETIME: u64 = 300;

/// The content type of identity tokens, as of Layer's documentation.
const CONTENT: &str = "layer-eit;v=1";

/// The most octets of a principal's name: the directory keeps it as the owner of a key.
const NAME_LIMIT: usize = 256;

/// The only algorithm that Layer's documentation knows.
const ALGORITHM: &str = "RS256";

/// Where the UUID of this gateway as a provider is kept.
const PROVIDER_KEY: &str = "provider-id";

/// Makes the identity token that answers a nonce for a user.
///
/// # Errors
/// It cannot be signed.
pub fn issue(gateway: &impl SchemeGateway, config: &Config, user: &User, nonce: &str) -> Result<String, Denial> {
    let keys = public_keys(gateway, config)?;
    // The first is the one that signs.
    let key = keys.first().ok_or_else(|| unavailable("there is no key to sign with"))?;
    let header = json!({ "typ": "JWT", "cty": CONTENT, "kid": kid(config, key) });
    let now = gateway.now();
    let mut claims = json!({
        "iss": issuer(&provider_id(gateway, config)?),
        "prn": user.id,
        "iat": now,
        "exp": now + LIFETIME,
        "nce": nonce,
    });
    for (claim, attribute) in [("first_name", "first-name"), ("last_name", "last-name")] {
        let value = about(user, attribute);
        if !value.is_empty() {
            claims[claim] = value.into();
        }
    }
    gateway.sign(&config.key, &header.to_string(), &claims.to_string()).map_err(refuse)
}

/// An identity token whose nonce can be looked at; nothing else was.
pub struct Reading<'a> {
    token: &'a str,
    unverified: UnverifiedToken,
    /// The nonce that it says it answers.
    pub nonce: String,
}

/// Reads an identity token without checking it.
///
/// # Errors
/// It is none.
pub fn read<'a>(gateway: &impl SchemeGateway, token: &'a str) -> Result<Reading<'a>, Denial> {
    let unverified = gateway.decode_unverified(token).map_err(refuse)?;
    let nonce = object(&unverified.claims)?.get("nce").and_then(Value::as_str).map(str::to_owned);
    Ok(Reading { token, unverified, nonce: nonce.ok_or_else(|| bad("the claim nce is missing"))? })
}

/// Somebody whom a provider vouches for.
pub struct Vouched {
    /// Who.
    pub person: Person,
    /// When the token was made.
    pub issued_at: u64,
}

/// Checks an identity token, all but its nonce.
///
/// # Errors
/// What is wrong with it.
pub fn verify(gateway: &impl SchemeGateway, config: &Config, reading: &Reading<'_>) -> Result<Vouched, Denial> {
    let own = provider_id(gateway, config)?;
    let named = reading.unverified.issuer.as_deref().and_then(|issuer| issuer.strip_prefix("layer:///providers/"));
    let named = named.and_then(uuid::parse).ok_or_else(|| bad("the claim iss does not name a provider"))?;
    let foreign = person::foreign(config, &named);
    let keys = match foreign {
        Some(provider) => {
            check_header(reading, provider.key_id.as_deref())?;
            provider.keys.clone()
        }
        None if named == own => own_keys(gateway, config, reading)?,
        None => return Err(bad(format!("the provider {named} is not believed here"))),
    };
    let issuers = reading.unverified.issuer.iter().cloned().collect();
    let wanted = Requirements { issuers, leeway: config.leeway, ..requirements(keys) };
    let token = gateway.verify(reading.token, &wanted).map_err(refuse)?;
    let claims = object(&token.claims)?;
    if claims.get("nce").and_then(Value::as_str) != Some(&reading.nonce) {
        return Err(bad("the claim nce is ambiguous"));
    }
    let principal = claims.get("prn").and_then(Value::as_str).ok_or_else(|| bad("the claim prn is not a string"))?;
    if principal.is_empty() || principal.len() > NAME_LIMIT || principal.chars().any(char::is_control) {
        return Err(bad("the claim prn is empty, longer than 256 octets, or has control characters"));
    }
    let issued_at = token.issued_at.ok_or_else(|| bad("the claim iat is missing"))?;
    let person = match foreign {
        Some(provider) => Person::Foreign {
            provider: provider.id.clone(),
            principal: principal.to_owned(),
            app: provider.app.clone(),
        },
        None => Person::Local(person::local(gateway, config, principal, Some(issued_at))?),
    };
    Ok(Vouched { person, issued_at })
}

/// What is asked of every identity token.
fn requirements(keys: KeySource) -> Requirements {
    Requirements {
        keys,
        algorithms: vec![ALGORITHM.into()],
        leeway: 0,
        issuers: vec![],
        audiences: vec![],
        required: ["prn", "nce", "iat", "exp"].map(str::to_owned).to_vec(),
    }
}

/// Tries a provider's keys with a token that nobody signed.
///
/// # Errors
/// They cannot be read, or were not granted. That a JWK Set cannot be fetched right now is no error.
pub fn probe(gateway: &impl SchemeGateway, provider: &Provider, nobodys: &str) -> Result<(), String> {
    match gateway.verify(nobodys, &requirements(provider.keys.clone())) {
        Ok(_) => Err("a token without a signature was taken for good".into()),
        Err(jose::Error::NotAllowed(why) | jose::Error::Other(why)) => Err(why),
        Err(_) => Ok(()),
    }
}

/// The UUID of this gateway as a provider: as configured, or made at the first question and kept.
///
/// # Errors
/// The store does not answer.
pub fn provider_id(gateway: &impl SchemeGateway, config: &Config) -> Result<String, Denial> {
    if let Some(id) = &config.provider_id {
        return Ok(id.clone());
    }
    let stored = || -> Result<Option<String>, Denial> {
        let octets = gateway.get(PROVIDER_KEY).map_err(failed)?;
        Ok(octets.and_then(|octets| uuid::parse(std::str::from_utf8(&octets).ok()?)))
    };
    if let Some(id) = stored()? {
        return Ok(id);
    }
    // Of two who make one at the same time, the first wins and both use it.
    gateway.set_if_absent(PROVIDER_KEY, gateway.uuid().as_bytes(), None).map_err(failed)?;
    stored()?.ok_or_else(|| unavailable("the provider's UUID in the store is none"))
}

/// `iss` of a provider.
pub fn issuer(provider: &str) -> String {
    format!("layer:///providers/{provider}")
}

/// The public halves of the key that we sign with: the current one first, then those that were rotated out.
///
/// # Errors
/// The gateway does not give them.
pub fn public_keys(gateway: &impl SchemeGateway, config: &Config) -> Result<Vec<Map<String, Value>>, Denial> {
    let text = gateway.public_keys(&config.key).map_err(refuse)?;
    let keys = object(&text)?.remove("keys");
    let Some(Value::Array(keys)) = keys else { return Err(unavailable("the gateway's keys are no JWK Set")) };
    Ok(keys.into_iter().filter_map(|key| if let Value::Object(key) = key { Some(key) } else { None }).collect())
}

/// `kid` of one of our keys: as configured, or following from the name that the gateway has for it.
fn kid(config: &Config, key: &Map<String, Value>) -> String {
    let named = || uuid::derived(key.get("kid").and_then(Value::as_str).unwrap_or_default());
    format!("layer:///keys/{}", config.key_id.clone().unwrap_or_else(named))
}

/// Those of our keys that the token's `kid` names, without the names that the gateway has for them.
fn own_keys(gateway: &impl SchemeGateway, config: &Config, reading: &Reading<'_>) -> Result<KeySource, Denial> {
    let named = check_header(reading, config.key_id.as_deref())?;
    let mut keys = public_keys(gateway, config)?;
    keys.retain(|key| kid(config, key) == named);
    if keys.is_empty() {
        return Err(bad("the token's kid names none of the gateway's keys"));
    }
    for key in &mut keys {
        key.remove("kid");
    }
    Ok(KeySource::Jwks(json!({ "keys": keys }).to_string()))
}

/// Checks what Layer's documentation says of the header, and gives its `kid`.
fn check_header(reading: &Reading<'_>, key_id: Option<&str>) -> Result<String, Denial> {
    let header = object(&reading.unverified.header)?;
    let member = |name: &str| header.get(name).and_then(Value::as_str);
    if !member("typ").is_some_and(|kind| kind.eq_ignore_ascii_case("JWT")) {
        return Err(bad("the header's typ is not JWT"));
    }
    if member("cty") != Some(CONTENT) {
        return Err(bad(format!("the header's cty is not {CONTENT}")));
    }
    let named = member("kid").unwrap_or_default();
    let id = named.strip_prefix("layer:///keys/").and_then(uuid::parse);
    match (id, key_id) {
        (None, _) => Err(bad("the header's kid is not of the form layer:///keys/<uuid>")),
        (Some(id), Some(wanted)) if id != wanted => Err(bad("the header's kid is another key's")),
        _ => Ok(named.to_owned()),
    }
}

fn object(json: &str) -> Result<Map<String, Value>, Denial> {
    serde_json::from_str(json).map_err(|error| bad(format!("a part of the token cannot be read: {error}")))
}

fn unavailable(why: impl Into<String>) -> Denial {
    deny(DenyReason::Unavailable, why)
}

/// The gateway's findings as a refusal.
pub fn refuse(error: jose::Error) -> Denial {
    use jose::Error;
    bad(match error {
        Error::KeysUnavailable(why) => return unavailable(format!("the keys cannot be had: {why}")),
        Error::NotAllowed(why) | Error::Other(why) => return unavailable(why),
        Error::Malformed(why) => format!("the identity token is not well-formed: {why}"),
        Error::AlgorithmNotAllowed(name) => format!("the identity token is signed with {name:?}, not {ALGORITHM}"),
        Error::UnknownKey(why) => format!("there is no key to check the identity token with: {why}"),
        Error::BadSignature => "the identity token's signature is wrong".to_owned(),
        Error::Expired(at) => format!("the identity token expired at {at}"),
        Error::NotYetValid(at) => format!("the identity token is not valid before {at}"),
        Error::BadClaim(name) => format!("the claim {name} is missing or not what it must be"),
    })
}

#[cfg(test)]
#[path = "identity_token_tests.rs"]
mod tests;
