//! A blocking MQTT client and a gateway in this process. Every wait is bounded.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, clippy::expect_used)] // Each test binary uses its part.

mod client;
pub mod gate;
mod publishing;
mod receiving;
pub mod rules;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use client::{Client, Kind};
use portcullis_grant::Gatekeeper;
use portcullis_mqtt::{Connect, ConnectProperties, Packet, ProtocolVersion, QoS, Will, WillProperties};
use portcullis_net::{Bound, ConnectionHandler, ListenerSpec, Listening, MqttHandler, MqttSettings, Transport, Wheel};
use portcullis_session::{Broker, BrokerOptions, ListenerRules};

/// Longer than anything here takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// A gateway with one plain TCP listener.
pub struct Running {
    pub broker: Arc<Broker>,
    pub wheel: Arc<Wheel>,
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

    /// With connections that reach MQTT through what `wrap` makes of it.
    pub fn start_through<H: ConnectionHandler>(
        gatekeeper: Arc<dyn Gatekeeper>,
        wrap: impl FnOnce(Arc<MqttHandler>) -> H,
    ) -> Self {
        Self::start_as(Broker::new(BrokerOptions::default()), gatekeeper, |_| {}, wrap)
    }

    fn start_on(broker: Arc<Broker>, gatekeeper: Arc<dyn Gatekeeper>, adjust: impl FnOnce(&mut ListenerRules)) -> Self {
        Self::start_as(broker, gatekeeper, adjust, |handler| handler)
    }

    fn start_as<H: ConnectionHandler>(
        broker: Arc<Broker>,
        gatekeeper: Arc<dyn Gatekeeper>,
        adjust: impl FnOnce(&mut ListenerRules),
        wrap: impl FnOnce(Arc<MqttHandler>) -> H,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let wheel = Wheel::new();
        let mut rules = ListenerRules::default();
        adjust(&mut rules);
        let settings = MqttSettings { rules: Arc::new(rules), gatekeeper };
        let handler = MqttHandler::new(Arc::clone(&broker), Arc::clone(&wheel), settings);
        let spec = ListenerSpec::new("test", vec!["127.0.0.1:0".parse::<SocketAddr>().unwrap()], Transport::Tcp);
        let listening = runtime.block_on(async {
            tokio::spawn(Arc::clone(&wheel).run(Arc::clone(&broker)));
            Bound::bind(spec).unwrap().serve(Arc::new(wrap(handler))).unwrap()
        });
        let address = listening.local_addrs()[0];
        Self { broker, wheel, address, listening, _runtime: runtime }
    }

    /// Waits until so many connections are parked.
    pub fn until_parked(&self, count: usize) {
        self.until(|_| self.wheel.parked() == count);
    }

    pub fn raw(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::new(stream)
    }

    fn open(&self, connect: &Connect<'_>) -> Result<Client, u8> {
        Self::enter(self.raw(), connect)
    }

    /// Is let in on a connection that has said nothing yet.
    pub fn let_in(c: Client, version: ProtocolVersion, id: &str) -> Client {
        Self::enter(c, &connect(version, id)).unwrap()
    }

    fn enter(mut c: Client, connect: &Connect<'_>) -> Result<Client, u8> {
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
