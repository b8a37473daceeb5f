//! `directory-admin`: changes to the directory. Each waits until it is on disk, on a blocking thread.

use portcullis_identity as identity;
use portcullis_identity::{Directory, DirectoryError};

use super::Effect;
use super::directory::{device, key, user};
use crate::bindings::portcullis::policy::directory_admin::{
    Device, Error, Host, IssuedKey, NewDevice, NewKey, NewUser, User,
};
use crate::state::State;

fn error(why: DirectoryError) -> Error {
    match why {
        DirectoryError::NotFound => Error::NotFound,
        DirectoryError::Conflict(field) => Error::Conflict(field.to_owned()),
        DirectoryError::Invalid(fields) => Error::Invalid(fields),
        DirectoryError::RateLimited(seconds) => Error::RateLimited(seconds),
        other => Error::Other(other.to_string()),
    }
}

fn invalid(field: &str, why: &str) -> Error {
    Error::Invalid(vec![(field.to_owned(), why.to_owned())])
}

fn new_key(new: NewKey) -> Result<identity::NewKey, Error> {
    let alphabet =
        identity::Alphabet::from_word(&new.alphabet).ok_or_else(|| invalid("alphabet", "must be `hex` or `base62`"))?;
    Ok(identity::NewKey {
        kind: new.kind,
        owner: new.owner,
        prefix: new.prefix,
        length: new.length,
        alphabet,
        expires_at: new.expires_at,
        attributes: new.attributes,
    })
}

impl State {
    /// Makes a change, and says in the audit which policy made it.
    async fn change<T: Send + 'static>(
        // Exclusive, though nothing is changed here: a shared reference held over a wait would not be `Send`.
        &mut self,
        what: &'static str,
        change: impl FnOnce(&Directory) -> Result<T, DirectoryError> + Send + 'static,
    ) -> Result<T, Error> {
        self.granted("directory-admin").map_err(Error::Other)?;
        let directory = self.directory().map_err(Error::Other)?;
        if let Some(effects) = &self.with.effects {
            effects.note(Effect::Directory);
            return Err(Error::Other("a shadow changes nothing in the directory".to_owned()));
        }
        let notes = std::sync::Arc::clone(&self.notes);
        let by = format!("policy {}", self.with.policy);
        let places = std::sync::Arc::clone(&self.with.blocking);
        let Ok(place) = notes.waits("directory-admin", places.acquire_owned()).await else {
            return Err(Error::Other("the gateway is stopping".to_owned()));
        };
        let changed = tokio::task::spawn_blocking(move || {
            let _place = place;
            identity::acting(&by, || change(&directory))
        });
        let result = match notes.waits("directory-admin", changed).await {
            Ok(result) => result.map_err(error),
            Err(_) => Err(Error::Other("the change stopped".to_owned())),
        };
        if matches!(result, Err(Error::NotFound)) {
            // Of nothing there is nothing to tell: so a policy finds out, when it tests itself, whether it may change anything.
            return result;
        }
        tracing::info!(target: "portcullis::audit", policy = &*self.with.policy, change = what, done = result.is_ok(), "a policy changed the directory");
        result
    }
}

impl Host for State {
    async fn create_user(&mut self, new: NewUser) -> Result<User, Error> {
        let new = identity::NewUser {
            name: new.name,
            domain_id: new.domain_id,
            email: new.email,
            password: new.password,
            attributes: new.attributes,
        };
        let made = self.change("create-user", move |directory| directory.create_user(new)).await?;
        Ok(user(&made))
    }

    async fn update_user(&mut self, id: String, changes: Vec<(String, String)>) -> Result<User, Error> {
        let changed = self.change("update-user", move |directory| directory.update_user(&id, &changes)).await?;
        Ok(user(&changed))
    }

    async fn set_password(&mut self, user_id: String, password: Vec<u8>) -> Result<(), Error> {
        self.change("set-password", move |directory| directory.set_password(&user_id, &password)).await
    }

    async fn create_key(&mut self, new: NewKey) -> Result<IssuedKey, Error> {
        let new = new_key(new)?;
        let issued = self.change("create-key", move |directory| directory.create_key(new)).await?;
        Ok(IssuedKey { key: key(&issued.key), secret: issued.secret })
    }

    async fn stable_key(&mut self, new: NewKey) -> Result<IssuedKey, Error> {
        let new = new_key(new)?;
        let issued = self.change("stable-key", move |directory| directory.stable_key(new)).await?;
        Ok(IssuedKey { key: key(&issued.key), secret: issued.secret })
    }

    async fn revoke_key(&mut self, id: String) -> Result<bool, Error> {
        self.change("revoke-key", move |directory| directory.revoke_key(&id)).await
    }

    async fn revoke_token(&mut self, token_id: String, expires_at: u64) -> Result<(), Error> {
        self.change("revoke-token", move |directory| directory.revoke_token(&token_id, expires_at)).await
    }

    async fn revoke_user_token(&mut self, user_id: String, token_id: String, expires_at: u64) -> Result<(), Error> {
        let revoke = move |directory: &Directory| directory.revoke_token_of(&user_id, &token_id, expires_at);
        self.change("revoke-user-token", revoke).await
    }

    async fn revoke_tokens(&mut self, user_id: String) -> Result<(), Error> {
        self.change("revoke-tokens", move |directory| directory.revoke_tokens(&user_id).map(|_| ())).await
    }

    async fn create_device(&mut self, new: NewDevice) -> Result<Device, Error> {
        let Some(credential) = identity::DeviceCredential::from_word(&new.credential) else {
            return Err(invalid("credential", "must be `username`, `x509` or `token`"));
        };
        let new = identity::NewDevice {
            app_id: new.app_id,
            owner_id: new.owner_id,
            external_id: new.external_id,
            credential,
            fingerprint: new.fingerprint,
            certificate_subject: None,
            attributes: new.attributes,
        };
        let made = self.change("create-device", move |directory| directory.create_device(new)).await?;
        Ok(device(&made))
    }

    async fn update_device(&mut self, id: String, changes: Vec<(String, String)>) -> Result<Device, Error> {
        let changed = self.change("update-device", move |directory| directory.update_device(&id, &changes)).await?;
        Ok(device(&changed))
    }

    async fn delete_device(&mut self, id: String) -> Result<(), Error> {
        self.change("delete-device", move |directory| directory.delete_device(&id)).await
    }
}
