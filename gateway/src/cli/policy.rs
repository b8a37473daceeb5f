//! `portcullis policy …`.

use std::path::PathBuf;

use super::place::Place;
use super::remote::{Remote, RemoteError, encoded};
use super::{Exit, Failure, desk, out, precompile, shadow, table, versions};
use clap::Subcommand;
use hyper::Method;

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// The policies of the running gateway: digest, calls, state.
    List {
        #[command(flatten)]
        place: Place,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// What a component is, exports, asks for and says of itself. Nothing is changed.
    Inspect {
        /// The component, or `builtin:NAME`.
        file: String,
        /// A public key of minisign: verify the signature that lies beside the file.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the contract that policies are built against: the WIT package of this gateway.
    Wit {
        /// Where to.
        #[arg(value_name = "DIR", default_value = "wit")]
        directory: PathBuf,
    },
    /// Make a project for a policy of your own: it builds, and passes its own cases.
    New {
        /// The language that it is written in.
        #[arg(long)]
        lang: desk::new::Language,
        /// Its name, and that of the directory.
        name: String,
    },
    /// Put a policy to a file of cases: credentials in, verdicts expected, in a world that each case describes.
    Test {
        /// The component, or `builtin:NAME`.
        policy: String,
        /// The cases.
        cases: PathBuf,
        /// Only the cases whose name contains this.
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Give each call an instance of its own, to see that nothing is kept between calls.
        #[arg(long)]
        fresh: bool,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure how long the questions of a file of cases take, warm and with a fresh instance each.
    Bench {
        /// The component, or `builtin:NAME`.
        policy: String,
        /// The cases.
        cases: PathBuf,
        /// Only the cases whose name contains this.
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// How long each case is asked.
        #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=600))]
        seconds: u16,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compile policies for gateways that have no compiler, into a directory to be named in their `[engine] precompiled`.
    Precompile {
        /// Components, or `builtin:NAME`. Without any: the policies of the configuration, or without that the bundled ones.
        policies: Vec<String>,
        /// The configuration whose policies are compiled.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// What for: `x86_64`, `aarch64` or a whole target; `pulley64` or `pulley32` for the interpreter. Default: this very
        /// processor, with all that it can do.
        #[arg(long)]
        target: Option<String>,
        /// The directory. What it has for the same target stays.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Record the logins that a policy of the running gateway decides, with what the gateway told it. Secrets are masked.
    Record {
        /// The policy's configured name.
        name: String,
        /// How long: `90s`, `10m`, `24h` at most.
        #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = time)]
        time: std::time::Duration,
        /// Which share of the logins, above 0 and at most 1.
        #[arg(long, default_value = "1.0")]
        share: f64,
        /// Keep passwords, tokens and keys as they are.
        #[arg(long)]
        with_secrets: bool,
        /// The file; without one standard output.
        #[arg(short, long = "output", value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Put recorded logins to a policy, and list what it decides otherwise.
    Replay {
        /// The component, or `builtin:NAME`.
        policy: String,
        /// What `record` wrote.
        recording: PathBuf,
        /// The configuration whose entry for the policy counts.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The name of that entry, if it is not that of the recorded policy.
        #[arg(long = "policy", value_name = "NAME", requires = "config")]
        entry: Option<String>,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Load a policy of the running gateway again, test it, and put it in place. If it is not fit, the old one stays.
    Reload {
        /// The policy's configured name.
        name: String,
        /// Take what its source has, whatever was promoted or gone back to.
        #[arg(long)]
        source: bool,
        #[command(flatten)]
        place: Place,
    },
    /// The versions of a policy that are or were live, by digest.
    Versions {
        /// The policy's configured name.
        name: String,
        /// Write JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Have a candidate decide beside the live policy, without effect: on FILE it begins; without, it reports; --stop ends it.
    Shadow {
        /// The policy's configured name.
        name: String,
        /// The candidate. Its signature is FILE.minisig, if there is one.
        file: Option<PathBuf>,
        /// About which share of the clients it is asked: the same ones each time.
        #[arg(long, value_name = "PERCENT", default_value = "100%", requires = "file")]
        share: String,
        /// Let it send requests to the hosts that its policy may reach. They are real.
        #[arg(long, requires = "file")]
        http: bool,
        /// End it.
        #[arg(long, conflicts_with = "file")]
        stop: bool,
        /// Write JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Put the candidate that decides in shadow in place. It stays until the source of the policy changes.
    Promote {
        /// The policy's configured name.
        name: String,
        /// Only if the candidate's digest begins so.
        #[arg(long)]
        digest: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Go back to a version that was live before, with the configuration of now. It stays until the source changes.
    Rollback {
        /// The policy's configured name.
        name: String,
        /// The version, by the beginning of its digest. Without: the one that was live last.
        digest: Option<String>,
        #[command(flatten)]
        place: Place,
    },
}

/// Does it.
pub(super) fn run(command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::List { place, json } => list(&place, json),
        PolicyCommand::Inspect { file, key, json } => desk::inspect::run(&file, key.as_deref(), json),
        PolicyCommand::New { lang, name } => desk::new::run(lang, &name),
        PolicyCommand::Wit { directory } => desk::wit::run(&directory),
        PolicyCommand::Test { policy, cases, filter, fresh, json } => desk::test::run(&desk::test::Options {
            policy: &policy,
            cases: &cases,
            filter: filter.as_deref(),
            fresh,
            json,
        }),
        PolicyCommand::Precompile { policies, config, target, out } => {
            precompile::run(&precompile::Options { policies, config, target, out })
        }
        PolicyCommand::Record { name, time, share, with_secrets, output, place } => {
            let remote = Remote::require(&place.data())?;
            let file = output.as_deref();
            desk::record::run(&remote, &desk::record::Options { name: &name, time, share, with_secrets, file })
        }
        PolicyCommand::Replay { policy, recording, config, entry, json } => desk::replay::run(&desk::replay::Options {
            policy: &policy,
            recording: &recording,
            config: config.as_deref(),
            entry: entry.as_deref(),
            json,
        }),
        PolicyCommand::Bench { policy, cases, filter, seconds, json } => desk::bench::run(&desk::bench::Options {
            policy: &policy,
            cases: &cases,
            filter: filter.as_deref(),
            time: std::time::Duration::from_secs(u64::from(seconds)),
            json,
        }),
        PolicyCommand::Reload { name, source, place } => reload(&place, &name, source),
        PolicyCommand::Shadow { name, file: Some(file), share, http, json, place, .. } => {
            shadow::begin(&place, &name, &file, &shadow::Terms { share, http }, json)
        }
        PolicyCommand::Shadow { name, stop: true, json, place, .. } => shadow::end(&place, &name, json),
        PolicyCommand::Shadow { name, json, place, .. } => shadow::show(&place, &name, json),
        PolicyCommand::Promote { name, digest, place } => shadow::promote(&place, &name, digest.as_deref()),
        PolicyCommand::Versions { name, json, place } => versions::list(&place, &name, json),
        PolicyCommand::Rollback { name, digest, place } => versions::roll_back(&place, &name, digest.as_deref()),
    }
}

/// A time as a configuration writes it.
fn time(text: &str) -> Result<std::time::Duration, String> {
    crate::config::Time::parse(text).map(|time| time.0).ok_or_else(|| format!("{text:?} is no time such as 90s or 10m"))
}

fn list(place: &Place, json: bool) -> Result<Exit, Failure> {
    let answer = Remote::require(&place.data())?.must(Method::GET, "/api/v1/policies", None)?;
    if json {
        out::line(&answer["items"]);
        return Ok(Exit::Success);
    }
    let mut rows = vec![
        ["POLICY", "VERSION", "DIGEST", "SINCE", "ALLOWED", "REFUSED", "PASSED", "FAILED", "SOURCE"].map(str::to_owned),
    ];
    for policy in answer["items"].as_array().into_iter().flatten() {
        let text = |key: &str| policy[key].as_str().unwrap_or("-").to_owned();
        let calls =
            |words: &[&str]| words.iter().filter_map(|word| policy["calls"][*word].as_u64()).sum::<u64>().to_string();
        let mut state = versions::state(policy);
        if policy["quarantined"] == true {
            let rest = policy["quarantined_for_ms"].as_u64().unwrap_or_default();
            let name = text("name");
            state += &format!(" (tried again in {rest} ms, or with `policy reload {name}`)");
        }
        let reached: Vec<_> = policy["limits_reached"].as_object().into_iter().flatten().collect();
        if !reached.is_empty() {
            let words: Vec<_> = reached.iter().map(|(limit, times)| format!("{limit} {times}x")).collect();
            state += &format!(" (limits reached: {})", words.join(", "));
        }
        rows.push([
            text("name"),
            text("version"),
            text("digest").chars().take(12).collect(),
            table::time(&policy["since"]),
            calls(&["allow"]),
            calls(&["deny"]),
            calls(&["pass"]),
            calls(&["trap", "deadline", "void", "refused"]),
            text("source") + &state,
        ]);
    }
    table::print(&rows);
    for policy in answer["items"].as_array().into_iter().flatten() {
        if let (Some(name), Some(what)) = (policy["name"].as_str(), policy["last_error"]["what"].as_str()) {
            out::line(format_args!("{name}: its last failure: {what}"));
        }
    }
    Ok(Exit::Success)
}

fn reload(place: &Place, name: &str, source: bool) -> Result<Exit, Failure> {
    let path = format!("/api/v1/policies/{}/reload{}", encoded(name), if source { "?source=true" } else { "" });
    let answer = Remote::require(&place.data())?.must(Method::POST, &path, None)?;
    out::line(answer["message"].as_str().unwrap_or("done"));
    Ok(Exit::Success)
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        let exit = if matches!(error, RemoteError::NotFound(_)) { Exit::NotFound } else { Exit::Failure };
        Self::new(error.to_string(), exit)
    }
}
