//! `GET /subscribe/<filter>`: messages as server-sent events.
//!
//! A stream is a session of the broker like an MQTT client's: with its mailbox, its bounds and its end. What the reader
//! does not take waits in the pipe, then in the mailbox, and there it is bounded as everybody's is.
//!
//! Without `client-id` the session ends with the stream, and nothing that is published in between is kept. With it the
//! session stays, and delivery is *at least once*: an event has an identifier, a message stays in flight until the client
//! comes back and says in `Last-Event-ID` up to which event it has everything. There is no other way for a client of
//! server-sent events to acknowledge, so when as much is unacknowledged as may be in flight, the stream ends, and the
//! client's own reconnecting is the acknowledgement.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use portcullis_mqtt::{
    Ack, Packet, PacketId, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, SubscribeFilters,
    SubscribeOptions, UserProperties,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::events::{self, EventId, Numbers};
use super::hearing::Hearing;
use super::parameters::{MOST_FILTERS, Parameters, check_filter, headers, in_path};
use super::peer::{Gone, Peer, Welcome, Wish};
use super::refusal::{bad, document, refused};
use super::seams::{Bounds, SessionMark};
use super::{Caller, Messages};
use crate::answer::{self, Answer};
use crate::content::Content;
use crate::inbound::Inbound;

/// Between two signs of life.
const HEART_BEAT: Duration = Duration::from_secs(15);
/// A reader that takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(60);
/// Pieces that wait for the HTTP connection.
const PIECES: usize = 8;
/// Octets of events that may come before it is known whether the subscription is granted.
const EARLY: usize = 1024 * 1024;
/// Events of a stored session that a client may have without having acknowledged them.
const WINDOW: u16 = 1000;
/// Octets of them.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Seconds that a session outlives its stream unless the client says otherwise.
const SESSION_EXPIRY: u32 = 3600;

/// What the client wants.
struct Wanted {
    filters: Vec<String>,
    qos: QoS,
    /// What the client calls its session. None: it ends with the stream.
    client_id: Option<String>,
    clean_start: bool,
    session_expiry: u32,
    seen: Option<EventId>,
}

impl Wanted {
    fn read(request: &Inbound, bounds: &Bounds) -> Result<Self, Answer> {
        let mut parameters = Parameters::of(&request.head)?;
        let mut filters: Vec<_> = in_path(request, "/subscribe")?.into_iter().collect();
        filters.extend(parameters.every("filter"));
        if filters.is_empty() || filters.len() > MOST_FILTERS {
            let words = "say what to subscribe to: a filter in the path after /subscribe/, more as parameters `filter`";
            return Err(bad(&format!("{words}, at most {MOST_FILTERS}")));
        }
        for filter in &filters {
            check_filter(filter, bounds)?;
        }
        let client_id = parameters.one("client-id")?;
        if client_id.as_deref().is_some_and(|id| id.is_empty() || id.len() > 512 || id.contains('\0')) {
            return Err(bad("`client-id` is not a text of 1 to 512 octets"));
        }
        let durable = client_id.is_some();
        let clean_start = parameters.flag("clean-start")?;
        let session_expiry = parameters.read("session-expiry", "a number of seconds", |value| value.parse().ok())?;
        if !durable && (clean_start || session_expiry.is_some()) {
            return Err(bad("`clean-start` and `session-expiry` are for a session that is kept: add a `client-id`"));
        }
        let qos = parameters.qos()?.unwrap_or(if durable { QoS::AtLeastOnce } else { QoS::AtMostOnce });
        let last = headers(&request.head, "last-event-id").next().map(str::to_owned);
        let last = parameters.every("last-event-id").pop().or(last);
        parameters.finish()?;
        Ok(Self {
            filters,
            // An event is told again or not at all: there is nothing that QoS 2 could add.
            qos: qos.min(QoS::AtLeastOnce),
            client_id,
            clean_start,
            session_expiry: session_expiry.unwrap_or(SESSION_EXPIRY),
            seen: last.as_deref().and_then(EventId::parse).filter(|_| durable),
        })
    }

    fn wish(&self) -> Wish<'_> {
        match &self.client_id {
            Some(client_id) => Wish { client_id, clean_start: self.clean_start, session_expiry: self.session_expiry },
            None => Wish { client_id: "", clean_start: true, session_expiry: 0 },
        }
    }
}

impl Messages {
    pub(super) async fn subscribe(&self, request: Inbound) -> Answer {
        if request.head.method != "GET" {
            return answer::not_allowed("GET");
        }
        let bounds = self.exchange.bounds();
        let wanted = match Wanted::read(&request, &bounds) {
            Ok(wanted) => wanted,
            Err(answer) => return answer,
        };
        let caller = Caller { connection: request.connection, stop: request.stop };
        let (peer, welcome, hearing) = match self.enter(&caller, wanted.wish()).await {
            Ok(entered) => entered,
            Err(answer) => return answer,
        };
        // Listener and grant may keep no session although the client would like one.
        let name = wanted.client_id.as_deref().zip(hearing.grant()).map(|(id, grant)| grant.identity.http_session(id));
        let session = name.and_then(|name| self.exchange.session(&name));
        let memory = session
            .filter(|session| session.number != 0)
            .map(|session| Memory::new(session, wanted.seen, window(&bounds, &hearing)));
        let mut stream = Stream { peer, memory, beat: beat(welcome) };
        let early = match stream.begin(&wanted).await {
            Ok(early) => early,
            Err(answer) => return answer,
        };
        let (pieces, receiver) = mpsc::channel(PIECES);
        tokio::spawn(stream.run(early, pieces, hearing));
        answer_with(receiver, wanted.client_id.is_some().then_some(welcome.session_present))
    }
}

fn answer_with(receiver: mpsc::Receiver<Bytes>, session_present: Option<bool>) -> Answer {
    let mut answer = answer::body(StatusCode::OK, "text/event-stream", Bytes::new());
    *answer.body_mut() = Content::pieces(receiver);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // What proxies in front take as "do not collect this first".
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    if let Some(present) = session_present {
        let word = if present { "true" } else { "false" };
        headers.insert(HeaderName::from_static("mqtt-session-present"), HeaderValue::from_static(word));
    }
    answer
}

/// How often to send something: MQTT may want it more often than HTTP.
fn beat(welcome: Welcome) -> Duration {
    welcome.keep_alive.map_or(HEART_BEAT, |seconds| Duration::from_secs(u64::from(seconds)).min(HEART_BEAT))
}

/// How much may be sent before it is acknowledged: never more than the broker sends, or nobody would ever ask for the
/// acknowledgement that it waits for.
fn window(bounds: &Bounds, hearing: &Hearing) -> (u16, usize) {
    let limits = hearing.grant().map(|grant| *grant.limits()).unwrap_or_default();
    let granted = limits.receive_maximum.map_or(u16::MAX, |most| u16::try_from(most).unwrap_or(u16::MAX));
    let bytes = limits.queued_bytes.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let bytes = (bounds.queued_bytes.min(bytes) / 2).min(WINDOW_BYTES);
    (WINDOW.min(bounds.in_flight).min(granted).max(1), bytes)
}

/// What a stored session's client has, and has acknowledged.
struct Memory {
    numbers: Numbers,
    /// Up to here the client has everything.
    seen: u64,
    left: u16,
    left_bytes: usize,
}

impl Memory {
    fn new(mark: SessionMark, seen: Option<EventId>, (left, left_bytes): (u16, usize)) -> Self {
        // What was seen of another session says nothing of this one.
        let seen = seen.filter(|seen| seen.session == mark.number).map_or(0, |seen| seen.sequence);
        Self { numbers: Numbers::after(mark), seen, left, left_bytes }
    }
}

/// A stream at work.
struct Stream {
    peer: Peer,
    /// Of a session that is kept.
    memory: Option<Memory>,
    beat: Duration,
}

/// What a packet led to.
enum Led {
    To(Bytes),
    Nothing,
    /// SUBACK, with its codes.
    Answer(Vec<u8>),
}

impl Stream {
    /// Subscribes. Gives what came before the answer.
    async fn begin(&mut self, wanted: &Wanted) -> Result<Vec<Bytes>, Answer> {
        // A session that is resumed has had what is retained.
        let retain_handling = if self.memory.is_some() { RetainHandling::SendIfNew } else { RetainHandling::Send };
        let options = SubscribeOptions { retain_handling, ..SubscribeOptions::new(wanted.qos) };
        let filters: Vec<_> = wanted.filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
        let packet_id = self.peer.next_id();
        let subscribe = Subscribe {
            packet_id,
            subscription_id: None,
            user: UserProperties::EMPTY,
            filters: SubscribeFilters::from_slice(&filters),
        };
        let over = |gone: Gone| refused(gone.code, gone.words.as_deref().unwrap_or(gone.code.name()));
        self.peer.send(&Packet::Subscribe(subscribe)).await.map_err(over)?;
        let mut early = Vec::new();
        let mut octets = 0;
        while octets < EARLY && self.memory.as_ref().is_none_or(|memory| memory.left > 0) {
            match self.next().await.map_err(over)? {
                Led::To(piece) => {
                    octets += piece.len();
                    early.push(piece);
                }
                Led::Nothing => {}
                Led::Answer(codes) => {
                    let failed = codes.iter().map(|code| ReasonCode(*code)).zip(&wanted.filters);
                    return match failed.into_iter().find(|(code, _)| code.is_error()) {
                        Some((code, filter)) => Err(refused(code, &not_granted(code, filter))),
                        None => Ok(early),
                    };
                }
            }
        }
        // So much is there that the answer waits behind it. Should it be a refusal, the stream says so.
        Ok(early)
    }

    /// The next packet, and what is to be told of it.
    async fn next(&mut self) -> Result<Led, Gone> {
        let Self { peer, memory, .. } = self;
        let (piece, acknowledged) = match peer.receive().await? {
            Packet::Publish(publish) => match (publish.packet_id, memory) {
                (Some(packet_id), Some(memory)) => {
                    let id = memory.numbers.next(packet_id.get());
                    if id.sequence <= memory.seen {
                        (None, Some(packet_id))
                    } else {
                        let piece = events::message(&publish, Some(id));
                        memory.left = memory.left.saturating_sub(1);
                        memory.left_bytes = memory.left_bytes.saturating_sub(piece.len());
                        (Some(piece), None)
                    }
                }
                (packet_id, _) => (Some(events::message(&publish, None)), packet_id),
            },
            Packet::SubAck(suback) => return Ok(Led::Answer(suback.codes.to_vec())),
            _ => (None, None),
        };
        if let Some(packet_id) = acknowledged {
            self.acknowledge(packet_id).await?;
        }
        Ok(piece.map_or(Led::Nothing, Led::To))
    }

    async fn acknowledge(&mut self, packet_id: PacketId) -> Result<(), Gone> {
        self.peer.send(&Packet::PubAck(Ack::new(packet_id, ReasonCode::SUCCESS))).await
    }

    /// Tells what comes, until somebody has had enough.
    async fn run(mut self, early: Vec<Bytes>, pieces: mpsc::Sender<Bytes>, hearing: std::sync::Arc<Hearing>) {
        let mut beats = tokio::time::interval_at(Instant::now() + self.beat, self.beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = std::collections::VecDeque::from(early);
        waiting.push_front(events::retry(1000));
        loop {
            while let Some(piece) = waiting.pop_front() {
                // A reader that is gone, or takes nothing: there is nobody to tell.
                match tokio::time::timeout(STALLED, pieces.send(piece)).await {
                    Ok(Ok(())) => {}
                    _ => return,
                }
            }
            if self.memory.as_ref().is_some_and(|memory| memory.left == 0 || memory.left_bytes == 0) {
                let words = "as much is unacknowledged as may be: come again with Last-Event-ID";
                // Soon: the client has done nothing wrong.
                for piece in [events::retry(10), end(ReasonCode::SUCCESS, words)] {
                    let _: Result<_, _> = tokio::time::timeout(STALLED, pieces.send(piece)).await;
                }
                return;
            }
            let led = tokio::select! {
                led = self.next() => led,
                _ = beats.tick() => {
                    waiting.push_back(events::heart_beat());
                    self.peer.send(&Packet::PingReq).await.map(|()| Led::Nothing)
                }
                () = pieces.closed() => return,
            };
            match led {
                Ok(Led::To(piece)) => waiting.push_back(piece),
                Ok(Led::Nothing) => {}
                Ok(Led::Answer(codes)) => {
                    if let Some(code) = codes.iter().map(|code| ReasonCode(*code)).find(|code| code.is_error()) {
                        let _: Result<_, _> = pieces.send(end(code, "a filter was not granted")).await;
                        return;
                    }
                }
                Err(gone) => {
                    let denial = hearing.refusal();
                    let message = denial.as_ref().and_then(|denial| denial.message.as_deref());
                    let words = message.or(gone.words.as_deref()).unwrap_or(gone.code.name());
                    let _: Result<_, _> = tokio::time::timeout(STALLED, pieces.send(end(gone.code, words))).await;
                    return;
                }
            }
        }
    }
}

fn not_granted(code: ReasonCode, filter: &str) -> String {
    match code {
        ReasonCode::NOT_AUTHORIZED => format!("the grant does not permit to subscribe to {filter:?}"),
        ReasonCode::QUOTA_EXCEEDED => "the session has as many subscriptions as it may have".to_owned(),
        _ => format!("{filter:?}: {}", code.name()),
    }
}

/// The last event of a stream.
fn end(code: ReasonCode, words: &str) -> Bytes {
    events::event("end", None, &document(code, words))
}
