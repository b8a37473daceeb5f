//! The host's half of `policies/build`: wraps core modules into components, and keeps the manifest by which a stale
//! prebuilt component is noticed. It must not know how a core module is compiled.
//!
//! ```text
//! policy-builder wrap ROOT CORE-DIR OUT-DIR RUSTC   wrap every policy's core module, write OUT-DIR/manifest.json
//! policy-builder check ROOT DIR                     compare DIR/manifest.json with the sources and the components
//! ```
//! `ROOT` is the repository. `RUSTC` is the version line of the compiler, kept in the manifest because the octets of a
//! component depend on it.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command: its output is what it is for.

mod manifest;
mod sources;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use wit_component::ComponentEncoder;

use manifest::{Entry, Manifest};

/// The bundled policies: the names of their folders.
const POLICIES: [&str; 6] = ["anonymous", "api-key", "device", "jwt", "keystone", "layer"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["wrap", root, cores, out, rustc] => wrap(Path::new(root), Path::new(cores), Path::new(out), rustc),
        ["check", root, directory] => check(Path::new(root), Path::new(directory)),
        _ => Err("usage: policy-builder wrap ROOT CORE-DIR OUT-DIR RUSTC | check ROOT DIR".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("policies/build: {error}");
            ExitCode::FAILURE
        }
    }
}

fn wrap(root: &Path, cores: &Path, out: &Path, rustc: &str) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(out).map_err(|error| format!("cannot make {}: {error}", out.display()))?;
    let version = sources::version(root)?;
    let mut entries = Vec::new();
    for name in POLICIES {
        let core = cores.join(format!("policy_{}.wasm", name.replace('-', "_")));
        let module = std::fs::read(&core).map_err(|error| format!("cannot read {}: {error}", core.display()))?;
        let component = ComponentEncoder::default()
            .validate(true)
            .module(&module)
            .and_then(|encoder| encoder.encode())
            .map_err(|error| format!("cannot make a component of {name}: {error:#}"))?;
        let entry = Entry {
            name: name.to_owned(),
            version: version.clone(),
            size: component.len() as u64,
            sha256: sources::hexadecimal(&component),
            sources: sources::digest(root, name)?,
        };
        let file = out.join(entry.file());
        std::fs::write(&file, &component).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        println!("{name}: {} octets, sha256 {}", entry.size, entry.sha256);
        entries.push(entry);
    }
    Manifest { rustc: rustc.to_owned(), policies: entries }.write(out)
}

fn check(root: &Path, directory: &Path) -> Result<(), Box<dyn Error>> {
    let manifest = Manifest::read(directory)?;
    let mut faults = Vec::new();
    for name in POLICIES {
        let Some(entry) = manifest.policies.iter().find(|entry| entry.name == name) else {
            faults.push(format!("{name} is not in the manifest"));
            continue;
        };
        if entry.sources != sources::digest(root, name)? {
            faults.push(format!("{name} is stale: its sources changed after it was built"));
        }
        match std::fs::read(directory.join(entry.file())) {
            Err(error) => faults.push(format!("{} cannot be read: {error}", entry.file())),
            Ok(component) if sources::hexadecimal(&component) != entry.sha256 => {
                faults.push(format!("{} is not the component that the manifest describes", entry.file()));
            }
            Ok(_) => {}
        }
    }
    for entry in &manifest.policies {
        if !POLICIES.contains(&entry.name.as_str()) {
            faults.push(format!("the manifest has {}, which is no bundled policy", entry.name));
        }
    }
    if faults.is_empty() {
        println!("the prebuilt policies are those of these sources");
        return Ok(());
    }
    Err(format!("{}; run policies/build and commit policies/prebuilt", faults.join("; ")).into())
}
