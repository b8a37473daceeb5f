//! More than the gateway can carry: subscribers that stop reading, connections that say nothing, publishers far faster
//! than their consumers. What it holds for them stays within a bound that is stated here, others are served meanwhile,
//! and when the pressure ends everything is as before.
//!
//! `PORTCULLIS_SLOW` says how many subscribers stop reading (5,000 unless told). Each takes a file descriptor here and one
//! in the gateway.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portcullis_tests::link::Link;
use portcullis_tests::packets::{self, Incoming};
use portcullis_tests::{Client, Config, Gateway, Hello, Message, Transport, Version, within};
use tokio::net::TcpSocket;

const MIB: u64 = 1 << 20;
/// `[limits] waiting-bytes`: what all subscribers together may have waiting.
const TOGETHER: u64 = 48 * MIB;
/// What each may have besides, and what a connection, its session and its subscription take.
const OF_EACH: u64 = 64 * 1024 + 24 * 1024;
/// What the gateway may take beside them, whatever their number: buffers of its threads, one fan-out that is not written
/// yet, what the allocator keeps.
const BESIDE: u64 = 96 * MIB;
/// How long half of the others' messages may take at most: publishers wait half a second for those who do not read, and the
/// rest is for a test that shares its machine. Of the other half a machine that stands still may delay some.
const HALF_WITHIN: Duration = Duration::from_secs(10);
/// Subscribers that connect at one time.
const AT_ONCE: usize = 100;

const LIMITS: &str = "limits = { queued-messages = 100, queued-bytes = \"64KiB\" }";

fn slow_ones() -> usize {
    std::env::var("PORTCULLIS_SLOW").map_or(5000, |text| text.parse().expect("PORTCULLIS_SLOW is a number"))
}

async fn gateway() -> Gateway {
    let config = Config::new().mqtt_with("tcp", Transport::Tcp, &["anonymous"], LIMITS);
    Gateway::start(&config.toml(&format!("[limits]\nwaiting-bytes = {:?}\n", format!("{}MiB", TOGETHER / MIB)))).await
}

/// A subscriber that has subscribed, whose socket takes little, and that nobody reads from.
async fn slow(gateway: &Gateway, number: usize) -> Client {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small window");
    let stream = within("a connection", socket.connect(gateway.address("tcp"))).await.expect("it is let in");
    let version = if number.is_multiple_of(2) { Version::V311 } else { Version::V5 };
    let mut client = Client::raw(Link::Stream(Box::new(stream)), version);
    client.send(&packets::connect(&Hello::plain(version, format!("slow-{number}")))).await.expect("CONNECT is sent");
    client.wait("CONNACK", |packet| matches!(packet, Incoming::ConnAck(_, 0, _)).then_some(())).await;
    client.subscribe("flood/#", (number % 2) as u8).await;
    client
}

/// A message from one client to another and back, with the pressure on; and how long that took.
async fn round_trip(speaker: &mut Client, listener: &mut Client) -> Duration {
    let begun = Instant::now();
    assert_eq!(speaker.publish(Message::new("calm", "?").qos(1)).await, 0);
    assert_eq!(listener.message().await.payload, "?");
    begun.elapsed()
}

#[tokio::test]
async fn subscribers_that_stop_reading_cost_what_is_stated_and_nobody_else() {
    let count = slow_ones();
    let gateway = gateway().await;
    let mut speaker = gateway.tcp(Version::V5, "speaker").connect().await;
    let mut listener = gateway.tcp(Version::V5, "listener").connect().await;
    listener.subscribe("calm", 1).await;
    let mut flooder = gateway.tcp(Version::V5, "flooder").connect().await;
    let flood: Vec<u8> = packets::publish(Version::V5, &Message::new("flood/0", vec![b'.'; 4096])).repeat(16);
    // Buffers grow by doubling, so that what waits may take twice its octets.
    let bound = gateway.memory().0 + 2 * TOGETHER + count as u64 * OF_EACH + BESIDE;
    let mut rounds = Vec::new();
    for round in 0..2 {
        let mut silent = Vec::with_capacity(count);
        while silent.len() < count {
            let next = silent.len()..count.min(silent.len() + AT_ONCE);
            silent.extend(join_all(next.map(|number| slow(&gateway, number))).await);
        }
        let (mut most, mut refused, mut took) = (0, 0, Vec::new());
        // Without a bound, 160 times 64 KiB would lie in memory for each of them.
        for part in 0..160 {
            within("room for the flood", flooder.send(&flood)).await.expect("the flood is sent");
            if part % 8 == 0 {
                let reason = flooder.publish(Message::new("flood/1", vec![b'.'; 4096]).qos(1)).await;
                assert!(matches!(reason, 0 | 0x97), "{reason:#04x}");
                refused += u32::from(reason == 0x97);
                took.push(round_trip(&mut speaker, &mut listener).await);
            }
            let now = gateway.memory().0;
            most = now.max(most);
            assert!(now <= bound, "round {round}: {now} octets for {count} silent subscribers, {bound} are allowed");
        }
        took.sort();
        assert!(took[took.len() / 2] <= HALF_WITHIN, "round {round}: others waited {took:?}");
        assert!(refused > 0, "round {round}: whoever publishes more than can be kept is told");
        let waiting = gateway.metric("portcullis_waiting_bytes").await;
        assert!(waiting <= TOGETHER + count as u64 * 64 * 1024, "{waiting} octets wait");
        drop(silent);
        gateway.until_metric("portcullis_connections", |connections| connections == 3).await;
        gateway.until_metric("portcullis_subscriptions", |subscriptions| subscriptions == 1).await;
        gateway.until_metric("portcullis_sessions", |sessions| sessions == 3).await;
        gateway.until_metric("portcullis_waiting_bytes", |octets| octets == 0).await;
        // Everything is as before: what is published is taken and arrives.
        listener.subscribe("flood/#", 1).await;
        assert_eq!(flooder.publish(Message::new("flood/1", "again").qos(1)).await, 0);
        assert_eq!(listener.message().await.payload, "again");
        listener.unsubscribe("flood/#").await;
        round_trip(&mut speaker, &mut listener).await;
        rounds.push(most);
    }
    assert!(rounds[1] <= rounds[0] + rounds[0] / 4 + 16 * MIB, "it grew from one round to the next: {rounds:?}");
}

#[tokio::test]
async fn a_flood_of_connections_lets_others_in_and_leaves_nothing_behind() {
    let gateway = gateway().await;
    let dial = gateway.tcp(Version::V5, "guest");
    dial.connect().await.disconnect().await;
    let (descriptors, memory) = (gateway.descriptors(), gateway.memory().0);
    for _ in 0..2 {
        let mut flood = Vec::new();
        for number in 0..400 {
            let mut link = dial.route.open().await.expect("the port accepts");
            match number % 4 {
                // Says nothing; half a CONNECT; garbage; comes in and stays.
                0 => {}
                1 => link.send(&[0x10, 0x20, 0, 4, b'M']).await.expect("it is sent"),
                2 => link.send(&[0xFF; 64]).await.expect("it is sent"),
                _ => {
                    let hello = Hello::plain(Version::V5, format!("crowd-{number}"));
                    link.send(&packets::connect(&hello)).await.expect("it is sent");
                }
            }
            flood.push(link);
            if number % 50 == 0 {
                dial.connect().await.disconnect().await;
            }
        }
        drop(flood);
        dial.connect().await.disconnect().await;
        gateway.until_metric("portcullis_connections", |connections| connections == 0).await;
        within("the descriptors to be given back", async {
            // The admin interface has one while it is asked.
            while gateway.descriptors() > descriptors + 1 {
                gateway.metric("portcullis_uptime_seconds").await;
            }
        })
        .await;
    }
    let now = gateway.memory().0;
    assert!(now <= memory + 32 * MIB, "{memory} octets before, {now} after");
}

#[tokio::test]
async fn a_publisher_faster_than_its_consumer_is_told_and_what_was_taken_arrives() {
    let gateway = gateway().await;
    let consumer = gateway.tcp(Version::V5, "consumer").durable();
    let mut client = consumer.connect().await;
    client.subscribe("work", 1).await;
    client.disconnect().await;
    let mut publisher = gateway.tcp(Version::V5, "publisher").connect().await;
    let mut next = 0u32;
    for _ in 0..2 {
        let mut taken = Vec::new();
        let mut refused = 0;
        for _ in 0..20 {
            let mut sent = Vec::new();
            for _ in 0..50 {
                next += 1;
                sent.push((publisher.post(Message::new("work", next.to_string()).qos(1)).await, next));
            }
            for (id, number) in sent {
                let reason = publisher
                    .wait("PUBACK", |packet| match packet {
                        Incoming::PubAck(acknowledged, reason) if *acknowledged == id => Some(*reason),
                        _ => None,
                    })
                    .await;
                match reason {
                    0 => taken.push(number.to_string()),
                    0x97 => refused += 1,
                    other => panic!("{number}: {other:#04x}"),
                }
            }
        }
        assert!(taken.len() >= 100 && refused > 0, "taken {}, refused {refused}", taken.len());
        let mut client = consumer.connect().await;
        for expected in &taken {
            assert_eq!(client.message().await.payload, expected.as_bytes());
        }
        client.ping().await;
        assert!(client.set_aside().is_empty());
        client.disconnect().await;
    }
    assert_eq!(publisher.publish(Message::new("work", "room again").qos(1)).await, 0);
}
