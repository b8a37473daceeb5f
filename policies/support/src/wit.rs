//! The contract's types and imports as Rust. A policy's own bindings refer to the types here, so that all crates of
//! this workspace speak of the same ones. Interfaces that a policy does not call vanish from its component.
#![allow(missing_docs, unsafe_code, unused_qualifications, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    inline: "
        package portcullis:bundled-imports;
        world imports {
            include portcullis:policy/base@0.1.0;
            import portcullis:policy/jose@0.1.0;
            import portcullis:policy/store@0.1.0;
            import portcullis:policy/http-client@0.1.0;
            import portcullis:policy/directory@0.1.0;
            import portcullis:policy/directory-admin@0.1.0;
        }
    ",
    path: "../../wit",
    generate_all,
    additional_derives: [PartialEq],
});

pub use portcullis::policy::{
    clock, config, directory, directory_admin, http_client, jose, log, peer, random, store, types,
};
