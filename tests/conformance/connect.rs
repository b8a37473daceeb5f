//! CONNECT (§3.1): who may come in with what, and what comes of the rest.

use crate::*;

/// What comes back on a fresh connection until the server closes.
async fn answer(world: &World, version: Version, octets: &[u8]) -> Vec<wire::Packet> {
    let mut peer = Peer::open(&world.open(), version).await;
    peer.send(octets).await;
    peer.closed().await
}

/// A CONNECT that is malformed: closed, in MQTT 5 perhaps with a CONNACK that says so, before it without.
async fn malformed(world: &World, version: Version, octets: &[u8]) {
    let came = answer(world, version, octets).await;
    let codes: Vec<u8> = came.iter().map(|packet| packet.connack(version).1).collect();
    let fair = codes.is_empty() || version == V5 && matches!(codes[..], [0x81 | 0x82]);
    assert!(fair, "{octets:02x?} ({version:?}): {came:02x?}");
}

#[tokio::test]
async fn anything_before_connect_is_cut_off_without_a_word() {
    let world = World::get().await;
    let topic = name("early");
    for version in Version::ALL {
        for octets in [
            Publish::new(version, &topic, "m").octets(),
            wire::subscribe(version, 1, &[(&topic, 0)]),
            acknowledge(kind::PUBACK, 1),
            packet(kind::PINGREQ, []),
            packet(kind::DISCONNECT, []),
            packet(kind::AUTH, [0x18, 0]),
            packet(kind::CONNACK, [0, 0]),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            assert_eq!(answer(&world, version, &octets).await, [], "{octets:02x?}");
        }
    }
}

#[tokio::test]
async fn a_second_connect_ends_the_connection() {
    let world = World::get().await;
    for version in Version::ALL {
        let hello = Hello::new(version, name("twice"));
        let mut peer = world.connect(&hello).await;
        peer.send(hello.octets()).await;
        peer.thrown_out(0x82, "a second CONNECT").await;
    }
}

#[tokio::test]
async fn another_protocol_name_is_not_served() {
    let world = World::get().await;
    for wrong in ["mqtt", "MQTt", "MQT", "MQTTX", "HTTP", "MQIsdq", ""] {
        for level in [3, 4, 5] {
            let block: &[u8] = if level == 5 { &[0] } else { &[] };
            let body = [&text(wrong)[..], &[level, 2, 0, 0], block, &text("c")].concat();
            let version = if level == 5 { V5 } else { V311 };
            let came = answer(&world, version, &packet(kind::CONNECT, body)).await;
            let codes: Vec<u8> = came.iter().map(|packet| packet.connack(version).1).collect();
            assert!(codes.is_empty() || version == V5 && codes == [0x84], "{wrong} {level}: {came:02x?}");
        }
    }
}

#[tokio::test]
async fn another_protocol_level_is_told_and_closed() {
    let world = World::get().await;
    let hello = |protocol: &str, level: u8| {
        packet(kind::CONNECT, [&text(protocol)[..], &[level, 2, 0, 0], &text("c")].concat())
    };
    for (protocol, level) in [("MQTT", 0), ("MQTT", 2), ("MQTT", 3), ("MQIsdp", 2), ("MQIsdp", 4), ("MQIsdp", 5)] {
        let came = answer(&world, V311, &hello(protocol, level)).await;
        let codes: Vec<u8> = came.iter().map(|packet| packet.connack(V311).1).collect();
        assert_eq!(codes, [1], "{protocol} {level}");
    }
    for level in [6, 7, 127, 255] {
        let came = answer(&world, V5, &hello("MQTT", level)).await;
        let codes: Vec<u8> = came.iter().map(|packet| packet.connack(V5).1).collect();
        assert_eq!(codes, [0x84], "{level}: in the words of the latest version");
    }
}

#[tokio::test]
async fn the_reserved_connect_flag_must_be_zero() {
    let world = World::get().await;
    for version in [V311, V5] {
        let hello = Hello::new(version, name("reserved"));
        malformed(&world, version, &hello.with_flags(hello.flags() | 1)).await;
    }
}

#[tokio::test]
async fn will_flags_must_agree_with_each_other() {
    let world = World::get().await;
    for version in Version::ALL {
        let without = Hello::new(version, name("will"));
        for flags in [0x08, 0x10, 0x18, 0x20, 0x28] {
            malformed(&world, version, &without.with_flags(2 | flags)).await;
        }
        let with = without.clone().will(Will::new("t", "m"));
        malformed(&world, version, &with.with_flags(2 | 0x04 | 0x18)).await;
        // The flag without the fields, and the fields without the flag.
        malformed(&world, version, &without.with_flags(2 | 0x04)).await;
        malformed(&world, version, &with.with_flags(2)).await;
    }
}

#[tokio::test]
async fn credentials_are_there_exactly_when_their_flags_say_so() {
    let world = World::get().await;
    for version in Version::ALL {
        let bare = Hello::new(version, name("login"));
        let mut user = bare.clone();
        user.user = Some("user".into());
        let mut both = user.clone();
        both.password = Some(b"secret\xff\0".to_vec());
        for hello in [&bare, &user, &both] {
            world.connect(hello).await.leave().await;
        }
        malformed(&world, version, &user.with_flags(2)).await;
        malformed(&world, version, &both.with_flags(2)).await;
        malformed(&world, version, &both.with_flags(0x82)).await;
        if version == V31 {
            // 3.1 tolerates what is announced and missing: the length goes before the flags (3.1 §3.1).
            for flags in [0x82, 0xc2] {
                let mut peer = Peer::open(&world.open(), version).await;
                peer.send(bare.with_flags(flags)).await;
                assert_eq!(peer.connack().await.code, 0, "{flags:#04x}");
            }
        } else {
            malformed(&world, version, &bare.with_flags(0x82)).await;
            malformed(&world, version, &user.with_flags(0xc2)).await;
        }
    }
}

#[tokio::test]
async fn a_password_without_a_user_name_is_for_mqtt_5_only() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut hello = Hello::new(version, name("password"));
        hello.password = Some(b"secret".to_vec());
        if version == V5 {
            world.connect(&hello).await.leave().await;
        } else {
            malformed(&world, version, &hello.octets()).await;
        }
    }
}

#[tokio::test]
async fn fields_of_the_payload_have_one_order() {
    let world = World::get().await;
    let topic = name("ordered");
    for version in Version::ALL {
        let mut watcher = world.client(version).await;
        watcher.subscribe(&topic, 1).await;
        // Each field is recognised by what becomes of it: identifier, will topic and message, user name, password.
        let mut hello = Hello::new(version, name("order")).will(Will::new(&topic, "message"));
        hello.user = Some("user".into());
        hello.password = Some(b"password".to_vec());
        world.connect(&hello).await.vanish();
        let will = watcher.receive().await;
        assert_eq!((will.topic.as_str(), will.text()), (topic.as_str(), "message"));
    }
}

#[tokio::test]
async fn connect_that_is_cut_short_or_too_long_is_refused() {
    let world = World::get().await;
    for version in Version::ALL {
        let mut hello = Hello::new(version, name("cut")).will(Will::new("t", "m"));
        hello.user = Some("user".into());
        let whole = hello.octets();
        let body = &whole[2..];
        for length in 0..body.len() {
            // 3.1 may leave the user name out whole.
            if version == V31 && length == body.len() - 6 {
                continue;
            }
            malformed(&world, version, &packet(kind::CONNECT, &body[..length])).await;
        }
        malformed(&world, version, &packet(kind::CONNECT, [body, b"x"].concat())).await;
    }
}

#[tokio::test]
async fn connect_properties_are_checked() {
    let world = World::get().await;
    let p = Properties::new;
    for list in [
        p().two(property::RECEIVE_MAXIMUM, 0),
        p().four(property::MAXIMUM_PACKET_SIZE, 0),
        p().byte(property::REQUEST_PROBLEM_INFORMATION, 2),
        p().byte(property::REQUEST_RESPONSE_INFORMATION, 2),
        p().text(property::AUTHENTICATION_DATA, "data without a method"),
        p().four(property::SESSION_EXPIRY, 1).four(property::SESSION_EXPIRY, 1),
        p().two(property::TOPIC_ALIAS, 1),
        p().four(property::WILL_DELAY, 1),
        p().two(property::SERVER_KEEP_ALIVE, 1),
    ] {
        malformed(&world, V5, &Hello::new(V5, name("properties")).with(|_| list).octets()).await;
    }
    let mut will = Will::new("t", "m");
    will.properties = p().two(property::TOPIC_ALIAS, 1);
    malformed(&world, V5, &Hello::new(V5, name("properties")).will(will.clone()).octets()).await;
    will.properties = p().byte(property::PAYLOAD_FORMAT, 2);
    malformed(&world, V5, &Hello::new(V5, name("properties")).will(will).octets()).await;
}

#[tokio::test]
async fn simple_client_identifiers_are_taken() {
    let world = World::get().await;
    for version in Version::ALL {
        let long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for start in [0, 23, 39] {
            world.connect(&Hello::new(version, &long[start..start + 23])).await.leave().await;
        }
        world.connect(&Hello::new(version, "Q")).await.leave().await;
    }
}

#[tokio::test]
async fn a_client_without_an_identifier_gets_one_of_its_own() {
    let world = World::get().await;
    let mut given = std::collections::HashSet::new();
    for _ in 0..3 {
        let (_peer, connack) = Peer::introduce(&world.open(), &Hello::new(V5, "")).await;
        assert!(given.insert(connack.properties.text(property::ASSIGNED_CLIENT_ID).unwrap().to_owned()));
    }
    let mut first = world.connect(&Hello::new(V311, "")).await;
    let mut second = world.connect(&Hello::new(V311, "")).await;
    first.quiet().await;
    second.quiet().await;
}

#[tokio::test]
async fn the_identifier_that_was_given_is_one_like_others() {
    let world = World::get().await;
    for (where_to, mut hello) in [(world.open(), Hello::new(V5, "")), (world.to("tokens"), auth::hello("nameless"))] {
        hello = hello.expiring(300);
        hello.id.clear();
        let (peer, connack) = Peer::introduce(&where_to, &hello).await;
        hello.id = connack.properties.text(property::ASSIGNED_CLIENT_ID).unwrap().to_owned();
        peer.leave().await;
        let (_peer, connack) = Peer::introduce(&where_to, &hello.clean(false)).await;
        assert!(connack.present, "{connack:?}");
        assert!(!connack.properties.has(property::ASSIGNED_CLIENT_ID), "only those who named none are told");
    }
}

#[tokio::test]
async fn a_session_that_stays_needs_a_name_before_mqtt_5() {
    let world = World::get().await;
    let (mut peer, connack) = Peer::introduce(&world.open(), &Hello::new(V311, "").clean(false)).await;
    assert_eq!((connack.code, connack.present), (2, false));
    assert_eq!(peer.closed().await, []);
    for clean in [true, false] {
        let (mut peer, connack) = Peer::introduce(&world.open(), &Hello::new(V31, "").clean(clean)).await;
        assert_eq!(connack.code, 2, "3.1 knows no client without a name");
        assert_eq!(peer.closed().await, []);
    }
}

#[tokio::test]
async fn a_client_identifier_that_is_too_long_is_refused() {
    let world = World::get().await;
    for version in Version::ALL {
        let (mut peer, connack) = Peer::introduce(&world.open(), &Hello::new(version, "x".repeat(60_000))).await;
        assert_eq!(connack.code, if version == V5 { 0x85 } else { 2 });
        assert_eq!(peer.closed().await, []);
    }
}

#[tokio::test]
async fn nothing_after_a_refused_connect_is_processed() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("late");
        let mut watcher = world.client(version).await;
        watcher.subscribe(&topic, 0).await;
        let refused = Hello::new(version, "x".repeat(60_000)).octets();
        let mut peer = Peer::open(&world.open(), version).await;
        peer.send([refused, Publish::new(version, &topic, "m").octets()].concat()).await;
        assert_ne!(peer.connack().await.code, 0);
        assert_eq!(peer.closed().await, []);
        watcher.quiet().await;
    }
}

#[tokio::test]
async fn packets_sent_with_connect_are_processed_after_it() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("eager");
        let mut peer = Peer::open(&world.open(), version).await;
        let hello = Hello::new(version, name("eager"));
        let more = [wire::subscribe(version, 1, &[(&topic, 0)]), Publish::new(version, &topic, "m").octets()].concat();
        peer.send([hello.octets(), more].concat()).await;
        assert_eq!(peer.connack().await.code, 0);
        peer.expect(kind::SUBACK).await;
        assert_eq!(peer.publication().await.text(), "m");
    }
}

#[tokio::test]
async fn those_whom_the_policies_refuse_are_told_and_closed() {
    let world = World::get().await;
    for version in Version::ALL {
        let (mut peer, connack) = Peer::introduce(&world.to("tokens"), &Hello::new(version, name("stranger"))).await;
        let fair: &[u8] = if version == V5 { &[0x86, 0x87] } else { &[4, 5] };
        assert!(fair.contains(&connack.code) && !connack.present, "{connack:?}");
        assert_eq!(peer.closed().await, []);
    }
}

#[tokio::test]
async fn connect_that_never_completes_is_cut_off() {
    let world = World::get().await;
    let whole = Hello::new(V5, name("half")).octets();
    for half in [&[][..], &whole[..1], &whole[..whole.len() - 1], &[0x10, 0xff, 0xff, 0x03]] {
        let mut peer = Peer::open(&world.to("impatient"), V5).await;
        peer.send(half).await;
        assert_eq!(peer.closed().await, [], "{half:02x?}");
    }
}
