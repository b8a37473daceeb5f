//! A connection on a blocking socket. The packets are those of the harness, and so of mqttbytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::BytesMut;
use portcullis_tests::Hello;
use portcullis_tests::packets::{self, Incoming, Version};

use crate::ANSWER;

/// Why a connection is of no more use.
#[derive(Debug)]
pub(crate) enum Lost {
    /// It broke, as it does when the gateway is killed.
    Broken(String),
    /// No answer in time, or one that ends everything.
    Wrong(String),
}

/// Who connects.
#[derive(Clone)]
pub(crate) struct Name {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    /// Receive maximum, MQTT 5.
    pub(crate) window: Option<u16>,
    /// A session of its own connection only.
    pub(crate) clean: bool,
}

/// See the module's description.
pub(crate) struct Wire {
    stream: TcpStream,
    version: Version,
    buffer: BytesMut,
    out: Vec<u8>,
}

impl Wire {
    /// Connects. True: there was a session.
    pub(crate) fn open(address: SocketAddr, name: &Name) -> Result<(Self, bool), Lost> {
        let stream = TcpStream::connect_timeout(&address, ANSWER).map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        stream.set_read_timeout(Some(ANSWER)).map_err(lost)?;
        stream.set_write_timeout(Some(ANSWER)).map_err(lost)?;
        let mut wire = Self { stream, version: name.version, buffer: BytesMut::new(), out: Vec::new() };
        let mut hello = Hello::plain(name.version, name.client_id.as_str());
        hello.clean = name.clean;
        hello.properties.session_expiry_interval = (!name.clean).then_some(3600);
        hello.properties.receive_maximum = name.window;
        wire.put(&packets::connect(&hello));
        wire.flush()?;
        match wire.next()? {
            Incoming::ConnAck(present, 0, _) => Ok((wire, present)),
            other => Err(Lost::Wrong(format!("{other:?} instead of a CONNACK that accepts"))),
        }
    }

    /// Appends a packet to what is to be written.
    pub(crate) fn put(&mut self, packet: &[u8]) {
        self.out.extend_from_slice(packet);
    }

    /// Writes it.
    pub(crate) fn flush(&mut self) -> Result<(), Lost> {
        let out = std::mem::take(&mut self.out);
        self.stream.write_all(&out).map_err(lost)
    }

    /// The next packet, if it is here already.
    pub(crate) fn here(&mut self) -> Option<Incoming> {
        packets::take(self.version, &mut self.buffer)
    }

    /// The next packet.
    pub(crate) fn next(&mut self) -> Result<Incoming, Lost> {
        loop {
            if let Some(packet) = self.here() {
                return match packet {
                    Incoming::Disconnect(code, text) => {
                        Err(Lost::Wrong(format!("DISCONNECT with reason {code:#04x}: {text:?}")))
                    }
                    packet => Ok(packet),
                };
            }
            let mut more = [0; 16 * 1024];
            match self.stream.read(&mut more) {
                Ok(0) => return Err(Lost::Broken("it was closed".to_owned())),
                Ok(count) => self.buffer.extend_from_slice(&more[..count]),
                Err(error) => return Err(lost(error)),
            }
        }
    }
}

fn lost(error: std::io::Error) -> Lost {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Lost::Wrong(format!("nothing came for {ANSWER:?}")),
        _ => Lost::Broken(error.to_string()),
    }
}
