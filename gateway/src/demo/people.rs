//! Who is in the demo: an app with its owner's key pair, a consumer of it, a device of the consumer's, an API key.
//!
//! What a person needs to try them lies in `<data>/demo`, readable by nobody else. That an API key lies in a file is
//! the demo's privilege: elsewhere it is shown once.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_identity::{
    DeviceCredential, Directory, DirectoryError, KeyError, KeySource, Keyring, NamedKey, NewApp, NewDevice, NewKey,
};
use portcullis_session::unix_now;
use portcullis_store::{Clock, Store};
use rcgen::KeyPair;

use crate::files::{self, Readers};

/// The identifier of the app.
pub(crate) const APP: &str = "demo";
/// The consumer: `sub` of its tokens.
pub(crate) const CONSUMER: &str = "alice";
/// How long the consumer's token is good. A new one is made at each start.
const TOKEN: Duration = Duration::from_secs(24 * 3600);

/// The demo's people and things.
#[derive(Clone, Debug)]
pub(crate) struct People {
    /// Client identifier, user name and namespace of the device.
    pub(crate) device: String,
    /// The file with the consumer's token.
    pub(crate) token: PathBuf,
    /// The file with the API key.
    pub(crate) api_key: PathBuf,
}

/// Why they could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeopleError {
    /// A file cannot be read or written.
    #[error("{} cannot be used: {}", path.display(), crate::plain(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The directory refuses.
    #[error("the demo's entries cannot be made: {0}")]
    Directory(#[from] DirectoryError),
    /// The owner's key does not work.
    #[error("the key of the demo's app cannot be used ({0}); remove it, and a new one is made")]
    Key(#[from] KeyError),
    /// The library cannot make a key.
    #[error("a key could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl People {
    /// Those of this directory, made where they are missing.
    ///
    /// # Errors
    /// The disk or the directory refuses.
    pub(crate) fn ensure(folder: &Path, store: &Store, directory: &Directory) -> Result<Self, PeopleError> {
        files::make_directory(folder).map_err(at(folder))?;
        let owner = folder.join("owner.key");
        ensure_app(&owner, directory)?;
        let device = ensure_device(directory)?;
        let token = folder.join("consumer.jwt");
        write(&token, &make_token(&owner, store)?)?;
        let api_key = folder.join("api-key");
        ensure_key(&api_key, directory)?;
        Ok(Self { device, token, api_key })
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PeopleError {
    let path = path.to_owned();
    move |source| PeopleError::Io { path, source }
}

fn write(path: &Path, text: &str) -> Result<(), PeopleError> {
    files::write(path, text.as_bytes(), Readers::Owner).map_err(at(path))
}

/// The app, and in `owner` the private key whose public half it has.
fn ensure_app(owner: &Path, directory: &Directory) -> Result<(), PeopleError> {
    let known = directory.find_app(APP);
    if known.is_some() && owner.exists() {
        return Ok(());
    }
    let pair = KeyPair::generate()?;
    match known {
        None => {
            let keys = vec![pair.public_key_pem()];
            directory.create_app(NewApp {
                id: Some(APP.to_owned()),
                name: "Demo".to_owned(),
                keys,
                ..NewApp::default()
            })?;
        }
        // The file was lost: the app gets another key, and keeps its devices.
        Some(_) => {
            directory.add_app_key(APP, &pair.public_key_pem())?;
        }
    }
    write(owner, &pair.serialize_pem())
}

fn ensure_device(directory: &Directory) -> Result<String, PeopleError> {
    let devices = directory.list_devices(CONSUMER, None);
    if let Some(device) = devices.iter().find(|device| device.app_id.as_deref() == Some(APP) && device.enabled) {
        return Ok(device.client_id.clone());
    }
    let device = directory.create_device(NewDevice {
        app_id: Some(APP.to_owned()),
        owner_id: Some(CONSUMER.to_owned()),
        external_id: "thermometer".to_owned(),
        credential: DeviceCredential::Username,
        fingerprint: None,
        certificate_subject: None,
        attributes: Vec::new(),
    })?;
    Ok(device.client_id.clone())
}

fn ensure_key(path: &Path, directory: &Directory) -> Result<(), PeopleError> {
    if std::fs::read_to_string(path).is_ok_and(|secret| directory.find_key(secret.trim()).is_some()) {
        return Ok(());
    }
    let issued = directory.create_key(NewKey::secret(format!("app:{APP}")))?;
    write(path, &issued.secret)
}

/// A token as the app's own backend would sign it.
fn make_token(owner: &Path, store: &Store) -> Result<String, PeopleError> {
    let key = NamedKey { name: "owner".to_owned(), source: KeySource::Pem(owner.to_owned()) };
    let ring = Keyring::open(store.clone(), Clock::system(), &[key])?;
    let now = unix_now();
    let claims = serde_json::json!({ "sub": CONSUMER, "iat": now, "exp": now + TOKEN.as_secs() });
    Ok(ring.sign("owner", "", &claims.to_string())?)
}
