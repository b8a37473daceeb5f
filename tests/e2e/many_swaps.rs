//! Two versions take turns under load, hundreds of times: no client notices, and nothing is left over.
//!
//! `PORTCULLIS_SWAPS=1000` makes it longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Method;
use portcullis_tests::{Gateway, Message, Version, policies};
use serde_json::json;
use tokio::task::JoinSet;

use crate::versions::{doorman_with, open, replace};

/// Descriptors that come and go by themselves: connections of the load, idle ones of the admin API.
const SLACK: usize = 16;
/// Memory may differ by so much, for allocators keep some of what they had.
const OCTETS: u64 = 24 << 20;

#[tokio::test]
async fn memory_and_descriptors_return_to_where_they_were() {
    let swaps: u32 = std::env::var("PORTCULLIS_SWAPS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let mut gateway = Gateway::start(&doorman_with(open(), "")).await;
    replace(&mut gateway, &policies::variant(&open(), 1)).await;
    let gateway = Arc::new(gateway);

    let over = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for number in 0..4 {
        let (gateway, over) = (Arc::clone(&gateway), Arc::clone(&over));
        load.spawn(async move {
            let topic = format!("pump-{number}");
            let mut resident = gateway.tcp(Version::V5, &topic).connect().await;
            assert_eq!(resident.subscribe(&topic, 1).await, 1);
            while !over.load(Ordering::Relaxed) {
                resident.publish(Message::new(&topic, "x").qos(1)).await;
                assert_eq!(&resident.message().await.payload[..], b"x");
                gateway.tcp(Version::V311, &format!("visitor-{number}")).connect().await.disconnect().await;
            }
        });
    }
    let swap = async || {
        let answer = gateway.admin().request(Method::POST, "/api/v1/policies/doorman/rollback", Some(&json!({}))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    // What is made once is made now.
    for _ in 0..swaps.min(100) {
        swap().await;
    }
    let (memory, descriptors) = (gateway.memory().0, gateway.descriptors());
    for _ in 0..swaps {
        swap().await;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(client) = load.join_next().await {
        client.expect("no client notices");
    }
    gateway.until_at_most(memory + OCTETS, descriptors + SLACK).await;
    let kept = std::fs::read_dir(gateway.data().join("policies/doorman")).unwrap().count();
    assert_eq!(kept, 3, "two components and the record");
}
