//! UNSUBSCRIBE (MQTT 5 §3.10): topic filters.

use crate::property::{self, Place, UserProperties, id};
use crate::read::Reader;
use crate::subscribe::read_filter;
use crate::write::{Content, Sink};
use crate::{EncodeError, Error, PacketId, PacketType, ProtocolVersion};

static PLACE: Place = Place::new("UNSUBSCRIBE", &[id::User]);

/// An UNSUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// What the UNSUBACK has to repeat.
    pub packet_id: PacketId,
    /// The user properties.
    pub user: UserProperties<'a>,
    /// At least one filter.
    pub filters: UnsubscribeFilters<'a>,
}

/// The filters of an UNSUBSCRIBE, in order. None is empty; whether each is a topic filter does not matter, since one
/// that is not was never subscribed to.
#[derive(Clone, Copy)]
pub struct UnsubscribeFilters<'a>(Names<'a>);

#[derive(Clone, Copy)]
enum Names<'a> {
    Received(&'a [u8]),
    List(&'a [&'a str]),
}

impl<'a> UnsubscribeFilters<'a> {
    /// These filters. Writing refuses an empty list and empty filters.
    pub const fn from_slice(filters: &'a [&'a str]) -> Self {
        Self(Names::List(filters))
    }

    /// The filters, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let (received, list): (&[u8], &[_]) = match self.0 {
            Names::Received(payload) => (payload, &[]),
            Names::List(list) => (&[], list),
        };
        let mut rest = received;
        let received = std::iter::from_fn(move || {
            let mut reader = Reader::new(rest);
            let filter = reader.string("topic filter").ok()?;
            rest = reader.rest();
            Some(filter)
        });
        received.chain(list.iter().copied())
    }
}

impl PartialEq for UnsubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UnsubscribeFilters<'_> {}

impl std::fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Unsubscribe<'a> {
    pub(crate) fn read(version: ProtocolVersion, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let user = match version.is_v5() {
            true => property::read_block(reader.block()?, &PLACE, |_| {})?,
            false => UserProperties::EMPTY,
        };
        let payload = reader.rest();
        let mut reader = Reader::new(payload);
        if reader.is_empty() {
            return Err(Error::EmptyPayload(PacketType::Unsubscribe));
        }
        while !reader.is_empty() {
            read_filter(&mut reader)?;
        }
        Ok(Self { packet_id, user, filters: UnsubscribeFilters(Names::Received(payload)) })
    }

    pub(crate) const fn body(&self, version: ProtocolVersion) -> impl Content {
        Body(self, version)
    }
}

struct Body<'a>(&'a Unsubscribe<'a>, ProtocolVersion);

impl Content for Body<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let Self(unsubscribe, version) = self;
        sink.u16(unsubscribe.packet_id.get());
        if version.is_v5() {
            sink.block(&Properties(unsubscribe.user))?;
        }
        if unsubscribe.filters.iter().next().is_none() {
            return Err(Error::EmptyPayload(PacketType::Unsubscribe).into());
        }
        for filter in unsubscribe.filters.iter() {
            if filter.is_empty() {
                return Err(Error::EmptyTopicFilter.into());
            }
            sink.string(filter, "topic filter")?;
        }
        Ok(())
    }
}

struct Properties<'a>(UserProperties<'a>);

impl Content for Properties<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        self.0.write(sink)
    }
}
