//! Machine code becomes a component of this process: mapped from the cache, or copied. The only unsafe code of this room, since
//! whatever comes this way runs with the gateway's rights.

use wasmtime::component::Component;

use crate::cache::{CodeCache, Verified};
use crate::engine::PolicyEngine;

/// What a cache has for a component, loaded. None: nothing of use.
pub(crate) fn cached(cache: &CodeCache, digest: &str, engine: &PolicyEngine) -> Option<Component> {
    let code = cache.load(digest, engine.compatibility()).ok()?;
    // Not everywhere: on file systems that hold no programs (`noexec`), and where there is no /proc.
    let loaded = map_code(engine, &code).or_else(|why| {
        tracing::debug!("compiled code cannot be mapped and is read: {why}");
        load_code(engine, &code.read().map_err(|why| why.to_string())?)
    });
    match loaded {
        Ok(component) => Some(component),
        Err(why) => {
            tracing::warn!("compiled code in the cache is of no use and is made again: {why}");
            cache.forget(digest, engine.compatibility());
            None
        }
    }
}

/// Maps machine code from the cache into this process. What never runs is never in memory, and what is in memory is the
/// system's to take and to read again.
fn map_code(engine: &PolicyEngine, code: &Verified) -> Result<Component, String> {
    // SAFETY: wasmtime runs what is in this file, so it must be what wasmtime compiled, and stay that. It was verified by an
    // HMAC that only this gateway's key makes over exactly this code, this component and this engine; the path leads to the
    // open file that was verified, not to whatever has its name now. Nobody writes to it: the cache replaces files by
    // renaming, and makes them read-only. Whoever has the rights to write to it anyway has those to read the key, to
    // replace the gateway's binary, or to write to its memory. wasmtime itself checks version, settings and target.
    #[allow(unsafe_code)]
    let component = unsafe { Component::deserialize_file(engine.wasmtime(), code.path()) };
    component.map_err(|why| format!("{why:#}"))
}

/// Copies machine code into this process.
pub(crate) fn load_code(engine: &PolicyEngine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: as above. The code comes from `Compiler`, which is this very program (in a child or in-process), from a file
    // of the cache that was verified, or from `Precompiled::load`, which verified that these octets are what an index says
    // that the operator trusts. Those are copied and never mapped: operators write into that directory.
    #[allow(unsafe_code)]
    let component = unsafe { Component::deserialize(engine.wasmtime(), code) };
    component.map_err(|why| format!("{why:#}"))
}
