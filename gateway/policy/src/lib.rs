//! The policy host: wasmtime engine, instance pool, host interfaces, chains, generations, grants.
