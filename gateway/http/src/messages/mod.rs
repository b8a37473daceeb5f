//! Messages over HTTP, and decisions for other gateways, under the grants of the listener's chain.
//!
//! | path | what |
//! | --- | --- |
//! | `POST /publish/<topic>` | publishes the body |
//! | `GET /subscribe/<filter>` | a stream of server-sent events |
//! | `GET /retained/<topic or filter>` | what is retained |
//! | `/verify`, `/verify/…` | whether a request that another gateway has may pass |
//!
//! Publishing and subscribing speak MQTT on a connection from within ([`Exchange::connect`]): who may do what, how fast,
//! and what an acknowledgement means is judged in one place. This directory is a client of it, and knows no session.

mod events;
mod hearing;
mod origin;
mod parameters;
mod peer;
mod properties;
mod publish;
mod publishers;
mod refusal;
mod retained;
mod seams;
mod subscribe;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use portcullis_grant::{
    Action, ConnectionFacts, Credentials, Denial, DenyReason, Gatekeeper, Grant, Login, Outcome, Permission,
    Publication, Refusal, SubscribePermission, SubscriptionRequest,
};
use portcullis_mqtt::QoS;
use portcullis_net::StopSignal;

use crate::answer::Answer;
use crate::inbound::Inbound;
use hearing::Hearing;
use peer::{Peer, Welcome, Wish};
pub(crate) use publishers::Publishers;
pub use seams::{Bounds, Exchange, MessageSettings, RetainedMessage, SessionMark, Silent, Witness};

/// The messages of one HTTP listener.
pub struct Messages {
    exchange: Arc<dyn Exchange>,
    witness: Arc<dyn Witness>,
    settings: Arc<ArcSwap<MessageSettings>>,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("settings", &self.settings.load()).finish_non_exhaustive()
    }
}

/// Whose request it is.
struct Caller {
    connection: ConnectionFacts,
    stop: StopSignal,
}

/// Which of the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Publish,
    Subscribe,
    Retained,
    Verify,
}

impl Path {
    fn of(path: &str) -> Option<Self> {
        let first = path.strip_prefix('/')?.split('/').next()?;
        Some(match first {
            "publish" => Self::Publish,
            "subscribe" => Self::Subscribe,
            "retained" => Self::Retained,
            "verify" => Self::Verify,
            _ => return None,
        })
    }
}

impl Messages {
    /// The messages of a listener. `witness` is told of decisions that MQTT has no part in.
    #[must_use]
    pub fn new(exchange: Arc<dyn Exchange>, witness: Arc<dyn Witness>, settings: MessageSettings) -> Arc<Self> {
        Arc::new(Self { exchange, witness, settings: Arc::new(ArcSwap::from_pointee(settings)) })
    }

    /// Requests from now on are judged by these; those who publish or subscribe already are asked about by the new chain.
    pub fn replace(&self, settings: MessageSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// Whether a path is one of these now.
    #[must_use]
    pub fn serves(&self, path: &str) -> bool {
        self.settings.load().gatekeeper.is_some() && Path::of(path).is_some()
    }

    /// Answers a request for a path that it [`Self::serves`].
    pub async fn respond(&self, request: Inbound) -> Answer {
        let Some(path) = Path::of(&request.head.path) else { return parameters::nothing_here() };
        if path == Path::Verify {
            // A page that its headers tell of is the other gateway's client.
            return self.verify(request).await;
        }
        let page = match origin::page(&request.head, &self.settings.load().origins) {
            Ok(page) => page,
            Err(refused) => return refused,
        };
        if let Some(answer) = page.as_ref().and_then(|page| page.preflight(&request.head)) {
            return answer;
        }
        let mut answer = match path {
            Path::Publish => self.publish(request).await,
            Path::Subscribe => self.subscribe(request).await,
            Path::Retained => self.retained(request).await,
            Path::Verify => self.verify(request).await,
        };
        if let Some(page) = page {
            page.admit(&mut answer);
        }
        answer
    }

    /// Opens an MQTT connection for a client.
    async fn enter(&self, caller: &Caller, wish: Wish<'_>) -> Result<(Peer, Welcome, Arc<Hearing>), Answer> {
        let hearing = Hearing::new(Arc::clone(&self.settings));
        let gatekeeper: Arc<dyn Gatekeeper> = Arc::clone(&hearing) as _;
        let stream = self.exchange.connect(&caller.connection, gatekeeper, caller.stop.clone());
        match Peer::connect(stream, wish).await {
            Ok((peer, welcome)) => Ok((peer, welcome, hearing)),
            Err(gone) => Err(match hearing.refusal() {
                Some(denial) => refusal::denied(&denial),
                None => refusal::refused(gone.code, gone.words.as_deref().unwrap_or(gone.code.name())),
            }),
        }
    }

    /// Asks the chain about a request that no MQTT connection is opened for.
    async fn admit(&self, connection: &ConnectionFacts) -> Result<(Arc<Grant>, Arc<dyn Gatekeeper>), Denial> {
        let Some(gatekeeper) = self.settings.load().gatekeeper.clone() else {
            return Err(Denial::new(DenyReason::Unavailable, "no policies stand before this listener any more"));
        };
        let grant = ask(&*gatekeeper, connection, &*self.witness).await?;
        Ok((grant, gatekeeper))
    }

    /// Whether something may be published under a grant.
    async fn may_publish(
        &self,
        (grant, gatekeeper): &(Arc<Grant>, Arc<dyn Gatekeeper>),
        topic: &str,
        qos: QoS,
        retain: bool,
    ) -> Result<(), Option<Denial>> {
        match grant.publish(topic, qos, retain) {
            _ if topic.starts_with(publish::RESERVED) => Err(None),
            Permission::Allow => Ok(()),
            Permission::Deny => Err(None),
            Permission::Ask => {
                let publication = Publication { topic: topic.to_owned(), qos, retain, will: false, size: 0 };
                let answer = gatekeeper.authorize(Arc::clone(grant), Action::Publish(publication)).await;
                answer.denied.map_or(Ok(()), |denial| Err(Some(denial)))
            }
        }
    }

    /// Whether a filter may be subscribed to under a grant. Gives whether some of what it matches is denied.
    async fn may_subscribe(
        &self,
        (grant, gatekeeper): &(Arc<Grant>, Arc<dyn Gatekeeper>),
        filter: &str,
        qos: QoS,
    ) -> Result<bool, Option<Denial>> {
        let filtered = match grant.subscribe(filter, qos, None) {
            SubscribePermission::Allow { filtered, .. } => filtered,
            SubscribePermission::Deny => return Err(None),
            SubscribePermission::Ask { filtered, .. } => {
                let request = SubscriptionRequest { filter: filter.to_owned(), qos, share: None };
                let answer = gatekeeper.authorize(Arc::clone(grant), Action::Subscribe(request)).await;
                if let Some(denial) = answer.denied {
                    return Err(Some(denial));
                }
                filtered
            }
        };
        if filtered && self.exchange.bounds().strict { Err(None) } else { Ok(filtered) }
    }
}

/// Asks a chain about an HTTP request, and tells the witness what came of it.
///
/// # Errors
/// The refusal.
pub(crate) async fn ask(
    gatekeeper: &dyn Gatekeeper,
    connection: &ConnectionFacts,
    witness: &dyn Witness,
) -> Result<Arc<Grant>, Denial> {
    let login = Login { connection: connection.clone(), credentials: Credentials::default() };
    let refusal = match gatekeeper.authenticate(login).await {
        Outcome::Allow(grant, account) if grant.expires_at().is_none_or(|at| at > unix_now()) => {
            witness.admitted(connection, &grant, account);
            return Ok(grant);
        }
        Outcome::Allow(grant, _) => Refusal::new(
            Denial::new(DenyReason::BadCredentials, "the grant has expired already"),
            Some(grant.policy.clone()),
        ),
        Outcome::Deny(refusal) => refusal,
        // A question and its answer would need two requests of one client: HTTP has no such thing.
        Outcome::Challenge(challenge) => Refusal::new(
            Denial::new(DenyReason::BadAuthenticationMethod, "it challenged a client on HTTP"),
            Some(challenge.policy),
        ),
    };
    witness.refused(connection, &refusal);
    Err(refusal.denial)
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
