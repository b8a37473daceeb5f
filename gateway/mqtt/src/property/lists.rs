//! The two properties that may stand more than once, as views that own nothing.

use super::value::{Pair, VarId};
use super::{Property, Walk};
use crate::EncodeError;
use crate::write::Sink;

/// User properties: name and value pairs whose order is kept ([MQTT-3.3.2-17], [MQTT-3.3.2-18]); a name may repeat.
///
/// A view: of a received packet, or of pairs that someone holds.
#[derive(Clone, Copy)]
pub struct UserProperties<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// A checked property block, among other properties.
    Block(&'a [u8]),
    Borrowed(&'a [(&'a str, &'a str)]),
    Owned(&'a [(String, String)]),
}

impl<'a> UserProperties<'a> {
    /// None at all.
    pub const EMPTY: Self = Self(Source::Block(&[]));

    /// Those in a block that was checked, and has at least one.
    pub(super) const fn from_block(block: &'a [u8]) -> Self {
        Self(Source::Block(block))
    }

    /// Pairs of borrowed strings. Each string must have at most 65,535 octets and no U+0000; writing checks that.
    pub const fn from_pairs(pairs: &'a [(&'a str, &'a str)]) -> Self {
        Self(Source::Borrowed(pairs))
    }

    /// As [`Self::from_pairs`], for pairs that are kept as `String`.
    pub const fn from_owned(pairs: &'a [(String, String)]) -> Self {
        Self(Source::Owned(pairs))
    }

    /// The pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        let (block, borrowed, owned): (&[u8], &[_], &[(String, String)]) = match self.0 {
            Source::Block(block) => (block, &[], &[]),
            Source::Borrowed(pairs) => (&[], pairs, &[]),
            Source::Owned(pairs) => (&[], &[], pairs),
        };
        let received = Walk(block).filter_map(|property| match property {
            Property::User(Pair(name, value)) => Some((name, value)),
            _ => None,
        });
        received
            .chain(borrowed.iter().copied())
            .chain(owned.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        match self.0 {
            Source::Block(block) => block.is_empty(),
            Source::Borrowed(pairs) => pairs.is_empty(),
            Source::Owned(pairs) => pairs.is_empty(),
        }
    }

    pub(crate) fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        self.iter().try_for_each(|(name, value)| Property::User(Pair(name, value)).write(sink))
    }
}

impl Default for UserProperties<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl std::fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The subscription identifiers of a PUBLISH from a server, 1 to 268,435,455 each, in order.
#[derive(Clone, Copy)]
pub struct SubscriptionIds<'a>(Ids<'a>);

#[derive(Clone, Copy)]
enum Ids<'a> {
    Block(&'a [u8]),
    List(&'a [u32]),
}

impl<'a> SubscriptionIds<'a> {
    /// None at all.
    pub const EMPTY: Self = Self(Ids::List(&[]));

    /// Those in a block that was checked, and has at least one.
    pub(crate) const fn from_block(block: &'a [u8]) -> Self {
        Self(Ids::Block(block))
    }

    /// These identifiers. Writing refuses zero and anything above 268,435,455.
    pub const fn from_slice(ids: &'a [u32]) -> Self {
        Self(Ids::List(ids))
    }

    /// The identifiers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        let (block, list): (&[u8], &[u32]) = match self.0 {
            Ids::Block(block) => (block, &[]),
            Ids::List(list) => (&[], list),
        };
        let received = Walk(block).filter_map(|property| match property {
            Property::SubscriptionId(VarId(id)) => Some(id),
            _ => None,
        });
        received.chain(list.iter().copied())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        match self.0 {
            Ids::Block(block) => block.is_empty(),
            Ids::List(list) => list.is_empty(),
        }
    }

    pub(crate) fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        self.iter().try_for_each(|id| Property::SubscriptionId(VarId(id)).write(sink))
    }
}

impl Default for SubscriptionIds<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for SubscriptionIds<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIds<'_> {}

impl std::fmt::Debug for SubscriptionIds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
