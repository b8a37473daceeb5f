//! Listeners with real sockets: hand-over, limits, hostile strangers, stopping.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use portcullis_net::{Bound, Rate, Transport};
use support::{Authority, PATIENCE, Running, soon, spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Waits until the listener's counters are as wanted. They change right after what a client sees of it.
async fn until(running: &Running, what: impl Fn(portcullis_net::ListenerStats) -> bool) {
    soon(async {
        while !what(running.listening.stats()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Whether the other side has closed. Any answer on the way is ignored.
async fn closed(stream: &mut tokio::net::TcpStream) {
    let mut sink = Vec::new();
    // A reset is an end as well.
    let _ = soon(stream.read_to_end(&mut sink)).await;
}

#[tokio::test]
async fn plain_tcp_is_handed_over_as_a_socket_ready_for_direct_writes() {
    let mut running = Running::start(spec(Transport::Tcp));
    let mut client = running.connect().await;
    let (mut socket, facts) = running.tcp().await;
    assert!(socket.nodelay().unwrap());
    assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(facts.peer, client.local_addr().unwrap().into());
    assert_eq!(facts.local, Some(running.address()));
    assert_eq!((&*facts.listener, facts.transport), ("test", Transport::Tcp));
    assert!(facts.details.is_none());
    socket.write_all(b"welcome").unwrap();
    let mut word = [0; 7];
    soon(client.read_exact(&mut word)).await.unwrap();
    assert_eq!(&word, b"welcome");
}

#[tokio::test]
async fn a_peer_that_came_mapped_into_ipv6_is_unmapped() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // A machine without IPv6 has nothing to show here.
    }
    let mut dual = spec(Transport::Tcp);
    dual.bind = vec!["[::]:0".parse::<std::net::SocketAddr>().unwrap().into()];
    let mut running = Running::start(dual);
    let port = running.address().port();
    let client = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert_eq!(running.tcp().await.1.peer, client.local_addr().unwrap().into());
}

#[tokio::test]
async fn a_place_is_taken_until_its_guard_is_dropped() {
    let mut one = spec(Transport::Tcp);
    one.live.max_connections = 1;
    let mut running = Running::start(one);
    let _client = running.connect().await;
    let (_socket, facts) = running.tcp().await;
    closed(&mut running.connect().await).await;
    until(&running, |stats| stats.refused_full == 1 && stats.open == 1).await;
    assert_eq!(running.listening.wait_until_idle(Duration::ZERO).await, 1);
    drop(facts);
    assert_eq!(running.listening.wait_until_idle(PATIENCE).await, 0);
    let _again = running.connect().await;
    running.tcp().await;
    assert_eq!(running.listening.stats().accepted, 2);
}

#[tokio::test]
async fn limits_change_while_the_listener_runs() {
    let mut running = Running::start(spec(Transport::Tcp));
    let mut live = (*running.listening.live()).clone();
    live.connect_rate_per_address = Some(Rate { per_second: 1, burst: 1 });
    running.listening.update(live.clone()).unwrap();
    let _first = running.connect().await;
    running.tcp().await;
    closed(&mut running.connect().await).await;
    until(&running, |stats| stats.refused_rate == 1).await;
    live.connect_rate_per_address = None;
    live.connect_rate = Some(Rate { per_second: 0, burst: 0 });
    running.listening.update(live.clone()).unwrap();
    closed(&mut running.connect().await).await;
    until(&running, |stats| stats.refused_rate == 2).await;
    live.connect_rate = None;
    running.listening.update(live).unwrap();
    let _last = running.connect().await;
    running.tcp().await;
}

#[tokio::test]
async fn who_never_finishes_a_handshake_is_disconnected() {
    let authority = Authority::new("ca");
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss] {
        let mut quick = spec(transport).with_tls(support_tls(&authority));
        quick.live.handshake_timeout = Duration::from_millis(50);
        let mut running = Running::start(quick);
        let mut client = running.connect().await;
        // The beginning of something that fits the transport.
        client.write_all(if transport.is_tls() { &[0x16, 3, 1, 0, 200] } else { b"GET /mq" }).await.unwrap();
        closed(&mut client).await;
        until(&running, |stats| stats.handshakes_failed == 1 && stats.open == 0).await;
        assert!(running.nothing_given());
    }
}

#[tokio::test]
async fn strangers_with_any_bytes_do_no_harm() {
    let authority = Authority::new("ca");
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss] {
        let mut running = Running::start(spec(transport).with_tls(support_tls(&authority)));
        let junk: [&[u8]; 7] = [
            b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /mqtt HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
            b"\x16\x03\x01\xff\xff",
            &[0; 3000],
            &[0xff; 3000],
            &[b'A'; 40_000],
        ];
        for bytes in junk {
            let mut client = running.connect().await;
            // The gateway may close before all is written.
            let _ = client.write_all(bytes).await;
            let _ = client.shutdown().await;
            closed(&mut client).await;
        }
        until(&running, |stats| stats.handshakes_failed == junk.len() as u64 && stats.open == 0).await;
        assert!(running.nothing_given());
    }
}

#[tokio::test]
async fn stopping_gives_the_port_back_and_tells_the_connections() {
    let mut running = Running::start(spec(Transport::Tcp));
    let address = running.address();
    let _client = running.connect().await;
    let (_socket, facts) = running.tcp().await;
    soon(running.listening.stop_accepting()).await;
    assert!(!facts.stop.is_stopped(), "who is in stays");
    let mut again = spec(Transport::Tcp);
    again.bind = vec![address.into()];
    let _second = Bound::bind(again).unwrap();
    let stopped = facts.stop.stopped();
    running.listening.stop_connections();
    soon(stopped).await;
    drop(facts);
    assert_eq!(running.listening.wait_until_idle(PATIENCE).await, 0);
}

#[tokio::test]
async fn stopping_ends_handshakes_under_way() {
    let running = Running::start(spec(Transport::Ws));
    let mut client = running.connect().await;
    client.write_all(b"GET /mqtt HTTP/1.1\r\n").await.unwrap();
    until(&running, |stats| stats.open == 1).await;
    running.listening.stop_accepting().await;
    running.listening.stop_connections();
    closed(&mut client).await;
    assert_eq!(running.listening.wait_until_idle(PATIENCE).await, 0);
}

fn support_tls(authority: &Authority) -> portcullis_net::TlsHandle {
    use portcullis_net::{ClientAuth, Tls, TlsHandle, TlsPurpose};
    let server = authority.server();
    let tls = Tls::from_pem(
        server.cert.pem().as_bytes(),
        server.key.serialize_pem().as_bytes(),
        None,
        ClientAuth::None,
        TlsPurpose::Mqtt,
    );
    TlsHandle::new(&tls.unwrap())
}
