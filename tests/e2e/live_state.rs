//! What becomes of all that lives under a grant when its ground changes: a table of every `on-swap` with every event, and
//! real clients in each cell of it. One that is connected (its subscriptions, its publications, its will), one that is
//! behind (what is queued for it, and what is retained), and one that is away.
//!
//! Each cell has topics that every grant permits (`kept`), and topics that are not permitted any more after the event
//! (`lost`).

use std::time::{Duration, Instant};

use portcullis_tests::policies::answers::{Answers, Effect, Terms};
use portcullis_tests::{
    Client, Config, Dial, Gateway, Incoming, Message, Refused, Transport, Version, config, directory, packets,
};

/// What happens to the ground that a grant stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Another file takes the place of the policy's; its rules are narrower, and it renews grants.
    Swapped,
    /// The same, and it does not renew grants.
    SwappedForOneThatDoesNotRenew,
    /// Both versions ask about `lost`: the one before said yes for an hour, the one after says no.
    SwappedForOneThatSaysNo,
    /// The directory changes what the identity may do.
    Changed,
    /// The key that let the identity in is removed.
    Revoked,
    /// The key that let the identity in expires.
    Expired,
}

impl Event {
    const ALL: [Self; 6] = [
        Self::Swapped,
        Self::SwappedForOneThatDoesNotRenew,
        Self::SwappedForOneThatSaysNo,
        Self::Changed,
        Self::Revoked,
        Self::Expired,
    ];

    /// The name of its listener and of its policy.
    fn name(self) -> &'static str {
        match self {
            Self::Swapped => "swapped",
            Self::SwappedForOneThatDoesNotRenew => "unrenewed",
            Self::SwappedForOneThatSaysNo => "asked",
            Self::Changed => "changed",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    fn is_swap(self) -> bool {
        !matches!(self, Self::Changed | Self::Revoked | Self::Expired)
    }

    /// The policies before and after a swap.
    fn components(self) -> [Vec<u8>; 2] {
        let (kept, lost) = (format!("{}/kept/#", self.name()), format!("{}/lost/#", self.name()));
        let wide = Terms::allowing(&[&kept, &lost]);
        let narrow = Terms::allowing(&[&kept]);
        let asking = Terms::with(&[(Effect::Allow, &kept), (Effect::Ask, &lost)]);
        [false, true].map(|after| {
            let mut policy = Answers::new();
            match self {
                Self::SwappedForOneThatSaysNo => {
                    let (grant, decision) = (policy.allow(&asking), policy.decision(!after, 3600));
                    policy.authenticate(grant).authorize(decision).component()
                }
                Self::Swapped => {
                    let terms = if after { &narrow } else { &wide };
                    let (grant, renewed) = (policy.allow(terms), policy.replace(terms));
                    policy.authenticate(grant).renew(renewed).component()
                }
                _ => {
                    let grant = policy.allow(if after { &narrow } else { &wide });
                    policy.authenticate(grant).component()
                }
            }
        })
    }
}

/// What becomes of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing has changed for it.
    Stays,
    /// It stays, and `lost` is lost to it: what it hears, says, has queued, and its will.
    Narrowed,
    /// Its connection ends with this reason; its will is published.
    Ended(u8),
    /// It does not get in, for this reason.
    Refused(u8),
}

/// What becomes of those who are connected, of those who come back, and why.
fn expected(on_swap: &str, event: Event) -> (Fate, Fate, &'static str) {
    use Fate::{Ended, Narrowed, Refused, Stays};
    match (event, on_swap) {
        (Event::Changed, _) => (Narrowed, Narrowed, "a grant is looked at again when what it depends on changes"),
        (Event::Revoked, _) => (Ended(0x87), Refused(0x86), "the renewal of a grant without its key is a refusal"),
        (Event::Expired, _) => (Ended(0x87), Refused(0x86), "a grant ends when it says"),
        (_, "keep") => {
            (Stays, Narrowed, "grants hold until they end; who comes back is judged by the version that is live")
        }
        (Event::Swapped, _) => (Narrowed, Narrowed, "the new version renews grants"),
        (Event::SwappedForOneThatDoesNotRenew, "recheck") => {
            (Stays, Narrowed, "a grant that cannot be renewed stays, and its own rules permit what it permitted")
        }
        (Event::SwappedForOneThatSaysNo, "recheck") => {
            (Narrowed, Narrowed, "a grant stays, and what its policy is asked about is judged by the new version")
        }
        (_, _) => (Ended(0x87), Narrowed, "a grant that cannot be renewed ends, and its client logs in again"),
    }
}

/// One cell, with its clients.
struct Cell {
    event: Event,
    /// Prefixes of topics.
    kept: String,
    lost: String,
    /// How to come in.
    dial: Dial,
    connected: Client,
    behind: Client,
    /// What takes the key away, for the one where that is an event.
    key: String,
}

impl Cell {
    /// Lets its clients in and gives each what may be lost. `lifetime` is that of a key that expires.
    async fn furnish(gateway: &Gateway, observer: &mut Client, event: Event, lifetime: Duration) -> Self {
        let name = event.name();
        let mut dial = Dial::new(gateway.route_to(name, Transport::Tcp), Version::V5, name);
        let (mut kept, mut lost, mut key) = (format!("{name}/kept"), format!("{name}/lost"), String::new());
        if !event.is_swap() {
            [kept, lost] = ["kept", "lost"]
                .map(|device| directory::device(gateway, "shop", name, device, directory::Proof::Username));
            let seconds = format!("{}s", lifetime.as_secs());
            let lifetime: &[&str] = if event == Event::Expired { &["--expires-in", &seconds] } else { &[] };
            let made = gateway.ask(&[&["key", "add", "app:shop", "--json"], lifetime].concat());
            let made: serde_json::Value = serde_json::from_str(&made).unwrap();
            made["id"].as_str().unwrap().clone_into(&mut key);
            dial = dial.login(name, made["secret"].as_str().unwrap());
        }
        let mut behind = dial.clone().with(|properties| properties.receive_maximum = Some(1));
        behind.hello.client_id = format!("{name}-behind");
        let mut connected = dial.clone().will(Message::new(format!("{lost}/will"), name).qos(1));
        connected.hello.client_id = format!("{name}-connected");
        let mut away = dial.clone().durable();
        away.hello.client_id = format!("{name}-away");

        observer.subscribe(&format!("{lost}/will"), 1).await;
        let mut connected = connected.connect().await;
        let mut behind = behind.connect().await;
        behind.acknowledge = false;
        let mut away = away.connect().await;
        for prefix in [&kept, &lost] {
            observer.publish(Message::new(format!("{prefix}/retained"), "").qos(1).retained()).await;
            let retained = Message::new(format!("{prefix}/retained"), "retained").qos(1).retained();
            assert!(observer.publish(retained).await < 0x80);
            assert_eq!(connected.subscribe(&format!("{prefix}/heard"), 1).await, 1);
            assert_eq!(behind.subscribe(&format!("{prefix}/queued"), 1).await, 1);
            assert_eq!(away.subscribe(&format!("{prefix}/queued"), 1).await, 1);
        }
        away.disconnect().await;
        // What its policy is asked about, it has answered: new questions go to the version that is live.
        for client in [&mut connected, &mut behind] {
            assert!(client.publish(Message::new(format!("{lost}/said"), "x").qos(1)).await < 0x80);
        }
        connected.subscribe(&format!("{lost}/retained"), 1).await;
        connected.message().await;
        connected.unsubscribe(&format!("{lost}/retained")).await;
        // The first is in flight and stays there; the others wait behind it.
        for topic in ["kept", "lost", "kept"] {
            let prefix = if topic == "kept" { &kept } else { &lost };
            observer.publish(Message::new(format!("{prefix}/queued"), "before").qos(1)).await;
        }
        for prefix in [&kept, &lost] {
            assert_eq!(behind.subscribe(&format!("{prefix}/retained"), 1).await, 1);
        }
        Self { event, kept, lost, dial, connected, behind, key }
    }

    /// Waits until a client has met its fate.
    async fn settled(client: &mut Client, lost: &str, fate: Fate, what: &str) {
        match fate {
            Fate::Stays => {
                for _ in 0..3 {
                    assert!(client.publish(Message::new(format!("{lost}/said"), "x").qos(1)).await < 0x80, "{what}");
                }
            }
            Fate::Narrowed => {
                // A connection does what it is told before it reads on; when it hears of it is its own business.
                portcullis_tests::within(what, async {
                    while client.publish(Message::new(format!("{lost}/said"), "x").qos(1)).await != 0x87 {}
                })
                .await;
            }
            Fate::Ended(reason) => assert_eq!(client.ended().await.map(|(code, _)| code), Some(reason), "{what}"),
            Fate::Refused(_) => unreachable!("it is connected"),
        }
    }

    async fn check(mut self, on_swap: &str, observer: &mut Client) {
        let (fate, back, why) = expected(on_swap, self.event);
        let what = format!("on-swap = {on_swap:?}, {:?}: {why}", self.event);
        Self::settled(&mut self.connected, &self.lost, fate, &format!("{what}: who is connected")).await;
        Self::settled(&mut self.behind, &self.lost, fate, &format!("{what}: who is behind")).await;
        let Self { kept, lost, connected, behind, .. } = &mut self;
        let short = |topic: &str| topic.replace(&*kept, "kept").replace(&*lost, "lost");
        let whole = fate == Fate::Stays;
        let say = async |observer: &mut Client, topic: String, text: &str| {
            assert!(observer.publish(Message::new(topic, text).qos(1)).await < 0x80);
        };
        if let Fate::Ended(_) = fate {
            will(observer, lost).await;
        } else {
            // Its subscriptions.
            say(observer, format!("{lost}/heard"), "x").await;
            say(observer, format!("{kept}/heard"), "end").await;
            let expected: &[&str] = if whole { &["lost/heard"] } else { &[] };
            assert_eq!(heard(connected, "end", short).await, expected, "{what}: live subscriptions");
            // What is retained.
            let code = connected.subscribe(&format!("{lost}/retained"), 1).await;
            assert_eq!(code, if whole { 1 } else { 0x87 }, "{what}: a new subscription");
            connected.subscribe(&format!("{kept}/retained"), 1).await;
            say(observer, format!("{kept}/heard"), "end").await;
            let expected: &[&str] = if whole { &["lost/retained", "kept/retained"] } else { &["kept/retained"] };
            assert_eq!(heard(connected, "end", short).await, expected, "{what}: retained messages");
            // What waits for the one that is behind, and what was retained when it subscribed.
            say(observer, format!("{kept}/queued"), "enough").await;
            let first = behind.message().await;
            behind.acknowledge = true;
            behind.send(&packets::acknowledgement(0x40, first.id)).await.unwrap();
            let expected: &[&str] = if whole {
                &["lost/queued", "kept/queued", "kept/retained", "lost/retained"]
            } else {
                &["kept/queued", "kept/retained"]
            };
            assert_eq!(heard(behind, "enough", short).await, expected, "{what}: what is queued");
        }
        let (kept, lost, fits) = (kept.clone(), lost.clone(), back != Fate::Refused(0x86));
        if fits && !matches!(fate, Fate::Ended(_)) {
            // Its will. When another of its name is let in, it has left.
            drop(self.connected);
            let mut again = self.dial.clone();
            again.hello.client_id = format!("{}-connected", self.event.name());
            again.connect().await.disconnect().await;
            if whole {
                will(observer, &lost).await;
            }
        }
        observer.ping().await;
        let wills = observer.set_aside().iter().filter(|message| message.topic == format!("{lost}/will")).count();
        assert_eq!(wills, 0, "{what}: wills that are not permitted, or come twice");

        for prefix in [&lost, &kept] {
            say(observer, format!("{prefix}/queued"), "after").await;
        }
        let mut away = self.dial.clone().durable();
        away.hello.client_id = format!("{}-away", self.event.name());
        match (back, away.attempt().await) {
            (Fate::Refused(expected), Err(Refused::Code(code, _))) => {
                assert_eq!(code, expected, "{what}: who was away")
            }
            (Fate::Narrowed, Ok(mut away)) => {
                assert!(away.session_present, "{what}: its session is there");
                say(observer, format!("{kept}/queued"), "end").await;
                let short = |topic: &str| topic.replace(&kept, "kept").replace(&lost, "lost");
                let enough = usize::from(!matches!(fate, Fate::Ended(_)));
                let heard = heard(&mut away, "end", short).await;
                assert_eq!(heard, vec!["kept/queued"; 3 + enough], "{what}: who was away");
            }
            (fate, away) => panic!("{what}: who was away: expected {fate:?}, and it is {:?}", away.map(|_| "let in")),
        }
    }
}

/// Topics in the order in which their messages came, until the one that says `end`.
async fn heard(client: &mut Client, end: &str, short: impl Fn(&str) -> String) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let message = client.message().await;
        if message.payload == end.as_bytes() {
            return heard;
        }
        heard.push(short(&message.topic));
    }
}

/// Waits for the will of one cell.
async fn will(observer: &mut Client, lost: &str) {
    let topic = format!("{lost}/will");
    let is = |packet: &Incoming| matches!(packet, Incoming::Publish(message) if message.topic == topic).then_some(());
    observer.wait(&topic, is).await;
}

/// A gateway with a listener and a policy for each event, and one listener that is open to the observer.
fn settings(on_swap: &str) -> Config {
    let rules = "[{ actions = [\"publish\", \"subscribe\", \"will\"], filter = \"{device}/#\" }]";
    let config = Config::new().mqtt("steady", Transport::Tcp, &["anonymous"]);
    Event::ALL.into_iter().fold(config, |config, event| {
        let name = event.name();
        let source = if event.is_swap() { format!("{name}.wasm") } else { "builtin:api-key".to_owned() };
        let rules = if event.is_swap() { String::new() } else { format!("config = {{ rules = {rules} }}\n") };
        let entry = format!("[[policy]]\nname = \"{name}\"\nsource = \"{source}\"\n{rules}on-swap = \"{on_swap}\"");
        let config = config.mqtt(name, Transport::Tcp, &[name]).toml(&entry);
        if !event.is_swap() {
            return config;
        }
        let [before, _] = event.components();
        config.file(&format!("{name}.wasm"), before)
    })
}

async fn walk(on_swap: &str) {
    let gateway = Gateway::start(&settings(on_swap)).await;
    directory::app(&gateway, "shop", &portcullis_tests::tokens::SigningKey::new("RS256").public_pem());
    let mut observer = Dial::new(gateway.route_to("steady", Transport::Tcp), Version::V5, "observer").connect().await;
    let mut cells = Vec::new();
    // A key that expires must live until its cell is furnished: ten times as long as the slowest of the others took.
    let mut slowest = Duration::from_secs(1);
    for event in Event::ALL {
        let begun = Instant::now();
        cells.push(Cell::furnish(&gateway, &mut observer, event, 10 * slowest).await);
        slowest = begun.elapsed().max(slowest);
    }
    for cell in cells {
        match cell.event {
            Event::Changed => drop(gateway.ask(&["device", "remove", &cell.lost])),
            Event::Revoked => drop(gateway.ask(&["key", "remove", &cell.key])),
            Event::Expired => {}
            swap => {
                let [_, after] = swap.components();
                config::replace(&gateway.directory().join(format!("{}.wasm", swap.name())), &after);
                let _ = gateway.ask(&["policy", "reload", swap.name()]);
            }
        }
        cell.check(on_swap, &mut observer).await;
    }
}

#[tokio::test]
async fn what_lives_under_a_grant_when_a_swap_keeps_it() {
    walk("keep").await;
}

#[tokio::test]
async fn what_lives_under_a_grant_when_a_swap_rechecks_it() {
    walk("recheck").await;
}

#[tokio::test]
async fn what_lives_under_a_grant_when_a_swap_wants_a_new_login() {
    walk("reauthenticate").await;
}
