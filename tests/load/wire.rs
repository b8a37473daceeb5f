//! A connection of the generator: TCP, TLS, WebSocket or both, never blocking.
//!
//! What is to be sent is put together in one buffer and leaves in as few system calls as the socket takes. WebSocket
//! frames are masked with a key of zeros, which leaves the payload as it is: the server has to unmask it all the same.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use portcullis_tests::Transport;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use socket2::{Domain, SockAddr, Socket, Type};

/// Where connections go, and how.
#[derive(Clone)]
pub(crate) struct Road {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

/// One connection.
pub(crate) struct Stream {
    tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
    web: Option<Box<Web>>,
    /// Octets for the socket, or for TLS, and how many of them have left.
    out: Vec<u8>,
    left: usize,
}

/// What a WebSocket is in the middle of.
#[derive(Default)]
struct Web {
    /// The answer to the upgrade has come.
    open: bool,
    /// MQTT that waits for it.
    before: Vec<u8>,
    /// The beginning of a frame's head, or of the answer to the upgrade.
    head: Vec<u8>,
    /// Octets that the frame still has to bring.
    rest: usize,
}

const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// How long a connection or an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

impl Stream {
    /// Connects. `number` chooses the loopback address that it comes from: one alone has too few ports.
    pub(crate) fn open(road: &Road, number: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(road.address), Type::STREAM, None)?;
        if road.address.is_ipv4() {
            let from = Ipv4Addr::new(127, 0, 1, 1 + (number / 64 % 200) as u8);
            socket.bind(&SockAddr::from(SocketAddr::from((from, 0))))?;
        }
        socket.connect_timeout(&SockAddr::from(road.address), PATIENCE)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let tls = road.tls.clone().map(|config| {
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
            tls.set_buffer_limit(None);
            Ok::<_, io::Error>(Box::new(tls))
        });
        let web = matches!(road.transport, Transport::Ws | Transport::Wss).then(Box::<Web>::default);
        let mut stream = Self { tcp: socket.into(), tls: tls.transpose()?, web, out: Vec::new(), left: 0 };
        if stream.web.is_some() {
            stream.out.extend_from_slice(UPGRADE);
        }
        Ok(stream)
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.tcp
    }

    /// Adds MQTT packets to what is to be sent.
    pub(crate) fn put(&mut self, packets: &[u8]) {
        match &mut self.web {
            Some(web) if !web.open => web.before.extend_from_slice(packets),
            Some(_) => frame(packets, &mut self.out),
            None => self.out.extend_from_slice(packets),
        }
    }

    /// Sends what there is. False: the socket takes no more for now.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(&self.out)?;
            self.out.clear();
            while tls.wants_write() {
                match tls.write_tls(&mut self.tcp) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            return Ok(true);
        }
        while self.left < self.out.len() {
            match self.tcp.write(&self.out[self.left..]) {
                Ok(count) => self.left += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.left = 0;
        Ok(true)
    }

    /// Reads MQTT once. `WouldBlock`: there is none; 0: the other side has closed.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_plain(buffer)?;
        let Some(web) = &mut self.web else { return Ok(count) };
        if count == 0 {
            return Ok(0);
        }
        let was_open = web.open;
        let mqtt = web.unframe(buffer, count)?;
        if web.open && !was_open && !web.before.is_empty() {
            let before = std::mem::take(&mut web.before);
            frame(&before, &mut self.out);
            self.flush()?;
        }
        if mqtt == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(mqtt) }
    }

    fn read_plain(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.tcp.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            if tls.read_tls(&mut self.tcp)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
            while tls.wants_write() {
                tls.write_tls(&mut self.tcp)?;
            }
        }
    }

    /// Whether TLS holds decrypted octets, of which no event of the socket will tell.
    pub(crate) fn holds_more(&mut self) -> bool {
        self.tls
            .as_mut()
            .is_some_and(|tls| tls.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0))
    }
}

/// One binary message.
fn frame(payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x82);
    match payload.len() {
        short @ ..126 => out.push(0x80 | short as u8),
        middle @ ..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

impl Web {
    /// Moves the payload of frames to the front, and says how much that is.
    fn unframe(&mut self, buffer: &mut [u8], count: usize) -> io::Result<usize> {
        let (mut at, mut end) = (0, 0);
        if !self.open {
            self.head.extend_from_slice(&buffer[..count]);
            let Some(whole) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(0) };
            if !self.head.starts_with(b"HTTP/1.1 101") {
                return Err(io::Error::other(String::from_utf8_lossy(&self.head).into_owned()));
            }
            at = count - (self.head.len() - whole - 4);
            self.head.clear();
            self.open = true;
        }
        while at < count {
            if self.rest > 0 {
                let take = self.rest.min(count - at);
                buffer.copy_within(at..at + take, end);
                (at, end, self.rest) = (at + take, end + take, self.rest - take);
                continue;
            }
            self.head.push(buffer[at]);
            at += 1;
            let length = match self.head.get(1) {
                None => continue,
                Some(126) => 4,
                Some(127) => 10,
                Some(_) => 2,
            };
            if self.head.len() < length {
                continue;
            }
            if self.head[0] & 0x0F == 8 {
                return Ok(end);
            }
            self.rest = match length {
                2 => usize::from(self.head[1]),
                _ => self.head[2..].iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)),
            };
            self.head.clear();
        }
        Ok(end)
    }
}
