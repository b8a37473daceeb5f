//! How sessions and messages are written: little-endian, strings with their length in front.
//!
//! A row that cannot be read is an error with a word for what is wrong; it never becomes something else.

use std::sync::Arc;

use portcullis_mqtt::QoS;
use portcullis_router::{Message, Queued, now_ms, unix_ms};
use smallvec::SmallVec;

use crate::registry::Owner;
use crate::state::Held;

const RELEASED: u8 = 0xFF;
const WITHDRAWN: u8 = 0xFE;

const RETAIN: u8 = 4;
const HAS_EXPIRY: u8 = 8;
const NO_LOCAL: u8 = 4;
const RETAIN_AS_PUBLISHED: u8 = 8;
const HAS_ID: u8 = 16;

/// Why a row is not understood.
pub(crate) type Broken = &'static str;

/// What is stored of a session itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    pub number: u64,
    /// Seconds.
    pub expiry: u32,
    /// Seconds since 1970 when its connection ended; 0: it had one.
    pub left_at: u64,
    pub owner: Owner,
}

/// What is stored of a will.
pub(crate) struct WillRecord {
    /// Seconds.
    pub delay: u32,
    /// Seconds that it lives once published.
    pub lifetime: Option<u32>,
    pub message: Message,
}

/// A row of the queue.
pub(crate) enum QueueRow {
    Message(Queued),
    Released,
    Withdrawn,
}

/// Milliseconds since 1970 minus [`now_ms`]: clocks of memory and of the file.
fn epoch() -> u64 {
    unix_ms().saturating_sub(now_ms())
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, n: u8) {
        self.0.push(n);
    }
    fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }
    fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
    }
    fn option(&mut self, text: Option<&str>) {
        self.u8(u8::from(text.is_some()));
        if let Some(text) = text {
            self.bytes(text.as_bytes());
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("it ends early")?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        self.take(N)?.try_into().map_err(|_| "it ends early")
    }
    fn u8(&mut self) -> Result<u8, Broken> {
        Ok(self.array::<1>()?[0])
    }
    fn u32(&mut self) -> Result<u32, Broken> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    fn u64(&mut self) -> Result<u64, Broken> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let n = self.u32()? as usize;
        self.take(n)
    }
    fn text(&mut self) -> Result<&'a str, Broken> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text in it is not UTF-8")
    }
    fn option(&mut self) -> Result<Option<&'a str>, Broken> {
        Ok(if self.u8()? == 0 { None } else { Some(self.text()?) })
    }
}

impl SessionRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.number);
        w.u32(self.expiry);
        w.u64(self.left_at);
        w.option(self.owner.tenant());
        w.bytes(self.owner.subject().as_bytes());
        w.option(self.owner.acting_for());
        w.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Broken> {
        let mut r = Reader(bytes);
        Ok(Self {
            number: r.u64()?,
            expiry: r.u32()?,
            left_at: r.u64()?,
            owner: Owner::new(r.option()?, r.text()?, r.option()?),
        })
    }
}

pub(crate) fn encode_subscription(held: &Held) -> Vec<u8> {
    let mut w = Writer::default();
    let mut flags = held.requested as u8;
    flags |= if held.no_local { NO_LOCAL } else { 0 };
    flags |= if held.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
    flags |= if held.id.is_some() { HAS_ID } else { 0 };
    w.u8(flags);
    w.u8(held.granted as u8);
    if let Some(id) = held.id {
        w.u32(id);
    }
    w.0
}

pub(crate) fn decode_subscription(bytes: &[u8]) -> Result<Held, Broken> {
    let mut r = Reader(bytes);
    let flags = r.u8()?;
    let granted = qos(r.u8()?)?;
    let id = if flags & HAS_ID == 0 { None } else { Some(r.u32()?) };
    Ok(Held {
        requested: qos(flags & 3)?,
        granted,
        no_local: flags & NO_LOCAL != 0,
        retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
        id,
    })
}

fn qos(n: u8) -> Result<QoS, Broken> {
    QoS::from_u8(n).ok_or("a quality of service is 3 or more")
}

fn write_message(w: &mut Writer, m: &Message) {
    let mut flags = m.qos as u8;
    flags |= if m.retain { RETAIN } else { 0 };
    flags |= if m.expires_at.is_some() { HAS_EXPIRY } else { 0 };
    w.u8(flags);
    if let Some(at) = m.expires_at {
        w.u64(at + epoch());
    }
    w.bytes(m.topic().as_bytes());
    w.bytes(m.forward());
    w.bytes(m.payload());
}

fn read_message(r: &mut Reader<'_>) -> Result<Message, Broken> {
    let flags = r.u8()?;
    let expires = if flags & HAS_EXPIRY == 0 { None } else { Some(r.u64()?.saturating_sub(epoch())) };
    let (topic, forward, payload) = (r.text()?, r.bytes()?, r.bytes()?);
    let mut message = Message::new(topic, forward, payload, qos(flags & 3)?, flags & RETAIN != 0, None, 0);
    message.expires_at = expires;
    Ok(message)
}

/// A retained message, and the name of whoever holds it.
pub(crate) fn encode_retained(message: &Message, holder: Option<&str>) -> Vec<u8> {
    let mut w = Writer::default();
    write_message(&mut w, message);
    w.option(holder);
    w.0
}

pub(crate) fn decode_retained(bytes: &[u8]) -> Result<(Message, Option<String>), Broken> {
    let mut r = Reader(bytes);
    let message = read_message(&mut r)?;
    // Rows of gateways that did not know holders end here.
    let holder = if r.0.is_empty() { None } else { r.option()? };
    Ok((message, holder.map(str::to_owned)))
}

pub(super) fn encode_queued(queued: &Queued) -> Vec<u8> {
    let mut w = Writer::default();
    w.u8(queued.qos as u8 | if queued.retain { RETAIN } else { 0 });
    w.u8(queued.ids.len().min(255) as u8);
    for id in queued.ids.iter().take(255) {
        w.u32(*id);
    }
    write_message(&mut w, &queued.message);
    w.0
}

/// A QoS 2 message whose PUBREC came.
pub(super) fn encode_released() -> Vec<u8> {
    vec![RELEASED]
}

/// A message that a client may have, in place of the message.
pub(super) fn encode_withdrawn() -> Vec<u8> {
    vec![WITHDRAWN]
}

pub(crate) fn decode_queued(bytes: &[u8], sequence: u64) -> Result<QueueRow, Broken> {
    let mut r = Reader(bytes);
    let flags = r.u8()?;
    match flags {
        RELEASED => return Ok(QueueRow::Released),
        WITHDRAWN => return Ok(QueueRow::Withdrawn),
        _ => {}
    }
    let mut ids = SmallVec::new();
    for _ in 0..r.u8()? {
        ids.push(r.u32()?);
    }
    let message = Arc::new(read_message(&mut r)?);
    // It may have been sent already; nobody can tell.
    Ok(QueueRow::Message(Queued {
        message,
        sequence,
        qos: qos(flags & 3)?,
        retain: flags & RETAIN != 0,
        dup: true,
        ids,
    }))
}

impl WillRecord {
    pub(crate) fn encode(message: &Message, delay: u32) -> Vec<u8> {
        let mut w = Writer::default();
        w.u32(delay);
        w.u8(u8::from(message.lifetime().is_some()));
        w.u32(message.lifetime().unwrap_or(0));
        write_message(&mut w, message);
        w.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Broken> {
        let mut r = Reader(bytes);
        let delay = r.u32()?;
        let limited = r.u8()? != 0;
        let seconds = r.u32()?;
        Ok(Self { delay, lifetime: limited.then_some(seconds), message: read_message(&mut r)? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = Message> {
        (
            "[a-c/]{1,8}",
            prop::collection::vec(any::<u8>(), 0..20),
            prop::collection::vec(any::<u8>(), 0..50),
            0..3u8,
            any::<bool>(),
            prop::option::of(1..1000u32),
        )
            .prop_map(|(t, f, p, q, r, e)| Message::new(&t, &f, &p, QoS::from_u8(q).unwrap(), r, e, 0))
    }

    fn same(a: &Message, b: &Message) -> bool {
        let near = match (a.expires_at, b.expires_at) {
            (None, None) => true,
            (Some(a), Some(b)) => a.abs_diff(b) < 1000,
            _ => false,
        };
        (a.topic(), a.forward(), a.payload(), a.qos, a.retain) == (b.topic(), b.forward(), b.payload(), b.qos, b.retain)
            && near
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(m in message(), sequence in 1..1000u64, q in 0..3u8, ids in prop::collection::vec(any::<u32>(), 0..4), delay in any::<u32>()) {
            let of = decode_retained(&encode_retained(&m, Some("4:home1:x-"))).unwrap();
            prop_assert!(same(&of.0, &m) && of.1.as_deref() == Some("4:home1:x-"));
            // As it was written before there were holders.
            let mut old = encode_retained(&m, None);
            old.pop();
            let of = decode_retained(&old).unwrap();
            prop_assert!(same(&of.0, &m) && of.1.is_none());
            let will = WillRecord::decode(&WillRecord::encode(&m, delay)).unwrap();
            prop_assert!(will.delay == delay && same(&will.message, &m));
            let queued = Queued { message: Arc::new(m), sequence, qos: QoS::from_u8(q).unwrap(), retain: true, dup: false, ids: ids.into() };
            let QueueRow::Message(read) = decode_queued(&encode_queued(&queued), sequence).unwrap() else { panic!("released") };
            prop_assert!(same(&read.message, &queued.message));
            prop_assert_eq!((read.sequence, read.qos, read.retain, read.ids), (queued.sequence, queued.qos, queued.retain, queued.ids));
        }

        #[test]
        fn garbage_is_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode_retained(&bytes);
            let _ = decode_queued(&bytes, 1);
            let _ = decode_subscription(&bytes);
            let _ = SessionRecord::decode(&bytes);
            let _ = WillRecord::decode(&bytes);
        }
    }

    #[test]
    fn sessions_and_subscriptions_come_back_as_they_were() {
        let owner = Owner::new(Some("t"), "s", None);
        let record = SessionRecord { number: 7, expiry: u32::MAX, left_at: 9, owner };
        assert_eq!(SessionRecord::decode(&record.encode()).unwrap(), record);
        let held = Held {
            requested: QoS::ExactlyOnce,
            granted: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: false,
            id: Some(5),
        };
        assert_eq!(decode_subscription(&encode_subscription(&held)).unwrap(), held);
    }
}
