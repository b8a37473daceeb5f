//! What costs without anything being published: connections that do nothing, and messages that were retained.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portcullis_tests::{Transport, Version};

use crate::account;
use crate::broker::Broker;
use crate::client::{Client, Hearing, hello};
use crate::engine::Engine;
use crate::judge::Wrong;
use crate::outcome::Outcome;
use crate::packet::Template;
use crate::publisher::Publisher;

/// Memory counts as settled when it has not changed by a hundredth for so long.
const CALM: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(15);
/// Idle is who has said nothing for so long: the gateway takes a connection's task away after five seconds.
const REST: Duration = Duration::from_secs(8);
/// Connections of before. What the first ones bring into memory is not theirs, and some of it is bounded: audit remembers so many
/// clients.
const FIRST: usize = 1100;

/// So many connections that do nothing: octets of memory each.
pub(crate) fn idle(broker: &Broker, transport: Transport, count: usize) -> Result<Outcome> {
    let road = broker.road(transport)?;
    let open = |number: usize| {
        let (name, login) = broker.own_login(number);
        Client::open(&road, number, Version::V311, &hello(Version::V311, &name, &login), &[])
            .with_context(|| format!("connection {number} of {count}"))
    };
    // The suite is not there to measure.
    let (first, rest) = if count < 1000 { (16, Duration::ZERO) } else { (FIRST, REST) };
    let earlier: Vec<Client> = (0..first).map(open).collect::<Result<_>>()?;
    std::thread::sleep(rest);
    let before = settled(broker.pid());
    let (begun, processor) = (Instant::now(), account::processor_time(broker.pid()));
    let clients: Vec<Client> = (first..first + count).map(open).collect::<Result<_>>()?;
    let elapsed = begun.elapsed();
    let processor = account::processor_time(broker.pid()) - processor;
    ensure!(processor > Duration::ZERO, "connections cost something");
    std::thread::sleep(rest);
    let after = settled(broker.pid());
    drop((earlier, clients));
    Ok(Outcome {
        cost: after.saturating_sub(before) as f64 / count as f64,
        rate: count as f64 / elapsed.as_secs_f64(),
        latency: None,
        peak: account::peak(broker.pid()),
        count: count as u64,
        wrong: Wrong::default(),
    })
}

fn settled(pid: u32) -> u64 {
    let begun = Instant::now();
    let (mut last, mut since) = (account::memory(pid), Instant::now());
    while since.elapsed() < CALM && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(250));
        let now = account::memory(pid);
        if now.abs_diff(last) > last / 100 {
            (last, since) = (now, Instant::now());
        }
    }
    account::memory(pid)
}

/// So many retained messages for somebody who comes and asks for all of them.
pub(crate) fn retained(broker: &Broker, count: usize) -> Result<Outcome> {
    let road = broker.road(Transport::Tcp)?;
    let open = |number: usize, filters: &[(String, u8)]| {
        let (name, login) = broker.login(number);
        Client::open(&road, number, Version::V311, &hello(Version::V311, &name, &login), filters)
    };
    let template = |number| Template::new(Version::V311, &format!("load/retained/{number}"), 64, 1, true);
    let templates = (0..count).map(template).collect();
    let mut publishing = Engine::new(vec![open(0, &[])?], vec![Publisher::new(0, 0, templates, 1, 64, 0)], false)?;
    publishing.send_all(count as u64)?;
    let wrong = publishing.judge();
    ensure!(wrong.is_none(), "retained messages were not taken: {wrong:?}");

    let before = (account::processor_time(broker.pid()), Instant::now());
    let mut client = open(1, &[("load/retained/#".into(), 0)])?;
    // They come in any order.
    client.hearing = Hearing::Any(Vec::new());
    let mut listening = Engine::new(vec![client], Vec::new(), false)?;
    listening.listen(count as u64)?;
    let (processor, elapsed) = (account::processor_time(broker.pid()) - before.0, before.1.elapsed());
    let mut came = listening.heard(0);
    let total = came.len();
    came.sort_unstable();
    came.dedup();
    let wrong =
        Wrong { lost: (count - came.len().min(count)) as u64, twice: (total - came.len()) as u64, ..Wrong::default() };
    Ok(Outcome {
        cost: processor.as_secs_f64() * 1e6 / total.max(1) as f64,
        rate: total as f64 / elapsed.as_secs_f64(),
        latency: None,
        peak: account::peak(broker.pid()),
        count: total as u64,
        wrong,
    })
}
