//! The types of property values: their form on the wire and their range.

use std::num::{NonZeroU16, NonZeroU32};

use crate::write::Sink;
use crate::{EncodeError, Error, MAX_REMAINING_LENGTH, QoS, read::Reader, utf8};

/// A type that a property's value has. `what` is the property's name.
pub(super) trait Value<'a>: Sized {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error>;
    fn write(&self, sink: &mut impl Sink, what: &'static str) -> Result<(), EncodeError>;
}

/// One octet, 0 or 1; anything else is a protocol error.
impl<'a> Value<'a> for bool {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        match reader.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(Error::PropertyValue { property: what, value: value.into() }),
        }
    }

    fn write(&self, sink: &mut impl Sink, _: &'static str) -> Result<(), EncodeError> {
        sink.byte(u8::from(*self));
        Ok(())
    }
}

impl<'a> Value<'a> for u16 {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        reader.u16(what)
    }

    fn write(&self, sink: &mut impl Sink, _: &'static str) -> Result<(), EncodeError> {
        sink.u16(*self);
        Ok(())
    }
}

impl<'a> Value<'a> for u32 {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        reader.u32(what)
    }

    fn write(&self, sink: &mut impl Sink, _: &'static str) -> Result<(), EncodeError> {
        sink.u32(*self);
        Ok(())
    }
}

impl<'a> Value<'a> for NonZeroU16 {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        Self::new(reader.u16(what)?).ok_or(Error::PropertyValue { property: what, value: 0 })
    }

    fn write(&self, sink: &mut impl Sink, _: &'static str) -> Result<(), EncodeError> {
        sink.u16(self.get());
        Ok(())
    }
}

impl<'a> Value<'a> for NonZeroU32 {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        Self::new(reader.u32(what)?).ok_or(Error::PropertyValue { property: what, value: 0 })
    }

    fn write(&self, sink: &mut impl Sink, _: &'static str) -> Result<(), EncodeError> {
        sink.u32(self.get());
        Ok(())
    }
}

impl<'a> Value<'a> for &'a str {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        reader.string(what)
    }

    fn write(&self, sink: &mut impl Sink, what: &'static str) -> Result<(), EncodeError> {
        sink.string(self, what)
    }
}

impl<'a> Value<'a> for &'a [u8] {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        reader.bin(what)
    }

    fn write(&self, sink: &mut impl Sink, what: &'static str) -> Result<(), EncodeError> {
        sink.bin(self, what)
    }
}

/// A topic name that stands in a property: not empty, no wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a>(pub(crate) &'a str);

impl<'a> Value<'a> for Name<'a> {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        match reader.topic_name(what)? {
            "" => Err(Error::EmptyTopicName { what }),
            name => Ok(Self(name)),
        }
    }

    fn write(&self, sink: &mut impl Sink, what: &'static str) -> Result<(), EncodeError> {
        write_topic_name(sink, self.0, what)
    }
}

/// Writes a topic name that must not be empty.
pub(crate) fn write_topic_name(sink: &mut impl Sink, name: &str, what: &'static str) -> Result<(), EncodeError> {
    if name.is_empty() {
        return Err(Error::EmptyTopicName { what }.into());
    }
    utf8::check_topic_name(name.as_bytes(), what)?;
    sink.bin(name.as_bytes(), what)
}

/// A topic alias. Zero has an error of its own, since it has a reason code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alias(pub(crate) NonZeroU16);

impl<'a> Value<'a> for Alias {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        NonZeroU16::new(reader.u16(what)?).map(Self).ok_or(Error::ZeroTopicAlias)
    }

    fn write(&self, sink: &mut impl Sink, _: &'static str) -> Result<(), EncodeError> {
        sink.u16(self.0.get());
        Ok(())
    }
}

/// A subscription identifier: a variable byte integer, not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VarId(pub(crate) u32);

impl<'a> Value<'a> for VarId {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        match reader.varint(what)? {
            0 => Err(Error::PropertyValue { property: what, value: 0 }),
            id => Ok(Self(id)),
        }
    }

    fn write(&self, sink: &mut impl Sink, what: &'static str) -> Result<(), EncodeError> {
        if self.0 == 0 || self.0 > MAX_REMAINING_LENGTH {
            return Err(Error::PropertyValue { property: what, value: self.0 }.into());
        }
        sink.varint(self.0);
        Ok(())
    }
}

/// The highest QoS of a server that has not all of them: 0 or 1. A server with QoS 2 leaves the property out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaximumQos(pub(crate) QoS);

impl<'a> Value<'a> for MaximumQos {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        match reader.byte(what)? {
            0 => Ok(Self(QoS::AtMostOnce)),
            1 => Ok(Self(QoS::AtLeastOnce)),
            value => Err(Error::PropertyValue { property: what, value: value.into() }),
        }
    }

    fn write(&self, sink: &mut impl Sink, _: &'static str) -> Result<(), EncodeError> {
        sink.byte(self.0 as u8);
        Ok(())
    }
}

/// The name and the value of a user property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair<'a>(pub(crate) &'a str, pub(crate) &'a str);

impl<'a> Value<'a> for Pair<'a> {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, Error> {
        Ok(Self(reader.string(what)?, reader.string(what)?))
    }

    fn write(&self, sink: &mut impl Sink, what: &'static str) -> Result<(), EncodeError> {
        sink.string(self.0, what)?;
        sink.string(self.1, what)
    }
}
