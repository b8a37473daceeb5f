//! The wasmtime engine: how guests are compiled, where their memory lies, and the clock that interrupts them.
//!
//! Two sets of settings are kept apart here. Those that decide what machine code looks like are the same in every
//! process ([`compile_settings`]), so that what a child process compiled, or another machine, can be loaded. Those that decide where
//! instances live are probed when the gateway starts: pooled if the address space allows, on demand otherwise.

use std::sync::Arc;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::target;
use crate::ticker::Ticker;

/// Address space set aside for one linear memory. The default of 4 GiB would save the guest its bounds checks and does
/// not fit a board with 39-bit addresses; the checks cost a policy next to nothing.
const MEMORY_RESERVATION: u64 = 128 << 20;
const MEMORY_GUARD: u64 = 64 << 10;
/// The same where all address space together is 4 GiB: a memory that outgrows it moves.
const NARROW_RESERVATION: u64 = 2 << 20;
/// Host functions run on the guest's stack too, and signature checks need some of it.
const GUEST_STACK: usize = 512 << 10;
const FIBER_STACK: usize = 2 << 20;
/// Octets of a memory, or table, that stay with an idle slot of the pool: what a small policy touches.
const KEPT: usize = 128 << 10;

/// How much the engine may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Instances of all policies that may live at one time, idle ones included. 16 to 4,096.
    pub instances: u32,
    /// The most memory that the `limits` of any policy may name, in octets. At most 128 MiB when instances are pooled.
    pub max_memory: usize,
    /// Try to pool instances. False: always on demand, at about twice the cost of a fresh instance.
    pub pooling: bool,
    /// Interpret policies, rather than run machine code of this processor. Where there is no code generator for it they are
    /// interpreted in any case.
    pub interpret: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { instances: 256, max_memory: MEMORY_RESERVATION as usize, pooling: true, interpret: false }
    }
}

/// The engine that all policies share.
#[derive(Clone)]
pub(crate) struct PolicyEngine {
    engine: Engine,
    ticker: Arc<Ticker>,
    compatibility: Arc<str>,
    pooled: bool,
    max_memory: usize,
    target: Option<&'static str>,
}

impl PolicyEngine {
    /// Makes the engine, with the largest pool that the address space has room for.
    pub(crate) fn new(options: EngineOptions) -> Result<Self, String> {
        let target = target::of_engine(options.interpret);
        let settings = || compile_settings(target);
        let mut instances = options.instances.clamp(16, 4096);
        // With 32-bit addresses there is no room for the smallest pool.
        let pooling = options.pooling && cfg!(target_pointer_width = "64");
        let pooled = loop {
            if !pooling || instances < 16 {
                break None;
            }
            let mut config = settings()?;
            config.allocation_strategy(pool(instances, options.max_memory.min(MEMORY_RESERVATION as usize)));
            match Engine::new(&config) {
                Ok(engine) => break Some(engine),
                Err(why) => {
                    tracing::debug!(instances, "no room for a pool of policy instances: {why:#}");
                    instances /= 4;
                }
            }
        };
        let is_pooled = pooled.is_some();
        let engine = match pooled {
            Some(engine) => engine,
            None => {
                if options.pooling {
                    tracing::info!(
                        "the address space is too small to pool policy instances; each is allocated when needed"
                    );
                }
                Engine::new(&settings()?).map_err(|why| format!("{why:#}"))?
            }
        };
        Ok(Self {
            ticker: Arc::new(Ticker::start(engine.clone()).map_err(|why| why.to_string())?),
            compatibility: compatibility(&engine).into(),
            target,
            pooled: is_pooled,
            max_memory: if is_pooled {
                options.max_memory.min(MEMORY_RESERVATION as usize)
            } else {
                options.max_memory
            },
            engine,
        })
    }

    pub(crate) fn wasmtime(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn ticker(&self) -> &Arc<Ticker> {
        &self.ticker
    }

    /// Compiled code is good for every engine that says the same. 32 hexadecimal digits.
    pub(crate) fn compatibility(&self) -> &Arc<str> {
        &self.compatibility
    }

    /// What its code is for. None: this very processor.
    pub(crate) fn target(&self) -> Option<&'static str> {
        self.target
    }

    pub(crate) fn pooled(&self) -> bool {
        self.pooled
    }

    pub(crate) fn max_memory(&self) -> usize {
        self.max_memory
    }
}

/// What decides the compiled code. Every process of one build uses exactly these, and every machine for one target.
pub(crate) fn compile_settings(target: Option<&str>) -> Result<Config, String> {
    let mut config = Config::new();
    if let Some(target) = target {
        config.target(target).map_err(|why| format!("{target:?} is no target: {why:#}"))?;
    }
    config
        .epoch_interruption(true)
        // A component call costs four times as much with it, and no policy is asynchronous inside.
        .concurrency_support(false)
        .memory_reservation(if target::is_narrow(target) { NARROW_RESERVATION } else { MEMORY_RESERVATION })
        .memory_guard_size(MEMORY_GUARD)
        .memory_reservation_for_growth(0)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(FIBER_STACK);
    Ok(config)
}

fn pool(instances: u32, max_memory: usize) -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::default();
    // A component of a scripting language is more than twenty core instances with tables of their own. There is room for as
    // many of each as the instances may have at most: one policy's appetite takes nothing from another's share.
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(64))
        .total_memories(instances.saturating_mul(4))
        .total_tables(instances.saturating_mul(64))
        .total_stacks(instances.saturating_mul(2))
        .max_core_instances_per_component(64)
        .max_memories_per_component(4)
        .max_tables_per_component(64)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(1 << 20)
        .table_elements(20_000)
        .max_memory_size(max_memory)
        // What was used once is not kept mapped for long: idle memory is a figure that we show.
        .max_unused_warm_slots(16);
    // What a call leaves behind is wiped where it lies, rather than given back to the system and faulted in again by the
    // next instance. Only where the system tells which pages those are (Linux 6.7): wiping all would cost more than it saves.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(KEPT).table_keep_resident(KEPT);
    }
    InstanceAllocationStrategy::Pooling(pool)
}

/// A digest of what wasmtime says decides compatibility; the standard hasher differs between builds of Rust.
#[cfg(feature = "compiler")]
pub(crate) fn compatibility(engine: &Engine) -> String {
    use sha2::{Digest, Sha256};
    use std::hash::{Hash, Hasher};

    struct Feed(Sha256);
    impl Hasher for Feed {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut feed = Feed(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut feed);
    let digest = feed.0.finalize();
    crate::digest::hex(&digest[..16])
}

/// Without a compiler there is nothing to keep, and so nothing to tell apart.
#[cfg(not(feature = "compiler"))]
fn compatibility(_: &Engine) -> String {
    String::new()
}
