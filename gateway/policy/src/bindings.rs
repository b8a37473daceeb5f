//! What wasmtime generates from the contract.
//!
//! The gateway's side of an interface is a trait that [`crate::capability`] implements, one file each. Imports that may
//! wait (for keys, the disk, another server, argon2) are `async` and suspend the guest's fiber; the others are plain calls.

#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "full",
    imports: {
        "portcullis:policy/jose": async,
        "portcullis:policy/store": async,
        "portcullis:policy/http-client": async,
        "portcullis:policy/directory": async,
        "portcullis:policy/directory-admin": async,
        "portcullis:policy/random": trappable,
    },
    exports: { default: async },
});
