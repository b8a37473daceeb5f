//! What a policy asks of the gateway, behind a trait: [`Live`] calls the contract's imports, the `fake` module answers
//! in unit tests. A method that a policy does not use leaves no import in its component.

use crate::answer::directory_failed;
use crate::wit::clock;
use crate::wit::directory::{
    self, App, Device, DeviceSelector, Domain, DomainSelector, Key, PasswordError, Project, ProjectSelector,
    RoleAssignment, User, UserSelector,
};
use crate::wit::directory_admin::{self, IssuedKey, NewKey, NewUser};
use crate::wit::jose::{self, Requirements, UnverifiedToken, VerifiedToken};
use crate::wit::peer::{self, Certificate};
use crate::wit::types::{Denial, HttpResponse};
use crate::wit::{http_client, log, random, store};

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

/// What a policy asks that serves a scheme's whole HTTP interface. The answers are the contract's own: what they mean is
/// the scheme's to say.
#[allow(missing_docs, clippy::missing_errors_doc)] // Each is documented in `wit/`, under the same name.
pub trait SchemeGateway: Gateway {
    /// The query of the request to be authenticated, or of the WebSocket upgrade, percent-encoded as received.
    fn query(&self) -> Option<String>;
    fn now_us(&self) -> u64;
    fn remaining_ms(&self) -> u32;
    fn warn(&self, message: &str);
    fn random(&self, octets: u32) -> Vec<u8>;
    fn uuid(&self) -> String;
    fn sign(&self, key: &str, header: &str, claims: &str) -> Result<String, jose::Error>;
    fn public_keys(&self, key: &str) -> Result<String, jose::Error>;

    fn verify_password(&self, user: &UserSelector, password: &[u8]) -> Result<User, PasswordError>;
    fn find_user(&self, user: &UserSelector) -> Result<Option<User>, directory::Error>;
    fn find_domain(&self, domain: &DomainSelector) -> Result<Option<Domain>, directory::Error>;
    fn find_project(&self, project: &ProjectSelector) -> Result<Option<Project>, directory::Error>;
    fn list_roles(&self, user_id: &str) -> Result<Vec<RoleAssignment>, directory::Error>;
    fn tokens_valid_from(&self, user_id: &str) -> Result<Option<u64>, directory::Error>;
    fn find_key_by_id(&self, id: &str) -> Result<Option<Key>, directory::Error>;

    fn create_user(&self, user: &NewUser) -> Result<User, directory_admin::Error>;
    fn update_user(&self, id: &str, changes: &[(String, String)]) -> Result<User, directory_admin::Error>;
    fn set_password(&self, user_id: &str, password: &[u8]) -> Result<(), directory_admin::Error>;
    fn create_key(&self, key: &NewKey) -> Result<IssuedKey, directory_admin::Error>;
    fn stable_key(&self, key: &NewKey) -> Result<IssuedKey, directory_admin::Error>;
    fn revoke_key(&self, id: &str) -> Result<bool, directory_admin::Error>;
    fn revoke_user_token(&self, user: &str, token: &str, expires_at: u64) -> Result<(), directory_admin::Error>;
    fn revoke_tokens(&self, user_id: &str) -> Result<(), directory_admin::Error>;
    fn update_device(&self, id: &str, changes: &[(String, String)]) -> Result<Device, directory_admin::Error>;

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, store::Error>;
    fn set(&self, key: &str, value: &[u8], ttl: Option<u32>) -> Result<(), store::Error>;
    fn set_if_absent(&self, key: &str, value: &[u8], ttl: Option<u32>) -> Result<bool, store::Error>;
    fn take(&self, key: &str) -> Result<Option<Vec<u8>>, store::Error>;
    fn delete(&self, key: &str) -> Result<bool, store::Error>;
    fn increment(&self, key: &str, delta: i64, ttl: Option<u32>) -> Result<i64, store::Error>;

    fn send(&self, request: &http_client::Request) -> Result<HttpResponse, http_client::Error>;
}

/// Whether changes to the directory were granted: for a policy's self-test, where its configuration needs them. Changes
/// nothing of an entry that cannot be there.
///
/// # Errors
/// They were not. The text says what to write into `allow`.
pub fn may_change_the_directory(gateway: &impl SchemeGateway) -> Result<(), String> {
    match gateway.update_device("", &[]) {
        Err(directory_admin::Error::Other(why)) => Err(why),
        _ => Ok(()),
    }
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

impl SchemeGateway for Live {
    fn query(&self) -> Option<String> {
        peer::get_http_request()?.query
    }

    fn now_us(&self) -> u64 {
        clock::now_us()
    }

    fn remaining_ms(&self) -> u32 {
        clock::remaining_ms()
    }

    fn warn(&self, message: &str) {
        log::write(log::Level::Warn, message);
    }

    fn random(&self, octets: u32) -> Vec<u8> {
        random::bytes(octets)
    }

    fn uuid(&self) -> String {
        random::uuid()
    }

    fn sign(&self, key: &str, header: &str, claims: &str) -> Result<String, jose::Error> {
        jose::sign(key, header, claims)
    }

    fn public_keys(&self, key: &str) -> Result<String, jose::Error> {
        jose::public_keys(key)
    }

    fn verify_password(&self, user: &UserSelector, password: &[u8]) -> Result<User, PasswordError> {
        directory::verify_password(user, password)
    }

    fn find_user(&self, user: &UserSelector) -> Result<Option<User>, directory::Error> {
        directory::find_user(user)
    }

    fn find_domain(&self, domain: &DomainSelector) -> Result<Option<Domain>, directory::Error> {
        directory::find_domain(domain)
    }

    fn find_project(&self, project: &ProjectSelector) -> Result<Option<Project>, directory::Error> {
        directory::find_project(project)
    }

    fn list_roles(&self, user_id: &str) -> Result<Vec<RoleAssignment>, directory::Error> {
        directory::list_roles(user_id)
    }

    fn tokens_valid_from(&self, user_id: &str) -> Result<Option<u64>, directory::Error> {
        directory::tokens_valid_from(user_id)
    }

    fn find_key_by_id(&self, id: &str) -> Result<Option<Key>, directory::Error> {
        directory::find_key_by_id(id)
    }

    fn create_user(&self, user: &NewUser) -> Result<User, directory_admin::Error> {
        directory_admin::create_user(user)
    }

    fn update_user(&self, id: &str, changes: &[(String, String)]) -> Result<User, directory_admin::Error> {
        directory_admin::update_user(id, changes)
    }

    fn set_password(&self, user_id: &str, password: &[u8]) -> Result<(), directory_admin::Error> {
        directory_admin::set_password(user_id, password)
    }

    fn create_key(&self, key: &NewKey) -> Result<IssuedKey, directory_admin::Error> {
        directory_admin::create_key(key)
    }

    fn stable_key(&self, key: &NewKey) -> Result<IssuedKey, directory_admin::Error> {
        directory_admin::stable_key(key)
    }

    fn revoke_key(&self, id: &str) -> Result<bool, directory_admin::Error> {
        directory_admin::revoke_key(id)
    }

    fn revoke_user_token(&self, user: &str, token: &str, expires_at: u64) -> Result<(), directory_admin::Error> {
        directory_admin::revoke_user_token(user, token, expires_at)
    }

    fn revoke_tokens(&self, user_id: &str) -> Result<(), directory_admin::Error> {
        directory_admin::revoke_tokens(user_id)
    }

    fn update_device(&self, id: &str, changes: &[(String, String)]) -> Result<Device, directory_admin::Error> {
        directory_admin::update_device(id, changes)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, store::Error> {
        store::get(key)
    }

    fn set(&self, key: &str, value: &[u8], ttl: Option<u32>) -> Result<(), store::Error> {
        store::set(key, value, ttl)
    }

    fn set_if_absent(&self, key: &str, value: &[u8], ttl: Option<u32>) -> Result<bool, store::Error> {
        store::set_if_absent(key, value, ttl)
    }

    fn take(&self, key: &str) -> Result<Option<Vec<u8>>, store::Error> {
        store::take(key)
    }

    fn delete(&self, key: &str) -> Result<bool, store::Error> {
        store::delete(key)
    }

    fn increment(&self, key: &str, delta: i64, ttl: Option<u32>) -> Result<i64, store::Error> {
        store::increment(key, delta, ttl)
    }

    fn send(&self, request: &http_client::Request) -> Result<HttpResponse, http_client::Error> {
        http_client::send(request)
    }
}
