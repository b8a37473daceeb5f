//! Topic names and filters (§4.7).

use crate::*;

#[tokio::test]
async fn filters_match_what_they_should() {
    let world = World::get().await;
    // With `B` for a level that is this test's own.
    let cases: [(&str, &[&str], &[&str]); 10] = [
        ("B/#", &["B", "B/a", "B/a/b", "B/", "B//"], &["Bx", "x/B"]),
        ("B/+", &["B/a", "B/", "B/$x"], &["B", "B/a/b"]),
        ("B/+/c", &["B/b/c", "B//c"], &["B/c", "B/b/c/d"]),
        ("B/+/#", &["B/a", "B/a/b", "B/", "B//x"], &["B"]),
        ("+/B", &["a/B", "/B"], &["B", "a/b/B", "$conformance/B"]),
        ("+/B/#", &["a/B", "a/B/c", "/B/c"], &["$conformance/B", "$conformance/B/x"]),
        ("/B", &["/B"], &["B", "//B"]),
        ("B", &["B"], &["b", "B/"]),
        ("B/A", &["B/A"], &["B/a"]),
        ("$conformance/B/#", &["$conformance/B", "$conformance/B/a"], &["conformance/B", "B"]),
    ];
    for version in Version::ALL {
        for (filter, matching, others) in cases {
            let own = name("own");
            let put = |text: &str| text.replace('B', &own);
            let mut peer = world.client(version).await;
            assert_eq!(peer.subscribe(&put(filter), 0).await, 0, "{filter}");
            let mut other = world.client(version).await;
            for topic in others.iter().chain(matching) {
                // A lower-case `b` alone is nobody's own: publishing there would disturb other tests.
                if *topic != "b" {
                    other.send(Publish::new(version, put(topic), "m").octets()).await;
                }
            }
            other.settled().await;
            for topic in matching {
                assert_eq!(peer.publication().await.topic, put(topic), "{filter}");
            }
            peer.quiet().await;
        }
    }
}

#[tokio::test]
async fn a_filter_of_nothing_but_a_wildcard_leaves_dollar_topics_out() {
    let world = World::get().await;
    for version in Version::ALL {
        let mark = name("dollar");
        let mut peers = Vec::new();
        for filter in ["#", "+/#", "+/+"] {
            let mut peer = world.client(version).await;
            peer.subscribe(filter, 0).await;
            peers.push(peer);
        }
        let mut other = world.client(version).await;
        // Retained as well, for those who subscribe later.
        other.tell(Publish::new(version, format!("$conformance/{mark}"), "hidden").retained()).await;
        let mut late = world.client(version).await;
        late.subscribe("+/#", 0x00).await;
        peers.push(late);
        other.publish(&format!("seen/{mark}"), &mark).await;
        for peer in &mut peers {
            loop {
                // Other tests' messages come here too.
                let packet = peer.next().await.unwrap();
                let message = packet.publication(version);
                assert!(!message.topic.starts_with('$'), "{}", message.topic);
                if message.payload == mark.as_bytes() {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn misplaced_wildcards_are_refused() {
    let world = World::get().await;
    for version in Version::ALL {
        for wrong in ["a#", "a/#/b", "#/a", "##", "a/b#", "a+", "+a", "a/+b/c", "a/b+", "++", "#+"] {
            let mut peer = world.client(version).await;
            assert_eq!(peer.subscribe(wrong, 0).await, if version == V5 { 0x8f } else { 0x80 }, "{wrong}");
            peer.quiet().await;
        }
    }
}

#[tokio::test]
async fn names_are_not_normalised() {
    let world = World::get().await;
    for version in Version::ALL {
        let base = name("norm");
        // Composed and decomposed, upper and lower case, a soft hyphen, an empty level, a dot: all different.
        let names = ["\u{e9}", "e\u{301}", "E\u{301}", "e\u{ad}", "e", "/e", "./e", "e/", " e"];
        for wanted in names {
            let mut peer = world.client(version).await;
            peer.subscribe(&format!("{base}/{wanted}"), 0).await;
            let mut other = world.client(version).await;
            for topic in names {
                other.send(Publish::new(version, format!("{base}/{topic}"), topic).octets()).await;
            }
            other.settled().await;
            assert_eq!(peer.publication().await.text(), wanted);
            peer.quiet().await;
        }
    }
}

#[tokio::test]
async fn topics_beyond_the_bounds_of_the_gateway_are_refused() {
    let world = World::get().await;
    for version in Version::ALL {
        for topic in ["x".repeat(65_535), "x/".repeat(1_000)] {
            let mut peer = world.client(version).await;
            peer.send(wire::subscribe(version, 1, &[(&topic, 0)])).await;
            assert!(peer.expect(kind::SUBACK).await.codes(version).1[0] >= 0x80);
            peer.send(Publish::new(version, &topic, "m").octets()).await;
            peer.thrown_out(0x90, "a topic that is too long").await;
        }
    }
}
