//! What the entries of the directory look like on the command line, and as JSON.

use std::path::PathBuf;

use clap::Args;
use portcullis_http::Kind;
use serde_json::{Map, Value, json};

use super::{Exit, Failure};
use crate::config::Time;

/// An entry as the command line describes it.
pub(super) trait NewEntry: Args {
    /// What it is.
    const KIND: Kind;
    /// The columns of a list: title, member of the entry.
    const COLUMNS: [(&'static str, &'static str); 4];
    /// As the directory wants it.
    fn entry(self) -> Result<Value, Failure>;
}

/// An app.
#[derive(Args, Debug)]
pub(super) struct NewApp {
    /// Its name, for people.
    name: String,
    /// Its identifier. Default: one is made up.
    #[arg(long)]
    id: Option<String>,
    /// A file with its owner's public keys: PEM, JWK or JWK Set. May be repeated.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Where its owner publishes keys as a JWK Set.
    #[arg(long, value_name = "URL")]
    jwks_url: Option<String>,
}

/// A device.
#[derive(Args, Debug)]
pub(super) struct NewDevice {
    /// Your own name for it; the gateway adds `_` and six characters to make its client identifier.
    external_id: String,
    /// The app whose product it is.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// The consumer or user who owns it.
    #[arg(long, value_name = "ID")]
    owner: Option<String>,
    /// SHA-256 of its certificate, for a device that proves itself by one.
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Subject of its certificate (RFC 4514), instead of the fingerprint.
    #[arg(long, value_name = "DN", conflicts_with = "fingerprint")]
    subject: Option<String>,
    /// Show a code, once, that it gets its token with (Open IoT Service Platform).
    #[arg(long, conflicts_with_all = ["fingerprint", "subject"])]
    activation: bool,
    /// The account, a project, that it belongs to.
    #[arg(long, value_name = "ID")]
    account: Option<String>,
}

/// A user. The password is read from standard input.
#[derive(Args, Debug)]
pub(super) struct NewUser {
    /// Unique within its domain. The password is read from the first line of standard input.
    name: String,
    /// E-mail address.
    #[arg(long)]
    email: Option<String>,
    /// Identifier of the domain. Default: `default`.
    #[arg(long, value_name = "ID")]
    domain: Option<String>,
}

/// An API key.
#[derive(Args, Debug)]
pub(super) struct NewKey {
    /// `app:ID`, `user:ID`, `device:ID` or `consumer:ID`.
    owner: String,
    /// A reset key (`rk_…`) instead of a secret one (`sk_…`).
    #[arg(long, conflicts_with = "kind")]
    reset: bool,
    /// Another kind, such as `application-credential` or `activation`. Default: `secret`.
    #[arg(long, value_name = "WORD")]
    kind: Option<String>,
    /// What the policies of its scheme want to know of it. May be repeated.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// How long it is good, such as `90d`. Default: until it is removed.
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires_in: Option<Time>,
}

/// A domain: a tenant of Keystone, a service of FIWARE.
#[derive(Args, Debug)]
pub(super) struct NewDomain {
    /// Unique.
    name: String,
    /// Its identifier. Default: one is made up.
    #[arg(long)]
    id: Option<String>,
}

/// A project: an account of the Open IoT Service Platform, a service path of FIWARE.
#[derive(Args, Debug)]
pub(super) struct NewProject {
    /// Unique in its domain.
    name: String,
    /// Identifier of the domain. Default: `default`.
    #[arg(long, value_name = "ID")]
    domain: Option<String>,
    /// Identifier of the project above it.
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
}

/// A role of a user.
#[derive(Args, Debug)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("scope").required(true))]
pub(super) struct NewRole {
    /// The user: identifier or e-mail address.
    user: String,
    /// The role's name, such as `admin`.
    role: String,
    /// In this domain.
    #[arg(long, value_name = "ID", group = "scope")]
    domain: Option<String>,
    /// In this project.
    #[arg(long, value_name = "ID", group = "scope")]
    project: Option<String>,
    /// In the whole gateway.
    #[arg(long, group = "scope")]
    system: bool,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn time(text: &str) -> Result<Time, String> {
    Time::parse(text).ok_or_else(|| format!("expected {}", Time::EXPECTED))
}

impl NewEntry for NewApp {
    const KIND: Kind = Kind::Apps;
    const COLUMNS: [(&'static str, &'static str); 4] =
        [("ID", "id"), ("NAME", "name"), ("ENABLED", "enabled"), ("OWNER", "owner_id")];

    fn entry(self) -> Result<Value, Failure> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| {
                Failure::new(format!("{} cannot be read: {}", path.display(), crate::plain(&error)), Exit::Failure)
            })
        };
        let keys = self.keys.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "id": self.id, "name": self.name, "keys": keys, "jwks_url": self.jwks_url }))
    }
}

impl NewEntry for NewDevice {
    const KIND: Kind = Kind::Devices;
    const COLUMNS: [(&'static str, &'static str); 4] =
        [("CLIENT ID", "client_id"), ("CREDENTIAL", "credential"), ("APP", "app_id"), ("OWNER", "owner_id")];

    fn entry(self) -> Result<Value, Failure> {
        Ok(json!({
            "external_id": self.external_id,
            "app_id": self.app,
            "owner_id": self.owner,
            "fingerprint": self.fingerprint,
            "certificate_subject": self.subject,
            "activation": self.activation.then_some(true),
            "attributes": self.account.map(|id| json!({ "account": id })),
        }))
    }
}

impl NewEntry for NewUser {
    const KIND: Kind = Kind::Users;
    const COLUMNS: [(&'static str, &'static str); 4] =
        [("ID", "id"), ("NAME", "name"), ("DOMAIN", "domain_id"), ("E-MAIL", "email")];

    fn entry(self) -> Result<Value, Failure> {
        let password = password()?;
        Ok(json!({ "name": self.name, "email": self.email, "domain_id": self.domain, "password": password }))
    }
}

impl NewEntry for NewKey {
    const KIND: Kind = Kind::Keys;
    const COLUMNS: [(&'static str, &'static str); 4] =
        [("ID", "id"), ("KIND", "kind"), ("OWNER", "owner"), ("EXPIRES AT", "expires_at")];

    fn entry(self) -> Result<Value, Failure> {
        let kind = self.kind.unwrap_or_else(|| if self.reset { "reset" } else { "secret" }.to_owned());
        let attributes: Map<_, _> = self.attributes.into_iter().map(|(name, value)| (name, value.into())).collect();
        let expires_at = self.expires_in.map(|time| portcullis_session::unix_now() + time.0.as_secs());
        Ok(json!({ "owner": self.owner, "kind": kind, "expires_at": expires_at, "attributes": attributes }))
    }
}

impl NewEntry for NewDomain {
    const KIND: Kind = Kind::Domains;
    const COLUMNS: [(&'static str, &'static str); 4] =
        [("ID", "id"), ("NAME", "name"), ("ENABLED", "enabled"), ("ATTRIBUTES", "attributes")];

    fn entry(self) -> Result<Value, Failure> {
        Ok(json!({ "name": self.name, "id": self.id }))
    }
}

impl NewEntry for NewProject {
    const KIND: Kind = Kind::Projects;
    const COLUMNS: [(&'static str, &'static str); 4] =
        [("ID", "id"), ("NAME", "name"), ("DOMAIN", "domain_id"), ("ENABLED", "enabled")];

    fn entry(self) -> Result<Value, Failure> {
        Ok(json!({ "name": self.name, "domain_id": self.domain, "parent_id": self.parent }))
    }
}

impl NewEntry for NewRole {
    const KIND: Kind = Kind::Roles;
    const COLUMNS: [(&'static str, &'static str); 4] =
        [("USER", "user_id"), ("ROLE", "role"), ("SCOPE", "scope"), ("ID", "id")];

    fn entry(self) -> Result<Value, Failure> {
        Ok(json!({
            "user_id": self.user,
            "role": self.role,
            "domain_id": self.domain,
            "project_id": self.project,
            "system": self.system,
        }))
    }
}

/// The first line of standard input.
pub(super) fn password() -> Result<String, Failure> {
    let mut password = String::new();
    std::io::stdin().read_line(&mut password)?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::new("there is no password on standard input", Exit::Usage));
    }
    Ok(password.to_owned())
}
