//! A process without free descriptors keeps its listeners. Alone in its binary, since it takes all descriptors away.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::File;

use portcullis_net::Transport;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Running, spec};

#[tokio::test]
async fn accepting_goes_on_once_descriptors_are_free() {
    let mut running = Running::start(spec(Transport::Tcp));
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), maximum: limit.maximum }).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    // Room for the client's own socket and for nothing else: whoever accepts, fails.
    hoard.pop();
    let client = running.connect().await;
    // The accept loop shares this thread; it has tried by now, and pauses.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(running.nothing_given());
    drop(hoard);
    let (_socket, facts) = running.tcp().await;
    assert_eq!(facts.peer, client.local_addr().unwrap().into());
}
