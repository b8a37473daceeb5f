//! A gateway for unit tests: answers from what the test put into it, and counts what it was asked.

pub mod scheme;

use std::cell::Cell;

use crate::Gateway;
use crate::wit::directory::{App, Device, DeviceSelector, Key};
use crate::wit::jose::{self, Requirements, UnverifiedToken, VerifiedToken};
use crate::wit::peer::Certificate;
use crate::wit::types::{Connection, Credentials, Denial};

/// How a [`Fake`] answers `verify`.
pub type Verifier = Box<dyn Fn(&str, &Requirements) -> Result<VerifiedToken, jose::Error>>;

/// A gateway that answers from fields.
#[derive(Default)]
pub struct Fake {
    /// The time of day.
    pub now: u64,
    /// The client's certificate.
    pub certificate: Option<Certificate>,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// Apps.
    pub apps: Vec<App>,
    /// Devices, with the fingerprint of their certificate.
    pub devices: Vec<(Device, Option<String>)>,
    /// Keys by secret.
    pub keys: Vec<(String, Key)>,
    /// Revoked token identifiers.
    pub revoked: Vec<String>,
    /// The answer to `verify`; none: every signature is bad.
    pub verifier: Option<Verifier>,
    /// The answers to `decode_unverified`, by token.
    pub unverified: Vec<(String, UnverifiedToken)>,
    /// If some, the directory answers nothing but this.
    pub directory_down: Option<Denial>,
    /// How many calls there were.
    pub calls: Cell<u32>,
    /// What only schemes with an HTTP interface ask for.
    pub scheme: scheme::World,
}

impl Fake {
    /// Adds a header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a device.
    #[must_use]
    pub fn with_device(mut self, device: Device) -> Self {
        self.devices.push((device, None));
        self
    }

    /// Adds a device that has a certificate.
    #[must_use]
    pub fn with_certified_device(mut self, device: Device, fingerprint: &str) -> Self {
        self.devices.push((device, Some(fingerprint.into())));
        self
    }

    /// Adds an app.
    #[must_use]
    pub fn with_app(mut self, id: &str, enabled: bool) -> Self {
        self.apps.push(App { id: id.into(), name: id.into(), owner_id: None, enabled, attributes: vec![] });
        self
    }

    fn called(&self) {
        self.calls.set(self.calls.get() + 1);
    }

    fn directory<T>(&self, answer: impl FnOnce() -> T) -> Result<T, Denial> {
        self.called();
        match &self.directory_down {
            Some(denial) => Err(denial.clone()),
            None => Ok(answer()),
        }
    }
}

impl Gateway for Fake {
    fn now(&self) -> u64 {
        self.called();
        self.now
    }

    fn certificate(&self) -> Option<Certificate> {
        self.called();
        self.certificate.clone()
    }

    fn header(&self, name: &str) -> Vec<String> {
        self.called();
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    fn find_app(&self, id: &str) -> Result<Option<App>, Denial> {
        self.directory(|| self.apps.iter().find(|app| app.id == id).cloned())
    }

    fn find_device(&self, by: &DeviceSelector) -> Result<Option<Device>, Denial> {
        let found = |(device, fingerprint): &&(Device, Option<String>)| match by {
            DeviceSelector::Id(id) => device.id == *id,
            DeviceSelector::ClientId(id) => device.client_id == *id,
            DeviceSelector::Username(name) => device.client_id == *name,
            DeviceSelector::Fingerprint(wanted) => fingerprint.as_ref() == Some(wanted),
        };
        self.directory(|| self.devices.iter().find(found).map(|(device, _)| device.clone()))
    }

    fn list_devices(&self, owner: &str, after: Option<&str>) -> Result<Vec<Device>, Denial> {
        let wanted = |device: &&Device| {
            device.owner_id.as_deref() == Some(owner) && after.is_none_or(|after| device.id.as_str() > after)
        };
        self.directory(|| self.devices.iter().map(|(device, _)| device).filter(wanted).take(256).cloned().collect())
    }

    fn find_key(&self, secret: &str) -> Result<Option<Key>, Denial> {
        let made = || self.scheme.key(secret, self.now);
        let given = || self.keys.iter().find(|(known, _)| known == secret).map(|(_, key)| key.clone());
        self.directory(|| given().or_else(made))
    }

    fn is_revoked(&self, token_id: &str) -> Result<bool, Denial> {
        self.directory(|| self.revoked.iter().any(|id| id == token_id) || self.scheme.is_revoked(token_id))
    }

    fn decode_unverified(&self, token: &str) -> Result<UnverifiedToken, jose::Error> {
        self.called();
        let found = self.unverified.iter().find(|(known, _)| known == token).map(|(_, token)| token.clone());
        found.or_else(|| scheme::signed(token)).ok_or_else(|| jose::Error::Malformed("no such token".into()))
    }

    fn verify(&self, token: &str, requirements: &Requirements) -> Result<VerifiedToken, jose::Error> {
        self.called();
        match &self.verifier {
            Some(verifier) => verifier(token, requirements),
            None => Err(jose::Error::BadSignature),
        }
    }
}

/// An enabled device with a user name, of no app and no owner.
#[must_use]
pub fn device(id: &str, namespace: &str) -> Device {
    Device {
        id: id.into(),
        app_id: None,
        owner_id: None,
        client_id: namespace.into(),
        namespace: namespace.into(),
        credential: "username".into(),
        enabled: true,
        attributes: vec![],
    }
}

/// An MQTT 5 connection over this transport.
#[must_use]
pub fn connection(transport: &str) -> Connection {
    Connection {
        id: "c1".into(),
        listener: "test".into(),
        protocol: "mqtt".into(),
        protocol_version: 5,
        transport: transport.into(),
        peer_address: "192.0.2.1".into(),
        peer_port: 40_000,
        server_name: None,
        identity: None,
    }
}

/// An HTTP request's connection.
#[must_use]
pub fn http() -> Connection {
    Connection { protocol: "http".into(), protocol_version: 1, ..connection("tcp") }
}

/// MQTT credentials.
#[must_use]
pub fn credentials(client_id: &str, username: Option<&str>, password: Option<&str>) -> Credentials {
    Credentials {
        client_id: client_id.into(),
        username: username.map(Into::into),
        password: password.map(|password| password.as_bytes().to_vec()),
        method: None,
        data: None,
        user_properties: vec![],
    }
}
