//! One thread that drives all clients of a run: reads what came, judges it, and publishes what the windows allow.
//!
//! It allocates nothing while it counts, sends as many packets with a system call as a window allows, and costs some tens
//! of nanoseconds a message: what is measured beside it is the broker.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::{Client, Hearing};
use crate::histogram::Histogram;
use crate::judge::{Group, Wrong};
use crate::packet::Came;
use crate::publisher::Publisher;

/// Octets of one read.
const READ: usize = 512 * 1024;
/// Nothing came for so long: what is missing is lost.
const SILENCE: Duration = Duration::from_secs(5);

pub(crate) struct Engine {
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// By their numbers.
    publishers: Vec<Publisher>,
    group: Option<Group>,
    begun: Instant,
    buffer: Box<[u8]>,
    packets: Vec<u8>,
    replies: Vec<u8>,
    ready: Vec<u32>,
    /// Publishers on `ready`.
    is_ready: Vec<bool>,
    pub(crate) delivered: u64,
    /// Times from when messages were due to when they were read, while somebody wants to know.
    pub(crate) latency: Option<Histogram>,
    failures: u64,
}

impl Engine {
    /// `shared`: what clients hear in parts is to come whole, once.
    pub(crate) fn new(mut clients: Vec<Client>, publishers: Vec<Publisher>, shared: bool) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (number, publisher) in publishers.iter().enumerate() {
            clients[publisher.client].publisher = Some(number as u32);
        }
        for (index, client) in clients.iter().enumerate() {
            let data = EventData::new_u64(index as u64);
            epoll::add(&epoll, client.stream.socket().as_fd(), data, EventFlags::IN)?;
        }
        let count = publishers.len();
        Ok(Self {
            epoll,
            clients,
            group: shared.then(|| Group::of(count as u32)),
            begun: Instant::now(),
            buffer: vec![0; 2 * READ].into(),
            packets: Vec::with_capacity(READ),
            replies: Vec::with_capacity(READ),
            ready: Vec::with_capacity(count),
            is_ready: vec![false; count],
            publishers,
            delivered: 0,
            latency: None,
            failures: 0,
        })
    }

    /// Nanoseconds since the beginning.
    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// Publishes for so long, at a fixed rate or as fast as the windows let it.
    pub(crate) fn saturate_or_pace(&mut self, rate: Option<u64>, time: Duration) -> Result<()> {
        match rate {
            Some(rate) => self.pace(rate, time),
            None => self.saturate(time),
        }
    }

    /// Publishes through the windows of all publishers for so long.
    fn saturate(&mut self, time: Duration) -> Result<()> {
        for number in 0..self.publishers.len() as u32 {
            self.note_ready(number);
        }
        let until = Instant::now() + time;
        loop {
            while let Some(number) = self.ready.pop() {
                self.is_ready[number as usize] = false;
                self.publish(number)?;
            }
            if Instant::now() >= until {
                return Ok(());
            }
            self.turn(Some(Duration::from_millis(50)))?;
        }
    }

    /// Publishes at a fixed rate, by the publishers in turn, whether or not what was sent before has come.
    fn pace(&mut self, per_second: u64, time: Duration) -> Result<()> {
        let interval = 1_000_000_000 / per_second;
        let (mut due, end) = (self.now() + interval, self.now() + time.as_nanos() as u64);
        let mut turn = 0;
        while due < end {
            let now = self.now();
            if now < due {
                // The last of it without sleeping: to be woken takes longer than what is measured.
                self.sleep(Duration::from_nanos((due - now).saturating_sub(100_000)))?;
                self.turn(Some(Duration::ZERO))?;
                continue;
            }
            let number = turn % self.publishers.len();
            turn += 1;
            let publisher = &mut self.publishers[number];
            let index = publisher.client;
            self.packets.clear();
            publisher.put(due, &mut self.packets);
            self.clients[index].stream.put(&self.packets);
            self.send(index)?;
            due += interval;
        }
        Ok(())
    }

    /// Publishes so many messages and no more.
    pub(crate) fn send_all(&mut self, count: u64) -> Result<()> {
        let mut last = (0, Instant::now());
        while self.sent() < count {
            for number in 0..self.publishers.len() as u32 {
                self.publish_at_most(number, count - self.sent())?;
            }
            self.turn(Some(Duration::from_millis(50)))?;
            if self.sent() != last.0 {
                last = (self.sent(), Instant::now());
            } else if last.1.elapsed() > SILENCE {
                bail!("the broker takes no more after {} of {count} messages", last.0);
            }
        }
        self.drain()
    }

    /// Waits until so many messages have come, or nothing comes any more.
    pub(crate) fn listen(&mut self, count: u64) -> Result<()> {
        let mut last = (self.delivered, Instant::now());
        // What came with the answer to SUBSCRIBE raises no event any more.
        for index in 0..self.clients.len() {
            self.receive(index)?;
        }
        while self.delivered < count && last.1.elapsed() < SILENCE {
            self.turn(Some(Duration::from_millis(20)))?;
            if self.delivered != last.0 {
                last = (self.delivered, Instant::now());
            }
        }
        self.turn(Some(Duration::from_millis(20)))
    }

    /// The numbers that a client has heard that takes whatever comes.
    pub(crate) fn heard(&mut self, client: usize) -> Vec<u32> {
        match &mut self.clients[client].hearing {
            Hearing::Any(numbers) => std::mem::take(numbers),
            _ => Vec::new(),
        }
    }

    /// Waits until all that was sent has come and is acknowledged, or nothing comes any more.
    pub(crate) fn drain(&mut self) -> Result<()> {
        let mut last = (self.progress(), Instant::now());
        while !self.is_complete() {
            self.turn(Some(Duration::from_millis(20)))?;
            let progress = self.progress();
            if progress != last.0 {
                last = (progress, Instant::now());
            } else if last.1.elapsed() > SILENCE {
                break;
            }
        }
        // What comes twice comes late.
        self.turn(Some(Duration::from_millis(20)))?;
        self.turn(Some(Duration::ZERO))
    }

    fn progress(&self) -> u64 {
        self.delivered + self.publishers.iter().map(|publisher| publisher.confirmed).sum::<u64>()
    }

    fn is_complete(&self) -> bool {
        self.publishers.iter().all(Publisher::is_complete)
    }

    /// Messages that publishers have sent.
    pub(crate) fn sent(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.sent).sum()
    }

    /// What was wrong with all that came.
    pub(crate) fn judge(&self) -> Wrong {
        let sent = |number: u32| self.publishers.get(number as usize).map_or(0, |publisher| publisher.sent as u32);
        let unacknowledged = self.publishers.iter().map(Publisher::unacknowledged).sum();
        let mut wrong = Wrong { refused: self.failures, unacknowledged, ..Wrong::default() };
        for client in &self.clients {
            match &client.hearing {
                Hearing::Nothing | Hearing::Any(_) => {}
                Hearing::All(reception) => wrong += reception.judge(sent),
                Hearing::Part(share) => wrong += share.wrong,
            }
        }
        if let Some(group) = &self.group {
            wrong += group.judge(sent);
        }
        wrong
    }

    fn note_ready(&mut self, number: u32) {
        if let Some(noted) = self.is_ready.get_mut(number as usize)
            && !std::mem::replace(noted, true)
        {
            self.ready.push(number);
        }
    }

    /// Sends what the window of one publisher allows.
    fn publish(&mut self, number: u32) -> Result<()> {
        self.publish_at_most(number, u64::MAX)
    }

    fn publish_at_most(&mut self, number: u32, most: u64) -> Result<()> {
        let now = self.now();
        let publisher = &mut self.publishers[number as usize];
        let (credit, index) = (publisher.credit().min(most), publisher.client);
        let client = &mut self.clients[index];
        if credit == 0 || client.blocked {
            return Ok(());
        }
        self.packets.clear();
        for _ in 0..credit {
            publisher.put(now, &mut self.packets);
        }
        client.stream.put(&self.packets);
        self.send(index)
    }

    fn send(&mut self, index: usize) -> Result<()> {
        let client = &mut self.clients[index];
        let all = client.stream.flush().context("the broker closed a connection")?;
        if all == client.blocked {
            client.blocked = !all;
            let flags = if all { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
            let data = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, client.stream.socket().as_fd(), data, flags)?;
            if let Some(number) = client.publisher.filter(|_| all) {
                self.note_ready(number);
            }
        }
        Ok(())
    }

    /// Waits for an event, and not a microsecond longer than this: `epoll_wait` counts milliseconds.
    fn sleep(&self, time: Duration) -> Result<()> {
        if time.is_zero() {
            return Ok(());
        }
        let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        match poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// One round of events.
    fn turn(&mut self, timeout: Option<Duration>) -> Result<()> {
        let timeout = timeout
            .map(|timeout| Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) });
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 256];
        let count = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(io::Error::from(error).into()),
        };
        for event in &events[..count] {
            let index = event.data.u64() as usize;
            let flags = event.flags;
            if flags.contains(EventFlags::OUT) {
                self.send(index)?;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.receive(index)?;
                while self.clients[index].stream.holds_more() {
                    self.receive(index)?;
                }
            }
        }
        Ok(())
    }

    /// Reads once from one client.
    fn receive(&mut self, index: usize) -> Result<()> {
        let now = self.now();
        let Self { clients, publishers, group, buffer, replies, ready, is_ready, latency, .. } = self;
        let (mut delivered, mut failures) = (0, 0);
        replies.clear();
        let client = &mut clients[index];
        let own = client.publisher;
        let mut note = |number: u32| {
            if !std::mem::replace(&mut is_ready[number as usize], true) {
                ready.push(number);
            }
        };
        let open = client.read(buffer, |hearing, came| match came {
            Came::Publish(qos, id, label) => {
                let known = match hearing {
                    Hearing::All(reception) => reception.take(label.publisher, label.sequence),
                    Hearing::Part(share) => {
                        if let Some(group) = group {
                            group.take(label.publisher, label.sequence);
                        }
                        share.take(label.publisher, label.sequence)
                    }
                    Hearing::Any(numbers) => {
                        numbers.push(label.sequence);
                        false
                    }
                    Hearing::Nothing => {
                        failures += 1;
                        false
                    }
                };
                match qos {
                    1 => replies.extend_from_slice(&[0x40, 2, id[0], id[1]]),
                    2 => replies.extend_from_slice(&[0x50, 2, id[0], id[1]]),
                    _ => {}
                }
                delivered += 1;
                if let Some(latency) = latency {
                    latency.add(now.saturating_sub(label.due));
                }
                if known && let Some(publisher) = publishers.get_mut(label.publisher as usize) {
                    publisher.seen += 1;
                    note(label.publisher);
                }
            }
            Came::Acknowledgement(first, id, failed) => {
                failures += u64::from(failed);
                if first >> 4 == 6 {
                    replies.extend_from_slice(&[0x70, 2, id[0], id[1]]);
                } else if let Some(number) = own {
                    if let Some(reply) = publishers[number as usize].acknowledge(first, id) {
                        replies.extend_from_slice(&reply);
                    }
                    note(number);
                }
            }
            Came::Disconnect(_) | Came::ConnAck(_) | Came::SubAck(_) => failures += 1,
            Came::Other => {}
        })?;
        self.delivered += delivered;
        self.failures += failures;
        if !open {
            bail!("the broker closed a connection");
        }
        if !self.replies.is_empty() {
            self.clients[index].stream.put(&self.replies);
            self.send(index)?;
        }
        Ok(())
    }
}
