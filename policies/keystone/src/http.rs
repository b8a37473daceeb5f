//! The HTTP interface of local mode, as OpenStack Identity v3 describes it.

use policy_support::wit::types::{Connection, DenyReason, HttpRequest, HttpResponse};
use policy_support::{SchemeGateway, http};
use serde_json::{Value, json};

use crate::config::{Config, Local, Mode};
use crate::local::check::{chain, chain_of, open};
use crate::local::issue::{NotIssued, issue};
use crate::local::request::{Problem, Request};
use crate::local::show;
use crate::refusal::Refusal;
use crate::token::{Scope, Token};

/// The header with the caller's own token.
pub const OWN: &str = "x-auth-token";

/// The header with the token that the call is about.
const SUBJECT: &str = "x-subject-token";

/// The methods that are served.
const METHODS: [&str; 3] = ["password", "token", "application_credential"];

/// A request in its surroundings.
struct Call<'a, G> {
    gateway: &'a G,
    local: &'a Local,
    request: &'a HttpRequest,
    /// The URL of this service up to and without `/v3`.
    root: String,
}

type Answered = Result<HttpResponse, HttpResponse>;

/// Answers a request.
#[must_use]
pub fn handle(
    gateway: &impl SchemeGateway,
    config: &Config,
    connection: &Connection,
    request: &HttpRequest,
) -> HttpResponse {
    let Mode::Local(local) = &config.mode else {
        let message = "this gateway does not issue tokens: it takes those of another Keystone";
        return http::with(error(404, message), "vary", "X-Auth-Token");
    };
    let segments = http::segments(&request.path).unwrap_or_default();
    let at = segments.iter().position(|segment| segment == "v3");
    let (before, rest) = segments.split_at(at.unwrap_or(segments.len()));
    let root = local.public_url.clone().unwrap_or_else(|| {
        let scheme = if matches!(connection.transport.as_str(), "tls" | "wss") { "https" } else { "http" };
        let before: String = before.iter().map(|segment| format!("/{segment}")).collect();
        format!("{scheme}://{}{before}", request.authority)
    });
    let call = Call { gateway, local, request, root };
    let path: Vec<&str> = rest.iter().map(String::as_str).collect();
    let answer = call.answer(&path, at.is_none() && segments.is_empty());
    http::with(answer.unwrap_or_else(|refused| refused), "vary", "X-Auth-Token")
}

impl<G: SchemeGateway> Call<'_, G> {
    fn answer(&self, path: &[&str], root: bool) -> Answered {
        match (path, self.request.method.as_str()) {
            ([], "GET" | "HEAD") if root => {
                let versions = json!({ "versions": { "values": [show::version(&self.root)] } });
                Ok(http::with(http::json(300, &versions), "location", &format!("{}/v3/", self.root)))
            }
            (["v3"], "GET" | "HEAD") => Ok(http::json(200, &json!({ "version": show::version(&self.root) }))),
            (["v3", "auth", "tokens"], "POST") => self.issue(),
            (["v3", "auth", "tokens"], "GET" | "HEAD") => self.validate(),
            (["v3", "auth", "tokens"], "DELETE") => self.revoke(),
            (["v3", "auth", what @ ("projects" | "domains" | "system" | "catalog")], "GET" | "HEAD") => self.show(what),
            (["v3", "auth", "tokens"], _) => Ok(not_allowed("GET, HEAD, POST, DELETE")),
            (["v3"] | ["v3", "auth", "projects" | "domains" | "system" | "catalog"], _) => Ok(not_allowed("GET, HEAD")),
            ([], _) if root => Ok(not_allowed("GET, HEAD")),
            _ => Ok(error(404, "there is nothing at this path")),
        }
    }

    fn issue(&self) -> Answered {
        let request = Request::parse(&self.request.body).map_err(|problem| match problem {
            Problem::Malformed(why) => error(400, &why),
            Problem::UnknownMethod => {
                self.challenge("one of the methods is not served here", Some(json!({ "methods": METHODS })))
            }
            Problem::ScopedCredential => {
                self.challenge("an application credential cannot be given another scope", Some(json!({})))
            }
        })?;
        let (token, signed) = issue(self.gateway, self.local, &request).map_err(|why| match why {
            NotIssued::NoSuchToken => error(404, "the token to be exchanged is not valid"),
            NotIssued::Refused(refusal) => self.refused(refusal),
        })?;
        Ok(http::with(http::json(201, &self.document(&token)), SUBJECT, &signed))
    }

    fn validate(&self) -> Answered {
        let (caller, own) = self.caller()?;
        let local = self.local;
        let others = [&local.admin_roles[..], &local.service_roles[..]].concat();
        let checks = self.request.method == "HEAD";
        let (token, subject) = self.subject(&caller, own)?;
        let may = caller.has_role(if checks { &local.admin_roles } else { &others }) || reads_all(&caller);
        if !may && caller.user.id != token.user.id {
            return Err(forbidden());
        }
        Ok(http::with(http::json(200, &self.document(&token)), SUBJECT, subject))
    }

    fn revoke(&self) -> Answered {
        let (caller, own) = self.caller()?;
        let (token, _) = self.subject(&caller, own)?;
        if !caller.has_role(&self.local.admin_roles) && caller.user.id != token.user.id {
            return Err(forbidden());
        }
        let own = &token.audit_ids[0];
        let query = self.request.query.as_deref().unwrap_or_default();
        let cascade = http::pairs(query).into_iter().find(|(name, _)| name == "cascade");
        let alone = cascade.is_some_and(|(_, value)| {
            ["0", "f", "false", "n", "no", "off"].contains(&value.to_ascii_lowercase().as_str())
        });
        // First the one that is certain to be there: who hears "revoked" must not meet it again.
        let mut names = vec![own.clone()];
        if !alone {
            names.push(chain(own));
        }
        for name in names {
            if let Err(why) = self.gateway.revoke_user_token(&token.user.id, &name, token.expires_at) {
                return Err(error(503, &format!("the token could not be revoked: {}", words(&why))));
            }
        }
        Ok(http::empty(204))
    }

    fn show(&self, what: &str) -> Answered {
        let (caller, _) = self.caller()?;
        let document = match what {
            "projects" => show::projects(self.gateway, &caller.user.id, &self.root),
            "domains" => show::domains(self.gateway, &caller.user.id, &self.root),
            "system" => show::system(self.gateway, &caller.user.id, &self.root),
            _ if caller.project().is_none() => return Err(forbidden()),
            _ => {
                let links = json!({ "self": format!("{}/v3/auth/catalog", self.root) });
                Ok(json!({ "catalog": show::catalog(self.local, &caller, &self.root), "links": links }))
            }
        };
        document.map(|document| http::json(200, &document)).map_err(|refusal| self.refused(refusal))
    }

    /// Whose call it is, and the token that says so.
    fn caller(&self) -> Result<(Token, &str), HttpResponse> {
        let own = http::header(self.request, OWN).ok_or_else(|| self.unauthorized(AUTHENTICATE))?;
        Ok((open(self.gateway, self.local, own).map_err(|refusal| self.refused(refusal))?, own))
    }

    /// The token that the call is about.
    fn subject(&self, caller: &Token, own: &str) -> Result<(Token, &str), HttpResponse> {
        let missing = || error(404, "No token in the request");
        let subject = http::header(self.request, SUBJECT).filter(|token| !token.is_empty()).ok_or_else(missing)?;
        if subject == own {
            return Ok((caller.clone(), subject));
        }
        match open(self.gateway, self.local, subject) {
            Ok(token) => Ok((token, subject)),
            Err(Refusal::Wrong(_) | Refusal::Forbidden(_)) => Err(error(404, "the token is not valid")),
            Err(failed) => Err(self.refused(failed)),
        }
    }

    fn document(&self, token: &Token) -> Value {
        let wanted = token.scope != Scope::Unscoped && !http::asks(self.request, "nocatalog");
        token.to_json(wanted.then(|| show::catalog(self.local, token, &self.root)))
    }

    fn unauthorized(&self, message: &str) -> HttpResponse {
        self.challenge(message, None)
    }

    /// The answer to whoever must prove who they are, and how they can.
    fn challenge(&self, message: &str, identity: Option<Value>) -> HttpResponse {
        let mut body = document(401, message);
        if let Some(identity) = identity {
            body["error"]["identity"] = identity;
        }
        http::with(http::json(401, &body), "www-authenticate", &format!("Keystone uri=\"{}/v3\"", self.root))
    }

    fn refused(&self, refusal: Refusal) -> HttpResponse {
        let denial = match refusal {
            Refusal::Wrong(_) => return self.unauthorized(AUTHENTICATE),
            Refusal::Forbidden(_) => return forbidden(),
            Refusal::Failed(denial) => denial,
        };
        match denial.reason {
            // That there is such a user, and that the password was not looked at, is nobody's business.
            DenyReason::Banned => self.unauthorized(AUTHENTICATE),
            DenyReason::RateExceeded => {
                let seconds = denial.retry_after.unwrap_or(1).to_string();
                http::with(error(429, "too many attempts: try again later"), "retry-after", &seconds)
            }
            _ => error(503, "the service cannot answer now: try again later"),
        }
    }
}

/// What Keystone says to everybody who is not let in, whatever the reason.
const AUTHENTICATE: &str = "The request you have made requires authentication.";

/// Whether the caller may read everything: a reader of the whole installation.
fn reads_all(caller: &Token) -> bool {
    caller.scope == Scope::System && caller.roles.iter().any(|role| role == "reader")
}

fn forbidden() -> HttpResponse {
    error(403, "You are not authorized to perform the requested action.")
}

fn not_allowed(methods: &str) -> HttpResponse {
    let message = json!({ "message": "the method is not served at this path" });
    http::with(http::json(405, &message), "allow", methods)
}

fn error(code: u16, message: &str) -> HttpResponse {
    http::json(code, &document(code, message))
}

fn document(code: u16, message: &str) -> Value {
    let title = match code {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        _ => "Service Unavailable",
    };
    json!({ "error": { "code": code, "message": message, "title": title } })
}

fn words(error: &policy_support::wit::directory_admin::Error) -> &'static str {
    match error {
        policy_support::wit::directory_admin::Error::RateLimited(_) => "too many changes",
        _ => "the directory refused",
    }
}

/// The names under which a token is revoked: for what depends on it.
#[must_use]
pub fn revoked_by(token: &Token) -> [String; 2] {
    [token.audit_ids.first().cloned().unwrap_or_default(), chain_of(token)]
}
