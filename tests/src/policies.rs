//! Components for tests: hostile ones, and harmless variants of good ones.
//!
//! Hostile policies are written in WebAssembly text over the real contract in `wit/`, so that they differ from a good
//! policy in exactly the one thing that they are bad at.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::binary::root;

/// Memory, an allocator that never frees, and a place for results at 16.
const FRAME: &str = r#"
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
    (global.set $free (i32.add (local.get $at) (local.get $new)))
    (block $enough
      (br_if $enough (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $new) (i32.const 16))))))
    (local.get $at))
"#;

pub(crate) const AUTHENTICATE: &str =
    r#"(func (export "portcullis:policy/authentication@VERSION#authenticate") (param i32) (result i32)"#;

/// `pass`: the third case of `verdict`.
const PASS: &str = "(i32.store8 (i32.const 16) (i32.const 2)) (i32.const 16)";

/// The version that the contract in `wit/` has now.
#[must_use]
pub fn contract_version() -> String {
    let text = std::fs::read_to_string(root().join("wit/worlds.wit")).expect("wit/worlds.wit");
    let line = text.lines().find(|line| line.starts_with("package ")).expect("a package declaration");
    line.rsplit_once('@').expect("a version").1.trim_end_matches(';').to_owned()
}

/// Makes a component of this core module, for a world of the contract described by `world` (WIT items).
pub(crate) fn component(world: &str, module: &str) -> Vec<u8> {
    component_for(&contract_version(), world, module)
}

fn component_for(version: &str, world: &str, module: &str) -> Vec<u8> {
    let current = contract_version();
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let mut sources = String::new();
    let mut files: Vec<_> =
        std::fs::read_dir(root().join("wit")).expect("wit/").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wit"));
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a file of the contract");
        // One file holds one package: the declarations of the others would be repeated.
        let lines = text.lines().filter(|line| !line.starts_with("package "));
        sources.extend(lines.flat_map(|line| [line, "\n"]));
    }
    // A later version of the contract would gate its items by later versions; an earlier reader must not mind.
    let sources =
        if version == current { sources } else { sources.replace(&format!("version = {current}"), "version = 0.0.1") };
    resolve
        .push_str("contract.wit", &format!("package portcullis:policy@{version};\n{sources}"))
        .expect("the contract parses");
    let world = world.replace("VERSION", version);
    let package = resolve
        .push_str("test.wit", &format!("package portcullis:tests;\nworld test {{ {world} }}"))
        .expect("the test's world parses");
    encode(&resolve, package, &module.replace("VERSION", version))
}

fn encode(resolve: &Resolve, package: wit_parser::PackageId, module: &str) -> Vec<u8> {
    let world = resolve.select_world(&[package], Some("test")).expect("the world `test`");
    let mut module = wat::parse_str(module).expect("the module is WebAssembly text");
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).expect("metadata");
    ComponentEncoder::default().module(&module).expect("a module").encode().expect("a component")
}

const AUTHENTICATOR: &str = "export portcullis:policy/authentication@VERSION;";

/// A policy whose `authenticate` has this body (WebAssembly text that leaves the address of a verdict).
#[must_use]
pub fn authenticating(body: &str) -> Vec<u8> {
    component(AUTHENTICATOR, &format!("(module {FRAME} {AUTHENTICATE} {body}))"))
}

/// Passes on everything: harmless and useless.
#[must_use]
pub fn passing() -> Vec<u8> {
    authenticating(PASS)
}

/// Refuses everybody: `bad-credentials`, without words.
#[must_use]
pub fn denying() -> Vec<u8> {
    // `deny` is the second case of `verdict`; its record is aligned to eight octets, and its first member is the reason.
    authenticating("(i32.store8 (i32.const 16) (i32.const 1)) (i32.const 16)")
}

/// SHA-256 of a component, as the gateway writes it.
#[must_use]
pub fn digest(component: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(component).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Traps at each call of `authenticate`; loads well.
#[must_use]
pub fn trapping() -> Vec<u8> {
    authenticating("unreachable")
}

/// Never returns from `authenticate`; loads well.
#[must_use]
pub fn looping() -> Vec<u8> {
    authenticating("(loop $again (br $again)) unreachable")
}

/// Takes all the memory that it gets, then passes.
#[must_use]
pub fn hungry() -> Vec<u8> {
    authenticating(&format!(
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable {PASS}"
    ))
}

/// Traps as soon as it is instantiated.
#[must_use]
pub fn trapping_at_start() -> Vec<u8> {
    let start = "(func $start unreachable) (start $start)";
    component(AUTHENTICATOR, &format!("(module {FRAME} {start} {AUTHENTICATE} {PASS}))"))
}

/// Loops for ever as soon as it is instantiated.
#[must_use]
pub fn looping_at_start() -> Vec<u8> {
    let start = "(func $start (loop $again (br $again))) (start $start)";
    component(AUTHENTICATOR, &format!("(module {FRAME} {start} {AUTHENTICATE} {PASS}))"))
}

/// With a self-test that has this body (WebAssembly text that leaves the address of its result).
fn self_testing(body: &str) -> Vec<u8> {
    // `describe` answers with the name `test`, version `1.0.0`, and nothing else.
    let descriptor = format!(
        r#"(data (i32.const 256) "test1.0.0the canary is dead")
        (func (export "portcullis:policy/descriptor@VERSION#describe") (result i32)
          (i32.store (i32.const 64) (i32.const 256)) (i32.store (i32.const 68) (i32.const 4))
          (i32.store (i32.const 72) (i32.const 260)) (i32.store (i32.const 76) (i32.const 5))
          (i32.const 64))
        (func (export "portcullis:policy/descriptor@VERSION#self-test") (result i32) {body})"#
    );
    component(
        "export portcullis:policy/authentication@VERSION; export portcullis:policy/descriptor@VERSION;",
        &format!("(module {FRAME} {descriptor} {AUTHENTICATE} {PASS}))"),
    )
}

/// A self-test that says that the canary is dead.
#[must_use]
pub fn failing_self_test() -> Vec<u8> {
    self_testing(
        "(i32.store8 (i32.const 32) (i32.const 1))
         (i32.store (i32.const 36) (i32.const 265)) (i32.store (i32.const 40) (i32.const 18)) (i32.const 32)",
    )
}

/// A self-test that is content.
#[must_use]
pub fn passing_self_test() -> Vec<u8> {
    self_testing("(i32.store8 (i32.const 32) (i32.const 0)) (i32.const 32)")
}

/// A self-test that traps.
#[must_use]
pub fn trapping_self_test() -> Vec<u8> {
    self_testing("unreachable")
}

/// A self-test that never returns.
#[must_use]
pub fn looping_self_test() -> Vec<u8> {
    self_testing("(loop $again (br $again)) unreachable")
}

/// Imports `jose`, which must be granted.
#[must_use]
pub fn wanting_jose() -> Vec<u8> {
    wanting("jose", r#""public-keys" (func (param i32 i32 i32))"#)
}

/// Imports `store`, which must be granted.
#[must_use]
pub fn wanting_store() -> Vec<u8> {
    wanting("store", r#""get" (func (param i32 i32 i32))"#)
}

/// Imports `http-client`, which must be granted.
#[must_use]
pub fn wanting_directory() -> Vec<u8> {
    wanting("directory", r#""is-revoked" (func (param i32 i32 i32))"#)
}

fn wanting(interface: &str, import: &str) -> Vec<u8> {
    component(
        &format!("import portcullis:policy/{interface}@VERSION; {AUTHENTICATOR}"),
        &format!(
            r#"(module (import "portcullis:policy/{interface}@VERSION" {import}) {FRAME} {AUTHENTICATE} {PASS}))"#
        ),
    )
}

/// Well made for a later version of the contract.
#[must_use]
pub fn of_another_version() -> Vec<u8> {
    component_for("7.0.0", AUTHENTICATOR, &format!("(module {FRAME} {AUTHENTICATE} {PASS}))"))
}

/// A component that has nothing to do with policies.
#[must_use]
pub fn of_another_world() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str("test.wit", "package elsewhere:things; world test { export run: func() -> u32; }")
        .expect("a world");
    encode(&resolve, package, r#"(module (func (export "run") (result i32) (i32.const 42)))"#)
}

/// A core module, not wrapped as a component.
#[must_use]
pub fn core_module() -> Vec<u8> {
    wat::parse_str(r#"(module (func (export "authenticate") (result i32) (i32.const 2)))"#).expect("a module")
}

/// No WebAssembly at all.
#[must_use]
pub fn garbage() -> Vec<u8> {
    b"#!/bin/sh\necho I am not a policy\n".to_vec()
}

/// A bundled policy's component, from `policies/prebuilt/`, or from `PORTCULLIS_TEST_POLICIES` if `tests/run` has
/// built them afresh.
///
/// # Panics
/// When there is none of this name.
#[must_use]
pub fn bundled(name: &str) -> Vec<u8> {
    let directory = match std::env::var_os("PORTCULLIS_TEST_POLICIES") {
        Some(directory) => directory.into(),
        None => root().join("policies/prebuilt"),
    };
    let path = directory.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The same component with another digest: a custom section more, which changes nothing.
#[must_use]
pub fn variant(component: &[u8], number: u32) -> Vec<u8> {
    let mut out = component.to_vec();
    let name = b"variant";
    out.extend([0, (1 + name.len() + 4) as u8, name.len() as u8]);
    out.extend(name);
    out.extend(number.to_le_bytes());
    out
}
