//! A blocking MQTT client and a gateway in this process. Every wait is bounded.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, clippy::expect_used)] // Each test binary uses its part.

pub mod gate;
pub mod rules;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_grant::Gatekeeper;
use portcullis_mqtt::{
    Ack, Auth, Connect, ConnectProperties, Disconnect, Packet, PacketId, ProtocolVersion, Publish, PublishProperties,
    QoS, ReasonCode, Subscribe, SubscribeFilter, SubscribeOptions, UserProperties, Will, WillProperties, decode, frame,
};
use portcullis_net::{Bound, ListenerSpec, Listening, MqttHandler, MqttSettings, Transport, Wheel};
use portcullis_session::{Broker, BrokerOptions, ListenerRules};

/// Longer than anything here takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// A gateway with one plain TCP listener.
pub struct Running {
    pub broker: Arc<Broker>,
    address: SocketAddr,
    listening: Listening,
    _runtime: tokio::runtime::Runtime,
}

impl Running {
    pub fn start(gatekeeper: Arc<dyn Gatekeeper>) -> Self {
        Self::start_with(gatekeeper, |_| {})
    }

    pub fn start_with(gatekeeper: Arc<dyn Gatekeeper>, adjust: impl FnOnce(&mut ListenerRules)) -> Self {
        Self::start_on(Broker::new(BrokerOptions::default()), gatekeeper, adjust)
    }

    /// With sessions in a store; stop it with [`Running::stop`] before another opens it.
    pub fn start_stored(gatekeeper: Arc<dyn Gatekeeper>, data: &std::path::Path) -> Self {
        Self::start_on_store(
            gatekeeper,
            portcullis_store::Store::open(data, portcullis_store::Options::default()).unwrap(),
        )
    }

    /// With sessions in this store.
    pub fn start_on_store(gatekeeper: Arc<dyn Gatekeeper>, store: portcullis_store::Store) -> Self {
        Self::start_on_store_with(gatekeeper, store, |_| {})
    }

    pub fn start_on_store_with(
        gatekeeper: Arc<dyn Gatekeeper>,
        store: portcullis_store::Store,
        adjust: impl FnOnce(&mut ListenerRules),
    ) -> Self {
        let options = BrokerOptions { store: Some(store), ..BrokerOptions::default() };
        Self::start_on(Broker::open_store(options).unwrap(), gatekeeper, adjust)
    }

    /// Ends all connections as a crash would: nobody is told, wills wait in the store. What was acknowledged is stored.
    pub fn stop(self) {
        let Self { broker, listening, _runtime, .. } = self;
        drop(listening);
        _runtime.shutdown_timeout(PATIENCE);
        drop(broker);
    }

    /// Has the listener say *stop* to its connections.
    pub fn stop_connections(&self) {
        self.listening.stop_connections();
    }

    fn start_on(broker: Arc<Broker>, gatekeeper: Arc<dyn Gatekeeper>, adjust: impl FnOnce(&mut ListenerRules)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let wheel = Wheel::new();
        let mut rules = ListenerRules::default();
        adjust(&mut rules);
        let settings = MqttSettings { rules: Arc::new(rules), gatekeeper };
        let handler = MqttHandler::new(Arc::clone(&broker), Arc::clone(&wheel), settings);
        let spec = ListenerSpec::new("test", vec!["127.0.0.1:0".parse::<SocketAddr>().unwrap()], Transport::Tcp);
        let listening = runtime.block_on(async {
            tokio::spawn(wheel.run(Arc::clone(&broker)));
            Bound::bind(spec).unwrap().serve(Arc::new(handler)).unwrap()
        });
        let address = listening.local_addrs()[0];
        Self { broker, address, listening, _runtime: runtime }
    }

    pub fn raw(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            version: ProtocolVersion::V5,
            buffer: Vec::new(),
            at: 0,
            next_id: 0,
            session_present: false,
            early: Default::default(),
        }
    }

    fn open(&self, connect: &Connect<'_>) -> Result<Client, u8> {
        let mut c = self.raw();
        c.version = connect.version;
        c.encode(Packet::Connect(*connect));
        let (code, present) = c.packet(|p| match p {
            Packet::ConnAck(ack) => (ack.code, ack.session_present),
            other => panic!("{other:?} instead of CONNACK"),
        });
        c.session_present = present;
        if code == 0 { Ok(c) } else { Err(code) }
    }

    pub fn connect(&self, version: ProtocolVersion, id: &str) -> Client {
        self.connect_with(version, id, |_| {})
    }

    pub fn connect_with(&self, version: ProtocolVersion, id: &str, adjust: impl FnOnce(&mut Connect<'_>)) -> Client {
        let mut connect = connect(version, id);
        adjust(&mut connect);
        self.open(&connect).unwrap()
    }

    pub fn connect_as(&self, version: ProtocolVersion, id: &str, username: &str) -> Result<Client, u8> {
        self.open(&Connect { username: Some(username), ..connect(version, id) })
    }

    pub fn connect_with_will(&self, version: ProtocolVersion, id: &str, topic: &str) -> Client {
        let will = Will {
            topic,
            payload: b"gone",
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: WillProperties::default(),
        };
        self.open(&Connect { will: Some(will), ..connect(version, id) }).unwrap()
    }

    /// CONNECT, and whatever `adjust` makes of it; the code of the refusal.
    pub fn refused_with(&self, version: ProtocolVersion, id: &str, adjust: impl FnOnce(&mut Connect<'_>)) -> u8 {
        let mut connect = connect(version, id);
        adjust(&mut connect);
        self.open(&connect).unwrap_err()
    }

    /// CONNECT with whatever `adjust` makes of it, and nothing awaited.
    pub fn send_connect_with(
        &self,
        version: ProtocolVersion,
        id: &str,
        adjust: impl FnOnce(&mut Connect<'_>),
    ) -> Client {
        let mut connect = connect(version, id);
        adjust(&mut connect);
        let mut c = self.raw();
        c.version = version;
        c.encode(Packet::Connect(connect));
        c
    }

    /// CONNECT, and nothing awaited.
    pub fn send_connect(&self, version: ProtocolVersion, id: &str) -> Client {
        let mut c = self.raw();
        c.encode(Packet::Connect(connect(version, id)));
        c
    }

    /// Enhanced authentication with the method `word`.
    pub fn authenticate(&self, id: &str, answer: &[u8]) -> Result<Client, u8> {
        let mut c = self.raw();
        let mut connect = connect(ProtocolVersion::V5, id);
        connect.properties.authentication_method = Some("word");
        c.encode(Packet::Connect(connect));
        c.answer_challenge(answer);
        let code = c.packet(|p| match p {
            Packet::ConnAck(ack) => ack.code,
            other => panic!("{other:?} instead of CONNACK"),
        });
        if code == 0 { Ok(c) } else { Err(code) }
    }

    /// Sends bytes on a connection of their own and waits until it is closed.
    pub fn closes_after(&self, bytes: &[u8]) {
        let mut c = self.raw();
        c.send(bytes);
        c.closed();
    }

    /// Waits until the broker is as wanted.
    pub fn until(&self, wanted: impl Fn(&Broker) -> bool) {
        let started = Instant::now();
        while !wanted(&self.broker) {
            assert!(started.elapsed() < PATIENCE, "it never came to that");
            std::thread::yield_now();
        }
    }
}

fn connect(version: ProtocolVersion, id: &str) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id: id,
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties::default(),
    }
}

/// What kind of packet came.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    PubAck(u16, ReasonCode),
    PubRec(u16),
    PubRecRefused(u16, ReasonCode),
    PubComp(u16),
    Other(String),
}

/// A message that came.
#[derive(Debug)]
pub struct Got {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    id: Option<PacketId>,
}

impl Got {
    pub fn id(&self) -> u16 {
        self.id.map_or(0, |id| id.get())
    }
}

#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    version: ProtocolVersion,
    buffer: Vec<u8>,
    at: usize,
    next_id: u16,
    pub session_present: bool,
    /// Messages that came while another packet was awaited.
    early: std::collections::VecDeque<Got>,
}

impl Client {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn encode(&mut self, packet: Packet<'_>) {
        let mut out = Vec::new();
        packet.encode(self.version, &mut out).unwrap();
        self.send(&out);
    }

    /// Waits until the gateway has closed the connection.
    pub fn closed(&mut self) {
        let mut sink = [0; 1024];
        loop {
            match self.stream.read(&mut sink) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return,
                Err(e) => panic!("not closed: {e}"),
            }
        }
    }

    /// The next packet.
    fn packet<R>(&mut self, f: impl FnOnce(Packet<'_>) -> R) -> R {
        loop {
            if let Some(whole) = frame(&self.buffer, self.at, u32::MAX).unwrap() {
                self.at = whole.end;
                return f(decode(self.version, whole.first, &self.buffer[whole.body..whole.end]).unwrap());
            }
            self.buffer.drain(..std::mem::take(&mut self.at));
            let mut more = [0; 65536];
            let n = self.stream.read(&mut more).expect("a packet in time");
            assert!(n > 0, "the gateway closed the connection");
            self.buffer.extend_from_slice(&more[..n]);
        }
    }

    pub fn packet_kind(&mut self) -> Kind {
        self.packet(|p| match p {
            Packet::PubAck(a) => Kind::PubAck(a.packet_id.get(), a.reason),
            Packet::PubRec(a) if a.reason.is_error() => Kind::PubRecRefused(a.packet_id.get(), a.reason),
            Packet::PubRec(a) => Kind::PubRec(a.packet_id.get()),
            Packet::PubComp(a) => Kind::PubComp(a.packet_id.get()),
            other => Kind::Other(format!("{other:?}")),
        })
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id % 65_535 + 1;
        self.next_id
    }

    fn publish_packet(&self, topic: &str, qos: QoS, retain: bool, id: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let packet_id = (qos != QoS::AtMostOnce).then(|| packet_id(id));
        let properties = PublishProperties::default();
        Packet::Publish(Publish { dup: false, qos, retain, topic, packet_id, properties, payload })
            .encode(self.version, &mut out)
            .unwrap();
        out
    }

    /// Publishes and goes through the whole exchange, which must end well.
    pub fn publish(&mut self, topic: &str, qos: QoS, payload: &[u8]) {
        let id = self.id();
        let packet = self.publish_packet(topic, qos, false, id, payload);
        self.send(&packet);
        self.exchange(qos, id);
    }

    fn exchange(&mut self, qos: QoS, id: u16) {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => match self.packet_kind() {
                Kind::PubAck(i, reason) if i == id && !reason.is_error() => {}
                other => panic!("{other:?}"),
            },
            QoS::ExactlyOnce => {
                assert_eq!(self.packet_kind(), Kind::PubRec(id));
                self.release(id);
            }
        }
    }

    pub fn release(&mut self, id: u16) {
        self.encode(Packet::PubRel(ack(id)));
        assert_eq!(self.packet_kind(), Kind::PubComp(id));
    }

    pub fn publish_retained(&mut self, topic: &str, payload: &[u8]) {
        let id = self.id();
        let packet = self.publish_packet(topic, QoS::AtLeastOnce, true, id, payload);
        self.send(&packet);
        self.exchange(QoS::AtLeastOnce, id);
    }

    pub fn publish_aliased(&mut self, topic: &str, alias: u16, payload: &[u8]) {
        let mut out = Vec::new();
        let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..PublishProperties::default() };
        let publish =
            Publish { dup: false, qos: QoS::AtMostOnce, retain: false, topic, packet_id: None, properties, payload };
        Packet::Publish(publish).encode(self.version, &mut out).unwrap();
        self.send(&out);
    }

    /// `count` messages in one write; the payload is their number.
    pub fn publish_many(&mut self, topic: &str, qos: QoS, count: u32) {
        let mut all = Vec::new();
        for n in 0..count {
            let id = self.id();
            all.extend_from_slice(&self.publish_packet(topic, qos, false, id, &n.to_be_bytes()));
        }
        self.send(&all);
    }

    pub fn publish_unacknowledged(&mut self, topic: &str, qos: QoS, id: u16, payload: &[u8]) {
        let packet = self.publish_packet(topic, qos, false, id, payload);
        self.send(&packet);
    }

    /// QoS 0, as far as the socket takes it within a second.
    pub fn try_publish(&mut self, topic: &str, payload: &[u8]) -> std::io::Result<()> {
        self.stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        let packet = self.publish_packet(topic, QoS::AtMostOnce, false, 0, payload);
        self.stream.write_all(&packet)
    }

    pub fn publish_in_pieces(&mut self, topic: &str, payload: &[u8], piece: usize) {
        let packet = self.publish_packet(topic, QoS::AtLeastOnce, false, 1, payload);
        for piece in packet.chunks(piece) {
            self.send(piece);
        }
        self.exchange(QoS::AtLeastOnce, 1);
    }

    pub fn publish_code(&mut self, topic: &str, qos: QoS) -> ReasonCode {
        let id = self.id();
        let packet = self.publish_packet(topic, qos, false, id, b"x");
        self.send(&packet);
        match self.packet_kind() {
            Kind::PubAck(i, reason) | Kind::PubRecRefused(i, reason) if i == id => reason,
            // Its own messages, on the way: they are read later.
            Kind::Other(_) => {
                self.at = 0;
                self.code_after_message(id)
            }
            other => panic!("{other:?}"),
        }
    }

    /// An acknowledgement behind messages; those stay in the buffer.
    fn code_after_message(&mut self, id: u16) -> ReasonCode {
        let mut at = 0;
        loop {
            while let Some(whole) = frame(&self.buffer, at, u32::MAX).unwrap() {
                if let Packet::PubAck(a) =
                    decode(self.version, whole.first, &self.buffer[whole.body..whole.end]).unwrap()
                {
                    assert_eq!(a.packet_id.get(), id);
                    let reason = a.reason;
                    self.buffer.drain(at..whole.end);
                    return reason;
                }
                at = whole.end;
            }
            let mut more = [0; 4096];
            let n = self.stream.read(&mut more).unwrap();
            assert!(n > 0);
            self.buffer.extend_from_slice(&more[..n]);
        }
    }

    /// SUBSCRIBE, and nothing awaited.
    pub fn send_subscribe(&mut self, filter: &str, qos: QoS) {
        let filters = [SubscribeFilter { filter, options: SubscribeOptions::new(qos) }];
        let id = self.id();
        self.encode(Packet::Subscribe(Subscribe {
            packet_id: packet_id(id),
            subscription_id: None,
            user: UserProperties::EMPTY,
            filters: portcullis_mqtt::SubscribeFilters::from_slice(&filters),
        }));
    }

    /// PUBREC, PUBREL or PUBCOMP by its first octet, and nothing awaited.
    pub fn send_ack(&mut self, first: u8, id: u16) {
        let [high, low] = id.to_be_bytes();
        self.send(&[first, 2, high, low]);
    }

    /// Whether nothing has come up to now.
    pub fn is_silent(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let mut one = [0];
        let peeked = self.stream.peek(&mut one);
        self.stream.set_nonblocking(false).unwrap();
        self.buffer.len() == self.at && peeked.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    }

    pub fn expect_acknowledgements(&mut self, count: usize) {
        for _ in 0..count {
            match self.packet_kind() {
                Kind::PubAck(_, reason) if !reason.is_error() => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn subscribe_code(&mut self, filter: &str, qos: QoS) -> u8 {
        let id = self.id();
        let filters = [SubscribeFilter { filter, options: SubscribeOptions::new(qos) }];
        self.encode(Packet::Subscribe(Subscribe {
            packet_id: packet_id(id),
            subscription_id: None,
            user: UserProperties::EMPTY,
            filters: portcullis_mqtt::SubscribeFilters::from_slice(&filters),
        }));
        self.packet(|p| match p {
            Packet::SubAck(ack) => {
                assert_eq!(ack.packet_id.get(), id);
                ack.codes[0]
            }
            other => panic!("{other:?} instead of SUBACK"),
        })
    }

    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        assert_eq!(self.subscribe_code(filter, qos), qos as u8);
    }

    /// The next message, acknowledged.
    pub fn message(&mut self) -> Got {
        let got = self.message_unacknowledged();
        let Some(id) = got.id else { return got };
        if got.qos == QoS::AtLeastOnce {
            self.encode(Packet::PubAck(ack(id.get())));
        } else {
            self.encode(Packet::PubRec(ack(id.get())));
            self.await_release(id.get());
            self.encode(Packet::PubComp(ack(id.get())));
        }
        got
    }

    /// Waits for a PUBREL; messages on the way are kept.
    fn await_release(&mut self, id: u16) {
        loop {
            let early = self.packet(|p| match p {
                Packet::PubRel(a) if a.packet_id.get() == id => None,
                Packet::Publish(m) => Some(got(&m)),
                other => panic!("{other:?} instead of PUBREL"),
            });
            match early {
                Some(message) => self.early.push_back(message),
                None => return,
            }
        }
    }

    /// The next message, of QoS 2, answered with PUBREC and not further: the PUBREL that comes is left lying.
    pub fn message_received(&mut self) -> Got {
        let got = self.message_unacknowledged();
        self.encode(Packet::PubRec(ack(got.id())));
        self.await_release(got.id());
        got
    }

    /// A PUBREL, answered.
    pub fn expect_release(&mut self, id: u16) {
        self.await_release(id);
        self.encode(Packet::PubComp(ack(id)));
    }

    pub fn message_unacknowledged(&mut self) -> Got {
        if let Some(message) = self.early.pop_front() {
            return message;
        }
        self.packet(|p| match p {
            Packet::Publish(m) => got(&m),
            other => panic!("{other:?} instead of a message"),
        })
    }

    pub fn ping(&mut self) {
        self.encode(Packet::PingReq);
        self.packet(|p| assert!(matches!(p, Packet::PingResp), "{p:?} instead of PINGRESP"));
    }

    /// A ping whose answer is the next thing that comes: nothing else was on the way.
    pub fn ping_with_nothing_before(&mut self) {
        self.ping();
    }

    pub fn disconnect(mut self) {
        self.encode(Packet::Disconnect(Disconnect::default()));
        self.closed();
    }

    /// Ends the session for good.
    pub fn disconnect_and_forget(mut self, version: ProtocolVersion) {
        if version == ProtocolVersion::V5 {
            self.encode(Packet::Disconnect(Disconnect { session_expiry: Some(0), ..Disconnect::default() }));
        }
        self.closed_or_dropped(version);
    }

    fn closed_or_dropped(mut self, version: ProtocolVersion) {
        if version == ProtocolVersion::V5 {
            self.closed();
        }
    }

    pub fn disconnect_reason(&mut self) -> ReasonCode {
        self.packet(|p| match p {
            Packet::Disconnect(d) => d.reason,
            other => panic!("{other:?} instead of DISCONNECT"),
        })
    }

    fn answer_challenge(&mut self, answer: &[u8]) {
        self.packet(|p| match p {
            Packet::Auth(auth) => assert_eq!((auth.method, auth.data), (Some("word"), Some(&b"say the word"[..]))),
            other => panic!("{other:?} instead of AUTH"),
        });
        self.auth(ReasonCode::CONTINUE_AUTHENTICATION, Some(answer));
    }

    fn auth(&mut self, reason: ReasonCode, data: Option<&[u8]>) {
        self.encode(Packet::Auth(Auth { reason, method: Some("word"), data, ..Auth::default() }));
    }

    /// None: it went well.
    pub fn reauthenticate(&mut self, answer: &[u8]) -> Option<ReasonCode> {
        self.auth(ReasonCode::RE_AUTHENTICATE, None);
        self.answer_challenge(answer);
        self.packet(|p| match p {
            Packet::Auth(auth) if auth.reason == ReasonCode::SUCCESS => None,
            Packet::Disconnect(d) => Some(d.reason),
            other => panic!("{other:?}"),
        })
    }
}

fn got(m: &Publish<'_>) -> Got {
    Got {
        topic: m.topic.to_owned(),
        payload: m.payload.to_vec(),
        qos: m.qos,
        retain: m.retain,
        dup: m.dup,
        id: m.packet_id,
    }
}

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn ack(id: u16) -> Ack<'static> {
    Ack { packet_id: packet_id(id), reason: ReasonCode::SUCCESS, reason_string: None, user: UserProperties::EMPTY }
}
