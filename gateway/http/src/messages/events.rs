//! Server-sent events (the HTML standard, "Server-sent events"), and the identifiers by which they are acknowledged.

use bytes::Bytes;
use portcullis_mqtt::Publish;
use serde_json::Value;

use super::properties::document;
use super::seams::SessionMark;

/// Packet identifiers go round after so many messages: 0 is none.
const ROUND: u64 = 65_535;
/// How much further a session may have come, by messages that were given a number and never sent, since it was asked.
const MARGIN: u64 = 5_000;

/// One event. `data` is JSON, which has no line ends.
pub(super) fn event(kind: &str, id: Option<EventId>, data: &Value) -> Bytes {
    let id = id.map(|id| format!("id: {}\n", id.text())).unwrap_or_default();
    format!("{id}event: {kind}\ndata: {data}\n\n").into()
}

/// A message.
pub(super) fn message(publish: &Publish<'_>, id: Option<EventId>) -> Bytes {
    let properties = &publish.properties;
    let mut data = document(publish.topic, publish.payload, properties, properties.message_expiry);
    data.insert("qos".to_owned(), (publish.qos as u8).into());
    data.insert("retain".to_owned(), publish.retain.into());
    event("message", id, &Value::Object(data))
}

/// Says that the stream lives, to proxies and to whoever waits for a dead one.
pub(super) fn heart_beat() -> Bytes {
    Bytes::from_static(b":\n\n")
}

/// How long the client is to wait before it comes again, in milliseconds.
pub(super) fn retry(ms: u32) -> Bytes {
    format!("retry: {ms}\n\n").into()
}

/// What an event is known by: a message of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId {
    /// [`SessionMark::number`].
    pub session: u64,
    /// The message's number in it.
    pub sequence: u64,
}

impl EventId {
    fn text(self) -> String {
        format!("{}-{}", self.session, self.sequence)
    }

    /// Reads what [`Self::text`] wrote. None: it is none of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (session, sequence) = text.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
        if !digits(session) || !digits(sequence) {
            return None;
        }
        Some(Self { session: session.parse().ok()?, sequence: sequence.parse().ok()? })
    }
}

/// Finds the number of each message of a session by its packet identifier.
///
/// Numbers grow from message to message, and the identifier says a number up to multiples of 65,535. So what has to be
/// known is where the session is: not more than that many messages behind what it has given out. Were it further behind,
/// the numbers would be too high, and what was acknowledged would come again; never would anything be lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    session: u64,
    /// No message that comes has a higher number than this plus a round.
    floor: u64,
}

impl Numbers {
    /// For the messages of a session that has come as far as `mark`.
    pub(super) fn after(mark: SessionMark) -> Self {
        Self { session: mark.number, floor: (mark.sequence + MARGIN).saturating_sub(ROUND) }
    }

    /// The identifier of the next message.
    pub(super) fn next(&mut self, packet_id: u16) -> EventId {
        // The lowest number above the floor that goes by this packet identifier.
        let of_floor = self.floor % ROUND;
        let ahead = (u64::from(packet_id) + ROUND - of_floor) % ROUND;
        let sequence = self.floor + if ahead == 0 { ROUND } else { ahead };
        self.floor = sequence;
        EventId { session: self.session, sequence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet_id(sequence: u64) -> u16 {
        ((sequence - 1) % ROUND + 1) as u16
    }

    #[test]
    fn no_payload_ends_an_event_or_begins_another() {
        let data = Value::from("a\r\n\ndata: b\nid: 1\u{2028}");
        let text = event("message", None, &data);
        assert_eq!(text.iter().filter(|octet| **octet == b'\n').count(), 3, "{text:?}");
        assert!(!text.contains(&b'\r'));
    }

    #[test]
    fn an_identifier_of_somebody_else_is_none() {
        for bad in ["", "-", "1-", "-1", "1", "+1-1", "1-1-1", "x-1", "1-99999999999999999999999"] {
            assert_eq!(EventId::parse(bad), None, "{bad}");
        }
        let id = EventId { session: 7, sequence: 70_000 };
        assert_eq!(EventId::parse(&id.text()), Some(id));
    }

    proptest! {
        /// Whatever waits when a client comes back, and whatever is published from then on.
        #[test]
        fn every_message_has_its_number(
            last in 0_u64..1_000_000,
            waiting in 0_u64..60_000,
            steps in prop::collection::vec(1_u64..50, 1..50),
        ) {
            let mut numbers = Numbers::after(SessionMark { number: 3, sequence: last });
            let mut sequence = last - waiting.min(last);
            for step in steps {
                sequence += step;
                prop_assert_eq!(numbers.next(packet_id(sequence)), EventId { session: 3, sequence });
            }
        }

        #[test]
        fn any_identifier_is_survived(text in any::<String>()) {
            let _ = EventId::parse(&text);
        }
    }
}
