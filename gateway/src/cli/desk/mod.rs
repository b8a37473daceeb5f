//! The desk: what somebody who writes a policy does with it before production. Everything here runs the production host;
//! the rooms behind it are in memory, and what stands outside is played.
//!
//! `cases` and `scene` read what a file of cases says, `world` makes rooms of it, `play` puts the questions, `shown` and
//! `compare` say what came of it.

pub(super) mod bench;
mod cases;
mod compare;
pub(super) mod inspect;
pub(super) mod new;
mod play;
mod read;
pub(super) mod record;
pub(super) mod replay;
mod scene;
mod shown;
mod subject;
pub(super) mod test;
pub(super) mod wit;
mod world;

use std::sync::Arc;

use hyper::body::Bytes;
use portcullis_identity::{Directory, DirectoryOptions, Keyring};
use portcullis_policy::{COMPILES, Compiler, EngineOptions, Host, HostOptions, InProcess, Services};
use portcullis_store::{Clock, Options, Store};

use super::serve::DATA;
use super::{Exit, Failure};
use crate::assemble::named_keys;
use crate::config::Config;
use crate::supply;

/// The octets of what the command line names: a file, or `builtin:NAME`.
pub(super) fn component(named: &str) -> Result<Bytes, Failure> {
    Ok(subject::Subject::read(named)?.component)
}

/// A host that knows the keys of a configuration, if there is one, and nobody. Policies are compiled or not as it says.
pub(super) fn host(config: Option<&Config>) -> Result<Host, Failure> {
    let compiles = config.map_or(COMPILES, |config| config.engine.compile);
    let host = host_with(config, compiles.then(|| Arc::new(InProcess) as _))?;
    if let Some(config) = config {
        let data = config.data.clone().unwrap_or_else(|| DATA.into());
        host.use_precompiled(supply::precompiled(config, &data));
    }
    Ok(host)
}

/// The same with a compiler.
fn host_with(config: Option<&Config>, compiler: Option<Arc<dyn Compiler>>) -> Result<Host, Failure> {
    fn failed(error: impl std::error::Error) -> Failure {
        Failure::new(error.to_string(), Exit::Failure)
    }
    let store = Store::in_memory(Options::default()).map_err(failed)?;
    let directory = Directory::open(store.clone(), DirectoryOptions::default()).map_err(failed)?;
    let keys = config.map(named_keys).unwrap_or_default();
    // A key that cannot be used is a fault of the configuration.
    let keyring = Keyring::open(store.clone(), Clock::system(), &keys)
        .map_err(|error| Failure::new(format!("the keys cannot be used: {error}"), Exit::Config))?;
    let services =
        Services { store: Some(store), directory: Some(directory), keyring: Some(keyring), ..Services::default() };
    let interpret = config.is_some_and(|config| config.engine.interpret);
    let engine = EngineOptions { interpret, ..EngineOptions::default() };
    Host::new(HostOptions { services, compiler, engine, ..HostOptions::default() }).map_err(failed)
}
