//! What belongs to one instance of a policy while it lives: its generation's settings, the call it serves, its memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_grant::{PeerDetails, Sources};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::capability::{Capabilities, Spent, wasi};
use crate::contract::GRANTED;
use crate::inspect::granted;
use crate::pace::Place;
use crate::tape::Tape;
use crate::trap::Notes;

/// The data of a wasmtime store. Host interfaces are implemented on it.
pub(crate) struct State {
    /// Shared by all instances of the generation.
    pub(crate) with: Arc<Capabilities>,
    /// The call that is being served.
    pub(crate) call: Call,
    pub(crate) memory: MemoryMeter,
    /// What is noted in case the call fails.
    pub(crate) notes: Arc<Notes>,
    /// Where it goes on if it runs for long.
    pub(crate) place: Place,
    /// Made when first used: most policies import nothing of WASI.
    wasi: Option<Box<(WasiCtx, ResourceTable)>>,
}

/// One call into a policy.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) deadline: Instant,
    /// What `peer` answers from.
    pub(crate) details: Option<Arc<PeerDetails>>,
    /// Whose call it is, for counting wrong passwords.
    pub(crate) address: Option<IpAddr>,
    /// What is noted of what the host says, or said in its place.
    pub(crate) tape: Option<Arc<Tape>>,
    /// How new it was what the host interfaces answered.
    pub(crate) sources: Sources,
    /// What it has asked of other servers.
    pub(crate) http: Spent,
    /// Ticks that the guest has met.
    pub(crate) ticks: u32,
    /// While a policy describes itself it may use only what has no effects.
    pub(crate) describing: bool,
}

impl Call {
    pub(crate) fn within(deadline: Duration) -> Self {
        Self {
            deadline: Instant::now() + deadline,
            details: None,
            address: None,
            tape: None,
            sources: Sources::default(),
            http: Spent::default(),
            ticks: 0,
            describing: false,
        }
    }
}

impl State {
    pub(crate) fn new(with: Arc<Capabilities>, memory: usize, call: Call, notes: Arc<Notes>) -> Self {
        let meter = MemoryMeter { used: 0, limit: memory, notes: Arc::clone(&notes) };
        Self { with, call, memory: meter, notes, place: Place::default(), wasi: None }
    }

    /// A word of refusal for interfaces with effects while the policy only describes itself.
    /// Called by each of them first, also gives way to other guests: this one may be about to wait.
    pub(crate) fn barred(&self) -> Result<(), String> {
        self.place.leave();
        if self.call.describing {
            return Err("only `log`, `clock`, `random` and `config` may be used in `describe`".to_owned());
        }
        Ok(())
    }

    /// A word of refusal for an interface that is linked although the policy's entry does not grant it
    /// ([`crate::PolicySpec::optional`]).
    pub(crate) fn granted(&self, interface: &str) -> Result<(), String> {
        if granted(&self.with.allow, interface) {
            return Ok(());
        }
        let how = GRANTED.iter().find(|(name, _)| *name == interface).map_or("", |(_, how)| how);
        Err(format!("`{interface}` is not granted: add `{how}`"))
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.call.deadline.saturating_duration_since(Instant::now())
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // It may be about to sleep.
        self.place.leave();
        let (ctx, table) = &mut **self
            .wasi
            .get_or_insert_with(|| Box::new((wasi::empty(&self.with, &self.notes), ResourceTable::new())));
        WasiCtxView { ctx, table }
    }
}

/// The call's deadline has passed while the guest ran.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the deadline has passed")]
pub(crate) struct DeadlinePassed;

/// What a guest meets at each tick: it yields, so that others run, or ends. From the second one on it needs a place.
pub(crate) fn on_tick(state: &mut State) -> wasmtime::Result<UpdateDeadline> {
    if Instant::now() >= state.call.deadline {
        return Err(DeadlinePassed.into());
    }
    state.place.leave();
    state.call.ticks += 1;
    if state.call.ticks == 1 {
        // A tick comes at any time: whoever meets one need not have run for long.
        return Ok(UpdateDeadline::Yield(1));
    }
    let (place, places) = (state.place.clone(), state.with.places.clone());
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(place.take(places))))
}

/// Bounds the linear memories of an instance, all together.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    used: usize,
    limit: usize,
    /// Who is told that the instance wanted more: a trap that follows has this as its likely cause.
    notes: Arc<Notes>,
}

impl MemoryMeter {
    /// Octets that the instance has.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Octets that the instance may have.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.limit {
            self.notes.wants(used);
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Elements of 8 octets: large programs have some ten thousand.
        Ok(desired <= 1 << 17)
    }

    fn instances(&self) -> usize {
        64
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_count_together() {
        let mut meter = MemoryMeter { used: 0, limit: 100, notes: Arc::default() };
        assert!(meter.memory_growing(0, 60, None).expect("meter"));
        assert!(meter.memory_growing(0, 40, None).expect("meter"));
        assert!(!meter.memory_growing(40, 41, None).expect("meter"));
        assert!(!meter.memory_growing(0, usize::MAX, None).expect("meter"));
    }
}
