//! Policies that let clients in and turn bad afterwards, in any export that they have: its own clients are refused, and
//! told so; the operator reads why; clients of other policies notice nothing.

use portcullis_tests::policies::answers::{Answers, Constant, Effect, Terms};
use portcullis_tests::script::{Says, Script};
use portcullis_tests::{Config, Dial, Gateway, Http, Incoming, Message, Transport, Version, config, packets, policies};

use crate::hostile::good_life;

/// An export that a client reaches once it is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Export {
    Continue,
    Renew,
    Authorize,
    Handle,
    Filter,
}

impl Export {
    const ALL: [Self; 5] = [Self::Continue, Self::Renew, Self::Authorize, Self::Handle, Self::Filter];

    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Continue => ("enhanced-authentication", "continue-authentication"),
            Self::Renew => ("renewal", "renew"),
            Self::Authorize => ("authorization", "authorize"),
            Self::Handle => ("http-endpoint", "handle"),
            Self::Filter => ("message-filter", "filter"),
        }
    }

    /// An answer that is right but for the text in it, which is no UTF-8.
    fn garbled(self, policy: &mut Answers) -> Constant {
        match self {
            Self::Continue => policy.garbled(1, 8),
            Self::Renew => policy.garbled(2, 8),
            Self::Authorize => policy.garbled(1, 4),
            Self::Filter => policy.garbled(3, 4),
            Self::Handle => policy.garbled_header(),
        }
    }

    /// An answer with one list or text, and where in it that is.
    fn long(self, policy: &mut Answers) -> (Constant, u32) {
        let terms = Terms::allowing(&["#"]);
        match self {
            Self::Continue => (policy.allow(&terms), 8 + 108),
            Self::Renew => (policy.replace(&terms), 8 + 108),
            Self::Authorize => (policy.garbled(1, 4), 4 + 4),
            Self::Handle => (policy.response(200, ""), 4),
            Self::Filter => (policy.garbled(3, 4), 4 + 4),
        }
    }
}

/// What an export does instead of answering, and a word of what the operator reads about it.
const BAD: [(&str, &str); 10] = [
    ("traps", "unreachable"),
    ("never returns", "did not answer within"),
    ("keeps calling the host", "did not answer within"),
    ("takes all memory", "memory limit"),
    ("calls itself without end", "stack"),
    ("answers beyond its memory", ""),
    ("answers at an odd address", "aligned"),
    ("answers what there is not", ""),
    ("says what is no text", "utf-8"),
    ("names one text of 64 KiB a hundred thousand times", ""),
];

/// Whether it meets its deadline.
fn is_late(what: &str) -> bool {
    ["never returns", "keeps calling the host"].contains(&what)
}

/// A policy that is good but for one export.
fn bad(export: Export, what: &str) -> Vec<u8> {
    let mut policy = Answers::new();
    let mut terms = Terms::with(&[(Effect::Allow, "free/#"), (Effect::Ask, "asked/#")]);
    terms.depends_on = vec!["app:pumps".to_owned()];
    let grant = if export == Export::Continue { policy.challenge() } else { policy.allow(&terms) };
    let body = match what {
        "traps" => "unreachable".to_owned(),
        "never returns" => "(loop $again (br $again)) unreachable".to_owned(),
        "keeps calling the host" => "(loop $again (drop (call $now)) (br $again)) unreachable".to_owned(),
        "takes all memory" => {
            "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable".to_owned()
        }
        "calls itself without end" => "(call $deep)".to_owned(),
        "answers beyond its memory" => "(i32.const 0xfffffff0)".to_owned(),
        "answers at an odd address" => "(i32.const 17)".to_owned(),
        "answers what there is not" => "(i32.store8 (i32.const 16) (i32.const 77)) (i32.const 16)".to_owned(),
        "says what is no text" => export.garbled(&mut policy).body(),
        "names one text of 64 KiB a hundred thousand times" => {
            // A list of pairs of an address and a length, all the same; read as a text where there is no list, it is one of
            // 12 MiB.
            let (answer, at) = export.long(&mut policy);
            let count = if matches!(export, Export::Authorize | Export::Filter) { 12 << 20 } else { 100_000 };
            format!(
                "(local $at i32) (local $begin i32)
                 (local.set $begin (i32.mul (memory.grow (i32.const 200)) (i32.const 65536)))
                 (local.set $at (local.get $begin))
                 (loop $again
                   (i32.store (local.get $at) (i32.const 0)) (i32.store offset=4 (local.get $at) (i32.const 65536))
                   (local.set $at (i32.add (local.get $at) (i32.const 8)))
                   (br_if $again (i32.lt_u (local.get $at) (i32.add (local.get $begin) (i32.const 1600000)))))
                 {} {} {}",
                answer.with_word(at, "(local.get $begin)"),
                answer.with_word(at + 4, &format!("(i32.const {count})")),
                answer.body()
            )
        }
        other => panic!("{other}?"),
    };
    let (interface, function) = export.name();
    policy
        .authenticate(grant)
        .import("clock", r#""now" (func $now (result i64))"#)
        .export(interface, function, &body)
        .also("(func $deep (result i32) (i32.add (call $deep) (i32.const 1)))")
        .component()
}

/// A gateway with the policy `candidate` in front of a listener, at a mount and as a filter, and one listener beside it.
fn settings(deadline: &str) -> Config {
    let filters = "filters = [{ policy = \"sieve\", topics = [\"#\"] }]";
    let sieve = Answers::new().export("message-filter", "filter", "unreachable").component();
    let limits = format!("limits = {{ deadline = {deadline:?} }}\nrollback = false");
    Config::new()
        .mqtt("tcp", Transport::Tcp, &["candidate"])
        .mqtt("steady", Transport::Tcp, &["anonymous"])
        .mqtt_with("filtered", Transport::Tcp, &["anonymous"], filters)
        .http()
        .toml(&format!("[[policy]]\nname = \"candidate\"\nsource = \"policy.wasm\"\nmount = [\"/here\"]\n{limits}"))
        .toml(&format!("[[policy]]\nname = \"sieve\"\nsource = \"sieve.wasm\"\n{limits}"))
        .file("policy.wasm", bad(Export::Handle, "traps"))
        .file("sieve.wasm", sieve)
}

/// Has a client meet the bad export, and sees it refused.
async fn meet(gateway: &mut Gateway, export: Export, what: &str) {
    match export {
        Export::Continue => {
            let mut dial = gateway.tcp(Version::V5, "victim");
            dial = dial.with(|properties| {
                properties.authentication_method = Some("BAD".to_owned());
                properties.authentication_data = Some("x".into());
            });
            let link = dial.route.open().await.unwrap();
            let mut client = portcullis_tests::Client::raw(link, Version::V5);
            client.send(&packets::connect(&dial.hello)).await.unwrap();
            client.wait("AUTH", |packet| matches!(packet, Incoming::Auth(..)).then_some(())).await;
            client.send(&packets::auth(0x18, "BAD", Some("y"))).await.unwrap();
            let code = |packet: &Incoming| match packet {
                Incoming::ConnAck(_, code, _) => Some(*code),
                _ => None,
            };
            assert_eq!(client.wait("CONNACK", code).await, 0x88, "{export:?} {what}");
        }
        Export::Renew => {
            let mut client = gateway.tcp(Version::V5, "victim").connect().await;
            let from = gateway.log().len();
            let _ = gateway.ask(&["app", "set", "pumps", "attributes.changed=yes"]);
            gateway.logged(from, "a grant could not be renewed and is kept for now").await;
            // The contract: it keeps its grant, as it was.
            assert!(client.publish(Message::new("free/x", "x").qos(1)).await < 0x80, "{export:?} {what}");
            assert_eq!(client.publish(Message::new("other/x", "x").qos(1)).await, 0x87, "{export:?} {what}");
        }
        Export::Authorize => {
            let mut client = gateway.tcp(Version::V5, "victim").connect().await;
            assert_eq!(client.publish(Message::new("asked/x", "x").qos(1)).await, 0x87, "{export:?} {what}");
            assert_eq!(client.subscribe("asked/#", 1).await, 0x87, "{export:?} {what}");
            assert!(client.publish(Message::new("free/x", "x").qos(1)).await < 0x80, "{export:?} {what}");
        }
        Export::Handle => {
            let mut http = Http::connect(gateway.address("http")).await;
            let status = http.get("/here/x").await.status;
            assert_eq!(status, if is_late(what) { 504 } else { 500 }, "{export:?} {what}");
        }
        Export::Filter => {
            let dial = |version| Dial::new(gateway.route_to("filtered", Transport::Tcp), version, "victim");
            let mut client = dial(Version::V5).connect().await;
            assert_eq!(client.publish(Message::new("free/x", "x").qos(1)).await, 0x83, "{export:?} {what}");
            client.disconnect().await;
            let mut old = dial(Version::V311).connect().await;
            old.post(Message::new("free/x", "x").qos(1)).await;
            assert_eq!(old.ended().await, None, "{export:?} {what}: an acknowledgement could not say it");
        }
    }
}

#[tokio::test]
async fn whichever_export_turns_bad_its_own_clients_are_refused_and_nobody_else_is() {
    // So much that a machine that stands still for a while is not taken for a policy that does.
    turn_bad("20s", |what| !is_late(what)).await;
}

#[tokio::test]
async fn whichever_export_never_answers_its_own_clients_are_refused_and_nobody_else_is() {
    turn_bad("2s", is_late).await;
}

async fn turn_bad(deadline: &str, meant: impl Fn(&str) -> bool) {
    let mut gateway = Gateway::start(&settings(deadline)).await;
    let key = portcullis_tests::tokens::SigningKey::new("RS256");
    portcullis_tests::directory::app(&gateway, "pumps", &key.public_pem());
    let steady = gateway.route_to("steady", Transport::Tcp);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut good = tokio::task::JoinSet::new();
    for number in 0..2 {
        good.spawn(good_life(steady.clone(), format!("good-{number}"), stopped.clone()));
    }
    let before = gateway.memory().0;
    for export in Export::ALL {
        let policy = if export == Export::Filter { "sieve" } else { "candidate" };
        let file = if export == Export::Filter { "sieve.wasm" } else { "policy.wasm" };
        for (what, word) in BAD.into_iter().filter(|(what, _)| meant(what)) {
            config::replace(&gateway.directory().join(file), &bad(export, what));
            let _ = gateway.ask(&["policy", "reload", policy]);
            meet(&mut gateway, export, what).await;
            let policies = gateway.admin().get("/api/v1/policies").await.good();
            let policies = policies["items"].as_array().unwrap();
            let state = policies.iter().find(|found| found["name"] == policy).unwrap();
            let said = state["last_error"]["what"].as_str().unwrap_or_default().to_lowercase();
            assert!(!said.is_empty() && said.contains(word), "{export:?} {what}: {said:?} does not say {word:?}");
        }
    }
    stop.send(true).unwrap();
    let lives: Vec<_> = good.join_all().await;
    assert!(lives.iter().all(|lives| *lives > 0), "{lives:?}");
    let most = gateway.memory().1;
    assert!(most.saturating_sub(before) < 256 << 20, "{before} octets became {most}");
}

#[tokio::test]
async fn flags_that_there_are_not_permit_nothing_more() {
    // The four actions and four that the contract does not know, for a rule and for one that denies.
    let mut policy = Answers::new();
    let grant = policy.allow_with_flags(&[
        (Effect::Allow, "a/#", 0xf1),
        (Effect::Deny, "b/#", 0xf0),
        (Effect::Allow, "#", 0xf2),
    ]);
    let config = Config::tcp(&["candidate"])
        .toml("[[policy]]\nname = \"candidate\"\nsource = \"policy.wasm\"")
        .file("policy.wasm", policy.authenticate(grant).component());
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.tcp(Version::V5, "x").connect().await;
    assert!(client.publish(Message::new("a/x", "x").qos(1)).await < 0x80, "the first flag is set");
    assert_eq!(client.publish(Message::new("b/x", "x").qos(1)).await, 0x87, "it is not set there");
    assert_eq!(client.publish(Message::new("a/x", "x").qos(1).retained()).await, 0x87, "the third is not");
    assert_eq!(client.subscribe("b/x", 1).await, 1, "the second is set, and what denies names none");
}

#[tokio::test]
async fn nobody_becomes_somebody_else_by_a_renewal() {
    let others = [("elsewhere", Some("another-tenant")), ("another", None)];
    for (what, tenant) in others {
        let mut policy = Answers::new();
        let mut terms = Terms::allowing(&["mine/#"]);
        terms.depends_on = vec!["app:pumps".to_owned()];
        let grant = policy.allow(&terms);
        let mut other = Terms { tenant, ..Terms::allowing(&["#"]) };
        if tenant.is_none() {
            other.subject = "another";
        }
        let renewed = policy.replace(&other);
        let config = Config::tcp(&["candidate"])
            .toml("[[policy]]\nname = \"candidate\"\nsource = \"policy.wasm\"")
            .file("policy.wasm", policy.authenticate(grant).renew(renewed).component());
        let mut gateway = Gateway::start(&config).await;
        let key = portcullis_tests::tokens::SigningKey::new("RS256");
        portcullis_tests::directory::app(&gateway, "pumps", &key.public_pem());
        let mut client = gateway.tcp(Version::V5, "x").connect().await;
        let from = gateway.log().len();
        let _ = gateway.ask(&["app", "set", "pumps", "attributes.changed=yes"]);
        gateway.logged(from, "a renewed grant for another identity").await;
        assert_eq!(client.publish(Message::new("theirs/x", "x").qos(1)).await, 0x87, "{what}");
        assert!(client.publish(Message::new("mine/x", "x").qos(1)).await < 0x80, "{what}");
    }
}

#[tokio::test]
async fn a_quarantine_of_logins_ends_by_itself() {
    let script = Script::new().on('t', Says::Trap).on('a', Says::Allow(portcullis_tests::script::Terms::of("alice")));
    let config = Config::tcp(&["candidate"])
        .toml("[[policy]]\nname = \"candidate\"\nsource = \"policy.wasm\"\nrollback = false")
        .file("policy.wasm", script.component());
    let gateway = Gateway::start(&config).await;
    for _ in 0..8 {
        assert_eq!(gateway.tcp(Version::V5, "bad").user("t").refusal().await, 0x88);
    }
    assert_eq!(gateway.metric("portcullis_policy_quarantines_total{policy=\"candidate\"}").await, 1);
    portcullis_tests::within("the end of the quarantine", async {
        while gateway.tcp(Version::V5, "good").user("a").attempt().await.is_err() {}
    })
    .await;
    assert_eq!(gateway.metric("portcullis_policy_quarantined{policy=\"candidate\"}").await, 0);
    let why = gateway.ask(&["why", "bad"]);
    assert!(why.contains("unreachable"), "{why}");
}

#[tokio::test]
async fn a_quarantine_of_an_http_interface_shuts_out_no_client() {
    let gateway = Gateway::start(&settings("20s")).await;
    let mut http = Http::connect(gateway.address("http")).await;
    let mut failed = 0;
    portcullis_tests::within("the quarantine", async {
        // Eight, and one for each pause that the machine stood still for.
        while http.get("/here/x").await.status == 500 {
            failed += 1;
        }
    })
    .await;
    assert!(failed >= 8, "{failed}");
    gateway.tcp(Version::V5, "good").connect().await.disconnect().await;
    assert_eq!(gateway.metric("portcullis_policy_quarantines_total{policy=\"candidate\"}").await, 1);
    let list = gateway.ask(&["policy", "list"]);
    assert!(list.contains("its HTTP interface is quarantined: it keeps failing"), "{list}");
    assert!(gateway.log().contains("the policy's HTTP interface keeps failing and is left alone"), "{}", gateway.log());
}

#[tokio::test]
async fn a_quarantine_of_a_filter_refuses_messages_and_ends_by_itself() {
    let filters = "filters = [{ policy = \"sieve\", topics = [\"plant/#\"] }]";
    let config = Config::new()
        .mqtt_with("tcp", Transport::Tcp, &["anonymous"], filters)
        .toml("[[policy]]\nname = \"sieve\"\nsource = \"sieve.wasm\"\nrollback = false")
        .file("sieve.wasm", policies::filtering(false));
    let gateway = Gateway::start(&config).await;
    let mut client = gateway.tcp(Version::V5, "publisher").connect().await;
    for _ in 0..8 {
        assert_eq!(client.publish(Message::new("plant/x", "trap").qos(1)).await, 0x83);
    }
    assert_eq!(gateway.metric("portcullis_policy_quarantines_total{policy=\"sieve\"}").await, 1);
    // Others are nobody's business, and who publishes there is told until it is over.
    assert_eq!(client.publish(Message::new("other/x", "pass").qos(1)).await, 0x10);
    portcullis_tests::within("the end of the quarantine", async {
        loop {
            match client.publish(Message::new("plant/x", "pass").qos(1)).await {
                0x10 => return,
                refused => assert_eq!(refused, 0x83),
            }
        }
    })
    .await;
    assert_eq!(gateway.metric("portcullis_policy_quarantined{policy=\"sieve\"}").await, 0);
    let why = gateway.ask(&["why", "publisher"]);
    assert!(why.contains("unreachable"), "{why}");
}
