//! A desk on which a test plays gateway: several machines on one broker, sockets of limited room, answers of a
//! gatekeeper when the test likes. No task system, no time but the test's own.
//!
//! It does for a machine what the connection loop does, in the simplest order that is allowed.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what must be true by unwrapping it")]

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use portcullis_grant::{
    Action, Actions, Authorization, Effect, Filtered, Grant, GrantDraft, Identity, Login, Outcome, Passage,
    PolicyStamp, Renewal, Reply, Rule,
};
use portcullis_mqtt::QoS;
use portcullis_router::DirectWriter;
use portcullis_session::{Broker, BrokerOptions, Control, End, Handle, ListenerRules, Machine, Origin, Scratch, Step};
use portcullis_store::{Batch, Durability, Store};

/// A socket that takes so many octets until it is given room again.
#[derive(Default)]
pub(crate) struct Socket {
    pub room: Mutex<usize>,
    pub got: Mutex<Vec<u8>>,
}

impl DirectWriter for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.room.lock();
        let n = bytes.len().min(*room);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        *room -= n;
        self.got.lock().extend_from_slice(&bytes[..n]);
        Ok(n)
    }
}

/// What a connection is doing besides reading.
#[derive(Debug)]
pub(crate) enum Doing {
    Reading,
    Login(Box<Login>),
    Reply(Box<Reply>),
    Authorize(Action),
    Filter(Box<Passage>),
    Renewing,
    Waiting,
    Closing(End),
    Closed(End),
}

/// One connection.
pub(crate) struct Line {
    pub machine: Machine,
    pub handle: Arc<Handle>,
    pub socket: Arc<Socket>,
    pub doing: Doing,
    partial: Vec<u8>,
    /// Its loop is not run.
    held: bool,
}

impl Line {
    pub(crate) fn end(&self) -> Option<&End> {
        match &self.doing {
            Doing::Closing(end) | Doing::Closed(end) => Some(end),
            _ => None,
        }
    }
}

type OnLogin = Box<dyn FnMut(&Login) -> Option<Outcome>>;
type OnReply = Box<dyn FnMut(&Reply) -> Option<Outcome>>;
type OnPassage = Box<dyn FnMut(&Passage) -> Filtered>;
type OnAction = Box<dyn FnMut(&Action) -> Option<Authorization>>;

/// See the module's description.
pub(crate) struct Desk {
    pub broker: Arc<Broker>,
    /// Where its sessions are kept, if they are.
    store: Option<Store>,
    pub rules: Arc<ListenerRules>,
    pub scratch: Scratch,
    pub lines: Vec<Line>,
    /// None: no answer yet.
    pub on_login: OnLogin,
    pub on_reply: OnReply,
    pub on_action: OnAction,
    /// Renewals that were asked for; each is answered with "as it is".
    pub renewals: usize,
    pub on_passage: OnPassage,
}

pub(crate) fn stamp() -> PolicyStamp {
    PolicyStamp { name: "test".into(), digest: "00".into(), serial: 0 }
}

pub(crate) fn rule(effect: Effect, actions: Actions, filter: &str, max_qos: QoS) -> Rule {
    Rule { effect, actions, filter: filter.to_owned(), max_qos }
}

/// A draft for `subject` that permits everything, `$` topics included.
pub(crate) fn everything(subject: &str) -> GrantDraft {
    GrantDraft {
        identity: Identity { scheme: "test".into(), subject: subject.to_owned(), ..Identity::default() },
        rules: ["#", "$x/#"].map(|f| rule(Effect::Allow, Actions::ALL, f, QoS::ExactlyOnce)).to_vec(),
        ..GrantDraft::default()
    }
}

pub(crate) fn compile(draft: GrantDraft) -> Arc<Grant> {
    Arc::new(Grant::compile(draft, stamp()).unwrap())
}

fn open(store: Option<Store>) -> Arc<Broker> {
    let options = BrokerOptions { store, ..BrokerOptions::default() };
    Broker::open_store(options).expect("what was stored is understood")
}

impl Desk {
    pub(crate) fn new(rules: ListenerRules) -> Self {
        Self::on(None, rules)
    }

    /// With sessions in this store, if there is one.
    pub(crate) fn on(store: Option<Store>, rules: ListenerRules) -> Self {
        Self {
            broker: open(store.clone()),
            store,
            rules: Arc::new(rules),
            scratch: Scratch::default(),
            lines: Vec::new(),
            on_login: Box::new(|login| Some(Outcome::allow(compile(everything(&login.credentials.client_id))))),
            on_reply: Box::new(|_| None),
            on_action: Box::new(|_| Some(Authorization { denied: None, valid_for: 0 })),
            renewals: 0,
            on_passage: Box::new(|_| Filtered::Pass),
        }
    }

    /// The gateway ends without a word to anybody, at a moment when nothing is under way, and is back after `seconds`.
    pub(crate) fn restart(&mut self, seconds: u64) {
        self.settle();
        self.lines.clear();
        portcullis_router::test_clock::advance(seconds * 1000);
        self.broker = open(self.store.clone());
    }

    /// A new connection with room for `room` octets.
    pub(crate) fn accept(&mut self, room: usize) -> usize {
        let socket = Arc::new(Socket { room: Mutex::new(room), got: Mutex::default() });
        let origin = Origin {
            http: None,
            listener: "desk".into(),
            transport: "tcp",
            peer: std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into(),
            details: None,
        };
        let handle = self.broker.handle(origin);
        let writer = Arc::clone(&socket) as Arc<dyn DirectWriter>;
        let machine =
            Machine::new(Arc::clone(&self.broker), Arc::clone(&self.rules), Arc::clone(&handle), Some(writer));
        self.lines.push(Line { machine, handle, socket, doing: Doing::Reading, partial: Vec::new(), held: false });
        self.lines.len() - 1
    }

    fn take(&mut self, line: usize, step: Step) {
        let line = &mut self.lines[line];
        if line.end().is_some() {
            return;
        }
        line.doing = match step {
            Step::More => return,
            Step::Login(login) => Doing::Login(login),
            Step::Reply(reply) => Doing::Reply(reply),
            Step::Authorize(action) => Doing::Authorize(action),
            Step::Filter(passage) => Doing::Filter(passage),
            Step::Renew | Step::Recheck => Doing::Renewing,
            Step::Wait => Doing::Waiting,
            Step::End(end) => Doing::Closing(end),
        };
    }

    /// Octets from the client; what cannot be processed yet is kept, as in the connection loop.
    pub(crate) fn feed(&mut self, line: usize, bytes: &[u8]) {
        if self.lines[line].end().is_none() {
            self.lines[line].partial.extend_from_slice(bytes);
        }
        self.settle();
    }

    fn digest(&mut self, at: usize) -> bool {
        let line = &mut self.lines[at];
        if !matches!(line.doing, Doing::Reading) || line.partial.is_empty() {
            return false;
        }
        let bytes = std::mem::take(&mut line.partial);
        let (used, step) = line.machine.process(&bytes, &mut self.scratch);
        assert!(used <= bytes.len());
        line.partial = bytes[used..].to_vec();
        self.take(at, step);
        used > 0 || !matches!(self.lines[at].doing, Doing::Reading)
    }

    /// The client's side of the connection ended without a word.
    pub(crate) fn lose(&mut self, line: usize) {
        let end = self.lines[line].machine.on_closed("lost".to_owned());
        self.take(line, Step::End(end));
        self.settle();
    }

    /// Answers a renewal, asked for or not.
    pub(crate) fn renew(&mut self, line: usize, renewal: Renewal) {
        if self.lines[line].end().is_none() {
            let step = self.lines[line].machine.on_renewal(renewal, &mut self.scratch);
            if matches!(self.lines[line].doing, Doing::Renewing) {
                self.lines[line].doing = Doing::Reading;
            }
            self.take(line, step);
        }
        self.settle();
    }

    pub(crate) fn control(&mut self, line: usize, control: Control) {
        self.lines[line].handle.request(control);
        self.settle();
    }

    /// Lets time pass, for the broker and all connections.
    pub(crate) fn pass(&mut self, seconds: u64) {
        portcullis_router::test_clock::advance(seconds * 1000);
        self.broker.tick(&mut self.scratch);
        self.broker.settle(&mut self.scratch);
        for at in 0..self.lines.len() {
            if self.lines[at].end().is_none() && !self.lines[at].held {
                let asks = !matches!(self.lines[at].doing, Doing::Reading | Doing::Waiting);
                if asks {
                    self.lines[at].machine.does_not_listen();
                }
                let step = self.lines[at].machine.on_time(&mut self.scratch);
                self.take(at, step);
            }
        }
        self.settle();
    }

    /// Keeps a connection's loop from running, or lets it run again.
    pub(crate) fn hold(&mut self, line: usize, held: bool) {
        self.lines[line].held = held;
    }

    /// Sets how much the socket takes from now on.
    pub(crate) fn room(&mut self, line: usize, room: usize) {
        *self.lines[line].socket.room.lock() = room;
        self.settle();
    }

    /// What the client was sent since it was last asked.
    pub(crate) fn take_output(&mut self, line: usize) -> Vec<u8> {
        std::mem::take(&mut *self.lines[line].socket.got.lock())
    }

    fn answer(&mut self, at: usize) -> bool {
        let line = &mut self.lines[at];
        let step = match &line.doing {
            Doing::Login(login) => (self.on_login)(login).map(|o| line.machine.on_outcome(o, &mut self.scratch)),
            Doing::Reply(reply) => (self.on_reply)(reply).map(|o| line.machine.on_outcome(o, &mut self.scratch)),
            Doing::Authorize(action) => {
                let action = action.clone();
                (self.on_action)(&action).map(|answer| {
                    if let Some(grant) = line.machine.grant() {
                        grant.remember(&action, &answer);
                    }
                    line.machine.on_authorization(action, answer, &mut self.scratch)
                })
            }
            Doing::Filter(passage) => {
                let outcome = (self.on_passage)(passage);
                Some(line.machine.on_filtered(outcome, &mut self.scratch))
            }
            Doing::Renewing => {
                self.renewals += 1;
                Some(line.machine.on_renewal(Renewal::Keep(0), &mut self.scratch))
            }
            Doing::Waiting => Some(line.machine.retry(&mut self.scratch)),
            Doing::Reading | Doing::Closing(_) | Doing::Closed(_) => None,
        };
        let Some(step) = step else { return false };
        let waiting = matches!((&line.doing, &step), (Doing::Waiting, Step::Wait));
        line.doing = Doing::Reading;
        self.take(at, step);
        !waiting
    }

    /// True: there is more to write.
    fn write(&mut self, at: usize) -> bool {
        self.scratch.batch.flush();
        let line = &mut self.lines[at];
        let early = line.machine.take_early();
        line.socket.got.lock().extend_from_slice(&early);
        if let Some(mailbox) = line.machine.mailbox() {
            mailbox.unblock();
            mailbox.flush();
            let refilled = mailbox.refill(&mut self.scratch.batch);
            line.machine.on_room(&mut self.scratch);
            return refilled || line.machine.wants_room();
        }
        false
    }

    /// Works until nothing is left that can be done, by the store either.
    pub(crate) fn settle(&mut self) {
        self.work();
        while let Some(store) = &self.store {
            let before = store.statistics().batches;
            // Whatever was handed in before it is written then, and those who waited are told.
            store.submit_with(Batch::new(), Durability::Ack).wait().expect("memory does not fail");
            let idle = store.statistics().batches == before + 1;
            if !self.work() && idle {
                return;
            }
        }
    }

    /// True: something was done.
    fn work(&mut self) -> bool {
        let mut worked = false;
        let mut busy = true;
        while busy {
            busy = false;
            for at in 0..self.lines.len() {
                if self.lines[at].held || matches!(self.lines[at].doing, Doing::Closed(_)) {
                    continue;
                }
                if let Some(control) = self.lines[at].handle.take_request() {
                    let step = self.lines[at].machine.on_control(control, &mut self.scratch);
                    self.take(at, step);
                    busy = true;
                }
                busy |= self.answer(at);
                busy |= self.digest(at);
                let awaits_store = self.lines[at].machine.awaits_store();
                busy |= self.write(at);
                let line = &mut self.lines[at];
                if let Doing::Closing(end) = &line.doing {
                    if awaits_store && !end.by_client {
                        continue;
                    }
                    let end = end.clone();
                    line.machine.close(&end, &mut self.scratch).expect("nobody else writes here");
                    line.doing = Doing::Closed(end);
                    busy = true;
                }
                self.broker.settle(&mut self.scratch);
            }
            worked |= busy;
        }
        self.broker.settle(&mut self.scratch);
        worked
    }
}
