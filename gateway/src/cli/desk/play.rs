//! Plays one case: loads the policy into its world, puts the questions in order, and compares the answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_grant::{
    Action, Challenge, ConnectionFacts, Credentials, Gatekeeper, Grant, GrantDraft, HttpCall, HttpEndpoint, HttpHead,
    Login, Outcome, Passage, PeerDetails, Permission, Principal, Reply, SubscribePermission, TlsSession,
};
use portcullis_policy::{CallOutcome, Chain, Filter, Generation, LoadError, Policy, PolicySpec};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::cases::{Ask, Case, Certificate, Connect, Deed, From, Publish, Publisher, Request, Step};
use super::compare::{Difference, NOBODY, differences, shown as one_line, tell_first};
use super::shown;
use super::subject::Subject;
use super::world::{NAME, World};
use crate::policies;

/// How long a call may take where the case does not say: the desk may be busy with other things, and a case that is about
/// time says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of a case.
pub(super) struct Played {
    /// How long the questions took.
    pub(super) took: Duration,
    /// What was not as expected. Empty: all is well.
    pub(super) failures: Vec<Failed>,
    /// What the policy logged.
    pub(super) log: Vec<String>,
    /// What it asked other servers and the case has no answer to.
    pub(super) unanswered: Vec<String>,
}

/// A step that went otherwise.
pub(super) struct Failed {
    /// The line in the file.
    pub(super) line: usize,
    /// What differs.
    pub(super) differences: Vec<Difference>,
    /// The whole answer.
    pub(super) got: Value,
}

/// What is known in the middle of a case.
pub(super) struct Scenery<'c> {
    world: &'c World,
    /// How long each question to the policy took.
    pub(super) spent: Vec<Duration>,
    chain: Chain,
    policy: Arc<Policy>,
    connection: Option<ConnectionFacts>,
    /// Of the last login.
    client_id: String,
    grant: Option<(Arc<Grant>, GrantDraft)>,
    challenge: Option<(Challenge, Connect)>,
}

/// Plays a case. `fresh`: no instance serves two calls.
///
/// # Errors
/// The case itself makes no sense: a sentence.
pub(super) async fn play(subject: &Subject, case: &Case, fresh: bool) -> Result<Played, String> {
    let world = World::build(&case.scene, subject)?;
    let mut failures = Vec::new();
    let begun = Instant::now();
    match load(&world, subject, case, fresh).await {
        Err(error) => {
            let got = json!({ "fault": error.why.to_string() });
            let expected = case.steps.first().map(|step| Value::from(step.expected.answer.clone())).unwrap_or_default();
            let mut found = Vec::new();
            differences("", &expected, &got, &mut found);
            if expected.get("fault").is_none() {
                found = vec![Difference::new("policy", "a policy that can be loaded", error.why.to_string())];
            }
            if !found.is_empty() {
                failures.push(Failed { line: case.line, differences: found, got });
            }
        }
        Ok(generation) => {
            // What its self-test asked is not what it asks for clients.
            world.stage.asked.lock().clear();
            world.stage.unanswered.lock().clear();
            let mut scenery = Scenery::new(&world, generation);
            for step in &case.steps {
                let (got, mut found) = scenery.take(step).await.map_err(|why| format!("line {}: {why}", step.line))?;
                let mut expected = step.expected.answer.clone();
                if let Some(moment) = step.expected.expires {
                    expected.insert("expires-at".to_owned(), moment.at(world.now()).into());
                }
                differences("", &expected.into(), &got, &mut found);
                tell_first(&mut found);
                if !found.is_empty() {
                    failures.push(Failed { line: step.line, differences: found, got });
                }
            }
        }
    }
    let took = begun.elapsed();
    failures.extend(after(&world, case)?);
    let log = world.stage.lines.lock().clone();
    let unanswered = world.stage.unanswered.lock().clone();
    Ok(Played { took, failures, log, unanswered })
}

/// Loads the policy into a world.
pub(super) async fn load(
    world: &World,
    subject: &Subject,
    case: &Case,
    fresh: bool,
) -> Result<Arc<Generation>, LoadError> {
    world.host.load(spec(subject, case, fresh)).await
}

/// What the host is told of the policy.
fn spec(subject: &Subject, case: &Case, fresh: bool) -> PolicySpec {
    let mut spec = PolicySpec::new(NAME, subject.component.clone(), subject.origin.clone());
    spec.config = case.config.clone().into();
    spec.allow = policies::allow(case.allow.as_ref().unwrap_or(&subject.allow_for(&case.config)));
    spec.optional = subject.optional();
    // As if a listener named it in `filters`: then it must be one.
    spec.filters = case.steps.iter().any(|step| matches!(step.ask, Some(Ask::Publish(_))));
    spec.limits = policies::limits(&case.limits);
    spec.limits.deadline.get_or_insert(PATIENCE);
    spec.limits.log_lines = 10_000;
    if fresh {
        spec.limits.reuse = false;
    }
    spec
}

impl<'c> Scenery<'c> {
    /// Before anything has happened.
    pub(super) fn new(world: &'c World, generation: Arc<Generation>) -> Self {
        let policy = Policy::new(generation);
        let chain = Chain::new(vec![Arc::clone(&policy)]);
        Self {
            world,
            spent: Vec::new(),
            chain,
            policy,
            connection: None,
            client_id: String::new(),
            grant: None,
            challenge: None,
        }
    }

    /// Takes a step.
    ///
    /// # Errors
    /// It makes no sense here: a sentence.
    pub(super) async fn take(&mut self, step: &Step) -> Result<(Value, Vec<Difference>), String> {
        let Some(ask) = &step.ask else { return Ok((json!({}), Vec::new())) };
        let mut found = Vec::new();
        let got = match ask {
            Ask::Wait(time) => {
                self.world.wait(*time);
                json!({})
            }
            Ask::Connect(connect) => {
                let connection = facts(self.world, &step.from, None)?;
                let credentials = credentials(self.world, connect)?;
                let connect = Connect {
                    client_id: connect.client_id.clone(),
                    method: connect.method.clone(),
                    ..Connect::default()
                };
                self.login(connection, credentials, connect).await
            }
            Ask::Request(request) => {
                let connection = facts(self.world, &step.from, Some(head(self.world, request)?))?;
                self.login(connection, Credentials::default(), Connect::default()).await
            }
            Ask::Http(request) => {
                let head = head(self.world, request)?;
                let body = request.body.as_ref().map(|body| self.world.octets(body)).transpose()?.unwrap_or_default();
                let connection = facts(self.world, &step.from, None)?;
                let begun = Instant::now();
                let answer = self.policy.handle(connection, HttpCall { head, body }).await;
                self.spent.push(begun.elapsed());
                shown::response(&answer)
            }
            Ask::Reply(data, properties) => {
                let (challenge, connect) = self.challenge.take().ok_or("a reply, and nothing was asked")?;
                let connection = self.connection.clone().ok_or("a reply, and nobody has connected")?;
                let reply = Reply {
                    connection,
                    client_id: connect.client_id.clone(),
                    method: connect.method.clone().unwrap_or_default(),
                    data: data.as_ref().map(|data| self.world.octets(data)).transpose()?,
                    user_properties: properties.iter().map(|(n, v)| (n.clone(), v.0.clone())).collect(),
                    challenge,
                };
                let before = self.passes();
                let begun = Instant::now();
                let outcome = self.chain.continue_authentication(reply).await;
                self.spent.push(begun.elapsed());
                self.decided(outcome, connect, before)
            }
            Ask::Publish(publish) => {
                let passage = self.passage(publish, &step.from)?;
                let begun = Instant::now();
                let answer = self.filter(&passage.topic).filter(passage).await;
                self.spent.push(begun.elapsed());
                shown::filtered(&answer)
            }
            Ask::Authorize(deed) => {
                let (grant, _) = self.grant.as_ref().ok_or("nobody was let in whose action could be authorized")?;
                let Deed::Act(_, action) = deed else {
                    return Err("only publish and subscribe are authorized".to_owned());
                };
                let begun = Instant::now();
                let answer = self.chain.authorize(Arc::clone(grant), action.clone()).await;
                self.spent.push(begun.elapsed());
                shown::authorization(&answer)
            }
            Ask::Renew => {
                let (grant, _) = self.grant.as_ref().ok_or("nobody was let in whose grant could be renewed")?;
                let connection = self.connection.clone().ok_or("nobody has connected")?;
                let begun = Instant::now();
                let renewal = self.chain.renew(connection, Arc::clone(grant)).await;
                self.spent.push(begun.elapsed());
                let draft = self.world.stage.draft.lock().take();
                let got = shown::renewal(&renewal, draft.as_ref());
                if let (portcullis_grant::Renewal::Replace(grant), Some(draft)) = (renewal, draft) {
                    self.grant = Some((grant, draft));
                }
                got
            }
        };
        for (deeds, wanted) in [(&step.expected.may, true), (&step.expected.may_not, false)] {
            for deed in deeds {
                found.extend(self.judge(deed, wanted).await);
            }
        }
        Ok((got, found))
    }

    /// A chain in which the policy looks at messages of this topic.
    fn filter(&self, topic: &str) -> Chain {
        let filter = Filter { policy: Arc::clone(&self.policy), topics: Arc::from([topic.to_owned()]) };
        Chain::new(Vec::new()).with_filters(vec![filter])
    }

    /// The message of a case. Who was let in before publishes it, or whom the case names.
    fn passage(&self, publish: &Publish, from: &From) -> Result<Passage, String> {
        let admitted = self.grant.as_ref().map(|(_, draft)| Publisher {
            client_id: draft.client_id.clone().unwrap_or_else(|| self.client_id.clone()),
            identity: draft.identity.clone(),
        });
        let by = publish.by.clone().or(admitted).unwrap_or_default();
        Ok(Passage {
            listener: from.listener.as_str().into(),
            client_id: by.client_id.into(),
            identity: Arc::new(Principal::from(&by.identity)),
            topic: publish.topic.clone(),
            qos: publish.qos,
            retain: publish.retain,
            will: publish.will,
            payload: publish.payload.as_ref().map(|octets| self.world.octets(octets)).transpose()?.unwrap_or_default(),
            content_type: publish.content_type.clone(),
            user_properties: publish.user_properties.iter().map(|(n, v)| (n.clone(), v.0.clone())).collect(),
        })
    }

    fn passes(&self) -> u64 {
        self.policy.stats().figures().outcome(CallOutcome::Pass)
    }

    async fn login(&mut self, connection: ConnectionFacts, credentials: Credentials, connect: Connect) -> Value {
        let mut connection = connection;
        // Who is in and sends credentials again authenticates again (MQTT 5 §4.12.1).
        connection.identity = None;
        self.connection = Some(connection.clone());
        self.client_id.clone_from(&connect.client_id);
        let before = self.passes();
        let begun = Instant::now();
        let outcome = self.chain.authenticate(Login { connection, credentials }).await;
        self.spent.push(begun.elapsed());
        self.decided(outcome, connect, before)
    }

    fn decided(&mut self, outcome: Outcome, connect: Connect, passes: u64) -> Value {
        let passed = self.passes() > passes;
        let draft = self.world.stage.draft.lock().take();
        let got = shown::outcome(&outcome, draft.as_ref(), passed);
        self.grant = None;
        match (outcome, draft) {
            (Outcome::Allow(grant, _), Some(draft)) => self.grant = Some((grant, draft)),
            (Outcome::Challenge(challenge), _) => self.challenge = Some((challenge, connect)),
            _ => {}
        }
        got
    }

    /// Whether the grant permits it, as the gateway would ask: natively, and the policy where a rule says so.
    async fn judge(&self, deed: &Deed, wanted: bool) -> Option<Difference> {
        let expected = if wanted { "may" } else { "may not" };
        let at = format!("{expected} {:?}", deed.words());
        let Some((grant, _)) = &self.grant else { return Some(Difference::new(at, expected, NOBODY)) };
        let (may, why) = match deed {
            Deed::Receive(_, topic) => (grant.may_receive(topic), String::new()),
            Deed::Act(_, action) => {
                let native = match action {
                    Action::Publish(p) if p.will => grant.will(&p.topic, p.qos, p.retain),
                    Action::Publish(p) => grant.publish(&p.topic, p.qos, p.retain),
                    Action::Subscribe(s) => match grant.subscribe(&s.filter, s.qos, s.share.as_deref()) {
                        // Granted at a lower quality of service is not what was asked.
                        SubscribePermission::Allow { max_qos, .. } if max_qos < s.qos => Permission::Deny,
                        SubscribePermission::Allow { .. } => Permission::Allow,
                        SubscribePermission::Deny => Permission::Deny,
                        SubscribePermission::Ask { .. } => Permission::Ask,
                    },
                };
                match native {
                    Permission::Allow => (true, String::new()),
                    Permission::Deny => (false, String::new()),
                    Permission::Ask => {
                        let answer = self.chain.authorize(Arc::clone(grant), action.clone()).await;
                        let why = answer.denied.as_ref().map_or_else(String::new, |denied| denied.detail.clone());
                        (
                            answer.denied.is_none(),
                            format!(" (the policy was asked{}{why})", if why.is_empty() { "" } else { ": " }),
                        )
                    }
                }
            }
        };
        let got = format!("{}{why}", if may { "may" } else { "may not" });
        (may != wanted).then(|| Difference::new(at, expected, got))
    }
}

fn credentials(world: &World, connect: &Connect) -> Result<Credentials, String> {
    let octets = |of: &Option<super::read::Octets>| of.as_ref().map(|octets| world.octets(octets)).transpose();
    Ok(Credentials {
        client_id: connect.client_id.clone(),
        username: connect.username.clone(),
        password: octets(&connect.password)?,
        method: connect.method.clone(),
        data: octets(&connect.data)?,
        user_properties: connect.user_properties.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
    })
}

fn head(world: &World, request: &Request) -> Result<HttpHead, String> {
    let headers = request.headers.iter().map(|(n, v)| Ok((n.to_ascii_lowercase(), world.text(v)?)));
    Ok(HttpHead {
        method: request.method.clone(),
        authority: request.authority.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: headers.collect::<Result<_, String>>()?,
    })
}

fn facts(world: &World, from: &From, http: Option<HttpHead>) -> Result<ConnectionFacts, String> {
    let secure = matches!(from.transport, "tls" | "wss");
    let upgrade = matches!(from.transport, "ws" | "wss").then(|| HttpHead {
        method: "GET".to_owned(),
        authority: "gateway.test".to_owned(),
        path: "/mqtt".to_owned(),
        query: None,
        headers: from.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.0.clone())).collect(),
    });
    let is_http = http.is_some();
    let details = PeerDetails {
        server_name: from.server_name.clone(),
        tls: secure.then(|| TlsSession {
            version: "1.3",
            cipher_suite: "TLS_AES_128_GCM_SHA256".to_owned(),
            application_protocol: None,
        }),
        certificate: from.certificate.as_ref().map(|of| certificate(world, of)).transpose()?,
        http: http.or(upgrade),
    };
    Ok(ConnectionFacts {
        id: "desk-1".into(),
        listener: from.listener.as_str().into(),
        protocol: if is_http || from.listener == "http" { "http" } else { "mqtt" },
        protocol_version: from.version,
        transport: from.transport,
        peer: from.address.into(),
        details: Some(Arc::new(details)),
        identity: None,
    })
}

fn certificate(world: &World, of: &Certificate) -> Result<portcullis_grant::Certificate, String> {
    if let Some(file) = &of.pem {
        let read = CertificateDer::from_pem_file(file).ok().and_then(|der| portcullis_net::tls::read_certificate(&der));
        return read.ok_or_else(|| format!("{} is not a certificate in PEM", file.display()));
    }
    Ok(portcullis_grant::Certificate {
        subject: of.subject.clone(),
        common_name: of.common_name.clone(),
        issuer: of.issuer.clone(),
        serial: of.serial.clone(),
        fingerprint: of.fingerprint.clone(),
        not_before_at: world.now().saturating_sub(86_400),
        not_after_at: of.not_after.map_or(world.now() + 365 * 86_400, |moment| moment.at(world.now())),
        alternative_names: of.names.clone(),
        der: Vec::new().into(),
    })
}

/// What the case says of the world when it is over.
fn after(world: &World, case: &Case) -> Result<Option<Failed>, String> {
    let after = &case.after;
    let mut found = Vec::new();
    let mut got = json!({});
    for (key, value) in &after.store {
        let stored = world.stored(key)?.map(|octets| shown::octets(&octets));
        if stored.as_ref().and_then(Value::as_str) != Some(value.0.as_str()) {
            found.push(Difference::new(
                format!("store {key:?}"),
                format!("{:?}", value.0),
                one_line(&stored.unwrap_or_default()),
            ));
        }
    }
    for key in &after.not_stored {
        if let Some(stored) = world.stored(key)? {
            found.push(Difference::new(format!("store {key:?}"), "nothing", one_line(&shown::octets(&stored))));
        }
    }
    if let Some(expected) = &after.requests {
        let asked: Vec<_> =
            world.stage.asked.lock().iter().map(|asked| format!("{} {}", asked.method, asked.url)).collect();
        if asked != *expected {
            found.push(Difference::new("requests", expected.join(", "), asked.join(", ")));
        }
    }
    for part in &after.log {
        if !world.stage.lines.lock().iter().any(|line| line.contains(part.as_str())) {
            found.push(Difference::new("log", format!("a line with {part:?}"), "no such line"));
        }
    }
    if !after.directory.is_empty() {
        got = world.directory()?;
        differences("directory", &after.directory.clone().into(), &got, &mut found);
    }
    Ok(if found.is_empty() { None } else { Some(Failed { line: after.line, differences: found, got }) })
}
