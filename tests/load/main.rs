//! Load, and what it costs: the gateway and other brokers at the same work, in turn, on this machine.
//!
//! `cargo run --release -p portcullis-tests --bin portcullis-load -- compare`
//!
//! See `README.md` beside this file, and `--help`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on stops with the reason")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures are what it is for")]

mod account;
mod arguments;
mod broker;
mod client;
mod connects;
mod engine;
mod floor;
mod growth;
mod histogram;
mod judge;
mod languages;
mod outcome;
mod packet;
mod plot;
mod priority;
mod progress;
mod publisher;
mod report;
mod results;
mod still;
mod suite;
mod wire;
mod work;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;

use arguments::{Arguments, Command, Compare, Growth, One, Who};
use broker::{Front, Subject};
use growth::Series;
use progress::Progress;
use results::Results;

/// Descriptors that the largest work needs, on each side.
const DESCRIPTORS: u64 = 40_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Command::Compare(options) => compare(options),
        Command::Growth(options) => growth(options),
        Command::One(options) => one(options),
        Command::Quick => quick(),
        Command::Floor => floor::run(),
        Command::Render(output) => {
            Results::read(&output.out.join("results.json")).and_then(|results| render(&results, &output.out))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Brokers are children of this process and may have as many descriptors as it.
fn raise_limits() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    if limit.current.is_some_and(|current| current < most) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum })?;
    }
    Ok(())
}

fn compare(options: &Compare) -> Result<()> {
    raise_limits()?;
    let rows: Vec<_> = suite::rows(1)
        .into_iter()
        .filter(|row| options.rows.is_empty() || options.rows.iter().any(|key| key == row.key))
        .collect();
    if let Some(unknown) = options.rows.iter().find(|key| !rows.iter().any(|row| row.key == key.as_str())) {
        let known: Vec<_> = suite::rows(1).iter().map(|row| row.key).collect();
        bail!("there is no row {unknown:?}; there are: {}", known.join(", "));
    }
    let peers = if options.alone { Vec::new() } else { peers(options.rumqttd.as_deref()) };
    let turns: usize = rows.iter().map(|row| suite::subjects(row, &peers).len()).sum();
    let mut progress = Progress::new(turns * options.rounds);
    let mut results = Results { conditions: conditions(), ..Results::default() };
    let mut failures = Vec::new();
    for row in &rows {
        for round in 0..options.rounds {
            for subject in suite::subjects(row, &peers) {
                progress.step(&format!("{}: {}", row.name, subject.name()));
                match turn(&subject, &row.job, options.seconds) {
                    Ok(outcome) => results.add(row.key, &subject.name(), round, outcome),
                    Err(error) => {
                        let words = format!("{}, {}: {error:#}", row.name, subject.name());
                        progress.say(&words);
                        // What others lose is told, and is theirs.
                        if matches!(subject, Subject::Gateway(_)) {
                            failures.push(words);
                        }
                    }
                }
            }
            keep(&results, &options.output.out)?;
        }
    }
    drop(progress);
    render(&Results::read(&options.output.out.join("results.json"))?, &options.output.out)?;
    println!("{}", report::targets(&results, &rows).0);
    blame(&failures)
}

fn growth(options: &Growth) -> Result<()> {
    raise_limits()?;
    let mut all = growth::series(None);
    if let Some(unknown) = options.series.iter().find(|key| !all.iter().any(|series| series.key == key.as_str())) {
        let known: Vec<_> = all.iter().map(|series| series.key).collect();
        bail!("there is no curve {unknown:?}; there are: {}", known.join(", "));
    }
    all.retain(|series| options.series.is_empty() || options.series.iter().any(|name| name == series.key));
    for Series { key, points, .. } in &mut all {
        points.retain(|point| match point.subject.lacks() {
            None => true,
            Some(what) => {
                eprintln!("{key}/{} is left out: {what}", point.x);
                false
            }
        });
    }
    let points: usize = all.iter().map(|series| series.points.len()).sum();
    let mut progress = Progress::new(points * options.rounds);
    let mut results = Results { conditions: conditions(), ..Results::default() };
    let mut failures = Vec::new();
    for series in &all {
        for round in 0..options.rounds {
            for point in &series.points {
                let name = series.name(point.x);
                progress.step(&name);
                match turn(&point.subject, &point.job, options.seconds) {
                    Ok(outcome) => results.add(&name, &point.subject.name(), round, outcome),
                    Err(error) => {
                        progress.say(&format!("{name}: {error:#}"));
                        failures.push(format!("{name}: {error:#}"));
                    }
                }
            }
            keep(&results, &options.output.out)?;
        }
    }
    drop(progress);
    render(&Results::read(&options.output.out.join("results.json"))?, &options.output.out)?;
    blame(&failures)
}

/// One broker does one piece of work. Whatever goes wrong, the next one has its turn.
fn turn(subject: &Subject, job: &suite::Job, seconds: f64) -> Result<outcome::Outcome> {
    let time = Duration::from_secs_f64(seconds);
    let work = || -> Result<_> { job.run(&subject.start()?, time) };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        bail!("the measurement stopped: {}", words.unwrap_or("nobody knows why"))
    })
}

fn blame(failures: &[String]) -> Result<()> {
    if failures.is_empty() { Ok(()) } else { bail!("the gateway did not do it right:\n{}", failures.join("\n")) }
}

fn one(options: &One) -> Result<()> {
    raise_limits()?;
    let subject = match options.with {
        Who::Jwt => Subject::gateway(),
        Who::Anonymous => Subject::Gateway(Front::Anonymous),
        Who::Device => Subject::Gateway(Front::Device),
        Who::ApiKey => Subject::Gateway(Front::ApiKey),
        Who::Mosquitto => Subject::Mosquitto,
        Who::Nats => Subject::Nats,
        Who::Floor => Subject::Floor,
        Who::Rumqttd => {
            let program = options.rumqttd.clone().or_else(|| broker::installed("rumqttd"));
            Subject::Rumqttd(program.context("where is rumqttd? Name it with --rumqttd")?)
        }
    };
    let (name, unit, job) = named(&options.row)?;
    let broker = subject.start()?;
    println!("{}: process {}", subject.name(), broker.pid());
    for _ in 0..options.rounds {
        let outcome = job.run(&broker, Duration::from_secs_f64(options.seconds))?;
        let latency = outcome.latency.map_or_else(String::new, |times| {
            let [p50, p99, p999] = times.map(report::number);
            format!(", p50 {p50}, p99 {p99}, p99.9 {p999} µs")
        });
        println!(
            "{}: {} {}, {} a second{latency}, peak {:.1} MB",
            name,
            report::number(outcome.cost),
            unit,
            report::number(outcome.rate),
            outcome.peak as f64 / 1e6
        );
    }
    Ok(())
}

/// The work of a row, or of a point of a curve, such as `payload/262144`; and what it is called and measured in.
fn named(key: &str) -> Result<(String, &'static str, suite::Job)> {
    let rows = suite::rows(1);
    if let Some(row) = rows.iter().find(|row| row.key == key) {
        return Ok((row.name.to_owned(), row.unit.words(), row.job.clone()));
    }
    let all = growth::series(None);
    for series in &all {
        if let Some(point) = series.points.iter().find(|point| series.name(point.x) == key) {
            return Ok((key.to_owned(), series.cost, point.job.clone()));
        }
    }
    let known = rows.iter().map(|row| row.key.to_owned());
    let known = known.chain(all.iter().map(|series| format!("{}/…", series.key))).collect::<Vec<_>>().join(", ");
    bail!("there is no row {key:?}; there are: {known}")
}

/// A second of everything, small.
fn quick() -> Result<()> {
    raise_limits()?;
    let time = Duration::from_millis(400);
    let rows = suite::rows(10);
    let series = growth::series(Some(100));
    let points: usize = series.iter().map(|series| series.points.len()).sum();
    let turns: usize = rows.iter().map(|row| 1 + row.fronts.len()).sum();
    let mut progress = Progress::new(turns + points);
    let mut results = Results::default();
    // One gateway for each front: to start it takes longer than the work.
    let mut brokers: Vec<(Subject, broker::Broker)> = Vec::new();
    let mut run = |subject: &Subject, job: &suite::Job, name: &str, progress: &mut Progress| -> Result<_> {
        progress.step(name);
        if !brokers.iter().any(|(known, _)| known == subject) {
            brokers.push((subject.clone(), subject.start()?));
        }
        let broker = brokers.iter().find(|(known, _)| known == subject).context("it was started")?;
        job.run(&broker.1, time).with_context(|| format!("{name}, {}", subject.name()))
    };
    for row in &rows {
        let mut subjects = vec![Subject::gateway()];
        subjects.extend(row.fronts.iter().cloned().map(Subject::Gateway));
        for subject in subjects {
            let outcome = run(&subject, &row.job, row.name, &mut progress)?;
            results.add(row.key, &subject.name(), 0, outcome);
        }
    }
    for series in &series {
        for point in &series.points {
            let outcome = run(&point.subject, &point.job, &series.name(point.x), &mut progress)?;
            results.add(&series.name(point.x), &point.subject.name(), 0, outcome);
        }
    }
    drop(progress);
    let count: u64 = results.runs.iter().map(|run| run.outcome.count).sum();
    println!("{}", report::comparison(&results, &rows));
    println!(
        "{} runs, {count} messages and connections: nothing lost, twice, out of order or misdelivered",
        results.runs.len()
    );
    Ok(())
}

/// Brokers to compare with that are on this machine.
fn peers(rumqttd: Option<&Path>) -> Vec<Subject> {
    let mut peers = Vec::new();
    if broker::installed("mosquitto").is_some() {
        peers.push(Subject::Mosquitto);
    }
    if broker::installed("nats-server").is_some() {
        peers.push(Subject::Nats);
    }
    if let Some(program) = rumqttd.map(Path::to_owned).or_else(|| broker::installed("rumqttd")) {
        peers.push(Subject::Rumqttd(program));
    }
    peers.push(Subject::Floor);
    peers
}

/// What figures depend on.
fn conditions() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let rate = if priority::may_go_first() { "before all others" } else { "as one among others" };
    format!(
        "{model}, {cores} cores that brokers and load share, Linux {}, {} syncs a second where data lies; fixed rates are kept \
         {rate}; load of the machine before: {load}",
        kernel.trim(),
        report::number(syncs())
    )
}

/// How often a second the disk under the temporary directory, where brokers have their data, takes a page and syncs it.
fn syncs() -> f64 {
    let measure = || -> std::io::Result<f64> {
        let mut file = tempfile::tempfile()?;
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_millis(500) {
            file.write_all(&[0x5A; 4096])?;
            file.sync_data()?;
            count += 1;
        }
        Ok(f64::from(count) / begun.elapsed().as_secs_f64())
    };
    measure().unwrap_or_default()
}

/// Puts what was measured beside what was measured before.
fn keep(results: &Results, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out)?;
    let path: PathBuf = out.join("results.json");
    let mut all = if path.exists() { Results::read(&path)? } else { Results::default() };
    all.replace_with(results.clone());
    all.write(&path)
}

/// Writes tables and plots.
fn render(results: &Results, out: &Path) -> Result<()> {
    let (rows, series) = (suite::rows(1), growth::series(None));
    for series in &series {
        if let Some(svg) = plot::picture(series.axis, series.cost, &report::points(results, series)) {
            std::fs::write(out.join(format!("{}.svg", series.key)), svg)?;
        }
    }
    let text = format!(
        "# Measurements\n\nWritten by `portcullis-load` (see `tests/load/README.md`); medians, ratios round by round. {}.\n\n\
         {}\n## Targets\n\n{}\n## How cost grows\n{}",
        results.conditions,
        report::comparison(results, &rows),
        report::targets(results, &rows).0,
        report::growth(results, &series)
    );
    std::fs::write(out.join("measurements.md"), text)?;
    println!("written: {}", out.join("measurements.md").display());
    Ok(())
}
