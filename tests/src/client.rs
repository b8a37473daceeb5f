//! An MQTT client that does what it is told and forgets nothing that it receives.

use std::collections::VecDeque;
use std::io;

use bytes::BytesMut;
use mqttbytes::v5::{ConnAckProperties, ConnectProperties, SubscribeFilter};

use crate::link::{Link, Route};
use crate::packets::{self, Connect, Incoming, Message, Version, Will};
use crate::within;

/// Who connects, and how: a [`Route`] with a [`Connect`].
#[derive(Clone)]
pub struct Dial {
    /// The road.
    pub route: Route,
    /// The first words.
    pub hello: Connect,
}

/// The properties of a CONNECT that has none.
#[must_use]
pub fn no_connect_properties() -> ConnectProperties {
    ConnectProperties {
        session_expiry_interval: None,
        receive_maximum: None,
        max_packet_size: None,
        topic_alias_max: None,
        request_response_info: None,
        request_problem_info: None,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
    }
}

/// CONNECT, piece by piece.
pub struct Hello;

impl Hello {
    /// A clean session without keep-alive and credentials.
    #[must_use]
    pub fn plain(version: Version, client_id: impl Into<String>) -> Connect {
        Connect {
            version,
            client_id: client_id.into(),
            username: None,
            password: None,
            clean: true,
            keep_alive: 0,
            will: None,
            properties: no_connect_properties(),
        }
    }
}

impl Dial {
    /// A route and a plain CONNECT.
    #[must_use]
    pub fn new(route: Route, version: Version, client_id: impl Into<String>) -> Self {
        Self { route, hello: Hello::plain(version, client_id) }
    }

    /// With these credentials.
    #[must_use]
    pub fn login(mut self, username: &str, password: &str) -> Self {
        self.hello.username = Some(username.into());
        self.hello.password = Some(password.into());
        self
    }

    /// With a user name and no password.
    #[must_use]
    pub fn user(mut self, username: &str) -> Self {
        self.hello.username = Some(username.into());
        self
    }

    /// With a will.
    #[must_use]
    pub fn will(mut self, will: impl Into<Will>) -> Self {
        self.hello.will = Some(will.into());
        self
    }

    /// With a session that outlives the connection (MQTT 5: for five minutes).
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.hello.clean = false;
        self.hello.properties.session_expiry_interval = Some(300);
        self
    }

    /// With MQTT 5 properties that `set` fills in.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut ConnectProperties)) -> Self {
        set(&mut self.hello.properties);
        self
    }

    /// Connects, and gives the client or the refusal.
    ///
    /// # Errors
    /// [`Refused`], also when the connection ends without a CONNACK.
    ///
    /// # Panics
    /// When no answer comes in time.
    pub async fn attempt(&self) -> Result<Client, Refused> {
        within("the answer to CONNECT", async {
            let link = self.route.open().await.map_err(Refused::Link)?;
            let mut client = Client::raw(link, self.hello.version);
            client.send(&packets::connect(&self.hello)).await.map_err(Refused::Link)?;
            match client.read().await {
                Some(Incoming::ConnAck(session_present, 0, properties)) => {
                    client.session_present = session_present;
                    client.properties = properties.map(|properties| *properties);
                    Ok(client)
                }
                Some(Incoming::ConnAck(_, code, properties)) => {
                    let text = properties.and_then(|properties| properties.reason_string);
                    Err(Refused::Code(code, text))
                }
                Some(other) => panic!("expected CONNACK, got {other:?}"),
                None => Err(Refused::Closed),
            }
        })
        .await
    }

    /// Connects.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn connect(&self) -> Client {
        match self.attempt().await {
            Ok(client) => client,
            Err(refused) => panic!("{} was refused: {refused:?}", self.hello.client_id),
        }
    }

    /// Tries to connect and gives the code of the refusal.
    ///
    /// # Panics
    /// When it is let in, or is closed without a word.
    pub async fn refusal(&self) -> u8 {
        match self.attempt().await {
            Ok(_) => panic!("{} was let in", self.hello.client_id),
            Err(Refused::Code(code, _)) => code,
            Err(other) => panic!("expected a CONNACK with a code, got {other:?}"),
        }
    }
}

/// Why a client is not connected.
#[derive(Debug)]
pub enum Refused {
    /// CONNACK with this code, and its reason string.
    Code(u8, Option<String>),
    /// The server closed without a CONNACK.
    Closed,
    /// No connection, or TLS or the WebSocket upgrade failed.
    Link(io::Error),
}

/// A connected client.
pub struct Client {
    link: Link,
    version: Version,
    buffer: BytesMut,
    kept: VecDeque<Incoming>,
    next_id: u16,
    /// From CONNACK.
    pub session_present: bool,
    /// From CONNACK.
    pub properties: Option<ConnAckProperties>,
    /// Whether PUBLISH and PUBREL are answered as they arrive.
    pub acknowledge: bool,
}

impl Client {
    /// A client that has not said anything yet.
    #[must_use]
    pub fn raw(link: Link, version: Version) -> Self {
        Self {
            link,
            version,
            buffer: BytesMut::new(),
            kept: VecDeque::new(),
            next_id: 0,
            session_present: false,
            properties: None,
            acknowledge: true,
        }
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.link.send(octets).await
    }

    /// The next packet as it arrives, acknowledged if [`Client::acknowledge`]. None: closed.
    pub async fn read(&mut self) -> Option<Incoming> {
        loop {
            if let Some(packet) = packets::take(self.version, &mut self.buffer) {
                if self.acknowledge {
                    self.answer(&packet).await;
                }
                return Some(packet);
            }
            if !self.link.receive(&mut self.buffer).await {
                return None;
            }
        }
    }

    async fn answer(&mut self, packet: &Incoming) {
        let answer = match packet {
            Incoming::Publish(message) if message.qos == 1 => packets::acknowledgement(0x40, message.id),
            Incoming::Publish(message) if message.qos == 2 => packets::acknowledgement(0x50, message.id),
            Incoming::PubRel(id, _) => packets::acknowledgement(0x70, *id),
            _ => return,
        };
        // A connection that is gone shows at the next read.
        let _ = self.link.send(&answer).await;
    }

    /// The next packet, those first that were set aside while waiting for another.
    pub async fn next(&mut self) -> Option<Incoming> {
        match self.kept.pop_front() {
            Some(packet) => Some(packet),
            None => within("the next packet", self.read()).await,
        }
    }

    /// Waits for what `pick` takes; everything else is set aside.
    ///
    /// # Panics
    /// When it does not come in time, or the server closes.
    pub async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Incoming) -> Option<T>) -> T {
        if let Some((index, found)) = self.kept.iter().enumerate().find_map(|(i, packet)| Some((i, pick(packet)?))) {
            self.kept.remove(index);
            return found;
        }
        within(what, async {
            loop {
                let Some(packet) = self.read().await else {
                    panic!("the server closed; expected {what}; set aside: {:?}", self.kept);
                };
                match pick(&packet) {
                    Some(found) => return found,
                    None => self.kept.push_back(packet),
                }
            }
        })
        .await
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    /// Subscribes to one filter and gives the code of SUBACK.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        let filter = SubscribeFilter::new(filter.into(), mqttbytes::qos(qos).expect("a QoS"));
        self.subscribe_with(None, &[filter]).await[0]
    }

    /// Subscribes to filters with all options, and gives the codes of SUBACK.
    pub async fn subscribe_with(&mut self, subscription: Option<usize>, filters: &[SubscribeFilter]) -> Vec<u8> {
        let id = self.id();
        let octets = packets::subscribe(self.version, id, subscription, filters);
        self.send(&octets).await.expect("SUBSCRIBE is sent");
        self.wait("SUBACK", |packet| match packet {
            Incoming::SubAck(acknowledged, codes) if *acknowledged == id => Some(codes.clone()),
            _ => None,
        })
        .await
    }

    /// Unsubscribes, and gives the reasons of UNSUBACK.
    pub async fn unsubscribe(&mut self, filter: &str) -> Vec<u8> {
        let id = self.id();
        let octets = packets::unsubscribe(self.version, id, filter);
        self.send(&octets).await.expect("UNSUBSCRIBE is sent");
        self.wait("UNSUBACK", |packet| match packet {
            Incoming::UnsubAck(acknowledged, reasons) if *acknowledged == id => Some(reasons.clone()),
            _ => None,
        })
        .await
    }

    /// Sends a PUBLISH and does not wait for its acknowledgement. Gives the packet identifier.
    pub async fn post(&mut self, mut message: Message) -> u16 {
        if message.qos > 0 && message.id == 0 {
            message.id = self.id();
        }
        let octets = packets::publish(self.version, &message);
        self.send(&octets).await.expect("PUBLISH is sent");
        message.id
    }

    /// Publishes, sees the exchange through, and gives the reason of the first acknowledgement (0 with QoS 0).
    pub async fn publish(&mut self, message: Message) -> u8 {
        let qos = message.qos;
        let id = self.post(message).await;
        match qos {
            0 => 0,
            1 => {
                self.wait("PUBACK", |packet| match packet {
                    Incoming::PubAck(acknowledged, reason) if *acknowledged == id => Some(*reason),
                    _ => None,
                })
                .await
            }
            _ => {
                let reason = self
                    .wait("PUBREC", |packet| match packet {
                        Incoming::PubRec(acknowledged, reason) if *acknowledged == id => Some(*reason),
                        _ => None,
                    })
                    .await;
                if reason < 0x80 {
                    self.send(&packets::acknowledgement(0x62, id)).await.expect("PUBREL is sent");
                    self.wait("PUBCOMP", |packet| match packet {
                        Incoming::PubComp(acknowledged, _) if *acknowledged == id => Some(()),
                        _ => None,
                    })
                    .await;
                }
                reason
            }
        }
    }

    /// The next message; everything else is set aside.
    pub async fn message(&mut self) -> Message {
        self.wait("a message", |packet| match packet {
            Incoming::Publish(message) => Some(message.clone()),
            _ => None,
        })
        .await
    }

    /// Sends PINGREQ and waits for the answer. What the server sent before it has then arrived, and can be looked at.
    pub async fn ping(&mut self) {
        self.send(&[0xc0, 0]).await.expect("PINGREQ is sent");
        self.wait("PINGRESP", |packet| (*packet == Incoming::PingResp).then_some(())).await;
    }

    /// The messages that were set aside.
    #[must_use]
    pub fn set_aside(&self) -> Vec<&Message> {
        self.kept
            .iter()
            .filter_map(|packet| match packet {
                Incoming::Publish(message) => Some(message),
                _ => None,
            })
            .collect()
    }

    /// Waits until the server ends the connection, and gives the reason and text of its DISCONNECT if it sent one.
    pub async fn ended(&mut self) -> Option<(u8, Option<String>)> {
        within("the end of the connection", async {
            let mut last = self.kept.iter().find_map(reason_of);
            while let Some(packet) = self.read().await {
                last = reason_of(&packet).or(last);
            }
            last
        })
        .await
    }

    /// Leaves with a normal DISCONNECT, and waits until the server has closed.
    pub async fn disconnect(mut self) {
        self.send(&[0xe0, 0]).await.expect("DISCONNECT is sent");
        self.ended().await;
    }
}

fn reason_of(packet: &Incoming) -> Option<(u8, Option<String>)> {
    match packet {
        Incoming::Disconnect(reason, text) => Some((*reason, text.clone())),
        _ => None,
    }
}
