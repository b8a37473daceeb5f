//! One language takes the place of another under live connections: what is remembered stays, and no client notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use portcullis_tests::{Dial, Message, config};

use crate::language::Language;
use crate::plant::Plant;

#[tokio::test]
async fn each_language_takes_over_from_the_one_before_with_all_that_it_remembers() {
    let plant = Plant::start(Language::Rust).await;
    let mut technician = plant.holder("mqtt", "1002").connect().await;
    let mut operator = plant.holder("mqtt", "1001").connect().await;
    assert_eq!(operator.subscribe("acme/halle/machines/+/state", 1).await, 1);
    for language in Language::ALL.into_iter().cycle().skip(1).take(Language::ALL.len()) {
        plant.swap(language);
        let state = Message::new("acme/halle/machines/1/state", format!("{language:?}")).qos(1);
        assert!(technician.publish(state).await < 0x80, "{language:?}");
        assert_eq!(operator.message().await.payload, format!("{language:?}"));
        // Of the other end of the plant, so that the session above is not taken over.
        plant.holder("mqtt", "1010").connect().await.disconnect().await;
    }
    assert_eq!(plant.service.asked("1010"), 1, "one language writes what the others read");
    operator.ping().await;
    technician.ping().await;
}

/// So many swaps, from one language to the other and back, unless `PORTCULLIS_SWAPS` says otherwise.
const SWAPS: u32 = 60;

/// Octets that memory may grow by. Each Go component is 12 MB of machine code and 10 MB of an instance: one that stayed for
/// each swap would be hundreds of megabytes.
const MORE: u64 = 48 << 20;

/// Alternating swaps under load: no client notices, memory returns to where it was, and no descriptor stays open.
///
/// The long run: `PORTCULLIS_SWAPS=1000 cargo test -p portcullis-tests --features examples --test examples alternating`.
#[tokio::test]
async fn alternating_swaps_of_two_languages_cost_nothing_that_stays() {
    let swaps: u32 = std::env::var("PORTCULLIS_SWAPS").map_or(SWAPS, |text| text.parse().expect("a number of swaps"));
    let settled = (swaps / 4).max(2);
    let plant = Plant::start(Language::Go).await;
    let over = Arc::new(AtomicBool::new(false));
    let messages = Arc::new(AtomicU32::new(0));
    let talkers: Vec<_> = ["1001", "1002", "1010"]
        .into_iter()
        .map(|number| {
            let dial = plant.holder("mqtt", number);
            tokio::spawn(talk(dial, number, Arc::clone(&over), Arc::clone(&messages)))
        })
        .collect();
    let components = [Language::C.component(), Language::Go.component()];
    let file = plant.gateway.directory().join("badge.wasm");
    // Where it settles is the most that was seen during the first swaps: both are loaded, the allocator has what it needs, and
    // now and then the displaced version has not gone yet or two clients needed an instance each.
    let (mut memory, mut descriptors) = (0, 0);
    for number in 0..swaps {
        if number < settled {
            memory = memory.max(plant.gateway.memory().0);
            descriptors = descriptors.max(plant.gateway.descriptors());
        }
        config::replace(&file, &components[number as usize % 2]);
        let seen = messages.load(Ordering::Relaxed);
        let _ = plant.gateway.ask(&["policy", "reload", "badge"]);
        portcullis_tests::within("traffic between two swaps", async {
            while messages.load(Ordering::Relaxed) == seen {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    over.store(true, Ordering::Relaxed);
    for talker in talkers {
        talker.await.expect("a client noticed");
    }
    let (memory_now, descriptors_now) = plant.gateway.until_at_most(memory + MORE, descriptors + 8).await;
    #[allow(clippy::print_stderr, reason = "the figure of the long run")]
    {
        eprintln!(
            "{swaps} swaps, {} messages: resident {} KB, then {} KB; descriptors {descriptors}, then {descriptors_now}",
            messages.load(Ordering::Relaxed),
            memory / 1024,
            memory_now / 1024
        );
    }
}

/// Says something every moment, within the grant's limit, and hears that it was taken; misses nothing.
async fn talk(dial: Dial, number: &str, over: Arc<AtomicBool>, messages: Arc<AtomicU32>) {
    let mut client = dial.connect().await;
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(150));
    // What a machine that stood still has missed is not made up for: that would be too fast for the grant.
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        let here = Message::new(format!("acme/halle/badges/{number}/here"), "x").qos(1);
        assert!(client.publish(here).await < 0x80, "{number} was refused");
        messages.fetch_add(1, Ordering::Relaxed);
    }
    client.disconnect().await;
}
