//! `portcullis policy precompile`: machine code for gateways that have no compiler, made on a desk and shipped to them.

use std::path::{Path, PathBuf};

use hyper::body::Bytes;
use portcullis_policy::{COMPILES, INDEX, Made, add, compile_to_vec, digest_of, engine_digest, full_name, word};

use super::{Exit, Failure, desk, out, table};
use crate::builtin;
use crate::config::Config;
use crate::policies;
use crate::supply::{Supply, short};

/// What is asked for.
pub(super) struct Options {
    /// Files, or `builtin:NAME`.
    pub(super) policies: Vec<String>,
    /// Whose policies are compiled.
    pub(super) config: Option<PathBuf>,
    /// What for. None: this very processor.
    pub(super) target: Option<String>,
    /// Where to.
    pub(super) out: PathBuf,
}

/// Compiles.
pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    if !COMPILES {
        let why =
            "this build of the gateway has no compiler: run `policy precompile` of a full build of the same version";
        return Err(Failure::new(why, Exit::Failure));
    }
    let failed = |why: String| Failure::new(why, Exit::Failure);
    let target = options.target.as_deref().map(full_name);
    // Before anything is compiled: whether it can be.
    let engine = engine_digest(target.as_deref()).map_err(failed)?;
    let mut made: Vec<Made> = Vec::new();
    for (origin, component) in components(options)? {
        let digest = digest_of(&component);
        if made.iter().any(|other| other.component == digest) {
            continue;
        }
        let code = compile_to_vec(&component, target.as_deref())
            .map_err(|why| failed(format!("{origin} does not compile: {why}")))?;
        made.push(Made { component: digest, origin, code });
    }
    let by = concat!("portcullis ", env!("CARGO_PKG_VERSION"));
    let target = target.unwrap_or_else(|| format!("{}-native", word(None)));
    add(&options.out, by, &target, &engine, &made).map_err(failed)?;
    let mut rows = vec![["POLICY", "DIGEST", "OCTETS"].map(str::to_owned)];
    rows.extend(
        made.iter().map(|one| [one.origin.clone(), short(&one.component).to_owned(), one.code.len().to_string()]),
    );
    table::print(&rows);
    let digest = digest_of(&std::fs::read(options.out.join(INDEX))?);
    out::line(format_args!("\nfor {target} in {}; its index: sha256:{digest}", options.out.display()));
    Ok(Exit::Success)
}

/// What is to be compiled, with where it comes from.
fn components(options: &Options) -> Result<Vec<(String, Bytes)>, Failure> {
    let mut found = Vec::new();
    for named in &options.policies {
        found.push((named.clone(), desk::component(named)?));
    }
    match &options.config {
        Some(file) => found.extend(configured(file)?),
        None if found.is_empty() => {
            for name in builtin::names() {
                let named = format!("builtin:{name}");
                let component = desk::component(&named)?;
                found.push((named, component));
            }
        }
        None => {}
    }
    Ok(found)
}

/// The policies that a configuration uses, as their sources have them now, trusted as it says.
fn configured(file: &Path) -> Result<Vec<(String, Bytes)>, Failure> {
    let config = Config::load(file).map_err(|report| Failure { words: report.to_string(), exit: Exit::Config })?;
    let supply = Supply::new(&config, None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut found = Vec::new();
        for entry in policies::used(&config).iter().filter_map(|name| policies::entry(&config, name)) {
            let component =
                supply.resolve(&entry).await.map_err(|error| Failure::new(error.to_string(), Exit::Failure))?;
            found.push((component.origin, component.bytes));
        }
        Ok(found)
    })
}
