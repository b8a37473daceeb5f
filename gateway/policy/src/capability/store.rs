//! `store`: durable keys and values of the policy's own.

use portcullis_store::{KeyValue, KeyValueError};

use crate::bindings::portcullis::policy::store::{Error, Host};
use crate::state::State;
use crate::uses::{Limit, Uses};

impl State {
    fn key_value(&self) -> Result<KeyValue, Error> {
        self.barred().map_err(Error::Other)?;
        // Linked only where it was granted, and granted only where there is one.
        self.with.store.clone().ok_or_else(|| Error::Other("there is no storage".to_owned()))
    }
}

fn error(uses: &Uses, why: KeyValueError) -> Error {
    match why {
        KeyValueError::Full(octets) => {
            uses.hit(Limit::Storage, format_args!("{octets} octets"));
            Error::Full
        }
        KeyValueError::TooMany(keys) => {
            uses.hit(Limit::StorageKeys, format_args!("{keys} keys"));
            Error::Full
        }
        KeyValueError::Invalid(what) => Error::Invalid(what),
        KeyValueError::Store(why) => Error::Other(why.to_string()),
    }
}

impl Host for State {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let live = self.key_value()?;
        let effects = self.with.effects.as_ref();
        effects
            .map_or_else(|| live.get(&key), |effects| effects.get(&live, &key))
            .map_err(|why| error(&self.with.uses, why))
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl: Option<u32>) -> Result<(), Error> {
        let live = self.key_value()?;
        match self.with.effects.clone() {
            None => {
                let done = live.set(&key, &value, ttl);
                self.notes.waits("store.set", done).await.map_err(|why| error(&self.with.uses, why))
            }
            Some(effects) => effects.set(&key, &value, ttl).await.map_err(|why| error(&self.with.uses, why)),
        }
    }

    async fn set_if_absent(&mut self, key: String, value: Vec<u8>, ttl: Option<u32>) -> Result<bool, Error> {
        let live = self.key_value()?;
        match self.with.effects.clone() {
            None => {
                let done = live.set_if_absent(&key, &value, ttl);
                self.notes.waits("store.set-if-absent", done).await.map_err(|why| error(&self.with.uses, why))
            }
            Some(effects) => effects.set_if_absent(&key, &value, ttl).await.map_err(|why| error(&self.with.uses, why)),
        }
    }

    async fn take(&mut self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let live = self.key_value()?;
        match self.with.effects.clone() {
            None => {
                let done = live.take(&key);
                self.notes.waits("store.take", done).await.map_err(|why| error(&self.with.uses, why))
            }
            Some(effects) => effects.take(&live, &key).await.map_err(|why| error(&self.with.uses, why)),
        }
    }

    async fn delete(&mut self, key: String) -> Result<bool, Error> {
        let live = self.key_value()?;
        match self.with.effects.clone() {
            None => {
                let done = live.delete(&key);
                self.notes.waits("store.delete", done).await.map_err(|why| error(&self.with.uses, why))
            }
            Some(effects) => effects.delete(&live, &key).await.map_err(|why| error(&self.with.uses, why)),
        }
    }

    async fn increment(&mut self, key: String, delta: i64, ttl: Option<u32>) -> Result<i64, Error> {
        let live = self.key_value()?;
        match self.with.effects.clone() {
            None => {
                let done = live.increment(&key, delta, ttl);
                self.notes.waits("store.increment", done).await.map_err(|why| error(&self.with.uses, why))
            }
            Some(effects) => effects.increment(&key, delta, ttl).await.map_err(|why| error(&self.with.uses, why)),
        }
    }
}
