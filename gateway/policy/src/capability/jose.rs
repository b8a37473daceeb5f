//! `jose`: tokens are checked and made here, so that keys never enter a policy.
//!
//! What a token says about itself is never believed before its signature is good, with two exceptions that RFC 7515
//! needs: `alg`, which must be one of those that the policy names, and `kid`, which only chooses among the keys of the
//! source that the policy names. A key knows its own type, and checks only algorithms of that type: an HMAC token is
//! never checked against the octets of a public key.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use portcullis_grant::Sources;
use portcullis_identity::{KeyError, VerificationKey, keys_from_jwks, keys_from_pem};
use serde_json::{Map, Value};
use url::Url;

use super::{JwksCache, SharedServices};
use crate::bindings::portcullis::policy::jose::{Error, Host, KeySource, Requirements, UnverifiedToken, VerifiedToken};
use crate::spec::DirectoryAccess;
use crate::state::State;

/// The longest token that is looked at.
const MAX_TOKEN: usize = 16 << 10;
/// The most keys that a token without `kid` is tried with.
const MAX_TRIES: usize = 16;
const MAX_LEEWAY: u32 = 300;
/// 2^53 - 1: later times are not times.
const MAX_TIME: f64 = 9_007_199_254_740_991.0;

/// A token in its parts; nothing is checked.
struct Parts<'a> {
    /// Header and claims as they were signed.
    signed: &'a str,
    signature: &'a str,
    header_text: String,
    header: Map<String, Value>,
    claims_text: String,
    claims: Map<String, Value>,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, Error> {
        let malformed = |why: &str| Error::Malformed(why.to_owned());
        if token.len() > MAX_TOKEN {
            return Err(malformed("it is longer than 16 KiB"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| malformed("it has no dots"))?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| malformed("it has only one dot"))?;
        if claims.contains('.') {
            return Err(malformed("it has more than two dots"));
        }
        let (header_text, header) =
            object(header).ok_or_else(|| malformed("its header is not a JSON object in base64url"))?;
        let (claims_text, claims) =
            object(claims).ok_or_else(|| malformed("its claims are not a JSON object in base64url"))?;
        Ok(Self { signed, signature, header_text, header, claims_text, claims })
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.header.get(member).and_then(Value::as_str)
    }
}

fn object(part: &str) -> Option<(String, Map<String, Value>)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
    let map = serde_json::from_str(&text).ok()?;
    Some((text, map))
}

/// Which algorithm the token is checked with: the token's own word, if the policy named it.
fn algorithm(parts: &Parts<'_>, named: &[String]) -> Result<Algorithm, Error> {
    if named.is_empty() {
        return Err(Error::Other("the policy names no algorithms: say exactly which the scheme uses".to_owned()));
    }
    for word in named {
        if word.parse::<Algorithm>().is_err() {
            return Err(Error::Other(format!(
                "the policy names the algorithm {word:?}, which is not one that is checked here"
            )));
        }
    }
    let word = parts.text("alg").ok_or_else(|| Error::Malformed("its header has no `alg`".to_owned()))?;
    let refused = || Error::AlgorithmNotAllowed(word.chars().take(32).collect());
    if !named.iter().any(|n| n == word) {
        return Err(refused());
    }
    word.parse().map_err(|_| refused())
}

fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

/// Checks the signature with the keys that may check it.
fn check_signature(parts: &Parts<'_>, algorithm: Algorithm, keys: &[VerificationKey]) -> Result<(), Error> {
    let kid = match parts.header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.as_str()),
        Some(_) => return Err(Error::Malformed("its `kid` is not a string".to_owned())),
    };
    let mut candidates = keys
        .iter()
        .filter(|key| kid.is_none() || key.kid.is_none() || key.kid.as_deref() == kid)
        .filter(|key| key.fits(algorithm))
        .take(MAX_TRIES)
        .peekable();
    if candidates.peek().is_none() {
        let named =
            kid.map_or_else(String::new, |kid| format!(" named {:?}", kid.chars().take(64).collect::<String>()));
        return Err(Error::UnknownKey(format!("no key{named} that checks {algorithm:?}")));
    }
    let good = candidates.any(|key| {
        jsonwebtoken::crypto::verify(parts.signature, parts.signed.as_bytes(), &key.key, algorithm).unwrap_or(false)
    });
    if good { Ok(()) } else { Err(Error::BadSignature) }
}

/// A NumericDate (RFC 7519 §2), rounded down.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Error> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if (0.0..=MAX_TIME).contains(&seconds) => Ok(Some(seconds as u64)),
            _ => Err(Error::BadClaim(name.to_owned())),
        },
    }
}

fn text(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Error::BadClaim(name.to_owned())),
    }
}

fn audience(claims: &Map<String, Value>) -> Result<Vec<String>, Error> {
    match claims.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(all)) => {
            let texts = all.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            texts.ok_or_else(|| Error::BadClaim("aud".to_owned()))
        }
        Some(_) => Err(Error::BadClaim("aud".to_owned())),
    }
}

/// Everything but the signature, which was good.
fn check_claims(parts: Parts<'_>, wanted: &Requirements, now: u64) -> Result<VerifiedToken, Error> {
    let leeway = u64::from(wanted.leeway);
    let claims = &parts.claims;
    let (expires_at, not_before_at, issued_at) = (time(claims, "exp")?, time(claims, "nbf")?, time(claims, "iat")?);
    // RFC 7519 §4.1.4: not accepted on or after the time.
    if let Some(at) = expires_at.filter(|at| now >= at.saturating_add(leeway)) {
        return Err(Error::Expired(at));
    }
    if let Some(at) = [not_before_at, issued_at].into_iter().flatten().find(|at| now.saturating_add(leeway) < *at) {
        return Err(Error::NotYetValid(at));
    }
    let issuer = text(claims, "iss")?;
    if !wanted.issuers.is_empty() && !issuer.as_ref().is_some_and(|is| wanted.issuers.contains(is)) {
        return Err(Error::BadClaim("iss".to_owned()));
    }
    let audience = audience(claims)?;
    if !wanted.audiences.is_empty() && !audience.iter().any(|one| wanted.audiences.contains(one)) {
        return Err(Error::BadClaim("aud".to_owned()));
    }
    if let Some(missing) = wanted.required.iter().find(|name| claims.get(*name).is_none_or(Value::is_null)) {
        return Err(Error::BadClaim(missing.clone()));
    }
    Ok(VerifiedToken {
        subject: text(claims, "sub")?,
        id: text(claims, "jti")?,
        header: parts.header_text,
        claims: parts.claims_text,
        issuer,
        audience,
        expires_at,
        issued_at,
    })
}

/// What is refused before keys are looked for, which may mean fetching them.
fn check_header(parts: &Parts<'_>, wanted: &Requirements) -> Result<Algorithm, Error> {
    let algorithm = algorithm(parts, &wanted.algorithms)?;
    if is_hmac(algorithm) && !matches!(wanted.keys, KeySource::Named(_)) {
        return Err(Error::AlgorithmNotAllowed(format!("{algorithm:?} with keys that are public")));
    }
    // RFC 7515 §4.1.11: what must be understood and is not makes the token invalid.
    if parts.header.contains_key("crit") {
        return Err(Error::Malformed("its header has critical extensions, of which none is known here".to_owned()));
    }
    if wanted.leeway > MAX_LEEWAY {
        return Err(Error::Other(format!(
            "the policy asks for a leeway of {} s, more than {MAX_LEEWAY}",
            wanted.leeway
        )));
    }
    Ok(algorithm)
}

fn key_error(why: KeyError) -> Error {
    match why {
        KeyError::Unknown(name) => Error::UnknownKey(name),
        other => Error::Other(other.to_string()),
    }
}

/// The keys that an app's owner registered and those that they publish. Who registered the URL has decided that the
/// gateway may go there: no policy has to be granted the host.
async fn with_published(
    shared: &Arc<SharedServices>,
    registered: Arc<[VerificationKey]>,
    url: &str,
    kid: Option<&str>,
    patience: Duration,
    sources: &Sources,
) -> Result<Arc<[VerificationKey]>, Error> {
    let host =
        Url::parse(url).ok().and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
    match JwksCache::keys(shared, url, host.as_slice(), kid, patience, sources).await {
        Ok(published) => Ok(registered.iter().chain(published.iter()).cloned().collect()),
        // A registered key may still be the one.
        Err(_) if registered.iter().any(|key| key.answers_to(kid)) => Ok(registered),
        Err(why) => Err(why),
    }
}

// What waits takes the state exclusively: a shared reference held over a wait would not be `Send`.
impl State {
    fn may_use_key(&self, name: &str) -> Result<(), Error> {
        let allowed = self.with.allow.keys.iter().flatten().any(|allowed| allowed == name);
        if allowed {
            return Ok(());
        }
        Err(Error::NotAllowed(format!("the key `{name}`: add it to `allow = {{ keys = [\"{name}\"] }}`")))
    }

    async fn keys(&mut self, source: &KeySource, kid: Option<&str>) -> Result<Arc<[VerificationKey]>, Error> {
        // A server that is slow must not cost the policy its deadline: that would count against the policy.
        let patience = self.remaining() / 2;
        let shared = &self.with.shared;
        let sources = self.call.sources.clone();
        match source {
            KeySource::Named(name) => {
                self.may_use_key(name)?;
                let keyring = shared.keyring.clone().ok_or_else(|| Error::Other("there are no keys".to_owned()))?;
                keyring.verification_keys(name).map_err(key_error)
            }
            KeySource::App(id) => {
                if self.with.allow.directory < DirectoryAccess::Read {
                    return Err(Error::NotAllowed("keys of apps: add `allow = { directory = \"read\" }`".to_owned()));
                }
                let directory = self.directory().map_err(Error::Other)?;
                let registered = directory.app_keys(id).ok_or_else(|| Error::UnknownKey(format!("no app {id:?}")))?;
                let url = directory.find_app(id).and_then(|app| app.jwks_url.clone());
                match url {
                    Some(url) if !registered.iter().any(|key| key.kid.is_some() && key.kid.as_deref() == kid) => {
                        with_published(shared, registered, &url, kid, patience, &sources).await
                    }
                    _ => Ok(registered),
                }
            }
            KeySource::JwksUrl(url) => {
                JwksCache::keys(shared, url, self.with.allow.hosts(), kid, patience, &sources).await
            }
            KeySource::Pem(text) => keys_from_pem(text).map(Into::into).map_err(key_error),
            KeySource::Jwks(text) => keys_from_jwks(text).map(Into::into).map_err(key_error),
        }
    }

    /// Works with a named key where blocking is allowed: making a key and signing with RSA take milliseconds.
    async fn with_key<T: Send + 'static>(
        &mut self,
        name: String,
        work: impl FnOnce(&portcullis_identity::Keyring, &str) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, Error> {
        self.barred().map_err(Error::Other)?;
        self.may_use_key(&name)?;
        let keyring = self.with.shared.keyring.clone().ok_or_else(|| Error::Other("there are no keys".to_owned()))?;
        let Ok(place) = Arc::clone(&self.with.blocking).acquire_owned().await else {
            return Err(Error::Other("the gateway is stopping".to_owned()));
        };
        let work = move || {
            let _place = place;
            work(&keyring, &name)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(key_error),
            Err(_) => Err(Error::Other("signing stopped".to_owned())),
        }
    }
}

impl Host for State {
    async fn verify(&mut self, token: String, wanted: Requirements) -> Result<VerifiedToken, Error> {
        self.barred().map_err(Error::Other)?;
        let parts = Parts::of(&token)?;
        let algorithm = check_header(&parts, &wanted)?;
        let notes = Arc::clone(&self.notes);
        let keys = notes.waits("jose.verify", self.keys(&wanted.keys, parts.text("kid"))).await?;
        if matches!(wanted.keys, KeySource::App(_) | KeySource::JwksUrl(_)) {
            self.with.uses.looked_up_keys(self.call.sources.freshness());
        }
        check_signature(&parts, algorithm, &keys)?;
        check_claims(parts, &wanted, self.with.shared.outside.now())
    }

    async fn decode_unverified(&mut self, token: String) -> Result<UnverifiedToken, Error> {
        let parts = Parts::of(&token)?;
        let own = |text: Option<&str>| text.map(str::to_owned);
        Ok(UnverifiedToken {
            algorithm: own(parts.text("alg")).ok_or_else(|| Error::Malformed("its header has no `alg`".to_owned()))?,
            key_id: own(parts.text("kid")),
            issuer: own(parts.claims.get("iss").and_then(Value::as_str)),
            header: parts.header_text,
            claims: parts.claims_text,
        })
    }

    async fn sign(&mut self, key: String, header: String, claims: String) -> Result<String, Error> {
        if header.len() + claims.len() > MAX_TOKEN {
            return Err(Error::Other("header and claims have more than 16 KiB".to_owned()));
        }
        let notes = Arc::clone(&self.notes);
        notes.waits("jose.sign", self.with_key(key, move |keyring, name| keyring.sign(name, &header, &claims))).await
    }

    async fn public_keys(&mut self, key: String) -> Result<String, Error> {
        self.with_key(key, |keyring, name| keyring.public_jwks(name)).await
    }
}

#[cfg(test)]
#[path = "jose_tests.rs"]
mod tests;
