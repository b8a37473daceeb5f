//! The policy host: everything between the gateway's [`Gatekeeper`](portcullis_grant::Gatekeeper) and a WebAssembly
//! component that decides.
//!
//! An operator names a policy ([`PolicySpec`]). [`Host::load`] compiles it (in another process, or finds the machine code
//! on disk), reads what it imports and exports, links what it was granted and nothing else, starts it, and has it test
//! itself: out comes a [`Generation`]. A [`Policy`] is the named slot in which one generation is live; swapping is one
//! pointer, and calls under way end on the generation that they began with. A [`Chain`] is the policies of a listener
//! in order, and is what the connection loop holds.
//!
//! Every call has a budget: memory, and one wall-clock deadline over guest and host time together. A call that fails
//! refuses the client and throws the instance away; a policy that keeps failing is left alone for a while.
//!
//! This room knows nothing of sessions, of sockets of clients, or of how configuration is written.

mod anatomy;
mod bindings;
mod cache;
mod call;
mod capability;
mod chain;
mod code;
mod compile;
mod contract;
mod convert;
mod digest;
mod engine;
mod filters;
mod generation;
mod host;
mod inspect;
mod instance;
mod load;
mod mask;
mod outside;
mod pace;
mod policy;
mod pool;
mod precompiled;
mod quarantine;
mod recorder;
mod services;
mod shadow;
mod spec;
mod state;
mod stats;
mod tally;
mod tape;
mod target;
mod ticker;
mod trap;
mod uses;
mod verdict;

pub use anatomy::Anatomy;
pub use call::CallError;
pub use chain::Chain;
pub use code::MachineCode;
pub use compile::{COMPILES, ChildProcess, Compiler, InProcess, compile_to_vec};
pub use contract::{WIT, contract_version, granting_line};
pub use digest::digest_of;
pub use engine::EngineOptions;
pub use filters::Filter;
pub use generation::{Generation, Loading, Replayed};
pub use host::{Host, HostError, HostOptions};
pub use inspect::Abilities;
pub use outside::{Asked, Ear, NoAnswer, Outside, Randomness, Seed, Servers};
pub use policy::Policy;
pub use precompiled::{Check, Entry, INDEX, Index, Made, Precompiled, add, engine_digest};
pub use recorder::{Fetched, Recorder, RecordingOptions};
pub use services::{QuarantineWitness, Services};
pub use shadow::{Comparison, Difference, Shadow, ShadowReport, Share};
pub use spec::{Allow, Description, DirectoryAccess, Fault, LoadError, PolicyLimits, PolicySpec};
pub use stats::{CallOutcome, Figures, LATENCY_BOUNDS_US, LastError, Stats};
pub use tally::Score;
pub use tape::Told;
pub use target::{INTERPRETED, full_name, word};
pub use trap::Late;
pub use uses::{HttpOutcome, InstanceEvent, Limit, TrapKind, UseFigures, Uses};
