//! A policy's storage: atomic whichever instance asks, the next version's as much as this one's, nobody else's, and on disk.

use portcullis_tests::{Config, Gateway, Transport, Version, policies};

/// Listener `tcp` behind the policy `store`, then everybody; listener `other` likewise behind `another`.
fn config(store: Vec<u8>, another: Vec<u8>) -> Config {
    let entry = |name: &str| {
        format!(
            "[[policy]]\nname = \"{name}\"\nsource = \"{name}.wasm\"\nallow = {{ keyvalue = true }}\nlimits = {{ deadline = \"20s\" }}"
        )
    };
    Config::new()
        .mqtt("tcp", Transport::Tcp, &["store", "anonymous"])
        .mqtt("other", Transport::Tcp, &["another", "anonymous"])
        .toml(&entry("store"))
        .toml(&entry("another"))
        .file("store.wasm", store)
        .file("another.wasm", another)
}

/// So many clients at one time; gives how many came in, and the codes of the others.
async fn crowd(gateway: &Gateway, listener: &str, size: usize) -> (usize, Vec<u8>) {
    let mut attempts = tokio::task::JoinSet::new();
    for number in 0..size {
        let route = gateway.route_to(listener, Transport::Tcp);
        let dial = portcullis_tests::Dial::new(route, Version::V5, format!("c{number}"));
        attempts.spawn(async move {
            match dial.attempt().await {
                Ok(client) => {
                    client.disconnect().await;
                    None
                }
                Err(portcullis_tests::Refused::Code(code, _)) => Some(code),
                Err(other) => panic!("{other:?}"),
            }
        });
    }
    let codes = attempts.join_all().await;
    let refused: Vec<_> = codes.iter().flatten().copied().collect();
    (size - refused.len(), refused)
}

#[tokio::test]
async fn a_rate_limiter_counts_over_all_instances_and_a_crash() {
    let gateway = Gateway::start(&config(policies::counting(5), policies::counting(2))).await;
    let (admitted, refused) = crowd(&gateway, "tcp", 24).await;
    assert_eq!(admitted, 5);
    assert!(refused.iter().all(|code| *code == 0x9f), "{refused:?}");
    // The same key in the other's storage is another number.
    assert_eq!(crowd(&gateway, "other", 6).await.0, 2);
    // What was acknowledged survives; the next version finds it.
    let gateway = gateway.kill_and_restart().await;
    assert_eq!(crowd(&gateway, "tcp", 3).await.0, 0);
    portcullis_tests::config::replace(&gateway.directory().join("store.wasm"), &policies::counting(40));
    let _ = gateway.ask(&["policy", "reload", "store"]);
    assert_eq!(crowd(&gateway, "tcp", 24).await.0, 40 - 24 - 3, "27 were counted before");
}

#[tokio::test]
async fn a_token_is_good_once_and_the_first_wins() {
    let gateway = Gateway::start(&config(policies::ticketing(), policies::first_only())).await;
    assert_eq!(crowd(&gateway, "tcp", 1).await.0, 1, "a ticket is stored");
    portcullis_tests::config::replace(&gateway.directory().join("store.wasm"), &policies::once());
    let _ = gateway.ask(&["policy", "reload", "store"]);
    let (admitted, refused) = crowd(&gateway, "tcp", 16).await;
    assert_eq!(admitted, 1, "whoever took the ticket");
    assert!(refused.iter().all(|code| *code == 0x86), "{refused:?}");
    let (admitted, refused) = crowd(&gateway, "other", 16).await;
    assert_eq!(admitted, 1, "whoever came first");
    assert!(refused.iter().all(|code| *code == 0x8a), "{refused:?}");
}
