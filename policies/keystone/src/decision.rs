//! Whether somebody is let in, and on what terms.

use policy_support::wit::types::{Connection, Credentials, Denial, DenyReason, Grant};
use policy_support::{Outcome, SchemeGateway, bearer, client_id, deny, owned, state};

use crate::config::{Config, Fiware, Local, Mode};
use crate::fiware::{self, Path, Service};
use crate::grant::{Bearer, SCHEME, grant};
use crate::local::check::{Claims, ScopeId, complete, default_scope, open};
use crate::local::issue::{check_password, find_domain, find_project};
use crate::local::request::{DomainRef, Reference};
use crate::offer::{self, Offer};
use crate::refusal::{Refusal, wrong};
use crate::token::Token;
use crate::upstream::{self, Checked};

/// Version of what is kept in `grant.state`.
const STATE: u8 = 1;

/// The kinds of login in it.
const BY_TOKEN: &str = "token";
const BY_PASSWORD: &str = "password";

/// A credential that was found to be good.
struct Proof {
    token: Token,
    /// Seconds until it must be looked at again.
    again_in: Option<u64>,
    /// When what it permits ends.
    ends_at: Option<u64>,
    /// What is needed to look at it again: the kind, and the token, or what a password once proved.
    kind: &'static str,
    again: String,
}

/// Decides about a login.
///
/// # Errors
/// The client offers something of this scheme, and it is not good.
pub fn authenticate(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    credentials: &Credentials,
) -> Outcome {
    let Some(offer) = offer::find(gateway, config, connection, credentials)? else { return Ok(None) };
    let http = connection.protocol == "http";
    let (proof, service) = match offer {
        Offer::Token { token, service } => {
            let headers = if http { headers(gateway, config)? } else { None };
            let asked = headers.is_some();
            let service = headers.or(service);
            let proof = by_token(gateway, config, token).map_err(Denial::from)?;
            if let Some(service) = service.as_ref().filter(|service| !service.is_of(&proof.token)) {
                let denial = fiware::mismatch(service);
                return Err(if asked { fiware::in_fiwares_words(denial, true) } else { denial });
            }
            (proof, service)
        }
        Offer::Password { user, service, password } => {
            match by_password(gateway, config, connection, user, &service, &password)? {
                None => return Ok(None),
                // The domain is the user's own; the service is that of the scope, if there is one.
                Some(proof) => (proof, None),
            }
        }
    };
    let earlier = connection.identity.as_ref().filter(|identity| identity.scheme == SCHEME);
    if earlier.is_some_and(|identity| identity.subject != proof.token.user.id) {
        return Err(wrong("the credential is another user's than that of this connection").into());
    }
    let client_id = (!http).then_some(credentials.client_id.as_str());
    let granted = admit(gateway, config, &proof, service.as_ref(), client_id);
    let fiware = http && service.is_some();
    granted.map(Some).map_err(|denial| if fiware { fiware::in_fiwares_words(denial, false) } else { denial })
}

/// Looks at a login again, as if it came anew.
///
/// # Errors
/// It would not be admitted now.
pub fn renew(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    kept: &[u8],
) -> Result<Grant, Denial> {
    let Some([kind, again, client_id, service]) = state::read(STATE, kept) else {
        return Err(deny(
            DenyReason::NotAuthorized,
            "the login was not kept (too long, or of an older version): log in again",
        ));
    };
    let service = Some(service).filter(|text| !text.is_empty()).map(Service::parse);
    let proof = match (&config.mode, kind) {
        (Mode::Local(_), BY_PASSWORD) => {
            let claims = Claims::from_json(again).ok_or_else(|| wrong("what was kept of the login cannot be read"))?;
            let token = complete(gateway, claims)?;
            Proof {
                ends_at: token.password_expires_at,
                again_in: None,
                token,
                kind: BY_PASSWORD,
                again: again.to_owned(),
            }
        }
        (_, BY_TOKEN) => by_token(gateway, config, again.to_owned())?,
        _ => return Err(deny(DenyReason::NotAuthorized, "the policy works in another mode now: log in again")),
    };
    if connection.identity.as_ref().is_some_and(|identity| identity.subject != proof.token.user.id) {
        return Err(wrong("the credential is another user's than that of this connection").into());
    }
    if let Some(service) = service.as_ref().filter(|service| !service.is_of(&proof.token)) {
        return Err(fiware::mismatch(service));
    }
    admit(gateway, config, &proof, service.as_ref(), Some(client_id))
}

/// Tries what has to be granted before somebody logs in.
///
/// # Errors
/// What is missing in the policy's entry.
pub fn probe(gateway: &impl SchemeGateway, config: &Config) -> Result<(), String> {
    match &config.mode {
        Mode::Upstream(upstream) => upstream::probe(gateway, upstream),
        Mode::Local(local) => match gateway.public_keys(&local.key) {
            Ok(_) => {
                policy_support::may_change_the_directory(gateway).map_err(|why| format!("the mode `local`: {why}"))
            }
            Err(error) => Err(format!("`key`: {}", words(&error))),
        },
    }
}

fn words(error: &policy_support::wit::jose::Error) -> String {
    use policy_support::wit::jose::Error;
    match error {
        Error::NotAllowed(why) | Error::Other(why) | Error::UnknownKey(why) => why.clone(),
        other => format!("{other:?}"),
    }
}

/// The service that the headers of a request name.
fn headers(gateway: &impl SchemeGateway, config: &Config) -> Result<Option<Service>, Denial> {
    if config.fiware == Fiware::Off {
        return Ok(None);
    }
    let (service, path) = (bearer::single(gateway, "fiware-service")?, bearer::single(gateway, "fiware-servicepath")?);
    match (service, path) {
        (None, None) if config.fiware == Fiware::Optional => Ok(None),
        (None, _) => Err(fiware::missing("Fiware-Service")),
        (Some(_), None) if config.fiware == Fiware::Required => Err(fiware::missing("Fiware-ServicePath")),
        (Some(service), None) => Ok(Some(Service { name: service, path: Path::Any })),
        (Some(service), Some(path)) => Ok(Some(Service::of(&service, &path))),
    }
}

fn by_token(gateway: &impl SchemeGateway, config: &Config, token: String) -> Result<Proof, Refusal> {
    let (known, again_in) = match &config.mode {
        Mode::Local(local) => (open(gateway, local, &token)?, None),
        Mode::Upstream(upstream) => {
            let Checked { token, again_in } = upstream::check(gateway, upstream, &token)?;
            (token, Some(again_in))
        }
    };
    Ok(Proof { ends_at: Some(known.expires_at), token: known, again_in, kind: BY_TOKEN, again: token })
}

/// None: the user name is of no domain that is known here, and so of another scheme.
fn by_password(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    user: String,
    service: &Service,
    password: &[u8],
) -> Result<Option<Proof>, Denial> {
    match &config.mode {
        Mode::Local(local) => Ok(log_in(gateway, local, user, service, password)?),
        Mode::Upstream(upstream) => {
            let address = &connection.peer_address;
            let (Checked { token, again_in }, secret) =
                upstream::log_in(gateway, upstream, &user, service, password, address)?;
            let ends_at = Some(token.expires_at);
            Ok(Some(Proof { token, again_in: Some(again_in), ends_at, kind: BY_TOKEN, again: secret }))
        }
    }
}

fn log_in(
    gateway: &impl SchemeGateway,
    local: &Local,
    user: String,
    service: &Service,
    password: &[u8],
) -> Result<Option<Proof>, Refusal> {
    let domain = DomainRef::Name(service.name.clone());
    let Some(domain_id) = find_domain(gateway, &domain)? else { return Ok(None) };
    let user = check_password(gateway, &Reference::Name(user, DomainRef::Id(domain_id.clone())), password)?;
    let scope = match &service.path {
        Path::Any => default_scope(gateway, &user)?,
        Path::Whole => ScopeId::Domain(domain_id),
        Path::Project(name) => {
            let plain = find_project(gateway, name, &domain);
            ScopeId::Project(match plain {
                Err(Refusal::Wrong(_)) => find_project(gateway, &format!("/{name}"), &domain)?,
                found => found?,
            })
        }
    };
    let now = gateway.now_us();
    let claims = Claims {
        user_id: user.id,
        methods: vec!["password".into()],
        // Of no token: nobody can revoke it, and the user's own entry is what it stands on.
        audit_ids: vec![String::new()],
        issued_at: now,
        expires_at: now / 1_000_000 + local.life,
        scope,
        credential: None,
    };
    let again = claims.to_json();
    let token = complete(gateway, claims)?;
    Ok(Some(Proof { ends_at: token.password_expires_at, again_in: None, token, kind: BY_PASSWORD, again }))
}

fn admit(
    gateway: &impl SchemeGateway,
    config: &Config,
    proof: &Proof,
    service: Option<&Service>,
    client_id: Option<&str>,
) -> Result<Grant, Denial> {
    let token = &proof.token;
    if let Some(client_id) = client_id {
        client_id::not_a_devices(gateway, client_id)?;
    }
    let devices = match config.needs_devices {
        true => owned::devices(gateway, &token.user.id, None)?.into_iter().map(|device| device.namespace).collect(),
        false => vec![],
    };
    let revocable = proof.kind == BY_TOKEN;
    let bearer = Bearer { token, service, client_id: client_id.unwrap_or_default(), devices, revocable };
    let mut grant = grant(config, &bearer)?;
    grant.expires_at = proof.ends_at;
    grant.renew_after = proof.again_in.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
    if let Some(client_id) = client_id {
        let service = service.map(Service::to_string).unwrap_or_default();
        let fields = [proof.kind, proof.again.as_str(), client_id, service.as_str()];
        grant.state = state::write(STATE, &fields).unwrap_or_default();
    }
    Ok(grant)
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
