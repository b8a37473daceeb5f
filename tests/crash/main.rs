//! The crash test: the real binary, killed with SIGKILL while publishers and subscribers are at it, and started again
//! on the same data, again and again.
//!
//! What was promised is then held against what came: no message that was acknowledged is missing; at QoS 2 none came
//! twice; a publisher's messages came in their order; retained messages and sessions are there. Clients keep to the
//! protocol: a publisher sends again, with DUP, what was not acknowledged; a receiver of QoS 2 remembers the identifiers
//! that were not released.
//!
//! `PORTCULLIS_KILLS` says how often it is killed (12 unless told), `PORTCULLIS_SEED` repeats the choices of a run. The
//! moments are not repeated: they are the operating system's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops with the reason")]

mod chance;
mod judge;
mod probe;
mod publisher;
mod settler;
mod subscriber;
mod wire;
mod world;

use std::sync::Arc;
use std::time::Duration;

use portcullis_tests::gateway::{Gateway, command};
use portcullis_tests::packets::Version;
use portcullis_tests::{Config, PATIENCE};
use tempfile::TempDir;

use chance::Chance;
use publisher::Publisher;
use subscriber::{Manner, Subscriber};
use world::World;

const PUBLISHERS: usize = 8;
const SERVE: [&str; 5] = ["serve", "--config", "portcullis.toml", "--data", "data"];

/// What the subscribers are like: version, quality of service, manner.
const SUBSCRIBERS: [(Version, u8, Manner); 6] = [
    (Version::V311, 2, Manner::Steady),
    (Version::V5, 2, Manner::Steady),
    (Version::V5, 2, Manner::Narrow),
    (Version::V311, 2, Manner::Away),
    (Version::V5, 1, Manner::Hasty),
    (Version::V311, 1, Manner::Away),
];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_when_the_gateway_is_killed() {
    let kills = number("PORTCULLIS_KILLS").unwrap_or(12);
    let mut chance = Chance::new(number("PORTCULLIS_SEED"));
    let seed = chance.seed();
    let world = Arc::new(World::new(PUBLISHERS, SUBSCRIBERS.len(), seed));
    let mut gateway = Gateway::start(&Config::tcp(&["anonymous"])).await;

    world.begin(gateway.address("tcp"));
    let subscribers: Vec<_> = SUBSCRIBERS
        .iter()
        .enumerate()
        .map(|(number, (version, qos, manner))| {
            Subscriber::new(&world, number, *version, *qos, *manner, chance.fork()).start()
        })
        .collect();
    world.until("every subscriber has its SUBACK", |state| state.subscribed == SUBSCRIBERS.len());
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|number| {
            let version = if number % 2 == 0 { Version::V311 } else { Version::V5 };
            Publisher::new(&world, number, version, chance.fork()).start()
        })
        .collect();
    let settlers = settler::start(&world);

    for kill in 0..kills {
        // Early, while clients come back, as well as late: every order of magnitude is equally likely.
        world.after_events(chance.magnitude(20_000));
        world.pause(Duration::from_micros(chance.below(20_000)));
        world.end_life();
        let directory = gateway.into_directory();
        if kill % 3 == 2 {
            kill_while_it_starts(&directory, &mut chance);
        }
        gateway = Gateway::spawn(directory, &SERVE)
            .await
            .unwrap_or_else(|failure| world.give_up(&format!("no start after kill {}: {failure:?}", kill + 1)));
        probe::retained(&world, gateway.address("tcp"));
        world.begin(gateway.address("tcp"));
    }
    world.after_events(1_000);
    world.finish();
    let published: Vec<_> = publishers.into_iter().map(|thread| world.join(thread)).collect();
    let settled = world.join(settlers);
    let received: Vec<_> = subscribers.into_iter().map(|thread| world.join(thread)).collect();
    world.stop_on_failure();

    let verdict = judge::judge(&SUBSCRIBERS.map(|(_, qos, _)| qos), &published, &received);
    let summary = format!("{kills} kills, {} sessions settled, {} (seed {seed})", settled.len(), verdict.figures);
    assert!(verdict.wrong.is_empty(), "{summary}\n{}", verdict.story());

    // Everything was acknowledged by everybody: after one more start nothing may come again.
    let gateway = gateway.restart().await;
    let address = gateway.address("tcp");
    for (number, (version, _, _)) in SUBSCRIBERS.iter().enumerate() {
        probe::nothing_left(&world, address, *version, &subscriber::client_id(number));
    }
    probe::retained(&world, address);
    probe::settled(&world, address, &settled);
    #[allow(clippy::print_stderr, reason = "the figures of the run, shown with --nocapture")]
    {
        eprintln!("{summary}");
    }
}

/// Starts it and kills it before it is ready, or about then: recovery is interrupted as well.
fn kill_while_it_starts(directory: &TempDir, chance: &mut Chance) {
    let mut child = command(directory.path(), &SERVE)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary can be run");
    // The moment is the test: there is no event to wait for.
    std::thread::park_timeout(Duration::from_millis(chance.below(400)));
    child.kill().expect("it can be killed");
    child.wait().expect("it can be waited for");
}

/// How long a client waits for an answer while the gateway lives.
const ANSWER: Duration = PATIENCE;
