//! A client of the generator: a connection, and what it is to hear.

use std::io::{self, ErrorKind};
use std::time::Instant;

use portcullis_tests::Hello;
use portcullis_tests::packets::{self, Version};

use crate::judge::{Reception, Share};
use crate::packet::{self, Came};
use crate::wire::{PATIENCE, Road, Stream};

/// How clients introduce themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    /// Seconds; 0, which nobody has to keep, unless the broker takes no such client.
    pub(crate) keep_alive: u16,
    /// The session outlives the connection (3.1.1: no clean session).
    pub(crate) stays: bool,
}

/// The octets of a CONNECT.
pub(crate) fn hello(version: Version, client_id: &str, login: &Login) -> Vec<u8> {
    let mut hello = Hello::plain(version, client_id);
    (hello.username, hello.password, hello.keep_alive) =
        (login.username.clone(), login.password.clone(), login.keep_alive);
    hello.clean = !login.stays;
    packets::connect(&hello).to_vec()
}

/// What a client is to hear.
pub(crate) enum Hearing {
    Nothing,
    /// Every message of a range of publishers.
    All(Reception),
    /// Its part of what a shared subscription gets.
    Part(Share),
    /// Whatever comes: the numbers are kept.
    Any(Vec<u32>),
}

pub(crate) struct Client {
    pub(crate) stream: Stream,
    version: Version,
    /// Half a packet.
    partial: Vec<u8>,
    /// The publisher that sends through it.
    pub(crate) publisher: Option<u32>,
    pub(crate) hearing: Hearing,
    /// It waits until the socket takes more.
    pub(crate) blocked: bool,
}

impl Client {
    /// Connects, logs in and subscribes.
    pub(crate) fn open(
        road: &Road,
        number: usize,
        version: Version,
        hello: &[u8],
        filters: &[(String, u8)],
    ) -> io::Result<Self> {
        let stream = Stream::open(road, number)?;
        let mut client =
            Self { stream, version, partial: Vec::new(), publisher: None, hearing: Hearing::Nothing, blocked: false };
        client.ask(hello, |came| match came {
            Came::ConnAck(accepted) => Some(accepted),
            _ => None,
        })?;
        // Some brokers bound the size of a packet at 10 KiB or so.
        for filters in filters.chunks(100) {
            client.ask(&subscribe(version, filters), |came| match came {
                Came::SubAck(granted) => Some(granted),
                _ => None,
            })?;
        }
        Ok(client)
    }

    /// Sends a packet and waits for its answer.
    fn ask(&mut self, packet: &[u8], answer: impl Fn(Came) -> Option<bool>) -> io::Result<()> {
        self.stream.put(packet);
        let begun = Instant::now();
        let mut buffer = [0; 4096];
        while begun.elapsed() < PATIENCE {
            self.stream.flush()?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("the broker closed the connection")),
                Ok(count) => self.partial.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait(self.stream.socket())?,
                Err(error) => return Err(error),
            }
            let mut at = 0;
            while let Some((came, length)) = packet::first(&self.partial[at..], self.version) {
                match answer(came) {
                    Some(granted) => {
                        self.partial.drain(at..at + length);
                        return if granted { Ok(()) } else { Err(io::Error::other("the broker refuses")) };
                    }
                    // A retained message, which the run looks at.
                    None if matches!(came, Came::Publish(..)) => at += length,
                    None => return Err(io::Error::other(format!("the broker says {came:?}"))),
                }
            }
        }
        Err(ErrorKind::TimedOut.into())
    }

    /// Reads once, and hands out what came. False: the broker has closed.
    pub(crate) fn read(&mut self, buffer: &mut [u8], mut take: impl FnMut(&mut Hearing, Came)) -> io::Result<bool> {
        let before = self.partial.len();
        buffer[..before].copy_from_slice(&self.partial);
        let count = match self.stream.read(&mut buffer[before..]) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error),
        };
        let filled = before + count;
        let mut at = 0;
        while let Some((came, length)) = packet::first(&buffer[at..filled], self.version) {
            take(&mut self.hearing, came);
            at += length;
        }
        self.partial.clear();
        self.partial.extend_from_slice(&buffer[at..filled]);
        Ok(true)
    }
}

fn subscribe(version: Version, filters: &[(String, u8)]) -> Vec<u8> {
    let filters: Vec<_> = filters
        .iter()
        .map(|(filter, qos)| {
            let qos = mqttbytes::qos(*qos).expect("a QoS of 0, 1 or 2");
            mqttbytes::v5::SubscribeFilter::new(filter.clone(), qos)
        })
        .collect();
    packets::subscribe(version, 1, None, &filters).to_vec()
}

/// Waits until there is something to read.
fn wait(socket: &std::net::TcpStream) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))?;
    Ok(())
}
