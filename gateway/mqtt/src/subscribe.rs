//! SUBSCRIBE (MQTT 5 §3.8): topic filters with options.
//!
//! A filter with a misplaced wildcard is not a decoding error, since the server answers each filter on its own:
//! [`SubscribeFilter::valid_filter`] tells.

use crate::property::{self, Place, Property, UserProperties, VarId, id, write_some};
use crate::read::Reader;
use crate::write::{Content, Sink};
use crate::{EncodeError, Error, PacketId, PacketType, ProtocolVersion, QoS, SharedFilter, TopicError, topic};

static SUBSCRIBE: Place = Place::new("SUBSCRIBE", &[id::SubscriptionId, id::User]);

const OPTIONS: &str = "subscription options";

/// A SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// What the SUBACK has to repeat.
    pub packet_id: PacketId,
    /// The identifier that messages of these subscriptions carry, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// The user properties.
    pub user: UserProperties<'a>,
    /// At least one filter with its options.
    pub filters: SubscribeFilters<'a>,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// Not empty; whether it is a topic filter is for [`Self::valid_filter`] to say.
    pub filter: &'a str,
    /// How the client wants the messages.
    pub options: SubscribeOptions,
}

impl SubscribeFilter<'_> {
    /// Whether the filter is one: wildcards in their places, and all of `$share/<name>/<filter>` there.
    pub fn valid_filter(&self) -> Result<(), TopicError> {
        topic::valid_topic_filter(self.filter)?;
        SharedFilter::parse(self.filter).map(|_| ())
    }
}

/// The options of a subscription (MQTT 5 §3.8.3.1). Before MQTT 5 there is only the quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// The highest quality of service that the client wants.
    pub qos: QoS,
    /// Do not send me what I published; never on a shared subscription.
    pub no_local: bool,
    /// Leave the retain flag as the publisher set it.
    pub retain_as_published: bool,
    /// When to send what is retained.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    Send = 0,
    /// Only when the subscription did not exist yet.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl SubscribeOptions {
    /// The options of a quality of service and nothing else.
    pub const fn new(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    /// Reads the options octet. Reserved bits, QoS 3 and retain handling 3 are errors.
    pub fn from_u8(version: ProtocolVersion, octet: u8) -> Result<Self, Error> {
        let reserved = if version.is_v5() { 0xC0 } else { 0xFC };
        if octet & reserved != 0 {
            return Err(Error::ReservedBits { what: OPTIONS, value: octet });
        }
        let qos = QoS::from_u8(octet & 3).ok_or(Error::InvalidQos { what: "requested QoS" })?;
        let retain_handling = match octet >> 4 & 3 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Error::InvalidRetainHandling),
        };
        Ok(Self { qos, no_local: octet & 4 != 0, retain_as_published: octet & 8 != 0, retain_handling })
    }

    /// The options octet; before MQTT 5 the quality of service alone.
    pub const fn to_u8(self, version: ProtocolVersion) -> u8 {
        if !version.is_v5() {
            return self.qos as u8;
        }
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }
}

/// The filters of a SUBSCRIBE, in order: a view of a packet, or of a list that someone holds.
#[derive(Clone, Copy)]
pub struct SubscribeFilters<'a>(Filters<'a>);

#[derive(Clone, Copy)]
enum Filters<'a> {
    /// Checked, so that iteration cannot fail.
    Received(&'a [u8]),
    List(&'a [SubscribeFilter<'a>]),
}

impl<'a> SubscribeFilters<'a> {
    /// These filters. Writing refuses an empty list, empty filters, and no-local on a shared one.
    pub const fn from_slice(filters: &'a [SubscribeFilter<'a>]) -> Self {
        Self(Filters::List(filters))
    }

    fn read(version: ProtocolVersion, payload: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(payload);
        if reader.is_empty() {
            return Err(Error::EmptyPayload(PacketType::Subscribe));
        }
        while !reader.is_empty() {
            let filter = read_filter(&mut reader)?;
            let options = SubscribeOptions::from_u8(version, reader.byte(OPTIONS)?)?;
            check(SubscribeFilter { filter, options })?;
        }
        Ok(Self(Filters::Received(payload)))
    }

    /// The filters, in order.
    pub fn iter(&self) -> impl Iterator<Item = SubscribeFilter<'a>> + Clone + use<'a> {
        let (received, list): (&[u8], &[_]) = match self.0 {
            Filters::Received(payload) => (payload, &[]),
            Filters::List(list) => (&[], list),
        };
        let mut rest = received;
        let received = std::iter::from_fn(move || {
            let mut reader = Reader::new(rest);
            let filter = reader.string("topic filter").ok()?;
            // MQTT 5's reading is right for all: older options were checked to have no other bits.
            let options = SubscribeOptions::from_u8(ProtocolVersion::V5, reader.byte(OPTIONS).ok()?).ok()?;
            rest = reader.rest();
            Some(SubscribeFilter { filter, options })
        });
        received.chain(list.iter().copied())
    }
}

/// Reads a filter of SUBSCRIBE or UNSUBSCRIBE.
pub(crate) fn read_filter<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Error> {
    match reader.string("topic filter")? {
        "" => Err(Error::EmptyTopicFilter),
        filter => Ok(filter),
    }
}

fn check(filter: SubscribeFilter<'_>) -> Result<(), Error> {
    if filter.filter.is_empty() {
        return Err(Error::EmptyTopicFilter);
    }
    if filter.options.no_local && filter.filter.starts_with(SharedFilter::PREFIX) {
        return Err(Error::NoLocalOnSharedSubscription);
    }
    Ok(())
}

impl PartialEq for SubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscribeFilters<'_> {}

impl std::fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Subscribe<'a> {
    pub(crate) fn read(version: ProtocolVersion, body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let (mut subscription_id, mut user) = (None, UserProperties::EMPTY);
        if version.is_v5() {
            user = property::read_block(reader.block()?, &SUBSCRIBE, |property| {
                if let Property::SubscriptionId(VarId(id)) = property {
                    subscription_id = Some(id);
                }
            })?;
        }
        let filters = SubscribeFilters::read(version, reader.rest())?;
        Ok(Self { packet_id, subscription_id, user, filters })
    }

    pub(crate) const fn body(&self, version: ProtocolVersion) -> impl Content {
        SubscribeBody(self, version)
    }
}

struct SubscribeBody<'a>(&'a Subscribe<'a>, ProtocolVersion);

impl Content for SubscribeBody<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let Self(subscribe, version) = self;
        sink.u16(subscribe.packet_id.get());
        if version.is_v5() {
            sink.block(&SubscribeProperties(subscribe.subscription_id, subscribe.user))?;
        }
        if subscribe.filters.iter().next().is_none() {
            return Err(Error::EmptyPayload(PacketType::Subscribe).into());
        }
        for filter in subscribe.filters.iter() {
            check(filter)?;
            sink.string(filter.filter, "topic filter")?;
            sink.byte(filter.options.to_u8(*version));
        }
        Ok(())
    }
}

struct SubscribeProperties<'a>(Option<u32>, UserProperties<'a>);

impl Content for SubscribeProperties<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        write_some(sink, self.0.map(VarId).map(Property::SubscriptionId))?;
        self.1.write(sink)
    }
}
