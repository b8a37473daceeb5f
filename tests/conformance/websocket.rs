//! MQTT in WebSocket (§6).

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use portcullis_tests::{Transport, within};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::*;

/// An upgraded connection, and the sub-protocol that the server chose.
async fn upgrade(world: &World, offered: &str) -> (WebSocketStream<TcpStream>, Option<String>) {
    let address = world.address("ws");
    let stream = TcpStream::connect(address).await.unwrap();
    let mut request = format!("ws://{address}/mqtt").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_str(offered).unwrap());
    let (socket, response) = within("an upgrade", tokio_tungstenite::client_async(request, stream)).await.unwrap();
    let chosen = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());
    (socket, chosen)
}

#[tokio::test]
async fn the_sub_protocol_is_mqtt() {
    let world = World::get().await;
    for offered in ["mqtt", "other, mqtt", "mqtt, mqttv3.1"] {
        assert_eq!(upgrade(&world, offered).await.1.as_deref(), Some("mqtt"), "{offered}");
    }
}

#[tokio::test]
async fn packets_and_frames_need_not_agree() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("frames");
        let stream = [
            Hello::new(version, name("frames")).octets(),
            wire::subscribe(version, 1, &[(&topic, 0)]),
            Publish::new(version, &topic, "m").octets(),
        ]
        .concat();
        for size in [1, 7, stream.len()] {
            let mut peer = Peer::open(&world.route(Transport::Ws), version).await;
            for piece in stream.chunks(size) {
                peer.send(piece).await;
            }
            assert_eq!(peer.connack().await.code, 0);
            peer.expect(kind::SUBACK).await;
            assert_eq!(peer.publication().await.text(), "m");
            peer.leave().await;
        }
    }
}

#[tokio::test]
async fn what_the_server_sends_is_binary() {
    let world = World::get().await;
    let (mut socket, _) = upgrade(&world, "mqtt").await;
    socket.send(Frame::Binary(Bytes::from(Hello::new(V5, name("binary")).octets()))).await.unwrap();
    let frame = within("a frame", socket.next()).await.unwrap().unwrap();
    assert!(matches!(frame, Frame::Binary(octets) if octets[0] == kind::CONNACK));
}

#[tokio::test]
async fn a_frame_of_text_ends_the_connection() {
    let world = World::get().await;
    for greeted in [false, true] {
        let (mut socket, _) = upgrade(&world, "mqtt").await;
        if greeted {
            socket.send(Frame::Binary(Bytes::from(Hello::new(V5, name("text")).octets()))).await.unwrap();
        }
        socket.send(Frame::Text("hello".into())).await.unwrap();
        within("the end", async { while let Some(Ok(_)) = socket.next().await {} }).await;
    }
}

#[tokio::test]
async fn every_version_works_in_websocket() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("ws");
        let mut peer = Peer::connect(&world.route(Transport::Ws), &Hello::new(version, name("ws"))).await;
        peer.subscribe(&topic, 2).await;
        let mut other = world.client(version).await;
        other.publish(&topic, "m").await;
        assert_eq!(peer.receive().await.text(), "m");
        peer.leave().await;
    }
}
