//! The work that a broker is given: who publishes what to whom.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use portcullis_tests::{Transport, Version};

use crate::account;
use crate::broker::Broker;
use crate::client::{Client, Hearing, hello};
use crate::engine::Engine;
use crate::histogram::Histogram;
use crate::judge::{Reception, Share};
use crate::outcome::Outcome;
use crate::packet::Template;
use crate::priority;
use crate::publisher::Publisher;

/// Who publishes to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// So many publishers with a subscriber each.
    Pairs(usize),
    /// So many publishers, one subscriber.
    FanIn(usize),
    /// One publisher, so many subscribers.
    FanOut(usize),
    /// So many clients: each publishes, and hears all.
    Mesh(usize),
    /// Publishers, and members of one shared subscription.
    Shared(usize, usize),
}

/// Messages from clients to clients.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) pattern: Pattern,
    pub(crate) qos: u8,
    /// Messages of a publisher that may be on their way.
    pub(crate) window: u64,
    pub(crate) payload: usize,
    pub(crate) transport: Transport,
    pub(crate) version: Version,
    /// Topics of each publisher, which it takes in turn. With more than one, every other one is heard through a wildcard.
    pub(crate) topics: usize,
    /// Messages a second, all together; none: as fast as the windows let them.
    pub(crate) rate: Option<u64>,
    /// What its topics begin with, where several are under way at the same time.
    pub(crate) branch: &'static str,
    /// The sessions of subscribers outlive their connections: what an acknowledgement promises them has to be kept.
    pub(crate) stored: bool,
}

impl Work {
    pub(crate) fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            qos: 0,
            window: 64,
            payload: 64,
            transport: Transport::Tcp,
            version: Version::V311,
            topics: 1,
            rate: None,
            branch: "load",
            stored: false,
        }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn window(mut self, window: u64) -> Self {
        self.window = window;
        self
    }

    pub(crate) fn payload(mut self, payload: usize) -> Self {
        self.payload = payload;
        self
    }

    pub(crate) fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    pub(crate) fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn topics(mut self, topics: usize) -> Self {
        self.topics = topics;
        self
    }

    pub(crate) fn rate(mut self, rate: u64) -> Self {
        self.rate = Some(rate);
        self
    }

    pub(crate) fn branch(mut self, branch: &'static str) -> Self {
        self.branch = branch;
        self
    }

    pub(crate) fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    /// Publishers and subscribers.
    fn clients(&self) -> (usize, usize) {
        match self.pattern {
            Pattern::Pairs(count) => (count, count),
            Pattern::FanIn(count) => (count, 1),
            Pattern::FanOut(count) => (1, count),
            Pattern::Mesh(count) => (count, count),
            Pattern::Shared(publishers, members) => (publishers, members),
        }
    }

    fn topic(&self, publisher: usize, number: usize) -> String {
        let branch = self.branch;
        if self.topics == 1 { format!("{branch}/{publisher}") } else { format!("{branch}/{publisher}/{number}/value") }
    }

    /// What the subscriber with this number subscribes to.
    fn filters(&self, subscriber: usize) -> Vec<(String, u8)> {
        let own = |number| {
            let topic = self.topic(subscriber, number);
            if number % 2 == 1 { format!("{}/{subscriber}/{number}/+", self.branch) } else { topic }
        };
        match self.pattern {
            Pattern::Pairs(_) => (0..self.topics).map(|number| (own(number), self.qos)).collect(),
            Pattern::FanOut(_) => vec![(self.topic(0, 0), self.qos)],
            Pattern::FanIn(_) | Pattern::Mesh(_) => vec![(format!("{}/#", self.branch), self.qos)],
            Pattern::Shared(..) => vec![(format!("$share/group/{}/#", self.branch), self.qos)],
        }
    }

    /// Does it for so long, after a time that is not counted.
    pub(crate) fn run(&self, broker: &Broker, warm: Duration, time: Duration) -> Result<Outcome> {
        if self.rate.is_none() {
            return self.measure(broker, warm, time);
        }
        // On a thread of its own, which is served first: this one starts brokers as well.
        let measured = thread::scope(|scope| {
            let kept = scope.spawn(|| {
                priority::first();
                self.measure(broker, warm, time)
            });
            kept.join()
        });
        measured.unwrap_or_else(|_| bail!("the thread that keeps the rate failed"))
    }

    fn measure(&self, broker: &Broker, warm: Duration, time: Duration) -> Result<Outcome> {
        let mut engine = self.prepare(broker)?;
        engine.saturate_or_pace(self.rate, warm)?;
        if self.rate.is_some() {
            engine.latency = Some(Histogram::new());
        }
        let before = (account::processor_time(broker.pid()), engine.delivered, Instant::now());
        engine.saturate_or_pace(self.rate, time)?;
        let processor = account::processor_time(broker.pid()) - before.0;
        let (delivered, elapsed) = (engine.delivered - before.1, before.2.elapsed());
        let latency = engine.latency.take();
        engine.drain()?;
        ensure!(delivered > 0, "nothing was delivered");
        Ok(Outcome {
            cost: processor.as_secs_f64() * 1e6 / delivered as f64,
            rate: delivered as f64 / elapsed.as_secs_f64(),
            latency: latency.filter(|latency| latency.total() > 0).map(|latency| latency.summary()),
            peak: account::peak(broker.pid()),
            count: engine.delivered,
            wrong: engine.judge(),
        })
    }

    /// Connects everybody.
    fn prepare(&self, broker: &Broker) -> Result<Engine> {
        let road = broker.road(self.transport)?;
        let (publishers, subscribers) = self.clients();
        let mesh = matches!(self.pattern, Pattern::Mesh(_));
        let open = |number: usize, filters: &[(String, u8)]| {
            let (name, mut login) = broker.login(number);
            login.stays = self.stored && !filters.is_empty();
            // Not every broker takes a slash here.
            let name = name + &self.branch.trim_start_matches("load").replace('/', "-");
            let hello = hello(self.version, &name, &login);
            Client::open(&road, number, self.version, &hello, filters)
                .with_context(|| format!("client {number} of {}", publishers + subscribers))
        };
        let mut clients = Vec::new();
        for number in 0..subscribers {
            let mut client = open(number, &self.filters(number))?;
            client.hearing = match self.pattern {
                Pattern::Pairs(_) => Hearing::All(Reception::of(number as u32..number as u32 + 1)),
                Pattern::FanOut(_) => Hearing::All(Reception::of(0..1)),
                Pattern::FanIn(count) | Pattern::Mesh(count) => Hearing::All(Reception::of(0..count as u32)),
                Pattern::Shared(count, _) => Hearing::Part(Share::of(count as u32)),
            };
            clients.push(client);
        }
        let fan = match self.pattern {
            Pattern::FanOut(count) | Pattern::Mesh(count) => count as u64,
            Pattern::Pairs(_) | Pattern::FanIn(_) | Pattern::Shared(..) => 1,
        };
        let mut sources = Vec::new();
        for number in 0..publishers {
            let client = if mesh {
                number
            } else {
                clients.push(open(subscribers + number, &[])?);
                clients.len() - 1
            };
            let template =
                |topic| Template::new(self.version, &self.topic(number, topic), self.payload, self.qos, false);
            let templates = (0..self.topics).map(template).collect();
            sources.push(Publisher::new(number as u32, client, templates, self.qos, self.window, fan));
        }
        Engine::new(clients, sources, matches!(self.pattern, Pattern::Shared(..)))
    }
}
