//! The packet identifier that ties an acknowledgement to its packet.

use std::num::NonZeroU16;

/// A packet identifier, 1 to 65,535 (MQTT 5 §2.2.1). Zero is not one, so it cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub NonZeroU16);

impl PacketId {
    /// The smallest packet identifier.
    pub const MIN: Self = Self(NonZeroU16::MIN);

    /// The packet identifier with this number; `None` for zero.
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number, never zero.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The identifier after this one, from 65,535 back to 1.
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(next) => Self(next),
            None => Self::MIN,
        }
    }
}

impl std::fmt::Display for PacketId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
