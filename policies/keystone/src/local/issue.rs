//! How a token comes to be: the proofs of a request, the scope, the signature.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use policy_support::wit::directory::{DomainSelector, PasswordError, ProjectSelector, ScopedName, User, UserSelector};
use policy_support::wit::jose;
use policy_support::wit::types::{Denial, DenyReason};
use policy_support::{SchemeGateway, deny};

use super::check::{Claims, ScopeId, attribute, complete, default_scope, is_credential, open};
use super::request::{CredentialRef, DomainRef, Method, Reference, Request, Wanted};
use crate::config::Local;
use crate::refusal::{Refusal, unavailable, wrong};
use crate::token::{Scope, Token};

/// Why no token was issued.
#[derive(Clone, Debug, PartialEq)]
pub enum NotIssued {
    /// The token that was to be exchanged is not good.
    NoSuchToken,
    /// Anything else.
    Refused(Refusal),
}

impl<T: Into<Refusal>> From<T> for NotIssued {
    fn from(refusal: T) -> Self {
        Self::Refused(refusal.into())
    }
}

/// What the proofs of a request come to.
#[derive(Default)]
struct Proven {
    user: Option<User>,
    methods: Vec<String>,
    /// When an earlier token ends, if there was one: a later one does not outlive it.
    expires_at: Option<u64>,
    /// The first of the chain that the new token belongs to.
    parent: Option<String>,
    credential: Option<(String, ScopeId)>,
    /// When the application credential ends.
    no_longer_than: Option<u64>,
    /// Whether an earlier token was for the whole installation.
    system: bool,
}

impl Proven {
    /// One more method. All must be of one user.
    fn add(&mut self, method: &str, user: User) -> Result<(), Refusal> {
        if self.user.as_ref().is_some_and(|known| known.id != user.id) {
            return Err(wrong("the methods are of different users"));
        }
        self.user = Some(user);
        self.name(method);
        Ok(())
    }

    fn name(&mut self, method: &str) {
        if !self.methods.iter().any(|known| known == method) {
            self.methods.push(method.to_owned());
        }
    }
}

/// Issues a token: what is known of it, and the token itself.
///
/// # Errors
/// Why not.
pub fn issue(gateway: &impl SchemeGateway, local: &Local, request: &Request) -> Result<(Token, String), NotIssued> {
    let mut proven = Proven::default();
    for method in &request.methods {
        match method {
            Method::Password(user, password) => {
                let password = password.as_deref().unwrap_or_default();
                let user = check_password(gateway, user, password.as_bytes())?;
                proven.add("password", user)?;
            }
            Method::Token(token) => exchange(gateway, local, token, &mut proven)?,
            Method::Credential(by, secret) => {
                check_credential(gateway, by, secret.as_deref().unwrap_or_default(), &mut proven)?;
            }
        }
    }
    let Some(user) = proven.user.take() else { return Err(wrong("no method proves a user").into()) };
    let scope = match &proven.credential {
        Some((_, scope)) => scope.clone(),
        None => scope(gateway, &request.scope, &user)?,
    };
    if proven.system && matches!(scope, ScopeId::Project(_) | ScopeId::Domain(_)) && request.scope != Wanted::Default {
        return Err(
            Refusal::Forbidden("a token for the system cannot be exchanged for one of a part of it".into()).into()
        );
    }
    let now = gateway.now_us();
    // As Keystone writes them.
    let own = BASE64_URL_SAFE_NO_PAD.encode(gateway.random(16));
    let claims = Claims {
        user_id: user.id,
        methods: proven.methods,
        audit_ids: std::iter::once(own).chain(proven.parent).collect(),
        issued_at: now,
        expires_at: proven
            .expires_at
            .unwrap_or(now / 1_000_000 + local.life)
            .min(proven.no_longer_than.unwrap_or(u64::MAX)),
        scope,
        credential: proven.credential.map(|(id, _)| id),
    };
    let signed = claims.to_json();
    let token = complete(gateway, claims)?;
    // Keystone's own have no `kid`.
    let signed = gateway.sign(&local.key, r#"{"typ":"JWT"}"#, &signed).map_err(not_signed)?;
    Ok((token, signed))
}

fn not_signed(error: jose::Error) -> Refusal {
    unavailable(match error {
        jose::Error::NotAllowed(why) | jose::Error::Other(why) | jose::Error::UnknownKey(why) => why,
        other => format!("the token cannot be signed: {other:?}"),
    })
}

/// Checks a password. Who does not exist, and whose domain does not, takes as long as anybody else.
///
/// # Errors
/// It is wrong, or not looked at.
pub fn check_password(gateway: &impl SchemeGateway, user: &Reference, password: &[u8]) -> Result<User, Refusal> {
    let by = match user {
        Reference::Id(id) => UserSelector::Id(id.clone()),
        Reference::Name(name, domain) => {
            // No domain has an empty identifier.
            let domain_id = find_domain(gateway, domain)?.unwrap_or_default();
            UserSelector::Name(ScopedName { name: name.clone(), domain_id })
        }
    };
    gateway.verify_password(&by, password).map_err(|error| {
        wrong(match error {
            PasswordError::Wrong => "no such user, or not this password".to_owned(),
            PasswordError::Disabled => "the user is disabled".to_owned(),
            PasswordError::Expired(at) => format!("the password expired at {at}"),
            PasswordError::Locked(until) => {
                let detail = format!("the user is locked until {until} after too many wrong passwords");
                return Refusal::Failed(Denial {
                    retry_after: Some(u32::try_from(until.saturating_sub(gateway.now())).unwrap_or(u32::MAX)),
                    ..deny(DenyReason::Banned, detail)
                });
            }
            PasswordError::RateLimited(seconds) => {
                let detail = "too many passwords are tried from here";
                return Refusal::Failed(Denial {
                    retry_after: Some(seconds),
                    ..deny(DenyReason::RateExceeded, detail)
                });
            }
            PasswordError::Other(why) => return unavailable(format!("the password could not be checked: {why}")),
        })
    })
}

fn exchange(gateway: &impl SchemeGateway, local: &Local, token: &str, proven: &mut Proven) -> Result<(), NotIssued> {
    let token = match open(gateway, local, token) {
        Ok(token) => token,
        Err(Refusal::Wrong(_)) => return Err(NotIssued::NoSuchToken),
        Err(other) => return Err(other.into()),
    };
    if token.credential.is_some() {
        let detail = "a token of an application credential cannot be exchanged";
        return Err(Refusal::Forbidden(detail.into()).into());
    }
    if !local.rescope && token.scope != Scope::Unscoped {
        return Err(Refusal::Forbidden("a token with a scope cannot be exchanged here".into()).into());
    }
    let user = gateway.find_user(&UserSelector::Id(token.user.id))?;
    proven.add("token", user.ok_or_else(|| wrong("the user is gone"))?)?;
    token.methods.iter().for_each(|method| proven.name(method));
    proven.expires_at = Some(proven.expires_at.map_or(token.expires_at, |known| known.min(token.expires_at)));
    proven.parent = token.audit_ids.last().cloned();
    proven.system = token.scope == Scope::System;
    Ok(())
}

fn check_credential(
    gateway: &impl SchemeGateway,
    by: &CredentialRef,
    secret: &str,
    proven: &mut Proven,
) -> Result<(), NotIssued> {
    let refused = || wrong("no such application credential, or not this secret");
    let key = gateway.find_key(secret)?.ok_or_else(refused)?;
    let user = key.owner.strip_prefix("user:").unwrap_or_default().to_owned();
    let user = gateway.find_user(&UserSelector::Id(user))?.filter(|user| user.enabled).ok_or_else(refused)?;
    let fits = match by {
        CredentialRef::Id(id) => key.id == *id,
        CredentialRef::Name(name, owner) => {
            attribute(&key.attributes, "name") == Some(name)
                && match owner {
                    Reference::Id(id) => user.id == *id,
                    Reference::Name(name, domain) => {
                        user.name == *name && find_domain(gateway, domain)?.as_ref() == Some(&user.domain_id)
                    }
                }
        }
    };
    let project = attribute(&key.attributes, "project-id").unwrap_or_default();
    let scope = ScopeId::Project(project.to_owned());
    if !fits || !is_credential(&key, &user.id, &scope) {
        return Err(refused().into());
    }
    proven.no_longer_than = key.expires_at;
    proven.credential = Some((key.id, scope));
    proven.add("application_credential", user)?;
    Ok(())
}

fn scope(gateway: &impl SchemeGateway, wanted: &Wanted, user: &User) -> Result<ScopeId, Refusal> {
    Ok(match wanted {
        Wanted::Default => default_scope(gateway, user)?,
        Wanted::Unscoped => ScopeId::Unscoped,
        Wanted::System => ScopeId::System,
        Wanted::Domain(domain) => {
            ScopeId::Domain(find_domain(gateway, domain)?.ok_or_else(|| wrong("there is no such domain"))?)
        }
        Wanted::Project(Reference::Id(id)) => ScopeId::Project(id.clone()),
        Wanted::Project(Reference::Name(name, domain)) => ScopeId::Project(find_project(gateway, name, domain)?),
    })
}

/// The identifier of a project by its name.
///
/// # Errors
/// There is none, or the directory does not answer.
pub fn find_project(gateway: &impl SchemeGateway, name: &str, domain: &DomainRef) -> Result<String, Refusal> {
    let domain_id = find_domain(gateway, domain)?.ok_or_else(|| wrong("there is no such domain"))?;
    let by = ProjectSelector::Name(ScopedName { name: name.to_owned(), domain_id });
    let project = gateway.find_project(&by)?.ok_or_else(|| wrong("there is no such project"))?;
    Ok(project.id)
}

/// The identifier of a domain.
///
/// # Errors
/// The directory does not answer.
pub fn find_domain(gateway: &impl SchemeGateway, domain: &DomainRef) -> Result<Option<String>, Refusal> {
    let by = match domain {
        DomainRef::Id(id) => DomainSelector::Id(id.clone()),
        DomainRef::Name(name) => DomainSelector::Name(name.clone()),
    };
    Ok(gateway.find_domain(&by)?.map(|domain| domain.id))
}
