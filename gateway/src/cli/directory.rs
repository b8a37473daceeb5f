//! `portcullis app|device|user|key …`: the directory, through the running gateway, or in its data directory when none
//! runs.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hyper::Method;
use portcullis_http::{AdminError, Kind, Page};
use portcullis_identity::Subscription;
use serde_json::{Map, Value, json};

use super::entries::{NewEntry, NewKey, password, time};
use super::place::Place;
use super::remote::{Remote, encoded};
use super::{Exit, Failure, out, table};
use crate::administration::{change as changing, directory as entries};
use crate::assemble::Ground;
use crate::audit::pending;
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
    /// Change one; what depends on it is looked at again at once.
    Set {
        /// Its identifier; of a user also the e-mail address.
        id: String,
        /// `NAME=VALUE`, such as `enabled=false`, `email=ada@example.com` or `attributes.first-name=Ada`. A value is
        /// JSON where it can be read as such, else text; `null` removes. `password=-` reads the password from standard
        /// input.
        #[arg(required = true, value_name = "NAME=VALUE")]
        members: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Remove one; connections that it let in are looked at again at once.
    Remove {
        /// Its identifier.
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// What can be done with keys: those of the directory, and those that the gateway signs with.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    #[command(flatten)]
    Entries(EntryCommand<NewKey>),
    /// Make a new key of the gateway's own, which signs from now on.
    Rotate {
        /// `gateway-rs256` or `gateway-es256`.
        name: String,
        /// How long the old one still verifies: longer than the longest life of a token that it signed, and than others
        /// keep our JWK Set.
        #[arg(long, value_name = "TIME", value_parser = time, default_value = "24h")]
        overlap: Time,
        #[command(flatten)]
        place: Place,
    },
}

/// The directory as one document.
#[derive(Debug, Subcommand)]
pub(super) enum WholeCommand {
    /// Write all entries as JSON to standard output.
    Export {
        /// With the hashes of passwords and keys: as good as the original, and as worth guarding. Without, passwords
        /// and keys must be set anew after an import.
        #[arg(long)]
        secrets: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Take in what was exported: whole, or not at all. Entries with the same identifier are replaced.
    Import {
        /// The document.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

/// What `set` was told, as members of a JSON object.
fn members(told: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut members = Map::new();
    for text in told {
        let (name, value) =
            text.split_once('=').ok_or_else(|| Failure::new(format!("`{text}` is not NAME=VALUE"), Exit::Usage))?;
        let value = match (name, value) {
            ("password", "-") => password()?.into(),
            ("password", text) => text.into(),
            (_, text) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        };
        match name.split_once('.') {
            // An attribute is text, whatever it looks like.
            Some((group, name)) => {
                let value = match value {
                    Value::Null | Value::String(_) => value,
                    _ => text.split_once('=').map_or(Value::Null, |(_, text)| text.into()),
                };
                let group = members.entry(group).or_insert_with(|| Value::Object(Map::new()));
                group[name] = value;
            }
            None => {
                members.insert(name.to_owned(), value);
            }
        }
    }
    Ok(members)
}

/// Does what is to be done with keys.
pub(super) fn keys(command: KeyCommand) -> Result<Exit, Failure> {
    let (name, overlap, place) = match command {
        KeyCommand::Entries(command) => return run(command),
        KeyCommand::Rotate { name, overlap, place } => (name, overlap, place),
    };
    let seconds = overlap.0.as_secs();
    match Way::to(&place.data())? {
        Way::Remote(remote) => {
            let path = format!("/api/v1/keys/{}/rotate", encoded(&name));
            remote.must(Method::POST, &path, Some(&json!({ "overlap": seconds })))?;
        }
        Way::Local(ground) => {
            let rotated = crate::administration::rotate(&ground.keyring()?, &name, seconds);
            rotated?;
        }
    }
    out::line(format_args!("{name} has a new key; the old one verifies for another {overlap}"));
    Ok(Exit::Success)
}

/// Exports or imports.
pub(super) fn whole(command: WholeCommand) -> Result<Exit, Failure> {
    match command {
        WholeCommand::Export { secrets, place } => {
            let document = match Way::to(&place.data())? {
                Way::Remote(remote) => {
                    remote.must(Method::GET, &format!("/api/v1/directory?secrets={secrets}"), None)?
                }
                Way::Local(ground) => entries::export(&ground.directory, secrets)?,
            };
            out::line(format_args!("{document:#}"));
        }
        WholeCommand::Import { file, place } => {
            let unusable = |why: String| Failure::new(format!("{}: {why}", file.display()), Exit::Failure);
            let text = std::fs::read_to_string(&file).map_err(|error| unusable(crate::plain(&error)))?;
            let document: Map<String, Value> =
                serde_json::from_str(&text).map_err(|error| unusable(format!("is not an export: {error}")))?;
            let imported = match Way::to(&place.data())? {
                Way::Remote(remote) => {
                    remote.must(Method::POST, "/api/v1/directory", Some(&Value::Object(document)))?
                }
                Way::Local(ground) => entries::import(&ground.directory, document)?,
            };
            out::line(format_args!(
                "imported {} domains and projects, {} users ({} without a password), {} apps, {} devices, {} keys",
                imported["tenants"],
                imported["users"],
                imported["users_without_password"],
                imported["apps"],
                imported["devices"],
                imported["keys"],
            ));
        }
    }
    Ok(Exit::Success)
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
        EntryCommand::Set { id, members: told, place } => {
            let members = members(&told)?;
            let changed = Way::to(&place.data())?.change(T::KIND, &id, members)?;
            show_one::<T>(&changed);
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
    for (title, member) in [("secret", "secret"), ("activation code", "activation_code")] {
        if let Some(secret) = entry[member].as_str() {
            rows.push([title.to_owned(), format!("{secret}   (shown this once)")]);
        }
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
    Local(Box<Local>),
}

/// A data directory that no gateway runs on. What is changed in it is noted for the audit of the next one.
struct Local {
    ground: Ground,
    _noted: Subscription,
}

impl Deref for Local {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
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
        let ground = Ground::open(data.to_owned())?;
        let noted = pending::note(&ground.directory, data, out::error);
        Ok(Self::Local(Box::new(Local { ground, _noted: noted })))
    }

    fn add(&self, kind: Kind, entry: Map<String, Value>) -> Result<Value, Failure> {
        match self {
            Self::Remote(remote) => {
                Ok(remote.must(Method::POST, &format!("/api/v1/{}", kind.as_str()), Some(&Value::Object(entry)))?)
            }
            Self::Local(ground) => Ok(entries::add(&ground.directory, kind, entry)?),
        }
    }

    fn change(&self, kind: Kind, id: &str, members: Map<String, Value>) -> Result<Value, Failure> {
        match self {
            Self::Remote(remote) => {
                let path = format!("/api/v1/{}/{}", kind.as_str(), encoded(id));
                Ok(remote.must(Method::PATCH, &path, Some(&Value::Object(members)))?)
            }
            Self::Local(ground) => Ok(changing::change(&ground.directory, kind, id, members)?),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_set_is_told_becomes_members() {
        let told =
            ["enabled=false", "email=ada@example.com", "email2=null", "attributes.pin=0042", "attributes.x=null"];
        let members = members(&told.map(str::to_owned)).unwrap();
        let expected = json!({
            "enabled": false,
            "email": "ada@example.com",
            "email2": null,
            "attributes": { "pin": "0042", "x": null },
        });
        assert_eq!(Value::Object(members), expected);
        assert!(super::members(&["enabled".to_owned()]).is_err());
    }
}
