//! Any bytes on any port: no panic, bounded memory, and everyone else is served as before.

use std::net::SocketAddr;

use portcullis_tests::packets::{self, packet};
use portcullis_tests::{Config, Gateway, Link, Message, Transport, Version, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A small generator (xorshift64*): the same octets at each run, so that a failure can be repeated.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn octets(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// Writes octets to a port, closes the sending side, and reads to the end.
async fn throw(address: SocketAddr, octets: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("the port still accepts");
    // The gateway may close as soon as it has seen enough.
    let _ = stream.write_all(octets).await;
    let _ = stream.shutdown().await;
    let mut sink = Vec::new();
    let _ = within("the end of a connection", stream.read_to_end(&mut sink)).await;
}

async fn still_serves(gateway: &Gateway) {
    let mut client = gateway.tcp(Version::V5, "sane").connect().await;
    client.subscribe("sane", 1).await;
    client.publish(Message::new("sane", "yes").qos(1)).await;
    assert_eq!(&client.message().await.payload[..], b"yes");
    client.disconnect().await;
}

#[tokio::test]
async fn garbage_on_every_port_harms_nobody() {
    let gateway = Gateway::start(&Config::everywhere(&["anonymous"]).http()).await;
    let mut bystander = gateway.tcp(Version::V5, "bystander").connect().await;
    bystander.subscribe("bystander", 1).await;
    let mut noise = Noise(0x5eed);
    let ports: Vec<SocketAddr> = gateway.ready().values().copied().collect();
    for round in 0..60 {
        for address in &ports {
            let length = 1 + noise.below(2_000);
            throw(*address, &noise.octets(length)).await;
        }
        let _ = round;
    }
    bystander.publish(Message::new("bystander", "unharmed").qos(1)).await;
    assert_eq!(&bystander.message().await.payload[..], b"unharmed");
    still_serves(&gateway).await;
}

#[tokio::test]
async fn mutated_packets_harm_nobody() {
    let gateway = Gateway::start(&Config::everywhere(&["anonymous"])).await;
    let mut noise = Noise(0xfeed);
    for round in 0..400 {
        let version = if round % 2 == 0 { Version::V5 } else { Version::V311 };
        let transport = Transport::ALL[round % 4];
        let dial = gateway.dial(transport, version, "mutant").will(Message::new("will", "w").qos(1));
        let filter = mqttbytes::v5::SubscribeFilter::new("a/+/#".into(), mqttbytes::QoS::AtLeastOnce);
        let mut stream = if round % 3 == 0 { Vec::new() } else { packets::connect(&dial.hello).to_vec() };
        let untouched = stream.len();
        stream.extend_from_slice(&packets::connect(&dial.hello));
        stream.extend_from_slice(&packets::subscribe(version, 1, None, &[filter]));
        let mut message = Message::new("a/b", "payload").qos(2);
        message.id = 2;
        message.properties.user_properties = vec![("name".into(), "value".into())];
        stream.extend_from_slice(&packets::publish(version, &message));
        stream.extend_from_slice(&packets::acknowledgement(0x62, 2));
        stream.extend_from_slice(&packets::unsubscribe(version, 3, "a/+/#"));
        for _ in 0..1 + noise.below(6) {
            let at = untouched + noise.below(stream.len() - untouched);
            stream[at] = (noise.next() >> 32) as u8;
        }
        let mut link = dial.route.open().await.unwrap();
        let _ = link.send(&stream).await;
        close(link).await;
    }
    still_serves(&gateway).await;
}

/// Ends a link from this side and waits for the other to follow.
async fn close(link: Link) {
    match link {
        Link::Stream(mut stream) => {
            let _ = stream.shutdown().await;
            let mut sink = Vec::new();
            let _ = within("the end of a connection", stream.read_to_end(&mut sink)).await;
        }
        Link::WebSocket(mut socket) => {
            use futures_util::StreamExt;
            let _ = socket.close(None).await;
            within("the end of a connection", async { while let Some(Ok(_)) = socket.next().await {} }).await;
        }
    }
}

#[tokio::test]
async fn promises_of_large_packets_cost_nothing() {
    const CONNECTIONS: usize = 300;
    let gateway = Gateway::start(&Config::tcp(&["anonymous"])).await;
    still_serves(&gateway).await;
    let (before, _) = gateway.memory();
    let mut held = Vec::new();
    for number in 0..CONNECTIONS {
        // A header that promises 200 MiB, or as much as the listener takes, and then nothing.
        let mut stream = TcpStream::connect(gateway.address("tcp")).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&[0x10, 0xff, 0xff, 0xff, 0x64]).await.unwrap();
        } else {
            let hello = gateway.tcp(Version::V5, &format!("promiser-{number}")).hello;
            stream.write_all(&packets::connect(&hello)).await.unwrap();
            let mut ack = [0; 4];
            within("CONNACK", stream.read_exact(&mut ack)).await.unwrap();
            stream.write_all(&packet(0x30, &[])[..1]).await.unwrap();
            stream.write_all(&[0xff, 0xff, 0x0f]).await.unwrap();
        }
        held.push(stream);
    }
    still_serves(&gateway).await;
    let (after, _) = gateway.memory();
    let each = after.saturating_sub(before) / CONNECTIONS as u64;
    assert!(each < 64 * 1024, "{each} octets for each promise");
}

#[tokio::test]
async fn half_a_large_packet_holds_what_has_come_of_it_and_gives_it_back() {
    const CONNECTIONS: usize = 200;
    const SENT: usize = 100_000;
    let gateway = Gateway::start(&Config::tcp(&["anonymous"])).await;
    still_serves(&gateway).await;
    let (before, _) = gateway.memory();
    let more = || gateway.memory().0.saturating_sub(before) as usize / CONNECTIONS;
    let mut message = Message::new("large", vec![b'x'; 250_000]).qos(1);
    message.id = 1;
    let bytes = packets::publish(Version::V311, &message);
    let mut held = Vec::new();
    for number in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(gateway.address("tcp")).await.unwrap();
        let hello = gateway.tcp(Version::V311, &format!("half-{number}")).hello;
        stream.write_all(&packets::connect(&hello)).await.unwrap();
        stream.write_all(&bytes[..SENT]).await.unwrap();
        held.push(stream);
    }
    within("the halves of all packets", async {
        while more() < SENT {
            still_serves(&gateway).await;
        }
    })
    .await;
    // What has come, room for as much again and one read, which may be memory that was somebody's before. What they grew out
    // of is given back when the allocator comes to it.
    within("the memory of halves that were smaller", async {
        while more() >= 3 * SENT {
            still_serves(&gateway).await;
        }
    })
    .await;
    for mut stream in held {
        stream.write_all(&bytes[SENT..]).await.unwrap();
        let mut answers = [0; 8];
        within("CONNACK and PUBACK", stream.read_exact(&mut answers)).await.unwrap();
        assert_eq!((answers[0], answers[4]), (0x20, 0x40));
    }
    within("the memory of what was held", async {
        while more() > SENT / 2 {
            still_serves(&gateway).await;
        }
    })
    .await;
}

#[tokio::test]
async fn http_garbage_is_answered_or_closed() {
    let gateway = Gateway::start(&Config::everywhere(&["anonymous"]).http()).await;
    let heads: [&[u8]; 6] = [
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nzzzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\r\n",
    ];
    for listener in ["http", "admin", "ws"] {
        for head in heads {
            throw(gateway.address(listener), head).await;
        }
        let mut endless = b"GET / HTTP/1.1\r\n".to_vec();
        for number in 0..20_000 {
            endless.extend_from_slice(format!("x-{number}: y\r\n").as_bytes());
        }
        throw(gateway.address(listener), &endless).await;
    }
    still_serves(&gateway).await;
}
