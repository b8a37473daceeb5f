//! `POST /publish/<topic>`: one message, whose body is the payload.
//!
//! It is published by MQTT on a connection from within, so that grant, rate, retained messages and the store have one
//! judge. An answer of 200 at QoS 1 and 2 means what PUBACK and PUBCOMP mean: whoever has to get it, gets it, also if the
//! gateway is killed now.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use portcullis_grant::Permission;
use portcullis_mqtt::{Ack, Packet, Publish, PublishProperties, QoS, ReasonCode, UserProperties};
use serde_json::json;
use tokio::time::Instant;

use super::parameters::Post;
use super::peer::{Gone, Wish};
use super::publishers::{Place, Publisher, SharedPlace};
use super::refusal::{denied, refused};
use super::{Caller, Messages};
use crate::answer::{self, Answer};
use crate::inbound::Inbound;

/// For an acknowledgement. Longer than a store that is at work takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a client that was too fast has to wait: the time in which its bound is full again.
const COOL_DOWN: Duration = Duration::from_secs(1);
/// Topics of the gateway's own (MQTT 5 §4.7.2): nobody else speaks there.
pub(super) const RESERVED: &str = "$SYS/";

/// Why a publication came to nothing.
enum Failed {
    /// PUBACK or PUBREC said so; the connection goes on.
    Refused(ReasonCode),
    /// The connection is over.
    Gone(Gone),
    /// No acknowledgement came.
    Late,
}

impl From<Gone> for Failed {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone)
    }
}

impl Messages {
    pub(super) async fn publish(&self, request: Inbound) -> Answer {
        if request.head.method != "POST" {
            return answer::not_allowed("POST");
        }
        let bounds = self.exchange.bounds();
        let post = match Post::read(&request, &bounds) {
            Ok(post) => post,
            Err(answer) => return answer,
        };
        let place = request.publishers.place(&request.head);
        // Before the body: who is refused has sent none for nothing.
        let (caller, body) = (Caller { connection: request.connection, stop: request.stop }, request.body);
        if let Err(answer) = self.login(&caller, &mut *place.lock().await).await {
            return answer;
        }
        let payload = match body.read().await {
            Ok(payload) => payload,
            Err(answer) => return answer,
        };
        if post.text == Some(true) && std::str::from_utf8(&payload).is_err() {
            return refused(ReasonCode::PAYLOAD_FORMAT_INVALID, "the payload is not UTF-8, as `payload-format` says");
        }
        self.send(&caller, &place, &post, &payload).await
    }

    /// Makes sure that somebody is logged in at this place.
    async fn login(&self, caller: &Caller, place: &mut Place) -> Result<(), Answer> {
        if place.not_before.is_some_and(|at| at > Instant::now()) {
            return Err(too_fast());
        }
        if let Some(publisher) = &mut place.publisher {
            if !publisher.peer.is_gone().await {
                return Ok(());
            }
            place.publisher = None;
        }
        let wish = Wish { client_id: "", clean_start: true, session_expiry: 0 };
        let (peer, _, hearing) = self.enter(caller, wish).await?;
        place.publisher = Some(Publisher { peer, hearing });
        Ok(())
    }

    async fn send(&self, caller: &Caller, place: &SharedPlace, post: &Post, payload: &[u8]) -> Answer {
        let mut place = place.lock().await;
        if let Err(answer) = self.login(caller, &mut place).await {
            return answer;
        }
        // Taken out: if the request is given up in the middle, so is the connection with half a packet on it.
        let Some(mut publisher) = place.publisher.take() else { return unavailable() };
        let done = tokio::time::timeout(PATIENCE, exchange(&mut publisher, post, payload));
        let done = done.await.unwrap_or(Err(Failed::Late));
        let hearing = Arc::clone(&publisher.hearing);
        match done {
            Ok(code) => {
                place.publisher = Some(publisher);
                answer::json(StatusCode::OK, &json!({ "reason": code.name(), "code": format!("{:#04x}", code.0) }))
            }
            Err(Failed::Refused(code)) => {
                place.publisher = Some(publisher);
                match (code, hearing.take_action()) {
                    (ReasonCode::NOT_AUTHORIZED, Some(denial)) => denied(&denial),
                    (ReasonCode::NOT_AUTHORIZED, None) => refused(code, &not_permitted(post)),
                    (ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, _) => {
                        refused(code, "the gateway cannot store messages at present, and this one has to be stored")
                    }
                    (ReasonCode::QUOTA_EXCEEDED, _) => {
                        refused(code, "a receiver's queue is full, or no more can be retained")
                    }
                    _ => refused(code, code.name()),
                }
            }
            Err(Failed::Gone(gone)) => {
                if gone.code == ReasonCode::MESSAGE_RATE_TOO_HIGH {
                    place.not_before = Some(Instant::now() + COOL_DOWN);
                    return too_fast();
                }
                match hearing.refusal() {
                    Some(denial) => denied(&denial),
                    None => refused(gone.code, gone.words.as_deref().unwrap_or(gone.code.name())),
                }
            }
            Err(Failed::Late) => refused(
                ReasonCode::SERVER_BUSY,
                "no acknowledgement came in time: the message may have been published, or may still be",
            ),
        }
    }
}

/// Publishes, and waits for what says that it was done. Gives the code of the acknowledgement.
async fn exchange(publisher: &mut Publisher, post: &Post, payload: &[u8]) -> Result<ReasonCode, Failed> {
    let Publisher { peer, hearing } = publisher;
    let _: Option<_> = hearing.take_action();
    let packet_id = (post.qos != QoS::AtMostOnce).then(|| peer.next_id());
    let properties = PublishProperties {
        payload_format: post.text,
        message_expiry: post.message_expiry,
        response_topic: post.response_topic.as_deref(),
        correlation_data: post.correlation_data.as_deref(),
        user: UserProperties::from_owned(&post.user),
        content_type: post.content_type.as_deref(),
        ..PublishProperties::default()
    };
    let message =
        Publish { dup: false, qos: post.qos, retain: post.retain, topic: &post.topic, packet_id, properties, payload };
    peer.send(&Packet::Publish(message)).await?;
    let Some(id) = packet_id else {
        // Nothing acknowledges QoS 0; but once this is answered, what was sent before it was looked at.
        peer.send(&Packet::PingReq).await?;
        while !matches!(peer.receive().await?, Packet::PingResp) {}
        let refused = hearing.refused_action()
            || post.topic.starts_with(RESERVED)
            || hearing
                .grant()
                .is_some_and(|grant| grant.publish(&post.topic, post.qos, post.retain) == Permission::Deny);
        return if refused { Err(Failed::Refused(ReasonCode::NOT_AUTHORIZED)) } else { Ok(ReasonCode::SUCCESS) };
    };
    let mut received = ReasonCode::SUCCESS;
    loop {
        match peer.receive().await? {
            Packet::PubAck(ack) if ack.packet_id == id => return told(ack.reason),
            Packet::PubRec(ack) if ack.packet_id == id => {
                received = told(ack.reason)?;
                peer.send(&Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS))).await?;
            }
            Packet::PubComp(ack) if ack.packet_id == id => return Ok(received),
            _ => {}
        }
    }
}

fn told(code: ReasonCode) -> Result<ReasonCode, Failed> {
    if code.is_error() { Err(Failed::Refused(code)) } else { Ok(code) }
}

fn not_permitted(post: &Post) -> String {
    let retained = if post.retain { ", retained" } else { "" };
    format!("the grant does not permit to publish to this topic at QoS {}{retained}", post.qos as u8)
}

fn too_fast() -> Answer {
    refused(ReasonCode::MESSAGE_RATE_TOO_HIGH, "more is published a second than the listener or the grant allows")
}

pub(super) fn unavailable() -> Answer {
    refused(ReasonCode::SERVER_UNAVAILABLE, "the gateway stops")
}
