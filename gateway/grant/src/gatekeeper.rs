//! The door between the rooms that hold connections and whoever decides about them.
//!
//! A [`Gatekeeper`] stands for the chain of policies of one listener or mount. The connection loop calls it at
//! CONNECT, at AUTH, when a rule says `ask` and when a grant is to be looked at again; never while messages flow.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use portcullis_mqtt::QoS;

use crate::account::Account;
use crate::connection::{ConnectionFacts, Credentials};
use crate::denial::Denial;
use crate::filtering::{FilterRefusal, Filtered, Passage};
use crate::grant::Grant;

/// A boxed future: logins are few and cost more than a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which policy decided, for audit and `portcullis why`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyStamp {
    /// The policy's configured name.
    pub name: Arc<str>,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: Arc<str>,
    /// Grows with every loading, since the same component may be loaded again with other settings: of two versions of a
    /// policy, the one that went live later has the larger one. Means nothing beyond this process.
    pub serial: u64,
}

/// A login to be decided: MQTT CONNECT, MQTT 5 re-authentication, or an HTTP request.
#[derive(Clone, Debug)]
pub struct Login {
    /// Where it comes from.
    pub connection: ConnectionFacts,
    /// What it offers.
    pub credentials: Credentials,
}

/// A client's reply to a [`Challenge`] (MQTT 5 §4.12).
#[derive(Clone, Debug)]
pub struct Reply {
    /// Where it comes from.
    pub connection: ConnectionFacts,
    /// The client identifier of CONNECT.
    pub client_id: String,
    /// The authentication method; already checked to be unchanged.
    pub method: String,
    /// Authentication data of AUTH.
    pub data: Option<Vec<u8>>,
    /// User properties of AUTH.
    pub user_properties: Vec<(String, String)>,
    /// The challenge that is answered.
    pub challenge: Challenge,
}

/// A question to the client.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Authentication data to send.
    pub data: Vec<u8>,
    /// The policy's own state, given back with the reply.
    pub state: Vec<u8>,
    /// Seconds to reply in.
    pub reply_within: Option<u32>,
    /// Who asks: the reply goes to the same policy.
    pub policy: PolicyStamp,
    /// Which question this is of the exchange: 1 for the first.
    pub step: u8,
}

/// What was decided about a login.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Come in, on these terms; how that came about. The terms may be those of others as well.
    Allow(Arc<Grant>, Account),
    /// No.
    Deny(Refusal),
    /// Say more.
    Challenge(Challenge),
}

impl Outcome {
    /// Come in, on these terms, which were at hand.
    #[must_use]
    pub fn allow(grant: Arc<Grant>) -> Self {
        Self::Allow(grant, Account::default())
    }
}

/// A denial, with who it came from.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The words.
    pub denial: Denial,
    /// The policy; none when no policy took the login, or the gateway itself refused.
    pub policy: Option<PolicyStamp>,
    /// How it came about.
    pub account: Account,
}

impl Refusal {
    /// Of a policy, or of the gateway itself.
    #[must_use]
    pub fn new(denial: Denial, policy: Option<PolicyStamp>) -> Self {
        Self { denial, policy, account: Account::default() }
    }
}

/// One thing that a client is about to do, for rules whose effect is `ask`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// PUBLISH, or the will.
    Publish(Publication),
    /// One filter of SUBSCRIBE.
    Subscribe(SubscriptionRequest),
}

/// A publication to be authorized.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Publication {
    /// Topic name.
    pub topic: String,
    /// Quality of service.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Whether this is a will, checked at CONNECT.
    pub will: bool,
    /// Octets of payload. Not part of what a cached answer is remembered under.
    pub size: u32,
}

/// A subscription to be authorized.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionRequest {
    /// The filter; of a shared subscription, the filter within it.
    pub filter: String,
    /// Quality of service asked for.
    pub qos: QoS,
    /// Share name.
    pub share: Option<String>,
}

/// The answer about an [`Action`].
#[derive(Clone, Debug)]
pub struct Authorization {
    /// None: it may.
    pub denied: Option<Denial>,
    /// Seconds for which the answer holds. 0: only now.
    pub valid_for: u32,
}

/// What became of a grant that was looked at again.
#[derive(Clone, Debug)]
pub enum Renewal {
    /// Nothing changed; look again after so many seconds.
    Keep(u32),
    /// Put this one in its place.
    Replace(Arc<Grant>),
    /// End the connection.
    Revoke(Refusal),
}

/// Decides. Implementations never panic and always answer within their own deadlines: a failure is a refusal.
pub trait Gatekeeper: Send + Sync + 'static {
    /// Decides about a login.
    fn authenticate(&self, login: Login) -> BoxFuture<'_, Outcome>;
    /// Takes the next step of an exchange that [`Outcome::Challenge`] began.
    fn continue_authentication(&self, reply: Reply) -> BoxFuture<'_, Outcome>;
    /// Decides about one action under a rule that asks. The answer is already remembered in the grant.
    fn authorize(&self, grant: Arc<Grant>, action: Action) -> BoxFuture<'_, Authorization>;
    /// Looks at a grant again.
    fn renew(&self, connection: ConnectionFacts, grant: Arc<Grant>) -> BoxFuture<'_, Renewal>;
    /// As [`Self::renew`], where the grant's policy can look at grants again; else the grant stays: the policy is another
    /// since, which is no reason to have the client log in again.
    fn recheck(&self, connection: ConnectionFacts, grant: Arc<Grant>) -> BoxFuture<'_, Renewal> {
        self.renew(connection, grant)
    }
    /// Looks at a message on a topic that the listener has filters for. Whoever has none and is asked refuses.
    fn filter(&self, passage: Passage) -> BoxFuture<'_, Filtered> {
        drop(passage);
        Box::pin(async { Filtered::Refuse(FilterRefusal::failed("there is no filter to ask", None)) })
    }
}

/// An HTTP request with its whole, bounded body, as a mounted policy sees it.
#[derive(Clone, Debug)]
pub struct HttpCall {
    /// The head.
    pub head: crate::connection::HttpHead,
    /// At most the listener's `max-body`.
    pub body: Vec<u8>,
}

/// Serves a scheme's own HTTP interface: a policy that exports `http-endpoint`, as the HTTP room sees it.
pub trait HttpEndpoint: Send + Sync + 'static {
    /// Answers one request. A trap is answered 500, a missed deadline 504.
    fn handle(&self, connection: ConnectionFacts, call: HttpCall) -> BoxFuture<'_, crate::denial::HttpAnswer>;
}
