//! Whether a token is good, and whose it is.

use policy_support::wit::jose::{self, KeySource, Requirements, VerifiedToken};
use policy_support::wit::types::{Connection, Credentials, Denial, DenyReason, Grant};
use policy_support::{Gateway, Outcome, SchemeGateway, client_id, deny, owned};
use serde_json::Value;

use crate::claims;
use crate::config::{ClientId, Config, Issuer};
use crate::grant::{Bearer, SCHEME, grant};
use crate::offer::{self, Offer};
use crate::oisp;
use crate::oisp::config::{KEY, Oisp};
use crate::remembered::Remembered;

/// The most octets of a subject or a token's identifier: both are written into logs and rules.
pub(crate) const NAME_LIMIT: usize = 512;

/// A token that is correct in form and complete in what has to be known to check it.
pub(crate) struct Login<'a> {
    pub(crate) token: &'a str,
    /// The app that the client names by header.
    header: Option<&'a str>,
    /// The app that an earlier login was of.
    earlier: Option<&'a str>,
    pub(crate) username: Option<&'a str>,
    /// None: not on MQTT.
    pub(crate) client_id: Option<&'a str>,
    /// The subject of the login that is repeated: another one is refused.
    pub(crate) subject: Option<&'a str>,
}

/// Decides about a login.
///
/// # Errors
/// The client offers a token, and it is not good.
pub fn authenticate(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    credentials: &Credentials,
) -> Outcome {
    let Some(Offer { token, app, username }) = offer::find(gateway, connection, credentials)? else {
        return Ok(None);
    };
    let earlier = connection.identity.as_ref().filter(|identity| identity.scheme == SCHEME);
    let login = Login {
        token: &token,
        header: app.as_deref(),
        earlier: earlier.and_then(|identity| identity.tenant.as_deref()),
        username: username.as_deref(),
        client_id: (connection.protocol == "mqtt").then_some(credentials.client_id.as_str()),
        subject: earlier.map(|identity| identity.subject.as_str()),
    };
    match admit(gateway, config, &login) {
        Err(Refusal::Foreign(_)) if config.pass_foreign => Ok(None),
        answer => answer.map(Some).map_err(Refusal::into_denial),
    }
}

/// Looks at a login again: the token is checked as if it came anew.
///
/// # Errors
/// It would not be admitted now.
pub fn renew(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    state: &[u8],
) -> Result<Grant, Denial> {
    let identity = connection.identity.as_ref();
    let Some(Remembered { app, client_id, token }) = Remembered::read(state, identity) else {
        return Err(deny(
            DenyReason::NotAuthorized,
            "the token was not kept (it is too long, or of an older version): log in again",
        ));
    };
    let login = Login {
        token: &token,
        header: None,
        earlier: app,
        username: None,
        client_id: Some(client_id),
        subject: identity.map(|identity| identity.subject.as_str()),
    };
    admit(gateway, config, &login).map_err(Refusal::into_denial)
}

/// Tries every trusted issuer's keys, to find what was not granted before somebody logs in, and has the gateway's own key
/// made, which takes longer than a request may.
///
/// # Errors
/// A key or a host is not granted, or a key cannot be read. That a JWK Set cannot be fetched right now is no error.
pub fn probe(gateway: &impl SchemeGateway, config: &Config) -> Result<(), String> {
    /// A token without claims whose signature is one octet. Nobody admits it.
    const NOBODY: &str = "eyJhbGciOiJSUzI1NiJ9.e30.AA";
    for (index, issuer) in config.issuers.iter().enumerate() {
        match gateway.verify(NOBODY, &issuer.requirements) {
            Ok(_) => return Err(format!("`issuers.{index}`: a token without a signature was taken for good")),
            Err(jose::Error::NotAllowed(why) | jose::Error::Other(why)) => {
                return Err(format!("`issuers.{index}.keys`: {why}"));
            }
            Err(_) => {}
        }
    }
    if config.oisp.is_some() {
        gateway.public_keys(KEY).map_err(|error| format!("`oisp`: {}", refused(error).detail))?;
        policy_support::may_change_the_directory(gateway).map_err(|why| format!("`oisp`: {why}"))?;
    }
    Ok(())
}

/// Why a token is not admitted.
enum Refusal {
    /// It is of no app or issuer that is known here.
    Foreign(String),
    Denied(Denial),
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl Refusal {
    fn into_denial(self) -> Denial {
        match self {
            Self::Foreign(detail) => bad(detail),
            Self::Denied(denial) => denial,
        }
    }
}

pub(crate) fn bad(detail: impl Into<String>) -> Denial {
    deny(DenyReason::BadCredentials, detail)
}

/// Whose keys a token is checked with.
enum Signer<'a> {
    Own(&'a Oisp),
    Issuer(&'a Issuer),
    App(String),
}

fn admit(gateway: &impl SchemeGateway, config: &Config, login: &Login<'_>) -> Result<Grant, Refusal> {
    let signer = signer(gateway, config, login)?;
    let (token, app) = match &signer {
        Signer::Own(oisp) => return Ok(oisp::login::admit(gateway, config, oisp, login)?),
        Signer::Issuer(issuer) => (verify(gateway, login.token, &issuer.requirements)?, issuer.app.as_deref()),
        Signer::App(id) => {
            match gateway.find_app(id)? {
                None => {
                    return Err(Refusal::Foreign(format!(
                        "the token is said to be of the app {id:?}, which does not exist"
                    )));
                }
                Some(app) if !app.enabled => {
                    return Err(deny(DenyReason::NotAuthorized, format!("the app {id} is disabled")).into());
                }
                Some(_) => {}
            }
            let requirements = Requirements { keys: KeySource::App(id.clone()), ..config.requirements.clone() };
            (verify(gateway, login.token, &requirements)?, Some(id.as_str()))
        }
    };
    let subject = subject(&token)?;
    if login.subject.is_some_and(|earlier| earlier != subject) {
        return Err(bad("the token is another subject's than that of this connection").into());
    }
    if app.is_some() && login.header.is_some() && login.header != app {
        return Err(bad("X-APP-ID is not the app whose token this is").into());
    }
    let matches = |name: &str| name == subject || Some(name) == app;
    if !config.any_username && login.username.is_some_and(|name| !matches(name)) {
        return Err(bad("the user name is neither the token's app nor its subject").into());
    }
    if let Some(id) = &token.id {
        if id.len() > NAME_LIMIT {
            return Err(bad("the claim jti is longer than 512 octets").into());
        }
        if gateway.is_revoked(id)? {
            return Err(bad(format!("the token {id:?} was revoked")).into());
        }
    }
    let renamed = match login.client_id {
        Some(client_id) => check_client_id(gateway, config.client_id, client_id, subject)?,
        None => None,
    };
    let devices = match config.needs_devices {
        true => owned::devices(gateway, subject, app)?.into_iter().map(|device| device.namespace).collect(),
        false => vec![],
    };
    let client_id = renamed.as_deref().or(login.client_id).unwrap_or_default();
    let bearer = Bearer { token: &token, subject, app, client_id, devices };
    let mut grant = grant(config, &bearer, gateway.now())?;
    if login.client_id.is_some() {
        let app = app.filter(|_| matches!(signer, Signer::App(_)));
        grant.state =
            Remembered { app, client_id, token: login.token.into() }.write(&grant.identity).unwrap_or_default();
    }
    grant.client_id = renamed;
    Ok(grant)
}

/// Finds out whose keys to check with. What the token says about itself is believed only as far as to choose them.
fn signer<'c>(gateway: &impl Gateway, config: &'c Config, login: &Login<'_>) -> Result<Signer<'c>, Refusal> {
    let mut claimed_app = None;
    if !config.issuers.is_empty() || config.app_claim.is_some() || config.oisp.is_some() {
        let unverified = gateway.decode_unverified(login.token).map_err(refuse)?;
        let issuer = unverified.issuer.as_deref();
        if let Some(oisp) = config.oisp.as_ref().filter(|oisp| Some(oisp.issuer.as_str()) == issuer) {
            return Ok(Signer::Own(oisp));
        }
        if let Some(issuer) = config.issuers.iter().find(|known| Some(known.issuer.as_str()) == issuer) {
            return Ok(Signer::Issuer(issuer));
        }
        if let Some(path) = &config.app_claim {
            let claims: Value = serde_json::from_str(&unverified.claims)
                .map_err(|error| bad(format!("the claims cannot be read: {error}")))?;
            claimed_app = claims::find(&claims, path).and_then(Value::as_str).map(str::to_owned);
        }
    }
    if !config.apps {
        return Err(Refusal::Foreign("the token is of no issuer that is trusted here".into()));
    }
    let named = login.header.or(login.username).or(login.earlier);
    match config.app.clone().or(claimed_app).or_else(|| named.map(str::to_owned)) {
        Some(app) if app.len() <= NAME_LIMIT => Ok(Signer::App(app)),
        Some(_) => Err(bad("the app's name is longer than 512 octets").into()),
        None => Err(Refusal::Foreign("nothing names the app whose token this is: no X-APP-ID, no user name".into())),
    }
}

fn verify(gateway: &impl Gateway, token: &str, requirements: &Requirements) -> Result<VerifiedToken, Refusal> {
    gateway.verify(token, requirements).map_err(refuse)
}

fn refuse(error: jose::Error) -> Refusal {
    refused(error).into()
}

/// The gateway's findings as a refusal.
pub(crate) fn refused(error: jose::Error) -> Denial {
    use jose::Error;
    let detail = match error {
        Error::KeysUnavailable(why) => {
            return deny(DenyReason::Unavailable, format!("the keys cannot be had: {why}"));
        }
        Error::NotAllowed(why) | Error::Other(why) => return deny(DenyReason::Unavailable, why),
        Error::Malformed(why) => format!("the token is not well-formed: {why}"),
        Error::AlgorithmNotAllowed(name) => format!("the token is signed with {name:?}, which is not admitted"),
        Error::UnknownKey(why) => format!("there is no key to check the token with: {why}"),
        Error::BadSignature => "the token's signature is wrong".to_owned(),
        Error::Expired(at) => format!("the token expired at {at}"),
        Error::NotYetValid(at) => format!("the token is not valid before {at}"),
        Error::BadClaim(name) => format!("the claim {name} is missing or not what it must be"),
    };
    bad(detail)
}

fn subject(token: &VerifiedToken) -> Result<&str, Denial> {
    match token.subject.as_deref() {
        None | Some("") => Err(bad("the claim sub is missing or empty")),
        Some(subject) if subject.len() > NAME_LIMIT => Err(bad("the claim sub is longer than 512 octets")),
        Some(subject) if subject.chars().any(char::is_control) => Err(bad("the claim sub has control characters")),
        Some(subject) => Ok(subject),
    }
}

/// Checks the client identifier. Returns another one if the client sent none and must have one.
pub(crate) fn check_client_id(
    gateway: &impl Gateway,
    wanted: ClientId,
    client_id: &str,
    subject: &str,
) -> Result<Option<String>, Denial> {
    let renamed = (wanted == ClientId::Subject && client_id.is_empty()).then(|| subject.to_owned());
    let client_id = renamed.as_deref().unwrap_or(client_id);
    let fits = match wanted {
        ClientId::Any => true,
        ClientId::Subject => client_id == subject,
        ClientId::Prefix => {
            client_id.is_empty()
                || client_id
                    .strip_prefix(subject)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.', ':', '/']))
        }
    };
    if !fits {
        let wanted =
            if wanted == ClientId::Prefix { "begin with the token's subject" } else { "be the token's subject" };
        return Err(deny(DenyReason::ClientIdNotValid, format!("the client id {client_id:?} must {wanted}")));
    }
    client_id::not_a_devices(gateway, client_id)?;
    Ok(renamed)
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
