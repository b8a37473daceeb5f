//! Enhanced authentication that takes more than one step (5 §4.12): challenges at CONNECT and on a living connection.
//!
//! The policy does what the client's data says; [`script`] has the letters.

use portcullis_tests::script::{METHOD, No, Question, Says, Script, Terms};
use portcullis_tests::{Config, Gateway, Transport, config};

use crate::auth::auth;
use crate::wire::{ConnAck, Packet, subscribe};
use crate::*;

/// What a client may ask of the policy `rounds`, by the first octet of its data, or of its user name.
pub(crate) fn script() -> Script {
    let elsewhere = |reason| No {
        message: Some("this way".to_owned()),
        server: Some("elsewhere:1883".to_owned()),
        ..No::because(reason, "it lives elsewhere")
    };
    let bounds = vec![("subscriptions", 1), ("publish-per-second", 2)];
    Script::new()
        // Two rounds, and in.
        .on('r', Says::Challenge(Question::new("first", "one", 's')))
        .on('s', Says::Challenge(Question::new("second", "two", 'a')))
        .on('a', Says::Allow(Terms { data: Some("welcome"), ..Terms::of("alice") }))
        // Out.
        .on('x', Says::Deny(No { message: Some("wrong".to_owned()), ..No::because(0, "a wrong answer") }))
        .on('q', Says::Pass)
        .on('e', Says::Deny(elsewhere(10)))
        .on('f', Says::Deny(elsewhere(9)))
        .on('g', Says::Deny(elsewhere(0)))
        // Challenges of other kinds.
        .on('p', Says::Challenge(Question::new("pass?", "yes", 'q')))
        .on('l', Says::Challenge(Question::new("again", "again", 'l')))
        .on('w', Says::Challenge(Question { within: Some(1), ..Question::new("quick", "one", 'a') }))
        .on('h', Says::Challenge(Question::new("h".repeat(200), "one", 'a')))
        .on('c', Says::Challenge(Question::new("go?", "yes", 'e')))
        // Grants of other kinds.
        .on('b', Says::Allow(Terms::of("bob")))
        .on('o', Says::Challenge(Question::new("who?", "bob", 'b')))
        .on('m', Says::Allow(Terms { limits: bounds, ..Terms::of("alice") }))
        .on('n', Says::Allow(Terms { renew_after: Some(1), renewal: 'm', ..Terms::of("alice") }))
        .on('v', Says::Allow(Terms { renew_after: Some(1), renewal: 'e', ..Terms::of("alice") }))
}

/// CONNECT with the method and this data.
fn hello(data: &str) -> Hello {
    Hello::new(V5, name("rounds"))
        .with(|p| p.text(property::AUTHENTICATION_METHOD, METHOD).text(property::AUTHENTICATION_DATA, data))
}

/// AUTH 0x18 with this data.
fn answer(data: &str) -> Vec<u8> {
    auth(0x18, Some(METHOD), Some(data))
}

/// AUTH 0x19 with this data.
fn again(data: &str) -> Vec<u8> {
    auth(0x19, Some(METHOD), Some(data))
}

/// The next packet, which must be AUTH 0x18 with the method and this data.
async fn challenged(peer: &mut Peer, data: &str) {
    let (reason, got) = peer.expect(kind::AUTH).await.reason(V5);
    assert_eq!((reason, got.text(property::AUTHENTICATION_METHOD)), (0x18, Some(METHOD)));
    assert_eq!(got.blob(property::AUTHENTICATION_DATA), Some(data.as_bytes()));
}

/// A client that was asked `first` and has not answered.
async fn asked(world: &World) -> Peer {
    let mut peer = Peer::open(&world.to("rounds"), V5).await;
    peer.send(hello("r").octets()).await;
    challenged(&mut peer, "first").await;
    peer
}

/// The one packet before the end must be CONNACK with one of these codes.
async fn refused(peer: &mut Peer, codes: &[u8], why: &str) -> ConnAck {
    let connack = peer.connack().await;
    assert!(codes.contains(&connack.code) && !connack.present, "{why}: {connack:02x?}");
    assert_eq!(peer.closed().await, [], "{why}");
    connack
}

/// Two rounds, both answered. The CONNACK.
async fn admitted(peer: &mut Peer) -> ConnAck {
    peer.send(hello("r").octets()).await;
    challenged(peer, "first").await;
    peer.send(answer("one")).await;
    challenged(peer, "second").await;
    peer.send(answer("two")).await;
    peer.connack().await
}

#[tokio::test]
async fn two_rounds_lead_in_on_every_transport() {
    let world = World::get().await;
    for transport in Transport::ALL {
        let route = world.route_to(&format!("rounds-{}", transport.name()), transport);
        let mut peer = Peer::open(&route, V5).await;
        let connack = admitted(&mut peer).await;
        assert_eq!(connack.code, 0);
        assert_eq!(connack.properties.text(property::AUTHENTICATION_METHOD), Some(METHOD));
        assert_eq!(connack.properties.blob(property::AUTHENTICATION_DATA), Some(&b"welcome"[..]));
        let topic = name("rounds");
        assert_eq!(peer.subscribe(&topic, 0).await, 0);
        peer.send(Publish::new(V5, &topic, "in").octets()).await;
        assert_eq!(peer.receive().await.text(), "in");
    }
}

#[tokio::test]
async fn a_wrong_answer_is_refused_at_each_round() {
    let world = World::get().await;
    for wrong in ["", "on", "onE", "one1", "two"] {
        let mut peer = asked(&world).await;
        peer.send(answer(wrong)).await;
        let connack = refused(&mut peer, &[0x86], wrong).await;
        assert_eq!(connack.properties.text(property::REASON_STRING), Some("wrong"));
        let mut peer = asked(&world).await;
        peer.send(answer("one")).await;
        challenged(&mut peer, "second").await;
        peer.send(answer("one")).await;
        refused(&mut peer, &[0x86], "the answer to the question before").await;
    }
    let mut peer = asked(&world).await;
    peer.send(auth(0x18, Some(METHOD), None)).await;
    refused(&mut peer, &[0x86], "no data").await;
    let mut peer = Peer::open(&world.to("rounds"), V5).await;
    peer.send(hello("p").octets()).await;
    challenged(&mut peer, "pass?").await;
    peer.send(answer("yes")).await;
    refused(&mut peer, &[0x86], "a policy that passes in the middle").await;
}

#[tokio::test]
async fn an_answer_has_the_method_of_connect() {
    let world = World::get().await;
    for (octets, why) in [
        (auth(0x18, Some("ROUNDS2"), Some("one")), "another method"),
        (auth(0x18, Some("rounds"), Some("one")), "a method is compared character by character"),
        (auth(0x18, None, Some("one")), "no method"),
    ] {
        let mut peer = asked(&world).await;
        peer.send(octets).await;
        refused(&mut peer, &[0x81, 0x82, 0x8c], why).await;
    }
}

#[tokio::test]
async fn between_challenge_and_connack_there_is_only_auth() {
    let world = World::get().await;
    let topic = name("between");
    let mut watcher = world.client(V5).await;
    watcher.subscribe(&topic, 0).await;
    for (octets, why) in [
        (vec![kind::PINGREQ, 0], "PINGREQ"),
        (subscribe(V5, 1, &[("#", 0)]), "SUBSCRIBE"),
        (Publish::new(V5, &topic, "m").octets(), "PUBLISH"),
        (acknowledge(kind::PUBACK, 1), "PUBACK"),
        (hello("a").octets(), "CONNECT"),
        (again("r"), "AUTH that begins anew"),
        (auth(0x00, Some(METHOD), Some("one")), "AUTH that says success"),
        (packet(kind::AUTH, []), "AUTH without anything"),
        (packet(kind::AUTH | 1, &answer("one")[2..]), "AUTH with a reserved bit"),
        (vec![0x00, 0x00], "a packet type that does not exist"),
        (vec![kind::AUTH, 0xff, 0xff, 0xff, 0x7f], "more than anybody may send"),
    ] {
        let mut peer = asked(&world).await;
        peer.send(octets).await;
        refused(&mut peer, &[0x81, 0x82, 0x95], why).await;
    }
    watcher.quiet().await;
}

#[tokio::test]
async fn a_challenged_client_may_give_up() {
    let world = World::get().await;
    let id = name("gives-up");
    let mut hello = hello("r");
    hello.id = id.clone();
    for reason in [&[][..], &[0x00], &[0x04]] {
        let mut peer = Peer::open(&world.to("rounds"), V5).await;
        peer.send(hello.octets()).await;
        challenged(&mut peer, "first").await;
        peer.send(packet(kind::DISCONNECT, reason)).await;
        assert_eq!(peer.closed().await, [], "no word after DISCONNECT");
    }
    let mut peer = Peer::open(&world.to("rounds"), V5).await;
    peer.send(hello.octets()).await;
    challenged(&mut peer, "first").await;
    peer.vanish();
    // None of them has left anything behind: the identifier is free.
    let mut free = self::hello("a");
    free.id = id;
    let (_peer, connack) = Peer::introduce(&world.to("rounds"), &free.clean(false)).await;
    assert_eq!((connack.code, connack.present), (0, false));
}

#[tokio::test]
async fn a_challenge_does_not_wait_for_ever() {
    let world = World::get().await;
    // The listener's time, and the policy's own.
    for (listener, data, question) in [("rounds-impatient", "r", "first"), ("rounds", "w", "quick")] {
        let mut peer = Peer::open(&world.to(listener), V5).await;
        peer.send(hello(data).octets()).await;
        challenged(&mut peer, question).await;
        refused(&mut peer, &[0x87], listener).await;
    }
    // Half an answer does not hold the connection open either.
    let mut peer = Peer::open(&world.to("rounds-impatient"), V5).await;
    peer.send(hello("r").octets()).await;
    challenged(&mut peer, "first").await;
    peer.send(&answer("one")[..5]).await;
    refused(&mut peer, &[0x87], "half an answer").await;
}

#[tokio::test]
async fn a_client_without_a_method_is_not_challenged() {
    let world = World::get().await;
    // More often than a policy may fail before it is put into quarantine: it is not the policy that fails here.
    for _ in 0..4 {
        for version in Version::ALL {
            let mut hello = Hello::new(version, name("no-method"));
            hello.user = Some("r".to_owned());
            let (mut peer, connack) = Peer::introduce(&world.to("rounds"), &hello).await;
            assert_eq!(connack.code, if version == V5 { 0x8c } else { 5 });
            assert!(!connack.properties.has(property::AUTHENTICATION_METHOD));
            assert_eq!(peer.closed().await, [], "no AUTH, and no waiting");
            let why = world.ask(&["why", &hello.id]);
            assert!(why.contains("named no authentication method"), "{why}");
        }
    }
    Peer::connect(&world.to("rounds"), &hello("a")).await.quiet().await;
}

#[tokio::test]
async fn rounds_have_an_end() {
    let world = World::get().await;
    for _ in 0..10 {
        let mut peer = Peer::open(&world.to("rounds"), V5).await;
        peer.send(hello("l").octets()).await;
        for _ in 0..8 {
            challenged(&mut peer, "again").await;
            peer.send(answer("again")).await;
        }
        refused(&mut peer, &[0x87], "the ninth").await;
    }
    // Strangers who go on until they are refused do not have the policy refuse others.
    let mut peer = Peer::open(&world.to("rounds"), V5).await;
    assert_eq!(admitted(&mut peer).await.code, 0);
}

#[tokio::test]
async fn a_policy_that_is_replaced_between_rounds_ends_what_it_began() {
    let component = script().component();
    let config = Config::tcp(&["rounds"]).file("rounds.wasm", component.clone());
    let gateway = Gateway::start(&config.toml("[[policy]]\nname = \"rounds\"\nsource = \"rounds.wasm\"")).await;
    let route = gateway.route(Transport::Tcp);
    let swap = |component: &[u8]| {
        config::replace(&gateway.directory().join("rounds.wasm"), component);
        let _ = gateway.ask(&["policy", "reload", "rounds"]);
    };
    let begin = async || {
        let mut peer = Peer::open(&route, V5).await;
        peer.send(hello("r").octets()).await;
        challenged(&mut peer, "first").await;
        peer
    };
    // Its successor would refuse the answer, since it has no such letter; whoever asked is asked on.
    let (mut in_time, mut too_late) = (begin().await, begin().await);
    let mut open = Peer::connect(&route, &hello("a")).await;
    open.send(again("r")).await;
    challenged(&mut open, "first").await;
    swap(&Script::new().on('a', Says::Allow(Terms::of("mallory"))).component());
    in_time.send(answer("one")).await;
    challenged(&mut in_time, "second").await;
    in_time.send(answer("two")).await;
    assert_eq!(in_time.connack().await.code, 0);
    // After another one nobody knows the question any more.
    swap(&portcullis_tests::policies::variant(&component, 1));
    too_late.send(answer("one")).await;
    refused(&mut too_late, &[0x88], "replaced twice").await;
    open.send(answer("one")).await;
    open.thrown_out(0x89, "replaced twice").await;
    let mut peer = Peer::open(&route, V5).await;
    assert_eq!(admitted(&mut peer).await.code, 0);
}

#[tokio::test]
async fn messages_flow_while_a_client_is_challenged_again() {
    let world = World::get().await;
    let (topic, back) = (name("flows"), name("flows-back"));
    let mut peer = Peer::connect(&world.to("rounds"), &hello("a")).await;
    peer.subscribe(&topic, 1).await;
    let mut other = world.client(V5).await;
    other.subscribe(&back, 0).await;
    peer.send(again("r")).await;
    for (question, right) in [("first", "one"), ("second", "two")] {
        challenged(&mut peer, question).await;
        other.publish(&topic, question).await;
        assert_eq!(peer.receive().await.text(), question);
        // Both ways.
        assert_eq!(peer.publish(&back, "mine").await, 0);
        assert_eq!(other.receive().await.text(), "mine");
        peer.quiet().await;
        peer.send(answer(right)).await;
    }
    let (reason, got) = peer.expect(kind::AUTH).await.reason(V5);
    assert_eq!((reason, got.text(property::AUTHENTICATION_METHOD)), (0x00, Some(METHOD)));
    assert_eq!(got.blob(property::AUTHENTICATION_DATA), Some(&b"welcome"[..]));
    other.publish(&topic, "after").await;
    assert_eq!(peer.receive().await.text(), "after");
}

#[tokio::test]
async fn a_challenged_re_authentication_that_fails_ends_the_connection() {
    let world = World::get().await;
    let wrong = |data: &str| vec![answer(data)];
    for (begin, question, then, reason, why) in [
        ("r", "first", wrong("two"), 0x87, "a wrong answer"),
        ("o", "who?", wrong("bob"), 0x87, "somebody else"),
        ("c", "go?", wrong("yes"), 0x9c, "sent elsewhere"),
        ("p", "pass?", wrong("yes"), 0x87, "a policy that passes in the middle"),
        ("w", "quick", vec![], 0x87, "no answer"),
        ("r", "first", vec![again("r")], 0x82, "begun twice"),
        ("r", "first", vec![auth(0x18, Some("JWT"), Some("one"))], 0x82, "another method"),
        ("r", "first", vec![answer("one"), answer("two"), answer("two")], 0x82, "an answer to nothing"),
    ] {
        let mut peer = Peer::connect(&world.to("rounds"), &hello("a")).await;
        peer.send(again(begin)).await;
        challenged(&mut peer, question).await;
        peer.send(then.concat()).await;
        peer.thrown_out(reason, why).await;
    }
    let mut peer = Peer::connect(&world.to("rounds"), &hello("a")).await;
    peer.send(again("l")).await;
    for _ in 0..8 {
        challenged(&mut peer, "again").await;
        peer.send(answer("again")).await;
    }
    peer.thrown_out(0x87, "the ninth round").await;
}

#[tokio::test]
async fn a_challenge_that_a_client_cannot_take_is_not_sent() {
    let world = World::get().await;
    let tight = |data: &str| hello(data).with(|p| p.four(property::MAXIMUM_PACKET_SIZE, 100));
    let mut peer = Peer::open(&world.to("rounds"), V5).await;
    peer.send(tight("h").octets()).await;
    refused(&mut peer, &[0x95], "a challenge of 200 octets").await;
    let mut peer = Peer::connect(&world.to("rounds"), &tight("a")).await;
    peer.send(again("h")).await;
    let came = peer.closed().await;
    assert!(came.iter().all(|packet| packet.size() <= 100), "{came:02x?}");
    assert_eq!(came.iter().map(|packet| packet.reason(V5).0).collect::<Vec<_>>(), [0x95]);
}

#[tokio::test]
async fn a_client_is_told_where_to_go_instead() {
    let world = World::get().await;
    for version in Version::ALL {
        for (letter, code, old, told) in [("e", 0x9c, 3, true), ("f", 0x89, 3, true), ("g", 0x86, 4, false)] {
            let mut hello = Hello::new(version, name("elsewhere"));
            hello.user = Some(letter.to_owned());
            let (mut peer, connack) = Peer::introduce(&world.to("rounds"), &hello).await;
            assert_eq!(connack.code, if version == V5 { code } else { old });
            let server = connack.properties.text(property::SERVER_REFERENCE);
            assert_eq!(server, (version == V5 && told).then_some("elsewhere:1883"), "{letter}");
            assert_eq!(peer.closed().await, []);
        }
    }
    // After a challenge; with no room for words; with no room for either.
    for (size, server, words) in [(u32::MAX, true, true), (24, true, false), (12, false, false)] {
        let hello = hello("e").with(|p| p.four(property::MAXIMUM_PACKET_SIZE, size));
        let mut peer = Peer::open(&world.to("rounds"), V5).await;
        peer.send(hello.octets()).await;
        let connack = refused(&mut peer, &[0x9c], "elsewhere").await;
        let said =
            (connack.properties.has(property::SERVER_REFERENCE), connack.properties.has(property::REASON_STRING));
        assert_eq!(said, (server, words), "{size} octets");
    }
    // On a living connection: a re-authentication, and a grant that is looked at again and revoked.
    let mut moved = Peer::connect(&world.to("rounds"), &hello("a")).await;
    moved.send(again("e")).await;
    let mut revoked = Peer::connect(&world.to("rounds"), &hello("v")).await;
    for peer in [&mut moved, &mut revoked] {
        let came: Vec<Packet> = peer.closed().await;
        let [last] = &came[..] else { panic!("{came:02x?}") };
        let (reason, got) = last.reason(V5);
        assert_eq!((reason, got.text(property::SERVER_REFERENCE)), (0x9c, Some("elsewhere:1883")));
        assert_eq!(got.text(property::REASON_STRING), Some("this way"));
    }
}

#[tokio::test]
async fn a_renewed_grant_bounds_the_client_anew() {
    let world = World::get().await;
    let mut peer = Peer::connect(&world.to("rounds"), &hello("n")).await;
    let bounded = async |peer: &mut Peer, why: &str| {
        // What there is stays; one more is one too many.
        assert_eq!(peer.subscribe(&name("fifth"), 0).await, 0x97, "{why}");
        let message = Publish::new(V5, name("fast"), "m").octets();
        peer.send(message.repeat(30)).await;
        peer.thrown_out(0x96, why).await;
    };
    peer.subscribe(&name("first"), 0).await;
    // The renewal comes within a second, and nothing but its effect tells of it.
    portcullis_tests::within("the renewal", async {
        loop {
            let topic = name("next");
            match peer.subscribe(&topic, 0).await {
                0 => peer.unsubscribe(&topic).await,
                code => break assert_eq!(code, 0x97),
            }
        }
    })
    .await;
    bounded(&mut peer, "renewed").await;
    let mut peer = Peer::connect(&world.to("rounds"), &hello("a")).await;
    peer.subscribe(&name("first"), 0).await;
    peer.subscribe(&name("second"), 0).await;
    peer.send(again("m")).await;
    assert_eq!(peer.expect(kind::AUTH).await.reason(V5).0, 0);
    bounded(&mut peer, "authenticated again").await;
}
