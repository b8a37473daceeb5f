//! MQTT 5 as a client speaks it, on a connection from within.
//!
//! Only what an HTTP client needs: CONNECT, PUBLISH, SUBSCRIBE, acknowledgements, PINGREQ. What comes back is read packet
//! by packet; what it means is for the callers.

use portcullis_mqtt::{
    Connect, ConnectProperties, EncodeError, Packet, PacketId, ProtocolVersion, ReasonCode, decode, frame,
};
use portcullis_net::AsyncStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One end of the connection.
pub(super) struct Peer {
    stream: Box<dyn AsyncStream>,
    received: Vec<u8>,
    /// Octets of `received` that were given out.
    used: usize,
    last_id: u16,
}

/// Why the connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// What CONNACK or DISCONNECT said.
    pub code: ReasonCode,
    /// The reason string, where there was one.
    pub words: Option<String>,
}

impl Gone {
    fn silently() -> Self {
        Self { code: ReasonCode::UNSPECIFIED_ERROR, words: None }
    }
}

/// How the client wants its session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// Empty: a session that ends with the connection.
    pub client_id: &'a str,
    /// Begin anew, whatever is there.
    pub clean_start: bool,
    /// Seconds that the session outlives the connection.
    pub session_expiry: u32,
}

/// What CONNACK said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Welcome {
    /// The session was there.
    pub session_present: bool,
    /// Seconds in which something has to be sent. None: silence is not minded.
    pub keep_alive: Option<u16>,
}

impl Peer {
    /// Sends CONNECT and waits for its answer.
    ///
    /// # Errors
    /// It was refused.
    pub(super) async fn connect(stream: Box<dyn AsyncStream>, wish: Wish<'_>) -> Result<(Self, Welcome), Gone> {
        let mut peer = Self { stream, received: Vec::new(), used: 0, last_id: 0 };
        let properties =
            ConnectProperties { session_expiry: Some(wish.session_expiry), ..ConnectProperties::default() };
        let connect = Connect {
            version: ProtocolVersion::V5,
            clean_start: wish.clean_start,
            keep_alive: 0,
            client_id: wish.client_id,
            username: None,
            password: None,
            will: None,
            properties,
        };
        peer.send(&Packet::Connect(connect)).await?;
        let welcome = match peer.receive().await? {
            Packet::ConnAck(connack) if connack.code == 0 => Welcome {
                session_present: connack.session_present,
                keep_alive: connack.properties.server_keep_alive.filter(|seconds| *seconds > 0),
            },
            Packet::ConnAck(connack) => {
                let words = connack.properties.reason_string.map(str::to_owned);
                return Err(Gone { code: ReasonCode(connack.code), words });
            }
            _ => return Err(Gone::silently()),
        };
        Ok((peer, welcome))
    }

    /// Sends a packet whole. Not to be given up half-way: the stream would be of no more use.
    ///
    /// # Errors
    /// The connection is over. What does not fit into a packet counts as one that is too large.
    pub(super) async fn send(&mut self, packet: &Packet<'_>) -> Result<(), Gone> {
        let mut octets = Vec::new();
        packet.encode(ProtocolVersion::V5, &mut octets).map_err(|why| Gone {
            code: match why {
                EncodeError::Invalid(_) => ReasonCode::MALFORMED_PACKET,
                _ => ReasonCode::PACKET_TOO_LARGE,
            },
            words: Some(why.to_string()),
        })?;
        if self.stream.write_all(&octets).await.is_ok() {
            return Ok(());
        }
        // Its last words may be there to be read.
        Err(self.last_words().await)
    }

    /// The next packet. May be given up at any time.
    ///
    /// # Errors
    /// The connection is over, with or without a DISCONNECT.
    pub(super) async fn receive(&mut self) -> Result<Packet<'_>, Gone> {
        let whole = self.whole().await?;
        let body = self.received.get(whole.body..whole.end).unwrap_or_default();
        match decode(ProtocolVersion::V5, whole.first, body) {
            Ok(Packet::Disconnect(last)) => {
                Err(Gone { code: last.reason, words: last.reason_string.map(str::to_owned) })
            }
            Ok(packet) => Ok(packet),
            Err(_) => Err(Gone::silently()),
        }
    }

    /// Waits for the next packet, and marks it as given out.
    async fn whole(&mut self) -> Result<portcullis_mqtt::Frame, Gone> {
        loop {
            match frame(&self.received, self.used, u32::MAX) {
                Ok(Some(whole)) => {
                    self.used = whole.end;
                    return Ok(whole);
                }
                Ok(None) => {}
                Err(_) => return Err(Gone::silently()),
            }
            self.received.drain(..std::mem::take(&mut self.used));
            match self.stream.read_buf(&mut self.received).await {
                Ok(n) if n > 0 => {}
                _ => return Err(Gone::silently()),
            }
        }
    }

    /// What is said before the end.
    async fn last_words(&mut self) -> Gone {
        loop {
            if let Err(gone) = self.receive().await {
                return gone;
            }
        }
    }

    /// Whether the connection is over already, as far as can be told without waiting.
    pub(super) async fn is_gone(&mut self) -> bool {
        // Nothing is owed to a client that has no question open, so that whatever can be read is the end.
        tokio::select! {
            biased;
            received = self.receive() => received.is_err(),
            () = std::future::ready(()) => false,
        }
    }

    /// A packet identifier that is not in use, where few are at one time.
    pub(super) fn next_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id) {
                return id;
            }
        }
    }
}
