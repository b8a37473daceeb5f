//! What is measured: the rows of the table, who does each, and how each compares.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use portcullis_tests::{Transport, Version};

use crate::broker::{Broker, DEVICES, Front, Subject};
use crate::connects::Connects;
use crate::outcome::Outcome;
use crate::priority;
use crate::still;
use crate::work::{Pattern, Work};

/// A piece of work that a broker is given.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Messages(Work),
    Connects(Connects),
    /// Connections that do nothing.
    Idle(Transport, usize),
    /// Retained messages for somebody who subscribes.
    Retained(usize),
    /// A light client beside two that publish as fast as they can; the figures are the light one's.
    Beside,
}

/// What the first figure of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Microseconds of processor time a message.
    Message,
    /// Microseconds of processor time a connection.
    Connection,
    /// Octets a connection.
    Octets,
}

impl Unit {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Message => "CPU µs a message",
            Self::Connection => "CPU µs a connection",
            Self::Octets => "octets each",
        }
    }
}

/// What a row is to come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Its figure is to be at most (a rate: at least) so many times …
    pub(crate) bound: f64,
    pub(crate) of: Base,
    pub(crate) figure: Figure,
}

/// … that of another row or broker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    /// Another broker at the same work.
    Broker(&'static str),
    /// The gateway itself at the work of another row.
    Row(&'static str),
    /// The gateway with the policy `anonymous` at the same work.
    Anonymous,
    /// Nobody: the figure itself.
    Absolute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    Cost,
    Rate,
    P50,
    P99,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) job: Job,
    pub(crate) targets: Vec<Target>,
    /// Fronts of the gateway besides the usual two.
    pub(crate) fronts: Vec<Front>,
}

impl Job {
    /// Does the work.
    pub(crate) fn run(&self, broker: &Broker, time: Duration) -> Result<Outcome> {
        let warm = time / 4;
        let outcome = match self {
            Self::Messages(work) => work.run(broker, warm, time)?,
            Self::Connects(connects) => connects.run(broker, warm, time)?,
            Self::Idle(transport, count) => still::idle(broker, *transport, *count)?,
            Self::Retained(count) => still::retained(broker, *count)?,
            Self::Beside => beside(broker, warm, time)?,
        };
        ensure!(outcome.count > 0, "nothing came");
        if !outcome.wrong.is_none() {
            bail!("{:?} of {}", outcome.wrong, outcome.count);
        }
        Ok(outcome)
    }

    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Messages(work) => work.transport,
            Self::Connects(connects) => connects.transport,
            Self::Idle(transport, _) => *transport,
            Self::Retained(_) | Self::Beside => Transport::Tcp,
        }
    }
}

fn beside(broker: &Broker, warm: Duration, time: Duration) -> Result<Outcome> {
    let heavy = Work::new(Pattern::Pairs(2)).window(1000).branch("load/heavy");
    let light = Work::new(Pattern::Pairs(1)).rate(200);
    thread::scope(|scope| {
        let heavy = scope.spawn(move || {
            priority::last();
            heavy.run(broker, warm, time + warm)
        });
        let figures = light.run(broker, warm, time);
        let Ok(heavy) = heavy.join() else { bail!("the saturating publishers failed") };
        let (mut figures, heavy) = (figures?, heavy?);
        // What the processor did was for the heavy ones.
        figures.cost = heavy.cost;
        figures.wrong += heavy.wrong;
        Ok(figures)
    })
}

fn row(key: &'static str, name: &'static str, unit: Unit, job: Job, targets: &[(f64, Base)]) -> Row {
    let targets = targets.iter().map(|(bound, of)| Target { bound: *bound, of: *of, figure: Figure::Cost });
    Row { key, name, unit, job, targets: targets.collect(), fronts: Vec::new() }
}

/// All rows. `scale` makes everything smaller: 1 is the whole.
pub(crate) fn rows(scale: usize) -> Vec<Row> {
    use Base::{Absolute, Anonymous, Broker, Row as Other};
    use Unit::{Connection, Message, Octets};
    let n = |count: usize| (count / scale).max(1);
    let messages = |work: Work| Job::Messages(work);
    let connects = |transport, at_a_time| Job::Connects(Connects { transport, version: Version::V311, at_a_time });
    let pairs = || Work::new(Pattern::Pairs(n(50)));
    let mut rows = vec![
        row(
            "fan-in",
            "QoS 0, fan-in 50→1",
            Message,
            messages(Work::new(Pattern::FanIn(n(50)))),
            &[(0.10, Broker("rumqttd")), (1.03, Anonymous)],
        ),
        row(
            "pairs",
            "QoS 0, 50 pairs",
            Message,
            messages(pairs()),
            &[(0.09, Broker("rumqttd")), (0.03, Broker("Mosquitto")), (1.03, Anonymous)],
        ),
        row("pairs-v5", "QoS 0, 50 pairs, MQTT 5", Message, messages(pairs().version(Version::V5)), &[]),
        row("qos1", "QoS 1, 50 pairs", Message, messages(pairs().qos(1)), &[(0.14, Broker("rumqttd"))]),
        row("qos2", "QoS 2, 50 pairs", Message, messages(pairs().qos(2)), &[(2.0, Other("qos1"))]),
        row(
            "fan-out",
            "QoS 0, fan-out 1→100",
            Message,
            messages(Work::new(Pattern::FanOut(n(100)))),
            &[(0.35, Broker("rumqttd"))],
        ),
        row(
            "fan-out-1000",
            "QoS 0, fan-out 1→1,000",
            Message,
            messages(Work::new(Pattern::FanOut(n(1000)))),
            &[(0.35, Broker("rumqttd"))],
        ),
        row("mesh", "QoS 0, 30 clients that hear each other", Message, messages(Work::new(Pattern::Mesh(n(30)))), &[]),
        row(
            "shared",
            "QoS 0, 50 publishers, one shared subscription of 10",
            Message,
            messages(Work::new(Pattern::Shared(n(50), n(10).max(2)))),
            &[],
        ),
        row(
            "sparse",
            "QoS 0, 200 pairs, one message each at a time",
            Message,
            messages(Work::new(Pattern::Pairs(n(200))).window(1)),
            &[(0.80, Broker("Mosquitto"))],
        ),
        row(
            "durable",
            "QoS 1, 50 pairs, sessions that are kept",
            Message,
            messages(pairs().qos(1).stored().branch("load/kept")),
            &[],
        ),
        row(
            "rate",
            "1,000 messages a second",
            Message,
            messages(Work::new(Pattern::Pairs(1)).rate(1000)),
            &[(0.9, Broker("Mosquitto"))],
        ),
        row(
            "ask",
            "QoS 0, 50 pairs, a policy was asked about each topic",
            Message,
            messages(pairs()),
            &[(1.5, Anonymous)],
        ),
        row("beside", "200 messages a second beside two saturating publishers", Message, Job::Beside, &[]),
        row(
            "subscriptions-1000",
            "QoS 0, 50 pairs, 1,000 subscriptions",
            Message,
            messages(pairs().topics(n(20))),
            &[],
        ),
        row(
            "subscriptions-100000",
            "QoS 0, 50 pairs, 100,000 subscriptions",
            Message,
            messages(pairs().topics(n(2000))),
            &[(1.5, Other("subscriptions-1000"))],
        ),
        row("retained", "10,000 retained messages for a new subscriber", Message, Job::Retained(n(10_000)), &[]),
        row("tls", "QoS 0, 50 pairs, TLS", Message, messages(pairs().transport(Transport::Tls)), &[]),
        row(
            "ws",
            "QoS 0, 50 pairs, WebSocket",
            Message,
            messages(pairs().transport(Transport::Ws)),
            &[(1.3, Other("pairs"))],
        ),
        row(
            "wss",
            "QoS 0, 50 pairs, WebSocket over TLS",
            Message,
            messages(pairs().transport(Transport::Wss)),
            &[(1.3, Other("tls"))],
        ),
        row(
            "connect",
            "connect and disconnect, 16 at a time",
            Connection,
            connects(Transport::Tcp, DEVICES),
            &[(1.0, Broker("Mosquitto"))],
        ),
        row(
            "connect-one",
            "connect and disconnect, one after the other",
            Connection,
            connects(Transport::Tcp, 1),
            &[(1.0, Broker("Mosquitto"))],
        ),
        row(
            "connect-tls",
            "connect and disconnect, TLS 1.3",
            Connection,
            connects(Transport::Tls, DEVICES),
            &[(0.6, Broker("Mosquitto"))],
        ),
        row("idle", "5,000 idle connections", Octets, Job::Idle(Transport::Tcp, n(5000)), &[(1000.0, Absolute)]),
        row(
            "idle-tls",
            "2,000 idle connections, TLS",
            Octets,
            Job::Idle(Transport::Tls, n(2000)),
            &[(12_288.0, Absolute)],
        ),
    ];
    for row in &mut rows {
        match row.key {
            "rate" => {
                for figure in [Figure::P50, Figure::P99] {
                    row.targets.push(Target { bound: 1.0, of: Broker("Mosquitto"), figure });
                }
            }
            "ask" => row.fronts = vec![Front::Ask],
            "beside" => row.targets.push(Target { bound: 500.0, of: Absolute, figure: Figure::P99 }),
            "durable" => {
                row.targets.push(Target { bound: 50_000.0, of: Absolute, figure: Figure::Rate });
                row.fronts = vec![Front::Forgetful];
            }
            key if key.starts_with("connect") => row.fronts = vec![Front::Device, Front::ApiKey],
            _ => {}
        }
    }
    rows
}

/// Who does the work of a row, in the order in which they take turns.
pub(crate) fn subjects(row: &Row, peers: &[Subject]) -> Vec<Subject> {
    if row.key == "ask" {
        return vec![Subject::Gateway(Front::Ask), Subject::Gateway(Front::Anonymous)];
    }
    let own = [Subject::gateway(), Subject::Gateway(Front::Anonymous)];
    let others = peers.iter().filter(|peer| peer.speaks(row.job.transport()) && peer.does(row.key)).cloned();
    own.into_iter().chain(row.fronts.iter().cloned().map(Subject::Gateway)).chain(others).collect()
}
