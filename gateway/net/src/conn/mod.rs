//! The MQTT connection loop: one hand-written future a connection, between a socket and a [`Machine`].
//!
//! A connection that is idle owns no buffer: what is read goes into a buffer of the worker, and only half a packet is
//! kept. Plain TCP is read and written by system calls of our own on a socket that its subscribers' publishers may write
//! as well (`socket`); TLS and WebSocket are streams that only the owner touches.
//!
//! This directory knows sockets and time; what packets mean is the machine's business.

mod behind;
mod io;
mod parking;
mod poll;
mod reading;
mod wheel;
mod worker;

use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_grant::{Action, Authorization, Filtered, Gatekeeper, Outcome, Peer, PeerDetails, Renewal};
use portcullis_router::Full;
use portcullis_session::{Broker, End, ListenerRules, Machine, Origin};

use crate::handler::{AsyncStream, ConnectionGuard, ConnectionHandler, Facts, Protocol};
use crate::socket::{Socket, Watched};
use crate::stop::StopSignal;
use behind::Behind;
use io::Io;
use wheel::Armed;
pub use wheel::Wheel;

/// What a listener's connections are judged by. Replaced whole when the configuration is reloaded.
pub struct MqttSettings {
    /// Bounds and choices.
    pub rules: Arc<ListenerRules>,
    /// The chain of policies.
    pub gatekeeper: Arc<dyn Gatekeeper>,
}

/// Speaks MQTT on the connections of one listener.
pub struct MqttHandler {
    broker: Arc<Broker>,
    wheel: Arc<Wheel>,
    settings: ArcSwap<MqttSettings>,
}

impl MqttHandler {
    /// A handler. `wheel` is shared by all listeners, and somebody runs it ([`Wheel::run`]).
    #[must_use]
    pub fn new(broker: Arc<Broker>, wheel: Arc<Wheel>, settings: MqttSettings) -> Arc<Self> {
        Arc::new(Self { broker, wheel, settings: ArcSwap::from_pointee(settings) })
    }

    /// Connections that are made from now on are judged by these; for decisions about those that live, the new
    /// gatekeeper is asked as well.
    pub fn replace(&self, settings: MqttSettings) {
        self.settings.store(Arc::new(settings));
    }

    fn gatekeeper(&self) -> Arc<dyn Gatekeeper> {
        Arc::clone(&self.settings.load().gatekeeper)
    }

    /// A connection from within: its other end is the returned stream, on which somebody here speaks MQTT for a client of
    /// another protocol. It is treated as any other: what a client may do has one judge.
    #[must_use]
    pub fn within(self: &Arc<Self>, from: Within) -> Box<dyn AsyncStream> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let beginning = Beginning {
            origin: Origin {
                listener: from.listener,
                transport: from.transport,
                peer: from.peer,
                details: from.details,
                http: Some(from.http),
            },
            stop: from.stop,
            guard: None,
        };
        Connection::new(Arc::clone(self), Io::of(Box::new(ours)), None, beginning).spawn();
        Box::new(theirs)
    }
}

/// Octets that wait in each direction of a connection from within.
const PIPE: usize = 32 * 1024;

/// Where a connection from within comes from: an HTTP connection.
#[derive(Debug)]
pub struct Within {
    /// The `name` of the `[[listener]]` that has the HTTP connection.
    pub listener: Arc<str>,
    /// Its transport: `tcp` or `tls`.
    pub transport: &'static str,
    /// The HTTP client.
    pub peer: Peer,
    /// What TLS told, and the head of the request.
    pub details: Option<Arc<PeerDetails>>,
    /// The major version of HTTP.
    pub http: u8,
    /// Tells it to end.
    pub stop: StopSignal,
}

/// Handlers are shared by the listener and all its connections.
impl ConnectionHandler for Arc<MqttHandler> {
    fn speaks(&self) -> Protocol {
        Protocol::Mqtt
    }

    fn tcp(&self, stream: std::net::TcpStream, facts: Facts) {
        let socket = Socket::new(stream);
        let io = Io::Direct(Watched::new(Arc::clone(&socket)));
        Connection::new(Arc::clone(self), io, Some(socket), facts.into()).spawn();
    }

    fn stream(&self, stream: Box<dyn AsyncStream>, facts: Facts) {
        Connection::new(Arc::clone(self), Io::of(stream), None, facts.into()).spawn();
    }
}

/// What the gatekeeper answered.
enum Answer {
    Outcome(Outcome),
    Authorization(Action, Authorization),
    Renewal(Renewal),
    Filtered(Filtered),
}

type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The listener's word to end.
enum Stopped {
    /// It is asked in passing.
    Unawaited(StopSignal),
    /// The connection is woken by it. Boxed twice, so that it takes no more room than a signal.
    Awaited(Box<Pin<Box<dyn Future<Output = ()> + Send>>>),
}

/// What a connection is doing instead of reading.
enum Doing {
    /// The gatekeeper was asked.
    Asking(Pending),
    /// Another connection has the session and was told to leave.
    Waiting,
    /// It ends.
    Closing(Closing),
}

/// A publisher that waits for receivers of its messages.
struct Patience {
    /// Those that held too much; it waits for the last of them.
    full: Vec<Full>,
    /// When it gives up on all that have not had room meanwhile, in milliseconds of `now_ms`.
    until: u64,
}

struct Closing {
    end: End,
    /// When it ends without having written everything, in milliseconds of `now_ms`.
    by: u64,
    /// The stream was told to shut down; it has nothing more to write.
    shutting_down: bool,
}

/// What is to be asked about the grant when the question at hand is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The time for it has come.
    Renew,
    /// See [`portcullis_session::Control::Recheck`].
    Recheck,
    /// See [`portcullis_session::Control::Reevaluate`]: it is all of the others.
    Reevaluate,
}

/// What is needed until there is a session.
struct Before {
    /// Bytes on their way: there is no mailbox yet.
    early: Vec<u8>,
    /// How many of them are written.
    written: usize,
    /// The listener's word to end. From then on the broker says it, which knows sessions; to wait for both would cost every idle
    /// connection the memory of a waiter. It is waited for once the connection rests: most clients are let in before.
    stopped: Option<Stopped>,
}

/// One connection. What is rare is boxed: each octet here is one of every idle connection.
struct Connection {
    handler: Arc<MqttHandler>,
    io: Io,
    machine: Machine,
    /// None: it reads.
    doing: Option<Box<Doing>>,
    /// Its grant is to be looked at again as soon as the gatekeeper has answered what it was asked.
    look_next: Option<Look>,
    behind: Behind,
    /// Until there is a session.
    before: Option<Box<Before>>,
    timer: Option<Armed>,
    /// The stream took bytes that it has not passed on yet.
    unflushed: bool,
    /// The second in which it was last heard while it was parked; 0: never.
    stirred_at: u16,
    /// None: what it comes from is counted, and outlives it.
    _guard: Option<ConnectionGuard>,
}

/// The task of a connection, unless it is parked.
struct Awake(Option<Box<Connection>>);

/// What a connection begins with.
struct Beginning {
    origin: Origin,
    stop: StopSignal,
    guard: Option<ConnectionGuard>,
}

impl From<Facts> for Beginning {
    fn from(facts: Facts) -> Self {
        let origin = Origin {
            listener: facts.listener,
            transport: facts.transport.as_str(),
            peer: facts.peer,
            details: facts.details,
            http: None,
        };
        Self { origin, stop: facts.stop, guard: Some(facts.guard) }
    }
}

impl Connection {
    /// Polls it from now on.
    fn spawn(self) {
        Box::new(self).wake_up();
    }

    /// In a box: the runtime rounds what is in a task up to 128 octets, and the task has 104 of its own.
    fn wake_up(self: Box<Self>) {
        tokio::spawn(Awake(Some(self)));
    }

    /// Whether it reads what its client says.
    fn is_reading(&self) -> bool {
        self.doing.is_none()
    }

    fn is_closing(&self) -> bool {
        matches!(self.doing.as_deref(), Some(Doing::Closing(_)))
    }

    fn new(handler: Arc<MqttHandler>, io: Io, socket: Option<Arc<Socket>>, beginning: Beginning) -> Self {
        let Beginning { origin, stop, guard } = beginning;
        let handle = handler.broker.handle(origin);
        let rules = Arc::clone(&handler.settings.load().rules);
        let machine = Machine::new(
            Arc::clone(&handler.broker),
            rules,
            handle,
            socket.map(|s| s as Arc<dyn portcullis_router::DirectWriter>),
        );
        Self {
            handler,
            io,
            machine,
            doing: None,
            look_next: None,
            behind: Behind::default(),
            before: Some(Box::new(Before { early: Vec::new(), written: 0, stopped: Some(Stopped::Unawaited(stop)) })),
            timer: None,
            unflushed: false,
            stirred_at: 0,
            _guard: guard,
        }
    }
}

// A size class of the allocator's.
const _: () = assert!(size_of::<Connection>() <= 128);

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(armed) = self.timer.take() {
            self.handler.wheel.disarm(self.machine.handle(), armed);
        }
        if !self.is_closing() || self.machine.mailbox().is_some() {
            // The runtime is going down: leave the session as if the network had failed.
            worker::with(|worker| {
                let end = self.machine.on_closed("the gateway stopped".to_owned());
                while self.machine.close(&end, &mut worker.scratch).is_none() {
                    std::thread::yield_now();
                }
                self.handler.broker.settle(&mut worker.scratch);
            });
        }
    }
}
