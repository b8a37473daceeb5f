//! `portcullis policy bench FILE CASES`: how long the questions of each case take, warm and cold, on one thread.
//!
//! What is measured is the gateway's own road from a question to an answer; making credentials and comparing is not in it.
//! The rooms are in memory: a disk and other servers take longer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_policy::{Compiler, Generation};
use serde_json::{Value, json};

use super::cases::Case;
use super::play::{Scenery, load};
use super::subject::Subject;
use super::world::World;
use crate::cli::{Exit, Failure, out};

/// The most measurements of one kind that are kept.
const MOST: usize = 2_000_000;
/// Calls before those that are measured.
const WARM_UP: usize = 20;

/// What the command line says.
pub(in crate::cli) struct Options<'o> {
    /// `builtin:NAME` or a file.
    pub(in crate::cli) policy: &'o str,
    /// The cases.
    pub(in crate::cli) cases: &'o Path,
    /// Only those whose name contains this.
    pub(in crate::cli) filter: Option<&'o str>,
    /// How long each case is asked, half of it warm.
    pub(in crate::cli) time: Duration,
    /// Write JSON.
    pub(in crate::cli) json: bool,
}

/// Measures.
pub(in crate::cli) fn run(options: &Options<'_>) -> Result<Exit, Failure> {
    let subject = Subject::read(options.policy)?;
    let cases = super::test::load(options.cases, options.filter)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut measured = Vec::new();
    for case in cases.iter().filter(|case| case.steps.iter().any(|step| step.ask.is_some())) {
        let one = runtime.block_on(measure(&subject, case, options.time)).map_err(|why| {
            let place = format!("{}:{}", options.cases.display(), case.line);
            Failure::new(format!("{place}: the case {:?} cannot be measured: {why}", case.name), Exit::Failure)
        })?;
        if !options.json {
            one.show();
        }
        measured.push(one);
    }
    let compile = subject.compiler.took();
    let instances = match cases.first() {
        Some(case) => runtime
            .block_on(instances(&subject, case, options.time / 4))
            .map_err(|why| Failure::new(format!("{} cannot be instantiated: {why}", subject.origin), Exit::Failure))?,
        None => Vec::new(),
    };
    let count = instances.len() as u64;
    let instances = Series::of(instances, count);
    if options.json {
        let cases: Vec<Value> = measured.iter().map(Measured::document).collect();
        out::line(json!({
            "policy": subject.origin,
            "octets": subject.component.len(),
            "compiled_octets": subject.compiler.octets(),
            "compile_ms": millis(compile),
            "instantiate": instances.document(),
            "cases": cases,
        }));
    } else {
        out::line(format_args!(
            "an instance starts in {} (p50), {} (p99)",
            shown(instances.at(0.5)),
            shown(instances.at(0.99))
        ));
        out::line(format_args!(
            "{}: {} octets, compiled in {:.0} ms to {}",
            subject.origin,
            subject.component.len(),
            millis(compile),
            subject.compiler.octets()
        ));
    }
    Ok(Exit::Success)
}

/// A case in figures.
struct Measured {
    name: String,
    /// How often each answer came. More than one kind: what was measured is not one thing.
    verdicts: BTreeMap<String, u64>,
    load: Duration,
    memory: Option<usize>,
    warm: Series,
    cold: Series,
}

/// Calls of one kind.
struct Series {
    /// Nanoseconds, in order of size.
    calls: Vec<u64>,
    instances: u64,
}

async fn measure(subject: &Subject, case: &Case, time: Duration) -> Result<Measured, String> {
    let mut verdicts = BTreeMap::new();
    let (warm, generation) = series(subject, case, time / 2, false, &mut verdicts).await?;
    let (cold, _) = series(subject, case, time / 2, true, &mut verdicts).await?;
    let (load, memory) = (generation.loading(), generation.instance_memory());
    Ok(Measured { name: case.name.clone(), verdicts, load: load.code + load.test, memory, warm, cold })
}

async fn series(
    subject: &Subject,
    case: &Case,
    time: Duration,
    fresh: bool,
    verdicts: &mut BTreeMap<String, u64>,
) -> Result<(Series, Arc<Generation>), String> {
    let world = World::build(&case.scene, subject)?;
    // Compiled before it is loaded, so that how long that takes is told apart.
    if subject.compiler.octets() == 0 {
        subject.compiler.compile(subject.component.clone(), None).await?;
    }
    let generation = load(&world, subject, case, fresh).await.map_err(|error| error.to_string())?;
    let mut scenery = Scenery::new(&world, Arc::clone(&generation));
    let mut rounds = 0;
    let end = Instant::now() + time;
    while Instant::now() < end && scenery.spent.len() < MOST {
        for step in &case.steps {
            let (got, _) = scenery.take(step).await.map_err(|why| format!("line {}: {why}", step.line))?;
            if let Some(verdict) = got["verdict"].as_str() {
                match verdicts.get_mut(verdict) {
                    Some(count) => *count += 1,
                    None => drop(verdicts.insert(verdict.to_owned(), 1)),
                }
            }
        }
        rounds += 1;
        if rounds == WARM_UP && !fresh {
            scenery.spent.clear();
        }
    }
    Ok((Series::of(std::mem::take(&mut scenery.spent), generation.instances_made()), generation))
}

/// How long each of many instances takes to start.
async fn instances(subject: &Subject, case: &Case, time: Duration) -> Result<Vec<Duration>, String> {
    let world = World::build(&case.scene, subject)?;
    let generation = load(&world, subject, case, true).await.map_err(|error| error.to_string())?;
    let (mut spent, end) = (Vec::new(), Instant::now() + time);
    while Instant::now() < end && spent.len() < MOST {
        let begun = Instant::now();
        generation.start_instance().await?;
        spent.push(begun.elapsed());
    }
    Ok(spent)
}

impl Series {
    fn of(spent: Vec<Duration>, instances: u64) -> Self {
        let mut calls: Vec<u64> =
            spent.iter().map(|spent| u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX)).collect();
        calls.sort_unstable();
        Self { calls, instances }
    }

    /// Nanoseconds that so much of the calls are within.
    fn at(&self, share: f64) -> u64 {
        let last = self.calls.len().saturating_sub(1);
        self.calls.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
    }

    fn per_second(&self) -> f64 {
        let all: u64 = self.calls.iter().sum();
        if all == 0 { 0.0 } else { self.calls.len() as f64 * 1e9 / all as f64 }
    }

    fn document(&self) -> Value {
        json!({
            "calls": self.calls.len(),
            "per_second": self.per_second().round(),
            "instances": self.instances,
            "p50_us": micros(self.at(0.5)),
            "p90_us": micros(self.at(0.9)),
            "p99_us": micros(self.at(0.99)),
            "max_us": micros(self.at(1.0)),
        })
    }

    fn show(&self, name: &str) {
        out::line(format_args!(
            "  {name}  {:>8.0} calls/s  p50 {}  p90 {}  p99 {}  max {}  ({} calls, {} instances)",
            self.per_second(),
            shown(self.at(0.5)),
            shown(self.at(0.9)),
            shown(self.at(0.99)),
            shown(self.at(1.0)),
            self.calls.len(),
            self.instances
        ));
    }

    /// Each bar holds the calls up to twice the time of the one before.
    fn plot(&self) {
        let mut bars: Vec<(u64, usize)> = Vec::new();
        for call in &self.calls {
            let bound = (call / 1000).max(1).next_power_of_two() * 1000;
            match bars.last_mut() {
                Some((last, count)) if *last == bound => *count += 1,
                _ => bars.push((bound, 1)),
            }
        }
        let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(1);
        for (bound, count) in bars {
            let width = (count * 40).div_ceil(most);
            out::line(format_args!("      up to {:>9}  {:<40}  {count}", shown(bound), "█".repeat(width)));
        }
    }
}

impl Measured {
    fn document(&self) -> Value {
        json!({
            "name": self.name,
            "verdicts": self.verdicts,
            "load_ms": millis(self.load),
            "instance_octets": self.memory,
            "warm": self.warm.document(),
            "cold": self.cold.document(),
        })
    }

    fn show(&self) {
        let memory = self.memory.map_or_else(String::new, |octets| format!(", {} KiB an instance", octets >> 10));
        let mut verdicts: Vec<_> = self.verdicts.keys().cloned().collect();
        if verdicts.len() > 1 {
            // Asked again and again it does not stay the same: a quota, or a nonce that is used up.
            verdicts = self.verdicts.iter().map(|(verdict, count)| format!("{verdict} {count} times")).collect();
        }
        out::line(format_args!("{} ({}{memory})", self.name, verdicts.join(", ")));
        self.warm.show("warm");
        self.warm.plot();
        self.cold.show("cold");
        self.cold.plot();
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// A time in three digits.
fn shown(nanos: u64) -> String {
    match nanos {
        n if n < 1_000_000 => format!("{:.1} µs", n as f64 / 1e3),
        n if n < 1_000_000_000 => format!("{:.1} ms", n as f64 / 1e6),
        n => format!("{:.1} s", n as f64 / 1e9),
    }
}
