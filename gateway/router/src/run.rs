//! Consecutive PUBLISH packets that differ in nothing but packet identifier and payload.

use portcullis_mqtt::QoS;

use crate::encode::Wire;

/// Where the parts of one PUBLISH lie, as offsets into [`Run::bytes`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameMark {
    /// The first octet of its fixed header.
    pub start: u32,
    /// Its packet identifier; 0 when it has none.
    pub id: u32,
    /// The first octet of its payload.
    pub payload: u32,
    /// One past its last octet.
    pub end: u32,
}

/// A run: one route look-up, one permission check, and per subscriber one lock and one copy for all its packets.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The form of `bytes`.
    pub wire: Wire,
    /// The packets, back to back, as received.
    pub bytes: &'a [u8],
    /// One entry a packet; never empty.
    pub frames: &'a [FrameMark],
    /// The topic of all of them.
    pub topic: &'a str,
    /// As published.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// Whether `bytes` may be given to a subscriber of the same [`Wire`] as they are: no topic alias, no DUP, RETAIN
    /// clear.
    pub verbatim: bool,
    /// Encoded properties to forward, without message expiry.
    pub forward: &'a [u8],
    /// Message expiry interval in seconds.
    pub expiry: Option<u32>,
    /// Mailbox number of the publisher; 0: none.
    pub origin: u64,
}

impl<'a> Run<'a> {
    /// The payload of packet `index`; empty when there is no such packet.
    #[must_use]
    pub fn payload(&self, index: usize) -> &'a [u8] {
        let Some(mark) = self.frames.get(index) else { return &[] };
        self.bytes.get(mark.payload as usize..mark.end as usize).unwrap_or_default()
    }

    /// Octets of its packets, as received.
    pub(crate) fn size(&self) -> usize {
        let (first, last) = (self.frames.first(), self.frames.last());
        last.map_or(0, |f| f.end as usize) - first.map_or(0, |f| f.start as usize)
    }

    /// The run with some of its packets alone; their marks still point into the same `bytes`.
    pub(crate) fn part(&self, packets: std::ops::Range<usize>) -> Self {
        Self { frames: self.frames.get(packets).unwrap_or_default(), ..*self }
    }
}
