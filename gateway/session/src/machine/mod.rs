//! One connection's protocol state: what a packet means now, and what is to be done about it.
//!
//! The connection loop owns the machine. It feeds bytes to [`Machine::process`], does what the returned [`Step`] asks,
//! and brings the answers back through the `on_…` functions; each of them again returns a step. Nothing here waits.

mod acks;
mod admission;
mod asked;
mod connect;
mod ending;
mod filtering;
mod heard;
mod offering;
mod open;
mod pace;
mod publish;
mod reauthentication;
mod reply;
mod route_cache;
mod subscribe;

use std::borrow::Cow;
use std::sync::Arc;

use portcullis_grant::{Action, ConnectionFacts, Grant, Login, Passage, Peer, PeerDetails, Reply};
use portcullis_mqtt::{Error, ReasonCode};
use portcullis_router::{DirectWriter, Full, now_ms};

use crate::broker::Broker;
use crate::handle::Handle;
use crate::rules::ListenerRules;
use crate::scratch::Scratch;

pub(crate) use asked::Asked;
use connect::Connecting;
use heard::Heard;
use open::Open;
pub(crate) use subscribe::unanswered;

/// What the connection loop is to do next.
#[derive(Debug)]
pub enum Step {
    /// Everything whole was processed: read on.
    More,
    /// Have the gatekeeper decide about a login; then [`Machine::on_outcome`].
    Login(Box<Login>),
    /// Have the gatekeeper take the next step of an exchange; then [`Machine::on_outcome`].
    Reply(Box<Reply>),
    /// Have the gatekeeper decide about an action under the grant in force ([`Machine::grant`]); then
    /// [`Machine::on_authorization`]. What was not consumed is to be given to [`Machine::process`] again after it, or instead:
    /// then this comes again.
    Authorize(Action),
    /// Have the gatekeeper look at a message; then [`Machine::on_filtered`]. What was not consumed is to be given to
    /// [`Machine::process`] again, as above.
    Filter(Box<Passage>),
    /// Have the gatekeeper look at the grant again; then [`Machine::on_renewal`].
    Renew,
    /// As [`Step::Renew`], if the grant's policy can look at grants again; else the grant stays.
    Recheck,
    /// Another connection is leaving this session, or what it left is on its way to the disk; try [`Machine::retry`] when woken.
    Wait,
    /// Write what is left to write, then close.
    End(End),
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// In the words of MQTT 5; what was sent, where there was a packet to say it.
    pub reason: ReasonCode,
    /// For the log.
    pub detail: Cow<'static, str>,
    /// Whether the client ended it, or the network.
    pub by_client: bool,
}

impl End {
    /// The gateway ends it.
    pub fn ours(reason: ReasonCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), by_client: false }
    }

    /// The client, or the network, ended it.
    pub fn theirs(reason: ReasonCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), by_client: true }
    }
}

/// A packet that the connection does not survive.
#[derive(Debug)]
pub(crate) struct Fault {
    reason: ReasonCode,
    detail: Cow<'static, str>,
}

impl Fault {
    fn new(reason: ReasonCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { reason: error.reason_code(), detail: error.to_string().into() }
    }
}

/// Why the processing of a read stops early.
pub(crate) enum Stop {
    Fault(Fault),
    /// The packet at this place needs an answer first; it is to be processed again.
    Ask(Action),
    /// A filter has to look at the message at this place first; the packet is to be processed again.
    Filter(Box<Passage>),
    /// DISCONNECT, or an exchange with the gatekeeper that everything after has to wait for.
    Step(Step),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fault(error.into())
    }
}

enum Phase {
    /// Nothing was said yet.
    AwaitConnect,
    /// The gatekeeper has the login.
    Deciding(Box<Connecting>),
    /// The client was challenged (MQTT 5 §4.12).
    Challenged(Box<Connecting>),
    /// Allowed; the will is asked about, or the session is being taken over.
    Admitting(Box<Connecting>),
    Open(Box<Open>),
    Ended,
}

/// Where a connection comes from, before CONNECT tells the rest.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The listener's name.
    pub listener: Arc<str>,
    /// `tcp`, `tls`, `ws` or `wss`.
    pub transport: &'static str,
    /// Who is at the other end.
    pub peer: Peer,
    /// What TLS and HTTP told.
    pub details: Option<Arc<PeerDetails>>,
    /// Some: it is HTTP that speaks MQTT from within, for a client of its own; the major version of that client's HTTP.
    /// Policies and audit see an HTTP connection then, and a grant's client identifier does not count: a request, or a
    /// stream, of a device is not the device's MQTT connection, which it would take over.
    pub http: Option<u8>,
}

/// What a connection needs until it has a session.
#[derive(Default)]
struct Before {
    writer: Option<Arc<dyn DirectWriter>>,
    /// When it must be through with CONNECT, in [`now_ms`].
    connect_by: u64,
    /// Bytes for the client while there is no mailbox yet.
    early: Vec<u8>,
}

/// See the module's description.
pub struct Machine {
    broker: Arc<Broker>,
    rules: Arc<ListenerRules>,
    handle: Arc<Handle>,
    phase: Phase,
    /// Until there is a session.
    before: Option<Box<Before>>,
    heard: Heard,
    /// What had changed in the directory when a policy was last asked who this is.
    asked_at: u64,
}

impl Machine {
    /// A machine for a connection that was just accepted. `writer`: plain TCP, which others may write.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        rules: Arc<ListenerRules>,
        handle: Arc<Handle>,
        writer: Option<Arc<dyn DirectWriter>>,
    ) -> Self {
        let now = now_ms();
        let connect_by = now + rules.connect_timeout_ms;
        Self {
            broker,
            rules,
            handle,
            phase: Phase::AwaitConnect,
            before: Some(Box::new(Before { writer, connect_by, early: Vec::new() })),
            heard: Heard::new(now, 0),
            asked_at: 0,
        }
    }

    /// What is to be told of the connection.
    #[must_use]
    pub fn facts(&self) -> ConnectionFacts {
        self.broker.facts(&self.handle)
    }

    /// How others reach the connection.
    #[must_use]
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// The topics that are filtered: the `filters` of [`ListenerRules`].
    #[must_use]
    pub fn filters(&self) -> &Option<Arc<[String]>> {
        &self.rules.filters
    }

    /// The grant in force, or about to be.
    #[must_use]
    pub fn grant(&self) -> Option<&Arc<Grant>> {
        match &self.phase {
            Phase::Open(open) => Some(open.regranting().map_or(&open.grant, |regranting| &regranting.grant)),
            Phase::Admitting(connecting) => connecting.grant.as_ref(),
            _ => None,
        }
    }

    /// The mailbox, once there is a session.
    #[must_use]
    pub fn mailbox(&self) -> Option<&Arc<portcullis_router::Mailbox>> {
        match &self.phase {
            Phase::Open(open) => Some(&open.mailbox),
            _ => None,
        }
    }

    /// A receiver of what was published last that holds more than it should: what comes next is better left unread until
    /// it has room. Not the client itself, which has to read on to empty its own queue.
    #[must_use]
    pub fn full_receiver(&self) -> Option<Full> {
        match &self.phase {
            Phase::Open(open) => {
                open.routes.last()?.full_receiver().filter(|full| full.number() != open.mailbox.number)
            }
            _ => None,
        }
    }

    /// Whether nothing whole has come yet.
    #[must_use]
    pub fn awaits_connect(&self) -> bool {
        matches!(self.phase, Phase::AwaitConnect)
    }

    /// What is to be written to the client while there is no mailbox.
    #[must_use]
    pub fn take_early(&mut self) -> Vec<u8> {
        self.before.as_mut().map(|before| std::mem::take(&mut before.early)).unwrap_or_default()
    }

    fn early(&mut self) -> &mut Vec<u8> {
        &mut self.before.get_or_insert_default().early
    }

    fn connect_by(&self) -> u64 {
        self.before.as_ref().map_or(u64::MAX, |before| before.connect_by)
    }

    /// Octets of the largest packet that is taken now.
    #[must_use]
    pub fn max_packet(&self) -> u32 {
        match &self.phase {
            Phase::Open(open) => open.max_packet,
            _ => self.rules.max_packet,
        }
    }

    /// Processes what was read. Returns how many octets were used and what to do next; what was not used is to be given
    /// again, with what follows it.
    pub fn process(&mut self, bytes: &[u8], scratch: &mut Scratch) -> (usize, Step) {
        let (used, step) = match &mut self.phase {
            Phase::Open(_) => self.process_open(bytes, scratch),
            Phase::AwaitConnect => self.process_connect(bytes),
            Phase::Challenged(_) => self.process_challenged(bytes),
            // Whatever comes while somebody decides waits in the connection loop.
            Phase::Deciding(_) | Phase::Admitting(_) => (0, Step::Wait),
            Phase::Ended => (bytes.len(), Step::More),
        };
        // A sign of life is a whole packet (MQTT 5 §3.1.2.10), be it one that somebody is asked about first, or a fair part
        // of a large one, which takes its time on a slow line: the time between packets is what a keep-alive bounds. An octet
        // now and then would keep a connection for as long as its sender likes.
        let whole = used > 0 || !matches!(step, Step::More);
        if whole || self.heard.has_fair_part(bytes.len()) {
            self.heard = Heard::new(now_ms(), bytes.len() - used);
        }
        (used, step)
    }

    /// Whether the packet that comes next was asked about already.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        let Phase::Open(open) = &self.phase else { return false };
        let at_hand = open.seldom.as_ref().and_then(|seldom| seldom.at_hand.as_ref());
        at_hand.is_some_and(|at_hand| !at_hand.answers.is_empty())
    }

    /// For the owner, while it does not listen because somebody is asked: that silence is not the client's.
    pub fn does_not_listen(&mut self) {
        if matches!(self.phase, Phase::Open(_)) {
            self.heard = self.heard.again(now_ms());
        }
    }

    /// When the client was last heard of, in [`now_ms`].
    #[must_use]
    pub fn heard_at(&self) -> u64 {
        self.heard.at()
    }

    /// When [`Self::on_time`] wants to be called, in [`now_ms`]; what a client does meanwhile may move it.
    #[must_use]
    pub fn next_time(&self) -> Option<u64> {
        match &self.phase {
            Phase::Open(open) => open.next_time(self.heard.at()),
            Phase::Challenged(connecting) => Some(connecting.reply_by.unwrap_or(u64::MAX).min(self.connect_by())),
            Phase::AwaitConnect | Phase::Deciding(_) | Phase::Admitting(_) => Some(self.connect_by()),
            Phase::Ended => None,
        }
    }

    /// A time that [`Self::next_time`] named has come.
    pub fn on_time(&mut self, scratch: &mut Scratch) -> Step {
        let now = now_ms();
        if self.next_time().is_none_or(|at| at > now) {
            return Step::More;
        }
        match &mut self.phase {
            Phase::Open(_) => self.on_open_time(now, scratch),
            Phase::Challenged(_) => {
                self.refuse_reason(ReasonCode::NOT_AUTHORIZED, "the client did not answer the challenge in time")
            }
            _ => Step::End(End::ours(ReasonCode::MAXIMUM_CONNECT_TIME, "CONNECT was not complete and decided in time")),
        }
    }
}
