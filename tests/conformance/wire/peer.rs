//! A connection whose every octet a test decides about.

use std::collections::VecDeque;

use bytes::BytesMut;
use portcullis_tests::link::Route;
use portcullis_tests::{Link, Version, within};

use super::{Got, Hello, Packet, Publication, Publish, acknowledge, kind, subscribe, unsubscribe};

/// What CONNACK said.
#[derive(Debug)]
pub(crate) struct ConnAck {
    /// Session present.
    pub(crate) present: bool,
    /// Return code, or reason code.
    pub(crate) code: u8,
    /// MQTT 5.
    pub(crate) properties: Got,
}

/// See the module's description. Nothing is answered on its own account.
pub(crate) struct Peer {
    link: Link,
    buffer: BytesMut,
    /// What came while something else was awaited.
    kept: VecDeque<Packet>,
    /// How what arrives is read.
    pub(crate) version: Version,
}

impl Peer {
    /// Connects the socket, and says nothing yet.
    pub(crate) async fn open(route: &Route, version: Version) -> Self {
        let link = within("a connection", route.open()).await.expect("a connection");
        Self { link, buffer: BytesMut::new(), kept: VecDeque::new(), version }
    }

    /// Connects and says hello. Gives what CONNACK said, whatever it was.
    pub(crate) async fn introduce(route: &Route, hello: &Hello) -> (Self, ConnAck) {
        let mut peer = Self::open(route, hello.version).await;
        peer.send(hello.octets()).await;
        let connack = peer.connack().await;
        (peer, connack)
    }

    /// Connects, says hello and must be let in.
    pub(crate) async fn connect(route: &Route, hello: &Hello) -> Self {
        let (peer, connack) = Self::introduce(route, hello).await;
        assert_eq!(connack.code, 0, "{hello:?} was refused: {connack:?}");
        peer
    }

    /// Sends octets as they are. A server that has closed already shows in what is read.
    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        let _ = self.link.send(octets.as_ref()).await;
    }

    /// The next packet, held to the rules of a server's packets. None: closed.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        match self.kept.pop_front() {
            Some(packet) => Some(packet),
            None => self.arrive().await,
        }
    }

    /// The next packet from the network.
    async fn arrive(&mut self) -> Option<Packet> {
        within("the next packet", async {
            loop {
                if let Some(packet) = Packet::take(&mut self.buffer) {
                    packet.check(self.version);
                    return Some(packet);
                }
                if !self.link.receive(&mut self.buffer).await {
                    assert!(self.buffer.is_empty(), "the server closed inside a packet: {:02x?}", self.buffer);
                    return None;
                }
            }
        })
        .await
    }

    /// The next packet, which must be of this type.
    pub(crate) async fn expect(&mut self, wanted: u8) -> Packet {
        match self.next().await {
            Some(packet) if packet.kind() == wanted => packet,
            other => panic!("expected a packet {wanted:#04x}, got {other:02x?}"),
        }
    }

    /// The next packet, which must be CONNACK.
    pub(crate) async fn connack(&mut self) -> ConnAck {
        let (present, code, properties) = self.expect(kind::CONNACK).await.connack(self.version);
        ConnAck { present, code, properties }
    }

    /// The next packet, which must be PUBLISH.
    pub(crate) async fn publication(&mut self) -> Publication {
        self.expect(kind::PUBLISH).await.publication(self.version)
    }

    /// The next packet, which must be PUBLISH, answered as its QoS asks, to the end.
    pub(crate) async fn receive(&mut self) -> Publication {
        let publication = self.publication().await;
        self.settle(&publication).await;
        publication
    }

    /// Answers a publication as its QoS asks, to the end.
    pub(crate) async fn settle(&mut self, publication: &Publication) {
        match publication.qos {
            1 => self.send(acknowledge(kind::PUBACK, publication.id)).await,
            2 => {
                self.send(acknowledge(kind::PUBREC, publication.id)).await;
                // Further messages may come before the answer.
                loop {
                    match self.arrive().await {
                        Some(packet) if packet.first == kind::PUBREL && packet.id() == publication.id => break,
                        Some(packet) => self.kept.push_back(packet),
                        None => panic!("the server closed instead of PUBREL"),
                    }
                }
                self.send(acknowledge(kind::PUBCOMP, publication.id)).await;
            }
            _ => {}
        }
    }

    /// The next packet, which must be this acknowledgement of this identifier; gives its reason.
    pub(crate) async fn reason(&mut self, wanted: u8, id: u16) -> u8 {
        let (of, reason, _) = self.expect(wanted).await.acknowledgement(self.version);
        assert_eq!(of, id, "an acknowledgement {wanted:#04x} of another packet");
        reason
    }

    /// Sends PINGREQ and gives everything that comes before its answer.
    pub(crate) async fn settled(&mut self) -> Vec<Packet> {
        self.send([kind::PINGREQ, 0]).await;
        let mut before = Vec::new();
        loop {
            match self.next().await {
                Some(packet) if packet.kind() == kind::PINGRESP => return before,
                Some(packet) => before.push(packet),
                None => panic!("the server closed; before it came {before:02x?}"),
            }
        }
    }

    /// Nothing must have come until now.
    pub(crate) async fn quiet(&mut self) {
        let came = self.settled().await;
        assert!(came.is_empty(), "not expected: {came:02x?}");
    }

    /// Whether a packet has come, or the end of the connection.
    pub(crate) async fn has_something(&mut self) -> bool {
        // What is waited for for no time at all is what is there already.
        match tokio::time::timeout(std::time::Duration::ZERO, self.arrive()).await {
            Ok(Some(packet)) => self.kept.push_back(packet),
            Ok(None) => {}
            Err(_) => return false,
        }
        true
    }

    /// Everything that comes until the server closes.
    pub(crate) async fn closed(&mut self) -> Vec<Packet> {
        let mut came = Vec::new();
        while let Some(packet) = self.next().await {
            came.push(packet);
        }
        came
    }

    /// The server must close: with DISCONNECT and this reason in MQTT 5, without a word before it. What came before is
    /// passed over.
    pub(crate) async fn thrown_out(&mut self, reason: u8, why: &str) {
        let came = self.closed().await;
        let words: Vec<u8> = came
            .iter()
            .filter(|packet| packet.kind() == kind::DISCONNECT)
            .map(|packet| packet.reason(self.version).0)
            .collect();
        let expected: &[u8] = if self.version == Version::V5 { &[reason] } else { &[] };
        assert_eq!(words, expected, "{why} ({:?}): {came:02x?}", self.version);
    }

    /// Subscribes to one filter and gives the code.
    pub(crate) async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.send(subscribe(self.version, 0x7001, &[(filter, options)])).await;
        let (id, codes, _) = self.expect(kind::SUBACK).await.codes(self.version);
        assert_eq!((id, codes.len()), (0x7001, 1));
        codes[0]
    }

    /// Unsubscribes from one filter.
    pub(crate) async fn unsubscribe(&mut self, filter: &str) {
        self.send(unsubscribe(self.version, 0x7002, &[filter])).await;
        assert_eq!(self.expect(kind::UNSUBACK).await.id(), 0x7002);
    }

    /// Publishes with QoS 1 and gives the reason of PUBACK, which must be what comes next.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) -> u8 {
        self.tell(Publish::new(self.version, topic, payload)).await
    }

    /// Makes a message QoS 1, publishes it and gives the reason of PUBACK, which must be what comes next.
    pub(crate) async fn tell(&mut self, message: Publish) -> u8 {
        self.send(message.qos(1, 0x7003).octets()).await;
        self.reason(kind::PUBACK, 0x7003).await
    }

    /// Leaves in order, and waits until the server has closed.
    pub(crate) async fn leave(mut self) {
        self.send([kind::DISCONNECT, 0]).await;
        self.closed().await;
    }

    /// Breaks the connection, without a word.
    pub(crate) fn vanish(self) {
        drop(self.link);
    }
}
