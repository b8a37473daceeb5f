//! The properties of MQTT 5 (§2.2.2): one table of what exists, how it is written and which values are in range.
//!
//! Which packet may have which is said in that packet's file, as a [`Place`]. Values are checked here, once, so that a
//! [`Property`] in hand is one that the specification allows.

mod lists;
mod value;

pub use lists::{SubscriptionIds, UserProperties};
pub(crate) use value::{Alias, MaximumQos, Name, VarId, write_topic_name};
use value::{Pair, Value};

use std::num::{NonZeroU16, NonZeroU32};

use crate::write::Sink;
use crate::{EncodeError, Error, read::Reader};

/// Makes the enum, the identifiers, and reading and writing from one table.
macro_rules! properties {
    ($($id:literal $variant:ident($type:ty) $name:literal,)*) => {
        /// One property with its value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Property<'a> {
            $($variant($type),)*
        }

        /// The identifiers, by the names of the variants.
        #[allow(non_upper_case_globals)]
        pub(crate) mod id {
            $(pub(crate) const $variant: u8 = $id;)*
        }

        /// The name of a property; `None` when the specification has none with this identifier.
        const fn name(id: u32) -> Option<&'static str> {
            match id {
                $($id => Some($name),)*
                _ => None,
            }
        }

        impl<'a> Property<'a> {
            /// Reads the value of the property `id`.
            #[inline]
            fn read(id: u32, reader: &mut Reader<'a>) -> Result<Self, Error> {
                match id {
                    $($id => <$type as Value>::read(reader, $name).map(Self::$variant),)*
                    _ => Err(Error::UnknownProperty(id)),
                }
            }

            /// Writes identifier and value.
            pub(crate) fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
                match self {
                    $(Self::$variant(value) => {
                        sink.byte($id);
                        value.write(sink, $name)
                    })*
                }
            }
        }
    };
}

properties! {
    0x01 PayloadFormat(bool) "payload format indicator",
    0x02 MessageExpiry(u32) "message expiry interval",
    0x03 ContentType(&'a str) "content type",
    0x08 ResponseTopic(Name<'a>) "response topic",
    0x09 CorrelationData(&'a [u8]) "correlation data",
    0x0B SubscriptionId(VarId) "subscription identifier",
    0x11 SessionExpiry(u32) "session expiry interval",
    0x12 AssignedClientId(&'a str) "assigned client identifier",
    0x13 ServerKeepAlive(u16) "server keep alive",
    0x15 AuthenticationMethod(&'a str) "authentication method",
    0x16 AuthenticationData(&'a [u8]) "authentication data",
    0x17 RequestProblemInformation(bool) "request problem information",
    0x18 WillDelay(u32) "will delay interval",
    0x19 RequestResponseInformation(bool) "request response information",
    0x1A ResponseInformation(&'a str) "response information",
    0x1C ServerReference(&'a str) "server reference",
    0x1F ReasonString(&'a str) "reason string",
    0x21 ReceiveMaximum(NonZeroU16) "receive maximum",
    0x22 TopicAliasMaximum(u16) "topic alias maximum",
    0x23 TopicAlias(Alias) "topic alias",
    0x24 MaximumQos(MaximumQos) "maximum QoS",
    0x25 RetainAvailable(bool) "retain available",
    0x26 User(Pair<'a>) "user property",
    0x27 MaximumPacketSize(NonZeroU32) "maximum packet size",
    0x28 WildcardAvailable(bool) "wildcard subscription available",
    0x29 SubscriptionIdsAvailable(bool) "subscription identifier available",
    0x2A SharedAvailable(bool) "shared subscription available",
}

/// A set of property identifiers. All are below 64, so it is a word.
#[derive(Clone, Copy)]
pub(crate) struct Set(u64);

impl Set {
    pub(crate) const fn of(ids: &[u8]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < ids.len() {
            bits |= 1 << ids[i];
            i += 1;
        }
        Self(bits)
    }

    const fn has(self, id: u32) -> bool {
        id < 64 && self.0 >> id & 1 == 1
    }
}

/// Where a property block stands, and what it may hold.
pub(crate) struct Place {
    /// The packet, or "the will", for errors.
    pub(crate) name: &'static str,
    /// The properties that may stand there.
    pub(crate) allowed: Set,
    /// Those of them that may stand more than once.
    pub(crate) repeated: Set,
}

impl Place {
    /// A place where only the user property may stand more than once.
    pub(crate) const fn new(name: &'static str, allowed: &[u8]) -> Self {
        Self { name, allowed: Set::of(allowed), repeated: Set::of(&[id::User]) }
    }
}

/// Reads a whole property block: every property is known, allowed here, in range and, if it has to be, alone. Gives each
/// to `take`; returns the user properties.
#[inline]
pub(crate) fn read_block<'a>(
    block: &'a [u8],
    place: &Place,
    mut take: impl FnMut(Property<'a>),
) -> Result<UserProperties<'a>, Error> {
    // Nearly every packet has none.
    if block.is_empty() {
        return Ok(UserProperties::EMPTY);
    }
    let mut reader = Reader::new(block);
    let mut seen = Set(0);
    while !reader.is_empty() {
        let id = reader.varint("property identifier")?;
        let property = name(id).ok_or(Error::UnknownProperty(id))?;
        if !place.allowed.has(id) {
            return Err(Error::PropertyNotAllowed { property, place: place.name });
        }
        if seen.has(id) && !place.repeated.has(id) {
            return Err(Error::DuplicateProperty { property });
        }
        seen = Set(seen.0 | 1 << id);
        take(Property::read(id, &mut reader)?);
    }
    Ok(if seen.has(u32::from(id::User)) { UserProperties::from_block(block) } else { UserProperties::EMPTY })
}

/// Walks a block that [`read_block`] has checked.
#[derive(Clone)]
struct Walk<'a>(&'a [u8]);

impl<'a> Iterator for Walk<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let mut reader = Reader::new(self.0);
        let id = reader.varint("property identifier").ok()?;
        let property = Property::read(id, &mut reader).ok()?;
        self.0 = reader.rest();
        Some(property)
    }
}

/// Writes a property that is there.
pub(crate) fn write_some(sink: &mut impl Sink, property: Option<Property<'_>>) -> Result<(), EncodeError> {
    property.map_or(Ok(()), |property| property.write(sink))
}
