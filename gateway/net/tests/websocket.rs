//! WebSockets against an independent client.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use futures_util::{SinkExt, StreamExt};
use portcullis_net::{AsyncStream, ClientAuth, Tls, TlsHandle, TlsPurpose, Transport};
use support::{Authority, Running, client_config, soon, spec, tls_connect};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Opens `url` over `stream`, offering `mqtt`.
async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    url: &str,
) -> Result<WebSocketStream<S>, Box<tungstenite::Error>> {
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
    let (socket, response) = soon(client_async(request, stream)).await?;
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
    Ok(socket)
}

async fn pair() -> (Running, WebSocketStream<tokio::net::TcpStream>, Box<dyn AsyncStream>, portcullis_net::Facts) {
    let mut running = Running::start(spec(Transport::Ws));
    let client = open(running.connect().await, "ws://localhost/mqtt?tenant=a").await.unwrap();
    let (stream, facts) = running.stream().await;
    (running, client, stream, facts)
}

/// Sends all octets back, as the owner of a connection does: in one task.
async fn echo(mut stream: Box<dyn AsyncStream>) -> std::io::Result<()> {
    let mut buffer = vec![0; 8192];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.shutdown().await,
            octets => stream.write_all(&buffer[..octets]).await?,
        }
        stream.flush().await?;
    }
}

#[tokio::test]
async fn octets_come_back_whatever_the_messages_are() {
    let (_running, mut client, stream, facts) = pair().await;
    let head = facts.details.as_ref().unwrap().http.clone().unwrap();
    assert_eq!((head.method.as_str(), head.authority.as_str(), head.path.as_str()), ("GET", "localhost", "/mqtt"));
    assert_eq!(head.query.as_deref(), Some("tenant=a"));
    assert!(head.headers.contains(&("sec-websocket-protocol".to_owned(), "mqtt".to_owned())));
    let echo = tokio::spawn(echo(stream));
    for length in [1, 125, 126, 65_535, 65_536, 300_000] {
        let sent: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        client.feed(Message::binary(sent.clone())).await.unwrap();
        client.feed(Message::Ping("between".into())).await.unwrap();
        let mut back = Vec::new();
        let mut pong = false;
        // Sending goes on while answers come: nobody may wait for the other for ever.
        let (mut sink, mut source) = client.split();
        let receive = async {
            while back.len() < sent.len() || !pong {
                match source.next().await.unwrap().unwrap() {
                    Message::Binary(part) => {
                        assert!(part.len() <= 65_536);
                        back.extend_from_slice(&part);
                    }
                    Message::Pong(payload) => pong = &payload[..] == b"between",
                    other => panic!("{other:?}"),
                }
            }
        };
        soon(async { tokio::join!(async { sink.flush().await.unwrap() }, receive) }).await;
        client = sink.reunite(source).unwrap();
        assert_eq!(back, sent);
    }
    client.close(None).await.unwrap();
    assert!(matches!(soon(client.next()).await, Some(Ok(Message::Close(_)))));
    assert!(soon(client.next()).await.is_none());
    soon(echo).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_write_is_one_message() {
    let (_running, mut client, mut stream, _facts) = pair().await;
    stream.write_all(b"one").await.unwrap();
    stream.write_all(b"two").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(soon(client.next()).await.unwrap().unwrap(), Message::binary(&b"one"[..]));
    assert_eq!(soon(client.next()).await.unwrap().unwrap(), Message::binary(&b"two"[..]));
    stream.shutdown().await.unwrap();
    match soon(client.next()).await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Normal),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn text_is_refused_with_its_code() {
    let (_running, mut client, mut stream, _facts) = pair().await;
    client.send(Message::text("hello")).await.unwrap();
    let error = soon(stream.read(&mut [0; 64])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    match soon(client.next()).await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Unsupported),
        other => panic!("{other:?}"),
    }
    assert!(stream.write(b"late").await.is_err(), "nothing follows a Close");
}

#[tokio::test]
async fn a_client_that_vanishes_is_an_end() {
    let (_running, client, mut stream, _facts) = pair().await;
    drop(client);
    assert_eq!(soon(stream.read(&mut [0; 64])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_frame_begun_under_pressure_is_finished_by_later_writes() {
    let (_running, mut client, mut stream, _facts) = pair().await;
    let data: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 253) as u8).collect();
    let expected = data.clone();
    let writer = tokio::spawn(async move {
        // Pieces that never agree with the frames that were begun.
        let mut rest = &data[..];
        let mut size = 1;
        while !rest.is_empty() {
            size = (size * 7 + 1) % 200_000 + 1;
            let octets = stream.write(&rest[..size.min(rest.len())]).await.unwrap();
            rest = &rest[octets..];
        }
        stream.shutdown().await.unwrap();
        stream
    });
    let mut received = Vec::with_capacity(expected.len());
    while let Some(message) = soon(client.next()).await {
        match message.unwrap() {
            Message::Binary(part) => received.extend_from_slice(&part),
            Message::Close(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(received == expected, "{} octets of {}", received.len(), expected.len());
    soon(writer).await.unwrap();
}

#[tokio::test]
async fn frames_sent_together_with_the_request_are_not_lost() {
    let mut running = Running::start(spec(Transport::Ws));
    let mut client = running.connect().await;
    let request = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x82\x85\0\0\0\0early";
    client.write_all(request).await.unwrap();
    let (mut stream, _facts) = running.stream().await;
    let mut word = [0; 5];
    soon(stream.read_exact(&mut word[..3])).await.unwrap();
    soon(stream.read_exact(&mut word[3..])).await.unwrap();
    assert_eq!(&word, b"early");
}

#[tokio::test]
async fn whoever_asks_for_a_page_is_told_what_this_port_is() {
    let running = Running::start(spec(Transport::Ws));
    for (request, status, word) in [
        ("GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "426 ", "MQTT over WebSocket"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404 ", "no WebSocket"),
        ("POST /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "405 ", "GET"),
        ("\x10\x0c\0\x04MQTT", "400 ", "not HTTP"),
    ] {
        let mut client = running.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(word), "{answer}");
    }
}

#[tokio::test]
async fn secure_websockets() {
    let authority = Authority::new("ca");
    let server = authority.server();
    let tls = Tls::from_pem(
        server.cert.pem().as_bytes(),
        server.key.serialize_pem().as_bytes(),
        None,
        ClientAuth::None,
        TlsPurpose::WebSocket,
    );
    let mut running = Running::start(spec(Transport::Wss).with_tls(TlsHandle::new(&tls.unwrap())));
    let mut config = client_config(&authority, None, &[&rustls::version::TLS13]);
    // As browsers do.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = tls_connect(running.address(), config).await.unwrap();
    let mut client = open(stream, "wss://localhost/mqtt").await.unwrap();
    let (stream, facts) = running.stream().await;
    let details = facts.details.as_ref().unwrap();
    assert_eq!(details.tls.as_ref().unwrap().application_protocol.as_deref(), Some("http/1.1"));
    assert!(details.http.is_some());
    let echo = tokio::spawn(echo(stream));
    let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    client.send(Message::binary(sent.clone())).await.unwrap();
    let mut back = Vec::new();
    while back.len() < sent.len() {
        match soon(client.next()).await.unwrap().unwrap() {
            Message::Binary(part) => back.extend_from_slice(&part),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(back, sent);
    drop(client);
    // An end without TLS's close_notify is an end or an error; never a hang.
    let _ = soon(echo).await.unwrap();
}
