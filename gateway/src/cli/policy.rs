//! `portcullis policy …`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use hyper::Method;
use portcullis_policy::{Allow, DirectoryAccess, Fault, Generation, PolicySpec};
use serde_json::{Value, json};

use super::place::Place;
use super::remote::{Remote, RemoteError, encoded};
use super::{Exit, Failure, desk, out, table};

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
    /// What a component is, exports, imports and says of itself. Nothing is changed.
    Inspect {
        /// The component.
        file: PathBuf,
        /// Write JSON.
        #[arg(long)]
        json: bool,
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
    /// Load a policy of the running gateway again, test it, and put it in place. If it is not fit, the old one stays.
    Reload {
        /// The policy's configured name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Does it.
pub(super) fn run(command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::List { place, json } => list(&place, json),
        PolicyCommand::Inspect { file, json } => inspect(&file, json),
        PolicyCommand::Test { policy, cases, filter, fresh, json } => desk::test::run(&desk::test::Options {
            policy: &policy,
            cases: &cases,
            filter: filter.as_deref(),
            fresh,
            json,
        }),
        PolicyCommand::Reload { name, place } => reload(&place, &name),
    }
}

fn list(place: &Place, json: bool) -> Result<Exit, Failure> {
    let answer = Remote::require(&place.data())?.must(Method::GET, "/api/v1/policies", None)?;
    if json {
        out::line(&answer["items"]);
        return Ok(Exit::Success);
    }
    let mut rows =
        vec![["POLICY", "VERSION", "DIGEST", "ALLOWED", "REFUSED", "PASSED", "FAILED", "SOURCE"].map(str::to_owned)];
    for policy in answer["items"].as_array().into_iter().flatten() {
        let text = |key: &str| policy[key].as_str().unwrap_or("-").to_owned();
        let calls =
            |words: &[&str]| words.iter().filter_map(|word| policy["calls"][*word].as_u64()).sum::<u64>().to_string();
        let state = if policy["quarantined"] == true { " (quarantined: it keeps failing)" } else { "" };
        rows.push([
            text("name"),
            text("version"),
            text("digest").chars().take(12).collect(),
            calls(&["allow"]),
            calls(&["deny"]),
            calls(&["pass"]),
            calls(&["trap", "deadline", "void", "refused"]),
            text("source") + state,
        ]);
    }
    table::print(&rows);
    Ok(Exit::Success)
}

fn reload(place: &Place, name: &str) -> Result<Exit, Failure> {
    let path = format!("/api/v1/policies/{}/reload", encoded(name));
    let answer = Remote::require(&place.data())?.must(Method::POST, &path, None)?;
    out::line(answer["message"].as_str().unwrap_or("done"));
    Ok(Exit::Success)
}

fn inspect(file: &Path, json: bool) -> Result<Exit, Failure> {
    let component = std::fs::read(file).map_err(|error| {
        Failure::new(format!("{} cannot be read: {}", file.display(), crate::plain(&error)), Exit::Failure)
    })?;
    let octets = component.len();
    let digest = portcullis_policy::digest_of(&component);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let generation = runtime.block_on(try_out(file, component))?;
    let abilities = generation.abilities();
    let says = generation.description();
    let value = json!({
        "file": file.display().to_string(),
        "digest": digest,
        "octets": octets,
        "exports": abilities.exports,
        "imports": abilities.imports,
        "wasi": abilities.wasi,
        "name": says.map(|says| says.name.as_str()),
        "version": says.map(|says| says.version.as_str()),
        "summary": says.map(|says| says.summary.as_str()),
        "schemes": says.map(|says| says.schemes.clone()),
        "methods": says.map(|says| says.methods.iter().map(|method| method.to_string()).collect::<Vec<_>>()),
    });
    if json {
        out::line(value);
        return Ok(Exit::Success);
    }
    let list = |value: &Value| match value {
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let keys =
        ["file", "digest", "octets", "name", "version", "summary", "schemes", "methods", "exports", "imports", "wasi"];
    table::print(&keys.map(|key| [key.to_owned(), list(&value[key])]));
    Ok(Exit::Success)
}

/// Loads a component with everything that a policy may be granted, over an empty directory in memory.
async fn try_out(file: &Path, component: Vec<u8>) -> Result<std::sync::Arc<Generation>, Failure> {
    let host = desk::host(None)?;
    let mut spec = PolicySpec::new("inspected", component, file.display().to_string());
    spec.allow = Allow {
        http: Some(vec!["localhost".to_owned()]),
        keyvalue: true,
        keys: Some(Vec::new()),
        directory: DirectoryAccess::Write,
    };
    host.load(spec).await.map_err(|error| match error.why {
        Fault::SelfTest(why) => Failure::new(
            format!("{} is a policy whose self-test needs a configuration: {why}", file.display()),
            Exit::Failure,
        ),
        why => Failure::new(format!("{} is not fit to be a policy: {why}", file.display()), Exit::Failure),
    })
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        let exit = if matches!(error, RemoteError::NotFound(_)) { Exit::NotFound } else { Exit::Failure };
        Self::new(error.to_string(), exit)
    }
}
