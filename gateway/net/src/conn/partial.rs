//! What was received of a packet that is not whole yet.

#![allow(clippy::box_collection, reason = "one word instead of three in every idle connection")]

use std::ops::Deref;

/// Bytes that wait for what follows them. Most connections have none, most of the time.
#[derive(Default)]
pub(super) struct Partial(Option<Box<Vec<u8>>>);

impl Partial {
    pub(super) fn into_vec(self) -> Vec<u8> {
        self.0.map_or_else(Vec::new, |bytes| *bytes)
    }
}

impl Deref for Partial {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |bytes| bytes)
    }
}

impl From<Vec<u8>> for Partial {
    fn from(bytes: Vec<u8>) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(bytes)))
    }
}

impl From<&[u8]> for Partial {
    fn from(bytes: &[u8]) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(bytes.to_vec())))
    }
}
