//! Connections that come and go: CONNECT, CONNACK, DISCONNECT, and the end as the broker sees it.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use portcullis_tests::{Transport, Version};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::account;
use crate::broker::Broker;
use crate::client::hello;
use crate::histogram::Histogram;
use crate::judge::Wrong;
use crate::outcome::Outcome;
use crate::packet::{self, Came};
use crate::wire::{PATIENCE, Road, Stream};

/// Connections that come and go.
#[derive(Clone, Debug)]
pub(crate) struct Connects {
    pub(crate) transport: Transport,
    pub(crate) version: Version,
    /// How many are under way at the same time.
    pub(crate) at_a_time: usize,
}

/// One place, in which connections follow each other.
struct Place {
    stream: Option<Stream>,
    hello: Vec<u8>,
    begun: Instant,
    accepted: bool,
    came: Vec<u8>,
}

struct Going {
    road: Road,
    version: Version,
    epoll: OwnedFd,
    places: Vec<Place>,
    opened: usize,
    done: u64,
    latency: Histogram,
}

impl Connects {
    pub(crate) fn run(&self, broker: &Broker, warm: Duration, time: Duration) -> Result<Outcome> {
        let place = |number| {
            let (name, login) = broker.login(number);
            let hello = hello(self.version, &name, &login);
            Place { stream: None, hello, begun: Instant::now(), accepted: false, came: Vec::new() }
        };
        let mut going = Going {
            road: broker.road(self.transport)?,
            version: self.version,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            places: (0..self.at_a_time).map(place).collect(),
            opened: 0,
            done: 0,
            latency: Histogram::new(),
        };
        for index in 0..self.at_a_time {
            going.begin(index)?;
        }
        going.go_on(warm)?;
        going.latency = Histogram::new();
        let before = (account::processor_time(broker.pid()), going.done, Instant::now());
        going.go_on(time)?;
        let (done, elapsed) = (going.done - before.1, before.2.elapsed());
        let processor = account::processor_time(broker.pid()) - before.0;
        if done == 0 {
            bail!("no connection came about");
        }
        Ok(Outcome {
            cost: processor.as_secs_f64() * 1e6 / done as f64,
            rate: done as f64 / elapsed.as_secs_f64(),
            latency: Some(going.latency.summary()),
            peak: account::peak(broker.pid()),
            count: done,
            wrong: Wrong::default(),
        })
    }
}

impl Going {
    fn begin(&mut self, index: usize) -> Result<()> {
        let place = &mut self.places[index];
        let mut stream = Stream::open(&self.road, self.opened).context("the broker does not accept")?;
        self.opened += 1;
        place.begun = Instant::now();
        place.accepted = false;
        place.came.clear();
        stream.put(&place.hello);
        let all = stream.flush()?;
        debug_assert!(all, "a new socket takes a packet");
        epoll::add(&self.epoll, stream.socket().as_fd(), EventData::new_u64(index as u64), EventFlags::IN)?;
        // The old one, if any, is closed now, and leaves the set by itself.
        place.stream = Some(stream);
        Ok(())
    }

    fn go_on(&mut self, time: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut last = (self.done, Instant::now());
        let timeout = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        while begun.elapsed() < time {
            let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 64];
            let count = epoll::wait(&self.epoll, &mut events, Some(&timeout))?;
            for event in &events[..count] {
                self.receive(event.data.u64() as usize)?;
            }
            if self.done != last.0 {
                last = (self.done, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                bail!("no connection came about for {PATIENCE:?}");
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        let version = self.version;
        let place = &mut self.places[index];
        let Some(stream) = &mut place.stream else { return Ok(()) };
        let mut buffer = [0; 4096];
        let count = match stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // After the good-bye nobody has to be polite.
            Err(_) if place.accepted => 0,
            Err(error) => return Err(error).context("a connection failed"),
        };
        if count == 0 {
            if !place.accepted {
                bail!("the broker closed a connection before it was accepted");
            }
            self.done += 1;
            return self.begin(index);
        }
        if place.accepted {
            return Ok(());
        }
        place.came.extend_from_slice(&buffer[..count]);
        match packet::first(&place.came, version) {
            None => Ok(()),
            Some((Came::ConnAck(true), _)) => {
                place.accepted = true;
                self.latency.add(place.begun.elapsed().as_nanos() as u64);
                stream.put(&[0xE0, 0]);
                stream.flush()?;
                Ok(())
            }
            Some((other, _)) => bail!("the broker says {other:?} to CONNECT"),
        }
    }
}
