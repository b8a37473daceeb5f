//! The floor: what the same work costs, and how long it takes, where there is nothing behind the socket but a loop that
//! passes octets on. What a broker shows above it is the broker; the rest is the system and this harness.
//!
//! One thread, one epoll. MQTT 3.1.1, QoS 0, filters without wildcards, nobody refused, and no bound on anything: it is
//! no broker.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::packet::remaining_length;

/// Octets of one read.
const READ: usize = 64 * 1024;
/// What an event of the listening socket is marked with.
const LISTENER: u64 = u64::MAX;

struct Client {
    socket: TcpStream,
    /// Half a packet.
    partial: Vec<u8>,
    out: Vec<u8>,
    /// The socket takes no more for now.
    blocked: bool,
}

struct Floor {
    epoll: OwnedFd,
    clients: Vec<Option<Client>>,
    subscribers: HashMap<Vec<u8>, Vec<usize>>,
    dirty: Vec<usize>,
}

/// Says its address on standard output, and passes on what comes until it is killed.
pub(crate) fn run() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?);
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener.as_fd(), EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut floor = Floor { epoll, clients: Vec::new(), subscribers: HashMap::new(), dirty: Vec::new() };
    let mut buffer = vec![0; READ];
    let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 256];
    loop {
        let count = match epoll::wait(&floor.epoll, &mut events, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        for event in &events[..count] {
            if event.data.u64() == LISTENER {
                floor.accept(&listener)?;
                continue;
            }
            let (index, flags) = (event.data.u64() as usize, event.flags);
            if flags.contains(EventFlags::OUT) {
                floor.flush(index)?;
            }
            if !floor.receive(index, &mut buffer)? {
                floor.clients[index] = None;
            }
            while let Some(index) = floor.dirty.pop() {
                floor.flush(index)?;
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let data = EventData::new_u64(self.clients.len() as u64);
            epoll::add(&self.epoll, socket.as_fd(), data, EventFlags::IN)?;
            let client = Client { socket, partial: Vec::new(), out: Vec::new(), blocked: false };
            self.clients.push(Some(client));
        }
        Ok(())
    }

    /// Reads once. False: the client has gone.
    fn receive(&mut self, index: usize, buffer: &mut [u8]) -> Result<bool> {
        let Some(client) = &mut self.clients[index] else { return Ok(true) };
        let count = match client.socket.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(_) => 0,
        };
        let mut came = std::mem::take(&mut client.partial);
        came.extend_from_slice(&buffer[..count]);
        let mut at = 0;
        while let Some((length, head)) = remaining_length(&came[at..]) {
            let Some(packet) = came.get(at..at + head + length) else { break };
            self.take(index, packet, head)?;
            at += packet.len();
        }
        came.drain(..at);
        if let Some(client) = &mut self.clients[index] {
            client.partial = came;
        }
        Ok(count > 0)
    }

    fn take(&mut self, index: usize, packet: &[u8], head: usize) -> Result<()> {
        let text = |at: usize| {
            let length = packet.get(at..at + 2).map(|two| usize::from(u16::from_be_bytes([two[0], two[1]])));
            length.and_then(|length| packet.get(at + 2..at + 2 + length)).context("half a packet")
        };
        match packet[0] >> 4 {
            1 => put(&mut self.clients, &mut self.dirty, index, &[0x20, 2, 0, 0]),
            3 => {
                let Self { clients, subscribers, dirty, .. } = self;
                for subscriber in subscribers.get(text(head)?).into_iter().flatten() {
                    put(clients, dirty, *subscriber, packet);
                }
            }
            8 => {
                let (mut at, mut answer) = (head + 2, vec![0x90, 2, packet[head], packet[head + 1]]);
                while at < packet.len() {
                    let filter = text(at)?;
                    self.subscribers.entry(filter.to_vec()).or_default().push(index);
                    at += 2 + filter.len() + 1;
                    answer.push(0);
                    answer[1] += 1;
                }
                put(&mut self.clients, &mut self.dirty, index, &answer);
            }
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<()> {
        let Some(client) = &mut self.clients[index] else { return Ok(()) };
        let written = match client.socket.write(&client.out) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // Its end is read in its turn.
            Err(_) => client.out.len(),
        };
        client.out.drain(..written);
        if client.blocked == client.out.is_empty() {
            client.blocked = !client.out.is_empty();
            let flags = if client.blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.epoll, client.socket.as_fd(), EventData::new_u64(index as u64), flags)?;
        }
        Ok(())
    }
}

fn put(clients: &mut [Option<Client>], dirty: &mut Vec<usize>, index: usize, octets: &[u8]) {
    let Some(client) = &mut clients[index] else { return };
    if client.out.is_empty() {
        dirty.push(index);
    }
    client.out.extend_from_slice(octets);
}
