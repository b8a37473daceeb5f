//! What a policy asks of the gateway, behind a trait: [`Live`] calls the contract's imports, the `fake` module answers
//! in unit tests. A method that a policy does not use leaves no import in its component.

use crate::answer::directory_failed;
use crate::wit::clock;
use crate::wit::directory::{self, App, Device, DeviceSelector, Key};
use crate::wit::jose::{self, Requirements, UnverifiedToken, VerifiedToken};
use crate::wit::peer::{self, Certificate};
use crate::wit::types::Denial;

/// The gateway, as far as the bundled policies need it. Directory failures are refusals already.
pub trait Gateway {
    /// Seconds since 1970.
    fn now(&self) -> u64;

    /// The client's certificate, if the TLS handshake verified one.
    fn certificate(&self) -> Option<Certificate>;

    /// The values of one header field of the HTTP request or WebSocket upgrade. `name` in lower case.
    fn header(&self, name: &str) -> Vec<String>;

    /// The app with this identifier.
    ///
    /// # Errors
    /// A refusal when the directory does not answer; so for each method that returns a `Denial`.
    fn find_app(&self, id: &str) -> Result<Option<App>, Denial>;

    /// One device.
    ///
    /// # Errors
    /// As [`Gateway::find_app`].
    fn find_device(&self, by: &DeviceSelector) -> Result<Option<Device>, Denial>;

    /// The devices of an owner, at most 256, after the one with the identifier `after`.
    ///
    /// # Errors
    /// As [`Gateway::find_app`].
    fn list_devices(&self, owner: &str, after: Option<&str>) -> Result<Vec<Device>, Denial>;

    /// The key with this secret, if it is valid.
    ///
    /// # Errors
    /// As [`Gateway::find_app`].
    fn find_key(&self, secret: &str) -> Result<Option<Key>, Denial>;

    /// Whether the token with this `jti` was revoked.
    ///
    /// # Errors
    /// As [`Gateway::find_app`].
    fn is_revoked(&self, token_id: &str) -> Result<bool, Denial>;

    /// Reads a token without checking it.
    ///
    /// # Errors
    /// What the gateway found wrong with its form.
    fn decode_unverified(&self, token: &str) -> Result<UnverifiedToken, jose::Error>;

    /// Checks a token.
    ///
    /// # Errors
    /// What the gateway found wrong with it.
    fn verify(&self, token: &str, requirements: &Requirements) -> Result<VerifiedToken, jose::Error>;
}

/// The real gateway, through the contract's imports.
#[derive(Clone, Copy, Debug)]
pub struct Live;

impl Gateway for Live {
    fn now(&self) -> u64 {
        clock::now()
    }

    fn certificate(&self) -> Option<Certificate> {
        peer::get_certificate()
    }

    fn header(&self, name: &str) -> Vec<String> {
        peer::get_header(name)
    }

    fn find_app(&self, id: &str) -> Result<Option<App>, Denial> {
        directory::find_app(id).map_err(directory_failed)
    }

    fn find_device(&self, by: &DeviceSelector) -> Result<Option<Device>, Denial> {
        directory::find_device(by).map_err(directory_failed)
    }

    fn list_devices(&self, owner: &str, after: Option<&str>) -> Result<Vec<Device>, Denial> {
        directory::list_devices(owner, after).map_err(directory_failed)
    }

    fn find_key(&self, secret: &str) -> Result<Option<Key>, Denial> {
        directory::find_key(secret).map_err(directory_failed)
    }

    fn is_revoked(&self, token_id: &str) -> Result<bool, Denial> {
        directory::is_revoked(token_id).map_err(directory_failed)
    }

    fn decode_unverified(&self, token: &str) -> Result<UnverifiedToken, jose::Error> {
        jose::decode_unverified(token)
    }

    fn verify(&self, token: &str, requirements: &Requirements) -> Result<VerifiedToken, jose::Error> {
        jose::verify(token, requirements)
    }
}
