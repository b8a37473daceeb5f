//! Components for tests: hostile ones, and harmless variants of good ones.
//!
//! Hostile policies are written in WebAssembly text over the real contract in `wit/`, so that they differ from a good
//! policy in exactly the one thing that they are bad at.

pub mod answers;

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

/// Passes once in four times, by chance, and else never returns: it answers too often to be left alone.
#[must_use]
pub fn looping_sometimes() -> Vec<u8> {
    let body = format!(
        "(call $bytes (i32.const 1) (i32.const 64))
         (if (i32.and (i32.load8_u (i32.load (i32.const 64))) (i32.const 3)) (then (loop $again (br $again)))) {PASS}"
    );
    calling("random", &[r#""bytes" (func $bytes (param i32 i32))"#], "", &body)
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

/// Text that leaves a denial with this reason (its position in the contract's `deny-reason`).
fn refusal(reason: u8) -> String {
    format!("(i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 24) (i32.const {reason})) (i32.const 16)")
}

const SET: &str = r#""set" (func $set (param i32 i32 i32 i32 i32 i32 i32))"#;
const SET_IF_ABSENT: &str = r#""set-if-absent" (func $set-if-absent (param i32 i32 i32 i32 i32 i32 i32))"#;
const TAKE: &str = r#""take" (func $take (param i32 i32 i32))"#;
const INCREMENT: &str = r#""increment" (func $increment (param i32 i32 i64 i32 i32 i32))"#;

/// Passes so many times, and refuses with `rate-exceeded` from then on, whichever instance is asked: a rate limiter whose
/// window is an hour.
#[must_use]
pub fn counting(most: u32) -> Vec<u8> {
    let denied = refusal(6);
    let body = format!(
        "(call $increment (i32.const 512) (i32.const 5) (i64.const 1) (i32.const 1) (i32.const 3600) (i32.const 64))
         (if (result i32) (i32.or (i32.load8_u (i32.const 64)) (i64.gt_s (i64.load (i32.const 72)) (i64.const {most})))
           (then {denied}) (else {PASS}))"
    );
    calling("store", &[INCREMENT], "count", &body)
}

/// Stores a ticket and passes.
#[must_use]
pub fn ticketing() -> Vec<u8> {
    let body = format!(
        "(call $set (i32.const 512) (i32.const 6) (i32.const 512) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 64)) {PASS}"
    );
    calling("store", &[SET], "ticket", &body)
}

/// Takes the ticket and passes; refuses with `bad-credentials` when there is none: a token that is good once.
#[must_use]
pub fn once() -> Vec<u8> {
    let denied = refusal(0);
    let body = format!(
        "(call $take (i32.const 512) (i32.const 6) (i32.const 64))
         (if (result i32) (i32.or (i32.load8_u (i32.const 64)) (i32.eqz (i32.load8_u (i32.const 68))))
           (then {denied}) (else {PASS}))"
    );
    calling("store", &[TAKE], "ticket", &body)
}

/// Passes for whoever comes first, and refuses with `banned` from then on.
#[must_use]
pub fn first_only() -> Vec<u8> {
    let denied = refusal(4);
    let body = format!(
        "(call $set-if-absent (i32.const 512) (i32.const 5) (i32.const 512) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 64))
         (if (result i32) (i32.or (i32.load8_u (i32.const 64)) (i32.eqz (i32.load8_u (i32.const 68))))
           (then {denied}) (else {PASS}))"
    );
    calling("store", &[SET_IF_ABSENT], "first", &body)
}

/// Policies that load well and do one bad thing when they are asked, by name. `silent` is the address of a server that
/// never answers.
#[must_use]
pub fn hostile(silent: std::net::SocketAddr) -> Vec<(&'static str, Vec<u8>)> {
    let verdict = |detail: &str| {
        authenticating(&format!(
            "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 24) (i32.const 0)) {detail} (i32.const 16)"
        ))
    };
    let at = |pointer: u32, length: u32| {
        format!("(i32.store (i32.const 28) (i32.const {pointer})) (i32.store (i32.const 32) (i32.const {length}))")
    };
    let url = format!("http://{silent}/");
    let send = r#""send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32))"#;
    let request = |path: &str| {
        format!(
            "{path} (call $send (i32.const 512) (i32.const 3) (i32.const 515) (i32.const {}) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))",
            url.len() + 1
        )
    };
    // Another path each time, so that no request is shared.
    let another = format!(
        "(i32.store8 (i32.const {at}) (i32.add (i32.const 65) (i32.and (i32.add (i32.load8_u (i32.const {at})) (i32.const 1)) (i32.const 15))))",
        at = 515 + url.len()
    );
    let data = format!("GET{url}A");
    // To a host that it may not reach: each is answered at once.
    let storm = "(loop $again
        (call $send (i32.const 512) (i32.const 3) (i32.const 515) (i32.const 19) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))
        (br $again)) unreachable"
        .to_owned();
    let write = r#""write" (func $write (param i32 i32 i32))"#;
    // First under the client's own name: who is late with the second has stored something all the same.
    let grow = "(call $set (i32.load offset=120 (local.get 0)) (i32.load offset=124 (local.get 0)) (i32.const 1024)
        (i32.const 60000) (i32.const 0) (i32.const 0) (i32.const 64))
      (loop $again
        (i64.store (i32.const 512) (i64.add (i64.load (i32.const 512)) (i64.const 0x0101)))
        (i64.store (i32.const 512) (i64.and (i64.load (i32.const 512)) (i64.const 0x7f7f7f7f7f7f7f7f)))
        (call $set (i32.const 512) (i32.const 8) (i32.const 1024) (i32.const 60000) (i32.const 0) (i32.const 0) (i32.const 64))
        (br $again)) unreachable";
    vec![
        ("an endless loop", looping()),
        ("a memory bomb", hungry()),
        ("a trap", trapping()),
        (
            "deep recursion",
            component(
                AUTHENTICATOR,
                &format!(
                    "(module {FRAME} (func $deep (result i32) (i32.add (call $deep) (i32.const 1))) {AUTHENTICATE} (call $deep)))"
                ),
            ),
        ),
        (
            "text that is not UTF-8",
            calling(
                "clock",
                &[],
                "\\ff\\fe",
                &format!("(i32.store8 (i32.const 16) (i32.const 1)) {} (i32.const 16)", at(512, 2)),
            ),
        ),
        ("a text of 12 MiB", verdict(&format!("(drop (memory.grow (i32.const 200))) {}", at(4096, 12 << 20)))),
        ("a pointer beyond its memory", verdict(&at(0xffff_fff0, 100))),
        ("a length beyond its memory", verdict(&at(512, 0x7fff_ffff))),
        ("an enum that there is not", verdict("(i32.store8 (i32.const 24) (i32.const 200))")),
        ("a verdict that there is not", authenticating("(i32.store8 (i32.const 16) (i32.const 77)) (i32.const 16)")),
        ("an answer beyond its memory", authenticating("(i32.const 0xfffffff0)")),
        ("an answer at an odd address", authenticating("(i32.const 17)")),
        (
            "a flood of the log",
            calling(
                "log",
                &[write],
                "a line of a flood",
                "(loop $again (call $write (i32.const 0) (i32.const 512) (i32.const 17)) (br $again)) unreachable",
            ),
        ),
        (
            "a storm of host calls",
            calling(
                "clock",
                &[r#""now" (func $now (result i64))"#],
                "",
                "(loop $again (drop (call $now)) (br $again)) unreachable",
            ),
        ),
        (
            "a host call that is held open",
            calling("http-client", &[send], &data, &format!("{} {PASS}", request(&another))),
        ),
        ("a storm of requests", calling("http-client", &[send], "GEThttp://127.0.0.1:1/", &storm)),
        ("storage that only grows", calling("store", &[SET], "aaaaaaaa", grow)),
    ]
}

/// Filters messages by the first octet of their payload: `d` is dropped, `r` refused, `t` traps, `m` is moved to
/// `plant/clean`, `p` has the payload `seen` instead; all others pass. With `strict` everything is refused.
#[must_use]
pub fn filtering(strict: bool) -> Vec<u8> {
    // The topic of the message is 72 octets into the parameters, its payload 84. The outcome is at 16.
    let first = if strict { "(i32.const 0x72)" } else { "(i32.load8_u (i32.load offset=84 (local.get 0)))" };
    component(
        "export portcullis:policy/message-filter@VERSION;",
        &format!(
            r#"(module {FRAME} (data (i32.const 256) "plant/cleanseennot today")
              (func (export "portcullis:policy/message-filter@VERSION#filter") (param i32) (result i32)
                (local $first i32)
                (local.set $first {first})
                (i64.store (i32.const 16) (i64.const 0)) (i64.store (i32.const 24) (i64.const 0))
                (i64.store (i32.const 32) (i64.const 0)) (i64.store (i32.const 40) (i64.const 0))
                (i64.store (i32.const 48) (i64.const 0))
                (if (i32.eq (local.get $first) (i32.const 0x74)) (then unreachable))
                (if (i32.eq (local.get $first) (i32.const 0x64)) (then (i32.store8 (i32.const 16) (i32.const 2))))
                (if (i32.eq (local.get $first) (i32.const 0x72)) (then
                  (i32.store8 (i32.const 16) (i32.const 3))
                  (i32.store (i32.const 24) (i32.const 271)) (i32.store (i32.const 28) (i32.const 9))))
                (if (i32.eq (local.get $first) (i32.const 0x6d)) (then
                  (i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 20) (i32.const 1))
                  (i32.store (i32.const 24) (i32.const 256)) (i32.store (i32.const 28) (i32.const 11))))
                (if (i32.eq (local.get $first) (i32.const 0x70)) (then
                  (i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 32) (i32.const 1))
                  (i32.store (i32.const 36) (i32.const 267)) (i32.store (i32.const 40) (i32.const 4))))
                (i32.const 16)))"#
        ),
    )
}
