//! Message expiry (5 §3.3.2.3.3).

use crate::*;

fn expiring(topic: &str, payload: &str, seconds: u32) -> Publish {
    Publish::new(V5, topic, payload).with(|p| p.four(property::MESSAGE_EXPIRY, seconds))
}

/// One and a half seconds, told by the keep-alive of another client.
async fn a_moment(world: &World) {
    let mut clock = world.connect(&Hello::new(V5, name("clock")).keep_alive(1)).await;
    clock.thrown_out(0x8d, "a clock").await;
}

#[tokio::test]
async fn a_message_that_waited_too_long_is_not_delivered() {
    let world = World::get().await;
    let topic = name("stale");
    let hello = Hello::new(V5, name("away")).lasting();
    let mut peer = world.connect(&hello).await;
    peer.subscribe(&topic, 1).await;
    peer.leave().await;
    let mut other = world.client(V5).await;
    other.tell(expiring(&topic, "short", 1)).await;
    other.tell(expiring(&topic, "long", 600)).await;
    other.tell(Publish::new(V5, &topic, "for ever")).await;
    other.tell(expiring(&name("kept"), "short", 1).retained()).await;
    a_moment(&world).await;
    let mut peer = world.connect(&hello).await;
    let message = peer.receive().await;
    assert_eq!(message.text(), "long");
    let left = message.properties.number(property::MESSAGE_EXPIRY).unwrap();
    assert!((480..=599).contains(&left), "less what it waited: {left}");
    let message = peer.receive().await;
    assert_eq!((message.text(), message.properties.has(property::MESSAGE_EXPIRY)), ("for ever", false));
}

#[tokio::test]
async fn an_expiry_is_forwarded_at_once_as_it_came() {
    let world = World::get().await;
    let topic = name("fresh");
    let mut peer = world.client(V5).await;
    peer.subscribe(&topic, 0).await;
    peer.send(expiring(&topic, "m", 10_000).octets()).await;
    assert!(matches!(peer.publication().await.properties.number(property::MESSAGE_EXPIRY), Some(9_900..=10_000)));
}

#[tokio::test]
async fn a_retained_message_expires_too() {
    let world = World::get().await;
    let topic = name("kept");
    let mut peer = world.client(V5).await;
    peer.tell(expiring(&format!("{topic}/short"), "short", 1).retained()).await;
    peer.tell(expiring(&format!("{topic}/long"), "long", 600).retained()).await;
    a_moment(&world).await;
    peer.subscribe(&format!("{topic}/+"), 1).await;
    let message = peer.receive().await;
    assert_eq!(message.text(), "long");
    let left = message.properties.number(property::MESSAGE_EXPIRY).unwrap();
    assert!((480..=599).contains(&left), "{left}");
    peer.quiet().await;
}

#[tokio::test]
async fn an_expired_message_behind_a_full_window_is_left_out() {
    let world = World::get().await;
    let topic = name("window");
    let hello = Hello::new(V5, name("window")).with(|p| p.two(property::RECEIVE_MAXIMUM, 1));
    let mut peer = world.connect(&hello).await;
    peer.subscribe(&topic, 1).await;
    let mut other = world.client(V5).await;
    other.tell(Publish::new(V5, &topic, "first")).await;
    other.tell(expiring(&topic, "stale", 1)).await;
    other.tell(Publish::new(V5, &topic, "last")).await;
    let first = peer.publication().await;
    a_moment(&world).await;
    peer.settle(&first).await;
    assert_eq!(peer.receive().await.text(), "last");
}
