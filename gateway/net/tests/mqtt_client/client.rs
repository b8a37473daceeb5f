//! The connection: packets out, packets in, and its end.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;

use portcullis_mqtt::{
    Ack, Auth, Disconnect, Packet, PacketId, ProtocolVersion, QoS, ReasonCode, UserProperties, decode, frame,
};

/// What kind of packet came.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    PubAck(u16, ReasonCode),
    PubRec(u16),
    PubRecRefused(u16, ReasonCode),
    PubComp(u16),
    Other(String),
}

/// A message that came.
#[derive(Debug)]
pub struct Got {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    pub(super) id: Option<PacketId>,
}

impl Got {
    pub fn id(&self) -> u16 {
        self.id.map_or(0, |id| id.get())
    }
}

#[derive(Debug)]
pub struct Client {
    pub(super) stream: TcpStream,
    pub(super) version: ProtocolVersion,
    /// What was read, and where in it the next packet begins.
    pub(super) buffer: Vec<u8>,
    pub(super) at: usize,
    next_id: u16,
    pub session_present: bool,
    /// Messages that came while another packet was awaited.
    pub(super) early: VecDeque<Got>,
}

impl Client {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            version: ProtocolVersion::V5,
            buffer: Vec::new(),
            at: 0,
            next_id: 0,
            session_present: false,
            early: VecDeque::new(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(super) fn encode(&mut self, packet: Packet<'_>) {
        let mut out = Vec::new();
        packet.encode(self.version, &mut out).unwrap();
        self.send(&out);
    }

    /// Waits until the gateway has closed the connection.
    pub fn closed(&mut self) {
        let mut sink = [0; 1024];
        loop {
            match self.stream.read(&mut sink) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return,
                Err(e) => panic!("not closed: {e}"),
            }
        }
    }

    /// The next packet.
    pub(super) fn packet<R>(&mut self, f: impl FnOnce(Packet<'_>) -> R) -> R {
        loop {
            if let Some(whole) = frame(&self.buffer, self.at, u32::MAX).unwrap() {
                self.at = whole.end;
                return f(decode(self.version, whole.first, &self.buffer[whole.body..whole.end]).unwrap());
            }
            self.buffer.drain(..std::mem::take(&mut self.at));
            let mut more = [0; 65536];
            let n = self.stream.read(&mut more).expect("a packet in time");
            assert!(n > 0, "the gateway closed the connection");
            self.buffer.extend_from_slice(&more[..n]);
        }
    }

    pub fn packet_kind(&mut self) -> Kind {
        self.packet(|p| match p {
            Packet::PubAck(a) => Kind::PubAck(a.packet_id.get(), a.reason),
            Packet::PubRec(a) if a.reason.is_error() => Kind::PubRecRefused(a.packet_id.get(), a.reason),
            Packet::PubRec(a) => Kind::PubRec(a.packet_id.get()),
            Packet::PubComp(a) => Kind::PubComp(a.packet_id.get()),
            other => Kind::Other(format!("{other:?}")),
        })
    }

    pub(super) fn id(&mut self) -> u16 {
        self.next_id = self.next_id % 65_535 + 1;
        self.next_id
    }

    /// Whether nothing has come up to now.
    pub fn is_silent(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let mut one = [0];
        let peeked = self.stream.peek(&mut one);
        self.stream.set_nonblocking(false).unwrap();
        self.buffer.len() == self.at && peeked.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    }

    pub fn ping(&mut self) {
        self.encode(Packet::PingReq);
        self.packet(|p| assert!(matches!(p, Packet::PingResp), "{p:?} instead of PINGRESP"));
    }

    /// A ping whose answer is the next thing that comes: nothing else was on the way.
    pub fn ping_with_nothing_before(&mut self) {
        self.ping();
    }

    pub fn disconnect(mut self) {
        self.encode(Packet::Disconnect(Disconnect::default()));
        self.closed();
    }

    /// Ends the session for good.
    pub fn disconnect_and_forget(mut self, version: ProtocolVersion) {
        if version == ProtocolVersion::V5 {
            self.encode(Packet::Disconnect(Disconnect { session_expiry: Some(0), ..Disconnect::default() }));
        }
        self.closed_or_dropped(version);
    }

    fn closed_or_dropped(mut self, version: ProtocolVersion) {
        if version == ProtocolVersion::V5 {
            self.closed();
        }
    }

    pub fn disconnect_reason(&mut self) -> ReasonCode {
        self.packet(|p| match p {
            Packet::Disconnect(d) => d.reason,
            other => panic!("{other:?} instead of DISCONNECT"),
        })
    }

    pub(super) fn answer_challenge(&mut self, answer: &[u8]) {
        self.packet(|p| match p {
            Packet::Auth(auth) => assert_eq!((auth.method, auth.data), (Some("word"), Some(&b"say the word"[..]))),
            other => panic!("{other:?} instead of AUTH"),
        });
        self.auth(ReasonCode::CONTINUE_AUTHENTICATION, Some(answer));
    }

    fn auth(&mut self, reason: ReasonCode, data: Option<&[u8]>) {
        self.encode(Packet::Auth(Auth { reason, method: Some("word"), data, ..Auth::default() }));
    }

    /// None: it went well.
    pub fn reauthenticate(&mut self, answer: &[u8]) -> Option<ReasonCode> {
        self.auth(ReasonCode::RE_AUTHENTICATE, None);
        self.answer_challenge(answer);
        self.packet(|p| match p {
            Packet::Auth(auth) if auth.reason == ReasonCode::SUCCESS => None,
            Packet::Disconnect(d) => Some(d.reason),
            other => panic!("{other:?}"),
        })
    }
}

pub(super) fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

pub(super) fn ack(id: u16) -> Ack<'static> {
    Ack { packet_id: packet_id(id), reason: ReasonCode::SUCCESS, reason_string: None, user: UserProperties::EMPTY }
}
