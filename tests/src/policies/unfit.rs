//! What must never go live, each for a reason of its own; and a self-test that is content.

use wit_parser::Resolve;

use super::{AUTHENTICATE, AUTHENTICATOR, FRAME, PASS, component, component_for, encode};

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
