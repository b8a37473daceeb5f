//! The secret that secrets are computed from which must be the same each time ([`Directory::stable_key`]). It is made when
//! it is first needed and kept in the store, which only its owner can read; it is never exported.

use aws_lc_rs::hmac;
use portcullis_store::{Batch, Durability, Store};
use zeroize::{Zeroize, Zeroizing};

use super::Directory;
use super::random;
use crate::error::DirectoryError;
use crate::model::Alphabet;

const KIND: &str = "pepper";
const ID: &str = "stable-keys";

/// HMAC-SHA256 under the directory's own key.
#[derive(Clone)]
pub(super) struct Pepper(hmac::Key);

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pepper")
    }
}

impl Pepper {
    fn new(octets: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, octets))
    }

    /// Reads it from the store. None: it was not needed yet.
    pub(super) fn load(store: &Store) -> Result<Option<Self>, DirectoryError> {
        let mut found = None;
        store.visit_entries(KIND, |id, octets| {
            if id == ID && octets.len() == 32 {
                found = Some(Self::new(octets));
            }
        })?;
        Ok(found)
    }

    /// So many characters that follow from this identifier, and that nobody else can tell from random ones.
    pub(super) fn text(&self, id: &str, length: usize, alphabet: Alphabet) -> String {
        let letters = random::letters(alphabet);
        // Octets beyond the last whole multiple would make some letters likelier.
        let bound = 256 - 256 % letters.len();
        let mut text = String::with_capacity(length);
        for round in 0_u64.. {
            let mut context = hmac::Context::with_key(&self.0);
            context.update(&round.to_le_bytes());
            context.update(id.as_bytes());
            let tag = context.sign();
            let usable = tag.as_ref().iter().map(|octet| usize::from(*octet)).filter(|octet| *octet < bound);
            text.extend(usable.take(length - text.len()).map(|octet| char::from(letters[octet % letters.len()])));
            if text.len() >= length {
                break;
            }
        }
        text
    }
}

impl Directory {
    /// The directory's own, made and stored if there is none yet.
    pub(super) fn pepper(&self) -> Result<Pepper, DirectoryError> {
        let mut known = self.0.pepper.lock();
        if let Some(pepper) = &*known {
            return Ok(pepper.clone());
        }
        let mut octets = Zeroizing::new([0; 32]);
        random::fill(octets.as_mut())?;
        let mut batch = Batch::new();
        batch.put_entry(KIND, ID, octets.to_vec());
        // Before the first secret is given out: after a crash it could not be given again.
        self.0.store.submit_with(batch, Durability::Ack).wait()?;
        let pepper = Pepper::new(octets.as_ref());
        octets.zeroize();
        Ok(known.insert(pepper).clone())
    }
}
