//! Components for tests: bundled ones with harmless variants, and others that are written in WebAssembly text over the real
//! contract in `wit/`, so that a bad policy differs from a good one in exactly the one thing that it is bad at.

pub mod answers;
mod filtering;
mod misbehaving;
mod storing;
mod unfit;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::binary::root;
pub use filtering::filtering;
pub use misbehaving::{hostile, hungry, looping, looping_sometimes, trapping};
pub use storing::{counting, first_only, once, ticketing};
pub use unfit::{
    core_module, failing_self_test, garbage, looping_at_start, looping_self_test, of_another_version, of_another_world,
    passing_self_test, trapping_at_start, trapping_self_test, wanting_directory, wanting_jose, wanting_store,
};

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

/// A policy that imports functions of one interface. `imports` are WebAssembly text such as `"now" (func $now (result
/// i64))`, `data` lies at 512, and `authenticate` has this body.
#[must_use]
pub fn calling(interface: &str, imports: &[&str], data: &str, body: &str) -> Vec<u8> {
    let imports: String =
        imports.iter().map(|import| format!(r#"(import "portcullis:policy/{interface}@VERSION" {import})"#)).collect();
    component(
        &format!("import portcullis:policy/{interface}@VERSION; {AUTHENTICATOR}"),
        &format!(r#"(module {imports} {FRAME} (data (i32.const 512) "{data}") {AUTHENTICATE} {body}))"#),
    )
}

/// Refuses everybody, and tells them which HTTP request it was asked about: method, host with path, and query.
#[must_use]
pub fn telling() -> Vec<u8> {
    // The request's members, each a pointer and a length, begin behind the option's octet at 256.
    let copy = |at: u32| {
        format!(
            "(memory.copy (local.get $end) (i32.load (i32.const {at})) (i32.load (i32.const {length})))
             (local.set $end (i32.add (local.get $end) (i32.load (i32.const {length}))))",
            length = at + 4
        )
    };
    let put = |octet: char| {
        format!(
            "(i32.store8 (local.get $end) (i32.const {})) (local.set $end (i32.add (local.get $end) (i32.const 1)))",
            octet as u32
        )
    };
    let body = format!(
        "(local $end i32) (local.set $end (i32.const 1024)) (call $request (i32.const 256))
         {method} {blank} {authority} {path}
         (if (i32.load8_u (i32.const 284)) (then {mark} {query}))
         (local.set $end (i32.sub (local.get $end) (i32.const 1024)))
         (i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 24) (i32.const 1))
         (i32.store (i32.const 28) (i32.const 1024)) (i32.store (i32.const 32) (local.get $end))
         (i32.store8 (i32.const 36) (i32.const 1))
         (i32.store (i32.const 40) (i32.const 1024)) (i32.store (i32.const 44) (local.get $end))
         (i32.const 16)",
        method = copy(260),
        authority = copy(268),
        path = copy(276),
        query = copy(288),
        blank = put(' '),
        mark = put('?'),
    );
    calling("peer", &[r#""get-http-request" (func $request (param i32))"#], "", &body)
}
