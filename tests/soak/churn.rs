//! One round of everything that clients do. Each part leaves nothing behind, and says what went wrong.

use std::collections::HashMap;
use std::fmt;

use portcullis_tests::packets::Will;
use portcullis_tests::{Client, Dial, Gateway, Message, Transport, Version};

/// Clients that come and go in a round.
const COMERS: usize = 24;
/// Messages of each flow.
const FLOW: usize = 120;
/// Topics with a retained message.
const TOPICS: usize = 60;
/// Members of the shared group.
const MEMBERS: usize = 3;

/// What was done, and what went wrong.
#[derive(Default)]
pub(crate) struct Counts {
    connections: u64,
    published: u64,
    received: u64,
    reloads: u64,
    pub(crate) wrong: Vec<String>,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.published += other.published;
        self.received += other.received;
        self.reloads += other.reloads;
        self.wrong.extend(other.wrong.iter().cloned());
    }

    fn expect(&mut self, what: &str, expected: &[String], got: &[String]) {
        self.received += got.len() as u64;
        if expected == got {
            return;
        }
        let mut times: HashMap<&str, i64> = HashMap::new();
        expected.iter().for_each(|text| *times.entry(text).or_default() += 1);
        got.iter().for_each(|text| *times.entry(text).or_default() -= 1);
        let lost = times.values().filter(|times| **times > 0).count();
        let twice = times.values().filter(|times| **times < 0).count();
        let order = if lost + twice == 0 { ", out of order" } else { "" };
        self.wrong.push(format!("{what}: {lost} lost, {twice} too many{order}"));
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, published, received, reloads, wrong } = self;
        write!(
            f,
            "{connections} connections, {published} messages published, {received} received, {reloads} policies replaced, {} things wrong",
            wrong.len()
        )
    }
}

/// Everything, once, at one time.
pub(crate) async fn round(gateway: &Gateway, number: usize) -> Counts {
    let mut counts = Counts::default();
    let (a, b, c, d, e, f, g) = tokio::join!(
        comers(gateway, number),
        returning(gateway, number),
        expiring(gateway, number),
        retained(gateway),
        shared(gateway),
        flows(gateway, number),
        reloads(gateway),
    );
    for part in [a, b, c, d, e, f, g] {
        counts.add(&part);
    }
    counts
}

fn version(n: usize) -> Version {
    Version::ALL[n % Version::ALL.len()]
}

fn transport(n: usize) -> Transport {
    Transport::ALL[n % Transport::ALL.len()]
}

fn texts(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{what}-{n}")).collect()
}

async fn connect(dial: &Dial, counts: &mut Counts) -> Client {
    counts.connections += 1;
    dial.connect().await
}

async fn publish(client: &mut Client, message: Message, counts: &mut Counts) {
    counts.published += 1;
    let topic = message.topic.clone();
    let reason = client.publish(message).await;
    if reason >= 0x80 {
        counts.wrong.push(format!("a message to {topic} was refused with {reason:#04x}"));
    }
}

async fn take(client: &mut Client, count: usize) -> Vec<String> {
    let mut got = Vec::new();
    for _ in 0..count {
        got.push(String::from_utf8_lossy(&client.message().await.payload).into_owned());
    }
    // What came beyond is here before the answer to this.
    client.ping().await;
    while !client.set_aside().is_empty() {
        got.push(String::from_utf8_lossy(&client.message().await.payload).into_owned());
    }
    got
}

/// Clients that subscribe to much and leave again: properly, without a word, or with a will.
async fn comers(gateway: &Gateway, number: usize) -> Counts {
    let mut counts = Counts::default();
    let mut heir = connect(&gateway.tcp(Version::V5, "heir"), &mut counts).await;
    heir.subscribe("will/#", 2).await;
    let mut wills = Vec::new();
    for n in 0..COMERS {
        let mut dial = gateway.dial(transport(n), version(n + number), &format!("comer-{n}"));
        let last_words = n % 3 == 0;
        if last_words {
            let text = format!("will-{n}");
            dial = dial.will(Will::from(Message::new(format!("will/{n}"), text.clone()).qos((n % 2 + 1) as u8)));
            wills.push(text);
        }
        let mut client = connect(&dial, &mut counts).await;
        for filter in 0..8 {
            client.subscribe(&format!("comers/{n}/{filter}/+/#"), (filter % 3) as u8).await;
        }
        client.unsubscribe(&format!("comers/{n}/0/+/#")).await;
        client.ping().await;
        if last_words || n % 3 == 1 { drop(client) } else { client.disconnect().await }
    }
    let mut got = take(&mut heir, wills.len()).await;
    // Each will has a connection of its own behind it: no order among them.
    got.sort();
    wills.sort();
    counts.expect("wills", &wills, &got);
    heir.disconnect().await;
    counts
}

/// Stored sessions whose clients go and come back for what was sent meanwhile.
async fn returning(gateway: &Gateway, number: usize) -> Counts {
    let mut counts = Counts::default();
    let mut publisher = connect(&gateway.tcp(Version::V5, "sender"), &mut counts).await;
    for qos in [1, 2] {
        let version = version(number + usize::from(qos));
        let name = format!("returning-{qos}");
        let stored = gateway.tcp(version, &name).durable();
        let topic = format!("returning/{qos}");
        let mut client = connect(&stored, &mut counts).await;
        client.subscribe(&topic, qos).await;
        client.disconnect().await;
        let expected = texts(&topic, FLOW);
        for text in &expected {
            publish(&mut publisher, Message::new(topic.clone(), text.clone()).qos(qos), &mut counts).await;
        }
        let mut client = connect(&stored, &mut counts).await;
        if !client.session_present && version != Version::V31 {
            counts.wrong.push(format!("the session of {name} is gone"));
        }
        let got = take(&mut client, expected.len()).await;
        counts.expect(&name, &expected, &got);
        client.disconnect().await;
        // A clean session in its place: nothing of it is to be left.
        connect(&gateway.tcp(version, &name), &mut counts).await.disconnect().await;
    }
    publisher.disconnect().await;
    counts
}

/// Stored sessions that nobody comes back for, with messages and a delayed will.
async fn expiring(gateway: &Gateway, number: usize) -> Counts {
    let mut counts = Counts::default();
    let mut publisher = connect(&gateway.tcp(Version::V311, "expiring-sender"), &mut counts).await;
    for n in 0..6 {
        let mut will = Will::from(Message::new(format!("late/{n}"), "late"));
        will.delay = Some(60);
        let dial = gateway
            .tcp(Version::V5, &format!("expiring-{number}-{n}"))
            .with(|properties| properties.session_expiry_interval = Some(1))
            .will(will);
        let mut client = connect(&dial, &mut counts).await;
        client.subscribe(&format!("expiring/{n}"), 2).await;
        drop(client);
        for qos in [1, 2] {
            publish(&mut publisher, Message::new(format!("expiring/{n}"), vec![b'x'; 500]).qos(qos), &mut counts).await;
        }
    }
    publisher.disconnect().await;
    counts
}

/// Retained messages: set, replaced, found, cleared; and some that expire by themselves.
async fn retained(gateway: &Gateway) -> Counts {
    let mut counts = Counts::default();
    let mut client = connect(&gateway.tcp(Version::V5, "keeper"), &mut counts).await;
    for text in ["old", "new"] {
        for n in 0..TOPICS {
            let message = Message::new(format!("kept/{}/{n}", n % 7), format!("{text}-{n:03}"));
            publish(&mut client, message.qos((n % 3) as u8).retained(), &mut counts).await;
        }
    }
    for n in 0..TOPICS / 4 {
        let message = Message::new(format!("brief/{n}"), "brief").qos(1).retained();
        let brief = message.with(|properties| properties.message_expiry_interval = Some(1));
        publish(&mut client, brief, &mut counts).await;
    }
    client.subscribe("kept/+/+", 1).await;
    let mut got = take(&mut client, TOPICS).await;
    got.sort();
    let expected: Vec<String> = (0..TOPICS).map(|n| format!("new-{n:03}")).collect();
    counts.expect("retained", &expected, &got);
    client.unsubscribe("kept/+/+").await;
    for n in 0..TOPICS {
        publish(&mut client, Message::new(format!("kept/{}/{n}", n % 7), "").qos(1).retained(), &mut counts).await;
    }
    client.disconnect().await;
    counts
}

/// A group that shares a subscription: each message to one of them.
async fn shared(gateway: &Gateway) -> Counts {
    let mut counts = Counts::default();
    let mut members = Vec::new();
    for n in 0..MEMBERS {
        let mut member = connect(&gateway.tcp(Version::V5, &format!("member-{n}")), &mut counts).await;
        member.subscribe("$share/crew/work/+", 1).await;
        members.push(member);
    }
    let mut publisher = connect(&gateway.tcp(Version::V311, "boss"), &mut counts).await;
    let mut expected = texts("work", FLOW);
    for text in &expected {
        publish(&mut publisher, Message::new("work/now", text.clone()).qos(1), &mut counts).await;
    }
    let mut got = Vec::new();
    for member in &mut members {
        got.append(&mut take(member, 0).await);
    }
    expected.sort();
    got.sort();
    counts.expect("shared", &expected, &got);
    for client in members.into_iter().chain([publisher]) {
        client.disconnect().await;
    }
    counts
}

/// Messages of each quality of service to a client that is there.
async fn flows(gateway: &Gateway, number: usize) -> Counts {
    let mut counts = Counts::default();
    for qos in 0..3 {
        let way = transport(number + usize::from(qos));
        let topic = format!("flow/{qos}");
        let mut listener = connect(&gateway.dial(way, version(number), &format!("listener-{qos}")), &mut counts).await;
        listener.subscribe(&topic, qos).await;
        let mut speaker =
            connect(&gateway.dial(way, version(number + 1), &format!("speaker-{qos}")), &mut counts).await;
        let expected = texts(&topic, FLOW);
        for text in &expected {
            publish(&mut speaker, Message::new(topic.clone(), text.clone()).qos(qos), &mut counts).await;
        }
        let got = take(&mut listener, expected.len()).await;
        counts.expect(&topic, &expected, &got);
        speaker.disconnect().await;
        listener.disconnect().await;
    }
    counts
}

/// The policy in front of everybody is replaced while they come in.
async fn reloads(gateway: &Gateway) -> Counts {
    let answer = gateway.admin().post("/api/v1/policies/anonymous/reload", &serde_json::Value::Null).await;
    let mut counts = Counts { reloads: 1, ..Counts::default() };
    if answer.status != 200 {
        counts.wrong.push(format!("the policy was not replaced: {} {}", answer.status, answer.body));
    }
    counts
}
