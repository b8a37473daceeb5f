//! The host interfaces as they are linked: those of [`State`], with a tape between where a call has one.

use wasmtime::Result as Trappable;
use wasmtime::component::HasData;

use crate::bindings::portcullis::policy as contract;
use crate::state::State;
use crate::tape::Known;
use contract::directory::{
    App, Device, DeviceSelector, Domain, DomainSelector, Error as DirectoryError, Key, PasswordError, Project,
    ProjectSelector, RoleAssignment, User, UserSelector,
};
use contract::directory_admin::{Error as AdminError, IssuedKey, NewDevice, NewKey, NewUser};
use contract::http_client::{Error as HttpError, HttpResponse, Request};
use contract::jose::{Error as JoseError, Requirements, UnverifiedToken, VerifiedToken};
use contract::log::Level;
use contract::peer::{Certificate, HttpRequest, TlsSession};
use contract::store::Error as StoreError;

/// What the linker hands out.
pub(crate) struct Taped<'a>(pub(crate) &'a mut State);

/// Names [`Taped`] for every lifetime.
pub(crate) struct Hosts;

impl HasData for Hosts {
    type Data<'a> = Taped<'a>;
}

/// Said where a recording has no answer. The policy's verdict does not count then.
const LACKS: &str = "the recording has no answer to this";

/// Asks the tape, or the host and notes what it says.
macro_rules! taped {
    ($self:ident, $name:literal, [$($argument:expr),*], $real:expr, $absent:expr) => {
        match $self.0.call.tape.clone() {
            None => $real,
            Some(tape) => {
                let arguments = serde_json::Value::Array(vec![$(serde_json::to_value(&$argument).unwrap_or_default()),*]);
                match tape.known($name, &arguments) {
                    Known::Answer(answer) => serde_json::from_value(answer).unwrap_or_else(|_| {
                        tape.lacks($name);
                        $absent
                    }),
                    Known::Nothing => $absent,
                    Known::Ask => {
                        let answer = $real;
                        tape.note($name, arguments, serde_json::to_value(&answer).unwrap_or_default());
                        answer
                    }
                }
            }
        }
    };
}

impl contract::types::Host for Taped<'_> {}

impl contract::config::Host for Taped<'_> {
    fn get(&mut self, key: String) -> Option<String> {
        contract::config::Host::get(self.0, key)
    }
    fn list_values(&mut self, prefix: String) -> Vec<(String, String)> {
        contract::config::Host::list_values(self.0, prefix)
    }
    fn json(&mut self) -> String {
        contract::config::Host::json(self.0)
    }
}

impl contract::log::Host for Taped<'_> {
    fn write(&mut self, level: Level, message: String) {
        contract::log::Host::write(self.0, level, message);
    }
    fn enabled(&mut self, level: Level) -> bool {
        contract::log::Host::enabled(self.0, level)
    }
}

impl contract::clock::Host for Taped<'_> {
    fn now(&mut self) -> u64 {
        taped!(self, "clock.now", [], contract::clock::Host::now(self.0), 0)
    }
    fn now_us(&mut self) -> u64 {
        taped!(self, "clock.now-us", [], contract::clock::Host::now_us(self.0), 0)
    }
    fn remaining_ms(&mut self) -> u32 {
        contract::clock::Host::remaining_ms(self.0)
    }
}

impl contract::random::Host for Taped<'_> {
    fn bytes(&mut self, length: u32) -> Trappable<Vec<u8>> {
        Ok(taped!(
            self,
            "random.bytes",
            [length],
            contract::random::Host::bytes(self.0, length)?,
            vec![0; length.min(4096) as usize]
        ))
    }
    fn uuid(&mut self) -> Trappable<String> {
        Ok(taped!(self, "random.uuid", [], contract::random::Host::uuid(self.0)?, String::new()))
    }
}

impl contract::peer::Host for Taped<'_> {
    fn get_certificate(&mut self) -> Option<Certificate> {
        taped!(self, "peer.get-certificate", [], contract::peer::Host::get_certificate(self.0), None)
    }
    fn get_tls(&mut self) -> Option<TlsSession> {
        taped!(self, "peer.get-tls", [], contract::peer::Host::get_tls(self.0), None)
    }
    fn get_http_request(&mut self) -> Option<HttpRequest> {
        taped!(self, "peer.get-http-request", [], contract::peer::Host::get_http_request(self.0), None)
    }
    fn get_header(&mut self, name: String) -> Vec<String> {
        taped!(self, "peer.get-header", [name], contract::peer::Host::get_header(self.0, name), Vec::new())
    }
}

impl contract::jose::Host for Taped<'_> {
    async fn verify(&mut self, token: String, wanted: Requirements) -> Result<VerifiedToken, JoseError> {
        taped!(
            self,
            "jose.verify",
            [token, wanted],
            contract::jose::Host::verify(self.0, token, wanted).await,
            Err(JoseError::Other(LACKS.into()))
        )
    }
    async fn decode_unverified(&mut self, token: String) -> Result<UnverifiedToken, JoseError> {
        taped!(
            self,
            "jose.decode-unverified",
            [token],
            contract::jose::Host::decode_unverified(self.0, token).await,
            Err(JoseError::Other(LACKS.into()))
        )
    }
    async fn sign(&mut self, key: String, header: String, claims: String) -> Result<String, JoseError> {
        taped!(
            self,
            "jose.sign",
            [key, header, claims],
            contract::jose::Host::sign(self.0, key, header, claims).await,
            Err(JoseError::Other(LACKS.into()))
        )
    }
    async fn public_keys(&mut self, key: String) -> Result<String, JoseError> {
        taped!(
            self,
            "jose.public-keys",
            [key],
            contract::jose::Host::public_keys(self.0, key).await,
            Err(JoseError::Other(LACKS.into()))
        )
    }
}

impl contract::store::Host for Taped<'_> {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, StoreError> {
        taped!(
            self,
            "store.get",
            [key],
            contract::store::Host::get(self.0, key).await,
            Err(StoreError::Other(LACKS.into()))
        )
    }
    async fn set(&mut self, key: String, value: Vec<u8>, ttl: Option<u32>) -> Result<(), StoreError> {
        taped!(
            self,
            "store.set",
            [key, value, ttl],
            contract::store::Host::set(self.0, key, value, ttl).await,
            Err(StoreError::Other(LACKS.into()))
        )
    }
    async fn set_if_absent(&mut self, key: String, value: Vec<u8>, ttl: Option<u32>) -> Result<bool, StoreError> {
        taped!(
            self,
            "store.set-if-absent",
            [key, value, ttl],
            contract::store::Host::set_if_absent(self.0, key, value, ttl).await,
            Err(StoreError::Other(LACKS.into()))
        )
    }
    async fn take(&mut self, key: String) -> Result<Option<Vec<u8>>, StoreError> {
        taped!(
            self,
            "store.take",
            [key],
            contract::store::Host::take(self.0, key).await,
            Err(StoreError::Other(LACKS.into()))
        )
    }
    async fn delete(&mut self, key: String) -> Result<bool, StoreError> {
        taped!(
            self,
            "store.delete",
            [key],
            contract::store::Host::delete(self.0, key).await,
            Err(StoreError::Other(LACKS.into()))
        )
    }
    async fn increment(&mut self, key: String, delta: i64, ttl: Option<u32>) -> Result<i64, StoreError> {
        taped!(
            self,
            "store.increment",
            [key, delta, ttl],
            contract::store::Host::increment(self.0, key, delta, ttl).await,
            Err(StoreError::Other(LACKS.into()))
        )
    }
}

impl contract::http_client::Host for Taped<'_> {
    async fn send(&mut self, request: Request) -> Result<HttpResponse, HttpError> {
        taped!(
            self,
            "http-client.send",
            [request],
            contract::http_client::Host::send(self.0, request).await,
            Err(HttpError::Other(LACKS.into()))
        )
    }
}

macro_rules! directory {
    ($($name:literal $function:ident($($argument:ident: $of:ty),*) -> $answer:ty;)*) => {
        impl contract::directory::Host for Taped<'_> {
            async fn verify_password(&mut self, by: UserSelector, password: Vec<u8>) -> Result<User, PasswordError> {
                taped!(self, "directory.verify-password", [by, password], contract::directory::Host::verify_password(self.0, by, password).await, Err(PasswordError::Other(LACKS.into())))
            }
            $(async fn $function(&mut self, $($argument: $of),*) -> Result<$answer, DirectoryError> {
                taped!(self, $name, [$($argument),*], contract::directory::Host::$function(self.0, $($argument),*).await, Err(DirectoryError::Other(LACKS.into())))
            })*
        }
    };
}
directory! {
    "directory.find-user" find_user(by: UserSelector) -> Option<User>;
    "directory.find-domain" find_domain(by: DomainSelector) -> Option<Domain>;
    "directory.find-project" find_project(by: ProjectSelector) -> Option<Project>;
    "directory.list-roles" list_roles(user_id: String) -> Vec<RoleAssignment>;
    "directory.find-app" find_app(id: String) -> Option<App>;
    "directory.find-device" find_device(by: DeviceSelector) -> Option<Device>;
    "directory.list-devices" list_devices(owner_id: String, after: Option<String>) -> Vec<Device>;
    "directory.find-key" find_key(secret: String) -> Option<Key>;
    "directory.find-key-by-id" find_key_by_id(id: String) -> Option<Key>;
    "directory.is-revoked" is_revoked(token_id: String) -> bool;
    "directory.tokens-valid-from" tokens_valid_from(user_id: String) -> Option<u64>;
}

macro_rules! directory_admin {
    ($($name:literal $function:ident($($argument:ident: $of:ty),*) -> $answer:ty;)*) => {
        impl contract::directory_admin::Host for Taped<'_> {
            $(async fn $function(&mut self, $($argument: $of),*) -> Result<$answer, AdminError> {
                taped!(self, $name, [$($argument),*], contract::directory_admin::Host::$function(self.0, $($argument),*).await, Err(AdminError::Other(LACKS.into())))
            })*
        }
    };
}
directory_admin! {
    "directory-admin.create-user" create_user(new: NewUser) -> User;
    "directory-admin.update-user" update_user(id: String, changes: Vec<(String, String)>) -> User;
    "directory-admin.set-password" set_password(user_id: String, password: Vec<u8>) -> ();
    "directory-admin.create-key" create_key(new: NewKey) -> IssuedKey;
    "directory-admin.stable-key" stable_key(new: NewKey) -> IssuedKey;
    "directory-admin.revoke-key" revoke_key(id: String) -> bool;
    "directory-admin.revoke-token" revoke_token(token_id: String, expires_at: u64) -> ();
    "directory-admin.revoke-user-token" revoke_user_token(user_id: String, token_id: String, expires_at: u64) -> ();
    "directory-admin.revoke-tokens" revoke_tokens(user_id: String) -> ();
    "directory-admin.create-device" create_device(new: NewDevice) -> Device;
    "directory-admin.update-device" update_device(id: String, changes: Vec<(String, String)>) -> Device;
    "directory-admin.delete-device" delete_device(id: String) -> ();
}
