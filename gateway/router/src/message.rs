//! A message that outlives the read that brought it: queued, in flight, retained, or a will.

use portcullis_mqtt::QoS;

use crate::now_ms;
use crate::run::Run;

/// An application message with everything that is forwarded. One allocation for its bytes, whatever it holds.
#[derive(Debug)]
pub struct Message {
    /// Topic, forwarded properties and payload, back to back.
    data: Box<[u8]>,
    topic_end: u32,
    properties_end: u32,
    /// As published.
    pub qos: QoS,
    /// The RETAIN flag as published.
    pub retain: bool,
    /// When it ends, in [`now_ms`]; none: never (MQTT 5 §3.3.2.3.3).
    pub expires_at: Option<u64>,
    /// Seconds that it will live once published; only of wills.
    lifetime: Option<u32>,
    /// The mailbox number of the session that published it, for no-local. 0: none.
    pub origin: u64,
}

impl Message {
    /// Copies the parts. `forward` is the encoded MQTT 5 properties that go on unchanged: payload format, content type,
    /// response topic, correlation data, user properties. `expiry` is in seconds from now.
    #[must_use]
    pub fn new(
        topic: &str,
        forward: &[u8],
        payload: &[u8],
        qos: QoS,
        retain: bool,
        expiry: Option<u32>,
        origin: u64,
    ) -> Self {
        let mut data = Vec::with_capacity(topic.len() + forward.len() + payload.len());
        data.extend_from_slice(topic.as_bytes());
        data.extend_from_slice(forward);
        data.extend_from_slice(payload);
        Self {
            data: data.into(),
            topic_end: topic.len() as u32,
            properties_end: (topic.len() + forward.len()) as u32,
            qos,
            retain,
            expires_at: expiry.map(|s| now_ms() + u64::from(s) * 1000),
            lifetime: None,
            origin,
        }
    }

    /// The same message with a life of `seconds` that begins when it is published rather than now: a will.
    #[must_use]
    pub fn with_lifetime(mut self, seconds: Option<u32>) -> Self {
        self.lifetime = seconds;
        self
    }

    /// Seconds that it will live once published; only of wills.
    #[must_use]
    pub fn lifetime(&self) -> Option<u32> {
        self.lifetime
    }

    /// The message as it is published now: its life begins.
    #[must_use]
    pub fn begin(&self) -> Self {
        Self {
            data: self.data.clone(),
            expires_at: self.lifetime.map(|s| now_ms() + u64::from(s) * 1000),
            lifetime: None,
            ..*self
        }
    }

    /// The topic name.
    #[must_use]
    pub fn topic(&self) -> &str {
        // Built from a str and cut at its end; checked rather than assumed, at the price of a scan on a cold path.
        std::str::from_utf8(&self.data[..self.topic_end as usize]).unwrap_or_default()
    }

    /// Encoded properties that are forwarded.
    #[must_use]
    pub fn forward(&self) -> &[u8] {
        &self.data[self.topic_end as usize..self.properties_end as usize]
    }

    /// The application's payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.data[self.properties_end as usize..]
    }

    /// Octets that it counts against queue limits.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len()
    }

    /// Seconds of life left at `now`, at least 1; `Err` when it has expired.
    pub(crate) fn remaining(&self, now: u64) -> Result<Option<u32>, Expired> {
        match self.expires_at {
            None => Ok(None),
            Some(at) if at <= now => Err(Expired),
            Some(at) => Ok(Some((at - now).div_ceil(1000) as u32)),
        }
    }

    /// Whether its life is over at `now` ([`now_ms`]).
    #[must_use]
    pub fn expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Seconds of life left at `now`, as MQTT 5 §3.3.2.3.3 wants them forwarded. None: it does not expire.
    #[must_use]
    pub fn remaining_seconds(&self, now: u64) -> Option<u32> {
        self.remaining(now).ok().flatten()
    }

    pub(crate) fn of_run(run: &Run<'_>, index: usize) -> Self {
        Self::new(run.topic, run.forward, run.payload(index), run.qos, run.retain, run.expiry, run.origin)
    }
}

/// A message whose expiry interval has passed.
pub(crate) struct Expired;
