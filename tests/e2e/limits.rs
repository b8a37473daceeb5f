//! Limits at the door: who is over one is told so in the protocol's own words, and a crowd of such is bounded itself.

use std::net::SocketAddr;

use portcullis_tests::{Client, Config, Dial, Gateway, Refused, Transport, Version, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// All four transports and HTTP, each with this limit.
async fn limited(limit: &str) -> Gateway {
    let limits = format!("limits = {{ {limit} }}");
    let config = Transport::ALL.into_iter().fold(Config::new(), |config, transport| {
        config.mqtt_with(transport.name(), transport, &["anonymous"], &limits)
    });
    let http = format!("[[listener]]\nname = \"http\"\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n{limits}");
    Gateway::start(&config.toml(&http)).await
}

/// The sum of a listener's samples of a metric whose line has these words.
async fn count(gateway: &Gateway, metric: &str, words: &[&str]) -> u64 {
    let text = gateway.admin().get("/metrics").await.body;
    let lines = text.lines().filter(|line| line.starts_with(metric) && words.iter().all(|word| line.contains(word)));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// Waits until so many refusals of a listener were told: they are counted a moment after the client has heard.
async fn told(gateway: &Gateway, listener: &str, wanted: u64) {
    let listener = format!("{listener:?}");
    within("the count of refusals", async {
        while count(gateway, "portcullis_listener_refusals_told_total", &[&listener]).await != wanted {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Sends a request, and gives the answer up to the end. Who takes more than two seconds to ask gets none: then it is sent again.
async fn request(address: SocketAddr, request: &[u8]) -> String {
    within("an answer", async {
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.write_all(request).await;
            let _ = stream.read_to_end(&mut answer).await;
            if !answer.is_empty() {
                return String::from_utf8(answer).unwrap();
            }
        }
    })
    .await
}

/// Connects until it is told why not: who takes more than two seconds to say CONNECT is closed without a word. Counts how
/// often it came.
async fn refused(dial: Dial, came: &mut u64) -> (u8, Option<String>) {
    within("a refusal in words", async {
        loop {
            *came += 1;
            match dial.attempt().await {
                Err(Refused::Code(code, text)) => return (code, text),
                Err(Refused::Closed | Refused::Link(_)) => {}
                Ok(_) => panic!("{} was let in", dial.hello.client_id),
            }
        }
    })
    .await
}

const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Connects until one is let in: a place is free some moments after whoever had it has gone.
async fn let_in(dial: &Dial) -> Client {
    within("a free place", async {
        loop {
            match dial.attempt().await {
                Ok(client) => return client,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let gateway = limited("max-connections = 1").await;
    let mut holders = Vec::new();
    for transport in Transport::ALL {
        holders.push(gateway.dial(transport, Version::V5, transport.name()).connect().await);
    }
    let mut came = 0;
    let late = refused(gateway.tcp(Version::V5, "late"), &mut came).await;
    assert_eq!(late, (0x97, Some("too many connections".to_owned())));
    for version in [Version::V31, Version::V311] {
        assert_eq!(refused(gateway.tcp(version, "late"), &mut came).await.0, 3, "{version:?}");
    }
    // Where not even the text of the reason fits.
    let tight = gateway.tcp(Version::V5, "tight").with(|properties| properties.max_packet_size = Some(20));
    assert_eq!(refused(tight, &mut came).await, (0x97, None));
    let answer = request(gateway.address("ws"), UPGRADE).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: "), "{answer}");
    // Within TLS nobody is told: it would take a handshake.
    for transport in [Transport::Tls, Transport::Wss] {
        let late = gateway.dial(transport, Version::V5, "late").attempt().await;
        assert!(matches!(late, Err(Refused::Link(_))), "{}", transport.name());
    }
    assert_eq!(count(&gateway, "portcullis_listener_accepts_total", &["\"tcp\"", "\"full\""]).await, came);
    told(&gateway, "tcp", 4).await;
    told(&gateway, "ws", 1).await;
    told(&gateway, "tls", 0).await;
    for (transport, holder) in Transport::ALL.into_iter().zip(holders) {
        holder.disconnect().await;
        let_in(&gateway.dial(transport, Version::V311, "next")).await.disconnect().await;
    }
}

#[tokio::test]
async fn http_clients_too_many_are_told_so() {
    let gateway = limited("max-connections = 1").await;
    let address = gateway.address("http");
    let get = b"GET /version HTTP/1.1\r\nHost: gateway\r\n\r\n";
    let mut holder = TcpStream::connect(address).await.unwrap();
    holder.write_all(get).await.unwrap();
    let mut answer = [0; 12];
    within("an answer", holder.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let late = request(address, get).await;
    assert!(late.starts_with("HTTP/1.1 503 ") && late.contains("\r\nRetry-After: "), "{late}");
    assert!(count(&gateway, "portcullis_listener_accepts_total", &["\"http\"", "\"full\""]).await >= 1);
}

#[tokio::test]
async fn connections_too_fast_are_told_so() {
    for limit in ["connect-rate", "connect-rate-per-address"] {
        let gateway = limited(&format!("{limit} = \"1/s\"")).await;
        let mut heard = 0;
        for (version, code) in [(Version::V31, 3), (Version::V311, 3), (Version::V5, 0x9f)] {
            // One a second, and all of these at once: unless the machine takes ten seconds for them, some are refused.
            let mut attempts = tokio::task::JoinSet::new();
            for number in 0..10 {
                let dial = gateway.tcp(version, &format!("client-{number}"));
                attempts.spawn(async move { dial.attempt().await.map(drop) });
            }
            let refused: Vec<_> = attempts.join_all().await.into_iter().filter_map(Result::err).collect();
            // Who is slow to say CONNECT is closed without a word.
            let words: Vec<_> = refused.iter().filter(|refused| matches!(refused, Refused::Code(..))).collect();
            let right = |words: &&Refused| matches!(words, Refused::Code(said, _) if *said == code);
            assert!(!words.is_empty() && words.iter().all(right), "{limit}, {version:?}: {refused:?}");
            heard += words.len() as u64;
        }
        let refused = count(&gateway, "portcullis_listener_accepts_total", &["\"tcp\"", "\"rate\""]).await;
        assert!(refused >= heard, "{refused} were refused, and {heard} heard of it");
        told(&gateway, "tcp", heard).await;
    }
}

#[tokio::test]
async fn a_crowd_over_the_limit_is_bounded_and_passes() {
    const CROWD: usize = 300;
    const TOLD: usize = 64;
    let gateway = limited("max-connections = 1").await;
    let mut holder = gateway.tcp(Version::V5, "holder").connect().await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count();
    let before = descriptors();
    // Half a CONNECT each: whoever is to be told keeps its place for as long as it may.
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..CROWD {
        let mut stream = TcpStream::connect(gateway.address("tcp")).await.unwrap();
        crowd.spawn(async move {
            let _ = stream.write_all(b"\x10\x0d\0\x04MQ").await;
            let _ = within("the end of a connection", stream.read_to_end(&mut Vec::new())).await;
        });
        // Some headroom for what the gateway itself opens.
        assert!(descriptors() <= before + TOLD + 8, "{} more descriptors", descriptors() - before);
    }
    holder.ping().await;
    crowd.join_all().await;
    assert_eq!(count(&gateway, "portcullis_listener_accepts_total", &["\"tcp\"", "\"full\""]).await, CROWD as u64);
    told(&gateway, "tcp", 0).await;
    assert_eq!(refused(gateway.tcp(Version::V5, "late"), &mut 0).await.0, 0x97, "there is room for words again");
    holder.disconnect().await;
    let_in(&gateway.tcp(Version::V5, "next")).await.disconnect().await;
}
