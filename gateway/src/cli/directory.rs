//! `portcullis app|device|user|key …`: the directory, through the running gateway, or in its data directory when none
//! runs.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hyper::Method;
use portcullis_http::{AdminError, Kind, Page};
use serde_json::{Map, Value, json};

use super::place::Place;
use super::remote::{Remote, encoded};
use super::{Exit, Failure, out, table};
use crate::administration::directory as entries;
use crate::assemble::Ground;
use crate::config::Time;

/// What can be done with the entries of one kind.
#[derive(Debug, Subcommand)]
pub(super) enum EntryCommand<T: Args> {
    /// Add one.
    Add {
        #[command(flatten)]
        new: T,
        #[command(flatten)]
        place: Place,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show all.
    List {
        #[command(flatten)]
        place: Place,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove one; connections that it let in are looked at again at once.
    Remove {
        /// Its identifier.
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

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
    #[arg(long)]
    reset: bool,
    /// How long it is good, such as `90d`. Default: until it is removed.
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires_in: Option<Time>,
}

fn time(text: &str) -> Result<Time, String> {
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
        Ok(json!({ "id": self.id, "name": self.name, "keys": keys }))
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
        }))
    }
}

impl NewEntry for NewUser {
    const KIND: Kind = Kind::Users;
    const COLUMNS: [(&'static str, &'static str); 4] =
        [("ID", "id"), ("NAME", "name"), ("DOMAIN", "domain_id"), ("E-MAIL", "email")];

    fn entry(self) -> Result<Value, Failure> {
        let mut password = String::new();
        std::io::stdin().read_line(&mut password)?;
        let password = password.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(Failure::new("there is no password on standard input", Exit::Usage));
        }
        Ok(json!({ "name": self.name, "email": self.email, "domain_id": self.domain, "password": password }))
    }
}

impl NewEntry for NewKey {
    const KIND: Kind = Kind::Keys;
    const COLUMNS: [(&'static str, &'static str); 4] =
        [("ID", "id"), ("KIND", "kind"), ("OWNER", "owner"), ("EXPIRES AT", "expires_at")];

    fn entry(self) -> Result<Value, Failure> {
        let kind = if self.reset { "reset" } else { "secret" };
        let expires_at = self.expires_in.map(|time| portcullis_session::unix_now() + time.0.as_secs());
        Ok(json!({ "owner": self.owner, "kind": kind, "expires_at": expires_at }))
    }
}

/// Does it.
pub(super) fn run<T: NewEntry>(command: EntryCommand<T>) -> Result<Exit, Failure> {
    match command {
        EntryCommand::Add { new, place, json } => {
            let Value::Object(entry) = new.entry()? else { return Ok(Exit::Failure) };
            let entry: Map<_, _> = entry.into_iter().filter(|(_, value)| !value.is_null()).collect();
            let added = Way::to(&place.data())?.add(T::KIND, entry)?;
            if json { out::line(added) } else { show_one::<T>(&added) }
        }
        EntryCommand::List { place, json } => {
            let all = Way::to(&place.data())?.all(T::KIND)?;
            if json { out::line(Value::from(all)) } else { show_all::<T>(&all) }
        }
        EntryCommand::Remove { id, place } => {
            Way::to(&place.data())?.remove(T::KIND, &id)?;
            out::line(format_args!("removed {id}"));
        }
    }
    Ok(Exit::Success)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn show_one<T: NewEntry>(entry: &Value) {
    let mut rows: Vec<_> = T::COLUMNS.iter().map(|(title, key)| [title.to_lowercase(), text(&entry[*key])]).collect();
    if let Some(secret) = entry["secret"].as_str() {
        rows.push(["secret".to_owned(), format!("{secret}   (shown this once)")]);
    }
    table::print(&rows);
}

fn show_all<T: NewEntry>(all: &[Value]) {
    let mut rows = vec![T::COLUMNS.map(|(title, _)| title.to_owned())];
    rows.extend(all.iter().map(|entry| T::COLUMNS.map(|(_, key)| text(&entry[key]))));
    table::print(&rows);
}

/// The way to the directory.
enum Way {
    /// Through the gateway that runs.
    Remote(Remote),
    /// Into its data directory; nobody else has it open.
    Local(Box<Ground>),
}

impl Way {
    fn to(data: &Path) -> Result<Self, Failure> {
        if let Some(remote) = Remote::find(data)?
            && remote.is_there()
        {
            return Ok(Self::Remote(remote));
        }
        if !data.exists() {
            let words = format!("there is no data directory {}; name it with --data", data.display());
            return Err(Failure::new(words, Exit::NotFound));
        }
        Ok(Self::Local(Box::new(Ground::open(data.to_owned())?)))
    }

    fn add(&self, kind: Kind, entry: Map<String, Value>) -> Result<Value, Failure> {
        match self {
            Self::Remote(remote) => {
                Ok(remote.must(Method::POST, &format!("/api/v1/{}", kind.as_str()), Some(&Value::Object(entry)))?)
            }
            Self::Local(ground) => Ok(entries::add(&ground.directory, kind, entry)?),
        }
    }

    fn remove(&self, kind: Kind, id: &str) -> Result<Value, Failure> {
        match self {
            Self::Remote(remote) => {
                Ok(remote.must(Method::DELETE, &format!("/api/v1/{}/{}", kind.as_str(), encoded(id)), None)?)
            }
            Self::Local(ground) => Ok(entries::remove(&ground.directory, kind, id)?),
        }
    }

    /// Every entry, page by page.
    fn all(&self, kind: Kind) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        let mut page = Page { limit: 1000, after: None };
        loop {
            let mut answer = match self {
                Self::Remote(remote) => {
                    let after =
                        page.after.as_deref().map_or_else(String::new, |after| format!("&after={}", encoded(after)));
                    remote.must(Method::GET, &format!("/api/v1/{}?limit={}{after}", kind.as_str(), page.limit), None)?
                }
                Self::Local(ground) => entries::list(&ground.directory, kind, &page)?,
            };
            if let Value::Array(items) = answer["items"].take() {
                all.extend(items);
            }
            match answer["next"].as_str() {
                Some(next) => page.after = Some(next.to_owned()),
                None => return Ok(all),
            }
        }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let exit = if matches!(error, AdminError::NotFound(_)) { Exit::NotFound } else { Exit::Failure };
        Self::new(error.to_string(), exit)
    }
}
