//! A client with a mailbox, the socket that the test plays, and messages for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use portcullis_mqtt::{Packet, ProtocolVersion, QoS, decode, frame};
use portcullis_router::{
    Batch, DirectWriter, FrameMark, Link, Mailbox, MailboxLimits, Router, Run, Subscription, Wake, Wire,
};

/// A socket that takes so many octets until it is emptied.
#[derive(Default)]
pub(crate) struct Socket {
    pub room: Mutex<usize>,
    pub got: Mutex<Vec<u8>>,
    pub broken: Mutex<bool>,
}

impl DirectWriter for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if *self.broken.lock() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut room = self.room.lock();
        let n = bytes.len().min(*room);
        *room -= n;
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.got.lock().extend_from_slice(&bytes[..n]);
        Ok(n)
    }
}

/// Whoever has the connection.
#[derive(Default)]
pub(crate) struct Owner {
    pub woken: AtomicUsize,
    pub resumed: AtomicUsize,
}

impl Wake for Owner {
    fn wake(&self) {
        self.woken.fetch_add(1, Ordering::SeqCst);
    }
    fn resume(&self) {
        self.resumed.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) struct Client {
    pub socket: Arc<Socket>,
    pub owner: Arc<Owner>,
    pub mailbox: Arc<Mailbox>,
}

pub(crate) fn client(router: &Router, limits: MailboxLimits, room: usize, window: u16, persistent: bool) -> Client {
    let socket = Arc::new(Socket { room: Mutex::new(room), ..Socket::default() });
    let owner = Arc::new(Owner::default());
    let mailbox = router.mailbox(limits, persistent);
    let c = Client { socket, owner, mailbox };
    c.attach(window);
    c
}

impl Client {
    pub(crate) fn attach(&self, window: u16) {
        let mut batch = Batch::default();
        let link = Link {
            owner: Arc::clone(&self.owner) as _,
            writer: Some(Arc::clone(&self.socket) as _),
            wire: Wire::V3,
            max_packet: u32::MAX,
            window,
        };
        self.mailbox.attach(link, 0, &[], &mut batch);
        batch.flush();
    }

    pub(crate) fn subscribe(&self, router: &Router, filter: &str, qos: QoS) {
        let mailbox = Arc::clone(&self.mailbox);
        router.subscribe(
            filter,
            None,
            Subscription { mailbox, qos, no_local: false, retain_as_published: false, id: None, check: None },
        );
    }

    /// What arrived: payloads of messages, and identifiers.
    pub(crate) fn messages(&self) -> Vec<(u16, Vec<u8>, bool)> {
        let got = self.socket.got.lock();
        let mut at = 0;
        let mut found = Vec::new();
        while let Some(f) = frame(&got, at, u32::MAX).unwrap() {
            if let Packet::Publish(p) = decode(ProtocolVersion::V311, f.first, &got[f.body..f.end]).unwrap() {
                found.push((p.packet_id.map_or(0, |id| id.get()), p.payload.to_vec(), p.dup));
            }
            at = f.end;
        }
        assert_eq!(at, got.len(), "no half packets");
        found
    }
}

pub(crate) fn publish(router: &Router, topic: &str, qos: QoS, payloads: &[Vec<u8>], batch: &mut Batch) -> usize {
    let mut bytes = Vec::new();
    let mut frames = Vec::new();
    for payload in payloads {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(payload);
        frames.push(FrameMark { start, id: 0, payload: start, end: bytes.len() as u32 });
    }
    let run = Run {
        wire: Wire::V3,
        bytes: &bytes,
        frames: &frames,
        topic,
        qos,
        retain: false,
        verbatim: false,
        forward: &[],
        expiry: None,
        origin: 0,
    };
    router.publish(&run, &router.route(topic), batch).refused
}

/// Limits that a test reaches soon.
pub(crate) const SMALL: MailboxLimits =
    MailboxLimits { high_water: 10_000, queued_messages: 1000, queued_bytes: 50_000 };
