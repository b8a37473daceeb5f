//! Sessions (§3.1.2.4, §3.1.4, §4.1): begun, kept, taken over, ended.

use std::time::{Duration, Instant};

use crate::*;

#[tokio::test]
async fn a_clean_start_forgets_everything() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("forget");
        let lasting = Hello::new(version, name("forgetful")).lasting();
        let mut peer = world.connect(&lasting).await;
        peer.subscribe(&topic, 2).await;
        // Half a QoS 2 exchange each way, and a message in the queue.
        peer.send(Publish::new(version, &topic, "half").qos(2, 5).octets()).await;
        let (mut delivered, mut received) = (false, false);
        while !(delivered && received) {
            match peer.next().await.unwrap().kind() {
                kind::PUBLISH => delivered = true,
                kind::PUBREC => received = true,
                other => panic!("{other:#04x}"),
            }
        }
        peer.vanish();
        world.client(version).await.publish(&topic, "queued").await;

        let (mut peer, connack) = Peer::introduce(&world.open(), &lasting.clone().clean(true)).await;
        assert!(!connack.present);
        peer.quiet().await;
        world.client(version).await.publish(&topic, "later").await;
        peer.quiet().await;
        if version == V5 {
            peer.send(acknowledge(kind::PUBREL, 5)).await;
            assert_eq!(peer.reason(kind::PUBCOMP, 5).await, 0x92, "the exchange is forgotten too");
        }
        peer.leave().await;
    }
}

#[tokio::test]
async fn a_session_is_resumed_with_all_that_it_had() {
    let world = World::get().await;
    for version in Version::ALL {
        let (plain, wild) = (name("kept"), name("kept"));
        let hello = Hello::new(version, name("resumed")).lasting();
        let mut peer = world.connect(&hello).await;
        peer.subscribe(&plain, 1).await;
        peer.subscribe(&format!("{wild}/+"), 2).await;
        peer.leave().await;
        let mut other = world.client(version).await;
        other.publish(&plain, "one").await;
        other.publish(&format!("{wild}/x"), "two").await;
        other.send(Publish::new(version, &plain, "QoS 0 may be left out").octets()).await;
        other.settled().await;

        let (mut peer, connack) = Peer::introduce(&world.open(), &hello).await;
        assert_eq!(connack.present, version != V31);
        for expected in ["one", "two"] {
            let message = peer.receive().await;
            assert_eq!((message.text(), message.dup), (expected, false), "not sent before: no duplicate");
        }
        other.publish(&plain, "three").await;
        let mut message = peer.receive().await;
        if message.qos == 0 {
            message = peer.receive().await;
        }
        assert_eq!(message.text(), "three");
        peer.leave().await;
        world.connect(&hello.clean(true)).await.leave().await;
    }
}

#[tokio::test]
async fn an_mqtt_5_session_lives_as_long_as_its_expiry_says() {
    let world = World::get().await;
    let present = async |hello: &Hello| Peer::introduce(&world.open(), &hello.clone().clean(false)).await;
    // Without the property, and with zero, it ends with its connection.
    for hello in [Hello::new(V5, name("short")), Hello::new(V5, name("short")).expiring(0)] {
        world.connect(&hello).await.leave().await;
        assert!(!present(&hello).await.1.present);
    }
    // It is there before, and gone after its time, with its subscriptions.
    let (hello, topic, lasts, leaving) = in_time("a client's return", 1, async |seconds| {
        let (hello, topic) = (Hello::new(V5, name("second")).expiring(seconds), name("$conformance/lapse"));
        let lasts = Duration::from_secs(seconds.into());
        let mut peer = world.connect(&hello).await;
        peer.subscribe(&topic, 1).await;
        let leaving = Instant::now();
        peer.leave().await;
        let (mut peer, connack) = present(&hello).await;
        if !connack.present {
            assert!(leaving.elapsed() >= lasts, "gone after {:?}", leaving.elapsed());
            return None;
        }
        peer.quiet().await;
        let leaving = Instant::now();
        peer.leave().await;
        Some((hello, topic, lasts, leaving))
    })
    .await;
    let mut other = world.client(V5).await;
    portcullis_tests::within("the end of a session", async {
        // 0x10: nobody is subscribed any more.
        while other.publish(&topic, "m").await != 0x10 {}
    })
    .await;
    let waited = leaving.elapsed();
    assert!(waited >= lasts.mul_f32(0.95), "not before its time: {waited:?}");
    assert!(!present(&hello).await.1.present);
    // For ever.
    let hello = Hello::new(V5, name("ever")).expiring(u32::MAX);
    world.connect(&hello).await.leave().await;
    assert!(present(&hello).await.1.present);
}

#[tokio::test]
async fn disconnect_may_change_the_expiry() {
    let world = World::get().await;
    let leave = |expiry: u32| {
        packet(kind::DISCONNECT, [vec![0], Properties::new().four(property::SESSION_EXPIRY, expiry).block(V5)].concat())
    };
    let hello = Hello::new(V5, name("changing")).expiring(300);
    let mut peer = world.connect(&hello).await;
    peer.send(leave(0)).await;
    assert_eq!(peer.closed().await, []);
    let resumed = hello.clone().clean(false);
    let (mut peer, connack) = Peer::introduce(&world.open(), &resumed).await;
    assert!(!connack.present, "ended by the client's own word");
    peer.send(leave(600)).await;
    assert_eq!(peer.closed().await, []);
    assert!(Peer::introduce(&world.open(), &resumed).await.1.present);

    // From zero there is no way up (§3.14.2.2.2).
    for hello in [Hello::new(V5, name("zero")), Hello::new(V5, name("zero")).expiring(0)] {
        let mut peer = world.connect(&hello).await;
        peer.send(leave(1)).await;
        peer.thrown_out(0x82, "an expiry raised from zero").await;
    }
}

#[tokio::test]
async fn a_second_connection_takes_the_session_over() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("taken");
        let hello = Hello::new(version, name("taken")).lasting();
        let mut first = world.connect(&hello).await;
        first.subscribe(&topic, 1).await;
        let (mut second, connack) = Peer::introduce(&world.open(), &hello).await;
        first.thrown_out(0x8e, "taken over").await;
        assert_eq!(connack.present, version != V31);
        world.client(version).await.publish(&topic, "to the new one").await;
        assert_eq!(second.receive().await.text(), "to the new one");
        second.leave().await;

        // A clean start takes over too, and begins anew.
        let mut first = world.connect(&hello).await;
        let (mut second, connack) = Peer::introduce(&world.open(), &hello.clone().clean(true)).await;
        first.thrown_out(0x8e, "taken over").await;
        assert!(!connack.present);
        second.quiet().await;
    }
}

#[tokio::test]
async fn many_that_take_over_leave_one() {
    let world = World::get().await;
    for version in Version::ALL {
        let hello = Hello::new(version, name("crowd")).lasting();
        let mut peers = Vec::new();
        for _ in 0..10 {
            let mut peer = Peer::open(&world.open(), version).await;
            peer.send(hello.octets()).await;
            peers.push(peer);
        }
        // All are answered in the end; whoever came last to the session stays.
        let mut alive = 0;
        for peer in &mut peers {
            assert_eq!(peer.connack().await.code, 0);
        }
        for mut peer in peers {
            peer.send([kind::PINGREQ, 0]).await;
            alive += usize::from(peer.next().await.is_some_and(|packet| packet.kind() == kind::PINGRESP));
        }
        assert_eq!(alive, 1, "{version:?}");
    }
}

#[tokio::test]
async fn state_is_not_lost_while_the_connection_lives() {
    let world = World::get().await;
    // An expiry of one second counts from the end of the connection, not from its beginning.
    let topic = name("open");
    let hello = Hello::new(V5, name("open")).expiring(1);
    let mut peer = world.connect(&hello).await;
    peer.subscribe(&topic, 1).await;
    let mut other = world.connect(&Hello::new(V5, name("clock")).keep_alive(1)).await;
    other.thrown_out(0x8d, "a clock of one and a half seconds").await;
    world.client(V5).await.publish(&topic, "still").await;
    assert_eq!(peer.receive().await.text(), "still");
}

#[tokio::test]
async fn retained_messages_outlive_their_publishers_session() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("outlive");
        let mut peer = world.client(version).await;
        peer.tell(Publish::new(version, &topic, "kept").retained()).await;
        peer.leave().await;
        let mut peer = world.client(version).await;
        peer.subscribe(&topic, 1).await;
        assert_eq!(peer.receive().await.text(), "kept");
    }
}

#[tokio::test]
async fn silence_of_one_and_a_half_keep_alives_ends_the_connection() {
    let world = World::get().await;
    for version in Version::ALL {
        let topic = name("silence");
        let mut watcher = world.client(version).await;
        watcher.subscribe(&topic, 1).await;
        let hello = Hello::new(version, name("silent")).keep_alive(1).will(Will::new(&topic, "timed out"));
        let started = Instant::now();
        let mut silent = world.connect(&hello).await;
        silent.thrown_out(0x8d, "keep-alive").await;
        assert!(started.elapsed() >= Duration::from_millis(1_450), "{:?}", started.elapsed());
        assert_eq!(watcher.receive().await.text(), "timed out", "as if the network had failed");
    }
}

#[tokio::test]
async fn a_server_keep_alive_is_what_counts() {
    let world = World::get().await;
    for asked in [0, 600] {
        let hello = Hello::new(V5, name("asked")).keep_alive(asked);
        let (mut peer, connack) = Peer::introduce(&world.to("brief"), &hello).await;
        assert_eq!(connack.properties.number(property::SERVER_KEEP_ALIVE), Some(1));
        peer.thrown_out(0x8d, "the keep-alive of the server").await;
    }
}

#[tokio::test]
async fn any_packet_counts_against_silence() {
    let world = World::get().await;
    in_time("a word before the silence is too long", 1, async |seconds| {
        let seconds = u16::try_from(seconds).expect("a short time");
        let mut said = Instant::now();
        let mut talker = world.connect(&Hello::new(V5, name("talker")).keep_alive(2 * seconds)).await;
        // Other clients' silences are the clock, each half of what the talker may be silent for. Four are twice as much.
        for _ in 0..4 {
            let mut clock = world.connect(&Hello::new(V5, name("clock")).keep_alive(seconds)).await;
            clock.thrown_out(0x8d, "a clock").await;
            let saying = Instant::now();
            talker.send(Publish::new(V5, name("talk"), "m").octets()).await;
            if said.elapsed() >= Duration::from_secs(u64::from(seconds) * 3) {
                return None;
            }
            said = saying;
        }
        talker.quiet().await;
        Some(())
    })
    .await;
}
